//! The XML of `netsh wfp show state` and `netsh wfp show filters`, read and written; `docs/state-xml.md` describes it.
//!
//! Reading takes the objects out of a file. Whoever writes a file again writes its text ([`Dump::text`]): nothing in it is lost, whatever
//! Windows has put there. Writing makes the file of a live engine's objects.

mod document;
mod names;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use document::ReadError;
pub use write::write;

use super::State;

/// A file of netsh.
#[derive(Debug, Clone)]
pub struct Dump {
    pub state: State,
    /// What netsh wrote: the whole file in UTF-8, with its byte order mark.
    pub text: String,
}

impl Dump {
    pub fn read(bytes: Vec<u8>) -> Result<Dump, ReadError> {
        let text = document::decode(bytes)?;
        Ok(Dump { state: read::state(&text)?, text })
    }
}
