//! `postern_wdm.sys`: the WDM shell of the Postern driver.
//!
//! A shell brings what a driver model wants around the driver: the entry point, the device, the way that requests come in, and
//! the unload function. What the driver does is in `postern-filtering`.
#![no_std]

extern crate wdk_panic;

mod device;
mod dispatch;
mod irp;
mod parking;

use postern_filtering::{ImageStay, Stay, failed};
use wdk_alloc::WdkAllocator;
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING};

use crate::device::{Device, Held, Link};

#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

static STAY: ImageStay<Held> = ImageStay::new();

/// `DRIVER_INITIALIZE`. IRQL: PASSIVE_LEVEL.
///
/// # Safety
///
/// The system calls this once, with the driver's own object and registry path.
// SAFETY: no other symbol of the image has this name.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _registry_path: PCUNICODE_STRING) -> NTSTATUS {
    // SAFETY: this is DriverEntry.
    unsafe { STAY.enter(|stay| enter(stay, driver)) }
}

/// The device that this creates cannot be opened before DriverEntry has succeeded, so no request meets a driver that is half
/// there: it keeps `DO_DEVICE_INITIALIZING`, with which the I/O manager opens no device and which it takes from those that DriverEntry
/// has created once that has succeeded ("Initializing a Device Object").
fn enter(stay: &mut Stay<Held>, driver: &mut DRIVER_OBJECT) -> Result<(), NTSTATUS> {
    driver.DriverUnload = Some(unload);
    dispatch::install(driver);
    // SAFETY: there is no device yet that a request could come through.
    unsafe { parking::prepare() }.map_err(|status| failed("preparing the queue", status))?;
    let device = Device::create(driver).map_err(|status| failed("creating the device", status))?;
    let object = device.object();
    stay.hold(Held::Device(device))?;
    let link = Link::create().map_err(|status| failed("creating the symbolic link", status))?;
    stay.hold(Held::Link(link))?;
    // SAFETY: the device was just entered, and the system calls DriverEntry once.
    unsafe { stay.start(object) }
}

/// `DRIVER_UNLOAD`. IRQL: PASSIVE_LEVEL. The image may leave memory once this has returned.
unsafe extern "C" fn unload(_driver: *mut DRIVER_OBJECT) {
    // SAFETY: this is the unload function.
    unsafe { STAY.leave() };
}
