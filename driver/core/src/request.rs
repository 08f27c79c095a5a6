//! Answers to I/O control requests. Every length and every field of a request is checked here.

use core::marker::PhantomData;

use postern_protocol::callout::{CALLOUTS, COUNT};
use postern_protocol::ioctl::{
    self, AnswerRequest, ApplicationRequest, CalloutEntry, FlowEntry, HeldEntry, ListHeader, ListRequest,
    StatisticsEntry, Verdict, Version, WatchRequest,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Status;
use crate::events::Reading;

/// Length of the longest input that a request has.
pub const LONGEST_INPUT: usize = size_of::<WatchRequest>();
const _: () = assert!(
    size_of::<ListRequest>() <= LONGEST_INPUT
        && size_of::<AnswerRequest>() <= LONGEST_INPUT
        && size_of::<ApplicationRequest>() <= LONGEST_INPUT
);

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
    /// The flows at `place` and behind it, by their places.
    fn flows(&self, place: u32) -> impl Iterator<Item = FlowEntry>;
    /// Shows each operation that waits for an answer.
    fn each_held(&self, show: impl FnMut(&HeldEntry));
    /// Answers for an operation. Whether it waited.
    fn answer(&self, operation: u64, verdict: Verdict) -> bool;
    /// Shows the path of a program, if it is known.
    fn application<R>(&self, id: u32, show: impl FnOnce(&[u8]) -> R) -> Option<R>;
    /// Answers with events, from the position `from` on.
    fn watch(&self, from: u64, output: &mut [u8]) -> Result<Reading, Status>;
}

/// Answers the request `code` at the beginning of `output`. If there is nothing to answer yet the request waits, and is asked again
/// with the same input.
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
            put(output, 0, &version)?
        }
        ioctl::LIST_CALLOUTS => list_by_callout(input, output, |index| {
            let callout = CALLOUTS[index];
            CalloutEntry {
                key: ioctl::guid_bytes(callout.key()),
                id: source.callout_id(index),
                layer: callout.layer.id(),
                role: callout.role as u8,
                reserved: 0,
            }
        })?,
        ioctl::GET_STATISTICS => list_by_callout(input, output, |index| {
            let (acted, passed_over) = source.classified(index);
            StatisticsEntry { callout: index as u32, reserved: 0, acted, passed_over }
        })?,
        ioctl::LIST_FLOWS => {
            let mut page = Page::<FlowEntry>::begin(input, output)?;
            let total = source.flow_places();
            if page.first > total {
                return Err(Status::INVALID_PARAMETER);
            }
            for flow in source.flows(page.first) {
                if !page.push(&flow) {
                    break;
                }
            }
            page.finish(total)?
        }
        ioctl::LIST_HELD => {
            // Operations come and go between two pieces, so the end may have come nearer than `first`.
            let mut page = Page::<HeldEntry>::begin(input, output)?;
            let mut total = 0;
            source.each_held(|held| {
                if total >= page.first {
                    page.push(held);
                }
                total += 1;
            });
            page.finish(total)?
        }
        ioctl::ANSWER => {
            let request: AnswerRequest = read(input, |request: &AnswerRequest| request.protocol)?;
            let verdict = [Verdict::Permit, Verdict::Block].into_iter().find(|one| *one as u32 == request.verdict);
            let verdict = verdict.ok_or(Status::INVALID_PARAMETER)?;
            if !source.answer(request.operation, verdict) {
                return Err(Status::NOT_FOUND);
            }
            0
        }
        ioctl::GET_APPLICATION => {
            let request: ApplicationRequest = read(input, |request: &ApplicationRequest| request.protocol)?;
            let copied = source.application(request.application, |path| put(output, 0, path));
            copied.ok_or(Status::NOT_FOUND)??
        }
        ioctl::WATCH => {
            let request: WatchRequest = read(input, |request: &WatchRequest| request.protocol)?;
            if request.reserved != 0 {
                return Err(Status::INVALID_PARAMETER);
            }
            return source.watch(request.from, output);
        }
        _ => return Err(Status::INVALID_DEVICE_REQUEST),
    };
    Ok(Reading::Answer(length))
}

/// Reads a request, which is as long as `T`, from a caller whose contract has our major version.
fn read<T: FromBytes + KnownLayout + Immutable>(input: &[u8], protocol: impl Fn(&T) -> u32) -> Result<T, Status> {
    let request = T::read_from_bytes(input).map_err(|_| Status::INVALID_PARAMETER)?;
    if protocol(&request) >> 16 != postern_protocol::VERSION >> 16 {
        return Err(Status::REVISION_MISMATCH);
    }
    Ok(request)
}

/// Answers with as many of the callouts' entries as fit, from the one that the request names.
fn list_by_callout<E: IntoBytes + Immutable>(
    input: &[u8],
    output: &mut [u8],
    entry: impl Fn(usize) -> E,
) -> Result<usize, Status> {
    let mut page = Page::begin(input, output)?;
    let first = page.first as usize;
    if first > COUNT {
        return Err(Status::INVALID_PARAMETER);
    }
    let _all_fit = (first..COUNT).all(|index| page.push(&entry(index)));
    page.finish(COUNT as u32)
}

/// A piece of a list.
struct Page<'a, E> {
    output: &'a mut [u8],
    first: u32,
    count: usize,
    /// An entry did not fit.
    full: bool,
    entries: PhantomData<E>,
}

impl<'a, E: IntoBytes + Immutable> Page<'a, E> {
    fn begin(input: &[u8], output: &'a mut [u8]) -> Result<Self, Status> {
        let request: ListRequest = read(input, |request: &ListRequest| request.protocol)?;
        if output.len() < size_of::<ListHeader>() {
            return Err(Status::BUFFER_TOO_SMALL);
        }
        Ok(Page { output, first: request.first, count: 0, full: false, entries: PhantomData })
    }

    /// Adds an entry. Whether it did fit.
    fn push(&mut self, entry: &E) -> bool {
        let offset = size_of::<ListHeader>() + self.count * size_of::<E>();
        if self.full || put(self.output, offset, entry).is_err() {
            self.full = true;
            return false;
        }
        self.count += 1;
        true
    }

    /// Writes the header, and returns the length of it all. A piece without an entry, although there is one, is no answer.
    fn finish(self, total: u32) -> Result<usize, Status> {
        if self.full && self.count == 0 {
            return Err(Status::BUFFER_TOO_SMALL);
        }
        let entry_size = size_of::<E>() as u32;
        put(self.output, 0, &ListHeader { total, first: self.first, count: self.count as u32, entry_size })?;
        Ok(size_of::<ListHeader>() + self.count * size_of::<E>())
    }
}

/// Writes a value at an offset and returns the offset after it.
fn put<T: IntoBytes + Immutable + ?Sized>(output: &mut [u8], offset: usize, value: &T) -> Result<usize, Status> {
    let end = offset + size_of_val(value);
    let place = output.get_mut(offset..end).ok_or(Status::BUFFER_TOO_SMALL)?;
    place.copy_from_slice(value.as_bytes());
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;
    use zerocopy::FromZeros;

    struct Numbers;

    const APPLICATION: &[u8] = b"\\\0c\0u\0r\0l\0";
    const WAITING: u64 = 77;

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
        /// A flow at every tenth place.
        fn flows(&self, place: u32) -> impl Iterator<Item = FlowEntry> {
            (place..100).filter(|place| place % 10 == 3).map(|place| FlowEntry { place, ..FlowEntry::default() })
        }
        fn each_held(&self, mut show: impl FnMut(&HeldEntry)) {
            (1..=7).for_each(|operation| show(&HeldEntry { operation, ..HeldEntry::new_zeroed() }));
        }
        fn answer(&self, operation: u64, verdict: Verdict) -> bool {
            operation == WAITING && verdict == Verdict::Block
        }
        fn application<R>(&self, id: u32, show: impl FnOnce(&[u8]) -> R) -> Option<R> {
            (id == 3).then(|| show(APPLICATION))
        }
        fn watch(&self, from: u64, output: &mut [u8]) -> Result<Reading, Status> {
            match from {
                5 => Ok(Reading::NothingYet),
                _ => put(output, 0, &from).map(Reading::Answer),
            }
        }
    }

    fn ask(code: u32, input: &[u8], room: usize) -> Result<Vec<u8>, Status> {
        let mut output = vec![0xEE; room];
        let Reading::Answer(length) = answer(code, input, &mut output, &Numbers)? else { panic!("it waits") };
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
    fn flows_are_listed_by_their_places() {
        for room in 1..=11 {
            let bytes = size_of::<ListHeader>() + room * size_of::<FlowEntry>();
            let (mut first, mut places) = (0, Vec::new());
            loop {
                let answer = ask(ioctl::LIST_FLOWS, &request(postern_protocol::VERSION, first), bytes).unwrap();
                let (header, page) = entries::<FlowEntry>(&answer);
                assert_eq!((header.total, header.first, header.count as usize), (100, first, page.len()));
                let Some(last) = page.last() else { break };
                first = last.place + 1;
                places.extend(page.iter().map(|flow| flow.place));
            }
            assert_eq!(places, (0..10).map(|flow| flow * 10 + 3).collect::<Vec<_>>());
        }
    }

    #[test]
    fn held_operations_are_listed_in_pieces() {
        let bytes = size_of::<ListHeader>() + 4 * size_of::<HeldEntry>();
        for (first, operations) in [(0, vec![1, 2, 3, 4]), (4, vec![5, 6, 7]), (7, vec![]), (100, vec![])] {
            let answer = ask(ioctl::LIST_HELD, &request(postern_protocol::VERSION, first), bytes).unwrap();
            let (header, page) = entries::<HeldEntry>(&answer);
            assert_eq!((header.total, header.first, header.count as usize), (7, first, operations.len()));
            assert_eq!(page.iter().map(|held| held.operation).collect::<Vec<_>>(), operations);
        }
    }

    #[test]
    fn an_answer_reaches_the_operation_that_waits() {
        let answer = |protocol, operation, verdict| {
            ask(ioctl::ANSWER, AnswerRequest { protocol, verdict, operation }.as_bytes(), 0)
        };
        let version = postern_protocol::VERSION;
        assert_eq!(answer(version, WAITING, Verdict::Block as u32), Ok(vec![]));
        assert_eq!(answer(version, WAITING + 1, Verdict::Block as u32), Err(Status::NOT_FOUND));
        for verdict in [0, 3, 256 + 2, u32::MAX] {
            assert_eq!(answer(version, WAITING, verdict), Err(Status::INVALID_PARAMETER), "{verdict}");
        }
        assert_eq!(answer(postern_protocol::version(2, 0), WAITING, 2), Err(Status::REVISION_MISMATCH));
    }

    #[test]
    fn a_programs_path_is_told_if_it_is_known_and_fits() {
        let path = |application, room| {
            let request = ApplicationRequest { protocol: postern_protocol::VERSION, application };
            ask(ioctl::GET_APPLICATION, request.as_bytes(), room)
        };
        assert_eq!(path(3, APPLICATION.len()), Ok(APPLICATION.to_vec()));
        assert_eq!(path(3, APPLICATION.len() - 1), Err(Status::BUFFER_TOO_SMALL));
        assert_eq!(path(4, 64), Err(Status::NOT_FOUND));
    }

    #[test]
    fn a_watch_is_answered_or_waits() {
        let watch = |reserved, from| {
            let request = WatchRequest { protocol: postern_protocol::VERSION, reserved, from };
            answer(ioctl::WATCH, request.as_bytes(), &mut [0; 64], &Numbers)
        };
        assert_eq!(watch(0, 5), Ok(Reading::NothingYet));
        assert_eq!(watch(0, 6), Ok(Reading::Answer(8)));
        assert_eq!(watch(1, 6), Err(Status::INVALID_PARAMETER));
    }

    #[test]
    fn malformed_requests_are_refused() {
        let fine = request(postern_protocol::VERSION, 0);
        let beyond = request(postern_protocol::VERSION, COUNT as u32 + 1);
        let huge = request(postern_protocol::VERSION, u32::MAX);
        let other_major = request(postern_protocol::version(2, 0), 0);
        let first_101 = request(postern_protocol::VERSION, 101);
        let header = size_of::<ListHeader>();
        let refusals: [(u32, &[u8], usize, Status); 9] = [
            (ioctl::GET_VERSION, &[0], 64, Status::INVALID_PARAMETER),
            (ioctl::GET_VERSION, &[], size_of::<Version>() - 1, Status::BUFFER_TOO_SMALL),
            (ioctl::LIST_CALLOUTS, &beyond, 4096, Status::INVALID_PARAMETER),
            (ioctl::LIST_CALLOUTS, &huge, 4096, Status::INVALID_PARAMETER),
            (ioctl::LIST_FLOWS, &first_101, 4096, Status::INVALID_PARAMETER),
            (ioctl::LIST_CALLOUTS, &fine, header + size_of::<CalloutEntry>() - 1, Status::BUFFER_TOO_SMALL),
            (ioctl::LIST_FLOWS, &fine, header + size_of::<FlowEntry>() - 1, Status::BUFFER_TOO_SMALL),
            (ioctl::LIST_HELD, &fine, header + size_of::<HeldEntry>() - 1, Status::BUFFER_TOO_SMALL),
            (0, &fine, 4096, Status::INVALID_DEVICE_REQUEST),
        ];
        for (code, input, room, status) in refusals {
            assert_eq!(ask(code, input, room), Err(status), "{code:#x} {input:?} {room}");
        }
        for code in [ioctl::LIST_CALLOUTS, ioctl::GET_STATISTICS, ioctl::LIST_FLOWS, ioctl::LIST_HELD] {
            assert_eq!(ask(code, &fine, header - 1), Err(Status::BUFFER_TOO_SMALL), "{code:#x}");
        }
        let lengths = [
            (ioctl::LIST_CALLOUTS, size_of::<ListRequest>()),
            (ioctl::GET_STATISTICS, size_of::<ListRequest>()),
            (ioctl::LIST_FLOWS, size_of::<ListRequest>()),
            (ioctl::LIST_HELD, size_of::<ListRequest>()),
            (ioctl::ANSWER, size_of::<AnswerRequest>()),
            (ioctl::GET_APPLICATION, size_of::<ApplicationRequest>()),
            (ioctl::WATCH, size_of::<WatchRequest>()),
        ];
        for (code, length) in lengths {
            let input = [fine.as_slice(), &[0; LONGEST_INPUT]].concat();
            for wrong in [0, length - 1, length + 1] {
                let refused = ask(code, &input[..wrong], 4096);
                assert_eq!(refused, Err(Status::INVALID_PARAMETER), "{code:#x} {wrong}");
            }
            let input = [other_major.as_slice(), &[0; LONGEST_INPUT]].concat();
            assert_eq!(ask(code, &input[..length], 4096), Err(Status::REVISION_MISMATCH), "{code:#x}");
        }
    }
}
