//! Answers to I/O control requests. Every length and every field of a request is checked here.

use postern_protocol::callout::{CALLOUTS, COUNT};
use postern_protocol::ioctl::{self, CalloutEntry, ListHeader, ListRequest, StatisticsEntry, Version};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Status;

/// Length of the longest input that a request has.
pub const LONGEST_INPUT: usize = size_of::<ListRequest>();

/// What requests may ask for.
pub trait Source {
    /// Version of the driver: major, minor, patch.
    fn version(&self) -> [u16; 3];
    /// Run-time id of a callout, or zero.
    fn callout_id(&self, index: usize) -> u32;
    /// How often a callout acted, and how often it was passed over.
    fn classified(&self, index: usize) -> (u64, u64);
}

/// Answers the request `code`. Returns the number of bytes written to the beginning of `output`.
///
/// With `METHOD_BUFFERED` input and output share one buffer, so the input is copied before anything is written; the caller
/// passes it as a slice of its own.
pub fn answer(code: u32, input: &[u8], output: &mut [u8], source: &impl Source) -> Result<usize, Status> {
    match code {
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
        _ => Err(Status::INVALID_DEVICE_REQUEST),
    }
}

/// Answers with as many of the callouts' entries as fit, from the one that the request names.
fn list<E: IntoBytes + Immutable>(
    input: &[u8],
    output: &mut [u8],
    entry: impl Fn(usize) -> E,
) -> Result<usize, Status> {
    let request = ListRequest::read_from_bytes(input).map_err(|_| Status::INVALID_PARAMETER)?;
    if request.protocol >> 16 != postern_protocol::VERSION >> 16 {
        return Err(Status::REVISION_MISMATCH);
    }
    let first = request.first as usize;
    if first > COUNT {
        return Err(Status::INVALID_PARAMETER);
    }
    let room = output.len().checked_sub(size_of::<ListHeader>()).ok_or(Status::BUFFER_TOO_SMALL)?;
    let count = (COUNT - first).min(room / size_of::<E>());
    if count == 0 && first < COUNT {
        return Err(Status::BUFFER_TOO_SMALL);
    }
    let header =
        ListHeader { total: COUNT as u32, first: first as u32, count: count as u32, entry_size: size_of::<E>() as u32 };
    let mut length = put(output, 0, &header)?;
    for index in first..first + count {
        length = put(output, length, &entry(index))?;
    }
    Ok(length)
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
    }

    fn ask(code: u32, input: &[u8], room: usize) -> Result<Vec<u8>, Status> {
        let mut output = vec![0xEE; room];
        let length = answer(code, input, &mut output, &Numbers)?;
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
}
