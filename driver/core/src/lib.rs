//! What the driver decides without calling Windows.
#![no_std]
