//! The name of a program, as filters have it.

use std::path::{Component, PathBuf, Prefix};

use fwps::sys::FWP_BYTE_BLOB;
use postern_engine::FwpError;
use windows_sys::Win32::Foundation::ERROR_INVALID_NAME;
use windows_sys::Win32::Storage::FileSystem::QueryDosDeviceW;

use crate::error::{Error, code};
use crate::handles::GIVEN;
use crate::ptr::Ptr;

/// Longest path.
const LONGEST: usize = 1 << 15;

/// The file's path with the device instead of the drive, in lower case, UTF-16 with its terminator.
#[unsafe(no_mangle)]
extern "system" fn FwpmGetAppIdFromFileName0(file_name: Ptr<u16>, app_id: Ptr<*mut FWP_BYTE_BLOB>) -> u32 {
    code((|| {
        if file_name.is_null() || app_id.is_null() {
            return Err(FwpError::NullPointer.into());
        }
        let units: Vec<u16> =
            (0..LONGEST).map(|index| file_name.at(index).read_unaligned()).take_while(|unit| *unit != 0).collect();
        let path = PathBuf::from(String::from_utf16(&units).map_err(|_| Error(ERROR_INVALID_NAME))?);
        // A file that is not there has no name.
        path.metadata()?;
        let path = device_path(&path)?;
        let bytes: Vec<u8> =
            path.to_lowercase().encode_utf16().chain([0]).flat_map(|unit| unit.to_le_bytes()).collect();
        app_id.write(GIVEN.give(|arena| FWP_BYTE_BLOB { size: bytes.len() as u32, data: arena.put_all(&bytes) }));
        Ok(())
    })())
}

/// `C:\windows\notepad.exe` as `\Device\HarddiskVolume1\windows\notepad.exe`.
fn device_path(path: &std::path::Path) -> Result<String, Error> {
    let path = std::path::absolute(path)?;
    let mut components = path.components();
    let Some(Component::Prefix(prefix)) = components.next() else { return Err(Error(ERROR_INVALID_NAME)) };
    let (Prefix::Disk(letter) | Prefix::VerbatimDisk(letter)) = prefix.kind() else {
        return Err(Error(ERROR_INVALID_NAME));
    };
    let drive = [letter.into(), u16::from(b':'), 0];
    let mut device = [0u16; 260];
    // SAFETY: a terminated string, and the buffer's length.
    let length = unsafe { QueryDosDeviceW(drive.as_ptr(), device.as_mut_ptr(), device.len() as u32) };
    if length == 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let end = device.iter().position(|unit| *unit == 0).unwrap_or(device.len());
    Ok(format!("{}{}", String::from_utf16_lossy(&device[..end]), components.as_path().display()))
}
