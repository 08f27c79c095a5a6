//! The commands, a file each.

pub mod ask;
pub mod changes;
pub mod clean;
pub mod completions;
pub mod diff;
pub mod driver;
pub mod events;
pub mod explain;
pub mod export;
pub mod filter;
pub mod flows;
pub mod import;
pub mod plan;
pub mod state;
pub mod watch;

// Those that need a lab.
#[cfg(not(windows))]
pub mod audit;
#[cfg(not(windows))]
pub mod connect;
#[cfg(not(windows))]
pub mod endure;
#[cfg(not(windows))]
pub mod faults;
#[cfg(not(windows))]
pub mod lab;
#[cfg(not(windows))]
pub mod replay;

#[cfg(windows)]
pub use crate::windows::without_lab::{connect, endure, lab, replay};
