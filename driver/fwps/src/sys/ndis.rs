//! Packets: `NET_BUFFER_LIST`, `NET_BUFFER` (ndis.h, nbl.h) and `MDL` (wdm.h), as far as a callout reads them.

use super::HANDLE;
use core::ffi::c_void;

#[repr(C)]
pub struct MDL {
    pub Next: *mut MDL,
    pub Size: i16,
    pub MdlFlags: i16,
    pub Process: *mut c_void,
    /// Valid if `MDL_MAPPED_TO_SYSTEM_VA` or `MDL_SOURCE_IS_NONPAGED_POOL` is set.
    pub MappedSystemVa: *mut c_void,
    pub StartVa: *mut c_void,
    pub ByteCount: u32,
    pub ByteOffset: u32,
}

pub const MDL_MAPPED_TO_SYSTEM_VA: i16 = 0x1;
pub const MDL_SOURCE_IS_NONPAGED_POOL: i16 = 0x4;

#[repr(C, align(16))]
pub struct NET_BUFFER {
    pub Next: *mut NET_BUFFER,
    pub CurrentMdl: *mut MDL,
    pub CurrentMdlOffset: u32,
    pub __pad: u32,
    pub DataLength: u32,
    /// The upper half of `stDataLength`, of which `DataLength` is the lower.
    pub __stDataLengthHigh: u32,
    pub MdlChain: *mut MDL,
    pub DataOffset: u32,
    pub __pad1: u32,
    pub ChecksumBias: u16,
    pub Reserved: u16,
    pub NdisPoolHandle: HANDLE,
    pub NdisReserved: [*mut c_void; 2],
    pub ProtocolReserved: [*mut c_void; 6],
    pub MiniportReserved: [*mut c_void; 4],
    pub DataPhysicalAddress: i64,
    pub SharedMemoryInfo: *mut c_void,
}

#[repr(C, align(16))]
pub struct NET_BUFFER_LIST_CONTEXT {
    pub Next: *mut NET_BUFFER_LIST_CONTEXT,
    pub Size: u16,
    pub Offset: u16,
    /// `Size` bytes follow.
    pub ContextData: NET_BUFFER_LIST_CONTEXT_DATA,
}

#[repr(C, align(16))]
pub struct NET_BUFFER_LIST_CONTEXT_DATA(pub [u8; 0]);

#[repr(C, align(16))]
pub struct NET_BUFFER_LIST {
    pub Next: *mut NET_BUFFER_LIST,
    pub FirstNetBuffer: *mut NET_BUFFER,
    pub Context: *mut NET_BUFFER_LIST_CONTEXT,
    pub ParentNetBufferList: *mut NET_BUFFER_LIST,
    pub NdisPoolHandle: HANDLE,
    pub NdisReserved: NET_BUFFER_LIST_NDIS_RESERVED,
    pub ProtocolReserved: [*mut c_void; 4],
    pub MiniportReserved: [*mut c_void; 2],
    pub Scratch: *mut c_void,
    pub SourceHandle: HANDLE,
    pub NblFlags: u32,
    pub ChildRefCount: i32,
    pub Flags: u32,
    /// An `NDIS_STATUS`; after an injection the result of the packet.
    pub Status: i32,
    pub NetBufferListInfo: [*mut c_void; 24],
}

/// `DECLSPEC_ALIGN(MEMORY_ALLOCATION_ALIGNMENT)` in nbl.h.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub struct NET_BUFFER_LIST_NDIS_RESERVED(pub [*mut c_void; 2]);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct NDIS_OBJECT_HEADER {
    pub Type: u8,
    pub Revision: u8,
    pub Size: u16,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct NET_BUFFER_LIST_POOL_PARAMETERS {
    pub Header: NDIS_OBJECT_HEADER,
    pub ProtocolId: u8,
    pub fAllocateNetBuffer: u8,
    pub ContextSize: u16,
    pub PoolTag: u32,
    pub DataSize: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct NET_BUFFER_POOL_PARAMETERS {
    pub Header: NDIS_OBJECT_HEADER,
    pub PoolTag: u32,
    pub DataSize: u32,
}

// ndis/objectheader.h, ndis.h, wdm.h.
pub const NDIS_OBJECT_TYPE_DEFAULT: u8 = 0x80;
pub const NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1: u8 = 1;
pub const NDIS_PROTOCOL_ID_DEFAULT: u8 = 0;
pub const POOL_FLAG_NON_PAGED: u64 = 0x40;
