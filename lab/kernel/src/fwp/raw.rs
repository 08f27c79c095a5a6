//! Structures of the management API (fwpmtypes.h) that drivers of ours do not use, and `fwps::sys` does not have.

use fwps::sys::{FWP_VALUE0, FWPM_PROVIDER_CONTEXT_TYPE, GUID};

/// `FWPM_CLASSIFY_OPTIONS0`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FWPM_CLASSIFY_OPTIONS0 {
    pub numOptions: u32,
    pub options: *mut FWPM_CLASSIFY_OPTION0,
}

/// `FWPM_CLASSIFY_OPTION0`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FWPM_CLASSIFY_OPTION0 {
    pub r#type: u32,
    pub value: FWP_VALUE0,
}

/// `FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0 {
    pub providerKey: *mut GUID,
    pub providerContextType: FWPM_PROVIDER_CONTEXT_TYPE,
}

pub(crate) const FWPM_PROVIDER_CONTEXT_FLAG_PERSISTENT: u32 = 0x1;
/// `FWPM_PROVIDER_CONTEXT_TYPE_MAX`: in a template, contexts of every type.
pub(crate) const FWPM_PROVIDER_CONTEXT_TYPE_MAX: FWPM_PROVIDER_CONTEXT_TYPE = 14;
