//! Many filters: classifying, adding and deleting them, by their number and kind.

#[path = "../tests/lab/rules.rs"]
mod rules;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use postern_engine::objects::*;
use postern_engine::*;
use rules::*;

const COUNTS: [usize; 4] = [4, 100, 10_000, 100_000];
const PACKETS: usize = 4096;

fn open() -> (Engine, SessionId) {
    let mut engine = Engine::new();
    let session = engine.session_open(Session::new("", 4, "SYSTEM")).expect("a session");
    (engine, session)
}

/// Adds filters in one transaction.
fn add(engine: &mut Engine, session: SessionId, filters: Vec<Filter>) -> Vec<u64> {
    engine.transaction_begin(session, false).expect("a transaction");
    let add = |filter| engine.filter_add(session, filter, &mut ()).expect("a filter");
    let ids = filters.into_iter().map(add).collect();
    engine.transaction_commit(session, &mut ()).expect("a commit");
    ids
}

fn filters(rules: &[Rule]) -> Vec<Filter> {
    rules.iter().enumerate().map(|(place, rule)| rule.filter(place)).collect()
}

fn classify(c: &mut Criterion) {
    let mut group = c.benchmark_group("classify");
    group.throughput(Throughput::Elements(PACKETS as u64));
    for kind in KINDS {
        for count in COUNTS {
            let mut random = Random::new(1);
            let rules = rules(kind, count, &mut random);
            let (mut engine, session) = open();
            add(&mut engine, session, filters(&rules));
            let snapshot = engine.snapshot();
            let size = snapshot.index_size(layer().id) / count;
            println!("{kind:?}, {count} filters: an index of {size} bytes a filter");
            let packets: Vec<_> = (0..PACKETS)
                .map(|_| packet(&rules, &mut random))
                .map(|packet| (app_id(packet.app.unwrap_or_default()), packet))
                .collect();
            let mut values = values(&packets[0].1, &[]);
            group.bench_function(BenchmarkId::new(format!("{kind:?}"), count), |b| {
                b.iter(|| {
                    let mut blocked = 0;
                    for (app_id, packet) in &packets {
                        put(packet, app_id, &mut values);
                        let verdict = snapshot.classify(layer().id, &values, &mut NoCallouts);
                        blocked += usize::from(verdict.action == Decision::Block);
                    }
                    blocked
                });
            });
        }
    }
}

fn change(c: &mut Criterion) {
    let mut group = c.benchmark_group("change");
    group.sample_size(10);
    for kind in KINDS {
        for count in [10_000, 100_000] {
            let rules = rules(kind, count, &mut Random::new(1));
            let name = |what: &str| BenchmarkId::new(format!("{what}, {kind:?}"), count);
            group.bench_function(name("add all in one transaction"), |b| {
                let start = || (open(), filters(&rules));
                b.iter_batched(
                    start,
                    |((mut engine, session), filters)| {
                        let ids = add(&mut engine, session, filters);
                        (engine, ids)
                    },
                    BatchSize::PerIteration,
                );
            });
            group.bench_function(name("delete all in one transaction"), |b| {
                let start = || {
                    let (mut engine, session) = open();
                    let ids = add(&mut engine, session, filters(&rules));
                    (engine, session, ids)
                };
                b.iter_batched(
                    start,
                    |(mut engine, session, ids)| {
                        engine.transaction_begin(session, false).expect("a transaction");
                        for id in ids {
                            engine.filter_delete(session, id, &mut ()).expect("the filter");
                        }
                        engine.transaction_commit(session, &mut ()).expect("a commit");
                        engine
                    },
                    BatchSize::PerIteration,
                );
            });
            let (mut engine, session) = open();
            add(&mut engine, session, filters(&rules));
            group.bench_function(name("add and delete one"), |b| {
                b.iter(|| {
                    let id = engine.filter_add(session, rules[count / 2].filter(count), &mut ()).expect("a filter");
                    engine.filter_delete(session, id, &mut ()).expect("the filter");
                });
            });
        }
    }
}

criterion_group!(benches, classify, change);
criterion_main!(benches);
