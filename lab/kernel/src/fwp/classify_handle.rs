//! Classify handles: classifies that a callout finishes later, or whose data it changes; and redirect handles.
//!
//! A classify context is offered at the layers that can be pended or redirected (documentation page "Processing Classify Callouts
//! Asynchronously"). What a callout writes into a connect or bind request is kept for the callouts after it; the lab's connection
//! itself goes where it was going.

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use fwps::sys::*;
use postern_engine::layers::id;
use postern_engine::{Decision, FwpError, Verdict};

use super::pending::{Operation, Pended, Resumed};
use super::{Owner, failure, marshal, owner};
use crate::export::{self, Export, exports};
use crate::inject::faulted;
use crate::irql::{require_irql, require_irql_exactly};
use crate::kernel::{lock, next_number};
use crate::nt::{DISPATCH_LEVEL, PASSIVE_LEVEL};
use crate::ptr::{Ptr, field};
use crate::report::{self, Finding, Kind};
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    FwpsAcquireClassifyHandle0,
    FwpsReleaseClassifyHandle0,
    FwpsPendClassify0,
    FwpsCompleteClassify0,
    FwpsAcquireWritableLayerDataPointer0,
    FwpsApplyModifiedLayerData0,
    FwpsRedirectHandleCreate0,
    FwpsRedirectHandleDestroy0,
    FwpsQueryConnectionRedirectState0,
];

#[derive(Default)]
pub(crate) struct ClassifyHandles {
    handles: Mutex<BTreeMap<u64, Handle>>,
    redirect_handles: Mutex<BTreeMap<u64, Owner>>,
}

struct Handle {
    layer: u16,
    operation: Operation,
    pended: Option<Arc<Pended>>,
    /// Layer data handed out for writing and not applied.
    writable: Option<Request>,
    owner: Owner,
}

/// A request that a callout may change, at an address that it keeps.
enum Request {
    Connect(Box<FWPS_CONNECT_REQUEST0>),
    Bind(Box<FWPS_BIND_REQUEST0>),
}

impl Request {
    fn address(&mut self) -> u64 {
        match self {
            Request::Connect(request) => (&raw mut **request).addr() as u64,
            Request::Bind(request) => (&raw mut **request).addr() as u64,
        }
    }
}

// SAFETY: the pointers inside are null or the driver's, and only handed back to it.
unsafe impl Send for Request {}

/// The classify that a thread is in, where that can be pended or redirected.
struct Current {
    context: u64,
    layer: u16,
    operation: Operation,
    pended: Option<Arc<Pended>>,
}

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(0xcc_0000) };
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// Classifies with a classify context, which `classify` is given. Returns what was pended too.
pub(crate) fn with_context<T>(
    layer: u16,
    operation: Operation,
    classify: impl FnOnce(u64) -> T,
) -> (T, Option<Arc<Pended>>) {
    let context = NEXT.get() + 0x10;
    NEXT.set(context);
    CURRENT.set(Some(Current { context, layer, operation, pended: None }));
    let result = classify(context);
    (result, CURRENT.take().and_then(|current| current.pended))
}

impl ClassifyHandles {
    pub fn left_behind(&self, image: u64) -> Vec<String> {
        let handles = lock(&self.handles);
        let classify = handles.values().filter(|handle| handle.owner.image == image).map(|handle| {
            let state = match (&handle.pended, &handle.writable) {
                (Some(_), _) => "its classify is still pended",
                (None, Some(_)) => "its layer data was not applied with FwpsApplyModifiedLayerData0",
                (None, None) => "it was not released with FwpsReleaseClassifyHandle0",
            };
            format!("a classify handle is left: {state}")
        });
        let redirects = lock(&self.redirect_handles);
        let redirect = redirects
            .values()
            .filter(|owner| owner.image == image)
            .map(|_| "a redirect handle was not destroyed with FwpsRedirectHandleDestroy0".to_string());
        classify.chain(redirect).collect()
    }
}

#[cold]
fn bad_handle(handle: u64, what: &str) {
    report::violation(Finding {
        kind: Kind::Contract,
        what: format!("{} was given {handle:#x}, which is no {what}", export::current_name()),
        remedy: "pass what was handed out, and not after it was given back".into(),
    });
}

extern "win64" fn FwpsAcquireClassifyHandle0(classify_context: u64, flags: u32, classify_handle: Ptr<u64>) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    if classify_handle.is_null() || classify_context == 0 {
        return failure(FwpError::NullPointer);
    }
    if flags != 0 {
        return STATUS_INVALID_PARAMETER;
    }
    let current = CURRENT.with_borrow(|current| {
        let current = current.as_ref().filter(|current| current.context == classify_context)?;
        Some((current.layer, current.operation.clone()))
    });
    let Some((layer, operation)) = current else {
        bad_handle(classify_context, "classify context of the classify in progress");
        return STATUS_INVALID_PARAMETER;
    };
    let handle = next_number() << 4;
    let value = Handle { layer, operation, pended: None, writable: None, owner: owner() };
    lock(&thread::current().fwp.classify_handles.handles).insert(handle, value);
    classify_handle.write(handle);
    STATUS_SUCCESS
}

extern "win64" fn FwpsReleaseClassifyHandle0(classify_handle: u64) {
    require_irql(DISPATCH_LEVEL);
    let released = lock(&thread::current().fwp.classify_handles.handles).remove(&classify_handle);
    match released {
        None => bad_handle(classify_handle, "classify handle"),
        Some(Handle { pended: Some(pended), .. }) if pended.verdict().is_none() => {
            report::violation(Finding {
                kind: Kind::Contract,
                what: "FwpsReleaseClassifyHandle0 was called while the classify is pended: nobody can complete it now"
                    .into(),
                remedy: "call FwpsCompleteClassify0 first".into(),
            });
        }
        Some(_) => {}
    }
}

/// Uses a handle, or reports that it is none.
fn with_handle<T>(classify_handle: u64, body: impl FnOnce(&mut Handle) -> T) -> Option<T> {
    let kernel = thread::current();
    let mut handles = lock(&kernel.fwp.classify_handles.handles);
    let result = handles.get_mut(&classify_handle).map(body);
    drop(handles);
    if result.is_none() {
        bad_handle(classify_handle, "classify handle");
    }
    result
}

extern "win64" fn FwpsPendClassify0(
    classify_handle: u64,
    _filter_id: u64,
    flags: u32,
    classify_out: Ptr<FWPS_CLASSIFY_OUT0>,
) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    if classify_out.is_null() {
        return failure(FwpError::NullPointer);
    }
    if flags & !REAUTHORIZE_IF_MODIFIED_BY_OTHERS != 0 {
        return STATUS_INVALID_PARAMETER;
    }
    let pended = with_handle(classify_handle, |handle| {
        let can_pend = matches!(
            handle.layer,
            id::ALE_CONNECT_REDIRECT_V4
                | id::ALE_CONNECT_REDIRECT_V6
                | id::ALE_BIND_REDIRECT_V4
                | id::ALE_BIND_REDIRECT_V6
                | id::ALE_ENDPOINT_CLOSURE_V4
                | id::ALE_ENDPOINT_CLOSURE_V6
        );
        if !can_pend || handle.pended.is_some() {
            return Err(failure(FwpError::CannotPend));
        }
        let pended = Arc::new(Pended::new(handle.operation.clone()));
        handle.pended = Some(pended.clone());
        Ok(pended)
    });
    match pended {
        Some(Ok(pended)) => {
            CURRENT.with_borrow_mut(|current| {
                if let Some(current) = current {
                    current.pended = Some(pended);
                }
            });
            let (action, rights) = (field!(classify_out, actionType), field!(classify_out, rights));
            action.write(FWP_ACTION_BLOCK);
            rights.write(rights.read() & !FWPS_RIGHT_ACTION_WRITE);
            STATUS_SUCCESS
        }
        Some(Err(status)) => status,
        None => STATUS_INVALID_PARAMETER,
    }
}

/// `FWPS_CLASSIFY_FLAG_REAUTHORIZE_IF_MODIFIED_BY_OTHERS`.
const REAUTHORIZE_IF_MODIFIED_BY_OTHERS: u32 = 1;

/// Without a `classifyOut` the operation is classified again; with one, that is its decision.
extern "win64" fn FwpsCompleteClassify0(classify_handle: u64, _flags: u32, classify_out: Ptr<FWPS_CLASSIFY_OUT0>) {
    require_irql(DISPATCH_LEVEL);
    let decided = classify_out.non_null().map(|out| field!(out, actionType).read());
    let Some(Some(pended)) = with_handle(classify_handle, |handle| handle.pended.take()) else {
        report::violation(Finding {
            kind: Kind::Contract,
            what: "FwpsCompleteClassify0 was called for a classify that is not pended".into(),
            remedy: "complete each pended classify once".into(),
        });
        return;
    };
    match decided {
        Some(action) => {
            let action = if action == FWP_ACTION_BLOCK { Decision::Block } else { Decision::Permit };
            pended.decide(Verdict { action, filter_id: None, hard: true, absorb: false });
        }
        None => thread::current().fwp.injection.resume(Resumed(pended)),
    }
}

extern "win64" fn FwpsAcquireWritableLayerDataPointer0(
    classify_handle: u64,
    filter_id: u64,
    _flags: u32,
    writable_layer_data: Ptr<u64>,
    classify_out: Ptr<FWPS_CLASSIFY_OUT0>,
) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    if writable_layer_data.is_null() {
        return failure(FwpError::NullPointer);
    }
    let address = with_handle(classify_handle, |handle| {
        if handle.writable.is_some() {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let (local, remote) = (handle.operation.local, handle.operation.remote);
        let mut request = match handle.layer {
            id::ALE_CONNECT_REDIRECT_V4 | id::ALE_CONNECT_REDIRECT_V6 => {
                Request::Connect(Box::new(FWPS_CONNECT_REQUEST0 {
                    localAddressAndPort: storage(&local),
                    remoteAddressAndPort: storage(&remote),
                    modifierFilterId: filter_id,
                    ..NO_CONNECT_REQUEST
                }))
            }
            id::ALE_BIND_REDIRECT_V4 | id::ALE_BIND_REDIRECT_V6 => Request::Bind(Box::new(FWPS_BIND_REQUEST0 {
                localAddressAndPort: storage(&local),
                portReservationToken: 0,
                previousVersion: core::ptr::null_mut(),
                modifierFilterId: filter_id,
            })),
            // The other layers have no data that can be written in this way.
            _ => return Err(STATUS_INVALID_PARAMETER),
        };
        let address = request.address();
        handle.writable = Some(request);
        Ok(address)
    });
    match address {
        Some(Ok(address)) => {
            writable_layer_data.write(address);
            if let Some(out) = classify_out.non_null() {
                let rights = field!(out, rights);
                field!(out, actionType).write(FWP_ACTION_BLOCK);
                rights.write(rights.read() & !FWPS_RIGHT_ACTION_WRITE);
            }
            STATUS_SUCCESS
        }
        Some(Err(status)) => status,
        None => STATUS_INVALID_PARAMETER,
    }
}

extern "win64" fn FwpsApplyModifiedLayerData0(classify_handle: u64, modified: u64, _flags: u32) {
    require_irql(DISPATCH_LEVEL);
    let applied = with_handle(classify_handle, |handle| {
        let is_it = handle.writable.as_mut().is_some_and(|request| request.address() == modified);
        if is_it {
            handle.writable = None;
        }
        is_it
    });
    if applied == Some(false) {
        bad_handle(modified, "layer data that was acquired with this handle");
    }
}

// SAFETY: every member of the structure may be all zero.
const NO_CONNECT_REQUEST: FWPS_CONNECT_REQUEST0 = unsafe { core::mem::zeroed() };

/// `SOCKADDR_IN` or `SOCKADDR_IN6` in a `SOCKADDR_STORAGE`.
fn storage(address: &SocketAddr) -> SOCKADDR_STORAGE {
    let mut bytes = [0u8; size_of::<SOCKADDR_STORAGE>()];
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(address) => {
            bytes[..2].copy_from_slice(&AF_INET.to_le_bytes());
            bytes[4..8].copy_from_slice(&address.ip().octets());
        }
        SocketAddr::V6(address) => {
            bytes[..2].copy_from_slice(&AF_INET6.to_le_bytes());
            bytes[8..24].copy_from_slice(&address.ip().octets());
            bytes[24..28].copy_from_slice(&address.scope_id().to_le_bytes());
        }
    }
    // SAFETY: plain data of that size.
    unsafe { core::mem::transmute(bytes) }
}

extern "win64" fn FwpsRedirectHandleCreate0(provider: Ptr<GUID>, flags: u32, redirect_handle: Ptr<u64>) -> NTSTATUS {
    if !require_irql_exactly(PASSIVE_LEVEL) {
        return STATUS_NOT_SUPPORTED;
    }
    if let Some(status) = faulted() {
        return status.0;
    }
    if redirect_handle.is_null() {
        return failure(FwpError::NullPointer);
    }
    if let Err(error) = marshal::required_key(provider) {
        return failure(error);
    }
    if flags != 0 {
        return STATUS_INVALID_PARAMETER;
    }
    let handle = next_number() << 4;
    redirect_handle.write(handle);
    lock(&thread::current().fwp.classify_handles.redirect_handles).insert(handle, owner());
    STATUS_SUCCESS
}

extern "win64" fn FwpsRedirectHandleDestroy0(redirect_handle: u64) {
    require_irql_exactly(PASSIVE_LEVEL);
    let destroyed = lock(&thread::current().fwp.classify_handles.redirect_handles).remove(&redirect_handle);
    if destroyed.is_none() {
        bad_handle(redirect_handle, "redirect handle");
    }
}

/// The lab's connections are never redirected, so that there are no redirect records.
extern "win64" fn FwpsQueryConnectionRedirectState0(
    _redirect_records: Ptr<c_void>,
    _redirect_handle: u64,
    redirect_context: Ptr<u64>,
) -> FWPS_CONNECTION_REDIRECT_STATE {
    require_irql(DISPATCH_LEVEL);
    redirect_context.write_optional(0);
    FWPS_CONNECTION_NOT_REDIRECTED
}
