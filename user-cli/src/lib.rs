//! The `postern` command.

pub mod capture;
pub mod engine;
pub mod failure;
pub mod filter;
pub mod lab;
pub mod output;
pub mod replay;
pub mod status;
