//! Whether this process may do what administrators may.

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Security::{GetTokenInformation, TOKEN_ELEVATION, TOKEN_QUERY, TokenElevation};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// How to get what is missing.
pub const RUN_AS_ADMINISTRATOR: &str =
    "right-click the terminal, choose \"Run as administrator\", and run the command there";

/// Whether this process's token is elevated. If Windows does not tell, it is taken to be.
pub fn is_elevated() -> bool {
    let mut token: HANDLE = std::ptr::null_mut();
    // SAFETY: It takes no pointer.
    let this = unsafe { GetCurrentProcess() };
    // SAFETY: The process is this one, and `token` takes the result.
    if unsafe { OpenProcessToken(this, TOKEN_QUERY, &mut token) } == 0 {
        return true;
    }
    // SAFETY: The token was opened just now, and is nobody else's.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    let mut elevation = TOKEN_ELEVATION::default();
    let mut length = 0;
    // SAFETY: The buffer is a TOKEN_ELEVATION of the size given.
    let told = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenElevation,
            (&raw mut elevation).cast(),
            size_of::<TOKEN_ELEVATION>() as u32,
            &mut length,
        )
    };
    told == 0 || elevation.TokenIsElevated != 0
}
