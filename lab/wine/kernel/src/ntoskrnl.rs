//! What this module needs of Wine's kernel.

use core::ffi::c_char;
use core::sync::atomic::AtomicU64;
use std::ffi::CString;

use crate::nt::{DeviceObject, DriverObject, Irp, Mdl, NtStatus, OwnedUnicode, UnicodeString};
use crate::ntos::security::Security;
use crate::ptr::Ptr;

pub const FILE_DEVICE_NETWORK: u32 = 0x12;

#[link(name = "ntoskrnl")]
unsafe extern "win64" {
    fn IoCreateDevice(
        driver: Ptr<DriverObject>,
        extension: u32,
        name: Ptr<UnicodeString>,
        device_type: u32,
        characteristics: u32,
        exclusive: u8,
        device: *mut Ptr<DeviceObject>,
    ) -> NtStatus;
    fn IoCreateSymbolicLink(link: Ptr<UnicodeString>, name: Ptr<UnicodeString>) -> NtStatus;
    fn IoDeleteSymbolicLink(link: Ptr<UnicodeString>) -> NtStatus;
    fn IoDeleteDevice(device: Ptr<DeviceObject>);
    fn IofCompleteRequest(irp: Ptr<Irp>, boost: i8);
    fn IoAcquireCancelSpinLock(irql: *mut u8);
    fn IoReleaseCancelSpinLock(irql: u8);
    fn KeAcquireSpinLockRaiseToDpc(lock: Ptr<AtomicU64>) -> u8;
    fn KeReleaseSpinLock(lock: Ptr<AtomicU64>, irql: u8);
    fn ExAllocatePoolWithTag(pool: u32, size: usize, tag: u32) -> Ptr<u8>;
    fn ExFreePool(memory: Ptr<u8>);
    fn IoAllocateMdl(address: Ptr<u8>, length: u32, secondary: u8, quota: u8, irp: Ptr<Irp>) -> Ptr<Mdl>;
    fn MmBuildMdlForNonPagedPool(mdl: Ptr<Mdl>);
}

#[link(name = "ntoskrnl")]
unsafe extern "C" {
    fn DbgPrint(format: *const c_char, ...) -> u32;
}

/// What a device is created with.
pub struct NewDevice<'a> {
    pub driver: &'a Ptr<DriverObject>,
    pub extension: u32,
    pub name: Option<&'a str>,
    pub device_type: u32,
    pub characteristics: u32,
    pub exclusive: bool,
    /// Who may open it. Wine's kernel does not look at that.
    pub security: Option<Security>,
}

pub fn create_device(new: &NewDevice<'_>) -> Result<Ptr<DeviceObject>, NtStatus> {
    let mut device = Ptr::NULL;
    let name = new.name.map(OwnedUnicode::new);
    let name = name.as_ref().map_or(Ptr::NULL, OwnedUnicode::pointer);
    // SAFETY: the driver object is DriverEntry's, the name outlives the call.
    let status = unsafe {
        IoCreateDevice(
            *new.driver,
            new.extension,
            name,
            new.device_type,
            new.characteristics,
            new.exclusive.into(),
            &mut device,
        )
    };
    if status == NtStatus::SUCCESS { Ok(device) } else { Err(status) }
}

pub fn delete_device(device: Ptr<DeviceObject>) {
    // SAFETY: the caller deletes each device once.
    unsafe { IoDeleteDevice(device) };
}

pub fn create_symbolic_link(link: &str, name: &str) -> NtStatus {
    let (link, name) = (OwnedUnicode::new(link), OwnedUnicode::new(name));
    // SAFETY: the names outlive the call.
    unsafe { IoCreateSymbolicLink(link.pointer(), name.pointer()) }
}

pub fn delete_symbolic_link(link: &str) -> NtStatus {
    let link = OwnedUnicode::new(link);
    // SAFETY: the name outlives the call.
    unsafe { IoDeleteSymbolicLink(link.pointer()) }
}

/// Returns what the IRQL was.
pub fn acquire_cancel_lock() -> u8 {
    let mut irql = 0;
    // SAFETY: the variable outlives the call.
    unsafe { IoAcquireCancelSpinLock(&mut irql) };
    irql
}

/// For cancel routines, which are entered with the lock held.
pub fn release_cancel_lock(irql: u8) {
    // SAFETY: the caller's request says which IRQL was before.
    unsafe { IoReleaseCancelSpinLock(irql) };
}

pub fn acquire_spin_lock(lock: Ptr<AtomicU64>) -> u8 {
    // SAFETY: memory of a lock, which was zero at first.
    unsafe { KeAcquireSpinLockRaiseToDpc(lock) }
}

pub fn release_spin_lock(lock: Ptr<AtomicU64>, irql: u8) {
    // SAFETY: this thread holds the lock.
    unsafe { KeReleaseSpinLock(lock, irql) };
}

/// Zeroed nonpaged pool.
pub fn allocate(size: usize, tag: u32) -> Ptr<u8> {
    const NON_PAGED_POOL: u32 = 0;
    // SAFETY: any size and tag.
    let memory = unsafe { ExAllocatePoolWithTag(NON_PAGED_POOL, size, tag) };
    assert!(!memory.is_null(), "no memory");
    // SAFETY: the memory just allocated.
    unsafe { memory.as_mut_ptr().write_bytes(0, size) };
    memory
}

pub fn free(memory: Ptr<u8>) {
    // SAFETY: the caller's, from `allocate`.
    unsafe { ExFreePool(memory) };
}

/// A descriptor of nonpaged memory.
pub fn describe(memory: Ptr<u8>, length: u32) -> Ptr<Mdl> {
    // SAFETY: the caller's memory; no request is given.
    let mdl = unsafe { IoAllocateMdl(memory, length, 0, 0, Ptr::NULL) };
    if !mdl.is_null() {
        // SAFETY: the descriptor just made, of memory that does not move.
        unsafe { MmBuildMdlForNonPagedPool(mdl) };
    }
    mdl
}

pub fn complete(irp: Ptr<Irp>) {
    // SAFETY: the caller's dispatch routine was given the request and does not touch it any more.
    unsafe { IofCompleteRequest(irp, 0) };
}

/// Prints a line to the debugger, which under Wine is the standard error output of the whole.
pub fn print(line: &str) {
    let line = CString::new(format!("fwpkclnt: {line}\n")).unwrap_or_default();
    // SAFETY: the format takes one string.
    unsafe { DbgPrint(c"%s".as_ptr(), line.as_ptr()) };
}
