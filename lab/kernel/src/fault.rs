//! Processor faults in images.
//!
//! The signal handler decides only whose fault it is. If an image is being called on this thread, it
//! notes the registers and resumes at the call's recovery point; the report is made from there, where
//! everything may be done. Faults outside of any call into an image keep their default effect.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicPtr, Ordering};
use std::sync::Once;

use crate::call::{CallContext, LEAVE_STOPPED, postern_lab_recover};
use crate::image::{self, State};
use crate::inside;
use crate::preempt;
use crate::report::{Finding, Kind, Place};
use crate::shared_data;
use crate::thread::{self, ThreadPage};

/// Stack that `postern_lab_invoke` uses below its note: arguments, and the return address.
const CALL_DEPTH: u64 = 0x58 + 8;
/// A stack pointer further away than this is not trusted.
const MOST_DEPTH: u64 = 1 << 20;

/// The registers of a fault, as the handler noted them.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    /// 0: none.
    signal: i32,
    code: i32,
    address: u64,
    rip: u64,
    /// Bytes of stack between the call's note and the fault.
    depth: u64,
    /// What the page fault was, from the processor's error code.
    write: bool,
    execute: bool,
    /// The word at the top of the stack: where a function that was just called returns to.
    top: u64,
}

impl Fault {
    pub const NONE: Fault =
        Fault { signal: 0, code: 0, address: 0, rip: 0, depth: 0, write: false, execute: false, top: 0 };
}

const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

struct Previous(UnsafeCell<[libc::sigaction; 64]>);
// SAFETY: written once before the handlers are in place, read afterwards.
unsafe impl Sync for Previous {}
// SAFETY: all-zero is a valid `sigaction` (default handling).
static PREVIOUS: Previous = Previous(UnsafeCell::new(unsafe { core::mem::zeroed() }));

/// Puts the handlers in place, once a process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        shared_data::prepare();
        inside::install();
        preempt::install();
        for signal in SIGNALS {
            // SAFETY: all-zero is a valid `sigaction`.
            let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            let previous = PREVIOUS.0.get();
            // SAFETY: signal numbers are below 64; nobody reads before the handler is installed.
            let slot = unsafe { &raw mut (*previous)[signal as usize] };
            // SAFETY: valid action and a place for the previous one.
            unsafe { libc::sigaction(signal, &raw const action, slot) };
        }
    });
}

/// Room for the handler, should the fault be an exhausted stack.
pub(crate) struct SignalStack {
    base: *mut libc::c_void,
    previous: libc::stack_t,
}

const SIGNAL_STACK: usize = 64 << 10;

impl SignalStack {
    pub fn enter() -> SignalStack {
        // SAFETY: a fresh private mapping.
        let base = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                SIGNAL_STACK,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert!(base != libc::MAP_FAILED, "no memory for a signal stack");
        let new = libc::stack_t { ss_sp: base, ss_flags: 0, ss_size: SIGNAL_STACK };
        let mut previous = libc::stack_t { ss_sp: core::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: both are valid; the mapping lives until `leave`.
        unsafe { libc::sigaltstack(&raw const new, &raw mut previous) };
        SignalStack { base, previous }
    }

    pub fn leave(&mut self) {
        // SAFETY: puts back what `enter` found.
        unsafe { libc::sigaltstack(&raw const self.previous, core::ptr::null_mut()) };
        // SAFETY: made by `enter`, and no longer in use.
        unsafe { libc::munmap(self.base, SIGNAL_STACK) };
    }
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid context to a SA_SIGINFO handler.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    // SAFETY: as above.
    let info_ref = unsafe { &*info };
    if !take_over(signal, info_ref, context) {
        default(signal, info, core::ptr::from_mut(context).cast());
    }
}

/// Handles the fault if it is an image's. Runs in the signal handler: no allocation, no lock.
fn take_over(signal: i32, info: &libc::siginfo_t, context: &mut libc::ucontext_t) -> bool {
    let Some(page) = thread::page_if_any() else { return false };
    let frame = page.innermost();
    if frame.is_null() {
        return false;
    }
    let registers = &mut context.uc_mcontext.gregs;
    if signal == libc::SIGTRAP && info.si_code == preempt::TRAP_TRACE {
        preempt::trapped(page, registers);
        leave_if_it_must(page, registers);
        return true;
    }
    let rip = registers[libc::REG_RIP as usize] as u64;
    let rsp = registers[libc::REG_RSP as usize] as u64;
    // SAFETY: all of these signals carry an address.
    let address = unsafe { info.si_addr() } as u64;
    let error = registers[libc::REG_ERR as usize] as u64;
    // Where fetching itself has failed there is no instruction to look at.
    let fetched = error & 16 == 0;
    let may_emulate = image::state(rip) == Some(State::Loaded) && signal == libc::SIGSEGV && fetched;
    if may_emulate && (emulate(page, registers) || read_shared_data(page, registers, address)) {
        return true;
    }
    // SAFETY: the page belongs to this thread, and no other handler runs on it meanwhile.
    let fault = unsafe { &mut *page.fault.get() };
    fault.signal = signal;
    fault.code = info.si_code;
    fault.address = address;
    fault.rip = rip;
    fault.write = error & 2 != 0;
    fault.execute = !fetched;
    // SAFETY: the frame is of a call in progress.
    let frame_rsp = unsafe { (*frame).rsp };
    fault.depth = frame_rsp.wrapping_sub(rsp);
    let on_stack = rsp < frame_rsp && rsp.is_multiple_of(8);
    // SAFETY: between the fault's stack pointer and the frame's is this thread's own stack.
    fault.top = if on_stack && fault.depth < MOST_DEPTH { unsafe { (rsp as *const u64).read() } } else { 0 };
    leave(page, registers, LEAVE_STOPPED);
    true
}

/// Has a thread that was interrupted in an image leave it, if it may not go on there.
pub(crate) fn leave_if_it_must(page: &ThreadPage, registers: &mut [i64; 23]) {
    if page.must_leave() {
        leave(page, registers, page.why_leave());
    }
}

/// As [`crate::report::leave`], from a signal handler.
fn leave(page: &ThreadPage, registers: &mut [i64; 23], why: u64) {
    // SAFETY: the frame is of a call in progress.
    let rsp = unsafe { (*page.innermost()).rsp };
    registers[libc::REG_RDI as usize] = rsp as i64;
    registers[libc::REG_RSI as usize] = why as i64;
    registers[libc::REG_RIP as usize] = postern_lab_recover as *const () as i64;
    registers[libc::REG_EFL as usize] &= !preempt::TRAP_FLAG;
    page.stop.set(None);
}

/// `REG_*` of each register number in an instruction's encoding.
pub(crate) const ENCODED: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Privileged instructions that drivers have inline: `KeGetCurrentIrql`, `KeRaiseIrql` and `KeLowerIrql`
/// are moves from and to `CR8` on x64.
fn emulate(page: &ThreadPage, registers: &mut [i64; 23]) -> bool {
    let rip = registers[libc::REG_RIP as usize] as u64;
    let byte = |index: u64| {
        // SAFETY: the processor has just fetched this instruction from a loaded image.
        unsafe { ((rip + index) as *const u8).read() }
    };
    // REX.R (with B for r8 to r15) 0F 20|22 /r with register 8, that is CR8.
    let rex = byte(0);
    if rex & 0xfc != 0x44 || byte(1) != 0x0f {
        return false;
    }
    let (operation, modrm) = (byte(2), byte(3));
    if !matches!(operation, 0x20 | 0x22) || modrm & 0xf8 != 0xc0 {
        return false;
    }
    let register = ENCODED[usize::from(modrm & 7) + if rex & 1 != 0 { 8 } else { 0 }] as usize;
    if operation == 0x20 {
        registers[register] = i64::from(page.irql.get());
    } else {
        page.irql.set((registers[register] & 15) as u8);
    }
    registers[libc::REG_RIP as usize] += 4;
    true
}

/// A load from Windows' shared page that is not redirected to the lab's.
fn read_shared_data(page: &ThreadPage, registers: &mut [i64; 23], address: u64) -> bool {
    // SAFETY: a thread inside of an image has entered a kernel, which it holds.
    let kernel = unsafe { &*page.kernel.get() };
    if !kernel.clock.is_scheduled() {
        kernel.clock.tick();
    }
    shared_data::emulate(registers, address, &kernel.clock.shared_data)
}

fn default(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: written before this handler was installed.
    let previous = unsafe { (*PREVIOUS.0.get())[signal as usize] };
    if previous.sa_sigaction == libc::SIG_DFL || previous.sa_sigaction == libc::SIG_IGN {
        // SAFETY: back to the default; the instruction then faults again and has its effect.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    let handler = AtomicPtr::new(previous.sa_sigaction as *mut ());
    // SAFETY: a handler that was installed for this signal; Rust's own takes the three arguments, and one
    // that takes a single argument ignores the others.
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
        unsafe { core::mem::transmute(handler.load(Ordering::Relaxed)) };
    handler(signal, info, context);
}

/// The fault that the handler noted on this thread, if any.
pub(crate) fn take(page: &ThreadPage) -> Option<Fault> {
    let fault = page.fault.get();
    // SAFETY: the page is this thread's, and the handler is not running.
    let taken = unsafe { core::ptr::replace(fault, Fault::NONE) };
    (taken.signal != 0).then_some(taken)
}

/// Puts a fault into words: what it was, who is to blame, and where.
pub(crate) fn describe(fault: &Fault, context: &CallContext<'_>) -> (Finding, Option<Place>) {
    let place = image::place(fault.rip);
    if image::state(fault.rip) == Some(State::Unloaded) {
        let place = place.expect("an unloaded image has a name");
        // A fresh call has nothing on the stack but what the lab's call left there.
        let called = image::place(fault.top).is_none() && fault.depth == CALL_DEPTH;
        let (what, remedy) = if called {
            (
                format!("{context}: called at {place}, after the driver was unloaded"),
                "unregister or cancel this kind of call, and wait for its end, before DriverUnload returns",
            )
        } else {
            (
                format!("{context}: ran on at {place}, after it was unloaded"),
                "wait until this has left the image (for a thread: on the thread object) before DriverUnload returns",
            )
        };
        return (Finding { kind: Kind::LateCall, what, remedy: remedy.into() }, Some(place));
    }
    if fault.execute && fault.address == fault.rip {
        let from = image::place(fault.top);
        let what = format!("the image jumped to {:#x}, where no code is", fault.rip);
        return (Finding { kind: Kind::Bugcheck, what, remedy: "check the function pointer".into() }, from);
    }
    let import = (image::state(fault.rip).is_none()).then(crate::export::current_name);
    let caller = place.clone().or_else(crate::report::caller);
    let where_ = match import {
        Some(import) => format!("{import} (called with a bad pointer or state)"),
        None => "the image".into(),
    };
    let access = if fault.execute {
        "executing"
    } else if fault.write {
        "writing"
    } else {
        "reading"
    };
    let mut remedy = String::new();
    let what = match fault.signal {
        libc::SIGSEGV | libc::SIGBUS => {
            if let Some(late) =
                image::place(fault.address).filter(|_| image::state(fault.address) == Some(State::Unloaded))
            {
                return (
                    Finding {
                        kind: Kind::LateCall,
                        what: format!("{where_} faulted {access} {late}, in an unloaded image"),
                        remedy: "let nothing point into the image when DriverUnload returns".into(),
                    },
                    caller,
                );
            }
            if let Some(finding) = crate::ntos::pool::explain(fault.address, access) {
                return (finding, caller);
            }
            // A general protection fault has no address.
            const SI_KERNEL: i32 = 0x80;
            if fault.code == SI_KERNEL {
                general_protection(fault, &where_, place.is_some())
            } else {
                if fault.address < 0x1_0000 {
                    remedy = "check the pointer for NULL".into();
                }
                format!(
                    "PAGE_FAULT_IN_NONPAGED_AREA (0x00000050): {where_} faulted {access} address {:#x}",
                    fault.address
                )
            }
        }
        libc::SIGFPE => format!("KMODE_EXCEPTION_NOT_HANDLED (0x0000001e): {where_} divided by zero"),
        libc::SIGTRAP => format!(
            "KMODE_EXCEPTION_NOT_HANDLED (0x0000001e): {where_} executed a breakpoint, and no debugger is attached"
        ),
        _ => format!("KMODE_EXCEPTION_NOT_HANDLED (0x0000001e): {where_} executed an illegal instruction"),
    };
    (Finding { kind: Kind::Bugcheck, what, remedy }, caller)
}

fn general_protection(fault: &Fault, where_: &str, in_image: bool) -> String {
    let bytes: Vec<u8> = if in_image {
        // SAFETY: the instruction was fetched from a loaded image, whose pages stay mapped; two bytes of
        // any faulting instruction lie in it.
        (0..2).map(|index| unsafe { ((fault.rip + index) as *const u8).read() }).collect()
    } else {
        Vec::new()
    };
    match bytes.as_slice() {
        [0xcd, 0x29] => format!(
            "KERNEL_SECURITY_CHECK_FAILURE (0x00000139): {where_} executed a fast-fail (int 29h): a corrupted list entry, stack cookie or other check"
        ),
        [0xcd, 0x2c] => format!("ASSERTION_FAILURE: {where_} failed an assertion (int 2Ch)"),
        [0xcd, 0x2d] | [0xcd, 0x03] => format!(
            "KMODE_EXCEPTION_NOT_HANDLED (0x0000001e): {where_} executed a breakpoint, and no debugger is attached"
        ),
        [0xfa | 0xfb | 0xf4, _] | [0x0f, 0x30 | 0x32] => format!(
            "the lab does not emulate the privileged instruction that {where_} executed ({bytes:02x?}: cli, sti, hlt, rdmsr or wrmsr)"
        ),
        _ => format!(
            "SYSTEM_SERVICE_EXCEPTION (0x0000003b): {where_} used a non-canonical address or a privileged instruction (general protection fault)"
        ),
    }
}
