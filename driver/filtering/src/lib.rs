//! What the Postern driver does with the filter engine, whichever driver model is around it: its callout functions, its
//! session with BFE, its work items, and the walk out of all that.
//!
//! A shell (`driver/kmdf`) makes a [`Stay`], enters its own device into it, calls [`Stay::start`] at the end of its
//! `DriverEntry`, and [`Stay::leave`] where it fails and where it unloads.
#![no_std]

extern crate alloc;

#[macro_use]
mod log;

mod classify;
mod control;
mod lock;
mod policy;
mod shared;
#[allow(dead_code, reason = "the driver holds no operations yet")]
mod spin_lock;
mod stay;
#[allow(dead_code, reason = "the driver holds no operations yet")]
mod timer;
mod trace;
mod unregister;
mod work_item;
#[allow(dead_code, reason = "the driver holds no operations yet")]
mod worker;

pub use control::control;
pub use fwps::status::exactly_success;
pub use log::failed;
pub use stay::{Shell, Stay};
