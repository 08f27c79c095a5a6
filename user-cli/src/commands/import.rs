//! `postern import`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, Output, counted};
use crate::policy::import::{self, Note};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern import --from firewall-registry rules.reg --out policy.toml
  postern import --from netfirewallrule rules.json | tee policy.toml
  postern import --from simplewall profile.xml --name simplewall

A rule that a policy cannot say whole is left out and listed on standard error: half of it would match more. Paths with variables
are taken to be on C:. A block has more weight than a permit.")]
pub struct Arguments {
    /// What the file is
    #[arg(long)]
    from: import::From,
    /// The file
    file: PathBuf,
    /// The policy's name
    #[arg(long, default_value = "imported")]
    name: String,
    #[command(flatten)]
    wider: import::Wider,
    /// Write to a file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct View {
    policy: String,
    rules: usize,
    untranslated: Vec<Note>,
}

pub fn run(context: &Context, arguments: Arguments) -> Result<Exit> {
    let file = arguments.file.display();
    let bytes = std::fs::read(&arguments.file).map_err(|error| Failure::new(format!("cannot read {file}: {error}")))?;
    let import = import::import(arguments.from, &bytes, &arguments.name, arguments.wider)
        .map_err(|failure| Failure { message: format!("{file}: {}", failure.message), ..failure })?;
    let view = View { policy: import.document.to_string(), rules: import.rules, untranslated: import.notes };
    if context.output == Output::Human {
        for Note { rule, what } in &view.untranslated {
            eprintln!("not translated: {rule}: {what}");
        }
    }
    let Some(out) = &arguments.out else {
        context.output.print(&view, |view| view.policy.clone())?;
        return Ok(Exit::Success);
    };
    std::fs::write(out, &view.policy)
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", out.display())))?;
    context.output.print(&view, |view| {
        let left_out = output::count(view.untranslated.len() as u64);
        format!("{} written to {}, {left_out} not translated\n", counted(view.rules as u64, "rule"), out.display())
    })?;
    Ok(Exit::Success)
}
