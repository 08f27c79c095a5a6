//! Provider contexts, as a driver adds them, reads them back and is given them.

use std::cell::RefCell;
use std::rc::Rc;

use fwps::sys::*;
use postern_engine::layers;
use postern_engine::objects::{Action, Callout, FilterFlags};
use uuid::Uuid;

use super::raw::{FWPM_CLASSIFY_OPTION0, FWPM_CLASSIFY_OPTIONS0, FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0};
use super::stand_in::{filter_with, import, on_classify, register, registration, session};
use super::tests::{datagram, open_engine, wide};
use crate::ptr::Ptr;
use crate::{Config, Lab};

const CALLOUT: u128 = 0x1234;
const GENERAL: u128 = 0x77;
const OPTIONS: u128 = 0x78;
const PROVIDER_CONTEXT_NOT_FOUND: NTSTATUS = 0xC022_0006_u32 as NTSTATUS;
const INVALID_ENUMERATOR: NTSTATUS = 0xC022_001D_u32 as NTSTATUS;

fn structure(key: u128, name: &[u16], context_type: u32, content: *mut FWP_BYTE_BLOB) -> FWPM_PROVIDER_CONTEXT3 {
    FWPM_PROVIDER_CONTEXT3 {
        providerContextKey: GUID::from_u128(key),
        displayData: FWPM_DISPLAY_DATA0 { name: name.as_ptr().cast_mut(), description: core::ptr::null_mut() },
        flags: 0,
        providerKey: core::ptr::null_mut(),
        providerData: FWP_BYTE_BLOB { size: 0, data: core::ptr::null_mut() },
        r#type: context_type,
        dataBuffer: content,
        providerContextId: 0,
    }
}

/// Adds [`GENERAL`], which holds `content`.
fn add_general(engine: u64, content: &mut [u8]) -> u64 {
    let name = wide("general");
    let mut blob = FWP_BYTE_BLOB { size: content.len() as u32, data: content.as_mut_ptr() };
    let context = structure(GENERAL, &name, FWPM_GENERAL_CONTEXT, &raw mut blob);
    let (none, mut id) = (core::ptr::null::<u8>(), 0u64);
    let status = import!("fwpkclnt.sys", FwpmProviderContextAdd0(engine, &raw const context, none, &raw mut id));
    assert_eq!(status, STATUS_SUCCESS);
    id
}

#[test]
fn what_a_driver_adds_it_reads_back_until_it_deletes_it() {
    let lab = Lab::start(Config::default());
    lab.enter(|| {
        let engine = open_engine();
        let none = core::ptr::null::<u8>();
        let general = add_general(engine, &mut [1, 2, 3]);
        let name = wide("options");
        let mut option = FWPM_CLASSIFY_OPTION0 {
            r#type: 1,
            value: FWP_VALUE0 { r#type: FWP_UINT32, Anonymous: FWP_VALUE0_0 { uint32: 9 } },
        };
        let mut options = FWPM_CLASSIFY_OPTIONS0 { numOptions: 1, options: &raw mut option };
        let mut context = structure(OPTIONS, &name, 7, (&raw mut options).cast());
        let mut id = 0u64;
        let mut add = |context: &FWPM_PROVIDER_CONTEXT3| {
            import!("fwpkclnt.sys", FwpmProviderContextAdd3(engine, &raw const *context, none, &raw mut id))
        };
        assert_eq!(add(&context), STATUS_SUCCESS);
        assert_eq!(add(&context), STATUS_FWP_ALREADY_EXISTS);
        for (context_type, expected) in [(14, INVALID_ENUMERATOR), (0, STATUS_NOT_SUPPORTED)] {
            context.r#type = context_type;
            assert_eq!(add(&context), expected, "type {context_type}");
        }
        context.r#type = FWPM_GENERAL_CONTEXT;
        context.dataBuffer = core::ptr::null_mut();
        assert_eq!(add(&context), STATUS_FWP_NULL_POINTER);

        let mut got = core::ptr::null_mut::<FWPM_PROVIDER_CONTEXT3>();
        let status = import!("fwpkclnt.sys", FwpmProviderContextGetById2(engine, id, &raw mut got));
        assert_eq!(status, STATUS_SUCCESS);
        let of = Ptr::new(got).read();
        let options = Ptr::new(of.dataBuffer).cast::<FWPM_CLASSIFY_OPTIONS0>().read();
        assert_eq!(options.numOptions, 1);
        let option = Ptr::new(options.options).read();
        assert_eq!((of.providerContextKey, of.r#type, of.providerContextId), (GUID::from_u128(OPTIONS), 7, id));
        // SAFETY: the type says which member is there.
        assert_eq!((option.r#type, option.value.r#type, unsafe { option.value.Anonymous.uint32 }), (1, FWP_UINT32, 9));
        import!("fwpkclnt.sys", FwpmFreeMemory0(&raw mut got));

        let list = |context_type| {
            let template = FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0 {
                providerKey: core::ptr::null_mut(),
                providerContextType: context_type,
            };
            let (mut handle, mut entries, mut count) =
                (0u64, core::ptr::null_mut::<*mut FWPM_PROVIDER_CONTEXT3>(), 0u32);
            import!("fwpkclnt.sys", FwpmProviderContextCreateEnumHandle0(engine, &raw const template, &raw mut handle));
            import!("fwpkclnt.sys", FwpmProviderContextEnum1(engine, handle, 10u32, &raw mut entries, &raw mut count));
            let entry = |index| Ptr::new(Ptr::new(entries).at(index).read()).read();
            let ids: Vec<u64> = (0..count as usize).map(|index| entry(index).providerContextId).collect();
            import!("fwpkclnt.sys", FwpmFreeMemory0(&raw mut entries));
            import!("fwpkclnt.sys", FwpmProviderContextDestroyEnumHandle0(engine, handle));
            ids
        };
        assert_eq!(list(14), [general, id], "contexts of every type");
        assert_eq!(list(FWPM_GENERAL_CONTEXT), [general]);

        let key = GUID::from_u128(GENERAL);
        let delete = || import!("fwpkclnt.sys", FwpmProviderContextDeleteByKey0(engine, &raw const key));
        assert_eq!(delete(), STATUS_SUCCESS);
        assert_eq!(delete(), PROVIDER_CONTEXT_NOT_FOUND);
        assert_eq!(import!("fwpkclnt.sys", FwpmProviderContextDeleteById0(engine, id)), STATUS_SUCCESS);
        assert_eq!(import!("fwpkclnt.sys", FwpmEngineClose0(engine)), STATUS_SUCCESS);
    });
    assert!(lab.violations().is_empty(), "{:?}", lab.violations());
    assert!(lab.kernel.fwp.left_behind(0).is_empty(), "{:?}", lab.kernel.fwp.left_behind(0));
}

#[test]
fn classify_is_given_the_context_if_the_callout_uses_it() {
    for uses_provider_context in [true, false] {
        let lab = Lab::start(Config::default());
        register(&lab, &registration(CALLOUT));
        let id = lab.enter(|| add_general(open_engine(), &mut [7, 8]));
        let (session, layer) = (session(&lab), layers::key::OUTBOUND_TRANSPORT_V4);
        let key = Uuid::from_u128(CALLOUT);
        let callout = Callout { uses_provider_context, ..Callout::new(key, "a callout", layer) };
        lab.engine().callout_add(session, callout).unwrap();
        filter_with(&lab, session, layer, Action::CalloutTerminating(key), |filter| {
            filter.flags = FilterFlags::HAS_PROVIDER_CONTEXT;
            filter.provider_context = Some(Uuid::from_u128(GENERAL));
        });
        let seen = Rc::new(RefCell::new(Vec::new()));
        let record = seen.clone();
        on_classify(move |classify| {
            let bytes = Ptr::new(classify.filter.providerContext).non_null().map(|context| {
                let blob = Ptr::new(context.read().dataBuffer).read();
                Ptr::new(blob.data).to_vec(blob.size as usize)
            });
            record.borrow_mut().push((classify.filter.context, bytes));
        });
        lab.traffic().packet(&datagram());
        assert_eq!(seen.take(), [(id, uses_provider_context.then(|| vec![7, 8]))]);
    }
}
