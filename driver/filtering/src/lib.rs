//! What the Postern driver does with the filter engine, whichever driver model is around it: its callout functions, its
//! session with BFE, its work items, and the walk out of all that.
//!
//! A shell (`driver/kmdf`, `driver/wdm`) has an [`ImageStay`]. In its `DriverEntry` it enters its own device into the [`Stay`], then
//! calls [`Stay::start`]; in its unload function it leaves.
#![no_std]

extern crate alloc;

#[macro_use]
mod log;

mod classify;
mod control;
mod device;
mod image;
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
pub use device::{Buffers, DEVICE_LINK, DEVICE_NAME, SYSTEM_AND_ADMINISTRATORS, expect_buffered, string};
pub use fwps::status::exactly_success;
pub use image::ImageStay;
pub use log::failed;
pub use stay::{Shell, Stay};
