//! The lab: a background process that runs drivers and the filter engine.

pub mod address;
pub mod client;
pub mod daemon;
pub mod engine;
pub mod handles;
pub mod host;
pub mod message;
pub mod server;
pub mod status;
