//! The management API: the objects that the base filtering engine keeps (fwpmk.h, fwpmtypes.h).

use super::*;
use core::ffi::c_void;

pub const RPC_C_AUTHN_WINNT: u32 = 10;
pub const RPC_C_AUTHN_DEFAULT: u32 = 0xffff_ffff;

pub type FWPM_SERVICE_STATE = u32;
pub const FWPM_SERVICE_STOPPED: FWPM_SERVICE_STATE = 0;
pub const FWPM_SERVICE_START_PENDING: FWPM_SERVICE_STATE = 1;
pub const FWPM_SERVICE_STOP_PENDING: FWPM_SERVICE_STATE = 2;
pub const FWPM_SERVICE_RUNNING: FWPM_SERVICE_STATE = 3;

pub const FWPM_SESSION_FLAG_DYNAMIC: u32 = 0x1;

pub const FWPM_TXN_READ_ONLY: u32 = 0x1;

pub const FWPM_PROVIDER_FLAG_PERSISTENT: u32 = 0x1;
pub const FWPM_PROVIDER_FLAG_DISABLED: u32 = 0x10;

pub const FWPM_SUBLAYER_FLAG_PERSISTENT: u32 = 0x1;

pub const FWPM_CALLOUT_FLAG_PERSISTENT: u32 = 0x10000;
pub const FWPM_CALLOUT_FLAG_USES_PROVIDER_CONTEXT: u32 = 0x20000;
pub const FWPM_CALLOUT_FLAG_REGISTERED: u32 = 0x40000;

pub const FWPM_FILTER_FLAG_NONE: u32 = 0x0;
pub const FWPM_FILTER_FLAG_PERSISTENT: u32 = 0x1;
pub const FWPM_FILTER_FLAG_BOOTTIME: u32 = 0x2;
pub const FWPM_FILTER_FLAG_HAS_PROVIDER_CONTEXT: u32 = 0x4;
pub const FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT: u32 = 0x8;
pub const FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED: u32 = 0x10;
pub const FWPM_FILTER_FLAG_DISABLED: u32 = 0x20;
pub const FWPM_FILTER_FLAG_INDEXED: u32 = 0x40;
pub const FWPM_FILTER_FLAG_HAS_SECURITY_REALM_PROVIDER_CONTEXT: u32 = 0x80;
pub const FWPM_FILTER_FLAG_SYSTEMOS_ONLY: u32 = 0x100;
pub const FWPM_FILTER_FLAG_GAMEOS_ONLY: u32 = 0x200;
pub const FWPM_FILTER_FLAG_SILENT_MODE: u32 = 0x400;
pub const FWPM_FILTER_FLAG_IPSEC_NO_ACQUIRE_INITIATE: u32 = 0x800;
pub const FWPM_FILTER_FLAG_RESERVED0: u32 = 0x1000;
pub const FWPM_FILTER_FLAG_RESERVED1: u32 = 0x2000;

pub const FWPM_WEIGHT_RANGE_IPSEC: u8 = 0x0;
pub const FWPM_WEIGHT_RANGE_IKE_EXEMPTIONS: u8 = 0xc;
pub const FWPM_WEIGHT_RANGE_MAX: u8 = 0xf;

pub const FWPM_LAYER_FLAG_KERNEL: u32 = 0x1;
pub const FWPM_LAYER_FLAG_BUILTIN: u32 = 0x2;
pub const FWPM_LAYER_FLAG_CLASSIFY_MOSTLY: u32 = 0x4;
pub const FWPM_LAYER_FLAG_BUFFERED: u32 = 0x8;

pub type FWPM_FIELD_TYPE = u32;
pub const FWPM_FIELD_RAW_DATA: FWPM_FIELD_TYPE = 0;
pub const FWPM_FIELD_IP_ADDRESS: FWPM_FIELD_TYPE = 1;
pub const FWPM_FIELD_FLAGS: FWPM_FIELD_TYPE = 2;

pub type FWPM_PROVIDER_CONTEXT_TYPE = u32;
pub const FWPM_GENERAL_CONTEXT: FWPM_PROVIDER_CONTEXT_TYPE = 8;

/// `name` is mandatory in every object that is added (`FWP_E_NULL_DISPLAY_NAME`).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_DISPLAY_DATA0 {
    pub name: PWSTR,
    pub description: PWSTR,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_SESSION0 {
    pub sessionKey: GUID,
    pub displayData: FWPM_DISPLAY_DATA0,
    pub flags: u32,
    pub txnWaitTimeoutInMSec: u32,
    pub processId: u32,
    pub sid: *mut c_void,
    pub username: PWSTR,
    pub kernelMode: BOOL,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_PROVIDER0 {
    pub providerKey: GUID,
    pub displayData: FWPM_DISPLAY_DATA0,
    pub flags: u32,
    pub providerData: FWP_BYTE_BLOB,
    pub serviceName: PWSTR,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_SUBLAYER0 {
    pub subLayerKey: GUID,
    pub displayData: FWPM_DISPLAY_DATA0,
    pub flags: u32,
    pub providerKey: *mut GUID,
    pub providerData: FWP_BYTE_BLOB,
    pub weight: u16,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_CALLOUT0 {
    pub calloutKey: GUID,
    pub displayData: FWPM_DISPLAY_DATA0,
    pub flags: u32,
    pub providerKey: *mut GUID,
    pub providerData: FWP_BYTE_BLOB,
    pub applicableLayer: GUID,
    pub calloutId: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_ACTION0 {
    pub r#type: FWP_ACTION_TYPE,
    pub Anonymous: FWPM_ACTION0_0,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub union FWPM_ACTION0_0 {
    pub filterType: GUID,
    pub calloutKey: GUID,
    pub bitmapIndex: u8,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_FILTER_CONDITION0 {
    pub fieldKey: GUID,
    pub matchType: FWP_MATCH_TYPE,
    pub conditionValue: FWP_CONDITION_VALUE0,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_FILTER0 {
    pub filterKey: GUID,
    pub displayData: FWPM_DISPLAY_DATA0,
    pub flags: u32,
    pub providerKey: *mut GUID,
    pub providerData: FWP_BYTE_BLOB,
    pub layerKey: GUID,
    pub subLayerKey: GUID,
    pub weight: FWP_VALUE0,
    pub numFilterConditions: u32,
    pub filterCondition: *mut FWPM_FILTER_CONDITION0,
    pub action: FWPM_ACTION0,
    pub Anonymous: FWPM_FILTER0_0,
    pub reserved: *mut GUID,
    pub filterId: u64,
    pub effectiveWeight: FWP_VALUE0,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub union FWPM_FILTER0_0 {
    pub rawContext: u64,
    pub providerContextKey: GUID,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_FIELD0 {
    pub fieldKey: *mut GUID,
    pub r#type: FWPM_FIELD_TYPE,
    pub dataType: FWP_DATA_TYPE,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_LAYER0 {
    pub layerKey: GUID,
    pub displayData: FWPM_DISPLAY_DATA0,
    pub flags: u32,
    pub numFields: u32,
    pub field: *mut FWPM_FIELD0,
    pub defaultSubLayerKey: GUID,
    pub layerId: u16,
}

/// `FWPM_PROVIDER_CONTEXT0` to `3` differ only in what the IPsec members of the union point to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_PROVIDER_CONTEXT3 {
    pub providerContextKey: GUID,
    pub displayData: FWPM_DISPLAY_DATA0,
    pub flags: u32,
    pub providerKey: *mut GUID,
    pub providerData: FWP_BYTE_BLOB,
    pub r#type: FWPM_PROVIDER_CONTEXT_TYPE,
    pub dataBuffer: *mut FWP_BYTE_BLOB,
    pub providerContextId: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_FILTER_ENUM_TEMPLATE0 {
    pub providerKey: *mut GUID,
    pub layerKey: GUID,
    pub enumType: u32,
    pub flags: u32,
    pub providerContextTemplate: *mut c_void,
    pub numFilterConditions: u32,
    pub filterCondition: *mut FWPM_FILTER_CONDITION0,
    pub actionMask: u32,
    pub calloutKey: *mut GUID,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_CALLOUT_ENUM_TEMPLATE0 {
    pub providerKey: *mut GUID,
    pub layerKey: GUID,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_PROVIDER_ENUM_TEMPLATE0 {
    pub reserved: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPM_SUBLAYER_ENUM_TEMPLATE0 {
    pub providerKey: *mut GUID,
}

crate::callback! {
    /// The documentation names no IRQL: assume DISPATCH_LEVEL.
    pub type FWPM_SERVICE_STATE_CHANGE_CALLBACK0 = unsafe fn(context: *mut c_void, newState: FWPM_SERVICE_STATE);
}
