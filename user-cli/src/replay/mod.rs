//! Replays a capture as traffic of the lab.

mod locality;
mod orient;
mod run;
mod summary;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use locality::Locality;
pub use orient::{Orientation, Oriented};
pub use run::{Counts, Judge, Judgement, run};
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

/// A connection, and how long its program waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attempt {
    pub connection: Connection,
    pub begun: Direction,
    /// For a callout that has put off its decision.
    pub patience: Duration,
    /// How long the connection stays open.
    pub keep_open: Duration,
}

/// How far an attempt has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// A callout has put off its decision.
    Held,
    /// The connection is open, and stays so for as long as was asked for.
    Open(Verdict),
}

/// What the filter engine decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub permitted: bool,
    /// A callout has put off its decision, and it has not come in time.
    pub held: bool,
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

impl Direction {
    /// From the local end to the remote one.
    pub fn arrow(self) -> &'static str {
        match self {
            Direction::Outbound => "->",
            Direction::Inbound => "<-",
        }
    }
}

impl From<Direction> for postern_traffic::Direction {
    fn from(direction: Direction) -> postern_traffic::Direction {
        match direction {
            Direction::Outbound => postern_traffic::Direction::Outbound,
            Direction::Inbound => postern_traffic::Direction::Inbound,
        }
    }
}
