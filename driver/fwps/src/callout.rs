//! Registering callouts with the run-time half of the filter engine. IRQL: PASSIVE_LEVEL.

use core::ffi::c_void;

use crate::status::exactly_success;
use crate::sys::*;

/// Registers a callout and returns its run-time id. It works whether BFE is running or not.
///
/// # Safety
///
/// `device` is a device object of the calling driver that outlives the registration. The functions of `callout` may be called
/// from now on, on any thread, until [`unregister`] or [`unregister_by_key`] has returned `STATUS_SUCCESS` for it; they and what
/// they use must stay valid until then.
pub unsafe fn register(device: *mut c_void, callout: &FWPS_CALLOUT3) -> Result<u32, NTSTATUS> {
    let mut id = 0;
    // SAFETY: `callout` and `id` outlive the call; the rest is the caller's promise.
    exactly_success(unsafe { FwpsCalloutRegister3(device, callout, &mut id) })?;
    Ok(id)
}

/// Unregisters a callout. The documented statuses are `STATUS_SUCCESS`, `STATUS_DEVICE_BUSY` (a warning: a flow still carries a
/// context of the callout; call again after removing it), `STATUS_FWP_IN_USE` and `STATUS_FWP_CALLOUT_NOT_FOUND`; others
/// are possible. Nothing documents that it waits for a classify in progress.
pub fn unregister(id: u32) -> NTSTATUS {
    // SAFETY: any number may be passed.
    unsafe { FwpsCalloutUnregisterById0(id) }
}

/// As [`unregister`], by key.
pub fn unregister_by_key(key: &GUID) -> NTSTATUS {
    // SAFETY: `key` outlives the call.
    unsafe { FwpsCalloutUnregisterByKey0(key) }
}
