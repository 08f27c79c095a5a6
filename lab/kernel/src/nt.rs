//! Types and numbers of the NT kernel, as `wdm.h` and `ntstatus.h` have them.

#![allow(non_snake_case, reason = "fields have the names of wdm.h")]

use core::fmt;

use crate::ptr::Ptr;

pub const PASSIVE_LEVEL: u8 = 0;
pub const APC_LEVEL: u8 = 1;
pub const DISPATCH_LEVEL: u8 = 2;
pub const HIGH_LEVEL: u8 = 15;

/// An `NTSTATUS`. Compared exactly, never by sign.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct NtStatus(pub i32);

impl NtStatus {
    pub const SUCCESS: NtStatus = NtStatus(0x00000000u32 as i32);
    pub const WAIT_1: NtStatus = NtStatus(0x00000001u32 as i32);
    pub const ALERTED: NtStatus = NtStatus(0x00000101u32 as i32);
    pub const TIMEOUT: NtStatus = NtStatus(0x00000102u32 as i32);
    pub const PENDING: NtStatus = NtStatus(0x00000103u32 as i32);
    pub const OBJECT_NAME_EXISTS: NtStatus = NtStatus(0x40000000u32 as i32);
    pub const BUFFER_OVERFLOW: NtStatus = NtStatus(0x80000005u32 as i32);
    pub const NO_MORE_ENTRIES: NtStatus = NtStatus(0x8000001Au32 as i32);
    pub const DEVICE_BUSY: NtStatus = NtStatus(0x80000011u32 as i32);
    pub const UNSUCCESSFUL: NtStatus = NtStatus(0xC0000001u32 as i32);
    pub const NOT_IMPLEMENTED: NtStatus = NtStatus(0xC0000002u32 as i32);
    pub const INFO_LENGTH_MISMATCH: NtStatus = NtStatus(0xC0000004u32 as i32);
    pub const ACCESS_VIOLATION: NtStatus = NtStatus(0xC0000005u32 as i32);
    pub const INVALID_HANDLE: NtStatus = NtStatus(0xC0000008u32 as i32);
    pub const INVALID_PARAMETER: NtStatus = NtStatus(0xC000000Du32 as i32);
    pub const NO_SUCH_DEVICE: NtStatus = NtStatus(0xC000000Eu32 as i32);
    pub const INVALID_DEVICE_REQUEST: NtStatus = NtStatus(0xC0000010u32 as i32);
    pub const END_OF_FILE: NtStatus = NtStatus(0xC0000011u32 as i32);
    pub const MORE_PROCESSING_REQUIRED: NtStatus = NtStatus(0xC0000016u32 as i32);
    pub const ACCESS_DENIED: NtStatus = NtStatus(0xC0000022u32 as i32);
    pub const BUFFER_TOO_SMALL: NtStatus = NtStatus(0xC0000023u32 as i32);
    pub const OBJECT_TYPE_MISMATCH: NtStatus = NtStatus(0xC0000024u32 as i32);
    pub const OBJECT_NAME_INVALID: NtStatus = NtStatus(0xC0000033u32 as i32);
    pub const OBJECT_NAME_NOT_FOUND: NtStatus = NtStatus(0xC0000034u32 as i32);
    pub const OBJECT_NAME_COLLISION: NtStatus = NtStatus(0xC0000035u32 as i32);
    pub const OBJECT_PATH_NOT_FOUND: NtStatus = NtStatus(0xC000003Au32 as i32);
    pub const INVALID_SECURITY_DESCR: NtStatus = NtStatus(0xC0000079u32 as i32);
    pub const INVALID_IMAGE_FORMAT: NtStatus = NtStatus(0xC000007Bu32 as i32);
    pub const INSUFFICIENT_RESOURCES: NtStatus = NtStatus(0xC000009Au32 as i32);
    pub const NOT_SUPPORTED: NtStatus = NtStatus(0xC00000BBu32 as i32);
    pub const DELETE_PENDING: NtStatus = NtStatus(0xC0000056u32 as i32);
    pub const INTERNAL_ERROR: NtStatus = NtStatus(0xC00000E5u32 as i32);
    pub const CANCELLED: NtStatus = NtStatus(0xC0000120u32 as i32);
    pub const DRIVER_INTERNAL_ERROR: NtStatus = NtStatus(0xC0000183u32 as i32);
    pub const INVALID_DEVICE_STATE: NtStatus = NtStatus(0xC0000184u32 as i32);
    pub const NOT_FOUND: NtStatus = NtStatus(0xC0000225u32 as i32);
    pub const IMAGE_ALREADY_LOADED: NtStatus = NtStatus(0xC000010Eu32 as i32);
    pub const DRIVER_UNABLE_TO_LOAD: NtStatus = NtStatus(0xC000026Cu32 as i32);
    pub const INVALID_BUFFER_SIZE: NtStatus = NtStatus(0xC0000206u32 as i32);
    pub const REVISION_MISMATCH: NtStatus = NtStatus(0xC0000059u32 as i32);
    pub const DRIVER_ORDINAL_NOT_FOUND: NtStatus = NtStatus(0xC0000262u32 as i32);
    pub const DRIVER_ENTRYPOINT_NOT_FOUND: NtStatus = NtStatus(0xC0000263u32 as i32);
    pub const WDF_INCOMPATIBLE_EVENT: NtStatus = NtStatus(0xC020020Au32 as i32);
    pub const WDF_PAUSED: NtStatus = NtStatus(0xC0200203u32 as i32);
    pub const WDF_BUSY: NtStatus = NtStatus(0xC0200204u32 as i32);
    pub const WDF_PARENT_NOT_SPECIFIED: NtStatus = NtStatus(0xC020020Fu32 as i32);
    pub const WDF_NO_CALLBACK: NtStatus = NtStatus(0xC0200207u32 as i32);
    pub const WDF_REQUEST_INVALID_STATE: NtStatus = NtStatus(0xC020020Eu32 as i32);
    pub const WDF_QUEUED: NtStatus = NtStatus(0xC0200002u32 as i32);
    pub const REQUEST_NOT_ACCEPTED: NtStatus = NtStatus(0xC00000D0u32 as i32);
    pub const DRIVER_CANCEL_TIMEOUT: NtStatus = NtStatus(0xC000021Eu32 as i32);
    pub const FILE_CLOSED: NtStatus = NtStatus(0xC0000128u32 as i32);
    pub const MUTANT_NOT_OWNED: NtStatus = NtStatus(0xC0000046u32 as i32);
    pub const SEMAPHORE_LIMIT_EXCEEDED: NtStatus = NtStatus(0xC0000047u32 as i32);
    pub const PRIVILEGE_NOT_HELD: NtStatus = NtStatus(0xC0000061u32 as i32);
    pub const SHARING_VIOLATION: NtStatus = NtStatus(0xC0000043u32 as i32);
    pub const INTEGER_OVERFLOW: NtStatus = NtStatus(0xC0000095u32 as i32);
    pub const TOO_LATE: NtStatus = NtStatus(0xC0000189u32 as i32);
    pub const OBJECT_NO_LONGER_EXISTS: NtStatus = NtStatus(0xC0000186u32 as i32);

    /// `NT_SUCCESS`: success and informational codes.
    pub fn is_success(self) -> bool {
        self.0 >= 0
    }

    /// The name in `ntstatus.h`, for the codes that the lab itself uses.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            NtStatus::SUCCESS => "STATUS_SUCCESS",
            NtStatus::WAIT_1 => "STATUS_WAIT_1",
            NtStatus::ALERTED => "STATUS_ALERTED",
            NtStatus::TIMEOUT => "STATUS_TIMEOUT",
            NtStatus::PENDING => "STATUS_PENDING",
            NtStatus::OBJECT_NAME_EXISTS => "STATUS_OBJECT_NAME_EXISTS",
            NtStatus::BUFFER_OVERFLOW => "STATUS_BUFFER_OVERFLOW",
            NtStatus::NO_MORE_ENTRIES => "STATUS_NO_MORE_ENTRIES",
            NtStatus::DEVICE_BUSY => "STATUS_DEVICE_BUSY",
            NtStatus::UNSUCCESSFUL => "STATUS_UNSUCCESSFUL",
            NtStatus::NOT_IMPLEMENTED => "STATUS_NOT_IMPLEMENTED",
            NtStatus::INFO_LENGTH_MISMATCH => "STATUS_INFO_LENGTH_MISMATCH",
            NtStatus::ACCESS_VIOLATION => "STATUS_ACCESS_VIOLATION",
            NtStatus::INVALID_HANDLE => "STATUS_INVALID_HANDLE",
            NtStatus::INVALID_PARAMETER => "STATUS_INVALID_PARAMETER",
            NtStatus::NO_SUCH_DEVICE => "STATUS_NO_SUCH_DEVICE",
            NtStatus::INVALID_DEVICE_REQUEST => "STATUS_INVALID_DEVICE_REQUEST",
            NtStatus::END_OF_FILE => "STATUS_END_OF_FILE",
            NtStatus::MORE_PROCESSING_REQUIRED => "STATUS_MORE_PROCESSING_REQUIRED",
            NtStatus::ACCESS_DENIED => "STATUS_ACCESS_DENIED",
            NtStatus::BUFFER_TOO_SMALL => "STATUS_BUFFER_TOO_SMALL",
            NtStatus::OBJECT_TYPE_MISMATCH => "STATUS_OBJECT_TYPE_MISMATCH",
            NtStatus::OBJECT_NAME_INVALID => "STATUS_OBJECT_NAME_INVALID",
            NtStatus::OBJECT_NAME_NOT_FOUND => "STATUS_OBJECT_NAME_NOT_FOUND",
            NtStatus::OBJECT_NAME_COLLISION => "STATUS_OBJECT_NAME_COLLISION",
            NtStatus::OBJECT_PATH_NOT_FOUND => "STATUS_OBJECT_PATH_NOT_FOUND",
            NtStatus::INVALID_SECURITY_DESCR => "STATUS_INVALID_SECURITY_DESCR",
            NtStatus::INVALID_IMAGE_FORMAT => "STATUS_INVALID_IMAGE_FORMAT",
            NtStatus::INSUFFICIENT_RESOURCES => "STATUS_INSUFFICIENT_RESOURCES",
            NtStatus::NOT_SUPPORTED => "STATUS_NOT_SUPPORTED",
            NtStatus::DELETE_PENDING => "STATUS_DELETE_PENDING",
            NtStatus::INTERNAL_ERROR => "STATUS_INTERNAL_ERROR",
            NtStatus::CANCELLED => "STATUS_CANCELLED",
            NtStatus::DRIVER_INTERNAL_ERROR => "STATUS_DRIVER_INTERNAL_ERROR",
            NtStatus::INVALID_DEVICE_STATE => "STATUS_INVALID_DEVICE_STATE",
            NtStatus::NOT_FOUND => "STATUS_NOT_FOUND",
            NtStatus::IMAGE_ALREADY_LOADED => "STATUS_IMAGE_ALREADY_LOADED",
            NtStatus::DRIVER_UNABLE_TO_LOAD => "STATUS_DRIVER_UNABLE_TO_LOAD",
            NtStatus::INVALID_BUFFER_SIZE => "STATUS_INVALID_BUFFER_SIZE",
            NtStatus::REVISION_MISMATCH => "STATUS_REVISION_MISMATCH",
            NtStatus::DRIVER_ORDINAL_NOT_FOUND => "STATUS_DRIVER_ORDINAL_NOT_FOUND",
            NtStatus::DRIVER_ENTRYPOINT_NOT_FOUND => "STATUS_DRIVER_ENTRYPOINT_NOT_FOUND",
            NtStatus::WDF_INCOMPATIBLE_EVENT => "STATUS_WDF_INCOMPATIBLE_EVENT",
            NtStatus::WDF_PAUSED => "STATUS_WDF_PAUSED",
            NtStatus::WDF_BUSY => "STATUS_WDF_BUSY",
            NtStatus::WDF_PARENT_NOT_SPECIFIED => "STATUS_WDF_PARENT_NOT_SPECIFIED",
            NtStatus::WDF_NO_CALLBACK => "STATUS_WDF_NO_CALLBACK",
            NtStatus::WDF_REQUEST_INVALID_STATE => "STATUS_WDF_REQUEST_INVALID_STATE",
            NtStatus::WDF_QUEUED => "STATUS_WDF_QUEUED",
            NtStatus::REQUEST_NOT_ACCEPTED => "STATUS_REQUEST_NOT_ACCEPTED",
            NtStatus::DRIVER_CANCEL_TIMEOUT => "STATUS_DRIVER_CANCEL_TIMEOUT",
            NtStatus::FILE_CLOSED => "STATUS_FILE_CLOSED",
            NtStatus::MUTANT_NOT_OWNED => "STATUS_MUTANT_NOT_OWNED",
            NtStatus::SEMAPHORE_LIMIT_EXCEEDED => "STATUS_SEMAPHORE_LIMIT_EXCEEDED",
            NtStatus::PRIVILEGE_NOT_HELD => "STATUS_PRIVILEGE_NOT_HELD",
            NtStatus::SHARING_VIOLATION => "STATUS_SHARING_VIOLATION",
            NtStatus::INTEGER_OVERFLOW => "STATUS_INTEGER_OVERFLOW",
            NtStatus::TOO_LATE => "STATUS_TOO_LATE",
            NtStatus::OBJECT_NO_LONGER_EXISTS => "STATUS_OBJECT_NO_LONGER_EXISTS",
            _ => return None,
        })
    }
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#010x})", self.0),
            None => write!(f, "{:#010x}", self.0),
        }
    }
}

impl std::error::Error for NtStatus {}

pub const IRQL_NOT_LESS_OR_EQUAL: u32 = 0xA;
pub const SPIN_LOCK_ALREADY_OWNED: u32 = 0xF;
pub const SPIN_LOCK_NOT_OWNED: u32 = 0x10;
pub const BAD_POOL_CALLER: u32 = 0xC2;
pub const MULTIPLE_IRP_COMPLETE_REQUESTS: u32 = 0x44;
pub const WDF_VIOLATION: u32 = 0x10D;
pub const DRIVER_VERIFIER_DETECTED_VIOLATION: u32 = 0xC4;
pub const KMODE_EXCEPTION_NOT_HANDLED: u32 = 0x1E;
pub const KERNEL_MODE_HEAP_CORRUPTION: u32 = 0x13A;

/// The symbolic name of a bug check code.
pub fn bugcheck_name(code: u32) -> &'static str {
    match code {
        IRQL_NOT_LESS_OR_EQUAL => "IRQL_NOT_LESS_OR_EQUAL",
        SPIN_LOCK_ALREADY_OWNED => "SPIN_LOCK_ALREADY_OWNED",
        SPIN_LOCK_NOT_OWNED => "SPIN_LOCK_NOT_OWNED",
        KMODE_EXCEPTION_NOT_HANDLED => "KMODE_EXCEPTION_NOT_HANDLED",
        MULTIPLE_IRP_COMPLETE_REQUESTS => "MULTIPLE_IRP_COMPLETE_REQUESTS",
        BAD_POOL_CALLER => "BAD_POOL_CALLER",
        DRIVER_VERIFIER_DETECTED_VIOLATION => "DRIVER_VERIFIER_DETECTED_VIOLATION",
        WDF_VIOLATION => "WDF_VIOLATION",
        KERNEL_MODE_HEAP_CORRUPTION => "KERNEL_MODE_HEAP_CORRUPTION",
        0xE2 => "MANUALLY_INITIATED_CRASH",
        0x50 => "PAGE_FAULT_IN_NONPAGED_AREA",
        0xD1 => "DRIVER_IRQL_NOT_LESS_OR_EQUAL",
        0x139 => "KERNEL_SECURITY_CHECK_FAILURE",
        _ => "bug check",
    }
}

/// `LIST_ENTRY`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ListEntry {
    pub Flink: Ptr<ListEntry>,
    pub Blink: Ptr<ListEntry>,
}

/// `DISPATCHER_HEADER`: what every object that can be waited for begins with.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DispatcherHeader {
    pub Type: u8,
    pub Reserved: u8,
    pub Size: u8,
    pub Inserted: u8,
    pub SignalState: i32,
    pub WaitListHead: ListEntry,
}

/// The thread object. Opaque to drivers but for its header.
#[repr(C, align(16))]
pub struct KThread {
    pub Header: DispatcherHeader,
    pub Rest: [u8; 0x600 - 0x18],
}

/// `DISPATCHER_HEADER.Type` of a thread.
pub const THREAD_OBJECT: u8 = 6;

impl KThread {
    pub fn new() -> Self {
        KThread {
            Header: DispatcherHeader {
                Type: THREAD_OBJECT,
                Reserved: 0,
                Size: 0,
                Inserted: 0,
                SignalState: 0,
                WaitListHead: ListEntry { Flink: Ptr::NULL, Blink: Ptr::NULL },
            },
            Rest: [0; 0x600 - 0x18],
        }
    }
}
