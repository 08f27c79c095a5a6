//! Requests wait for events, and events come while they begin to wait, or while nobody watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use loom::sync::{Mutex, Notify};
use loom::thread;
use postern_core::events::{Lease, Reading, Ring};
use postern_protocol::ioctl::{Event, WATCH_FROM_NOW, WATCH_LEASE_SECONDS, WatchHeader};
use zerocopy::{FromBytes, FromZeros};

use crate::explore;

const NOW: u64 = 1 << 40;
const LAPSED: u64 = NOW + WATCH_LEASE_SECONDS as u64 * 10_000_000 + 1;

struct Driver {
    ring: Mutex<Ring<[Event; 2]>>,
    lease: Lease,
    /// The request that waits, if one does: where it reads from.
    parked: Mutex<Option<u64>>,
    /// Wakes the worker.
    wake: Notify,
    /// The worker is to end. No atomic of loom's: it orders nothing.
    stop: AtomicBool,
}

impl Driver {
    fn new() -> Arc<Self> {
        Arc::new(Driver {
            ring: Mutex::new(Ring::new([Event::new_zeroed(); 2])),
            lease: Lease::new(),
            parked: Mutex::new(None),
            wake: Notify::new(),
            stop: AtomicBool::new(false),
        })
    }

    /// The header and the number of events of an answer, if there is one.
    fn read(&self, now: u64, from: u64) -> Option<WatchHeader> {
        let mut output = [0; size_of::<WatchHeader>() + size_of::<Event>()];
        match self.ring.lock().unwrap().read(&self.lease, now, from, &mut output).unwrap() {
            Reading::NothingYet => None,
            Reading::Answer(_) => Some(WatchHeader::read_from_prefix(&output).unwrap().0),
        }
    }

    /// Something happens.
    fn happen(&self, now: u64) -> bool {
        let watched = self.lease.is_watched(now);
        if watched {
            self.ring.lock().unwrap().push(Event::new_zeroed());
            self.wake.notify();
        }
        watched
    }

    /// A request is made. Whoever made it does not look again after it has parked it, but has the worker look: if two looked, one
    /// might have the request in hand, having seen nothing, while the other is woken by an event and finds no request.
    fn watch(&self, from: u64) -> bool {
        if self.read(NOW, from).is_some() {
            return false;
        }
        self.ring.lock().unwrap().park(&self.lease, NOW);
        *self.parked.lock().unwrap() = Some(from);
        self.wake.notify();
        true
    }

    /// Completes the request that waits, if there is something to answer. Whether it did.
    fn answer_parked(&self) -> bool {
        let Some(from) = self.parked.lock().unwrap().take() else { return false };
        if self.read(NOW, from).is_none() {
            *self.parked.lock().unwrap() = Some(from);
            return false;
        }
        self.ring.lock().unwrap().unpark(&self.lease, NOW);
        true
    }
}

#[test]
fn a_request_that_waits_is_answered_by_the_first_event() {
    explore("watch, happen, work", Some(3), || {
        let driver = Driver::new();
        let from = driver.read(NOW, WATCH_FROM_NOW).unwrap().next;
        let happening = {
            let driver = Arc::clone(&driver);
            thread::spawn(move || assert!(driver.happen(NOW)))
        };
        let worker = {
            let driver = Arc::clone(&driver);
            thread::spawn(move || {
                // If the request is forgotten, this waits for ever, which loom reports.
                while !driver.stop.load(Ordering::Relaxed) && !driver.answer_parked() {
                    driver.wake.wait();
                }
            })
        };
        if !driver.watch(from) {
            driver.stop.store(true, Ordering::Relaxed);
            driver.wake.notify();
        }
        worker.join().unwrap();
        happening.join().unwrap();
    });
}

#[test]
fn an_event_is_recorded_or_its_lapse_is_told() {
    explore("the lease runs out, happen, watch again", None, || {
        let driver = Driver::new();
        let from = driver.read(NOW, WATCH_FROM_NOW).unwrap().next;
        let happening: Vec<_> = (0..2)
            .map(|_| {
                let driver = Arc::clone(&driver);
                thread::spawn(move || driver.happen(LAPSED))
            })
            .collect();
        let first = driver.read(LAPSED, from);
        let recorded = happening.into_iter().map(|thread| thread.join().unwrap()).filter(|recorded| *recorded).count();
        let second = driver.read(LAPSED, first.map_or(from, |header| header.next));
        let third = second.and_then(|header| driver.read(LAPSED, header.next));
        let headers = [first, second, third].into_iter().flatten();
        let seen: u32 = headers.clone().map(|header| header.count).sum();
        let lapsed = headers.clone().filter(|header| header.lapsed == 1).count();
        assert_eq!(seen as usize, recorded);
        assert_eq!(lapsed, usize::from(recorded < 2), "{recorded}");
    });
}
