//! The half of the driver that is Windows and no driver model.
#![no_std]
