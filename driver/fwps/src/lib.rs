//! The kernel-mode filter engine API of the Windows Filtering Platform (WFP): raw declarations in [`sys`], and over them the
//! little that a callout driver needs, with the rules that Windows documents as types and contracts.
#![no_std]

pub mod bfe;
pub mod callout;
pub mod flow;
pub mod incoming;
pub mod injection;
pub mod packet;
pub mod pending;
pub mod purge;
pub mod session;
pub mod status;
pub mod sys;
