//! Load, traffic, requests and unload at the same time, in orders that a seed decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postern_engine::objects::{Action, FilterFlags};
use postern_lab::{
    Config, Connection, Direction, Fault, File, Lab, NtStatus, Occurrences, Packet, Run, Schedule, Traffic,
};
use postern_protocol::callout::{COUNT, Callout, Layer, Role};
use postern_protocol::ioctl::{
    self, AnswerRequest, HeldEntry, ListHeader, ListRequest, Verdict, WatchHeader, WatchRequest,
};
use postern_protocol::{DEVICE_PATH, FilterContext};
use uuid::Uuid;
use zerocopy::{FromBytes, IntoBytes};

use crate::support::*;

/// How many seeds are tried; `POSTERN_SEEDS` asks for more, or, as `7..8`, for certain ones.
fn seeds() -> std::ops::Range<u64> {
    let number = |text: &str| text.parse().expect("POSTERN_SEEDS is a number, or two with .. between them");
    match std::env::var("POSTERN_SEEDS") {
        Err(_) => 0..200,
        Ok(text) => match text.split_once("..") {
            None => 0..number(&text),
            Some((from, to)) => number(from)..number(to),
        },
    }
}

/// A lab that promises a driver no more than the documentation does.
fn config() -> Config {
    Config { deletion_waits: false, ..Config::default() }
}

/// Says which seed it was when a scenario fails.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("again: POSTERN_SEEDS={seed}..{} cargo test -p postern-image --test driver schedules", seed + 1);
        }
    }
}

/// Connections and packets of both directions, whose flows end in between.
fn traffic(lab: &Lab, first_port: u16) {
    let mut traffic = lab.traffic();
    for port in first_port..first_port + 4 {
        begin_flows(&mut traffic, port);
        if port.is_multiple_of(3) {
            traffic.end_flows();
        }
    }
}

/// A connection and a datagram of either IP version.
fn begin_flows(traffic: &mut Traffic, port: u16) {
    for (local, remote) in [("192.168.0.2", "192.0.2.1"), ("fd00::2", "2001:db8::1")] {
        let local = std::net::SocketAddr::new(local.parse().unwrap(), port);
        let remote = std::net::SocketAddr::new(remote.parse().unwrap(), 443);
        // With its program, which the driver looks for under a lock: a classify can be held up there.
        let app = Some(r"\device\harddiskvolume1\program.exe");
        let connection = Connection { protocol: 6, local, remote, app };
        if port.is_multiple_of(2) {
            traffic.connect(&connection);
        } else {
            traffic.accept(&connection);
        }
        traffic.packet(&Packet {
            direction: Direction::Outbound,
            protocol: 17,
            local,
            remote,
            tcp_flags: 0,
            icmp_id: 0,
            fragment: None,
            bytes: &[0; 48],
            payload: &[0; 20],
        });
    }
}

/// Filters that lead traffic to callouts of the driver, and outlive it: TCP of IPv4 is held, the rest permitted.
fn add_filters(lab: &Lab) {
    let session = session(lab);
    let lead = |role, layer: Layer, context: FilterContext| {
        let key = add_callout_object(lab, session, Callout { role, layer });
        let mut leads = filter("leads to the driver", Action::CalloutTerminating(key));
        leads.layer = Uuid::from_u128(layer.key());
        leads.flags = FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED;
        leads.raw_context = context.to_raw();
        lab.engine().filter_add(session, leads).unwrap();
    };
    for layer in Role::Permit.layers() {
        match layer {
            Layer::AleAuthConnectV4 => {
                lead(Role::Hold, *layer, FilterContext::OTHERWISE_PERMIT.with_hold_seconds(1));
            }
            Layer::AleAuthRecvAcceptV4 => lead(Role::Hold, *layer, FilterContext::empty().with_hold_seconds(1)),
            _ => lead(Role::Permit, *layer, FilterContext::empty()),
        }
    }
}

/// What fails on the way out in a schedule, in three of four: calls of unregistering, or one of another kind.
fn failure(seed: u64) -> Option<Fault> {
    const OTHERS: [&str; 6] = [
        "FwpsFlowRemoveContext0",
        "FwpsInjectionHandleDestroy0",
        "FwpmBfeStateUnsubscribeChanges0",
        "FwpmTransactionCommit0",
        "FwpmEngineClose0",
        "FwpsCalloutUnregisterByKey0",
    ];
    let choice = seed / 4;
    let (function, occurrences) = match seed % 4 {
        0 => return None,
        // Before the first callout has gone, for as long as whoever is late needs to come.
        1 => ("FwpsCalloutUnregisterById0", Occurrences::Next(30)),
        // Any of them, the last as often as all others: nothing that is late is waited for by accident after it.
        2 if choice.is_multiple_of(2) => ("FwpsCalloutUnregisterById0", Occurrences::Nth(COUNT as u64)),
        2 => ("FwpsCalloutUnregisterById0", Occurrences::Nth(1 + choice % COUNT as u64)),
        _ => (OTHERS[(choice % OTHERS.len() as u64) as usize], Occurrences::Nth(1)),
    };
    // Who is told that a callout is not there believes it until the last look: see `leaving`.
    let statuses = STATUSES.map(|status| if status == CALLOUT_NOT_FOUND { NOT_SUPPORTED } else { status });
    let status = statuses[(choice / 2 % statuses.len() as u64) as usize];
    Some(Fault { function: function.into(), status: NtStatus(status as i32), occurrences })
}

/// What a program does with the device: it asks, it answers for what is held, and it watches and changes its mind.
fn use_device(device: &File) {
    let list = ListRequest { protocol: postern_protocol::VERSION, first: 0 };
    for code in [ioctl::GET_VERSION, ioctl::LIST_CALLOUTS, ioctl::GET_STATISTICS, ioctl::LIST_FLOWS] {
        let input = if code == ioctl::GET_VERSION { &[][..] } else { list.as_bytes() };
        device.device_io_control(code, input, 8192).unwrap();
    }
    let watch = |from| {
        let request = WatchRequest { protocol: postern_protocol::VERSION, reserved: 0, from };
        device.begin_device_io_control(ioctl::WATCH, request.as_bytes(), 4096).unwrap()
    };
    let answer = watch(ioctl::WATCH_FROM_NOW).wait().unwrap();
    let from = WatchHeader::read_from_bytes(&answer).unwrap().next;
    let waiting = [watch(from), watch(from)];
    let held = device.device_io_control(ioctl::LIST_HELD, list.as_bytes(), 8192).unwrap();
    for held in held[size_of::<ListHeader>()..].chunks_exact(size_of::<HeldEntry>()) {
        let operation = HeldEntry::read_from_bytes(held).unwrap().operation;
        let verdict = if operation.is_multiple_of(2) { Verdict::Permit } else { Verdict::Block };
        let answer = AnswerRequest { protocol: postern_protocol::VERSION, verdict: verdict as u32, operation };
        // Its time may be up by now.
        let _ = device.device_io_control(ioctl::ANSWER, answer.as_bytes(), 0);
    }
    for request in waiting {
        request.cancel();
        // It may have been answered just before.
        let _ = request.wait();
    }
    // This one is cancelled by closing the handle.
    drop(watch(from));
}

/// Loads the driver, uses it from four threads, and unloads it in the middle of that.
fn scenario(seed: u64) -> Run {
    let _replay = Replay(seed);
    let mut schedule = Schedule::new(config(), seed);
    let lab = schedule.lab().clone();
    let [loaded, asked] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    for first_port in [50000, 60000] {
        let (lab, loaded) = (lab.clone(), loaded.clone());
        schedule.spawn("traffic", move || {
            lab.wait_until(|| loaded.load(Ordering::Relaxed));
            traffic(&lab, first_port);
        });
    }
    schedule.spawn("user", {
        let (lab, loaded, asked) = (lab.clone(), loaded.clone(), asked.clone());
        move || {
            lab.wait_until(|| loaded.load(Ordering::Relaxed));
            if let Ok(device) = lab.open(DEVICE_PATH) {
                use_device(&device);
            }
            asked.store(true, Ordering::Relaxed);
        }
    });
    schedule.spawn("BFE", {
        let (lab, loaded) = (lab.clone(), loaded.clone());
        move || {
            lab.wait_until(|| loaded.load(Ordering::Relaxed));
            // In half of the schedules BFE goes away and comes back while the driver is there, or leaves.
            if seed.is_multiple_of(2) {
                lab.set_bfe_running(false);
                lab.set_bfe_running(true);
            }
        }
    });
    schedule.spawn("unloader", {
        let lab = lab.clone();
        move || {
            add_filters(&lab);
            load(&lab);
            loaded.store(true, Ordering::Relaxed);
            lab.wait_until(|| asked.load(Ordering::Relaxed));
            if let Some(failure) = failure(seed) {
                lab.inject_fault(failure);
            }
            unload(&lab);
        }
    });
    let run = schedule.run();
    assert_clean(&lab);
    run
}

#[test]
fn the_driver_leaves_cleanly_under_every_schedule() {
    for seed in seeds() {
        scenario(seed);
    }
}

/// Unloads the driver while flows are established all the time, and its callouts do not go at once.
fn flows_come_while_it_leaves(seed: u64) {
    let _replay = Replay(seed);
    let mut schedule = Schedule::new(config(), seed);
    let lab = schedule.lab().clone();
    let [loaded, unloaded] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    for first_port in [50000, 60000] {
        let (lab, loaded, unloaded) = (lab.clone(), loaded.clone(), unloaded.clone());
        schedule.spawn("traffic", move || {
            lab.wait_until(|| loaded.load(Ordering::Relaxed));
            let mut traffic = lab.traffic();
            for port in first_port..first_port + 50 {
                if unloaded.load(Ordering::Relaxed) {
                    break;
                }
                begin_flows(&mut traffic, port);
            }
            // Its flows outlive the driver.
            lab.wait_until(|| unloaded.load(Ordering::Relaxed));
        });
    }
    schedule.spawn("unloader", {
        let lab = lab.clone();
        move || {
            load(&lab);
            loaded.store(true, Ordering::Relaxed);
            lab.inject_fault(Fault {
                function: "FwpsCalloutUnregisterById0".into(),
                status: NtStatus(0xC022_000A_u32 as i32), // STATUS_FWP_IN_USE
                occurrences: Occurrences::Next(30),
            });
            unload(&lab);
            unloaded.store(true, Ordering::Relaxed);
        }
    });
    schedule.run();
    assert_clean(&lab);
}

#[test]
fn no_flow_that_comes_while_the_driver_leaves_keeps_a_callout() {
    for seed in seeds() {
        flows_come_while_it_leaves(seed);
    }
}

/// Unloads the driver while BFE comes and goes, and nothing else happens: its work item meets every step of the way out.
fn bfe_changes_while_it_leaves(seed: u64) {
    let _replay = Replay(seed);
    let mut schedule = Schedule::new(config(), seed);
    let lab = schedule.lab().clone();
    let loaded = Arc::new(AtomicBool::new(false));
    schedule.spawn("BFE", {
        let (lab, loaded) = (lab.clone(), loaded.clone());
        move || {
            lab.wait_until(|| loaded.load(Ordering::Relaxed));
            for running in [false, true, false, true] {
                lab.set_bfe_running(running);
            }
        }
    });
    schedule.spawn("unloader", {
        let lab = lab.clone();
        move || {
            load(&lab);
            loaded.store(true, Ordering::Relaxed);
            unload(&lab);
        }
    });
    schedule.run();
    assert_clean(&lab);
}

#[test]
fn work_that_is_late_is_waited_for() {
    for seed in seeds() {
        bfe_changes_while_it_leaves(seed);
    }
}

/// Unloads the driver while a classify takes a minute, by the lab's clock.
fn a_classify_takes_its_time(seed: u64) {
    let _replay = Replay(seed);
    let mut schedule = Schedule::new(config(), seed);
    let lab = schedule.lab().clone();
    let loaded = Arc::new(AtomicBool::new(false));
    schedule.spawn("traffic", {
        let (lab, loaded) = (lab.clone(), loaded.clone());
        move || {
            lab.wait_until(|| loaded.load(Ordering::Relaxed));
            connect(&mut lab.traffic(), "192.0.2.1:443");
        }
    });
    schedule.spawn("unloader", {
        let lab = lab.clone();
        move || {
            add_filters(&lab);
            load(&lab);
            lab.delay_call("FwpsPendOperation0", Duration::from_secs(60));
            loaded.store(true, Ordering::Relaxed);
            lab.sleep(Duration::from_secs(1));
            unload(&lab);
        }
    });
    schedule.run();
    assert_clean(&lab);
}

#[test]
fn the_driver_waits_for_a_classify_however_long_it_takes() {
    for seed in 0..2 {
        a_classify_takes_its_time(seed);
    }
}

#[test]
fn a_schedule_of_the_driver_can_be_repeated() {
    for seed in 0..10 {
        assert_eq!(scenario(seed).trace(), scenario(seed).trace());
    }
}
