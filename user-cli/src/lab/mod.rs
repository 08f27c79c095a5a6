//! The lab: a background process that runs drivers and the filter engine.

pub mod address;
pub mod app_id;
mod changes;
pub mod client;
pub mod daemon;
pub mod device;
pub mod driver;
pub mod engine;
pub mod handles;
pub mod host;
pub mod message;
pub mod server;
pub mod signals;
pub mod status;
mod store;

use postern_engine::Objects;
use postern_engine::objects::Session;

pub use address::Address;

use crate::cli::Context;
use crate::engine::FilterEngine;
use crate::failure::Result;
use crate::filter::explain::explain;
use crate::state::Loaded;

/// Which lab to work on.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The lab to talk to: its name, or the path of its socket
    #[arg(long, global = true, value_name = "NAME|PATH", env = "POSTERN_LAB", default_value = "default")]
    lab: String,
}

impl Options {
    pub fn address(&self) -> Result<Address> {
        Address::new(&self.lab)
    }
}

pub const EXAMPLES: &str = "\
Examples:
  postern lab start
  postern driver load
  postern filter add --layer connect --action block --protocol tcp --remote 192.0.2.0/24
  postern connect --protocol tcp --remote 192.0.2.7:443
  postern replay capture.pcapng
  postern watch --for 10s
  postern state --format xml --out wfpstate.xml
  postern driver unload";

/// Opens a session with the filter engine.
pub fn open_engine(address: &Address, session: Session) -> Result<Box<dyn FilterEngine>> {
    let engine = engine::LabEngine::connect(client::Client::connect(address)?, session);
    Ok(Box::new(engine.map_err(explain)?))
}

/// Puts a machine's objects into the lab.
pub fn load_state(address: &Address, objects: Objects, replace: bool) -> Result<Loaded> {
    let client = client::Client::connect(address)?;
    Ok(client.call(&message::Request::StateLoad { objects, replace })?)
}

impl Context {
    pub fn client(&self) -> Result<client::Client> {
        client::Client::connect(&self.address)
    }
}
