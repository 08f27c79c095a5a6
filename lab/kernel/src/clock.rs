//! The time of one lab.
//!
//! It runs with the machine's clock. While a schedule is active (see [`crate::schedule`]) it stands still but for what the schedule
//! advances it by, so that whatever depends on time happens again in the same way.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, Once, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::kernel::lock_of_process;
use crate::shared_data::SharedData;

/// Units of 100 nanoseconds from 1601 to 1970.
const UNIX_EPOCH_IN_FILETIME: u64 = 116_444_736_000_000_000;
/// Length of a clock tick in units of 100 nanoseconds: 15.625 ms (`KeQueryTimeIncrement`).
pub(crate) const TICK: u64 = 156_250;
/// Where a schedule's time begins: 2026-01-01.
const SCHEDULED_SYSTEM_TIME: u64 = UNIX_EPOCH_IN_FILETIME + 1_767_225_600 * 10_000_000;
/// How long the system has been up when a lab starts: no driver meets a time near zero on a real one.
const UP: Duration = Duration::from_secs(3600);

pub(crate) struct Clock {
    /// When the lab started, on the machine's clock. Deadlines are this and the time since.
    origin: Instant,
    /// System time at the origin, in units of 100 nanoseconds.
    system_time: u64,
    /// Whether a schedule keeps the time.
    scheduled: AtomicBool,
    /// Nanoseconds since the origin, while a schedule keeps the time.
    elapsed: AtomicU64,
    /// Nanoseconds by which the lab is ahead of the machine otherwise.
    ahead: AtomicU64,
    /// What images read inline.
    pub shared_data: SharedData,
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos() as u64
}

impl Clock {
    pub fn new(scheduled: bool) -> Arc<Clock> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let machine = UNIX_EPOCH_IN_FILETIME + (since_1970.as_nanos() / 100) as u64;
        let clock = Arc::new(Clock {
            origin: Instant::now(),
            system_time: if scheduled { SCHEDULED_SYSTEM_TIME } else { machine },
            scheduled: AtomicBool::new(scheduled),
            elapsed: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
            shared_data: SharedData::new(),
        });
        clock.tick();
        clock
    }

    /// Whether a schedule keeps the time.
    pub fn is_scheduled(&self) -> bool {
        self.scheduled.load(Ordering::Relaxed)
    }

    /// Since the lab started.
    pub fn elapsed(&self) -> Duration {
        if self.is_scheduled() {
            return Duration::from_nanos(self.elapsed.load(Ordering::Relaxed));
        }
        self.origin.elapsed() + Duration::from_nanos(self.ahead.load(Ordering::Relaxed))
    }

    /// The present moment, for deadlines.
    pub fn now(&self) -> Instant {
        self.origin + self.elapsed()
    }

    /// Time since the lab started of a moment that [`Clock::now`] was the base of.
    pub fn since_start(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.origin)
    }

    /// `KeQueryInterruptTime`.
    pub fn interrupt_time(&self) -> u64 {
        nanoseconds(UP + self.elapsed()) / 100
    }

    /// `KeQuerySystemTime`.
    pub fn system_time(&self) -> u64 {
        self.system_time + nanoseconds(self.elapsed()) / 100
    }

    /// `KeQueryTickCount`.
    pub fn ticks(&self) -> u64 {
        self.interrupt_time() / TICK
    }

    /// Brings what images read inline up to date, as the clock interrupt does. Async-signal-safe.
    pub fn tick(&self) {
        self.shared_data.set_times(self.interrupt_time(), self.system_time(), self.ticks());
    }

    /// Lets time pass: under a schedule, which alone does so then, or beyond the machine's.
    pub fn advance(&self, by: Duration) {
        let passed = if self.is_scheduled() { &self.elapsed } else { &self.ahead };
        passed.fetch_add(nanoseconds(by), Ordering::Relaxed);
        self.tick();
    }

    /// Lets time run on with the machine's; it never goes back.
    pub fn run_freely(&self) {
        let ahead = self.elapsed.load(Ordering::Relaxed).saturating_sub(nanoseconds(self.origin.elapsed()));
        self.ahead.store(ahead, Ordering::Relaxed);
        self.scheduled.store(false, Ordering::Relaxed);
    }
}

/// How often what images read inline is brought up to date: Windows' clock interrupt comes once in 0.5 to 15.6 ms.
const INTERRUPT: Duration = Duration::from_millis(1);

/// Keeps what images read inline current, until the clock is dropped.
pub(crate) fn keep_current(clock: &Arc<Clock>) {
    static CLOCKS: Mutex<Vec<Weak<Clock>>> = Mutex::new(Vec::new());
    static TICKING: Once = Once::new();
    let mut clocks = lock_of_process(&CLOCKS);
    if clocks.iter().any(|known| core::ptr::eq(known.as_ptr(), Arc::as_ptr(clock))) {
        return;
    }
    clocks.push(Arc::downgrade(clock));
    drop(clocks);
    TICKING.call_once(|| {
        let ticking = || {
            loop {
                std::thread::sleep(INTERRUPT);
                lock_of_process(&CLOCKS).retain(|clock| {
                    clock.upgrade().is_some_and(|clock| {
                        if !clock.is_scheduled() {
                            clock.tick();
                        }
                        true
                    })
                });
            }
        };
        std::thread::Builder::new().name("lab clock".into()).spawn(ticking).expect("the system refuses a thread");
    });
}
