//! Processors, event tracing, singly linked lists, security, callbacks, and the rest of the kernel.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::export::{Export, exports};
use crate::image;
use crate::inject;
use crate::irql::{self, require_irql};
use crate::kernel::{lock, next_number};
use crate::nt::{APC_LEVEL, DISPATCH_LEVEL, NtStatus, PASSIVE_LEVEL, UnicodeString};
use crate::ntos::dispatch::bad_parameter;
use crate::ptr::Ptr;
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    bare KeGetCurrentProcessorNumberEx,
    bare KeGetCurrentProcessorNumber,
    KeQueryActiveProcessorCount,
    KeQueryActiveProcessorCountEx,
    KeQueryMaximumProcessorCount,
    KeQueryMaximumProcessorCountEx,
    KeQueryActiveProcessors,
    KeQueryActiveGroupCount,
    KeQueryMaximumGroupCount,
    KeQueryGroupAffinity,
    KeQueryHighestNodeNumber,
    KeGetProcessorNumberFromIndex,
    KeGetProcessorIndexFromNumber,
    KeGetRecommendedSharedDataAlignment,
    KeIpiGenericCall,
    KeSaveFloatingPointState,
    KeRestoreFloatingPointState,
    KeSaveExtendedProcessorState,
    KeRestoreExtendedProcessorState,
    KeExpandKernelStackAndCallout,
    EtwRegister,
    EtwUnregister,
    EtwWrite,
    EtwWriteEx,
    EtwWriteString,
    EtwWriteTransfer,
    EtwEventEnabled,
    EtwProviderEnabled,
    EtwActivityIdControl,
    EtwSetInformation,
    IoWMIRegistrationControl,
    IoWMIWriteEvent,
    WmiTraceMessage,
    WmiQueryTraceInformation,
    bare ExpInterlockedPushEntrySList,
    bare ExpInterlockedPopEntrySList,
    bare ExpInterlockedFlushSList,
    bare InterlockedPushEntrySList,
    bare InterlockedPopEntrySList,
    bare ExInterlockedFlushSList,
    bare ExQueryDepthSList,
    bare InitializeSListHead,
    bare RtlInitializeSListHead,
    bare RtlFirstEntrySList,
    bare RtlQueryDepthSList,
    ExInterlockedInsertHeadList,
    ExInterlockedInsertTailList,
    ExInterlockedRemoveHeadList,
    ExInterlockedPushEntryList,
    ExInterlockedPopEntryList,
    ExInterlockedAddLargeInteger,
    ExInterlockedAddUlong,
    bare __C_specific_handler,
    bare __chkstk,
    _purecall,
    SeCaptureSubjectContext,
    SeReleaseSubjectContext,
    SeLockSubjectContext,
    SeUnlockSubjectContext,
    SeAccessCheck,
    SeSinglePrivilegeCheck,
    SeTokenIsAdmin,
    PsReferencePrimaryToken,
    PsDereferencePrimaryToken,
    SeQueryInformationToken,
    SeLocateProcessImageName,
    PsGetVersion,
    PsGetProcessCreateTimeQuadPart,
    ObQueryNameString,
    ObOpenObjectByPointer,
    ObRegisterCallbacks,
    ObUnRegisterCallbacks,
    ZwOpenProcess,
    ZwOpenEvent,
    ZwCreateSection,
    ZwMapViewOfSection,
    ZwUnmapViewOfSection,
    ZwLoadDriver,
    ZwUnloadDriver,
    ZwNotifyChangeKey,
    ZwQueryObject,
    ZwSetInformationFile,
    IoRegisterDeviceInterface,
    IoSetDeviceInterfaceState,
    KeRegisterProcessorChangeCallback,
    KeDeregisterProcessorChangeCallback,
    KeExpandKernelStackAndCalloutEx,
    bare RtlLookupFunctionEntry,
    RtlMapGenericMask,
    RtlLengthRequiredSid,
    RtlInitializeSid,
    RtlSubAuthoritySid,
    RtlCreateAcl,
    RtlAddAccessAllowedAce,
    RtlAbsoluteToSelfRelativeSD,
    RtlGetOwnerSecurityDescriptor,
    RtlCreateSecurityDescriptor,
    RtlSetDaclSecurityDescriptor,
    RtlLengthSecurityDescriptor,
    RtlLengthSid,
    RtlValidSid,
    RtlEqualSid,
    RtlCopySid,
    RtlConvertSidToUnicodeString,
    ZwSetSecurityObject,
    ExCreateCallback,
    ExRegisterCallback,
    ExUnregisterCallback,
    ExNotifyCallback,
    PoRegisterPowerSettingCallback,
    PoUnregisterPowerSettingCallback,
    PoStartNextPowerIrp,
    PoCallDriver,
    PsSetCreateProcessNotifyRoutine,
    PsSetCreateProcessNotifyRoutineEx,
    PsSetCreateProcessNotifyRoutineEx2,
    PsSetCreateThreadNotifyRoutine,
    PsRemoveCreateThreadNotifyRoutine,
    PsSetLoadImageNotifyRoutine,
    PsRemoveLoadImageNotifyRoutine,
    CmRegisterCallback,
    CmRegisterCallbackEx,
    CmUnRegisterCallback,
    IoRegisterPlugPlayNotification,
    IoUnregisterPlugPlayNotification,
    IoUnregisterPlugPlayNotificationEx,
    IoWriteErrorLogEntry,
    IoAllocateErrorLogEntry,
    IoFreeErrorLogEntry,
    IoAllocateDriverObjectExtension,
    IoGetDriverObjectExtension,
    IoRegisterDriverReinitialization,
    ZwQuerySystemInformation,
    ZwOpenFile,
    ZwCreateFile,
    ZwReadFile,
    ZwWriteFile,
    ZwDeviceIoControlFile,
    ZwQueryInformationFile,
    ZwQueryInformationProcess,
    ZwYieldExecution,
    ExGetPreviousMode,
    ExIsProcessorFeaturePresent,
    ExVerifySuite,
    MmIsVerifierEnabled,
    MmIsDriverVerifying,
    KeStackAttachProcess,
    KeUnstackDetachProcess,
    bare KeGetCurrentNodeNumber,
    data NtBuildNumber,
    data InitSafeBootMode,
    data KeNumberProcessors,
    data PsInitialSystemProcess,
    data IoFileObjectType,
    data IoDriverObjectType,
    data IoDeviceObjectType,
    data ExEventObjectType,
    data ExSemaphoreObjectType,
    data PsThreadType,
    data PsProcessType,
    data SeTokenObjectType,
    data CmKeyObjectType,
    data SeExports,
    data NlsMbCodePageTag,
    data KeTickCount,
];

/// Low word the build, high bits the kind of build (free).
static NtBuildNumber: u32 = 0xF000_4A65;
static InitSafeBootMode: u32 = 0;
static KeNumberProcessors: i8 = 64;
static NlsMbCodePageTag: u8 = 0;
static KeTickCount: [u64; 2] = [0; 2];
static PsInitialSystemProcess: Address = Address(0);

/// A pointer-sized exported variable.
#[repr(transparent)]
struct Address(u64);

/// A variable that points to an object type. Types are compared, never looked into: the variable's own address stands for the type.
#[repr(transparent)]
pub(crate) struct ObjectType(*const ObjectType);

// SAFETY: an address that nobody reads from.
unsafe impl Sync for ObjectType {}

impl ObjectType {
    pub fn value(&self) -> u64 {
        self.0 as u64
    }
}

macro_rules! object_types {
    ($($name:ident),*) => { $(
        pub(crate) static $name: ObjectType = ObjectType(&raw const $name);
    )* };
}
static SeExports: Address = Address(0);
object_types!(
    IoFileObjectType,
    IoDriverObjectType,
    IoDeviceObjectType,
    ExEventObjectType,
    ExSemaphoreObjectType,
    PsThreadType,
    PsProcessType,
    SeTokenObjectType,
    CmKeyObjectType
);

extern "win64" fn KeGetCurrentProcessorNumberEx(number: Ptr<[u8; 4]>) -> u32 {
    let processor = thread::page().processor.get();
    if !number.is_null() {
        number.copy_from(&[[(processor / 64) as u8, 0, (processor % 64) as u8, 0]]);
    }
    processor
}

extern "win64" fn KeGetCurrentProcessorNumber() -> u32 {
    thread::page().processor.get()
}

extern "win64" fn KeGetCurrentNodeNumber() -> u16 {
    0
}

fn processors() -> u32 {
    thread::current().processors.count()
}

extern "win64" fn KeQueryActiveProcessorCount(affinity: Ptr<u64>) -> u32 {
    let count = processors().min(64);
    affinity.write_optional(if count == 64 { u64::MAX } else { (1 << count) - 1 });
    count
}

const ALL_PROCESSOR_GROUPS: u16 = 0xFFFF;

extern "win64" fn KeQueryActiveProcessorCountEx(group: u16) -> u32 {
    match group {
        ALL_PROCESSOR_GROUPS => processors(),
        group => processors().saturating_sub(u32::from(group) * 64).min(64),
    }
}

extern "win64" fn KeQueryMaximumProcessorCount() -> u32 {
    processors().min(64)
}

extern "win64" fn KeQueryMaximumProcessorCountEx(group: u16) -> u32 {
    KeQueryActiveProcessorCountEx(group)
}

extern "win64" fn KeQueryActiveProcessors() -> u64 {
    let mut affinity = 0u64;
    KeQueryActiveProcessorCount(Ptr::new(&raw mut affinity));
    affinity
}

extern "win64" fn KeQueryActiveGroupCount() -> u16 {
    processors().div_ceil(64) as u16
}

extern "win64" fn KeQueryMaximumGroupCount() -> u16 {
    KeQueryActiveGroupCount()
}

extern "win64" fn KeQueryGroupAffinity(group: u16) -> u64 {
    match KeQueryActiveProcessorCountEx(group) {
        64 => u64::MAX,
        count => (1 << count) - 1,
    }
}

extern "win64" fn KeQueryHighestNodeNumber() -> u16 {
    0
}

extern "win64" fn KeGetProcessorNumberFromIndex(index: u32, number: Ptr<[u8; 4]>) -> NtStatus {
    if index >= processors() {
        return NtStatus::INVALID_PARAMETER;
    }
    number.copy_from(&[[(index / 64) as u8, 0, (index % 64) as u8, 0]]);
    NtStatus::SUCCESS
}

extern "win64" fn KeGetProcessorIndexFromNumber(number: Ptr<[u8; 4]>) -> u32 {
    let [low, high, inside, _] = number.read_unaligned();
    let index = u32::from(u16::from_le_bytes([low, high])) * 64 + u32::from(inside);
    if index < processors() { index } else { u32::MAX }
}

extern "win64" fn KeGetRecommendedSharedDataAlignment() -> u32 {
    64
}

/// The lab cannot stop other threads at any instruction; the callback runs on this one alone.
extern "win64" fn KeIpiGenericCall(routine: u64, argument: u64) -> u64 {
    call(&"IPI routine", routine, irql::current().max(DISPATCH_LEVEL), argument)
}

fn call(what: &&'static str, routine: u64, level: u8, argument: u64) -> u64 {
    let context = crate::call::CallContext { what, object: "the driver", at: "" };
    // SAFETY: the driver passed this routine for exactly this call.
    match unsafe { crate::call::call_image(&context, level, routine as *const (), (argument,)) } {
        Ok(value) => value,
        Err(_) => {
            crate::report::leave_if_stopped();
            0
        }
    }
}

// Floating point state is the thread's own, as in any process.

extern "win64" fn KeSaveFloatingPointState(_save: u64) -> NtStatus {
    NtStatus::SUCCESS
}

extern "win64" fn KeRestoreFloatingPointState(_save: u64) -> NtStatus {
    NtStatus::SUCCESS
}

extern "win64" fn KeSaveExtendedProcessorState(_mask: u64, _save: u64) -> NtStatus {
    NtStatus::SUCCESS
}

extern "win64" fn KeRestoreExtendedProcessorState(_save: u64) {}

extern "win64" fn KeExpandKernelStackAndCallout(routine: u64, parameter: u64, _size: u64) -> NtStatus {
    call(&"expanded stack callout", routine, irql::current(), parameter);
    NtStatus::SUCCESS
}

/// Event providers that are registered: by handle, the image and the call.
#[derive(Default)]
pub(crate) struct Etw(Mutex<HashMap<u64, (u64, u64)>>);

impl Etw {
    pub fn take_owned_by(&self, image: u64) -> Vec<String> {
        let mut left = Vec::new();
        lock(&self.0).retain(|handle, (owner, caller)| {
            if *owner == image {
                let at = image::place(*caller).map_or_else(String::new, |place| format!(", registered at {place}"));
                left.push(format!("ETW provider {handle:#x} was not unregistered{at}"));
            }
            *owner != image
        });
        left
    }
}

extern "win64" fn EtwRegister(_provider: Ptr<[u8; 16]>, _callback: u64, _context: u64, handle: Ptr<u64>) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    let number = next_number();
    let caller = thread::page().caller.get();
    lock(&thread::current().etw.0).insert(number, (image::number_at(caller).unwrap_or(0), caller));
    handle.write(number);
    NtStatus::SUCCESS
}

extern "win64" fn EtwUnregister(handle: u64) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if lock(&thread::current().etw.0).remove(&handle).is_none() {
        bad_parameter("a handle that is not registered", "unregister each provider once");
        return NtStatus::INVALID_HANDLE;
    }
    NtStatus::SUCCESS
}

/// Event data is kept when it is text.
fn log_event(handle: u64, count: u32, data: Ptr<[u64; 2]>) -> NtStatus {
    if let Some(status) = inject::faulted() {
        return status;
    }
    let kernel = thread::current();
    if !lock(&kernel.etw.0).contains_key(&handle) {
        return NtStatus::INVALID_HANDLE;
    }
    for index in 0..count.min(128) {
        let [pointer, size] = data.at(index as usize).read_unaligned();
        let units = Ptr::<u16>::from_address(pointer).to_vec((size as u32 / 2) as usize);
        let text = String::from_utf16_lossy(&units);
        let text = text.trim_end_matches('\0');
        if text.len() > 1 && text.chars().all(|character| !character.is_control() && character != '\u{fffd}') {
            kernel.reports.event(text);
        }
    }
    NtStatus::SUCCESS
}

extern "win64" fn EtwWrite(handle: u64, _descriptor: u64, _activity: u64, count: u32, data: Ptr<[u64; 2]>) -> NtStatus {
    log_event(handle, count, data)
}

extern "win64" fn EtwWriteEx(
    handle: u64,
    _descriptor: u64,
    _filter: u64,
    _flags: u32,
    _activity: u64,
    _related: u64,
    count: u32,
    data: Ptr<[u64; 2]>,
) -> NtStatus {
    log_event(handle, count, data)
}

extern "win64" fn EtwWriteTransfer(
    handle: u64,
    _descriptor: u64,
    _activity: u64,
    _related: u64,
    count: u32,
    data: Ptr<[u64; 2]>,
) -> NtStatus {
    log_event(handle, count, data)
}

extern "win64" fn EtwWriteString(handle: u64, _level: u8, _keyword: u64, _activity: u64, text: Ptr<u16>) -> NtStatus {
    if let Some(status) = inject::faulted() {
        return status;
    }
    let kernel = thread::current();
    let text = String::from_utf16_lossy(&crate::ntos::debug::c_string(text, 4096));
    if !lock(&kernel.etw.0).contains_key(&handle) {
        return NtStatus::INVALID_HANDLE;
    }
    kernel.reports.event(&text);
    NtStatus::SUCCESS
}

extern "win64" fn EtwEventEnabled(_handle: u64, _descriptor: u64) -> u8 {
    1
}

extern "win64" fn EtwProviderEnabled(_handle: u64, _level: u8, _keyword: u64) -> u8 {
    1
}

extern "win64" fn EtwActivityIdControl(_code: u32, _activity: u64) -> NtStatus {
    NtStatus::SUCCESS
}

extern "win64" fn EtwSetInformation(_handle: u64, _class: u32, _data: u64, _length: u32) -> NtStatus {
    NtStatus::SUCCESS
}

extern "win64" fn IoWMIRegistrationControl(_device: u64, _action: u32) -> NtStatus {
    NtStatus::SUCCESS
}

extern "win64" fn IoWMIWriteEvent(_event: u64) -> NtStatus {
    NtStatus::SUCCESS
}

extern "win64" fn WmiTraceMessage() -> NtStatus {
    NtStatus::SUCCESS
}

extern "win64" fn WmiQueryTraceInformation(_class: u32, _out: u64, _length: u32, _needed: u64, _in: u64) -> NtStatus {
    NtStatus::NOT_SUPPORTED
}

// Interlocked singly linked lists. The header's 128 bits are the depth (16), a sequence (48) and the address
// of the first entry, as `SLIST_HEADER.HeaderX64` has them, changed by one 16-byte compare and exchange.

type SListHead = [u64; 2];

fn exchange(head: Ptr<SListHead>, old: SListHead, new: SListHead) -> Result<(), SListHead> {
    let (low, high): (u64, u64);
    // SAFETY: the list head is 16-byte aligned by its contract, and `cmpxchg16b` exists on every processor
    // that runs x64 Windows 8.1 or later. rbx is saved because LLVM reserves it.
    unsafe {
        core::arch::asm!(
            "xchg {new_low}, rbx",
            "lock cmpxchg16b [{head}]",
            "mov rbx, {new_low}",
            head = in(reg) head.as_mut_ptr(),
            new_low = inout(reg) new[0] => _,
            in("rcx") new[1],
            inout("rax") old[0] => low,
            inout("rdx") old[1] => high,
            options(nostack),
        );
    }
    if [low, high] == old { Ok(()) } else { Err([low, high]) }
}

fn aligned(head: Ptr<SListHead>) {
    if !head.address().is_multiple_of(16) {
        crate::report::bugcheck(0xA, [head.address(), 0, 0, 0], "an SLIST_HEADER that is not aligned to 16 bytes");
    }
}

extern "win64" fn ExpInterlockedPushEntrySList(head: Ptr<SListHead>, entry: Ptr<u64>) -> Ptr<u64> {
    aligned(head);
    let mut old = head.read();
    loop {
        let first = old[1] & !0xf;
        entry.write(first);
        let depth = (old[0] + 1) & 0xffff;
        let sequence = (old[0] & !0xffff).wrapping_add(0x1_0000);
        match exchange(head, old, [sequence | depth, entry.address()]) {
            Ok(()) => return Ptr::from_address(first),
            Err(now) => old = now,
        }
    }
}

extern "win64" fn ExpInterlockedPopEntrySList(head: Ptr<SListHead>) -> Ptr<u64> {
    aligned(head);
    let mut old = head.read();
    loop {
        let first = Ptr::<u64>::from_address(old[1] & !0xf);
        if first.is_null() {
            return first;
        }
        let depth = old[0].wrapping_sub(1) & 0xffff;
        match exchange(head, old, [old[0] & !0xffff | depth, first.read()]) {
            Ok(()) => return first,
            Err(now) => old = now,
        }
    }
}

extern "win64" fn ExpInterlockedFlushSList(head: Ptr<SListHead>) -> Ptr<u64> {
    aligned(head);
    let mut old = head.read();
    loop {
        match exchange(head, old, [old[0] & !0xffff, 0]) {
            Ok(()) => return Ptr::from_address(old[1] & !0xf),
            Err(now) => old = now,
        }
    }
}

extern "win64" fn InterlockedPushEntrySList(head: Ptr<SListHead>, entry: Ptr<u64>) -> Ptr<u64> {
    ExpInterlockedPushEntrySList(head, entry)
}

extern "win64" fn InterlockedPopEntrySList(head: Ptr<SListHead>) -> Ptr<u64> {
    ExpInterlockedPopEntrySList(head)
}

extern "win64" fn ExInterlockedFlushSList(head: Ptr<SListHead>) -> Ptr<u64> {
    ExpInterlockedFlushSList(head)
}

extern "win64" fn ExQueryDepthSList(head: Ptr<SListHead>) -> u16 {
    head.read()[0] as u16
}

extern "win64" fn RtlQueryDepthSList(head: Ptr<SListHead>) -> u16 {
    head.read()[0] as u16
}

extern "win64" fn InitializeSListHead(head: Ptr<SListHead>) {
    head.write([0; 2]);
}

extern "win64" fn RtlInitializeSListHead(head: Ptr<SListHead>) {
    head.write([0; 2]);
}

extern "win64" fn RtlFirstEntrySList(head: Ptr<SListHead>) -> Ptr<u64> {
    Ptr::from_address(head.read()[1] & !0xf)
}

/// Runs `body` with an interlocked list's spin lock held, at any IRQL.
fn with_list_lock<R>(spin_lock: Ptr<core::sync::atomic::AtomicU64>, body: impl FnOnce() -> R) -> R {
    use core::sync::atomic::Ordering;
    let mut rounds = 0;
    while spin_lock.as_ref().compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
        crate::ntos::spin::spin(&mut rounds);
    }
    let result = body();
    spin_lock.as_ref().store(0, Ordering::Release);
    result
}

type List = [Ptr<u8>; 2];

fn insert_between(entry: Ptr<List>, before: Ptr<List>, after: Ptr<List>) {
    entry.write([after.cast(), before.cast()]);
    before.cast::<Ptr<u8>>().write(entry.cast());
    after.cast::<Ptr<u8>>().at(1).write(entry.cast());
}

extern "win64" fn ExInterlockedInsertHeadList(
    head: Ptr<List>,
    entry: Ptr<List>,
    spin_lock: Ptr<core::sync::atomic::AtomicU64>,
) -> Ptr<List> {
    with_list_lock(spin_lock, || {
        let first: Ptr<List> = head.read()[0].cast();
        insert_between(entry, head, first);
        if first == head { Ptr::NULL } else { first }
    })
}

extern "win64" fn ExInterlockedInsertTailList(
    head: Ptr<List>,
    entry: Ptr<List>,
    spin_lock: Ptr<core::sync::atomic::AtomicU64>,
) -> Ptr<List> {
    with_list_lock(spin_lock, || {
        let last: Ptr<List> = head.read()[1].cast();
        insert_between(entry, last, head);
        if last == head { Ptr::NULL } else { last }
    })
}

extern "win64" fn ExInterlockedRemoveHeadList(
    head: Ptr<List>,
    spin_lock: Ptr<core::sync::atomic::AtomicU64>,
) -> Ptr<List> {
    with_list_lock(spin_lock, || {
        let first: Ptr<List> = head.read()[0].cast();
        if first == head {
            return Ptr::NULL;
        }
        let next: Ptr<List> = first.read()[0].cast();
        head.cast::<Ptr<u8>>().write(next.cast());
        next.cast::<Ptr<u8>>().at(1).write(head.cast());
        first
    })
}

extern "win64" fn ExInterlockedPushEntryList(
    head: Ptr<u64>,
    entry: Ptr<u64>,
    spin_lock: Ptr<core::sync::atomic::AtomicU64>,
) -> u64 {
    with_list_lock(spin_lock, || {
        let first = head.read();
        entry.write(first);
        head.write(entry.address());
        first
    })
}

extern "win64" fn ExInterlockedPopEntryList(head: Ptr<u64>, spin_lock: Ptr<core::sync::atomic::AtomicU64>) -> Ptr<u64> {
    with_list_lock(spin_lock, || {
        let first = Ptr::<u64>::from_address(head.read());
        if !first.is_null() {
            head.write(first.read());
        }
        first
    })
}

extern "win64" fn ExInterlockedAddLargeInteger(
    addend: Ptr<i64>,
    increment: i64,
    spin_lock: Ptr<core::sync::atomic::AtomicU64>,
) -> i64 {
    with_list_lock(spin_lock, || {
        let old = addend.read();
        addend.write(old.wrapping_add(increment));
        old
    })
}

extern "win64" fn ExInterlockedAddUlong(
    addend: Ptr<u32>,
    increment: u32,
    spin_lock: Ptr<core::sync::atomic::AtomicU64>,
) -> u32 {
    with_list_lock(spin_lock, || {
        let old = addend.read();
        addend.write(old.wrapping_add(increment));
        old
    })
}

/// The handler that images name in their unwind data. The lab dispatches no exceptions, so it is never
/// called; `ExceptionContinueSearch` is what it would answer.
extern "win64" fn __C_specific_handler(_record: u64, _frame: u64, _context: u64, _dispatcher: u64) -> u32 {
    1
}

/// Probes the stack by touching each page, with the size in `rax`, and preserves every register.
#[unsafe(naked)]
extern "win64" fn __chkstk() {
    core::arch::naked_asm!(
        "push rcx",
        "push rax",
        "lea rcx, [rsp + 24]",
        "2:",
        "cmp rax, 0x1000",
        "jb 3f",
        "sub rcx, 0x1000",
        "test qword ptr [rcx], 0",
        "sub rax, 0x1000",
        "jmp 2b",
        "3:",
        "sub rcx, rax",
        "test qword ptr [rcx], 0",
        "pop rax",
        "pop rcx",
        "ret",
    )
}

extern "win64" fn _purecall() {
    crate::report::bugcheck(0x1E, [0xC000_0421, 0, 0, 0], "a pure virtual function was called");
}

// Security: the lab's users are administrators, and its drivers run as the system.

extern "win64" fn SeCaptureSubjectContext(context: Ptr<[u64; 4]>) {
    context.write([0; 4]);
}

extern "win64" fn SeReleaseSubjectContext(_context: u64) {}

extern "win64" fn SeLockSubjectContext(_context: u64) {}

extern "win64" fn SeUnlockSubjectContext(_context: u64) {}

extern "win64" fn SeAccessCheck(
    _descriptor: u64,
    _context: u64,
    _locked: u8,
    desired: u32,
    _previous: u32,
    _privileges: u64,
    _mapping: u64,
    _mode: u8,
    granted: Ptr<u32>,
    status: Ptr<NtStatus>,
) -> u8 {
    granted.write_optional(desired);
    status.write_optional(NtStatus::SUCCESS);
    1
}

extern "win64" fn SeSinglePrivilegeCheck(_privilege: u64, _mode: u8) -> u8 {
    1
}

extern "win64" fn SeTokenIsAdmin(_token: u64) -> u8 {
    1
}

extern "win64" fn PsReferencePrimaryToken(process: u64) -> u64 {
    process
}

extern "win64" fn PsDereferencePrimaryToken(_token: u64) {}

extern "win64" fn RtlCreateSecurityDescriptor(descriptor: Ptr<[u8; 40]>, revision: u32) -> NtStatus {
    if revision != 1 {
        return NtStatus(0xC000_0058u32 as i32); // STATUS_UNKNOWN_REVISION
    }
    let mut value = [0; 40];
    value[0] = 1;
    descriptor.copy_from(&[value]);
    NtStatus::SUCCESS
}

extern "win64" fn RtlSetDaclSecurityDescriptor(descriptor: Ptr<u8>, present: u8, dacl: u64, defaulted: u8) -> NtStatus {
    const SE_DACL_PRESENT: u16 = 4;
    const SE_DACL_DEFAULTED: u16 = 8;
    let control = descriptor.at(2).cast::<u16>();
    let bits = control.read_unaligned();
    if present == 0 {
        control.copy_from(&[bits & !SE_DACL_PRESENT]);
        return NtStatus::SUCCESS;
    }
    let bits = bits & !SE_DACL_DEFAULTED | SE_DACL_PRESENT;
    control.copy_from(&[if defaulted != 0 { bits | SE_DACL_DEFAULTED } else { bits }]);
    descriptor.at(32).cast::<u64>().copy_from(&[dacl]);
    NtStatus::SUCCESS
}

/// The parts of an absolute descriptor, in bytes: owner, group, system and discretionary list.
fn parts(descriptor: Ptr<u8>) -> [Vec<u8>; 4] {
    const SE_DACL_PRESENT: u16 = 4;
    const SE_SACL_PRESENT: u16 = 16;
    let control = descriptor.at(2).cast::<u16>().read_unaligned();
    let pointer = |at: usize| Ptr::<u8>::from_address(descriptor.at(at).cast::<u64>().read_unaligned());
    let sid = |at: usize| pointer(at).non_null().map_or_else(Vec::new, |sid| sid.to_vec(sid_length(sid)));
    let list = |at: usize, present: u16| {
        let list = pointer(at).non_null().filter(|_| control & present != 0);
        list.map_or_else(Vec::new, |acl| acl.to_vec(usize::from(acl.at(2).cast::<u16>().read_unaligned())))
    };
    [sid(8), sid(16), list(24, SE_SACL_PRESENT), list(32, SE_DACL_PRESENT)]
}

extern "win64" fn RtlLengthSecurityDescriptor(descriptor: Ptr<u8>) -> u32 {
    const ABSOLUTE: usize = 40;
    (ABSOLUTE + parts(descriptor).iter().map(|part| part.len().next_multiple_of(4)).sum::<usize>()) as u32
}

fn sid_length(sid: Ptr<u8>) -> usize {
    8 + 4 * usize::from(sid.at(1).read())
}

extern "win64" fn RtlLengthSid(sid: Ptr<u8>) -> u32 {
    sid_length(sid) as u32
}

extern "win64" fn RtlValidSid(sid: Ptr<u8>) -> u8 {
    u8::from(!sid.is_null() && sid.read() == 1 && sid.at(1).read() <= 15)
}

extern "win64" fn RtlEqualSid(a: Ptr<u8>, b: Ptr<u8>) -> u8 {
    u8::from(a.to_vec(sid_length(a)) == b.to_vec(sid_length(b)))
}

extern "win64" fn RtlCopySid(length: u32, target: Ptr<u8>, source: Ptr<u8>) -> NtStatus {
    let bytes = source.to_vec(sid_length(source));
    if bytes.len() > length as usize {
        return NtStatus::BUFFER_TOO_SMALL;
    }
    target.copy_from(&bytes);
    NtStatus::SUCCESS
}

extern "win64" fn RtlConvertSidToUnicodeString(target: Ptr<UnicodeString>, sid: Ptr<u8>, allocate: u8) -> NtStatus {
    let bytes = sid.to_vec(sid_length(sid));
    let authority = bytes[2..8].iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let mut text = format!("S-{}-{authority}", bytes[0]);
    for part in bytes[8..].chunks_exact(4) {
        text.push_str(&format!("-{}", u32::from_le_bytes([part[0], part[1], part[2], part[3]])));
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    crate::ntos::rtl::give(target, &units, allocate != 0)
}

extern "win64" fn ZwSetSecurityObject(_handle: u64, _information: u32, _descriptor: u64) -> NtStatus {
    NtStatus::SUCCESS
}

/// Registrations that a driver must undo before it unloads: what, by a value that names it.
#[derive(Default)]
pub(crate) struct Registrations(Mutex<Vec<(&'static str, u64, u64, u64)>>);

impl Registrations {
    fn add(&self, what: &'static str, key: u64) {
        let caller = thread::page().caller.get();
        lock(&self.0).push((what, key, image::number_at(caller).unwrap_or(0), caller));
    }

    fn remove(&self, what: &'static str, key: u64) -> bool {
        let mut list = lock(&self.0);
        let found = list.iter().position(|(kind, at, ..)| *kind == what && *at == key);
        found.map(|index| list.swap_remove(index)).is_some()
    }

    pub fn take_owned_by(&self, image: u64) -> Vec<String> {
        let mut left = Vec::new();
        lock(&self.0).retain(|(what, key, owner, caller)| {
            if *owner == image {
                let at = image::place(*caller).map_or_else(String::new, |place| format!(", registered at {place}"));
                left.push(format!("{what} {key:#x} was not unregistered{at}"));
            }
            *owner != image
        });
        left
    }
}

fn register(what: &'static str, key: u64, handle: Ptr<u64>) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    thread::current().registrations.add(what, key);
    handle.write_optional(key);
    NtStatus::SUCCESS
}

fn unregister(what: &'static str, key: u64) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if thread::current().registrations.remove(what, key) {
        NtStatus::SUCCESS
    } else {
        bad_parameter("a registration that does not exist", "unregister once what was registered");
        NtStatus::INVALID_PARAMETER
    }
}

const CALLBACK: &str = "callback registration";
const POWER: &str = "power setting callback";
const PROCESS: &str = "process notify routine";
const THREAD: &str = "thread notify routine";
const IMAGE: &str = "image load notify routine";
const REGISTRY: &str = "registry callback";
const PNP: &str = "Plug and Play notification";

extern "win64" fn ExCreateCallback(object: Ptr<u64>, _attributes: u64, _create: u8, _multiple: u8) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    object.write(crate::ntos::object::process().address());
    NtStatus::SUCCESS
}

extern "win64" fn ExRegisterCallback(_object: u64, _routine: u64, _context: u64) -> u64 {
    let key = next_number();
    if register(CALLBACK, key, Ptr::NULL).is_success() { key } else { 0 }
}

extern "win64" fn ExUnregisterCallback(registration: u64) {
    unregister(CALLBACK, registration);
}

extern "win64" fn ExNotifyCallback(_object: u64, _argument1: u64, _argument2: u64) {}

extern "win64" fn PoRegisterPowerSettingCallback(
    _device: u64,
    _guid: u64,
    _callback: u64,
    _context: u64,
    handle: Ptr<u64>,
) -> NtStatus {
    register(POWER, next_number(), handle)
}

extern "win64" fn PoUnregisterPowerSettingCallback(handle: u64) -> NtStatus {
    unregister(POWER, handle)
}

extern "win64" fn PoStartNextPowerIrp(_irp: u64) {}

extern "win64" fn PoCallDriver(_device: u64, _irp: u64) -> NtStatus {
    NtStatus::NOT_SUPPORTED
}

extern "win64" fn PsSetCreateProcessNotifyRoutine(routine: u64, remove: u8) -> NtStatus {
    if remove != 0 { unregister(PROCESS, routine) } else { register(PROCESS, routine, Ptr::NULL) }
}

extern "win64" fn PsSetCreateProcessNotifyRoutineEx(routine: u64, remove: u8) -> NtStatus {
    PsSetCreateProcessNotifyRoutine(routine, remove)
}

extern "win64" fn PsSetCreateProcessNotifyRoutineEx2(_kind: u32, routine: u64, remove: u8) -> NtStatus {
    PsSetCreateProcessNotifyRoutine(routine, remove)
}

extern "win64" fn PsSetCreateThreadNotifyRoutine(routine: u64) -> NtStatus {
    register(THREAD, routine, Ptr::NULL)
}

extern "win64" fn PsRemoveCreateThreadNotifyRoutine(routine: u64) -> NtStatus {
    unregister(THREAD, routine)
}

extern "win64" fn PsSetLoadImageNotifyRoutine(routine: u64) -> NtStatus {
    register(IMAGE, routine, Ptr::NULL)
}

extern "win64" fn PsRemoveLoadImageNotifyRoutine(routine: u64) -> NtStatus {
    unregister(IMAGE, routine)
}

extern "win64" fn CmRegisterCallback(_routine: u64, _context: u64, cookie: Ptr<u64>) -> NtStatus {
    register(REGISTRY, next_number(), cookie)
}

extern "win64" fn CmRegisterCallbackEx(
    _routine: u64,
    _altitude: u64,
    _driver: u64,
    _context: u64,
    cookie: Ptr<u64>,
    _reserved: u64,
) -> NtStatus {
    register(REGISTRY, next_number(), cookie)
}

extern "win64" fn CmUnRegisterCallback(cookie: u64) -> NtStatus {
    unregister(REGISTRY, cookie)
}

extern "win64" fn IoRegisterPlugPlayNotification(
    _category: u32,
    _flags: u32,
    _data: u64,
    _driver: u64,
    _routine: u64,
    _context: u64,
    entry: Ptr<u64>,
) -> NtStatus {
    register(PNP, next_number(), entry)
}

extern "win64" fn IoUnregisterPlugPlayNotification(entry: u64) -> NtStatus {
    unregister(PNP, entry)
}

extern "win64" fn IoUnregisterPlugPlayNotificationEx(entry: u64) -> NtStatus {
    unregister(PNP, entry)
}

extern "win64" fn IoAllocateErrorLogEntry(_object: u64, size: u8) -> Ptr<u8> {
    require_irql(DISPATCH_LEVEL);
    thread::current().pool.allocate(usize::from(size).max(48), u32::from_le_bytes(*b"ErrL"), false, true)
}

/// `IO_ERROR_LOG_PACKET`: the number of strings at 4, their offset at 6, the code at 12.
extern "win64" fn IoWriteErrorLogEntry(entry: Ptr<u8>) {
    let half = |at: usize| usize::from(entry.at(at).cast::<u16>().read_unaligned());
    let code = entry.at(12).cast::<u32>().read_unaligned();
    let mut text = format!("error log entry {code:#010x}");
    let mut at = half(6);
    for _ in 0..half(4) {
        let string = crate::ntos::debug::c_string(entry.at(at).cast::<u16>(), 256);
        text.push_str(&format!(" {}", String::from_utf16_lossy(&string)));
        at += 2 * (string.len() + 1);
    }
    let kernel = thread::current();
    kernel.reports.print(&format!("{text}\n"));
    kernel.pool.free_system(entry);
}

extern "win64" fn IoFreeErrorLogEntry(entry: Ptr<u8>) {
    thread::current().pool.free_system(entry);
}

/// Driver object extensions: by driver and client id.
#[derive(Default)]
pub(crate) struct Extensions(Mutex<HashMap<(u64, u64), Ptr<u8>>>);

impl Extensions {
    pub fn free_of(&self, driver: u64) {
        let mut extensions = lock(&self.0);
        let gone: Vec<_> = extensions.keys().filter(|(of, _)| *of == driver).copied().collect();
        for key in gone {
            if let Some(memory) = extensions.remove(&key) {
                thread::current().pool.free_system(memory);
            }
        }
    }
}

extern "win64" fn IoAllocateDriverObjectExtension(driver: u64, client: u64, size: u32, out: Ptr<Ptr<u8>>) -> NtStatus {
    require_irql(APC_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    let kernel = thread::current();
    let mut extensions = lock(&kernel.extensions.0);
    if extensions.contains_key(&(driver, client)) {
        return NtStatus::OBJECT_NAME_COLLISION;
    }
    let memory = kernel.pool.allocate_system((size as usize).max(1), b"DrvE");
    extensions.insert((driver, client), memory);
    drop(extensions);
    out.write(memory);
    NtStatus::SUCCESS
}

extern "win64" fn IoGetDriverObjectExtension(driver: u64, client: u64) -> Ptr<u8> {
    lock(&thread::current().extensions.0).get(&(driver, client)).copied().unwrap_or(Ptr::NULL)
}

extern "win64" fn IoRegisterDriverReinitialization(_driver: u64, _routine: u64, _context: u64) {}

extern "win64" fn ZwQuerySystemInformation(_class: u32, _out: u64, _length: u32, needed: Ptr<u32>) -> NtStatus {
    needed.write_optional(0);
    NtStatus::NOT_IMPLEMENTED
}

// The lab has no file system.

extern "win64" fn ZwOpenFile() -> NtStatus {
    NtStatus::OBJECT_NAME_NOT_FOUND
}

extern "win64" fn ZwCreateFile() -> NtStatus {
    NtStatus::OBJECT_NAME_NOT_FOUND
}

extern "win64" fn ZwReadFile() -> NtStatus {
    NtStatus::INVALID_HANDLE
}

extern "win64" fn ZwWriteFile() -> NtStatus {
    NtStatus::INVALID_HANDLE
}

extern "win64" fn ZwDeviceIoControlFile() -> NtStatus {
    NtStatus::INVALID_HANDLE
}

extern "win64" fn ZwQueryInformationFile() -> NtStatus {
    NtStatus::INVALID_HANDLE
}

extern "win64" fn ZwQueryInformationProcess() -> NtStatus {
    NtStatus::NOT_IMPLEMENTED
}

extern "win64" fn ZwYieldExecution() -> NtStatus {
    thread::let_others_run();
    NtStatus::SUCCESS
}

extern "win64" fn ExGetPreviousMode() -> u8 {
    0
}

extern "win64" fn ExIsProcessorFeaturePresent(feature: u32) -> u8 {
    // 6 and 10: SSE and SSE2; 14: cmpxchg16b.
    u8::from(matches!(feature, 6 | 10 | 14))
}

extern "win64" fn ExVerifySuite(_suite: u32) -> u8 {
    0
}

extern "win64" fn MmIsVerifierEnabled(flags: Ptr<u32>) -> NtStatus {
    flags.write_optional(0);
    NtStatus::NOT_SUPPORTED
}

extern "win64" fn MmIsDriverVerifying(_driver: u64) -> u32 {
    0
}

extern "win64" fn KeStackAttachProcess(_process: u64, _state: u64) {
    require_irql(DISPATCH_LEVEL);
}

extern "win64" fn KeUnstackDetachProcess(_state: u64) {
    require_irql(DISPATCH_LEVEL);
}

extern "win64" fn SeQueryInformationToken(_token: u64, _class: u32, _out: u64) -> NtStatus {
    NtStatus::NOT_IMPLEMENTED
}

/// Every process is the system here, which has no image file.
extern "win64" fn SeLocateProcessImageName(_process: u64, out: Ptr<u64>) -> NtStatus {
    require_irql(APC_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    // A counted string in front of its buffer, which the caller frees with ExFreePool.
    let memory = thread::current().pool.allocate(32, u32::from_le_bytes(*b"SeOn"), true, true);
    memory.cast::<UnicodeString>().write(UnicodeString { Length: 0, MaximumLength: 2, Buffer: memory.byte_at(16) });
    out.write(memory.address());
    NtStatus::SUCCESS
}

extern "win64" fn PsGetVersion(major: Ptr<u32>, minor: Ptr<u32>, build: Ptr<u32>, pack: Ptr<UnicodeString>) -> u8 {
    let [ours_major, ours_minor, ours_build] = crate::ntos::version::VERSION;
    major.write_optional(ours_major);
    minor.write_optional(ours_minor);
    build.write_optional(ours_build);
    pack.write_optional(UnicodeString::EMPTY);
    0
}

extern "win64" fn PsGetProcessCreateTimeQuadPart(_process: u64) -> i64 {
    0
}

extern "win64" fn ObQueryNameString(object: u64, out: Ptr<u8>, length: u32, needed: Ptr<u32>) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let name = thread::current().io.device_name(object).unwrap_or_default();
    let units: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let size = 16 + if name.is_empty() { 0 } else { units.len() * 2 };
    needed.write_optional(size as u32);
    if (length as usize) < size {
        return NtStatus::INFO_LENGTH_MISMATCH;
    }
    if name.is_empty() {
        out.cast::<UnicodeString>().write(UnicodeString::EMPTY);
        return NtStatus::SUCCESS;
    }
    let buffer: Ptr<u16> = out.byte_at(16);
    buffer.copy_from(&units);
    let bytes = units.len() as u16 * 2;
    out.cast::<UnicodeString>().write(UnicodeString { Length: bytes - 2, MaximumLength: bytes, Buffer: buffer });
    NtStatus::SUCCESS
}

extern "win64" fn ObOpenObjectByPointer() -> NtStatus {
    NtStatus::NOT_IMPLEMENTED
}

const OBJECT: &str = "object callback registration";
const PROCESSOR: &str = "processor change callback";

extern "win64" fn ObRegisterCallbacks(_registration: u64, handle: Ptr<u64>) -> NtStatus {
    register(OBJECT, next_number(), handle)
}

extern "win64" fn ObUnRegisterCallbacks(handle: u64) {
    unregister(OBJECT, handle);
}

extern "win64" fn KeRegisterProcessorChangeCallback(_callback: u64, _context: u64, _flags: u32) -> u64 {
    let key = next_number();
    if register(PROCESSOR, key, Ptr::NULL).is_success() { key } else { 0 }
}

extern "win64" fn KeDeregisterProcessorChangeCallback(handle: u64) {
    unregister(PROCESSOR, handle);
}

// Objects that the lab does not have.

extern "win64" fn ZwOpenProcess() -> NtStatus {
    NtStatus::INVALID_PARAMETER
}

extern "win64" fn ZwOpenEvent() -> NtStatus {
    NtStatus::OBJECT_NAME_NOT_FOUND
}

extern "win64" fn ZwCreateSection() -> NtStatus {
    NtStatus::NOT_IMPLEMENTED
}

extern "win64" fn ZwMapViewOfSection() -> NtStatus {
    NtStatus::INVALID_HANDLE
}

extern "win64" fn ZwUnmapViewOfSection() -> NtStatus {
    NtStatus::INVALID_PARAMETER
}

extern "win64" fn ZwLoadDriver() -> NtStatus {
    NtStatus::OBJECT_NAME_NOT_FOUND
}

extern "win64" fn ZwUnloadDriver() -> NtStatus {
    NtStatus::OBJECT_NAME_NOT_FOUND
}

extern "win64" fn ZwNotifyChangeKey() -> NtStatus {
    NtStatus::NOT_IMPLEMENTED
}

extern "win64" fn ZwQueryObject() -> NtStatus {
    NtStatus::NOT_IMPLEMENTED
}

extern "win64" fn ZwSetInformationFile() -> NtStatus {
    NtStatus::INVALID_HANDLE
}

extern "win64" fn IoRegisterDeviceInterface(
    _device: u64,
    _class: u64,
    _reference: u64,
    link: Ptr<UnicodeString>,
) -> NtStatus {
    link.write_optional(UnicodeString::EMPTY);
    NtStatus::INVALID_DEVICE_REQUEST
}

extern "win64" fn IoSetDeviceInterfaceState(_link: Ptr<UnicodeString>, _enable: u8) -> NtStatus {
    NtStatus::OBJECT_NAME_NOT_FOUND
}

extern "win64" fn KeExpandKernelStackAndCalloutEx(
    routine: u64,
    parameter: u64,
    size: u64,
    _wait: u8,
    _context: u64,
) -> NtStatus {
    KeExpandKernelStackAndCallout(routine, parameter, size)
}

/// No unwind data is looked up: the lab dispatches no exceptions.
extern "win64" fn RtlLookupFunctionEntry(_address: u64, base: Ptr<u64>, _history: u64) -> u64 {
    base.write_optional(0);
    0
}

/// `GENERIC_MAPPING`: read, write, execute, all.
extern "win64" fn RtlMapGenericMask(mask: Ptr<u32>, mapping: Ptr<[u32; 4]>) {
    let mapping = mapping.read();
    let wanted = mask.read();
    let mapped = mapping.iter().enumerate().fold(wanted & 0x0FFF_FFFF, |mapped, (index, rights)| {
        // Generic read is bit 31, and so on down to generic all.
        if wanted & 0x8000_0000 >> index != 0 { mapped | rights } else { mapped }
    });
    mask.write(mapped);
}

extern "win64" fn RtlLengthRequiredSid(parts: u32) -> u32 {
    8 + 4 * parts
}

extern "win64" fn RtlInitializeSid(sid: Ptr<u8>, authority: Ptr<[u8; 6]>, parts: u8) -> NtStatus {
    if parts > 15 {
        return NtStatus::INVALID_PARAMETER;
    }
    sid.copy_from(&[1, parts]);
    sid.at(2).copy_from(&authority.read());
    NtStatus::SUCCESS
}

extern "win64" fn RtlSubAuthoritySid(sid: Ptr<u8>, index: u32) -> Ptr<u32> {
    sid.byte_at(8 + 4 * index as usize)
}

/// `ACL`: revision, a zero byte, size, count, a zero word.
extern "win64" fn RtlCreateAcl(acl: Ptr<u8>, length: u32, revision: u32) -> NtStatus {
    if length < 8 {
        return NtStatus::BUFFER_TOO_SMALL;
    }
    if length > 0xFFFC || !(2..=4).contains(&revision) {
        return NtStatus::INVALID_PARAMETER;
    }
    let size = (length as u16).to_le_bytes();
    acl.copy_from(&[revision as u8, 0, size[0], size[1], 0, 0, 0, 0]);
    NtStatus::SUCCESS
}

extern "win64" fn RtlAddAccessAllowedAce(acl: Ptr<u8>, _revision: u32, mask: u32, sid: Ptr<u8>) -> NtStatus {
    let size = acl.at(2).cast::<u16>().read_unaligned();
    let count = acl.at(4).cast::<u16>().read_unaligned();
    let end = (0..count).fold(8u16, |at, _| at + acl.at(usize::from(at) + 2).cast::<u16>().read_unaligned());
    let sid = sid.to_vec(sid_length(sid));
    let length = 8 + sid.len() as u16;
    if u32::from(end) + u32::from(length) > u32::from(size) {
        return NtStatus(0xC000_0099u32 as i32); // STATUS_ALLOTTED_SPACE_EXCEEDED
    }
    let ace = acl.at(usize::from(end));
    let bytes = length.to_le_bytes();
    ace.copy_from(&[0, 0, bytes[0], bytes[1]]);
    ace.at(4).copy_from(&mask.to_le_bytes());
    ace.at(8).copy_from(&sid);
    acl.at(4).cast::<u16>().copy_from(&[count + 1]);
    NtStatus::SUCCESS
}

/// A descriptor whose parts follow it, and which has their offsets.
extern "win64" fn RtlAbsoluteToSelfRelativeSD(absolute: Ptr<u8>, relative: Ptr<u8>, length: Ptr<u32>) -> NtStatus {
    const HEADER: usize = 20;
    const SE_SELF_RELATIVE: u16 = 0x8000;
    let control = absolute.at(2).cast::<u16>().read_unaligned();
    if control & SE_SELF_RELATIVE != 0 {
        return NtStatus::BAD_DESCRIPTOR_FORMAT;
    }
    let mut whole = absolute.to_vec(2);
    whole.extend((control | SE_SELF_RELATIVE).to_le_bytes());
    whole.resize(HEADER, 0);
    for (index, part) in parts(absolute).into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
        let offset = (whole.len() as u32).to_le_bytes();
        whole[4 + 4 * index..8 + 4 * index].copy_from_slice(&offset);
        whole.extend(&part);
        whole.resize(whole.len().next_multiple_of(4), 0);
    }
    let room = length.read();
    length.write(whole.len() as u32);
    if (room as usize) < whole.len() {
        return NtStatus::BUFFER_TOO_SMALL;
    }
    relative.copy_from(&whole);
    NtStatus::SUCCESS
}

extern "win64" fn RtlGetOwnerSecurityDescriptor(_descriptor: u64, owner: Ptr<u64>, defaulted: Ptr<u8>) -> NtStatus {
    owner.write(0);
    defaulted.write_optional(0);
    NtStatus::SUCCESS
}
