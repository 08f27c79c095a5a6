//! The driver's device.

use postern_lab::{Lab, NtStatus};
use postern_protocol::callout::{COUNT, Callout};
use postern_protocol::ioctl::{self, CalloutEntry, ListHeader, ListRequest, StatisticsEntry, Version};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::support::*;

/// What the driver says of a callout: how often it acted, and how often it was passed over.
pub fn statistics(lab: &Lab, callout: Callout) -> (u64, u64) {
    let entry = list::<StatisticsEntry>(lab, ioctl::GET_STATISTICS).remove(callout.index());
    assert_eq!(entry.callout as usize, callout.index());
    (entry.acted, entry.passed_over)
}

fn list<E: FromBytes + KnownLayout + Immutable>(lab: &Lab, code: u32) -> Vec<E> {
    let device = lab.open(postern_protocol::DEVICE_PATH).unwrap();
    let request = ListRequest { protocol: postern_protocol::VERSION, first: 0 };
    let answer = device.device_io_control(code, request.as_bytes(), 8192).unwrap();
    let (header, entries) = ListHeader::read_from_prefix(&answer).unwrap();
    assert_eq!((header.total as usize, header.count as usize), (COUNT, COUNT));
    entries.chunks_exact(header.entry_size as usize).map(|entry| E::read_from_bytes(entry).ok().unwrap()).collect()
}

#[test]
fn the_driver_tells_its_version() {
    let lab = lab_with_driver();
    let device = lab.open(postern_protocol::DEVICE_PATH).unwrap();
    let answer = device.device_io_control(ioctl::GET_VERSION, &[], 64).unwrap();
    let version = Version::read_from_bytes(&answer).unwrap();
    assert_eq!(version.protocol, postern_protocol::VERSION);
    assert_eq!(
        format!("{}.{}.{}", version.driver_major, version.driver_minor, version.driver_patch),
        env!("CARGO_PKG_VERSION")
    );
    drop(device);
    unload(&lab);
}

#[test]
fn the_list_of_callouts_is_what_the_engine_has() {
    let lab = lab_with_driver();
    for (entry, callout) in list::<CalloutEntry>(&lab, ioctl::LIST_CALLOUTS).iter().zip(postern_protocol::CALLOUTS) {
        assert_eq!(entry.callout(), Some(callout));
        assert_eq!(entry.key, ioctl::guid_bytes(callout.key()));
        assert!(entry.id > 256, "built-in callouts have the ids below");
    }
    unload(&lab);
}

#[test]
fn malformed_requests_are_refused_and_harmless() {
    let lab = lab_with_driver();
    let device = lab.open(postern_protocol::DEVICE_PATH).unwrap();
    let invalid_parameter = 0xC000_000D_u32;
    let buffer_too_small = 0xC000_0023;
    let invalid_device_request = 0xC000_0010;
    let list = ListRequest { protocol: postern_protocol::VERSION, first: 0 };
    let beyond = ListRequest { first: COUNT as u32 + 1, ..list };
    let other_version = ListRequest { protocol: postern_protocol::version(9, 0), ..list };
    let refusals: [(u32, &[u8], usize, u32); 12] = [
        (ioctl::GET_VERSION, &[1], 64, invalid_parameter),
        (ioctl::GET_VERSION, &[], 0, buffer_too_small),
        (ioctl::GET_VERSION, &[], 11, buffer_too_small),
        (ioctl::LIST_CALLOUTS, &[], 4096, invalid_parameter),
        (ioctl::LIST_CALLOUTS, &[0; 100_000], 4096, invalid_parameter),
        (ioctl::LIST_CALLOUTS, beyond.as_bytes(), 4096, invalid_parameter),
        (ioctl::LIST_CALLOUTS, other_version.as_bytes(), 4096, 0xC000_0059),
        (ioctl::LIST_CALLOUTS, list.as_bytes(), 20, buffer_too_small),
        (0x0012_7FFC, &[], 64, invalid_device_request),
        // The same function with each method whose buffers are not the system's.
        (ioctl::LIST_CALLOUTS | 1, list.as_bytes(), 4096, invalid_device_request),
        (ioctl::LIST_CALLOUTS | 2, list.as_bytes(), 4096, invalid_device_request),
        (ioctl::LIST_CALLOUTS | 3, list.as_bytes(), 4096, invalid_device_request),
    ];
    for (code, input, room, status) in refusals {
        let refused = device.device_io_control(code, input, room).unwrap_err();
        assert_eq!(refused.0 as u32, status, "{code:#x}, {} bytes in, {room} out", input.len());
    }
    drop(device);
    unload(&lab);
}

#[test]
fn reading_and_writing_are_no_requests_of_the_driver() {
    let lab = lab_with_driver();
    let device = lab.open(postern_protocol::DEVICE_PATH).unwrap();
    let invalid_device_request = NtStatus(0xC000_0010_u32 as i32);
    assert_eq!(device.read(16), Err(invalid_device_request));
    assert_eq!(device.write(&[0; 16]), Err(invalid_device_request));
    drop(device);
    unload(&lab);
}
