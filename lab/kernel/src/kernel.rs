//! The state that all parts of one lab share.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::inject::Injections;
use crate::report::Reports;
use crate::thread::Processors;

/// How a lab is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Virtual processors, at least 1 and at most 1024.
    pub processors: u32,
    /// Whether the base filtering engine runs from the start.
    pub bfe_running: bool,
    /// Bytes of driver pool that get a guard page behind each allocation; the rest gets a checked trailer.
    pub special_pool: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { processors: 64, bfe_running: true, special_pool: 64 << 20 }
    }
}

/// One lab's kernel. Reached through [`crate::thread::current`] inside of imports.
pub struct Kernel {
    pub(crate) config: Config,
    /// Set by a bug check; from then on nothing enters an image.
    pub(crate) stopped: AtomicBool,
    pub(crate) processors: Processors,
    pub(crate) reports: Reports,
    pub(crate) injections: Injections,
    pub(crate) fwp: crate::fwp::State,
}

impl Kernel {
    pub(crate) fn new(config: Config) -> Arc<Kernel> {
        Arc::new(Kernel {
            stopped: AtomicBool::new(false),
            processors: Processors::new(config.processors.clamp(1, 1024)),
            reports: Reports::default(),
            injections: Injections::default(),
            fwp: crate::fwp::State::new(&config),
            config,
        })
    }

    /// Wakes every thread that waits in the lab, to see that it has stopped.
    pub(crate) fn wake_all(&self) {}

    /// Whether a bug check has stopped this lab.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// A lock of the lab. A panic elsewhere leaves the data usable: every update is complete at each step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number for each object that needs a name of its own.
pub(crate) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
