//! Stopping a thread between any two instructions of an image.
//!
//! A schedule (see [`crate::schedule`]) has some of an image's *stretches* executed in single steps: from where the image is entered, or
//! an import returns to, until the next import or the end. The processor's trap flag is set by the last step before the image, and
//! raises `SIGTRAP` before each of its instructions from then on. The handler counts them; where the [`Stop`] says, it is a scheduling
//! point. As soon as an instruction is not the image's the flag is cleared, so that the lab itself is never stepped.
//!
//! The thread waits for its turn in the signal handler. All that a scheduling point does, locking and allocating too, may be done
//! there: what the signal has interrupted is an instruction of the image, so it is nothing of this process's runtime. It is as if the
//! image had called the handler.

use core::time::Duration;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};

use crate::export;
use crate::fault;
use crate::image::{self, State};
use crate::schedule;
use crate::thread::{self, PAGE_GOES_ON_AT, ThreadPage};

/// The processor's trap flag, in `RFLAGS`.
pub(crate) const TRAP_FLAG: i64 = 0x100;
/// `si_code` of a `SIGTRAP` that the trap flag has raised.
pub(crate) const TRAP_TRACE: i32 = 2;
/// Nobody steps further than this; a loop that waits without a call into the kernel gives the baton away here.
const FURTHEST: u32 = 2000;
/// The longest instruction of the processor.
const LONGEST_INSTRUCTION: usize = 15;
const PAGE: usize = 4096;

/// Where a stretch is stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    mark: Mark,
    marks: u32,
    instructions: u32,
    passed: u32,
}

/// An instruction that touches what other threads may touch meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    Atomic,
    /// A variable of the image is its operand.
    Variable,
}

impl Stop {
    /// So many instructions from now.
    pub fn after(instructions: u32) -> Stop {
        Stop::near(Mark::Atomic, 0, instructions)
    }

    /// Before the `marks`th mark to come, or so many instructions later.
    pub fn near(mark: Mark, marks: u32, instructions: u32) -> Stop {
        Stop { mark, marks, instructions, passed: 0 }
    }

    /// Whether the thread is stopped before the instruction at `rip`. Asked before each.
    fn is_here(&mut self, rip: u64) -> bool {
        self.passed += 1;
        if self.passed > FURTHEST {
            return true;
        }
        if self.marks != 0 {
            self.marks -= u32::from(self.mark.is_at(rip));
            if self.marks != 0 {
                return false;
            }
        }
        let here = self.instructions == 0;
        self.instructions = self.instructions.saturating_sub(1);
        here
    }
}

impl Mark {
    /// Whether the instruction at `rip`, in a loaded image, is one.
    fn is_at(self, rip: u64) -> bool {
        // An instruction that goes on behind the page is decoded from there, too: the processor is about to execute it.
        let first = decode(rip, LONGEST_INSTRUCTION.min(PAGE - rip as usize % PAGE));
        let instruction = if first.is_invalid() { decode(rip, LONGEST_INSTRUCTION) } else { first };
        match self {
            Mark::Atomic => {
                // An exchange with memory needs no prefix.
                let exchanges = instruction.mnemonic() == Mnemonic::Xchg && instruction.op0_kind() == OpKind::Memory;
                instruction.has_lock_prefix() || exchanges
            }
            Mark::Variable => {
                // Not what is called through the import table.
                let uses = instruction.mnemonic() != Mnemonic::Lea && instruction.flow_control() == FlowControl::Next;
                instruction.is_ip_rel_memory_operand() && uses
            }
        }
    }
}

fn decode(rip: u64, length: usize) -> Instruction {
    // SAFETY: the caller knows that so many bytes of code are there.
    let bytes = unsafe { core::slice::from_raw_parts(rip as *const u8, length) };
    Decoder::with_ip(64, bytes, rip, DecoderOptions::NONE).decode()
}

// Goes on at the thread's `goes_on_at` with the trap flag set: the first trap comes there.
core::arch::global_asm!(
    ".globl postern_lab_single_step",
    ".type postern_lab_single_step,@function",
    "postern_lab_single_step:",
    "pushfq",
    "or dword ptr [rsp], {flag}",
    "popfq",
    "jmp qword ptr gs:[{goes_on_at}]",
    flag = const TRAP_FLAG,
    goes_on_at = const PAGE_GOES_ON_AT,
);

unsafe extern "C" {
    fn postern_lab_single_step();
}

/// The address at which a stretch of an image is begun that is to begin at `address`, and to be stopped.
#[inline]
pub(crate) fn begin(page: &ThreadPage, address: u64, stop: Option<Stop>) -> u64 {
    let Some(stop) = stop else { return address };
    page.stop.set(Some(stop));
    page.goes_on_at.set(address);
    postern_lab_single_step as *const () as u64
}

/// The trap flag has interrupted this thread. Runs in the signal handler.
pub(crate) fn trapped(page: &ThreadPage, registers: &mut [i64; 23]) {
    let rip = registers[libc::REG_RIP as usize] as u64;
    let flags = &mut registers[libc::REG_EFL as usize];
    *flags &= !TRAP_FLAG;
    // An image that stores its flags and loads them later may set the flag when nobody steps any more.
    let Some(mut stop) = page.stop.take() else { return };
    if image::state(rip) != Some(State::Loaded) {
        if export::all().is_bare(rip) {
            // What the function returns to goes on in single steps.
            let return_slot = registers[libc::REG_RSP as usize] as *mut u64;
            // SAFETY: the function is about to be executed, so its return address is at the top of the stack.
            let returns_to = unsafe { return_slot.read() };
            // SAFETY: as above; such a function does not look who has called it.
            unsafe { return_slot.write(begin(page, returns_to, Some(stop))) };
        }
        return;
    }
    let next = if stop.is_here(rip) { schedule::stopped(page, rip) } else { Some(stop) };
    if next.is_some() {
        *flags |= TRAP_FLAG;
    }
    page.stop.set(next);
}

fn signal() -> i32 {
    libc::SIGRTMIN() + 8
}

/// Puts the handler in place by which a thread is interrupted.
pub(crate) fn install() {
    // SAFETY: all-zero is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = on_interrupt as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: a valid action for a signal that nothing else uses.
    unsafe { libc::sigaction(signal(), &raw const action, core::ptr::null_mut()) };
}

/// Has a thread that has the baton give it away, if it is executing an image.
pub(crate) fn interrupt(thread: libc::pthread_t) {
    // SAFETY: a thread that has the baton has not ended, and has entered a lab, which has put the handler in place.
    unsafe { libc::pthread_kill(thread, signal()) };
}

extern "C" fn on_interrupt(_signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(page) = thread::page_if_any() else { return };
    // SAFETY: the kernel passes a valid context to a SA_SIGINFO handler.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let rip = registers[libc::REG_RIP as usize] as u64;
    // In single steps, a loop is stopped by their count.
    if image::state(rip) == Some(State::Loaded) && page.stop.get().is_none() {
        schedule::spins(page, rip);
        fault::leave_if_it_must(page, registers);
    }
}

/// What a thread has taken of the processors' time.
pub(crate) fn processor_time(thread: libc::pthread_t) -> Duration {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the caller's thread has not ended; the clock is written.
    unsafe { libc::pthread_getcpuclockid(thread, &raw mut clock) };
    // SAFETY: the time is written.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
