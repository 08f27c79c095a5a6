//! Answers to I/O control requests, whichever driver model brought them.

use core::sync::atomic::Ordering;

use fwps::sys::NTSTATUS;
use postern_core::request::{self, Source};
use postern_core::{Status, gate};

use crate::events;
use crate::shared::{self, CALLOUT_IDS, PARKED};

/// What a request comes to.
pub enum Control {
    /// It is completed, with so many bytes of output.
    Done(Result<usize, NTSTATUS>),
    /// It waits until there is an event. The shell parks it and says so with [`parked`].
    Park,
}

/// Answers the request `code` of the driver's device. IRQL: at most DISPATCH_LEVEL.
pub fn control(code: u32, input: &[u8], output: &mut [u8]) -> Control {
    let Some(pass) = shared::gate().enter(shared::processor()) else {
        return Control::Done(Err(Status::DELETE_PENDING.0));
    };
    let answer = request::answer(code, input, output, &Driver).map_err(|status| status.0);
    pass.leave(gate::DROPPED);
    Control::Done(answer)
}

/// A shell has parked a request; the pendant of [`unparked`]. IRQL: at most DISPATCH_LEVEL.
pub fn parked() {
    PARKED.begin();
    events::parked();
}

/// A shell has taken a parked request out, to complete it. IRQL: at most DISPATCH_LEVEL.
pub fn unparked() {
    events::unparked();
    PARKED.end();
}

/// Answers a request that was parked, if there is an answer by now.
pub fn answer_parked(_input: &[u8], _output: &mut [u8]) -> Option<Result<usize, NTSTATUS>> {
    None
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
}

const fn number(text: &str) -> u16 {
    match u16::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("a package version is made of numbers"),
    }
}
