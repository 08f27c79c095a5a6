//! Threads enter while another closes the gate, or opens it.

use std::sync::Arc;

use loom::cell::UnsafeCell;
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

/// What is made ready before the gate opens.
struct Ready(UnsafeCell<bool>);

// SAFETY: all access to the value goes through loom's cell, which stops the model at an access that is not ordered.
unsafe impl Sync for Ready {}

#[test]
fn who_enters_sees_what_was_made_ready_before_the_gate_was_opened() {
    explore("gate: one makes ready and opens, one enters", None, || {
        let lanes: Arc<[Lane<8>; 1]> = Arc::new([Lane::new()]);
        let ready = Arc::new(Ready(UnsafeCell::new(false)));
        let thread = thread::spawn({
            let (lanes, ready) = (Arc::clone(&lanes), Arc::clone(&ready));
            move || {
                if let Some(pass) = Gate::new(&*lanes).enter(0) {
                    // SAFETY: loom makes sure that nobody writes meanwhile.
                    assert!(ready.0.with(|ready| unsafe { *ready }), "entered before all was ready");
                    pass.leave(1);
                }
            }
        });
        // SAFETY: loom makes sure that nobody else looks meanwhile.
        ready.0.with_mut(|ready| unsafe { *ready = true });
        Gate::new(&*lanes).open();
        thread.join().unwrap();
    });
}
