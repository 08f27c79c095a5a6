//! Injected faults: a kernel function that is told to fail, and how.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

use crate::export;
use crate::kernel::lock;
use crate::nt::NtStatus;
use crate::thread;

/// A kernel function that shall fail.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Name of the imported function or KMDF function: `FwpsCalloutUnregisterById0`.
    pub function: String,
    /// What it returns. A function without a status (an allocation) fails in its own way.
    pub status: NtStatus,
    pub occurrences: Occurrences,
}

/// Which calls fail, counted from the moment of injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurrences {
    /// Only the n-th call, 1 being the next.
    Nth(u64),
    /// The next n calls.
    Next(u64),
    /// Every call.
    Always,
}

struct Injected {
    fault: Fault,
    calls: u64,
}

#[derive(Default)]
pub(crate) struct Injections {
    any: AtomicBool,
    list: Mutex<Vec<Injected>>,
}

impl Injections {
    pub fn add(&self, fault: Fault) {
        lock(&self.list).push(Injected { fault, calls: 0 });
        self.any.store(true, Ordering::Release);
    }

    pub fn clear(&self) {
        lock(&self.list).clear();
        self.any.store(false, Ordering::Release);
    }

    fn check(&self, function: &str) -> Option<NtStatus> {
        let mut list = lock(&self.list);
        let mut status = None;
        for injected in list.iter_mut().filter(|injected| injected.fault.function == function) {
            injected.calls += 1;
            let fails = match injected.fault.occurrences {
                Occurrences::Nth(n) => injected.calls == n,
                Occurrences::Next(n) => injected.calls <= n,
                Occurrences::Always => true,
            };
            if fails && status.is_none() {
                status = Some(injected.fault.status);
            }
        }
        list.retain(|injected| match injected.fault.occurrences {
            Occurrences::Nth(n) | Occurrences::Next(n) => injected.calls < n,
            Occurrences::Always => true,
        });
        self.any.store(!list.is_empty(), Ordering::Release);
        status
    }
}

/// The status with which the import now running has been told to fail, if it has. Every import that can
/// fail asks once, after its contract checks and before it does anything.
#[inline]
pub fn faulted() -> Option<NtStatus> {
    let kernel = thread::current();
    if !kernel.injections.any.load(Ordering::Relaxed) {
        return None;
    }
    kernel.injections.check(export::current_name())
}
