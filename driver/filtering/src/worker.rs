//! A system thread that works whenever it is woken.
//!
//! What covers its last instructions, after it has seen that it shall stop: whoever stops it waits for the thread *object*, which is
//! signaled when the thread has left the image for good ("PsTerminateSystemThread function": it does not return), and not for
//! something that the thread says.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, Ordering};

use fwps::status::exactly_success;
use fwps::sys::NTSTATUS;
use wdk_sys::ntddk::{
    KeInitializeEvent, KeSetEvent, KeWaitForSingleObject, ObReferenceObjectByHandle, ObfDereferenceObject,
    PsCreateSystemThread, PsTerminateSystemThread, ZwClose, ZwWaitForSingleObject,
};
use wdk_sys::{
    _EVENT_TYPE, _KWAIT_REASON, _MODE, HANDLE, KEVENT, OBJ_KERNEL_HANDLE, OBJECT_ATTRIBUTES, STATUS_SUCCESS,
    THREAD_ALL_ACCESS,
};

use crate::lock;
use crate::shared::Tally;
use crate::work_item::pause;

pub static THREADS: Tally = Tally::new();

/// A thread's work, in the image's data.
pub struct Worker {
    /// Set when there may be work.
    wake: UnsafeCell<KEVENT>,
    /// No thread is there, or it shall end.
    stopped: AtomicBool,
    /// Called once for any number of wakings. IRQL: PASSIVE_LEVEL.
    work: fn(),
}

// SAFETY: the event is the kernel's, whose functions may be called from any processor at once.
unsafe impl Sync for Worker {}

impl Worker {
    pub const fn new(work: fn()) -> Self {
        Worker {
            // SAFETY: plain data, which `start` writes before it is used.
            wake: UnsafeCell::new(unsafe { mem::zeroed() }),
            stopped: AtomicBool::new(true),
            work,
        }
    }

    /// Starts the thread. IRQL: PASSIVE_LEVEL.
    ///
    /// # Safety
    ///
    /// The worker was not started before, or what that returned was dropped. Nobody wakes it meanwhile.
    pub unsafe fn start(&'static self) -> Result<StartedWorker, NTSTATUS> {
        // SAFETY: by the caller's promise nothing uses the event, which lives as long as the image.
        unsafe { KeInitializeEvent(self.wake.get(), _EVENT_TYPE::SynchronizationEvent, 0) };
        self.stopped.store(false, Ordering::Release);
        let started = self.create();
        if started.is_err() {
            self.stopped.store(true, Ordering::Release);
        }
        started
    }

    fn create(&'static self) -> Result<StartedWorker, NTSTATUS> {
        let mut attributes = OBJECT_ATTRIBUTES {
            Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
            // Whoever's process this runs in gets no handle of ours.
            Attributes: OBJ_KERNEL_HANDLE,
            ..Default::default()
        };
        let mut handle: HANDLE = ptr::null_mut();
        let context = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the pointers outlive the call; the routine expects this worker, which lives as long as the image.
        exactly_success(unsafe {
            PsCreateSystemThread(
                &mut handle,
                THREAD_ALL_ACCESS,
                &mut attributes,
                ptr::null_mut(),
                ptr::null_mut(),
                Some(run),
                context,
            )
        })?;
        THREADS.begin();
        let mut thread = ptr::null_mut();
        // SAFETY: the handle is open and this function's own; a kernel-mode caller needs to name no type; `thread` outlives the call.
        let referenced = exactly_success(unsafe {
            ObReferenceObjectByHandle(
                handle,
                THREAD_ALL_ACCESS,
                ptr::null_mut(),
                _MODE::KernelMode as i8,
                &mut thread,
                ptr::null_mut(),
            )
        });
        if referenced.is_err() {
            self.tell_to_stop();
            wait_for_handle(handle);
            THREADS.end();
        }
        // SAFETY: the handle is open and this function's own. The object lives on by the reference.
        if let Err(status) = exactly_success(unsafe { ZwClose(handle) }) {
            crate::log::failed("closing the handle of the worker thread", status);
        }
        referenced?;
        // SAFETY: the function has succeeded, so `thread` is an object.
        Ok(StartedWorker { worker: self, thread: unsafe { NonNull::new_unchecked(thread) } })
    }

    /// Has the thread work, if there is one. IRQL: at most DISPATCH_LEVEL.
    pub fn wake(&self) {
        if !self.stopped.load(Ordering::Acquire) {
            self.set();
        }
    }

    fn tell_to_stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.set();
    }

    fn set(&self) {
        // The result is the former state.
        // SAFETY: `start` has initialized the event; nothing waits for this call.
        let _ = unsafe { KeSetEvent(self.wake.get(), 0, 0) };
    }
}

/// Waits until a thread whose object could not be referenced has ended. IRQL: PASSIVE_LEVEL.
fn wait_for_handle(handle: HANDLE) {
    // SAFETY: the handle is open; no timeout.
    while let Err(status) = exactly_success(unsafe { ZwWaitForSingleObject(handle, 0, ptr::null_mut()) }) {
        crate::log::failed("waiting for the worker thread", status);
        pause(100);
    }
}

/// IRQL: PASSIVE_LEVEL.
unsafe extern "C" fn run(worker: *mut c_void) {
    // SAFETY: the thread was created with a worker, which lives as long as the image, and whose event is initialized.
    let worker = unsafe { &*worker.cast::<Worker>() };
    loop {
        // SAFETY: the event is initialized and lives as long as the image.
        unsafe { lock::wait(worker.wake.get()) };
        if worker.stopped.load(Ordering::Acquire) {
            break;
        }
        (worker.work)();
    }
    // It returns only on a thread that is no system thread, which this is ("PsTerminateSystemThread function").
    // SAFETY: the function may be called on a thread that this driver has created; nothing is locked.
    let _ = unsafe { PsTerminateSystemThread(STATUS_SUCCESS) };
}

/// A thread that waits for work. Dropping this ends it, and returns when it has left the image. IRQL of that: PASSIVE_LEVEL.
#[must_use = "a thread that is forgotten runs in an image that may be gone"]
pub struct StartedWorker {
    worker: &'static Worker,
    /// The thread object, referenced.
    thread: NonNull<c_void>,
}

// SAFETY: any thread may wait for the object and give the reference back.
unsafe impl Send for StartedWorker {}

impl Drop for StartedWorker {
    fn drop(&mut self) {
        self.worker.tell_to_stop();
        // A wait without a timeout, which no alert ends, has one result.
        // SAFETY: the reference keeps the object.
        let _ = unsafe {
            KeWaitForSingleObject(
                self.thread.as_ptr(),
                _KWAIT_REASON::Executive,
                _MODE::KernelMode as i8,
                0,
                ptr::null_mut(),
            )
        };
        // SAFETY: the reference is this value's, and is given back once.
        unsafe { ObfDereferenceObject(self.thread.as_ptr()) };
        THREADS.end();
    }
}
