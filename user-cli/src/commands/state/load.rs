//! `postern state load`: a machine's objects in the lab.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use postern_engine::Doubt;
use serde::Serialize;

use super::ResultOptions;
use crate::cli::Context;
use crate::failure::{Exit, Result};
use crate::output::counted;
use crate::state::xml::Dump;
use crate::state::{Loaded, ObjectCounts};
use crate::system;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern state load wfpstate.xml
  postern state load filters.xml --replace
  postern state load wfpstate.xml --format xml --out copy.xml    # also writes what it has read

Nothing is left of what the lab held before, and nothing is changed if the file is damaged. Callouts of the machine whose drivers
are not in the lab decide nothing.")]
pub struct Load {
    /// A file of `netsh wfp show state` or `netsh wfp show filters`
    file: PathBuf,
    /// Even if objects or sessions of the lab are lost
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    result: ResultOptions,
}

/// What is told of it.
#[derive(Serialize)]
struct Report {
    file: PathBuf,
    loaded: ObjectCounts,
    #[serde(flatten)]
    rest: Loaded,
}

impl Load {
    pub fn run(self, context: &Context) -> Result<Exit> {
        let dump = Dump::open(&self.file)?;
        // Before anything is changed, as this may fail.
        if self.result.is_given() {
            self.result.show(context, &dump.state, Some(&dump.text))?;
        }
        let loaded = system::load_state(&context.address, dump.state.objects(), self.replace)?;
        let report = Report { loaded: ObjectCounts::of(&dump.state), file: self.file, rest: loaded };
        if self.result.is_given() && self.result.out.is_none() {
            return Ok(Exit::Success);
        }
        context.output.print(&report, Report::to_text)?;
        Ok(Exit::Success)
    }
}

impl Report {
    fn to_text(&self) -> String {
        let mut text = format!("loaded {}: {}\n", self.file.display(), self.loaded);
        if self.rest.replaced != ObjectCounts::default() {
            text += &format!("in place of {}\n", self.rest.replaced);
        }
        if self.rest.elsewhere > 0 {
            let callouts = counted(self.rest.elsewhere as u64, "callout");
            text += &format!("{callouts} registered on the machine and not here: they decide nothing\n");
        }
        let mut kinds: BTreeMap<&str, (u64, String)> = BTreeMap::new();
        for doubt in &self.rest.doubts {
            let (kind, example) = describe(doubt);
            kinds.entry(kind).or_insert((0, example)).0 += 1;
        }
        for (kind, (count, example)) in kinds {
            text += &format!("{count} {kind}, such as {example}\n");
        }
        text
    }
}

/// What kind of doubt it is, in the plural, and what of.
fn describe(doubt: &Doubt) -> (&'static str, String) {
    match doubt {
        Doubt::UnknownSublayer { key, weight } => {
            ("sublayers are not in the file", format!("{}, which got weight {weight}", key.braced()))
        }
        Doubt::UnknownCallout { key } => {
            ("callouts are not in the file and taken for registered", key.braced().to_string())
        }
        Doubt::NotEvaluated { filter, error } => {
            ("filters are kept and cannot be evaluated", format!("filter {filter}: {error}"))
        }
        Doubt::Weight { filter, given, computed } => (
            "effective weights are not those that this engine computes, and stay as they are",
            format!("that of filter {filter}: {given}, computed {computed}"),
        ),
    }
}
