//! `ndis.sys`: net buffer lists and their pools.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use fwps::sys::*;

use crate::export::Export;

pub(crate) const EXPORTS: &[Export] = &[];

/// A net buffer list of the lab, with what the lab knows of it behind the structure that images see.
#[repr(C)]
pub(crate) struct LabList {
    pub list: NET_BUFFER_LIST,
    magic: u64,
    /// Taken with `FwpsReferenceNetBufferList0`.
    references: AtomicU32,
    /// The injection handle that the packet was injected with, or 0, and the injection's context.
    injected_by: AtomicU64,
    injection_context: AtomicU64,
}

const MAGIC: u64 = u64::from_le_bytes(*b"NBL/lab\0");

impl LabList {
    /// Makes zeroed memory a list.
    ///
    /// # Safety
    /// `list` must be valid for writes.
    pub unsafe fn init(list: *mut LabList) {
        // SAFETY: the caller's contract.
        unsafe { (*list).magic = MAGIC };
    }

    /// Whether an image has a reference to it, or a clone of it.
    pub fn is_held(&self) -> bool {
        let clones = &raw const self.list.ChildRefCount;
        // SAFETY: a field of this list; images change it through the lab's functions only, which do so atomically.
        let clones = unsafe { AtomicU32::from_ptr(clones.cast_mut().cast()) };
        self.references.load(Ordering::Acquire) != 0 || clones.load(Ordering::Acquire) != 0
    }

    /// Forgets the packet before.
    pub fn reset(&mut self) {
        *self.injected_by.get_mut() = 0;
        *self.injection_context.get_mut() = 0;
        self.list.Flags = 0;
        self.list.NblFlags = 0;
        self.list.Status = 0;
    }
}
