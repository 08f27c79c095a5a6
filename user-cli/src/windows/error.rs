//! Windows' error codes, as far as a user of this program meets them.

use std::fmt::Display;

use windows_sys::Win32::Foundation::*;
use windows_sys::Win32::System::Rpc::{
    EPT_S_NOT_REGISTERED, RPC_S_CALL_FAILED, RPC_S_CALL_FAILED_DNE, RPC_S_SERVER_UNAVAILABLE, RPC_S_UNKNOWN_IF,
    RPC_STATUS,
};

use super::privilege::{RUN_AS_ADMINISTRATOR, is_elevated};
use crate::failure::Failure;

/// Name, meaning, and what to do.
type Known = (&'static str, &'static str, &'static str);

fn known(code: u32) -> Option<Known> {
    Some(match code {
        ERROR_ACCESS_DENIED if !is_elevated() => (
            "ERROR_ACCESS_DENIED",
            "that needs administrator rights, which this process does not have",
            RUN_AS_ADMINISTRATOR,
        ),
        ERROR_ACCESS_DENIED => (
            "ERROR_ACCESS_DENIED",
            "access is denied, although this process has administrator rights",
            "the object's owner or a security product keeps it: look at its security descriptor and the product's log",
        ),
        ERROR_FILE_NOT_FOUND => {
            ("ERROR_FILE_NOT_FOUND", "there is no such file", "look at the path, and whether the file is still there")
        }
        ERROR_PATH_NOT_FOUND => ("ERROR_PATH_NOT_FOUND", "there is no such folder", "look at the path"),
        ERROR_SHARING_VIOLATION => (
            "ERROR_SHARING_VIOLATION",
            "another program, or the kernel, uses the file",
            "unload the driver that runs from it, or end that program",
        ),
        ERROR_GEN_FAILURE => (
            "ERROR_GEN_FAILURE",
            "the driver refused to start",
            "the kernel debugger's log (DebugView, WinDbg) has its reason",
        ),
        // What Wine says of a driver that does not start, whatever the reason.
        ERROR_DLL_INIT_FAILED => (
            "ERROR_DLL_INIT_FAILED",
            "the image could not be loaded, or its entry point refused to start",
            "the kernel's log has the reason: under Wine, run it with WINEDEBUG=+ntoskrnl,+debugstr",
        ),
        ERROR_MOD_NOT_FOUND => (
            "ERROR_MOD_NOT_FOUND",
            "the image needs a kernel module that is not here",
            "this driver is for another version of Windows, or needs a framework that is not installed",
        ),
        ERROR_PROC_NOT_FOUND => (
            "ERROR_PROC_NOT_FOUND",
            "the image needs a function that this kernel does not have",
            "Postern needs Windows 10, version 2004, or later",
        ),
        ERROR_BAD_EXE_FORMAT | ERROR_EXE_MACHINE_TYPE_MISMATCH => (
            "ERROR_BAD_EXE_FORMAT",
            "the file is no driver image for this processor",
            "give a whole x64 kernel driver image",
        ),
        ERROR_INVALID_IMAGE_HASH => (
            "ERROR_INVALID_IMAGE_HASH",
            "Windows does not accept the image's signature",
            "a driver that Microsoft has not signed starts only with test signing: sign it with a test certificate, run \
             `bcdedit /set testsigning on` as administrator (Secure Boot must be off), and restart",
        ),
        ERROR_DRIVER_BLOCKED => (
            "ERROR_DRIVER_BLOCKED",
            "a policy of Windows blocks this driver",
            "Memory Integrity or a Code Integrity policy refuses it: see the event log, Microsoft-Windows-CodeIntegrity/Operational",
        ),
        ERROR_NO_SYSTEM_RESOURCES => {
            ("ERROR_NO_SYSTEM_RESOURCES", "the system has not enough memory or other resources", "try again later")
        }
        ERROR_DEPENDENT_SERVICES_RUNNING => (
            "ERROR_DEPENDENT_SERVICES_RUNNING",
            "other services depend on it",
            "stop those first: `sc enumdepend NAME`",
        ),
        ERROR_INVALID_SERVICE_CONTROL => (
            "ERROR_INVALID_SERVICE_CONTROL",
            "the driver has no unload function, or is starting",
            "such a driver goes with a restart of Windows",
        ),
        ERROR_SERVICE_ALREADY_RUNNING => {
            ("ERROR_SERVICE_ALREADY_RUNNING", "it runs already", "`postern driver status` shows it")
        }
        ERROR_SERVICE_DISABLED => (
            "ERROR_SERVICE_DISABLED",
            "the service is disabled, or the driver of an earlier start is still in memory",
            "`postern driver status` shows which; `sc config NAME start= demand` enables it",
        ),
        ERROR_SERVICE_DOES_NOT_EXIST => {
            ("ERROR_SERVICE_DOES_NOT_EXIST", "there is no such service", "`postern driver load` makes one")
        }
        ERROR_SERVICE_CANNOT_ACCEPT_CTRL => (
            "ERROR_SERVICE_CANNOT_ACCEPT_CTRL",
            "the service is starting or stopping",
            "`postern driver status` shows for whom it waits",
        ),
        ERROR_SERVICE_NOT_ACTIVE => {
            ("ERROR_SERVICE_NOT_ACTIVE", "the driver is not loaded", "load it with `postern driver load`")
        }
        ERROR_SERVICE_MARKED_FOR_DELETE => (
            "ERROR_SERVICE_MARKED_FOR_DELETE",
            "the service is deleted as soon as nobody has a handle to it open",
            "close services.msc, Task Manager and other programs that list services, then try again",
        ),
        ERROR_DUPLICATE_SERVICE_NAME => {
            ("ERROR_DUPLICATE_SERVICE_NAME", "another service has this name for people to see", "give another --name")
        }
        ERROR_INVALID_NAME => ("ERROR_INVALID_NAME", "no service may have this name", "give another --name"),
        ERROR_CALL_NOT_IMPLEMENTED => (
            "ERROR_CALL_NOT_IMPLEMENTED",
            "this system does not have the function",
            "the filter engine is that of Windows 10 or later",
        ),
        // What the remote procedure calls to the base filtering engine end with when its service does not run.
        _ => {
            let name = match code as RPC_STATUS {
                RPC_S_SERVER_UNAVAILABLE => "RPC_S_SERVER_UNAVAILABLE",
                RPC_S_UNKNOWN_IF => "RPC_S_UNKNOWN_IF",
                EPT_S_NOT_REGISTERED => "EPT_S_NOT_REGISTERED",
                RPC_S_CALL_FAILED => "RPC_S_CALL_FAILED",
                RPC_S_CALL_FAILED_DNE => "RPC_S_CALL_FAILED_DNE",
                _ => return None,
            };
            (name, "the base filtering engine is not running", "start it with `sc start BFE`")
        }
    })
}

/// What failed, why, and what to do.
pub fn failure(what: impl Display, code: u32) -> Failure {
    match known(code) {
        Some((name, meaning, help)) => Failure::new(format!("{what}: {meaning} ({name}, {code})")).help(help),
        // The system's own words.
        None => Failure::new(format!("{what}: {}", std::io::Error::from_raw_os_error(code as i32))),
    }
}

/// As [`failure`], of an error of the standard library.
pub fn io_failure(what: impl Display, error: &std::io::Error) -> Failure {
    match error.raw_os_error() {
        Some(code) => failure(what, code as u32),
        None => Failure::new(format!("{what}: {error}")),
    }
}
