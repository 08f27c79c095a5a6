//! `postern events`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use postern_engine::FwpError;
use postern_engine::net_events::{EngineOption, NetEvent, NetEventKeywords, NetEventType, NetEvents};
use serde::Serialize;

use crate::cli::Context;
use crate::engine::{EngineError, FilterEngine};
use crate::failure::{Exit, Failure, Result};
use crate::filter::explain::explain;
use crate::filter::layer::Layers;
use crate::interrupt;
use crate::net_event::{NetEventView, parse_type};
use crate::output::{self, Output, counted, parse_time};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  postern events
  postern events --drops --layer connect --for 10s
  postern events --recent --json
  postern events options --keywords classify-allow

Drops are told as they come, whoever's filter it was; permits too, if the keyword classify-allow is set. With --json each event
is one line. Ctrl-C, --count and --for end it."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    selection: Selection,
    /// List the events that the filter engine has kept, and end
    #[arg(long, conflicts_with_all = ["count", "time"])]
    recent: bool,
    /// End after N events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time: 500ms, 10s, 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_time)]
    time: Option<Duration>,
}

/// Which events are shown.
#[derive(Debug, Args)]
struct Selection {
    /// Only what was dropped
    #[arg(long, conflicts_with = "types")]
    drops: bool,
    /// Only events of this type: classify-drop, classify-allow; can be given again
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_type)]
    types: Vec<NetEventType>,
    /// Only events of this layer, as in `filter add`; can be given again
    #[arg(long = "layer", value_name = "LAYER", value_parser = Layers::parse)]
    layers: Vec<Layers>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows or sets what the filter engine collects, for all programs and across restarts
    Options(Options),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern events options
  postern events options --collect on --keywords classify-allow,inbound-mcast
  postern events options --keywords none")]
struct Options {
    /// Whether net events are collected at all (FWPM_ENGINE_COLLECT_NET_EVENTS)
    #[arg(long, value_name = "STATE")]
    collect: Option<Switch>,
    /// What is collected beside drops of unicast and outbound packets (FWPM_ENGINE_NET_EVENT_MATCH_ANY_KEYWORDS), or none
    #[arg(long, value_name = "KEYWORD", value_delimiter = ',', value_parser = parse_keyword)]
    keywords: Vec<NetEventKeywords>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Serialize)]
struct OptionsView {
    collect: bool,
    keywords: Vec<String>,
}

pub fn run(context: &Context, arguments: Arguments) -> Result<Exit> {
    // A dynamic session may set no options.
    let engine = context.engine(false)?;
    match &arguments.command {
        Some(Command::Options(options)) => options.run(context, &*engine),
        None => {
            if engine.engine_option(EngineOption::CollectNetEvents).map_err(explain)? == 0 {
                return Err(disabled());
            }
            arguments.selection.warn(&*engine)?;
            let shown =
                if arguments.recent { arguments.recent(context, &*engine) } else { arguments.watch(context, &*engine) };
            shown.map(|()| Exit::Success)
        }
    }
}

/// Somebody has turned it off, for all programs.
fn disabled() -> Failure {
    Failure::new("net events are not collected (FWP_E_NET_EVENTS_DISABLED)")
        .help("turn them on, for all programs and across restarts, with `postern events options --collect on`")
}

fn failed(error: EngineError) -> Failure {
    match error {
        EngineError::Refused { error: FwpError::NetEventsDisabled, .. } => disabled(),
        other => explain(other),
    }
}

/// Why events come no more.
fn ended_by_engine(error: EngineError) -> Failure {
    match error {
        EngineError::Refused { error: FwpError::NotFound | FwpError::SessionAborted, .. } => {
            Failure::new("the subscription has ended: the base filtering engine was stopped meanwhile")
                .help("start again")
        }
        other => failed(other),
    }
}

impl Arguments {
    fn recent(&self, context: &Context, engine: &dyn FilterEngine) -> Result<()> {
        let events = engine.net_events().map_err(failed)?;
        let mut printer = Printer::new(context.output, engine);
        for event in events.iter().filter(|event| self.selection.wants(event)) {
            if !printer.event(event)? {
                break;
            }
        }
        printer.end();
        Ok(())
    }

    fn watch(&self, context: &Context, engine: &dyn FilterEngine) -> Result<()> {
        let ended = Arc::new(AtomicBool::new(false));
        let on_signal = Arc::clone(&ended);
        interrupt::on_signal(move || on_signal.store(true, Ordering::Relaxed))?;
        let subscription = engine.net_event_subscribe().map_err(failed)?;
        eprintln!("watching net events (Ctrl-C ends it)");
        let end = self.time.map(|time| Instant::now() + time);
        let mut printer = Printer::new(context.output, engine);
        let result = self.follow(end, &ended, &mut printer, |patience| subscription.next(patience));
        printer.end();
        result
    }

    /// Shows what `next` brings until it is time to end.
    fn follow(
        &self,
        end: Option<Instant>,
        ended: &AtomicBool,
        printer: &mut Printer<'_>,
        next: impl Fn(Duration) -> Result<NetEvents, EngineError>,
    ) -> Result<()> {
        loop {
            let left = end.map_or(LOOK_UP, |end| end.saturating_duration_since(Instant::now()));
            let portion = next(left.min(LOOK_UP)).map_err(ended_by_engine)?;
            for event in portion.events.iter().filter(|event| self.selection.wants(event)) {
                if !printer.event(event)? || self.count == Some(printer.events) {
                    return Ok(());
                }
            }
            if portion.lost != 0 && !printer.lost(portion.lost)? {
                return Ok(());
            }
            if left.is_zero() || ended.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }
}

/// How often one who waits looks whether it is time to end.
const LOOK_UP: Duration = Duration::from_millis(100);

impl Selection {
    fn wants(&self, event: &NetEvent) -> bool {
        let of_layer = |layers: &Layers| {
            let id = event.classify.map(|classify| classify.layer);
            match layers {
                Layers::Pair { v4, v6 } => id == Some(v4.id) || id == Some(v6.id),
                Layers::One(layer) => id == Some(layer.id),
            }
        };
        (!self.drops || event.kind.is_drop())
            && (self.types.is_empty() || self.types.contains(&event.kind))
            && (self.layers.is_empty() || self.layers.iter().any(of_layer))
    }

    /// Says so if the selection asks for what is not collected.
    fn warn(&self, engine: &dyn FilterEngine) -> Result<()> {
        if self.types.contains(&NetEventType::CLASSIFY_ALLOW) {
            let keywords = engine.engine_option(EngineOption::NetEventMatchAnyKeywords).map_err(explain)?;
            if !NetEventKeywords::from_bits_retain(keywords).contains(NetEventKeywords::CLASSIFY_ALLOW) {
                eprintln!(
                    "warning: permits are not collected: \
                     turn them on with `postern events options --keywords classify-allow`"
                );
            }
        }
        Ok(())
    }
}

/// Prints events, with the names of the filters that decided.
struct Printer<'a> {
    output: Output,
    engine: &'a dyn FilterEngine,
    names: HashMap<u64, Option<String>>,
    events: u64,
    lost: u64,
}

#[derive(Serialize)]
struct Lost {
    #[serde(rename = "type")]
    kind: &'static str,
    events: u64,
}

impl<'a> Printer<'a> {
    fn new(output: Output, engine: &'a dyn FilterEngine) -> Printer<'a> {
        Printer { output, engine, names: HashMap::new(), events: 0, lost: 0 }
    }

    /// Tells whether there still is a reader.
    fn event(&mut self, event: &NetEvent) -> Result<bool> {
        let view = NetEventView::new(event);
        let line = match self.output {
            Output::Json => output::json_line(&view)?,
            Output::Human => view.text(view.filter_id.map(|id| self.name(id)).transpose()?.flatten().as_deref()),
        };
        self.events += 1;
        output::write_if_read(&line)
    }

    fn lost(&mut self, events: u64) -> Result<bool> {
        self.lost += events;
        output::write_if_read(&match self.output {
            Output::Json => output::json_line(&Lost { kind: "lost", events })?,
            Output::Human => format!("lost {}", counted(events, "event")),
        })
    }

    /// The name of a filter. All are read when one is met that is new.
    fn name(&mut self, id: u64) -> Result<Option<String>> {
        if !self.names.contains_key(&id) {
            let filters = self.engine.filters().map_err(explain)?;
            self.names.extend(filters.into_iter().map(|filter| (filter.id, Some(filter.display.name))));
            // It has gone already.
            self.names.entry(id).or_insert(None);
        }
        Ok(self.names[&id].clone())
    }

    fn end(&self) {
        if self.output == Output::Human {
            let lost = if self.lost == 0 { String::new() } else { format!(", {} lost", output::count(self.lost)) };
            eprintln!("{}{lost}", counted(self.events, "net event"));
        }
    }
}

/// Symbols without prefix, in lower case with hyphens.
fn keyword_name(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

fn parse_keyword(text: &str) -> Result<NetEventKeywords, String> {
    if text == "none" {
        return Ok(NetEventKeywords::empty());
    }
    let known = NetEventKeywords::all().iter_names().find(|(name, _)| keyword_name(name) == text);
    known.map(|(_, keyword)| keyword).ok_or_else(|| {
        let all: Vec<String> = NetEventKeywords::all().iter_names().map(|(name, _)| keyword_name(name)).collect();
        format!("there is no keyword '{text}': write none, or some of {}", all.join(", "))
    })
}

impl Options {
    fn run(&self, context: &Context, engine: &dyn FilterEngine) -> Result<Exit> {
        if let Some(switch) = self.collect {
            let value = u32::from(matches!(switch, Switch::On));
            engine.engine_set_option(EngineOption::CollectNetEvents, value).map_err(explain)?;
        }
        if !self.keywords.is_empty() {
            let keywords = self.keywords.iter().fold(NetEventKeywords::empty(), |all, one| all | *one);
            engine.engine_set_option(EngineOption::NetEventMatchAnyKeywords, keywords.bits()).map_err(explain)?;
        }
        let keywords = engine.engine_option(EngineOption::NetEventMatchAnyKeywords).map_err(explain)?;
        let keywords = NetEventKeywords::from_bits_retain(keywords);
        let mut names: Vec<String> = keywords.iter_names().map(|(name, _)| keyword_name(name)).collect();
        let unknown = keywords.bits() & !NetEventKeywords::all().bits();
        if unknown != 0 {
            names.push(format!("{unknown:#x}"));
        }
        let collect = engine.engine_option(EngineOption::CollectNetEvents).map_err(explain)? != 0;
        context.output.print(&OptionsView { collect, keywords: names }, |view| {
            let keywords = if view.keywords.is_empty() { "none".to_owned() } else { view.keywords.join(", ") };
            format!("net events are {}collected, keywords: {keywords}", if view.collect { "" } else { "not " })
        })?;
        Ok(Exit::Success)
    }
}
