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

use std::path::Path;

pub use document::ReadError;
pub use write::write;

use super::State;
use crate::failure::Failure;

/// A file of netsh.
#[derive(Debug, Clone)]
pub struct Dump {
    pub state: State,
    /// What netsh wrote: the whole file in UTF-8, with its byte order mark.
    pub text: String,
}

impl Dump {
    /// Reads a file, whole or not at all.
    pub fn open(path: &Path) -> Result<Dump, Failure> {
        let bytes =
            std::fs::read(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
        Dump::read(bytes).map_err(|error| {
            Failure::new(format!("{}: {error}", path.display()))
                .help("write it again with `netsh wfp show state` or `netsh wfp show filters`, as an administrator")
        })
    }

    pub fn read(bytes: Vec<u8>) -> Result<Dump, ReadError> {
        let text = document::decode(bytes)?;
        Ok(Dump { state: read::state(&text)?, text })
    }
}
