//! The kernel-mode filter engine API.
#![no_std]
