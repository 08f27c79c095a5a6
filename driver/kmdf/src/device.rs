//! The control device: how programs reach the driver.

use core::{ptr, slice};

use postern_core::request;
use postern_filtering::{AnswerParked, Control, Shell, control, exactly_success};
use wdk_sys::{
    _WDF_IO_QUEUE_DISPATCH_TYPE, _WDF_TRI_STATE, DEVICE_OBJECT, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, NTSTATUS,
    PWDFDEVICE_INIT, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS, ULONG, ULONG_PTR,
    UNICODE_STRING, WDF_IO_QUEUE_CONFIG, WDFDEVICE, WDFDRIVER, WDFOBJECT, WDFQUEUE, WDFREQUEST,
    call_unsafe_wdf_function_binding,
};
use widestring::{U16CStr, u16cstr};

/// SYSTEM and administrators may do everything, nobody else anything (`SDDL_DEVOBJ_SYS_ALL_ADM_ALL`, wdmsec.h).
const SYSTEM_AND_ADMINISTRATORS: &U16CStr = u16cstr!("D:P(A;;GA;;;SY)(A;;GA;;;BA)");
/// [`postern_protocol::DEVICE_NAME`].
const DEVICE_NAME: &U16CStr = u16cstr!(r"\Device\Postern");
/// [`postern_protocol::DEVICE_LINK`].
const DEVICE_LINK: &U16CStr = u16cstr!(r"\DosDevices\Postern");

/// The driver's control device. Its queue and its symbolic link go with it.
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
    fn serve_parked(_answer: &mut AnswerParked<'_>) {}

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
    let name = string(DEVICE_NAME);
    // SAFETY: as above; the string outlives the call.
    exactly_success(unsafe { call_unsafe_wdf_function_binding!(WdfDeviceInitAssignName, init, &raw const name) })
}

/// Gives the device its queue and its symbolic link. IRQL: PASSIVE_LEVEL.
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
    let (status, information) = match answer(request, output_length, input_length, code) {
        Ok(length) => (STATUS_SUCCESS, length),
        Err(status) => (status, 0),
    };
    // SAFETY: the framework gave us the request, and nobody uses it after this.
    unsafe {
        call_unsafe_wdf_function_binding!(WdfRequestCompleteWithInformation, request, status, information as ULONG_PTR)
    };
}

fn answer(request: WDFREQUEST, output_length: usize, input_length: usize, code: ULONG) -> Result<usize, NTSTATUS> {
    // Input and output share a buffer, so the input is copied before anything is written.
    let mut copy = [0u8; request::LONGEST_INPUT];
    let input = copy.get_mut(..input_length).ok_or(STATUS_INVALID_PARAMETER)?;
    if input_length != 0 {
        let mut buffer = ptr::null_mut();
        // SAFETY: the request is ours until it is completed; the length is optional.
        exactly_success(unsafe {
            call_unsafe_wdf_function_binding!(
                WdfRequestRetrieveInputBuffer,
                request,
                input_length,
                &raw mut buffer,
                ptr::null_mut()
            )
        })?;
        // SAFETY: the framework vouches for at least `input_length` bytes, which nobody writes while the request is ours.
        input.copy_from_slice(unsafe { slice::from_raw_parts(buffer.cast(), input_length) });
    }
    if output_length == 0 {
        return done(control(code, input, &mut []));
    }
    let mut buffer = ptr::null_mut();
    // SAFETY: the request is ours until it is completed; the length is optional.
    exactly_success(unsafe {
        call_unsafe_wdf_function_binding!(
            WdfRequestRetrieveOutputBuffer,
            request,
            output_length,
            &raw mut buffer,
            ptr::null_mut()
        )
    })?;
    // SAFETY: the framework vouches for at least `output_length` bytes, and the request, ours until it is completed, is the
    // only way to them.
    done(control(code, input, unsafe { slice::from_raw_parts_mut(buffer.cast(), output_length) }))
}

fn done(control: Control) -> Result<usize, NTSTATUS> {
    match control {
        Control::Done(r) => r,
        Control::Park => Err(-1),
    }
}

/// A string as the kernel takes it.
fn string(text: &'static U16CStr) -> UNICODE_STRING {
    let bytes = (text.len() * 2) as u16;
    UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: text.as_ptr().cast_mut() }
}
