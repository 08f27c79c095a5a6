//! Shared by the tests.

pub mod capture;
pub mod lab;
