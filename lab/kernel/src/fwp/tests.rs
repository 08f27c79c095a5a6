//! What callouts are promised, and what the management functions answer.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Barrier;

use fwps::sys::*;
use postern_engine::layers;
use postern_engine::objects::{Action, Condition, ConditionValue, DisplayData, Filter, FilterFlags, MatchType, Weight};
use uuid::Uuid;

use super::stand_in::{
    DEVICE, callout, deleted_contexts, filter, filter_with, import, on_classify, on_notify, register, registration,
    session, unregister,
};
use crate::inject::{Fault, Occurrences};
use crate::nt::{DISPATCH_LEVEL, NtStatus};
use crate::traffic::{Decision, Direction, Packet, Traffic};
use crate::{Config, Lab, irql};

const KEY: u128 = 0x1234;

/// A lab with the stand-in's callout registered and a terminating filter at OUTBOUND_TRANSPORT_V4 that names it.
fn lab_with_a_terminating_filter() -> (Lab, u32) {
    let lab = Lab::start(Config::default());
    let id = register(&lab, &registration(KEY));
    add_terminating_filter(&lab);
    (lab, id)
}

fn add_terminating_filter(lab: &Lab) {
    let session = session(lab);
    let key = callout(lab, session, KEY, layers::key::OUTBOUND_TRANSPORT_V4);
    filter(lab, session, layers::key::OUTBOUND_TRANSPORT_V4, Action::CalloutTerminating(key));
}

pub(super) fn datagram() -> Packet<'static> {
    let local: SocketAddr = "10.0.0.1:1".parse().unwrap();
    let remote: SocketAddr = "10.0.0.2:2".parse().unwrap();
    Packet {
        direction: Direction::Outbound,
        protocol: 17,
        local,
        remote,
        tcp_flags: 0,
        icmp_id: 0,
        fragment: None,
        bytes: &[],
        payload: &[],
    }
}

#[test]
fn a_callout_is_registered_once_and_unregistered_once() {
    let lab = Lab::start(Config::default());
    let id = register(&lab, &registration(KEY));
    assert!(id > 256, "below are the ids of built-in callouts");
    lab.enter(|| {
        let mut other = 0;
        let again = registration(KEY);
        let status = import!("fwpkclnt.sys", FwpsCalloutRegister3(DEVICE, &raw const again, &raw mut other));
        assert_eq!(status, STATUS_FWP_ALREADY_EXISTS);
        let key = GUID::from_u128(KEY);
        assert_eq!(import!("fwpkclnt.sys", FwpsCalloutUnregisterByKey0(&raw const key)), STATUS_SUCCESS);
        assert_eq!(import!("fwpkclnt.sys", FwpsCalloutUnregisterByKey0(&raw const key)), STATUS_FWP_CALLOUT_NOT_FOUND);
    });
    assert_eq!(unregister(&lab, id), STATUS_FWP_CALLOUT_NOT_FOUND);
    register(&lab, &registration(KEY));
}

#[test]
fn registering_needs_a_device_and_both_functions() {
    let lab = Lab::start(Config::default());
    let complete = registration(KEY);
    let incomplete = FWPS_CALLOUT3 { notifyFn: None, ..complete };
    lab.enter(|| {
        let id = core::ptr::null_mut::<u32>();
        let no_device = core::ptr::null::<u8>();
        let status = import!("fwpkclnt.sys", FwpsCalloutRegister3(no_device, &raw const complete, id));
        assert_eq!(status, STATUS_INVALID_PARAMETER);
        let status = import!("fwpkclnt.sys", FwpsCalloutRegister3(DEVICE, &raw const incomplete, id));
        assert_eq!(status, STATUS_INVALID_PARAMETER);
        let status = import!("fwpkclnt.sys", FwpsCalloutRegister3(DEVICE, &raw const complete, id));
        assert_eq!(status, STATUS_SUCCESS, "the id is optional");
    });
}

#[test]
fn unregistering_above_passive_level_is_refused_and_reported() {
    let lab = Lab::start(Config::default());
    let id = register(&lab, &registration(KEY));
    lab.enter(|| {
        let old = irql::raise(DISPATCH_LEVEL);
        assert_eq!(import!("fwpkclnt.sys", FwpsCalloutUnregisterById0(id)), STATUS_NOT_SUPPORTED);
        irql::lower(old);
    });
    assert_eq!(lab.violations().len(), 1);
    assert_eq!(unregister(&lab, id), STATUS_SUCCESS);
}

#[test]
fn every_status_that_unregistering_may_return_can_be_injected() {
    let lab = Lab::start(Config::default());
    let id = register(&lab, &registration(KEY));
    for status in [STATUS_DEVICE_BUSY, STATUS_FWP_IN_USE, STATUS_NOT_SUPPORTED] {
        lab.inject_fault(Fault {
            function: "FwpsCalloutUnregisterById0".into(),
            status: NtStatus(status),
            occurrences: Occurrences::Next(1),
        });
        assert_eq!(unregister(&lab, id), status);
    }
    assert_eq!(unregister(&lab, id), STATUS_SUCCESS);
}

#[test]
fn an_unregistered_callout_blocks_where_it_was_to_decide() {
    let (lab, id) = lab_with_a_terminating_filter();
    on_classify(|seen| seen.out.actionType = FWP_ACTION_PERMIT);
    let mut traffic = lab.traffic();
    assert_eq!(traffic.packet(&datagram()).decision, Decision::Permit);
    assert_eq!(unregister(&lab, id), STATUS_SUCCESS);
    assert_eq!(traffic.packet(&datagram()).decision, Decision::Block);
    register(&lab, &registration(KEY));
    assert_eq!(traffic.packet(&datagram()).decision, Decision::Permit);
}

#[test]
fn a_callout_in_the_middle_of_a_classify_is_busy() {
    static INSIDE: Barrier = Barrier::new(2);
    static LEAVE: Barrier = Barrier::new(2);
    let (lab, id) = lab_with_a_terminating_filter();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            on_classify(|_| {
                INSIDE.wait();
                LEAVE.wait();
            });
            lab.traffic().packet(&datagram());
        });
        INSIDE.wait();
        assert_eq!(unregister(&lab, id), STATUS_DEVICE_BUSY);
        LEAVE.wait();
    });
    assert_eq!(unregister(&lab, id), STATUS_SUCCESS);
}

/// Set while the callout of the test below is registered.
static REGISTERED: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);
static LATE_CALLS: AtomicU64 = AtomicU64::new(0);

unsafe extern "win64" fn count_late_calls(
    _values: *const FWPS_INCOMING_VALUES0,
    _metadata: *const FWPS_INCOMING_METADATA_VALUES0,
    _layer_data: *mut core::ffi::c_void,
    _classify_context: *const core::ffi::c_void,
    _filter: *const FWPS_FILTER3,
    _flow_context: u64,
    out: *mut FWPS_CLASSIFY_OUT0,
) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let before = REGISTERED.load(Ordering::SeqCst);
    for _ in 0..50 {
        core::hint::spin_loop();
    }
    if !before || !REGISTERED.load(Ordering::SeqCst) {
        LATE_CALLS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the lab passes a valid structure.
    unsafe { (*out).actionType = FWP_ACTION_PERMIT };
}

#[test]
fn no_call_is_made_after_unregistering_has_succeeded() {
    const ROUNDS: u32 = 500;
    let lab = Lab::start(Config::default());
    add_terminating_filter(&lab);
    let registration = FWPS_CALLOUT3 { classifyFn: Some(count_late_calls), ..registration(KEY) };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut traffic = lab.traffic();
                while !done.load(Ordering::Relaxed) {
                    traffic.packet(&datagram());
                }
            });
        }
        let mut busy = 0;
        for round in 0..ROUNDS {
            REGISTERED.store(true, Ordering::SeqCst);
            let id = register(&lab, &registration);
            let calls = CALLS.load(Ordering::Relaxed);
            while round % 8 == 0 && CALLS.load(Ordering::Relaxed) == calls {
                std::thread::yield_now();
            }
            loop {
                match unregister(&lab, id) {
                    STATUS_SUCCESS => break,
                    STATUS_DEVICE_BUSY => {
                        busy += 1;
                        std::thread::yield_now();
                    }
                    other => panic!("{other:#x}"),
                }
            }
            REGISTERED.store(false, Ordering::SeqCst);
        }
        done.store(true, Ordering::Relaxed);
        println!("{} calls, busy {busy} times", CALLS.load(Ordering::Relaxed));
    });
    assert_eq!(LATE_CALLS.load(Ordering::Relaxed), 0);
    assert!(CALLS.load(Ordering::Relaxed) > u64::from(ROUNDS) / 8);
}

/// Sends a packet; `inside` runs in the classify, with the flow's handle and the callout's id.
fn classify_with(traffic: &mut Traffic, inside: impl FnMut(u64, u64) + 'static) {
    let mut inside = inside;
    on_classify(move |seen| {
        assert!(seen.has(FWPS_METADATA_FIELD_FLOW_HANDLE));
        inside(seen.metadata.flowHandle, seen.flow_context);
        seen.out.actionType = FWP_ACTION_PERMIT;
    });
    traffic.packet(&datagram());
}

const LAYER: u16 = FWPS_LAYER_OUTBOUND_TRANSPORT_V4;

#[test]
fn a_flow_context_is_handed_to_classify_and_deleted_with_the_flow() {
    let (lab, id) = lab_with_a_terminating_filter();
    let mut traffic = lab.traffic();
    classify_with(&mut traffic, move |flow, context| {
        assert_eq!(context, 0);
        assert_eq!(import!("fwpkclnt.sys", FwpsFlowAssociateContext0(flow, LAYER, id, 0u64)), STATUS_INVALID_PARAMETER);
        assert_eq!(import!("fwpkclnt.sys", FwpsFlowAssociateContext0(flow, LAYER, id, 77u64)), STATUS_SUCCESS);
        assert_eq!(
            import!("fwpkclnt.sys", FwpsFlowAssociateContext0(flow, LAYER, id, 78u64)),
            STATUS_OBJECT_NAME_EXISTS
        );
    });
    let flow = Rc::new(Cell::new(0));
    let seen = flow.clone();
    classify_with(&mut traffic, move |handle, context| {
        assert_eq!(context, 77);
        seen.set(handle);
    });
    assert_eq!(unregister(&lab, id), STATUS_DEVICE_BUSY, "a flow carries its context");
    assert_eq!(deleted_contexts(), []);
    traffic.end_flows();
    assert_eq!(deleted_contexts(), [(LAYER, id, 77)]);
    lab.enter(|| {
        let status = import!("fwpkclnt.sys", FwpsFlowAssociateContext0(flow.get(), LAYER, id, 1u64));
        assert_eq!(status, STATUS_INVALID_PARAMETER, "the flow has ended");
    });
    assert_eq!(unregister(&lab, id), STATUS_SUCCESS);
}

#[test]
fn removing_a_flow_context_deletes_it_at_once_or_when_the_classify_ends() {
    let (lab, id) = lab_with_a_terminating_filter();
    let mut traffic = lab.traffic();
    let flow = Rc::new(Cell::new(0));
    let seen = flow.clone();
    classify_with(&mut traffic, move |handle, _| {
        seen.set(handle);
        import!("fwpkclnt.sys", FwpsFlowAssociateContext0(handle, LAYER, id, 5u64));
    });
    lab.enter(|| {
        assert_eq!(import!("fwpkclnt.sys", FwpsFlowRemoveContext0(flow.get(), LAYER, id)), STATUS_SUCCESS);
        assert_eq!(deleted_contexts(), [(LAYER, id, 5)], "flowDeleteFn was called before it returned");
        assert_eq!(import!("fwpkclnt.sys", FwpsFlowRemoveContext0(flow.get(), LAYER, id)), STATUS_UNSUCCESSFUL);
    });
    classify_with(&mut traffic, move |handle, _| {
        import!("fwpkclnt.sys", FwpsFlowAssociateContext0(handle, LAYER, id, 6u64));
        assert_eq!(import!("fwpkclnt.sys", FwpsFlowRemoveContext0(handle, LAYER, id)), STATUS_PENDING);
        assert_eq!(deleted_contexts(), []);
    });
    assert_eq!(deleted_contexts(), [(LAYER, id, 6)], "flowDeleteFn was called when the classify had ended");
    assert_eq!(unregister(&lab, id), STATUS_SUCCESS);
}

#[test]
fn an_aborted_flow_ends_with_its_next_packet() {
    let (lab, id) = lab_with_a_terminating_filter();
    let mut traffic = lab.traffic();
    classify_with(&mut traffic, move |handle, _| {
        import!("fwpkclnt.sys", FwpsFlowAssociateContext0(handle, LAYER, id, 9u64));
        assert_eq!(import!("fwpkclnt.sys", FwpsFlowAbort0(handle)), STATUS_SUCCESS);
    });
    assert_eq!(traffic.packet(&datagram()).decision, Decision::Block);
    assert_eq!(deleted_contexts(), [(LAYER, id, 9)]);
}

#[test]
fn notify_hears_of_filters_and_may_refuse_them() {
    let lab = Lab::start(Config::default());
    let id = register(&lab, &registration(KEY));
    let session = session(&lab);
    let key = callout(&lab, session, KEY, layers::key::OUTBOUND_TRANSPORT_V4);
    let heard = Rc::new(RefCell::new(Vec::new()));
    let record = heard.clone();
    on_notify(move |kind, key, filter| {
        record.borrow_mut().push((kind, key.is_some(), filter.context));
        filter.context = 99;
        STATUS_SUCCESS
    });
    let filter_id =
        filter_with(&lab, session, layers::key::OUTBOUND_TRANSPORT_V4, Action::CalloutUnknown(key), |filter| {
            filter.raw_context = 7;
        });
    let contexts = Rc::new(Cell::new(0));
    let seen = contexts.clone();
    on_classify(move |classify| seen.set(classify.filter.context));
    lab.traffic().packet(&datagram());
    assert_eq!(contexts.get(), 99, "what notifyFn wrote");
    lab.engine().filter_delete(session, filter_id).unwrap();
    assert_eq!(
        heard.take(),
        [(FWPS_CALLOUT_NOTIFY_ADD_FILTER, true, 7), (FWPS_CALLOUT_NOTIFY_DELETE_FILTER, false, 99)]
    );

    on_notify(|_, _, _| STATUS_UNSUCCESSFUL);
    let refused = std::panic::catch_unwind(|| {
        filter(&lab, session, layers::key::OUTBOUND_TRANSPORT_V4, Action::CalloutUnknown(key));
    });
    assert!(refused.is_err());
    assert_eq!(unregister(&lab, id), STATUS_SUCCESS);
}

#[test]
fn managing_the_engine_from_notify_is_reported_and_not_a_deadlock() {
    let lab = Lab::start(Config::default());
    let id = register(&lab, &registration(KEY));
    let session = session(&lab);
    let key = callout(&lab, session, KEY, layers::key::OUTBOUND_TRANSPORT_V4);
    on_notify(move |_, _, _| {
        assert_eq!(import!("fwpkclnt.sys", FwpsCalloutUnregisterById0(id)), STATUS_FWP_IN_USE);
        let key = GUID::from_u128(KEY);
        import!("fwpkclnt.sys", FwpmCalloutDeleteByKey0(0u64, &raw const key));
        STATUS_SUCCESS
    });
    filter(&lab, session, layers::key::OUTBOUND_TRANSPORT_V4, Action::CalloutUnknown(key));
    assert_eq!(lab.violations().len(), 1);
}

/// Opens a kernel session and returns its handle.
pub(super) fn open_engine() -> u64 {
    let mut handle = 0u64;
    let none = core::ptr::null::<u16>();
    let status = import!("fwpkclnt.sys", FwpmEngineOpen0(none, RPC_C_AUTHN_DEFAULT, none, none, &raw mut handle));
    assert_eq!(status, STATUS_SUCCESS);
    handle
}

fn uuid(key: GUID) -> Uuid {
    Uuid::from_u128(key.to_u128())
}

pub(super) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

#[test]
fn a_filter_goes_through_the_management_functions_and_comes_back_the_same() {
    let lab = Lab::start(Config::default());
    lab.enter(|| {
        let engine = open_engine();
        let (name, description) = (wide("a name"), wide("a description"));
        let mut addresses = FWP_V6_ADDR_AND_MASK { addr: [0xfe; 16], prefixLength: 64 };
        let mut low_high = FWP_RANGE0 {
            valueLow: FWP_VALUE0 { r#type: FWP_UINT16, Anonymous: FWP_VALUE0_0 { uint16: 10 } },
            valueHigh: FWP_VALUE0 { r#type: FWP_UINT16, Anonymous: FWP_VALUE0_0 { uint16: 20 } },
        };
        let app_bytes = wide("\\device\\disk\\app.exe");
        let mut app = FWP_BYTE_BLOB { size: app_bytes.len() as u32 * 2, data: app_bytes.as_ptr().cast_mut().cast() };
        let condition = |field, matches, value_type, value| FWPM_FILTER_CONDITION0 {
            fieldKey: field,
            matchType: matches,
            conditionValue: FWP_CONDITION_VALUE0 { r#type: value_type, Anonymous: value },
        };
        let mut conditions = [
            condition(
                FWPM_CONDITION_IP_REMOTE_ADDRESS,
                FWP_MATCH_EQUAL,
                FWP_V6_ADDR_MASK,
                FWP_CONDITION_VALUE0_0 { v6AddrMask: &raw mut addresses },
            ),
            condition(
                FWPM_CONDITION_IP_REMOTE_PORT,
                FWP_MATCH_RANGE,
                FWP_RANGE_TYPE,
                FWP_CONDITION_VALUE0_0 { rangeValue: &raw mut low_high },
            ),
            condition(
                FWPM_CONDITION_ALE_APP_ID,
                FWP_MATCH_EQUAL,
                FWP_BYTE_BLOB_TYPE,
                FWP_CONDITION_VALUE0_0 { byteBlob: &raw mut app },
            ),
            condition(FWPM_CONDITION_IP_PROTOCOL, FWP_MATCH_EQUAL, FWP_UINT8, FWP_CONDITION_VALUE0_0 { uint8: 6 }),
        ];
        let mut weight = 0x1234_5678_9abc_def0_u64;
        let mut data = [1u8, 2, 3];
        let added = FWPM_FILTER0 {
            filterKey: GUID::from_u128(0xf117e4),
            displayData: FWPM_DISPLAY_DATA0 {
                name: name.as_ptr().cast_mut(),
                description: description.as_ptr().cast_mut(),
            },
            flags: FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT,
            providerKey: core::ptr::null_mut(),
            providerData: FWP_BYTE_BLOB { size: 3, data: data.as_mut_ptr() },
            layerKey: FWPM_LAYER_ALE_AUTH_CONNECT_V6,
            subLayerKey: GUID::default(),
            weight: FWP_VALUE0 { r#type: FWP_UINT64, Anonymous: FWP_VALUE0_0 { uint64: &raw mut weight } },
            numFilterConditions: conditions.len() as u32,
            filterCondition: conditions.as_mut_ptr(),
            action: FWPM_ACTION0 {
                r#type: FWP_ACTION_PERMIT,
                Anonymous: FWPM_ACTION0_0 { filterType: GUID::default() },
            },
            Anonymous: FWPM_FILTER0_0 { rawContext: 42 },
            reserved: core::ptr::null_mut(),
            filterId: 0,
            effectiveWeight: FWP_VALUE0 { r#type: FWP_EMPTY, Anonymous: FWP_VALUE0_0 { uint8: 0 } },
        };
        let mut id = 0u64;
        let none = core::ptr::null::<u8>();
        let status = import!("fwpkclnt.sys", FwpmFilterAdd0(engine, &raw const added, none, &raw mut id));
        assert_eq!(status, STATUS_SUCCESS);

        let mut got = core::ptr::null_mut::<FWPM_FILTER0>();
        assert_eq!(import!("fwpkclnt.sys", FwpmFilterGetById0(engine, id, &raw mut got)), STATUS_SUCCESS);
        let returned = super::marshal::filter(crate::ptr::Ptr::new(got)).unwrap();
        let condition = |field: GUID, match_type, value| Condition { field: uuid(field), match_type, value };
        let expected = Filter {
            key: Uuid::from_u128(0xf117e4),
            display: DisplayData { name: "a name".into(), description: "a description".into() },
            flags: FilterFlags::CLEAR_ACTION_RIGHT,
            provider: None,
            data: vec![1, 2, 3],
            layer: layers::key::ALE_AUTH_CONNECT_V6,
            sublayer: uuid(FWPM_SUBLAYER_UNIVERSAL),
            weight: Weight::Exact(weight),
            conditions: vec![
                condition(
                    FWPM_CONDITION_IP_REMOTE_ADDRESS,
                    MatchType::Equal,
                    ConditionValue::V6AddrMask { addr: [0xfe; 16], prefix: 64 },
                ),
                condition(
                    FWPM_CONDITION_IP_REMOTE_PORT,
                    MatchType::Range,
                    ConditionValue::Range(Box::new((ConditionValue::Uint16(10), ConditionValue::Uint16(20)))),
                ),
                condition(
                    FWPM_CONDITION_ALE_APP_ID,
                    MatchType::Equal,
                    ConditionValue::ByteBlob(app_bytes.iter().flat_map(|unit| unit.to_le_bytes()).collect()),
                ),
                condition(FWPM_CONDITION_IP_PROTOCOL, MatchType::Equal, ConditionValue::Uint8(6)),
            ],
            action: Action::Permit,
            raw_context: 42,
            provider_context: None,
            id: 0,
            effective_weight: 0,
        };
        assert_eq!(returned, expected);
        // SAFETY: a structure that the lab returned.
        let got_filter = unsafe { *got };
        assert_eq!(got_filter.filterId, id);
        // SAFETY: the type of an effective weight is UINT64.
        let effective = unsafe { got_filter.effectiveWeight.Anonymous.uint64 };
        assert_eq!(crate::ptr::Ptr::new(effective).read(), weight);
        import!("fwpkclnt.sys", FwpmFreeMemory0(&raw mut got));
        assert!(got.is_null());
        assert_eq!(import!("fwpkclnt.sys", FwpmEngineClose0(engine)), STATUS_SUCCESS);
    });
    assert!(lab.violations().is_empty(), "{:?}", lab.violations());
    assert!(lab.kernel.fwp.left_behind(0).is_empty(), "{:?}", lab.kernel.fwp.left_behind(0));
}

#[test]
fn bad_parameters_get_the_status_that_the_documentation_names() {
    let lab = Lab::start(Config::default());
    lab.enter(|| {
        let engine = open_engine();
        let name = wide("a sublayer");
        let none = core::ptr::null::<u8>();
        let mut sublayer = FWPM_SUBLAYER0 {
            subLayerKey: GUID::from_u128(5),
            displayData: FWPM_DISPLAY_DATA0 { name: core::ptr::null_mut(), description: core::ptr::null_mut() },
            flags: 0,
            providerKey: core::ptr::null_mut(),
            providerData: FWP_BYTE_BLOB { size: 0, data: core::ptr::null_mut() },
            weight: 1,
        };
        let add =
            |sublayer: &FWPM_SUBLAYER0| import!("fwpkclnt.sys", FwpmSubLayerAdd0(engine, &raw const *sublayer, none));
        assert_eq!(add(&sublayer), STATUS_FWP_NULL_DISPLAY_NAME);
        sublayer.displayData.name = name.as_ptr().cast_mut();
        sublayer.flags = 0x8000;
        assert_eq!(add(&sublayer), STATUS_FWP_INVALID_FLAGS);
        sublayer.flags = 0;
        sublayer.providerData.size = 4;
        assert_eq!(add(&sublayer), STATUS_FWP_NULL_POINTER);
        sublayer.providerData.size = 0;
        assert_eq!(add(&sublayer), STATUS_SUCCESS);
        assert_eq!(add(&sublayer), STATUS_FWP_ALREADY_EXISTS);
        assert_eq!(import!("fwpkclnt.sys", FwpmSubLayerAdd0(engine, none, none)), STATUS_FWP_NULL_POINTER);
        assert_eq!(import!("fwpkclnt.sys", FwpmTransactionCommit0(engine)), STATUS_FWP_NO_TXN_IN_PROGRESS);
        assert_eq!(import!("fwpkclnt.sys", FwpmTransactionBegin0(engine, 0u32)), STATUS_SUCCESS);
        assert_eq!(import!("fwpkclnt.sys", FwpmTransactionBegin0(engine, 0u32)), STATUS_FWP_TXN_IN_PROGRESS);
        assert_eq!(import!("fwpkclnt.sys", FwpmEngineClose0(engine)), STATUS_SUCCESS);
        assert!(lab.violations().is_empty());
        assert_eq!(import!("fwpkclnt.sys", FwpmEngineClose0(engine)), STATUS_INVALID_HANDLE);
        assert_eq!(lab.violations().len(), 1, "closed twice");
    });
}

#[test]
fn a_session_waits_for_another_sessions_transaction() {
    let lab = Lab::start(Config::default());
    let (one, other) = (session(&lab), session(&lab));
    lab.engine().transaction_begin(one, false).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| filter(&lab, other, layers::key::STREAM_V4, Action::Block));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished());
        lab.engine().transaction_commit(one).unwrap();
    });
}

thread_local! {
    static STATES: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "win64" fn note_state(_context: *mut core::ffi::c_void, state: u32) {
    assert_eq!(irql::current(), DISPATCH_LEVEL);
    STATES.with_borrow_mut(|states| states.push(state));
}

#[test]
fn subscribers_hear_of_the_engine_until_they_unsubscribe() {
    let lab = Lab::start(Config::default());
    let handle = lab.enter(|| {
        let mut handle = 0u64;
        let context = core::ptr::null::<u8>();
        let callback = note_state as *const ();
        let status = import!("fwpkclnt.sys", FwpmBfeStateSubscribeChanges0(DEVICE, callback, context, &raw mut handle));
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(import!("fwpkclnt.sys", FwpmBfeStateGet0()) as u32, FWPM_SERVICE_RUNNING);
        handle
    });
    let open = session(&lab);
    lab.set_bfe_running(false);
    assert!(lab.engine().session_close(open).is_err());
    lab.enter(|| {
        let mut engine = 0u64;
        let none = core::ptr::null::<u16>();
        let status = import!("fwpkclnt.sys", FwpmEngineOpen0(none, RPC_C_AUTHN_DEFAULT, none, none, &raw mut engine));
        assert_eq!(status, RPC_NT_SERVER_UNAVAILABLE);
    });
    lab.set_bfe_running(true);
    assert_eq!(
        STATES.take(),
        [FWPM_SERVICE_STOP_PENDING, FWPM_SERVICE_STOPPED, FWPM_SERVICE_START_PENDING, FWPM_SERVICE_RUNNING]
    );
    assert_eq!(lab.kernel.fwp.left_behind(0).len(), 1);
    lab.enter(|| {
        assert_eq!(import!("fwpkclnt.sys", FwpmBfeStateUnsubscribeChanges0(handle)), STATUS_SUCCESS);
    });
    lab.set_bfe_running(false);
    assert_eq!(STATES.take(), []);
    assert!(lab.kernel.fwp.left_behind(0).is_empty());
}

static SUBSCRIBED: AtomicU64 = AtomicU64::new(0);

unsafe extern "win64" fn unsubscribe_itself(_context: *mut core::ffi::c_void, _state: u32) {
    let handle = SUBSCRIBED.load(Ordering::Relaxed);
    assert_eq!(import!("fwpkclnt.sys", FwpmBfeStateUnsubscribeChanges0(handle)), STATUS_SUCCESS);
}

#[test]
fn unsubscribing_from_the_state_callback_is_reported_as_the_deadlock_that_it_is() {
    let lab = Lab::start(Config::default());
    lab.enter(|| {
        let mut handle = 0u64;
        let context = core::ptr::null::<u8>();
        let callback = unsubscribe_itself as *const ();
        let status = import!("fwpkclnt.sys", FwpmBfeStateSubscribeChanges0(DEVICE, callback, context, &raw mut handle));
        assert_eq!(status, STATUS_SUCCESS);
        SUBSCRIBED.store(handle, Ordering::Relaxed);
    });
    lab.set_bfe_running(false);
    let violations = lab.violations();
    assert_eq!(violations.len(), 1, "{violations:#?}");
    assert!(violations[0].what.contains("deadlock"), "{violations:#?}");
}

#[test]
fn unregistering_another_drivers_callout_is_reported() {
    let lab = Lab::start(Config::default());
    let id = register(&lab, &registration(KEY));
    let own = lab.kernel.fwp.callouts.get(id).unwrap();
    let other = super::Owner { image: 4711, driver: "another".into() };
    let theirs = super::callouts::Callout::new(id + 1, own.registration, other, 1);
    lab.kernel.fwp.callouts.insert(theirs.into());
    assert_eq!(unregister(&lab, id), STATUS_SUCCESS);
    assert!(lab.violations().is_empty());
    assert_eq!(unregister(&lab, id + 1), STATUS_SUCCESS);
    let violations = lab.violations();
    assert_eq!(violations.len(), 1, "{violations:#?}");
    assert!(violations[0].what.contains("of driver another was to be unregistered"), "{violations:#?}");
}

#[test]
fn what_is_left_behind_is_named() {
    let (lab, id) = lab_with_a_terminating_filter();
    let left = lab.kernel.fwp.left_behind(0);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].contains("is still registered"), "{left:?}");
    unregister(&lab, id);
    assert!(lab.kernel.fwp.left_behind(0).is_empty());
}

#[test]
fn a_callout_is_called_by_the_name_of_its_object() {
    let (lab, _) = lab_with_a_terminating_filter();
    let left = lab.kernel.fwp.left_behind(0);
    assert!(left[0].starts_with("callout \"test\" {00000000-0000-0000-0000-000000001234} (id 25"), "{left:?}");
}

#[test]
fn a_deleted_filter_is_announced_when_no_classify_uses_it_any_more() {
    static INSIDE: Barrier = Barrier::new(2);
    static IN_CLASSIFY: AtomicBool = AtomicBool::new(false);
    let lab = Lab::start(Config::default());
    register(&lab, &registration(KEY));
    let session = session(&lab);
    let key = callout(&lab, session, KEY, layers::key::OUTBOUND_TRANSPORT_V4);
    let id = filter(&lab, session, layers::key::OUTBOUND_TRANSPORT_V4, Action::CalloutUnknown(key));
    let announced = Rc::new(Cell::new(false));
    let announce = announced.clone();
    on_notify(move |_, _, _| {
        announce.set(!IN_CLASSIFY.load(Ordering::SeqCst));
        STATUS_SUCCESS
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            on_classify(|_| {
                IN_CLASSIFY.store(true, Ordering::SeqCst);
                INSIDE.wait();
                std::thread::sleep(std::time::Duration::from_millis(50));
                IN_CLASSIFY.store(false, Ordering::SeqCst);
            });
            lab.traffic().packet(&datagram());
        });
        INSIDE.wait();
        lab.engine().filter_delete(session, id).unwrap();
    });
    assert!(announced.get(), "notifyFn was called during the classify, or not at all");
}
