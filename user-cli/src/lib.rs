//! The `postern` command.

mod commands;

pub mod capture;
pub mod cli;
pub mod device;
pub mod driver;
pub mod engine;
pub mod explain;
pub mod failure;
pub mod filter;
// The structures are checked on every system.
#[cfg(any(windows, test))]
mod fwpm;
pub mod interrupt;
pub mod net_event;
pub mod output;
pub mod policy;
pub mod replay;
pub mod sddl;
pub mod state;
pub mod status;

// What commands work on: a lab, or the Windows that they run on. Both offer the same items.
#[cfg(not(windows))]
pub mod lab;
#[cfg(not(windows))]
use lab as system;
#[cfg(windows)]
pub mod windows;
#[cfg(windows)]
use windows as system;
