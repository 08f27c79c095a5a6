//! What a lab tells of itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::driver::{Driver, Unloaded};

/// A running lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub process_id: u32,
    /// Version of the program that started it.
    pub version: String,
    pub uptime_seconds: u64,
    pub log: Option<PathBuf>,
    pub bfe_running: bool,
    pub drivers: Vec<Driver>,
    pub filters: usize,
    pub sessions: usize,
    pub violations: usize,
    /// A bug check has stopped it.
    pub stopped: bool,
}

/// How a lab ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stopped {
    pub unloaded: Vec<Unloaded>,
    /// Drivers that would not unload, each with the reason.
    pub refused: Vec<String>,
    /// Static objects that went with the lab.
    pub filters: usize,
}
