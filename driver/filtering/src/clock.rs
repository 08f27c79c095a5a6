//! The time.

use core::ptr;

use postern_protocol::ioctl::Traffic;

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

/// `KUSER_SHARED_DATA.SystemTime`, which is not aligned to its 64 bits but lies in one cache line, so that they are read at once:
/// `KeQuerySystemTime` of wdm.h is this load.
const SYSTEM_TIME: usize = 0xFFFF_F780_0000_0014;

#[repr(C, packed(4))]
#[derive(Clone, Copy)]
struct SystemTime(u64);

/// System time, in units of 100 nanoseconds since 1601. IRQL: any.
pub fn system_time() -> u64 {
    let time = ptr::with_exposed_provenance::<SystemTime>(SYSTEM_TIME);
    // SAFETY: as in `interrupt_time`.
    let SystemTime(time) = unsafe { time.read_volatile() };
    time
}

/// What an interrupt time is as system time.
pub fn to_system_time(interrupt: u64) -> u64 {
    system_time().saturating_sub(interrupt_time().saturating_sub(interrupt))
}

/// Units of 100 nanoseconds in a second.
pub const SECOND: u64 = 10_000_000;

/// A flow's counters, with their times as system time.
pub fn in_system_time(traffic: Traffic) -> Traffic {
    Traffic { first: to_system_time(traffic.first), last: to_system_time(traffic.last), ..traffic }
}
