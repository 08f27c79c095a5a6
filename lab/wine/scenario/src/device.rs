//! An open device.

use std::fs::{File, OpenOptions};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use windows_sys::Win32::Foundation::ERROR_IO_PENDING;
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED;
use windows_sys::Win32::System::IO::{CancelIoEx, DeviceIoControl, OVERLAPPED};

pub struct Device {
    file: File,
    path: &'static str,
}

impl Device {
    pub fn open(path: &'static str) -> Result<Device> {
        let file =
            OpenOptions::new().read(true).write(true).open(path).with_context(|| format!("cannot open {path}"))?;
        Ok(Device { file, path })
    }

    /// A request with `METHOD_BUFFERED`; the answer is at most `room` bytes.
    pub fn control(&self, code: u32, input: &[u8], room: usize) -> Result<Vec<u8>> {
        let mut output = vec![0u8; room];
        let mut length = 0;
        // SAFETY: the buffers have the lengths that are stated, and outlive the call.
        let done = unsafe {
            DeviceIoControl(
                self.file.as_raw_handle(),
                code,
                input.as_ptr().cast(),
                input.len() as u32,
                output.as_mut_ptr().cast(),
                room as u32,
                &mut length,
                core::ptr::null_mut(),
            )
        };
        if done == 0 {
            let error = std::io::Error::last_os_error();
            return Err(error).with_context(|| format!("{} refuses request {code:#x}", self.path));
        }
        output.truncate(length as usize);
        Ok(output)
    }
}

/// A request that waits in a driver.
pub struct Parked {
    file: File,
    // What the kernel writes to while the request waits.
    overlapped: Box<OVERLAPPED>,
    _input: Vec<u8>,
    _output: Vec<u8>,
}

impl Parked {
    /// Opens a device and asks it for something that it has no answer to yet.
    pub fn ask(path: &'static str, code: u32, input: &[u8], room: usize) -> Result<Parked> {
        let file = OpenOptions::new().read(true).custom_flags(FILE_FLAG_OVERLAPPED).open(path)?;
        let (input, mut output) = (input.to_vec(), vec![0u8; room]);
        let mut overlapped = Box::<OVERLAPPED>::default();
        // SAFETY: the buffers have the lengths that are stated; they and the structure go after the file, with which the request ends.
        let done = unsafe {
            DeviceIoControl(
                file.as_raw_handle(),
                code,
                input.as_ptr().cast(),
                input.len() as u32,
                output.as_mut_ptr().cast(),
                room as u32,
                core::ptr::null_mut(),
                &mut *overlapped,
            )
        };
        let error = std::io::Error::last_os_error();
        if done != 0 || error.raw_os_error() != Some(ERROR_IO_PENDING as i32) {
            bail!("{path} does not let request {code:#x} wait: {error}");
        }
        Ok(Parked { file, overlapped, _input: input, _output: output })
    }

    /// Cancels the request, and returns the status that it got then. (Closing the handle does it on Windows, and not under Wine.)
    pub fn cancel(self) -> Result<u32> {
        const STATUS_PENDING: u32 = 0x103;
        let Parked { file, overlapped, _input, _output } = self;
        // SAFETY: the handle is open, and the structure that of a request of it.
        if unsafe { CancelIoEx(file.as_raw_handle(), &*overlapped) } == 0 {
            return Err(std::io::Error::last_os_error()).context("it cannot be cancelled");
        }
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            // SAFETY: the structure lives; the kernel writes the status at any time.
            let status = unsafe { (&raw const overlapped.Internal).read_volatile() } as u32;
            if status != STATUS_PENDING {
                return Ok(status);
            }
            if Instant::now() > end {
                // The kernel may still write to them.
                core::mem::forget((overlapped, _input, _output));
                bail!("it still waits");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
