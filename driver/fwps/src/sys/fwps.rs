//! The run-time API: what a callout is given and gives back (fwpsk.h, fwpstypes.h).

use super::*;
use core::ffi::c_void;

pub type FWPS_CALLOUT_NOTIFY_TYPE = u32;
pub const FWPS_CALLOUT_NOTIFY_ADD_FILTER: FWPS_CALLOUT_NOTIFY_TYPE = 0;
pub const FWPS_CALLOUT_NOTIFY_DELETE_FILTER: FWPS_CALLOUT_NOTIFY_TYPE = 1;
pub const FWPS_CALLOUT_NOTIFY_ADD_FILTER_POST_COMMIT: FWPS_CALLOUT_NOTIFY_TYPE = 2;

pub const FWPS_RIGHT_ACTION_WRITE: u32 = 0x1;

pub const FWPS_CLASSIFY_OUT_FLAG_ABSORB: u32 = 0x1;
pub const FWPS_CLASSIFY_OUT_FLAG_BUFFER_LIMIT_REACHED: u32 = 0x2;
pub const FWPS_CLASSIFY_OUT_FLAG_NO_MORE_DATA: u32 = 0x4;
pub const FWPS_CLASSIFY_OUT_FLAG_ALE_FAST_CACHE_CHECK: u32 = 0x8;
pub const FWPS_CLASSIFY_OUT_FLAG_ALE_FAST_CACHE_POSSIBLE: u32 = 0x10;

pub const FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT: u16 = 0x1;
pub const FWPS_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED: u16 = 0x2;
pub const FWPS_FILTER_FLAG_OR_CONDITIONS: u16 = 0x4;
pub const FWPS_FILTER_FLAG_HAS_SECURITY_REALM_PROVIDER_CONTEXT: u16 = 0x8;
pub const FWPS_FILTER_FLAG_SILENT_MODE: u16 = 0x10;
pub const FWPS_FILTER_FLAG_IPSEC_NO_ACQUIRE_INITIATE: u16 = 0x20;
pub const FWPS_FILTER_FLAG_RESERVED0: u16 = 0x40;
pub const FWPS_FILTER_FLAG_RESERVED1: u16 = 0x80;

pub const FWPS_METADATA_FIELD_DISCARD_REASON: u32 = 0x1;
pub const FWPS_METADATA_FIELD_FLOW_HANDLE: u32 = 0x2;
pub const FWPS_METADATA_FIELD_IP_HEADER_SIZE: u32 = 0x4;
pub const FWPS_METADATA_FIELD_PROCESS_PATH: u32 = 0x8;
pub const FWPS_METADATA_FIELD_TOKEN: u32 = 0x10;
pub const FWPS_METADATA_FIELD_PROCESS_ID: u32 = 0x20;
pub const FWPS_METADATA_FIELD_SYSTEM_FLAGS: u32 = 0x40;
pub const FWPS_METADATA_FIELD_RESERVED: u32 = 0x80;
pub const FWPS_METADATA_FIELD_SOURCE_INTERFACE_INDEX: u32 = 0x100;
pub const FWPS_METADATA_FIELD_DESTINATION_INTERFACE_INDEX: u32 = 0x200;
pub const FWPS_METADATA_FIELD_TRANSPORT_HEADER_SIZE: u32 = 0x400;
pub const FWPS_METADATA_FIELD_COMPARTMENT_ID: u32 = 0x800;
pub const FWPS_METADATA_FIELD_FRAGMENT_DATA: u32 = 0x1000;
pub const FWPS_METADATA_FIELD_PATH_MTU: u32 = 0x2000;
pub const FWPS_METADATA_FIELD_COMPLETION_HANDLE: u32 = 0x4000;
pub const FWPS_METADATA_FIELD_TRANSPORT_ENDPOINT_HANDLE: u32 = 0x8000;
pub const FWPS_METADATA_FIELD_TRANSPORT_CONTROL_DATA: u32 = 0x10000;
pub const FWPS_METADATA_FIELD_REMOTE_SCOPE_ID: u32 = 0x20000;
pub const FWPS_METADATA_FIELD_PACKET_DIRECTION: u32 = 0x40000;
pub const FWPS_METADATA_FIELD_PACKET_SYSTEM_CRITICAL: u32 = 0x80000;
pub const FWPS_METADATA_FIELD_FORWARD_LAYER_OUTBOUND_PASS_THRU: u32 = 0x100000;
pub const FWPS_METADATA_FIELD_FORWARD_LAYER_INBOUND_PASS_THRU: u32 = 0x200000;
pub const FWPS_METADATA_FIELD_ALE_CLASSIFY_REQUIRED: u32 = 0x400000;
pub const FWPS_METADATA_FIELD_TRANSPORT_HEADER_INCLUDE_HEADER: u32 = 0x800000;
pub const FWPS_METADATA_FIELD_DESTINATION_PREFIX: u32 = 0x1000000;
pub const FWPS_METADATA_FIELD_ETHER_FRAME_LENGTH: u32 = 0x2000000;
pub const FWPS_METADATA_FIELD_PARENT_ENDPOINT_HANDLE: u32 = 0x4000000;
pub const FWPS_METADATA_FIELD_ICMP_ID_AND_SEQUENCE: u32 = 0x8000000;
pub const FWPS_METADATA_FIELD_LOCAL_REDIRECT_TARGET_PID: u32 = 0x10000000;
pub const FWPS_METADATA_FIELD_ORIGINAL_DESTINATION: u32 = 0x20000000;
pub const FWPS_METADATA_FIELD_REDIRECT_RECORD_HANDLE: u32 = 0x40000000;
pub const FWPS_METADATA_FIELD_SUB_PROCESS_TAG: u32 = 0x80000000;

pub const FWPS_L2_METADATA_FIELD_ETHERNET_MAC_HEADER_SIZE: u32 = 0x1;
pub const FWPS_L2_METADATA_FIELD_WIFI_OPERATION_MODE: u32 = 0x2;
pub const FWPS_L2_METADATA_FIELD_VSWITCH_SOURCE_PORT_ID: u32 = 0x4;
pub const FWPS_L2_METADATA_FIELD_VSWITCH_SOURCE_NIC_INDEX: u32 = 0x8;
pub const FWPS_L2_METADATA_FIELD_VSWITCH_PACKET_CONTEXT: u32 = 0x10;
pub const FWPS_L2_METADATA_FIELD_VSWITCH_DESTINATION_PORT_ID: u32 = 0x20;
pub const FWPS_L2_METADATA_FIELD_RESERVED: u32 = 0x80000000;

pub const FWPS_INJECTION_TYPE_STREAM: u32 = 0x1;
pub const FWPS_INJECTION_TYPE_TRANSPORT: u32 = 0x2;
pub const FWPS_INJECTION_TYPE_NETWORK: u32 = 0x4;
pub const FWPS_INJECTION_TYPE_FORWARD: u32 = 0x8;
pub const FWPS_INJECTION_TYPE_L2: u32 = 0x10;
pub const FWPS_INJECTION_TYPE_VSWITCH_TRANSPORT: u32 = 0x20;

pub type FWPS_PACKET_INJECTION_STATE = u32;
pub const FWPS_PACKET_NOT_INJECTED: FWPS_PACKET_INJECTION_STATE = 0;
pub const FWPS_PACKET_INJECTED_BY_SELF: FWPS_PACKET_INJECTION_STATE = 1;
pub const FWPS_PACKET_INJECTED_BY_OTHER: FWPS_PACKET_INJECTION_STATE = 2;
pub const FWPS_PACKET_PREVIOUSLY_INJECTED_BY_SELF: FWPS_PACKET_INJECTION_STATE = 3;

pub type FWPS_CONNECTION_REDIRECT_STATE = u32;
pub const FWPS_CONNECTION_NOT_REDIRECTED: FWPS_CONNECTION_REDIRECT_STATE = 0;
pub const FWPS_CONNECTION_REDIRECTED_BY_SELF: FWPS_CONNECTION_REDIRECT_STATE = 1;
pub const FWPS_CONNECTION_REDIRECTED_BY_OTHER: FWPS_CONNECTION_REDIRECT_STATE = 2;
pub const FWPS_CONNECTION_PREVIOUSLY_REDIRECTED_BY_SELF: FWPS_CONNECTION_REDIRECT_STATE = 3;

pub type FWPS_STREAM_ACTION_TYPE = u32;
pub const FWPS_STREAM_ACTION_NONE: FWPS_STREAM_ACTION_TYPE = 0;
pub const FWPS_STREAM_ACTION_NEED_MORE_DATA: FWPS_STREAM_ACTION_TYPE = 1;
pub const FWPS_STREAM_ACTION_DROP_CONNECTION: FWPS_STREAM_ACTION_TYPE = 2;
pub const FWPS_STREAM_ACTION_DEFER: FWPS_STREAM_ACTION_TYPE = 3;
pub const FWPS_STREAM_ACTION_ALLOW_CONNECTION: FWPS_STREAM_ACTION_TYPE = 4;

pub const FWPS_STREAM_FLAG_RECEIVE: u32 = 0x1;
pub const FWPS_STREAM_FLAG_RECEIVE_EXPEDITED: u32 = 0x2;
pub const FWPS_STREAM_FLAG_RECEIVE_DISCONNECT: u32 = 0x4;
pub const FWPS_STREAM_FLAG_RECEIVE_ABORT: u32 = 0x8;
pub const FWPS_STREAM_FLAG_RECEIVE_PUSH: u32 = 0x10;
pub const FWPS_STREAM_FLAG_SEND: u32 = 0x10000;
pub const FWPS_STREAM_FLAG_SEND_EXPEDITED: u32 = 0x20000;
pub const FWPS_STREAM_FLAG_SEND_NODELAY: u32 = 0x40000;
pub const FWPS_STREAM_FLAG_SEND_DISCONNECT: u32 = 0x80000;
pub const FWPS_STREAM_FLAG_SEND_ABORT: u32 = 0x100000;

pub type FWPS_DISCARD_MODULE0 = u32;
pub const FWPS_DISCARD_MODULE_NETWORK: FWPS_DISCARD_MODULE0 = 0;
pub const FWPS_DISCARD_MODULE_TRANSPORT: FWPS_DISCARD_MODULE0 = 1;
pub const FWPS_DISCARD_MODULE_GENERAL: FWPS_DISCARD_MODULE0 = 2;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_ACTION0 {
    pub r#type: FWP_ACTION_TYPE,
    pub calloutId: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_FILTER_CONDITION0 {
    pub fieldId: u16,
    pub reserved: u16,
    pub matchType: FWP_MATCH_TYPE,
    pub conditionValue: FWP_CONDITION_VALUE0,
}

/// A filter as a callout sees it. `FWPS_FILTER0` to `3` differ only in what `providerContext` points to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_FILTER3 {
    pub filterId: u64,
    pub weight: FWP_VALUE0,
    pub subLayerWeight: u16,
    pub flags: u16,
    pub numFilterConditions: u32,
    pub filterCondition: *mut FWPS_FILTER_CONDITION0,
    pub action: FWPS_ACTION0,
    /// `FWPM_FILTER0.rawContext`, unless the callout's notifyFn wrote another value when the filter was added.
    pub context: u64,
    pub providerContext: *mut FWPM_PROVIDER_CONTEXT3,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_INCOMING_VALUE0 {
    pub value: FWP_VALUE0,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_INCOMING_VALUES0 {
    pub layerId: u16,
    /// Schemas grow with Windows versions: check before indexing.
    pub valueCount: u32,
    pub incomingValue: *mut FWPS_INCOMING_VALUE0,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_CLASSIFY_OUT0 {
    pub actionType: FWP_ACTION_TYPE,
    pub outContext: u64,
    pub filterId: u64,
    pub rights: u32,
    pub flags: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FWPS_DISCARD_METADATA0 {
    pub discardModule: FWPS_DISCARD_MODULE0,
    pub discardReason: u32,
    pub filterId: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FWPS_INBOUND_FRAGMENT_METADATA0 {
    pub fragmentIdentification: u32,
    pub fragmentOffset: u16,
    pub fragmentLength: u32,
}

/// `IP_ADDRESS_PREFIX` (netioapi.h): a `SOCKADDR_INET` and a length.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct IP_ADDRESS_PREFIX {
    pub Prefix: [u32; 7],
    pub PrefixLength: u8,
}

/// Which members are valid is said by `currentMetadataValues` (`FWPS_METADATA_FIELD_*`).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_INCOMING_METADATA_VALUES0 {
    pub currentMetadataValues: u32,
    pub flags: u32,
    pub reserved: u64,
    pub discardMetadata: FWPS_DISCARD_METADATA0,
    pub flowHandle: u64,
    pub ipHeaderSize: u32,
    pub transportHeaderSize: u32,
    pub processPath: *mut FWP_BYTE_BLOB,
    pub token: u64,
    pub processId: u64,
    pub sourceInterfaceIndex: u32,
    pub destinationInterfaceIndex: u32,
    pub compartmentId: u32,
    pub fragmentMetadata: FWPS_INBOUND_FRAGMENT_METADATA0,
    pub pathMtu: u32,
    pub completionHandle: HANDLE,
    pub transportEndpointHandle: u64,
    pub remoteScopeId: SCOPE_ID,
    pub controlData: *mut c_void,
    pub controlDataLength: u32,
    pub packetDirection: FWP_DIRECTION,
    pub headerIncludeHeader: *mut c_void,
    pub headerIncludeHeaderLength: u32,
    pub destinationPrefix: IP_ADDRESS_PREFIX,
    pub frameLength: u16,
    pub parentEndpointHandle: u64,
    pub icmpIdAndSequence: u32,
    pub localRedirectTargetPID: u32,
    pub originalDestination: *mut c_void,
    pub redirectRecords: HANDLE,
    pub currentL2MetadataValues: u32,
    pub l2Flags: u32,
    pub ethernetMacHeaderSize: u32,
    pub wiFiOperationMode: u32,
    pub vSwitchSourcePortId: u32,
    pub vSwitchSourceNicIndex: u16,
    pub vSwitchDestinationPortId: u32,
    pub vSwitchPacketContext: HANDLE,
    pub subProcessTag: *mut c_void,
    pub reserved1: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_STREAM_DATA_OFFSET0 {
    pub netBufferList: *mut NET_BUFFER_LIST,
    pub netBuffer: *mut NET_BUFFER,
    pub mdl: *mut MDL,
    pub mdlOffset: u32,
    pub netBufferOffset: u32,
    pub streamDataOffset: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_STREAM_DATA0 {
    pub flags: u32,
    pub dataOffset: FWPS_STREAM_DATA_OFFSET0,
    pub dataLength: usize,
    pub netBufferListChain: *mut NET_BUFFER_LIST,
}

/// `layerData` at the stream layers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_STREAM_CALLOUT_IO_PACKET0 {
    pub streamData: *mut FWPS_STREAM_DATA0,
    pub missedBytes: usize,
    pub countBytesRequired: u32,
    pub countBytesEnforced: usize,
    pub streamAction: FWPS_STREAM_ACTION_TYPE,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_TRANSPORT_SEND_PARAMS1 {
    pub remoteAddress: *mut u8,
    pub remoteScopeId: SCOPE_ID,
    pub controlData: *mut c_void,
    pub controlDataLength: u32,
    pub headerIncludeHeader: *mut u8,
    pub headerIncludeHeaderLength: u32,
}

/// The writable layer data of ALE_CONNECT_REDIRECT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_CONNECT_REQUEST0 {
    pub localAddressAndPort: SOCKADDR_STORAGE,
    pub remoteAddressAndPort: SOCKADDR_STORAGE,
    pub portReservationToken: u64,
    pub localRedirectTargetPID: u32,
    pub previousVersion: *mut FWPS_CONNECT_REQUEST0,
    pub modifierFilterId: u64,
    pub localRedirectHandle: HANDLE,
    pub localRedirectContext: *mut c_void,
    pub localRedirectContextSize: usize,
}

/// The writable layer data of ALE_BIND_REDIRECT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_BIND_REQUEST0 {
    pub localAddressAndPort: SOCKADDR_STORAGE,
    pub portReservationToken: u64,
    pub previousVersion: *mut FWPS_BIND_REQUEST0,
    pub modifierFilterId: u64,
}

crate::callback! {
    /// `FWPS_CALLOUT_CLASSIFY_FN0`, which has no `classifyContext`. IRQL at most DISPATCH_LEVEL.
    pub type FWPS_CALLOUT_CLASSIFY_FN0 = unsafe fn(
        inFixedValues: *const FWPS_INCOMING_VALUES0,
        inMetaValues: *const FWPS_INCOMING_METADATA_VALUES0,
        layerData: *mut c_void,
        filter: *const FWPS_FILTER3,
        flowContext: u64,
        classifyOut: *mut FWPS_CLASSIFY_OUT0,
    );
}
crate::callback! {
    /// `FWPS_CALLOUT_CLASSIFY_FN1` to `3`. IRQL at most DISPATCH_LEVEL.
    pub type FWPS_CALLOUT_CLASSIFY_FN3 = unsafe fn(
        inFixedValues: *const FWPS_INCOMING_VALUES0,
        inMetaValues: *const FWPS_INCOMING_METADATA_VALUES0,
        layerData: *mut c_void,
        classifyContext: *const c_void,
        filter: *const FWPS_FILTER3,
        flowContext: u64,
        classifyOut: *mut FWPS_CLASSIFY_OUT0,
    );
}
crate::callback! {
    /// `FWPS_CALLOUT_NOTIFY_FN0` to `3`. `filterKey` is NULL for `FWPS_CALLOUT_NOTIFY_DELETE_FILTER`. IRQL at most DISPATCH_LEVEL.
    pub type FWPS_CALLOUT_NOTIFY_FN3 = unsafe fn(
        notifyType: FWPS_CALLOUT_NOTIFY_TYPE,
        filterKey: *const GUID,
        filter: *mut FWPS_FILTER3,
    ) -> NTSTATUS;
}
crate::callback! {
    /// IRQL at most DISPATCH_LEVEL.
    pub type FWPS_CALLOUT_FLOW_DELETE_NOTIFY_FN0 =
        unsafe fn(layerId: u16, calloutId: u32, flowContext: u64);
}
crate::callback! {
    /// Ends an injection. `dispatchLevel` says that it is called at DISPATCH_LEVEL.
    pub type FWPS_INJECT_COMPLETE0 =
        unsafe fn(context: *mut c_void, netBufferList: *mut NET_BUFFER_LIST, dispatchLevel: BOOLEAN);
}

/// Registration with `FwpsCalloutRegister0`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_CALLOUT0 {
    pub calloutKey: GUID,
    pub flags: u32,
    pub classifyFn: Option<FWPS_CALLOUT_CLASSIFY_FN0>,
    pub notifyFn: Option<FWPS_CALLOUT_NOTIFY_FN3>,
    pub flowDeleteFn: Option<FWPS_CALLOUT_FLOW_DELETE_NOTIFY_FN0>,
}

/// Registration with `FwpsCalloutRegister3` (`FWPS_CALLOUT1` and `2` have the same shape).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_CALLOUT3 {
    pub calloutKey: GUID,
    /// `FWP_CALLOUT_FLAG_*`.
    pub flags: u32,
    pub classifyFn: Option<FWPS_CALLOUT_CLASSIFY_FN3>,
    pub notifyFn: Option<FWPS_CALLOUT_NOTIFY_FN3>,
    /// Needed to associate a context with a flow.
    pub flowDeleteFn: Option<FWPS_CALLOUT_FLOW_DELETE_NOTIFY_FN0>,
}
