//! A driver that is bound to the framework.

#![allow(non_snake_case, reason = "fields have the names of wdfglobals.h")]

use std::sync::{Arc, Mutex};

use crate::call::{self, Arguments, CallContext, call_image};
use crate::export;
use crate::kernel::lock;
use crate::kmdf::object::{Object, Ref, find_quiet};
use crate::kmdf::report::{WDF_VERIFIER_FATAL_ERROR, fatal};
use crate::nt::DriverObject;
use crate::ptr::Ptr;
use crate::report;
use crate::thread;

/// `WDF_DRIVER_GLOBALS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Globals {
    pub Driver: u64,
    pub DriverFlags: u32,
    pub DriverTag: u32,
    pub DriverName: [u8; 32],
    pub DisplaceDriverUnload: u8,
}

const _: () = assert!(size_of::<Globals>() == 0x38);

pub(super) struct Client {
    pub globals: Ptr<Globals>,
    pub driver_object: Ptr<DriverObject>,
    /// The service's name.
    pub name: String,
    /// As reports name it: `driver postern`.
    pub title: String,
    pub registry_path: String,
    /// Number of its image; 0 outside of one.
    pub image: u64,
    driver: Mutex<u64>,
}

impl Client {
    pub fn new(globals: Ptr<Globals>, driver_object: Ptr<DriverObject>, registry_path: String) -> Self {
        let name = registry_path.rsplit('\\').next().unwrap_or_default().to_string();
        let image = crate::image::number_at(thread::page().caller.get()).unwrap_or(0);
        Client {
            globals,
            driver_object,
            title: format!("driver {name}"),
            name,
            registry_path,
            image,
            driver: Mutex::new(0),
        }
    }

    pub fn set_driver(&self, handle: u64) {
        *lock(&self.driver) = handle;
    }

    /// The WDFDRIVER; `None` before `WdfDriverCreate` and after its deletion.
    pub fn driver(&self) -> Option<Ref<crate::kmdf::driver::Driver>> {
        find_quiet(*lock(&self.driver))
    }

    /// The parent of objects that name none.
    pub fn default_parent(&self) -> Arc<Object> {
        match self.driver() {
            Some(driver) => driver.object.clone(),
            None => fatal(
                WDF_VERIFIER_FATAL_ERROR,
                0,
                &format!("{} was called before WdfDriverCreate", export::current_name()),
            ),
        }
    }

    /// Calls a callback of the driver's and returns what it returned. The driver registered `function` for
    /// exactly the call that `what` names.
    pub fn call<A: Arguments>(&self, what: &'static str, at: &str, irql: u8, function: u64, arguments: A) -> u64 {
        let context = CallContext { what, object: &self.title, at };
        // SAFETY: the driver registered this function for this call; see above.
        match unsafe { call_image(&context, irql, function as *const (), arguments) } {
            Ok(value) => value,
            // What called us is itself inside of a call into the image or the framework: leave that too.
            Err(call::Stopped) => report::leave(call::LEAVE_STOPPED),
        }
    }
}

/// The driver whose globals a function was called with.
pub(super) fn of(globals: Ptr<Globals>) -> Arc<Client> {
    let found = lock(&thread::current().kmdf.clients).get(&globals.address()).cloned();
    match found {
        Some(client) => client,
        None => fatal(
            WDF_VERIFIER_FATAL_ERROR,
            globals.address(),
            &format!(
                "{} was called with WdfDriverGlobals {:#x}, which belong to no driver that is bound",
                export::current_name(),
                globals.address()
            ),
        ),
    }
}
