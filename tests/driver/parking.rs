//! Requests that wait in the driver for events.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postern_lab::{File, Lab, NtStatus, PendingIo};
use postern_protocol::ioctl::{self, Event, EventKind, WatchHeader, WatchRequest};
use zerocopy::{FromBytes, IntoBytes};

use crate::support::*;

const CANCELLED: NtStatus = NtStatus(0xC000_0120_u32 as i32);
const QUOTA_EXCEEDED: NtStatus = NtStatus(0xC000_0044_u32 as i32);

fn open(lab: &Lab) -> File {
    lab.open(postern_protocol::DEVICE_PATH).unwrap()
}

fn begin(device: &File, from: u64) -> PendingIo {
    let request = WatchRequest { protocol: postern_protocol::VERSION, reserved: 0, from };
    device.begin_device_io_control(ioctl::WATCH, request.as_bytes(), 4096).unwrap()
}

/// Where the events begin that have not happened yet.
fn now(device: &File) -> u64 {
    let answer = begin(device, ioctl::WATCH_FROM_NOW).wait().unwrap();
    WatchHeader::read_from_bytes(&answer).unwrap().next
}

/// A request that waits.
fn park(device: &File) -> PendingIo {
    let from = now(device);
    still_waiting(begin(device, from))
}

/// Gives the driver time to answer, which it must not.
fn still_waiting(request: PendingIo) -> PendingIo {
    request.wait_for(Duration::from_millis(20)).expect_err("a request was completed although nothing had happened")
}

fn result(request: PendingIo) -> Result<Vec<u8>, NtStatus> {
    request.wait_for(Duration::from_secs(20)).unwrap_or_else(|_| panic!("a request was not completed"))
}

/// As [`unload`], after `parked` requests have waited.
fn unload_after(lab: &Lab, parked: usize) {
    unload(lab);
    assert_parked(lab, parked);
}

fn assert_parked(lab: &Lab, parked: usize) {
    let log = lab.debug_log().join("\n");
    let line = format!("receipt: requests: {parked} parked = {parked} completed");
    assert!(log.contains(&line), "no {line:?} in\n{log}");
}

#[test]
fn a_request_waits_for_an_event_and_is_answered_with_it() {
    let lab = lab_with_driver();
    let device = open(&lab);
    let waiting = [park(&device), park(&device)];
    connect(&mut lab.traffic(), "192.0.2.7:443");
    for request in waiting {
        let answer = result(request).unwrap();
        let (header, events) = WatchHeader::read_from_prefix(&answer).unwrap();
        assert!(header.count >= 1);
        let (event, _) = Event::read_from_prefix(events).unwrap();
        assert_eq!(event.kind, EventKind::Verdict as u8);
        assert_eq!(event.endpoints.remote_address[..4], [192, 0, 2, 7]);
    }
    drop(device);
    unload_after(&lab, 2);
}

#[test]
fn a_waiting_request_can_be_cancelled_and_the_others_wait_on() {
    let lab = lab_with_driver();
    let device = open(&lab);
    let [first, second, third] = [park(&device), park(&device), park(&device)];
    second.cancel();
    assert_eq!(result(second), Err(CANCELLED));
    let (first, third) = (still_waiting(first), still_waiting(third));
    connect(&mut lab.traffic(), "192.0.2.7:443");
    assert!(result(first).is_ok() && result(third).is_ok());
    drop(device);
    unload_after(&lab, 3);
}

#[test]
fn closing_a_handle_cancels_its_requests_and_no_others() {
    let lab = lab_with_driver();
    let (closed, open) = (open(&lab), open(&lab));
    let [first, second, third, fourth] = [park(&closed), park(&open), park(&closed), park(&open)];
    drop(closed);
    assert_eq!(result(first), Err(CANCELLED));
    assert_eq!(result(third), Err(CANCELLED));
    let (second, fourth) = (still_waiting(second), still_waiting(fourth));
    connect(&mut lab.traffic(), "192.0.2.7:443");
    assert!(result(second).is_ok() && result(fourth).is_ok());
    drop(open);
    unload_after(&lab, 4);
}

#[test]
fn no_more_than_64_requests_wait() {
    let lab = lab_with_driver();
    let device = open(&lab);
    let from = now(&device);
    let mut waiting: Vec<PendingIo> = (0..64).map(|_| begin(&device, from)).collect();
    assert_eq!(result(begin(&device, from)), Err(QUOTA_EXCEEDED));
    let cancelled = waiting.remove(30);
    cancelled.cancel();
    assert_eq!(result(cancelled), Err(CANCELLED));
    waiting.push(still_waiting(begin(&device, from)));
    assert_eq!(result(begin(&device, from)), Err(QUOTA_EXCEEDED));
    connect(&mut lab.traffic(), "192.0.2.7:443");
    assert!(waiting.into_iter().all(|request| result(request).is_ok()));
    drop(device);
    unload_after(&lab, 65);
}

#[test]
fn an_unload_waits_for_the_handle_of_a_waiting_request_and_not_for_an_event() {
    let lab = lab_with_driver();
    let device = open(&lab);
    let request = park(&device);
    assert!(lab.unload(SERVICE).is_err(), "unloaded under a request");
    assert_eq!(receipts(&lab), 0);
    let request = still_waiting(request);
    drop(device);
    assert_eq!(result(request), Err(CANCELLED));
    assert_eq!(receipts(&lab), 1, "{}", lab.debug_log().join("\n"));
    assert_parked(&lab, 1);
    assert!(lab.drivers().is_empty());
    assert_clean(&lab);
}

#[test]
fn watchers_may_come_and_go_however_they_like_while_events_happen() {
    let lab = lab_with_driver();
    let leaving = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let leaving_at_the_end = Set(&leaving);
        scope.spawn(|| {
            let mut traffic = lab.traffic();
            while !leaving.load(Ordering::Relaxed) {
                connect(&mut traffic, "192.0.2.7:443");
            }
        });
        let watchers: Vec<_> = (0..4)
            .map(|watcher| {
                let lab = &lab;
                scope.spawn(move || {
                    for round in 0..100 {
                        let device = open(lab);
                        let from = now(&device);
                        let requests: Vec<PendingIo> = (0..16).map(|_| begin(&device, from)).collect();
                        match (round + watcher) % 3 {
                            0 => {}
                            1 => requests.iter().step_by(2).for_each(PendingIo::cancel),
                            _ => drop(device),
                        }
                        for request in requests {
                            assert!(matches!(result(request), Ok(_) | Err(CANCELLED)));
                        }
                    }
                })
            })
            .collect();
        for watcher in watchers {
            watcher.join().unwrap();
        }
        drop(leaving_at_the_end);
    });
    unload(&lab);
}
