//! The entry point: of a library when the loader calls it, of a driver when the kernel does.

use core::ffi::c_void;

use crate::control;
use crate::nt::{DriverObject, NtStatus};
use crate::ptr::Ptr;

unsafe extern "C" {
    /// The start of this image; the linker makes it.
    static __ImageBase: u8;
}

unsafe extern "system" {
    /// What a library's entry point is without an own one: starts the C library and the thread local storage.
    fn DllMainCRTStartup(instance: *mut c_void, reason: u32, reserved: *mut c_void) -> i32;
}

/// The loader passes the image's base, a reason and a reserved pointer, and wants a `BOOL`; the kernel passes the driver's object and its
/// registry path, and wants an `NTSTATUS`.
///
/// # Safety
/// Called by the loader and the kernel alone.
#[unsafe(no_mangle)]
unsafe extern "system" fn postern_entry(first: *mut c_void, second: u64, third: *mut c_void) -> i32 {
    if core::ptr::eq(first.cast(), &raw const __ImageBase) {
        // SAFETY: passes on what the loader passed.
        return unsafe { DllMainCRTStartup(first, second as u32, third) };
    }
    let NtStatus(status) = control::driver_entry(Ptr::new(first.cast::<DriverObject>()));
    status
}
