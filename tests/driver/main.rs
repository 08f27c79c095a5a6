//! The built `postern.sys`, in the lab: how it starts, judges traffic, answers requests and leaves.

mod faults;
mod flows;
mod holding;
mod leaving;
mod requests;
mod starting;
mod support;
mod verdicts;
