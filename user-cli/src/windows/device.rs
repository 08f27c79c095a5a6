//! Devices of drivers.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::sync::Arc;

use windows_sys::Win32::Foundation::{
    ERROR_FILE_NOT_FOUND, ERROR_IO_PENDING, ERROR_NO_SUCH_DEVICE, ERROR_NOT_ENOUGH_QUOTA, ERROR_NOT_FOUND,
    ERROR_OPERATION_ABORTED, WAIT_OBJECT_0,
};
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED;
use windows_sys::Win32::System::IO::{CancelIoEx, DeviceIoControl, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::{
    CreateEventW, INFINITE, SetEvent, WaitForMultipleObjects, WaitForSingleObject,
};

use super::{Address, driver, error};
use crate::device::{DeviceError, at_device};
use crate::failure::{Failure, Result};
use crate::status;

/// An open handle. Dropping it closes it.
pub struct Handle {
    device: File,
    cancelled: Arc<Event>,
}

/// Ends what waits in the driver early, from any thread.
pub struct Canceller(Arc<Event>);

impl Canceller {
    /// The request in progress, and every cancellable one after it, ends.
    pub fn cancel(&self) {
        self.0.set();
    }
}

impl Handle {
    /// Opens a device.
    pub fn open(_: &Address, device: &str, _command: &str) -> Result<Handle, DeviceError> {
        let opened = OpenOptions::new().read(true).write(true).custom_flags(FILE_FLAG_OVERLAPPED).open(device);
        let device = opened.map_err(|error| not_opened(&error))?;
        let cancelled = Event::new().map_err(|error| Failure::new(format!("cannot make an event: {error}")))?;
        Ok(Handle { device, cancelled: Arc::new(cancelled) })
    }

    /// Whether it is a device of the driver of that service. Windows does not tell whose a device is; only one Postern driver can
    /// be loaded, because only one can have the device's name.
    pub fn is_of(&self, service: &str) -> bool {
        driver::is_postern(service)
    }

    /// Sends a request and waits for its end.
    pub fn control(&self, code: u32, input: &[u8], output_length: usize) -> Result<Vec<u8>, DeviceError> {
        let output = self.send(code, input, output_length, None)?;
        Ok(output.unwrap_or_default())
    }

    /// As [`control`](Handle::control), for a request that waits in the driver; none if a [`Canceller`] has ended it.
    pub fn control_cancellable(
        &self,
        code: u32,
        input: &[u8],
        output_length: usize,
    ) -> Result<Option<Vec<u8>>, DeviceError> {
        self.send(code, input, output_length, Some(&self.cancelled))
    }

    /// Ends what waits in the driver early.
    pub fn canceller(&self) -> Result<Canceller> {
        Ok(Canceller(Arc::clone(&self.cancelled)))
    }

    fn send(
        &self,
        code: u32,
        input: &[u8],
        output_length: usize,
        cancelled: Option<&Event>,
    ) -> Result<Option<Vec<u8>>, DeviceError> {
        if cancelled.is_some_and(Event::is_set) {
            return Ok(None);
        }
        let device = self.device.as_raw_handle();
        let ended = Event::new().map_err(|error| Failure::new(format!("cannot make an event: {error}")))?;
        let mut overlapped = OVERLAPPED { hEvent: ended.0.as_raw_handle(), ..OVERLAPPED::default() };
        let mut output = vec![0; output_length];
        // SAFETY: The buffers are as long as told. They and `overlapped` stay until the request has ended, which is waited for below.
        let sent = unsafe {
            DeviceIoControl(
                device,
                code,
                input.as_ptr().cast(),
                input.len() as u32,
                output.as_mut_ptr().cast(),
                output.len() as u32,
                std::ptr::null_mut(),
                &mut overlapped,
            )
        };
        if sent == 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(ERROR_IO_PENDING as i32) {
                return Err(failed(&error));
            }
            if let Some(cancelled) = cancelled {
                let events = [ended.0.as_raw_handle(), cancelled.0.as_raw_handle()];
                // SAFETY: Both handles are open events.
                let woken = unsafe { WaitForMultipleObjects(events.len() as u32, events.as_ptr(), 0, INFINITE) };
                if woken != WAIT_OBJECT_0 {
                    // SAFETY: The handle is open. If the request has ended meanwhile there is nothing to cancel.
                    unsafe { CancelIoEx(device, &overlapped) };
                }
            }
        }
        let mut length = 0;
        // SAFETY: The request was sent with this handle and structure; with TRUE this returns when it has ended.
        if unsafe { GetOverlappedResult(device, &overlapped, &mut length, 1) } == 0 {
            let error = io::Error::last_os_error();
            let aborted = error.raw_os_error() == Some(ERROR_OPERATION_ABORTED as i32);
            return if aborted && cancelled.is_some_and(Event::is_set) { Ok(None) } else { Err(failed(&error)) };
        }
        output.truncate(length as usize);
        Ok(Some(output))
    }
}

/// A manual-reset event.
struct Event(OwnedHandle);

impl Event {
    fn new() -> io::Result<Event> {
        // SAFETY: An event without name and security attributes.
        let event = unsafe { CreateEventW(std::ptr::null(), 1, 0, std::ptr::null()) };
        if event.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: The handle was made just now, and is nobody else's.
        Ok(Event(unsafe { OwnedHandle::from_raw_handle(event) }))
    }

    fn set(&self) {
        // SAFETY: The handle is an open event; setting it cannot fail then.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }

    fn is_set(&self) -> bool {
        // SAFETY: The handle is an open event.
        unsafe { WaitForSingleObject(self.0.as_raw_handle(), 0) == WAIT_OBJECT_0 }
    }
}

/// Why a device was not opened, or a request failed.
fn refused(error: &io::Error, other: impl FnOnce(u32) -> Failure) -> DeviceError {
    let code = error.raw_os_error().unwrap_or_default() as u32;
    // The `NTSTATUS` values that commands tell apart, as the system translates them for programs.
    match code {
        ERROR_FILE_NOT_FOUND => DeviceError::Status(status::OBJECT_NAME_NOT_FOUND),
        ERROR_NO_SUCH_DEVICE => DeviceError::Status(status::NO_SUCH_DEVICE),
        ERROR_NOT_FOUND => DeviceError::Status(status::NOT_FOUND),
        ERROR_OPERATION_ABORTED => DeviceError::Status(status::CANCELLED),
        ERROR_NOT_ENOUGH_QUOTA => DeviceError::Status(status::QUOTA_EXCEEDED),
        code => DeviceError::Failed(at_device(other(code))),
    }
}

fn not_opened(error: &io::Error) -> DeviceError {
    refused(error, |code| error::failure("it cannot be opened", code))
}

fn failed(error: &io::Error) -> DeviceError {
    refused(error, |_| {
        Failure::new(format!("the request failed: {error}"))
            .help("`postern driver status` tells whether the driver is still there")
    })
}
