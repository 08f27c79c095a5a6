//! Calling into an image: nothing but the call, and the IRQL that it is made at.

use crate::thread;

#[path = "../../../kernel/src/call/arguments.rs"]
mod arguments;
#[path = "../../../kernel/src/call/context.rs"]
mod context;

pub use arguments::Arguments;
pub use context::{CallContext, Stopped};

/// For whoever would leave an image of a lab that has stopped.
pub(crate) const LEAVE_STOPPED: u64 = 1;

/// A function of an image. What it does not take, it does not look at: in the Windows x64 convention the caller makes and removes the
/// room for the arguments.
type Function = unsafe extern "win64" fn(u64, u64, u64, u64, u64, u64, u64, u64, u64, u64) -> u64;

/// Calls a function of a loaded image and returns what it left in `rax`.
///
/// # Safety
/// `function` must be a function of an image that takes these arguments by the Windows x64 convention, and the arguments must be what
/// its contract asks for.
pub unsafe fn call_image<A: Arguments>(
    _context: &CallContext<'_>,
    irql: u8,
    function: *const (),
    arguments: A,
) -> Result<u64, Stopped> {
    let page = thread::page();
    let (caller, import) = (page.caller.get(), page.import.get());
    let before = page.irql.replace(irql);
    // SAFETY: the caller vouches for its convention.
    let function: Function = unsafe { core::mem::transmute(function) };
    let [a, b, c, d, e, f, g, h, i, j] = arguments.slots();
    // SAFETY: the caller vouches for function and arguments.
    let result = unsafe { function(a, b, c, d, e, f, g, h, i, j) };
    page.irql.set(before);
    page.caller.set(caller);
    page.import.set(import);
    Ok(result)
}
