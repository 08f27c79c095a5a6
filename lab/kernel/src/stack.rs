//! Stacks of their own, for calls into an image that others may point into.
//!
//! A routine that is told of a variable on another thread's stack, and uses it when that thread has gone on, reads or writes
//! what is somebody else's by then. Here the stack of such a call is taken away when the call has returned, so that the late
//! access faults and can be told apart from everything else. The last [`QUARANTINED`] stacks of the process are kept so.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::call::CallContext;
use crate::kernel::lock_of_process;
use crate::report::{Finding, Kind};

/// Stacks that are gone and whose addresses stay reserved, over the whole process.
const QUARANTINED: usize = 64;
/// The lab's own code runs on it too, so it is much larger than a kernel stack of Windows.
const SIZE: usize = 2 << 20;
/// Below and above each stack.
const GUARD: usize = 4096;

static GONE: Mutex<VecDeque<Gone>> = Mutex::new(VecDeque::new());

struct Mapping {
    start: u64,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping's, and nothing lives in it any more.
        unsafe { libc::munmap(self.start as *mut libc::c_void, SIZE + 2 * GUARD) };
    }
}

struct Gone {
    mapping: Mapping,
    /// What it was the stack of.
    of: String,
}

/// A stack for one call. Dropping it makes it inaccessible.
pub(crate) struct Stack {
    mapping: Option<Mapping>,
    of: String,
}

impl Stack {
    pub fn new(context: &CallContext<'_>) -> Stack {
        // SAFETY: reserves fresh address space.
        let start = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                SIZE + 2 * GUARD,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK,
                -1,
                0,
            )
        };
        assert!(start != libc::MAP_FAILED, "no memory for a stack");
        let mapping = Mapping { start: start as u64 };
        // SAFETY: the middle of the range reserved above.
        let result =
            unsafe { libc::mprotect(start.wrapping_byte_add(GUARD), SIZE, libc::PROT_READ | libc::PROT_WRITE) };
        assert!(result == 0, "no memory for a stack");
        Stack { mapping: Some(mapping), of: context.to_string() }
    }

    /// Where its first frame begins: aligned as after a call.
    pub fn top(&self) -> u64 {
        let mapping = self.mapping.as_ref().expect("there until it is dropped");
        mapping.start + (GUARD + SIZE) as u64 - 8
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let Some(mapping) = self.mapping.take() else { return };
        // SAFETY: the range is this mapping's, and the call that ran in it has returned.
        let gone = unsafe {
            libc::mmap(
                mapping.start as *mut libc::c_void,
                SIZE + 2 * GUARD,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        assert!(gone != libc::MAP_FAILED, "a stack's own pages cannot be taken away");
        let mut stacks = lock_of_process(&GONE);
        stacks.push_back(Gone { mapping, of: core::mem::take(&mut self.of) });
        if stacks.len() > QUARANTINED {
            stacks.pop_front();
        }
    }
}

/// Explains a fault at an address on a stack that is gone.
pub(crate) fn explain(address: u64, who: &str, access: &str) -> Option<Finding> {
    let stacks = lock_of_process(&GONE);
    let gone = stacks
        .iter()
        .find(|gone| (gone.mapping.start..gone.mapping.start + (SIZE + 2 * GUARD) as u64).contains(&address))?;
    Some(Finding {
        kind: Kind::Stack,
        what: format!("{who} faulted {access} {address:#x}, on the stack of {}, which has returned", gone.of),
        remedy: "tell the thread that waits to go on as the last thing, and use nothing on its stack after that".into(),
    })
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::call::{Stopped, call_image, call_on_own_stack};
    use crate::{Config, Lab};

    static LOCAL: AtomicU64 = AtomicU64::new(0);

    extern "win64" fn announce() -> u64 {
        let local = AtomicU64::new(7);
        LOCAL.store(core::ptr::from_ref(&local) as u64, Ordering::Relaxed);
        core::hint::black_box(&local).load(Ordering::Relaxed)
    }

    extern "win64" fn write(to: u64) -> u64 {
        // SAFETY: none: this is what the lab has to notice.
        unsafe { (to as *mut u64).write_volatile(8) };
        0
    }

    #[test]
    fn what_is_on_the_stack_of_a_call_that_has_returned_cannot_be_used() {
        let lab = Lab::start(Config::default());
        let waiter = CallContext { what: "DriverUnload", object: "driver test", at: "" };
        let routine = CallContext { what: "work item routine", object: "driver test", at: "" };
        lab.enter(|| {
            // SAFETY: the function takes nothing.
            assert_eq!(unsafe { call_on_own_stack(&waiter, 0, announce as *const (), ()) }, Ok(7));
            let late = LOCAL.load(Ordering::Relaxed);
            // SAFETY: the function takes an integer.
            assert_eq!(unsafe { call_image(&routine, 0, write as *const (), (late,)) }, Err(Stopped));
        });
        let violation = &lab.violations()[0];
        assert_eq!(violation.kind, Kind::Stack);
        assert!(violation.what.ends_with("on the stack of DriverUnload of driver test, which has returned"));
    }
}
