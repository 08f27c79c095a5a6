//! Flows: what passes in each of them is counted, from its establishment to its end.
//!
//! The engine keeps a ticket of each flow and layer (`postern_core::flows`): a number, never a pointer.

use core::ffi::c_void;
use core::num::NonZeroU64;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use alloc::boxed::Box;
use alloc::vec::Vec;

use fwps::callback;
use fwps::incoming::{self, Metadata, Values};
use postern_core::Status;
use postern_core::flows::{Association, Direction, Engine, Flows, Leaving, Observer, Removals, Slot, Slots, Ticket};
use postern_core::receipt::IN_FLIGHT;
use postern_protocol::Layer;
use postern_protocol::callout::{Callout, Role};
use postern_protocol::ioctl::{EventKind, FlowEntry};

use crate::endpoints::Fields;
use crate::shared::{ALLOCATIONS, CALLOUT_IDS};
use crate::{applications, clock, events, work_item};

/// All flows that are counted.
pub static FLOWS: Flows<Chunks> = Flows::new(Chunks::new());

/// Slots of a chunk: 256 KiB of memory.
const SLOTS: usize = 2048;
/// Chunks at most: room for four million flows.
const MOST: usize = 2048;

/// What a chunk is allocated as: the image's allocator aligns to 16 bytes and no further. So there is room for one slot more than is used,
/// and the slots begin where they may.
type Unit = u128;
const UNITS: usize = (SLOTS + 1) * size_of::<Slot>() / size_of::<Unit>();

/// The first slot in a chunk's memory.
#[inline(always)]
fn first_slot(memory: *mut Unit) -> *mut Slot {
    const BELOW: usize = align_of::<Slot>() - 1;
    memory.map_addr(|address| address.wrapping_add(BELOW) & !BELOW).cast()
}

/// The table's memory. It grows a chunk at a time, and is given back as a whole: see [`Memory`].
pub struct Chunks {
    chunks: [AtomicPtr<Unit>; MOST],
    /// How many chunks have a number.
    numbered: AtomicU32,
}

impl Chunks {
    const fn new() -> Self {
        Chunks { chunks: [const { AtomicPtr::new(ptr::null_mut()) }; MOST], numbered: AtomicU32::new(0) }
    }
}

impl Slots for Chunks {
    #[inline(always)]
    fn slot(&self, place: u32) -> Option<&Slot> {
        let place = place as usize;
        let memory = self.chunks.get(place / SLOTS)?.load(Ordering::Acquire);
        if memory.is_null() {
            return None;
        }
        // SAFETY: the remainder is below the number of slots in a chunk.
        let slot = unsafe { first_slot(memory).add(place % SLOTS) };
        // SAFETY: a chunk is stored once its slots are made. It goes when `Memory` is released, which stands in the ledger below
        // everything that looks at the table.
        Some(unsafe { &*slot })
    }

    fn places(&self) -> u32 {
        self.numbered.load(Ordering::Acquire).min(MOST as u32) * SLOTS as u32
    }

    fn grow(&self) -> Option<Range<u32>> {
        let mut memory = Vec::<Unit>::new();
        memory.try_reserve_exact(UNITS).ok()?;
        memory.resize(UNITS, 0);
        let memory = memory.into_boxed_slice();
        let number = self.numbered.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |number| {
            if number < MOST as u32 { Some(number + 1) } else { None }
        });
        let number = number.ok()?;
        ALLOCATIONS.begin();
        let memory = Box::into_raw(memory).cast::<Unit>();
        for index in 0..SLOTS {
            // SAFETY: from the first slot on there is room for so many.
            let slot = unsafe { first_slot(memory).add(index) };
            // SAFETY: the memory is this function's own.
            unsafe { slot.write(Slot::new()) };
        }
        self.chunks[number as usize].store(memory, Ordering::Release);
        let first = number * SLOTS as u32;
        Some(first..first + SLOTS as u32)
    }
}

/// Stands in the ledger for the table's memory.
pub struct Memory(());

impl Memory {
    /// Nothing is allocated yet.
    pub const fn new() -> Self {
        Memory(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for chunk in &FLOWS.slots().chunks {
            let memory = chunk.swap(ptr::null_mut(), Ordering::AcqRel);
            if memory.is_null() {
                continue;
            }
            // SAFETY: `grow` made the chunk from a box of this many units, and nobody looks at the table any more.
            drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(memory, UNITS)) });
            ALLOCATIONS.end();
        }
    }
}

/// The engine's half of a flow's contexts.
struct FilterEngine;

impl FilterEngine {
    fn callout_id(layer: Layer) -> u32 {
        CALLOUT_IDS[Callout { role: Role::Monitor, layer }.index()].load(Ordering::Relaxed)
    }
}

impl Engine for FilterEngine {
    fn associate(&self, flow: u64, layer: Layer, ticket: Ticket) -> Status {
        // A ticket is never zero: its lower half is a place + 1.
        let Some(context) = NonZeroU64::new(ticket.0) else { return Status::INVALID_PARAMETER };
        Status(fwps::flow::associate(flow, layer.id(), Self::callout_id(layer), context))
    }

    fn remove(&self, flow: u64, layer: Layer) -> Status {
        Status(fwps::flow::remove(flow, layer.id(), Self::callout_id(layer)))
    }
}

/// Tells those who watch.
struct Watchers;

impl Observer for Watchers {
    fn begun(&self, flow: &FlowEntry) {
        events::flow(EventKind::FlowBegun, flow);
    }
    fn ended(&self, flow: &FlowEntry) {
        events::flow(EventKind::FlowEnded, flow);
    }
}

/// Begins to count a flow, at ALE_FLOW_ESTABLISHED. The caller is inside the gate. IRQL: at most DISPATCH_LEVEL.
#[inline(never)]
pub fn established(fields: &Fields, values: Values<'_>, metadata: Metadata<'_>) {
    let Some(flow) = metadata.flow() else { return };
    let mut endpoints = fields.endpoints(values, metadata);
    if let Some(path) = fields.application(values) {
        endpoints.application = applications::id(path);
    }
    if let Err(status) = FLOWS.establish(&FilterEngine, &Watchers, flow, &endpoints, clock::interrupt_time()) {
        // A flow may end while it is established, and memory may be short: then it is not counted, and the statistics say so.
        log!("flow {flow:#x} is not counted: {status}");
    }
}

/// Counts a packet at a transport layer. IRQL: at most DISPATCH_LEVEL.
///
/// # Safety
///
/// `data` is the layer data that the engine passed to a classifyFn at a transport layer, which has not returned.
#[inline(always)]
pub unsafe fn packet(ticket: u64, direction: Direction, metadata: Metadata<'_>, data: *const c_void) {
    // SAFETY: the caller's promise.
    let (packets, bytes) = unsafe { incoming::packets(data) };
    // "Data Offset Positions": an inbound packet's data begin behind the transport header, an outbound one's with it.
    let header = match direction {
        Direction::Inbound => u64::from(metadata.transport_header_size().unwrap_or(0)) * packets,
        Direction::Outbound => 0,
    };
    FLOWS.count(Ticket(ticket), direction, packets, bytes + header, clock::interrupt_time());
}

/// Counts what a program sends or receives, at a stream layer. IRQL: at most DISPATCH_LEVEL.
///
/// # Safety
///
/// `data` is the layer data that the engine passed to a classifyFn at a stream layer, which has not returned.
pub unsafe fn stream(ticket: u64, data: *const c_void) {
    // SAFETY: the caller's promise.
    let Some((bytes, sent)) = (unsafe { incoming::stream(data) }) else { return };
    let direction = if sent { Direction::Outbound } else { Direction::Inbound };
    FLOWS.count_payload(Ticket(ticket), direction, bytes);
}

/// Counts what a program sends or receives, at a datagram layer. IRQL: at most DISPATCH_LEVEL.
///
/// # Safety
///
/// `data` is the layer data that the engine passed to a classifyFn at a datagram layer, which has not returned.
pub unsafe fn datagram(ticket: u64, direction: Direction, metadata: Metadata<'_>, data: *const c_void) {
    // SAFETY: the caller's promise.
    let (packets, bytes) = unsafe { incoming::packets(data) };
    // As above, the other way round: the payload is wanted here.
    let header = match direction {
        Direction::Inbound => 0,
        Direction::Outbound => u64::from(metadata.transport_header_size().unwrap_or(0)) * packets,
    };
    FLOWS.count_payload(Ticket(ticket), direction, bytes.saturating_sub(header));
}

callback! {
    /// `flowDeleteFn` of the monitors: ends a context. Never refused, and counted: leaving waits for the count.
    /// IRQL: at most DISPATCH_LEVEL.
    ///
    /// What covers the last instructions: the engine refuses to unregister a callout while a flow carries a context of it, or while
    /// this function runs.
    pub unsafe fn flow_deleted(layer: u16, _callout: u32, context: u64) {
        let layer = Layer::ALL.into_iter().find(|known| known.id() == layer);
        match layer.and_then(Association::at) {
            Some(association) => {
                if !FLOWS.deleted(Ticket(context), association, &Watchers) {
                    log!("flowDeleteFn was called with {context:#x}, which is no context of a flow here");
                }
            }
            None => log!("flowDeleteFn was called for a layer at which no context is associated"),
        }
    }
}

/// Removes every context, and waits until the engine has given back each. The gate is closed and empty. IRQL: PASSIVE_LEVEL.
pub fn leave() {
    let counts = FLOWS.counts();
    let alive = counts.begun.saturating_sub(counts.ended);
    if alive != 0 {
        log!("{IN_FLIGHT}flows: {alive}");
    }
    FLOWS.remove_and_wait(&FilterEngine, &mut Waiting);
}

struct Waiting;

impl Leaving for Waiting {
    fn wait(&mut self, milliseconds: u32) {
        work_item::pause(milliseconds);
    }
    fn report(&mut self, attempts: u32, outstanding: u64, removals: &Removals) {
        log!("{outstanding} flow contexts are still associated after removing them {attempts} times: {removals:?}");
    }
}
