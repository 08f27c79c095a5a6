//! Memory that the driver frees when it leaves.

use std::sync::atomic::{AtomicBool, Ordering};

use loom::cell::UnsafeCell;
use postern_core::sync::Retire;

/// Something that must not be used after it has been freed, nor be freed while it is used, in the memory model's sense: what is
/// not ordered is concurrent.
pub struct Memory<T> {
    value: UnsafeCell<T>,
    /// No atomic of loom's, so that looking at it orders nothing.
    freed: AtomicBool,
}

// SAFETY: all access to the value goes through loom's cell, which stops the model at an access that is not ordered.
unsafe impl<T: Sync> Sync for Memory<T> {}

impl<T> Memory<T> {
    pub fn new(value: T) -> Self {
        Memory { value: UnsafeCell::new(value), freed: AtomicBool::new(false) }
    }

    pub fn get(&self) -> &T {
        assert!(!self.freed.load(Ordering::Relaxed), "used after it was freed");
        // SAFETY: the value lives as long as `self`. Freeing it makes a mutable reference to it, which is why all threads are
        // stopped by loom if one of them may still use it.
        self.value.with(|value| unsafe { &*value })
    }
}

impl<T: Retire> Memory<T> {
    pub fn free(&self) {
        self.freed.store(true, Ordering::Relaxed);
        // SAFETY: loom has just made sure that no other access is concurrent.
        self.value.with_mut(|value| unsafe { &mut *value }.retire());
    }
}

/// Memory that is only looked at.
pub struct Used;

impl Retire for Used {
    fn retire(&mut self) {}
}
