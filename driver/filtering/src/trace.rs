//! The ETW provider that carries the log.
//!
//! Its functions are looked up at run time: the driver is as good without them, and kernels that lack them load it too.

use core::ffi::c_void;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use core::{mem, ptr};

use fwps::sys::GUID;
use wdk_sys::ntddk::MmGetSystemRoutineAddress;
use wdk_sys::{NTSTATUS, STATUS_SUCCESS, UNICODE_STRING};
use widestring::{U16CStr, u16cstr};

/// Key of the provider: `{706f7374-6572-4e00-8002-000000000000}`.
static PROVIDER: GUID = GUID::from_u128(0x706f7374_6572_4e00_8002_000000000000);

/// `TRACE_LEVEL_INFORMATION` (evntrace.h).
const LEVEL_INFORMATION: u8 = 4;

type Register = unsafe extern "system" fn(*const GUID, *mut c_void, *mut c_void, *mut u64) -> NTSTATUS;
type WriteString = unsafe extern "system" fn(u64, u8, u64, *const GUID, *const u16) -> NTSTATUS;
type Unregister = unsafe extern "system" fn(u64) -> NTSTATUS;

/// The registration, or zero.
static HANDLE: AtomicU64 = AtomicU64::new(0);
/// `EtwWriteString` and `EtwUnregister`, while there is a registration.
static WRITE_STRING: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static UNREGISTER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Looks up an exported function of the kernel. IRQL: PASSIVE_LEVEL.
fn system_routine(name: &'static U16CStr) -> Option<ptr::NonNull<c_void>> {
    let bytes = u16::try_from(name.len() * 2).ok()?;
    let mut name = UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: name.as_ptr().cast_mut() };
    // SAFETY: `name` describes a string that outlives the call.
    ptr::NonNull::new(unsafe { MmGetSystemRoutineAddress(&mut name) })
}

/// Registers the provider if the kernel can. IRQL: PASSIVE_LEVEL.
pub fn register() {
    // Before anything is registered: what cannot be undone is not done.
    let (Some(register), Some(write), Some(unregister)) = (
        system_routine(u16cstr!("EtwRegister")),
        system_routine(u16cstr!("EtwWriteString")),
        system_routine(u16cstr!("EtwUnregister")),
    ) else {
        return;
    };
    // SAFETY: the kernel exports EtwRegister with this signature ("EtwRegister function", wdm.h).
    let register: Register = unsafe { mem::transmute(register) };
    let mut handle = 0;
    // SAFETY: `PROVIDER` and `handle` outlive the call. No callback is given, so ETW never calls into the image.
    let status = unsafe { register(&PROVIDER, ptr::null_mut(), ptr::null_mut(), &mut handle) };
    if status == STATUS_SUCCESS {
        WRITE_STRING.store(write.as_ptr(), Ordering::Relaxed);
        UNREGISTER.store(unregister.as_ptr(), Ordering::Relaxed);
        HANDLE.store(handle, Ordering::Release);
    } else {
        log!("EtwRegister failed with {status:#010X}: the log goes to the debugger alone");
    }
}

/// Takes the provider back. IRQL: PASSIVE_LEVEL.
pub fn unregister() {
    let handle = HANDLE.swap(0, Ordering::AcqRel);
    if handle == 0 {
        return;
    }
    let Some(unregister) = ptr::NonNull::new(UNREGISTER.load(Ordering::Relaxed)) else { return };
    // SAFETY: the kernel exports EtwUnregister with this signature ("EtwUnregister function", wdm.h).
    let unregister: Unregister = unsafe { mem::transmute(unregister) };
    // SAFETY: `handle` came from EtwRegister and is given back once.
    let status = unsafe { unregister(handle) };
    if status != STATUS_SUCCESS {
        log!("EtwUnregister failed with {status:#010X}");
    }
}

/// Longest line that is traced whole, in UTF-16 units.
const LINE: usize = 192;

struct Line {
    units: [u16; LINE + 1],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for unit in text.encode_utf16() {
            // The last unit stays zero.
            let place = self.units[..LINE].get_mut(self.length).ok_or(fmt::Error)?;
            *place = unit;
            self.length += 1;
        }
        Ok(())
    }
}

/// Traces a line if the provider is registered; a long line is cut. IRQL: at most DISPATCH_LEVEL.
pub fn write(text: fmt::Arguments<'_>) {
    let handle = HANDLE.load(Ordering::Acquire);
    let Some(write) = ptr::NonNull::new(WRITE_STRING.load(Ordering::Relaxed)) else { return };
    if handle == 0 {
        return;
    }
    let mut line = Line { units: [0; LINE + 1], length: 0 };
    // An error says that the line was cut.
    let _ = line.write_fmt(text);
    // SAFETY: the kernel exports EtwWriteString with this signature ("EtwWriteString function", wdm.h).
    let write: WriteString = unsafe { mem::transmute(write) };
    // A line that nobody could take is no event for the log.
    // SAFETY: the registration stands until `unregister`, which nothing that logs outlives; the string is terminated.
    let _ = unsafe { write(handle, LEVEL_INFORMATION, 0, ptr::null(), line.units.as_ptr()) };
}
