//! `postern plan` and `postern apply`.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::engine::{Access, FilterEngine, transaction};
use crate::failure::{Exit, Failure, Result};
use crate::filter::explain::explain;
use crate::output::{self, Output, counted};
use crate::policy::apply::carry_out;
use crate::policy::compile::Policy;
use crate::policy::plan::{Change, Kind, Live, Plan};
use crate::policy::problem::{ProblemView, SHOWN, Source};
use crate::policy::{self, document};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern plan policy.toml                   # exit code 7: `postern apply` would change something
  postern plan --schema > policy.schema.json # what may stand in a policy, for editors

A policy:
  [policy]
  name = \"office\"

  [[rule]]
  name = \"no file server\"
  layer = \"connect\"
  action = \"block\"
  protocol = [\"tcp\", \"udp\"]
  remote = \"192.0.2.0/24\"
  remote-port = [139, 445]

Exit code 0: everything is as the policy says, 7: something would change.")]
pub struct PlanArguments {
    /// The policy
    #[arg(required_unless_present = "schema")]
    file: Option<PathBuf>,
    /// Print the JSON schema of policies
    #[arg(long, conflicts_with = "file")]
    schema: bool,
    /// Fail if anything in the policy deserves a warning
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern apply policy.toml                  # shows what would change, and asks
  postern apply policy.toml --yes

Everything happens in one transaction: all of it, or nothing. A second time there is nothing to do. Filters of the policy's
provider whose rules have left the file are removed; nobody else's are touched.")]
pub struct ApplyArguments {
    /// The policy
    file: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Change nothing if anything in the policy deserves a warning
    #[arg(long)]
    deny_warnings: bool,
}

pub fn plan(context: &Context, arguments: PlanArguments) -> Result<Exit> {
    let Some(file) = arguments.file else {
        output::write(&output::json(&document::schema())?)?;
        return Ok(Exit::Success);
    };
    let (source, policy) = read(&file)?;
    let warnings = warn(context, &source, &policy, arguments.deny_warnings)?;
    let engine = context.engine(false)?;
    let plan = transaction(&*engine, Access::ReadOnly, || compare(&*engine, &policy, &source))?;
    let exit = if plan.is_empty() { Exit::Success } else { Exit::Differs };
    context.output.print(&View::new(&policy, &plan, false, &warnings), View::to_text)?;
    Ok(exit)
}

pub fn apply(context: &Context, arguments: ApplyArguments) -> Result<Exit> {
    let (source, policy) = read(&arguments.file)?;
    let warnings = warn(context, &source, &policy, arguments.deny_warnings)?;
    let engine = context.engine(false)?;
    let shown = if arguments.yes {
        None
    } else {
        let plan = transaction(&*engine, Access::ReadOnly, || compare(&*engine, &policy, &source))?;
        if plan.is_empty() {
            context.output.print(&View::new(&policy, &plan, false, &warnings), View::to_text)?;
            return Ok(Exit::Success);
        }
        // What is asked about is shown beside the question, whatever becomes of standard output.
        eprint!("{}", View::new(&policy, &plan, false, &warnings).to_text());
        if !confirmed("apply this?")? {
            return Err(Failure::new("nothing was changed"));
        }
        Some(plan)
    };
    let plan = transaction(&*engine, Access::ReadWrite, || {
        let plan = compare(&*engine, &policy, &source)?;
        if shown.as_ref().is_some_and(|shown| *shown != plan) {
            return Err(Failure::new("the state has changed since the plan was shown: nothing was changed")
                .help("look at the plan again"));
        }
        carry_out(&*engine, &policy, &plan, &source)?;
        Ok(plan)
    })?;
    let view = View::new(&policy, &plan, true, &warnings);
    match shown {
        Some(_) if context.output == Output::Human => output::write(&view.summary())?,
        _ => context.output.print(&view, View::to_text)?,
    }
    Ok(Exit::Success)
}

/// Asks on a terminal; without one nobody could answer.
pub fn confirmed(question: &str) -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody can be asked: standard input is no terminal").help("give --yes"));
    }
    eprint!("{question} [y/N] ");
    let failed = |error: io::Error| Failure::new(format!("cannot ask: {error}"));
    io::stderr().flush().map_err(failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn read(file: &Path) -> Result<(Source, Policy)> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display())))?;
    let source = Source::new(file.display().to_string(), text);
    let policy = policy::read(&source).map_err(|problems| source.failure(&problems))?;
    Ok((source, policy))
}

/// Shows the warnings; with `--json` they are part of the result.
fn warn(context: &Context, source: &Source, policy: &Policy, deny: bool) -> Result<Vec<ProblemView>> {
    let warnings = policy::warn::warnings(policy);
    if context.output == Output::Human || deny {
        for warning in warnings.iter().take(SHOWN) {
            eprintln!("{}\n", source.show(warning));
        }
        if warnings.len() > SHOWN {
            eprintln!("and {} more warnings", warnings.len() - SHOWN);
        }
    }
    if deny && !warnings.is_empty() {
        let count = counted(warnings.len() as u64, "warning");
        return Err(Failure::new(format!("{count}: nothing was changed"))
            .help("leave --deny-warnings out to go on all the same"));
    }
    Ok(warnings.iter().map(|warning| source.view(warning)).collect())
}

fn compare(engine: &dyn FilterEngine, policy: &Policy, source: &Source) -> Result<Plan> {
    let live = Live::read(engine).map_err(explain)?;
    Plan::new(policy, &live, |wanted| source.line(wanted.span.start))
        .map_err(|held| Failure::new(held).help("`postern filter list` shows them: remove them first"))
}

#[derive(Serialize)]
struct View<'a> {
    policy: &'a str,
    changes: &'a [Change],
    unchanged: usize,
    applied: bool,
    warnings: &'a [ProblemView],
}

impl View<'_> {
    fn new<'a>(policy: &'a Policy, plan: &'a Plan, applied: bool, warnings: &'a [ProblemView]) -> View<'a> {
        View { policy: &policy.name, changes: &plan.changes, unchanged: plan.unchanged, applied, warnings }
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for change in self.changes {
            text += &change.to_text();
        }
        text + &self.summary()
    }

    fn summary(&self) -> String {
        let count = |kind| self.changes.iter().filter(|change| change.change == kind).count() as u64;
        let unchanged = counted(self.unchanged as u64, "filter");
        if self.changes.is_empty() {
            return format!("policy {}: nothing to do, {unchanged} as the policy says\n", self.policy);
        }
        let [add, change, remove] = [Kind::Add, Kind::Change, Kind::Remove].map(count).map(output::count);
        match self.applied {
            true => format!(
                "policy {}: {add} added, {change} changed, {remove} removed, {unchanged} unchanged\n",
                self.policy
            ),
            false => {
                format!(
                    "policy {}: {add} to add, {change} to change, {remove} to remove, {unchanged} unchanged\n",
                    self.policy
                )
            }
        }
    }
}

impl Change {
    fn to_text(&self) -> String {
        let sign = match self.change {
            Kind::Add => '+',
            Kind::Change => '~',
            Kind::Remove => '-',
        };
        let mut text = format!("{sign} {}", self.object);
        if let Some(id) = self.id {
            text += &format!(" {id}");
        }
        if let Some(layer) = &self.layer {
            text += &format!(" at {layer}");
        }
        text += &format!(": {}", self.name);
        if let Some(line) = self.line {
            text += &format!(" (line {line})");
        }
        text.push('\n');
        if !self.properties.is_empty() {
            text += &format!("    {}\n", self.properties.join("; "));
        }
        for difference in &self.differences {
            text += &format!("    {}: {} -> {}\n", difference.what, difference.before, difference.after);
        }
        text
    }
}
