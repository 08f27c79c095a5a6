//! An operation is pended, answered, times out, and is completed because the driver leaves: once.

use std::sync::Arc;
use std::sync::atomic;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use postern_core::gate::{Gate, Lane};
use postern_core::held::{Answered, Held, Key, Subject};
use postern_core::sync::Retire;
use postern_protocol::Layer;
use postern_protocol::ioctl::{Endpoints, Verdict};

use crate::explore;
use crate::memory::Memory;

const LAYER: Layer = Layer::AleAuthConnectV4;

/// A pended operation. It must be completed, and while the driver is there.
pub struct Operation {
    completed: bool,
    completions: Arc<AtomicU64>,
}

impl Drop for Operation {
    fn drop(&mut self) {
        assert!(self.completed || std::thread::panicking(), "dropped uncompleted");
    }
}

type Table = Held<Operation, 1>;

/// What is inside is only used under the lock, so the lock alone is looked after.
struct Locked(Mutex<Table>);

impl Retire for Locked {
    fn retire(&mut self) {}
}

/// What the driver has of held operations.
pub struct Desk {
    held: Memory<Locked>,
    /// No atomic of loom's: this is the model's own count, and orders nothing.
    pended: atomic::AtomicU64,
    /// One of loom's, relaxed: it orders nothing either, but a thread may be stopped before it completes.
    completions: Arc<AtomicU64>,
}

impl Desk {
    pub fn new() -> Self {
        let held = Memory::new(Locked(Mutex::new(Held::new())));
        Desk { held, pended: atomic::AtomicU64::new(0), completions: Arc::new(AtomicU64::new(0)) }
    }

    fn locked<R>(&self, work: impl FnOnce(&mut Table) -> R) -> R {
        work(&mut self.held.get().0.lock().unwrap())
    }

    /// A classify pends an operation to `remote_port`.
    pub fn pend(&self, remote_port: u16) {
        self.pended.fetch_add(1, atomic::Ordering::Relaxed);
        let operation = Operation { completed: false, completions: Arc::clone(&self.completions) };
        let endpoints = Endpoints { remote_port, ..Endpoints::default() };
        let subject = Subject {
            callout: 38,
            filter_id: 1,
            endpoints,
            transport_endpoint: 0x77,
            deadline: 10,
            otherwise: Verdict::Block,
        };
        if let Err(mut refused) = self.locked(|held| held.begin(LAYER, subject, operation)) {
            refused.complete();
        }
    }

    /// Completes what was taken out. The engine classifies it again meanwhile.
    fn complete(&self, mut answered: Answered<Operation>, classify: impl FnOnce()) {
        answered.operation.complete();
        let key = Key::new(LAYER, &answered.subject.endpoints, answered.subject.transport_endpoint);
        assert_eq!(self.locked(|held| held.verdict_of(&key)), Some(answered.verdict), "classified again");
        classify();
        self.locked(|held| held.completed(answered.id));
    }

    /// A program answers.
    fn answer(&self, id: u64) {
        if let Some(answered) = self.locked(|held| held.answer(id, Verdict::Permit)) {
            self.complete(answered, || ());
        }
    }

    /// The worker completes what has waited long enough.
    fn expire(&self) {
        while let Some(answered) = self.locked(|held| held.expire(10)) {
            self.complete(answered, || ());
        }
    }

    /// The driver leaves: returns when all that was pended has been completed. `classify` is what the engine does during a
    /// completion.
    pub fn leave(&self, classify: impl Fn()) {
        loop {
            while let Some(answered) = self.locked(|held| held.drain()) {
                self.complete(answered, &classify);
            }
            let counts = self.locked(|held| held.counts());
            if counts.pended == counts.completed {
                break;
            }
            thread::yield_now();
        }
        self.assert_all_completed();
    }

    fn assert_all_completed(&self) {
        let pended = self.pended.load(atomic::Ordering::Relaxed);
        let completed = self.completions.load(Ordering::Relaxed);
        assert_eq!(pended, completed, "left with operations that wait");
    }

    pub fn free(&self) {
        self.held.free();
    }
}

impl Operation {
    fn complete(&mut self) {
        assert!(!self.completed, "completed twice");
        self.completed = true;
        self.completions.fetch_add(1, Ordering::Relaxed);
    }
}

fn hold(pends: u16, expires: bool) {
    struct Driver {
        lanes: [Lane<8>; 1],
        desk: Desk,
    }
    let driver = Arc::new(Driver { lanes: [Lane::new()], desk: Desk::new() });
    Gate::new(&driver.lanes).open();
    let spawn = |work: fn(&Desk, u16), pass: bool, times: u16| {
        let driver = Arc::clone(&driver);
        thread::spawn(move || {
            for time in 1..=times {
                let entered = Gate::new(&driver.lanes).enter(0);
                if entered.is_some() || !pass {
                    work(&driver.desk, time);
                }
            }
        })
    };
    let classifier = spawn(|desk, port| desk.pend(port), true, pends);
    let answerer = spawn(|desk, id| desk.answer(id.into()), true, 1);
    // The worker needs no pass: leaving waits for the thread, later.
    let worker = expires.then(|| spawn(|desk, _| desk.expire(), false, 1));
    Gate::new(&driver.lanes).close_and_wait(thread::yield_now);
    driver.desk.leave(|| ());
    worker.into_iter().for_each(|worker| worker.join().unwrap());
    driver.desk.assert_all_completed();
    driver.desk.free();
    classifier.join().unwrap();
    answerer.join().unwrap();
}

#[test]
fn every_operation_is_completed_once_and_before_the_driver_has_left() {
    explore("hold, answer, expire, leave", Some(2), || hold(1, true));
    explore("hold two with room for one, answer, leave", Some(3), || hold(2, false));
}
