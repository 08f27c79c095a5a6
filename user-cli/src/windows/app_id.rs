//! Which program a path names.

use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWP_BYTE_BLOB, FwpmFreeMemory0, FwpmGetAppIdFromFileName0,
};

use super::{error, wide};
use crate::filter::app_id;

/// The NT path of the program at a Windows path, as `FwpmGetAppIdFromFileName0` tells it. The file must be there.
pub fn nt_path(path: &str) -> Result<String, String> {
    if path.eq_ignore_ascii_case("system") {
        // The kernel's own traffic carries this name as it is.
        return Ok("System".to_owned());
    }
    if path.to_lowercase().starts_with(r"\device\") {
        return Ok(path.to_lowercase());
    }
    let mut found: *mut FWP_BYTE_BLOB = std::ptr::null_mut();
    let name = wide(path);
    // SAFETY: The name ends with a NUL, and `found` takes the result.
    let code = unsafe { FwpmGetAppIdFromFileName0(name.as_ptr(), &mut found) };
    if code != 0 || found.is_null() {
        return Err(error::failure(format!("no program '{path}'"), code).to_string());
    }
    // SAFETY: The function has allocated the blob.
    let blob = unsafe { found.read() };
    // SAFETY: Its data are as long as it says.
    let text = app_id::text(unsafe { std::slice::from_raw_parts(blob.data, blob.size as usize) });
    // SAFETY: It was allocated by the function, and nothing refers to it any more.
    unsafe { FwpmFreeMemory0((&raw mut found).cast()) };
    text.ok_or_else(|| format!("'{path}': the system's name of it is no text"))
}
