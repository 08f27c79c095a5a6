//! A timer that calls a routine once.
//!
//! What covers the last instructions of the routine: stopping the timer ends with `KeFlushQueuedDpcs`, which returns when every DPC
//! that was queued on any processor has run ("KeFlushQueuedDpcs function", wdm.h), and a timer that is cancelled before
//! queues no more ("KeCancelTimer function").

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem;
use core::ptr;

use wdk_sys::ntddk::{KeCancelTimer, KeFlushQueuedDpcs, KeInitializeDpc, KeInitializeTimer, KeSetTimer};
use wdk_sys::{KDPC, KTIMER, LARGE_INTEGER};

use crate::shared::Tally;
use crate::spin_lock::SpinLock;

pub static TIMERS: Tally = Tally::new();

/// A timer in the image's data, which is not paged.
pub struct Timer {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    /// Called at DISPATCH_LEVEL, on any processor.
    routine: fn(),
    /// Nobody arms a timer that has been stopped, whoever is late.
    may_be_set: SpinLock<bool>,
}

// SAFETY: timer and DPC are the kernel's, whose functions may be called from any processor at once.
unsafe impl Sync for Timer {}

impl Timer {
    pub const fn new(routine: fn()) -> Self {
        Timer {
            // SAFETY: plain data, which `start` writes before it is used.
            timer: UnsafeCell::new(unsafe { mem::zeroed() }),
            // SAFETY: as above.
            dpc: UnsafeCell::new(unsafe { mem::zeroed() }),
            routine,
            may_be_set: SpinLock::new(false),
        }
    }

    /// Lets the timer be set from now on, until what this returns is dropped. IRQL: PASSIVE_LEVEL.
    ///
    /// # Safety
    ///
    /// The timer was not started before, or what that returned was dropped.
    pub unsafe fn start(&'static self) -> StartedTimer {
        let context = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: by the caller's promise nothing uses the timer, which lives as long as the image.
        unsafe { KeInitializeTimer(self.timer.get()) };
        // SAFETY: the same of the DPC; the routine expects this timer.
        unsafe { KeInitializeDpc(self.dpc.get(), Some(run), context) };
        *self.may_be_set.lock() = true;
        TIMERS.begin();
        StartedTimer(self)
    }

    /// Has the routine called after `interval`, in units of 100 nanoseconds, instead of when it was set to before. A timer that is
    /// not started is left alone. IRQL: at most DISPATCH_LEVEL.
    pub fn set(&self, interval: u64) {
        let may_be_set = self.may_be_set.lock();
        if !*may_be_set {
            return;
        }
        // Negative: relative to now.
        let due = LARGE_INTEGER { QuadPart: i64::try_from(interval).map_or(i64::MIN, |interval| -interval) };
        // The result is whether the timer was set before.
        // SAFETY: timer and DPC are initialized, and stay valid until the timer is stopped.
        let _ = unsafe { KeSetTimer(self.timer.get(), due, self.dpc.get()) };
    }
}

/// IRQL: DISPATCH_LEVEL.
unsafe extern "C" fn run(_dpc: *mut KDPC, timer: *mut c_void, _argument1: *mut c_void, _argument2: *mut c_void) {
    // SAFETY: the DPC was initialized with a timer that lives as long as the image.
    let timer = unsafe { &*timer.cast::<Timer>() };
    (timer.routine)();
}

/// A timer that may be set. Dropping this stops it: afterwards its routine neither runs nor will run. IRQL of that: PASSIVE_LEVEL.
#[must_use = "a timer that is forgotten calls into an image that may be gone"]
pub struct StartedTimer(&'static Timer);

impl Drop for StartedTimer {
    fn drop(&mut self) {
        let mut may_be_set = self.0.may_be_set.lock();
        *may_be_set = false;
        // The result is whether the timer was set. If it was not, its DPC may be on its way.
        // SAFETY: the timer is initialized.
        let _ = unsafe { KeCancelTimer(self.0.timer.get()) };
        drop(may_be_set);
        // SAFETY: the function has no parameters; nothing is locked here.
        unsafe { KeFlushQueuedDpcs() };
        TIMERS.end();
    }
}
