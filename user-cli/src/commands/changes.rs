//! `postern changes`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use postern_engine::FwpError;
use postern_engine::changes::{Change, ChangeType, Changes, ObjectKind, Subject};
use postern_engine::layers::Layer;
use postern_engine::objects::DisplayData;
use postern_engine::template::{CalloutTemplate, ContextTemplate, FilterTemplate, SublayerTemplate};
use serde::Serialize;
use uuid::Uuid;

use crate::cli::Context;
use crate::engine::{EngineError, FilterEngine};
use crate::failure::{Exit, Failure, Result};
use crate::filter::describe;
use crate::filter::explain::explain;
use crate::filter::layer::Layers;
use crate::interrupt;
use crate::output::{self, Output, counted, parse_time};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern changes
  postern changes --only filters --layer connect --for 10s
  postern changes --only callouts --only filters --json

What any program adds and deletes, in the order of the transactions that did it, each when it is committed. With --json each change is
one line. Ctrl-C, --count and --for end it.")]
pub struct Arguments {
    /// Only objects of this kind; can be given again
    #[arg(long, value_name = "KIND")]
    only: Vec<Kind>,
    /// Only filters and callouts of this layer, as in `filter add`
    #[arg(long, value_parser = Layers::parse)]
    layer: Option<Layers>,
    /// End after N changes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time: 500ms, 10s, 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_time)]
    time: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Providers,
    ProviderContexts,
    Sublayers,
    Callouts,
    Filters,
}

/// How often one who waits looks whether it is time to end.
const LOOK_UP: Duration = Duration::from_millis(100);

pub fn run(context: &Context, arguments: Arguments) -> Result<Exit> {
    let subjects = arguments.subjects()?;
    let ended = Arc::new(AtomicBool::new(false));
    let on_signal = Arc::clone(&ended);
    interrupt::on_signal(move || on_signal.store(true, Ordering::Relaxed))?;
    let engine = context.engine(false)?;
    let subscription = engine.changes_subscribe(&subjects).map_err(explain)?;
    let mut names = Names { engine: &*engine, known: HashMap::new() };
    // What goes can be named only by one who knew it before.
    for kind in [
        ObjectKind::Provider,
        ObjectKind::ProviderContext,
        ObjectKind::Sublayer,
        ObjectKind::Callout,
        ObjectKind::Filter,
    ] {
        names.read(kind)?;
    }
    eprintln!("watching changes (Ctrl-C ends it)");
    let end = arguments.time.map(|time| Instant::now() + time);
    let mut shown = 0;
    let result = loop {
        let left = end.map_or(LOOK_UP, |end| end.saturating_duration_since(Instant::now()));
        let portion = subscription.next(left.min(LOOK_UP)).map_err(ended_by_engine)?;
        let wanted = arguments.count.unwrap_or(u64::MAX) - shown;
        match show(context.output, &portion, &mut names, wanted)? {
            Some(more) => shown += more,
            None => break Ok(Exit::Success),
        }
        if left.is_zero() || ended.load(Ordering::Relaxed) || arguments.count == Some(shown) {
            break Ok(Exit::Success);
        }
    };
    if context.output == Output::Human {
        eprintln!("{}", counted(shown, "change"));
    }
    result
}

/// How many were shown; `None` if nobody reads any more.
fn show(output: Output, portion: &Changes, names: &mut Names<'_>, wanted: u64) -> Result<Option<u64>> {
    let mut shown = 0;
    names.learn(&portion.changes)?;
    for change in portion.changes.iter().take(usize::try_from(wanted).unwrap_or(usize::MAX)) {
        let view = View::new(change, names);
        let line = match output {
            Output::Human => view.text(),
            Output::Json => output::json_line(&view)?,
        };
        if !output::write_if_read(&line)? {
            return Ok(None);
        }
        shown += 1;
    }
    if portion.lost != 0 {
        let line = match output {
            Output::Human => format!("lost {}: nobody fetched them in time", counted(portion.lost, "change")),
            Output::Json => output::json_line(&Lost { lost: portion.lost })?,
        };
        if !output::write_if_read(&line)? {
            return Ok(None);
        }
    }
    Ok(Some(shown))
}

/// Why changes come no more.
fn ended_by_engine(error: EngineError) -> Failure {
    match error {
        EngineError::Refused { error: FwpError::NotFound | FwpError::SessionAborted, .. } => {
            Failure::new("the subscription has ended: the base filtering engine was stopped meanwhile")
                .help("start again")
        }
        other => explain(other),
    }
}

impl Arguments {
    fn subjects(&self) -> Result<Vec<Subject>> {
        let wants = |kind| self.only.is_empty() || self.only.contains(&kind);
        let layers: Vec<&'static Layer> = match self.layer {
            None => Vec::new(),
            Some(Layers::One(layer)) => vec![layer],
            Some(Layers::Pair { v4, v6 }) => vec![v4, v6],
        };
        let mut subjects = Vec::new();
        if layers.is_empty() {
            if wants(Kind::Providers) {
                subjects.push(Subject::Providers);
            }
            if wants(Kind::ProviderContexts) {
                subjects.push(Subject::ProviderContexts(ContextTemplate::default()));
            }
            if wants(Kind::Sublayers) {
                subjects.push(Subject::Sublayers(SublayerTemplate::default()));
            }
        }
        let at: Vec<Option<Uuid>> = match layers.is_empty() {
            true => vec![None],
            false => layers.iter().map(|layer| Some(layer.key)).collect(),
        };
        if wants(Kind::Callouts) {
            subjects
                .extend(at.iter().map(|layer| Subject::Callouts(CalloutTemplate { provider: None, layer: *layer })));
        }
        if wants(Kind::Filters) {
            subjects.extend(at.iter().map(|layer| Subject::Filters(layer.map(FilterTemplate::at))));
        }
        match subjects.is_empty() {
            true => Err(Failure::usage("--layer is for filters and callouts, and --only names neither")
                .help("leave --layer out, or add `--only filters`")),
            false => Ok(subjects),
        }
    }
}

/// What objects are called, those too that have gone.
struct Names<'a> {
    engine: &'a dyn FilterEngine,
    known: HashMap<(ObjectKind, Uuid), Known>,
}

#[derive(Clone)]
struct Known {
    name: String,
    layer: Option<String>,
}

impl Names<'_> {
    /// Reads the kinds of what was added.
    fn learn(&mut self, changes: &[Change]) -> Result<()> {
        let mut kinds: Vec<ObjectKind> =
            changes.iter().filter(|change| change.change == ChangeType::Add).map(|change| change.kind).collect();
        kinds.sort();
        kinds.dedup();
        kinds.into_iter().try_for_each(|kind| self.read(kind))
    }

    fn read(&mut self, kind: ObjectKind) -> Result<()> {
        let mut add = |key: Uuid, display: DisplayData, layer: Option<Uuid>| {
            let layer = layer.map(|layer| describe::layer(&layer));
            self.known.insert((kind, key), Known { name: display.name, layer });
        };
        match kind {
            ObjectKind::Provider => {
                let found = self.engine.providers().map_err(explain)?;
                found.into_iter().for_each(|of| add(of.key, of.display, None));
            }
            ObjectKind::ProviderContext => {
                let found = self.engine.provider_contexts().map_err(explain)?;
                found.into_iter().for_each(|of| add(of.key, of.display, None));
            }
            ObjectKind::Sublayer => {
                let found = self.engine.sublayers().map_err(explain)?;
                found.into_iter().for_each(|of| add(of.key, of.display, None));
            }
            ObjectKind::Callout => {
                let found = self.engine.callouts().map_err(explain)?;
                found.into_iter().for_each(|of| add(of.key, of.display, Some(of.layer)));
            }
            ObjectKind::Filter => {
                let found = self.engine.filters().map_err(explain)?;
                found.into_iter().for_each(|of| add(of.key, of.display, Some(of.layer)));
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct View {
    /// UTC.
    time: String,
    change: ChangeType,
    object: ObjectKind,
    key: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    /// None: it went before it could be asked for its name.
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<String>,
    /// Changes of one number were committed together.
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<u64>,
}

#[derive(Serialize)]
struct Lost {
    lost: u64,
}

impl View {
    fn new(change: &Change, names: &Names<'_>) -> View {
        let known = names.known.get(&(change.kind, change.key)).cloned();
        View {
            time: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            change: change.change,
            object: change.kind,
            key: change.key,
            id: change.id,
            layer: known.as_ref().and_then(|known| known.layer.clone()),
            name: known.map(|known| known.name),
            transaction: change.transaction,
        }
    }

    fn text(&self) -> String {
        let verb = match self.change {
            ChangeType::Add => "added",
            ChangeType::Delete => "deleted",
        };
        let kind = match self.object {
            ObjectKind::Provider => "provider",
            ObjectKind::ProviderContext => "provider context",
            ObjectKind::Sublayer => "sublayer",
            ObjectKind::Callout => "callout",
            ObjectKind::Filter => "filter",
        };
        let which = self.id.map_or_else(|| self.key.braced().to_string(), |id| id.to_string());
        let at = self.layer.as_ref().map_or_else(String::new, |layer| format!(" at {layer}"));
        let name = self.name.as_ref().map_or_else(String::new, |name| format!(": {name}"));
        format!("{} {verb} {kind} {which}{at}{name}", self.time)
    }
}
