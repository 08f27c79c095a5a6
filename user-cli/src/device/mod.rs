//! The driver's device: the I/O control requests of `postern_protocol`.

mod view;

use std::cell::RefCell;
use std::collections::HashMap;

use postern_protocol::DEVICE_PATH;
use postern_protocol::ioctl::{
    ANSWER, AnswerRequest, ApplicationRequest, CalloutEntry, Event, FlowEntry, GET_APPLICATION, GET_STATISTICS,
    GET_VERSION, HeldEntry, LIST_CALLOUTS, LIST_FLOWS, LIST_HELD, ListHeader, ListRequest, StatisticsEntry, Verdict,
    Version, WATCH, WatchHeader, WatchRequest,
};
use serde::Serialize;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use view::{EndsView, EventView, FlowView, HeldView, event_kind, file_time_text, program};

use crate::failure::{Failure, Result};
use crate::status;
use crate::system::device::{Canceller, Handle};
use crate::system::{Address, driver};

/// What one callout of the driver has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CalloutStatistics {
    pub layer: String,
    pub role: String,
    /// Run-time id; zero while it is not registered.
    pub id: u32,
    pub acted: u64,
    pub passed_over: u64,
}

/// Room for an answer; the driver may send less.
const OUTPUT: usize = 64 << 10;

/// A handle to the driver's device. Dropping it closes it.
pub struct Device {
    handle: Handle,
    /// Paths of programs, by the driver's numbers.
    applications: RefCell<HashMap<u32, Option<String>>>,
}

/// Why the driver did not do what was asked.
#[derive(Debug)]
pub enum DeviceError {
    /// An `NTSTATUS`.
    Status(u32),
    Failed(Failure),
}

impl From<Failure> for DeviceError {
    fn from(failure: Failure) -> DeviceError {
        DeviceError::Failed(failure)
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Failure {
        match error {
            DeviceError::Failed(failure) => failure,
            DeviceError::Status(code) => {
                let failure = at_device(Failure::new(status::describe(code)));
                match code {
                    status::CANCELLED => failure.help("the lab or the driver has ended"),
                    status::QUOTA_EXCEEDED => failure.help("as many others watch already as the driver has room for"),
                    _ => failure,
                }
            }
        }
    }
}

/// Says where it failed.
pub fn at_device(failure: Failure) -> Failure {
    Failure { message: format!("{DEVICE_PATH}: {}", failure.message), ..failure }
}

impl Device {
    /// Opens the device; `command` is what others are told of who holds it.
    pub fn open(address: &Address, command: &str) -> Result<Device> {
        Device::try_open(address, command)?.map_err(|failure| *failure)
    }

    /// Opens the device if there is one; else says why there is not.
    pub fn try_open(address: &Address, command: &str) -> Result<Result<Device, Box<Failure>>> {
        match Handle::open(address, DEVICE_PATH, command) {
            Ok(handle) => Ok(Ok(Device { handle, applications: RefCell::default() })),
            Err(DeviceError::Status(code @ (status::NO_SUCH_DEVICE | status::OBJECT_NAME_NOT_FOUND))) => {
                let failure = at_device(Failure::new(status::describe(code)));
                Ok(Err(Box::new(match driver::stopping(address)? {
                    Some(service) => Failure {
                        message: format!(
                            "{}: driver {service} is stopping and lets nobody in any more",
                            failure.message
                        ),
                        ..failure
                    }
                    .help(format!("`postern driver status {service}` shows for whom it waits")),
                    None => {
                        Failure { message: format!("{}: the Postern driver is not loaded", failure.message), ..failure }
                            .help("load it with `postern driver load`")
                    }
                })))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it is the device of the driver of that service.
    pub fn is_of(&self, service: &str) -> bool {
        self.handle.is_of(service)
    }

    /// Ends what waits in the driver early.
    pub fn canceller(&self) -> Result<Canceller> {
        self.handle.canceller()
    }

    /// The driver's version.
    pub fn version(&self) -> Result<String> {
        let output = self.control(GET_VERSION, &[], size_of::<Version>())?;
        let version = Version::read_from_bytes(&output).map_err(|_| malformed("version"))?;
        Ok(format!("{}.{}.{}", version.driver_major, version.driver_minor, version.driver_patch))
    }

    /// What each callout has done since the driver was loaded.
    pub fn statistics(&self) -> Result<Vec<CalloutStatistics>> {
        let callouts: Vec<CalloutEntry> = self.list(LIST_CALLOUTS)?;
        let statistics: Vec<StatisticsEntry> = self.list(GET_STATISTICS)?;
        Ok(statistics
            .iter()
            .filter_map(|entry| {
                let listed = callouts.get(entry.callout as usize)?;
                let callout = listed.callout()?;
                Some(CalloutStatistics {
                    layer: callout.layer.name().to_owned(),
                    role: callout.role.name().to_owned(),
                    id: listed.id,
                    acted: entry.acted,
                    passed_over: entry.passed_over,
                })
            })
            .collect())
    }

    /// The flows that are counted now.
    pub fn flows(&self) -> Result<Vec<FlowEntry>> {
        let mut flows: Vec<FlowEntry> = Vec::new();
        loop {
            let first = flows.last().map_or(0, |flow| flow.place.saturating_add(1));
            let (_, piece) = self.piece::<FlowEntry>(LIST_FLOWS, first)?;
            if piece.is_empty() {
                return Ok(flows);
            }
            if piece[0].place < first || !piece.is_sorted_by_key(|flow| flow.place) {
                return Err(malformed("list of flows"));
            }
            flows.extend(piece);
        }
    }

    /// The operations that wait for an answer.
    pub fn held(&self) -> Result<Vec<HeldEntry>> {
        let mut held: Vec<HeldEntry> = self.list(LIST_HELD)?;
        // The list may have moved between two pieces.
        held.sort_by_key(|held| held.operation);
        held.dedup_by_key(|held| held.operation);
        Ok(held)
    }

    /// Answers for an operation; false if it does not wait any more.
    pub fn answer(&self, operation: u64, verdict: Verdict) -> Result<bool> {
        let request = AnswerRequest { protocol: postern_protocol::VERSION, verdict: verdict as u32, operation };
        match self.control(ANSWER, request.as_bytes(), 0) {
            Ok(_) => Ok(true),
            Err(DeviceError::Status(status::NOT_FOUND)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The path of a program.
    pub fn application(&self, application: u32) -> Result<Option<String>> {
        if application == 0 {
            return Ok(None);
        }
        if let Some(known) = self.applications.borrow().get(&application) {
            return Ok(known.clone());
        }
        let request = ApplicationRequest { protocol: postern_protocol::VERSION, application };
        let path = match self.control(GET_APPLICATION, request.as_bytes(), OUTPUT) {
            Ok(output) => Some(text(&output).ok_or_else(|| malformed("path"))?),
            Err(DeviceError::Status(status::NOT_FOUND)) => None,
            Err(error) => return Err(error.into()),
        };
        self.applications.borrow_mut().insert(application, path.clone());
        Ok(path)
    }

    /// Waits for events from `from` on. Ends without any if it was cancelled.
    pub fn watch(&self, from: u64) -> Result<Option<(WatchHeader, Vec<Event>)>> {
        let request = WatchRequest { protocol: postern_protocol::VERSION, reserved: 0, from };
        let output = self.handle.control_cancellable(WATCH, request.as_bytes(), OUTPUT)?;
        output.as_deref().map(events).transpose()
    }

    fn list<T: Entry>(&self, code: u32) -> Result<Vec<T>> {
        let mut entries = Vec::new();
        loop {
            let (header, piece) = self.piece(code, entries.len() as u32)?;
            let last = piece.is_empty();
            entries.extend(piece);
            if last || entries.len() >= header.total as usize {
                return Ok(entries);
            }
        }
    }

    fn piece<T: Entry>(&self, code: u32, first: u32) -> Result<(ListHeader, Vec<T>)> {
        let request = ListRequest { protocol: postern_protocol::VERSION, first };
        let output = self.control(code, request.as_bytes(), OUTPUT)?;
        let (header, rest) = ListHeader::read_from_prefix(&output).map_err(|_| malformed("list"))?;
        Ok((header, entries(rest, header.count, header.entry_size)?))
    }

    fn control(&self, code: u32, input: &[u8], output_length: usize) -> Result<Vec<u8>, DeviceError> {
        self.handle.control(code, input, output_length)
    }
}

/// A record of the protocol.
trait Entry: FromBytes + IntoBytes + Immutable + KnownLayout {}
impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Entry for T {}

/// Records of a driver that may know more of them than this program: then they are longer.
fn entries<T: Entry>(bytes: &[u8], count: u32, size: u32) -> Result<Vec<T>> {
    let (count, size) = (count as usize, size as usize);
    if count == 0 {
        return Ok(Vec::new());
    }
    if size < size_of::<T>() || bytes.len() < size.saturating_mul(count) {
        return Err(malformed("list"));
    }
    let read = |entry| T::read_from_prefix(entry).map(|(entry, _)| entry).map_err(|_| malformed("list"));
    bytes.chunks_exact(size).take(count).map(read).collect()
}

fn events(output: &[u8]) -> Result<(WatchHeader, Vec<Event>)> {
    let (header, rest) = WatchHeader::read_from_prefix(output).map_err(|_| malformed("list of events"))?;
    Ok((header, entries(rest, header.count, header.entry_size)?))
}

/// UTF-16 without a terminator.
fn text(bytes: &[u8]) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    rest.is_empty().then(|| String::from_utf16_lossy(&units))
}

fn malformed(what: &str) -> Failure {
    at_device(Failure::new(format!("the driver's answer is no {what}")))
        .help("driver and program must be of the same version")
}

#[cfg(test)]
mod tests {
    use postern_protocol::ioctl::EventKind;
    use zerocopy::FromZeros;

    use super::*;

    fn event(sequence: u64) -> Event {
        Event { sequence, kind: EventKind::Held as u8, ..Event::new_zeroed() }
    }

    fn answer(events: &[Event], entry_size: usize) -> Vec<u8> {
        let header = WatchHeader {
            next: 9,
            lost: 3,
            count: events.len() as u32,
            entry_size: entry_size as u32,
            lapsed: 1,
            reserved: 0,
        };
        let mut bytes = header.as_bytes().to_vec();
        for event in events {
            let mut entry = event.as_bytes().to_vec();
            entry.resize(entry_size, 0xee);
            bytes.extend(entry);
        }
        bytes
    }

    #[test]
    fn events_are_read_from_an_answer_with_what_was_lost() {
        let (header, read) = events(&answer(&[event(7), event(8)], size_of::<Event>())).unwrap();
        assert_eq!((header.next, header.lost, header.lapsed), (9, 3, 1));
        assert_eq!(read.iter().map(|event| event.sequence).collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn records_that_a_newer_driver_made_longer_are_read_as_far_as_known() {
        let (_, read) = events(&answer(&[event(7), event(8)], size_of::<Event>() + 24)).unwrap();
        assert_eq!(read, [event(7), event(8)]);
    }

    #[test]
    fn answers_that_are_cut_off_or_of_another_shape_are_refused() {
        let whole = answer(&[event(7)], size_of::<Event>());
        assert!(events(&whole[..whole.len() - 1]).is_err());
        assert!(events(&whole[..8]).is_err());
        assert!(events(&answer(&[event(7)], size_of::<Event>() - 8)).is_err());
    }

    #[test]
    fn a_path_is_text_without_a_terminator() {
        let bytes: Vec<u8> = r"\device\x.exe".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(text(&bytes).as_deref(), Some(r"\device\x.exe"));
        assert_eq!(text(&bytes[1..]), None);
    }
}
