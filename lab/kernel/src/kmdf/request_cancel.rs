//! Cancelling requests: in queues by the framework, in the driver's hands by `EvtRequestCancel`.

#![allow(non_snake_case, reason = "functions have the names of wdfrequest.h")]

use crate::export::{Export, exports};
use crate::inject;
use crate::irql::{self, require_irql};
use crate::kernel::lock;
use crate::kmdf::client::Globals;
use crate::kmdf::lock::synchronized;
use crate::kmdf::object::{Ref, find_quiet};
use crate::kmdf::queue::{self, Queue};
use crate::kmdf::report::broken;
use crate::kmdf::request::{self, Owner, Request, driver_owned};
use crate::kmdf::wdm;
use crate::nt::{DISPATCH_LEVEL, DeviceObject, Irp, NtStatus};
use crate::ptr::Ptr;

pub(super) const FUNCTIONS: &[Export] =
    exports![WdfRequestMarkCancelable, WdfRequestMarkCancelableEx, WdfRequestUnmarkCancelable, WdfRequestIsCanceled];

fn routine() -> u64 {
    cancelled as *const () as u64
}

/// `DRIVER_CANCEL` of every IRP that waits in a queue or is marked cancelable.
extern "win64" fn cancelled(_device: Ptr<DeviceObject>, irp: Ptr<Irp>) {
    wdm::release_cancel_lock(irp);
    let Some(request) = request::of(irp) else { return };
    match request.owner() {
        Owner::Queue(queue) => {
            let Some(queue) = find_quiet::<Queue>(queue) else { return };
            queue::remove_pending(&queue, request.handle());
            finish_queued(&queue, &request);
        }
        Owner::Driver => call_cancel(&request),
        Owner::Framework | Owner::Completed => {}
    }
}

/// Lets a request that goes into a queue be cancelled there.
pub(super) fn watch(request: &Ref<Request>) {
    wdm::set_cancel_routine(request.irp(), routine());
}

/// Ends that. False if the cancel routine runs already, and so has the request.
pub(super) fn unwatch(request: &Ref<Request>) -> bool {
    wdm::set_cancel_routine(request.irp(), 0) != 0
}

/// Whether the IRP was cancelled before it was watched, so that no cancel routine will be called.
pub(super) fn begun_while_queued(request: &Ref<Request>) -> bool {
    wdm::is_cancelled(request.irp()) && unwatch(request)
}

/// Ends a request that was cancelled in a queue and is no longer in it.
pub(super) fn finish_queued(queue: &Ref<Queue>, request: &Ref<Request>) {
    if !queue::canceled_on_queue(queue, request) {
        request::complete(request, NtStatus::CANCELLED, 0);
    }
}

/// Tells the driver that a request it has marked cancelable is cancelled.
fn call_cancel(request: &Ref<Request>) {
    let callback = {
        let mut state = lock(&request.state);
        state.cancel_called = true;
        core::mem::take(&mut state.cancel)
    };
    if callback == 0 {
        return;
    }
    let client = &request.object.client;
    let call = || client.call("EvtRequestCancel", "", irql::current(), callback, (request.handle(),));
    match find_quiet::<Queue>(request.presented_by()) {
        Some(queue) => synchronized(&queue.object, call),
        None => call(),
    };
}

/// Cancels a request that a purged queue gave to the driver, if the driver has marked it cancelable.
pub(super) fn cancel_from_queue(request: &Ref<Request>) {
    if lock(&request.state).cancel != 0 && unwatch(request) {
        call_cancel(request);
    }
}

/// Marks a request; returns whether it was cancelled before.
fn mark(request: &Ref<Request>, callback: u64) -> bool {
    lock(&request.state).cancel = callback;
    // Under the lock: once it is let go, the request may be cancelled and completed.
    wdm::with_cancel_lock(|| {
        watch(request);
        begun_while_queued(request)
    })
}

fn is_marked(request: &Ref<Request>) -> bool {
    let marked = lock(&request.state).cancel != 0;
    if marked {
        broken("a request was marked cancelable twice".into(), "unmark it before marking it again");
    }
    marked
}

extern "win64" fn WdfRequestMarkCancelable(_globals: Ptr<Globals>, request: u64, callback: u64) {
    require_irql(DISPATCH_LEVEL);
    let request = driver_owned(request);
    if !is_marked(&request) && mark(&request, callback) {
        call_cancel(&request);
    }
}

extern "win64" fn WdfRequestMarkCancelableEx(_globals: Ptr<Globals>, request: u64, callback: u64) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let request = driver_owned(request);
    if is_marked(&request) {
        return NtStatus::INVALID_DEVICE_REQUEST;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    if mark(&request, callback) {
        lock(&request.state).cancel = 0;
        return NtStatus::CANCELLED;
    }
    NtStatus::SUCCESS
}

extern "win64" fn WdfRequestUnmarkCancelable(_globals: Ptr<Globals>, request: u64) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    // It may have been completed by EvtRequestCancel if the driver holds a reference for that.
    let request = crate::kmdf::object::find::<Request>(request);
    let (marked, called) = {
        let state = lock(&request.state);
        (state.cancel != 0, state.cancel_called)
    };
    if called {
        return NtStatus::CANCELLED;
    }
    if !marked {
        broken("a request was unmarked that was not marked cancelable".into(), "pair it with WdfRequestMarkCancelable");
        return NtStatus::INVALID_DEVICE_REQUEST;
    }
    if !unwatch(&request) {
        return NtStatus::CANCELLED;
    }
    lock(&request.state).cancel = 0;
    NtStatus::SUCCESS
}

extern "win64" fn WdfRequestIsCanceled(_globals: Ptr<Globals>, request: u64) -> u8 {
    require_irql(DISPATCH_LEVEL);
    u8::from(wdm::is_cancelled(driver_owned(request).irp()))
}
