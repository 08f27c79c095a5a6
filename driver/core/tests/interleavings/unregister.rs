//! Callouts are unregistered while classifies are in progress and flows end.

use std::sync::Arc;

use loom::thread;
use postern_core::Status;

use crate::engine::Script;
use crate::explore;
use crate::world::{CALLOUTS, CONTEXTS, World};

/// The loop is not preceded by a removal of contexts, as it is in the driver, so it meets them all.
fn unregister_against(script: Script, flow_ends: bool) {
    let world = World::new(1, script);
    world.classify_established(7).unwrap().unwrap();
    let classifier = {
        let world = Arc::clone(&world);
        thread::spawn(move || world.engine.classify(7, CONTEXTS[0], &*world, |ticket| world.classify_packet(ticket)))
    };
    let ender = flow_ends.then(|| {
        let world = Arc::clone(&world);
        thread::spawn(move || world.engine.end_flow(7, &*world))
    });
    world.gate().close_and_wait(thread::yield_now);
    world.unregister(&CALLOUTS);
    // A callout may be gone while its `flowDeleteFn` still runs, as far as the documentation goes.
    world.leave_flows();
    world.free_flows();
    world.free_lanes();
    classifier.join().unwrap();
    ender.into_iter().for_each(|ender| ender.join().unwrap());
    world.assert_every_flow_was_told_of();
}

#[test]
fn nothing_is_called_after_the_last_callout_is_unregistered() {
    explore("unregister, classify", Some(3), || unregister_against(Script::default(), false));
    explore("unregister, classify, end", Some(2), || unregister_against(Script::default(), true));
    for status in [Status::FWP_IN_USE, Status::NOT_SUPPORTED, Status(0xC0DE_0001u32 as i32)] {
        let script = Script { first_unregister: Some(status), first_removal: Some(status), ..Script::default() };
        explore(&format!("unregister, classify, end; {status} at first"), Some(2), move || {
            unregister_against(script, true)
        });
    }
}
