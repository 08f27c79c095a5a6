//! The built `postern.sys`, in the lab: how it starts, judges traffic, answers requests and leaves. `wdm.rs` runs the same tests over
//! `postern_wdm.sys`.

/// The image that the tests load.
pub const IMAGE: &[u8] = postern_image::POSTERN_SYS;

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
