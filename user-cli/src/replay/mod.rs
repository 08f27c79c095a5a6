//! Replays a capture as traffic of the lab.

mod locality;
mod run;
mod summary;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use locality::Locality;
pub use run::{Counts, Judge, Judgement, Oriented, run};
pub use summary::{FilterName, Flow, LayerCount, Progress, Summary};

/// What to replay, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Replay {
    pub path: PathBuf,
    /// What is on this side, as addresses are written; empty: found out from the capture.
    pub local: Vec<String>,
    /// NT path of the program that all the traffic belongs to.
    pub app: Option<String>,
    pub threads: usize,
    pub repeat: u32,
    /// Whether to list every flow.
    pub flows: bool,
}

/// One made-up connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connection {
    pub protocol: u8,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub app: Option<String>,
}

/// What the filter engine decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub permitted: bool,
    /// The layer that decided.
    pub layer: String,
    /// The filter that decided; none: no filter did, and the default holds.
    pub filter: Option<FilterName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Outbound,
    Inbound,
}
