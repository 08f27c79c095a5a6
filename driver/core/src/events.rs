//! The events that programs watch: a ring of the latest ones, which every reader reads at its own pace.
//!
//! Nothing is recorded unless somebody watches: a request waits for events, or was answered at most [`WATCH_LEASE_SECONDS`] ago.
//! [`Lease::is_watched`] is asked before anything is put together, outside of the lock that the ring is under.
//!
//! # What a reader is told of what it missed
//!
//! Events that were overwritten are counted: they have numbers. Events that happened while nobody watched have none. So a reader's
//! position has two parts: the number of the next event, and how often recording had lapsed by then; if it has lapsed again
//! since, the reader is told. A lease that runs out is no lapse: a lapse begins when an event finds the lease run out. It marks the
//! lease then, and the next reader finds the mark. Both are one atomic step, so every event is either recorded or behind a lapse
//! that all readers with an older position are told of.

use postern_protocol::ioctl::{Event, WATCH_FROM_NOW, WATCH_LEASE_SECONDS, WatchHeader};
use zerocopy::IntoBytes;

use crate::Status;
use crate::sync::{AtomicU64, Ordering, const_unless_loom};

/// [`WATCH_LEASE_SECONDS`] in units of 100 nanoseconds.
const LEASE: u64 = WATCH_LEASE_SECONDS as u64 * 10_000_000;

/// Nobody has watched since the driver was loaded.
const NEVER: u64 = 0;
/// The lease ran out, and an event went unrecorded.
const LAPSED: u64 = 1;

/// Until when events are recorded. It stands outside of the ring's lock, on a cache line that is hardly ever written.
pub struct Lease {
    until: AtomicU64,
}

impl Lease {
    const_unless_loom! {
        #[allow(clippy::new_without_default, reason = "a driver has one, in a static")]
        pub fn new() -> Self {
            Lease { until: AtomicU64::new(NEVER) }
        }
    }

    /// Whether an event that happens now is to be recorded: one load if nobody has ever watched, or nobody does any more.
    /// IRQL: any.
    #[inline]
    pub fn is_watched(&self, now: u64) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        if until <= LAPSED { false } else { now <= until || self.lapse(until, now) }
    }

    /// Marks the lease as run out, unless a reader has renewed it meanwhile. Whether it has.
    #[cold]
    fn lapse(&self, mut until: u64, now: u64) -> bool {
        while until > LAPSED && until < now {
            match self.until.compare_exchange(until, LAPSED, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return false,
                Err(renewed) => until = renewed,
            }
        }
        until > LAPSED
    }
}

/// What a request for events comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// This many bytes are the answer.
    Answer(usize),
    /// There is no event yet: the request waits.
    NothingYet,
}

/// The latest events, over places that the caller supplies. The caller locks.
pub struct Ring<S> {
    events: S,
    /// Number of the next event.
    next: u64,
    /// How often recording has lapsed.
    lapses: u16,
    /// How many requests wait.
    parked: u32,
}

impl<S: AsRef<[Event]> + AsMut<[Event]>> Ring<S> {
    /// An empty ring. What is in `events` is of no meaning.
    pub const fn new(events: S) -> Self {
        Ring { events, next: 0, lapses: 0, parked: 0 }
    }

    /// Records an event, and gives it its number. The oldest one may go.
    pub fn push(&mut self, event: Event) {
        let sequence = self.next;
        let events = self.events.as_mut();
        if events.is_empty() {
            return;
        }
        let index = (sequence % events.len() as u64) as usize;
        events[index] = Event { sequence, ..event };
        self.next += 1;
    }

    /// Answers a reader at position `from` with as many events as fit into `output`, and renews the lease.
    ///
    /// A position that no reader was ever given, or an `output` without room for one event, is refused, before anything else.
    pub fn read(&mut self, lease: &Lease, now: u64, from: u64, output: &mut [u8]) -> Result<Reading, Status> {
        let room = output.len().checked_sub(size_of::<WatchHeader>()).ok_or(Status::BUFFER_TOO_SMALL)?;
        let position = Position::unpack(from);
        if from != WATCH_FROM_NOW {
            if position.sequence > self.next {
                return Err(Status::INVALID_PARAMETER);
            }
            if room < size_of::<Event>() {
                return Err(Status::BUFFER_TOO_SMALL);
            }
        }
        self.renew(lease, now);
        let oldest = self.next.saturating_sub(self.events.as_ref().len() as u64);
        let (first, lost, lapsed) = match from {
            WATCH_FROM_NOW => (self.next, 0, false),
            _ => {
                let first = position.sequence.max(oldest);
                let lapsed = position.lapses != self.lapses;
                if first == self.next && !lapsed {
                    return Ok(Reading::NothingYet);
                }
                (first, first - position.sequence, lapsed)
            }
        };
        let count = (self.next - first).min((room / size_of::<Event>()) as u64);
        let header = WatchHeader {
            next: Position { lapses: self.lapses, sequence: first + count }.pack(),
            lost,
            count: count as u32,
            entry_size: size_of::<Event>() as u32,
            lapsed: lapsed.into(),
            reserved: 0,
        };
        let (head, places) = output.split_at_mut(size_of::<WatchHeader>());
        head.copy_from_slice(header.as_bytes());
        let events = self.events.as_ref();
        for (sequence, place) in (first..first + count).zip(places.chunks_exact_mut(size_of::<Event>())) {
            place.copy_from_slice(events[(sequence % events.len() as u64) as usize].as_bytes());
        }
        Ok(Reading::Answer(size_of::<WatchHeader>() + count as usize * size_of::<Event>()))
    }

    /// A request waits: events are recorded until it does no more.
    pub fn park(&mut self, lease: &Lease, now: u64) {
        self.parked += 1;
        self.renew(lease, now);
    }

    /// A request that waited is answered or cancelled.
    pub fn unpark(&mut self, lease: &Lease, now: u64) {
        self.parked = self.parked.saturating_sub(1);
        self.renew(lease, now);
    }

    fn renew(&mut self, lease: &Lease, now: u64) {
        let until = if self.parked == 0 { now.saturating_add(LEASE) } else { u64::MAX };
        if lease.until.swap(until, Ordering::Relaxed) == LAPSED {
            self.lapses = self.lapses.wrapping_add(1);
        }
    }
}

/// Where a reader is. To the reader it is a number without a meaning.
#[derive(Clone, Copy)]
struct Position {
    /// How often recording had lapsed, modulo 65536: to be misled a reader would have to stay away for a week of lapses.
    lapses: u16,
    /// Number of the next event, in 48 bits: enough for eight years of a million events a second.
    sequence: u64,
}

impl Position {
    const SEQUENCE_BITS: u32 = 48;

    const fn pack(self) -> u64 {
        (self.lapses as u64) << Self::SEQUENCE_BITS | self.sequence
    }

    const fn unpack(position: u64) -> Self {
        Position {
            lapses: (position >> Self::SEQUENCE_BITS) as u16,
            sequence: position & ((1 << Self::SEQUENCE_BITS) - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_protocol::ioctl::EventKind;
    use std::vec;
    use std::vec::Vec;
    use zerocopy::{FromBytes, FromZeros};

    const SECOND: u64 = 10_000_000;
    const HEADER: usize = size_of::<WatchHeader>();
    const EVENT: usize = size_of::<Event>();

    struct Watched {
        ring: Ring<Vec<Event>>,
        lease: Lease,
    }

    impl Watched {
        fn with_room_for(events: usize) -> Self {
            Watched { ring: Ring::new(vec![Event::new_zeroed(); events]), lease: Lease::new() }
        }

        /// What the driver does with something that happens.
        fn happens(&mut self, now: u64, subject: u64) {
            if self.lease.is_watched(now) {
                let event = Event { kind: EventKind::Verdict as u8, time: now, subject, ..Event::new_zeroed() };
                self.ring.push(event);
            }
        }

        /// Reads with room for `room` events.
        fn read(&mut self, now: u64, from: u64, room: usize) -> Option<(WatchHeader, Vec<Event>)> {
            let mut output = vec![0xEE; HEADER + room * EVENT];
            match self.ring.read(&self.lease, now, from, &mut output).unwrap() {
                Reading::NothingYet => None,
                Reading::Answer(length) => {
                    assert!(output[length..].iter().all(|byte| *byte == 0xEE), "wrote beyond what it said");
                    let (header, events) = WatchHeader::read_from_prefix(&output[..length]).unwrap();
                    let events: Vec<_> =
                        events.chunks_exact(EVENT).map(|bytes| Event::read_from_bytes(bytes).unwrap()).collect();
                    assert_eq!((header.count as usize, header.entry_size as usize), (events.len(), EVENT));
                    Some((header, events))
                }
            }
        }

        fn begin(&mut self, now: u64) -> u64 {
            let (header, events) = self.read(now, WATCH_FROM_NOW, 0).unwrap();
            assert_eq!((events.len(), header.lost, header.lapsed), (0, 0, 0));
            header.next
        }
    }

    fn subjects(events: &[Event]) -> Vec<u64> {
        events.iter().map(|event| event.subject).collect()
    }

    #[test]
    fn nothing_is_recorded_before_anybody_watches() {
        let mut watched = Watched::with_room_for(4);
        watched.happens(SECOND, 1);
        let from = watched.begin(SECOND);
        assert_eq!(from, 0);
        assert!(watched.read(SECOND, from, 4).is_none());
        watched.happens(SECOND, 2);
        let (header, events) = watched.read(SECOND, from, 4).unwrap();
        assert_eq!((header.lost, header.lapsed, events[0].sequence), (0, 0, 0));
        assert_eq!(subjects(&events), [2]);
    }

    #[test]
    fn two_readers_each_get_every_event_in_pieces_of_their_size() {
        let mut watched = Watched::with_room_for(64);
        let start = watched.begin(SECOND);
        (0..50).for_each(|subject| watched.happens(SECOND, subject));
        for room in [1, 7] {
            let (mut from, mut seen) = (start, Vec::new());
            while let Some((header, events)) = watched.read(SECOND, from, room) {
                assert_eq!((header.lost, header.lapsed), (0, 0));
                seen.extend(subjects(&events));
                from = header.next;
            }
            assert_eq!(seen, (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_was_overwritten_is_counted() {
        let mut watched = Watched::with_room_for(4);
        let from = watched.begin(SECOND);
        (0..10).for_each(|subject| watched.happens(SECOND, subject));
        let (header, events) = watched.read(SECOND, from, 3).unwrap();
        assert_eq!((header.lost, subjects(&events)), (6, vec![6, 7, 8]));
        let (header, events) = watched.read(SECOND, header.next, 3).unwrap();
        assert_eq!((header.lost, subjects(&events)), (0, vec![9]));
    }

    #[test]
    fn a_lease_lasts_ten_seconds_from_the_last_answer() {
        let mut watched = Watched::with_room_for(4);
        let from = watched.begin(SECOND);
        watched.happens(11 * SECOND, 1);
        let (header, events) = watched.read(11 * SECOND, from, 4).unwrap();
        assert_eq!(subjects(&events), [1]);
        watched.happens(21 * SECOND, 2);
        watched.happens(21 * SECOND + 1, 3);
        let (header, events) = watched.read(40 * SECOND, header.next, 4).unwrap();
        assert_eq!((header.lost, header.lapsed, subjects(&events)), (0, 1, vec![2]));
        assert!(watched.read(40 * SECOND, header.next, 4).is_none(), "told once");
    }

    #[test]
    fn a_lapse_without_later_events_is_told_at_once() {
        let mut watched = Watched::with_room_for(4);
        let from = watched.begin(SECOND);
        watched.happens(60 * SECOND, 1);
        let (header, events) = watched.read(61 * SECOND, from, 4).unwrap();
        assert_eq!((header.lapsed, header.lost, events.len()), (1, 0, 0));
    }

    #[test]
    fn a_reader_that_came_after_a_lapse_is_not_told_of_it_and_one_from_before_is() {
        let mut watched = Watched::with_room_for(4);
        let old = watched.begin(SECOND);
        watched.happens(60 * SECOND, 1);
        let new = watched.begin(61 * SECOND);
        assert!(watched.read(61 * SECOND, new, 4).is_none());
        watched.happens(61 * SECOND, 2);
        let (header, events) = watched.read(62 * SECOND, new, 4).unwrap();
        assert_eq!((header.lapsed, subjects(&events)), (0, vec![2]));
        let (header, events) = watched.read(62 * SECOND, old, 4).unwrap();
        assert_eq!((header.lapsed, header.lost, subjects(&events)), (1, 0, vec![2]));
    }

    #[test]
    fn a_lease_that_ran_out_without_an_event_is_no_lapse() {
        let mut watched = Watched::with_room_for(4);
        let from = watched.begin(SECOND);
        assert!(watched.read(60 * SECOND, from, 4).is_none());
        watched.happens(60 * SECOND, 1);
        let (header, events) = watched.read(60 * SECOND, from, 4).unwrap();
        assert_eq!((header.lapsed, subjects(&events)), (0, vec![1]));
    }

    #[test]
    fn as_long_as_a_request_waits_everything_is_recorded() {
        let mut watched = Watched::with_room_for(4);
        let from = watched.begin(SECOND);
        watched.ring.park(&watched.lease, SECOND);
        watched.ring.park(&watched.lease, SECOND);
        watched.ring.unpark(&watched.lease, 2 * SECOND);
        watched.happens(100 * SECOND, 1);
        watched.ring.unpark(&watched.lease, 100 * SECOND);
        let (header, events) = watched.read(100 * SECOND, from, 4).unwrap();
        assert_eq!((header.lapsed, subjects(&events)), (0, vec![1]));
        watched.happens(111 * SECOND, 2);
        assert_eq!(watched.read(111 * SECOND, header.next, 4).unwrap().0.lapsed, 1);
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        let mut watched = Watched::with_room_for(4);
        let from = watched.begin(SECOND);
        let Watched { ring, lease } = &mut watched;
        let refused = |result| assert_eq!(result, Err(Status::BUFFER_TOO_SMALL));
        refused(ring.read(lease, SECOND, from, &mut [0; HEADER + EVENT - 1]));
        refused(ring.read(lease, SECOND, from, &mut [0; HEADER - 1]));
        refused(ring.read(lease, SECOND, WATCH_FROM_NOW, &mut [0; HEADER - 1]));
        assert_eq!(
            ring.read(lease, SECOND, from + 1, &mut [0; HEADER + EVENT]),
            Err(Status::INVALID_PARAMETER),
            "a position that was never given out"
        );
    }

    #[test]
    fn a_ring_without_places_records_nothing() {
        let mut watched = Watched::with_room_for(0);
        let from = watched.begin(SECOND);
        watched.happens(SECOND, 1);
        assert!(watched.read(SECOND, from, 4).is_none());
    }
}
