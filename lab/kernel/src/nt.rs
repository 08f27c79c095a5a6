//! Types and numbers of the NT kernel, as `wdm.h` and `ntstatus.h` have them.

#![allow(non_snake_case, reason = "fields have the names of wdm.h")]

use core::fmt;

use crate::ptr::Ptr;

pub const PASSIVE_LEVEL: u8 = 0;
pub const APC_LEVEL: u8 = 1;
pub const DISPATCH_LEVEL: u8 = 2;

/// An `NTSTATUS`. Compared exactly, never by sign.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct NtStatus(pub i32);

impl NtStatus {
    pub const SUCCESS: NtStatus = NtStatus(0x00000000u32 as i32);
    pub const WAIT_1: NtStatus = NtStatus(0x00000001u32 as i32);
    pub const ALERTED: NtStatus = NtStatus(0x00000101u32 as i32);
    pub const TIMEOUT: NtStatus = NtStatus(0x00000102u32 as i32);
    pub const SOME_NOT_MAPPED: NtStatus = NtStatus(0x00000107u32 as i32);
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
    pub const OBJECT_PATH_SYNTAX_BAD: NtStatus = NtStatus(0xC000003Bu32 as i32);
    pub const BAD_DESCRIPTOR_FORMAT: NtStatus = NtStatus(0xC00000E7u32 as i32);
    pub const CANNOT_DELETE: NtStatus = NtStatus(0xC0000121u32 as i32);
    pub const KEY_DELETED: NtStatus = NtStatus(0xC000017Cu32 as i32);
    pub const INVALID_SECURITY_DESCR: NtStatus = NtStatus(0xC0000079u32 as i32);
    pub const INVALID_IMAGE_FORMAT: NtStatus = NtStatus(0xC000007Bu32 as i32);
    pub const INSUFFICIENT_RESOURCES: NtStatus = NtStatus(0xC000009Au32 as i32);
    pub const NOT_SUPPORTED: NtStatus = NtStatus(0xC00000BBu32 as i32);
    pub const DELETE_PENDING: NtStatus = NtStatus(0xC0000056u32 as i32);
    pub const INTERNAL_ERROR: NtStatus = NtStatus(0xC00000E5u32 as i32);
    pub const INVALID_PARAMETER_4: NtStatus = NtStatus(0xC00000F2u32 as i32);
    pub const INVALID_PARAMETER_5: NtStatus = NtStatus(0xC00000F3u32 as i32);
    pub const NAME_TOO_LONG: NtStatus = NtStatus(0xC0000106u32 as i32);
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
            NtStatus::OBJECT_PATH_SYNTAX_BAD => "STATUS_OBJECT_PATH_SYNTAX_BAD",
            NtStatus::BAD_DESCRIPTOR_FORMAT => "STATUS_BAD_DESCRIPTOR_FORMAT",
            NtStatus::CANNOT_DELETE => "STATUS_CANNOT_DELETE",
            NtStatus::KEY_DELETED => "STATUS_KEY_DELETED",
            NtStatus::SOME_NOT_MAPPED => "STATUS_SOME_NOT_MAPPED",
            NtStatus::INVALID_PARAMETER_4 => "STATUS_INVALID_PARAMETER_4",
            NtStatus::INVALID_PARAMETER_5 => "STATUS_INVALID_PARAMETER_5",
            NtStatus::NAME_TOO_LONG => "STATUS_NAME_TOO_LONG",
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

/// `UNICODE_STRING`; lengths in bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct UnicodeString {
    pub Length: u16,
    pub MaximumLength: u16,
    pub Buffer: Ptr<u16>,
}

impl UnicodeString {
    pub const EMPTY: Self = UnicodeString { Length: 0, MaximumLength: 0, Buffer: Ptr::NULL };

    /// The code units, read from the driver's memory.
    pub fn units(self) -> Vec<u16> {
        if self.Buffer.is_null() {
            return Vec::new();
        }
        self.Buffer.to_vec(usize::from(self.Length / 2))
    }

    pub fn text(self) -> String {
        String::from_utf16_lossy(&self.units())
    }
}

/// `ANSI_STRING`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AnsiString {
    pub Length: u16,
    pub MaximumLength: u16,
    pub Buffer: Ptr<u8>,
}

/// A counted string in memory of the lab's own, as drivers are handed them.
pub struct OwnedUnicode {
    units: Vec<u16>,
    header: Box<UnicodeString>,
}

impl OwnedUnicode {
    pub fn new(text: &str) -> Self {
        let mut units: Vec<u16> = text.encode_utf16().chain([0]).collect();
        let length = (units.len() - 1) as u16 * 2;
        let header =
            Box::new(UnicodeString { Length: length, MaximumLength: length + 2, Buffer: Ptr::new(units.as_mut_ptr()) });
        OwnedUnicode { units, header }
    }

    /// The structure to hand to a driver; valid while `self` lives.
    pub fn pointer(&self) -> Ptr<UnicodeString> {
        debug_assert_eq!(self.header.Buffer.address(), self.units.as_ptr() as u64);
        Ptr::new(core::ptr::from_ref(&*self.header).cast_mut())
    }

    pub fn value(&self) -> UnicodeString {
        *self.header
    }
}

/// `DRIVER_OBJECT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DriverObject {
    pub Type: i16,
    pub Size: i16,
    pub DeviceObject: Ptr<DeviceObject>,
    pub Flags: u32,
    pub DriverStart: u64,
    pub DriverSize: u32,
    pub DriverSection: u64,
    pub DriverExtension: Ptr<DriverExtension>,
    pub DriverName: UnicodeString,
    pub HardwareDatabase: Ptr<UnicodeString>,
    pub FastIoDispatch: u64,
    pub DriverInit: u64,
    pub DriverStartIo: u64,
    pub DriverUnload: u64,
    pub MajorFunction: [u64; 28],
}

/// `DRIVER_EXTENSION`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DriverExtension {
    pub DriverObject: Ptr<DriverObject>,
    pub AddDevice: u64,
    pub Count: u32,
    pub ServiceKeyName: UnicodeString,
}

/// `DEVICE_OBJECT`.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub struct DeviceObject {
    pub Type: i16,
    pub Size: u16,
    pub ReferenceCount: i32,
    pub DriverObject: Ptr<DriverObject>,
    pub NextDevice: Ptr<DeviceObject>,
    pub AttachedDevice: Ptr<DeviceObject>,
    pub CurrentIrp: u64,
    pub Timer: u64,
    pub Flags: u32,
    pub Characteristics: u32,
    pub Vpb: u64,
    pub DeviceExtension: Ptr<u8>,
    pub DeviceType: u32,
    pub StackSize: i8,
    pub Queue: [u64; 9],
    pub AlignmentRequirement: u32,
    pub DeviceQueue: [u64; 5],
    pub Dpc: KDpc,
    pub ActiveThreadCount: u32,
    pub SecurityDescriptor: u64,
    pub DeviceLock: KEvent,
    pub SectorSize: u16,
    pub Spare1: u16,
    pub DeviceObjectExtension: u64,
    pub Reserved: u64,
}

/// `IO_STATUS_BLOCK`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IoStatusBlock {
    pub Status: NtStatus,
    pub Information: u64,
}

/// `IRP`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Irp {
    pub Type: i16,
    pub Size: u16,
    pub MdlAddress: Ptr<Mdl>,
    pub Flags: u32,
    pub SystemBuffer: Ptr<u8>,
    pub ThreadListEntry: ListEntry,
    pub IoStatus: IoStatusBlock,
    pub RequestorMode: i8,
    pub PendingReturned: u8,
    pub StackCount: i8,
    pub CurrentLocation: i8,
    pub Cancel: u8,
    pub CancelIrql: u8,
    pub ApcEnvironment: i8,
    pub AllocationFlags: u8,
    pub UserIosb: u64,
    pub UserEvent: u64,
    pub Overlay: [u64; 2],
    pub CancelRoutine: u64,
    pub UserBuffer: Ptr<u8>,
    pub DriverContext: [u64; 4],
    pub Thread: u64,
    pub AuxiliaryBuffer: u64,
    pub ListEntry: ListEntry,
    pub CurrentStackLocation: Ptr<IoStackLocation>,
    pub OriginalFileObject: Ptr<FileObject>,
    pub TailRest: u64,
}

/// `IO_STACK_LOCATION`. The parameters are those of device control where the names differ.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IoStackLocation {
    pub MajorFunction: u8,
    pub MinorFunction: u8,
    pub Flags: u8,
    pub Control: u8,
    /// `OutputBufferLength`; of reads and writes `Length`.
    pub OutputBufferLength: u64,
    pub InputBufferLength: u64,
    /// `IoControlCode`; of reads and writes `ByteOffset`.
    pub IoControlCode: u64,
    pub Type3InputBuffer: Ptr<u8>,
    pub DeviceObject: Ptr<DeviceObject>,
    pub FileObject: Ptr<FileObject>,
    pub CompletionRoutine: u64,
    pub Context: u64,
}

/// `FILE_OBJECT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FileObject {
    pub Type: i16,
    pub Size: i16,
    pub DeviceObject: Ptr<DeviceObject>,
    pub Vpb: u64,
    pub FsContext: u64,
    pub FsContext2: u64,
    pub SectionObjectPointer: u64,
    pub PrivateCacheMap: u64,
    pub FinalStatus: i32,
    pub RelatedFileObject: u64,
    pub LockOperation: u8,
    pub DeletePending: u8,
    pub ReadAccess: u8,
    pub WriteAccess: u8,
    pub DeleteAccess: u8,
    pub SharedRead: u8,
    pub SharedWrite: u8,
    pub SharedDelete: u8,
    pub Flags: u32,
    pub FileName: UnicodeString,
    pub CurrentByteOffset: i64,
    pub Waiters: u32,
    pub Busy: u32,
    pub LastLock: u64,
    pub Lock: KEvent,
    pub Event: KEvent,
    pub CompletionContext: u64,
    pub IrpListLock: u64,
    pub IrpList: ListEntry,
    pub FileObjectExtension: u64,
}

/// `MDL`; the page numbers that follow it hold page addresses here.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Mdl {
    pub Next: Ptr<Mdl>,
    pub Size: i16,
    pub MdlFlags: u16,
    pub Process: u64,
    pub MappedSystemVa: Ptr<u8>,
    pub StartVa: u64,
    pub ByteCount: u32,
    pub ByteOffset: u32,
}

/// `KEVENT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KEvent {
    pub Header: DispatcherHeader,
}

/// `KTIMER`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KTimer {
    pub Header: DispatcherHeader,
    pub DueTime: u64,
    pub TimerListEntry: ListEntry,
    pub Dpc: Ptr<KDpc>,
    pub Processor: u16,
    pub TimerType: u16,
    pub Period: u32,
}

/// `KDPC`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KDpc {
    pub Type: u8,
    pub Importance: u8,
    pub Number: u16,
    pub DpcListEntry: u64,
    pub ProcessorHistory: u64,
    pub DeferredRoutine: u64,
    pub DeferredContext: u64,
    pub SystemArgument1: u64,
    pub SystemArgument2: u64,
    /// Not null while the DPC is queued.
    pub DpcData: u64,
}

/// `KMUTANT`, which is `KMUTEX`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KMutant {
    pub Header: DispatcherHeader,
    pub MutantListEntry: ListEntry,
    pub OwnerThread: u64,
    pub Abandoned: u8,
    pub ApcDisable: u8,
}

/// `KSEMAPHORE`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KSemaphore {
    pub Header: DispatcherHeader,
    pub Limit: i32,
}

// Sizes and offsets as measured over the WDK's headers.
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<DispatcherHeader>() == 0x18);
    assert!(size_of::<DriverObject>() == 0x150);
    assert!(offset_of!(DriverObject, DriverUnload) == 0x68);
    assert!(offset_of!(DriverObject, MajorFunction) == 0x70);
    assert!(size_of::<DriverExtension>() == 0x28);
    assert!(size_of::<DeviceObject>() == 0x150);
    assert!(offset_of!(DeviceObject, DeviceExtension) == 0x40);
    assert!(offset_of!(DeviceObject, AlignmentRequirement) == 0x98);
    assert!(offset_of!(DeviceObject, Dpc) == 0xc8);
    assert!(offset_of!(DeviceObject, DeviceLock) == 0x118);
    assert!(size_of::<Irp>() == 0xd0);
    assert!(offset_of!(Irp, IoStatus) == 0x30);
    assert!(offset_of!(Irp, CancelRoutine) == 0x68);
    assert!(offset_of!(Irp, CurrentStackLocation) == 0xb8);
    assert!(size_of::<IoStackLocation>() == 0x48);
    assert!(offset_of!(IoStackLocation, DeviceObject) == 0x28);
    assert!(size_of::<FileObject>() == 0xd8);
    assert!(offset_of!(FileObject, FileName) == 0x58);
    assert!(size_of::<Mdl>() == 0x30);
    assert!(size_of::<KEvent>() == 0x18);
    assert!(size_of::<KTimer>() == 0x40);
    assert!(size_of::<KDpc>() == 0x40);
    assert!(size_of::<KMutant>() == 0x38);
    assert!(size_of::<KSemaphore>() == 0x20);
};

/// A zeroed value of a structure of plain integers and pointers.
pub fn zeroed<T: Plain>() -> T {
    // SAFETY: `Plain` types are valid when all bytes are zero.
    unsafe { core::mem::zeroed() }
}

/// Structures made of integers and addresses only.
///
/// # Safety
/// All-zero bytes must be a valid value.
pub unsafe trait Plain: Copy {}
macro_rules! plain {
    ($($t:ty),*) => { $(
        // SAFETY: made of integers and addresses.
        unsafe impl Plain for $t {}
    )* };
}
plain!(DriverObject, DriverExtension, DeviceObject, Irp, IoStackLocation, FileObject, Mdl, KEvent, KTimer, KDpc);
