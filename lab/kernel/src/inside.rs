//! Who is inside of an image: looked for when its driver has unloaded, and nobody may be.
//!
//! A thread is inside of an image while a call into it has not returned: its frame (see [`crate::call`]) is linked; and while its
//! instruction pointer lies in it. Stale words on a stack are never looked at. What the thread is doing it writes down itself, in a
//! signal handler: its frames are its own, and change while it runs.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::call::{CallContext, Frame};
use crate::image;
use crate::kernel::{Kernel, lock};
use crate::report::Place;
use crate::thread::{self, ThreadPage};

/// Calls into images, one within the other, that are written down.
const FRAMES: usize = 8;
/// Bytes of an object's name that are written down.
const NAME: usize = 160;
/// How long a thread may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// What a thread wrote down of itself.
pub(crate) struct Sighting {
    written: AtomicBool,
    what: UnsafeCell<Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    rip: u64,
    /// Return address of the import that was called last.
    caller: u64,
    count: usize,
    frames: [SeenFrame; FRAMES],
}

#[derive(Clone, Copy)]
struct SeenFrame {
    function: u64,
    /// Where the frame before this one called the import in which this call was made.
    caller: u64,
    what: &'static str,
    object: [u8; NAME],
    length: usize,
}

impl Sighting {
    pub const fn new() -> Sighting {
        Sighting {
            written: AtomicBool::new(false),
            what: UnsafeCell::new(Seen {
                rip: 0,
                caller: 0,
                count: 0,
                frames: [SeenFrame { function: 0, caller: 0, what: "", object: [0; NAME], length: 0 }; FRAMES],
            }),
        }
    }
}

/// A thread of the kernel, for the signal.
pub(crate) struct Known {
    pub page: *const ThreadPage,
    pub id: i32,
    pub name: String,
}

// SAFETY: the page is read only while the thread is known, which it is until it ends.
unsafe impl Send for Known {}

fn signal() -> i32 {
    libc::SIGRTMIN() + 7
}

/// Puts the handler in place.
pub(crate) fn install() {
    // SAFETY: all-zero is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: a valid action for a signal that nothing else uses.
    unsafe { libc::sigaction(signal(), &raw const action, core::ptr::null_mut()) };
}

/// Writes down what this thread is doing. No allocation, no lock.
extern "C" fn on_signal(_signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(page) = thread::page_if_any() else { return };
    // SAFETY: the kernel passes a valid context to a SA_SIGINFO handler.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    // SAFETY: written by this thread alone, and read by others after `written`.
    let seen = unsafe { &mut *page.sighting.what.get() };
    write_down(page, seen);
    seen.rip = match page.stopped_at.get() {
        0 => context.uc_mcontext.gregs[libc::REG_RIP as usize] as u64,
        at => at,
    };
    page.sighting.written.store(true, Ordering::Release);
}

fn write_down(page: &ThreadPage, seen: &mut Seen) {
    seen.rip = 0;
    seen.caller = page.caller.get();
    seen.count = 0;
    let mut frame: *const Frame = page.innermost();
    while !frame.is_null() && seen.count < FRAMES {
        // SAFETY: frames are on this thread's stack, linked when they are complete and unlinked when their call ends.
        let current = unsafe { &*frame };
        // SAFETY: a frame's context outlives the call that the frame stands for.
        let context = unsafe { &*current.context.cast::<CallContext<'_>>() };
        let into = &mut seen.frames[seen.count];
        let object = context.object.as_bytes();
        into.function = current.function;
        into.caller = current.caller;
        into.what = context.what;
        into.length = object.len().min(NAME);
        into.object[..into.length].copy_from_slice(&object[..into.length]);
        seen.count += 1;
        frame = current.previous;
    }
}

/// A thread that is inside of an image.
pub(crate) struct Inside {
    pub thread: String,
    /// Its kernel object, if a driver made it.
    pub object: u64,
    /// The function of the image that has not returned.
    pub function: u64,
    pub what: String,
    pub place: Option<Place>,
}

impl core::fmt::Display for Inside {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} has not returned: thread \"{}\" is still in the image", self.what, self.thread)?;
        self.place.as_ref().map_or(Ok(()), |place| write!(f, ", at {place}"))
    }
}

/// Every thread of the kernel that is inside of the image with this number.
pub(crate) fn inside(kernel: &Kernel, image: u64) -> Vec<Inside> {
    let threads = lock(&kernel.threads);
    let mut found = Vec::new();
    for known in &*threads {
        // SAFETY: a known thread has its page; it leaves the list, which is locked, before that goes.
        let page = unsafe { &*known.page };
        if page.innermost().is_null() {
            continue;
        }
        let seen = if core::ptr::eq(page, thread::page()) {
            // SAFETY: this thread's own, which no handler writes: nobody else can look while the list is locked.
            let seen = unsafe { &mut *page.sighting.what.get() };
            write_down(page, seen);
            *seen
        } else {
            match ask(known, page) {
                Some(seen) => seen,
                None => continue,
            }
        };
        found.extend(seen.inside(image, &known.name, page.current_thread.get()));
    }
    found
}

/// Has a thread write down what it is doing.
fn ask(known: &Known, page: &ThreadPage) -> Option<Seen> {
    page.sighting.written.store(false, Ordering::Relaxed);
    let process = std::process::id();
    // SAFETY: signals a thread of this process, with a handler in place.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, known.id, signal()) };
    let begun = Instant::now();
    while sent == 0 && begun.elapsed() < ANSWER {
        if page.sighting.written.load(Ordering::Acquire) {
            // SAFETY: written whole, and not again before it is asked again.
            return Some(unsafe { *page.sighting.what.get() });
        }
        std::thread::yield_now();
    }
    None
}

impl Seen {
    fn inside(&self, image: u64, thread: &str, object: u64) -> Option<Inside> {
        let is_in = |address: u64| image::number_at(address) == Some(image);
        let frames = &self.frames[..self.count];
        let frame = frames.iter().position(|frame| is_in(frame.function));
        // An image that another one calls directly has no frame.
        let frame = frame.or_else(|| (is_in(self.rip) && self.count != 0).then_some(0))?;
        // Where the call has come to: in the image itself, or in an import.
        let at = match frame.checked_sub(1) {
            None if is_in(self.rip) => self.rip,
            None => self.caller,
            Some(inner) => frames[inner].caller,
        };
        let SeenFrame { function, what, object: name, length, .. } = &frames[frame];
        Some(Inside {
            thread: thread.to_string(),
            object,
            function: *function,
            what: format!("{what} of {}", String::from_utf8_lossy(&name[..*length])),
            place: Some(at).filter(|at| is_in(*at)).and_then(image::place),
        })
    }
}
