//! Operations that are put off until somebody has decided ("Processing Classify Callouts Asynchronously").

use core::mem;
use core::ptr;

use crate::packet::Packet;
use crate::status::exactly_success;
use crate::sys::*;

/// An operation that was put off. It is completed once: by [`PendedOperation::complete`], or by dropping it.
#[must_use = "dropping the operation completes it"]
pub struct PendedOperation {
    context: HANDLE,
}

// SAFETY: any thread may complete an operation.
unsafe impl Send for PendedOperation {}

impl PendedOperation {
    /// Puts the operation off that is being classified. The classifyFn then answers with a block that is absorbed
    /// ("FwpsPendOperation0 function"). A reauthorisation cannot be put off: `STATUS_FWP_CANNOT_PEND`. IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Safety
    ///
    /// `completion_handle` is that of the metadata of a classifyFn at a layer whose operations can be put off, which has not returned.
    pub unsafe fn pend(completion_handle: HANDLE) -> Result<Self, NTSTATUS> {
        let mut context = ptr::null_mut();
        // SAFETY: `context` outlives the call; the rest is the caller's promise.
        exactly_success(unsafe { FwpsPendOperation0(completion_handle, &mut context) })?;
        Ok(PendedOperation { context })
    }

    /// Lets the operation go on. IRQL: at most DISPATCH_LEVEL; no lock is held that a classifyFn takes.
    ///
    /// A connect is classified again, as a reauthorisation, at once: on this thread before this returns, or on another. An accept
    /// is decided by injecting its packet, which is passed here too ("FwpsInjectTransportReceiveAsync0 function"), or by not injecting
    /// it.
    pub fn complete(self, packet: Option<&Packet>) {
        let context = self.context;
        mem::forget(self);
        let list = packet.map_or(ptr::null_mut(), Packet::list);
        // SAFETY: the context came from FwpsPendOperation0, and is given back here once; the list is valid or NULL.
        unsafe { FwpsCompleteOperation0(context, list) };
    }
}

impl Drop for PendedOperation {
    fn drop(&mut self) {
        // SAFETY: as in `complete`, which forgets the value.
        unsafe { FwpsCompleteOperation0(self.context, ptr::null_mut()) };
    }
}
