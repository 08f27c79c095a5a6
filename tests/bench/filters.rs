//! The filter engine with many filters. `cargo bench -p postern-engine` has more of it.

#[path = "../../lab/engine/tests/lab/rules.rs"]
mod rules;

use std::hint::black_box;
use std::time::Instant;

use postern_engine::objects::Session;
use postern_engine::{Engine, SessionId};
use rules::*;

use crate::{median, row};

const PACKETS: usize = 4096;
const ROUNDS: usize = 9;

pub fn filters() {
    for count in [10_000, 100_000] {
        for kind in KINDS {
            let mut random = Random::new(1);
            let set = rules(kind, count, &mut random);
            let (mut engine, session) = open();
            add(&mut engine, session, &set);
            row(
                &format!("{count} filters, {kind:?}: classify").to_lowercase(),
                &format!("{:.0} ns", classify(&engine, &set, &mut random)),
                "goal: less than 1000 ns with 10,000",
            );
        }
        let set = rules(Kind::Mixed, count, &mut Random::new(1));
        let times = (0..ROUNDS).map(|_| {
            let (mut engine, session) = open();
            add(&mut engine, session, &set)
        });
        let took = median(times.collect());
        let (mut engine, session) = open();
        add(&mut engine, session, &set);
        let index = engine.snapshot().index_size(layer().id) / count;
        row(
            &format!("adding {count} filters in one transaction"),
            &format!("{took:.1} ms"),
            &format!("goal: less than 100 ms with 10,000; the index takes {index} bytes a filter"),
        );
    }
}

fn open() -> (Engine, SessionId) {
    let mut engine = Engine::new();
    let session = engine.session_open(Session::new("", 4, "SYSTEM")).expect("a session");
    (engine, session)
}

/// In one transaction; its time in milliseconds.
fn add(engine: &mut Engine, session: SessionId, set: &[Rule]) -> f64 {
    let filters: Vec<_> = set.iter().enumerate().map(|(place, rule)| rule.filter(place)).collect();
    let start = Instant::now();
    engine.transaction_begin(session, false).expect("a transaction");
    for filter in filters {
        engine.filter_add(session, filter, &mut ()).expect("a filter");
    }
    engine.transaction_commit(session, &mut ()).expect("a commit");
    start.elapsed().as_secs_f64() * 1e3
}

/// Time of one, in nanoseconds.
fn classify(engine: &Engine, set: &[Rule], random: &mut Random) -> f64 {
    let snapshot = engine.snapshot();
    let packets: Vec<_> = (0..PACKETS).map(|_| packet(set, random)).collect();
    let apps: Vec<_> = packets.iter().map(|packet| app_id(packet.app.unwrap_or_default())).collect();
    let mut values = values(&packets[0], &[]);
    let mut round = || {
        let start = Instant::now();
        for (packet, app) in packets.iter().zip(&apps) {
            put(packet, app, &mut values);
            black_box(snapshot.classify(layer().id, &values, &mut NoCallouts));
        }
        start.elapsed().as_secs_f64() * 1e9 / PACKETS as f64
    };
    median((0..ROUNDS).map(|_| round()).collect())
}
