//! Data flows and the contexts that callouts attach to them.
//!
//! A flow's handle is the position of its cell and the cell's generation, so that a handle of a flow that has ended is
//! recognised, whatever has taken its place. Cells are never freed, only used again.

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use fwps::sys::*;

use super::callouts::Callout;
use crate::kernel::lock;
use crate::thread;

const CHUNK: usize = 1 << 12;
const CHUNKS: usize = 1 << 14;
/// How many free cells a thread takes at once.
const BATCH: usize = 64;

/// A flow's place.
#[derive(Default)]
struct Place {
    /// Odd while a flow lives here.
    generation: AtomicU32,
    /// Number of contexts; read without the lock, to pass flows that have none.
    count: AtomicU32,
    /// What the flow's thread is classifying right now: callout id and layer, or 0.
    active: AtomicU64,
    /// The generation whose flow `FwpsFlowAbort0` was called for.
    aborted: AtomicU32,
    contexts: Mutex<Vec<Context>>,
}

struct Context {
    layer: u16,
    callout: Arc<Callout>,
    value: u64,
    /// Removed while its callout was being called; the end of that call deletes it.
    deleting: bool,
}

pub(crate) struct Flows {
    chunks: Box<[OnceLock<Box<[Place]>>]>,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    cells: Vec<u32>,
    /// Cells that exist.
    made: u32,
}

impl Default for Flows {
    fn default() -> Self {
        Flows { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(), free: Mutex::default() }
    }
}

/// A thread's stock of free cells, so that beginning and ending flows seldom takes a lock.
#[derive(Default)]
pub(crate) struct FreeCells(Vec<u32>);

/// [`Place::active`] of a flow that is not being classified.
const NOTHING: u64 = 0;

thread_local! {
    /// The flow and the activity of the classify that this thread is in.
    static CLASSIFYING: Cell<(u64, u64)> = const { Cell::new((0, NOTHING)) };
}

fn activity(callout: u32, layer: u16) -> u64 {
    u64::from(callout) << 16 | u64::from(layer)
}

impl Flows {
    fn cell(&self, handle: u64) -> Option<&Place> {
        let index = (handle as u32).wrapping_sub(1) as usize;
        let cell = self.chunks.get(index / CHUNK)?.get()?.get(index % CHUNK)?;
        (cell.generation.load(Ordering::Acquire) == (handle >> 32) as u32).then_some(cell)
    }

    /// Begins a flow. `None`: there are too many.
    pub fn begin(&self, stock: &mut FreeCells) -> Option<u64> {
        if stock.0.is_empty() {
            let mut free = lock(&self.free);
            if free.cells.is_empty() {
                let chunk = free.made as usize / CHUNK;
                self.chunks.get(chunk)?.get_or_init(|| (0..CHUNK).map(|_| Place::default()).collect());
                let made = free.made;
                free.cells.extend((made..made + CHUNK as u32).rev());
                free.made += CHUNK as u32;
            }
            let rest = free.cells.len().saturating_sub(BATCH);
            stock.0.extend(free.cells.drain(rest..));
        }
        let index = stock.0.pop()?;
        let cell = self.chunks[index as usize / CHUNK].get()?.get(index as usize % CHUNK)?;
        let generation = cell.generation.fetch_add(1, Ordering::AcqRel) + 1;
        Some(u64::from(generation) << 32 | u64::from(index + 1))
    }

    /// Ends a flow: detaches its contexts and calls their flowDeleteFn.
    pub fn end(&self, handle: u64, stock: &mut FreeCells) {
        let Some(cell) = self.cell(handle) else { return };
        let contexts = {
            let mut contexts = lock(&cell.contexts);
            // From here on the handle is stale, so nothing is attached any more.
            cell.generation.fetch_add(1, Ordering::AcqRel);
            cell.count.store(0, Ordering::Release);
            core::mem::take(&mut *contexts)
        };
        for context in contexts {
            // A stopped lab calls nothing; the context is uncounted either way.
            let _ = context.callout.flow_deleted(context.layer, context.value);
        }
        stock.0.push(handle as u32 - 1);
        if stock.0.len() > 4 * BATCH {
            lock(&self.free).cells.extend(stock.0.drain(BATCH..));
        }
    }

    /// Takes back a thread's stock.
    pub fn give_back(&self, stock: &mut FreeCells) {
        lock(&self.free).cells.append(&mut stock.0);
    }

    /// How many contexts a flow has.
    pub fn contexts(&self, handle: u64) -> usize {
        self.cell(handle).map_or(0, |cell| cell.count.load(Ordering::Acquire) as usize)
    }

    /// The context of `callout` on a flow, 0 if there is none, for a classify that begins now and ends with [`Flows::leave`].
    #[inline]
    pub fn enter(&self, handle: u64, layer: u16, callout: u32) -> u64 {
        CLASSIFYING.set((handle, activity(callout, layer)));
        match self.cell(handle) {
            Some(cell) if cell.count.load(Ordering::Acquire) != 0 => cell.enter(layer, callout),
            _ => 0,
        }
    }

    /// Ends what [`Flows::enter`] began: contexts removed meanwhile are deleted now.
    #[inline]
    pub fn leave(&self, handle: u64) {
        CLASSIFYING.set((0, NOTHING));
        if let Some(cell) = self.cell(handle)
            && cell.active.load(Ordering::Relaxed) != NOTHING
        {
            cell.leave();
        }
    }

    /// `FwpsFlowAbort0`: the flow's thread ends it when it sees the next packet.
    pub fn abort(&self, handle: u64) -> bool {
        self.cell(handle).is_some_and(|cell| {
            cell.aborted.store((handle >> 32) as u32, Ordering::Release);
            true
        })
    }

    #[inline]
    pub fn is_aborted(&self, handle: u64) -> bool {
        self.cell(handle).is_none_or(|cell| cell.aborted.load(Ordering::Acquire) == (handle >> 32) as u32)
    }

    /// `FwpsFlowAssociateContext0`, once its parameters have been checked. The caller is inside a call of `callout`, or has
    /// entered it, so it cannot be unregistered meanwhile.
    pub fn associate(&self, handle: u64, layer: u16, callout: &Arc<Callout>, value: u64) -> NTSTATUS {
        let Some(cell) = self.cell(handle) else { return STATUS_INVALID_PARAMETER };
        let mut contexts = lock(&cell.contexts);
        if cell.generation.load(Ordering::Acquire) != (handle >> 32) as u32 {
            return STATUS_INVALID_PARAMETER;
        }
        if contexts.iter().any(|context| context.is(layer, callout.id)) {
            return STATUS_OBJECT_NAME_EXISTS;
        }
        callout.contexts.fetch_add(1, Ordering::SeqCst);
        contexts.push(Context { layer, callout: callout.clone(), value, deleting: false });
        cell.count.store(contexts.len() as u32, Ordering::Release);
        if CLASSIFYING.get() == (handle, activity(callout.id, layer)) {
            // Associated by the call that is in progress: that counts as a classify with the context.
            cell.active.store(activity(callout.id, layer), Ordering::Release);
        }
        STATUS_SUCCESS
    }

    /// `FwpsFlowRemoveContext0`.
    pub fn remove(&self, handle: u64, layer: u16, callout: u32) -> NTSTATUS {
        match self.detach(handle, layer, callout) {
            Ok(context) => {
                let _ = context.callout.flow_deleted(context.layer, context.value);
                STATUS_SUCCESS
            }
            Err(status) => status,
        }
    }

    /// Removes a context whose flowDeleteFn another thread calls, after a moment: as when a classify is in progress, or when the flow
    /// ends at the same time. Returns whether there is one.
    pub fn remove_later(&self, handle: u64, layer: u16, callout: u32) -> bool {
        const MOMENT: core::time::Duration = core::time::Duration::from_millis(2);
        let context = match self.detach(handle, layer, callout) {
            Ok(context) => context,
            Err(status) => return status == STATUS_PENDING,
        };
        let kernel = thread::current().share();
        std::thread::spawn(move || {
            std::thread::sleep(MOMENT);
            thread::enter(&kernel, || context.callout.flow_deleted(context.layer, context.value))
        });
        true
    }

    /// Takes a context off its flow, unless a classify uses it: then it is deleted when that ends, and the answer is `STATUS_PENDING`.
    fn detach(&self, handle: u64, layer: u16, callout: u32) -> Result<Context, NTSTATUS> {
        let cell = self.cell(handle).ok_or(STATUS_UNSUCCESSFUL)?;
        let mut contexts = lock(&cell.contexts);
        if cell.generation.load(Ordering::Acquire) != (handle >> 32) as u32 {
            return Err(STATUS_UNSUCCESSFUL);
        }
        let position = contexts.iter().position(|context| context.is(layer, callout)).ok_or(STATUS_UNSUCCESSFUL)?;
        if cell.active.load(Ordering::Acquire) == activity(callout, layer) {
            // Whoever is classifying may be using the context.
            contexts[position].deleting = true;
            return Err(STATUS_PENDING);
        }
        let context = contexts.swap_remove(position);
        cell.count.store(contexts.len() as u32, Ordering::Release);
        Ok(context)
    }
}

impl Context {
    /// A context that is being deleted is not there any more for whoever looks.
    fn is(&self, layer: u16, callout: u32) -> bool {
        self.layer == layer && self.callout.id == callout && !self.deleting
    }
}

// A flow is classified by one thread at a time, so `active` has one writer; it is written under the lock, under which
// `remove` reads it.
impl Place {
    fn enter(&self, layer: u16, callout: u32) -> u64 {
        let contexts = lock(&self.contexts);
        match contexts.iter().find(|context| context.is(layer, callout)) {
            Some(context) => {
                self.active.store(activity(callout, layer), Ordering::Release);
                context.value
            }
            None => 0,
        }
    }

    fn leave(&self) {
        let removed: Vec<Context> = {
            let mut contexts = lock(&self.contexts);
            self.active.store(NOTHING, Ordering::Release);
            let removed = contexts.extract_if(.., |context| context.deleting).collect();
            self.count.store(contexts.len() as u32, Ordering::Release);
            removed
        };
        for context in removed {
            let _ = context.callout.flow_deleted(context.layer, context.value);
        }
    }
}
