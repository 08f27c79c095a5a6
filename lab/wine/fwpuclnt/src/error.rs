//! What the functions return: the Windows error codes of "WFP Error Codes", and others.

use postern_engine::FwpError;
use postern_wine_protocol::Refusal;
use windows_sys::Win32::Foundation::{ERROR_GEN_FAILURE, ERROR_INVALID_DATA, ERROR_SUCCESS};
use windows_sys::Win32::System::Rpc::EPT_S_NOT_REGISTERED;

/// A Windows error code other than `ERROR_SUCCESS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error(pub u32);

impl Error {
    /// The base filtering engine does not run: Windows' has no endpoint then, as many a report of users has it.
    pub const NO_ENGINE: Error = Error(EPT_S_NOT_REGISTERED as u32);
}

impl From<FwpError> for Error {
    fn from(error: FwpError) -> Error {
        Error(error.win32())
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        match refusal {
            // A session that the engine does not know, behind a handle that is open, has ended with the base filtering engine.
            Refusal::Engine(FwpError::NotFound) => FwpError::SessionAborted.into(),
            Refusal::Engine(error) => error.into(),
            Refusal::BfeNotRunning => Error::NO_ENGINE,
            Refusal::UnknownSession => FwpError::SessionAborted.into(),
            Refusal::Malformed(_) => Error(ERROR_INVALID_DATA),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error(error.raw_os_error().map_or(ERROR_GEN_FAILURE, |code| code as u32))
    }
}

impl From<serde_json::Error> for Error {
    fn from(_: serde_json::Error) -> Error {
        Error(ERROR_INVALID_DATA)
    }
}

/// A function's return value.
pub fn code(result: Result<(), Error>) -> u32 {
    result.err().map_or(ERROR_SUCCESS, |Error(code)| code)
}
