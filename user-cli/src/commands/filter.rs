//! `postern filter`.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use comfy_table::Cell;
use postern_engine::objects::Filter;
use serde::Serialize;
use uuid::Uuid;

use crate::cli::Context;
use crate::engine::{Access, transaction};
use crate::failure::{Exit, Failure, Result};
use crate::filter::describe::View;
use crate::filter::explain::explain;
use crate::filter::own::{Lifetime, Owner, sweep};
use crate::filter::search::Search;
use crate::filter::spec::Spec;
use crate::interrupt::Signals;
use crate::output::{lines, table, verdict};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Adds a filter, or one for each IP version
    #[command(after_help = "Examples:
  postern filter add --layer connect --action block --protocol tcp --remote 192.0.2.0/24 --remote-port 80 --remote-port 443
  postern filter add --layer accept --action callout-block --local-port 3389 --name 'no remote desktop'
  postern filter add --layer connect --action permit --app 'C:\\Windows\\System32\\curl.exe' --weight 15
  postern filter add --layer outbound-transport --action callout-inspect --lifetime dynamic
  postern filter add --layer connect --action callout-hold --hold-for 60 --otherwise permit

Several values of one option are alternatives; different options must all match.
The filters stand in a sublayer of their own; a block there is final, a permit may still be overridden by lower sublayers
unless --hard is given.")]
    Add(Box<Spec>),
    /// Removes filters
    #[command(after_help = "Examples:
  postern filter remove 70001
  postern filter remove {6f1d4c0e-52a0-4a8c-9a5e-2c5b7a4d9e10}
  postern filter remove --name 'no remote desktop'
  postern filter remove --all")]
    Remove(Remove),
    /// Lists filters, by layer
    #[command(after_help = "Examples:
  postern filter list
  postern filter list --layer connect --provider 'Postern CLI'
  postern filter list --remote 192.0.2.7 --protocol tcp --remote-port 443
  postern filter list --layer accept --local-port 3389 --contains

Options together narrow the list, as an enumeration template of the filter engine does. A filter is listed if its conditions may
match some of the traffic described; with --contains, if they match all of it.")]
    List(Box<Search>),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Remove {
    /// Run-time ids or keys
    #[arg(value_name = "ID|KEY", value_parser = Which::parse)]
    which: Vec<Which>,
    /// Every filter of this name
    #[arg(long)]
    name: Option<String>,
    /// Every filter that `postern filter add` has added, other than dynamic ones
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Id(u64),
    Key(Uuid),
}

impl Which {
    fn parse(text: &str) -> Result<Which, String> {
        text.parse().map(Which::Id).or_else(|_| Uuid::try_parse(text).map(Which::Key)).map_err(|_| {
            format!("'{text}' is neither the number nor the key (GUID) of a filter; for a name write --name")
        })
    }

    fn is(self, filter: &Filter) -> bool {
        match self {
            Which::Id(id) => filter.id == id,
            Which::Key(key) => filter.key == key,
        }
    }
}

pub fn run(context: &Context, command: Command) -> Result<Exit> {
    match command {
        Command::Add(spec) => add(context, &spec),
        Command::Remove(remove) => remove.run(context),
        Command::List(search) => list(context, &search),
    }
}

#[derive(Serialize)]
struct Filters {
    filters: Vec<View>,
}

fn add(context: &Context, spec: &Spec) -> Result<Exit> {
    let owner = Owner::new(spec.lifetime);
    let planned = spec.plan(&owner)?;
    let dynamic = spec.lifetime == Lifetime::Dynamic;
    // Before anything is added, so that no signal is missed that would leave it behind.
    let signals = if dynamic { Some(Signals::new()?) } else { None };
    let engine = context.engine(dynamic)?;
    let ids = transaction(&*engine, Access::ReadWrite, || owner.add(&*engine, &planned)).map_err(explain)?;
    let (filters, providers) = (engine.filters().map_err(explain)?, engine.providers().map_err(explain)?);
    let views: Vec<View> =
        filters.iter().filter(|filter| ids.contains(&filter.id)).map(|filter| View::new(filter, &providers)).collect();
    context.output.print(&Filters { filters: views }, |added| {
        let mut text = String::new();
        for view in &added.filters {
            text += &format!("added filter {} at {}: {}\n", view.id, view.layer, view.name);
        }
        text
    })?;
    if let Some(mut signals) = signals {
        eprintln!("the filter is there until this command ends (Ctrl-C)");
        signals.wait();
    }
    Ok(Exit::Success)
}

impl Remove {
    fn run(self, context: &Context) -> Result<Exit> {
        let engine = context.engine(false)?;
        let removed = transaction(&*engine, Access::ReadWrite, || {
            let filters = engine.filters().map_err(explain)?;
            let wanted = self.select(&filters)?;
            for filter in &wanted {
                engine.filter_delete(filter.key).map_err(|error| {
                    let failure = explain(error);
                    Failure { message: format!("filter {}: {}", filter.id, failure.message), ..failure }
                })?;
            }
            let providers = engine.providers().map_err(explain)?;
            sweep(&*engine).map_err(explain)?;
            Ok::<_, Failure>(wanted.into_iter().map(|filter| View::new(filter, &providers)).collect())
        })?;
        context.output.print(&Filters { filters: removed }, |removed| match &removed.filters[..] {
            [] => "there was none\n".to_owned(),
            views => {
                let mut text = String::new();
                for view in views {
                    text += &format!("removed filter {} from {}: {}\n", view.id, view.layer, view.name);
                }
                text
            }
        })?;
        Ok(Exit::Success)
    }

    fn select<'a>(&self, filters: &'a [Filter]) -> Result<Vec<&'a Filter>> {
        if self.all {
            return Ok(filters.iter().filter(|filter| Owner::of_lasting(filter).is_some()).collect());
        }
        let help = "`postern filter list` shows the filters that there are";
        if let Some(name) = &self.name {
            let wanted: Vec<&Filter> = filters.iter().filter(|filter| filter.display.name == *name).collect();
            if wanted.is_empty() {
                return Err(Failure::new(format!("there is no filter named '{name}'")).help(help));
            }
            return Ok(wanted);
        }
        let mut seen = BTreeSet::new();
        let mut wanted = Vec::new();
        for which in &self.which {
            let filter = filters.iter().find(|filter| which.is(filter)).ok_or_else(|| {
                let what = match which {
                    Which::Id(id) => format!("there is no filter {id}"),
                    Which::Key(key) => format!("there is no filter {}", key.braced()),
                };
                Failure::new(format!("{what} (FWP_E_FILTER_NOT_FOUND, 0x80320003): it was removed, or never there"))
                    .help(help)
            })?;
            if seen.insert(filter.id) {
                wanted.push(filter);
            }
        }
        Ok(wanted)
    }
}

fn list(context: &Context, search: &Search) -> Result<Exit> {
    let engine = context.engine(false)?;
    let (mut filters, providers) = transaction(&*engine, Access::ReadOnly, || {
        Ok::<_, Failure>((search.filters(&*engine)?, engine.providers().map_err(explain)?))
    })?;
    let layer_id = |filter: &Filter| postern_engine::layers::by_key(&filter.layer).map(|layer| layer.id);
    filters.sort_by_key(|filter| (layer_id(filter), std::cmp::Reverse(filter.effective_weight), filter.id));
    let views = Filters { filters: filters.iter().map(|filter| View::new(filter, &providers)).collect() };
    context.output.print(&views, |views| match &views.filters[..] {
        [] => "no filters\n".to_owned(),
        views => lines(&filter_table(views)),
    })?;
    Ok(Exit::Success)
}

pub fn filter_table(views: &[View]) -> comfy_table::Table {
    let rows = views.iter().map(|view| {
        let conditions = if view.conditions.is_empty() { "everything".to_owned() } else { view.conditions.join("; ") };
        let action = match &view.action[..] {
            "permit" | "callout-permit" => verdict(view.action_text(), true),
            "block" | "callout-block" => verdict(view.action_text(), false),
            _ => Cell::new(view.action_text()),
        };
        [
            Cell::new(view.id),
            Cell::new(&view.layer),
            action,
            Cell::new(conditions),
            Cell::new(&view.effective_weight),
            Cell::new(&view.name),
            Cell::new(view.provider.as_deref().unwrap_or("")),
        ]
    });
    table(["id", "layer", "action", "conditions", "weight", "name", "provider"], rows)
}
