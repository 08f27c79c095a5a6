//! The driver's log: lines for the kernel debugger, and for whoever traces our ETW provider.

use core::fmt;

/// Writes a line to the log. IRQL: at most DISPATCH_LEVEL.
macro_rules! log {
    ($($arg:tt)*) => { $crate::log::line(format_args!($($arg)*)) };
}

pub fn line(text: fmt::Arguments<'_>) {
    wdk::println!("postern: {text}");
    crate::trace::write(text);
}
