//! `postern ask`.

use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::{Args, ValueEnum};
use comfy_table::Cell;
use postern_protocol::ioctl::{EventKind, Verdict, WATCH_FROM_NOW};
use serde::Serialize;

use crate::cli::Context;
use crate::device::{Device, HeldView, event_kind, program};
use crate::failure::{Exit, Failure, Result};
use crate::filter::answer;
use crate::filter::protocol::Protocol;
use crate::interrupt;
use crate::output::{self, Output, lines, parse_time, table, time};
use crate::replay::Direction;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern filter add --layer connect --action callout-hold
  postern ask
  postern ask --list
  postern ask --answer permit --app curl --timeout 10m
  echo b | postern ask --once
  postern ask 7 --answer block

For each operation that a callout-hold filter holds it reads one line:
  p  permit this one             b  block this one
  P  permit, with a new filter   B  block, with a new filter
  s  skip: leave it to others, or to the filter's own verdict
The new filter is for the same program, protocol and remote address, and the remote port of a connect or the local port of
an accept. It stands in the sublayer of the filter that holds, with a higher weight; `postern filter remove` takes it back.")]
pub struct Arguments {
    /// Only these operations, and end when they are answered
    #[arg(value_name = "OPERATION")]
    operations: Vec<u64>,
    /// Answer without asking
    #[arg(long, value_name = "VERDICT")]
    answer: Option<Answer>,
    /// End after one answer
    #[arg(long)]
    once: bool,
    /// End after this time: 500ms, 10s, 5m [default: wait for ever]
    #[arg(long, value_name = "DURATION", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// Only operations of programs whose path contains this, in whatever case
    #[arg(long, value_name = "SUBSTRING")]
    app: Option<String>,
    /// List what waits, and end
    #[arg(long, conflicts_with_all = ["answer", "once", "timeout"])]
    list: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Answer {
    Permit,
    Block,
}

impl Answer {
    fn verdict(self) -> Verdict {
        match self {
            Answer::Permit => Verdict::Permit,
            Answer::Block => Verdict::Block,
        }
    }

    fn done(self) -> &'static str {
        match self {
            Answer::Permit => "permitted",
            Answer::Block => "blocked",
        }
    }
}

/// What is done with one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Once(Answer),
    Always(Answer),
    Skip,
}

impl Choice {
    fn parse(line: &str) -> Option<Choice> {
        Some(match line.trim() {
            "p" => Choice::Once(Answer::Permit),
            "b" => Choice::Once(Answer::Block),
            "P" => Choice::Always(Answer::Permit),
            "B" => Choice::Always(Answer::Block),
            "s" => Choice::Skip,
            _ => return None,
        })
    }
}

/// What came of one operation.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    held: &'a HeldView,
    /// `permitted`, `blocked`, `skipped`, or `gone`: it did not wait any more.
    outcome: &'static str,
    /// The new filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<u64>,
}

pub fn run(context: &Context, arguments: Arguments) -> Result<Exit> {
    let device = Device::open(&context.address, "postern ask")?;
    if arguments.list {
        return list(context, &device, &arguments);
    }
    let input = Input::start(&device, &arguments)?;
    Asking { context, device: &device, arguments: &arguments, input, seen: BTreeSet::new() }.run()
}

fn list(context: &Context, device: &Device, arguments: &Arguments) -> Result<Exit> {
    #[derive(Serialize)]
    struct Shown {
        held: Vec<HeldView>,
    }
    let held = arguments.select(device)?;
    if let Some(operation) =
        arguments.operations.iter().find(|wanted| held.iter().all(|held| held.operation != **wanted))
    {
        return Err(does_not_wait(*operation));
    }
    context.output.print(&Shown { held }, |shown| {
        if shown.held.is_empty() {
            return "no operation waits for an answer".to_owned();
        }
        let rows = shown.held.iter().map(|held| {
            [
                Cell::new(held.operation),
                Cell::new(held.ends.text()),
                Cell::new(program(held.ends.application.as_deref())),
                Cell::new(if held.ends.process_id == 0 { String::new() } else { held.ends.process_id.to_string() }),
                Cell::new(time(held.remaining_seconds)),
                output::verdict(held.otherwise, held.otherwise == "permit"),
                Cell::new(held.filter_id),
            ]
        });
        lines(&table(["operation", "connection", "program", "process", "time left", "otherwise", "filter"], rows))
    })?;
    Ok(Exit::Success)
}

impl Arguments {
    /// What waits, and is asked for.
    fn select(&self, device: &Device) -> Result<Vec<HeldView>> {
        let entries = device.held()?;
        let views = entries.iter().map(|entry| HeldView::new(entry, device)).collect::<Result<Vec<_>>>()?;
        let wanted = |held: &HeldView| self.operations.is_empty() || self.operations.contains(&held.operation);
        Ok(views.into_iter().filter(|held| wanted(held) && held.ends.is_of(self.app.as_deref())).collect())
    }
}

fn does_not_wait(operation: u64) -> Failure {
    Failure::new(format!(
        "operation {operation} does not wait for an answer: there never was one of this number, it was answered, or its time was up"
    ))
    .help("`postern ask --list` shows what waits")
}

/// Why an operation that waited when it was listed did not any more when it was answered.
fn why_gone(held: &HeldView) -> &'static str {
    let in_time = held.listed.elapsed().as_secs_f64() < held.remaining_seconds;
    match (in_time, held.otherwise) {
        (true, _) => "not answered: somebody else was faster, or nobody waits for it any more",
        (false, "permit") => "not answered: its time was up, and its filter permitted it",
        (false, _) => "not answered: its time was up, and its filter blocked it",
    }
}

/// What people decide upon.
fn describe(held: &HeldView) -> String {
    let direction = match held.ends.direction {
        Direction::Outbound => "connects to",
        Direction::Inbound => "is asked for a connection by",
    };
    let protocol = Protocol(held.ends.protocol);
    let process =
        if held.ends.process_id == 0 { String::new() } else { format!(" (process {})", held.ends.process_id) };
    format!(
        "operation {}: {}{process}\n  {direction} {} with {protocol}, from {}\n  held by filter {}, which will {} it in {}\n",
        held.operation,
        held.ends.application.as_deref().unwrap_or("an unknown program"),
        protocol.remote(held.ends.remote),
        protocol.local(held.ends.local),
        held.filter_id,
        held.otherwise,
        time(held.remaining_seconds),
    )
}

/// What people type, and what ends the command.
struct Input {
    lines: Receiver<Line>,
    over: Arc<OnceLock<Over>>,
}

enum Line {
    Read(String),
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Signal,
    Time,
    Input,
}

impl Input {
    fn start(device: &Device, arguments: &Arguments) -> Result<Input> {
        let (sender, lines) = sync_channel(0);
        let (over, canceller) = (Arc::new(OnceLock::new()), Arc::new(device.canceller()?));
        let ends = |why: Over| {
            let (sender, over, canceller) = (sender.clone(), Arc::clone(&over), Arc::clone(&canceller));
            move || {
                let _ = over.set(why);
                canceller.cancel();
                // If nobody asks, nobody needs to be told.
                let _ = sender.send(Line::Over);
            }
        };
        interrupt::on_signal(ends(Over::Signal))?;
        if let Some(time) = arguments.timeout {
            interrupt::after(time, ends(Over::Time));
        }
        if arguments.answer.is_none() {
            let end = ends(Over::Input);
            std::thread::spawn(move || {
                for line in io::stdin().lock().lines().map_while(|line| line.ok()) {
                    if sender.send(Line::Read(line)).is_err() {
                        return;
                    }
                }
                end();
            });
        }
        Ok(Input { lines, over })
    }
}

struct Asking<'a> {
    context: &'a Context,
    device: &'a Device,
    arguments: &'a Arguments,
    input: Input,
    /// Operations that are done with.
    seen: BTreeSet<u64>,
}

impl Asking<'_> {
    fn run(mut self) -> Result<Exit> {
        let mut from = WATCH_FROM_NOW;
        loop {
            // From before the list is read, so that no operation is missed.
            let Some((header, events)) = self.device.watch(from)? else { return self.over() };
            let news = from == WATCH_FROM_NOW
                || header.lost != 0
                || header.lapsed != 0
                || events.iter().any(|event| event_kind(event) == Some(EventKind::Held));
            from = header.next;
            while news && let Some(held) = self.waiting()?.first() {
                let Some(choice) = self.choose(held)? else { return self.over() };
                self.seen.insert(held.operation);
                let answered = self.act(held, choice)?;
                let named = !self.arguments.operations.is_empty();
                if named && !answered && choice != Choice::Skip {
                    return Err(Failure::new(format!("operation {}: {}", held.operation, why_gone(held))));
                }
                if self.arguments.once && answered
                    || named && self.arguments.operations.iter().all(|operation| self.seen.contains(operation))
                {
                    return Ok(Exit::Success);
                }
            }
        }
    }

    /// Nobody answers any more, or there is no time left.
    fn over(&self) -> Result<Exit> {
        let waits = self.waiting()?;
        let asked = self.arguments.once || !self.arguments.operations.is_empty();
        match (self.input.over.get(), waits.first()) {
            (Some(Over::Input), Some(held)) => {
                Err(Failure::new(format!("standard input ended before operation {} was answered", held.operation))
                    .help("give a line for each operation, or --answer"))
            }
            (Some(Over::Input | Over::Time), _) if asked => {
                Err(Failure::new("no operation was answered").help("`postern ask --list` shows what waits"))
            }
            _ => Ok(Exit::Success),
        }
    }

    /// What there is to ask for now.
    fn waiting(&self) -> Result<Vec<HeldView>> {
        let mut held = self.arguments.select(self.device)?;
        held.retain(|held| !self.seen.contains(&held.operation));
        let is_there =
            |operation| self.seen.contains(operation) || held.iter().any(|held| held.operation == *operation);
        match self.arguments.operations.iter().find(|operation| !is_there(operation)) {
            Some(operation) => Err(does_not_wait(*operation)),
            None => Ok(held),
        }
    }

    /// What shall be done with an operation; none if nobody will say.
    fn choose(&self, held: &HeldView) -> Result<Option<Choice>> {
        if let Some(answer) = self.arguments.answer {
            return Ok(Some(Choice::Once(answer)));
        }
        eprint!("{}", describe(held));
        loop {
            eprint!("permit or block [p/b], always [P/B], skip [s]? ");
            match self.input.lines.recv() {
                Ok(Line::Read(line)) => match Choice::parse(&line) {
                    Some(choice) => return Ok(Some(choice)),
                    None => eprintln!("'{}' is none of p, b, P, B and s", line.trim()),
                },
                Ok(Line::Over) | Err(_) => {
                    eprintln!();
                    return Ok(None);
                }
            }
        }
    }

    /// Answers. Returns whether the operation still waited.
    fn act(&self, held: &HeldView, choice: Choice) -> Result<bool> {
        let (answer, filter) = match choice {
            Choice::Skip => (None, None),
            Choice::Once(answer) => (Some(answer), None),
            // First, so that the operation still waits if it fails.
            Choice::Always(answer) => (Some(answer), Some(answer::add_filter(self.context, held, answer.verdict())?)),
        };
        let answered = match answer {
            Some(answer) => self.device.answer(held.operation, answer.verdict())?,
            None => false,
        };
        let outcome = match answer {
            None => "skipped",
            Some(answer) if answered => answer.done(),
            Some(_) => "gone",
        };
        let told = Told { held, outcome, filter: filter.as_ref().map(|filter| filter.id) };
        output::write(&match self.context.output {
            Output::Json => output::json_line(&told)?,
            Output::Human => {
                let mut text = String::new();
                if let Some(filter) = &filter {
                    text += &format!("added filter {} at {}: {}\n", filter.id, filter.layer, filter.name);
                }
                text += &format!(
                    "operation {}: {}",
                    held.operation,
                    if outcome == "gone" { why_gone(held) } else { outcome }
                );
                text + &format!(" ({})\n", held.ends.text())
            }
        })?;
        Ok(answered)
    }
}
