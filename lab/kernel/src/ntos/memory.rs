//! Memory descriptor lists, memory copies, and addresses.

use crate::export::{self, Export, exports};
use crate::inject;
use crate::irql::require_irql;
use crate::nt::{APC_LEVEL, DISPATCH_LEVEL, Mdl, NtStatus, UnicodeString, zeroed};
use crate::ntos::dispatch::bad_parameter;
use crate::ptr::{Ptr, field};
use crate::report;
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    IoAllocateMdl,
    IoFreeMdl,
    IoBuildPartialMdl,
    MmBuildMdlForNonPagedPool,
    MmProbeAndLockPages,
    MmUnlockPages,
    MmMapLockedPages,
    MmMapLockedPagesSpecifyCache,
    MmUnmapLockedPages,
    MmSizeOfMdl,
    MmProtectMdlSystemAddress,
    MmIsAddressValid,
    MmGetSystemRoutineAddress,
    MmQuerySystemSize,
    MmGetPhysicalAddress,
    MmAllocateContiguousMemory,
    MmFreeContiguousMemory,
    MmAllocateNonCachedMemory,
    MmFreeNonCachedMemory,
    MmLockPagableDataSection,
    MmUnlockPagableImageSection,
    MmPageEntireDriver,
    MmResetDriverPaging,
    ProbeForRead,
    ProbeForWrite,
    bare memcpy,
    bare memmove,
    bare memset,
    bare memcmp,
    bare memchr,
    bare RtlCopyMemory,
    bare RtlCopyMemoryNonTemporal,
    bare RtlMoveMemory,
    bare RtlFillMemory,
    bare RtlZeroMemory,
    bare RtlCompareMemory,
    bare RtlCompareMemoryUlong,
    bare RtlSecureZeroMemory,
    data MmHighestUserAddress,
    data MmSystemRangeStart,
    data MmUserProbeAddress,
];

/// In a Linux process no address is Windows' kernel half; what the lab's users hand over counts as both.
static MmHighestUserAddress: u64 = 0x7FFF_FFFE_FFFF;
static MmSystemRangeStart: u64 = 0xFFFF_8000_0000_0000;
static MmUserProbeAddress: u64 = 0x7FFF_FFFF_0000;

const PAGE: u64 = 4096;
const MDL_MAPPED_TO_SYSTEM_VA: u16 = 0x1;
const MDL_PAGES_LOCKED: u16 = 0x2;
const MDL_SOURCE_IS_NONPAGED_POOL: u16 = 0x4;
const MDL_PARTIAL: u16 = 0x10;

fn pages(address: u64, length: u64) -> u64 {
    ((address & (PAGE - 1)) + length).div_ceil(PAGE)
}

fn size_of_mdl(address: u64, length: u64) -> usize {
    size_of::<Mdl>() + 8 * pages(address, length) as usize
}

fn fill(mdl: Ptr<Mdl>, address: u64, length: u32, flags: u16, mapped: u64) {
    mdl.write(Mdl {
        Size: size_of_mdl(address, u64::from(length)).min(0x7ff8) as i16,
        MdlFlags: flags,
        MappedSystemVa: Ptr::from_address(mapped),
        StartVa: address & !(PAGE - 1),
        ByteCount: length,
        ByteOffset: (address & (PAGE - 1)) as u32,
        ..zeroed()
    });
}

/// An MDL of the lab's own over memory that stays where it is.
pub(crate) fn describe(data: Ptr<u8>, length: u32) -> Ptr<Mdl> {
    let size = size_of_mdl(data.address(), u64::from(length));
    let mdl: Ptr<Mdl> = thread::current().pool.allocate_system(size, b"Mdl ").cast();
    fill(mdl, data.address(), length, MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA, data.address());
    mdl
}

extern "win64" fn IoAllocateMdl(
    address: u64,
    length: u32,
    secondary: u8,
    _quota: u8,
    irp: Ptr<crate::nt::Irp>,
) -> Ptr<Mdl> {
    require_irql(DISPATCH_LEVEL);
    if inject::faulted().is_some() {
        return Ptr::NULL;
    }
    let size = size_of_mdl(address, u64::from(length));
    let mdl: Ptr<Mdl> = thread::current().pool.allocate(size, u32::from_le_bytes(*b"Mdl "), false, true).cast();
    if mdl.is_null() {
        return mdl;
    }
    fill(mdl, address, length, 0, 0);
    if !irp.is_null() {
        if secondary == 0 {
            field!(irp, MdlAddress).write(mdl);
        } else {
            let mut last = field!(irp, MdlAddress).read();
            while !last.is_null() && !field!(last, Next).read().is_null() {
                last = field!(last, Next).read();
            }
            if !last.is_null() {
                field!(last, Next).write(mdl);
            }
        }
    }
    mdl
}

extern "win64" fn IoFreeMdl(mdl: Ptr<Mdl>) {
    require_irql(DISPATCH_LEVEL);
    if thread::current().pool.find(mdl.address()).is_none() {
        bad_parameter(&format!("{:#x}, which is not an MDL", mdl.address()), "free each MDL once");
        return;
    }
    let value = mdl.read();
    if value.MdlFlags & MDL_PAGES_LOCKED != 0 && value.MdlFlags & MDL_PARTIAL == 0 {
        bad_parameter("an MDL whose pages are locked", "call MmUnlockPages before IoFreeMdl");
    }
    thread::current().pool.free_system(mdl.cast());
}

extern "win64" fn IoBuildPartialMdl(source: Ptr<Mdl>, target: Ptr<Mdl>, address: u64, length: u32) {
    let source = source.read();
    let start = source.StartVa + u64::from(source.ByteOffset);
    let end = start + u64::from(source.ByteCount);
    let length = if length == 0 { end.saturating_sub(address) as u32 } else { length };
    if address < start || address + u64::from(length) > end {
        bad_parameter("a range outside of the source MDL", "stay within the memory that the source describes");
        return;
    }
    let mapped =
        if source.MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 { address } else { 0 };
    let flags =
        MDL_PARTIAL | source.MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PAGES_LOCKED);
    fill(target, address, length, flags, mapped);
}

extern "win64" fn MmBuildMdlForNonPagedPool(mdl: Ptr<Mdl>) {
    require_irql(DISPATCH_LEVEL);
    let value = mdl.read();
    field!(mdl, MdlFlags).write(value.MdlFlags | MDL_SOURCE_IS_NONPAGED_POOL);
    field!(mdl, MappedSystemVa).write(Ptr::from_address(value.StartVa + u64::from(value.ByteOffset)));
}

extern "win64" fn MmProbeAndLockPages(mdl: Ptr<Mdl>, _mode: u8, _operation: u32) {
    require_irql(APC_LEVEL);
    let value = mdl.read();
    if value.MdlFlags & MDL_PAGES_LOCKED != 0 {
        bad_parameter("an MDL whose pages are locked", "lock the pages of an MDL once");
    }
    let start = value.StartVa + u64::from(value.ByteOffset);
    for page in 0..pages(start, u64::from(value.ByteCount)) {
        let _ = Ptr::<u8>::from_address((value.StartVa + page * PAGE).max(start)).read();
    }
    field!(mdl, MdlFlags).write(value.MdlFlags | MDL_PAGES_LOCKED);
}

extern "win64" fn MmUnlockPages(mdl: Ptr<Mdl>) {
    require_irql(DISPATCH_LEVEL);
    let flags = field!(mdl, MdlFlags).read();
    if flags & MDL_PAGES_LOCKED == 0 {
        bad_parameter("an MDL whose pages are not locked", "unlock pages once, after MmProbeAndLockPages");
    }
    field!(mdl, MdlFlags).write(flags & !(MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA));
}

fn map(mdl: Ptr<Mdl>) -> Ptr<u8> {
    let value = mdl.read();
    if value.MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
        return value.MappedSystemVa;
    }
    if value.MdlFlags & (MDL_PAGES_LOCKED | MDL_PARTIAL) == 0 {
        bad_parameter("an MDL whose pages are not locked", "call MmProbeAndLockPages first");
    }
    let address = Ptr::from_address(value.StartVa + u64::from(value.ByteOffset));
    field!(mdl, MappedSystemVa).write(address);
    field!(mdl, MdlFlags).write(value.MdlFlags | MDL_MAPPED_TO_SYSTEM_VA);
    address
}

extern "win64" fn MmMapLockedPages(mdl: Ptr<Mdl>, _mode: u8) -> Ptr<u8> {
    require_irql(DISPATCH_LEVEL);
    map(mdl)
}

extern "win64" fn MmMapLockedPagesSpecifyCache(
    mdl: Ptr<Mdl>,
    _mode: u8,
    _cache: u32,
    _address: u64,
    _bugcheck: u32,
    _priority: u32,
) -> Ptr<u8> {
    require_irql(DISPATCH_LEVEL);
    if inject::faulted().is_some() {
        return Ptr::NULL;
    }
    map(mdl)
}

extern "win64" fn MmUnmapLockedPages(_address: u64, mdl: Ptr<Mdl>) {
    require_irql(DISPATCH_LEVEL);
    let flags = field!(mdl, MdlFlags);
    flags.write(flags.read() & !MDL_MAPPED_TO_SYSTEM_VA);
}

extern "win64" fn MmSizeOfMdl(address: u64, length: u64) -> u64 {
    size_of_mdl(address, length) as u64
}

extern "win64" fn MmProtectMdlSystemAddress(_mdl: Ptr<Mdl>, _protect: u32) -> NtStatus {
    NtStatus::SUCCESS
}

extern "win64" fn MmIsAddressValid(address: u64) -> u8 {
    let mut resident = 0u8;
    // SAFETY: asks about a page; writes one byte of residency for it.
    let result = unsafe { libc::mincore((address & !(PAGE - 1)) as *mut libc::c_void, 1, &raw mut resident) };
    u8::from(result == 0)
}

extern "win64" fn MmGetSystemRoutineAddress(name: Ptr<UnicodeString>) -> u64 {
    require_irql(0);
    if inject::faulted().is_some() {
        return 0;
    }
    let name = name.read().text();
    if inject::faulted().is_some() {
        return 0;
    }
    export::all().find("ntoskrnl.exe", &name).unwrap_or(0)
}

extern "win64" fn MmQuerySystemSize() -> u32 {
    2
}

extern "win64" fn MmGetPhysicalAddress(address: u64) -> u64 {
    address
}

extern "win64" fn MmAllocateContiguousMemory(size: u64, _highest: u64) -> Ptr<u8> {
    require_irql(DISPATCH_LEVEL);
    if inject::faulted().is_some() {
        return Ptr::NULL;
    }
    thread::current().pool.allocate(size as usize, u32::from_le_bytes(*b"MmCm"), false, true)
}

extern "win64" fn MmFreeContiguousMemory(memory: Ptr<u8>) {
    thread::current().pool.free_system(memory);
}

extern "win64" fn MmAllocateNonCachedMemory(size: u64) -> Ptr<u8> {
    MmAllocateContiguousMemory(size, 0)
}

extern "win64" fn MmFreeNonCachedMemory(memory: Ptr<u8>, _size: u64) {
    thread::current().pool.free_system(memory);
}

extern "win64" fn MmLockPagableDataSection(address: u64) -> u64 {
    address
}

extern "win64" fn MmUnlockPagableImageSection(_handle: u64) {}

extern "win64" fn MmPageEntireDriver(address: u64) -> u64 {
    address
}

extern "win64" fn MmResetDriverPaging(_address: u64) {}

fn probe(address: u64, length: u64, alignment: u32) {
    if length == 0 {
        return;
    }
    if alignment > 1 && !address.is_multiple_of(u64::from(alignment)) {
        raise(NtStatus(0x8000_0002u32 as i32), "an address that is not aligned");
    }
    if address.checked_add(length).is_none_or(|end| end > MmUserProbeAddress) {
        raise(NtStatus::ACCESS_VIOLATION, "an address that is not in user space");
    }
}

/// The lab does not dispatch exceptions to a driver's handlers.
pub(crate) fn raise(status: NtStatus, why: &str) -> ! {
    report::bugcheck(
        crate::nt::KMODE_EXCEPTION_NOT_HANDLED,
        [u64::from(status.0 as u32), 0, 0, 0],
        &format!(
            "{} raised {status} for {why}; the lab does not dispatch exceptions to handlers",
            export::current_name()
        ),
    )
}

extern "win64" fn ProbeForRead(address: u64, length: u64, alignment: u32) {
    require_irql(APC_LEVEL);
    probe(address, length, alignment);
}

extern "win64" fn ProbeForWrite(address: u64, length: u64, alignment: u32) {
    require_irql(APC_LEVEL);
    probe(address, length, alignment);
}

extern "win64" fn memcpy(to: Ptr<u8>, from: Ptr<u8>, length: u64) -> Ptr<u8> {
    // SAFETY: the C library's contract. Moving is copying that also permits overlap.
    unsafe { core::ptr::copy(from.as_mut_ptr(), to.as_mut_ptr(), length as usize) };
    to
}

extern "win64" fn memmove(to: Ptr<u8>, from: Ptr<u8>, length: u64) -> Ptr<u8> {
    memcpy(to, from, length)
}

extern "win64" fn memset(to: Ptr<u8>, value: i32, length: u64) -> Ptr<u8> {
    // SAFETY: the C library's contract.
    unsafe { core::ptr::write_bytes(to.as_mut_ptr(), value as u8, length as usize) };
    to
}

fn bytes<'a>(at: Ptr<u8>, length: u64) -> &'a [u8] {
    // SAFETY: the C library's contract: `length` readable bytes.
    unsafe { core::slice::from_raw_parts(at.as_mut_ptr(), length as usize) }
}

extern "win64" fn memcmp(a: Ptr<u8>, b: Ptr<u8>, length: u64) -> i32 {
    if length == 0 {
        return 0;
    }
    match bytes(a, length).cmp(bytes(b, length)) {
        core::cmp::Ordering::Less => -1,
        core::cmp::Ordering::Equal => 0,
        core::cmp::Ordering::Greater => 1,
    }
}

extern "win64" fn memchr(at: Ptr<u8>, value: i32, length: u64) -> Ptr<u8> {
    if length == 0 {
        return Ptr::NULL;
    }
    bytes(at, length).iter().position(|byte| *byte == value as u8).map_or(Ptr::NULL, |index| at.at(index))
}

extern "win64" fn RtlCopyMemory(to: Ptr<u8>, from: Ptr<u8>, length: u64) {
    memcpy(to, from, length);
}

extern "win64" fn RtlCopyMemoryNonTemporal(to: Ptr<u8>, from: Ptr<u8>, length: u64) {
    memcpy(to, from, length);
}

extern "win64" fn RtlMoveMemory(to: Ptr<u8>, from: Ptr<u8>, length: u64) {
    memcpy(to, from, length);
}

extern "win64" fn RtlFillMemory(to: Ptr<u8>, length: u64, value: u8) {
    memset(to, i32::from(value), length);
}

extern "win64" fn RtlZeroMemory(to: Ptr<u8>, length: u64) {
    memset(to, 0, length);
}

extern "win64" fn RtlSecureZeroMemory(to: Ptr<u8>, length: u64) {
    memset(to, 0, length);
}

extern "win64" fn RtlCompareMemory(a: Ptr<u8>, b: Ptr<u8>, length: u64) -> u64 {
    if length == 0 {
        return 0;
    }
    bytes(a, length).iter().zip(bytes(b, length)).take_while(|(a, b)| a == b).count() as u64
}

extern "win64" fn RtlCompareMemoryUlong(at: Ptr<u32>, length: u64, pattern: u32) -> u64 {
    let count = length / 4;
    (0..count).take_while(|index| at.at(*index as usize).read_unaligned() == pattern).count() as u64 * 4
}
