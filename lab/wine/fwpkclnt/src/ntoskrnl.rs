//! What the control device needs of Wine's kernel.

use core::ffi::c_char;
use std::ffi::CString;

use crate::nt::{DeviceObject, DriverObject, Irp, NtStatus, OwnedUnicode, UnicodeString};
use crate::ptr::Ptr;

pub const FILE_DEVICE_NETWORK: u32 = 0x12;

#[link(name = "ntoskrnl")]
unsafe extern "win64" {
    fn IoCreateDevice(
        driver: Ptr<DriverObject>,
        extension: u32,
        name: Ptr<UnicodeString>,
        device_type: u32,
        characteristics: u32,
        exclusive: u8,
        device: *mut Ptr<DeviceObject>,
    ) -> NtStatus;
    fn IoCreateSymbolicLink(link: Ptr<UnicodeString>, name: Ptr<UnicodeString>) -> NtStatus;
    fn IofCompleteRequest(irp: Ptr<Irp>, boost: i8);
}

#[link(name = "ntoskrnl")]
unsafe extern "C" {
    fn DbgPrint(format: *const c_char, ...) -> u32;
}

pub fn create_device(driver: Ptr<DriverObject>, name: &str) -> NtStatus {
    let mut device = Ptr::NULL;
    let name = OwnedUnicode::new(name);
    // SAFETY: the driver object is DriverEntry's, the name outlives the call.
    unsafe { IoCreateDevice(driver, 0, name.pointer(), FILE_DEVICE_NETWORK, 0, 0, &mut device) }
}

pub fn create_symbolic_link(link: &str, name: &str) -> NtStatus {
    let (link, name) = (OwnedUnicode::new(link), OwnedUnicode::new(name));
    // SAFETY: the names outlive the call.
    unsafe { IoCreateSymbolicLink(link.pointer(), name.pointer()) }
}

pub fn complete(irp: Ptr<Irp>) {
    // SAFETY: the caller's dispatch routine was given the request and does not touch it any more.
    unsafe { IofCompleteRequest(irp, 0) };
}

/// Prints a line to the debugger, which under Wine is the standard error output of the whole.
pub fn print(line: &str) {
    let line = CString::new(format!("fwpkclnt: {line}\n")).unwrap_or_default();
    // SAFETY: the format takes one string.
    unsafe { DbgPrint(c"%s".as_ptr(), line.as_ptr()) };
}
