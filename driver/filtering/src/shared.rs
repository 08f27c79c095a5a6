//! What the driver's functions share, wherever Windows calls them: statics of the image.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use alloc::vec::Vec;

use postern_core::gate::{self, Gate};
use postern_protocol::callout::COUNT;
use wdk_sys::ntddk::{KeGetCurrentProcessorNumberEx, KeQueryMaximumProcessorCountEx};
use wdk_sys::{ALL_PROCESSOR_GROUPS, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES};

/// Exits of the gate: one for everything that is no classify, then two for each callout, rounded up to whole cache lines.
pub const EXITS: usize = (1 + 2 * COUNT).next_multiple_of(8);

/// The exit of a classify in which callout `index` did what its role says.
pub const fn acted(index: usize) -> usize {
    gate::DROPPED + 1 + 2 * index
}

/// The exit of a classify in which callout `index` could not.
pub const fn passed_over(index: usize) -> usize {
    acted(index) + 1
}

type Lane = gate::Lane<EXITS>;

static LANES: AtomicPtr<Lane> = AtomicPtr::new(ptr::null_mut());
static LANE_COUNT: AtomicUsize = AtomicUsize::new(0);

/// The gate that everything enters through.
///
/// Its lanes live from [`Lanes::install`] to the drop of [`Lanes`], which stands in the ledger below all that could call into
/// the image; before and after, the gate has no lanes and admits nobody.
#[inline(always)]
pub fn gate() -> Gate<'static, EXITS> {
    let count = LANE_COUNT.load(Ordering::Acquire);
    if count == 0 {
        return Gate::new(&[]);
    }
    let lanes = LANES.load(Ordering::Relaxed);
    // SAFETY: `LANES` was stored before `count`, with that many initialized lanes behind it. They are freed only after
    // everything that calls this function has been unregistered, waited for or freed, as the order of the ledger has it.
    Gate::new(unsafe { core::slice::from_raw_parts(lanes, count) })
}

/// The number of the processor that this runs on. IRQL: any.
#[inline(always)]
pub fn processor() -> u32 {
    // SAFETY: the parameter may be NULL.
    unsafe { KeGetCurrentProcessorNumberEx(ptr::null_mut()) }
}

/// Owns the memory of the gate's lanes.
pub struct Lanes(Vec<Lane>);

/// An allocation of at least a page begins at a page ("ExAllocatePool2 function", wdm.h), and so at a cache line.
const PAGE: usize = 4096;

impl Lanes {
    /// Allocates a lane for every processor that the machine can have, and makes them the gate's. IRQL: PASSIVE_LEVEL.
    pub fn install() -> Result<Self, NTSTATUS> {
        // SAFETY: the function takes any group number, and this one means all groups.
        let processors = unsafe { KeQueryMaximumProcessorCountEx(ALL_PROCESSOR_GROUPS as u16) } as usize;
        let count = processors.max(PAGE.div_ceil(size_of::<Lane>()));
        let mut lanes = Vec::new();
        lanes.try_reserve_exact(count).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        ALLOCATIONS.begin();
        lanes.resize_with(count, Lane::new);
        LANES.store(lanes.as_mut_ptr(), Ordering::Relaxed);
        LANE_COUNT.store(count, Ordering::Release);
        Ok(Lanes(lanes))
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        let entered = gate().entered();
        CALLS.begun.store(entered, Ordering::Relaxed);
        CALLS.ended.store(entered.wrapping_sub(gate().inside()), Ordering::Relaxed);
        LANE_COUNT.store(0, Ordering::Relaxed);
        LANES.store(ptr::null_mut(), Ordering::Relaxed);
        self.0 = Vec::new();
        ALLOCATIONS.end();
    }
}

/// Run-time ids of the callouts; zero while one is not registered.
pub static CALLOUT_IDS: [AtomicU32; COUNT] = [const { AtomicU32::new(0) }; COUNT];

/// Counts one kind of thing that is begun and ended, for the receipt.
pub struct Tally {
    pub begun: AtomicU64,
    pub ended: AtomicU64,
}

impl Tally {
    pub const fn new() -> Self {
        Tally { begun: AtomicU64::new(0), ended: AtomicU64::new(0) }
    }
    pub fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }
    pub fn end(&self) {
        self.ended.fetch_add(1, Ordering::Release);
    }
}

/// Calls that passed the gate; filled in when its lanes go.
pub static CALLS: Tally = Tally::new();
pub static CALLOUTS: Tally = Tally::new();
pub static FILTERS: Tally = Tally::new();
pub static SESSIONS: Tally = Tally::new();
pub static SUBSCRIPTIONS: Tally = Tally::new();
pub static WORK_ITEMS: Tally = Tally::new();
pub static WORK: Tally = Tally::new();
pub static ALLOCATIONS: Tally = Tally::new();
/// Requests that waited, and that were completed.
pub static PARKED: Tally = Tally::new();
