//! `fwpuclnt.dll` for Wine: what programs call to manage the filter engine, which is in `fwpkclnt.sys`.
//!
//! The structures are read and made by the lab's own code, which does the same for drivers; between the two sides travel the engine's
//! objects, as `postern_wine_protocol` has them.
#![cfg(windows)]
#![allow(non_snake_case, reason = "functions and fields have the names of fwpmu.h")]

mod app_id;
mod enumerate;
mod error;
mod export;
mod fwp;
mod handles;
mod kernel;
mod net_events;
mod objects;
mod session;

#[allow(dead_code, unused_imports, unused_macros, reason = "a file of the lab's, which needs more of it")]
#[path = "../../../kernel/src/ptr.rs"]
mod ptr;
