//! `WDFQUEUE`: sequential, parallel and manual queues.

#![allow(non_snake_case, reason = "functions and fields have the names of wdfio.h")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::export::{self, Export, exports};
use crate::inject;
use crate::irql::{self, require_irql};
use crate::kernel::lock;
use crate::kmdf::attributes::{self, Attributes, Rules, Scope};
use crate::kmdf::client::{self, Globals};
use crate::kmdf::device::Device;
use crate::kmdf::file::File;
use crate::kmdf::lock::{CallbackLock, synchronized};
use crate::kmdf::object::{self, Body, New, Object, Ref, Typed, find, find_quiet};
use crate::kmdf::report::{WDF_QUEUE_FATAL_ERROR, broken, fatal, required};
use crate::kmdf::request::{self, Owner, Request};
use crate::kmdf::request_cancel;
use crate::kmdf::status;
use crate::kmdf::wdm;
use crate::nt::{DISPATCH_LEVEL, FileObject, NtStatus, PASSIVE_LEVEL};
use crate::ptr::{Ptr, field};
use crate::thread;

pub(super) const FUNCTIONS: &[Export] = exports![
    WdfIoQueueCreate,
    WdfIoQueueGetState,
    WdfIoQueueStart,
    WdfIoQueueStop,
    WdfIoQueueStopSynchronously,
    WdfIoQueueGetDevice,
    WdfIoQueueRetrieveNextRequest,
    WdfIoQueueRetrieveRequestByFileObject,
    WdfIoQueueFindRequest,
    WdfIoQueueRetrieveFoundRequest,
    WdfIoQueueDrainSynchronously,
    WdfIoQueueDrain,
    WdfIoQueuePurgeSynchronously,
    WdfIoQueuePurge,
    WdfIoQueueReadyNotify,
    WdfIoQueueStopAndPurge,
    WdfIoQueueStopAndPurgeSynchronously,
];

/// `WDF_IO_QUEUE_CONFIG`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct QueueConfig {
    Size: u32,
    DispatchType: u32,
    PowerManaged: u32,
    AllowZeroLengthRequests: u8,
    DefaultQueue: u8,
    EvtIoDefault: u64,
    EvtIoRead: u64,
    EvtIoWrite: u64,
    EvtIoDeviceControl: u64,
    EvtIoInternalDeviceControl: u64,
    EvtIoStop: u64,
    EvtIoResume: u64,
    EvtIoCanceledOnQueue: u64,
    NumberOfPresentedRequests: u32,
    Driver: u64,
}

const _: () = assert!(size_of::<QueueConfig>() == 0x60);

/// Sizes of the structure in KMDF 1.7, in 1.9, and since 1.11.
const CONFIG_SIZES: [u32; 3] = [0x50, 0x58, 0x60];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Dispatch {
    Sequential,
    Parallel,
    Manual,
}

// WDF_IO_QUEUE_STATE.
const ACCEPT_REQUESTS: u32 = 0x1;
const DISPATCH_REQUESTS: u32 = 0x2;
const NO_REQUESTS: u32 = 0x4;
const DRIVER_NO_REQUESTS: u32 = 0x8;

/// What a driver waits for after stopping, draining or purging.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Awaited {
    /// No request of the queue is with the driver.
    Stopped,
    /// Nor is any in the queue.
    Empty,
}

#[derive(Clone, Copy)]
struct Notification {
    awaited: Awaited,
    what: &'static str,
    callback: u64,
    context: u64,
}

struct State {
    accept: bool,
    dispatch: bool,
    pending: VecDeque<u64>,
    /// Requests that the driver has from this queue.
    delivered: Vec<u64>,
    /// Threads that are presenting a request now.
    presenting: Vec<u64>,
    ready: Option<(u64, u64)>,
    notifications: Vec<Notification>,
}

pub(super) struct Queue {
    pub device: u64,
    config: QueueConfig,
    dispatch: Dispatch,
    /// Most requests of a parallel queue that the driver has at a time.
    most: usize,
    state: Mutex<State>,
}

impl Body for Queue {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }

    fn begin_delete(&self, object: &Arc<Object>) {
        {
            let mut state = lock(&self.state);
            state.accept = false;
            state.dispatch = false;
        }
        if let Some(queue) = find_quiet::<Queue>(object.handle) {
            cancel_pending(&queue, |_| true);
        }
    }
}

impl Typed for Queue {
    const TYPE: &'static str = "WDFQUEUE";
}

extern "win64" fn WdfIoQueueCreate(
    globals: Ptr<Globals>,
    device: u64,
    config: Ptr<QueueConfig>,
    attributes: Ptr<Attributes>,
    out: Ptr<u64>,
) -> NtStatus {
    let client = client::of(globals);
    let device = find::<Device>(device);
    required(config, "Config");
    require_irql(DISPATCH_LEVEL);
    let checked = match attributes::check(attributes, Rules { levels_allowed: true, ..Rules::default() }) {
        Ok(checked) => checked,
        Err(status) => return status,
    };
    let config = match read_config(config) {
        Ok(config) => config,
        Err(status) => return status,
    };
    if config.DefaultQueue == 0 && out.is_null() {
        return status::INVALID_PARAMETER_4;
    }
    if config.DefaultQueue != 0 && device.is_finished() {
        broken(
            "a default queue was created after WdfControlFinishInitializing".into(),
            "create the default queue before the device can be opened",
        );
        return NtStatus::INVALID_DEVICE_STATE;
    }
    if let Some(parent) = &checked.parent
        && parent.nearest::<Device>().is_none_or(|owner| owner.handle() != device.handle())
    {
        return NtStatus::INVALID_DEVICE_REQUEST;
    }
    let dispatch = match check_callbacks(&config) {
        Ok(dispatch) => dispatch,
        Err(status) => return status,
    };
    if let Some(status) = inject::faulted() {
        return status;
    }
    let passive_callbacks = checked.passive_callbacks(device.object.passive_callbacks);
    let scope = checked.scope().unwrap_or(device.scope);
    let callback_lock = match scope {
        Scope::None => None,
        Scope::Queue => Some(CallbackLock::new(passive_callbacks)),
        Scope::Device => device.object.callback_lock.clone().or_else(|| Some(CallbackLock::new(passive_callbacks))),
    };
    let most = match (config.Size, config.NumberOfPresentedRequests) {
        (0x50, _) | (_, 0) => usize::MAX,
        (_, number) => number as usize,
    };
    let queue = New {
        client,
        parent: Some(checked.parent_or(&device.object)),
        callback_lock,
        passive_callbacks,
        contexts: checked.contexts(),
        body: Queue {
            device: device.handle(),
            config,
            dispatch,
            most,
            state: Mutex::new(State {
                accept: true,
                dispatch: true,
                pending: VecDeque::new(),
                delivered: Vec::new(),
                presenting: Vec::new(),
                ready: None,
                notifications: Vec::new(),
            }),
        },
    }
    .create();
    if config.DefaultQueue != 0 && !device.set_default_queue(queue.handle()) {
        object::delete(&queue.object);
        broken("a second default queue was created for a device".into(), "create one default queue for each device");
        return NtStatus::UNSUCCESSFUL;
    }
    out.write_optional(queue.handle());
    NtStatus::SUCCESS
}

fn read_config(config: Ptr<QueueConfig>) -> Result<QueueConfig, NtStatus> {
    let size = field!(config, Size).read();
    if !CONFIG_SIZES.contains(&size) {
        return Err(NtStatus::INFO_LENGTH_MISMATCH);
    }
    let mut bytes = config.cast::<u8>().to_vec(size as usize);
    bytes.resize(size_of::<QueueConfig>(), 0);
    Ok(Ptr::<QueueConfig>::new(bytes.as_mut_ptr().cast()).read_unaligned())
}

fn check_callbacks(config: &QueueConfig) -> Result<Dispatch, NtStatus> {
    let any = [
        config.EvtIoDefault,
        config.EvtIoRead,
        config.EvtIoWrite,
        config.EvtIoDeviceControl,
        config.EvtIoInternalDeviceControl,
    ]
    .iter()
    .any(|callback| *callback != 0);
    let dispatch = match config.DispatchType {
        1 => Dispatch::Sequential,
        2 => Dispatch::Parallel,
        3 => Dispatch::Manual,
        _ => return Err(NtStatus::INVALID_PARAMETER),
    };
    if dispatch == Dispatch::Manual && any {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    if dispatch != Dispatch::Manual && !any {
        return Err(status::WDF_NO_CALLBACK);
    }
    if dispatch != Dispatch::Parallel && config.NumberOfPresentedRequests != 0 {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    Ok(dispatch)
}

/// Puts a request in a queue; fails if the queue accepts none.
pub(super) fn insert(queue: &Ref<Queue>, request: &Ref<Request>) -> Result<(), NtStatus> {
    insert_at(queue, request, false)
}

fn insert_at(queue: &Ref<Queue>, request: &Ref<Request>, first: bool) -> Result<(), NtStatus> {
    let was_empty;
    let came_from;
    let cancelled;
    {
        let mut state = lock(&queue.state);
        if !state.accept {
            return Err(status::WDF_BUSY);
        }
        was_empty = state.pending.is_empty();
        came_from = request.queue_up(queue.handle());
        if first {
            state.pending.push_front(request.handle());
        } else {
            state.pending.push_back(request.handle());
        }
        request_cancel::watch(request);
        // Under the lock: once it is let go, others may take the request and complete it.
        cancelled = request_cancel::begun_while_queued(request);
        if cancelled {
            state.pending.retain(|pending| *pending != request.handle());
        }
    }
    if came_from != 0
        && let Some(from) = find_quiet::<Queue>(came_from)
    {
        given_back(&from, request.handle());
    }
    if cancelled {
        request_cancel::finish_queued(queue, request);
        return Ok(());
    }
    let ready = if was_empty { lock(&queue.state).ready } else { None };
    if let Some((callback, context)) = ready {
        let client = &queue.object.client;
        synchronized(&queue.object, || {
            client.call("EvtIoQueueState (ready)", "", irql::current(), callback, (queue.handle(), context))
        });
    }
    dispatch(queue);
    Ok(())
}

/// Puts a request in a queue, or completes it if the queue accepts none.
pub(super) fn insert_or_fail(queue: &Ref<Queue>, request: &Ref<Request>) {
    if insert(queue, request).is_err() {
        request::complete(request, NtStatus::INVALID_DEVICE_STATE, 0);
    }
}

/// Takes a waiting request out of its queue. False if it is not there any more.
pub(super) fn remove_pending(queue: &Ref<Queue>, request: u64) -> bool {
    let mut state = lock(&queue.state);
    let index = state.pending.iter().position(|pending| *pending == request);
    index.and_then(|index| state.pending.remove(index)).is_some()
}

/// The driver has completed or forwarded a request that it had from this queue.
pub(super) fn given_back(queue: &Ref<Queue>, request: u64) {
    lock(&queue.state).delivered.retain(|delivered| *delivered != request);
    notify(queue);
    dispatch(queue);
}

/// Tells whoever waits for the queue to stop or to be empty.
fn notify(queue: &Ref<Queue>) {
    let due: Vec<Notification> = {
        let mut state = lock(&queue.state);
        let (stopped, empty) = (state.delivered.is_empty(), state.pending.is_empty());
        let reached = |awaited: Awaited| stopped && (awaited == Awaited::Stopped || empty);
        let due = state.notifications.iter().copied().filter(|one| reached(one.awaited)).collect();
        state.notifications.retain(|one| !reached(one.awaited));
        due
    };
    for one in due {
        let client = &queue.object.client;
        client.call("EvtIoQueueState", one.what, irql::current(), one.callback, (queue.handle(), one.context));
    }
    thread::current().kmdf.wake_all();
}

/// Takes the next request that can be delivered, in which case it is the driver's.
fn take_next(
    queue: &Ref<Queue>,
    state: &mut State,
    mut wanted: impl FnMut(&Ref<Request>) -> bool,
) -> Option<Ref<Request>> {
    let mut index = 0;
    while index < state.pending.len() {
        let Some(request) = find_quiet::<Request>(state.pending[index]) else {
            state.pending.remove(index);
            continue;
        };
        if !wanted(&request) {
            index += 1;
            continue;
        }
        state.pending.remove(index);
        if !request_cancel::unwatch(&request) {
            // Its cancel routine runs and will complete it.
            continue;
        }
        request.give_to_driver(queue.handle());
        state.delivered.push(request.handle());
        return Some(request);
    }
    None
}

/// Presents requests to the driver for as long as the queue's type permits.
pub(super) fn dispatch(queue: &Ref<Queue>) {
    if queue.dispatch == Dispatch::Manual {
        return;
    }
    if queue.object.passive_callbacks && irql::current() > PASSIVE_LEVEL {
        wdm::queue_work(queue.handle(), dispatch_later, queue.object.client.image);
        return;
    }
    let me = thread::current_thread().address();
    loop {
        let next = {
            let mut state = lock(&queue.state);
            let busy = match queue.dispatch {
                Dispatch::Sequential => !state.delivered.is_empty() || !state.presenting.is_empty(),
                // A request completed in its own callback does not nest the next one's.
                _ => state.delivered.len() >= queue.most || state.presenting.contains(&me),
            };
            if busy || !state.dispatch {
                return;
            }
            let next = take_next(queue, &mut state, |_| true);
            if next.is_some() {
                state.presenting.push(me);
            }
            next
        };
        let Some(request) = next else { return };
        present(queue, &request);
        let mut state = lock(&queue.state);
        if let Some(index) = state.presenting.iter().position(|thread| *thread == me) {
            state.presenting.swap_remove(index);
        }
    }
}

extern "win64" fn dispatch_later(handle: u64) {
    if let Some(queue) = find_quiet::<Queue>(handle) {
        dispatch(&queue);
    }
}

/// Calls the driver's callback for one request.
fn present(queue: &Ref<Queue>, request: &Ref<Request>) {
    let config = &queue.config;
    let location = wdm::location(request.irp()).read();
    let (handle, client) = (queue.handle(), &queue.object.client);
    let transfer = matches!(request.major, wdm::IRP_MJ_READ | wdm::IRP_MJ_WRITE);
    let length = u64::from(location.OutputBufferLength as u32);
    if transfer && length == 0 && config.AllowZeroLengthRequests == 0 {
        request::complete(request, NtStatus::SUCCESS, 0);
        return;
    }
    let (what, callback) = match request.major {
        wdm::IRP_MJ_READ => ("EvtIoRead", config.EvtIoRead),
        wdm::IRP_MJ_WRITE => ("EvtIoWrite", config.EvtIoWrite),
        wdm::IRP_MJ_DEVICE_CONTROL => ("EvtIoDeviceControl", config.EvtIoDeviceControl),
        wdm::IRP_MJ_INTERNAL_DEVICE_CONTROL => ("EvtIoInternalDeviceControl", config.EvtIoInternalDeviceControl),
        _ => ("EvtIoDefault", config.EvtIoDefault),
    };
    let level = irql::current();
    if callback == 0 {
        if config.EvtIoDefault == 0 {
            request::complete(request, NtStatus::INVALID_DEVICE_REQUEST, 0);
            return;
        }
        let arguments = (handle, request.handle());
        synchronized(&queue.object, || {
            client.call("EvtIoDefault", "", level_now(level), config.EvtIoDefault, arguments)
        });
        return;
    }
    if transfer || request.major == wdm::IRP_MJ_CREATE {
        let arguments = (handle, request.handle(), length);
        synchronized(&queue.object, || client.call(what, "", level_now(level), callback, arguments));
        return;
    }
    let (output, input) = (length, u64::from(location.InputBufferLength as u32));
    let code = location.IoControlCode as u32;
    let at = format!("I/O control code {code:#010x}");
    let arguments = (handle, request.handle(), output, input, code);
    synchronized(&queue.object, || client.call(what, &at, level_now(level), callback, arguments));
}

/// The level inside of the callback lock, which may have raised it.
fn level_now(before: u8) -> u8 {
    irql::current().max(before)
}

/// Cancels waiting requests.
fn cancel_pending(queue: &Ref<Queue>, wanted: impl Fn(&Ref<Request>) -> bool) {
    loop {
        let found = {
            let mut state = lock(&queue.state);
            let index = state
                .pending
                .iter()
                .position(|handle| find_quiet::<Request>(*handle).is_some_and(|request| wanted(&request)));
            let request = index.and_then(|index| state.pending.remove(index)).and_then(find_quiet::<Request>);
            // Under the lock, for which a cancel routine that runs already waits before it completes the request.
            request.map(|request| (request_cancel::unwatch(&request), request))
        };
        match found {
            Some((true, request)) => request_cancel::finish_queued(queue, &request),
            Some((false, _)) => {}
            None => return,
        }
    }
}

/// Cancels the requests of a file that is being closed, in all queues of a device.
pub(super) fn cancel_of_file(device: &Ref<Device>, file: Ptr<FileObject>) {
    for object in thread::current().kmdf.handles.of_client(&device.object.client) {
        if let Some(queue) = find_quiet::<Queue>(object.handle).filter(|queue| queue.device == device.handle()) {
            cancel_pending(&queue, |request| request.wdm_file() == file);
        }
    }
}

fn cancel_delivered(queue: &Ref<Queue>) {
    let delivered = lock(&queue.state).delivered.clone();
    for request in delivered.into_iter().filter_map(find_quiet::<Request>) {
        request_cancel::cancel_from_queue(&request);
    }
}

extern "win64" fn WdfIoQueueGetState(
    _globals: Ptr<Globals>,
    queue: u64,
    queued: Ptr<u32>,
    with_driver: Ptr<u32>,
) -> u32 {
    let queue = find::<Queue>(queue);
    let (pending, delivered, mut flags);
    {
        let state = lock(&queue.state);
        (pending, delivered) = (state.pending.len() as u32, state.delivered.len() as u32);
        flags = if state.accept { ACCEPT_REQUESTS } else { 0 } | if state.dispatch { DISPATCH_REQUESTS } else { 0 };
    }
    if pending == 0 {
        flags |= NO_REQUESTS;
    }
    if delivered == 0 {
        flags |= DRIVER_NO_REQUESTS;
    }
    queued.write_optional(pending);
    with_driver.write_optional(delivered);
    flags
}

extern "win64" fn WdfIoQueueStart(_globals: Ptr<Globals>, queue: u64) {
    require_irql(DISPATCH_LEVEL);
    let queue = find::<Queue>(queue);
    {
        let mut state = lock(&queue.state);
        state.accept = true;
        state.dispatch = true;
    }
    dispatch(&queue);
}

/// How a queue is brought to rest.
#[derive(Clone, Copy)]
struct Rest {
    what: &'static str,
    accept: bool,
    dispatch: bool,
    cancel: bool,
    awaited: Awaited,
}

const STOP: Rest = Rest { what: "stopped", accept: true, dispatch: false, cancel: false, awaited: Awaited::Stopped };
const DRAIN: Rest = Rest { what: "drained", accept: false, dispatch: true, cancel: false, awaited: Awaited::Empty };
const PURGE: Rest = Rest { what: "purged", accept: false, dispatch: true, cancel: true, awaited: Awaited::Empty };
const STOP_AND_PURGE: Rest =
    Rest { what: "stopped and purged", accept: true, dispatch: false, cancel: true, awaited: Awaited::Stopped };

fn rest(queue: u64, rest: Rest, callback: u64, context: u64) {
    require_irql(DISPATCH_LEVEL);
    let queue = find::<Queue>(queue);
    {
        let mut state = lock(&queue.state);
        state.accept = rest.accept;
        state.dispatch = rest.dispatch;
        if callback != 0 {
            state.notifications.push(Notification { awaited: rest.awaited, what: rest.what, callback, context });
        }
    }
    if rest.cancel {
        cancel_pending(&queue, |_| true);
        cancel_delivered(&queue);
    }
    notify(&queue);
}

fn rest_synchronously(handle: u64, how: Rest) {
    require_irql(PASSIVE_LEVEL);
    let queue = find::<Queue>(handle);
    let me = thread::current_thread().address();
    if lock(&queue.state).presenting.contains(&me) {
        let name = export::current_name();
        fatal(
            WDF_QUEUE_FATAL_ERROR,
            handle,
            &format!("{name} was called in a callback of the same queue, for whose end it would wait forever"),
        );
    }
    rest(handle, how, 0, 0);
    wdm::wait_until(None, || {
        let state = lock(&queue.state);
        let stopped = state.delivered.is_empty() && state.presenting.is_empty();
        (stopped && (how.awaited == Awaited::Stopped || state.pending.is_empty())).then_some(())
    });
}

extern "win64" fn WdfIoQueueStop(_globals: Ptr<Globals>, queue: u64, callback: u64, context: u64) {
    rest(queue, STOP, callback, context);
}

extern "win64" fn WdfIoQueueStopSynchronously(_globals: Ptr<Globals>, queue: u64) {
    rest_synchronously(queue, STOP);
}

extern "win64" fn WdfIoQueueDrain(_globals: Ptr<Globals>, queue: u64, callback: u64, context: u64) {
    rest(queue, DRAIN, callback, context);
}

extern "win64" fn WdfIoQueueDrainSynchronously(_globals: Ptr<Globals>, queue: u64) {
    rest_synchronously(queue, DRAIN);
}

extern "win64" fn WdfIoQueuePurge(_globals: Ptr<Globals>, queue: u64, callback: u64, context: u64) {
    rest(queue, PURGE, callback, context);
}

extern "win64" fn WdfIoQueuePurgeSynchronously(_globals: Ptr<Globals>, queue: u64) {
    rest_synchronously(queue, PURGE);
}

extern "win64" fn WdfIoQueueStopAndPurge(_globals: Ptr<Globals>, queue: u64, callback: u64, context: u64) {
    rest(queue, STOP_AND_PURGE, callback, context);
}

extern "win64" fn WdfIoQueueStopAndPurgeSynchronously(_globals: Ptr<Globals>, queue: u64) {
    rest_synchronously(queue, STOP_AND_PURGE);
}

extern "win64" fn WdfIoQueueGetDevice(_globals: Ptr<Globals>, queue: u64) -> u64 {
    require_irql(DISPATCH_LEVEL);
    find::<Queue>(queue).device
}

/// Hands the driver a waiting request.
fn retrieve(queue: &Ref<Queue>, out: Ptr<u64>, wanted: impl FnMut(&Ref<Request>) -> bool) -> NtStatus {
    out.write(0);
    let found = {
        let mut state = lock(&queue.state);
        if !state.dispatch {
            return status::WDF_PAUSED;
        }
        take_next(queue, &mut state, wanted)
    };
    match found {
        Some(request) => {
            out.write(request.handle());
            NtStatus::SUCCESS
        }
        None => NtStatus::NO_MORE_ENTRIES,
    }
}

extern "win64" fn WdfIoQueueRetrieveNextRequest(_globals: Ptr<Globals>, queue: u64, out: Ptr<u64>) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let queue = find::<Queue>(queue);
    required(out, "OutRequest");
    if let Some(status) = inject::faulted() {
        return status;
    }
    retrieve(&queue, out, |_| true)
}

extern "win64" fn WdfIoQueueRetrieveRequestByFileObject(
    _globals: Ptr<Globals>,
    queue: u64,
    file: u64,
    out: Ptr<u64>,
) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let queue = find::<Queue>(queue);
    let file = find::<File>(file);
    required(out, "OutRequest");
    if let Some(status) = inject::faulted() {
        return status;
    }
    retrieve(&queue, out, |request| request.wdm_file() == file.wdm)
}

extern "win64" fn WdfIoQueueFindRequest(
    _globals: Ptr<Globals>,
    queue: u64,
    after: u64,
    file: u64,
    parameters: Ptr<u8>,
    out: Ptr<u64>,
) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let queue = find::<Queue>(queue);
    required(out, "OutRequest").write(0);
    let after = (after != 0).then(|| find::<Request>(after).handle());
    let file = (file != 0).then(|| find::<File>(file).wdm);
    if queue.dispatch != Dispatch::Manual {
        broken("WdfIoQueueFindRequest was called for a queue that is not manual".into(), "search manual queues only");
        return NtStatus::INVALID_DEVICE_REQUEST;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    let pending: Vec<u64> = lock(&queue.state).pending.iter().copied().collect();
    let from = match after {
        None => 0,
        Some(after) => match pending.iter().position(|handle| *handle == after) {
            Some(index) => index + 1,
            None => return NtStatus::NOT_FOUND,
        },
    };
    let found = pending[from..]
        .iter()
        .filter_map(|handle| find_quiet::<Request>(*handle))
        .find(|request| file.is_none_or(|file| request.wdm_file() == file));
    let Some(request) = found else { return NtStatus::NO_MORE_ENTRIES };
    if !parameters.is_null() {
        request::write_parameters(&request, parameters);
    }
    // The driver gives this reference back.
    object::reference(&request.object);
    out.write(request.handle());
    NtStatus::SUCCESS
}

extern "win64" fn WdfIoQueueRetrieveFoundRequest(
    _globals: Ptr<Globals>,
    queue: u64,
    found: u64,
    out: Ptr<u64>,
) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let queue = find::<Queue>(queue);
    let found = find::<Request>(found);
    required(out, "OutRequest");
    if let Some(status) = inject::faulted() {
        return status;
    }
    match retrieve(&queue, out, |request| request.handle() == found.handle()) {
        NtStatus::NO_MORE_ENTRIES => NtStatus::NOT_FOUND,
        status => status,
    }
}

extern "win64" fn WdfIoQueueReadyNotify(_globals: Ptr<Globals>, queue: u64, callback: u64, context: u64) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let queue = find::<Queue>(queue);
    if queue.dispatch != Dispatch::Manual {
        broken("WdfIoQueueReadyNotify was called for a queue that is not manual".into(), "use it for manual queues");
        return NtStatus::INVALID_DEVICE_REQUEST;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    let mut state = lock(&queue.state);
    if callback != 0 && state.ready.is_some() {
        return NtStatus::INVALID_DEVICE_REQUEST;
    }
    state.ready = (callback != 0).then_some((callback, context));
    NtStatus::SUCCESS
}

/// Moves a request that the driver has to another queue.
pub(super) fn forward(request: &Ref<Request>, to: &Ref<Queue>) -> NtStatus {
    let from = find_quiet::<Queue>(request.presented_by());
    if request.device != to.device || from.is_some_and(|from| from.handle() == to.handle()) {
        broken(
            "WdfRequestForwardToIoQueue was given the request's own queue, or one of another device".into(),
            "forward to another queue of the same device; WdfRequestRequeue returns a request to its own",
        );
        return NtStatus::INVALID_DEVICE_REQUEST;
    }
    match insert(to, request) {
        Ok(()) => NtStatus::SUCCESS,
        Err(status) => status,
    }
}

/// Puts a request back at the head of the manual queue that it came from.
pub(super) fn requeue(request: &Ref<Request>) -> NtStatus {
    let Some(queue) = find_quiet::<Queue>(request.presented_by()).filter(|queue| queue.dispatch == Dispatch::Manual)
    else {
        broken(
            "WdfRequestRequeue was called for a request that did not come from a manual queue".into(),
            "requeue only requests that WdfIoQueueRetrieveNextRequest gave",
        );
        return NtStatus::INVALID_DEVICE_REQUEST;
    };
    match insert_at(&queue, request, true) {
        Ok(()) => NtStatus::SUCCESS,
        Err(status) => status,
    }
}

/// The callback for requests that are cancelled while they wait, if the driver has seen them before.
pub(super) fn canceled_on_queue(queue: &Ref<Queue>, request: &Ref<Request>) -> bool {
    let callback = queue.config.EvtIoCanceledOnQueue;
    if callback == 0 || !request.was_delivered() {
        return false;
    }
    request.give_to_driver(queue.handle());
    lock(&queue.state).delivered.push(request.handle());
    let client = &queue.object.client;
    let arguments = (queue.handle(), request.handle());
    synchronized(&queue.object, || client.call("EvtIoCanceledOnQueue", "", irql::current(), callback, arguments));
    debug_assert!(request.owner() != Owner::Framework);
    true
}
