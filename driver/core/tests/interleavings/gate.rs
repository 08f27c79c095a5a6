//! Two threads enter while a third closes.

use std::sync::Arc;

use loom::thread;
use postern_core::gate::{Gate, Lane};

use crate::explore;
use crate::memory::{Memory, Used};

fn enter_against_close(lanes: usize) {
    // The lanes outlive the model's threads: who is refused still writes to them. What the gate guards is freed.
    let lanes: Arc<Vec<Lane<8>>> = Arc::new((0..lanes).map(|_| Lane::new()).collect());
    let guarded = Arc::new(Memory::new(Used));
    Gate::new(&lanes).open();
    let threads: Vec<_> = (0..2)
        .map(|processor| {
            let (lanes, guarded) = (Arc::clone(&lanes), Arc::clone(&guarded));
            thread::spawn(move || {
                if let Some(pass) = Gate::new(&lanes).enter(processor) {
                    guarded.get();
                    pass.leave(1);
                }
            })
        })
        .collect();
    let gate = Gate::new(&lanes);
    gate.close_and_wait(thread::yield_now);
    guarded.free();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!((gate.inside(), gate.entered()), (0, gate.exits(1)));
}

#[test]
fn nobody_is_inside_once_a_gate_is_closed_and_empty() {
    explore("gate, one lane: 2 enter, 1 closes", None, || enter_against_close(1));
    explore("gate, two lanes: 2 enter, 1 closes", None, || enter_against_close(2));
}
