//! The `postern` command.

mod commands;

pub mod capture;
pub mod cli;
pub mod device;
pub mod engine;
pub mod failure;
pub mod filter;
pub mod interrupt;
pub mod lab;
pub mod output;
pub mod replay;
pub mod state;
pub mod status;
