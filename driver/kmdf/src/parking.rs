//! Requests that wait, in a manual queue of the framework's.
//!
//! The framework cancels a request that is in a queue; one that the driver has taken out it leaves alone. When a handle is closed it cancels
//! what is in the queues of that file then, after it has called `EvtFileCleanup`. So there is a lock: no request of a file is taken out to be
//! looked at, and put back, while that file is being closed.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use postern_filtering::{AnswerParked, WATCHERS, exactly_success, parked, unparked};
use wdk_sys::{
    _WDF_EXECUTION_LEVEL, _WDF_FILEOBJECT_CLASS, _WDF_IO_QUEUE_DISPATCH_TYPE, _WDF_SYNCHRONIZATION_SCOPE, _WDF_TRI_STATE,
    NTSTATUS, PWDFDEVICE_INIT, STATUS_CANCELLED, ULONG, WDF_FILEOBJECT_CONFIG, WDF_IO_QUEUE_CONFIG, WDF_OBJECT_ATTRIBUTES,
    WDFDEVICE, WDFFILEOBJECT, WDFOBJECT, WDFQUEUE, WDFQUEUE__, WDFREQUEST, WDFWAITLOCK, WDFWAITLOCK__,
    call_unsafe_wdf_function_binding,
};

use crate::request::{self, buffers};

/// Set before the device can be opened, and before the worker thread starts.
static QUEUE: AtomicPtr<WDFQUEUE__> = AtomicPtr::new(ptr::null_mut());
static LOCK: AtomicPtr<WDFWAITLOCK__> = AtomicPtr::new(ptr::null_mut());

fn queue() -> WDFQUEUE {
    QUEUE.load(Ordering::Acquire)
}

/// Has the framework tell when a handle is closed. IRQL: PASSIVE_LEVEL.
pub fn cancel_on_cleanup(init: PWDFDEVICE_INIT) {
    let mut config = WDF_FILEOBJECT_CONFIG {
        Size: size_of::<WDF_FILEOBJECT_CONFIG>() as ULONG,
        EvtFileCleanup: Some(cleanup),
        AutoForwardCleanupClose: _WDF_TRI_STATE::WdfUseDefault,
        FileObjectClass: _WDF_FILEOBJECT_CLASS::WdfFileObjectWdfCanUseFsContext,
        ..WDF_FILEOBJECT_CONFIG::default()
    };
    // SAFETY: `init` is a structure that the framework allocated, from which no device was created yet; the attributes are optional.
    unsafe {
        call_unsafe_wdf_function_binding!(
            WdfDeviceInitSetFileObjectConfig,
            init,
            &raw mut config,
            ptr::null_mut()
        )
    };
}

/// Creates the queue and the lock, which go with the device. IRQL: PASSIVE_LEVEL.
pub fn create(device: WDFDEVICE) -> Result<(), NTSTATUS> {
    let mut attributes = WDF_OBJECT_ATTRIBUTES {
        Size: size_of::<WDF_OBJECT_ATTRIBUTES>() as ULONG,
        ExecutionLevel: _WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent,
        SynchronizationScope: _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeInheritFromParent,
        ParentObject: device as WDFOBJECT,
        ..WDF_OBJECT_ATTRIBUTES::default()
    };
    let mut lock = ptr::null_mut();
    // SAFETY: the device exists, and the others outlive the call.
    exactly_success(unsafe {
        call_unsafe_wdf_function_binding!(WdfWaitLockCreate, &raw mut attributes, &raw mut lock)
    })?;
    LOCK.store(lock, Ordering::Release);
    let mut config = WDF_IO_QUEUE_CONFIG {
        Size: size_of::<WDF_IO_QUEUE_CONFIG>() as ULONG,
        DispatchType: _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual,
        // A control device has no power states.
        PowerManaged: _WDF_TRI_STATE::WdfFalse,
        EvtIoCanceledOnQueue: Some(canceled_on_queue),
        ..WDF_IO_QUEUE_CONFIG::default()
    };
    let mut queue = ptr::null_mut();
    // SAFETY: the device exists, and the others outlive the call; attributes are optional.
    exactly_success(unsafe {
        call_unsafe_wdf_function_binding!(WdfIoQueueCreate, device, &raw mut config, ptr::null_mut(), &raw mut queue)
    })?;
    QUEUE.store(queue, Ordering::Release);
    Ok(())
}

/// Keeps a request that is ours, and has its place. IRQL: at most DISPATCH_LEVEL.
pub fn keep(request: WDFREQUEST) {
    // SAFETY: the request is ours, from another queue of the same device.
    match exactly_success(unsafe { call_unsafe_wdf_function_binding!(WdfRequestForwardToIoQueue, request, queue()) }) {
        Ok(()) => parked(),
        Err(status) => end(request, Err(status)),
    }
}

/// Goes once through the requests: see [`postern_filtering::Shell::serve_parked`]. IRQL: PASSIVE_LEVEL.
pub fn serve(answer: &mut AnswerParked<'_>) {
    let _locked = Locked::lock();
    let mut unanswered = [None; WATCHERS as usize];
    // There is no more room than this. Who finds room meanwhile wakes the worker again.
    for place in &mut unanswered {
        let Some(request) = next() else { break };
        let answered = buffers(request, true, true).and_then(|buffers| {
            // SAFETY: the framework vouches for the buffers, and the request, ours until it is completed, is the only way to them.
            unsafe { buffers.with(&mut *answer) }
        });
        match answered {
            Ok(None) => *place = Some(request),
            Ok(Some(result)) => end(request, result),
            Err(status) => end(request, Err(status)),
        }
    }
    // Each goes to the head of the queue, so the oldest goes last.
    for request in unanswered.into_iter().rev().flatten() {
        // SAFETY: the request is ours, from this manual queue.
        if let Err(status) =
            exactly_success(unsafe { call_unsafe_wdf_function_binding!(WdfRequestRequeue, request) })
        {
            end(request, Err(status));
        }
    }
}

/// The oldest request in the queue, which is ours then.
fn next() -> Option<WDFREQUEST> {
    let mut request = ptr::null_mut();
    // SAFETY: the queue exists, and `request` outlives the call.
    exactly_success(unsafe {
        call_unsafe_wdf_function_binding!(WdfIoQueueRetrieveNextRequest, queue(), &raw mut request)
    })
    .ok()?;
    Some(request)
}

/// Completes a request that was parked and is ours again. IRQL: at most DISPATCH_LEVEL.
fn end(request: WDFREQUEST, result: Result<usize, NTSTATUS>) {
    unparked();
    request::complete(request, result);
}

/// `EvtIoCanceledOnQueue`. IRQL: at most DISPATCH_LEVEL.
///
/// What covers the last instructions: the file object. Whoever cancels has a reference to it until the cancel routine has returned, or is
/// the thread that the request belongs to and that its completion runs in; while it exists the system does not call the unload function.
unsafe extern "C" fn canceled_on_queue(_queue: WDFQUEUE, request: WDFREQUEST) {
    end(request, Err(STATUS_CANCELLED));
}

/// `EvtFileCleanup`. IRQL: PASSIVE_LEVEL, that of `IRP_MJ_CLEANUP`.
///
/// What covers the last instructions: the file object, which is closed after this.
unsafe extern "C" fn cleanup(file: WDFFILEOBJECT) {
    let _locked = Locked::lock();
    loop {
        let mut request = ptr::null_mut();
        // SAFETY: queue and file object exist, and `request` outlives the call.
        let found = exactly_success(unsafe {
            call_unsafe_wdf_function_binding!(WdfIoQueueRetrieveRequestByFileObject, queue(), file, &raw mut request)
        });
        if found.is_err() {
            break;
        }
        end(request, Err(STATUS_CANCELLED));
    }
}

/// The lock, held.
struct Locked(WDFWAITLOCK);

impl Locked {
    /// IRQL: PASSIVE_LEVEL.
    fn lock() -> Self {
        let lock = LOCK.load(Ordering::Acquire);
        // Without a timeout it has one result.
        // SAFETY: the lock exists for as long as the device does.
        let _ = unsafe { call_unsafe_wdf_function_binding!(WdfWaitLockAcquire, lock, ptr::null_mut()) };
        Locked(lock)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: this thread holds the lock.
        unsafe { call_unsafe_wdf_function_binding!(WdfWaitLockRelease, self.0) };
    }
}
