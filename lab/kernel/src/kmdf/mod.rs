//! The kernel-mode driver framework: `wdfldr.sys` and the table of functions that it hands out.
//!
//! Written as the framework is: a client of the I/O manager that fills in `DRIVER_OBJECT` and turns IRPs
//! into requests. Behaviour follows the framework's published source (microsoft/Windows-Driver-Frameworks)
//! and its documentation; what a driver does against the rules is reported even where Windows only
//! notices under Driver Verifier.
//!
//! `lab/wine` compiles these files for Wine's kernel too, without timers, work items, DPCs and registry keys, which the driver does not use.

mod attributes;
mod bind;
mod client;
mod collection;
#[cfg(target_os = "linux")]
mod deferred;
mod device;
mod dispatch;
mod driver;
mod file;
mod general;
mod init;
mod lock;
mod memory;
mod names;
mod object;
mod queue;
#[cfg(target_os = "linux")]
mod registry;
mod report;
mod request;
mod request_buffers;
mod request_cancel;
mod status;
mod string;
mod table;
#[cfg(test)]
mod tests;
mod wdm;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::export::Export;
use crate::kernel;

/// What drivers import from `wdfldr.sys`.
pub(crate) const EXPORTS: &[Export] = bind::EXPORTS;

/// The functions of the table, by name: those that exist, after a stand-in for each that does not.
pub(crate) const FUNCTIONS: &[&[Export]] = &[
    table::MISSING,
    driver::FUNCTIONS,
    general::FUNCTIONS,
    init::FUNCTIONS,
    device::FUNCTIONS,
    dispatch::FUNCTIONS,
    file::FUNCTIONS,
    queue::FUNCTIONS,
    request::FUNCTIONS,
    request_buffers::FUNCTIONS,
    request_cancel::FUNCTIONS,
    lock::FUNCTIONS,
    #[cfg(target_os = "linux")]
    deferred::FUNCTIONS,
    memory::FUNCTIONS,
    collection::FUNCTIONS,
    string::FUNCTIONS,
    #[cfg(target_os = "linux")]
    registry::FUNCTIONS,
];

/// What the framework knows in one lab.
#[derive(Default)]
pub(crate) struct Kmdf {
    handles: object::Handles,
    /// Bound drivers by the address of their globals.
    clients: Mutex<HashMap<u64, Arc<client::Client>>>,
    /// Objects by the address of a context of theirs.
    contexts: Mutex<HashMap<u64, u64>>,
    /// WDFDEVICEs by their WDM device object.
    devices: Mutex<HashMap<u64, u64>>,
    /// Requests by the IRP that they stand for.
    requests: Mutex<HashMap<u64, u64>>,
    /// WDFFILEOBJECTs by their WDM file object.
    files: Mutex<HashMap<u64, u64>>,
    /// Device initialisation structures that no device was created from yet.
    inits: Mutex<HashMap<u64, init::Init>>,
    /// What images left behind when they unbound, by image.
    left: Mutex<Vec<(u64, String)>>,
    /// Wakes whoever waits for a queue or a lock.
    wake: wdm::Wake,
}

impl Kmdf {
    /// Wakes every waiting thread, to see that the lab has stopped.
    pub(crate) fn wake_all(&self) {
        self.wake.all();
    }

    /// What an unloaded image left in the framework, in words; all of it is taken away.
    pub(crate) fn left_behind(&self, image: u64) -> Vec<String> {
        bind::take_unbound(image);
        let mut left = Vec::new();
        kernel::lock(&self.left).retain(|(owner, line)| {
            let owned = *owner == image;
            if owned {
                left.push(line.clone());
            }
            !owned
        });
        left
    }
}
