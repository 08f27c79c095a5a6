//! Policies: filters as a file says them, compared with those that there are, and put in force in one transaction.
//!
//! [`document`] is the file, [`compile`] makes objects of it, [`plan`] compares them with the engine's, [`apply`] makes the engine's so.
//! [`export`] is the way back. [`leftover`] tells what of a provider is still there.

pub mod apply;
pub mod compile;
pub mod document;
pub mod export;
pub mod import;
pub mod leftover;
pub mod plan;
pub mod problem;
mod value;
pub mod warn;
mod words;

use compile::Policy;
use document::Document;
use problem::{Problem, Source};

/// Reads a policy; all that is wrong with it, otherwise.
pub fn read(source: &Source) -> Result<Policy, Vec<Problem>> {
    let document: Document = toml::from_str(&source.text)
        .map_err(|error| vec![Problem::error(error.span().unwrap_or(0..0), error.message())])?;
    compile::compile(&document)
}
