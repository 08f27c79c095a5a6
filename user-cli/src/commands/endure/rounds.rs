//! One round after the other: the driver comes, is made to do all that it can, and leaves in the middle of it.

use std::time::Duration;

use postern_lab::{File, PendingIo};
use postern_protocol::ioctl::{self, AnswerRequest, HeldEntry, ListHeader, ListRequest, WatchHeader, WatchRequest};
use serde::Serialize;
use zerocopy::{FromBytes, IntoBytes};

use super::traffic::{Crowd, FLOWS, Pace};
use crate::driver::Unloaded;
use crate::failure::Result;
use crate::lab::host::Host;

/// Of so many rounds the first is a long one: it lasts until held operations run out of time, and tens of thousands of flows are alive.
const LONG: u32 = 100;
const LONG_TIME: Duration = Duration::from_millis(1100);

#[derive(Default)]
pub struct Rounds {
    /// Milliseconds.
    pub loads: Vec<f64>,
    pub unloads: Vec<f64>,
    pub clean: u32,
    pub complete_receipts: u32,
    pub happened: Happened,
}

/// What the rounds are for, as the driver's receipts tell.
#[derive(Default, Serialize)]
pub struct Happened {
    pub flows_alive: Tally,
    pub operations_answered: Tally,
    pub operations_timed_out: Tally,
    pub operations_left: Tally,
    pub packets_injected: Tally,
    pub requests_parked: Tally,
}

/// How often something happened, and in how many rounds.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Tally {
    pub times: u64,
    pub rounds: u32,
}

impl Tally {
    fn add(&mut self, times: u64) {
        self.times += times;
        self.rounds += u32::from(times != 0);
    }
}

impl Happened {
    pub fn all(&self) -> [(&'static str, Tally); 6] {
        [
            ("flows alive at the unload", self.flows_alive),
            ("held operations answered", self.operations_answered),
            ("held operations that ran out of time", self.operations_timed_out),
            ("held operations left to the unload", self.operations_left),
            ("packets injected", self.packets_injected),
            ("watch requests parked", self.requests_parked),
        ]
    }

    /// `answered`: how many operations this program has answered.
    fn add(&mut self, unloaded: &Unloaded, answered: u64) {
        let left = unloaded.in_flight("operations");
        let pended = unloaded.begun("operations");
        self.flows_alive.add(unloaded.in_flight("flows"));
        self.operations_answered.add(answered);
        self.operations_timed_out.add(pended.saturating_sub(answered + left));
        self.operations_left.add(left);
        self.packets_injected.add(unloaded.begun("packets"));
        self.requests_parked.add(unloaded.begun("requests"));
    }
}

impl Rounds {
    pub fn run(&mut self, host: &Host, service: &str, image: &[u8], crowd: &Crowd, round: u32) -> Result<()> {
        let long = round.is_multiple_of(LONG);
        crowd.set_pace(if long { Pace::Flood } else { Pace::Steady });
        let driver = host.load(service, image)?;
        self.loads.extend(driver.load_milliseconds);
        crowd.wait_for(FLOWS);
        if long {
            std::thread::sleep(LONG_TIME);
        }
        let answered = watch_and_answer(host);
        let unloaded = host.unload(service)?;
        self.clean += u32::from(unloaded.is_clean());
        self.complete_receipts += u32::from(unloaded.has_complete_receipt());
        self.happened.add(&unloaded, answered);
        self.unloads.push(unloaded.milliseconds);
        Ok(())
    }
}

const VERSION: u32 = postern_protocol::VERSION;

/// Watchers come, most of the operations that wait are answered, and the watchers go: one whose request was answered, and one whose
/// request waits if no event has come. Returns how many operations were answered; another driver has no such device.
fn watch_and_answer(host: &Host) -> u64 {
    const SOON: Duration = Duration::from_millis(100);
    let Some(device) = host.open_device() else { return 0 };
    let watchers = [host.open_device(), host.open_device()];
    let [first, second] = watchers.each_ref().map(|watcher| watcher.as_ref().and_then(park));
    let answered = answer_most(&device);
    if let Some(first) = first {
        // An event comes with the next connection; else the request is cancelled.
        drop(first.wait_for(SOON));
    }
    drop(watchers);
    drop(second);
    answered
}

/// Watches until a request waits for events. Traffic makes them all the time, so it may take a few.
fn park(watcher: &File) -> Option<PendingIo> {
    /// Room for all events that the driver keeps.
    const OUTPUT: usize = 192 << 10;
    const AT_MOST: usize = 1000;
    let mut request = WatchRequest { protocol: VERSION, reserved: 0, from: ioctl::WATCH_FROM_NOW };
    for _ in 0..AT_MOST {
        let sent = watcher.begin_device_io_control(ioctl::WATCH, request.as_bytes(), OUTPUT).ok()?;
        match sent.wait_for(Duration::ZERO) {
            Err(waits) => return Some(waits),
            Ok(answer) => request.from = WatchHeader::read_from_prefix(&answer.ok()?).ok()?.0.next,
        }
    }
    None
}

/// Answers two of three operations that wait, half of them with a permit. Returns how many were.
fn answer_most(device: &File) -> u64 {
    const OUTPUT: usize = 64 << 10;
    let list = ListRequest { protocol: VERSION, first: 0 };
    let held = device.device_io_control(ioctl::LIST_HELD, list.as_bytes(), OUTPUT).unwrap_or_default();
    let entries = ListHeader::read_from_prefix(&held).map_or(&[][..], |(_, entries)| entries);
    let mut answered = 0;
    for (number, entry) in entries.chunks_exact(size_of::<HeldEntry>()).enumerate() {
        let Ok(entry) = HeldEntry::read_from_bytes(entry) else { continue };
        if number.is_multiple_of(3) {
            continue;
        }
        // Connects and accepts take turns.
        let verdict = if (number / 2).is_multiple_of(2) { ioctl::Verdict::Permit } else { ioctl::Verdict::Block };
        let answer = AnswerRequest { protocol: VERSION, verdict: verdict as u32, operation: entry.operation };
        answered += u64::from(device.device_io_control(ioctl::ANSWER, answer.as_bytes(), 0).is_ok());
    }
    answered
}
