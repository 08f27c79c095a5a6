//! What is told when a command does not succeed: what, where, what to do; and the exit code.

use std::fmt;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::capture::CaptureError;

/// The exit codes of `postern`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Exit {
    Success = 0,
    /// The command did not do what was asked.
    Failed = 1,
    /// The command line is not valid.
    Usage = 2,
    /// There is no lab to talk to.
    NoLab = 3,
    /// `connect` and `accept`: the connection was blocked.
    Blocked = 4,
    /// A driver left something behind, was called late, or broke a contract.
    LeftBehind = 5,
    /// Not ended yet: an unload waits for handles, a connection for an answer.
    Waiting = 6,
    /// `plan`: applying the policy would change something. `diff`: the states are different.
    Differs = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    #[serde(rename = "kind")]
    pub exit: Exit,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub help: Option<String>,
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub fn new(message: impl fmt::Display) -> Failure {
        Failure { exit: Exit::Failed, message: message.to_string(), help: None }
    }

    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure { exit: Exit::Usage, ..Failure::new(message) }
    }

    /// A driver has done what it should not.
    pub fn left_behind(message: impl fmt::Display) -> Failure {
        Failure { exit: Exit::LeftBehind, ..Failure::new(message) }
    }

    /// Adds what to do.
    pub fn help(self, help: impl fmt::Display) -> Failure {
        Failure { help: Some(help.to_string()), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<CaptureError> for Failure {
    fn from(error: CaptureError) -> Failure {
        let help = match &error {
            CaptureError::NotACapture { .. } => Some("give a file that tcpdump, Wireshark or pktmon wrote"),
            CaptureError::NotAFile { .. } => Some("write it to a file first"),
            CaptureError::TruncatedHeader { .. } | CaptureError::BadHeader { .. } | CaptureError::Empty { .. } => {
                Some("there is nothing in it to replay: capture again")
            }
            CaptureError::Truncated { .. } => Some("the packets before were replayed; capture again for the rest"),
            _ => None,
        };
        Failure { help: help.map(str::to_owned), ..Failure::new(error) }
    }
}
