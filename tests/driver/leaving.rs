//! Unload: under load, with every status that the engine may answer, from every state.

use postern_engine::objects::{Action, FilterFlags};
use postern_lab::{Decision, Fault, NtStatus, Occurrences};
use postern_protocol::callout::{COUNT, Role};

use crate::support::*;

/// Rounds of the loop below; `POSTERN_ROUNDS` asks for more.
fn rounds() -> usize {
    std::env::var("POSTERN_ROUNDS").map_or(50, |rounds| rounds.parse().expect("POSTERN_ROUNDS is a number"))
}

#[test]
fn every_round_of_load_traffic_and_unload_ends_with_a_full_receipt() {
    let lab = lab();
    under_traffic(&lab, || {
        for _ in 0..rounds() {
            load(&lab);
            unload(&lab);
        }
    });
    assert_clean(&lab);
}

/// Neither the driver's allocations nor what the lab makes for it, such as its thread's object, may add up.
#[test]
fn rounds_do_not_use_up_the_pool() {
    const ROUNDS: usize = 20;
    let lab = lab();
    let round = || {
        load(&lab);
        let mut traffic = lab.traffic();
        connect(&mut traffic, "192.0.2.7:443");
        connect(&mut traffic, "[2001:db8::7]:443");
        unload(&lab);
        lab.allocations()
    };
    let first = round();
    let last = (1..ROUNDS).fold(first, |_, _| round());
    // The object of a thread that has just ended may be there still.
    assert!(last <= first + 1, "{first} allocations after one round, {last} after {ROUNDS}");
}

#[test]
fn the_driver_leaves_whatever_unregistering_answers() {
    let lab = lab();
    under_traffic(&lab, || {
        for function in ["FwpsCalloutUnregisterById0", "FwpsCalloutUnregisterByKey0"] {
            for status in STATUSES {
                for occurrences in [Occurrences::Nth(1), Occurrences::Nth(COUNT as u64), Occurrences::Next(5)] {
                    load(&lab);
                    lab.inject_fault(Fault { function: function.into(), status: NtStatus(status as i32), occurrences });
                    // Only the word that a callout is unknown is believed, and that no longer than until the last look.
                    let late = match (function, status, occurrences) {
                        ("FwpsCalloutUnregisterById0", CALLOUT_NOT_FOUND, Occurrences::Next(times)) => times as usize,
                        ("FwpsCalloutUnregisterById0", CALLOUT_NOT_FOUND, _) => 1,
                        _ => 0,
                    };
                    unload_with_late_callouts(&lab, late);
                    lab.clear_faults();
                }
            }
        }
    });
    assert_clean(&lab);
}

#[test]
fn the_driver_leaves_whatever_else_fails_on_the_way_out() {
    let lab = lab();
    for function in [
        "FwpmTransactionBegin0",
        "FwpmFilterDeleteById0",
        "FwpmTransactionCommit0",
        "FwpmTransactionAbort0",
        "FwpmEngineClose0",
        "FwpmBfeStateUnsubscribeChanges0",
        "EtwUnregister",
        "FwpsInjectionHandleDestroy0",
    ] {
        for status in STATUSES {
            load(&lab);
            lab.inject_fault(Fault {
                function: function.into(),
                status: NtStatus(status as i32),
                occurrences: Occurrences::Nth(1),
            });
            unload(&lab);
            lab.clear_faults();
        }
    }
}

#[test]
fn a_wrong_irql_moves_unregistering_to_a_system_thread() {
    let lab = lab_with_driver();
    lab.inject_fault(Fault {
        function: "FwpsCalloutUnregisterById0".into(),
        status: NtStatus(0xC000_00BB_u32 as i32),
        occurrences: Occurrences::Nth(1),
    });
    unload(&lab);
    let log = lab.debug_log().join("\n");
    assert!(log.contains("postern: receipt: work: 1 queued = 1 done"), "{log}");
}

#[test]
fn the_last_look_ends_when_the_engine_knows_no_callout_and_not_before() {
    let lab = lab();
    for status in STATUSES.into_iter().filter(|status| *status != CALLOUT_NOT_FOUND) {
        load(&lab);
        // The callout that goes first stays, and is the last that is looked for.
        for (function, status, call) in [
            ("FwpsCalloutUnregisterById0", CALLOUT_NOT_FOUND, 1),
            ("FwpsCalloutUnregisterByKey0", status, COUNT as u64),
        ] {
            let status = NtStatus(status as i32);
            lab.inject_fault(Fault { function: function.into(), status, occurrences: Occurrences::Nth(call) });
        }
        unload_with_late_callouts(&lab, 1);
        lab.clear_faults();
    }
}

#[test]
fn a_driver_that_waits_for_its_callouts_no_longer_judges() {
    for (role, flags, in_service, leaving) in [
        (Role::Block, FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED, Decision::Block, Decision::Permit),
        (Role::Permit, FilterFlags::empty(), Decision::Permit, Decision::Block),
    ] {
        let lab = lab_with_driver();
        let session = session(&lab);
        let callout = add_callout_object(&lab, session, connect_callout(role));
        let mut outlives = filter("outlives the driver", Action::CalloutTerminating(callout));
        outlives.flags = flags;
        lab.engine().filter_add(session, outlives).unwrap();
        assert_eq!(connect(&mut lab.traffic(), "192.0.2.7:443").decision, in_service);
        lab.inject_fault(Fault {
            function: "FwpsCalloutUnregisterById0".into(),
            status: NtStatus(0xC022_000A_u32 as i32), // STATUS_FWP_IN_USE
            occurrences: Occurrences::Always,
        });
        std::thread::scope(|scope| {
            scope.spawn(|| unload(&lab));
            let _released = ClearFaults(&lab);
            wait_until(|| lab.debug_log().iter().any(|line| line.contains("unregistering callout")));
            assert_eq!(own_filters(&lab), 0, "filters lead to callouts that are being unregistered");
            assert_eq!(connect(&mut lab.traffic(), "192.0.2.7:443").decision, leaving);
            let late = filter("late", Action::CalloutTerminating(callout));
            assert!(lab.engine().filter_add(session, late).is_err(), "a leaving driver took on a filter");
        });
    }
}

#[test]
fn filters_that_cannot_be_deleted_go_before_the_callouts_all_the_same() {
    let lab = lab_with_driver();
    for function in ["FwpmFilterDeleteById0", "FwpsCalloutUnregisterById0"] {
        lab.inject_fault(Fault {
            function: function.into(),
            status: NtStatus(0xC000_0001_u32 as i32), // STATUS_UNSUCCESSFUL
            occurrences: Occurrences::Always,
        });
    }
    std::thread::scope(|scope| {
        scope.spawn(|| unload(&lab));
        let _released = ClearFaults(&lab);
        wait_until(|| lab.debug_log().iter().any(|line| line.contains("unregistering callout")));
        assert_eq!(own_filters(&lab), 0, "filters lead to callouts that are being unregistered");
    });
}

#[test]
fn a_filter_that_is_gone_already_is_not_missed() {
    let lab = lab_with_driver();
    lab.inject_fault(Fault {
        function: "FwpmFilterDeleteById0".into(),
        status: NtStatus(0xC022_0003_u32 as i32), // STATUS_FWP_FILTER_NOT_FOUND
        occurrences: Occurrences::Nth(1),
    });
    unload(&lab);
    let log = lab.debug_log().join("\n");
    assert!(!log.contains("deleting the filters failed"), "{log}");
}

#[test]
fn the_receipt_goes_to_the_trace_too() {
    let lab = lab_with_driver();
    unload(&lab);
    let traced = lab.events();
    for line in lab.debug_log().iter().filter_map(|line| line.strip_prefix("postern: ")) {
        assert!(traced.iter().any(|event| event == line), "{line:?} was not traced");
    }
    assert!(traced.iter().any(|event| event == postern_core::receipt::COMPLETE));
}

#[test]
fn an_open_handle_defers_the_unload_until_it_is_closed() {
    let lab = lab_with_driver();
    let device = lab.open(postern_protocol::DEVICE_PATH).unwrap();
    assert!(lab.unload(SERVICE).is_err(), "unloaded under an open handle");
    assert_eq!(receipts(&lab), 0);
    assert!(lab.open(postern_protocol::DEVICE_PATH).is_err(), "opened while an unload is pending");
    drop(device);
    assert_eq!(receipts(&lab), 1, "{}", lab.debug_log().join("\n"));
    assert!(lab.drivers().is_empty());
    assert_clean(&lab);
}

#[test]
fn the_receipt_lists_what_was_begun_and_ended() {
    let lab = lab_with_driver();
    connect(&mut lab.traffic(), "192.0.2.7:443");
    unload(&lab);
    let log = lab.debug_log().join("\n");
    for line in [
        "postern: receipt: complete",
        "postern: receipt: callouts: 42 registered = 42 unregistered",
        "postern: receipt: filters: 14 added = 14 deleted",
        "postern: receipt: sessions: 2 opened = 2 closed",
        "postern: receipt: subscriptions: 1 made = 1 ended",
        "postern: receipt: flow contexts: 3 associated = 3 deleted",
        "postern: receipt: flows: 1 begun = 1 ended",
        "postern: receipt: threads: 1 started = 1 ended",
        "postern: receipt: timers: 1 started = 1 stopped",
        "postern: receipt: injection handles: 3 created = 3 destroyed",
        "postern: receipt: memory: 4 allocated = 4 freed",
    ] {
        assert!(log.contains(line), "no {line:?} in\n{log}");
    }
}

#[test]
fn the_receipt_says_so_when_something_could_not_be_ended() {
    let lab = lab_with_driver();
    for function in ["FwpmFilterDeleteById0", "FwpmEngineClose0"] {
        lab.inject_fault(Fault {
            function: function.into(),
            status: NtStatus(0xC000_0001_u32 as i32), // STATUS_UNSUCCESSFUL
            occurrences: Occurrences::Always,
        });
    }
    let report = lab.unload(SERVICE).unwrap();
    let log = report.log.join("\n");
    for line in [
        "postern: receipt: INCOMPLETE",
        "postern: receipt: sessions: 2 opened ! 1 closed",
        "postern: receipt: filters: 14 added ! 0 deleted",
        "postern: receipt: callouts: 42 registered = 42 unregistered",
    ] {
        assert!(log.contains(line), "no {line:?} in\n{log}");
    }
    assert!(!report.leaks.is_empty(), "the lab has not seen the session that is left");
}

#[test]
fn the_receipt_has_what_the_lab_has_counted() {
    let lab = lab();
    lab.record_calls();
    load(&lab);
    // Its flows outlive the driver.
    let mut traffic = lab.traffic();
    for remote in ["192.0.2.7:443", "[2001:db8::7]:443"] {
        connect(&mut traffic, remote);
    }
    unload(&lab);
    let calls = lab.take_calls();
    let called = |function: &str| calls.iter().filter(|call| call.function == function).count() as u64;
    for (account, begun, ended) in [
        ("callouts", called("FwpsCalloutRegister3"), called("FwpsCalloutUnregisterById0")),
        ("filters", called("FwpmFilterAdd0"), called("FwpmFilterDeleteById0")),
        ("flow contexts", called("FwpsFlowAssociateContext0"), called("FwpsFlowRemoveContext0")),
        ("sessions", called("FwpmEngineOpen0"), called("FwpmEngineClose0")),
        ("subscriptions", called("FwpmBfeStateSubscribeChanges0"), called("FwpmBfeStateUnsubscribeChanges0")),
        ("injection handles", called("FwpsInjectionHandleCreate0"), called("FwpsInjectionHandleDestroy0")),
    ] {
        assert_eq!(receipt(&lab, &format!("receipt: {account}: ")), (begun, ended), "{account}");
        assert!(begun != 0, "nothing was begun of {account}");
    }
}
