//! What a client and a lab say to each other: one JSON message a line.
//!
//! A client asks, the lab answers with any number of `progress` and then one `done` or `refused`. A connection carries one
//! request at a time, and [`Request::Cancel`] beside it. The sessions and the handles that a client opened live as long as its
//! connection; when it breaks, a request that waits for a driver is cancelled.

use postern_engine::objects::Session;
use postern_engine::{Call, FwpError, Objects};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;
use crate::output::hex;
use crate::replay::{Attempt, Replay};

/// Version of this protocol. Lab and client must have the same: both come from one executable.
pub const VERSION: u32 = 3;

/// The first line that a lab sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Greeting {
    pub postern_lab: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Answer: [`Status`](super::status::Status).
    Status,
    /// Unloads all drivers and ends the lab. Answer: [`Stopped`](super::status::Stopped).
    Stop,
    /// Answer: the session's handle.
    EngineOpen(Session),
    Engine {
        session: u64,
        call: Call,
    },
    /// Puts a machine's objects in the place of the lab's. Answer: [`Loaded`](crate::state::Loaded).
    StateLoad {
        objects: Objects,
        /// Even if objects or sessions of the lab are lost.
        replace: bool,
    },
    /// Answer: [`Driver`](crate::driver::Driver).
    DriverLoad {
        service: String,
        image: Hex,
    },
    /// Progress while it waits for handles: [`Stopping`](crate::driver::Stopping). Answer: [`Unload`](crate::driver::Unload).
    DriverUnload {
        service: String,
        /// Whether to wait until the handles to its devices are closed.
        wait: bool,
    },
    /// Answer: [`Opened`].
    DeviceOpen {
        device: String,
        /// What others are told of who holds the handle.
        command: String,
    },
    DeviceClose {
        handle: u64,
    },
    /// Answer: [`Hex`].
    DeviceControl {
        handle: u64,
        code: u32,
        input: Hex,
        output_length: usize,
    },
    /// Answer: [`Summary`](crate::replay::Summary).
    Replay(Replay),
    /// Ends the request in progress early. It has no answer of its own.
    Cancel,
    /// Progress: [`Stage`](crate::replay::Stage). Answer: [`Verdict`](crate::replay::Verdict).
    Connect(Attempt),
    Inject(Fault),
    SetBfeRunning(bool),
    /// Answer: a list of lines.
    Log,
    /// Answer: a list of [`Violation`](crate::driver::Violation).
    Violations,
}

/// An open device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opened {
    pub handle: u64,
    /// The service of the driver whose device it is.
    pub service: String,
}

/// A kernel function that is to fail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    pub function: String,
    pub status: u32,
    pub occurrences: Occurrences,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occurrences {
    /// The next so many calls.
    Next(u32),
    /// Only the call of this number, counted from 1 from now on.
    Nth(u32),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    Progress(Value),
    Done(Value),
    Refused(Refusal),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// By the filter engine.
    Engine(FwpError),
    /// By a device, or the kernel that the lab is: an `NTSTATUS`.
    Status(u32),
    /// By the lab itself.
    Lab(Failure),
}

impl From<FwpError> for Refusal {
    fn from(error: FwpError) -> Refusal {
        Refusal::Engine(error)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal::Lab(failure)
    }
}

/// Bytes, as a string of hexadecimal digits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Hex, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes =
            pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<Vec<u8>>>();
        match bytes {
            Some(bytes) if rest.is_empty() => Ok(Hex(bytes)),
            _ => Err(serde::de::Error::custom("not an even number of hexadecimal digits")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_way_through_a_message() {
        let bytes = Hex((0..=255).collect());
        let line = serde_json::to_string(&bytes).unwrap();
        assert_eq!(serde_json::from_str::<Hex>(&line).unwrap(), bytes);
        assert!(serde_json::from_str::<Hex>("\"abc\"").is_err());
        assert!(serde_json::from_str::<Hex>("\"zz\"").is_err());
    }
}
