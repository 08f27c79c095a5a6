//! The state that the parts share: one for the process, as Wine's kernel is.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use crate::kmdf::Kmdf;
use crate::ntos::io::IoManager;
use crate::ntos::{Drivers, Pool, Workers};
use crate::thread::Processors;

pub struct Config {
    pub bfe_running: bool,
    pub deletion_waits: bool,
}

pub struct Kernel {
    pub(crate) clock: Clock,
    pub(crate) processors: Processors,
    pub(crate) pool: Pool,
    pub(crate) drivers: Drivers,
    pub(crate) io: IoManager,
    pub(crate) workers: Workers,
    pub(crate) kmdf: Kmdf,
    pub(crate) fwp: crate::fwp::State,
}

pub struct Clock;

impl Clock {
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Units of 100 nanoseconds since 1601.
    pub fn system_time(&self) -> u64 {
        const UNIX_EPOCH: u64 = 116_444_736_000_000_000;
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UNIX_EPOCH + (since_1970.as_nanos() / 100) as u64
    }
}

pub(crate) fn kernel() -> &'static Arc<Kernel> {
    static KERNEL: LazyLock<Arc<Kernel>> = LazyLock::new(|| {
        Arc::new(Kernel {
            clock: Clock,
            processors: Processors,
            pool: Pool,
            drivers: Drivers,
            io: IoManager::default(),
            workers: Workers::default(),
            kmdf: Kmdf::default(),
            fwp: crate::fwp::State::new(&Config { bfe_running: true, deletion_waits: true }),
        })
    });
    &KERNEL
}

/// A lock of the engine. A panic elsewhere leaves the data usable: every update is complete at each step.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number for each object that needs a name of its own.
pub(crate) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
