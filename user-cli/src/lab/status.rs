//! What a lab tells of itself and of the drivers in it.

use std::path::PathBuf;

use postern_core::receipt;
use serde::{Deserialize, Serialize};

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

/// A loaded driver.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Driver {
    pub service: String,
    /// Address and size of the image.
    pub base: u64,
    pub size: u64,
    /// What it has registered with the filter engine.
    pub registrations: Vec<String>,
    pub open_handles: Vec<String>,
    /// Who has opened them.
    pub holders: Vec<Holder>,
    /// An unload was asked for, and waits for the handles to be closed.
    pub unload_pending: bool,
    /// When it has just been loaded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub load_milliseconds: Option<f64>,
}

/// A client of the lab that has a handle to a device open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub process_id: u32,
    pub command: String,
    /// UTC.
    pub since: String,
    /// Requests in the driver that have not ended.
    pub parked: usize,
}

/// A driver that is unloaded when its last handle is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    pub service: String,
    pub open_handles: Vec<String>,
    pub holders: Vec<Holder>,
}

/// The answer to a request to unload a driver.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unload {
    Done(Unloaded),
    Waits(Stopping),
}

/// What came of unloading a driver.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Unloaded {
    pub service: String,
    pub milliseconds: f64,
    /// What the driver had registered with the filter engine before.
    pub registrations: usize,
    /// What the driver printed meanwhile: its receipt.
    pub receipt: Vec<String>,
    /// What it left behind, and what it did wrong.
    pub violations: Vec<Violation>,
}

impl Unloaded {
    /// Nothing was left behind, and the driver does not say otherwise.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && !self.receipt.iter().any(|line| line.contains(receipt::INCOMPLETE))
    }

    /// Whether the driver counted everything it began as ended.
    pub fn has_complete_receipt(&self) -> bool {
        self.receipt.iter().any(|line| line.contains(receipt::COMPLETE))
    }

    /// How many of something the driver began during its stay, as its receipt says; 0 if it says nothing.
    pub fn begun(&self, what: &str) -> u64 {
        self.number(&format!("receipt: {what}: "))
    }

    /// How many of something were in flight when the driver began to leave; 0 if it says nothing.
    pub fn in_flight(&self, what: &str) -> u64 {
        self.number(&format!("{}{what}: ", receipt::IN_FLIGHT))
    }

    /// The number that follows these words.
    fn number(&self, words: &str) -> u64 {
        let after = self.receipt.iter().find_map(|line| line.split_once(words));
        after.and_then(|(_, number)| number.split(' ').next()?.parse().ok()).unwrap_or(0)
    }
}

/// Something that a driver did and should not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    pub what: String,
    /// Image, offset and function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub doing: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub remedy: String,
    /// How often it happened.
    pub times: u64,
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
