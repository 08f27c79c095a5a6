//! The contract between the Postern driver and the programs that talk to it.
#![no_std]
