//! A lock that classifies, DPCs and threads share.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use wdk_sys::ntddk::{KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock};
use wdk_sys::{KIRQL, KSPIN_LOCK};

/// A value that one processor at a time gets at. Whoever holds the lock is at DISPATCH_LEVEL: it calls nothing that waits, and
/// nothing that may call back into the image and lock again ("Introduction to Spin Locks").
pub struct SpinLock<T> {
    lock: UnsafeCell<KSPIN_LOCK>,
    value: UnsafeCell<T>,
}

// SAFETY: the lock admits one processor at a time to the value.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    pub const fn new(value: T) -> Self {
        // `KeInitializeSpinLock` of wdm.h is this store of zero.
        SpinLock { lock: UnsafeCell::new(0), value: UnsafeCell::new(value) }
    }

    /// IRQL: at most DISPATCH_LEVEL; DISPATCH_LEVEL until the guard is dropped.
    pub fn lock(&self) -> SpinGuard<'_, T> {
        // SAFETY: the lock is initialized, and lies in the image's data, which is not paged; so does whoever borrows it from there.
        let irql = unsafe { KeAcquireSpinLockRaiseToDpc(self.lock.get()) };
        SpinGuard { lock: self, irql, not_send: PhantomData }
    }
}

/// The lock, held. It is released on the processor that took it, so it is not [`Send`].
#[must_use = "dropping the guard releases the lock"]
pub struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
    /// The IRQL before.
    irql: KIRQL,
    not_send: PhantomData<*const ()>,
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard is the proof that this processor alone holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the proof that this processor alone holds the lock.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this processor holds the lock, and the IRQL is the one that taking it returned.
        unsafe { KeReleaseSpinLock(self.lock.lock.get(), self.irql) };
    }
}
