//! The driver's log: lines for the kernel debugger, and for whoever traces our ETW provider.

use core::fmt;

use fwps::sys::NTSTATUS;
use postern_core::Status;

/// Writes a line to the log. IRQL: at most DISPATCH_LEVEL.
macro_rules! log {
    ($($arg:tt)*) => { $crate::log::line(format_args!($($arg)*)) };
}

pub fn line(text: fmt::Arguments<'_>) {
    wdk::println!("postern: {text}");
    crate::trace::write(text);
}

/// Tells the log of a step that failed, and hands its status on. IRQL: at most DISPATCH_LEVEL.
pub fn failed(step: &str, status: NTSTATUS) -> NTSTATUS {
    line(format_args!("{step} failed with {}", Status(status)));
    status
}
