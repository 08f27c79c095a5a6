//! The surroundings of the unregister loop (`postern_core::unregister`).

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr;

use fwps::callout;
use postern_core::Status;
use postern_core::unregister::{Next, Unregister};
use wdk_sys::ntddk::{KeInitializeEvent, KeSetEvent};
use wdk_sys::{_EVENT_TYPE, DEVICE_OBJECT, KEVENT};

use crate::work_item::{self, WorkItem};
use crate::{flows, lock};

pub struct FilterEngine<'a> {
    /// For attempts on a system thread; allocated at the start, so that leaving needs no memory.
    pub work_item: &'a WorkItem,
}

impl Unregister for FilterEngine<'_> {
    fn unregister(&mut self, callout_id: u32) -> Status {
        Status(callout::unregister(callout_id))
    }

    fn unregister_on_system_thread(&mut self, callout_id: u32) -> Status {
        // SAFETY: a KEVENT is plain data, and is written before it is used.
        let event: KEVENT = unsafe { core::mem::zeroed() };
        let attempt =
            Attempt { callout_id, status: UnsafeCell::new(Status::UNSUCCESSFUL), done: UnsafeCell::new(event) };
        // SAFETY: the event lies on this thread's kernel stack, which a wait in kernel mode keeps in memory.
        unsafe { KeInitializeEvent(attempt.done.get(), _EVENT_TYPE::NotificationEvent, 0) };
        // SAFETY: the item is queued here alone, and each time waited for; `attempt` is what the routine expects.
        unsafe { self.work_item.queue(run_attempt, ptr::from_ref(&attempt).cast_mut().cast()) };
        // SAFETY: the event is initialized and lives until the wait is over.
        unsafe { lock::wait(attempt.done.get()) };
        attempt.status.into_inner()
    }

    fn remove_flow_contexts(&mut self, _callout_id: u32) {
        // They were removed before, so busy mostly means a classify in progress, which ends by itself.
        flows::leave();
    }

    fn wait(&mut self, milliseconds: u32) {
        work_item::pause(milliseconds);
    }

    fn report(&mut self, callout_id: u32, attempt: u32, status: Status, next: Next) {
        let next = match next {
            Next::Done => "done",
            Next::DoneUnknown => "the engine does not know it: done",
            Next::RemoveFlowContexts => "removing its flow contexts, then again",
            Next::Wait => "again in a moment",
            Next::SystemThread => "wrong IRQL: again on a system thread",
            Next::Again => "not a documented status: again",
        };
        log!("unregistering callout {callout_id}, attempt {attempt}: {status}; {next}");
    }
}

/// One attempt to unregister on a system thread. It lives on the stack of the thread that waits for `done`.
struct Attempt {
    callout_id: u32,
    status: UnsafeCell<Status>,
    done: UnsafeCell<KEVENT>,
}

/// IRQL: PASSIVE_LEVEL.
unsafe extern "C" fn run_attempt(_device: *mut DEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: `context` is the attempt that `unregister_on_system_thread` queued, and it waits for `done`.
    let attempt = unsafe { &*context.cast::<Attempt>() };
    let status = Status(callout::unregister(attempt.callout_id));
    // SAFETY: the waiting thread reads the status only after `done` is set.
    unsafe { *attempt.status.get() = status };
    work_item::done();
    // Once the event is set the attempt may be gone.
    // SAFETY: the event is initialized, and lives until it is set.
    let _ = unsafe { KeSetEvent(attempt.done.get(), 0, 0) };
}
