//! How threads of the lab wait for each other.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::kernel::lock;
use crate::schedule;
use crate::thread;

/// Until when a thread waits, if nobody notifies it before.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Notified,
    /// A moment of the lab's clock.
    Time(Instant),
    /// A moment after which the lab gives up on a driver. A schedule lets nobody miss it for being held.
    Grace(Instant),
}

/// A condition variable that also serves threads under a schedule. As with any, a waiter looks again whenever it wakes.
#[derive(Default)]
pub(crate) struct Condition {
    changes: AtomicU64,
    condvar: Condvar,
}

/// A thread that nobody notifies looks again after this long.
const LONG: Duration = Duration::from_secs(1);

impl Condition {
    /// What the waiters wait for has been changed, under their mutex.
    pub fn notify_all(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.condvar.notify_all();
    }

    /// Gives `guard` of `mutex` back and waits; `what` for, in words.
    pub fn wait<'a, T>(
        &self,
        mutex: &'a Mutex<T>,
        guard: MutexGuard<'a, T>,
        until: Until,
        what: &'static str,
    ) -> MutexGuard<'a, T> {
        if schedule::is_active() {
            let before = self.changes.load(Ordering::SeqCst);
            drop(guard);
            schedule::wait(what, until, &|_| self.changes.load(Ordering::SeqCst) != before);
            return lock(mutex);
        }
        let left = match until {
            Until::Notified => LONG,
            Until::Time(at) | Until::Grace(at) => at.saturating_duration_since(thread::current().clock.now()),
        };
        self.condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
    }
}
