//! The whole way out: gate, held operations, flows, callouts, memory.

use std::sync::Arc;

use loom::thread;
use postern_protocol::Layer;

use crate::engine::Script;
use crate::explore;
use crate::held::Desk;
use crate::world::{CALLOUTS, World};

fn leave(script: Script) {
    let world = World::new(1, script);
    let desk = Arc::new(Desk::new());
    let classifier = {
        let (world, desk) = (Arc::clone(&world), Arc::clone(&desk));
        thread::spawn(move || {
            world.engine.classify(7, Layer::AleAuthConnectV4, &*world, |_| {
                if let Some(pass) = world.gate().enter(0) {
                    desk.pend(443);
                    pass.leave(1);
                }
            });
            world.engine.classify(7, Layer::AleFlowEstablishedV4, &*world, |_| {
                world.classify_established(7);
            });
            world.engine.classify(7, Layer::StreamV4, &*world, |ticket| world.classify_packet(ticket));
        })
    };
    let ender = {
        let world = Arc::clone(&world);
        thread::spawn(move || world.engine.end_flow(7, &*world))
    };
    world.gate().close_and_wait(thread::yield_now);
    // Completing a connect makes the engine classify it again, on this thread; by then the gate is closed.
    desk.leave(|| {
        world.engine.classify(7, Layer::AleAuthConnectV4, &*world, |_| assert!(world.gate().enter(0).is_none()))
    });
    world.leave_flows();
    world.unregister(&CALLOUTS);
    world.free_flows();
    desk.free();
    world.free_lanes();
    classifier.join().unwrap();
    ender.join().unwrap();
    world.assert_every_flow_was_told_of();
}

#[test]
fn nothing_is_used_after_the_driver_has_left() {
    explore("leave, classifies, end", Some(3), || leave(Script::default()));
}
