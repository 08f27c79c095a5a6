//! Handles and reference-counted objects, and the threads that drivers create.

use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::call::{self, CallContext, Exit};
use crate::condition::Until;
use crate::export::{Export, exports};
use crate::image;
use crate::inject;
use crate::inside::Inside;
use crate::irql::{self, require_irql};
use crate::kernel::{Kernel, lock};
use crate::nt::{
    APC_LEVEL, DISPATCH_LEVEL, DispatcherHeader, KThread, NtStatus, PASSIVE_LEVEL, THREAD_OBJECT, UnicodeString,
};
use crate::ntos::dispatch::{bad_parameter, header};
use crate::ntos::system;
use crate::ptr::{Ptr, field};
use crate::report;
use crate::schedule;
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    ObReferenceObjectByHandle,
    ObReferenceObjectByHandleWithTag,
    ObReferenceObjectByPointer,
    ObReferenceObjectByPointerWithTag,
    ObfReferenceObject,
    ObfReferenceObjectWithTag,
    ObfDereferenceObject,
    ObfDereferenceObjectWithTag,
    ObDereferenceObjectDeferDelete,
    ObCloseHandle,
    ZwClose,
    NtClose,
    ZwCreateEvent,
    ZwSetEvent,
    ZwResetEvent,
    ZwClearEvent,
    ZwWaitForSingleObject,
    IoCreateNotificationEvent,
    IoCreateSynchronizationEvent,
    PsCreateSystemThread,
    IoCreateSystemThread,
    PsTerminateSystemThread,
    bare KeGetCurrentThread,
    bare PsGetCurrentThread,
    PsGetCurrentThreadId,
    PsGetThreadId,
    PsGetCurrentProcessId,
    PsGetCurrentProcess,
    IoGetCurrentProcess,
    PsGetProcessId,
    PsGetThreadProcessId,
    PsLookupProcessByProcessId,
    PsLookupThreadByThreadId,
    PsIsSystemThread,
    PsIsThreadTerminating,
    PsGetProcessImageFileName,
    KeSetPriorityThread,
    KeQueryPriorityThread,
    KeSetBasePriorityThread,
    KeSetSystemAffinityThread,
    KeSetSystemAffinityThreadEx,
    KeRevertToUserAffinityThread,
    KeRevertToUserAffinityThreadEx,
    KeSetSystemGroupAffinityThread,
    KeRevertToUserGroupAffinityThread,
];

/// What a handle or an object pointer stands for.
#[derive(Clone)]
pub(crate) enum Object {
    Thread(Arc<DriverThread>),
    /// An event that the lab made, in system memory.
    Event(Ptr<DispatcherHeader>),
    Key(crate::ntos::registry::OpenKey),
    Process,
}

impl Object {
    fn pointer(&self) -> u64 {
        match self {
            Object::Thread(thread) => thread.object.address(),
            Object::Event(event) => event.address(),
            Object::Process => process().address(),
            Object::Key(_) => 0,
        }
    }

    /// What the variable of its type holds.
    fn kind(&self) -> u64 {
        match self {
            Object::Thread(_) => system::PsThreadType.value(),
            Object::Event(_) => system::ExEventObjectType.value(),
            Object::Key(_) => system::CmKeyObjectType.value(),
            Object::Process => system::PsProcessType.value(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Object::Thread(_) => "thread",
            Object::Event(_) => "event",
            Object::Key(_) => "registry key",
            Object::Process => "process",
        }
    }
}

/// A thread that a driver created. Its object goes with the last handle, reference and use of it.
pub(crate) struct DriverThread {
    kernel: Weak<Kernel>,
    pub object: Ptr<KThread>,
    pub image: u64,
    pub routine: u64,
    pub caller: u64,
    /// Set when its driver has gone: it ends at the next wait instead of returning into the image.
    pub doomed: AtomicBool,
    pub ended: AtomicBool,
}

impl Drop for DriverThread {
    fn drop(&mut self) {
        // With the kernel goes the whole pool.
        if let Some(kernel) = self.kernel.upgrade() {
            lock(&kernel.objects.priorities).remove(&self.object.address());
            lock(&kernel.objects.affinities).remove(&self.object.address());
            kernel.pool.free_system(self.object.cast());
        }
    }
}

struct Counted {
    object: Object,
    references: i64,
    image: u64,
    caller: u64,
}

struct HandleEntry {
    object: Object,
    image: u64,
    caller: u64,
}

/// Handles of the system process have the top bit set; the lab has no others.
const KERNEL_HANDLE: u64 = 0xFFFF_FFFF_8000_0000;

#[derive(Default)]
pub(crate) struct Objects {
    counted: Mutex<HashMap<u64, Counted>>,
    handles: Mutex<(u64, HashMap<u64, HandleEntry>)>,
    threads: Mutex<Vec<Arc<DriverThread>>>,
    /// What was set of a thread, by its object.
    priorities: Mutex<HashMap<u64, i32>>,
    affinities: Mutex<HashMap<u64, u64>>,
}

fn origin() -> (u64, u64) {
    let caller = thread::page().caller.get();
    (image::number_at(caller).unwrap_or(0), caller)
}

impl Objects {
    pub fn open(&self, object: Object) -> u64 {
        let (image, caller) = origin();
        let mut handles = lock(&self.handles);
        handles.0 += 4;
        let handle = KERNEL_HANDLE + handles.0;
        handles.1.insert(handle, HandleEntry { object, image, caller });
        handle
    }

    pub fn get(&self, handle: u64) -> Option<Object> {
        lock(&self.handles).1.get(&handle).map(|entry| entry.object.clone())
    }

    pub fn close(&self, handle: u64) -> bool {
        lock(&self.handles).1.remove(&handle).is_some()
    }

    fn reference(&self, object: &Object) {
        let (image, caller) = origin();
        lock(&self.counted)
            .entry(object.pointer())
            .or_insert_with(|| Counted { object: object.clone(), references: 0, image, caller })
            .references += 1;
    }

    /// Adds to the references of an object by address; false if it is none of these.
    fn add(&self, pointer: u64, by: i64) -> Option<i64> {
        let mut counted = lock(&self.counted);
        let entry = counted.get_mut(&pointer)?;
        entry.references += by;
        let now = entry.references;
        if now <= 0 {
            counted.remove(&pointer);
        }
        Some(now)
    }

    /// How many threads that drivers have created are in their routines, or will be.
    pub fn live_threads(&self) -> u32 {
        lock(&self.threads).iter().filter(|thread| !thread.ended.load(Ordering::Acquire)).count() as u32
    }

    /// Whether an object is a thread that a driver has created.
    pub fn is_thread(&self, object: u64) -> bool {
        lock(&self.threads).iter().any(|thread| thread.object.address() == object)
    }

    pub fn threads_of(&self, image: u64) -> Vec<Arc<DriverThread>> {
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.ended.load(Ordering::Acquire) || Arc::strong_count(thread) > 1);
        threads.iter().filter(|one| one.image == image && !one.ended.load(Ordering::Acquire)).cloned().collect()
    }

    /// Handles and references that an image holds, taken from it, in words.
    pub fn take_owned_by(&self, image: u64) -> Vec<String> {
        let mut left = Vec::new();
        let mut handles = lock(&self.handles);
        handles.1.retain(|handle, entry| {
            let owned = entry.image == image;
            if owned {
                left.push(format!("handle {handle:#x} to a {}{}", entry.object.name(), opened(entry.caller)));
            }
            !owned
        });
        drop(handles);
        lock(&self.counted).retain(|pointer, counted| {
            let owned = counted.image == image;
            if owned {
                left.push(format!(
                    "{} reference(s) to {} {pointer:#x}{}",
                    counted.references,
                    counted.object.name(),
                    opened(counted.caller)
                ));
            }
            !owned
        });
        left
    }
}

fn opened(caller: u64) -> String {
    image::place(caller).map_or_else(String::new, |place| format!(", taken at {place}"))
}

/// The system process: the only one.
pub(crate) fn process() -> Ptr<u8> {
    static PROCESS: [core::sync::atomic::AtomicU64; 512] = [const { core::sync::atomic::AtomicU64::new(0) }; 512];
    Ptr::from_address(PROCESS.as_ptr() as u64)
}

extern "win64" fn ObReferenceObjectByHandle(
    handle: u64,
    _access: u32,
    object_type: u64,
    _mode: u8,
    object: Ptr<u64>,
    _information: u64,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    let objects = &thread::current().objects;
    let found = match handle as i64 {
        -1 => Some(Object::Process),
        -2 => {
            object.write(thread::current_thread().address());
            return NtStatus::SUCCESS;
        }
        _ => objects.get(handle),
    };
    let Some(found) = found else {
        bad_parameter(&format!("{handle:#x}, which is not an open handle"), "use the handle before closing it");
        return NtStatus::INVALID_HANDLE;
    };
    if found.pointer() == 0 || (object_type != 0 && object_type != found.kind()) {
        return NtStatus::OBJECT_TYPE_MISMATCH;
    }
    object.write(found.pointer());
    objects.reference(&found);
    NtStatus::SUCCESS
}

extern "win64" fn ObReferenceObjectByHandleWithTag(
    handle: u64,
    access: u32,
    object_type: u64,
    mode: u8,
    _tag: u32,
    object: Ptr<u64>,
    information: u64,
) -> NtStatus {
    ObReferenceObjectByHandle(handle, access, object_type, mode, object, information)
}

extern "win64" fn ObReferenceObjectByPointer(object: u64, _access: u32, _object_type: u64, _mode: u8) -> NtStatus {
    ObfReferenceObject(object);
    NtStatus::SUCCESS
}

extern "win64" fn ObReferenceObjectByPointerWithTag(
    object: u64,
    access: u32,
    object_type: u64,
    mode: u8,
    _tag: u32,
) -> NtStatus {
    ObReferenceObjectByPointer(object, access, object_type, mode)
}

extern "win64" fn ObfReferenceObject(object: u64) -> i64 {
    require_irql(DISPATCH_LEVEL);
    let kernel = thread::current();
    if let Some(now) = kernel.objects.add(object, 1) {
        return now;
    }
    kernel.io.reference_object(object, 1).unwrap_or(1)
}

extern "win64" fn ObfReferenceObjectWithTag(object: u64, _tag: u32) -> i64 {
    ObfReferenceObject(object)
}

extern "win64" fn ObfDereferenceObject(object: u64) -> i64 {
    require_irql(DISPATCH_LEVEL);
    let kernel = thread::current();
    if let Some(now) = kernel.objects.add(object, -1) {
        return now;
    }
    if let Some(now) = kernel.io.reference_object(object, -1) {
        return now;
    }
    if object != process().address() && object != thread::current_thread().address() {
        bad_parameter(
            &format!("{object:#x}, an object that holds no reference to give back"),
            "dereference an object once for each reference taken",
        );
    }
    0
}

extern "win64" fn ObfDereferenceObjectWithTag(object: u64, _tag: u32) -> i64 {
    ObfDereferenceObject(object)
}

extern "win64" fn ObDereferenceObjectDeferDelete(object: u64) {
    ObfDereferenceObject(object);
}

extern "win64" fn ZwClose(handle: u64) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let kernel = thread::current();
    if kernel.objects.close(handle) {
        return NtStatus::SUCCESS;
    }
    bad_parameter(&format!("{handle:#x}, which is not an open handle"), "close each handle once");
    NtStatus::INVALID_HANDLE
}

extern "win64" fn NtClose(handle: u64) -> NtStatus {
    ZwClose(handle)
}

extern "win64" fn ObCloseHandle(handle: u64, _mode: u8) -> NtStatus {
    ZwClose(handle)
}

fn new_event(kind: u8, state: i32) -> Object {
    let at: Ptr<DispatcherHeader> = thread::current().pool.allocate_system(0x20, b"Even").cast();
    at.write(header(kind, 6, state, at));
    Object::Event(at)
}

extern "win64" fn ZwCreateEvent(out: Ptr<u64>, _access: u32, _attributes: u64, kind: u32, state: u8) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    if kind > 1 {
        return NtStatus::INVALID_PARAMETER;
    }
    let handle = thread::current().objects.open(new_event(kind as u8, i32::from(state != 0)));
    out.write(handle);
    NtStatus::SUCCESS
}

fn event_of(handle: u64) -> Option<Ptr<DispatcherHeader>> {
    match thread::current().objects.get(handle)? {
        Object::Event(event) => Some(event),
        _ => None,
    }
}

fn set_event_handle(handle: u64, value: i32, old: Ptr<i32>) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let Some(event) = event_of(handle) else { return NtStatus::INVALID_HANDLE };
    let dispatcher = &thread::current().dispatcher;
    let held = dispatcher.lock();
    let before = field!(event, SignalState).read();
    field!(event, SignalState).write(value);
    drop(held);
    dispatcher.signal();
    old.write_optional(before);
    NtStatus::SUCCESS
}

extern "win64" fn ZwSetEvent(handle: u64, old: Ptr<i32>) -> NtStatus {
    set_event_handle(handle, 1, old)
}

extern "win64" fn ZwResetEvent(handle: u64, old: Ptr<i32>) -> NtStatus {
    set_event_handle(handle, 0, old)
}

extern "win64" fn ZwClearEvent(handle: u64) -> NtStatus {
    set_event_handle(handle, 0, Ptr::NULL)
}

extern "win64" fn ZwWaitForSingleObject(handle: u64, _alertable: u8, timeout: Ptr<i64>) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let pointer = match thread::current().objects.get(handle) {
        Some(object @ (Object::Event(_) | Object::Thread(_))) => object.pointer(),
        _ => return NtStatus::INVALID_HANDLE,
    };
    crate::ntos::dispatch::wait_for(Ptr::from_address(pointer), crate::ntos::dispatch::deadline(timeout))
}

fn named_event(kind: u8, out: Ptr<u64>) -> Ptr<DispatcherHeader> {
    require_irql(PASSIVE_LEVEL);
    let object = new_event(kind, 1);
    let pointer = object.pointer();
    out.write(thread::current().objects.open(object));
    Ptr::from_address(pointer)
}

extern "win64" fn IoCreateNotificationEvent(_name: Ptr<UnicodeString>, handle: Ptr<u64>) -> Ptr<DispatcherHeader> {
    named_event(0, handle)
}

extern "win64" fn IoCreateSynchronizationEvent(_name: Ptr<UnicodeString>, handle: Ptr<u64>) -> Ptr<DispatcherHeader> {
    named_event(1, handle)
}

extern "win64" fn PsCreateSystemThread(
    handle: Ptr<u64>,
    _access: u32,
    _attributes: u64,
    _process: u64,
    client_id: Ptr<[u64; 2]>,
    routine: u64,
    context: u64,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    create_thread(handle, client_id, routine, context, None)
}

extern "win64" fn IoCreateSystemThread(
    io_object: u64,
    handle: Ptr<u64>,
    _access: u32,
    _attributes: u64,
    _process: u64,
    client_id: Ptr<[u64; 2]>,
    routine: u64,
    context: u64,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    create_thread(handle, client_id, routine, context, Some(io_object))
}

/// Starts a driver's thread; with an I/O object, that is referenced until the thread has left the image.
fn create_thread(
    handle: Ptr<u64>,
    client_id: Ptr<[u64; 2]>,
    routine: u64,
    context: u64,
    io_object: Option<u64>,
) -> NtStatus {
    let kernel = thread::current().share();
    let (image, caller) = origin();
    let object: Ptr<KThread> = kernel.pool.allocate_system(size_of::<KThread>(), b"Thre").cast();
    let at = object.cast::<DispatcherHeader>();
    at.write(header(THREAD_OBJECT, 0, 0, at));
    let driver_thread = Arc::new(DriverThread {
        kernel: Arc::downgrade(&kernel),
        object,
        image,
        routine,
        caller,
        doomed: AtomicBool::new(false),
        ended: AtomicBool::new(false),
    });
    lock(&kernel.objects.threads).push(driver_thread.clone());
    if let Some(io_object) = io_object {
        kernel.io.reference_object(io_object, 1);
    }
    let running = driver_thread.clone();
    let spawned = thread::spawn(&kernel, "driver thread", move || {
        run_thread(&running, context);
        if let Some(io_object) = io_object {
            thread::current().io.reference_object(io_object, -1);
        }
    });
    if spawned.is_err() {
        driver_thread.ended.store(true, Ordering::Release);
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    client_id.write_optional([4, object.address() & 0xFFFF_FFFC]);
    handle.write(kernel.objects.open(Object::Thread(driver_thread)));
    NtStatus::SUCCESS
}

impl DriverThread {
    pub fn object(&self) -> u64 {
        self.object.address()
    }
}

fn run_thread(driver_thread: &Arc<DriverThread>, argument: u64) {
    let by =
        image::place(driver_thread.caller).map_or_else(String::new, |place| format!("a thread that {place} created"));
    let context = CallContext { what: "StartRoutine", object: &by, at: "" };
    let exit = thread::as_driver_thread(driver_thread.object.address(), &driver_thread.doomed, || {
        // SAFETY: the driver passed this routine to be called with this context.
        unsafe { call::invoke_on_own_stack(&context, PASSIVE_LEVEL, driver_thread.routine as *const (), (argument,)) }
    });
    let page = thread::page();
    if exit == Exit::ThreadTerminated && !driver_thread.doomed.load(Ordering::Relaxed) {
        irql::check_at_thread_end(page, &context);
    }
    page.spin_locks.set(0);
    page.critical_regions.set(0);
    page.irql.set(PASSIVE_LEVEL);
    let kernel = thread::current();
    let held = kernel.dispatcher.lock();
    driver_thread.ended.store(true, Ordering::Release);
    field!(driver_thread.object, Header.SignalState).write(1);
    drop(held);
    kernel.dispatcher.wake_all();
}

extern "win64" fn PsTerminateSystemThread(_status: NtStatus) -> NtStatus {
    require_irql(APC_LEVEL);
    report::leave(call::LEAVE_THREAD)
}

extern "win64" fn KeGetCurrentThread() -> u64 {
    thread::page().current_thread.get()
}

extern "win64" fn PsGetCurrentThread() -> u64 {
    thread::page().current_thread.get()
}

/// The process id of System.
const SYSTEM_PROCESS_ID: u64 = 4;

extern "win64" fn PsGetCurrentThreadId() -> u64 {
    thread::page().current_thread.get() & 0xFFFF_FFFC
}

extern "win64" fn PsGetThreadId(thread: u64) -> u64 {
    thread & 0xFFFF_FFFC
}

extern "win64" fn PsGetCurrentProcessId() -> u64 {
    SYSTEM_PROCESS_ID
}

extern "win64" fn PsGetCurrentProcess() -> u64 {
    process().address()
}

extern "win64" fn IoGetCurrentProcess() -> u64 {
    process().address()
}

extern "win64" fn PsGetProcessId(_process: u64) -> u64 {
    SYSTEM_PROCESS_ID
}

extern "win64" fn PsGetThreadProcessId(_thread: u64) -> u64 {
    SYSTEM_PROCESS_ID
}

extern "win64" fn PsLookupProcessByProcessId(id: u64, out: Ptr<u64>) -> NtStatus {
    if id != SYSTEM_PROCESS_ID {
        return NtStatus::INVALID_PARAMETER;
    }
    thread::current().objects.reference(&Object::Process);
    out.write(process().address());
    NtStatus::SUCCESS
}

extern "win64" fn PsLookupThreadByThreadId(id: u64, out: Ptr<u64>) -> NtStatus {
    let objects = &thread::current().objects;
    if id == PsGetCurrentThreadId() {
        let me = thread::current_thread().address();
        objects.add(me, 1);
        out.write(me);
        return NtStatus::SUCCESS;
    }
    let found = lock(&objects.threads).iter().find(|one| PsGetThreadId(one.object()) == id).cloned();
    let Some(found) = found else { return NtStatus::INVALID_PARAMETER };
    out.write(found.object());
    objects.reference(&Object::Thread(found));
    NtStatus::SUCCESS
}

extern "win64" fn PsIsSystemThread(_thread: u64) -> u8 {
    1
}

extern "win64" fn PsIsThreadTerminating(_thread: u64) -> u8 {
    0
}

extern "win64" fn PsGetProcessImageFileName(_process: u64) -> Ptr<u8> {
    Ptr::from_address(c"System".as_ptr() as u64)
}

/// The priority that a thread begins with.
const PRIORITY: i32 = 8;

extern "win64" fn KeSetPriorityThread(thread: u64, priority: i32) -> i32 {
    if !(1..=31).contains(&priority) {
        bad_parameter(&format!("priority {priority}"), "pass a priority of 1 to 31");
    }
    lock(&thread::current().objects.priorities).insert(thread, priority).unwrap_or(PRIORITY)
}

extern "win64" fn KeQueryPriorityThread(thread: u64) -> i32 {
    lock(&thread::current().objects.priorities).get(&thread).copied().unwrap_or(PRIORITY)
}

extern "win64" fn KeSetBasePriorityThread(_thread: u64, _increment: i32) -> i32 {
    0
}

extern "win64" fn KeSetSystemAffinityThread(affinity: u64) {
    KeSetSystemAffinityThreadEx(affinity);
}

/// The affinity that was set before, or 0 if there was none. Threads run where they run, nevertheless.
extern "win64" fn KeSetSystemAffinityThreadEx(affinity: u64) -> u64 {
    let me = thread::current_thread().address();
    let kernel = thread::current();
    let mut affinities = lock(&kernel.objects.affinities);
    match affinity {
        0 => affinities.remove(&me),
        _ => affinities.insert(me, affinity),
    }
    .unwrap_or(0)
}

extern "win64" fn KeRevertToUserAffinityThread() {
    KeSetSystemAffinityThreadEx(0);
}

extern "win64" fn KeRevertToUserAffinityThreadEx(affinity: u64) {
    KeSetSystemAffinityThreadEx(affinity);
}

extern "win64" fn KeSetSystemGroupAffinityThread(_affinity: u64, previous: Ptr<[u64; 2]>) {
    previous.write_optional([0; 2]);
}

extern "win64" fn KeRevertToUserGroupAffinityThread(_affinity: u64) {}

/// Reports threads of an image that are still alive and sees that none of them returns into it.
pub(crate) fn reap_threads(image: u64, inside: &[Inside]) -> Vec<String> {
    let kernel = thread::current();
    let alive = kernel.objects.threads_of(image);
    let mut left = Vec::new();
    for thread in &alive {
        let at = inside.iter().find(|inside| inside.object == thread.object.address());
        left.push(format!(
            "thread {:#x} (start routine {}{}) still runs{}",
            thread.object.address(),
            image::place(thread.routine).map_or_else(|| "?".to_string(), |place| place.to_string()),
            image::place(thread.caller).map_or_else(String::new, |place| format!(", created at {place}")),
            at.and_then(|at| at.place.as_ref()).map_or_else(String::new, |place| format!(", at {place}")),
        ));
        thread.doomed.store(true, Ordering::Release);
    }
    if !alive.is_empty() {
        kernel.dispatcher.wake_all();
        // Those that wait leave now; one that computes faults on its next instruction in the image.
        const SOON: Duration = Duration::from_millis(20);
        if !schedule::sleep(SOON, Until::Grace) {
            std::thread::sleep(SOON);
        }
    }
    left
}
