//! A lock that leaves the IRQL alone.
//!
//! `Fwpm*` functions must be called at PASSIVE_LEVEL, and a fast mutex would hold them at APC_LEVEL, where
//! `FwpsCalloutUnregisterById0` refuses to work. A synchronization event does not.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::ptr;

use wdk_sys::ntddk::{KeInitializeEvent, KeSetEvent, KeWaitForSingleObject};
use wdk_sys::{_EVENT_TYPE, _KWAIT_REASON, _MODE, KEVENT};

pub struct PassiveLock<T> {
    /// Signaled while nobody holds the lock.
    event: UnsafeCell<KEVENT>,
    value: UnsafeCell<T>,
}

// SAFETY: the event admits one thread at a time to the value.
unsafe impl<T: Send> Sync for PassiveLock<T> {}

impl<T> PassiveLock<T> {
    pub const fn new(value: T) -> Self {
        PassiveLock {
            // SAFETY: a KEVENT is plain data, and `initialize` writes it before it is used.
            event: UnsafeCell::new(unsafe { core::mem::zeroed() }),
            value: UnsafeCell::new(value),
        }
    }

    /// Makes the lock usable.
    ///
    /// # Safety
    ///
    /// Nobody else uses the lock yet.
    pub unsafe fn initialize(&self) {
        // SAFETY: the event lies in the image's data, which is not paged, and is not in use yet.
        unsafe { KeInitializeEvent(self.event.get(), _EVENT_TYPE::SynchronizationEvent, 1) };
    }

    /// IRQL: PASSIVE_LEVEL.
    pub fn lock(&self) -> Guard<'_, T> {
        // SAFETY: the event is initialized and lives as long as the image.
        unsafe { wait(self.event.get()) };
        Guard { lock: self }
    }
}

/// Waits for an event, without a timeout. IRQL: at most APC_LEVEL.
///
/// # Safety
///
/// The event is initialized and lives until the wait is over.
pub unsafe fn wait(event: *mut KEVENT) {
    // A wait without a timeout, which no alert ends, has one result.
    // SAFETY: the caller's promise.
    let _ = unsafe {
        KeWaitForSingleObject(event.cast(), _KWAIT_REASON::Executive, _MODE::KernelMode as i8, 0, ptr::null_mut())
    };
}

pub struct Guard<'a, T> {
    lock: &'a PassiveLock<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard is the proof that this thread alone holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the proof that this thread alone holds the lock.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // The result is the event's former state, which was not signaled.
        // SAFETY: the event is initialized, and this thread holds the lock.
        let _ = unsafe { KeSetEvent(self.lock.event.get(), 0, 0) };
    }
}
