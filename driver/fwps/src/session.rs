//! Sessions with the base filtering engine (BFE), transactions, and the objects a driver adds. IRQL: PASSIVE_LEVEL throughout.
//!
//! The functions called here copy what they are given before they return ("FwpmFilterAdd0 function" and its siblings), so
//! every structure lives on the caller's stack.

use core::ptr;

use widestring::U16CStr;

use crate::status::exactly_success;
use crate::sys::*;

/// The name and description that people see in `netsh wfp show state`.
#[derive(Clone, Copy)]
pub struct Display {
    pub name: &'static U16CStr,
    pub description: &'static U16CStr,
}

impl Display {
    fn data(&self) -> FWPM_DISPLAY_DATA0 {
        FWPM_DISPLAY_DATA0 { name: self.name.as_ptr().cast_mut(), description: self.description.as_ptr().cast_mut() }
    }
}

/// An open session. Dropping it closes it; [`EngineSession::close`] also tells how that went.
pub struct EngineSession {
    handle: HANDLE,
}

// SAFETY: an engine handle belongs to no thread: any thread of the system may use and close it.
unsafe impl Send for EngineSession {}

impl EngineSession {
    /// Opens a session whose objects stay when it closes; it may delete those of others, but for what belongs to a dynamic
    /// session. BFE must be running.
    pub fn open(display: Display) -> Result<Self, NTSTATUS> {
        Self::open_with(display, 0)
    }

    /// Opens a dynamic session: what it adds goes when it closes, however it closes; it may delete nothing else
    /// (`STATUS_FWP_DYNAMIC_SESSION_IN_PROGRESS`). BFE must be running.
    pub fn open_dynamic(display: Display) -> Result<Self, NTSTATUS> {
        Self::open_with(display, FWPM_SESSION_FLAG_DYNAMIC)
    }

    fn open_with(display: Display, flags: u32) -> Result<Self, NTSTATUS> {
        let session = FWPM_SESSION0 {
            sessionKey: GUID::from_u128(0),
            displayData: display.data(),
            flags,
            txnWaitTimeoutInMSec: 0,
            processId: 0,
            sid: ptr::null_mut(),
            username: ptr::null_mut(),
            kernelMode: 0,
        };
        let mut handle = ptr::null_mut();
        // SAFETY: `session` and `handle` outlive the call; the other parameters may be NULL.
        exactly_success(unsafe {
            FwpmEngineOpen0(ptr::null(), RPC_C_AUTHN_WINNT, ptr::null_mut(), &session, &mut handle)
        })?;
        Ok(EngineSession { handle })
    }

    /// Closes the session. On failure it may still be open, and comes back.
    pub fn close(self) -> Result<(), (Self, NTSTATUS)> {
        // SAFETY: the handle came from FwpmEngineOpen0, and `self` is its only owner.
        match exactly_success(unsafe { FwpmEngineClose0(self.handle) }) {
            Ok(()) => {
                core::mem::forget(self);
                Ok(())
            }
            Err(status) => Err((self, status)),
        }
    }

    /// Runs `body` in a transaction: all that it does takes effect, or nothing.
    pub fn transaction<T>(
        &mut self,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, NTSTATUS>,
    ) -> Result<T, NTSTATUS> {
        // SAFETY: the handle is open for as long as `self` exists.
        exactly_success(unsafe { FwpmTransactionBegin0(self.handle, 0) })?;
        let done = body(&Transaction { session: self }).and_then(|value| {
            // SAFETY: as above.
            exactly_success(unsafe { FwpmTransactionCommit0(self.handle) }).map(|()| value)
        });
        if done.is_err() {
            // The status is of no use: a transaction that cannot be aborted any more has ended already.
            // SAFETY: as above.
            let _ = unsafe { FwpmTransactionAbort0(self.handle) };
        }
        done
    }
}

impl Drop for EngineSession {
    fn drop(&mut self) {
        // Nobody is left to be told the status, and the handle is not valid afterwards whatever it says.
        // SAFETY: the handle came from FwpmEngineOpen0 and nobody uses it after this.
        let _ = unsafe { FwpmEngineClose0(self.handle) };
    }
}

/// Adds and deletes objects in a running transaction.
pub struct Transaction<'a> {
    session: &'a EngineSession,
}

/// A sublayer to add.
pub struct Sublayer<'a> {
    pub key: GUID,
    pub display: Display,
    pub provider: &'a GUID,
    pub weight: u16,
}

/// A callout object to add: it lets filters name a callout that is registered under the same key.
pub struct CalloutObject<'a> {
    pub key: GUID,
    pub display: Display,
    pub provider: &'a GUID,
    pub layer: GUID,
}

/// A filter without conditions to add, whose action is a callout for inspection.
pub struct InspectionFilter<'a> {
    pub display: Display,
    pub provider: &'a GUID,
    pub layer: GUID,
    pub sublayer: GUID,
    pub callout: GUID,
    /// `rawContext`: plain data. Never a pointer, because a filter may outlive what it pointed to.
    pub context: u64,
}

const NO_DATA: FWP_BYTE_BLOB = FWP_BYTE_BLOB { size: 0, data: ptr::null_mut() };
const EMPTY: FWP_VALUE0 = FWP_VALUE0 { r#type: FWP_EMPTY, Anonymous: FWP_VALUE0_0 { uint64: ptr::null_mut() } };

impl Transaction<'_> {
    /// The open session's.
    pub(crate) fn handle(&self) -> HANDLE {
        self.session.handle
    }

    pub fn add_provider(&self, key: GUID, display: Display) -> Result<(), NTSTATUS> {
        let provider = FWPM_PROVIDER0 {
            providerKey: key,
            displayData: display.data(),
            flags: 0,
            providerData: NO_DATA,
            serviceName: ptr::null_mut(),
        };
        // SAFETY: the session is open; `provider` outlives the call; a security descriptor is optional.
        exactly_success(unsafe { FwpmProviderAdd0(self.session.handle, &provider, ptr::null_mut()) })
    }

    pub fn add_sublayer(&self, sublayer: &Sublayer<'_>) -> Result<(), NTSTATUS> {
        let sublayer = FWPM_SUBLAYER0 {
            subLayerKey: sublayer.key,
            displayData: sublayer.display.data(),
            flags: 0,
            providerKey: ptr::from_ref(sublayer.provider).cast_mut(),
            providerData: NO_DATA,
            weight: sublayer.weight,
        };
        // SAFETY: the session is open; `sublayer` outlives the call; a security descriptor is optional.
        exactly_success(unsafe { FwpmSubLayerAdd0(self.session.handle, &sublayer, ptr::null_mut()) })
    }

    pub fn add_callout(&self, callout: &CalloutObject<'_>) -> Result<(), NTSTATUS> {
        let callout = FWPM_CALLOUT0 {
            calloutKey: callout.key,
            displayData: callout.display.data(),
            flags: 0,
            providerKey: ptr::from_ref(callout.provider).cast_mut(),
            providerData: NO_DATA,
            applicableLayer: callout.layer,
            calloutId: 0,
        };
        // SAFETY: the session is open; `callout` outlives the call; descriptor and id are optional.
        exactly_success(unsafe { FwpmCalloutAdd0(self.session.handle, &callout, ptr::null_mut(), ptr::null_mut()) })
    }

    /// Adds a filter with a key of BFE's choice, and returns its run-time id.
    pub fn add_filter(&self, filter: &InspectionFilter<'_>) -> Result<u64, NTSTATUS> {
        let mut id = 0;
        let filter = FWPM_FILTER0 {
            filterKey: GUID::from_u128(0),
            displayData: filter.display.data(),
            flags: FWPM_FILTER_FLAG_NONE,
            providerKey: ptr::from_ref(filter.provider).cast_mut(),
            providerData: NO_DATA,
            layerKey: filter.layer,
            subLayerKey: filter.sublayer,
            weight: EMPTY,
            numFilterConditions: 0,
            filterCondition: ptr::null_mut(),
            action: FWPM_ACTION0 {
                r#type: FWP_ACTION_CALLOUT_INSPECTION,
                Anonymous: FWPM_ACTION0_0 { calloutKey: filter.callout },
            },
            Anonymous: FWPM_FILTER0_0 { rawContext: filter.context },
            reserved: ptr::null_mut(),
            filterId: 0,
            effectiveWeight: EMPTY,
        };
        // SAFETY: the session is open; `filter` and `id` outlive the call; a security descriptor is optional.
        exactly_success(unsafe { FwpmFilterAdd0(self.session.handle, &filter, ptr::null_mut(), &mut id) })?;
        Ok(id)
    }

    pub fn delete_filter(&self, id: u64) -> Result<(), NTSTATUS> {
        // SAFETY: the session is open.
        exactly_success(unsafe { FwpmFilterDeleteById0(self.session.handle, id) })
    }
}
