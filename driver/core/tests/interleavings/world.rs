//! A driver with a flow table, and the engine that it lives in.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use loom::thread;
use postern_core::Status;
use postern_core::flows::{Association, Direction, Flows, Leaving, Observer, Removals, Slot, Slots, Ticket};
use postern_core::gate::{Gate, Lane};
use postern_core::sync::Retire;
use postern_core::unregister::{self, Next, Unregister};
use postern_protocol::Layer;
use postern_protocol::ioctl::{Endpoints, FlowEntry};

use crate::engine::{Engine, FlowDelete, Script};
use crate::memory::{Memory, Used};

/// The layers of a TCP flow's contexts.
pub const CONTEXTS: [Layer; 3] = [Layer::InboundTransportV4, Layer::OutboundTransportV4, Layer::StreamV4];

/// All layers at which the driver of the models has a callout.
pub const CALLOUTS: [Layer; 5] = [
    Layer::AleFlowEstablishedV4,
    Layer::AleAuthConnectV4,
    Layer::InboundTransportV4,
    Layer::OutboundTransportV4,
    Layer::StreamV4,
];

/// Places that are all there at once.
pub struct Places {
    slots: Vec<Slot>,
    grown: AtomicU32,
}

impl Places {
    pub fn new(count: u32) -> Self {
        Places { slots: (0..count).map(|_| Slot::new()).collect(), grown: AtomicU32::new(0) }
    }
}

impl Slots for Places {
    fn slot(&self, place: u32) -> Option<&Slot> {
        self.slots.get(place as usize)
    }
    fn places(&self) -> u32 {
        self.slots.len() as u32
    }
    fn grow(&self) -> Option<Range<u32>> {
        let places = self.places();
        let start = self.grown.swap(places, Ordering::Relaxed);
        (start < places).then_some(start..places)
    }
}

impl Retire for Places {
    fn retire(&mut self) {
        self.slots.retire();
    }
}

struct Lanes([Lane<8>; 1]);

impl Retire for Lanes {
    fn retire(&mut self) {
        self.0.retire();
    }
}

pub struct World {
    pub engine: Engine,
    lanes: Memory<Lanes>,
    pub flows: Memory<Flows<Places>>,
    /// Where the driver keeps its events.
    events: Memory<Used>,
    /// What was told of flows, in the order of the telling. It is no lock of loom's, so it orders nothing.
    told: Mutex<Vec<(&'static str, u64)>>,
}

impl World {
    /// A driver whose gate is open, with [`CALLOUTS`].
    pub fn new(places: u32, script: Script) -> Arc<Self> {
        let world = World {
            engine: Engine::new(&CALLOUTS, script),
            lanes: Memory::new(Lanes([Lane::new()])),
            flows: Memory::new(Flows::new(Places::new(places))),
            events: Memory::new(Used),
            told: Mutex::default(),
        };
        world.gate().open();
        Arc::new(world)
    }

    pub fn gate(&self) -> Gate<'_, 8> {
        Gate::new(&self.lanes.get().0)
    }

    /// `classifyFn` where flows are established. The status of the flow's establishment, if the gate was open.
    pub fn classify_established(&self, flow: u64) -> Option<Result<(), Status>> {
        let pass = self.gate().enter(0)?;
        let endpoints = Endpoints { protocol: 6, ip_version: 4, ..Endpoints::default() };
        let result = self.flows.get().establish(self, self, flow, &endpoints, 1);
        pass.leave(1);
        Some(result)
    }

    /// `classifyFn` at a transport layer.
    pub fn classify_packet(&self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket
            && let Some(pass) = self.gate().enter(0)
        {
            assert!(self.flows.get().count(ticket, Direction::Inbound, 1, 100, 2), "a context that is not a flow's");
            pass.leave(1);
        }
    }

    pub fn told(&self) -> Vec<(&'static str, u64)> {
        self.told.lock().unwrap().clone()
    }

    fn tell(&self, what: &'static str, flow: &FlowEntry) {
        self.events.get();
        self.told.lock().unwrap().push((what, flow.flow));
    }

    /// Closes the gate, and waits until no flow is left.
    pub fn leave_flows(&self) {
        self.gate().close_and_wait(thread::yield_now);
        self.flows.get().remove_and_wait(self, &mut &*self);
    }

    /// Unregisters the callouts at `layers`.
    pub fn unregister(&self, layers: &[Layer]) {
        for layer in layers {
            unregister::until_gone(&mut &*self, layer.id().into());
        }
    }

    /// Frees what flows need.
    pub fn free_flows(&self) {
        let counts = self.flows.get().counts();
        assert_eq!((counts.associated, counts.begun), (counts.deleted, counts.ended));
        assert_eq!(counts.stray, 0);
        self.events.free();
        self.flows.free();
    }

    /// Frees what every callout needs. The driver is gone.
    pub fn free_lanes(&self) {
        self.engine.assert_gone();
        self.lanes.free();
    }

    /// To be asked when all threads have ended.
    pub fn assert_every_flow_was_told_of(&self) {
        assert_eq!(self.engine.contexts(), 0);
        let told = self.told();
        for (index, (what, flow)) in told.iter().enumerate() {
            let before = told[..index].iter().filter(|(_, other)| other == flow).map(|(what, _)| *what);
            match *what {
                "begun" => assert_eq!(before.count(), 0),
                _ => assert!(before.eq(["begun"])),
            }
        }
        assert_eq!(told.len() % 2, 0, "a flow did not end: {told:?}");
    }
}

impl postern_core::flows::Engine for World {
    fn associate(&self, flow: u64, layer: Layer, ticket: Ticket) -> Status {
        self.engine.associate(flow, layer, ticket)
    }
    fn remove(&self, flow: u64, layer: Layer) -> Status {
        self.engine.remove(flow, layer, self)
    }
}

impl FlowDelete for World {
    fn flow_delete(&self, layer: Layer, ticket: Ticket) {
        let association = Association::at(layer).expect("a layer with contexts");
        self.flows.get().deleted(ticket, association, self);
    }
}

impl Observer for World {
    fn begun(&self, flow: &FlowEntry) {
        self.tell("begun", flow);
    }
    fn ended(&self, flow: &FlowEntry) {
        self.tell("ended", flow);
    }
}

impl Leaving for &World {
    fn wait(&mut self, _: u32) {
        thread::yield_now();
    }
    fn report(&mut self, _: u32, _: u64, _: &Removals) {}
}

impl Unregister for &World {
    fn unregister(&mut self, callout_id: u32) -> Status {
        let layer = CALLOUTS.into_iter().find(|layer| u32::from(layer.id()) == callout_id);
        self.engine.unregister(layer.expect("a callout of ours"))
    }
    fn unregister_on_system_thread(&mut self, callout_id: u32) -> Status {
        Unregister::unregister(self, callout_id)
    }
    fn remove_flow_contexts(&mut self, _: u32) {
        let mut world = *self;
        self.flows.get().remove_and_wait(*self, &mut world);
    }
    fn wait(&mut self, _: u32) {
        thread::yield_now();
    }
    fn report(&mut self, _: u32, _: u32, _: Status, _: Next) {}
}
