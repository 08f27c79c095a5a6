//! What the kernel tells of itself (`NtQuerySystemInformation`).

use windows_sys::Wdk::System::SystemInformation::{
    NtQuerySystemInformation, SYSTEM_INFORMATION_CLASS, SystemCodeIntegrityInformation,
};
use windows_sys::Win32::Foundation::STATUS_INFO_LENGTH_MISMATCH;

const SYSTEM_MODULE_INFORMATION: SYSTEM_INFORMATION_CLASS = 11;
const SYSTEM_EXTENDED_HANDLE_INFORMATION: SYSTEM_INFORMATION_CLASS = 64;

/// No list is longer; it ends a loop in which one grows for ever.
const LONGEST: usize = 1 << 30;

/// Whether drivers with a test signature start, if the system tells.
pub fn test_signing() -> Option<bool> {
    const CODEINTEGRITY_OPTION_TESTSIGN: u32 = 2;
    // SYSTEM_CODEINTEGRITY_INFORMATION: its own length goes in, the options come out.
    let mut information = [8u32, 0];
    let mut length = 0;
    // SAFETY: The buffer is as long as told.
    let status = unsafe {
        NtQuerySystemInformation(SystemCodeIntegrityInformation, information.as_mut_ptr().cast(), 8, &mut length)
    };
    (status >= 0).then_some(information[1] & CODEINTEGRITY_OPTION_TESTSIGN != 0)
}

/// Address and size of a loaded image, by its file's name. Newer systems tell addresses only to those who may debug.
pub fn module(file_name: &str) -> Option<(Option<u64>, u64)> {
    // RTL_PROCESS_MODULES: a count, padding, and records of 296 bytes.
    const RECORD: usize = 296;
    let modules = query(SYSTEM_MODULE_INFORMATION)?;
    let count = number::<4>(&modules, 0)? as usize;
    (0..count).find_map(|index| {
        let module = modules.get(8 + index * RECORD..)?.get(..RECORD)?;
        let path = module.get(40..)?;
        let path = path.split(|byte| *byte == 0).next()?;
        let name = path.get(number::<2>(module, 38)? as usize..)?;
        if !name.eq_ignore_ascii_case(file_name.as_bytes()) {
            return None;
        }
        let base = number::<8>(module, 16)?;
        Some(((base != 0).then_some(base), number::<4>(module, 24)?))
    })
}

/// A handle of some process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle {
    pub process_id: u32,
    pub value: usize,
    /// Number of the object's type.
    pub object_type: u16,
}

/// Every handle of every process, as far as this process may know.
pub fn handles() -> Vec<Handle> {
    // SYSTEM_HANDLE_INFORMATION_EX: a count, a reserved word, and records of 40 bytes.
    const RECORD: usize = 40;
    let Some(handles) = query(SYSTEM_EXTENDED_HANDLE_INFORMATION) else { return Vec::new() };
    let count = number::<8>(&handles, 0).unwrap_or_default() as usize;
    let records = handles.get(16..).unwrap_or_default().chunks_exact(RECORD).take(count);
    records
        .filter_map(|record| {
            Some(Handle {
                process_id: number::<8>(record, 8)? as u32,
                value: number::<8>(record, 16)? as usize,
                object_type: number::<2>(record, 30)? as u16,
            })
        })
        .collect()
}

fn query(class: SYSTEM_INFORMATION_CLASS) -> Option<Vec<u8>> {
    let mut size = 64 << 10;
    while size <= LONGEST {
        // Words, because the system asks for alignment.
        let mut buffer = vec![0u64; size / 8];
        let mut length = 0;
        // SAFETY: The buffer is as long as told.
        let status = unsafe { NtQuerySystemInformation(class, buffer.as_mut_ptr().cast(), size as u32, &mut length) };
        if status >= 0 {
            return Some(buffer.into_iter().flat_map(u64::to_ne_bytes).collect());
        }
        if status != STATUS_INFO_LENGTH_MISMATCH {
            return None;
        }
        size *= 2;
    }
    None
}

/// An unsigned number of so many bytes.
fn number<const SIZE: usize>(bytes: &[u8], offset: usize) -> Option<u64> {
    let mut number = [0; 8];
    number[..SIZE].copy_from_slice(bytes.get(offset..offset + SIZE)?);
    Some(u64::from_le_bytes(number))
}
