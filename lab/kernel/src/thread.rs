//! What the lab knows of each thread: which kernel it is in, its IRQL, its virtual processor, and what it
//! is doing now.
//!
//! Windows keeps such state in the processor control region, which the `GS` segment points to and which
//! drivers read inline. Here each thread has a page of its own in that shape, with the lab's fields behind
//! those of Windows.

use core::cell::{Cell, RefCell, UnsafeCell};
use core::mem::offset_of;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, compiler_fence};
use std::sync::Arc;

use crate::call::{self, CallContext, Frame};
use crate::condition::Until;
use crate::fault;
use crate::inside::{Known, Sighting};
use crate::kernel::{Kernel, lock};
use crate::nt::PASSIVE_LEVEL;
use crate::preempt::Stop;
use crate::ptr::Ptr;
use crate::report;
use crate::schedule::{self, Baton};

/// Locks held by one thread that a report can name; more are only counted.
pub(crate) const NAMED_LOCKS: usize = 8;

/// A spin lock that the thread holds.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct HeldLock {
    pub lock: u64,
    /// Return address of the call that acquired it.
    pub caller: u64,
}

/// `KPCR` and `KPRCB` as far as drivers read them inline, then the lab's own state of the thread.
///
/// Offsets: `KPCR.Self` 0x18, `CurrentPrcb` 0x20, `Irql` 0x50, `Prcb` 0x180 with `CurrentThread` at 8 and
/// `Number` at 0x24, as `wdm.h`'s inline functions read them (`gs:[0x188]`, `gs:[0x1a4]`).
#[repr(C, align(4096))]
pub(crate) struct ThreadPage {
    reserved0: [u64; 3],
    self_pointer: Cell<u64>,
    current_prcb: Cell<u64>,
    reserved1: [u64; 5],
    pub irql: Cell<u8>,
    reserved2: [u8; 0x180 - 0x51],
    prcb_mxcsr: Cell<u64>,
    pub current_thread: Cell<u64>,
    reserved3: [u64; 2],
    reserved4: u32,
    pub processor: Cell<u32>,
    reserved5: [u8; 0x800 - 0x1a8],
    /// Return address of the import call in progress, stored by its stub (see `export.rs`).
    pub caller: Cell<u64>,
    /// Which import that is.
    pub import: Cell<u32>,
    /// What the threads of a schedule pass on, if this is one of them, and which it is.
    pub baton: Cell<*const Baton>,
    pub seat: Cell<usize>,
    /// Where the stretch of an image is stopped that is executed in single steps, if one is (see `preempt.rs`), and where it begins.
    pub stop: Cell<Option<Stop>>,
    pub goes_on_at: Cell<u64>,
    /// The instruction of an image that this thread is stopped before; 0: none.
    pub stopped_at: Cell<u64>,
    pub spin_locks: Cell<u32>,
    /// Critical and guarded regions entered and not left.
    pub critical_regions: Cell<i32>,
    /// Others look whether it is null.
    innermost: AtomicPtr<Frame>,
    pub kernel: Cell<*const Kernel>,
    stopped: Cell<*const AtomicBool>,
    /// Set on a thread whose driver has gone: it may not return into the image.
    doomed: Cell<*const AtomicBool>,
    pub held: [Cell<HeldLock>; NAMED_LOCKS],
    pub fault: UnsafeCell<fault::Fault>,
    pub sighting: Sighting,
}

pub(crate) const PAGE_CALLER: usize = offset_of!(ThreadPage, caller);
pub(crate) const PAGE_BATON: usize = offset_of!(ThreadPage, baton);
pub(crate) const PAGE_GOES_ON_AT: usize = offset_of!(ThreadPage, goes_on_at);
pub(crate) const PAGE_IMPORT: usize = offset_of!(ThreadPage, import);
const _: () = {
    assert!(offset_of!(ThreadPage, self_pointer) == 0x18);
    assert!(offset_of!(ThreadPage, current_prcb) == 0x20);
    assert!(offset_of!(ThreadPage, irql) == 0x50);
    assert!(offset_of!(ThreadPage, current_thread) == 0x188);
    assert!(offset_of!(ThreadPage, processor) == 0x1a4);
    assert!(PAGE_CALLER == 0x800);
};

impl ThreadPage {
    #[inline]
    pub fn stopped(&self) -> bool {
        // SAFETY: set by `enter` to a flag of the current kernel, which `enter` keeps alive; outside of
        // it, to a static.
        unsafe { &*self.stopped.get() }.load(Ordering::Relaxed)
    }

    /// The innermost call into an image.
    #[inline]
    pub fn innermost(&self) -> *const Frame {
        self.innermost.load(Ordering::Relaxed)
    }

    #[inline]
    pub fn set_innermost(&self, frame: *const Frame) {
        // A signal handler on this thread finds what it points to complete.
        compiler_fence(Ordering::Release);
        self.innermost.store(frame.cast_mut(), Ordering::Relaxed);
    }

    fn doomed(&self) -> bool {
        // SAFETY: set by `as_driver_thread` for as long as the flag lives; otherwise to a static.
        unsafe { &*self.doomed.get() }.load(Ordering::Relaxed)
    }

    /// Whether a driver has created this thread.
    pub fn is_driver_thread(&self) -> bool {
        !core::ptr::eq(self.doomed.get(), &raw const NEVER)
    }

    /// Whether this thread may not go back into the image that it came from.
    pub fn must_leave(&self) -> bool {
        !self.innermost().is_null() && (self.stopped() || self.doomed())
    }

    /// How such a thread leaves.
    pub fn why_leave(&self) -> u64 {
        if self.stopped() { call::LEAVE_STOPPED } else { call::LEAVE_THREAD }
    }

    /// What the thread is doing, innermost first.
    pub fn doing(&self) -> Vec<String> {
        let mut frame = self.innermost();
        let mut doing = Vec::new();
        while !frame.is_null() {
            // SAFETY: frames are on this thread's stack and unlinked when their call ends.
            let current = unsafe { &*frame };
            // SAFETY: a frame's context outlives the call that the frame stands for.
            let context = unsafe { &*current.context.cast::<CallContext<'_>>() };
            doing.push(context.to_string());
            frame = current.previous;
        }
        doing
    }
}

static NEVER: AtomicBool = AtomicBool::new(false);

thread_local! {
    static PAGE: Cell<*const ThreadPage> = const { Cell::new(core::ptr::null()) };
    static REGISTRATION: RefCell<Option<Registration>> = const { RefCell::new(None) };
}

/// The page of the calling thread.
///
/// # Panics
/// Outside of [`enter`].
#[inline]
pub(crate) fn page<'a>() -> &'a ThreadPage {
    let page = PAGE.get();
    assert!(!page.is_null(), "a lab function was called on a thread that has not entered a lab");
    // SAFETY: set to the registration's page, which lives as long as the thread.
    unsafe { &*page }
}

/// The page of the calling thread if it ever entered a lab; for the signal handler.
#[inline]
pub(crate) fn page_if_any<'a>() -> Option<&'a ThreadPage> {
    // SAFETY: as in `page`.
    PAGE.try_with(|page| unsafe { page.get().as_ref() }).ok().flatten()
}

/// One thread's membership in a kernel: its page, its signal stack and its place among the processors.
struct Registration {
    page: Box<ThreadPage>,
    signal_stack: fault::SignalStack,
    kernel: Option<Arc<Kernel>>,
    /// Kernel object of a thread that no driver created; `current_thread` points to it.
    _thread_object: Box<crate::nt::KThread>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        PAGE.set(core::ptr::null());
        self.leave();
        self.signal_stack.leave();
    }
}

impl Registration {
    fn new() -> Self {
        let thread_object = Box::new(crate::nt::KThread::new());
        let page = Box::new(ThreadPage {
            reserved0: [0; 3],
            self_pointer: Cell::new(0),
            current_prcb: Cell::new(0),
            reserved1: [0; 5],
            irql: Cell::new(PASSIVE_LEVEL),
            reserved2: [0; 0x180 - 0x51],
            prcb_mxcsr: Cell::new(0x1f80),
            current_thread: Cell::new(core::ptr::from_ref(&*thread_object) as u64),
            reserved3: [0; 2],
            reserved4: 0,
            processor: Cell::new(0),
            reserved5: [0; 0x800 - 0x1a8],
            caller: Cell::new(0),
            import: Cell::new(0),
            baton: Cell::new(core::ptr::null()),
            seat: Cell::new(0),
            stop: Cell::new(None),
            goes_on_at: Cell::new(0),
            stopped_at: Cell::new(0),
            spin_locks: Cell::new(0),
            critical_regions: Cell::new(0),
            innermost: AtomicPtr::new(core::ptr::null_mut()),
            kernel: Cell::new(core::ptr::null()),
            stopped: Cell::new(&raw const NEVER),
            doomed: Cell::new(&raw const NEVER),
            held: [const { Cell::new(HeldLock { lock: 0, caller: 0 }) }; NAMED_LOCKS],
            fault: UnsafeCell::new(fault::Fault::NONE),
            sighting: Sighting::new(),
        });
        let address = core::ptr::from_ref(&*page) as u64;
        page.self_pointer.set(address);
        page.current_prcb.set(address + 0x180);
        fault::install();
        let signal_stack = fault::SignalStack::enter();
        set_gs_base(address);
        PAGE.set(core::ptr::from_ref(&*page));
        Registration { page, signal_stack, kernel: None, _thread_object: thread_object }
    }

    fn join(&mut self, kernel: &Arc<Kernel>) {
        self.leave();
        self.page.processor.set(kernel.processors.join());
        self.page.stopped.set(&raw const kernel.stopped);
        self.page.kernel.set(Arc::as_ptr(kernel));
        self.kernel = Some(kernel.clone());
        // SAFETY: takes nothing, and returns the thread's number.
        let id = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
        let name = std::thread::current().name().map_or_else(|| id.to_string(), str::to_string);
        lock(&kernel.threads).push(Known { page: core::ptr::from_ref(&*self.page), id, name });
    }

    fn leave(&mut self) {
        let Some(kernel) = self.kernel.take() else { return };
        kernel.processors.leave(self.page.processor.get());
        lock(&kernel.threads).retain(|known| !core::ptr::eq(known.page, &*self.page));
    }
}

/// Points `GS` at the thread's page. Linux keeps the base for each thread, and glibc does not use it.
fn set_gs_base(address: u64) {
    const ARCH_SET_GS: i32 = 0x1001;
    // SAFETY: sets a register of this thread that nothing else in a Linux process relies on.
    let result = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, address) };
    assert!(result == 0, "arch_prctl(ARCH_SET_GS) failed; the lab needs x86-64 Linux");
}

/// Runs `body` with `kernel` as the current kernel of this thread.
///
/// Everything that enters an image, and every import, happens inside of it. Entering the kernel that the
/// thread entered last costs a comparison; entering another one moves the thread to that one's processors.
#[inline]
pub fn enter<R>(kernel: &Arc<Kernel>, body: impl FnOnce() -> R) -> R {
    let page = PAGE.get();
    // SAFETY: a non-null page is the registration's, which lives as long as the thread.
    let current = unsafe { page.as_ref() }.map_or(core::ptr::null(), |page| page.kernel.get());
    if core::ptr::eq(current, Arc::as_ptr(kernel)) {
        return body();
    }
    enter_other(kernel, body)
}

#[cold]
fn enter_other<R>(kernel: &Arc<Kernel>, body: impl FnOnce() -> R) -> R {
    REGISTRATION.with_borrow_mut(|registration| {
        let registration = registration.get_or_insert_with(Registration::new);
        assert!(
            registration.page.innermost().is_null(),
            "a thread inside an image of one lab cannot enter another lab"
        );
        registration.join(kernel);
    });
    body()
}

/// Lets another thread run, for one that waits for it without being told when to go on.
pub(crate) fn let_others_run() {
    if !schedule::pause("what another thread does", Until::Notified) {
        std::thread::yield_now();
    }
}

/// Makes a thread of the lab's own, which the schedule takes part of if there is one.
pub(crate) fn spawn(kernel: &Arc<Kernel>, name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let place = kernel.baton.as_ref().and_then(|baton| baton.take_seat(name, false));
    let (kernel, seat) = (kernel.clone(), place.clone());
    let run = move || match seat {
        Some(seat) => seat.run(&kernel, body),
        None => enter(&kernel, body),
    };
    let spawned = std::thread::Builder::new().name(name.into()).spawn(run);
    if spawned.is_err()
        && let Some(place) = place
    {
        place.cancel();
    }
    spawned.map(drop)
}

/// Ends this thread's membership in the kernel that it has entered.
pub(crate) fn end() {
    drop(REGISTRATION.take());
}

/// Runs `body` as a thread that a driver created: with `object` as its kernel object, and `doomed` to say
/// that its driver has gone.
pub(crate) fn as_driver_thread<R>(object: u64, doomed: &AtomicBool, body: impl FnOnce() -> R) -> R {
    let page = page();
    let previous = page.current_thread.replace(object);
    page.doomed.set(doomed);
    let result = body();
    page.doomed.set(&raw const NEVER);
    page.current_thread.set(previous);
    result
}

/// Ends the call into an image that this thread is in; see [`ThreadPage::must_leave`].
pub(crate) fn leave_for_good() -> ! {
    report::leave(page().why_leave())
}

/// The kernel that this thread has entered.
///
/// Dereferencing panics outside of [`enter`].
#[derive(Clone, Copy)]
pub struct Current(core::marker::PhantomData<*const ()>);

/// The kernel that this thread has entered; for imports and whatever they call.
#[inline]
pub fn current() -> Current {
    Current(core::marker::PhantomData)
}

impl Deref for Current {
    type Target = Kernel;

    #[inline]
    fn deref(&self) -> &Kernel {
        let kernel = page().kernel.get();
        assert!(!kernel.is_null(), "this thread has not entered a lab");
        // SAFETY: the registration holds the kernel until the thread enters another one, which it cannot
        // do while it is inside this one's image or import.
        unsafe { &*kernel }
    }
}

impl Current {
    /// The shared handle, to hand to another thread.
    pub fn share(&self) -> Arc<Kernel> {
        let kernel: *const Kernel = &raw const **self;
        // SAFETY: every kernel lives in an `Arc`, and the registration holds one count.
        unsafe { Arc::increment_strong_count(kernel) };
        // SAFETY: the count just taken is this handle's.
        unsafe { Arc::from_raw(kernel) }
    }
}

/// The kernel object of the current thread (`PKTHREAD`).
pub(crate) fn current_thread() -> Ptr<crate::nt::KThread> {
    Ptr::from_address(page().current_thread.get())
}

/// Virtual processors: a number for each live thread, the lowest free one.
///
/// With more threads than processors, numbers are shared. A driver that relies on being alone on its
/// processor at `DISPATCH_LEVEL` needs as many processors as there are threads.
pub(crate) struct Processors {
    count: u32,
    users: Vec<AtomicU64>,
}

impl Processors {
    pub fn new(count: u32) -> Self {
        Processors { count, users: (0..count).map(|_| AtomicU64::new(0)).collect() }
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    fn join(&self) -> u32 {
        let mut most = 0;
        loop {
            for (number, users) in self.users.iter().enumerate() {
                let now = users.load(Ordering::Relaxed);
                if now <= most && users.compare_exchange(now, now + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                    return number as u32;
                }
            }
            most += 1;
        }
    }

    fn leave(&self, number: u32) {
        self.users[number as usize].fetch_sub(1, Ordering::AcqRel);
    }
}
