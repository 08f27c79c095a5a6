//! What a replay found.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Direction;
use crate::capture::Skipped;

/// A filter, by what a user knows it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterName {
    pub id: u64,
    pub name: String,
}

/// The packets that one filter, or the default, decided about at one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCount {
    pub layer: String,
    /// None: no filter decided, and the default holds.
    pub filter: Option<FilterName>,
    pub permitted: bool,
    pub packets: u64,
}

/// A flow, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    pub protocol: u8,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Of its first packet.
    pub direction: Direction,
    pub permitted: bool,
    pub layer: String,
    pub filter: Option<FilterName>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Frames in the capture, over all repetitions.
    pub packets: u64,
    pub flows: u64,
    pub permitted: u64,
    pub blocked: u64,
    pub decisions: Vec<LayerCount>,
    pub skipped: BTreeMap<Skipped, u64>,
    pub seconds: f64,
    pub packets_per_second: f64,
    pub threads: usize,
    /// How this host was told from the others.
    pub local: String,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub flow_list: Vec<Flow>,
    /// Why the capture could not be read to its end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub damage: Option<String>,
}

/// Told from time to time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Progress {
    pub packets: u64,
    pub seconds: f64,
}
