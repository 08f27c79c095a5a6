//! What the Postern driver does with the filter engine, whichever driver model is around it: its callout functions, its
//! session with BFE, its work items, and the walk out of all that.
//!
//! A shell (`driver/kmdf`, `driver/wdm`) has an [`ImageStay`]. In its `DriverEntry` it enters its own device into the [`Stay`], then
//! calls [`Stay::start`]; in its unload function it leaves.
#![no_std]

extern crate alloc;

#[macro_use]
mod log;

mod applications;
mod classify;
mod clock;
mod control;
mod device;
mod endpoints;
mod events;
mod flows;
mod hold;
mod image;
mod injection;
mod lock;
mod policy;
mod reject;
mod shared;
mod spin_lock;
mod stay;
mod timer;
mod trace;
mod unregister;
mod work;
mod work_item;
mod worker;

pub use control::{Control, control, park, parked, unparked};
pub use device::{Buffers, DEVICE_LINK, DEVICE_NAME, SYSTEM_AND_ADMINISTRATORS, expect_buffered, string};
pub use fwps::status::exactly_success;
pub use image::ImageStay;
pub use log::failed;
pub use postern_protocol::ioctl::WATCHERS;
pub use stay::{AnswerParked, Shell, Stay};
