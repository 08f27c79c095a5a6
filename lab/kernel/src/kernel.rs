//! The state that all parts of one lab share.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::clock::Clock;
use crate::condition::Until;
use crate::driver::{Drivers, UnloadReport};
use crate::inject::Injections;
use crate::inside::Known;
use crate::kmdf::Kmdf;
use crate::ntos::dispatch::{Dispatcher, Resources};
use crate::ntos::io::IoManager;
use crate::ntos::object::Objects;
use crate::ntos::pool::{Lookasides, Pool};
use crate::ntos::registry::Registry;
use crate::ntos::system::{Etw, Extensions, Registrations};
use crate::ntos::table::{DeviceQueues, Tables};
use crate::ntos::time::Timers;
use crate::ntos::work::Workers;
use crate::report::Reports;
use crate::schedule::{self, Baton};
use crate::thread::Processors;
use crate::trace::Traces;

/// How a lab is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Virtual processors, at least 1 and at most 1024.
    pub processors: u32,
    /// Whether the base filtering engine runs from the start.
    pub bfe_running: bool,
    /// Bytes of driver pool that get a guard page behind each allocation; the rest gets a checked trailer.
    pub special_pool: usize,
    /// Whether the deletion of a filter waits for the classifies that it has led to a callout. Drivers that free what belongs to the
    /// filter in notifyFn need that; no page says so.
    pub deletion_waits: bool,
    /// Whether images are loaded whose imports the lab does not all supply; a call of one that it does not stops it.
    pub imports_anything: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            processors: 64,
            bfe_running: true,
            special_pool: 16 << 20,
            deletion_waits: true,
            imports_anything: false,
        }
    }
}

/// One lab's kernel. Reached through [`crate::thread::current`] inside of imports.
pub struct Kernel {
    /// Set by a bug check; from then on nothing enters an image.
    pub(crate) stopped: AtomicBool,
    pub(crate) imports_anything: bool,
    pub(crate) processors: Processors,
    /// Threads that have entered this kernel and are in no other.
    pub(crate) threads: Mutex<Vec<Known>>,
    pub(crate) clock: Arc<Clock>,
    /// What its threads pass on, if a seed schedules them.
    pub(crate) baton: Option<Arc<Baton>>,
    pub(crate) reports: Reports,
    pub(crate) injections: Injections,
    pub(crate) traces: Traces,
    pub(crate) pool: Pool,
    pub(crate) lookasides: Lookasides,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) resources: Resources,
    pub(crate) timers: Timers,
    pub(crate) workers: Workers,
    pub(crate) objects: Objects,
    pub(crate) io: IoManager,
    pub(crate) registry: Registry,
    pub(crate) etw: Etw,
    pub(crate) registrations: Registrations,
    pub(crate) extensions: Extensions,
    pub(crate) tables: Tables,
    pub(crate) device_queues: DeviceQueues,
    pub(crate) kmdf: Kmdf,
    pub(crate) fwp: crate::fwp::State,
    pub(crate) drivers: Drivers,
    /// Held while a driver is loaded or unloaded.
    pub(crate) loading: Mutex<()>,
    /// The report of an unload that the last closed handle set off.
    pub(crate) last_unload: Mutex<Option<UnloadReport>>,
}

impl Kernel {
    /// With a seed, that schedules the kernel's threads.
    pub(crate) fn new(config: Config, seed: Option<u64>) -> Arc<Kernel> {
        let clock = Clock::new(seed.is_some());
        let baton = seed.map(|seed| Baton::new(seed, &clock));
        let kernel = Arc::new(Kernel {
            stopped: AtomicBool::new(false),
            imports_anything: config.imports_anything,
            processors: Processors::new(config.processors.clamp(1, 1024)),
            threads: Mutex::default(),
            reports: Reports::default(),
            injections: Injections::default(),
            traces: Traces::default(),
            pool: Pool::new(config.special_pool),
            lookasides: Lookasides::default(),
            dispatcher: Dispatcher::default(),
            resources: Resources::default(),
            timers: Timers::default(),
            workers: Workers::default(),
            objects: Objects::default(),
            io: IoManager::default(),
            registry: Registry::default(),
            etw: Etw::default(),
            registrations: Registrations::default(),
            extensions: Extensions::default(),
            tables: Tables::default(),
            device_queues: DeviceQueues::default(),
            kmdf: Kmdf::default(),
            fwp: crate::fwp::State::new(&config),
            drivers: Drivers::default(),
            loading: Mutex::new(()),
            last_unload: Mutex::new(None),
            clock,
            baton,
        });
        if let Some(baton) = &kernel.baton {
            baton.belongs_to(&kernel);
        }
        kernel
    }

    /// Wakes every thread that waits in the lab, to see that it has stopped.
    pub(crate) fn wake_all(&self) {
        self.dispatcher.wake_all();
        self.timers.wake_all();
        self.workers.wake_all();
        self.io.wake_all();
        self.kmdf.wake_all();
        self.fwp.wake_all();
    }

    /// Ends the lab's own threads.
    pub(crate) fn end(&self) {
        self.timers.end();
        self.workers.end();
    }

    /// Whether a bug check has stopped this lab.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// A lock of the lab. A panic elsewhere leaves the data usable: every update is complete at each step.
///
/// A thread under a schedule may hold one while it is inside of an image and others run; who wants it meanwhile gives the baton away.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => wait_for_lock(mutex),
    }
}

#[cold]
fn wait_for_lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    while schedule::is_active() {
        schedule::wait("a lock of the lab", Until::Notified, &|_| {
            !matches!(mutex.try_lock(), Err(TryLockError::WouldBlock))
        });
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {}
        }
    }
    lock_of_process(mutex)
}

/// A lock that all labs of the process share. Nothing enters an image with it held.
pub(crate) fn lock_of_process<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number for each object that needs a name of its own.
pub(crate) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
