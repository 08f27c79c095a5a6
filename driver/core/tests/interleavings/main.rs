//! Every order in which the driver's threads and the engine's may meet, tried out by loom over the code that the driver runs.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p postern-core --release --test interleavings --target-dir target/loom -- --nocapture
//! ```
//!
//! A model is run in every order of its threads' steps that makes a difference, and with every value that an atomic may be seen to have
//! in the C11 memory model; *preemptions* bounds how often a thread that could go on has to wait for another
//! (`LOOM_MAX_PREEMPTIONS` overrides it). Memory that the driver frees is `memory::Memory`; using it after that, or in no order with
//! that, fails. The engine is `engine::Engine`. The last column is how many executions loom needed.
//!
//! | model | threads | preemptions | executions |
//! | --- | --- | --- | --- |
//! | gate: two enter, one closes; on one lane, on two | 3 | all | 21829, 4619 |
//! | gate: one makes ready and opens, one enters | 2 | all | 5 |
//! | a flow is established while the driver leaves; also: the first removal fails | 2 | all | 31, 31 |
//! | a flow is established, ends by itself, and the driver leaves | 3 | 3 | 86558 |
//! | the same, with each documented status of a refusal, and an undocumented one, at each layer | 3 | 3 | 10355, 3811, 53 |
//! | the same, refused at the last layer, and a removal fails | 3 | 3 | 28209 |
//! | a packet is counted and contexts end, against the publisher, against another end | 2 | 2 | 202, 498 |
//! | free list of two places: one takes; one takes two and puts one back | 2 | 3 | 3249 |
//! | free list of one place, of two: two take, one puts back | 3 | 2 | 225, 2344 |
//! | a slot is read while its flow ends and another takes its place | 2 | 3 | 6698 |
//! | an operation is held, answered, times out, and the driver leaves | 4 | 2 | 4274 |
//! | two are held with room for one, answered, and the driver leaves | 3 | 3 | 5956 |
//! | callouts are unregistered, without their contexts having been removed, during a classify | 2 | 3 | 444 |
//! | the same, while the flow ends; also: the first attempt and the first removal fail, with three statuses | 3 | 2 | 5440, 3 × 5758 |
//! | the whole way out: gate, held, flows, callouts, memory; against three classifies and a flow's end | 3 | 3 | 42500 |
//! | a request begins to wait while an event comes, and a worker answers | 3 | 3 | 6091 |
//! | the lease runs out, two events come, a reader comes back | 3 | all | 2826 |
#![cfg(loom)]

mod engine;
mod events;
mod flows;
mod gate;
mod held;
mod leaving;
mod memory;
mod unregister;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Runs a model in every order with at most that many preemptions, and prints a row of the table above.
fn explore(name: &str, preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.max_branches = 100_000;
    let (count, start) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let counter = Arc::clone(&count);
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let bound = builder.preemption_bound.map_or("all".into(), |bound| format!("at most {bound}"));
    println!("| {name} | {bound} | {} | {:.1} s |", count.load(Ordering::Relaxed), start.elapsed().as_secs_f32());
}
