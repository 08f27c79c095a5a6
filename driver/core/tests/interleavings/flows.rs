//! A flow's establishment, its end and the driver's leaving meet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use loom::thread;
use postern_core::Status;
use postern_core::flows::{Association, Engine, Flows, Observer, Ticket};
use postern_protocol::Layer;
use postern_protocol::ioctl::{Endpoints, FlowEntry};

use crate::engine::Script;
use crate::explore;
use crate::world::{Places, World};

const UNDOCUMENTED: Status = Status(0xC0DE_0001u32 as i32);

#[test]
fn a_flow_that_is_established_while_the_driver_leaves_is_ended_before_it_has_left() {
    let model = |script| {
        move || {
            let world = World::new(1, script);
            let establisher = {
                let world = Arc::clone(&world);
                thread::spawn(move || world.classify_established(7))
            };
            world.leave_flows();
            world.free_flows();
            establisher.join().unwrap();
            world.assert_every_flow_was_told_of();
        }
    };
    explore("establish, leave", None, model(Script::default()));
    let script = Script { first_removal: Some(UNDOCUMENTED), ..Script::default() };
    explore("establish, leave; a removal fails", None, model(script));
}

#[test]
fn a_flow_that_ends_while_it_is_published_refused_or_removed_ends_once() {
    let model = |script| {
        move || {
            let world = World::new(1, script);
            let establisher = {
                let world = Arc::clone(&world);
                thread::spawn(move || world.classify_established(7))
            };
            let ender = {
                let world = Arc::clone(&world);
                thread::spawn(move || world.engine.end_flow(7, &*world))
            };
            world.leave_flows();
            world.free_flows();
            establisher.join().unwrap();
            ender.join().unwrap();
            world.assert_every_flow_was_told_of();
        }
    };
    explore("establish, end, leave", Some(3), model(Script::default()));
    for (layer, status) in [
        (Layer::StreamV4, Status::INVALID_PARAMETER),
        (Layer::OutboundTransportV4, Status::OBJECT_NAME_EXISTS),
        (Layer::InboundTransportV4, UNDOCUMENTED),
    ] {
        let script = Script { refuse: Some((layer, status)), ..Script::default() };
        explore(&format!("establish, end, leave; {status} at {}", layer.name()), Some(3), model(script));
    }
    let script = Script {
        refuse: Some((Layer::StreamV4, Status::INVALID_PARAMETER)),
        first_removal: Some(UNDOCUMENTED),
        ..Script::default()
    };
    explore("establish, end, leave; refused, and a removal fails", Some(3), model(script));
}

/// An engine that grants everything, and does nothing by itself.
struct Willing {
    flows: Flows<Places>,
    contexts: Mutex<HashMap<u64, Ticket>>,
}

impl Engine for Willing {
    fn associate(&self, flow: u64, _: Layer, ticket: Ticket) -> Status {
        self.contexts.lock().unwrap().insert(flow, ticket);
        Status::SUCCESS
    }
    fn remove(&self, _: u64, _: Layer) -> Status {
        unreachable!("nothing is refused")
    }
}

impl Observer for Willing {
    fn begun(&self, _: &FlowEntry) {}
    fn ended(&self, _: &FlowEntry) {}
}

impl Willing {
    fn new(places: u32) -> Arc<Self> {
        Arc::new(Willing { flows: Flows::new(Places::new(places)), contexts: Mutex::default() })
    }
    fn establish(&self, flow: u64) -> Result<(), Status> {
        let endpoints = Endpoints { protocol: 6, ip_version: 4, ..Endpoints::default() };
        self.flows.establish(self, self, flow, &endpoints, 1)
    }
    fn end(&self, flow: u64) {
        let ticket = self.contexts.lock().unwrap()[&flow];
        for association in Association::of(6) {
            assert!(self.flows.deleted(ticket, association, self));
        }
    }
    /// No place is lost, and none is given out twice.
    fn assert_full_after(&self, places: u32) {
        let mut flow = 100;
        while self.establish(flow).is_ok() {
            flow += 1;
            assert!(flow < 110, "more flows than places");
        }
        let mut listed: Vec<_> = self.flows.entries(0).map(|entry| entry.flow).collect();
        listed.sort();
        listed.dedup();
        assert_eq!(listed.len(), places as usize, "{listed:?}");
        assert_eq!(self.flows.outstanding(), u64::from(places) * 3);
    }
}

#[test]
fn no_place_is_lost_and_none_is_given_out_twice() {
    // The case that the tag is for: between one thread's look at the first free place and its exchange, another thread takes two
    // and puts the first one back.
    explore("free list, 2 places: 1 takes, 1 takes two and puts one back", Some(3), || {
        let table = Willing::new(2);
        table.establish(1).unwrap();
        table.end(1);
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.establish(2))
        };
        if table.establish(3).is_ok() && table.establish(4).is_ok() {
            table.end(3);
        }
        let _ = other.join().unwrap();
        table.assert_full_after(2);
    });
    for places in [1, 2] {
        explore(&format!("free list, {places} places: 2 take, 1 puts back"), Some(2), move || {
            let table = Willing::new(places);
            table.establish(1).unwrap();
            let others: Vec<_> = [2, 3]
                .map(|flow| {
                    let table = Arc::clone(&table);
                    thread::spawn(move || table.establish(flow))
                })
                .into();
            table.end(1);
            for other in others {
                let _ = other.join().unwrap();
            }
            table.assert_full_after(places);
        });
    }
}

#[test]
fn what_is_read_of_a_slot_is_of_one_flow() {
    /// Is asked to remove flow 1, which is IPv4, or flow 2, which is IPv6.
    struct Reader;
    impl Engine for Reader {
        fn associate(&self, _: u64, _: Layer, _: Ticket) -> Status {
            unreachable!()
        }
        fn remove(&self, flow: u64, layer: Layer) -> Status {
            let is_v6 = matches!(layer, Layer::InboundTransportV6 | Layer::OutboundTransportV6 | Layer::StreamV6);
            assert!(flow == if is_v6 { 2 } else { 1 }, "flow {flow} at {}", layer.name());
            Status::UNSUCCESSFUL
        }
    }
    explore("read a slot, end its flow, establish another there", Some(3), || {
        let table = Willing::new(1);
        table.establish(1).unwrap();
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.flows.remove_all(&Reader))
        };
        table.end(1);
        let endpoints = Endpoints { protocol: 6, ip_version: 6, ..Endpoints::default() };
        table.flows.establish(&*table, &*table, 2, &endpoints, 2).unwrap();
        reader.join().unwrap();
    });
}
