//! A driver, as `postern driver` shows it.

use postern_core::receipt;
use serde::{Deserialize, Serialize};

/// A loaded driver.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Driver {
    pub service: String,
    /// Address and size of the image, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size: Option<u64>,
    /// The image's file, as the service names it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image: Option<String>,
    /// What it has registered with the filter engine, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub registrations: Option<Vec<String>>,
    pub open_handles: Vec<String>,
    /// Who has opened them.
    pub holders: Vec<Holder>,
    /// An unload was asked for, and waits for the handles to be closed.
    pub unload_pending: bool,
    /// When it has just been loaded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub load_milliseconds: Option<f64>,
}

/// A program that has a handle to a device open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub process_id: u32,
    pub command: String,
    /// UTC; known in a lab.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<String>,
    /// Requests in the driver that have not ended; known in a lab.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parked: Option<usize>,
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
    /// How many callouts the driver had registered before, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub registrations: Option<usize>,
    /// What the driver printed meanwhile, where that can be read: its receipt.
    pub receipt: Vec<String>,
    /// Who has looked for what it left behind.
    pub checked: Checked,
    /// What it left behind, and what it did wrong.
    pub violations: Vec<Violation>,
}

/// What an unload was checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checked {
    /// All that a lab sees: every call, allocation and object, and calls into the image that has gone.
    Lab,
    /// The objects that the filter engine shows to programs.
    FilterEngine,
    Nothing,
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
