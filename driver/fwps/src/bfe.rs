//! The state of the base filtering engine (BFE), which may start after the driver and stop before it.

use core::ffi::c_void;
use core::ptr;

use crate::status::exactly_success;
use crate::sys::*;

/// Whether sessions can be opened now. Meaningful only under a [`Subscription`] ("FwpmBfeStateGet0 function").
/// IRQL: at most DISPATCH_LEVEL.
pub fn is_running() -> bool {
    // SAFETY: the function has no parameters.
    unsafe { FwpmBfeStateGet0() == FWPM_SERVICE_RUNNING }
}

/// A subscription to changes of BFE's state.
#[must_use = "a subscription that is forgotten calls into an image that may be gone"]
pub struct Subscription {
    handle: HANDLE,
}

// SAFETY: a subscription handle belongs to no thread.
unsafe impl Send for Subscription {}

impl Subscription {
    /// Has `callback` called whenever BFE's state changes. IRQL: PASSIVE_LEVEL; that of the callback is not documented.
    ///
    /// # Safety
    ///
    /// `device` is a device object of the calling driver. It, `callback` and `context` stay valid until
    /// [`Subscription::unsubscribe`] has succeeded.
    pub unsafe fn new(
        device: *mut c_void,
        callback: FWPM_SERVICE_STATE_CHANGE_CALLBACK0,
        context: *mut c_void,
    ) -> Result<Self, NTSTATUS> {
        let mut handle = ptr::null_mut();
        // SAFETY: `handle` outlives the call; the rest is the caller's promise.
        exactly_success(unsafe { FwpmBfeStateSubscribeChanges0(device, callback, context, &mut handle) })?;
        Ok(Subscription { handle })
    }

    /// Ends the subscription. After success the callback neither runs nor will run. On failure it stands, and the
    /// subscription can be ended again. IRQL: PASSIVE_LEVEL, never from the callback, for which this waits.
    pub fn unsubscribe(&mut self) -> Result<(), NTSTATUS> {
        // SAFETY: the handle came from FwpmBfeStateSubscribeChanges0 and the subscription stands.
        exactly_success(unsafe { FwpmBfeStateUnsubscribeChanges0(self.handle) })
    }
}
