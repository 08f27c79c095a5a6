//! What a driver is, what it registers, calls, ignores and leaves behind, with faults and without; and which defects follow.
//!
//! [`audit`] leads a driver through the scenario of `postern_faults` many times: as it is; with each of its calls failing; with traffic
//! that comes at each call of its unload; with work items that are slow; with callouts that stay busy. Every call is recorded
//! ([`inventory`]), and what is wrong becomes a [`Finding`] ([`findings`]), whose texts are in [`rules`].
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod findings;
mod image;
mod inventory;
mod rules;
mod trials;

use std::time::Duration;

use postern_faults::scenario::{self, Outcome, PATIENCE, Recorded, Subject, Trial};
use postern_faults::sweep::{self, Case};
use postern_lab::{Call, LoadError, Meaning, Occurrences};
use serde::Serialize;

pub use findings::Finding;
pub use image::ImageFacts;
pub use inventory::{CallRow, Callout, Device, Registered, Step};
pub use rules::{ALL as RULES, Rule, Severity};
use trials::{Situation, Tried};

/// What an audit came to.
#[derive(Debug, Serialize)]
pub struct Report {
    pub image: ImageFacts,
    pub callouts: Vec<Callout>,
    pub devices: Vec<Device>,
    /// How often the driver registered, created or opened what it later has to give back.
    pub registered: Vec<Registered>,
    pub calls: Vec<CallRow>,
    /// The calls of the unload, in order.
    pub unload: Vec<Step>,
    /// How many trials were made.
    pub trials: usize,
    /// What could not be tried, and what differs from run to run.
    pub notes: Vec<String>,
    pub findings: Vec<Finding>,
}

/// Which calls are made to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Faults {
    None,
    /// The first and the last call of each place in the image.
    Sample,
    All,
    /// This one, and nothing else is tried.
    Only(Case),
}

/// How far an audit has come: trials that are done, and of how many.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize);

/// How many times in a row a callout refuses to be unregistered, in one of the trials: more often than drivers try that give up.
const REFUSALS: u64 = 16;
/// How long work items of the unload wait, in another: longer than an unload takes that does not wait for them.
const SLOW: Duration = Duration::from_millis(300);

/// Audits a driver. An image that cannot be loaded has a report, too: it says why.
pub fn audit(subject: &Subject, faults: &Faults, progress: Progress<'_>) -> Report {
    let plain = Trial { traced: true, bfe_stays: true, imports_anything: true, ..Trial::default() };
    let image = ImageFacts::of(subject);
    let mut base = scenario::run(subject, &plain, PATIENCE);
    let again = scenario::run(subject, &plain, PATIENCE);
    let mut report = Report {
        callouts: inventory::callouts(&base),
        devices: inventory::devices(&base),
        registered: inventory::registered(&base),
        calls: Vec::new(),
        unload: inventory::unload(&base),
        trials: 2,
        notes: core::mem::take(&mut base.skipped),
        image: image.with_framework(&base),
        findings: Vec::new(),
    };
    // That it is another driver than Postern's is no news.
    report.notes.retain(|note| !note.contains(postern_protocol::DEVICE_PATH));
    let mut findings = findings::Findings::new(&base, &again);
    findings.of_image(&report.image);
    if let Some(error) = &base.refused {
        findings.of_refusal(error);
        report.calls = inventory::calls(&base, &[]);
        report.findings = findings.done();
        return report;
    }
    findings.of_base(&base, &report.devices);
    if findings::has_stopped(&base) {
        report.notes.push("the system stops in the plain run, so nothing else was tried".into());
    }
    if findings.never_leaves() || findings::has_stopped(&base) {
        report.calls = inventory::calls(&base, &[]);
        report.findings = findings.done();
        return report;
    }
    report.notes.extend(differences(&base, &again));

    let situations = situations(&base, faults);
    let mut tried: Vec<Tried> = Vec::with_capacity(situations.len());
    let run = |situation: &Situation| trials::run(subject, &plain, situation);
    sweep::each(&situations, run, |one| {
        tried.push(one);
        progress(tried.len(), situations.len());
    });
    tried.sort_by_key(|one| situations.iter().position(|situation| *situation == one.situation));
    report.trials += tried.len();
    let (faults, others): (Vec<&Tried>, Vec<&Tried>) =
        tried.iter().partition(|one| matches!(one.situation, Situation::Fault(_)));
    for one in &others {
        findings.of_trial(&base, one);
    }
    // What needs no fault is no fault's doing.
    others.iter().for_each(|one| findings.learn(&one.outcome));
    findings.compare(&faults);
    for one in &faults {
        findings.of_trial(&base, one);
    }
    report.notes.extend(trials::not_made(&tried));
    report.calls = inventory::calls(&base, &tried);
    report.findings = findings.done();
    report
}

/// Everything that is tried with a driver.
fn situations(base: &Outcome, faults: &Faults) -> Vec<Situation> {
    if let Faults::Only(case) = faults {
        return vec![Situation::Fault(case.clone())];
    }
    let mut situations = vec![Situation::BfeRestarts, Situation::SlowWork(SLOW)];
    situations.extend(trials::refusals(base, REFUSALS));
    situations.extend(trials::traffic(base));
    situations.extend(trials::association(base));
    let cases: Vec<Case> = match faults {
        Faults::None | Faults::Only(_) => Vec::new(),
        Faults::Sample => sweep::sample(&base.calls).flat_map(sweep::cases).collect(),
        Faults::All => base.calls.iter().flat_map(sweep::cases).collect(),
    };
    // A driver may believe what it is told, and that no page names a status is no reason to expect it.
    let cases = cases.into_iter().filter(|case| case.failure.meaning != Meaning::Lie && case.failure.is_documented());
    situations.extend(cases.map(Situation::Fault));
    situations
}

/// Whether two runs make the same calls.
fn differences(base: &Outcome, again: &Outcome) -> Option<String> {
    let differs = again.calls.iter().zip(&base.calls).find(|(one, other)| one.call != other.call);
    let place = |call: &Call| call.place.as_ref().map_or_else(String::new, |place| format!(" at {place}"));
    if let Some((Recorded { call, .. }, _)) = differs {
        return Some(format!(
            "two runs make different calls, from {}{} on: a fault may hit another call than the one it names",
            call.function,
            place(call)
        ));
    }
    let (one, other) = (again.calls.len(), base.calls.len());
    (one != other).then(|| format!("two runs make {other} and {one} calls that can fail"))
}

/// Whether a load failed before the driver's own code ran.
pub(crate) fn is_image_error(error: &LoadError) -> bool {
    matches!(error, LoadError::Image(_))
}

pub(crate) const fn times(count: u64) -> Occurrences {
    Occurrences::Next(count)
}
