//! Answers to I/O control requests. Every length and every field of a request is checked here.

use postern_protocol::callout::{CALLOUTS, COUNT};
use postern_protocol::ioctl::{
    self, AnswerRequest, ApplicationRequest, CalloutEntry, FlowEntry, HeldEntry, ListHeader, ListRequest,
    StatisticsEntry, Verdict, Version, WatchRequest,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Status;
use crate::events::Reading;

/// Length of the longest input that a request has.
pub const LONGEST_INPUT: usize = {
    let mut longest = size_of::<ListRequest>();
    let others = [size_of::<AnswerRequest>(), size_of::<ApplicationRequest>(), size_of::<WatchRequest>()];
    let mut index = 0;
    while index < others.len() {
        if others[index] > longest {
            longest = others[index];
        }
        index += 1;
    }
    longest
};

/// What requests may ask for.
pub trait Source {
    /// Version of the driver: major, minor, patch.
    fn version(&self) -> [u16; 3];
    /// Run-time id of a callout, or zero.
    fn callout_id(&self, index: usize) -> u32;
    /// How often a callout acted, and how often it was passed over.
    fn classified(&self, index: usize) -> (u64, u64);
    /// A number that the places of all flows are below.
    fn flow_places(&self) -> u32;
    /// The flows from `place` on.
    fn flows(&self, place: u32) -> impl Iterator<Item = FlowEntry>;
    /// Tells `each` of the operations that wait.
    fn held(&self, each: &mut dyn FnMut(HeldEntry));
    /// Answers for an operation; false if it does not wait (any more).
    fn answer(&self, operation: u64, verdict: Verdict) -> bool;
    /// Copies a program's path to the beginning of `output` and returns its length, or the length that is needed; `None` if there is no
    /// such program.
    fn application(&self, id: u32, output: &mut [u8]) -> Option<Result<usize, usize>>;
    /// Reads events: [`crate::events::Ring::read`].
    fn watch(&self, from: u64, output: &mut [u8]) -> Result<Reading, Status>;
}

/// Answers the request `code`, with so many bytes at the beginning of `output`, or not yet.
///
/// With `METHOD_BUFFERED` input and output share one buffer, so the input is copied before anything is written; the caller
/// passes it as a slice of its own.
pub fn answer(code: u32, input: &[u8], output: &mut [u8], source: &impl Source) -> Result<Reading, Status> {
    let length = match code {
        ioctl::GET_VERSION => {
            if !input.is_empty() {
                return Err(Status::INVALID_PARAMETER);
            }
            let [driver_major, driver_minor, driver_patch] = source.version();
            let version =
                Version { protocol: postern_protocol::VERSION, driver_major, driver_minor, driver_patch, reserved: 0 };
            put(output, 0, &version)
        }
        ioctl::LIST_CALLOUTS => list(input, output, |index| {
            let callout = CALLOUTS[index];
            CalloutEntry {
                key: ioctl::guid_bytes(callout.key()),
                id: source.callout_id(index),
                layer: callout.layer.id(),
                role: callout.role as u8,
                reserved: 0,
            }
        }),
        ioctl::GET_STATISTICS => list(input, output, |index| {
            let (acted, passed_over) = source.classified(index);
            StatisticsEntry { callout: index as u32, reserved: 0, acted, passed_over }
        }),
        ioctl::LIST_FLOWS => list_flows(input, output, source),
        ioctl::LIST_HELD => list_held(input, output, source),
        ioctl::ANSWER => {
            let request: AnswerRequest = read(input)?;
            let verdict = match request.verdict {
                1 => Verdict::Permit,
                2 => Verdict::Block,
                _ => return Err(Status::INVALID_PARAMETER),
            };
            if source.answer(request.operation, verdict) { Ok(0) } else { Err(Status::NOT_FOUND) }
        }
        ioctl::GET_APPLICATION => {
            let request: ApplicationRequest = read(input)?;
            match source.application(request.application, output) {
                Some(Ok(length)) => Ok(length),
                Some(Err(_)) => Err(Status::BUFFER_TOO_SMALL),
                None => Err(Status::NOT_FOUND),
            }
        }
        ioctl::WATCH => return watch(input, output, source),
        _ => Err(Status::INVALID_DEVICE_REQUEST),
    };
    length.map(Reading::Answer)
}

/// Answers a [`ioctl::WATCH`] request, as [`answer`] does; once more, if it had to wait.
pub fn watch(input: &[u8], output: &mut [u8], source: &impl Source) -> Result<Reading, Status> {
    let request: WatchRequest = read(input)?;
    if request.reserved != 0 {
        return Err(Status::INVALID_PARAMETER);
    }
    source.watch(request.from, output)
}

/// A request that begins with the caller's version.
fn read<R: FromBytes>(input: &[u8]) -> Result<R, Status> {
    let request = R::read_from_bytes(input).map_err(|_| Status::INVALID_PARAMETER)?;
    let protocol = u32::read_from_prefix(input).map_or(0, |(protocol, _)| protocol);
    if protocol >> 16 != postern_protocol::VERSION >> 16 {
        return Err(Status::REVISION_MISMATCH);
    }
    Ok(request)
}

/// How many entries fit behind a list's header; at least one must.
fn room_for<E>(output: &[u8]) -> Result<usize, Status> {
    match output.len().checked_sub(size_of::<ListHeader>()).map(|room| room / size_of::<E>()) {
        None | Some(0) => Err(Status::BUFFER_TOO_SMALL),
        Some(entries) => Ok(entries),
    }
}

/// Answers with as many of the callouts' entries as fit, from the one that the request names.
fn list<E: IntoBytes + Immutable>(
    input: &[u8],
    output: &mut [u8],
    entry: impl Fn(usize) -> E,
) -> Result<usize, Status> {
    let request: ListRequest = read(input)?;
    let first = request.first as usize;
    if first > COUNT {
        return Err(Status::INVALID_PARAMETER);
    }
    if first == COUNT {
        return finish::<E>(output, COUNT, first, 0);
    }
    let count = (COUNT - first).min(room_for::<E>(output)?);
    let mut length = size_of::<ListHeader>();
    for index in first..first + count {
        length = put(output, length, &entry(index))?;
    }
    finish::<E>(output, COUNT, first, count)
}

/// Flows come and go, so a place beyond the table is no mistake.
fn list_flows(input: &[u8], output: &mut [u8], source: &impl Source) -> Result<usize, Status> {
    let request: ListRequest = read(input)?;
    let room = room_for::<FlowEntry>(output)?;
    let mut count = 0;
    let mut length = size_of::<ListHeader>();
    for flow in source.flows(request.first).take(room) {
        length = put(output, length, &flow)?;
        count += 1;
    }
    finish::<FlowEntry>(output, source.flow_places() as usize, request.first as usize, count)
}

fn list_held(input: &[u8], output: &mut [u8], source: &impl Source) -> Result<usize, Status> {
    let request: ListRequest = read(input)?;
    let first = request.first as usize;
    let room = room_for::<HeldEntry>(output)?;
    let (mut total, mut count) = (0, 0);
    let mut length = Ok(size_of::<ListHeader>());
    source.held(&mut |held| {
        if total >= first && count < room {
            length = length.and_then(|length| put(output, length, &held));
            count += 1;
        }
        total += 1;
    });
    length?;
    finish::<HeldEntry>(output, total, first, count)
}

/// Puts the header in front of a list's entries, and returns the length of both.
fn finish<E>(output: &mut [u8], total: usize, first: usize, count: usize) -> Result<usize, Status> {
    let header =
        ListHeader { total: total as u32, first: first as u32, count: count as u32, entry_size: size_of::<E>() as u32 };
    Ok(put(output, 0, &header)? + count * size_of::<E>())
}

/// Writes a value at an offset and returns the offset after it.
fn put<T: IntoBytes + Immutable>(output: &mut [u8], offset: usize, value: &T) -> Result<usize, Status> {
    let end = offset + size_of::<T>();
    let place = output.get_mut(offset..end).ok_or(Status::BUFFER_TOO_SMALL)?;
    place.copy_from_slice(value.as_bytes());
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    struct Numbers;

    impl Source for Numbers {
        fn version(&self) -> [u16; 3] {
            [1, 2, 3]
        }
        fn callout_id(&self, index: usize) -> u32 {
            258 + index as u32
        }
        fn classified(&self, index: usize) -> (u64, u64) {
            (index as u64 * 10, index as u64)
        }
        fn flow_places(&self) -> u32 {
            100
        }
        fn flows(&self, place: u32) -> impl Iterator<Item = FlowEntry> {
            [3, 7, 50].into_iter().filter(move |at| *at >= place).map(|at| FlowEntry {
                flow: u64::from(at) * 11,
                place: at,
                ..FlowEntry::default()
            })
        }
        fn held(&self, each: &mut dyn FnMut(HeldEntry)) {
            for operation in 1..=3 {
                each(HeldEntry {
                    operation,
                    filter_id: 70_000,
                    remaining_ms: 1000,
                    otherwise: Verdict::Block as u8,
                    reserved: [0; 3],
                    endpoints: Default::default(),
                });
            }
        }
        fn answer(&self, operation: u64, verdict: Verdict) -> bool {
            operation == 2 && verdict == Verdict::Permit
        }
        fn application(&self, id: u32, output: &mut [u8]) -> Option<Result<usize, usize>> {
            let path = b"S\0y\0s\0";
            (id == 1).then(|| match output.get_mut(..path.len()) {
                Some(place) => {
                    place.copy_from_slice(path);
                    Ok(path.len())
                }
                None => Err(path.len()),
            })
        }
        fn watch(&self, from: u64, _output: &mut [u8]) -> Result<Reading, Status> {
            if from == 9 { Ok(Reading::NothingYet) } else { Ok(Reading::Answer(0)) }
        }
    }

    fn ask(code: u32, input: &[u8], room: usize) -> Result<Vec<u8>, Status> {
        let mut output = vec![0xEE; room];
        let Reading::Answer(length) = answer(code, input, &mut output, &Numbers)? else {
            panic!("the request waits");
        };
        assert!(output[length..].iter().all(|byte| *byte == 0xEE), "wrote beyond what it said");
        output.truncate(length);
        Ok(output)
    }

    fn request(protocol: u32, first: u32) -> Vec<u8> {
        ListRequest { protocol, first }.as_bytes().to_vec()
    }

    fn entries<E: FromBytes>(answer: &[u8]) -> (ListHeader, Vec<E>) {
        let (header, rest) = ListHeader::read_from_prefix(answer).unwrap();
        let entries =
            rest.chunks_exact(size_of::<E>()).map(|bytes| E::read_from_bytes(bytes).unwrap_or_else(|_| panic!()));
        (header, entries.collect())
    }

    #[test]
    fn the_version_is_told_to_anybody() {
        let answer = ask(ioctl::GET_VERSION, &[], 64).unwrap();
        let version = Version::read_from_bytes(&answer).unwrap();
        assert_eq!((version.driver_major, version.driver_minor, version.driver_patch), (1, 2, 3));
        assert_eq!(version.protocol, postern_protocol::VERSION);
    }

    #[test]
    fn a_list_is_read_in_pieces_of_any_size() {
        for room in 1..=COUNT {
            let bytes = size_of::<ListHeader>() + room * size_of::<CalloutEntry>() + 3;
            let mut ids = Vec::new();
            while ids.len() < COUNT {
                let answer =
                    ask(ioctl::LIST_CALLOUTS, &request(postern_protocol::VERSION, ids.len() as u32), bytes).unwrap();
                let (header, page) = entries::<CalloutEntry>(&answer);
                assert_eq!((header.total as usize, header.first as usize), (COUNT, ids.len()));
                assert_eq!(header.count as usize, page.len());
                ids.extend(page.iter().map(|entry| entry.id));
            }
            assert_eq!(ids, (258..258 + COUNT as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn statistics_come_with_the_index_of_their_callout() {
        let answer = ask(ioctl::GET_STATISTICS, &request(postern_protocol::VERSION, 30), 4096).unwrap();
        let (_, page) = entries::<StatisticsEntry>(&answer);
        assert_eq!(page[0].callout, 30);
        assert_eq!((page[1].acted, page[1].passed_over), (310, 31));
    }

    #[test]
    fn reading_from_the_end_yields_an_empty_page() {
        let answer = ask(ioctl::LIST_CALLOUTS, &request(postern_protocol::VERSION, COUNT as u32), 16).unwrap();
        assert_eq!(entries::<CalloutEntry>(&answer).0.count, 0);
    }

    #[test]
    fn malformed_requests_are_refused() {
        let fine = request(postern_protocol::VERSION, 0);
        let beyond = request(postern_protocol::VERSION, COUNT as u32 + 1);
        let huge = request(postern_protocol::VERSION, u32::MAX);
        let other_major = request(postern_protocol::version(2, 0), 0);
        let refusals: [(u32, &[u8], usize, Status); 10] = [
            (ioctl::GET_VERSION, &[0], 64, Status::INVALID_PARAMETER),
            (ioctl::GET_VERSION, &[], size_of::<Version>() - 1, Status::BUFFER_TOO_SMALL),
            (ioctl::LIST_CALLOUTS, &[], 4096, Status::INVALID_PARAMETER),
            (ioctl::LIST_CALLOUTS, &fine[..7], 4096, Status::INVALID_PARAMETER),
            (ioctl::LIST_CALLOUTS, &beyond, 4096, Status::INVALID_PARAMETER),
            (ioctl::LIST_CALLOUTS, &huge, 4096, Status::INVALID_PARAMETER),
            (ioctl::LIST_CALLOUTS, &other_major, 4096, Status::REVISION_MISMATCH),
            (ioctl::LIST_CALLOUTS, &fine, 0, Status::BUFFER_TOO_SMALL),
            (ioctl::LIST_CALLOUTS, &fine, size_of::<ListHeader>() + 1, Status::BUFFER_TOO_SMALL),
            (0, &fine, 4096, Status::INVALID_DEVICE_REQUEST),
        ];
        for (code, input, room, status) in refusals {
            assert_eq!(ask(code, input, room), Err(status), "{code:#x} {input:?} {room}");
        }
        let long = [fine.as_slice(), &[0]].concat();
        assert_eq!(ask(ioctl::GET_STATISTICS, &long, 4096), Err(Status::INVALID_PARAMETER));
    }

    const OURS: u32 = postern_protocol::VERSION;

    #[test]
    fn flows_are_listed_from_a_place_on_as_many_as_fit() {
        let room = size_of::<ListHeader>() + 2 * size_of::<FlowEntry>() + 5;
        let places = |first| {
            let answer = ask(ioctl::LIST_FLOWS, &request(OURS, first), room).unwrap();
            let (header, flows) = entries::<FlowEntry>(&answer);
            assert_eq!((header.total, header.first, header.count as usize), (100, first, flows.len()));
            flows.iter().map(|flow| flow.place).collect::<Vec<_>>()
        };
        assert_eq!(places(0), [3, 7]);
        assert_eq!(places(8), [50]);
        assert!(places(51).is_empty());
        assert!(places(u32::MAX).is_empty());
    }

    #[test]
    fn held_operations_are_listed_in_pieces() {
        let room = size_of::<ListHeader>() + 2 * size_of::<HeldEntry>();
        let operations = |first| {
            let answer = ask(ioctl::LIST_HELD, &request(OURS, first), room).unwrap();
            let (header, held) = entries::<HeldEntry>(&answer);
            assert_eq!((header.total, header.first, header.count as usize), (3, first, held.len()));
            held.iter().map(|held| held.operation).collect::<Vec<_>>()
        };
        assert_eq!(operations(0), [1, 2]);
        assert_eq!(operations(2), [3]);
        assert!(operations(9).is_empty());
    }

    #[test]
    fn an_answer_names_an_operation_that_waits_and_a_verdict() {
        let say = |operation, verdict| {
            let request = AnswerRequest { protocol: OURS, verdict, operation };
            ask(ioctl::ANSWER, request.as_bytes(), 0)
        };
        assert_eq!(say(2, Verdict::Permit as u32), Ok(Vec::new()));
        assert_eq!(say(3, Verdict::Permit as u32), Err(Status::NOT_FOUND));
        for verdict in [0, 3, u32::MAX] {
            assert_eq!(say(2, verdict), Err(Status::INVALID_PARAMETER));
        }
    }

    #[test]
    fn a_program_is_told_by_its_number() {
        let say = |application, room| {
            let request = ApplicationRequest { protocol: OURS, application };
            ask(ioctl::GET_APPLICATION, request.as_bytes(), room)
        };
        assert_eq!(say(1, 64).unwrap(), b"S\0y\0s\0");
        assert_eq!(say(1, 5), Err(Status::BUFFER_TOO_SMALL));
        assert_eq!(say(2, 64), Err(Status::NOT_FOUND));
    }

    #[test]
    fn a_watcher_waits_until_there_is_an_event() {
        let say = |reserved, from| {
            let request = WatchRequest { protocol: OURS, reserved, from };
            answer(ioctl::WATCH, request.as_bytes(), &mut [0; 64], &Numbers)
        };
        assert_eq!(say(0, 9), Ok(Reading::NothingYet));
        assert_eq!(say(0, 8), Ok(Reading::Answer(0)));
        assert_eq!(say(1, 9), Err(Status::INVALID_PARAMETER));
    }

    #[test]
    fn every_request_checks_its_length_and_the_version() {
        let answer = AnswerRequest { protocol: OURS, verdict: 1, operation: 2 };
        let application = ApplicationRequest { protocol: OURS, application: 1 };
        let watch = WatchRequest { protocol: OURS, reserved: 0, from: 8 };
        let requests: [(u32, &[u8]); 5] = [
            (ioctl::LIST_FLOWS, &request(OURS, 0)),
            (ioctl::LIST_HELD, &request(OURS, 0)),
            (ioctl::ANSWER, answer.as_bytes()),
            (ioctl::GET_APPLICATION, application.as_bytes()),
            (ioctl::WATCH, watch.as_bytes()),
        ];
        for (code, ours) in requests {
            let theirs = [postern_protocol::version(2, 0).as_bytes(), &ours[4..]].concat();
            assert!(ask(code, ours, 4096).is_ok(), "{code:#x}");
            assert_eq!(ask(code, &theirs, 4096), Err(Status::REVISION_MISMATCH), "{code:#x}");
            assert_eq!(ask(code, &ours[..ours.len() - 1], 4096), Err(Status::INVALID_PARAMETER), "{code:#x}");
            assert_eq!(ask(code, &[ours, &[0]].concat(), 4096), Err(Status::INVALID_PARAMETER), "{code:#x}");
            assert_eq!(ask(code, &[], 4096), Err(Status::INVALID_PARAMETER), "{code:#x}");
        }
        for code in [ioctl::LIST_FLOWS, ioctl::LIST_HELD] {
            assert_eq!(ask(code, &request(OURS, 0), size_of::<ListHeader>() + 8), Err(Status::BUFFER_TOO_SMALL));
        }
    }
}
