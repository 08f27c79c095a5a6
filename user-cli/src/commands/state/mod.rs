//! `postern state` and `postern state load`.

mod load;
mod summary;

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::Context;
use crate::failure::{Exit, Failure, Result};
use crate::filter::explain::explain;
use crate::output::{self, Output};
use crate::state::State;
use crate::state::xml::{self, Dump};
use summary::Summary;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  postern state
  postern state --format xml --out wfpstate.xml     # as `netsh wfp show state` writes it
  postern state --format json
  postern state --from wfpstate.xml                 # what a file of netsh says, without a lab
  postern state load wfpstate.xml                   # puts a machine's filters into the lab")]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Show what a file of `netsh wfp show state` or `netsh wfp show filters` says
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    result: ResultOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Puts what a file of netsh says into the lab, in place of what is there
    Load(load::Load),
}

/// How the state is shown, and where.
#[derive(Debug, Args)]
struct ResultOptions {
    /// table: what there is beside what Windows brings along; json: the same; xml: all of it, as netsh writes it
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Write to a file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Xml,
}

pub fn run(context: &Context, arguments: Arguments) -> Result<Exit> {
    if let Some(Command::Load(load)) = arguments.command {
        return load.run(context);
    }
    match &arguments.from {
        Some(path) => {
            let dump = Dump::open(path)?;
            arguments.result.show(context, &dump.state, Some(&dump.text))?;
        }
        None => {
            let engine = context.engine(false)?;
            let state = State::read(&*engine).map_err(explain)?;
            arguments.result.show(context, &state, None)?;
        }
    }
    Ok(Exit::Success)
}

impl ResultOptions {
    fn is_given(&self) -> bool {
        self.format.is_some() || self.out.is_some()
    }

    /// Shows a state. A file of netsh is written as it was read: `text`.
    fn show(&self, context: &Context, state: &State, text: Option<&str>) -> Result<()> {
        let default = if context.output == Output::Json { Format::Json } else { Format::Table };
        let bytes: Cow<'_, [u8]> = match (self.format.unwrap_or(default), text) {
            (Format::Table, _) => Cow::Owned(Summary::new(state).to_text().into_bytes()),
            (Format::Json, _) => Cow::Owned(output::json(&Summary::new(state))?.into_bytes()),
            (Format::Xml, Some(text)) => Cow::Borrowed(text.as_bytes()),
            (Format::Xml, None) => {
                let mut bytes = Vec::new();
                xml::write(state, &mut bytes)
                    .map_err(|error| Failure::new(format!("cannot write the state: {error}")))?;
                Cow::Owned(bytes)
            }
        };
        match &self.out {
            None => output::write(&String::from_utf8_lossy(&bytes)),
            Some(path) => {
                let write = || {
                    let mut file = BufWriter::new(File::create(path)?);
                    file.write_all(&bytes)?;
                    file.flush()
                };
                write()
                    .map_err(|error: std::io::Error| Failure::new(format!("cannot write {}: {error}", path.display())))
            }
        }
    }
}
