//! `DriverEntry`, and what is left when it fails.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postern_engine::objects::{Action, Callout, DisplayData, Provider};
use postern_image::POSTERN_SYS;
use postern_lab::{Config, Connection, Decision, Fault, Lab, NtStatus, Occurrences, Outcome, Traffic};
use postern_protocol::FilterContext;
use postern_protocol::callout::{self, COUNT, Layer, Role};
use uuid::Uuid;

use crate::requests::statistics;
use crate::support::*;

#[test]
fn the_driver_adds_its_own_objects() {
    let lab = lab_with_driver();
    lab.engine()
        .read(|engine| {
            let view = engine.view(None);
            let own = |provider: &Option<Uuid>| *provider == Some(driver_provider());
            assert_eq!(view.filters().filter(|filter| own(&filter.provider)).count(), Layer::ALL.len());
            let callouts: Vec<Callout> = view.callouts().filter(|callout| own(&callout.provider)).collect();
            assert_eq!(callouts.len(), Layer::ALL.len());
            assert!(callouts.iter().all(|callout| callout.registered));
            assert!(view.sublayers().any(|sublayer| own(&sublayer.provider)));
        })
        .unwrap();
    unload(&lab);
}

#[test]
fn a_second_load_is_refused_and_the_first_stays() {
    let lab = lab_with_driver();
    assert!(lab.load(SERVICE, IMAGE).is_err());
    let error = lab.load("another", IMAGE).unwrap_err();
    assert!(lab.debug_log().iter().any(|line| line.contains("failed")), "{error}");
    assert_eq!(connect(&mut lab.traffic(), "192.0.2.7:443").decision, Decision::Permit);
    assert_eq!(statistics(&lab, connect_callout(Role::Monitor)).0, 1);
    unload(&lab);
}

/// Kernel functions that `DriverEntry` calls and that can fail, and the calls that make it fail.
fn fallible() -> Vec<(&'static str, RangeInclusive<u64>)> {
    let mut fallible = if IMAGE == POSTERN_SYS {
        vec![
            ("WdfDriverCreate", 1..=1),
            ("WdfControlDeviceInitAllocate", 1..=1),
            ("WdfDeviceInitAssignName", 1..=1),
            ("WdfDeviceCreate", 1..=1),
            ("WdfIoQueueCreate", 1..=2),
            ("WdfWaitLockCreate", 1..=1),
            ("WdfDeviceCreateSymbolicLink", 1..=1),
        ]
    } else {
        // The first three calls of MmGetSystemRoutineAddress look for ETW.
        vec![("MmGetSystemRoutineAddress", 4..=4), ("IoCreateDeviceSecure", 1..=1), ("IoCreateSymbolicLink", 1..=1)]
    };
    fallible.extend([
        ("ExAllocatePool2", 1..=1),
        ("IoAllocateWorkItem", 1..=2),
        ("PsCreateSystemThread", 1..=1),
        ("ObReferenceObjectByHandle", 1..=1),
        ("NdisAllocateNetBufferListPool", 1..=1),
        ("FwpsInjectionHandleCreate0", 1..=1),
        ("FwpmBfeStateSubscribeChanges0", 1..=1),
        ("FwpsCalloutRegister3", 1..=COUNT as u64),
        ("FwpmEngineOpen0", 1..=2),
        ("FwpmTransactionBegin0", 1..=2),
        ("FwpmFilterCreateEnumHandle0", 1..=1),
        ("FwpmFilterEnum0", 1..=1),
        ("FwpmCalloutCreateEnumHandle0", 1..=1),
        ("FwpmCalloutEnum0", 1..=1),
        ("FwpmSubLayerCreateEnumHandle0", 1..=1),
        ("FwpmSubLayerEnum0", 1..=1),
        ("FwpmProviderDeleteByKey0", 1..=1),
        ("FwpmProviderAdd0", 1..=1),
        ("FwpmSubLayerAdd0", 1..=1),
        ("FwpmCalloutAdd0", 1..=Layer::ALL.len() as u64),
        ("FwpmFilterAdd0", 1..=Layer::ALL.len() as u64),
        ("FwpmTransactionCommit0", 1..=2),
    ]);
    fallible
}

#[test]
fn a_start_that_fails_at_any_step_leaves_nothing_behind() {
    for (function, calls) in fallible() {
        for call in calls {
            let lab = lab();
            fail(&lab, function, Occurrences::Nth(call), 0xC000_009A);
            let error = under_traffic(&lab, || lab.load(SERVICE, IMAGE)).err();
            assert!(error.is_some(), "the start succeeded although {function}, call {call}, failed");
            assert!(lab.drivers().is_empty());
            assert_clean(&lab);
            assert_eq!(receipts(&lab), 1, "no full receipt:\n{}", lab.debug_log().join("\n"));
            assert_eq!(late_callouts(&lab), 0, "{}", lab.debug_log().join("\n"));
            load(&lab);
            unload(&lab);
        }
    }
}

const TCPIP_NOT_READY: u32 = 0xC022_0100;

/// A connection comes in that a filter holds, and permits if nobody answers.
fn accept_what_is_held(lab: &Lab, traffic: &mut Traffic) -> Outcome {
    let session = session(lab);
    let hold = callout::Callout { role: Role::Hold, layer: Layer::AleAuthRecvAcceptV4 };
    let mut filter = filter("hold", Action::CalloutTerminating(add_callout_object(lab, session, hold)));
    filter.layer = Uuid::from_u128(hold.layer.key());
    filter.raw_context = FilterContext::OTHERWISE_PERMIT.to_raw();
    lab.engine().filter_add(session, filter).unwrap();
    let (local, remote) = (address("192.168.0.2:443"), address("192.0.2.7:50000"));
    traffic.accept(&Connection { protocol: 6, local, remote, app: None })
}

/// "FwpsInjectionHandleCreate0 function": a driver is to call it again later. A driver that the boot loader loads starts before the stack,
/// and before BFE.
#[test]
fn a_start_before_the_network_stack_catches_up_when_bfe_runs() {
    let handles = |lab: &Lab| receipt(lab, "injection handles");
    let lab = Lab::start(Config { bfe_running: false, ..Config::default() });
    fail(&lab, "FwpsInjectionHandleCreate0", Occurrences::Next(6), TCPIP_NOT_READY);
    load(&lab);
    unload(&lab);
    assert_eq!(handles(&lab), (0, 0));
    load(&lab);
    assert_eq!(lab.faults_left(), 0);

    lab.set_bfe_running(true);
    assert!(lab.settle(Duration::from_secs(10)), "it never settles");
    let mut traffic = lab.traffic();
    assert!(accept_what_is_held(&lab, &mut traffic).pended);
    lab.pass_time(Duration::from_secs(60));
    assert!(lab.settle(Duration::from_secs(10)), "it never settles");
    drop(traffic);
    unload(&lab);
    assert_eq!(receipt(&lab, "packets"), (1, 1));
    assert_eq!(handles(&lab), (3, 3));
}

/// Before the stack is ready an accept cannot be held: its packet could not go on.
#[test]
fn nothing_is_held_that_could_not_be_injected() {
    let lab = lab();
    fail(&lab, "FwpsInjectionHandleCreate0", Occurrences::Next(6), TCPIP_NOT_READY);
    load(&lab);
    let mut traffic = lab.traffic();
    let outcome = accept_what_is_held(&lab, &mut traffic);
    assert_eq!((outcome.decision, outcome.pended), (Decision::Permit, false));
    drop(traffic);
    unload(&lab);
    assert_eq!(receipt(&lab, "injection handles"), (0, 0));
}

#[test]
fn the_device_cannot_be_opened_before_the_start_is_complete() {
    let lab = lab();
    // The start waits for this transaction.
    let session = session(&lab);
    lab.engine().transaction_begin(session, false).unwrap();
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| load(&lab));
        let mut opened = None;
        wait_until(|| {
            opened = Some(lab.open(postern_protocol::DEVICE_PATH).map(drop));
            // Until there is a link.
            opened != Some(Err(NtStatus(0xC000_0034_u32 as i32))) // STATUS_OBJECT_NAME_NOT_FOUND
        });
        let loaded = loading.is_finished();
        lab.engine().transaction_abort(session).unwrap();
        assert!(!loaded, "the start was complete");
        assert_eq!(opened, Some(Err(NtStatus(0xC000_000E_u32 as i32)))); // STATUS_NO_SUCH_DEVICE
    });
    drop(lab.open(postern_protocol::DEVICE_PATH).unwrap());
    unload(&lab);
}

#[test]
fn a_log_without_etw_is_no_reason_to_fail() {
    for (function, occurrences) in [
        ("EtwRegister", Occurrences::Always),
        // `DriverEntry` looks for two functions of ETW.
        ("MmGetSystemRoutineAddress", Occurrences::Nth(1)),
        ("MmGetSystemRoutineAddress", Occurrences::Nth(2)),
        ("EtwWriteString", Occurrences::Always),
    ] {
        let lab = lab();
        fail(&lab, function, occurrences, 0xC000_009A);
        load(&lab);
        unload(&lab);
    }
}

fn fail(lab: &Lab, function: &str, occurrences: Occurrences, status: u32) {
    lab.inject_fault(Fault { function: function.into(), status: NtStatus(status as i32), occurrences });
}

#[test]
fn a_driver_that_starts_before_bfe_adds_its_filters_when_bfe_runs() {
    let lab = Lab::start(Config { bfe_running: false, ..Config::default() });
    load(&lab);
    let seen = |lab: &Lab| {
        connect(&mut lab.traffic(), "192.0.2.7:443");
        statistics(lab, connect_callout(Role::Monitor)).0
    };
    assert_eq!(seen(&lab), 0);
    lab.set_bfe_running(true);
    wait_until(|| seen(&lab) > 0);
    lab.set_bfe_running(false);
    let settled = seen(&lab);
    assert_eq!(seen(&lab), settled, "a filter is left of a session that has ended");
    lab.set_bfe_running(true);
    wait_until(|| seen(&lab) > settled);
    unload(&lab);
}

#[test]
fn filters_come_back_however_short_bfe_was_away() {
    let lab = lab_with_driver();
    for _ in 0..200 {
        lab.set_bfe_running(false);
        assert_eq!(own_filters(&lab), 0);
        lab.set_bfe_running(true);
        wait_until(|| own_filters(&lab) == Layer::ALL.len());
    }
    unload(&lab);
}

#[test]
fn bfe_may_come_and_go_while_the_driver_does() {
    let lab = lab();
    let leaving = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !leaving.load(Ordering::Relaxed) {
                lab.set_bfe_running(false);
                lab.set_bfe_running(true);
            }
        });
        let _leaving = Set(&leaving);
        for _ in 0..100 {
            load(&lab);
            unload(&lab);
        }
    });
}

#[test]
fn a_driver_leaves_whether_bfe_runs_or_not() {
    for bfe_running in [false, true] {
        let lab = Lab::start(Config { bfe_running, ..Config::default() });
        load(&lab);
        lab.set_bfe_running(!bfe_running);
        unload(&lab);
    }
}

/// Adds the driver's provider, and a filter that carries its key, as an earlier driver might have left them. Returns the filter's id.
fn leave_stale_objects(lab: &Lab) -> u64 {
    let session = session(lab);
    let provider = Provider {
        key: driver_provider(),
        display: DisplayData { name: "stale".into(), description: String::new() },
        persistent: false,
        disabled: false,
        data: Vec::new(),
        service_name: None,
    };
    lab.engine().provider_add(session, provider).unwrap();
    let mut stale = filter("stale", Action::Block);
    stale.provider = Some(driver_provider());
    lab.engine().filter_add(session, stale).unwrap()
}

#[test]
fn what_an_earlier_driver_has_left_behind_is_deleted() {
    let lab = lab();
    // Objects of others stay, however many there are before the stale one.
    let session = session(&lab);
    for _ in 0..150 {
        lab.engine().filter_add(session, filter("of somebody else", Action::Permit)).unwrap();
    }
    leave_stale_objects(&lab);
    load(&lab);
    assert_eq!(own_filters(&lab), Layer::ALL.len());
    let log = lab.debug_log().join("\n");
    assert!(log.contains("postern: deleted 2 stale objects of our provider"), "{log}");
    assert_eq!(connect(&mut lab.traffic(), "192.0.2.7:443").decision, Decision::Permit);
    unload(&lab);
    let others =
        lab.engine().read(|engine| engine.view(None).filters().filter(|filter| filter.provider.is_none()).count());
    assert_eq!(others.unwrap(), 150);
}

#[test]
fn what_cannot_be_deleted_is_listed_and_refuses_the_start() {
    let lab = lab();
    let id = leave_stale_objects(&lab);
    let key = lab.engine().read(|engine| engine.view(None).filters().find(|filter| filter.id == id).unwrap().key);
    fail(&lab, "FwpmFilterDeleteByKey0", Occurrences::Always, 0xC022_000A);
    assert!(lab.load(SERVICE, IMAGE).is_err());
    let log = lab.debug_log().join("\n");
    let line = format!("postern: stale filter {{{}}} cannot be deleted: STATUS_FWP_IN_USE", key.unwrap());
    assert!(log.contains(&line), "{line} is not in\n{log}");
    assert_eq!(receipts(&lab), 1, "{log}");
    assert_eq!(own_filters(&lab), 1, "the transaction was not undone");
    assert!(lab.violations().is_empty(), "{:?}", lab.violations());
    lab.clear_faults();
    load(&lab);
    unload(&lab);
}
