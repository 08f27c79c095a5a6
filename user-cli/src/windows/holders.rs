//! Who has a device open.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use windows_sys::Wdk::Foundation::{NtQueryObject, OBJECT_INFORMATION_CLASS};
use windows_sys::Win32::Foundation::{DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE, UNICODE_STRING};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, OpenProcess, PROCESS_DUP_HANDLE, PROCESS_NAME_WIN32, PROCESS_QUERY_LIMITED_INFORMATION,
    QueryFullProcessImageNameW,
};

use super::system;
use crate::driver::Holder;

/// The other processes that have a device open, by its name in the kernel. Windows keeps no list of them: the names of all handles
/// are compared. Without the right to look into a process, its handles remain unknown.
pub fn of_device(device: &str) -> Vec<Holder> {
    let handles = system::handles();
    let Some(file_type) = file_type(&handles) else { return Vec::new() };
    let mut processes: HashMap<u32, Option<OwnedHandle>> = HashMap::new();
    let mut names = Names::default();
    let mut holders: Vec<Holder> = Vec::new();
    for handle in handles.iter().filter(|handle| handle.object_type == file_type) {
        let process_id = handle.process_id;
        if process_id == std::process::id() || holders.iter().any(|holder| holder.process_id == process_id) {
            continue;
        }
        let process = processes.entry(process_id).or_insert_with(|| open(process_id));
        let Some(process) = process else { continue };
        let Some(copy) = duplicate(process, handle.value) else { continue };
        if names.of(copy).is_some_and(|name| name.trim_end_matches('\\').eq_ignore_ascii_case(device)) {
            holders.push(Holder { process_id, command: program(process), since: None, parked: None });
        }
    }
    holders
}

/// The number of the type of files, which differs between versions of Windows: that of a file of ours.
fn file_type(handles: &[system::Handle]) -> Option<u16> {
    let ours = File::open("NUL").ok()?;
    let value = ours.as_raw_handle() as usize;
    let of_ours = |handle: &&system::Handle| handle.process_id == std::process::id() && handle.value == value;
    // The list is older than the file.
    handles.iter().find(of_ours).map(|handle| handle.object_type).or_else(|| {
        let handles = system::handles();
        handles.iter().find(of_ours).map(|handle| handle.object_type)
    })
}

fn open(process_id: u32) -> Option<OwnedHandle> {
    // SAFETY: It takes no pointer.
    let process = unsafe { OpenProcess(PROCESS_DUP_HANDLE | PROCESS_QUERY_LIMITED_INFORMATION, 0, process_id) };
    // SAFETY: The handle was opened just now, and is nobody else's.
    (!process.is_null()).then(|| unsafe { OwnedHandle::from_raw_handle(process) })
}

fn duplicate(process: &OwnedHandle, value: usize) -> Option<OwnedHandle> {
    // SAFETY: It takes no pointer.
    let this = unsafe { GetCurrentProcess() };
    let mut copy: HANDLE = std::ptr::null_mut();
    // SAFETY: Both processes are open. The value may have become another's handle meanwhile, which is as good.
    let copied = unsafe {
        DuplicateHandle(process.as_raw_handle(), value as HANDLE, this, &mut copy, 0, 0, DUPLICATE_SAME_ACCESS)
    };
    // SAFETY: The handle was made just now, and is nobody else's.
    (copied != 0).then(|| unsafe { OwnedHandle::from_raw_handle(copy) })
}

/// File name of a process's program.
fn program(process: &OwnedHandle) -> String {
    let mut path = [0u16; 1024];
    let mut length = path.len() as u32;
    // SAFETY: The buffer is as long as told.
    let told = unsafe {
        QueryFullProcessImageNameW(process.as_raw_handle(), PROCESS_NAME_WIN32, path.as_mut_ptr(), &mut length)
    };
    if told == 0 {
        return "a program that does not tell its name".to_owned();
    }
    let path = OsString::from_wide(&path[..length as usize]);
    Path::new(&path).file_name().unwrap_or(&path).to_string_lossy().into_owned()
}

/// Asks for the names of objects. The question waits for as long as another thread uses a synchronous handle to the same pipe, so
/// a thread asks it, and is left behind when it does not return.
#[derive(Default)]
struct Names(Option<(Sender<OwnedHandle>, Receiver<Option<String>>)>);

impl Names {
    fn of(&mut self, handle: OwnedHandle) -> Option<String> {
        const PATIENCE: Duration = Duration::from_millis(100);
        let (questions, answers) = self.0.get_or_insert_with(start);
        questions.send(handle).ok()?;
        match answers.recv_timeout(PATIENCE) {
            Ok(name) => name,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.0 = None;
                None
            }
        }
    }
}

fn start() -> (Sender<OwnedHandle>, Receiver<Option<String>>) {
    let (questions, asked) = channel::<OwnedHandle>();
    let (answer, answers) = channel();
    std::thread::spawn(move || {
        for handle in asked {
            if answer.send(name(&handle)).is_err() {
                return;
            }
        }
    });
    (questions, answers)
}

fn name(handle: &OwnedHandle) -> Option<String> {
    const OBJECT_NAME_INFORMATION: OBJECT_INFORMATION_CLASS = 1;
    // A UNICODE_STRING, and behind it its text.
    let mut information = [0u64; 512];
    let mut length = 0;
    // SAFETY: The buffer is as long as told, and aligned for the structure in it.
    let status = unsafe {
        NtQueryObject(
            handle.as_raw_handle(),
            OBJECT_NAME_INFORMATION,
            information.as_mut_ptr().cast(),
            size_of_val(&information) as u32,
            &mut length,
        )
    };
    if status < 0 {
        return None;
    }
    // SAFETY: The buffer is larger than the structure, and aligned for it.
    let text = unsafe { information.as_ptr().cast::<UNICODE_STRING>().read() };
    let offset = (text.Buffer as usize).checked_sub(information.as_ptr() as usize)?;
    let bytes: Vec<u8> = information.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let bytes = bytes.get(offset..offset + usize::from(text.Length))?;
    let (units, _) = bytes.as_chunks::<2>();
    Some(String::from_utf16_lossy(&units.iter().map(|unit| u16::from_le_bytes(*unit)).collect::<Vec<_>>()))
}
