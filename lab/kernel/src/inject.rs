//! Injected faults: a kernel function that is told to fail, and how. And the record of the calls that could have been.

use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::export;
use crate::image;
use crate::kernel::lock;
use crate::nt::NtStatus;
use crate::report::{self, Place};
use crate::thread;

mod failures;

pub use failures::{Failure, Meaning, cannot_fail, failures_of, fallible_functions};

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

/// A call by an image of a function that can fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub function: &'static str,
    /// Which call of the function it is since recording began, 1 being the first.
    pub number: u64,
    /// Where in the image.
    pub place: Option<Place>,
    pub irql: u8,
    /// What the image had been called for: `DriverEntry of driver postern`.
    pub during: String,
}

struct Injected {
    fault: Fault,
    calls: u64,
}

#[derive(Default)]
struct Recording {
    calls: Vec<Call>,
    /// Calls so far by function.
    numbers: HashMap<&'static str, u64>,
}

#[derive(Default)]
pub(crate) struct Injections {
    any: AtomicBool,
    list: Mutex<Vec<Injected>>,
    /// Functions whose next call takes some time.
    delays: Mutex<Vec<(String, Duration)>>,
    recording: Mutex<Option<Recording>>,
}

impl Injections {
    pub fn add(&self, fault: Fault) {
        lock(&self.list).push(Injected { fault, calls: 0 });
        self.any.store(true, Ordering::Release);
    }

    pub fn delay(&self, function: String, time: Duration) {
        lock(&self.delays).push((function, time));
        self.any.store(true, Ordering::Release);
    }

    pub fn clear(&self) {
        lock(&self.list).clear();
        lock(&self.delays).clear();
        self.any.store(lock(&self.recording).is_some(), Ordering::Release);
    }

    /// How many faults have yet to happen.
    pub fn left(&self) -> usize {
        lock(&self.list).len()
    }

    pub fn record(&self) {
        *lock(&self.recording) = Some(Recording::default());
        self.any.store(true, Ordering::Release);
    }

    pub fn take_calls(&self) -> Vec<Call> {
        lock(&self.recording).as_mut().map(|recording| core::mem::take(&mut recording.calls)).unwrap_or_default()
    }

    fn check(&self, function: &'static str) -> Option<NtStatus> {
        let delayed = {
            let mut delays = lock(&self.delays);
            delays.iter().position(|(delayed, _)| delayed == function).map(|index| delays.remove(index).1)
        };
        if let Some(time) = delayed {
            crate::lab::sleep(time);
        }
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
        let mut recording = lock(&self.recording);
        let any = !list.is_empty() || recording.is_some() || !lock(&self.delays).is_empty();
        self.any.store(any, Ordering::Release);
        if let Some(recording) = recording.as_mut() {
            recording.add(function);
        }
        status
    }
}

impl Recording {
    fn add(&mut self, function: &'static str) {
        let page = thread::page();
        // Not by an image: the lab itself, or one of its tests.
        if image::number_at(page.caller.get()).is_none() {
            return;
        }
        let number = self.numbers.entry(function).or_default();
        *number += 1;
        self.calls.push(Call {
            function,
            number: *number,
            place: report::caller(),
            irql: page.irql.get(),
            during: page.doing().into_iter().next().unwrap_or_default(),
        });
    }
}

/// The status with which the import now running has been told to fail, if it has. Every import that can
/// fail asks once, after its contract checks and before it does anything.
///
/// Where a failure that the function may report [means](Meaning) that something has happened all the same, it asks with [`fault`].
#[inline]
pub fn faulted() -> Option<NtStatus> {
    let kernel = thread::current();
    if !kernel.injections.any.load(Ordering::Relaxed) {
        return None;
    }
    kernel.injections.check(export::current_name())
}

/// As [`faulted`], with what the status says about the system, which the import has to make true.
#[inline]
pub fn fault() -> Option<(NtStatus, Meaning)> {
    faulted().map(|status| (status, failures::meaning(export::current_name(), status)))
}
