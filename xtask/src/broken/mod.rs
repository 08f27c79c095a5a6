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

use anyhow::{Result, bail, ensure};
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

    let mut results = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, row) in run(root, arguments, &catalogue, selected)? {
        match row {
            Ok(row) => _ = results.insert(name, row),
            Err(_) => wrong.push(name),
        }
    }
    if arguments.sample {
        document::check(root, &catalogue)?;
    }
    ensure!(wrong.is_empty(), "these entries are wrong: {}", wrong.join(", "));
    let uncaught: Vec<&str> =
        results.iter().filter(|(_, row)| row.caught_by == NOTHING).map(|(name, _)| name.as_str()).collect();
    ensure!(uncaught.is_empty(), "not caught: {}", uncaught.join(", "));
    say(&format!("all of {} broken builds are caught", results.len()));
    Ok(())
}

fn run(
    root: &Path,
    arguments: &Arguments,
    catalogue: &[Entry],
    entries: Vec<Entry>,
) -> Result<BTreeMap<String, Result<Row>>> {
    let known = document::read(root);
    let queue = Mutex::new(VecDeque::from(entries));
    let results = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..arguments.jobs)
            .map(|job| {
                let (queue, results, known) = (&queue, &results, &known);
                scope.spawn(move || -> Result<()> {
                    let checkout = Checkout::update(root, root.join(SCRATCH).join(job.to_string()))?;
                    setup::setup(&checkout.root)?;
                    let mut bench = Bench { checkout, ready: BTreeMap::new() };
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                        let Some(entry) = next else { return Ok(()) };
                        let row = bench.try_out(&entry, known.get(&entry.name), arguments.all);
                        if let Err(error) = &row {
                            say(&format!("{}: {error:#}", entry.name));
                        }
                        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                        if let (Ok(row), false) = (&row, arguments.sample) {
                            // At once: the rest may take an hour.
                            document::write(root, catalogue, &entry.name, row)?;
                        }
                        results.insert(entry.name, row);
                    }
                })
            })
            .collect();
        jobs.into_iter().try_for_each(|job| job.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// A checkout to try entries out in.
struct Bench {
    checkout: Checkout,
    /// Catchers that were seen to pass the unbroken sources, each with the silence after which it hangs.
    ready: BTreeMap<Catcher, Duration>,
}

impl Bench {
    /// Tries an entry out. `known` is what the document says of it.
    fn try_out(&mut self, entry: &Entry, known: Option<&Row>, all: bool) -> Result<Row> {
        let begun = Instant::now();
        let mut caught: Vec<(Catcher, String)> = Vec::new();
        for catcher in Catcher::ALL.into_iter().filter(|catcher| catcher.covers(entry)) {
            let patience = self.prepare(catcher)?;
            let symptom =
                self.checkout.broken(entry, || catch(&self.checkout.root, entry, known, catcher, patience))?;
            caught.extend(symptom.map(|symptom| (catcher, symptom)));
            if caught.last().is_some_and(|(catcher, _)| catcher.suffices()) && !all {
                break;
            }
        }
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

    /// Sees that `catcher` has no objection to the unbroken sources, and returns how long to be patient with it.
    fn prepare(&mut self, catcher: Catcher) -> Result<Duration> {
        if let Some(patience) = self.ready.get(&catcher) {
            return Ok(*patience);
        }
        say(&format!("{catcher}, with nothing broken"));
        let run = match catcher.build(&self.checkout.root)? {
            Ok(run) => run,
            Err(BuildFailed(errors)) => bail!("the unbroken sources do not compile:\n{errors}"),
        };
        let silence = match run.map(|run| run.run(Duration::from_secs(600))).transpose()? {
            Some(Outcome::Caught(symptom)) => bail!("{catcher} objects to the unbroken sources: {symptom}"),
            Some(Outcome::Passed(silence)) => silence,
            None => Duration::ZERO,
        };
        let patience = catcher::patience(silence);
        self.ready.insert(catcher, patience);
        Ok(patience)
    }
}

/// How it shows, if `catcher` objects to the sources at `root`, which are broken.
fn catch(
    root: &Path,
    entry: &Entry,
    known: Option<&Row>,
    catcher: Catcher,
    patience: Duration,
) -> Result<Option<String>> {
    let run = match catcher.build(root)? {
        Ok(run) => run,
        Err(BuildFailed(errors)) if entry.refused_by_types => return Ok(Some(symptom::of_build(&errors))),
        Err(BuildFailed(errors)) => bail!("it does not compile, and was to:\n{errors}"),
    };
    ensure!(!entry.refused_by_types, "it compiles, and was not to");
    let Some(run) = run else { return Ok(None) };
    // The test that has caught it before, and those of its part, before all others.
    let before = known.and_then(Row::test).map(|test| run.only(test));
    let likely = run.only(&catcher.likely(entry));
    for run in before.iter().chain([&likely, &run]) {
        if let Outcome::Caught(symptom) = run.run(patience)? {
            return Ok(Some(symptom));
        }
    }
    Ok(None)
}
