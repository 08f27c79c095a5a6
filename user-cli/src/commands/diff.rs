//! `postern diff`.

use std::path::Path;

use clap::Args;
use postern_engine::guids;
use postern_engine::objects::Provider;
use uuid::Uuid;

use crate::cli::Context;
use crate::failure::{Exit, Failure, Result};
use crate::filter::explain::explain;
use crate::output::counted;
use crate::state::State;
use crate::state::diff::{Change, Difference, Entry, OfProvider, diff};
use crate::state::xml::Dump;

/// What stands for the filter engine itself.
const LIVE: &str = "live";

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern diff before.xml after.xml
  postern diff monday.xml live --provider 'Postern CLI'
  postern diff before.xml after.xml --json

Exit code: 0 if they are equal, 7 if they are different.
Objects are compared by their keys, by provider. Ids that Windows gives anew at each start do not count, nor do sessions. Filters
that are equal but for their keys, as programs add them anew at each start, are counted and do not make a difference.")]
pub struct Arguments {
    /// A file of `netsh wfp show state` or `netsh wfp show filters`, or `live`
    #[arg(value_name = "A")]
    before: String,
    /// What to compare it with: a file, or `live`
    #[arg(value_name = "B")]
    after: String,
    /// Only what belongs to this provider: its name, symbol or key
    #[arg(long, value_name = "NAME|KEY")]
    provider: Option<String>,
}

pub fn run(context: &Context, arguments: Arguments) -> Result<Exit> {
    if arguments.before == LIVE && arguments.after == LIVE {
        return Err(Failure::usage("`live` is equal to itself").help("give a file to compare it with"));
    }
    let before = state(context, &arguments.before)?;
    let after = state(context, &arguments.after)?;
    let mut difference = diff(&before, &after);
    if let Some(name) = &arguments.provider {
        let keys = providers(name, [&before, &after])?;
        difference.providers.retain(|of| of.key.is_some_and(|key| keys.contains(&key)));
        difference.equal = difference.providers.is_empty();
    }
    let exit = if difference.equal { Exit::Success } else { Exit::Differs };
    context.output.print(&difference, |difference| text(difference, &arguments))?;
    Ok(exit)
}

/// The keys of the providers of a name, symbol or key.
fn providers(name: &str, states: [&State; 2]) -> Result<Vec<Uuid>> {
    let key = Uuid::try_parse(name).ok();
    let is = |provider: &&Provider| {
        provider.display.name == name
            || key == Some(provider.key)
            || guids::provider::NAMES.name(&provider.key) == Some(name)
    };
    let keys: Vec<Uuid> =
        states.iter().flat_map(|state| state.providers.iter().filter(is).map(|provider| provider.key)).collect();
    if keys.is_empty() {
        return Err(Failure::new(format!("there is no provider '{name}' in either"))
            .help("`postern state` shows the providers of a lab, `postern state --from FILE` those of a file"));
    }
    Ok(keys)
}

fn state(context: &Context, from: &str) -> Result<State> {
    if from == LIVE {
        let engine = context.engine(false)?;
        return State::read(&*engine).map_err(explain);
    }
    Ok(Dump::open(Path::new(from))?.state)
}

fn text(difference: &Difference, arguments: &Arguments) -> String {
    let mut text = String::new();
    let mut totals = [0; 3];
    for of in &difference.providers {
        let counts = [of.added.len(), of.removed.len(), of.changed.len()];
        totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        text += &format!("{}: {}\n", of.name, told(counts));
        text += &provider(of);
        text += "\n";
    }
    text += &match difference.equal {
        true => format!("{} and {} are equal", arguments.before, arguments.after),
        false => told(totals),
    };
    if difference.same_under_other_keys > 0 {
        let filters = counted(difference.same_under_other_keys as u64, "filter");
        text += &format!("; {filters} equal under other keys");
    }
    text + "\n"
}

fn told([added, removed, changed]: [usize; 3]) -> String {
    let parts = [(added, "added"), (removed, "removed"), (changed, "changed")];
    let some = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    some.collect::<Vec<_>>().join(", ")
}

fn provider(of: &OfProvider) -> String {
    let lists = [("+", &of.added), ("-", &of.removed)];
    let entries = lists.iter().flat_map(|(sign, list)| list.iter().map(move |entry| line(sign, entry)));
    entries.chain(of.changed.iter().map(change)).collect()
}

fn line(sign: &str, entry: &Entry) -> String {
    let layer = entry.layer.as_ref().map_or(String::new(), |layer| format!(" at {layer}"));
    format!("  {sign} {}{layer}: {} {}\n", entry.kind.name(), entry.name, entry.key.braced())
}

fn change(change: &Change) -> String {
    let mut text = line("~", &change.object);
    for field in &change.fields {
        match (&field.before[..], &field.after[..]) {
            ([before], [after]) => text += &format!("      {}: {before} -> {after}\n", field.field),
            (before, after) => {
                for (sign, values) in [("-", before), ("+", after)] {
                    for value in values {
                        text += &format!("      {}: {sign} {value}\n", field.field);
                    }
                }
            }
        }
    }
    text
}
