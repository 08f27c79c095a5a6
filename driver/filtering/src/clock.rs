//! The time.

use postern_protocol::ioctl::Traffic;

/// `KUSER_SHARED_DATA` (ntddk.h). Every x64 Windows has the page at this address.
const SHARED_DATA: usize = 0xFFFF_F780_0000_0000;
/// `InterruptTime` in it; `KeQueryInterruptTime` of wdm.h is a load of it.
const INTERRUPT_TIME: usize = 0x08;
/// `SystemTime` in it, which is not aligned to its 64 bits but lies in one cache line; `KeQuerySystemTime` of wdm.h is a load of it.
const SYSTEM_TIME: usize = 0x14;

/// A time in the shared page, whose 64 bits are read at once.
#[inline(always)]
fn shared_time(offset: usize) -> u64 {
    let at = SHARED_DATA + offset;
    // A load by itself, and no operand of another instruction: Wine's kernel has no such page, and emulates the loads of it.
    #[cfg(target_arch = "x86_64")]
    {
        let time;
        // SAFETY: the page is mapped for reading in every address space.
        unsafe {
            core::arch::asm!(
                "mov {time}, [{at}]",
                at = in(reg) at,
                time = lateout(reg) time,
                options(nostack, preserves_flags, readonly),
            );
        }
        time
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        #[repr(C, packed(4))]
        #[derive(Clone, Copy)]
        struct Time(u64);
        // SAFETY: as above.
        let Time(time) = unsafe { core::ptr::with_exposed_provenance::<Time>(at).read_volatile() };
        time
    }
}

/// Time since the system was started, in units of 100 nanoseconds; as fine as the clock interrupt. IRQL: any.
#[inline(always)]
pub fn interrupt_time() -> u64 {
    shared_time(INTERRUPT_TIME)
}

/// System time, in units of 100 nanoseconds since 1601. IRQL: any.
pub fn system_time() -> u64 {
    shared_time(SYSTEM_TIME)
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
