//! A model of the Windows filter engine: the objects that the base filtering engine (BFE) keeps, and the
//! run-time view that classifies connections and packets.
//!
//! Everything here is deterministic and free of I/O, threads and clocks; the lab's kernel (`lab/kernel`) puts an engine behind
//! the kernel and user functions of Windows.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod objects;
