//! Every call that can fail, failing once with every status.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZero;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use postern_lab::{Failure, Fault, LoadError, Occurrences, failures_of};

use crate::scenario::{self, Outcome, PATIENCE, Recorded, Subject, Trial};

/// One call that fails in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub function: String,
    /// Which call of the function, 1 being the first.
    pub number: u64,
    pub failure: Failure,
}

/// `FUNCTION:N:STATUS`.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.function, self.number, self.failure.name)
    }
}

/// Why a text names no case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    #[error("'{0}' is no case: write FUNCTION:N:STATUS, such as FwpmFilterAdd0:3:STATUS_FWP_ALREADY_EXISTS")]
    Malformed(String),
    #[error("no failures of a function {0} are listed: write its name as drivers import it")]
    Function(String),
    #[error("'{number}' is no number of a call: the first is 1")]
    Number { number: String },
    #[error("{function} does not fail with {status}; it does with {}", .names.join(", "))]
    Status { function: String, status: String, names: Vec<&'static str> },
}

impl FromStr for Case {
    type Err = CaseError;

    fn from_str(text: &str) -> Result<Case, CaseError> {
        let parts: Vec<&str> = text.split(':').collect();
        let [function, number, status] = parts[..] else { return Err(CaseError::Malformed(text.into())) };
        let failures = failures_of(function);
        if failures.is_empty() {
            return Err(CaseError::Function(function.into()));
        }
        let number: NonZero<u64> = number.parse().map_err(|_| CaseError::Number { number: number.into() })?;
        let failure = failures.iter().find(|failure| failure.name.eq_ignore_ascii_case(status));
        let failure = *failure.ok_or_else(|| CaseError::Status {
            function: function.into(),
            status: status.into(),
            names: failures.iter().map(|failure| failure.name).collect(),
        })?;
        Ok(Case { function: function.into(), number: number.get(), failure })
    }
}

impl Case {
    pub fn fault(&self) -> Fault {
        let Case { function, number, failure } = self;
        Fault { function: function.clone(), status: failure.status, occurrences: Occurrences::Nth(*number) }
    }
}

/// The calls of a run without faults, and what follows from them.
pub struct Plan {
    pub calls: Vec<Recorded>,
    pub cases: Vec<Case>,
    /// What could not be tried, and functions whose failures nobody has listed.
    pub notes: Vec<String>,
    /// Whether the driver hands out receipts.
    receipts: bool,
}

/// Why there is nothing to sweep.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("the driver does not load: {0}")]
    Refused(LoadError),
    #[error("the run without faults does not end well:\n{}", .0.join("\n"))]
    NotWell(Vec<String>),
    #[error("of {RUNS} runs without faults, each makes other calls than the one before: {0}")]
    NotReproducible(String),
}

/// How often the scenario is run without faults until two runs in a row make the same calls. On a loaded machine a wait may end late enough
/// for a driver to say so in its log.
const RUNS: usize = 5;

impl Plan {
    /// Runs the scenario without faults until two runs make the same calls, and makes a case of each failure of each call.
    pub fn new(subject: &Subject) -> Result<Plan, PlanError> {
        let mut first = scenario::run(subject, &Trial::default(), PATIENCE);
        if let Some(error) = first.refused.take() {
            return Err(PlanError::Refused(error));
        }
        let receipts = first.receipts != 0;
        let problems = problems(&first, receipts);
        if !problems.is_empty() {
            return Err(PlanError::NotWell(problems));
        }
        let calls = reproducible(subject, first.calls).map_err(PlanError::NotReproducible)?;
        let mut notes: Vec<String> = first.skipped;
        for Recorded { call, .. } in &calls {
            if failures_of(call.function).is_empty() && call.number == 1 {
                notes.push(format!("{}: how it fails is not listed", call.function));
            }
        }
        let cases = calls.iter().flat_map(cases).collect();
        Ok(Plan { calls, cases, notes, receipts })
    }

    /// Runs one case.
    pub fn run(&self, subject: &Subject, case: &Case) -> Tried {
        let outcome = scenario::run(subject, &Trial::of(case.fault()), PATIENCE);
        let problems = problems(&outcome, self.receipts);
        Tried { case: case.clone(), problems, outcome }
    }

    /// Runs cases, on every processor, and tells of each when it is done. They are told in no particular order.
    pub fn run_all(&self, subject: &Subject, cases: &[Case], tell: impl FnMut(Tried)) {
        each(cases, |case| self.run(subject, case), tell);
    }

    /// The cases of the first and of the last call that each place in the image makes of a function, in each step.
    pub fn sample(&self) -> Vec<Case> {
        sample(&self.calls).flat_map(cases).collect()
    }

    /// Calls and cases by function.
    pub fn by_function(&self) -> BTreeMap<&str, Counts> {
        let mut counts: BTreeMap<&str, Counts> = BTreeMap::new();
        for Recorded { call, .. } in &self.calls {
            counts.entry(call.function).or_default().calls += 1;
        }
        for case in &self.cases {
            let count = counts.entry(&case.function).or_default();
            count.cases += 1;
            count.statuses = failures_of(&case.function).len();
        }
        counts
    }

    /// Where a case's call is made.
    pub fn call(&self, case: &Case) -> Option<&Recorded> {
        self.calls.iter().find(|one| one.call.function == case.function && one.call.number == case.number)
    }
}

/// The calls that two runs in a row make, the first of which may have been made already; or how the last ones differ.
fn reproducible(subject: &Subject, mut calls: Vec<Recorded>) -> Result<Vec<Recorded>, String> {
    let mut difference = String::new();
    for _ in 1..RUNS {
        let next = scenario::run(subject, &Trial::default(), PATIENCE).calls;
        match compare(&calls, &next) {
            Ok(()) => return Ok(next),
            Err(different) => (calls, difference) = (next, different),
        }
    }
    Err(difference)
}

/// Of one function.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub calls: usize,
    pub statuses: usize,
    pub cases: usize,
}

/// A case that was run.
pub struct Tried {
    pub case: Case,
    /// What went wrong, if anything did.
    pub problems: Vec<String>,
    pub outcome: Outcome,
}

/// Runs something of each item, on every processor, and tells what came of it, in no particular order.
pub fn each<T: Sync, R: Send>(items: &[T], run: impl Fn(&T) -> R + Sync, tell: impl FnMut(R)) {
    let next = AtomicUsize::new(0);
    // Most of a run is waiting for things to settle.
    let threads = 2 * std::thread::available_parallelism().map_or(1, NonZero::get);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, run) = (sender.clone(), &next, &run);
            scope.spawn(move || {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send(run(item)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        receiver.iter().for_each(tell);
    });
}

/// The first and the last call that each place in the image makes of a function, in each step.
pub fn sample(calls: &[Recorded]) -> impl Iterator<Item = &Recorded> {
    let same = |one: &Recorded, other: &Recorded| {
        one.step == other.step && one.call.function == other.call.function && one.call.place == other.call.place
    };
    let is_in_between = move |at: usize, one: &Recorded| {
        calls[..at].iter().any(|other| same(one, other)) && calls[at + 1..].iter().any(|other| same(one, other))
    };
    calls.iter().enumerate().filter(move |(at, one)| !is_in_between(*at, one)).map(|(_, one)| one)
}

/// Each failure of a call.
pub fn cases(recorded: &Recorded) -> impl Iterator<Item = Case> + use<> {
    let (function, number) = (recorded.call.function, recorded.call.number);
    failures_of(function).into_iter().map(move |failure| Case { function: function.into(), number, failure })
}

fn problems(outcome: &Outcome, receipts: bool) -> Vec<String> {
    let mut problems = outcome.problems.clone();
    problems.extend(outcome.violations.iter().map(|violation| format!("{}: {}", violation.kind, violation.what)));
    if receipts && outcome.receipts != outcome.stays {
        problems.push(format!("{} complete receipts of {} stays", outcome.receipts, outcome.stays));
    }
    problems
}

/// How many of the calls were made in each step.
fn steps(calls: &[&Recorded]) -> String {
    let mut steps: Vec<(&str, usize)> = Vec::new();
    for one in calls {
        match steps.last_mut().filter(|(step, _)| *step == one.step) {
            Some((_, count)) => *count += 1,
            None => steps.push((one.step, 1)),
        }
    }
    steps.iter().map(|(step, count)| format!("\"{step}\" ({count})")).collect::<Vec<_>>().join(", ")
}

/// Whether two runs made the same calls, in the same order of the same function.
fn compare(first: &[Recorded], second: &[Recorded]) -> Result<(), String> {
    fn by_function(calls: &[Recorded]) -> BTreeMap<&str, Vec<&Recorded>> {
        let mut by_function: BTreeMap<&str, Vec<&Recorded>> = BTreeMap::new();
        for one in calls {
            by_function.entry(one.call.function).or_default().push(one);
        }
        by_function
    }
    let (first, second) = (by_function(first), by_function(second));
    for (function, calls) in &first {
        let others = second.get(function).map_or(&[][..], Vec::as_slice);
        if calls[..] != *others {
            return Err(format!("{function} is called in {}; then in {}", steps(calls), steps(others)));
        }
    }
    match second.keys().find(|function| !first.contains_key(*function)) {
        Some(function) => Err(format!("{function} is called the second time only")),
        None => Ok(()),
    }
}
