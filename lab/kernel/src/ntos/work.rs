//! Work items, system worker threads, and run-down protection.

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::call::{CallContext, call_on_own_stack};
use crate::condition::{Condition, Until};
use crate::export::{self, Export, exports};
use crate::image;
use crate::inject;
use crate::irql::require_irql;
use crate::kernel::{Kernel, lock};
use crate::nt::{APC_LEVEL, DISPATCH_LEVEL, PASSIVE_LEVEL};
use crate::ntos::dispatch::bad_parameter;
use crate::ptr::{Ptr, field};
use crate::report::{self, Finding, Kind};
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    IoAllocateWorkItem,
    IoFreeWorkItem,
    IoQueueWorkItem,
    IoQueueWorkItemEx,
    IoSizeofWorkItem,
    IoInitializeWorkItem,
    IoUninitializeWorkItem,
    ExQueueWorkItem,
    ExInitializeRundownProtection,
    ExReInitializeRundownProtection,
    ExAcquireRundownProtection,
    ExAcquireRundownProtectionEx,
    ExReleaseRundownProtection,
    ExReleaseRundownProtectionEx,
    ExWaitForRundownProtectionRelease,
    ExRundownCompleted,
    ExAllocateCacheAwareRundownProtection,
    ExFreeCacheAwareRundownProtection,
    ExAcquireRundownProtectionCacheAware,
    ExAcquireRundownProtectionCacheAwareEx,
    ExReleaseRundownProtectionCacheAware,
    ExReleaseRundownProtectionCacheAwareEx,
    ExWaitForRundownProtectionReleaseCacheAware,
    ExRundownCompletedCacheAware,
    ExReInitializeRundownProtectionCacheAware,
];

/// Threads that serve work items; more of them than Windows starts with, fewer than it may grow to.
const WORKERS: usize = 8;

/// The lab's `IO_WORKITEM`, opaque to drivers.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct WorkItem {
    Magic: u64,
    IoObject: u64,
    Routine: u64,
    Context: u64,
    Extended: u64,
    Queued: u64,
}

const MAGIC: u64 = u64::from_le_bytes(*b"IoWorkIt");

#[derive(Clone, Copy)]
struct Job {
    /// Address of the work item, and whether it is an `IO_WORKITEM`.
    item: u64,
    io: Option<u64>,
    routine: u64,
    context: u64,
    extended: bool,
    caller: u64,
    image: u64,
    /// When it may begin.
    due: Instant,
}

#[derive(Default)]
struct Queue {
    /// How long every item stays queued at least.
    delay: Duration,
    jobs: VecDeque<Job>,
    running: Vec<Job>,
    workers: usize,
    idle: usize,
    ended: bool,
    /// Allocated `IO_WORKITEM`s with the image and call that allocated them.
    items: HashMap<u64, (u64, u64)>,
}

#[derive(Default)]
pub(crate) struct Workers {
    queue: Mutex<Queue>,
    changed: Condition,
}

impl Workers {
    pub fn end(&self) {
        lock(&self.queue).ended = true;
        self.changed.notify_all();
    }

    pub fn wake_all(&self) {
        let _queue = lock(&self.queue);
        self.changed.notify_all();
    }

    /// Has every item stay queued for so long, as on a busy system.
    pub fn delay(&self, delay: Duration) {
        lock(&self.queue).delay = delay;
    }

    fn queue(&self, mut job: Job) {
        let mut queue = lock(&self.queue);
        job.due += queue.delay;
        queue.jobs.push_back(job);
        if queue.idle < queue.jobs.len() && queue.workers < WORKERS && !queue.ended {
            queue.workers += 1;
            let kernel = thread::current().share();
            thread::spawn(&kernel.clone(), "lab worker", move || serve(&kernel)).expect("the system refuses a thread");
        }
        self.changed.notify_all();
    }

    /// Whether no work item is queued or running.
    pub fn is_idle(&self) -> bool {
        let queue = lock(&self.queue);
        queue.jobs.is_empty() && queue.running.is_empty()
    }

    /// Waits until no work item of an image is queued or running with a reference to a device.
    pub fn wait_for_io_items(&self, image: u64, at_most: Duration) -> bool {
        let clock = &thread::current().clock;
        let deadline = clock.now() + at_most;
        let mut queue = lock(&self.queue);
        loop {
            let busy = queue.jobs.iter().chain(&queue.running).any(|job| job.image == image && job.io.is_some());
            if !busy {
                return true;
            }
            if clock.now() >= deadline || thread::page().stopped() {
                return false;
            }
            queue = self.changed.wait(&self.queue, queue, Until::Grace(deadline), "work items to return");
        }
    }

    /// Work that an image left queued or running, and items it did not free; all of it is taken away. What `is_known` to run is left
    /// out.
    pub fn take_owned_by(&self, image: u64, is_known: impl Fn(u64) -> bool) -> Vec<String> {
        let mut left = Vec::new();
        let mut queue = lock(&self.queue);
        let at = |address: u64| image::place(address).map_or_else(|| "?".to_string(), |place| place.to_string());
        queue.jobs.retain(|job| {
            let owned = job.image == image;
            if owned {
                left.push(format!(
                    "work item {:#x} is still queued at {}: its routine {} would be called after unload",
                    job.item,
                    at(job.caller),
                    at(job.routine)
                ));
            }
            !owned
        });
        for job in queue.running.iter().filter(|job| job.image == image && !is_known(job.routine)) {
            left.push(format!("work item routine {} (queued at {}) still runs", at(job.routine), at(job.caller)));
        }
        queue.items.retain(|item, (owner, caller)| {
            let owned = *owner == image;
            if owned {
                left.push(format!("work item {item:#x}, allocated at {}, was not freed", at(*caller)));
            }
            !owned
        });
        left
    }
}

fn serve(kernel: &Arc<Kernel>) {
    let workers = &kernel.workers;
    loop {
        let job = {
            let mut queue = lock(&workers.queue);
            queue.idle += 1;
            loop {
                if queue.ended || kernel.stopped() {
                    return;
                }
                let now = kernel.clock.now();
                if let Some(job) = queue.jobs.pop_front_if(|job| job.due <= now) {
                    queue.idle -= 1;
                    queue.running.push(job);
                    break job;
                }
                let until = queue.jobs.front().map_or(Until::Notified, |job| Until::Time(job.due));
                queue = workers.changed.wait(&workers.queue, queue, until, "work");
            }
        };
        run(&job);
        let mut queue = lock(&workers.queue);
        if let Some(index) = queue.running.iter().position(|running| running.item == job.item) {
            queue.running.swap_remove(index);
        }
        drop(queue);
        if let Some(io_object) = job.io {
            kernel.io.reference_object(io_object, -1);
        }
        workers.changed.notify_all();
    }
}

fn run(job: &Job) {
    let by = image::place(job.caller).map_or_else(String::new, |place| format!("a work item queued at {place}"));
    let context = CallContext { what: "work item routine", object: &by, at: "" };
    let routine = job.routine as *const ();
    // The item may be freed or queued again by its routine, so it is marked before.
    if job.io.is_some() {
        let item = Ptr::<WorkItem>::from_address(job.item);
        if thread::current().workers.is_item(job.item) {
            field!(item, Queued).write(0);
        }
    }
    let _ = match (job.io, job.extended) {
        // SAFETY: the driver passed this routine for exactly this call.
        (Some(io), true) => unsafe { call_on_own_stack(&context, PASSIVE_LEVEL, routine, (io, job.context, job.item)) },
        // SAFETY: as above.
        (Some(io), false) => unsafe { call_on_own_stack(&context, PASSIVE_LEVEL, routine, (io, job.context)) },
        // SAFETY: as above.
        (None, _) => unsafe { call_on_own_stack(&context, PASSIVE_LEVEL, routine, (job.context,)) },
    };
}

impl Workers {
    fn is_item(&self, item: u64) -> bool {
        lock(&self.queue).items.contains_key(&item)
    }
}

extern "win64" fn IoAllocateWorkItem(io_object: u64) -> Ptr<WorkItem> {
    require_irql(DISPATCH_LEVEL);
    if io_object == 0 {
        bad_parameter("a null device object", "pass the driver's own device or driver object");
        return Ptr::NULL;
    }
    if inject::faulted().is_some() {
        return Ptr::NULL;
    }
    let item: Ptr<WorkItem> = thread::current().pool.allocate_system(size_of::<WorkItem>(), b"IoWI").cast();
    initialise(io_object, item);
    item
}

fn initialise(io_object: u64, item: Ptr<WorkItem>) {
    item.write(WorkItem { Magic: MAGIC, IoObject: io_object, Routine: 0, Context: 0, Extended: 0, Queued: 0 });
    let caller = thread::page().caller.get();
    let image = image::number_at(caller).unwrap_or(0);
    lock(&thread::current().workers.queue).items.insert(item.address(), (image, caller));
}

fn retire(item: Ptr<WorkItem>) -> bool {
    let kernel = thread::current();
    if !kernel.workers.is_item(item.address()) {
        bad_parameter(
            &format!("{:#x}, which is not an allocated work item", item.address()),
            "free each work item once",
        );
        return false;
    }
    if field!(item, Queued).read() != 0 {
        report::violation(Finding {
            kind: Kind::Contract,
            what: format!("{} freed a work item that is still queued", export::current_name()),
            remedy: "free it in its own routine, or after that has run".into(),
        });
        lock(&kernel.workers.queue).jobs.retain(|job| job.item != item.address());
    }
    lock(&kernel.workers.queue).items.remove(&item.address());
    true
}

extern "win64" fn IoFreeWorkItem(item: Ptr<WorkItem>) {
    require_irql(DISPATCH_LEVEL);
    if retire(item) {
        thread::current().pool.free_system(item.cast());
    }
}

extern "win64" fn IoSizeofWorkItem() -> u32 {
    size_of::<WorkItem>() as u32
}

extern "win64" fn IoInitializeWorkItem(io_object: u64, item: Ptr<WorkItem>) {
    require_irql(DISPATCH_LEVEL);
    initialise(io_object, item);
}

extern "win64" fn IoUninitializeWorkItem(item: Ptr<WorkItem>) {
    require_irql(DISPATCH_LEVEL);
    retire(item);
}

fn queue_io(item: Ptr<WorkItem>, routine: u64, context: u64, extended: bool) {
    require_irql(DISPATCH_LEVEL);
    let kernel = thread::current();
    if !kernel.workers.is_item(item.address()) {
        bad_parameter(
            &format!("{:#x}, which is not an allocated work item", item.address()),
            "allocate it with IoAllocateWorkItem",
        );
        return;
    }
    let value = item.read();
    if value.Queued != 0 {
        report::violation(Finding {
            kind: Kind::Contract,
            what: format!("{} queued a work item that is already queued", export::current_name()),
            remedy: "queue it again only after its routine has been called".into(),
        });
        return;
    }
    field!(item, Queued).write(1);
    kernel.io.reference_object(value.IoObject, 1);
    let caller = thread::page().caller.get();
    let image = image::number_at(caller).unwrap_or(0);
    let io = Some(value.IoObject);
    let due = kernel.clock.now();
    kernel.workers.queue(Job { item: item.address(), io, routine, context, extended, caller, image, due });
}

extern "win64" fn IoQueueWorkItem(item: Ptr<WorkItem>, routine: u64, _queue: u32, context: u64) {
    queue_io(item, routine, context, false);
}

extern "win64" fn IoQueueWorkItemEx(item: Ptr<WorkItem>, routine: u64, _queue: u32, context: u64) {
    queue_io(item, routine, context, true);
}

/// `WORK_QUEUE_ITEM`.
#[repr(C)]
#[derive(Clone, Copy)]
struct WorkQueueItem {
    List: [u64; 2],
    WorkerRoutine: u64,
    Parameter: u64,
}

extern "win64" fn ExQueueWorkItem(item: Ptr<WorkQueueItem>, _queue: u32) {
    require_irql(DISPATCH_LEVEL);
    let value = item.read();
    let kernel = thread::current();
    if kernel.workers.queued(item.address()) {
        report::violation(Finding {
            kind: Kind::Contract,
            what: "ExQueueWorkItem queued a work item that is already queued".into(),
            remedy: "queue it again only after its routine has been called".into(),
        });
        return;
    }
    let caller = thread::page().caller.get();
    kernel.workers.queue(Job {
        item: item.address(),
        io: None,
        routine: value.WorkerRoutine,
        context: value.Parameter,
        extended: false,
        caller,
        image: image::number_at(caller).unwrap_or(0),
        due: kernel.clock.now(),
    });
}

impl Workers {
    fn queued(&self, item: u64) -> bool {
        lock(&self.queue).jobs.iter().any(|job| job.item == item)
    }

    /// Queues a routine of the lab's own, which is called with `context` at `PASSIVE_LEVEL`.
    pub(crate) fn queue_internal(&self, item: u64, routine: extern "win64" fn(u64), image: u64) {
        let routine = routine as *const () as u64;
        let caller = thread::page().caller.get();
        let due = thread::current().clock.now();
        self.queue(Job { item, io: None, routine, context: item, extended: false, caller, image, due });
    }

    /// Waits until an item is neither queued nor running.
    pub(crate) fn wait_until_idle(&self, item: u64) {
        let mut queue = lock(&self.queue);
        while queue.jobs.iter().chain(&queue.running).any(|job| job.item == item) && !thread::page().stopped() {
            queue = self.changed.wait(&self.queue, queue, Until::Notified, "a work item to return");
        }
    }
}

// Run-down protection: bit 0 says that run-down is active, the rest counts by two, as in Windows.

type Rundown = AtomicU64;
const ACTIVE: u64 = 1;

fn acquire_rundown(rundown: Ptr<Rundown>, count: u64) -> bool {
    let cell = rundown.as_ref();
    let mut now = cell.load(Ordering::Relaxed);
    loop {
        if now & ACTIVE != 0 {
            return false;
        }
        match cell.compare_exchange_weak(now, now + 2 * count, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(changed) => now = changed,
        }
    }
}

fn release_rundown(rundown: Ptr<Rundown>, count: u64) {
    let cell = rundown.as_ref();
    let before = cell.load(Ordering::Relaxed);
    if before >> 1 < count {
        bad_parameter("run-down protection that is not held so often", "release it once for each acquisition");
        return;
    }
    let before = cell.fetch_sub(2 * count, Ordering::Release);
    if before & ACTIVE != 0 && before >> 1 == count {
        thread::current().dispatcher.wake_all();
    }
}

fn wait_for_rundown(rundown: Ptr<Rundown>) {
    require_irql(APC_LEVEL);
    rundown.as_ref().fetch_or(ACTIVE, Ordering::AcqRel);
    thread::current().dispatcher.wait(None, || (rundown.as_ref().load(Ordering::Acquire) == ACTIVE).then_some(()));
}

extern "win64" fn ExInitializeRundownProtection(rundown: Ptr<u64>) {
    rundown.write(0);
}

extern "win64" fn ExReInitializeRundownProtection(rundown: Ptr<u64>) {
    rundown.write(0);
}

extern "win64" fn ExAcquireRundownProtection(rundown: Ptr<Rundown>) -> u8 {
    u8::from(acquire_rundown(rundown, 1))
}

extern "win64" fn ExAcquireRundownProtectionEx(rundown: Ptr<Rundown>, count: u32) -> u8 {
    u8::from(acquire_rundown(rundown, u64::from(count)))
}

extern "win64" fn ExReleaseRundownProtection(rundown: Ptr<Rundown>) {
    release_rundown(rundown, 1);
}

extern "win64" fn ExReleaseRundownProtectionEx(rundown: Ptr<Rundown>, count: u32) {
    release_rundown(rundown, u64::from(count));
}

extern "win64" fn ExWaitForRundownProtectionRelease(rundown: Ptr<Rundown>) {
    wait_for_rundown(rundown);
}

extern "win64" fn ExRundownCompleted(rundown: Ptr<Rundown>) {
    rundown.as_ref().store(ACTIVE, Ordering::Release);
}

extern "win64" fn ExAllocateCacheAwareRundownProtection(pool_type: u32, tag: u32) -> Ptr<u64> {
    require_irql(APC_LEVEL);
    if inject::faulted().is_some() {
        return Ptr::NULL;
    }
    thread::current().pool.allocate(64, tag, pool_type & 1 != 0, true).cast()
}

extern "win64" fn ExFreeCacheAwareRundownProtection(rundown: Ptr<u64>) {
    thread::current().pool.free_system(rundown.cast());
}

extern "win64" fn ExAcquireRundownProtectionCacheAware(rundown: Ptr<Rundown>) -> u8 {
    u8::from(acquire_rundown(rundown, 1))
}

extern "win64" fn ExAcquireRundownProtectionCacheAwareEx(rundown: Ptr<Rundown>, count: u32) -> u8 {
    u8::from(acquire_rundown(rundown, u64::from(count)))
}

extern "win64" fn ExReleaseRundownProtectionCacheAware(rundown: Ptr<Rundown>) {
    release_rundown(rundown, 1);
}

extern "win64" fn ExReleaseRundownProtectionCacheAwareEx(rundown: Ptr<Rundown>, count: u32) {
    release_rundown(rundown, u64::from(count));
}

extern "win64" fn ExWaitForRundownProtectionReleaseCacheAware(rundown: Ptr<Rundown>) {
    wait_for_rundown(rundown);
}

extern "win64" fn ExRundownCompletedCacheAware(rundown: Ptr<Rundown>) {
    rundown.as_ref().store(ACTIVE, Ordering::Release);
}

extern "win64" fn ExReInitializeRundownProtectionCacheAware(rundown: Ptr<u64>) {
    rundown.write(0);
}
