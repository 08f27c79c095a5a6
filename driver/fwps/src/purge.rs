//! Deleting what a provider has left behind: objects of an earlier stay that nobody deleted. IRQL: PASSIVE_LEVEL throughout.

use core::ffi::c_void;
use core::ptr;
use core::slice;

use crate::session::Transaction;
use crate::status::exactly_success;
use crate::sys::*;

/// What kind of object it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    Filter,
    Callout,
    Sublayer,
    Provider,
}

impl ObjectKind {
    pub const fn name(self) -> &'static str {
        match self {
            ObjectKind::Filter => "filter",
            ObjectKind::Callout => "callout",
            ObjectKind::Sublayer => "sublayer",
            ObjectKind::Provider => "provider",
        }
    }
}

/// An object that could not be deleted, and why: `STATUS_FWP_IN_USE` while another object refers to it,
/// `STATUS_FWP_WRONG_SESSION` if it belongs to another dynamic session, others.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    pub kind: ObjectKind,
    pub key: GUID,
    pub status: NTSTATUS,
}

/// How often ending an enumeration is tried. What is left of one is BFE's memory, and goes with it.
const END_ATTEMPTS: u32 = 8;

/// How many objects an enumeration is asked for at once: the memory that it takes.
const BATCH: u32 = 64;

impl Transaction<'_> {
    /// Deletes every filter, callout and sublayer of `provider`, whoever added it, and the provider itself; for a session that is not
    /// dynamic. What cannot be deleted is told to `left`. Returns how many objects were deleted.
    pub fn delete_all_of(&self, provider: &GUID, mut left: impl FnMut(Left)) -> Result<u32, NTSTATUS> {
        // An object can be deleted after what refers to it.
        let mut deleted = self.delete_each_of::<FWPM_FILTER0>(provider, &mut left)?;
        deleted += self.delete_each_of::<FWPM_CALLOUT0>(provider, &mut left)?;
        deleted += self.delete_each_of::<FWPM_SUBLAYER0>(provider, &mut left)?;
        // SAFETY: the session is open; the key outlives the call.
        match unsafe { FwpmProviderDeleteByKey0(self.handle(), provider) } {
            STATUS_SUCCESS => deleted += 1,
            STATUS_FWP_PROVIDER_NOT_FOUND => {}
            status => left(Left { kind: ObjectKind::Provider, key: *provider, status }),
        }
        Ok(deleted)
    }

    fn delete_each_of<T: Object>(&self, provider: &GUID, left: &mut impl FnMut(Left)) -> Result<u32, NTSTATUS> {
        let session = self.handle();
        let mut enumeration = ptr::null_mut();
        exactly_success(T::enumerate(session, &mut enumeration))?;
        let deleted = delete_enumerated::<T>(session, enumeration, provider, left);
        let mut ended = exactly_success(T::end(session, enumeration));
        for _ in 1..END_ATTEMPTS {
            if ended.is_err() {
                ended = exactly_success(T::end(session, enumeration));
            }
        }
        let deleted = deleted?;
        ended?;
        Ok(deleted)
    }
}

/// An enumeration is no live view: what is deleted meanwhile does not change it ("FwpmFilterCreateEnumHandle0 function").
fn delete_enumerated<T: Object>(
    session: HANDLE,
    enumeration: HANDLE,
    provider: &GUID,
    left: &mut impl FnMut(Left),
) -> Result<u32, NTSTATUS> {
    let mut deleted = 0;
    loop {
        let mut entries = ptr::null_mut();
        let mut count = 0;
        exactly_success(T::next(session, enumeration, &mut entries, &mut count))?;
        if !entries.is_null() {
            // SAFETY: the function has returned an array of `count` pointers, which lives until it is freed below.
            for entry in unsafe { slice::from_raw_parts(entries, count as usize) } {
                // SAFETY: each points to an object in the same memory.
                let object = unsafe { &**entry };
                // SAFETY: an object's provider key is NULL or lies in the same memory.
                if unsafe { object.provider().as_ref() } != Some(provider) {
                    continue;
                }
                let key = object.key();
                match T::delete(session, &key) {
                    STATUS_SUCCESS => deleted += 1,
                    status if status == T::NOT_FOUND => {}
                    status => left(Left { kind: T::KIND, key, status }),
                }
            }
            let mut memory: *mut c_void = entries.cast();
            // SAFETY: the memory came from the enumeration and is freed once.
            unsafe { FwpmFreeMemory0(&mut memory) };
        }
        if count < BATCH {
            return Ok(deleted);
        }
    }
}

/// A kind of object that can be enumerated.
trait Object: Sized {
    const KIND: ObjectKind;
    const NOT_FOUND: NTSTATUS;
    fn enumerate(session: HANDLE, enumeration: &mut HANDLE) -> NTSTATUS;
    fn next(session: HANDLE, enumeration: HANDLE, entries: &mut *mut *mut Self, count: &mut u32) -> NTSTATUS;
    fn end(session: HANDLE, enumeration: HANDLE) -> NTSTATUS;
    fn delete(session: HANDLE, key: &GUID) -> NTSTATUS;
    fn key(&self) -> GUID;
    fn provider(&self) -> *const GUID;
}

macro_rules! object {
    ($type:ident: $kind:ident, $not_found:ident, $key:ident, $enumerate:ident, $next:ident, $end:ident, $delete:ident) => {
        impl Object for $type {
            const KIND: ObjectKind = ObjectKind::$kind;
            const NOT_FOUND: NTSTATUS = $not_found;
            fn enumerate(session: HANDLE, enumeration: &mut HANDLE) -> NTSTATUS {
                // Without a template every object is enumerated; what a template without a layer selects is not documented.
                // SAFETY: the caller's session is open; the result outlives the call.
                unsafe { $enumerate(session, ptr::null(), enumeration) }
            }
            fn next(session: HANDLE, enumeration: HANDLE, entries: &mut *mut *mut Self, count: &mut u32) -> NTSTATUS {
                // SAFETY: session and enumeration are the caller's, and open; the results outlive the call.
                unsafe { $next(session, enumeration, BATCH, entries, count) }
            }
            fn end(session: HANDLE, enumeration: HANDLE) -> NTSTATUS {
                // SAFETY: session and enumeration are the caller's, and open.
                unsafe { $end(session, enumeration) }
            }
            fn delete(session: HANDLE, key: &GUID) -> NTSTATUS {
                // SAFETY: the caller's session is open; the key outlives the call.
                unsafe { $delete(session, key) }
            }
            fn key(&self) -> GUID {
                self.$key
            }
            fn provider(&self) -> *const GUID {
                self.providerKey
            }
        }
    };
}

object!(
    FWPM_FILTER0: Filter, STATUS_FWP_FILTER_NOT_FOUND, filterKey,
    FwpmFilterCreateEnumHandle0, FwpmFilterEnum0, FwpmFilterDestroyEnumHandle0, FwpmFilterDeleteByKey0
);
object!(
    FWPM_CALLOUT0: Callout, STATUS_FWP_CALLOUT_NOT_FOUND, calloutKey,
    FwpmCalloutCreateEnumHandle0, FwpmCalloutEnum0, FwpmCalloutDestroyEnumHandle0, FwpmCalloutDeleteByKey0
);
object!(
    FWPM_SUBLAYER0: Sublayer, STATUS_FWP_SUBLAYER_NOT_FOUND, subLayerKey,
    FwpmSubLayerCreateEnumHandle0, FwpmSubLayerEnum0, FwpmSubLayerDestroyEnumHandle0, FwpmSubLayerDeleteByKey0
);
