//! Unload: under load, with every status that the engine may answer, from every state.

use postern_lab::{Fault, NtStatus, Occurrences};

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

/// What `FwpsCalloutUnregisterById0` may answer: what is documented, what is reported, and what nobody expects. `STATUS_PENDING` and
/// `STATUS_OBJECT_NAME_EXISTS` are successes to `NT_SUCCESS`.
const STATUSES: [u32; 10] = [
    0x8000_0011, // STATUS_DEVICE_BUSY
    0xC022_000A, // STATUS_FWP_IN_USE
    0xC022_0001, // STATUS_FWP_CALLOUT_NOT_FOUND
    0xC000_00BB, // STATUS_NOT_SUPPORTED
    0x0000_0103, // STATUS_PENDING
    0x4000_0000, // STATUS_OBJECT_NAME_EXISTS
    0xC000_0001, // STATUS_UNSUCCESSFUL
    0xC000_009A, // STATUS_INSUFFICIENT_RESOURCES
    0xC002_0017, // RPC_NT_SERVER_UNAVAILABLE
    0xC000_000D, // STATUS_INVALID_PARAMETER
];

#[test]
fn the_driver_leaves_whatever_unregistering_answers() {
    let lab = lab();
    under_traffic(&lab, || {
        for function in ["FwpsCalloutUnregisterById0", "FwpsCalloutUnregisterByKey0"] {
            for status in STATUSES {
                for occurrences in [Occurrences::Nth(1), Occurrences::Nth(32), Occurrences::Next(5)] {
                    load(&lab);
                    lab.inject_fault(Fault { function: function.into(), status: NtStatus(status as i32), occurrences });
                    unload(&lab);
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
        "postern: receipt: callouts: 32 registered = 32 unregistered",
        "postern: receipt: filters: 8 added = 8 deleted",
        "postern: receipt: sessions: 1 opened = 1 closed",
        "postern: receipt: subscriptions: 1 made = 1 ended",
        "postern: receipt: memory: 1 allocated = 1 freed",
    ] {
        assert!(log.contains(line), "no {line:?} in\n{log}");
    }
}
