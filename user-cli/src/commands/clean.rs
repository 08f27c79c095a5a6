//! `postern verify-clean` and `postern clean`.

use clap::Args;
use comfy_table::Cell;
use postern_engine::guids;
use serde::Serialize;
use uuid::Uuid;

use super::export::find_provider;
use super::plan::confirmed;
use crate::cli::Context;
use crate::engine::{Access, transaction};
use crate::failure::{Exit, Failure, Result};
use crate::filter::explain::explain;
use crate::output::{counted, lines, table};
use crate::policy::leftover::{Belongings, Leftover, of_driver};
use crate::policy::plan::Live;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern verify-clean --driver && echo gone
  postern verify-clean --provider 'Postern CLI'
  postern verify-clean --provider {6f1d4c0e-52a0-4a8c-9a5e-2c5b7a4d9e10}

A provider that is gone is known by its key alone.
Exit code 0: nothing is left, 5: something is.")]
pub struct VerifyArguments {
    #[command(flatten)]
    whose: Whose,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// Anything of a provider, by its name, key or FWPM_PROVIDER_* name: itself, its filters, callouts, provider contexts and
    /// sublayers, and others' filters that refer to them
    #[arg(long)]
    provider: Option<String>,
    /// Anything of Postern's driver: callouts registered or added, filters that name a callout which is gone, objects of its provider
    #[arg(long)]
    driver: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern clean --provider 'Postern CLI' --dry-run
  postern clean --provider {6f1d4c0e-52a0-4a8c-9a5e-2c5b7a4d9e10} --yes

Removes in one transaction: the filters that refer to anything of the provider, its callouts, provider contexts and sublayers, itself.")]
pub struct Arguments {
    /// The provider, by its name or key
    #[arg(long)]
    provider: String,
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

#[derive(Serialize)]
struct Verified {
    clean: bool,
    left: Vec<Leftover>,
}

pub fn verify(context: &Context, arguments: VerifyArguments) -> Result<Exit> {
    let engine = context.engine(false)?;
    let left = match &arguments.whose.provider {
        Some(provider) => {
            let live = transaction(&*engine, Access::ReadOnly, || Live::read(&*engine)).map_err(explain)?;
            match key(&live, provider) {
                Ok(key) => Belongings::of(key, &live).leftovers(key, &live),
                Err(Unknown::Gone(_)) => Vec::new(),
                Err(Unknown::Several(failure)) => return Err(failure),
            }
        }
        None => {
            engine.transaction_begin(Access::ReadWrite).map_err(explain)?;
            let left = of_driver(&*engine);
            engine.transaction_abort().map_err(explain)?;
            left.map_err(explain)?
        }
    };
    let exit = if left.is_empty() { Exit::Success } else { Exit::LeftBehind };
    context.output.print(&Verified { clean: left.is_empty(), left }, |verified| match &verified.left[..] {
        [] => "clean: nothing is left\n".to_owned(),
        left => format!("{}{} left\n", list(left), counted(left.len() as u64, "object")),
    })?;
    Ok(exit)
}

#[derive(Serialize)]
struct Cleaned {
    removed: bool,
    objects: Vec<Leftover>,
}

pub fn clean(context: &Context, arguments: Arguments) -> Result<Exit> {
    let engine = context.engine(false)?;
    let live = transaction(&*engine, Access::ReadOnly, || Live::read(&*engine)).map_err(explain)?;
    let key = match key(&live, &arguments.provider) {
        Ok(key) => key,
        Err(Unknown::Gone(failure) | Unknown::Several(failure)) => return Err(failure),
    };
    if let Some(symbol) = guids::provider::NAMES.name(&key) {
        return Err(Failure::new(format!("{symbol} is Windows' own: it stays"))
            .help("Windows Firewall's filters come and go with its rules"));
    }
    let objects = Belongings::of(key, &live).leftovers(key, &live);
    let to_remove =
        |objects: &[Leftover]| format!("{}{} to remove\n", list(objects), counted(objects.len() as u64, "object"));
    if objects.is_empty() || arguments.dry_run {
        context.output.print(&Cleaned { removed: false, objects }, |cleaned| match &cleaned.objects[..] {
            [] => "nothing to remove\n".to_owned(),
            objects => to_remove(objects),
        })?;
        return Ok(Exit::Success);
    }
    if !arguments.yes {
        eprint!("{}", to_remove(&objects));
        if !confirmed("remove them?")? {
            return Err(Failure::new("nothing was removed"));
        }
    }
    transaction(&*engine, Access::ReadWrite, || {
        let now = Live::read(&*engine).map_err(explain)?;
        let belongings = Belongings::of(key, &now);
        if belongings.leftovers(key, &now) != objects {
            return Err(Failure::new("the state has changed meanwhile: nothing was removed").help("try again"));
        }
        belongings.delete(&*engine).map_err(|(what, error)| {
            let failure = explain(error);
            Failure { message: format!("{what}: {}; nothing was removed", failure.message), ..failure }
        })
    })?;
    context.output.print(&Cleaned { removed: true, objects }, |cleaned| {
        format!("{}{} removed\n", list(&cleaned.objects), counted(cleaned.objects.len() as u64, "object"))
    })?;
    Ok(Exit::Success)
}

/// Why a provider has no key.
enum Unknown {
    /// Nothing has this name any more.
    Gone(Failure),
    Several(Failure),
}

/// The key of a provider, which may be gone itself.
fn key(live: &Live, text: &str) -> Result<Uuid, Unknown> {
    if let Some(key) = guids::provider::NAMES.key(text).or_else(|| Uuid::try_parse(text).ok()) {
        return Ok(key);
    }
    let named = live.providers.iter().any(|provider| provider.display.name == text);
    match find_provider(&live.providers, text) {
        Ok(provider) => Ok(provider.key),
        Err(failure) if named => Err(Unknown::Several(failure)),
        Err(failure) => Err(Unknown::Gone(failure)),
    }
}

fn list(left: &[Leftover]) -> String {
    let rows = left.iter().map(|left| {
        [
            Cell::new(left.object),
            Cell::new(left.id.map_or_else(String::new, |id| id.to_string())),
            Cell::new(&left.name),
            Cell::new(left.layer.as_deref().unwrap_or("")),
            Cell::new(left.key.braced()),
            Cell::new(&left.why),
        ]
    });
    lines(&table(["object", "id", "name", "layer", "key", "why"], rows))
}
