//! What the Postern driver decides without calling Windows: the gate through which all work enters, the ledger that is
//! walked to leave, the loop that unregisters a callout, the flows that are counted, the operations that are held, the
//! events that are watched, verdicts, the resets that refuse a connection, and the answers to requests.
//!
//! No Windows type and no allocation is in here, so that tests on any machine can reach every path.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod applications;
pub mod events;
pub mod flows;
pub mod gate;
pub mod held;
pub mod ledger;
pub mod receipt;
pub mod request;
pub mod reset;
pub mod status;
#[cfg(not(loom))]
mod sync;
#[cfg(loom)]
pub mod sync;
pub mod unregister;
pub mod verdict;

pub use status::Status;
