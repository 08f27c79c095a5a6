//! `postern.sys`: the KMDF shell of the Postern driver.
//!
//! A shell brings what a driver model wants around the driver: the entry point, the device, the way that requests come in, and
//! the unload function. What the driver does is in `postern-filtering`.
#![no_std]

extern crate wdk_panic;

mod device;
mod parking;
mod request;

use core::ptr;

use postern_filtering::{ImageStay, Stay, exactly_success, failed};
use wdk_alloc::WdkAllocator;
use wdk_sys::_WDF_DRIVER_INIT_FLAGS::WdfDriverInitNonPnpDriver;
use wdk_sys::{
    DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, ULONG, WDF_DRIVER_CONFIG, WDFDRIVER, call_unsafe_wdf_function_binding,
};

use crate::device::ControlDevice;

#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

static STAY: ImageStay<ControlDevice> = ImageStay::new();

/// `DRIVER_INITIALIZE`. IRQL: PASSIVE_LEVEL.
///
/// # Safety
///
/// The framework's entry stub calls this once, with the driver's own object and registry path.
// SAFETY: no other symbol of the image has this name.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, registry_path: PCUNICODE_STRING) -> NTSTATUS {
    // SAFETY: this is DriverEntry.
    unsafe { STAY.enter(|stay| enter(stay, driver, registry_path)) }
}

fn enter(
    stay: &mut Stay<ControlDevice>,
    driver: &mut DRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
) -> Result<(), NTSTATUS> {
    let driver = create_driver(driver, registry_path).map_err(|status| failed("creating the driver object", status))?;
    let device = ControlDevice::create(driver).map_err(|status| failed("creating the control device", status))?;
    let (handle, device_object) = (device.handle(), device.device_object());
    stay.hold(device)?;
    device::complete(handle).map_err(|status| failed("completing the control device", status))?;
    // SAFETY: the device was just entered, and the system calls DriverEntry once.
    unsafe { stay.start(device_object) }?;
    // Only now can the device be opened, so no request meets a driver that is half there.
    device::admit(handle);
    Ok(())
}

/// Makes this a non-PnP driver that can be unloaded. The framework sets `DRIVER_OBJECT.DriverUnload`, and nobody else may:
/// its own unload work hangs there.
fn create_driver(driver: &mut DRIVER_OBJECT, registry_path: PCUNICODE_STRING) -> Result<WDFDRIVER, NTSTATUS> {
    let mut config = WDF_DRIVER_CONFIG {
        Size: size_of::<WDF_DRIVER_CONFIG>() as ULONG,
        EvtDriverUnload: Some(unload),
        DriverInitFlags: WdfDriverInitNonPnpDriver as ULONG,
        ..WDF_DRIVER_CONFIG::default()
    };
    let mut handle = ptr::null_mut();
    // SAFETY: object and path are DriverEntry's, and the others outlive the call.
    exactly_success(unsafe {
        call_unsafe_wdf_function_binding!(
            WdfDriverCreate,
            ptr::from_mut(driver),
            registry_path,
            ptr::null_mut(),
            &raw mut config,
            &raw mut handle,
        )
    })?;
    Ok(handle)
}

/// `EvtDriverUnload`. IRQL: PASSIVE_LEVEL. The image may leave memory once this has returned, and the framework has deleted
/// the driver object after it.
unsafe extern "C" fn unload(_driver: WDFDRIVER) {
    // SAFETY: this is the unload function.
    unsafe { STAY.leave() };
}
