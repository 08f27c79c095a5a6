//! Images, as far as the filter engine asks: whose an address is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use windows_sys::Win32::Foundation::HMODULE;
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, GetModuleFileNameW,
    GetModuleHandleExW,
};

use crate::kernel::lock;
use crate::report::Place;

/// Every image that has ever called, by its number, which is its base address.
static KNOWN: Mutex<BTreeMap<u64, String>> = Mutex::new(BTreeMap::new());

fn module_at(address: u64) -> Option<HMODULE> {
    let mut module = core::ptr::null_mut();
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    // SAFETY: with the flag the name is any address; `module` outlives the call.
    let found = unsafe { GetModuleHandleExW(flags, address as *const u16, &mut module) };
    (found != 0 && !module.is_null()).then_some(module)
}

fn name_of(module: HMODULE) -> String {
    let mut path = [0u16; 512];
    // SAFETY: the buffer and its length.
    let length = unsafe { GetModuleFileNameW(module, path.as_mut_ptr(), path.len() as u32) };
    let path = String::from_utf16_lossy(&path[..length as usize]);
    let file = path.rsplit(['\\', '/']).next().unwrap_or_default();
    Path::new(file).file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

pub(crate) fn number_at(address: u64) -> Option<u64> {
    let module = module_at(address)?;
    let number = module.addr() as u64;
    lock(&KNOWN).entry(number).or_insert_with(|| name_of(module));
    Some(number)
}

pub(crate) fn place(address: u64) -> Option<Place> {
    let number = number_at(address)?;
    let image = lock(&KNOWN).get(&number).cloned()?;
    Some(Place { image, offset: address - number, symbol: None })
}

/// Every image that has ever called: number and name.
pub(crate) fn known() -> Vec<(u64, String)> {
    lock(&KNOWN).iter().map(|(number, name)| (*number, name.clone())).collect()
}

/// Whether an image is in the process.
pub(crate) fn is_loaded(number: u64) -> bool {
    module_at(number).is_some_and(|module| module.addr() as u64 == number)
}
