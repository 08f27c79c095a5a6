//! Mistakes that only timing shows, and the schedules that show them.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod drivers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postern_engine::layers;
use postern_engine::objects::{Action, Callout, Filter, FilterFlags, Session};
use postern_lab::{Config, Connection, Kind, Lab, Run, Schedule, Step, Violation};
use uuid::Uuid;

use drivers::timed;

const WORK: u32 = 0x22 << 16 | 0x800 << 2;
const CALLOUT: Uuid = Uuid::from_u128(0x7a6d6974_0001_0002_0304_05060708090a);

/// Leads connections to the driver's callout, whether it is there or not.
fn add_filter(lab: &Lab) {
    let layer = layers::by_name("ALE_AUTH_CONNECT_V4").unwrap().key;
    let engine = lab.engine();
    let session = engine.session_open(Session::new("test", 4711, "test")).unwrap();
    engine.callout_add(session, Callout::new(CALLOUT, "test", layer)).unwrap();
    let filter = Filter {
        flags: FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED,
        ..Filter::new("test", layer, Action::CalloutTerminating(CALLOUT))
    };
    engine.filter_add(session, filter).unwrap();
}

/// Loads the driver, makes connections with two threads, asks it for some work, and unloads it meanwhile.
fn scenario(service: &'static str, seed: u64) -> (Run, Vec<Violation>) {
    let mut schedule = Schedule::new(Config::default(), seed);
    let lab = schedule.lab().clone();
    let [loaded, asked] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    for _ in 0..2 {
        let (lab, loaded) = (lab.clone(), loaded.clone());
        schedule.spawn("traffic", move || {
            lab.wait_until(|| loaded.load(Ordering::Relaxed));
            let mut traffic = lab.traffic();
            for port in 0..10 {
                let local = SocketAddr::from(([192, 168, 0, 2], 50000 + port));
                let remote = SocketAddr::from(([192, 0, 2, 1], 443));
                traffic.connect(&Connection { protocol: 6, local, remote, app: None });
            }
        });
    }
    schedule.spawn("user", {
        let (lab, asked) = (lab.clone(), asked.clone());
        move || {
            // It may be opened before DriverEntry has returned, and then not.
            let file = loop {
                match lab.open(r"\\.\LabTimed") {
                    Ok(file) => break file,
                    Err(_) if lab.stopped() => return,
                    Err(_) => lab.sleep(Duration::from_millis(1)),
                }
            };
            let _ = file.device_io_control(WORK, b"", 0);
            drop(file);
            asked.store(true, Ordering::Relaxed);
        }
    });
    schedule.spawn("unloader", {
        let lab = lab.clone();
        move || {
            add_filter(&lab);
            lab.load(service, timed()).unwrap();
            loaded.store(true, Ordering::Relaxed);
            lab.wait_until(|| asked.load(Ordering::Relaxed));
            let _ = lab.unload(service);
        }
    });
    let run = schedule.run();
    (run, lab.violations())
}

fn seeds() -> u64 {
    std::env::var("POSTERN_SEEDS").map_or(300, |seeds| seeds.parse().expect("POSTERN_SEEDS is a number"))
}

#[test]
fn a_driver_that_waits_for_everything_is_clean_under_every_schedule() {
    for seed in 0..seeds() {
        let (run, violations) = scenario("timed", seed);
        assert!(violations.is_empty(), "{run:?}: {violations:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_calls_in_the_same_order() {
    let mut hashes = std::collections::BTreeSet::new();
    let mut stopped = 0;
    for seed in 0..40 {
        let (first, _) = scenario("timed", seed);
        let (second, _) = scenario("timed", seed);
        assert_eq!(first.trace(), second.trace());
        assert!(first.trace().len() > 50);
        let at_instruction = |step: &Step| step.does == "stops at" && step.what.starts_with("timed+0x");
        stopped += usize::from(first.trace().iter().any(at_instruction));
        hashes.insert(first.hash());
        assert_eq!(first.hash(), second.hash());
    }
    assert!(hashes.len() > 35, "{} different schedules of 40 seeds", hashes.len());
    assert!(stopped > 10, "{stopped} of 40 seeds stop a thread at an instruction");
}

/// The first seed below `within` that shows a violation, which must be one of `kinds`; it is shown again.
fn find(service: &'static str, within: u64, kinds: &[Kind]) {
    for seed in 0..within {
        let (run, violations) = scenario(service, seed);
        let Some(violation) = violations.first() else { continue };
        assert!(kinds.contains(&violation.kind), "{service}, {run:?}: {violation}");
        println!("{service}, {run:?}: {violation}");
        let (again, same) = scenario(service, seed);
        assert_eq!(run.trace(), again.trace(), "{service}: seed {seed} does not replay");
        assert_eq!(violations.len(), same.len());
        assert_eq!(violation.kind, same[0].kind);
        return;
    }
    panic!("{service}: no seed below {within} shows it");
}

#[test]
fn a_driver_that_waits_for_its_threads_last_event_instead_of_the_thread_is_found() {
    find("thread", 50, &[Kind::LateCall, Kind::Leak]);
}

#[test]
fn a_driver_that_waits_for_its_work_items_last_event_is_found() {
    find("work", 50, &[Kind::LateCall, Kind::Leak]);
}

#[test]
fn a_driver_that_waits_for_its_dpcs_last_event_is_found() {
    find("dpc", 100, &[Kind::LateCall, Kind::Leak]);
}

#[test]
fn a_driver_that_checks_a_flag_before_it_uses_memory_is_found() {
    find("flag", 50, &[Kind::Pool]);
}

#[test]
fn a_driver_that_drains_before_it_closes_the_gate_is_found() {
    find("drain-first", 50, &[Kind::Pool]);
}

#[test]
fn a_driver_that_looks_at_its_gate_before_it_enters_is_found() {
    find("looks-first", 300, &[Kind::Pool]);
}

#[test]
fn a_driver_that_leaves_its_gate_before_its_last_use_of_memory_is_found() {
    find("leaves-early", 300, &[Kind::Pool]);
}

#[test]
fn a_driver_that_spins_for_a_lock_of_its_own_is_clean_under_every_schedule() {
    for seed in 0..100 {
        let (run, violations) = scenario("spins", seed);
        assert!(violations.is_empty(), "{run:?}: {violations:#?}");
    }
}

#[test]
fn a_thread_that_is_left_in_the_image_is_named_with_its_place() {
    let late = (0..100)
        .flat_map(|seed| scenario("work", seed).1)
        .find(|violation| violation.what.contains("still in the image"));
    let late = late.expect("a seed holds the routine's thread in the image");
    assert_eq!(late.kind, Kind::LateCall);
    assert!(late.what.contains("work item routine of a work item queued at work+"), "{late}");
    assert!(late.what.contains("has not returned: thread \"lab worker"), "{late}");
    assert!(late.what.contains("(BareRoutine+"), "{late}");
}

#[test]
#[ignore = "a measurement"]
fn how_many_of_a_thousand_seeds_show_each_mistake() {
    for service in ["timed", "thread", "work", "dpc", "flag", "drain-first", "looks-first", "leaves-early"] {
        let begun = std::time::Instant::now();
        let mut points = 0;
        let mut shown = Vec::new();
        for seed in 0..1000 {
            let (run, violations) = scenario(service, seed);
            points += run.trace().len();
            if !violations.is_empty() {
                shown.push(seed);
            }
        }
        println!(
            "{service}: {} seeds, the first {:?}; {points} points, {:?}",
            shown.len(),
            shown.first(),
            begun.elapsed()
        );
    }
}
