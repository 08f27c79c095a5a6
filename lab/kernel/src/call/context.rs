//! What a call into an image is, in words.

use core::fmt;

/// What an image is being called for; it names the culprit if the call goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct CallContext<'a> {
    /// The kind of function called, as its documentation names it: `classifyFn`, `DriverEntry`.
    pub what: &'static str,
    /// Whose function it is: `callout {…} of driver postern`.
    pub object: &'a str,
    /// Where the system was when it called, if that says more: `INBOUND_TRANSPORT_V4`.
    pub at: &'a str,
}

impl fmt::Display for CallContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.what, self.object)?;
        if !self.at.is_empty() {
            write!(f, ", called at {}", self.at)?;
        }
        Ok(())
    }
}

/// The lab has stopped at a bug check; nothing enters an image any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lab has stopped at a bug check; see its violations, then start a new lab")]
pub struct Stopped;
