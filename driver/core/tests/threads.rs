//! What meets on several processors, on threads that the sanitizers watch (`cargo xtask sanitize`). Every order of a few steps is tried
//! by the models in `interleavings`; here are many steps, in the order that comes.

use std::collections::HashMap;
use std::ops::Range;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::thread;

use postern_core::Status;
use postern_core::flows::{Association, Engine, Flows, Leaving, Observer, Removals, Slot, Slots, Ticket};
use postern_core::gate::{DROPPED, Gate, Lane};
use postern_protocol::Layer;
use postern_protocol::ioctl::{Endpoints, FlowEntry};

const PLACES: u32 = 8;

struct Places {
    slots: Vec<Slot>,
    grown: AtomicU32,
}

impl Slots for Places {
    fn slot(&self, place: u32) -> Option<&Slot> {
        self.slots.get(place as usize)
    }
    fn places(&self) -> u32 {
        self.grown.load(Ordering::Acquire)
    }
    fn grow(&self) -> Option<Range<u32>> {
        let first =
            self.grown.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |grown| (grown < PLACES).then_some(grown + 2));
        first.ok().map(|first| first..first + 2)
    }
}

/// The filter engine's part, which stays when the table goes.
struct World {
    lanes: [Lane<8>; 2],
    /// Freed when the driver has left.
    table: AtomicPtr<Flows<Places>>,
    contexts: Mutex<HashMap<(u64, u16), Ticket>>,
    begun: AtomicU64,
    ended: AtomicU64,
}

impl World {
    fn new() -> Self {
        let slots = (0..PLACES).map(|_| Slot::new()).collect();
        let table = Box::new(Flows::new(Places { slots, grown: AtomicU32::new(0) }));
        World {
            lanes: [Lane::new(), Lane::new()],
            table: AtomicPtr::new(Box::into_raw(table)),
            contexts: Mutex::default(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    fn gate(&self) -> Gate<'_, 8> {
        Gate::new(&self.lanes)
    }

    /// # Safety
    ///
    /// The caller holds a pass of the gate, or a context that is not deleted yet, or is the one who frees the table.
    unsafe fn table(&self) -> &Flows<Places> {
        // SAFETY: the caller's promise, which is what the protocol makes of it.
        unsafe { &*self.table.load(Ordering::Relaxed) }
    }

    /// The engine takes a context off its flow.
    fn delete(&self, flow: u64, layer: Layer) -> bool {
        let ticket = self.contexts.lock().unwrap().remove(&(flow, layer.id()));
        let (Some(ticket), Some(association)) = (ticket, Association::at(layer)) else { return false };
        // SAFETY: the context was there, and this thread alone deletes it.
        assert!(unsafe { self.table() }.deleted(ticket, association, self));
        true
    }

    /// One connection comes and goes.
    fn connection(&self, processor: u32, flow: u64) {
        let protocol = if flow.is_multiple_of(2) { 6 } else { 17 };
        if let Some(pass) = self.gate().enter(processor) {
            let endpoints = Endpoints { protocol, ip_version: 4, ..Endpoints::default() };
            // SAFETY: the pass.
            let _ = unsafe { self.table() }.establish(self, self, flow, &endpoints, flow);
            pass.leave(DROPPED);
        }
        for association in Association::of(protocol) {
            self.delete(flow, association.layer(4));
        }
    }

    fn list(&self) {
        while let Some(pass) = self.gate().enter(1) {
            // SAFETY: the pass.
            for entry in unsafe { self.table() }.entries(0) {
                // A flow was established with its number as the time.
                assert_eq!(entry.flow, entry.traffic.first, "a mixture of two flows");
            }
            pass.leave(DROPPED);
        }
    }

    fn leave(&self) {
        self.gate().close_and_wait(thread::yield_now);
        // SAFETY: this thread frees the table, below.
        unsafe { self.table() }.remove_and_wait(self, &mut Waiting);
        let table = self.table.swap(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: it came from a box, and by the protocol nobody uses it any more.
        let table = unsafe { Box::from_raw(table) };
        let counts = table.counts();
        assert_eq!((counts.associated, counts.begun, counts.stray), (counts.deleted, counts.ended, 0));
    }
}

impl Engine for World {
    fn associate(&self, flow: u64, layer: Layer, ticket: Ticket) -> Status {
        // One in seven is refused at its last layer.
        if flow.is_multiple_of(7) && matches!(layer, Layer::StreamV4 | Layer::DatagramDataV4) {
            return Status::INVALID_PARAMETER;
        }
        self.contexts.lock().unwrap().insert((flow, layer.id()), ticket);
        Status::SUCCESS
    }
    fn remove(&self, flow: u64, layer: Layer) -> Status {
        if self.delete(flow, layer) { Status::SUCCESS } else { Status::UNSUCCESSFUL }
    }
}

impl Observer for World {
    fn begun(&self, _: &FlowEntry) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }
    fn ended(&self, _: &FlowEntry) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

struct Waiting;

impl Leaving for Waiting {
    fn wait(&mut self, _: u32) {
        thread::yield_now();
    }
    fn report(&mut self, _: u32, _: u64, _: &Removals) {}
}

#[test]
fn the_flow_table_can_be_freed_when_the_driver_has_left_whoever_was_at_it() {
    for _ in 0..if cfg!(miri) { 2 } else { 50 } {
        let world = World::new();
        world.gate().open();
        thread::scope(|scope| {
            for processor in 0..3 {
                let world = &world;
                scope.spawn(move || {
                    let mut flow = u64::from(processor) << 32;
                    while !world.table.load(Ordering::Relaxed).is_null() {
                        flow += 1;
                        world.connection(processor, flow);
                    }
                });
            }
            scope.spawn(|| world.list());
            while world.ended.load(Ordering::Relaxed) < 20 {
                thread::yield_now();
            }
            world.leave();
        });
        assert_eq!(world.begun.into_inner(), world.ended.into_inner());
        assert!(world.contexts.lock().unwrap().is_empty());
    }
}
