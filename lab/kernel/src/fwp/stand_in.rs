//! A stand-in for a driver image in tests: callouts that are functions of the test, and the imports as an image calls them.

use core::ffi::c_void;
use std::cell::RefCell;

use fwps::sys::*;
use postern_engine::SessionId;
use postern_engine::objects::{Action, Callout, Filter, Session};
use uuid::Uuid;

use crate::call::CallContext;
use crate::lab::Lab;
use crate::ptr::Ptr;

pub(crate) const MANAGED: CallContext<'static> = CallContext { what: "a test", object: "the stand-in", at: "" };

/// Calls an export as an image would: through its stub, from within a call into an image.
macro_rules! import {
    ($module:literal, $name:ident($($argument:expr),* $(,)?)) => {{
        let address = $crate::export::all().find($module, stringify!($name)).expect("the lab exports it");
        // SAFETY: the arguments are those of the function named.
        unsafe {
            $crate::call::call_image(
                &$crate::fwp::stand_in::MANAGED,
                $crate::irql::current(),
                address as *const (),
                ($($argument,)*),
            )
        }
        .expect("the lab runs") as NTSTATUS
    }};
}
pub(crate) use import;

/// [`import!`] for functions that return an address or a handle.
macro_rules! import_address {
    ($module:literal, $name:ident($($argument:expr),* $(,)?)) => {{
        let address = $crate::export::all().find($module, stringify!($name)).expect("the lab exports it");
        // SAFETY: the arguments are those of the function named.
        unsafe {
            $crate::call::call_image(
                &$crate::fwp::stand_in::MANAGED,
                $crate::irql::current(),
                address as *const (),
                ($($argument,)*),
            )
        }
        .expect("the lab runs")
    }};
}
pub(crate) use import_address;

/// What a classifyFn sees.
pub(crate) struct Seen<'a> {
    pub values: &'a FWPS_INCOMING_VALUES0,
    pub metadata: &'a FWPS_INCOMING_METADATA_VALUES0,
    pub layer_data: *mut c_void,
    pub classify_context: u64,
    pub filter: &'a FWPS_FILTER3,
    pub flow_context: u64,
    pub out: &'a mut FWPS_CLASSIFY_OUT0,
}

impl Seen<'_> {
    pub fn value(&self, index: u16) -> FWP_VALUE0 {
        assert!(u32::from(index) < self.values.valueCount);
        Ptr::new(self.values.incomingValue).at(index.into()).read().value
    }

    pub fn uint32(&self, index: u16) -> u32 {
        let value = self.value(index);
        assert_eq!(value.r#type, FWP_UINT32, "field {index}");
        // SAFETY: the type says so.
        unsafe { value.Anonymous.uint32 }
    }

    pub fn uint16(&self, index: u16) -> u16 {
        let value = self.value(index);
        assert_eq!(value.r#type, FWP_UINT16, "field {index}");
        // SAFETY: the type says so.
        unsafe { value.Anonymous.uint16 }
    }

    pub fn has(&self, field: u32) -> bool {
        self.metadata.currentMetadataValues & field == field
    }

    /// The packet's bytes from where the layer's data begins.
    pub fn bytes(&self) -> Vec<u8> {
        let list = self.layer_data.cast::<NET_BUFFER_LIST>();
        if list.is_null() {
            return Vec::new();
        }
        crate::ndis::bytes_of(Ptr::new(list), u32::MAX)
    }
}

type Classify = Box<dyn FnMut(Seen<'_>)>;
type Notify = Box<dyn FnMut(u32, Option<GUID>, &mut FWPS_FILTER3) -> NTSTATUS>;

thread_local! {
    static CLASSIFY: RefCell<Option<Classify>> = const { RefCell::new(None) };
    static NOTIFY: RefCell<Option<Notify>> = const { RefCell::new(None) };
    static DELETED: RefCell<Vec<(u16, u32, u64)>> = const { RefCell::new(Vec::new()) };
}

/// What classifyFn does on this thread from now on.
pub(crate) fn on_classify(classify: impl FnMut(Seen<'_>) + 'static) {
    CLASSIFY.set(Some(Box::new(classify)));
}

pub(crate) fn on_notify(notify: impl FnMut(u32, Option<GUID>, &mut FWPS_FILTER3) -> NTSTATUS + 'static) {
    NOTIFY.set(Some(Box::new(notify)));
}

/// The calls of flowDeleteFn on this thread so far: layer, callout, context.
pub(crate) fn deleted_contexts() -> Vec<(u16, u32, u64)> {
    DELETED.take()
}

pub(crate) unsafe extern "win64" fn classify_fn(
    values: *const FWPS_INCOMING_VALUES0,
    metadata: *const FWPS_INCOMING_METADATA_VALUES0,
    layer_data: *mut c_void,
    classify_context: *const c_void,
    filter: *const FWPS_FILTER3,
    flow_context: u64,
    out: *mut FWPS_CLASSIFY_OUT0,
) {
    CLASSIFY.with_borrow_mut(|classify| {
        if let Some(classify) = classify {
            let (values, metadata) = (Ptr::new(values.cast_mut()).as_ref(), Ptr::new(metadata.cast_mut()).as_ref());
            let filter = Ptr::new(filter.cast_mut()).as_ref();
            // SAFETY: the lab passes a valid structure, which nobody else has now.
            let out = unsafe { &mut *out };
            let classify_context = classify_context.addr() as u64;
            classify(Seen { values, metadata, layer_data, classify_context, filter, flow_context, out });
        }
    });
}

pub(crate) unsafe extern "win64" fn notify_fn(kind: u32, key: *const GUID, filter: *mut FWPS_FILTER3) -> NTSTATUS {
    NOTIFY.with_borrow_mut(|notify| match notify {
        Some(notify) => {
            // SAFETY: a key or NULL.
            let key = unsafe { key.as_ref() }.copied();
            // SAFETY: the lab passes a valid structure.
            notify(kind, key, unsafe { &mut *filter })
        }
        None => STATUS_SUCCESS,
    })
}

pub(crate) unsafe extern "win64" fn flow_delete_fn(layer: u16, callout: u32, context: u64) {
    DELETED.with_borrow_mut(|deleted| deleted.push((layer, callout, context)));
}

/// A registration of the stand-in's functions.
pub(crate) fn registration(key: u128) -> FWPS_CALLOUT3 {
    FWPS_CALLOUT3 {
        calloutKey: GUID::from_u128(key),
        flags: 0,
        classifyFn: Some(classify_fn),
        notifyFn: Some(notify_fn),
        flowDeleteFn: Some(flow_delete_fn),
    }
}

/// Any pointer that is not null: the lab only asks that there is a device object.
pub(crate) const DEVICE: *mut c_void = core::ptr::without_provenance_mut(0x1000);

/// Registers the stand-in's functions under `key` and returns the id.
pub(crate) fn register(lab: &Lab, callout: &FWPS_CALLOUT3) -> u32 {
    lab.enter(|| {
        let mut id = 0;
        let status = import!("fwpkclnt.sys", FwpsCalloutRegister3(DEVICE, &raw const *callout, &raw mut id));
        assert_eq!(status, STATUS_SUCCESS);
        id
    })
}

pub(crate) fn unregister(lab: &Lab, id: u32) -> NTSTATUS {
    lab.enter(|| import!("fwpkclnt.sys", FwpsCalloutUnregisterById0(id)))
}

/// A session of the test's own.
pub(crate) fn session(lab: &Lab) -> SessionId {
    lab.engine().session_open(Session::new("", 1, "test")).expect("a session opens")
}

/// Adds a filter without conditions at a layer.
pub(crate) fn filter(lab: &Lab, session: SessionId, layer: Uuid, action: Action) -> u64 {
    filter_with(lab, session, layer, action, |_| {})
}

pub(crate) fn filter_with(
    lab: &Lab,
    session: SessionId,
    layer: Uuid,
    action: Action,
    adjust: impl FnOnce(&mut Filter),
) -> u64 {
    let mut filter = Filter::new("test", layer, action);
    adjust(&mut filter);
    lab.engine().filter_add(session, filter).expect("the filter is accepted")
}

/// Adds a callout object for `key` at a layer.
pub(crate) fn callout(lab: &Lab, session: SessionId, key: u128, layer: Uuid) -> Uuid {
    let key = Uuid::from_u128(key);
    lab.engine().callout_add(session, Callout::new(key, "test", layer)).expect("the callout is accepted");
    key
}
