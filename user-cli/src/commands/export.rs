//! `postern export`.

use std::path::PathBuf;

use clap::Args;
use postern_engine::guids;
use postern_engine::objects::Provider;
use serde::Serialize;
use uuid::Uuid;

use crate::cli::Context;
use crate::engine::{Access, transaction};
use crate::failure::{Exit, Failure, Result};
use crate::filter::explain::explain;
use crate::output::{self, Output, counted};
use crate::policy::export::{Unsaid, export};
use crate::policy::plan::Live;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern export --provider 'Postern CLI' --out policy.toml   # what `postern filter add` has added, as a policy
  postern export                                              # every filter there is
  postern export --state wfpstate.xml --provider FWPM_PROVIDER_MPSSVC_WF

Applying the policy changes nothing. What a policy cannot say is listed on standard error, and stays when the policy is applied.")]
pub struct Arguments {
    /// Only the filters of this provider: its name, key or FWPM_PROVIDER_* name
    #[arg(long)]
    provider: Option<String>,
    /// The policy's name [default: the provider's]
    #[arg(long)]
    name: Option<String>,
    /// Read a file of `netsh wfp show state` or `show filters` instead of the filter engine
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Write to a file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct View {
    policy: String,
    filters: usize,
    unsaid: Vec<Unsaid>,
}

pub fn run(context: &Context, arguments: Arguments) -> Result<Exit> {
    let live = match &arguments.state {
        Some(path) => super::explain::read_dump(path)?.into(),
        None => {
            let engine = context.engine(false)?;
            transaction(&*engine, Access::ReadOnly, || Live::read(&*engine)).map_err(explain)?
        }
    };
    let provider = arguments.provider.as_deref().map(|text| find_provider(&live.providers, text)).transpose()?;
    let name = arguments.name.as_deref().or(provider.map(|provider| &*provider.display.name)).unwrap_or("exported");
    let export = export(&live, provider, name)?;
    let view = View { policy: export.document.to_string(), filters: export.filters, unsaid: export.unsaid };
    if context.output == Output::Human {
        for Unsaid { id, name, layer, why, .. } in &view.unsaid {
            eprintln!("not said: filter {id} at {layer} ({name}): {why}");
        }
    }
    let Some(file) = &arguments.out else {
        context.output.print(&view, |view| view.policy.clone())?;
        return Ok(Exit::Success);
    };
    std::fs::write(file, &view.policy)
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", file.display())))?;
    context.output.print(&view, |view| {
        let said = counted(view.filters as u64, "filter");
        format!("{said} written to {}, {} not said\n", file.display(), output::count(view.unsaid.len() as u64))
    })?;
    Ok(Exit::Success)
}

/// The provider of a name, a key or a symbol.
pub fn find_provider<'a>(providers: &'a [Provider], text: &str) -> Result<&'a Provider> {
    let key = guids::provider::NAMES.key(text).or_else(|| Uuid::try_parse(text).ok());
    let found: Vec<&Provider> = providers
        .iter()
        .filter(|provider| key.map_or(provider.display.name == text, |key| provider.key == key))
        .collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err(Failure::new(format!("there is no provider '{text}'")).help("`postern state` shows them")),
        _ => Err(Failure::new(format!("{} providers are named '{text}'", found.len())).help("give the key of one")),
    }
}
