//! `postern endure`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::{Args, Parser};
use postern_lab::QUARANTINED;
use postern_protocol::ioctl::{self, AnswerRequest, HeldEntry, ListHeader, ListRequest, WatchHeader, WatchRequest};
use serde::Serialize;
use zerocopy::{FromBytes, IntoBytes};

use super::driver::{Model, describe_violations, image_bytes, service_name};
use crate::cli::{Context, session};
use crate::driver::Violation;
use crate::engine::{Access, transaction};
use crate::failure::{Exit, Failure, Result};
use crate::filter::explain::explain;
use crate::filter::own::Owner;
use crate::filter::protocol::Protocol;
use crate::filter::spec::Spec;
use crate::lab::engine::LabEngine;
use crate::lab::host::{Bfe, Host, Settings};
use crate::lab::message::{Fault, Occurrences};
use crate::output::{ProgressLine, bytes, count};
use crate::replay::Connection;
use crate::status;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern endure
  postern endure --rounds 100 --threads 2 --inject-statuses
  postern endure --image build/other.sys --json

It runs in a lab of its own, in this process. Traffic never stops: it goes on while the driver is loaded and unloaded, and
afterwards; flows outlive the driver, operations are held, answered, run out of time or wait when it leaves, and handles with
requests that wait come and go. Exit code 5 if any round left anything behind, there was a late call, or the process's memory
grows.")]
pub struct Arguments {
    /// How often the driver is loaded and unloaded
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Threads that send traffic
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// In each round, let one call of FwpsCalloutUnregisterById0 fail: each status in turn, at each call in turn
    #[arg(long)]
    inject_statuses: bool,
    /// Driver image [default: the Postern driver that this program carries]
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    image: Option<PathBuf>,
    /// Driver model of the Postern driver that this program carries
    #[arg(long, value_name = "MODEL", default_value = "kmdf")]
    model: Model,
}

/// What the unregister call may return without having unregistered the callout: what is documented, what is reported, and what nobody
/// expects. The injected STATUS_FWP_CALLOUT_NOT_FOUND is a lie, which a driver can only find out by looking once more.
const STATUSES: [&str; 5] = [
    "STATUS_DEVICE_BUSY",
    "STATUS_FWP_IN_USE",
    "STATUS_FWP_CALLOUT_NOT_FOUND",
    "STATUS_NOT_SUPPORTED",
    "STATUS_UNSUCCESSFUL",
];

#[derive(Serialize)]
struct Summary {
    rounds: u32,
    clean: u32,
    /// Rounds in which the driver printed a receipt with every account settled.
    complete_receipts: u32,
    threads: u16,
    connections: u64,
    /// Held operations that were answered; the others ran out of time, or were waiting when the driver left.
    answered: u64,
    memory: Memory,
    load: Times,
    unload: Times,
    seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Violation>,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
}

/// Bytes of memory that the process has in use.
#[derive(Serialize)]
struct Memory {
    /// After half of the rounds: tables and logs have the size that they keep.
    warm: u64,
    end: u64,
    /// By so much it may grow.
    tolerated: u64,
}

/// Allocators keep some; and the lab keeps what unloaded images were, of which it may not have as many as it keeps after half of the
/// rounds.
fn tolerated_growth(rounds: u32, image: usize) -> u64 {
    const ALLOCATORS: u64 = 16 << 20;
    let kept_later = QUARANTINED.saturating_sub(rounds as usize / 2);
    // Mapped, and its details.
    ALLOCATORS + (kept_later * 2 * image) as u64
}

impl Memory {
    fn has_grown(&self) -> bool {
        self.end > self.warm + self.tolerated
    }
}

/// Milliseconds.
#[derive(Serialize)]
struct Times {
    median: f64,
    longest: f64,
}

impl Times {
    fn new(mut times: Vec<f64>) -> Times {
        times.sort_by(f64::total_cmp);
        Times {
            median: times.get(times.len() / 2).copied().unwrap_or(0.0),
            longest: times.last().copied().unwrap_or(0.0),
        }
    }
}

pub fn run(context: &Context, arguments: Arguments) -> Result<Exit> {
    let image = image_bytes(arguments.image.as_deref(), arguments.model)?;
    let service = service_name(arguments.image.as_deref());
    let host = Host::start(&Settings { bfe: Bfe::Running })?;
    add_filters(&host)?;

    let (stop, connections) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = std::time::Instant::now();
    let mut rounds = Rounds::default();
    let mut line = ProgressLine::default();
    let mut refused = None;
    let ended = std::thread::scope(|scope| {
        for number in 0..arguments.threads {
            let (host, stop, connections) = (&host, &stop, &connections);
            scope.spawn(move || traffic(host, number, stop, connections));
        }
        let mut ended = None;
        for round in 0..arguments.rounds {
            let injected = if arguments.inject_statuses { inject(&host, round) } else { Ok(()) };
            if let Err(failure) = injected.and_then(|()| rounds.run(&host, &service, &image, round)) {
                ended = Some(format!("round {}: {}", round + 1, failure.message));
                refused = (round == 0 && failure.exit == Exit::Failed).then_some(failure);
                break;
            }
            if round == arguments.rounds / 2 {
                rounds.warm = resident().unwrap_or_default();
            }
            line.show(|| format!("round {} of {}", round + 1, arguments.rounds));
        }
        stop.store(true, Ordering::Relaxed);
        ended
    });
    line.end();
    // An image that cannot even be loaded says nothing about the driver.
    if let Some(failure) = refused {
        return Err(failure);
    }

    let summary = Summary {
        rounds: rounds.unloads.len() as u32,
        clean: rounds.clean,
        complete_receipts: rounds.complete_receipts,
        threads: arguments.threads,
        connections: connections.load(Ordering::Relaxed),
        answered: rounds.answered,
        memory: Memory {
            warm: rounds.warm,
            end: resident().unwrap_or_default(),
            tolerated: tolerated_growth(arguments.rounds, image.len()),
        },
        load: Times::new(rounds.loads),
        unload: Times::new(rounds.unloads),
        seconds: begun.elapsed().as_secs_f64(),
        violations: host.violations(),
        ended,
    };
    context.output.print(&summary, describe)?;
    let clean = summary.clean == arguments.rounds && summary.violations.is_empty() && !summary.memory.has_grown();
    Ok(if clean { Exit::Success } else { Exit::LeftBehind })
}

#[derive(Default)]
struct Rounds {
    /// Milliseconds.
    loads: Vec<f64>,
    unloads: Vec<f64>,
    clean: u32,
    complete_receipts: u32,
    /// Held operations that were answered.
    answered: u64,
    /// The process's memory after half of the rounds.
    warm: u64,
}

/// In so many rounds there is one that lasts until held operations run out of time.
const PATIENT: u32 = 1000;

impl Rounds {
    fn run(&mut self, host: &Host, service: &str, image: &[u8], round: u32) -> Result<()> {
        let driver = host.load(service, image)?;
        self.loads.extend(driver.load_milliseconds);
        // Long enough that every thread has sent something through its callouts.
        let milliseconds = if round % PATIENT == PATIENT - 1 { 1200 } else { 1 };
        std::thread::sleep(Duration::from_millis(milliseconds));
        self.answered += watch_and_answer(host);
        let unloaded = host.unload(service)?;
        self.clean += u32::from(unloaded.is_clean());
        self.complete_receipts += u32::from(unloaded.has_complete_receipt());
        self.unloads.push(unloaded.milliseconds);
        Ok(())
    }
}

/// Watches through one handle while the operations that wait are answered through another, half of them with a permit. Then both are
/// closed, with a request that waits for events. Returns how many were answered; another driver has no such device.
fn watch_and_answer(host: &Host) -> u64 {
    const VERSION: u32 = postern_protocol::VERSION;
    const OUTPUT: usize = 4096;
    let (Some(watcher), Some(device)) = (host.open_device(), host.open_device()) else { return 0 };
    let watch = WatchRequest { protocol: VERSION, reserved: 0, from: ioctl::WATCH_FROM_NOW };
    let Ok(first) = watcher.device_io_control(ioctl::WATCH, watch.as_bytes(), OUTPUT) else { return 0 };
    let from = WatchHeader::read_from_prefix(&first).map_or(watch.from, |(header, _)| header.next);
    let watch = WatchRequest { from, ..watch };
    let parked = watcher.begin_device_io_control(ioctl::WATCH, watch.as_bytes(), OUTPUT);
    let list = ListRequest { protocol: VERSION, first: 0 };
    let held = device.device_io_control(ioctl::LIST_HELD, list.as_bytes(), OUTPUT).unwrap_or_default();
    let entries = ListHeader::read_from_prefix(&held).map_or(&[][..], |(_, entries)| entries);
    let mut answered = 0;
    for (number, entry) in entries.chunks_exact(size_of::<HeldEntry>()).enumerate() {
        let Ok(entry) = HeldEntry::read_from_bytes(entry) else { continue };
        let verdict = if number % 2 == 0 { ioctl::Verdict::Permit } else { ioctl::Verdict::Block } as u32;
        let answer = AnswerRequest { protocol: VERSION, verdict, operation: entry.operation };
        answered += u64::from(device.device_io_control(ioctl::ANSWER, answer.as_bytes(), 0).is_ok());
    }
    // The request is cancelled by the close, if it has not been answered.
    drop(watcher);
    drop(parked);
    answered
}

/// Bytes of memory that this process has in use.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Filters that ask each of the driver's callouts.
fn add_filters(host: &Host) -> Result<()> {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        spec: Spec,
    }
    let engine = LabEngine::open(host, session(false)).map_err(explain)?;
    for line in [
        "--layer connect --action callout-inspect",
        "--layer connect --action callout-block --remote-port 1000-1999",
        "--layer connect --action callout-hold --hold-for 1 --remote-port 2000-2015",
        "--layer accept --action callout-hold --hold-for 1 --otherwise permit --remote-port 2016-2031",
        "--layer accept --action callout-permit",
        "--layer inbound-transport --action callout-inspect",
        "--layer outbound-transport --action callout-block --remote-port 3000-3999",
    ] {
        let Line { spec } = Line::try_parse_from(std::iter::once("filter").chain(line.split(' ')))
            .map_err(|error| Failure::new(format!("{line}: {error}")))?;
        let owner = Owner::new(spec.lifetime);
        let planned = spec.plan(&owner)?;
        transaction(&engine, Access::ReadWrite, || owner.add(&engine, &planned)).map_err(explain)?;
    }
    Ok(())
}

/// The unregister calls of one unload are as many as callouts: each of them fails in turn, with each status in turn.
fn inject(host: &Host, round: u32) -> Result<()> {
    let callouts = postern_protocol::callout::COUNT as u32;
    let name = STATUSES[(round / callouts) as usize % STATUSES.len()];
    host.inject(Fault {
        function: "FwpsCalloutUnregisterById0".into(),
        status: status::parse(name).map_err(Failure::new)?,
        occurrences: Occurrences::Nth(1 + round % callouts),
    })
}

/// One thread's connections: in both directions, of both IP versions, to ports that the filters tell apart.
fn traffic(host: &Host, number: u16, stop: &AtomicBool, connections: &AtomicU64) {
    let mut made = 0u64;
    let mut source = host.traffic();
    while !stop.load(Ordering::Relaxed) {
        let (local, remote): (IpAddr, IpAddr) = match made % 2 {
            0 => (Ipv4Addr::new(192, 168, 0, 2).into(), Ipv4Addr::new(192, 0, 2, number as u8).into()),
            _ => (
                Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(),
                Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number).into(),
            ),
        };
        let port = (made % 5000) as u16;
        let connection = Connection {
            protocol: if made.is_multiple_of(3) { Protocol::UDP.0 } else { Protocol::TCP.0 },
            local: SocketAddr::new(local, 10_000 + number),
            remote: SocketAddr::new(remote, port),
            app: None,
        };
        source.begin(&connection, made.is_multiple_of(7));
        made += 1;
        if made.is_multiple_of(1024) {
            source.end_flows();
        }
    }
    connections.fetch_add(made, Ordering::Relaxed);
}

fn describe(summary: &Summary) -> String {
    let mut text = format!(
        "{} rounds, {} clean, {} complete receipts\n\
         {} connections from {} threads meanwhile, {} held operations answered, {:.1} s\n\
         memory {} after half of the rounds, {} at the end; {} more are tolerated\n\
         load {:.2} ms (longest {:.2}), unload {:.2} ms (longest {:.2})\n",
        count(summary.rounds.into()),
        count(summary.clean.into()),
        count(summary.complete_receipts.into()),
        count(summary.connections),
        summary.threads,
        count(summary.answered),
        summary.seconds,
        bytes(summary.memory.warm),
        bytes(summary.memory.end),
        bytes(summary.memory.tolerated),
        summary.load.median,
        summary.load.longest,
        summary.unload.median,
        summary.unload.longest,
    );
    if let Some(ended) = &summary.ended {
        text += &format!("ended early: {ended}\n");
    }
    if !summary.violations.is_empty() {
        text += &format!("\n{} violations:\n", summary.violations.len());
        text += &describe_violations(&summary.violations);
    }
    text
}
