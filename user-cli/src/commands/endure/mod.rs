//! `postern endure`.

mod rounds;
mod traffic;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Parser};
use comfy_table::{Cell, CellAlignment};
use postern_lab::QUARANTINED;
use serde::Serialize;

use self::rounds::{Happened, Rounds};
use self::traffic::{Crowd, FILTERS};
use super::driver::{Model, describe_violations, image_bytes, service_name};
use crate::cli::{Context, session};
use crate::driver::Violation;
use crate::engine::{Access, transaction};
use crate::failure::{Exit, Failure, Result};
use crate::filter::explain::explain;
use crate::filter::own::Owner;
use crate::filter::spec::Spec;
use crate::lab::engine::LabEngine;
use crate::lab::host::{Host, Settings};
use crate::lab::message::{Fault, Occurrences};
use crate::lab::signals;
use crate::output::{self, Output, ProgressLine, bytes, count, lines, table, time};
use crate::status;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern endure
  postern endure --rounds 10000 --threads 4
  postern endure --model wdm --rounds 100 --threads 2 --inject-statuses
  postern endure --image build/other.sys --json

It runs in a lab of its own, in this process. Traffic never stops: it goes on while the driver is loaded and unloaded, and
afterwards. In each round flows begin and end, operations are held and answered, packets are injected, and watchers come and go; the
driver is unloaded in the middle of it. One round of a hundred, the first among them, lasts until operations run out of time and tens
of thousands of flows are alive. Ctrl-C ends it after the round, with the numbers so far.

Exit code 5 if any round left anything behind, there was a late call, or the process's memory grows; 1 if something that the rounds
are for did not happen.")]
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
    /// Driver image [default: the Postern drivers that this program carries]
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    image: Option<PathBuf>,
    /// Only one of the Postern drivers that this program carries [default: both, one after the other]
    #[arg(long, value_name = "MODEL")]
    model: Option<Model>,
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

/// A driver to endure.
struct Subject {
    image: String,
    service: String,
    bytes: Vec<u8>,
    /// Whether this program carries it, and so knows what its receipts must tell.
    carried: bool,
}

impl Arguments {
    fn subjects(&self) -> Result<Vec<Subject>> {
        let subject = |model: Model, file: Option<&PathBuf>| {
            Ok(Subject {
                image: file.map_or_else(|| model.carried().0.to_owned(), |path| path.display().to_string()),
                service: service_name(file.map(PathBuf::as_path)),
                bytes: image_bytes(file.map(PathBuf::as_path), model)?,
                carried: file.is_none(),
            })
        };
        match (&self.image, self.model) {
            (Some(path), _) => Ok(vec![subject(Model::Kmdf, Some(path))?]),
            (None, Some(model)) => Ok(vec![subject(model, None)?]),
            (None, None) => [Model::Kmdf, Model::Wdm].into_iter().map(|model| subject(model, None)).collect(),
        }
    }
}

#[derive(Serialize)]
struct Summary {
    image: String,
    rounds: u32,
    clean: u32,
    /// Rounds in which the driver printed a receipt with every account settled.
    complete_receipts: u32,
    threads: u16,
    connections: u64,
    happened: Happened,
    /// What should have happened and did not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<&'static str>,
    memory: Memory,
    load: Times,
    unload: Times,
    seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Violation>,
    /// A signal has ended it.
    interrupted: bool,
    /// Why it ended early, if no signal has ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
}

impl Summary {
    fn exit(&self) -> Exit {
        let clean = self.clean == self.rounds && self.ended.is_none() && self.violations.is_empty();
        match clean && !self.memory.has_grown() {
            true if self.missing.is_empty() => Exit::Success,
            true => Exit::Failed,
            false => Exit::LeftBehind,
        }
    }
}

/// Bytes of memory that the process has in use.
#[derive(Serialize)]
struct Memory {
    /// After half of the rounds: tables and logs have the size that they keep. None: it did not come so far.
    warm: Option<u64>,
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
        self.warm.is_some_and(|warm| self.end > warm + self.tolerated)
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

#[derive(Serialize)]
struct Summaries {
    drivers: Vec<Summary>,
}

pub fn run(context: &Context, arguments: Arguments) -> Result<Exit> {
    let subjects = arguments.subjects()?;
    let interrupted = signals::flag()?;
    let mut summaries = Vec::new();
    for subject in &subjects {
        let summary = endure(&arguments, subject, &interrupted)?;
        if context.output == Output::Human {
            output::write(&describe(&summary))?;
        }
        summaries.push(summary);
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    let exits = summaries.iter().map(Summary::exit);
    // What a driver has done wrong counts for more than what did not happen.
    let exit = exits.max_by_key(|exit| *exit as u8).unwrap_or(Exit::Success);
    if context.output == Output::Json {
        output::write(&output::json(&Summaries { drivers: summaries })?)?;
    }
    Ok(exit)
}

fn endure(arguments: &Arguments, subject: &Subject, interrupted: &Arc<AtomicBool>) -> Result<Summary> {
    let host = Host::start(&Settings::default())?;
    add_filters(&host)?;
    let crowd = Crowd::new(arguments.threads);
    let begun = std::time::Instant::now();
    let mut rounds = Rounds::default();
    let mut line = ProgressLine::default();
    let (mut ended, mut refused, mut warm) = (None, None, None);
    std::thread::scope(|scope| {
        for thread in 0..arguments.threads {
            let (host, crowd) = (&host, &crowd);
            scope.spawn(move || crowd.run(host, thread));
        }
        for round in 0..arguments.rounds {
            if interrupted.load(Ordering::Relaxed) {
                break;
            }
            let injected = if arguments.inject_statuses { inject(&host, round) } else { Ok(()) };
            let run = injected.and_then(|()| rounds.run(&host, &subject.service, &subject.bytes, &crowd, round));
            if let Err(failure) = run {
                ended = Some(format!("round {}: {}", round + 1, failure.message));
                refused = (round == 0 && failure.exit == Exit::Failed).then_some(failure);
                break;
            }
            if round == arguments.rounds / 2 {
                warm = resident();
            }
            line.show(|| format!("{}: round {} of {}", subject.image, round + 1, arguments.rounds));
        }
        crowd.stop();
    });
    line.end();
    // An image that cannot even be loaded says nothing about the driver.
    if let Some(failure) = refused {
        return Err(Failure { message: format!("{}: {}", subject.image, failure.message), ..failure });
    }
    let done = rounds.unloads.len() as u32;
    let never = |(what, tally): &(&'static str, rounds::Tally)| (tally.times == 0).then_some(*what);
    Ok(Summary {
        image: subject.image.clone(),
        rounds: done,
        clean: rounds.clean,
        complete_receipts: rounds.complete_receipts,
        threads: arguments.threads,
        connections: crowd.connections(),
        missing: match subject.carried && done != 0 {
            true => rounds.happened.all().iter().filter_map(never).collect(),
            false => Vec::new(),
        },
        happened: rounds.happened,
        memory: Memory {
            warm,
            end: resident().unwrap_or_default(),
            tolerated: tolerated_growth(arguments.rounds, subject.bytes.len()),
        },
        load: Times::new(rounds.loads),
        unload: Times::new(rounds.unloads),
        seconds: begun.elapsed().as_secs_f64(),
        violations: host.violations(),
        interrupted: done < arguments.rounds && ended.is_none(),
        ended,
    })
}

/// Bytes of memory that this process has in use.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn add_filters(host: &Host) -> Result<()> {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        spec: Spec,
    }
    let engine = LabEngine::open(host, session(false)).map_err(explain)?;
    for line in FILTERS {
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

fn describe(summary: &Summary) -> String {
    let mut text = format!(
        "{}: {} rounds, {} clean, {} complete receipts, in {}\n{} connections from {} threads meanwhile\n\n",
        summary.image,
        count(summary.rounds.into()),
        count(summary.clean.into()),
        count(summary.complete_receipts.into()),
        time(summary.seconds),
        count(summary.connections),
        summary.threads,
    );
    if summary.complete_receipts == 0 {
        text += "it hands out no receipts that say what was in flight\n";
    } else {
        let number = |number: u64| Cell::new(count(number)).set_alignment(CellAlignment::Right);
        let rows = summary
            .happened
            .all()
            .map(|(what, tally)| [Cell::new(what), number(tally.times), number(tally.rounds.into())]);
        text += &lines(&table(["in flight", "times", "rounds"], rows));
    }
    let warm = summary.memory.warm.map_or_else(
        || "not looked at after half of the rounds".to_owned(),
        |warm| format!("{} after half of the rounds", bytes(warm)),
    );
    text += &format!(
        "\nmemory {warm}, {} at the end; {} more are tolerated\n\
         load {:.2} ms (longest {:.2}), unload {:.2} ms (longest {:.2})\n",
        bytes(summary.memory.end),
        bytes(summary.memory.tolerated),
        summary.load.median,
        summary.load.longest,
        summary.unload.median,
        summary.unload.longest,
    );
    if !summary.missing.is_empty() {
        text += &format!("these rounds prove less than they should: no {}\n", summary.missing.join(", no "));
    }
    if summary.interrupted {
        text += "ended early by a signal\n";
    }
    if let Some(ended) = &summary.ended {
        text += &format!("ended early: {ended}\n");
    }
    if !summary.violations.is_empty() {
        text += &format!("\n{} violations:\n", summary.violations.len());
        text += &describe_violations(&summary.violations);
    }
    text + "\n"
}
