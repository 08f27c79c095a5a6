//! Systematic faults: a driver is led through everything that it does, once for each call that can fail and each status that the call
//! may return.
//!
//! [`scenario`] is what happens to the driver; [`sweep`] records its calls, makes a case of each failure of each call, and runs the
//! cases, each in a lab of its own.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

pub mod scenario;
pub mod sweep;
