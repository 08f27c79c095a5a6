//! Pool: `ExAllocatePool2` and its older kin, lookaside lists.
//!
//! Small allocations come from *special pool*: a page each, the allocation at its end, and an inaccessible
//! page behind it, so that an overrun faults at the instruction that commits it; a freed page becomes
//! inaccessible and is used again last. When special pool is used up, allocations have a trailer instead
//! that is checked when they are freed.

use std::alloc::Layout;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use crate::export::{self, Export, exports};
use crate::image;
use crate::inject;
use crate::irql::{self, require_irql};
use crate::kernel::lock;
use crate::nt::{APC_LEVEL, BAD_POOL_CALLER, DISPATCH_LEVEL, NtStatus};
use crate::ptr::Ptr;
use crate::report::{self, Finding, Kind};
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    ExAllocatePool,
    ExAllocatePool2,
    ExAllocatePool3,
    ExAllocatePoolWithQuotaTag,
    ExAllocatePoolWithTag,
    ExAllocatePoolWithTagPriority,
    ExFreePool,
    ExFreePool2,
    ExFreePoolWithTag,
    ExInitializeNPagedLookasideList,
    ExInitializePagedLookasideList,
    ExDeleteNPagedLookasideList,
    ExDeletePagedLookasideList,
    ExInitializeLookasideListEx,
    ExDeleteLookasideListEx,
    ExFlushLookasideListEx,
    ExAllocateFromLookasideListEx,
    ExFreeToLookasideListEx,
];

const PAGE: usize = 4096;
const SLOT: usize = 2 * PAGE;
const SHARDS: usize = 16;
/// Behind each allocation outside of special pool.
const TRAILER: usize = 16;
const TRAILER_BYTE: u8 = 0xE5;
/// What fresh, unzeroed pool contains.
const FRESH_BYTE: u8 = 0xCD;
const FREED_BYTE: u8 = 0xDD;
/// Freed allocations that are remembered, to name a double free.
const REMEMBERED: usize = 256;

#[derive(Clone, Copy)]
pub(crate) struct Allocation {
    pub address: u64,
    pub size: usize,
    pub tag: u32,
    pub paged: bool,
    /// Return address of the allocating call.
    pub caller: u64,
    /// The image that called; 0 for the lab itself.
    pub image: u64,
    slot: Option<u32>,
}

impl Allocation {
    fn describe(&self) -> String {
        let mut text = format!("{} bytes with tag {}", self.size, tag_name(self.tag));
        if let Some(place) = image::place(self.caller) {
            text.push_str(&format!(", allocated at {place}"));
        }
        text
    }
}

#[derive(Clone, Copy)]
struct Freed {
    allocation: Allocation,
    caller: u64,
}

/// A tag as the four characters it was written as.
pub(crate) fn tag_name(tag: u32) -> String {
    let name: String = tag
        .to_le_bytes()
        .iter()
        .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { *byte as char } else { '.' })
        .collect();
    format!("'{name}'")
}

#[derive(Default)]
struct Shard {
    live: HashMap<u64, Allocation>,
    freed: VecDeque<Freed>,
}

struct Special {
    free: VecDeque<u32>,
    /// Last use of each slot.
    slots: Vec<Option<Freed>>,
}

pub(crate) struct Pool {
    shards: [Mutex<Shard>; SHARDS],
    base: u64,
    slots: usize,
    special: Mutex<Special>,
}

impl Pool {
    pub fn new(special_bytes: usize) -> Pool {
        let slots = special_bytes / PAGE;
        let mut base = 0;
        if slots != 0 {
            // SAFETY: reserves fresh address space.
            let mapping = unsafe {
                libc::mmap(
                    core::ptr::null_mut(),
                    slots * SLOT,
                    libc::PROT_NONE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            if mapping != libc::MAP_FAILED {
                base = mapping as u64;
            }
        }
        let slots = if base == 0 { 0 } else { slots };
        Pool {
            shards: Default::default(),
            base,
            slots,
            special: Mutex::new(Special { free: (0..slots as u32).collect(), slots: vec![None; slots] }),
        }
    }

    fn shard(&self, address: u64) -> &Mutex<Shard> {
        &self.shards[(address >> 4 ^ address >> 12) as usize % SHARDS]
    }

    /// Allocates for the image whose import call is running.
    pub fn allocate(&self, size: usize, tag: u32, paged: bool, zero: bool) -> Ptr<u8> {
        let caller = thread::page().caller.get();
        self.allocate_for(size, tag, paged, zero, caller, image::number_at(caller).unwrap_or(0))
    }

    /// Allocates an object of the lab's own that drivers see.
    pub fn allocate_system(&self, size: usize, tag: &[u8; 4]) -> Ptr<u8> {
        self.allocate_for(size, u32::from_le_bytes(*tag), false, true, 0, 0)
    }

    fn allocate_for(&self, size: usize, tag: u32, paged: bool, zero: bool, caller: u64, image: u64) -> Ptr<u8> {
        let slot = if size <= PAGE { lock(&self.special).free.pop_front() } else { None };
        let address = match slot {
            Some(slot) => self.open_slot(slot, size),
            None => {
                // SAFETY: the size is not zero: it includes the trailer.
                let address = unsafe { std::alloc::alloc(heap_layout(size)) };
                if address.is_null() {
                    return Ptr::NULL;
                }
                address as u64
            }
        };
        let pointer = Ptr::<u8>::from_address(address);
        // SAFETY: `size` bytes that were just allocated.
        unsafe { core::ptr::write_bytes(pointer.as_mut_ptr(), if zero { 0 } else { FRESH_BYTE }, size) };
        let behind = if slot.is_some() { rounded(size) - size } else { TRAILER };
        // SAFETY: the rest of the last 16 bytes of the page, or the trailer.
        unsafe { core::ptr::write_bytes(pointer.at(size).as_mut_ptr(), TRAILER_BYTE, behind) };
        let allocation = Allocation { address, size, tag, paged, caller, image, slot };
        if let Some(slot) = slot {
            lock(&self.special).slots[slot as usize] = Some(Freed { allocation, caller: 0 });
        }
        lock(self.shard(address)).live.insert(address, allocation);
        pointer
    }

    fn open_slot(&self, slot: u32, size: usize) -> u64 {
        let page = self.base + slot as u64 * SLOT as u64;
        self.protect(page, libc::PROT_READ | libc::PROT_WRITE);
        let front = PAGE - rounded(size);
        // SAFETY: the page was just made writable, and the slot is this allocation's.
        unsafe { core::ptr::write_bytes(page as *mut u8, TRAILER_BYTE, front) };
        page + front as u64
    }

    fn protect(&self, page: u64, protection: i32) {
        // SAFETY: a page of the special pool.
        let result = unsafe { libc::mprotect(page as *mut libc::c_void, PAGE, protection) };
        assert!(result == 0, "mprotect of a special pool page failed");
    }

    /// The live allocation that begins at `address`.
    pub fn find(&self, address: u64) -> Option<Allocation> {
        lock(self.shard(address)).live.get(&address).copied()
    }

    /// Frees an object of the lab's own.
    pub fn free_system(&self, pointer: Ptr<u8>) {
        let taken = lock(self.shard(pointer.address())).live.remove(&pointer.address());
        if let Some(allocation) = taken {
            self.release(allocation, 0);
        }
    }

    /// Frees for a driver, with every check.
    fn free(&self, pointer: Ptr<u8>, tag: Option<u32>) {
        let address = pointer.address();
        let caller = thread::page().caller.get();
        let taken = lock(self.shard(address)).live.remove(&address);
        let Some(allocation) = taken else { self.bad_free(address) };
        if allocation.image == 0 {
            lock(self.shard(address)).live.insert(address, allocation);
            report::bugcheck(
                BAD_POOL_CALLER,
                [0x7, 0, 0, address],
                &format!("{} freed {address:#x}, an object of the system's", export::current_name()),
            );
        }
        if let Some(tag) = tag.filter(|tag| *tag != 0 && *tag != allocation.tag) {
            lock(self.shard(address)).live.insert(address, allocation);
            report::bugcheck(
                BAD_POOL_CALLER,
                [0xA, address, u64::from(allocation.tag), u64::from(tag)],
                &format!("{} was told tag {} for {}", export::current_name(), tag_name(tag), allocation.describe()),
            );
        }
        if allocation.paged {
            require_irql(APC_LEVEL);
        }
        let range = address..address + allocation.size as u64;
        let kernel = thread::current();
        if let Some((what, at)) = kernel.timers.any_in(range.clone()) {
            report::violation(Finding {
                kind: Kind::Pool,
                what: format!("memory was freed that contains {what} ({at:#x}): {}", allocation.describe()),
                remedy: "cancel the timer, or wait for the DPC, before freeing its memory".into(),
            });
            kernel.timers.take_where(|object, _| range.contains(&object));
        }
        let damage = self.damage(&allocation);
        let described = allocation.describe();
        self.release(allocation, caller);
        if let Some(damage) = damage {
            report::violation(Finding {
                kind: Kind::Pool,
                what: format!("pool overrun: {described} was written {damage}; seen when it was freed"),
                remedy: "keep every access inside the size that was asked for".into(),
            });
        }
    }

    /// Whether the bytes around an allocation were written.
    fn damage(&self, allocation: &Allocation) -> Option<String> {
        let pointer = Ptr::<u8>::from_address(allocation.address);
        let behind = match allocation.slot {
            Some(_) => rounded(allocation.size) - allocation.size,
            None => TRAILER,
        };
        if let Some(at) = (0..behind).find(|at| pointer.at(allocation.size + at).read() != TRAILER_BYTE) {
            return Some(format!("{} byte(s) behind its end", at + 1));
        }
        let front = if allocation.slot.is_some() { (PAGE - rounded(allocation.size)).min(64) } else { 0 };
        let before = Ptr::<u8>::from_address(allocation.address - front as u64);
        (0..front)
            .rev()
            .find(|at| before.at(*at).read() != TRAILER_BYTE)
            .map(|at| format!("{} byte(s) before its beginning", front - at))
    }

    fn release(&self, allocation: Allocation, caller: u64) {
        let freed = Freed { allocation, caller };
        match allocation.slot {
            Some(slot) => {
                self.protect(self.base + u64::from(slot) * SLOT as u64, libc::PROT_NONE);
                let mut special = lock(&self.special);
                special.slots[slot as usize] = Some(freed);
                special.free.push_back(slot);
            }
            None => {
                let pointer = allocation.address as *mut u8;
                // SAFETY: the allocation is no longer in the table, so it is this call's to destroy.
                unsafe { core::ptr::write_bytes(pointer, FREED_BYTE, allocation.size) };
                // SAFETY: allocated with this layout.
                unsafe { std::alloc::dealloc(pointer, heap_layout(allocation.size)) };
            }
        }
        let mut shard = lock(self.shard(allocation.address));
        shard.freed.push_back(freed);
        if shard.freed.len() > REMEMBERED {
            shard.freed.pop_front();
        }
    }

    fn bad_free(&self, address: u64) -> ! {
        let earlier =
            lock(self.shard(address)).freed.iter().rev().find(|freed| freed.allocation.address == address).copied();
        let name = export::current_name();
        match earlier {
            Some(freed) => {
                let by = image::place(freed.caller).map_or_else(String::new, |place| format!(", freed at {place}"));
                report::bugcheck(
                    BAD_POOL_CALLER,
                    [0x7, 0, u64::from(freed.allocation.tag), address],
                    &format!("double free by {name}: {}{by}", freed.allocation.describe()),
                )
            }
            None => report::bugcheck(
                BAD_POOL_CALLER,
                [0x46, address, 0, 0],
                &format!("{name} was given {address:#x}, which is not the address of an allocation"),
            ),
        }
    }

    /// How many allocations are live, the lab's own among them.
    pub fn live(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).live.len()).sum()
    }

    /// Allocations that an image made and has not freed.
    pub fn owned_by(&self, image: u64) -> Vec<Allocation> {
        let mut owned: Vec<Allocation> = self
            .shards
            .iter()
            .flat_map(|shard| lock(shard).live.values().filter(|one| one.image == image).copied().collect::<Vec<_>>())
            .collect();
        owned.sort_by_key(|allocation| allocation.address);
        owned
    }

    /// Takes an unloaded image's leaks back, so that a thousand loads do not fill the memory.
    pub fn reclaim(&self, image: u64) {
        for allocation in self.owned_by(image) {
            if lock(self.shard(allocation.address)).live.remove(&allocation.address).is_some() {
                self.release(allocation, 0);
            }
        }
    }

    fn slot_at(&self, address: u64) -> Option<(Freed, bool, bool)> {
        let end = self.base + (self.slots * SLOT) as u64;
        if self.slots == 0 || !(self.base..end).contains(&address) {
            return None;
        }
        let offset = (address - self.base) as usize;
        let special = lock(&self.special);
        let freed = special.slots[offset / SLOT]?;
        let live = lock(self.shard(freed.allocation.address))
            .live
            .get(&freed.allocation.address)
            .is_some_and(|one| one.slot == freed.allocation.slot);
        Some((freed, live, offset % SLOT >= PAGE))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            let shard = shard.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            for allocation in shard.live.values().filter(|one| one.slot.is_none()) {
                // SAFETY: a live allocation of this pool, made with this layout.
                unsafe { std::alloc::dealloc(allocation.address as *mut u8, heap_layout(allocation.size)) };
            }
        }
        if self.slots != 0 {
            // SAFETY: reserved by `new`; no driver of this lab runs any more.
            unsafe { libc::munmap(self.base as *mut libc::c_void, self.slots * SLOT) };
        }
    }
}

fn rounded(size: usize) -> usize {
    size.next_multiple_of(16)
}

fn heap_layout(size: usize) -> Layout {
    let alignment = if size >= PAGE { PAGE } else { 16 };
    Layout::from_size_align(size + TRAILER, alignment).expect("sizes are below 2^31")
}

/// Explains a fault at an address that special pool once covered or guards.
pub(crate) fn explain(address: u64, access: &str) -> Option<Finding> {
    let (freed, live, guard) = thread::current().pool.slot_at(address)?;
    let allocation = freed.allocation;
    let described = allocation.describe();
    if live && guard {
        return Some(Finding {
            kind: Kind::Pool,
            what: format!(
                "pool overrun: {access} {} byte(s) behind the end of {described}",
                address - (allocation.address + allocation.size as u64) + 1
            ),
            remedy: "keep every access inside the size that was asked for".into(),
        });
    }
    let by = image::place(freed.caller).map_or_else(String::new, |place| format!(" and freed at {place}"));
    Some(Finding {
        kind: Kind::Pool,
        what: format!("use after free: {access} {described}{by}"),
        remedy: "keep the memory until its last user is done, and forget the pointer when it is freed".into(),
    })
}

const POOL_FLAG_USE_QUOTA: u64 = 0x1;
const POOL_FLAG_UNINITIALIZED: u64 = 0x2;
const POOL_FLAG_RAISE_ON_FAILURE: u64 = 0x20;
const POOL_FLAG_NON_PAGED: u64 = 0x40;
const POOL_FLAG_NON_PAGED_EXECUTE: u64 = 0x80;
const POOL_FLAG_PAGED: u64 = 0x100;
/// Largest request; Windows too refuses what it cannot find.
const LARGEST: u64 = 1 << 30;

fn check_tag(tag: u32) {
    if tag == 0 {
        report::violation(Finding {
            kind: Kind::Pool,
            what: format!("{} was called with tag 0", export::current_name()),
            remedy: "give every allocation a tag of its own, so that its leaks can be found".into(),
        });
    }
}

fn allocate(size: u64, tag: u32, paged: bool, zero: bool) -> Ptr<u8> {
    require_irql(if paged { APC_LEVEL } else { DISPATCH_LEVEL });
    check_tag(tag);
    if size == 0 {
        report::violation(Finding {
            kind: Kind::Pool,
            what: format!("{} was asked for 0 bytes", export::current_name()),
            remedy: "do not allocate when there is nothing to hold".into(),
        });
    }
    if size > LARGEST || inject::faulted().is_some() {
        return Ptr::NULL;
    }
    thread::current().pool.allocate(size as usize, tag, paged, zero)
}

extern "win64" fn ExAllocatePool2(flags: u64, size: u64, tag: u32) -> Ptr<u8> {
    let kinds = flags & (POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED);
    if kinds.count_ones() != 1 {
        report::violation(Finding {
            kind: Kind::Contract,
            what: format!("ExAllocatePool2 was called with flags {flags:#x}, which name no pool or more than one"),
            remedy: "pass exactly one of POOL_FLAG_NON_PAGED, POOL_FLAG_NON_PAGED_EXECUTE and POOL_FLAG_PAGED".into(),
        });
        return Ptr::NULL;
    }
    if size == 0 {
        return Ptr::NULL;
    }
    let memory = allocate(size, tag, flags & POOL_FLAG_PAGED != 0, flags & POOL_FLAG_UNINITIALIZED == 0);
    if memory.is_null() && flags & (POOL_FLAG_RAISE_ON_FAILURE | POOL_FLAG_USE_QUOTA) == POOL_FLAG_RAISE_ON_FAILURE {
        report::bugcheck(
            crate::nt::KMODE_EXCEPTION_NOT_HANDLED,
            [NtStatus::INSUFFICIENT_RESOURCES.0 as u32 as u64, 0, 0, 0],
            "an allocation with POOL_FLAG_RAISE_ON_FAILURE failed; the lab does not dispatch exceptions",
        );
    }
    memory
}

extern "win64" fn ExAllocatePool3(flags: u64, size: u64, tag: u32, _parameters: u64, _count: u32) -> Ptr<u8> {
    ExAllocatePool2(flags, size, tag)
}

/// `POOL_TYPE`: bit 0 is set for paged pool.
fn is_paged(pool_type: u32) -> bool {
    pool_type & 1 != 0
}

extern "win64" fn ExAllocatePoolWithTag(pool_type: u32, size: u64, tag: u32) -> Ptr<u8> {
    allocate(size, tag, is_paged(pool_type), false)
}

extern "win64" fn ExAllocatePool(pool_type: u32, size: u64) -> Ptr<u8> {
    allocate(size, u32::from_le_bytes(*b"enoN"), is_paged(pool_type), false)
}

extern "win64" fn ExAllocatePoolWithQuotaTag(pool_type: u32, size: u64, tag: u32) -> Ptr<u8> {
    allocate(size, tag, is_paged(pool_type), false)
}

extern "win64" fn ExAllocatePoolWithTagPriority(pool_type: u32, size: u64, tag: u32, _priority: u32) -> Ptr<u8> {
    allocate(size, tag, is_paged(pool_type), false)
}

fn free(pointer: Ptr<u8>, tag: Option<u32>) {
    require_irql(DISPATCH_LEVEL);
    if pointer.is_null() {
        report::bugcheck(
            BAD_POOL_CALLER,
            [0x46, 0, 0, 0],
            &format!("{} was given a null pointer", export::current_name()),
        );
    }
    thread::current().pool.free(pointer, tag);
}

extern "win64" fn ExFreePool(pointer: Ptr<u8>) {
    free(pointer, None);
}

extern "win64" fn ExFreePoolWithTag(pointer: Ptr<u8>, tag: u32) {
    free(pointer, Some(tag));
}

extern "win64" fn ExFreePool2(pointer: Ptr<u8>, tag: u32, _parameters: u64, _count: u32) {
    free(pointer, Some(tag));
}

/// `GENERAL_LOOKASIDE`: what `ExAllocateFromNPagedLookasideList`, an inline function, works on. The list is
/// left empty, so that each allocation goes to the allocate function, and depth 0 sends each free to the
/// free function: the pool's checks see every one of them.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub(crate) struct GeneralLookaside {
    ListHead: [u64; 2],
    Depth: u16,
    MaximumDepth: u16,
    TotalAllocates: u32,
    AllocateMisses: u32,
    TotalFrees: u32,
    FreeMisses: u32,
    Type: u32,
    Tag: u32,
    Size: u32,
    Allocate: u64,
    Free: u64,
    ListEntry: [u64; 2],
    LastTotalAllocates: u32,
    LastAllocateMisses: u32,
    Future: [u32; 2],
}

const _: () = assert!(size_of::<GeneralLookaside>() == 0x60);

/// Lookaside lists in use, by address, with the image that initialised them.
#[derive(Default)]
pub(crate) struct Lookasides(Mutex<HashMap<u64, (u64, u32)>>);

impl Lookasides {
    pub fn owned_by(&self, image: u64) -> Vec<(u64, u32)> {
        let lists = lock(&self.0);
        lists.iter().filter(|(_, (owner, _))| *owner == image).map(|(list, (_, tag))| (*list, *tag)).collect()
    }

    pub fn reclaim(&self, image: u64) {
        lock(&self.0).retain(|_, (owner, _)| *owner != image);
    }

    fn insert(&self, list: u64, tag: u32) {
        let image = image::number_at(thread::page().caller.get()).unwrap_or(0);
        if lock(&self.0).insert(list, (image, tag)).is_some() {
            report::violation(Finding {
                kind: Kind::Contract,
                what: format!("{} initialised a lookaside list that is in use", export::current_name()),
                remedy: "initialise a lookaside list once, and delete it before doing so again".into(),
            });
        }
    }

    fn remove(&self, list: u64) {
        if lock(&self.0).remove(&list).is_none() {
            report::violation(Finding {
                kind: Kind::Contract,
                what: format!("{} was given {list:#x}, which is not a lookaside list in use", export::current_name()),
                remedy: "delete each lookaside list once, after initialising it".into(),
            });
        }
    }
}

fn initialise_lookaside(list: Ptr<GeneralLookaside>, allocate: u64, free: u64, pool_type: u32, size: u64, tag: u32) {
    require_irql(DISPATCH_LEVEL);
    check_tag(tag);
    let exports = export::all();
    let or = |given: u64, name: &str| if given != 0 { given } else { exports.find("ntoskrnl.exe", name).unwrap_or(0) };
    list.write(GeneralLookaside {
        ListHead: [0; 2],
        Depth: 0,
        MaximumDepth: 256,
        TotalAllocates: 0,
        AllocateMisses: 0,
        TotalFrees: 0,
        FreeMisses: 0,
        Type: pool_type,
        Tag: tag,
        Size: size as u32,
        Allocate: or(allocate, "ExAllocatePoolWithTag"),
        Free: or(free, "ExFreePool"),
        ListEntry: [0; 2],
        LastTotalAllocates: 0,
        LastAllocateMisses: 0,
        Future: [0; 2],
    });
    thread::current().lookasides.insert(list.address(), tag);
}

extern "win64" fn ExInitializeNPagedLookasideList(
    list: Ptr<GeneralLookaside>,
    allocate: u64,
    free: u64,
    _flags: u32,
    size: u64,
    tag: u32,
    _depth: u16,
) {
    const NON_PAGED_POOL_NX: u32 = 512;
    initialise_lookaside(list, allocate, free, NON_PAGED_POOL_NX, size, tag);
}

extern "win64" fn ExInitializePagedLookasideList(
    list: Ptr<GeneralLookaside>,
    allocate: u64,
    free: u64,
    _flags: u32,
    size: u64,
    tag: u32,
    _depth: u16,
) {
    initialise_lookaside(list, allocate, free, 1, size, tag);
}

extern "win64" fn ExDeleteNPagedLookasideList(list: Ptr<GeneralLookaside>) {
    require_irql(DISPATCH_LEVEL);
    thread::current().lookasides.remove(list.address());
}

extern "win64" fn ExDeletePagedLookasideList(list: Ptr<GeneralLookaside>) {
    require_irql(APC_LEVEL);
    thread::current().lookasides.remove(list.address());
}

extern "win64" fn ExInitializeLookasideListEx(
    list: Ptr<GeneralLookaside>,
    allocate: u64,
    free: u64,
    pool_type: u32,
    _flags: u32,
    size: u64,
    tag: u32,
    _depth: u16,
) -> NtStatus {
    if let Some(status) = inject::faulted() {
        return status;
    }
    // The Ex list's own functions take the list as well, which those of the pool leave alone: the inline functions of wdm.h call them.
    initialise_lookaside(list, allocate, free, pool_type, size, tag);
    NtStatus::SUCCESS
}

extern "win64" fn ExDeleteLookasideListEx(list: Ptr<GeneralLookaside>) {
    require_irql(DISPATCH_LEVEL);
    thread::current().lookasides.remove(list.address());
}

extern "win64" fn ExFlushLookasideListEx(_list: Ptr<GeneralLookaside>) {
    require_irql(DISPATCH_LEVEL);
}

extern "win64" fn ExAllocateFromLookasideListEx(list: Ptr<GeneralLookaside>) -> Ptr<u8> {
    let lookaside = list.read();
    if Some(lookaside.Allocate) == export::all().find("ntoskrnl.exe", "ExAllocatePoolWithTag") {
        return allocate(u64::from(lookaside.Size), lookaside.Tag, is_paged(lookaside.Type), false);
    }
    let context = crate::call::CallContext { what: "AllocateEx", object: "a lookaside list", at: "" };
    let arguments = (lookaside.Type, u64::from(lookaside.Size), lookaside.Tag, list);
    let function = lookaside.Allocate as *const ();
    // SAFETY: the driver registered this function for exactly this call.
    let result = unsafe { crate::call::call_image(&context, irql::current(), function, arguments) };
    result.map_or(Ptr::NULL, Ptr::from_address)
}

extern "win64" fn ExFreeToLookasideListEx(list: Ptr<GeneralLookaside>, entry: Ptr<u8>) {
    let lookaside = list.read();
    if Some(lookaside.Free) == export::all().find("ntoskrnl.exe", "ExFreePool") {
        free(entry, None);
        return;
    }
    let context = crate::call::CallContext { what: "FreeEx", object: "a lookaside list", at: "" };
    let function = lookaside.Free as *const ();
    // SAFETY: the driver registered this function for exactly this call.
    let result = unsafe { crate::call::call_image(&context, irql::current(), function, (entry, list)) };
    if result.is_err() {
        report::leave_if_stopped();
    }
}
