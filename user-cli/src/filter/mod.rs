//! Filters: how they are written on the command line, and what becomes of that.

pub mod address;
pub mod answer;
pub mod app_id;
pub mod describe;
pub mod explain;
pub mod interface;
pub mod layer;
pub mod own;
pub mod ports;
pub mod protocol;
pub mod search;
pub mod sid;
pub mod spec;
pub mod weight;
