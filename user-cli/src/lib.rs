//! The `postern` command.

pub mod capture;
