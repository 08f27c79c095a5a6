//! What is known of each thread.

use core::cell::Cell;
use core::ops::Deref;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use crate::kernel::{Kernel, kernel};
use crate::nt::PASSIVE_LEVEL;
use crate::ptr::Ptr;

pub(crate) struct ThreadPage {
    /// Return address of the import call in progress.
    pub caller: Cell<u64>,
    /// Which import that is.
    pub import: Cell<&'static str>,
    pub irql: Cell<u8>,
    pub processor: Cell<u32>,
    /// Critical and guarded regions entered and not left.
    pub critical_regions: Cell<i32>,
}

impl ThreadPage {
    fn new() -> ThreadPage {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        ThreadPage {
            caller: Cell::new(0),
            import: Cell::new(""),
            irql: Cell::new(PASSIVE_LEVEL),
            processor: Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % Processors.count()),
            critical_regions: Cell::new(0),
        }
    }

    /// Nothing stops this kernel but its end.
    pub fn stopped(&self) -> bool {
        false
    }
}

thread_local! {
    /// Kept for good: its address names the thread.
    static PAGE: &'static ThreadPage = Box::leak(Box::new(ThreadPage::new()));
}

pub(crate) fn page() -> &'static ThreadPage {
    PAGE.with(|page| *page)
}

/// What names the current thread.
pub(crate) fn current_thread() -> Ptr<ThreadPage> {
    Ptr::new(core::ptr::from_ref(page()).cast_mut())
}

/// The kernel that this thread is in.
pub fn current() -> Current {
    Current
}

pub struct Current;

impl Deref for Current {
    type Target = Kernel;

    fn deref(&self) -> &Kernel {
        kernel()
    }
}

impl Current {
    /// The shared handle, to hand to another thread.
    pub fn share(&self) -> Arc<Kernel> {
        kernel().clone()
    }
}

pub fn enter<R>(_kernel: &Arc<Kernel>, body: impl FnOnce() -> R) -> R {
    body()
}

pub(crate) fn let_others_run() {
    std::thread::yield_now();
}

pub(crate) fn spawn(_kernel: &Arc<Kernel>, name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(body).map(drop)
}

/// Counters that threads share out among themselves; it need not be how many processors there are.
pub struct Processors;

impl Processors {
    pub fn count(&self) -> u32 {
        16
    }
}
