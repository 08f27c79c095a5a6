//! The *hold* callouts: authorisations that wait for somebody's verdict ("Processing Classify Callouts Asynchronously").
//!
//! A connect that is completed is classified again, as a reauthorisation, which finds the verdict in the table. An accept that is
//! completed goes on with its packet: a permit injects it, and a block does not.

use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

use fwps::incoming::{Metadata, Values};
use fwps::injection::{Arrival, Departure};
use fwps::packet::{Packet, SendArguments};
use fwps::pending::PendedOperation;
use fwps::sys::*;
use postern_core::held::{Answered, Held, Key, Subject};
use postern_core::verdict::{self, Action, Answer, Question};
use postern_protocol::ioctl::{Endpoints, EventKind, HeldEntry, Verdict};
use postern_protocol::{Callout, FilterContext, Layer, Role};

use crate::clock::{SECOND, interrupt_time};
use crate::endpoints::Fields;
use crate::injection::{self, Way};
use crate::shared::Tally;
use crate::spin_lock::SpinLock;
use crate::timer::Timer;
use crate::{applications, events, work};

/// Operations that were put off, and completed.
pub static OPERATIONS: Tally = Tally::new();

/// How many operations can wait at once.
const CAPACITY: usize = 256;

static HELD: SpinLock<Held<Operation, CAPACITY>> = SpinLock::new(Held::new());

/// Places in the table that neither wait nor are reserved. A place is reserved before its operation is put off, because one that
/// was put off cannot be taken back.
static ROOM: AtomicUsize = AtomicUsize::new(CAPACITY);

/// Set to the earliest deadline; wakes the worker, which calls [`expire`].
pub static TIMER: Timer = Timer::new(work::wake);

/// An operation that waits, with its packet.
struct Operation {
    pended: PendedOperation,
    /// None for TCP connects, and for packets that cannot be copied, which their programs send again.
    packet: Option<(Packet, Way)>,
}

/// What the hold callout at `index` answers. IRQL: at most DISPATCH_LEVEL.
///
/// # Safety
///
/// `values`, `metadata` and `layer_data` are what the engine passed to a classifyFn of that callout's layer, which has not returned.
pub unsafe fn classify(
    index: usize,
    fields: &Fields,
    values: Values<'_>,
    metadata: Metadata<'_>,
    layer_data: *mut c_void,
    filter_id: u64,
    question: Question,
) -> Answer {
    let otherwise = verdict::in_service(Role::Hold, question);
    let Some(context) = FilterContext::from_raw(question.context) else { return otherwise };
    if !question.may_write {
        return otherwise;
    }
    let layer = Callout::at(index).layer;
    let mut endpoints = fields.endpoints(values, metadata);
    let transport_endpoint = metadata.transport_endpoint().unwrap_or_default();
    let key = Key::new(layer, &endpoints, transport_endpoint);
    if values.uint32(fields.flags).unwrap_or_default() & FWP_CONDITION_FLAG_IS_REAUTHORIZE != 0 {
        // Such a classify cannot be put off ("FwpsPendOperation0 function").
        let verdict = HELD.lock().verdict_of(&key);
        return verdict.map_or(otherwise, |verdict| decided(verdict, question));
    }
    // At these layers the data are a list of net buffers, or none.
    let list = layer_data.cast::<NET_BUFFER_LIST>();
    // SAFETY: the caller's promise.
    if unsafe { injection::is_ours(list, family(&endpoints)) } {
        return decided(Verdict::Permit, question);
    }
    // The next packet of the same operation, while its first waits: its sender sends it again.
    if HELD.lock().is_waiting(&key) {
        return PUT_OFF;
    }
    if let Some(path) = fields.application(values) {
        endpoints.application = applications::id(path);
    }
    let subject = Subject {
        callout: index as u16,
        filter_id,
        endpoints,
        transport_endpoint,
        deadline: interrupt_time() + u64::from(context.hold_seconds()) * SECOND,
        otherwise: match context.contains(FilterContext::OTHERWISE_PERMIT) {
            true => Verdict::Permit,
            false => Verdict::Block,
        },
    };
    // SAFETY: the caller's promise.
    match unsafe { put_off(layer, subject, values, metadata, list) } {
        true => PUT_OFF,
        false => otherwise,
    }
}

/// "FwpsPendOperation0 function": what classifyFn answers for an operation that it has put off.
const PUT_OFF: Answer =
    Answer { action: Some(Action::Block), clear_right: true, absorb: true, reject: false, acted: true };

fn decided(verdict: Verdict, question: Question) -> Answer {
    verdict::in_service(if verdict == Verdict::Permit { Role::Permit } else { Role::Block }, question)
}

/// Puts an operation off, if there is room and everything that is needed to let it go on.
///
/// # Safety
///
/// As [`classify`].
unsafe fn put_off(
    layer: Layer,
    subject: Subject,
    values: Values<'_>,
    metadata: Metadata<'_>,
    list: *mut NET_BUFFER_LIST,
) -> bool {
    let Some(completion_handle) = metadata.completion_handle() else { return false };
    if !reserve() {
        return false;
    }
    // The copy comes first: an accept that was put off without one would be lost.
    let packet = match layer {
        Layer::AleAuthRecvAcceptV4 | Layer::AleAuthRecvAcceptV6 => {
            // SAFETY: the caller's promise.
            match unsafe { copy_inbound(&subject.endpoints, values, metadata, list) } {
                Ok(packet) => Some(packet),
                Err(_) => {
                    give_back();
                    return false;
                }
            }
        }
        // SAFETY: the caller's promise.
        _ => unsafe { copy_outbound(&subject.endpoints, metadata, list) }.ok(),
    };
    // SAFETY: the caller's promise; the answer is `PUT_OFF`.
    let Ok(pended) = (unsafe { PendedOperation::pend(completion_handle) }) else {
        give_back();
        return false;
    };
    OPERATIONS.begin();
    let mut held = HELD.lock();
    match held.begin(layer, subject, Operation { pended, packet }) {
        Ok(id) => {
            arm(&held);
            drop(held);
            tell(EventKind::Held, id, None, &subject);
        }
        // There was room when it was reserved. A connect is answered in its reauthorisation; an accept's sender tries again.
        Err(operation) => {
            drop(held);
            operation.pended.complete(None);
            OPERATIONS.end();
            give_back();
        }
    }
    true
}

fn reserve() -> bool {
    ROOM.fetch_update(Ordering::AcqRel, Ordering::Acquire, |room| room.checked_sub(1)).is_ok()
}

fn give_back() {
    ROOM.fetch_add(1, Ordering::AcqRel);
}

/// # Safety
///
/// As [`classify`].
unsafe fn copy_inbound(
    endpoints: &Endpoints,
    values: Values<'_>,
    metadata: Metadata<'_>,
    list: *mut NET_BUFFER_LIST,
) -> Result<(Packet, Way), NTSTATUS> {
    // Both IP versions have them at the same places.
    const INTERFACE: u16 = FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_INTERFACE_INDEX;
    const SUB_INTERFACE: u16 = FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_SUB_INTERFACE_INDEX;
    let pool = injection::pool().ok_or(STATUS_DEVICE_NOT_READY)?;
    let ip_header = metadata.ip_header_size().ok_or(STATUS_NOT_FOUND)?;
    let headers = ip_header + metadata.transport_header_size().unwrap_or_default();
    let arrival = Arrival {
        family: family(endpoints),
        compartment: compartment(metadata),
        interface: values.uint32(INTERFACE).ok_or(STATUS_NOT_FOUND)?,
        sub_interface: values.uint32(SUB_INTERFACE).ok_or(STATUS_NOT_FOUND)?,
    };
    // SAFETY: the caller's promise; at this layer the data begin behind both headers.
    let packet = unsafe { Packet::copy_inbound(&pool, list, headers) }?;
    Ok((packet, Way::In(arrival)))
}

/// # Safety
///
/// As [`classify`].
unsafe fn copy_outbound(
    endpoints: &Endpoints,
    metadata: Metadata<'_>,
    list: *mut NET_BUFFER_LIST,
) -> Result<(Packet, Way), NTSTATUS> {
    // TCP has no packet yet when it connects, and a raw socket's brings headers of its own.
    if list.is_null() || metadata.has_included_header() {
        return Err(STATUS_NOT_FOUND);
    }
    let pool = injection::pool().ok_or(STATUS_DEVICE_NOT_READY)?;
    let departure = Departure {
        family: family(endpoints),
        compartment: compartment(metadata),
        endpoint: metadata.transport_endpoint().ok_or(STATUS_NOT_FOUND)?,
    };
    let arguments = SendArguments {
        remote_address: endpoints.remote_address,
        remote_scope: metadata.remote_scope().unwrap_or_default(),
        control: metadata.control_data(),
    };
    // SAFETY: the caller's promise.
    let packet = unsafe { Packet::copy_outbound(&pool, list, arguments) }?;
    Ok((packet, Way::Out(departure)))
}

const fn family(endpoints: &Endpoints) -> ADDRESS_FAMILY {
    if endpoints.ip_version == 4 { AF_INET } else { AF_INET6 }
}

/// `UNSPECIFIED_COMPARTMENT_ID` if the metadata have none ("FwpsInjectTransportReceiveAsync0 function").
fn compartment(metadata: Metadata<'_>) -> u32 {
    metadata.compartment().unwrap_or(0)
}

const _: () = {
    assert!(FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_INTERFACE_INDEX == FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V6_INTERFACE_INDEX);
    assert!(
        FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_SUB_INTERFACE_INDEX
            == FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V6_SUB_INTERFACE_INDEX
    );
};

/// Sets the timer to the earliest deadline. Called under the lock, so that the last one to set it knows the table best.
fn arm(held: &Held<Operation, CAPACITY>) {
    if let Some(deadline) = held.next_deadline() {
        TIMER.set(deadline.saturating_sub(interrupt_time()).max(1));
    }
}

/// Answers for an operation; false if it does not wait (any more). IRQL: at most DISPATCH_LEVEL, never from a classifyFn.
pub fn answer(id: u64, verdict: Verdict) -> bool {
    let answered = HELD.lock().answer(id, verdict);
    answered.map(complete).map(go_on).is_some()
}

/// Ends what nobody has answered in time. IRQL: at most DISPATCH_LEVEL, never from a classifyFn.
pub fn expire() {
    loop {
        let mut held = HELD.lock();
        let Some(answered) = held.expire(interrupt_time()) else {
            arm(&held);
            return;
        };
        drop(held);
        go_on(complete(answered));
    }
}

/// Ends everything that waits, each with its filter's own verdict. Their packets are freed: whoever leaves begins nothing, and their
/// senders send them again. With the gate closed and nobody inside, nothing waits afterwards and nothing is being completed.
/// IRQL: PASSIVE_LEVEL.
pub fn complete_all() {
    loop {
        // The lock is not held while an operation is completed.
        let answered = HELD.lock().drain();
        match answered {
            Some(answered) => drop(complete(answered)),
            None => return,
        }
    }
}

/// Tells `each` of what waits. IRQL: at most DISPATCH_LEVEL; `each` is called at DISPATCH_LEVEL.
pub fn waiting(each: impl FnMut(HeldEntry)) {
    HELD.lock().waiting(interrupt_time()).for_each(each);
}

/// Completes an operation, and returns its packet if it may go on its way.
fn complete(answered: Answered<Operation>) -> Option<(Packet, Way)> {
    let Answered { id, operation: Operation { pended, packet }, verdict, subject } = answered;
    let passed_on = match &packet {
        Some((packet, Way::In(_))) => Some(packet),
        _ => None,
    };
    pended.complete(passed_on);
    OPERATIONS.end();
    HELD.lock().completed(id);
    give_back();
    tell(EventKind::Answered, id, Some(verdict), &subject);
    packet.filter(|_| verdict == Verdict::Permit)
}

fn go_on(packet: Option<(Packet, Way)>) {
    if let Some((packet, way)) = packet {
        injection::inject(packet, way);
    }
}

fn tell(kind: EventKind, id: u64, verdict: Option<Verdict>, subject: &Subject) {
    events::operation(kind, id, verdict, subject.callout, subject.filter_id, subject.endpoints);
}
