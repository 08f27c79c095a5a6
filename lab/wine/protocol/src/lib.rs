//! What programs under Wine and the filter engine there say to each other: one I/O control code of one device, with JSON both ways.
//!
//! `fwpuclnt.dll` sends what the `Fwpm*` functions ask for, the test program what only a lab can do. Sessions and traffic belong to the
//! handle that they were begun with, and end with it.

use std::net::SocketAddr;

pub use postern_engine::Call;
use postern_engine::objects::Session;
use postern_engine::{FwpError, SessionId};
use serde::{Deserialize, Serialize};

/// The device's name, for drivers.
pub const DEVICE: &str = r"\Device\PosternFilterEngine";
/// Its symbolic link, for drivers.
pub const LINK: &str = r"\DosDevices\PosternFilterEngine";
/// What programs open.
pub const PATH: &str = r"\\.\PosternFilterEngine";

/// `CTL_CODE(FILE_DEVICE_NETWORK, 0x801, METHOD_BUFFERED, FILE_ANY_ACCESS)`.
pub const ASK: u32 = 0x12 << 16 | 0x801 << 2;

/// Room for the longest answer.
pub const LONGEST_ANSWER: usize = 4 << 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// `FwpmEngineOpen0`. Answer: [`SessionId`].
    Open(Session),
    /// A call within a session. Answer: that of [`postern_engine::Answer`].
    Call(SessionId, Call),
    /// A program connects, or is connected to. Answer: [`Outcome`].
    Connection(Connection),
    /// Every flow that was begun with this handle ends.
    EndFlows,
    /// So many threads begin connections and end them, until told to stop.
    Flood { threads: u32 },
    /// They stop. Answer: how many connections they have begun.
    EndFlood,
    /// The base filtering engine starts or stops.
    SetBfeRunning(bool),
    /// A function of the filter engine fails, the next so many times.
    Fail { function: String, status: u32, times: u32 },
    /// Answer: [`Report`].
    Report,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connection {
    pub inbound: bool,
    /// 6 for TCP, 17 for UDP.
    pub protocol: u8,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// NT path of the program.
    pub app: Option<String>,
}

/// What became of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub blocked: bool,
    /// The layer that decided.
    pub layer: String,
    /// The filter that decided, if one did.
    pub filter: Option<u64>,
    /// Whether the flow waits for a callout that has put off its decision.
    pub pended: bool,
}

/// What the filter engine has to say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What drivers did wrong, since the engine was loaded.
    pub violations: Vec<String>,
    /// Every driver that has called the engine.
    pub drivers: Vec<Driver>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Driver {
    pub name: String,
    /// Whether its image is in the process.
    pub loaded: bool,
    /// Callouts that it has registered now.
    pub callouts: usize,
    /// What it holds now.
    pub holds: Vec<String>,
}

/// The answer's value is JSON of the type that the request names.
pub type Answer<T> = Result<T, Refusal>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    Engine(FwpError),
    /// The base filtering engine does not run.
    BfeNotRunning,
    /// The session was not opened with this handle.
    UnknownSession,
    /// The request cannot be read.
    Malformed(String),
}
