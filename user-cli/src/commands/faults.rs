//! `postern lab faults`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::Cell;
use postern_faults::scenario::Subject;
use postern_faults::sweep::{Case, Plan, PlanError, Tried};
use postern_lab::{Config, Lab, LoadError, Meaning};
use serde::Serialize;

use super::driver::{Model, describe_violations, image_bytes, service_name};
use crate::cli::Context;
use crate::driver::Violation;
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, Output, ProgressLine, count, counted, lines, table};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Only calls of this function, as FwpmFilterAdd0
    #[arg(long, value_name = "NAME", conflicts_with = "case")]
    function: Option<String>,
    /// Only this case, with the driver's log and what it did wrong in full
    #[arg(long, value_name = "FUNCTION:N:STATUS", value_parser = str::parse::<Case>)]
    case: Option<Case>,
    /// Driver image [default: the Postern driver that this program carries]
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    image: Option<PathBuf>,
    /// Driver model of the Postern driver that this program carries
    #[arg(long, value_name = "MODEL", default_value = "kmdf")]
    model: Model,
}

pub const EXAMPLES: &str = "Examples:
  postern lab faults
  postern lab faults --function FwpmFilterAdd0
  postern lab faults --case FwpmFilterAdd0:3:STATUS_FWP_ALREADY_EXISTS
  postern lab faults --image build/other.sys --json

The driver is loaded, gets traffic and requests, sees the base filtering engine stop and start, and is unloaded, with flows alive:
first without faults, then once for each call that can fail and each status that the call may return, each time in a lab of its
own. Afterwards nothing may be left. Exit code 5 if a case failed; each that did is told with the command that runs it alone.";

/// A case that was run, a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    case: String,
    function: &'a str,
    call: u64,
    status: &'static str,
    /// What the status says about the system, and whether that is true.
    meaning: &'static str,
    /// In which step of the scenario the call is made, and where in the image.
    step: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    problems: &'a [String],
    replay: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    violations: Option<Vec<Violation>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<&'a [String]>,
}

/// The last line of JSON.
#[derive(Serialize)]
struct Totals {
    calls: usize,
    cases: usize,
    failed: usize,
}

pub fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let subject = Subject {
        service: service_name(arguments.image.as_deref()),
        image: image_bytes(arguments.image.as_deref(), arguments.model)?.into(),
        callouts: Vec::new(),
        parameters: Vec::new(),
        requests: Vec::new(),
    };
    let plan = Plan::new(&subject).map_err(|error| refusal(error, arguments.image.as_deref()))?;
    for note in &plan.notes {
        eprintln!("not tried: {note}");
    }
    let sweep = Sweep { plan: &plan, subject: &subject, arguments, output: context.output };
    match (&arguments.case, &arguments.function) {
        (Some(case), _) => sweep.replay(case),
        (None, Some(function)) => {
            let cases: Vec<Case> = plan.cases.iter().filter(|case| case.function == *function).cloned().collect();
            if cases.is_empty() {
                return Err(no_calls(function));
            }
            sweep.run(&cases)
        }
        (None, None) => sweep.run(&plan.cases),
    }
}

fn refusal(error: PlanError, image: Option<&Path>) -> Failure {
    let message = match image {
        Some(path) => format!("{}: {error}", path.display()),
        None => error.to_string(),
    };
    match error {
        PlanError::Refused(LoadError::Image(_)) => Failure::new(message).help("give a whole x64 kernel driver image"),
        PlanError::Refused(_) => Failure::new(message).help("`postern driver load` shows what it printed"),
        PlanError::NotWell(_) => Failure::left_behind(message),
        PlanError::NotReproducible(_) => {
            Failure::new(message).help("a call is named by its number, so it must be the same call each time")
        }
    }
}

fn no_calls(function: &str) -> Failure {
    if !Lab::start(Config::default()).has_function(function) {
        return Failure::usage(format!("the lab supplies no function {function}")).help(
            "write its name as drivers import it (FwpsCalloutUnregisterById0, WdfDeviceCreate), in the right case",
        );
    }
    let why = postern_lab::cannot_fail(function).map_or_else(String::new, |reason| format!(": {reason}"));
    Failure::new(format!("no call of {function} that can fail is made in the scenario{why}"))
}

struct Sweep<'a> {
    plan: &'a Plan,
    subject: &'a Subject,
    arguments: &'a Arguments,
    output: Output,
}

impl Sweep<'_> {
    fn run(&self, cases: &[Case]) -> Result<Exit> {
        let mut progress = ProgressLine::default();
        let mut failed: BTreeMap<String, usize> = BTreeMap::new();
        let (mut done, mut written) = (0, Ok(()));
        self.plan.run_all(self.subject, cases, |tried| {
            done += 1;
            if !tried.problems.is_empty() {
                *failed.entry(tried.case.function.clone()).or_default() += 1;
                progress.end();
                let told = self.tell_failed(&tried);
                written = std::mem::replace(&mut written, Ok(())).and(told);
            }
            let failures: usize = failed.values().sum();
            progress.show(|| format!("case {done} of {}, {failures} failed", cases.len()));
        });
        progress.end();
        written?;
        self.finish(cases, &failed)
    }

    fn tell_failed(&self, tried: &Tried) -> Result<()> {
        if self.output == Output::Json {
            return output::write(&output::json_line(&self.line(tried))?);
        }
        let mut text = format!("failed: {}{}\n", tried.case, self.whereabouts(&tried.case));
        for problem in &tried.problems {
            text += &format!("  {problem}\n");
        }
        output::write(&format!("{text}  replay: {}\n", self.command(&tried.case)))
    }

    fn finish(&self, cases: &[Case], failed: &BTreeMap<String, usize>) -> Result<Exit> {
        let mut counts = self.plan.by_function();
        counts.retain(|function, _| cases.iter().any(|case| case.function == *function));
        let totals = Totals {
            calls: counts.values().map(|count| count.calls).sum(),
            cases: cases.len(),
            failed: failed.values().sum(),
        };
        if self.output == Output::Json {
            output::write(&output::json_line(&totals)?)?;
        } else {
            let rows = counts.iter().map(|(function, of)| {
                let failed = failed.get(*function).copied().unwrap_or_default();
                let number = |number: usize| Cell::new(count(number as u64));
                let failed = output::verdict(count(failed as u64), failed == 0);
                [Cell::new(function), number(of.calls), number(of.statuses), number(of.cases), failed]
            });
            let table = lines(&table(["function", "calls", "statuses", "cases", "failed"], rows));
            let Totals { calls, cases, failed } = totals;
            let totals = format!(
                "{}, {}: {} failed",
                counted(calls as u64, "call"),
                counted(cases as u64, "case"),
                count(failed as u64)
            );
            output::write(&format!("{table}\n{totals}\n"))?;
        }
        Ok(if failed.is_empty() { Exit::Success } else { Exit::LeftBehind })
    }

    /// Runs one case and shows everything.
    fn replay(&self, case: &Case) -> Result<Exit> {
        if self.plan.call(case).is_none() {
            let calls = self.plan.by_function().get(&*case.function).map_or(0, |count| count.calls);
            let calls = counted(calls as u64, "call");
            return Err(Failure::new(format!("the scenario makes {calls} of {} with this driver", case.function)));
        }
        let tried = self.plan.run(self.subject, case);
        let passed = tried.problems.is_empty();
        if self.output == Output::Json {
            let mut line = self.line(&tried);
            line.violations = Some(tried.outcome.violations.iter().map(Violation::from).collect());
            line.log = Some(&tried.outcome.log);
            output::write(&output::json_line(&line)?)?;
            output::write(&output::json_line(&Totals { calls: 1, cases: 1, failed: usize::from(!passed) })?)?;
        } else {
            let mut text = format!("{case}{}: {}\n", self.whereabouts(case), meaning(case.failure.meaning));
            text += &tried.outcome.log.iter().fold(String::new(), |log, line| log + "  " + line + "\n");
            let violations: Vec<Violation> = tried.outcome.violations.iter().map(Violation::from).collect();
            text += &describe_violations(&violations);
            for problem in &tried.problems {
                text += &format!("{problem}\n");
            }
            text += if passed { "passed\n" } else { "failed\n" };
            output::write(&text)?;
        }
        Ok(if passed { Exit::Success } else { Exit::LeftBehind })
    }

    fn line<'a>(&self, tried: &'a Tried) -> Line<'a> {
        let case = &tried.case;
        let recorded = self.plan.call(case);
        Line {
            case: case.to_string(),
            function: &case.function,
            call: case.number,
            status: case.failure.name,
            meaning: meaning(case.failure.meaning),
            step: recorded.map_or("", |recorded| recorded.step),
            place: recorded.and_then(|recorded| recorded.call.place.as_ref()).map(ToString::to_string),
            problems: &tried.problems,
            replay: self.command(case),
            violations: None,
            log: None,
        }
    }

    /// Where and when the call is made.
    fn whereabouts(&self, case: &Case) -> String {
        let Some(recorded) = self.plan.call(case) else { return String::new() };
        let place = recorded.call.place.as_ref().map_or_else(String::new, |place| format!(" at {place}"));
        format!("{place}, in the step \"{}\", during {}", recorded.step, recorded.call.during)
    }

    /// The command that runs a case alone.
    fn command(&self, case: &Case) -> String {
        let image = match (&self.arguments.image, self.arguments.model) {
            (Some(path), _) => format!(" --image '{}'", path.display()),
            (None, Model::Wdm) => " --model wdm".to_owned(),
            (None, Model::Kmdf) => String::new(),
        };
        format!("postern lab faults{image} --case {case}")
    }
}

fn meaning(meaning: Meaning) -> &'static str {
    match meaning {
        Meaning::Refused => "the call has no effect",
        Meaning::Done => "what the call is for had been done by somebody else",
        Meaning::Later => "what the call is for happens later, on another thread",
        Meaning::SessionEnded => "the engine has ended the session",
        Meaning::TransactionEnded => "the engine has ended the transaction",
        Meaning::Lie => "the call has no effect, and the status says something that is not so",
    }
}
