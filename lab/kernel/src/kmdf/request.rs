//! `WDFREQUEST`: an IRP in the hands of the framework and the driver.

#![allow(non_snake_case, reason = "functions and fields have the names of wdfrequest.h")]

use std::sync::{Arc, Mutex};

use crate::export::{self, Export, exports};
use crate::inject;
use crate::irql::require_irql;
use crate::kernel::lock;
use crate::kmdf::client::Globals;
use crate::kmdf::device::Device;
use crate::kmdf::dispatch;
use crate::kmdf::file::File;
use crate::kmdf::object::{self, Body, New, Object, Ref, Typed, find, find_quiet};
use crate::kmdf::queue::{self, Queue};
use crate::kmdf::report::{WDF_REQUEST_FATAL_ERROR, broken, fatal, required};
use crate::kmdf::wdm;
use crate::nt::{DISPATCH_LEVEL, FileObject, Irp, Mdl, NtStatus};
use crate::ptr::{Ptr, field};
use crate::thread;

pub(super) const FUNCTIONS: &[Export] = exports![
    WdfRequestComplete,
    WdfRequestCompleteWithPriorityBoost,
    WdfRequestCompleteWithInformation,
    WdfRequestGetParameters,
    WdfRequestSetInformation,
    WdfRequestGetInformation,
    WdfRequestGetStatus,
    WdfRequestGetFileObject,
    WdfRequestGetRequestorMode,
    WdfRequestGetRequestorProcessId,
    WdfRequestIsFrom32BitProcess,
    WdfRequestIsReserved,
    WdfRequestForwardToIoQueue,
    WdfRequestRequeue,
    WdfRequestGetIoQueue,
    WdfRequestWdmGetIrp,
];

/// The process that every request comes from: the lab has one.
pub(super) const REQUESTOR: u32 = 4;

/// Who has a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    Framework,
    Queue(u64),
    Driver,
    Completed,
}

pub(super) struct State {
    owner: Owner,
    /// The queue that gave it to the driver; 0 for none.
    presented_by: u64,
    delivered: bool,
    /// `EvtRequestCancel` while the driver has marked it cancelable.
    pub cancel: u64,
    /// The driver has been told of the cancellation.
    pub cancel_called: bool,
    /// WDFMEMORY of the input and of the output, once they were asked for.
    pub memory: [u64; 2],
    /// MDLs that the framework made for buffered I/O.
    pub mdls: [Ptr<Mdl>; 2],
}

pub(super) struct Request {
    irp: Ptr<Irp>,
    pub device: u64,
    pub file: u64,
    pub major: u8,
    pub state: Mutex<State>,
}

impl Body for Request {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }

    fn destroy(&self) {
        for mdl in lock(&self.state).mdls.iter_mut().filter(|mdl| !mdl.is_null()) {
            wdm::free(mdl.cast());
            *mdl = Ptr::NULL;
        }
    }
}

impl Typed for Request {
    const TYPE: &'static str = "WDFREQUEST";
}

impl Request {
    pub fn irp(&self) -> Ptr<Irp> {
        self.irp
    }

    pub fn owner(&self) -> Owner {
        lock(&self.state).owner
    }

    pub fn presented_by(&self) -> u64 {
        lock(&self.state).presented_by
    }

    pub fn was_delivered(&self) -> bool {
        lock(&self.state).delivered
    }

    /// The driver has it now, from `queue`.
    pub fn give_to_driver(&self, queue: u64) {
        let mut state = lock(&self.state);
        state.owner = Owner::Driver;
        state.presented_by = queue;
        state.delivered |= queue != 0;
    }

    /// It waits in `queue` now; returns the queue that the driver had it from.
    pub fn queue_up(&self, queue: u64) -> u64 {
        let mut state = lock(&self.state);
        state.owner = Owner::Queue(queue);
        core::mem::take(&mut state.presented_by)
    }

    pub fn wdm_file(&self) -> Ptr<FileObject> {
        field!(wdm::location(self.irp), FileObject).read()
    }
}

/// Makes the request of an IRP.
pub(super) fn create(device: &Ref<Device>, irp: Ptr<Irp>, file: Option<&Ref<File>>) -> Ref<Request> {
    let request = New {
        client: device.object.client.clone(),
        parent: Some(device.object.clone()),
        callback_lock: None,
        passive_callbacks: false,
        contexts: device.init.requests.as_ref().map_or_else(Vec::new, |attributes| attributes.contexts()),
        body: Request {
            irp,
            device: device.handle(),
            file: file.map_or(0, Ref::handle),
            major: field!(wdm::location(irp), MajorFunction).read(),
            state: Mutex::new(State {
                owner: Owner::Framework,
                presented_by: 0,
                delivered: false,
                cancel: 0,
                cancel_called: false,
                memory: [0; 2],
                mdls: [Ptr::NULL; 2],
            }),
        },
    }
    .create();
    lock(&thread::current().kmdf.requests).insert(irp.address(), request.handle());
    request
}

/// The request of an IRP.
pub(super) fn of(irp: Ptr<Irp>) -> Option<Ref<Request>> {
    let handle = lock(&thread::current().kmdf.requests).get(&irp.address()).copied()?;
    find_quiet(handle)
}

/// A request that the driver has, which it must for almost everything.
pub(super) fn driver_owned(handle: u64) -> Ref<Request> {
    let request = find::<Request>(handle);
    let where_it_is = match request.owner() {
        Owner::Driver => return request,
        Owner::Completed => "has been completed",
        Owner::Queue(_) => "waits in a queue",
        Owner::Framework => "is not the driver's yet",
    };
    let name = export::current_name();
    fatal(WDF_REQUEST_FATAL_ERROR, handle, &format!("{name} was given the WDFREQUEST {handle:#x}, which {where_it_is}"))
}

/// Completes a request, whoever has it.
pub(super) fn complete(request: &Ref<Request>, status: NtStatus, information: u64) {
    let queue = {
        let mut state = lock(&request.state);
        state.owner = Owner::Completed;
        core::mem::take(&mut state.presented_by)
    };
    wdm::set_cancel_routine(request.irp, 0);
    if request.major == wdm::IRP_MJ_CREATE {
        dispatch::create_completed(request, status);
    }
    lock(&thread::current().kmdf.requests).remove(&request.irp.address());
    // EvtCleanupCallback may still look at the buffers, so it comes before the IRP goes.
    object::delete(&request.object);
    wdm::complete(request.irp, status, information);
    if let Some(queue) = find_quiet::<Queue>(queue) {
        queue::given_back(&queue, request.handle());
    }
}

/// Reports the requests of a device that its driver never completed, and ends them.
pub(super) fn report_unfinished(device: &Arc<Object>) {
    let requests: Vec<u64> = lock(&thread::current().kmdf.requests).values().copied().collect();
    for request in requests.into_iter().filter_map(find_quiet::<Request>) {
        if request.device != device.handle {
            continue;
        }
        broken(
            format!("{} was never completed, and its device is being deleted", request.object.describe()),
            "complete every request that a callback or a queue gave the driver",
        );
        lock(&thread::current().kmdf.requests).remove(&request.irp.address());
        wdm::set_cancel_routine(request.irp, 0);
        wdm::complete(request.irp, NtStatus::CANCELLED, 0);
    }
}

/// Most bytes that a request's completion may report.
fn most_information(request: &Request) -> Option<u64> {
    let location = wdm::location(request.irp).read();
    let (first, second) = (u64::from(location.OutputBufferLength as u32), u64::from(location.InputBufferLength as u32));
    match request.major {
        wdm::IRP_MJ_READ | wdm::IRP_MJ_WRITE => Some(first),
        // With direct and neither I/O the information may describe the input as well.
        wdm::IRP_MJ_DEVICE_CONTROL if location.IoControlCode & 3 == 0 => Some(first),
        wdm::IRP_MJ_DEVICE_CONTROL => Some(first.max(second)),
        _ => None,
    }
}

fn complete_for_driver(handle: u64, status: NtStatus, information: Option<u64>) {
    require_irql(DISPATCH_LEVEL);
    let request = driver_owned(handle);
    let name = export::current_name();
    if status == NtStatus::PENDING {
        broken(
            format!("{name} completed a request with STATUS_PENDING"),
            "complete it with its final status; until then just keep the request",
        );
    }
    if lock(&request.state).cancel != 0 && wdm::set_cancel_routine(request.irp, 0) != 0 {
        broken(
            format!("{name} completed a request that is still marked cancelable"),
            "call WdfRequestUnmarkCancelable first, and complete the request only if that returns success",
        );
    }
    let mut information = information.unwrap_or_else(|| field!(request.irp, IoStatus).read().Information);
    if let Some(most) = most_information(&request).filter(|most| information > *most) {
        broken(
            format!("{name} completed a request with Information {information}, but its buffer has {most} bytes"),
            "report no more bytes than the buffer has",
        );
        information = most;
    }
    complete(&request, status, information);
}

extern "win64" fn WdfRequestComplete(_globals: Ptr<Globals>, request: u64, status: NtStatus) {
    complete_for_driver(request, status, None);
}

extern "win64" fn WdfRequestCompleteWithPriorityBoost(
    _globals: Ptr<Globals>,
    request: u64,
    status: NtStatus,
    _boost: i8,
) {
    complete_for_driver(request, status, None);
}

extern "win64" fn WdfRequestCompleteWithInformation(
    _globals: Ptr<Globals>,
    request: u64,
    status: NtStatus,
    information: u64,
) {
    complete_for_driver(request, status, Some(information));
}

/// `WDF_REQUEST_PARAMETERS`; of the parameters, those of device control.
#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters {
    Size: u16,
    MinorFunction: u8,
    Type: u32,
    First: u64,
    Second: u64,
    Third: u64,
    Fourth: u64,
}

const _: () = assert!(size_of::<Parameters>() == 0x28);

/// Fills in a `WDF_REQUEST_PARAMETERS` whose size was checked.
pub(super) fn write_parameters(request: &Ref<Request>, parameters: Ptr<u8>) {
    let location = wdm::location(request.irp).read();
    // The lengths are ULONG in the IRP and size_t here; a create request's context is a pointer in both.
    let (mut first, mut second, mut third) =
        (location.OutputBufferLength, location.InputBufferLength, location.IoControlCode);
    if request.major != wdm::IRP_MJ_CREATE {
        (first, second) = (first & 0xFFFF_FFFF, second & 0xFFFF_FFFF);
    }
    if matches!(request.major, wdm::IRP_MJ_DEVICE_CONTROL | wdm::IRP_MJ_INTERNAL_DEVICE_CONTROL) {
        third &= 0xFFFF_FFFF;
    }
    parameters.cast().write(Parameters {
        Size: size_of::<Parameters>() as u16,
        MinorFunction: location.MinorFunction,
        Type: u32::from(request.major),
        First: first,
        Second: second,
        Third: third,
        Fourth: location.Type3InputBuffer.address(),
    });
}

extern "win64" fn WdfRequestGetParameters(_globals: Ptr<Globals>, request: u64, parameters: Ptr<Parameters>) {
    require_irql(DISPATCH_LEVEL);
    let request = find::<Request>(request);
    required(parameters, "Parameters");
    let size = field!(parameters, Size).read();
    if usize::from(size) != size_of::<Parameters>() {
        broken(
            format!("WDF_REQUEST_PARAMETERS.Size is {size}; the structure has {}", size_of::<Parameters>()),
            "initialise it with WDF_REQUEST_PARAMETERS_INIT",
        );
        return;
    }
    if request.owner() == Owner::Completed {
        driver_owned(request.handle());
    }
    write_parameters(&request, parameters.cast());
}

extern "win64" fn WdfRequestSetInformation(_globals: Ptr<Globals>, request: u64, information: u64) {
    require_irql(DISPATCH_LEVEL);
    let request = driver_owned(request);
    field!(request.irp, IoStatus.Information).write(information);
}

extern "win64" fn WdfRequestGetInformation(_globals: Ptr<Globals>, request: u64) -> u64 {
    require_irql(DISPATCH_LEVEL);
    field!(driver_owned(request).irp, IoStatus.Information).read()
}

extern "win64" fn WdfRequestGetStatus(_globals: Ptr<Globals>, request: u64) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    field!(driver_owned(request).irp, IoStatus.Status).read()
}

extern "win64" fn WdfRequestGetFileObject(_globals: Ptr<Globals>, request: u64) -> u64 {
    require_irql(DISPATCH_LEVEL);
    find::<Request>(request).file
}

extern "win64" fn WdfRequestGetRequestorMode(_globals: Ptr<Globals>, request: u64) -> i8 {
    require_irql(DISPATCH_LEVEL);
    field!(driver_owned(request).irp, RequestorMode).read()
}

extern "win64" fn WdfRequestGetRequestorProcessId(_globals: Ptr<Globals>, request: u64) -> u32 {
    driver_owned(request);
    REQUESTOR
}

extern "win64" fn WdfRequestIsFrom32BitProcess(_globals: Ptr<Globals>, request: u64) -> u8 {
    driver_owned(request);
    0
}

extern "win64" fn WdfRequestIsReserved(_globals: Ptr<Globals>, request: u64) -> u8 {
    find::<Request>(request);
    0
}

/// Refuses to move a request that is still marked cancelable.
fn not_cancelable(request: &Ref<Request>) -> bool {
    let fine = lock(&request.state).cancel == 0;
    if !fine {
        broken(
            format!("{} was given a request that is marked cancelable", export::current_name()),
            "call WdfRequestUnmarkCancelable first",
        );
    }
    fine
}

extern "win64" fn WdfRequestForwardToIoQueue(_globals: Ptr<Globals>, request: u64, queue: u64) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let request = driver_owned(request);
    let queue = find::<Queue>(queue);
    if !not_cancelable(&request) {
        return NtStatus::INVALID_DEVICE_REQUEST;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    queue::forward(&request, &queue)
}

extern "win64" fn WdfRequestRequeue(_globals: Ptr<Globals>, request: u64) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let request = driver_owned(request);
    if !not_cancelable(&request) {
        return NtStatus::INVALID_DEVICE_REQUEST;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    queue::requeue(&request)
}

extern "win64" fn WdfRequestGetIoQueue(_globals: Ptr<Globals>, request: u64) -> u64 {
    require_irql(DISPATCH_LEVEL);
    find::<Request>(request).presented_by()
}

extern "win64" fn WdfRequestWdmGetIrp(_globals: Ptr<Globals>, request: u64) -> Ptr<Irp> {
    require_irql(DISPATCH_LEVEL);
    find::<Request>(request).irp
}
