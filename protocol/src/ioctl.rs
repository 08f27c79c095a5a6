//! The I/O control requests of the driver's device.
//!
//! All of them are `METHOD_BUFFERED` and need a handle opened for reading, [`ANSWER`] one opened for writing too. A list is read in pieces: the caller names the first
//! entry it wants, the driver answers with a [`ListHeader`] and as many entries as fit into the output buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::callout::{Callout, Layer, Role};

const FILE_READ_DATA: u32 = 1;
const FILE_WRITE_DATA: u32 = 2;

/// `CTL_CODE(FILE_DEVICE_NETWORK, 0x800 + function, METHOD_BUFFERED, access)` (wdm.h).
const fn control_code(function: u32, access: u32) -> u32 {
    const FILE_DEVICE_NETWORK: u32 = 0x12;
    const METHOD_BUFFERED: u32 = 0;
    FILE_DEVICE_NETWORK << 16 | access << 14 | (0x800 + function) << 2 | METHOD_BUFFERED
}

/// No input. Output: [`Version`].
pub const GET_VERSION: u32 = control_code(0, FILE_READ_DATA);
/// Input: [`ListRequest`]. Output: [`ListHeader`], then [`CalloutEntry`] records.
pub const LIST_CALLOUTS: u32 = control_code(1, FILE_READ_DATA);
/// Input: [`ListRequest`]. Output: [`ListHeader`], then [`StatisticsEntry`] records.
pub const GET_STATISTICS: u32 = control_code(2, FILE_READ_DATA);

/// Input: [`ListRequest`]. Output: [`ListHeader`], then [`FlowEntry`] records: the flows that are counted now. Flows come and
/// go between two pieces. `first` and `total` count places in the driver's table, many of which are empty: the next piece
/// begins behind the last entry's [`FlowEntry::place`], and an answer without entries is the end.
pub const LIST_FLOWS: u32 = control_code(3, FILE_READ_DATA);
/// Input: [`ListRequest`]. Output: [`ListHeader`], then [`HeldEntry`] records: the operations that wait for an answer.
pub const LIST_HELD: u32 = control_code(4, FILE_READ_DATA);
/// Input: [`AnswerRequest`]. No output. `STATUS_NOT_FOUND` if the operation does not wait any more.
pub const ANSWER: u32 = control_code(5, FILE_READ_DATA | FILE_WRITE_DATA);
/// Input: [`ApplicationRequest`]. Output: the program's path, UTF-16 without a terminator. `STATUS_NOT_FOUND` for an unknown id.
pub const GET_APPLICATION: u32 = control_code(6, FILE_READ_DATA);
/// Input: [`WatchRequest`]. Output: [`WatchHeader`], then [`Event`] records. The request waits in the driver until there is an
/// event; it can be cancelled, and is when its handle is closed. `STATUS_QUOTA_EXCEEDED` if [`WATCHERS`] requests wait already.
pub const WATCH: u32 = control_code(7, FILE_READ_DATA);

/// Which driver this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Version {
    /// [`crate::VERSION`] of the driver.
    pub protocol: u32,
    pub driver_major: u16,
    pub driver_minor: u16,
    pub driver_patch: u16,
    /// Zero.
    pub reserved: u16,
}

/// Asks for a piece of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListRequest {
    /// [`crate::VERSION`] of the caller; its major half must be the driver's.
    pub protocol: u32,
    /// Index of the first entry wanted.
    pub first: u32,
}

/// Stands before the entries of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListHeader {
    /// Entries of the whole list.
    pub total: u32,
    /// Index of the first entry that follows.
    pub first: u32,
    /// Number of entries that follow.
    pub count: u32,
    /// Size of one entry in bytes.
    pub entry_size: u32,
}

/// A callout as it is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CalloutEntry {
    /// `calloutKey`, the bytes of a `GUID` as Windows keeps it in memory.
    pub key: [u8; 16],
    /// Run-time id (`calloutId`); zero while the callout is not registered.
    pub id: u32,
    /// Run-time id of its layer (`FWPS_LAYER_*`).
    pub layer: u16,
    /// A [`Role`].
    pub role: u8,
    /// Zero.
    pub reserved: u8,
}

/// What a callout has done since the driver was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StatisticsEntry {
    /// Index of the callout in the list of callouts.
    pub callout: u32,
    /// Zero.
    pub reserved: u32,
    /// Classifies in which the callout did what its role says.
    pub acted: u64,
    /// Classifies in which it could not, because a filter of higher weight had taken the right to decide, or because the
    /// filter's context was not ours.
    pub passed_over: u64,
}

/// The two ends of a flow or of an operation, and the program that owns it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Endpoints {
    /// In network order; an IPv4 address fills the first four bytes.
    pub local_address: [u8; 16],
    pub remote_address: [u8; 16],
    /// For ICMP, the message's type.
    pub local_port: u16,
    /// For ICMP, the message's code.
    pub remote_port: u16,
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// 1 if the other side began it, 0 if this host did.
    pub inbound: u8,
    /// Zero.
    pub reserved: u8,
    /// For [`GET_APPLICATION`]; zero if the program is not known.
    pub application: u32,
    /// Zero.
    pub reserved2: u32,
    pub process_id: u64,
}

/// What was counted of a flow. Inbound is the first of each pair, outbound the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Traffic {
    /// At the transport layers.
    pub packets: [u64; 2],
    /// At the transport layers: transport headers and what follows them.
    pub bytes: [u64; 2],
    /// At the stream and datagram layers: what the program sent and received.
    pub payload: [u64; 2],
    /// When the flow was established and when its last packet was seen: system time, in units of 100 nanoseconds since 1601.
    pub first: u64,
    pub last: u64,
}

/// A flow that is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowEntry {
    /// The engine's number of the flow (`flowHandle`).
    pub flow: u64,
    /// Its place in the driver's table.
    pub place: u32,
    /// Zero.
    pub reserved: u32,
    pub endpoints: Endpoints,
    pub traffic: Traffic,
}

/// What is done with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    Permit = 1,
    Block = 2,
}

/// An operation that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HeldEntry {
    /// For [`ANSWER`]. Never zero, and never used again.
    pub operation: u64,
    /// The filter that sent it to the callout.
    pub filter_id: u64,
    /// Milliseconds until the filter's own verdict is taken.
    pub remaining_ms: u32,
    /// That verdict: a [`Verdict`].
    pub otherwise: u8,
    /// Zero.
    pub reserved: [u8; 3],
    pub endpoints: Endpoints,
}

/// Answers for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AnswerRequest {
    /// [`crate::VERSION`] of the caller; its major half must be the driver's.
    pub protocol: u32,
    /// A [`Verdict`].
    pub verdict: u32,
    pub operation: u64,
}

/// Asks for a program's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ApplicationRequest {
    /// [`crate::VERSION`] of the caller; its major half must be the driver's.
    pub protocol: u32,
    pub application: u32,
}

/// Asks for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WatchRequest {
    /// [`crate::VERSION`] of the caller; its major half must be the driver's.
    pub protocol: u32,
    /// Zero.
    pub reserved: u32,
    /// Where to go on: the last answer's [`WatchHeader::next`], or [`WATCH_FROM_NOW`] to begin.
    pub from: u64,
}

/// [`WatchRequest::from`] of the first request: whatever happens from now on. It is answered at once, without events.
pub const WATCH_FROM_NOW: u64 = u64::MAX;

/// How many [`WATCH`] requests may wait at once.
pub const WATCHERS: u32 = 64;

/// For how many seconds after a [`WATCH`] request has been answered events are still recorded for the next one.
pub const WATCH_LEASE_SECONDS: u32 = 10;

/// Stands before the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WatchHeader {
    /// [`WatchRequest::from`] of the next request. Not a number to reckon with: it tells of lapses too.
    pub next: u64,
    /// Events between the request's `from` and the first event that follows: their places had been taken by later ones.
    pub lost: u64,
    /// Number of events that follow.
    pub count: u32,
    /// Size of one event in bytes.
    pub entry_size: u32,
    /// 1 if events went unrecorded, and uncounted, since `from`, because nobody had watched for [`WATCH_LEASE_SECONDS`].
    pub lapsed: u32,
    /// Zero.
    pub reserved: u32,
}

/// What an [`Event`] tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// A callout has acted on an authorisation or a packet.
    Verdict = 1,
    /// A flow was established.
    FlowBegun = 2,
    /// A flow has ended; its `traffic` is final.
    FlowEnded = 3,
    /// An operation waits for an answer.
    Held = 4,
    /// An operation was answered, or its time was up, or the driver leaves.
    Answered = 5,
}

impl EventKind {
    pub const ALL: [EventKind; 5] =
        [EventKind::Verdict, EventKind::FlowBegun, EventKind::FlowEnded, EventKind::Held, EventKind::Answered];
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// Events are numbered without gaps, from 0.
    pub sequence: u64,
    /// System time, in units of 100 nanoseconds since 1601.
    pub time: u64,
    /// An [`EventKind`].
    pub kind: u8,
    /// A [`Verdict`]; zero if others decide.
    pub verdict: u8,
    /// Index of the callout in [`crate::CALLOUTS`], of a verdict or an operation; else [`NO_CALLOUT`].
    pub callout: u16,
    /// Zero.
    pub reserved: u32,
    /// The filter that led to the callout, or zero.
    pub filter_id: u64,
    /// The operation, or the flow, or zero.
    pub subject: u64,
    pub endpoints: Endpoints,
    pub traffic: Traffic,
}

/// [`Event::callout`] of an event of no callout.
pub const NO_CALLOUT: u16 = u16::MAX;

impl CalloutEntry {
    /// The layer and role of this entry, if they are ones that this contract knows.
    pub fn callout(&self) -> Option<Callout> {
        let role = Role::ALL.into_iter().find(|role| *role as u8 == self.role)?;
        let layer = Layer::ALL.into_iter().find(|layer| layer.id() == self.layer)?;
        Callout::new(role, layer)
    }
}

/// The bytes of a `GUID` as Windows keeps it in memory: the first three fields are little-endian.
pub const fn guid_bytes(key: u128) -> [u8; 16] {
    let be = key.to_be_bytes();
    [
        be[3], be[2], be[1], be[0], be[5], be[4], be[7], be[6], be[8], be[9], be[10], be[11], be[12], be[13], be[14],
        be[15],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_codes_are_those_of_the_ctl_code_macro() {
        assert_eq!(GET_VERSION, 0x0012_6000);
        assert_eq!(LIST_CALLOUTS, 0x0012_6004);
        assert_eq!(GET_STATISTICS, 0x0012_6008);
        assert_eq!(ANSWER, 0x0012_E014);
        assert_eq!(WATCH, 0x0012_601C);
    }

    #[test]
    fn guid_bytes_are_in_memory_order() {
        assert_eq!(
            guid_bytes(0x00112233_4455_6677_8899_aabbccddeeff),
            [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]
        );
    }

    #[test]
    fn a_callout_entry_names_its_callout() {
        let entry = CalloutEntry { key: [0; 16], id: 258, layer: 50, role: 2, reserved: 0 };
        let callout = Callout { role: Role::Block, layer: Layer::AleAuthConnectV6 };
        assert_eq!(entry.callout(), Some(callout));
        assert_eq!(CalloutEntry { role: 9, ..entry }.callout(), None);
        assert_eq!(CalloutEntry { layer: 49, ..entry }.callout(), None);
    }
}
