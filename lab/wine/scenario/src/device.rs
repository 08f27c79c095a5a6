//! An open device.

use std::fs::{File, OpenOptions};
use std::os::windows::io::AsRawHandle;

use anyhow::{Context, Result};
use windows_sys::Win32::System::IO::DeviceIoControl;

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
