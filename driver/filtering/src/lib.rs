//! What the Postern driver does with the filter engine, whichever driver model is around it: its callout functions, its
//! session with BFE, its work items, and the walk out of all that.
//!
//! A shell (`driver/kmdf`) makes a [`Stay`], enters its own device into it, calls [`Stay::start`] at the end of its
//! `DriverEntry`, and [`Stay::leave`] where it fails and where it unloads.
#![no_std]

extern crate alloc;

#[macro_use]
mod log;

mod applications;
mod classify;
mod clock;
mod control;
mod endpoints;
mod events;
mod flows;
mod hold;
mod injection;
mod lock;
mod policy;
mod shared;
mod spin_lock;
mod stay;
mod timer;
mod trace;
mod unregister;
mod work;
mod work_item;
mod worker;

pub use control::{Control, control, parked, unparked};
pub use fwps::status::exactly_success;
pub use log::failed;
pub use stay::{AnswerParked, Shell, Stay};
