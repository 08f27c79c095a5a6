//! `cargo xtask broken`: the driver, broken on purpose, must be caught.

mod catalogue;
pub mod catcher;
mod checkout;
mod document;
mod symptom;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::catalogue::Entry;
use self::catcher::{BuildFailed, Catcher, Outcome};
use self::checkout::Checkout;
use self::document::Row;
use crate::{say, setup};

/// Where the scratch checkouts are.
const SCRATCH: &str = "target/broken";
/// What the document says of an entry that nothing has caught.
const NOTHING: &str = "**nothing**";

#[derive(Args)]
pub struct Arguments {
    /// Entries of the catalogue, or parts of it (files of tests/broken) [default: all]
    names: Vec<String>,
    /// List the catalogue
    #[arg(long)]
    list: bool,
    /// Only the sample that `cargo xtask test` checks; docs/broken-builds.md is left as it is
    #[arg(long)]
    sample: bool,
    /// Try everything that may catch an entry, not only until one has
    #[arg(long)]
    all: bool,
    /// So many entries at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
}

impl Arguments {
    /// What `cargo xtask test` runs.
    pub fn sample() -> Self {
        Arguments { names: Vec::new(), list: false, sample: true, all: false, jobs: 1 }
    }

    fn select(&self, catalogue: &[Entry]) -> Result<Vec<Entry>> {
        for name in &self.names {
            ensure!(
                catalogue.iter().any(|entry| entry.name == *name || entry.part == *name),
                "the catalogue has no entry and no part with the name {name}"
            );
        }
        let named = |entry: &&Entry| {
            self.names.is_empty() || self.names.contains(&entry.name) || self.names.contains(&entry.part)
        };
        Ok(catalogue.iter().filter(named).filter(|entry| entry.sample || !self.sample).cloned().collect())
    }
}

pub fn broken(root: &Path, arguments: &Arguments) -> Result<()> {
    let catalogue = catalogue::read(root)?;
    let selected = arguments.select(&catalogue)?;
    if arguments.list {
        for entry in &selected {
            println!("{}: {}: {}", entry.part, entry.name, entry.what);
        }
        return Ok(());
    }
    // All of them first: a catalogue that no longer fits the sources is no reason to wait.
    for entry in &catalogue {
        entry.broken_files(root)?;
    }

    let results = run(root, arguments, selected)?;
    if arguments.sample {
        document::check(root, &catalogue)?;
    } else {
        document::write(root, &catalogue, &results)?;
    }
    let uncaught: Vec<&str> =
        results.iter().filter(|(_, row)| row.caught_by == NOTHING).map(|(name, _)| name.as_str()).collect();
    ensure!(uncaught.is_empty(), "not caught: {}", uncaught.join(", "));
    say(&format!("all of {} broken builds are caught", results.len()));
    Ok(())
}

fn run(root: &Path, arguments: &Arguments, entries: Vec<Entry>) -> Result<BTreeMap<String, Row>> {
    let queue = Mutex::new(VecDeque::from(entries));
    let results = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..arguments.jobs)
            .map(|job| {
                let (queue, results) = (&queue, &results);
                scope.spawn(move || -> Result<()> {
                    let checkout = Checkout::update(root, root.join(SCRATCH).join(job.to_string()))?;
                    setup::setup(&checkout.root)?;
                    let bench = Bench::prepare(&checkout)?;
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                        let Some(entry) = next else { return Ok(()) };
                        let row = bench.try_out(&entry, arguments.all)?;
                        results.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.name, row);
                    }
                })
            })
            .collect();
        jobs.into_iter().try_for_each(|job| job.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// A checkout in which all catchers are at work, and how long each takes when nothing is broken.
struct Bench<'a> {
    checkout: &'a Checkout<'a>,
    unbroken: Vec<(Catcher, Duration)>,
}

impl<'a> Bench<'a> {
    /// Runs everything on the unbroken sources: what fails there catches nothing.
    fn prepare(checkout: &'a Checkout<'a>) -> Result<Self> {
        let mut unbroken = Vec::new();
        for catcher in Catcher::ALL {
            say(&format!("{catcher}, with nothing broken"));
            let run = match catcher.build(&checkout.root)? {
                Ok(run) => run,
                Err(BuildFailed(errors)) => bail!("the unbroken sources do not compile:\n{errors}"),
            };
            let begun = Instant::now();
            let outcome = run.map(|run| run.run(Duration::from_secs(1800))).transpose()?;
            if let Some(Outcome::Caught(symptom)) = outcome {
                bail!("{catcher} objects to the unbroken sources: {symptom}");
            }
            unbroken.push((catcher, begun.elapsed()));
        }
        Ok(Bench { checkout, unbroken })
    }

    /// Breaks the sources, asks the catchers, and mends the sources.
    fn try_out(&self, entry: &Entry, all: bool) -> Result<Row> {
        let begun = Instant::now();
        self.checkout.apply(entry)?;
        let caught = self.catch(entry, all).with_context(|| entry.name.clone());
        self.checkout.revert(entry)?;
        let caught = caught?;
        let by: Vec<String> = caught.iter().map(|(catcher, _)| catcher.to_string()).collect();
        let row = match caught.iter().find(|(catcher, _)| catcher.suffices()).or(caught.first()) {
            Some((catcher, symptom)) if catcher.suffices() => {
                Row { caught_by: by.join(", "), symptom: symptom.clone() }
            }
            Some((_, symptom)) => Row { caught_by: NOTHING.into(), symptom: format!("(unit tests: {symptom})") },
            None => Row { caught_by: NOTHING.into(), symptom: String::new() },
        };
        say(&format!("{}: {}: {} ({} s)", entry.name, row.caught_by, row.symptom, begun.elapsed().as_secs()));
        Ok(row)
    }

    fn catch(&self, entry: &Entry, all: bool) -> Result<Vec<(Catcher, String)>> {
        let mut caught = Vec::new();
        for (catcher, unbroken) in &self.unbroken {
            if !catcher.covers(entry) {
                continue;
            }
            let run = match catcher.build(&self.checkout.root)? {
                Ok(run) => run,
                Err(BuildFailed(errors)) if *catcher == Catcher::Types && entry.refused_by_types => {
                    return Ok(vec![(*catcher, symptom::of_build(&errors))]);
                }
                Err(BuildFailed(errors)) => bail!("it does not compile, and was to:\n{errors}"),
            };
            if *catcher == Catcher::Types {
                ensure!(!entry.refused_by_types, "it compiles, and was not to");
            }
            if let Some(run) = run
                && let Outcome::Caught(symptom) = run.run(catcher.limit(*unbroken))?
            {
                caught.push((*catcher, symptom));
                if catcher.suffices() && !all {
                    break;
                }
            }
        }
        Ok(caught)
    }
}
