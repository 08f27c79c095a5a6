//! The Windows that this program runs on.

pub mod app_id;
mod changes;
pub mod device;
pub mod driver;
mod engine;
mod error;
mod holders;
mod net_events;
mod privilege;
pub mod signals;
mod system;
pub mod without_lab;

use postern_engine::Objects;
use postern_engine::objects::Session;

use crate::engine::FilterEngine;
use crate::failure::Result;
use crate::filter::explain::explain;
use crate::state::Loaded;

/// Where commands work: this machine.
pub struct Address;

impl Address {
    /// Whose state is read here, for people.
    pub fn whose(&self) -> String {
        "this machine".to_owned()
    }
}

/// There is only one Windows here, so there is nothing to choose.
#[derive(Debug, clap::Args)]
pub struct Options {}

impl Options {
    pub fn address(&self) -> Result<Address> {
        Ok(Address)
    }
}

pub const EXAMPLES: &str = "\
Examples:
  postern driver load
  postern filter add --layer connect --action block --protocol tcp --remote 192.0.2.0/24
  postern watch --for 10s
  postern state --format xml --out wfpstate.xml
  postern driver unload

Commands that need a lab say so: labs run on Linux.";

/// Opens a session with the filter engine.
pub fn open_engine(_: &Address, session: Session) -> Result<Box<dyn FilterEngine>> {
    Ok(Box::new(engine::WindowsEngine::open(&session).map_err(explain)?))
}

/// Another machine's objects are for a lab.
pub fn load_state(_: &Address, _: Objects, _: bool) -> Result<Loaded> {
    Err(without_lab::needs_lab())
}

/// UTF-16 with a terminator.
fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}
