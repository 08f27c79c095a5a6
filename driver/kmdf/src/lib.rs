//! `postern.sys`: the KMDF shell of the Postern driver.
#![no_std]

extern crate wdk_panic;

use core::mem::size_of;
use core::ptr;

use wdk_alloc::WdkAllocator;
use wdk_sys::{
    _WDF_DRIVER_INIT_FLAGS::WdfDriverInitNonPnpDriver, DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING,
    ULONG, WDF_DRIVER_CONFIG, WDFDRIVER, call_unsafe_wdf_function_binding,
};

#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

/// `DRIVER_INITIALIZE`, called by the framework's entry point at PASSIVE_LEVEL.
///
/// # Safety
///
/// Windows calls this once, with the driver's own object and registry path.
// SAFETY: no other symbol of the image has this name; the framework's entry stub calls it.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(
    driver: &mut DRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
) -> NTSTATUS {
    let mut config = WDF_DRIVER_CONFIG {
        Size: size_of::<WDF_DRIVER_CONFIG>() as ULONG,
        EvtDriverUnload: Some(unload),
        DriverInitFlags: WdfDriverInitNonPnpDriver as ULONG,
        ..WDF_DRIVER_CONFIG::default()
    };
    // SAFETY: the object and path are the caller's, and `config` is initialised as WdfDriverCreate requires.
    unsafe {
        call_unsafe_wdf_function_binding!(
            WdfDriverCreate,
            ptr::from_mut(driver),
            registry_path,
            ptr::null_mut(),
            &raw mut config,
            ptr::null_mut(),
        )
    }
}

/// `EvtDriverUnload`, called at PASSIVE_LEVEL.
extern "C" fn unload(_driver: WDFDRIVER) {
    wdk::println!("postern: unload");
}
