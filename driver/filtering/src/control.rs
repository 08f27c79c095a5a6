//! Answers to I/O control requests, whichever driver model brought them.

use core::sync::atomic::Ordering;

use fwps::sys::NTSTATUS;
use postern_core::events::Reading;
use postern_core::request::{self, Source};
use postern_core::{Status, gate};
use postern_protocol::ioctl::{FlowEntry, HeldEntry, Verdict};

use crate::shared::{self, CALLOUT_IDS};

/// Answers the request `code` of the driver's device and returns how many bytes of `output` are the answer.
/// IRQL: at most DISPATCH_LEVEL.
pub fn control(code: u32, input: &[u8], output: &mut [u8]) -> Result<usize, NTSTATUS> {
    let Some(pass) = shared::gate().enter(shared::processor()) else {
        return Err(Status::DELETE_PENDING.0);
    };
    let answer = request::answer(code, input, output, &Driver);
    pass.leave(gate::DROPPED);
    match answer {
        Ok(Reading::Answer(length)) => Ok(length),
        // Requests cannot wait in this version, and none is told to.
        Ok(Reading::NothingYet) => Err(Status::NOT_SUPPORTED.0),
        Err(status) => Err(status.0),
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

    // This version counts no flows, holds no operations, and has no events.

    fn flow_places(&self) -> u32 {
        0
    }

    fn flows(&self, _place: u32) -> impl Iterator<Item = FlowEntry> {
        core::iter::empty()
    }

    fn each_held(&self, _show: impl FnMut(&HeldEntry)) {}

    fn answer(&self, _operation: u64, _verdict: Verdict) -> bool {
        false
    }

    fn application<R>(&self, _id: u32, _show: impl FnOnce(&[u8]) -> R) -> Option<R> {
        None
    }

    fn watch(&self, _from: u64, _output: &mut [u8]) -> Result<Reading, Status> {
        Err(Status::INVALID_DEVICE_REQUEST)
    }
}

const fn number(text: &str) -> u16 {
    match u16::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("a package version is made of numbers"),
    }
}
