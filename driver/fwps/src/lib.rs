//! The kernel-mode filter engine API of the Windows Filtering Platform (WFP).
#![no_std]

pub mod sys;
