//! The commands, a file each.

pub mod ask;
pub mod audit;
pub mod completions;
pub mod connect;
pub mod driver;
pub mod endure;
pub mod faults;
pub mod filter;
pub mod flows;
pub mod lab;
pub mod replay;
pub mod state;
pub mod watch;
