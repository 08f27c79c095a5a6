//! Injection: handles, clones, and the packets on their way.
//!
//! An injected packet is carried by a thread of the lab's: it passes the layers that injected packets pass (outbound from where it
//! was injected down, inbound up), then its completion function is called at DISPATCH_LEVEL. Packets injected into the forward path
//! are not classified (documentation page "Packet Injection Functions").

use core::ffi::c_void;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use fwps::sys::*;
use postern_engine::FwpError;

use super::pending::Resumed;
use super::{Owner, failure, owner};
use crate::call::{CallContext, call_image};
use crate::condition::{Condition, Until};
use crate::export::{self, Export, exports};
use crate::inject::faulted;
use crate::irql::require_irql;
use crate::kernel::{Kernel, lock, next_number};
use crate::ndis::{self, LabList};
use crate::nt::{DISPATCH_LEVEL, PASSIVE_LEVEL};
use crate::ptr::{Ptr, field};
use crate::report::{self, Finding, Kind};
use crate::thread;
use crate::traffic::injected::{self, Entry};

pub(crate) const EXPORTS: &[Export] = exports![
    FwpsInjectionHandleCreate0,
    FwpsInjectionHandleDestroy0,
    FwpsInjectNetworkSendAsync0,
    FwpsInjectNetworkReceiveAsync0,
    FwpsInjectTransportSendAsync0,
    FwpsInjectTransportSendAsync1,
    FwpsInjectTransportReceiveAsync0,
    FwpsInjectForwardAsync0,
    FwpsInjectMacSendAsync0,
    FwpsInjectMacReceiveAsync0,
    FwpsQueryPacketInjectionState0,
    FwpsAllocateCloneNetBufferList0,
    FwpsFreeCloneNetBufferList0,
    FwpsAllocateNetBufferAndNetBufferList0,
    FwpsFreeNetBufferList0,
    FwpsReferenceNetBufferList0,
    FwpsDereferenceNetBufferList0,
];

const ALL_TYPES: u32 = FWPS_INJECTION_TYPE_STREAM
    | FWPS_INJECTION_TYPE_TRANSPORT
    | FWPS_INJECTION_TYPE_NETWORK
    | FWPS_INJECTION_TYPE_FORWARD
    | FWPS_INJECTION_TYPE_L2
    | FWPS_INJECTION_TYPE_VSWITCH_TRANSPORT;

#[derive(Default)]
pub(crate) struct Injection {
    handles: Mutex<BTreeMap<u64, Arc<Handle>>>,
    queue: Mutex<Queue>,
    /// What has left and was not taken yet, oldest first.
    sent: Mutex<VecDeque<Sent>>,
    /// Signalled when a job has been queued.
    queued: Condition,
}

/// A packet that an image has sent by injection.
#[derive(Clone, Debug)]
pub struct Sent {
    /// From the IP header on; what was injected into the transport's send path begins with the transport header.
    pub bytes: Vec<u8>,
    /// The control data that it was sent with.
    pub control: Vec<u8>,
    /// With which handle and context it was injected.
    pub(crate) injection: (u64, u64),
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Whether a thread carries packets.
    running: bool,
    /// Whether it is at a job.
    busy: bool,
}

pub(crate) struct Handle {
    handle: u64,
    types: u32,
    owner: Owner,
    name: String,
    /// Injections whose completion function has not returned; `None` once the handle is being destroyed.
    state: Mutex<Outstanding>,
    completed: Condition,
}

#[derive(Default)]
struct Outstanding {
    count: u64,
    closing: bool,
}

/// Something for the lab's thread to do.
enum Job {
    Inject(Injected),
    Resume(Resumed),
}

struct Injected {
    handle: Arc<Handle>,
    entry: Entry,
    list: Ptr<NET_BUFFER_LIST>,
    /// What it is sent with, if it is injected into the transport's send path.
    arguments: Ptr<FWPS_TRANSPORT_SEND_PARAMS1>,
    completion: Ptr<()>,
    context: Ptr<c_void>,
}

impl Injection {
    /// Wakes whoever waits, to see that the lab has stopped.
    pub fn wake_all(&self) {
        self.queued.notify_all();
        for handle in lock(&self.handles).values() {
            drop(lock(&handle.state));
            handle.completed.notify_all();
        }
    }

    pub fn left_behind(&self, image: u64) -> Vec<String> {
        lock(&self.handles)
            .values()
            .filter(|handle| handle.owner.image == image)
            .map(|handle| format!("{} was not destroyed with FwpsInjectionHandleDestroy0", handle.name))
            .collect()
    }

    fn queue(&self, job: Job) {
        let mut queue = lock(&self.queue);
        queue.jobs.push_back(job);
        if queue.running {
            drop(queue);
            self.queued.notify_all();
            return;
        }
        queue.running = true;
        drop(queue);
        let kernel = thread::current().share();
        thread::spawn(&kernel.clone(), "lab injection", move || carry(&kernel)).expect("the system refuses a thread");
    }

    fn keep_sent(&self, packet: Sent) {
        /// Packets that are kept if nobody takes them.
        const MOST: usize = 1024;
        let mut sent = lock(&self.sent);
        if sent.len() == MOST {
            sent.pop_front();
        }
        sent.push_back(packet);
    }

    /// What images have sent since this was last asked.
    pub fn take_sent(&self) -> Vec<Sent> {
        core::mem::take(&mut *lock(&self.sent)).into()
    }

    /// Whether nothing waits to be carried or classified again.
    pub fn is_idle(&self) -> bool {
        let queue = lock(&self.queue);
        queue.jobs.is_empty() && !queue.busy
    }

    /// Classifies again what a callout had pended, and has now completed.
    pub fn resume(&self, resumed: Resumed) {
        self.queue(Job::Resume(resumed));
    }
}

/// What the lab's thread does until there has been nothing to do for a while. It ends then, so that an idle lab has no thread and can
/// be dropped.
fn carry(kernel: &Arc<Kernel>) {
    const IDLE: core::time::Duration = core::time::Duration::from_millis(200);
    let injection = &kernel.fwp.injection;
    let mut queue = lock(&injection.queue);
    let mut end = kernel.clock.now() + IDLE;
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            queue.busy = true;
            drop(queue);
            match job {
                Job::Inject(injected) => injected.carry(kernel),
                Job::Resume(resumed) => resumed.classify(kernel),
            }
            queue = lock(&injection.queue);
            queue.busy = false;
            end = kernel.clock.now() + IDLE;
            continue;
        }
        if kernel.clock.now() >= end {
            queue.running = false;
            return;
        }
        queue = injection.queued.wait(&injection.queue, queue, Until::Time(end), "packets to carry");
    }
}

impl Injected {
    /// The control data, which must last until the completion ("FWPS_TRANSPORT_SEND_PARAMS1 structure"): they are looked at as late as
    /// possible.
    fn control(&self) -> Vec<u8> {
        let Some(arguments) = self.arguments.non_null() else { return Vec::new() };
        let data: Ptr<u8> = Ptr::new(field!(arguments, controlData).read().cast());
        let length = field!(arguments, controlDataLength).read() as usize;
        (0..if data.is_null() { 0 } else { length }).map(|at| data.at(at).read()).collect()
    }

    fn carry(self, kernel: &Kernel) {
        let permitted = injected::classify(kernel, self.entry, self.list);
        if permitted && matches!(self.entry, Entry::NetworkSend | Entry::TransportSend) {
            kernel.fwp.injection.keep_sent(Sent {
                bytes: ndis::bytes_of(self.list, u32::MAX),
                control: self.control(),
                injection: LabList::of(self.list).map_or((0, 0), LabList::injection),
            });
        }
        let result = if permitted { STATUS_SUCCESS } else { STATUS_DATA_NOT_ACCEPTED };
        field!(self.list, Status).write(result);
        let context = CallContext { what: "the completion function", object: &self.handle.name, at: self.entry.name() };
        let dispatch_level = 1u8;
        // SAFETY: injected with this `FWPS_INJECT_COMPLETE0`; it is called once. In a stopped lab nothing is called.
        let _ = unsafe {
            call_image(
                &context,
                DISPATCH_LEVEL,
                self.completion.as_mut_ptr(),
                (self.context, self.list, dispatch_level),
            )
        };
        let mut state = lock(&self.handle.state);
        state.count -= 1;
        drop(state);
        self.handle.completed.notify_all();
    }
}

fn find(handle: u64) -> Option<Arc<Handle>> {
    let found = lock(&thread::current().fwp.injection.handles).get(&handle).cloned();
    if found.is_none() {
        report::violation(Finding {
            kind: Kind::Contract,
            what: format!("{} was given {handle:#x}, which is no injection handle", export::current_name()),
            remedy: "pass what FwpsInjectionHandleCreate0 returned, and not after it was destroyed".into(),
        });
    }
    found
}

extern "win64" fn FwpsInjectionHandleCreate0(family: u16, flags: u32, injection_handle: Ptr<u64>) -> NTSTATUS {
    if !require_irql(PASSIVE_LEVEL) {
        return STATUS_NOT_SUPPORTED;
    }
    if let Some(status) = faulted() {
        return status.0;
    }
    if injection_handle.is_null() {
        return failure(FwpError::NullPointer);
    }
    if !matches!(family, AF_UNSPEC | AF_INET | AF_INET6) || flags & !ALL_TYPES != 0 {
        return STATUS_INVALID_PARAMETER;
    }
    // No flags stand for three of the types.
    let types = match flags {
        0 => FWPS_INJECTION_TYPE_STREAM | FWPS_INJECTION_TYPE_TRANSPORT | FWPS_INJECTION_TYPE_FORWARD,
        flags => flags,
    };
    let owner = owner();
    let handle = next_number() << 4;
    let name = format!("injection handle {handle:#x} of driver {}", owner.driver);
    let value = Handle { handle, types, owner, name, state: Mutex::default(), completed: Condition::default() };
    injection_handle.write(handle);
    lock(&thread::current().fwp.injection.handles).insert(handle, Arc::new(value));
    STATUS_SUCCESS
}

/// Waits until every injection has completed.
extern "win64" fn FwpsInjectionHandleDestroy0(injection_handle: u64) -> NTSTATUS {
    if !require_irql(PASSIVE_LEVEL) {
        return STATUS_NOT_SUPPORTED;
    }
    if let Some(status) = faulted() {
        return status.0;
    }
    let Some(handle) = find(injection_handle) else { return STATUS_INVALID_HANDLE };
    let mut state = lock(&handle.state);
    state.closing = true;
    while state.count != 0 {
        state = handle.completed.wait(&handle.state, state, Until::Notified, "injections to complete");
        if thread::page().stopped() {
            drop(state);
            report::leave_if_stopped();
            return STATUS_UNSUCCESSFUL;
        }
    }
    drop(state);
    lock(&thread::current().fwp.injection.handles).remove(&injection_handle);
    STATUS_SUCCESS
}

/// What every injecting function does. After any other answer than success the completion function is not called, and the caller
/// frees the list.
pub(super) fn inject(
    injection_handle: u64,
    injection_context: Ptr<c_void>,
    entry: Entry,
    flags: u32,
    list: Ptr<NET_BUFFER_LIST>,
    completion: Ptr<()>,
    context: Ptr<c_void>,
) -> NTSTATUS {
    inject_with(injection_handle, injection_context, entry, flags, Ptr::NULL, list, completion, context)
}

#[expect(clippy::too_many_arguments, reason = "those of the functions that inject")]
fn inject_with(
    injection_handle: u64,
    injection_context: Ptr<c_void>,
    entry: Entry,
    flags: u32,
    arguments: Ptr<FWPS_TRANSPORT_SEND_PARAMS1>,
    list: Ptr<NET_BUFFER_LIST>,
    completion: Ptr<()>,
    context: Ptr<c_void>,
) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    let Some(handle) = find(injection_handle) else { return STATUS_INVALID_HANDLE };
    if flags != 0 || completion.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    if handle.types & entry.injection_type() == 0 {
        return failure(FwpError::InjectHandleStale);
    }
    let Some(lab_list) = LabList::of(list) else { return STATUS_INVALID_PARAMETER };
    {
        let mut state = lock(&handle.state);
        if state.closing {
            return failure(FwpError::InjectHandleClosing);
        }
        state.count += 1;
    }
    lab_list.set_injection(handle.handle, injection_context.address());
    let injected = Injected { handle, entry, list, arguments, completion, context };
    thread::current().fwp.injection.queue(Job::Inject(injected));
    STATUS_SUCCESS
}

extern "win64" fn FwpsInjectNetworkSendAsync0(
    handle: u64,
    injection_context: Ptr<c_void>,
    flags: u32,
    _compartment: u32,
    list: Ptr<NET_BUFFER_LIST>,
    completion: Ptr<()>,
    context: Ptr<c_void>,
) -> NTSTATUS {
    inject(handle, injection_context, Entry::NetworkSend, flags, list, completion, context)
}

extern "win64" fn FwpsInjectNetworkReceiveAsync0(
    handle: u64,
    injection_context: Ptr<c_void>,
    flags: u32,
    _compartment: u32,
    _interface: u32,
    _sub_interface: u32,
    list: Ptr<NET_BUFFER_LIST>,
    completion: Ptr<()>,
    context: Ptr<c_void>,
) -> NTSTATUS {
    inject(handle, injection_context, Entry::NetworkReceive, flags, list, completion, context)
}

extern "win64" fn FwpsInjectTransportSendAsync0(
    handle: u64,
    injection_context: Ptr<c_void>,
    endpoint: u64,
    flags: u32,
    arguments: Ptr<FWPS_TRANSPORT_SEND_PARAMS1>,
    family: u16,
    compartment: u32,
    list: Ptr<NET_BUFFER_LIST>,
    completion: Ptr<()>,
    context: Ptr<c_void>,
) -> NTSTATUS {
    FwpsInjectTransportSendAsync1(
        handle,
        injection_context,
        endpoint,
        flags,
        arguments,
        family,
        compartment,
        list,
        completion,
        context,
    )
}

extern "win64" fn FwpsInjectTransportSendAsync1(
    handle: u64,
    injection_context: Ptr<c_void>,
    _endpoint: u64,
    flags: u32,
    arguments: Ptr<FWPS_TRANSPORT_SEND_PARAMS1>,
    _family: u16,
    _compartment: u32,
    list: Ptr<NET_BUFFER_LIST>,
    completion: Ptr<()>,
    context: Ptr<c_void>,
) -> NTSTATUS {
    inject_with(handle, injection_context, Entry::TransportSend, flags, arguments, list, completion, context)
}

extern "win64" fn FwpsInjectTransportReceiveAsync0(
    handle: u64,
    injection_context: Ptr<c_void>,
    _reserved: Ptr<c_void>,
    flags: u32,
    _family: u16,
    _compartment: u32,
    _interface: u32,
    _sub_interface: u32,
    list: Ptr<NET_BUFFER_LIST>,
    completion: Ptr<()>,
    context: Ptr<c_void>,
) -> NTSTATUS {
    inject(handle, injection_context, Entry::TransportReceive, flags, list, completion, context)
}

extern "win64" fn FwpsInjectForwardAsync0(
    handle: u64,
    injection_context: Ptr<c_void>,
    flags: u32,
    _family: u16,
    _compartment: u32,
    _interface: u32,
    list: Ptr<NET_BUFFER_LIST>,
    completion: Ptr<()>,
    context: Ptr<c_void>,
) -> NTSTATUS {
    inject(handle, injection_context, Entry::Forward, flags, list, completion, context)
}

extern "win64" fn FwpsInjectMacSendAsync0(
    handle: u64,
    injection_context: Ptr<c_void>,
    flags: u32,
    _layer: u16,
    _interface: u32,
    _ndis_port: u32,
    lists: Ptr<NET_BUFFER_LIST>,
    completion: Ptr<()>,
    context: Ptr<c_void>,
) -> NTSTATUS {
    inject(handle, injection_context, Entry::Mac, flags, lists, completion, context)
}

extern "win64" fn FwpsInjectMacReceiveAsync0(
    handle: u64,
    injection_context: Ptr<c_void>,
    flags: u32,
    _layer: u16,
    _interface: u32,
    _ndis_port: u32,
    lists: Ptr<NET_BUFFER_LIST>,
    completion: Ptr<()>,
    context: Ptr<c_void>,
) -> NTSTATUS {
    inject(handle, injection_context, Entry::Mac, flags, lists, completion, context)
}

extern "win64" fn FwpsQueryPacketInjectionState0(
    injection_handle: u64,
    list: Ptr<NET_BUFFER_LIST>,
    injection_context: Ptr<u64>,
) -> FWPS_PACKET_INJECTION_STATE {
    require_irql(DISPATCH_LEVEL);
    let Some(list) = LabList::of(list) else { return FWPS_PACKET_NOT_INJECTED };
    match list.injection() {
        (0, _) => FWPS_PACKET_NOT_INJECTED,
        (by, context) if by == injection_handle => {
            injection_context.write_optional(context);
            FWPS_PACKET_INJECTED_BY_SELF
        }
        _ => FWPS_PACKET_INJECTED_BY_OTHER,
    }
}

extern "win64" fn FwpsAllocateCloneNetBufferList0(
    original: Ptr<NET_BUFFER_LIST>,
    list_pool: u64,
    _buffer_pool: u64,
    flags: u32,
    clone: Ptr<Ptr<NET_BUFFER_LIST>>,
) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    if clone.is_null() {
        return failure(FwpError::NullPointer);
    }
    match thread::current().fwp.ndis.clone_list(original, list_pool, flags) {
        Some(made) => {
            clone.write(made);
            STATUS_SUCCESS
        }
        None => STATUS_INVALID_PARAMETER,
    }
}

extern "win64" fn FwpsFreeCloneNetBufferList0(list: Ptr<NET_BUFFER_LIST>, _flags: u32) {
    require_irql(DISPATCH_LEVEL);
    thread::current().fwp.ndis.free_clone(list);
}

extern "win64" fn FwpsAllocateNetBufferAndNetBufferList0(
    pool: u64,
    context_size: u16,
    context_backfill: u16,
    mdl_chain: Ptr<MDL>,
    data_offset: u32,
    data_length: usize,
    list: Ptr<Ptr<NET_BUFFER_LIST>>,
) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    if pool == 0 || list.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    list.write(thread::current().fwp.ndis.new_list_with_buffer(
        pool,
        context_size.into(),
        context_backfill.into(),
        mdl_chain,
        data_offset,
        data_length as u32,
    ));
    STATUS_SUCCESS
}

extern "win64" fn FwpsFreeNetBufferList0(list: Ptr<NET_BUFFER_LIST>) {
    require_irql(DISPATCH_LEVEL);
    thread::current().fwp.ndis.free(list);
}

extern "win64" fn FwpsReferenceNetBufferList0(list: Ptr<NET_BUFFER_LIST>, _intend_to_modify: u8) {
    require_irql(DISPATCH_LEVEL);
    if let Some(list) = LabList::of(list) {
        list.reference();
    }
}

extern "win64" fn FwpsDereferenceNetBufferList0(list: Ptr<NET_BUFFER_LIST>, _dispatch_level: u8) {
    require_irql(DISPATCH_LEVEL);
    if let Some(list) = LabList::of(list)
        && !list.dereference()
    {
        report::violation(Finding {
            kind: Kind::Contract,
            what: "FwpsDereferenceNetBufferList0 was called without a reference".into(),
            remedy: "pair it with FwpsReferenceNetBufferList0".into(),
        });
    }
}
