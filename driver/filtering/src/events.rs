//! What happens, for those who watch.

use alloc::vec::Vec;

use fwps::incoming::{Metadata, Values};
use fwps::sys::NTSTATUS;
use postern_core::Status;
use postern_core::events::{Lease, Reading, Ring};
use postern_core::verdict::{Action, Answer};
use postern_protocol::ioctl::{Endpoints, Event, EventKind, FlowEntry, NO_CALLOUT, Traffic, Verdict};
use wdk_sys::STATUS_INSUFFICIENT_RESOURCES;

use crate::endpoints::Fields;
use crate::shared::ALLOCATIONS;
use crate::spin_lock::SpinLock;
use crate::{applications, clock, work};

/// Events that are kept for slow readers: 180 KiB of memory.
const PLACES: usize = 1024;

static LEASE: Lease = Lease::new();
static RING: SpinLock<Ring<Vec<Event>>> = SpinLock::new(Ring::new(Vec::new()));

const NOTHING: Event = Event {
    sequence: 0,
    time: 0,
    kind: 0,
    verdict: 0,
    callout: NO_CALLOUT,
    reserved: 0,
    filter_id: 0,
    subject: 0,
    endpoints: NOBODY,
    traffic: Traffic { packets: [0; 2], bytes: [0; 2], payload: [0; 2], first: 0, last: 0 },
};
const NOBODY: Endpoints = Endpoints {
    local_address: [0; 16],
    remote_address: [0; 16],
    local_port: 0,
    remote_port: 0,
    protocol: 0,
    ip_version: 0,
    inbound: 0,
    reserved: 0,
    application: 0,
    reserved2: 0,
    process_id: 0,
};

/// The ring's memory. Dropping it frees it; then nothing is recorded any more.
pub struct Memory(());

impl Memory {
    /// IRQL: PASSIVE_LEVEL.
    pub fn allocate() -> Result<Self, NTSTATUS> {
        let mut places = Vec::new();
        places.try_reserve_exact(PLACES).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        ALLOCATIONS.begin();
        places.resize(PLACES, NOTHING);
        *RING.lock() = Ring::new(places);
        Ok(Memory(()))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        *RING.lock() = Ring::new(Vec::new());
        ALLOCATIONS.end();
    }
}

/// Whether what happens now is to be recorded. IRQL: any.
#[inline(always)]
pub fn is_watched() -> bool {
    LEASE.is_watched(clock::interrupt_time())
}

fn record(event: Event) {
    RING.lock().push(Event { time: clock::system_time(), ..event });
    work::wake();
}

/// A callout has acted. The caller has asked [`is_watched`]. IRQL: at most DISPATCH_LEVEL.
#[cold]
pub fn verdict(
    callout: usize,
    answer: Answer,
    filter_id: u64,
    fields: &Fields,
    values: Values<'_>,
    metadata: Metadata<'_>,
) {
    if !answer.acted {
        return;
    }
    let mut endpoints = fields.endpoints(values, metadata);
    if let Some(path) = fields.application(values) {
        endpoints.application = applications::id(path);
    }
    record(Event {
        kind: EventKind::Verdict as u8,
        verdict: match answer.action {
            Some(Action::Permit) => Verdict::Permit as u8,
            Some(Action::Block) => Verdict::Block as u8,
            Some(Action::Continue) | None => 0,
        },
        callout: callout as u16,
        filter_id,
        endpoints,
        ..NOTHING
    });
}

/// A flow was established, or has ended. IRQL: at most DISPATCH_LEVEL.
pub fn flow(kind: EventKind, flow: &FlowEntry) {
    if !is_watched() {
        return;
    }
    record(Event {
        kind: kind as u8,
        subject: flow.flow,
        endpoints: flow.endpoints,
        traffic: clock::in_system_time(flow.traffic),
        ..NOTHING
    });
}

/// An operation is held, or was answered. IRQL: at most DISPATCH_LEVEL.
pub fn operation(
    kind: EventKind,
    operation: u64,
    verdict: Option<Verdict>,
    callout: u16,
    filter_id: u64,
    endpoints: Endpoints,
) {
    if !is_watched() {
        return;
    }
    record(Event {
        kind: kind as u8,
        verdict: verdict.map_or(0, |verdict| verdict as u8),
        callout,
        filter_id,
        subject: operation,
        endpoints,
        ..NOTHING
    });
}

/// Answers a reader at position `from`. IRQL: at most DISPATCH_LEVEL.
pub fn read(from: u64, output: &mut [u8]) -> Result<Reading, Status> {
    RING.lock().read(&LEASE, clock::interrupt_time(), from, output)
}

/// A request waits for events: until [`unpark`] they are recorded. IRQL: at most DISPATCH_LEVEL.
pub fn park() {
    RING.lock().park(&LEASE, clock::interrupt_time());
}

/// A request that waited has been taken out to be completed. IRQL: at most DISPATCH_LEVEL.
pub fn unpark() {
    RING.lock().unpark(&LEASE, clock::interrupt_time());
}
