//! `postern endure`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::{Args, Parser};
use serde::Serialize;

use super::driver::{Model, image_bytes, service_name};
use super::lab::describe_violations;
use crate::cli::{Context, session};
use crate::engine::{Access, transaction};
use crate::failure::{Exit, Failure, Result};
use crate::filter::explain::explain;
use crate::filter::own::Owner;
use crate::filter::protocol::Protocol;
use crate::filter::spec::Spec;
use crate::lab::engine::LabEngine;
use crate::lab::host::{Bfe, Host, Settings};
use crate::lab::message::{Fault, Occurrences};
use crate::lab::status::{Unloaded, Violation};
use crate::output::{ProgressLine, count};
use crate::replay::Connection;
use crate::status;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern endure
  postern endure --rounds 100 --threads 2 --inject-statuses
  postern endure --image build/other.sys --json

It runs in a lab of its own, in this process. Traffic never stops: it goes on while the driver is loaded and unloaded, and
afterwards. Exit code 5 if any round left anything behind, or there was a late call.")]
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
    load: Times,
    unload: Times,
    seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Violation>,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
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
            if let Err(failure) = injected.and_then(|()| rounds.run(&host, &service, &image)) {
                ended = Some(format!("round {}: {}", round + 1, failure.message));
                refused = (round == 0 && failure.exit == Exit::Failed).then_some(failure);
                break;
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
        clean: rounds.unloads.iter().filter(|unloaded| unloaded.is_clean()).count() as u32,
        complete_receipts: rounds.unloads.iter().filter(|unloaded| unloaded.has_complete_receipt()).count() as u32,
        threads: arguments.threads,
        connections: connections.load(Ordering::Relaxed),
        load: Times::new(rounds.loads),
        unload: Times::new(rounds.unloads.iter().map(|unloaded| unloaded.milliseconds).collect()),
        seconds: begun.elapsed().as_secs_f64(),
        violations: host.violations(),
        ended,
    };
    context.output.print(&summary, describe)?;
    let clean = summary.clean == arguments.rounds && summary.violations.is_empty();
    Ok(if clean { Exit::Success } else { Exit::LeftBehind })
}

#[derive(Default)]
struct Rounds {
    loads: Vec<f64>,
    unloads: Vec<Unloaded>,
}

impl Rounds {
    fn run(&mut self, host: &Host, service: &str, image: &[u8]) -> Result<()> {
        let driver = host.load(service, image)?;
        self.loads.extend(driver.load_milliseconds);
        // Long enough that every thread has sent something through its callouts.
        std::thread::sleep(std::time::Duration::from_millis(1));
        self.unloads.push(host.unload(service)?);
        Ok(())
    }
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
         {} connections from {} threads meanwhile, {:.1} s\n\
         load {:.2} ms (longest {:.2}), unload {:.2} ms (longest {:.2})\n",
        count(summary.rounds.into()),
        count(summary.clean.into()),
        count(summary.complete_receipts.into()),
        count(summary.connections),
        summary.threads,
        summary.seconds,
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
