//! Answers to I/O control requests, whichever driver model brought them.

use core::sync::atomic::{AtomicU32, Ordering};

use fwps::sys::NTSTATUS;
use postern_core::events::Reading;
use postern_core::flows::Slots;
use postern_core::request::{self, Source};
use postern_core::{Status, gate};
use postern_protocol::ioctl::{self, FlowEntry, HeldEntry, Verdict};
use wdk_sys::STATUS_QUOTA_EXCEEDED;

use crate::flows::FLOWS;
use crate::shared::{self, CALLOUT_IDS, PARKED};
use crate::{applications, clock, events, hold, work};

/// What a request comes to.
pub enum Control {
    /// It is completed, with so many bytes of output.
    Done(Result<usize, NTSTATUS>),
    /// It waits until there is an event: [`park`], then the shell puts it into its queue, then [`parked`].
    Park,
}

/// Answers the request `code` of the driver's device. IRQL: at most DISPATCH_LEVEL.
pub fn control(code: u32, input: &[u8], output: &mut [u8]) -> Control {
    let Some(pass) = shared::gate().enter(shared::processor()) else {
        return Control::Done(Err(Status::DELETE_PENDING.0));
    };
    let answer = request::answer(code, input, output, &Driver);
    pass.leave(gate::DROPPED);
    match answer {
        Ok(Reading::Answer(length)) => Control::Done(Ok(length)),
        Ok(Reading::NothingYet) => Control::Park,
        Err(status) => Control::Done(Err(status.0)),
    }
}

/// Requests that wait now.
static WAITING: AtomicU32 = AtomicU32::new(0);

/// A shell is about to park a request, if there is room: from now on events are recorded for it. The pendant of [`unparked`].
/// IRQL: at most DISPATCH_LEVEL.
pub fn park() -> Result<(), NTSTATUS> {
    WAITING
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (waiting < ioctl::WATCHERS).then_some(waiting + 1)
        })
        .map_err(|_| STATUS_QUOTA_EXCEEDED)?;
    PARKED.begin();
    events::park();
    Ok(())
}

/// A shell has parked a request. IRQL: at most DISPATCH_LEVEL.
pub fn parked() {
    // An event may have come between the look at the ring and the parking.
    work::wake();
}

/// A shell has taken a parked request out, to complete it. IRQL: at most DISPATCH_LEVEL.
pub fn unparked() {
    events::unpark();
    PARKED.end();
    WAITING.fetch_sub(1, Ordering::Relaxed);
}

/// Answers a request that was parked, if there is an answer by now. IRQL: at most DISPATCH_LEVEL.
pub fn answer_parked(input: &[u8], output: &mut [u8]) -> Option<Result<usize, NTSTATUS>> {
    match request::watch(input, output, &Driver) {
        Ok(Reading::Answer(length)) => Some(Ok(length)),
        Ok(Reading::NothingYet) => None,
        Err(status) => Some(Err(status.0)),
    }
}

struct Driver;

impl Source for Driver {
    fn version(&self) -> [u16; 3] {
        const {
            [
                number(env!("CARGO_PKG_VERSION_MAJOR")),
                number(env!("CARGO_PKG_VERSION_MINOR")),
                number(env!("CARGO_PKG_VERSION_PATCH")),
            ]
        }
    }

    fn callout_id(&self, index: usize) -> u32 {
        CALLOUT_IDS.get(index).map_or(0, |id| id.load(Ordering::Relaxed))
    }

    fn classified(&self, index: usize) -> (u64, u64) {
        let gate = shared::gate();
        (gate.exits(shared::acted(index)), gate.exits(shared::passed_over(index)))
    }

    fn flow_places(&self) -> u32 {
        FLOWS.slots().places()
    }

    fn flows(&self, place: u32) -> impl Iterator<Item = FlowEntry> {
        FLOWS.entries(place).map(|flow| FlowEntry { traffic: clock::in_system_time(flow.traffic), ..flow })
    }

    fn held(&self, each: &mut dyn FnMut(HeldEntry)) {
        hold::waiting(each);
    }

    fn answer(&self, operation: u64, verdict: Verdict) -> bool {
        hold::answer(operation, verdict)
    }

    fn application(&self, id: u32, output: &mut [u8]) -> Option<Result<usize, usize>> {
        applications::path(id, output)
    }

    fn watch(&self, from: u64, output: &mut [u8]) -> Result<Reading, Status> {
        events::read(from, output)
    }
}

const fn number(text: &str) -> u16 {
    match u16::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("a package version is made of numbers"),
    }
}
