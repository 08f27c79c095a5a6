//! `ndis.sys`: net buffer lists, net buffers, their pools, and the data that they describe.
//!
//! Everything an image allocates here is kept by address with its owner, so that what is not given back is named when the driver
//! has unloaded, and what is given back twice is reported.
#![allow(non_snake_case, reason = "functions and fields have the names of ndis.h")]

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use fwps::sys::*;

use crate::export::{self, Export, exports};
use crate::fwp::{Owner, owner};
use crate::inject::faulted;
use crate::irql::require_irql;
use crate::kernel::{lock, next_number};
use crate::nt::DISPATCH_LEVEL;
use crate::ptr::{Ptr, field};
use crate::report::{self, Finding, Kind};
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    NdisAllocateNetBufferListPool,
    NdisFreeNetBufferListPool,
    NdisAllocateNetBufferPool,
    NdisFreeNetBufferPool,
    NdisAllocateNetBufferList,
    NdisFreeNetBufferList,
    NdisAllocateNetBufferAndNetBufferList,
    NdisAllocateNetBuffer,
    NdisFreeNetBuffer,
    NdisAllocateCloneNetBufferList,
    NdisFreeCloneNetBufferList,
    NdisAllocateMdl,
    NdisFreeMdl,
    NdisGetDataBuffer,
    NdisRetreatNetBufferDataStart,
    NdisAdvanceNetBufferDataStart,
    NdisRetreatNetBufferListDataStart,
    NdisAdvanceNetBufferListDataStart,
    NdisCopyFromNetBufferToNetBuffer,
    NdisCopyReceiveNetBufferListInfo,
    NdisCopySendNetBufferListInfo,
    NdisAllocateGenericObject,
    NdisFreeGenericObject,
];

const NDIS_STATUS_SUCCESS: i32 = 0;
const NDIS_STATUS_RESOURCES: i32 = STATUS_INSUFFICIENT_RESOURCES;
/// `NDIS_CLONE_FLAGS_USE_ORIGINAL_MDLS`.
const USE_ORIGINAL_MDLS: u32 = 2;

/// A net buffer list of the lab, with what the lab knows of it behind the structure that images see.
#[repr(C)]
pub(crate) struct LabList {
    pub list: NET_BUFFER_LIST,
    magic: u64,
    /// Taken with `FwpsReferenceNetBufferList0`.
    references: AtomicU32,
    /// The injection handle that the packet was injected with, or 0, and the injection's context.
    injected_by: AtomicU64,
    injection_context: AtomicU64,
    /// Whose packet it is, or is a clone of.
    origin: Option<Origin>,
}

/// What is known of a packet without looking at its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub protocol: u8,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

const MAGIC: u64 = u64::from_le_bytes(*b"NBL/lab\0");

impl LabList {
    /// Makes zeroed memory a list.
    pub fn init(list: Ptr<LabList>) {
        field!(list, magic).write(MAGIC);
        field!(list, origin).write(None);
    }

    /// The lab's part of a list that an image passes; `None`, and reported, if the list is none of the lab's.
    pub fn of<'a>(list: Ptr<NET_BUFFER_LIST>) -> Option<&'a LabList> {
        let lab = list.cast::<LabList>();
        if list.is_null() || field!(lab, magic).read() != MAGIC {
            report::violation(Finding {
                kind: Kind::Contract,
                what: format!(
                    "{} was given {list:?}, which is no net buffer list, or one that was freed",
                    export::current_name()
                ),
                remedy: "pass a list that NDIS, Fwps or a classify handed out, as long as it is valid".into(),
            });
            return None;
        }
        Some(lab.as_ref())
    }

    fn clones(&self) -> &AtomicI32 {
        let clones = &raw const self.list.ChildRefCount;
        // SAFETY: a field of this list; images change it through the lab's functions only, which do so atomically.
        unsafe { AtomicI32::from_ptr(clones.cast_mut()) }
    }

    /// Whether an image has a reference to it, or a clone of it.
    pub fn is_held(&self) -> bool {
        self.references.load(Ordering::Acquire) != 0 || self.clones().load(Ordering::Acquire) != 0
    }

    pub fn reference(&self) {
        self.references.fetch_add(1, Ordering::AcqRel);
    }

    /// False if there was no reference.
    pub fn dereference(&self) -> bool {
        self.references.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| count.checked_sub(1)).is_ok()
    }

    /// The injection that the packet comes from: handle and context.
    pub fn injection(&self) -> (u64, u64) {
        (self.injected_by.load(Ordering::Acquire), self.injection_context.load(Ordering::Acquire))
    }

    pub fn set_injection(&self, handle: u64, context: u64) {
        self.injected_by.store(handle, Ordering::Release);
        self.injection_context.store(context, Ordering::Release);
    }

    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// Forgets the packet before.
    pub fn reset(&mut self, origin: Origin) {
        self.origin = Some(origin);
        *self.injected_by.get_mut() = 0;
        *self.injection_context.get_mut() = 0;
        self.list.Flags = 0;
        self.list.NblFlags = 0;
        self.list.Status = 0;
    }
}

/// What images have allocated.
#[derive(Default)]
pub(crate) struct State {
    objects: Mutex<HashMap<u64, Object>>,
}

/// One thing that an image has allocated; the map's key is its address or handle.
struct Object {
    kind: ObjectKind,
    /// The function that allocated it.
    by: &'static str,
    owner: Owner,
}

enum ObjectKind {
    Pool {
        lists: bool,
        context: u16,
        with_buffer: bool,
        data: u32,
    },
    List(Block<LabList>, Belongings),
    /// With the MDLs that were allocated along with it.
    Buffer {
        _buffer: Block<NET_BUFFER>,
        mdls: Vec<u64>,
    },
    /// Kept until it is freed.
    Mdl {
        _mdl: Block<MDL>,
    },
    Generic {
        _object: Block<[u8; 64]>,
    },
}

/// What was allocated along with a list, and what it is a clone of.
struct Belongings {
    buffers: Vec<u64>,
    _context: Option<Box<[u128]>>,
    parent: Ptr<NET_BUFFER_LIST>,
}

/// Memory of the lab that images have the address of.
struct Block<T> {
    address: Ptr<T>,
    /// Bytes that belong to it.
    _data: Box<[u8]>,
}

impl<T> Block<T> {
    fn new(value: T, data: Box<[u8]>) -> Block<T> {
        Block { address: Ptr::new(Box::into_raw(Box::new(value))), _data: data }
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        // SAFETY: from `Box::into_raw` in `new`; the object has been taken out of the map, so no one else drops it.
        drop(unsafe { Box::from_raw(self.address.as_mut_ptr()) });
    }
}

impl State {
    fn add(&self, address: u64, kind: ObjectKind) -> u64 {
        let object = Object { kind, by: export::current_name(), owner: owner() };
        lock(&self.objects).insert(address, object);
        address
    }

    /// Takes an object out. `None`, and reported, if it is not of the kind that `is` knows.
    fn take(&self, address: u64, is: fn(&ObjectKind) -> bool, what: &str) -> Option<ObjectKind> {
        let mut objects = lock(&self.objects);
        if objects.get(&address).is_some_and(|object| is(&object.kind)) {
            return objects.remove(&address).map(|object| object.kind);
        }
        drop(objects);
        report::violation(Finding {
            kind: Kind::Contract,
            what: format!("{} was given {address:#x}, which is not {what}", export::current_name()),
            remedy: "free what the matching function allocated, once".into(),
        });
        None
    }

    /// What the image with this number has not freed.
    pub fn left_behind(&self, image: u64) -> Vec<String> {
        let objects = lock(&self.objects);
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for object in objects.values().filter(|object| object.owner.image == image) {
            match counts.iter_mut().find(|(by, _)| *by == object.by) {
                Some((_, count)) => *count += 1,
                None => counts.push((object.by, 1)),
            }
        }
        counts.sort_unstable();
        counts.iter().map(|(by, count)| format!("{count} allocation(s) of {by} were not freed")).collect()
    }

    fn pool(&self, pool: u64) -> Option<(u16, bool, u32)> {
        match lock(&self.objects).get(&pool).map(|object| &object.kind) {
            Some(ObjectKind::Pool { context, with_buffer, data, .. }) => Some((*context, *with_buffer, *data)),
            _ => None,
        }
    }

    fn new_mdl(&self, start: *mut c_void, length: u32, flags: i16, data: Box<[u8]>) -> Ptr<MDL> {
        let block = Block::new(
            MDL {
                Next: null_mut(),
                Size: size_of::<MDL>() as i16,
                MdlFlags: flags,
                Process: null_mut(),
                MappedSystemVa: start,
                StartVa: start.map_addr(|address| address & !0xfff),
                ByteCount: length,
                ByteOffset: (start.addr() & 0xfff) as u32,
            },
            data,
        );
        let address = block.address;
        self.add(address.address(), ObjectKind::Mdl { _mdl: block });
        address
    }

    /// An MDL over new memory.
    fn new_mdl_with_data(&self, length: u32) -> Ptr<MDL> {
        let mut data = vec![0u8; length as usize].into_boxed_slice();
        let start = data.as_mut_ptr().cast();
        self.new_mdl(start, length, MDL_SOURCE_IS_NONPAGED_POOL, data)
    }

    /// A buffer over a chain of MDLs; those in `mdls` are freed with it.
    fn new_buffer(&self, pool: u64, mdl: Ptr<MDL>, offset: u32, length: u32, mdls: Vec<u64>) -> Ptr<NET_BUFFER> {
        let mut buffer = EMPTY_BUFFER;
        buffer.MdlChain = mdl.as_mut_ptr();
        buffer.DataOffset = offset;
        buffer.DataLength = length;
        buffer.NdisPoolHandle = core::ptr::without_provenance_mut(pool as usize);
        let block = Block::new(buffer, Box::default());
        let address = block.address;
        seek(address, offset);
        self.add(address.address(), ObjectKind::Buffer { _buffer: block, mdls });
        address
    }

    fn new_list(
        &self,
        pool: u64,
        context: usize,
        backfill: usize,
        buffers: Vec<u64>,
        parent: Ptr<NET_BUFFER_LIST>,
    ) -> Ptr<NET_BUFFER_LIST> {
        let mut list = EMPTY_LIST;
        list.NdisPoolHandle = core::ptr::without_provenance_mut(pool as usize);
        list.ParentNetBufferList = parent.as_mut_ptr();
        list.FirstNetBuffer = buffers.first().map_or(null_mut(), |buffer| Ptr::from_address(*buffer).as_mut_ptr());
        let mut space = None;
        if context + backfill != 0 {
            let size = size_of::<NET_BUFFER_LIST_CONTEXT>() + context + backfill;
            let mut block = vec![0u128; size.div_ceil(16)].into_boxed_slice();
            let header = Ptr::new(block.as_mut_ptr()).cast::<NET_BUFFER_LIST_CONTEXT>();
            field!(header, Size).write((context + backfill) as u16);
            field!(header, Offset).write(backfill as u16);
            list.Context = header.as_mut_ptr();
            space = Some(block);
        }
        let lab = LabList {
            list,
            magic: MAGIC,
            references: AtomicU32::new(0),
            injected_by: AtomicU64::new(0),
            injection_context: AtomicU64::new(0),
            origin: Ptr::new(parent.as_mut_ptr()).non_null().and_then(LabList::of).and_then(LabList::origin),
        };
        let block = Block::new(lab, Box::default());
        let address = block.address.cast::<NET_BUFFER_LIST>();
        self.add(address.address(), ObjectKind::List(block, Belongings { buffers, _context: space, parent }));
        address
    }

    /// Frees a list and what was allocated along with it. Returns its parent.
    fn free_list(&self, list: Ptr<NET_BUFFER_LIST>) -> Option<Ptr<NET_BUFFER_LIST>> {
        let kind = self.take(list.address(), |kind| matches!(kind, ObjectKind::List(..)), "an allocated list")?;
        let ObjectKind::List(block, belongings) = kind else { return None };
        if block.address.as_ref().is_held() {
            report::violation(Finding {
                kind: Kind::Contract,
                what: format!(
                    "{} was given a net buffer list that is referenced or has clones",
                    export::current_name()
                ),
                remedy: "free clones and references before what they refer to".into(),
            });
        }
        field!(block.address, magic).write(0);
        for buffer in &belongings.buffers {
            self.free_buffer(Ptr::from_address(*buffer));
        }
        Some(belongings.parent)
    }

    fn free_buffer(&self, buffer: Ptr<NET_BUFFER>) {
        let kind =
            self.take(buffer.address(), |kind| matches!(kind, ObjectKind::Buffer { .. }), "an allocated net buffer");
        if let Some(ObjectKind::Buffer { mdls, .. }) = kind {
            for mdl in mdls {
                self.free_mdl(Ptr::from_address(mdl));
            }
        }
    }

    fn free_mdl(&self, mdl: Ptr<MDL>) {
        self.take(mdl.address(), |kind| matches!(kind, ObjectKind::Mdl { .. }), "an MDL that NDIS allocated");
    }

    fn owns_mdl(&self, mdl: Ptr<MDL>) -> bool {
        matches!(lock(&self.objects).get(&mdl.address()).map(|object| &object.kind), Some(ObjectKind::Mdl { .. }))
    }

    /// A clone: new buffers over the same data. The parent counts it until it is freed.
    pub fn clone_list(&self, original: Ptr<NET_BUFFER_LIST>, pool: u64, flags: u32) -> Option<Ptr<NET_BUFFER_LIST>> {
        let parent = LabList::of(original)?;
        let mut buffers: Vec<u64> = Vec::new();
        let mut next = Ptr::new(field!(original, FirstNetBuffer).read());
        while let Some(buffer) = next.non_null() {
            let chain = Ptr::new(field!(buffer, MdlChain).read());
            let mut mdls = Vec::new();
            let chain = if flags & USE_ORIGINAL_MDLS != 0 { chain } else { self.clone_mdls(chain, &mut mdls) };
            let (offset, length) = (field!(buffer, DataOffset).read(), field!(buffer, DataLength).read());
            let clone = self.new_buffer(pool, chain, offset, length, mdls);
            if let Some(previous) = buffers.last() {
                field!(Ptr::<NET_BUFFER>::from_address(*previous), Next).write(clone.as_mut_ptr());
            }
            buffers.push(clone.address());
            next = Ptr::new(field!(buffer, Next).read());
        }
        let clone = self.new_list(pool, 0, 0, buffers, original);
        let (handle, context) = parent.injection();
        LabList::of(clone)?.set_injection(handle, context);
        parent.clones().fetch_add(1, Ordering::AcqRel);
        Some(clone)
    }

    fn clone_mdls(&self, chain: Ptr<MDL>, made: &mut Vec<u64>) -> Ptr<MDL> {
        let mut first: Ptr<MDL> = Ptr::NULL;
        let mut last: Ptr<MDL> = Ptr::NULL;
        let mut next = chain;
        while let Some(mdl) = next.non_null() {
            let length = field!(mdl, ByteCount).read();
            let clone =
                self.new_mdl(mapped(mdl).as_mut_ptr().cast(), length, MDL_SOURCE_IS_NONPAGED_POOL, Box::default());
            made.push(clone.address());
            match last.non_null() {
                Some(last) => field!(last, Next).write(clone.as_mut_ptr()),
                None => first = clone,
            }
            last = clone;
            next = Ptr::new(field!(mdl, Next).read());
        }
        first
    }

    /// Frees a clone, and uncounts it at its parent.
    pub fn free_clone(&self, clone: Ptr<NET_BUFFER_LIST>) {
        if let Some(parent) = self.free_list(clone).and_then(Ptr::non_null)
            && let Some(parent) = LabList::of(parent)
        {
            parent.clones().fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub fn new_list_with_buffer(
        &self,
        pool: u64,
        context: usize,
        backfill: usize,
        mdl: Ptr<MDL>,
        offset: u32,
        length: u32,
    ) -> Ptr<NET_BUFFER_LIST> {
        let buffer = self.new_buffer(pool, mdl, offset, length, Vec::new());
        self.new_list(pool, context, backfill, vec![buffer.address()], Ptr::NULL)
    }

    pub fn free(&self, list: Ptr<NET_BUFFER_LIST>) {
        self.free_list(list);
    }
}

// SAFETY: every member of the structure may be all zero.
const EMPTY_BUFFER: NET_BUFFER = unsafe { core::mem::zeroed() };
// SAFETY: as above.
const EMPTY_LIST: NET_BUFFER_LIST = unsafe { core::mem::zeroed() };

/// Where the bytes that an MDL describes are.
fn mapped(mdl: Ptr<MDL>) -> Ptr<u8> {
    let flags = field!(mdl, MdlFlags).read();
    if flags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
        Ptr::new(field!(mdl, MappedSystemVa).read()).cast()
    } else {
        Ptr::new(field!(mdl, StartVa).read()).cast::<u8>().at(field!(mdl, ByteOffset).read() as usize)
    }
}

/// Sets a buffer's current MDL to where `offset` bytes of its chain have gone by.
fn seek(buffer: Ptr<NET_BUFFER>, offset: u32) {
    let mut mdl = Ptr::new(field!(buffer, MdlChain).read());
    let mut rest = offset;
    while let Some(current) = mdl.non_null() {
        let count = field!(current, ByteCount).read();
        let next = Ptr::new(field!(current, Next).read());
        if rest < count || next.is_null() {
            break;
        }
        rest -= count;
        mdl = next;
    }
    field!(buffer, CurrentMdl).write(mdl.as_mut_ptr());
    field!(buffer, CurrentMdlOffset).write(rest);
    field!(buffer, DataOffset).write(offset);
}

/// Calls `part` with each contiguous part of `length` bytes of a buffer's data from `offset` on.
fn for_each_part(buffer: Ptr<NET_BUFFER>, offset: u32, length: u32, mut part: impl FnMut(Ptr<u8>, usize)) {
    let mut mdl = Ptr::new(field!(buffer, CurrentMdl).read());
    let mut skip = field!(buffer, CurrentMdlOffset).read() as usize + offset as usize;
    let mut rest = length as usize;
    while rest != 0
        && let Some(current) = mdl.non_null()
    {
        let count = field!(current, ByteCount).read() as usize;
        if skip < count {
            let here = (count - skip).min(rest);
            part(mapped(current).at(skip), here);
            rest -= here;
            skip = 0;
        } else {
            skip -= count;
        }
        mdl = Ptr::new(field!(current, Next).read());
    }
}

/// Makes the data of a list's first buffer begin `delta` bytes later, for the lab's own use.
pub(crate) fn advance_list(list: Ptr<NET_BUFFER_LIST>, delta: u32) {
    if let Some(buffer) = Ptr::new(field!(list, FirstNetBuffer).read()).non_null() {
        let (offset, length) = (field!(buffer, DataOffset).read(), field!(buffer, DataLength).read());
        field!(buffer, DataLength).write(length.wrapping_sub(delta));
        seek(buffer, offset.wrapping_add(delta));
    }
}

/// Takes back [`advance_list`].
pub(crate) fn retreat_list(list: Ptr<NET_BUFFER_LIST>, delta: u32) {
    advance_list(list, delta.wrapping_neg());
}

/// Bytes of data in the first buffer of a list.
pub(crate) fn length_of(list: Ptr<NET_BUFFER_LIST>) -> u32 {
    Ptr::new(field!(list, FirstNetBuffer).read()).non_null().map_or(0, |buffer| field!(buffer, DataLength).read())
}

/// Puts bytes in front of the data of the first buffer of a list.
pub(crate) fn prepend(list: Ptr<NET_BUFFER_LIST>, bytes: &[u8]) {
    if let Some(buffer) = Ptr::new(field!(list, FirstNetBuffer).read()).non_null() {
        retreat(buffer, bytes.len() as u32, 0);
        let mut rest = bytes;
        for_each_part(buffer, 0, bytes.len() as u32, |start, count| {
            let (here, after) = rest.split_at(count.min(rest.len()));
            start.copy_from(here);
            rest = after;
        });
    }
}

/// The bytes of the first buffer of a list, as far as `most`.
pub(crate) fn bytes_of(list: Ptr<NET_BUFFER_LIST>, most: u32) -> Vec<u8> {
    let buffer = Ptr::new(field!(list, FirstNetBuffer).read());
    let mut bytes = Vec::new();
    if let Some(buffer) = buffer.non_null() {
        let length = field!(buffer, DataLength).read().min(most);
        for_each_part(buffer, 0, length, |start, count| bytes.extend(start.to_vec(count)));
    }
    bytes
}

fn state<'a>() -> &'a State {
    let kernel = thread::current();
    let state: *const State = &raw const kernel.fwp.ndis;
    // SAFETY: the current kernel outlives every import that runs in it.
    unsafe { &*state }
}

/// What an allocating function does first; true if it shall fail.
fn refused() -> bool {
    require_irql(DISPATCH_LEVEL);
    faulted().is_some()
}

extern "win64" fn NdisAllocateNetBufferListPool(_handle: u64, parameters: Ptr<NET_BUFFER_LIST_POOL_PARAMETERS>) -> u64 {
    if refused() {
        return 0;
    }
    let parameters = parameters.read();
    state().add(
        next_number() << 4,
        ObjectKind::Pool {
            lists: true,
            context: parameters.ContextSize,
            with_buffer: parameters.fAllocateNetBuffer != 0,
            data: parameters.DataSize,
        },
    )
}

extern "win64" fn NdisFreeNetBufferListPool(pool: u64) {
    require_irql(DISPATCH_LEVEL);
    let is = |kind: &ObjectKind| matches!(kind, ObjectKind::Pool { lists: true, .. });
    state().take(pool, is, "a net buffer list pool");
    let address: *mut c_void = core::ptr::without_provenance_mut(pool as usize);
    let left = lock(&state().objects)
        .values()
        .filter(|object| {
            matches!(&object.kind, ObjectKind::List(list, _)
            if field!(list.address.cast::<NET_BUFFER_LIST>(), NdisPoolHandle).read() == address)
        })
        .count();
    if left != 0 {
        report::violation(Finding {
            kind: Kind::Leak,
            what: format!("a net buffer list pool was freed while {left} of its lists were in use"),
            remedy: "free every list first; injections hold theirs until FwpsInjectionHandleDestroy0 has returned"
                .into(),
        });
    }
}

extern "win64" fn NdisAllocateNetBufferPool(_handle: u64, parameters: Ptr<NET_BUFFER_POOL_PARAMETERS>) -> u64 {
    if refused() {
        return 0;
    }
    let data = parameters.read().DataSize;
    state().add(next_number() << 4, ObjectKind::Pool { lists: false, context: 0, with_buffer: false, data })
}

extern "win64" fn NdisFreeNetBufferPool(pool: u64) {
    require_irql(DISPATCH_LEVEL);
    let is = |kind: &ObjectKind| matches!(kind, ObjectKind::Pool { lists: false, .. });
    state().take(pool, is, "a net buffer pool");
}

extern "win64" fn NdisAllocateNetBufferList(pool: u64, context: u16, backfill: u16) -> Ptr<NET_BUFFER_LIST> {
    if refused() {
        return Ptr::NULL;
    }
    let (pool_context, with_buffer, data) = state().pool(pool).unwrap_or_default();
    let mut buffers = Vec::new();
    if with_buffer {
        let mdl = if data == 0 { Ptr::NULL } else { state().new_mdl_with_data(data) };
        let mdls = mdl.non_null().map(Ptr::address).into_iter().collect();
        buffers.push(state().new_buffer(pool, mdl, 0, 0, mdls).address());
    }
    state().new_list(pool, context.max(pool_context).into(), backfill.into(), buffers, Ptr::NULL)
}

extern "win64" fn NdisFreeNetBufferList(list: Ptr<NET_BUFFER_LIST>) {
    require_irql(DISPATCH_LEVEL);
    state().free_list(list);
}

extern "win64" fn NdisAllocateNetBufferAndNetBufferList(
    pool: u64,
    context: u16,
    backfill: u16,
    mdl: Ptr<MDL>,
    offset: u32,
    length: usize,
) -> Ptr<NET_BUFFER_LIST> {
    if refused() {
        return Ptr::NULL;
    }
    state().new_list_with_buffer(pool, context.into(), backfill.into(), mdl, offset, length as u32)
}

extern "win64" fn NdisAllocateNetBuffer(pool: u64, mdl: Ptr<MDL>, offset: u32, length: usize) -> Ptr<NET_BUFFER> {
    if refused() {
        return Ptr::NULL;
    }
    state().new_buffer(pool, mdl, offset, length as u32, Vec::new())
}

extern "win64" fn NdisFreeNetBuffer(buffer: Ptr<NET_BUFFER>) {
    require_irql(DISPATCH_LEVEL);
    state().free_buffer(buffer);
}

extern "win64" fn NdisAllocateCloneNetBufferList(
    original: Ptr<NET_BUFFER_LIST>,
    list_pool: u64,
    _buffer_pool: u64,
    flags: u32,
) -> Ptr<NET_BUFFER_LIST> {
    if refused() {
        return Ptr::NULL;
    }
    state().clone_list(original, list_pool, flags).unwrap_or(Ptr::NULL)
}

extern "win64" fn NdisFreeCloneNetBufferList(clone: Ptr<NET_BUFFER_LIST>, _flags: u32) {
    require_irql(DISPATCH_LEVEL);
    state().free_clone(clone);
}

extern "win64" fn NdisAllocateMdl(_handle: u64, start: Ptr<c_void>, length: u32) -> Ptr<MDL> {
    if refused() {
        return Ptr::NULL;
    }
    state().new_mdl(start.as_mut_ptr(), length, MDL_SOURCE_IS_NONPAGED_POOL, Box::default())
}

extern "win64" fn NdisFreeMdl(mdl: Ptr<MDL>) {
    require_irql(DISPATCH_LEVEL);
    state().free_mdl(mdl);
}

/// A pointer to `bytes` contiguous, aligned bytes of the data: in place if they are, else copied to `storage`, else NULL.
extern "win64" fn NdisGetDataBuffer(
    buffer: Ptr<NET_BUFFER>,
    bytes: u32,
    storage: Ptr<u8>,
    align_multiple: u32,
    align_offset: u32,
) -> Ptr<u8> {
    require_irql(DISPATCH_LEVEL);
    if bytes == 0 || field!(buffer, DataLength).read() < bytes {
        return Ptr::NULL;
    }
    let mut first: Option<(Ptr<u8>, usize)> = None;
    for_each_part(buffer, 0, bytes, |start, count| {
        first.get_or_insert((start, count));
    });
    let Some((start, count)) = first else { return Ptr::NULL };
    let aligned = align_multiple < 2 || start.address() % u64::from(align_multiple) == u64::from(align_offset);
    if count >= bytes as usize && aligned {
        return start;
    }
    if storage.is_null() {
        return Ptr::NULL;
    }
    let mut copied = 0;
    for_each_part(buffer, 0, bytes, |start, count| {
        storage.at(copied).copy_from(&start.to_vec(count));
        copied += count;
    });
    storage
}

/// Makes `delta` more bytes at the front part of the data; where the chain has none unused, an MDL is put before it.
fn retreat(buffer: Ptr<NET_BUFFER>, delta: u32, backfill: u32) {
    let (offset, length) = (field!(buffer, DataOffset).read(), field!(buffer, DataLength).read());
    field!(buffer, DataLength).write(length + delta);
    if delta <= offset {
        return seek(buffer, offset - delta);
    }
    let missing = delta - offset;
    let mdl = state().new_mdl_with_data(missing + backfill);
    field!(mdl, Next).write(field!(buffer, MdlChain).read());
    field!(buffer, MdlChain).write(mdl.as_mut_ptr());
    seek(buffer, backfill);
}

/// Gives the first `delta` bytes back; MDLs that `retreat` put in front and that hold nothing any more are freed if `free` says so.
fn advance(buffer: Ptr<NET_BUFFER>, delta: u32, free: bool) {
    let (offset, length) = (field!(buffer, DataOffset).read(), field!(buffer, DataLength).read());
    if delta > length {
        report::violation(Finding {
            kind: Kind::Contract,
            what: format!("{} was to advance by {delta} of {length} bytes", export::current_name()),
            remedy: "advance by no more than DataLength".into(),
        });
    }
    field!(buffer, DataLength).write(length.saturating_sub(delta));
    let mut offset = offset + delta.min(length);
    while free
        && let Some(first) = Ptr::new(field!(buffer, MdlChain).read()).non_null()
        && field!(first, ByteCount).read() <= offset
        && state().owns_mdl(first)
    {
        offset -= field!(first, ByteCount).read();
        field!(buffer, MdlChain).write(field!(first, Next).read());
        state().free_mdl(first);
    }
    seek(buffer, offset);
}

extern "win64" fn NdisRetreatNetBufferDataStart(
    buffer: Ptr<NET_BUFFER>,
    delta: u32,
    backfill: u32,
    _allocate_mdl: Ptr<()>,
) -> i32 {
    if refused() {
        return NDIS_STATUS_RESOURCES;
    }
    retreat(buffer, delta, backfill);
    NDIS_STATUS_SUCCESS
}

extern "win64" fn NdisAdvanceNetBufferDataStart(buffer: Ptr<NET_BUFFER>, delta: u32, free_mdl: u8, _free: Ptr<()>) {
    require_irql(DISPATCH_LEVEL);
    advance(buffer, delta, free_mdl != 0);
}

fn for_each_buffer(list: Ptr<NET_BUFFER_LIST>, mut each: impl FnMut(Ptr<NET_BUFFER>)) {
    let mut next = Ptr::new(field!(list, FirstNetBuffer).read());
    while let Some(buffer) = next.non_null() {
        each(buffer);
        next = Ptr::new(field!(buffer, Next).read());
    }
}

extern "win64" fn NdisRetreatNetBufferListDataStart(
    list: Ptr<NET_BUFFER_LIST>,
    delta: u32,
    backfill: u32,
    _allocate_mdl: Ptr<()>,
    _free_mdl: Ptr<()>,
) -> i32 {
    if refused() {
        return NDIS_STATUS_RESOURCES;
    }
    for_each_buffer(list, |buffer| retreat(buffer, delta, backfill));
    NDIS_STATUS_SUCCESS
}

extern "win64" fn NdisAdvanceNetBufferListDataStart(
    list: Ptr<NET_BUFFER_LIST>,
    delta: u32,
    free_mdl: u8,
    _free: Ptr<()>,
) {
    require_irql(DISPATCH_LEVEL);
    for_each_buffer(list, |buffer| advance(buffer, delta, free_mdl != 0));
}

extern "win64" fn NdisCopyFromNetBufferToNetBuffer(
    destination: Ptr<NET_BUFFER>,
    destination_offset: u32,
    bytes: u32,
    source: Ptr<NET_BUFFER>,
    source_offset: u32,
    copied: Ptr<u32>,
) -> i32 {
    require_irql(DISPATCH_LEVEL);
    let available = field!(source, DataLength).read().saturating_sub(source_offset);
    let space = field!(destination, DataLength).read().saturating_sub(destination_offset);
    let count = bytes.min(available).min(space);
    let mut data = Vec::with_capacity(count as usize);
    for_each_part(source, source_offset, count, |start, count| data.extend(start.to_vec(count)));
    let mut rest = &data[..];
    for_each_part(destination, destination_offset, count, |start, count| {
        let (here, after) = rest.split_at(count.min(rest.len()));
        start.copy_from(here);
        rest = after;
    });
    copied.write_optional(count);
    NDIS_STATUS_SUCCESS
}

/// Copies what stands beside the data: checksum, segmentation and the like. Whose packet it is the lab keeps there too.
fn copy_information(destination: Ptr<NET_BUFFER_LIST>, source: Ptr<NET_BUFFER_LIST>) {
    require_irql(DISPATCH_LEVEL);
    if LabList::of(destination).is_some() && LabList::of(source).is_some() {
        field!(destination, NetBufferListInfo).write(field!(source, NetBufferListInfo).read());
        let (destination, source) = (destination.cast::<LabList>(), source.cast::<LabList>());
        field!(destination, origin).write(field!(source, origin).read());
    }
}

extern "win64" fn NdisCopyReceiveNetBufferListInfo(destination: Ptr<NET_BUFFER_LIST>, source: Ptr<NET_BUFFER_LIST>) {
    copy_information(destination, source);
}

extern "win64" fn NdisCopySendNetBufferListInfo(destination: Ptr<NET_BUFFER_LIST>, source: Ptr<NET_BUFFER_LIST>) {
    copy_information(destination, source);
}

extern "win64" fn NdisAllocateGenericObject(_driver: u64, _tag: u32, _size: u16) -> u64 {
    if refused() {
        return 0;
    }
    let block = Block::new([0u8; 64], Box::default());
    let address = block.address.address();
    state().add(address, ObjectKind::Generic { _object: block })
}

extern "win64" fn NdisFreeGenericObject(object: u64) {
    require_irql(DISPATCH_LEVEL);
    state().take(object, |kind| matches!(kind, ObjectKind::Generic { .. }), "a generic object");
}
