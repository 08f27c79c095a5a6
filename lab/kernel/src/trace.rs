//! The record of every call that images make, and what each returned: for whoever wants to know what a driver does, and in which order.
//!
//! While calls are recorded, stubs (see [`crate::export`]) go through `postern_lab_traced_import`, which notes the call, and has the
//! function return to `postern_lab_traced_return`, which notes what came back. A thread under a schedule is not recorded.

use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

use fwps::sys::{GUID, STATUS_SUCCESS};
use postern_engine::objects::{Action, FilterFlags};
use uuid::Uuid;

use crate::call::CallContext;
use crate::detour::detour;
use crate::export;
use crate::image;
use crate::kernel::lock;
use crate::nt::{PASSIVE_LEVEL, UnicodeString};
use crate::ptr::Ptr;
use crate::report::Place;
use crate::thread::{self, ThreadPage};

/// A call that an image made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedCall {
    pub function: &'static str,
    /// Where in the image.
    pub place: Option<Place>,
    /// The first four, as registers held them.
    pub arguments: [u64; 4],
    pub irql: u8,
    /// What the image had been called for: `classifyFn`.
    pub within: &'static str,
    /// And what the outermost call into an image was for, on that thread: `DriverUnload`.
    pub outermost: &'static str,
    /// What was left in `rax`; `None`: it has not returned.
    pub returned: Option<u64>,
    pub circumstance: Option<Circumstance>,
}

/// What was so when the call was made, where that matters for the order of things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Circumstance {
    /// Callouts of this image that are registered, by name: when a handle or device that they use goes.
    Callouts(Vec<String>),
    /// Filters that name the callout that is unregistered.
    Filters(Vec<NamingFilter>),
    /// Kernel threads among the objects that are waited for.
    Threads(Vec<u64>),
    /// The security descriptor that a device is to get.
    SecurityDescriptor(String),
    /// The minor version of KMDF that a driver asks for.
    FrameworkVersion(u32),
}

/// A filter whose action is a callout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamingFilter {
    pub id: u64,
    pub name: String,
    /// Whether it blocks what it matches when its callout is not registered.
    pub blocks: bool,
}

/// So many calls are kept, the first ones: a driver may go round in circles.
const MOST_CALLS: usize = 100_000;

/// Something to happen in the midst of others.
type What = Box<dyn FnOnce() + Send>;

/// Something to happen in the midst of an unload.
struct Interjection {
    /// Before which of the calls that the unloading thread makes at `PASSIVE_LEVEL`, 1 being the first.
    call: u64,
    what: What,
}

#[derive(Default)]
pub(crate) struct Traces {
    active: AtomicBool,
    calls: Mutex<Vec<Recorded>>,
    interjection: Mutex<Option<Interjection>>,
    /// Calls of the unloading thread so far.
    unloading: Mutex<u64>,
    /// Something to happen before the next call of a function by a classifyFn.
    in_classify: Mutex<Option<(&'static str, What)>>,
}

struct Recorded {
    call: TracedCall,
    caller: u64,
}

impl Traces {
    /// Whether calls are recorded: for the stubs, which look at it.
    pub fn active(&self) -> *const AtomicBool {
        &raw const self.active
    }

    pub fn start(&self) {
        self.active.store(true, Ordering::SeqCst);
    }

    pub fn take(&self) -> Vec<TracedCall> {
        let calls = core::mem::take(&mut *lock(&self.calls));
        calls.into_iter().map(|one| TracedCall { place: image::place(one.caller), ..one.call }).collect()
    }

    pub fn interject(&self, call: u64, what: What) {
        *lock(&self.interjection) = Some(Interjection { call, what });
        self.start();
    }

    pub fn interject_in_classify(&self, function: &'static str, what: What) {
        *lock(&self.in_classify) = Some((function, what));
        self.start();
    }

    fn interjected_in_classify(&self, function: &str) -> Option<What> {
        lock(&self.in_classify).take_if(|(known, _)| *known == function).map(|(_, what)| what)
    }

    fn interjected(&self) -> Option<What> {
        let mut count = lock(&self.unloading);
        *count += 1;
        lock(&self.interjection).take_if(|one| one.call == *count).map(|one| one.what)
    }
}

/// An import that a traced thread is in.
struct InProgress {
    /// How many calls into images the thread was in.
    depth: usize,
    returns_to: u64,
    index: usize,
}

thread_local! {
    static IN_PROGRESS: RefCell<Vec<InProgress>> = const { RefCell::new(Vec::new()) };
}

// The stub of an import comes here first if the lab traces calls (see `export.rs`).
detour!(postern_lab_traced_import, postern_lab_traced_return, before_import, after_import);

/// How many calls into images the thread is in. Their frames' addresses tell nothing: some calls have a stack of their own.
fn depth(page: &ThreadPage) -> usize {
    let mut depth = 0;
    let mut frame = page.innermost();
    while !frame.is_null() {
        depth += 1;
        // SAFETY: a frame of this thread, which lives until its call has returned or was left.
        frame = unsafe { (*frame).previous };
    }
    depth
}

extern "win64" fn before_import(return_slot: *mut u64, arguments: *const [u64; 4]) {
    let page = thread::page();
    let kernel = thread::current();
    let depth = depth(page);
    if depth == 0 {
        return;
    }
    // SAFETY: the assembly has just stored them.
    let arguments = unsafe { arguments.read() };
    let (within, outermost) = page.called_for();
    let (import, caller) = (page.import.get(), page.caller.get());
    let function = export::name(import);
    if outermost == "DriverUnload"
        && page.irql.get() == PASSIVE_LEVEL
        && page.spin_locks.get() == 0
        && !page.is_driver_thread()
        && let Some(what) = kernel.traces.interjected()
    {
        what();
    }
    if outermost == "classifyFn"
        && let Some(what) = kernel.traces.interjected_in_classify(function)
    {
        what();
    }
    if lock(&kernel.traces.calls).len() >= MOST_CALLS {
        page.import.set(import);
        page.caller.set(caller);
        return;
    }
    let call = TracedCall {
        function,
        place: None,
        arguments,
        irql: page.irql.get(),
        within,
        outermost,
        returned: None,
        circumstance: circumstance(function, arguments, return_slot, image::number_at(caller)),
    };
    let index = {
        let mut calls = lock(&kernel.traces.calls);
        calls.push(Recorded { call, caller });
        calls.len() - 1
    };
    // What the look around has called meanwhile may have changed both.
    page.import.set(import);
    page.caller.set(caller);
    // SAFETY: the stub's caller has stored it.
    let returns_to = unsafe { return_slot.read() };
    IN_PROGRESS.with_borrow_mut(|list| {
        // Those of this frame or of one within it have been left without a return.
        list.retain(|one| one.depth < depth);
        list.push(InProgress { depth, returns_to, index });
    });
    // SAFETY: the import returns to the second routine, which goes on to where it was to return.
    unsafe { return_slot.write(postern_lab_traced_return as *const () as u64) };
}

extern "win64" fn after_import(returned: u64) -> u64 {
    let depth = depth(thread::page());
    let done = IN_PROGRESS.with_borrow_mut(|list| {
        list.retain(|one| one.depth <= depth);
        list.pop()
    });
    let done = done.expect("an import returns to the frame that it was called in");
    if let Some(recorded) = lock(&thread::current().traces.calls).get_mut(done.index) {
        recorded.call.returned = Some(returned);
    }
    done.returns_to
}

/// Looks around, where an order matters. The caller's frame begins at `return_slot`: from the fifth on, arguments follow their places.
fn circumstance(
    function: &str,
    arguments: [u64; 4],
    return_slot: *const u64,
    image: Option<u64>,
) -> Option<Circumstance> {
    let kernel = thread::current();
    match function {
        "FwpsInjectionHandleDestroy0" | "FwpsRedirectHandleDestroy0" | "IoDeleteDevice" => {
            Some(Circumstance::Callouts(kernel.fwp.registrations(image?)))
        }
        "FwpsCalloutUnregisterById0" => filters_of(kernel.fwp.callouts.get(arguments[0] as u32)?.registration.key),
        "FwpsCalloutUnregisterByKey0" => {
            let key = Ptr::<GUID>::from_address(arguments[0]);
            (!key.is_null()).then(|| filters_of(crate::fwp::callout_key(key.read())))?
        }
        "KeWaitForSingleObject" => threads_of(&[arguments[0]]),
        "KeWaitForMultipleObjects" => {
            let objects = Ptr::<u64>::from_address(arguments[1]);
            let count = (arguments[0] as u32).min(64) as usize;
            threads_of(&(0..count).map(|index| objects.at(index).read()).collect::<Vec<u64>>())
        }
        "WdfControlDeviceInitAllocate" | "WdfDeviceInitAssignSDDLString" => text(arguments[2]),
        "IoCreateDeviceSecure" | "WdmlibIoCreateDeviceSecure" => {
            // SAFETY: the seventh argument of a function that takes nine.
            text(unsafe { return_slot.wrapping_add(7).read() })
        }
        "WdfVersionBind" => {
            const MINOR: u64 = 0x14;
            let minor = Ptr::<u32>::from_address(arguments[2].checked_add(MINOR).filter(|_| arguments[2] != 0)?);
            Some(Circumstance::FrameworkVersion(minor.read()))
        }
        _ => None,
    }
}

fn text(address: u64) -> Option<Circumstance> {
    let string = Ptr::<UnicodeString>::from_address(address);
    (!string.is_null()).then(|| Circumstance::SecurityDescriptor(string.read().text()))
}

fn threads_of(objects: &[u64]) -> Option<Circumstance> {
    let kernel = thread::current();
    let threads: Vec<u64> = objects.iter().copied().filter(|object| kernel.objects.is_thread(*object)).collect();
    (!threads.is_empty()).then_some(Circumstance::Threads(threads))
}

fn filters_of(callout: Uuid) -> Option<Circumstance> {
    let filters = thread::current().fwp.read(|engine| {
        let naming = engine.view(None).filters().filter(|filter| filter.action.callout() == Some(callout));
        naming
            .map(|filter| NamingFilter {
                id: filter.id,
                name: filter.display.name.clone(),
                blocks: !matches!(filter.action, Action::CalloutInspection(_))
                    && !filter.flags.contains(FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED),
            })
            .collect()
    });
    filters.ok().map(Circumstance::Filters)
}

impl TracedCall {
    /// Whether it returned `STATUS_SUCCESS`.
    pub fn succeeded(&self) -> bool {
        self.returned.is_some_and(|value| value as u32 as i32 == STATUS_SUCCESS)
    }
}

impl ThreadPage {
    /// What the innermost and the outermost call into an image are for.
    fn called_for(&self) -> (&'static str, &'static str) {
        let (mut innermost, mut outermost) = ("", "");
        let mut frame = self.innermost();
        while !frame.is_null() {
            // SAFETY: frames are on this thread's stack and unlinked when their call ends.
            let current = unsafe { &*frame };
            // SAFETY: a frame's context outlives the call that the frame stands for.
            let context = unsafe { &*current.context.cast::<CallContext<'_>>() };
            outermost = context.what;
            if innermost.is_empty() {
                innermost = context.what;
            }
            frame = current.previous;
        }
        (innermost, outermost)
    }
}
