//! The control device: how programs reach the driver.

use core::ptr;

use postern_filtering::{
    AnswerParked, Control, DEVICE_LINK, DEVICE_NAME, SYSTEM_AND_ADMINISTRATORS, Shell, control, exactly_success,
    expect_buffered, park, string,
};
use wdk_sys::{
    _WDF_IO_QUEUE_DISPATCH_TYPE, _WDF_TRI_STATE, DEVICE_OBJECT, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, NTSTATUS,
    PWDFDEVICE_INIT, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS, ULONG, ULONG_PTR, WDF_IO_QUEUE_CONFIG, WDFDEVICE,
    WDFDRIVER, WDFOBJECT, WDFQUEUE, WDFREQUEST, call_unsafe_wdf_function_binding,
};

use crate::parking;
use crate::request::{self, buffers};

/// The driver's control device. Its queues and its symbolic link go with it.
pub struct ControlDevice {
    handle: WDFDEVICE,
}

impl ControlDevice {
    /// Creates the device; it cannot be opened before [`admit`]. IRQL: PASSIVE_LEVEL.
    pub fn create(driver: WDFDRIVER) -> Result<Self, NTSTATUS> {
        let access = string(SYSTEM_AND_ADMINISTRATORS);
        // SAFETY: the driver object exists, and the string outlives the call.
        let mut init =
            unsafe { call_unsafe_wdf_function_binding!(WdfControlDeviceInitAllocate, driver, &raw const access) };
        if init.is_null() {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        let created = configure(init).and_then(|()| {
            let mut handle = ptr::null_mut();
            // SAFETY: `init` is a structure that the framework allocated; the attributes may be NULL.
            exactly_success(unsafe {
                call_unsafe_wdf_function_binding!(WdfDeviceCreate, &raw mut init, ptr::null_mut(), &raw mut handle)
            })?;
            Ok(ControlDevice { handle })
        });
        if created.is_err() {
            // WdfDeviceCreate takes the structure, and sets the pointer to NULL, only if it succeeds.
            // SAFETY: the structure is still ours.
            unsafe { call_unsafe_wdf_function_binding!(WdfDeviceInitFree, init) };
        }
        created
    }

    pub fn handle(&self) -> WDFDEVICE {
        self.handle
    }

    /// The WDM device object, as the filter engine wants it.
    pub fn device_object(&self) -> *mut DEVICE_OBJECT {
        // SAFETY: the device exists.
        unsafe { call_unsafe_wdf_function_binding!(WdfDeviceWdmGetDeviceObject, self.handle) }
    }
}

impl Shell for ControlDevice {
    fn serve_parked(answer: &mut AnswerParked<'_>) {
        parking::serve(answer);
    }

    fn release(&mut self) {
        // SAFETY: the device exists, and nobody uses its handle after this.
        unsafe { call_unsafe_wdf_function_binding!(WdfObjectDelete, self.handle as WDFOBJECT) };
    }
}

fn configure(init: PWDFDEVICE_INIT) -> Result<(), NTSTATUS> {
    // SAFETY: `init` is a structure that the framework allocated, and no device was created from it yet.
    unsafe { call_unsafe_wdf_function_binding!(WdfDeviceInitSetDeviceType, init, FILE_DEVICE_NETWORK) };
    // Without FILE_DEVICE_SECURE_OPEN a path below the device's name would be opened without an access check.
    // SAFETY: as above.
    unsafe { call_unsafe_wdf_function_binding!(WdfDeviceInitSetCharacteristics, init, FILE_DEVICE_SECURE_OPEN, 1) };
    parking::cancel_on_cleanup(init);
    let name = string(DEVICE_NAME);
    // SAFETY: as above; the string outlives the call.
    exactly_success(unsafe { call_unsafe_wdf_function_binding!(WdfDeviceInitAssignName, init, &raw const name) })
}

/// Gives the device its queues and its symbolic link. IRQL: PASSIVE_LEVEL.
pub fn complete(device: WDFDEVICE) -> Result<(), NTSTATUS> {
    let mut config = WDF_IO_QUEUE_CONFIG {
        Size: size_of::<WDF_IO_QUEUE_CONFIG>() as ULONG,
        DispatchType: _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel,
        // A control device has no power states.
        PowerManaged: _WDF_TRI_STATE::WdfFalse,
        DefaultQueue: 1,
        EvtIoDeviceControl: Some(device_control),
        ..WDF_IO_QUEUE_CONFIG::default()
    };
    // "WDF_IO_QUEUE_CONFIG_INIT": a parallel queue delivers any number of requests at once.
    config.Settings.Parallel.NumberOfPresentedRequests = ULONG::MAX;
    // SAFETY: the device exists; attributes and handle are optional.
    exactly_success(unsafe {
        call_unsafe_wdf_function_binding!(WdfIoQueueCreate, device, &raw mut config, ptr::null_mut(), ptr::null_mut())
    })?;
    parking::create(device)?;
    let link = string(DEVICE_LINK);
    // SAFETY: the device exists, and the string outlives the call.
    exactly_success(unsafe { call_unsafe_wdf_function_binding!(WdfDeviceCreateSymbolicLink, device, &raw const link) })
}

/// Lets the device be opened. IRQL: PASSIVE_LEVEL.
pub fn admit(device: WDFDEVICE) {
    // SAFETY: the device exists.
    unsafe { call_unsafe_wdf_function_binding!(WdfControlFinishInitializing, device) };
}

/// `EvtIoDeviceControl`. IRQL: at most DISPATCH_LEVEL.
///
/// What covers the last instructions: the file object that the request came through. While one is open the system does not
/// call the unload function.
unsafe extern "C" fn device_control(
    _queue: WDFQUEUE,
    request: WDFREQUEST,
    output_length: usize,
    input_length: usize,
    code: ULONG,
) {
    match answer(request, output_length, input_length, code) {
        Control::Done(result) => request::complete(request, result),
        Control::Park => match park() {
            Ok(()) => parking::keep(request),
            Err(status) => request::complete(request, Err(status)),
        },
    }
}

fn answer(request: WDFREQUEST, output_length: usize, input_length: usize, code: ULONG) -> Control {
    let answer = expect_buffered(code).and_then(|()| buffers(request, input_length != 0, output_length != 0)).and_then(|buffers| {
        // SAFETY: the framework vouches for the buffers, and the request, ours until it is completed, is the only way to them.
        unsafe { buffers.with(|input, output| control(code, input, output)) }
    });
    answer.unwrap_or_else(|status| Control::Done(Err(status)))
}
