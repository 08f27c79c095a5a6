//! The device and its symbolic link: how programs reach the driver.

use core::ptr;

use postern_filtering::{AnswerParked, DEVICE_LINK, DEVICE_NAME, SYSTEM_AND_ADMINISTRATORS, Shell, exactly_success, failed, string};
use wdk_sys::ntddk::{IoCreateSymbolicLink, IoDeleteDevice, IoDeleteSymbolicLink};
use wdk_sys::{
    BOOLEAN, DEVICE_OBJECT, DRIVER_OBJECT, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, GUID, NTSTATUS,
    PCUNICODE_STRING, PUNICODE_STRING, ULONG,
};

use crate::parking;

/// Setup class of the device, for an administrator who changes who may open it ("WdmlibIoCreateDeviceSecure function", wdmsec.h):
/// `{706f7374-6572-4e00-8003-000000000000}`.
const CLASS: GUID =
    GUID { Data1: 0x706f_7374, Data2: 0x6572, Data3: 0x4e00, Data4: [0x80, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00] };

#[link(name = "wdmsec", kind = "static", modifiers = "-bundle")]
unsafe extern "C" {
    /// `IoCreateDeviceSecure` (wdmsec.h gives it this name).
    fn WdmlibIoCreateDeviceSecure(
        driver: *mut DRIVER_OBJECT,
        extension_size: ULONG,
        name: PUNICODE_STRING,
        device_type: ULONG,
        characteristics: ULONG,
        exclusive: BOOLEAN,
        access: PCUNICODE_STRING,
        class: *const GUID,
        device: *mut *mut DEVICE_OBJECT,
    ) -> NTSTATUS;
}

/// What the shell has acquired.
pub enum Held {
    Device(Device),
    Link(Link),
}

impl Shell for Held {
    fn serve_parked(answer: &mut AnswerParked<'_>) {
        parking::serve(answer);
    }

    fn release(&mut self) {
        match self {
            Held::Device(device) => device.delete(),
            Held::Link(link) => link.delete(),
        }
    }
}

/// The device object.
pub struct Device(*mut DEVICE_OBJECT);

impl Device {
    /// IRQL: PASSIVE_LEVEL.
    pub fn create(driver: &mut DRIVER_OBJECT) -> Result<Self, NTSTATUS> {
        let (mut name, access) = (string(DEVICE_NAME), string(SYSTEM_AND_ADMINISTRATORS));
        let mut device = ptr::null_mut();
        // Without FILE_DEVICE_SECURE_OPEN a path below the device's name would be opened without an access check.
        // SAFETY: the driver object is DriverEntry's, and the others outlive the call.
        exactly_success(unsafe {
            WdmlibIoCreateDeviceSecure(
                driver,
                0,
                &mut name,
                FILE_DEVICE_NETWORK,
                FILE_DEVICE_SECURE_OPEN,
                0,
                &access,
                &CLASS,
                &mut device,
            )
        })?;
        Ok(Device(device))
    }

    pub fn object(&self) -> *mut DEVICE_OBJECT {
        self.0
    }

    fn delete(&mut self) {
        // SAFETY: the device exists, and nobody uses it after this.
        unsafe { IoDeleteDevice(self.0) };
    }
}

/// The symbolic link that programs open.
pub struct Link(());

impl Link {
    /// IRQL: PASSIVE_LEVEL.
    pub fn create() -> Result<Self, NTSTATUS> {
        let (mut link, mut name) = (string(DEVICE_LINK), string(DEVICE_NAME));
        // SAFETY: the strings outlive the call.
        exactly_success(unsafe { IoCreateSymbolicLink(&mut link, &mut name) })?;
        Ok(Link(()))
    }

    fn delete(&mut self) {
        let mut link = string(DEVICE_LINK);
        // A link that somebody else has deleted leads nowhere either.
        // SAFETY: the string outlives the call.
        if let Err(status) = exactly_success(unsafe { IoDeleteSymbolicLink(&mut link) }) {
            failed("deleting the symbolic link", status);
        }
    }
}
