//! The built `postern_wdm.sys`, in the lab: the tests of `main.rs`.

/// The image that the tests load.
pub const IMAGE: &[u8] = postern_image::POSTERN_WDM_SYS;

mod access;
mod faults;
mod flows;
mod holding;
mod leaving;
mod parking;
mod rejecting;
mod requests;
mod schedules;
mod starting;
mod support;
mod verdicts;
