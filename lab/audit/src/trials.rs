//! What a driver is put through, one situation a run.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use postern_faults::scenario::{self, ASSOCIATE, Outcome, PATIENCE, Subject, Trial};
use postern_faults::sweep::Case;
use postern_lab::{Fault, TracedCall, failures_of};

use crate::times;

/// A thing that may happen to any driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Situation {
    BfeRestarts,
    /// Work items of the unload wait before they begin.
    SlowWork(Duration),
    /// Each call of a function of unregistering is refused, so many times.
    Refused {
        function: &'static str,
        times: u64,
    },
    /// Before a call of the unload, flows end and others begin.
    Traffic {
        call: u64,
        function: &'static str,
        place: Option<String>,
    },
    /// A classifyFn has begun before the unload, and associates a context with a flow before a call of it.
    Association {
        call: u64,
        function: &'static str,
    },
    Fault(Case),
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Situation::BfeRestarts => f.write_str("the base filtering engine stops and starts"),
            Situation::SlowWork(delay) => {
                write!(f, "work items of the unload begin {} ms after they were queued", delay.as_millis())
            }
            Situation::Refused { function, times } => write!(f, "{function} returns STATUS_DEVICE_BUSY {times} times"),
            Situation::Traffic { call, function, place } => {
                write!(f, "flows end and begin during the unload, before call {call}: {function}")?;
                place.as_ref().map_or(Ok(()), |place| write!(f, " at {place}"))
            }
            Situation::Association { call, function } => write!(
                f,
                "a classifyFn that has begun before the unload associates a context with a flow before call {call} of it: {function}"
            ),
            Situation::Fault(case) => {
                write!(f, "call {} of {} fails with {}", case.number, case.function, case.failure.name)
            }
        }
    }
}

/// A situation, and what came of it.
pub struct Tried {
    pub situation: Situation,
    pub outcome: Outcome,
}

pub fn run(subject: &Subject, plain: &Trial, situation: &Situation) -> Tried {
    let mut trial = plain.clone();
    match situation {
        Situation::BfeRestarts => trial.bfe_stays = false,
        Situation::SlowWork(delay) => trial.work_delay = *delay,
        Situation::Refused { function, times: count } => {
            let busy = failures_of(function).into_iter().find(|failure| failure.name == "STATUS_DEVICE_BUSY");
            trial.fault = busy.map(|busy| Fault {
                function: (*function).into(),
                status: busy.status,
                occurrences: times(*count),
            });
        }
        Situation::Traffic { call, .. } => trial.traffic_at = Some(*call),
        Situation::Association { call, .. } => trial.associates_at = Some(*call),
        Situation::Fault(case) => trial.fault = Some(case.fault()),
    }
    Tried { situation: situation.clone(), outcome: scenario::run(subject, &trial, PATIENCE) }
}

/// The functions with which the driver unregisters callouts.
pub fn refusals(base: &Outcome, times: u64) -> Vec<Situation> {
    let is_unregistering = |call: &&TracedCall| call.function.starts_with("FwpsCalloutUnregister");
    let functions: BTreeSet<&'static str> =
        base.trace.iter().filter(is_unregistering).map(|call| call.function).collect();
    functions.into_iter().map(|function| Situation::Refused { function, times }).collect()
}

/// The first and the last call of each place in the unload, where the lab can let traffic through.
pub fn traffic(base: &Outcome) -> Vec<Situation> {
    let calls: Vec<&TracedCall> =
        base.trace.iter().filter(|call| call.outermost == "DriverUnload" && call.irql == 0).collect();
    let same = |one: &TracedCall, other: &TracedCall| one.function == other.function && one.place == other.place;
    let is_in_between = |at: usize| {
        calls[..at].iter().any(|other| same(other, calls[at]))
            && calls[at + 1..].iter().any(|other| same(other, calls[at]))
    };
    (0..calls.len())
        .filter(|at| !is_in_between(*at))
        .map(|at| Situation::Traffic {
            call: at as u64 + 1,
            function: calls[at].function,
            place: calls[at].place.as_ref().map(ToString::to_string),
        })
        .collect()
}

/// The first call of the unload that unregisters a callout, if a classifyFn associates contexts: what it associates before that the driver
/// must have waited for.
pub fn association(base: &Outcome) -> Option<Situation> {
    let associates = |call: &TracedCall| call.function == ASSOCIATE && call.outermost == "classifyFn";
    base.trace.iter().find(|call| associates(call))?;
    let mut unload = base.trace.iter().filter(|call| call.outermost == "DriverUnload" && call.irql == 0);
    let is_unregistering = |call: &TracedCall| call.function.starts_with("FwpsCalloutUnregister");
    let at = unload.clone().position(is_unregistering)?;
    unload.nth(at).map(|call| Situation::Association { call: at as u64 + 1, function: call.function })
}

/// What the lab says of a fault whose call was not made again.
pub const NOT_MADE: &str = "the call was not made this time";

pub fn not_made(tried: &[Tried]) -> Option<String> {
    let missed = |one: &&Tried| one.outcome.problems.iter().any(|problem| problem.starts_with(NOT_MADE));
    let count = tried.iter().filter(missed).count();
    (count != 0).then(|| format!("{count} faults did not happen, because the driver did not make the call again"))
}
