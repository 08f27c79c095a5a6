//! Work on a system thread at PASSIVE_LEVEL.
//!
//! What covers the last instructions of a routine, after it has said that it is done: the I/O manager holds a reference to the
//! device object from queueing until the routine has returned ("IoQueueWorkItem function", wdm.h), and the driver's image
//! stays for as long as a device object of the driver does.

use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

use wdk_sys::ntddk::{IoAllocateWorkItem, IoFreeWorkItem, IoQueueWorkItem, KeDelayExecutionThread};
use wdk_sys::{
    _IO_WORKITEM, _MODE, _WORK_QUEUE_TYPE, DEVICE_OBJECT, LARGE_INTEGER, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES,
};

use crate::shared::{WORK, WORK_ITEMS};

pub type Routine = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut c_void);

/// An allocated work item. Dropping it frees it.
pub struct WorkItem(NonNull<_IO_WORKITEM>);

// SAFETY: a work item belongs to no thread.
unsafe impl Send for WorkItem {}
// SAFETY: queueing, the only thing that shared access can do, is atomic in the I/O manager.
unsafe impl Sync for WorkItem {}

impl WorkItem {
    /// IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Safety
    ///
    /// `device` is a device object of this driver.
    pub unsafe fn allocate(device: *mut DEVICE_OBJECT) -> Result<Self, NTSTATUS> {
        // SAFETY: the caller's promise.
        let item = NonNull::new(unsafe { IoAllocateWorkItem(device) }).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        WORK_ITEMS.begin();
        Ok(WorkItem(item))
    }

    /// The item as a callback's context.
    pub fn as_context(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// The item of a callback's context, borrowed.
    ///
    /// # Safety
    ///
    /// `context` came from [`WorkItem::as_context`], and the item lives for as long as the result is used.
    pub unsafe fn from_context(context: *mut c_void) -> ManuallyDrop<Self> {
        // SAFETY: the caller's promise; an item's address is not null.
        ManuallyDrop::new(WorkItem(unsafe { NonNull::new_unchecked(context.cast()) }))
    }

    /// Has `routine` called on a system thread; it ends with [`done`]. IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Safety
    ///
    /// The item is not queued, and lives until `routine` has begun. `context` is what `routine` expects.
    pub unsafe fn queue(&self, routine: Routine, context: *mut c_void) {
        WORK.begin();
        // SAFETY: the caller's promise.
        unsafe { IoQueueWorkItem(self.0.as_ptr(), Some(routine), _WORK_QUEUE_TYPE::DelayedWorkQueue, context) };
    }
}

impl Drop for WorkItem {
    fn drop(&mut self) {
        // SAFETY: the item came from IoAllocateWorkItem and, by the promise of `queue`'s callers, is not queued.
        unsafe { IoFreeWorkItem(self.0.as_ptr()) };
        WORK_ITEMS.end();
    }
}

/// Says that a routine has done its work: from here on it uses nothing of ours but its own instructions.
pub fn done() {
    WORK.end();
}

/// Waits until everything that was queued is done. Nothing may queue any more. IRQL: PASSIVE_LEVEL.
pub fn wait_until_done() {
    while WORK.ended.load(Ordering::Acquire) != WORK.begun.load(Ordering::Acquire) {
        pause(1);
    }
}

/// Waits for some milliseconds. IRQL: at most APC_LEVEL.
pub fn pause(milliseconds: u32) {
    // Negative: relative to now, in units of 100 nanoseconds.
    let mut interval = LARGE_INTEGER { QuadPart: -i64::from(milliseconds) * 10_000 };
    // A wait that no alert ends has one result.
    // SAFETY: `interval` outlives the call.
    let _ = unsafe { KeDelayExecutionThread(_MODE::KernelMode as i8, 0, ptr::addr_of_mut!(interval)) };
}
