//! Drivers in a lab, from a client's side.

use std::path::Path;

use super::address::Address;
use super::client::Client;
use super::message::{Hex, Request};
use super::status::Status;
use crate::commands::driver::{Model, image_bytes};
use crate::driver::{Driver, Stopping, Unload};
use crate::failure::{Failure, Result};

/// Loads a driver: the image in a file, or the Postern driver of that model.
pub fn load(address: &Address, service: String, image: Option<&Path>, model: Model) -> Result<Driver> {
    let bytes = image_bytes(image, model)?;
    let client = Client::connect(address)?;
    client.call(&Request::DriverLoad { service, image: Hex(bytes) }).map_err(Failure::from).map_err(|failure| {
        match image {
            Some(path) => Failure { message: format!("{}: {}", path.display(), failure.message), ..failure },
            None => failure,
        }
    })
}

/// Unloads a driver. If it must wait for handles to be closed, it says so to `waiting`, and with `wait` waits.
pub fn unload(address: &Address, service: String, wait: bool, waiting: impl FnMut(Stopping)) -> Result<Unload> {
    let client = Client::connect(address)?;
    Ok(client.call_with_progress(&Request::DriverUnload { service, wait }, waiting)?)
}

/// The driver of a service, if it is loaded.
pub fn find(address: &Address, service: &str) -> Result<Option<Driver>> {
    let lab: Status = Client::connect(address)?.call(&Request::Status)?;
    Ok(lab.drivers.into_iter().find(|driver| driver.service.eq_ignore_ascii_case(service)))
}

/// The service of a driver that waits for its handles to be closed, if there is one.
pub fn stopping(address: &Address) -> Result<Option<String>> {
    let lab: Status = Client::connect(address)?.call(&Request::Status)?;
    Ok(lab.drivers.into_iter().find(|driver| driver.unload_pending).map(|driver| driver.service))
}

/// A lab asks for no signature.
pub fn test_signing() -> Option<bool> {
    None
}
