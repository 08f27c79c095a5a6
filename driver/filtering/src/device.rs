//! What every shell's device has in common: its names, who may open it, and how the buffers of its requests are read.

use core::{ptr, slice};

use fwps::sys::NTSTATUS;
use postern_core::request;
use wdk_sys::{METHOD_BUFFERED, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, UNICODE_STRING};
use widestring::{U16CStr, u16cstr};

/// SYSTEM and administrators may do everything, nobody else anything (`SDDL_DEVOBJ_SYS_ALL_ADM_ALL`, wdmsec.h).
pub const SYSTEM_AND_ADMINISTRATORS: &U16CStr = u16cstr!("D:P(A;;GA;;;SY)(A;;GA;;;BA)");
/// [`postern_protocol::DEVICE_NAME`].
pub const DEVICE_NAME: &U16CStr = u16cstr!(r"\Device\Postern");
/// [`postern_protocol::DEVICE_LINK`].
pub const DEVICE_LINK: &U16CStr = u16cstr!(r"\DosDevices\Postern");

/// A string as the kernel takes it.
pub fn string(text: &'static U16CStr) -> UNICODE_STRING {
    let bytes = (text.len() * 2) as u16;
    UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: text.as_ptr().cast_mut() }
}

/// Refuses a control code whose buffers are not the system's: the driver has none such, and they would have to be checked first ("Buffer
/// Descriptions for I/O Control Codes").
pub fn expect_buffered(code: u32) -> Result<(), NTSTATUS> {
    /// `METHOD_FROM_CTL_CODE` (wdm.h).
    const METHOD: u32 = 3;
    if code & METHOD == METHOD_BUFFERED { Ok(()) } else { Err(STATUS_INVALID_DEVICE_REQUEST) }
}

/// The buffers of a request with `METHOD_BUFFERED`, which are one: what is written takes the place of what was read.
pub struct Buffers {
    pub input: *const u8,
    pub input_length: usize,
    pub output: *mut u8,
    pub output_length: usize,
}

impl Buffers {
    /// Calls `answer` with a copy of the input, and with the output. IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Safety
    ///
    /// The buffers have the lengths that are stated, or those are zero, and for the time of the call nobody else uses them.
    pub unsafe fn with<R>(&self, answer: impl FnOnce(&[u8], &mut [u8]) -> R) -> Result<R, NTSTATUS> {
        let mut copy = [0u8; request::LONGEST_INPUT];
        let input = copy.get_mut(..self.input_length).ok_or(STATUS_INVALID_PARAMETER)?;
        if self.input_length != 0 {
            // SAFETY: the caller's promise; the copy is this function's own.
            unsafe { ptr::copy_nonoverlapping(self.input, input.as_mut_ptr(), self.input_length) };
        }
        if self.output_length == 0 {
            return Ok(answer(input, &mut []));
        }
        // SAFETY: the caller's promise; the input is not looked at any more.
        Ok(answer(input, unsafe { slice::from_raw_parts_mut(self.output, self.output_length) }))
    }
}
