//! The time.

use core::ptr;

use wdk_sys::LARGE_INTEGER;
use wdk_sys::ntddk::KeQuerySystemTimePrecise;

/// `KUSER_SHARED_DATA.InterruptTime` (ntddk.h). Every x64 Windows has the page at this address, and `KeQueryInterruptTime` of wdm.h
/// is this load.
const INTERRUPT_TIME: usize = 0xFFFF_F780_0000_0008;

/// Time since the system was started, in units of 100 nanoseconds; as fine as the clock interrupt. IRQL: any.
#[inline(always)]
pub fn interrupt_time() -> u64 {
    let time = ptr::with_exposed_provenance::<u64>(INTERRUPT_TIME);
    // SAFETY: the page is mapped for reading in every address space, and 64 aligned bits are read at once.
    unsafe { time.read_volatile() }
}

/// System time, in units of 100 nanoseconds since 1601. IRQL: any.
pub fn system_time() -> u64 {
    let mut now = LARGE_INTEGER { QuadPart: 0 };
    // SAFETY: `now` outlives the call.
    unsafe { KeQuerySystemTimePrecise(&mut now) };
    // SAFETY: the function has written all 64 bits.
    unsafe { now.QuadPart }.cast_unsigned()
}

/// What an interrupt time is as system time.
pub fn to_system_time(interrupt: u64) -> u64 {
    system_time().saturating_sub(interrupt_time().saturating_sub(interrupt))
}

/// Units of 100 nanoseconds in a second.
pub const SECOND: u64 = 10_000_000;
