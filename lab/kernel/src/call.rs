//! Calling into an image: the one way in, with a way back out.
//!
//! A driver's function uses the Windows x64 calling convention. [`call_image`] enters it through one
//! assembly routine that first notes where the stack stood. Whatever then goes wrong in there (a fault, a
//! bug check, a call into an unloaded image) leaves by jumping back to that note, so that it becomes a
//! report and a stopped lab instead of a dead process.

use crate::irql;
use crate::report;
use crate::schedule;
use crate::stack::Stack;
use crate::thread::{self, ThreadPage};

mod arguments;
mod context;

pub use arguments::Arguments;
pub use context::{CallContext, Stopped};

/// How a call into an image ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The function returned this in `rax`.
    Returned(u64),
    /// A bug check.
    Stopped,
    /// The driver ended the thread with `PsTerminateSystemThread`.
    ThreadTerminated,
}

/// Why the recovery point was jumped to; the values that `postern_lab_recover` passes on.
pub(crate) const LEAVE_STOPPED: u64 = 1;
pub(crate) const LEAVE_THREAD: u64 = 2;

/// One call into an image that has not returned. Frames form a list, innermost first.
#[repr(C)]
pub(crate) struct Frame {
    /// The stack pointer to come back to; written by the assembly.
    pub rsp: u64,
    /// Where the function's stack begins. Zero before the call: on the caller's, which the assembly then writes here.
    pub stack: u64,
    pub previous: *const Frame,
    /// The function called.
    pub function: u64,
    /// The call's [`CallContext`], without its lifetime.
    pub context: *const (),
    /// State of the thread when it entered, restored when it leaves.
    pub caller: u64,
    pub import: u32,
    pub irql: u8,
    pub entry_irql: u8,
    pub spin_locks: u32,
    pub critical_regions: i32,
    /// Under a schedule: where the import in progress returns to.
    pub returns_to: u64,
}

#[repr(C)]
struct RawExit {
    value: u64,
    left_by: u64,
}

// The routine keeps to the System V convention itself. Its frame holds the callee-saved registers, so that
// restoring the stack pointer alone is enough to return from it at any time.
core::arch::global_asm!(
    ".globl postern_lab_invoke",
    ".globl postern_lab_recover",
    ".type postern_lab_invoke,@function",
    "postern_lab_invoke:",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rdi], rsp",
    "mov rbx, rdi",
    "mov r11, [rdi + 8]",
    "test r11, r11",
    "cmovz r11, rsp",
    "mov rsp, r11",
    "mov [rdi + 8], r11",
    // 0x20 home space, six stack arguments, 8 to align.
    "sub rsp, 0x58",
    "mov rax, rsi",
    "mov r10, rdx",
    "test ecx, ecx",
    "jz 2f",
    "mov r11, [r10 + 32]",
    "mov [rsp + 32], r11",
    "mov r11, [r10 + 40]",
    "mov [rsp + 40], r11",
    "mov r11, [r10 + 48]",
    "mov [rsp + 48], r11",
    "mov r11, [r10 + 56]",
    "mov [rsp + 56], r11",
    "mov r11, [r10 + 64]",
    "mov [rsp + 64], r11",
    "mov r11, [r10 + 72]",
    "mov [rsp + 72], r11",
    "2:",
    "mov rcx, [r10]",
    "mov rdx, [r10 + 8]",
    "mov r8, [r10 + 16]",
    "mov r9, [r10 + 24]",
    "call rax",
    "mov rsp, [rbx]",
    "xor edx, edx",
    "3:",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    // rdi: the frame's stack pointer, rsi: why.
    "postern_lab_recover:",
    "mov rsp, rdi",
    "mov rdx, rsi",
    "xor eax, eax",
    "cld",
    "jmp 3b",
);

unsafe extern "sysv64" {
    fn postern_lab_invoke(
        frame: *mut Frame,
        function: *const (),
        arguments: *const u64,
        stack_arguments: u32,
    ) -> RawExit;
    pub(crate) fn postern_lab_recover(rsp: u64, why: u64) -> !;
}

/// Calls a function of a loaded image at `irql` and returns what it left in `rax`.
///
/// The calling thread must be inside [`crate::thread::enter`]. On return the IRQL, the spin locks and the
/// critical regions must be as they were when the function was entered; anything else is reported.
///
/// # Safety
/// `function` must be a function of an image that takes these arguments by the Windows x64 convention, and
/// the arguments must be what its contract asks for.
#[inline]
pub unsafe fn call_image<A: Arguments>(
    context: &CallContext<'_>,
    irql: u8,
    function: *const (),
    arguments: A,
) -> Result<u64, Stopped> {
    // SAFETY: the caller vouches for function and arguments.
    returned(context, unsafe { invoke::<true, A>(context, irql, function, arguments) })
}

/// [`call_image`] on a stack of its own, which nobody can use any more once the function has returned.
///
/// # Safety
/// As for [`call_image`].
pub(crate) unsafe fn call_on_own_stack<A: Arguments>(
    context: &CallContext<'_>,
    irql: u8,
    function: *const (),
    arguments: A,
) -> Result<u64, Stopped> {
    // SAFETY: the caller vouches for function and arguments.
    returned(context, unsafe { invoke_on_own_stack(context, irql, function, arguments) })
}

/// [`call_image`] for functions whose purpose it is to leave the IRQL and the locks changed, such as a
/// queue's lock callback.
///
/// # Safety
/// As for [`call_image`].
pub(crate) unsafe fn call_unbalanced<A: Arguments>(
    context: &CallContext<'_>,
    irql: u8,
    function: *const (),
    arguments: A,
) -> Result<u64, Stopped> {
    // SAFETY: the caller vouches for function and arguments.
    returned(context, unsafe { invoke::<false, A>(context, irql, function, arguments) })
}

#[inline]
fn returned(context: &CallContext<'_>, exit: Exit) -> Result<u64, Stopped> {
    match exit {
        Exit::Returned(value) => Ok(value),
        Exit::Stopped => Err(Stopped),
        Exit::ThreadTerminated => {
            report::terminated_a_foreign_thread(context);
            Err(Stopped)
        }
    }
}

/// [`call_on_own_stack`] for a thread's start routine, which may also end by terminating the thread.
///
/// # Safety
/// As for [`call_image`].
pub(crate) unsafe fn invoke_on_own_stack<A: Arguments>(
    context: &CallContext<'_>,
    irql: u8,
    function: *const (),
    arguments: A,
) -> Exit {
    let stack = Stack::new(context);
    // SAFETY: the caller vouches for function and arguments; the stack outlives the call.
    unsafe { invoke_on::<true, A>(context, irql, function, arguments, stack.top()) }
}

/// Unless `BALANCED`, the IRQL and the locks stay as the function left them.
///
/// # Safety
/// As for [`call_image`].
#[inline]
unsafe fn invoke<const BALANCED: bool, A: Arguments>(
    context: &CallContext<'_>,
    irql: u8,
    function: *const (),
    arguments: A,
) -> Exit {
    // SAFETY: the caller vouches for function and arguments.
    unsafe { invoke_on::<BALANCED, A>(context, irql, function, arguments, 0) }
}

/// [`invoke`] on the stack that begins at `stack`, or on the caller's if that is zero.
///
/// # Safety
/// As for [`call_image`]; the stack is nobody else's.
#[inline]
unsafe fn invoke_on<const BALANCED: bool, A: Arguments>(
    context: &CallContext<'_>,
    irql: u8,
    function: *const (),
    arguments: A,
    stack: u64,
) -> Exit {
    let page = thread::page();
    let begins_at = schedule::entering(page, context.what, function);
    if page.stopped() {
        return Exit::Stopped;
    }
    let mut frame = Frame {
        rsp: 0,
        stack,
        previous: page.innermost(),
        function: function as u64,
        context: core::ptr::from_ref(context).cast(),
        caller: page.caller.get(),
        import: page.import.get(),
        irql: page.irql.get(),
        entry_irql: irql,
        spin_locks: page.spin_locks.get(),
        critical_regions: page.critical_regions.get(),
        returns_to: 0,
    };
    let slots = arguments.slots();
    page.irql.set(irql);
    page.set_innermost(&raw mut frame);
    // SAFETY: the caller vouches for function and arguments; the frame and the slots outlive the call.
    let exit = unsafe { postern_lab_invoke(&raw mut frame, begins_at, slots.as_ptr(), u32::from(A::COUNT > 4)) };
    page.set_innermost(frame.previous);
    if exit.left_by != 0 {
        return left(page, &frame, context, exit.left_by);
    }
    if !BALANCED {
        page.caller.set(frame.caller);
        page.import.set(frame.import);
        schedule::left(page, context.what);
        return Exit::Returned(exit.value);
    }
    if page.irql.get() != irql
        || page.spin_locks.get() != frame.spin_locks
        || page.critical_regions.get() != frame.critical_regions
    {
        irql::unbalanced(page, &frame, context);
    }
    page.caller.set(frame.caller);
    page.import.set(frame.import);
    page.irql.set(frame.irql);
    schedule::left(page, context.what);
    Exit::Returned(exit.value)
}

#[cold]
fn left(page: &ThreadPage, frame: &Frame, context: &CallContext<'_>, why: u64) -> Exit {
    thread::current().dispatcher.recover();
    if why == LEAVE_STOPPED {
        report::fault_of(page, frame, context);
        report::hang_of(page, context);
    }
    page.caller.set(frame.caller);
    page.import.set(frame.import);
    page.irql.set(frame.irql);
    page.spin_locks.set(frame.spin_locks);
    page.critical_regions.set(frame.critical_regions);
    if why == LEAVE_THREAD { Exit::ThreadTerminated } else { Exit::Stopped }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Lab};

    extern "win64" fn weigh(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64, h: u64, i: u64, j: u64) -> u64 {
        [a, b, c, d, e, f, g, h, i, j].iter().zip(1..).map(|(value, weight)| value * weight).sum()
    }

    extern "win64" fn seven(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64) -> u64 {
        a + 10 * b + 100 * c + 1000 * d + 10000 * e + 100_000 * f + 1_000_000 * g
    }

    extern "win64" fn leave_raised() -> u64 {
        crate::irql::raise(2);
        1
    }

    extern "win64" fn stop() -> u64 {
        crate::report::bugcheck(0xE2, [1, 2, 3, 4], "asked to")
    }

    const CONTEXT: CallContext<'static> = CallContext { what: "test", object: "nobody", at: "" };

    #[test]
    fn arguments_arrive_in_order() {
        let lab = Lab::start(Config::default());
        lab.enter(|| {
            let ten = (1u64, 2u64, 3u64, 4u64, 5u64, 6u64, 7u64, 8u64, 9u64, 10u64);
            // SAFETY: the function takes ten integers.
            let sum = unsafe { call_image(&CONTEXT, 0, weigh as *const (), ten) };
            assert_eq!(sum, Ok(385));
            let digits = (7u8, 6u32, 5u64, 4u64, 3i32, 2u64, 1u64);
            // SAFETY: the function takes seven integers.
            let sum = unsafe { call_image(&CONTEXT, 2, seven as *const (), digits) };
            assert_eq!(sum, Ok(1_234_567));
        });
    }

    #[test]
    fn an_irql_left_raised_is_reported_and_mended() {
        let lab = Lab::start(Config::default());
        // SAFETY: the function takes nothing.
        lab.enter(|| unsafe { call_image(&CONTEXT, 0, leave_raised as *const (), ()) }).unwrap();
        assert_eq!(lab.enter(crate::irql::current), 0);
        let violations = lab.violations();
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert_eq!(violations[0].what, "test was entered at PASSIVE_LEVEL and returned at DISPATCH_LEVEL");
    }

    #[test]
    fn a_bug_check_stops_the_lab_and_not_the_process() {
        let lab = Lab::start(Config::default());
        lab.enter(|| {
            // SAFETY: the function takes nothing.
            assert_eq!(unsafe { call_image(&CONTEXT, 0, stop as *const (), ()) }, Err(Stopped));
            // SAFETY: as above.
            assert_eq!(unsafe { call_image(&CONTEXT, 0, seven as *const (), ()) }, Err(Stopped));
        });
        assert!(lab.stopped());
        assert!(lab.violations()[0].what.starts_with("MANUALLY_INITIATED_CRASH"));
    }

    #[test]
    #[ignore = "a measurement"]
    fn cost_of_a_call() {
        let lab = Lab::start(Config::default());
        lab.enter(|| {
            for _ in 0..3 {
                let start = std::time::Instant::now();
                for n in 0..10_000_000u64 {
                    let arguments = (n, n, n, n, n, n, n);
                    // SAFETY: the function takes seven integers.
                    std::hint::black_box(unsafe { call_image(&CONTEXT, 2, seven as *const (), arguments) }).unwrap();
                }
                let ours = start.elapsed() / 10_000_000;
                let plain = std::hint::black_box(seven as extern "win64" fn(u64, u64, u64, u64, u64, u64, u64) -> u64);
                let start = std::time::Instant::now();
                for n in 0..10_000_000u64 {
                    std::hint::black_box(plain(n, n, n, n, n, n, n));
                }
                println!("call_image {ours:?}, plain {:?}", start.elapsed() / 10_000_000);
            }
        });
    }
}
