//! Devices of drivers in a lab.

use super::address::Address;
use super::client::{CallError, Client};
use super::message::{Hex, Opened, Refusal, Request};
use crate::device::{DeviceError, at_device};
use crate::failure::Result;
use crate::status;

pub use super::client::Canceller;

/// An open handle. Dropping it closes it.
pub struct Handle {
    client: Client,
    opened: Opened,
}

impl From<CallError> for DeviceError {
    fn from(error: CallError) -> DeviceError {
        match error {
            CallError::Refused(Refusal::Status(status)) => DeviceError::Status(status),
            other => DeviceError::Failed(at_device(other.into())),
        }
    }
}

impl Handle {
    /// Opens a device; `command` is what others are told of who holds it.
    pub fn open(address: &Address, device: &str, command: &str) -> Result<Handle, DeviceError> {
        let client = Client::connect(address)?;
        let request = Request::DeviceOpen { device: device.to_owned(), command: command.to_owned() };
        let opened = client.call(&request)?;
        Ok(Handle { client, opened })
    }

    /// Whether it is a device of the driver of that service.
    pub fn is_of(&self, service: &str) -> bool {
        self.opened.service.eq_ignore_ascii_case(service)
    }

    /// Sends a request and waits for its end.
    pub fn control(&self, code: u32, input: &[u8], output_length: usize) -> Result<Vec<u8>, DeviceError> {
        let Hex(output) = self.client.call(&self.request(code, input, output_length))?;
        Ok(output)
    }

    /// As [`control`](Handle::control), for a request that waits in the driver; none if a [`Canceller`] has ended it.
    pub fn control_cancellable(
        &self,
        code: u32,
        input: &[u8],
        output_length: usize,
    ) -> Result<Option<Vec<u8>>, DeviceError> {
        match self.client.call_cancellable(&self.request(code, input, output_length)) {
            Ok(Hex(output)) => Ok(Some(output)),
            Err(CallError::Refused(Refusal::Status(status::CANCELLED))) if self.client.is_cancelled() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends what waits in the driver early.
    pub fn canceller(&self) -> Result<Canceller> {
        self.client.canceller()
    }

    fn request(&self, code: u32, input: &[u8], output_length: usize) -> Request {
        Request::DeviceControl { handle: self.opened.handle, code, input: Hex(input.to_vec()), output_length }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // If this fails, the lab closes the handle with the connection.
        let _ = self.client.call::<()>(&Request::DeviceClose { handle: self.opened.handle });
    }
}
