//! Operations that are held: authorisations that were pended (`FwpsPendOperation0`) and wait for a verdict.
//!
//! An operation is pended first and entered here afterwards, so all that is in the table can be completed. From there it goes one
//! way: *waiting* for a verdict; *being completed*, by whoever took it out with a verdict and owes `FwpsCompleteOperation0` now;
//! *remembered*, until its place is needed. Completing a connect makes the engine classify it again, on the spot
//! ("FwpsCompleteOperation0 function"), and that classify asks here for the verdict: [`Held::verdict_of`].
//!
//! The caller locks, and completes only after it has unlocked.

use postern_protocol::Layer;
use postern_protocol::ioctl::{Endpoints, HeldEntry, Verdict};

/// What an operation is recognised by when it is classified again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub layer: Layer,
    pub protocol: u8,
    pub local_address: [u8; 16],
    pub remote_address: [u8; 16],
    pub local_port: u16,
    pub remote_port: u16,
    /// `transportEndpointHandle` of the classify's metadata, or zero.
    pub transport_endpoint: u64,
}

impl Key {
    pub const fn new(layer: Layer, endpoints: &Endpoints, transport_endpoint: u64) -> Self {
        Key {
            layer,
            protocol: endpoints.protocol,
            local_address: endpoints.local_address,
            remote_address: endpoints.remote_address,
            local_port: endpoints.local_port,
            remote_port: endpoints.remote_port,
            transport_endpoint,
        }
    }
}

/// What is known of an operation.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Index of the callout that holds it.
    pub callout: u16,
    pub filter_id: u64,
    pub endpoints: Endpoints,
    pub transport_endpoint: u64,
    /// When `otherwise` is taken, in units of 100 nanoseconds.
    pub deadline: u64,
    pub otherwise: Verdict,
}

/// An operation that has its verdict. Whoever has this completes `operation`, then calls [`Held::completed`].
#[derive(Debug)]
#[must_use]
pub struct Answered<Op> {
    pub id: u64,
    pub operation: Op,
    pub verdict: Verdict,
    pub subject: Subject,
}

/// How many operations a table has taken in, and how many of them have been completed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub pended: u64,
    pub completed: u64,
}

/// A tag of zero means free: a table that is a static takes no room in the image.
#[repr(u8)]
enum Slot<Op> {
    Free = 0,
    Waiting {
        id: u64,
        key: Key,
        operation: Op,
        subject: Subject,
    },
    BeingCompleted {
        id: u64,
        key: Key,
        verdict: Verdict,
    },
    /// `order` grows from one to the next.
    Remembered {
        order: u64,
        key: Key,
        verdict: Verdict,
    },
}

/// A table of `N` operations of type `Op`.
pub struct Held<Op, const N: usize> {
    slots: [Slot<Op>; N],
    /// `pended` is the last id that was given out, too.
    counts: Counts,
}

impl<Op, const N: usize> Held<Op, N> {
    #[expect(clippy::new_without_default, reason = "a driver has one, in a static")]
    pub const fn new() -> Self {
        Held { slots: [const { Slot::Free }; N], counts: Counts { pended: 0, completed: 0 } }
    }

    /// Enters an operation that has just been pended, and returns its id, which is never zero and never used again. If there is no room
    /// the operation comes back, still to be completed.
    ///
    /// What is remembered of earlier operations with the same key is forgotten.
    pub fn begin(&mut self, layer: Layer, subject: Subject, operation: Op) -> Result<u64, Op> {
        let key = Key::new(layer, &subject.endpoints, subject.transport_endpoint);
        for slot in &mut self.slots {
            if matches!(slot, Slot::Remembered { key: remembered, .. } if *remembered == key) {
                *slot = Slot::Free;
            }
        }
        let reusable = self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::Free => Some((0, slot)),
            Slot::Remembered { order, .. } => Some((*order, slot)),
            _ => None,
        });
        let Some((_, slot)) = reusable.min_by_key(|(order, _)| *order) else { return Err(operation) };
        self.counts.pended += 1;
        let id = self.counts.pended;
        *slot = Slot::Waiting { id, key, operation, subject };
        Ok(id)
    }

    /// Takes operation `id` out with `verdict`, or `None` if it does not wait (any more).
    pub fn answer(&mut self, id: u64, verdict: Verdict) -> Option<Answered<Op>> {
        self.take(Some(verdict), |waiting, _| waiting == id)
    }

    /// Takes out one operation whose time is up, with the verdict of its filter.
    pub fn expire(&mut self, now: u64) -> Option<Answered<Op>> {
        self.take(None, |_, subject| subject.deadline <= now)
    }

    /// Takes out any operation that waits, with the verdict of its filter: the driver leaves.
    pub fn drain(&mut self) -> Option<Answered<Op>> {
        self.take(None, |_, _| true)
    }

    fn take(&mut self, verdict: Option<Verdict>, wanted: impl Fn(u64, &Subject) -> bool) -> Option<Answered<Op>> {
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| matches!(slot, Slot::Waiting { id, subject, .. } if wanted(*id, subject)))?;
        match core::mem::replace(slot, Slot::Free) {
            Slot::Waiting { id, key, operation, subject } => {
                let verdict = verdict.unwrap_or(subject.otherwise);
                *slot = Slot::BeingCompleted { id, key, verdict };
                Some(Answered { id, operation, verdict, subject })
            }
            // Only one that waits was looked for.
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Operation `id`, which was taken out, has been completed. Its verdict stays known until its place is needed.
    pub fn completed(&mut self, id: u64) {
        let counts = &mut self.counts;
        for slot in &mut self.slots {
            if let Slot::BeingCompleted { id: taken, key, verdict } = *slot
                && taken == id
            {
                counts.completed += 1;
                *slot = Slot::Remembered { order: counts.completed, key, verdict };
            }
        }
    }

    /// The verdict of the operation that `key` is a further classify of: one that is being completed, or was.
    pub fn verdict_of(&self, key: &Key) -> Option<Verdict> {
        let found = self.slots.iter().filter_map(|slot| match slot {
            Slot::BeingCompleted { id, key: taken, verdict } if taken == key => Some(((true, *id), *verdict)),
            Slot::Remembered { order, key: remembered, verdict } if remembered == key => {
                Some(((false, *order), *verdict))
            }
            _ => None,
        });
        found.max_by_key(|(newest, _)| *newest).map(|(_, verdict)| verdict)
    }

    /// Whether an operation with this key waits.
    pub fn is_waiting(&self, key: &Key) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Waiting { key: waiting, .. } if waiting == key))
    }

    /// The operations that wait, in no particular order.
    pub fn waiting(&self, now: u64) -> impl Iterator<Item = HeldEntry> {
        const PER_MILLISECOND: u64 = 10_000;
        self.slots.iter().filter_map(move |slot| match slot {
            Slot::Waiting { id, subject, .. } => Some(HeldEntry {
                operation: *id,
                filter_id: subject.filter_id,
                remaining_ms: u32::try_from(subject.deadline.saturating_sub(now) / PER_MILLISECOND).unwrap_or(u32::MAX),
                otherwise: subject.otherwise as u8,
                reserved: [0; 3],
                endpoints: subject.endpoints,
            }),
            _ => None,
        })
    }

    /// When [`Held::expire`] has something to do next.
    pub fn next_deadline(&self) -> Option<u64> {
        let deadlines = self.slots.iter().filter_map(|slot| match slot {
            Slot::Waiting { subject, .. } => Some(subject.deadline),
            _ => None,
        });
        deadlines.min()
    }

    /// Equal if no operation waits or is being completed.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// An operation that must not be dropped before it has been completed.
    #[derive(Debug)]
    struct Pended(bool);

    impl Pended {
        fn new() -> Self {
            Pended(false)
        }
    }

    impl Drop for Pended {
        fn drop(&mut self) {
            assert!(self.0 || std::thread::panicking(), "dropped uncompleted");
        }
    }

    const LAYER: Layer = Layer::AleAuthConnectV4;

    fn subject(remote_port: u16, deadline: u64) -> Subject {
        Subject {
            callout: 38,
            filter_id: 70_000,
            endpoints: Endpoints { remote_port, protocol: 6, ip_version: 4, ..Endpoints::default() },
            transport_endpoint: 0x77,
            deadline,
            otherwise: Verdict::Block,
        }
    }

    fn key(remote_port: u16) -> Key {
        Key::new(LAYER, &subject(remote_port, 0).endpoints, 0x77)
    }

    fn complete<const N: usize>(held: &mut Held<Pended, N>, answered: Option<Answered<Pended>>) -> (u64, Verdict) {
        let mut answered = answered.expect("an operation to complete");
        answered.operation.0 = true;
        held.completed(answered.id);
        (answered.id, answered.verdict)
    }

    #[test]
    fn an_answer_takes_the_operation_out_once() {
        let mut held = Held::<Pended, 2>::new();
        let id = held.begin(LAYER, subject(443, 100), Pended::new()).unwrap();
        let answered = held.answer(id, Verdict::Permit);
        assert!(held.answer(id, Verdict::Block).is_none(), "it waits no more");
        assert!(held.expire(u64::MAX).is_none());
        assert!(held.drain().is_none());
        assert_eq!(complete(&mut held, answered), (id, Verdict::Permit));
        assert!(held.answer(id, Verdict::Block).is_none());
        assert_eq!(held.counts(), Counts { pended: 1, completed: 1 });
    }

    #[test]
    fn an_unknown_id_answers_nothing() {
        let mut held = Held::<Pended, 2>::new();
        let id = held.begin(LAYER, subject(443, 100), Pended::new()).unwrap();
        for unknown in [0, id + 1, u64::MAX] {
            assert!(held.answer(unknown, Verdict::Permit).is_none());
        }
        let last = held.drain();
        complete(&mut held, last);
    }

    #[test]
    fn a_full_table_gives_the_operation_back() {
        let mut held = Held::<Pended, 1>::new();
        let id = held.begin(LAYER, subject(1, 100), Pended::new()).unwrap();
        let mut back = held.begin(LAYER, subject(2, 100), Pended::new()).unwrap_err();
        back.0 = true;
        assert_eq!(held.counts().pended, 1);
        let answered = held.answer(id, Verdict::Permit);
        let mut back = held.begin(LAYER, subject(2, 100), Pended::new()).unwrap_err();
        back.0 = true;
        complete(&mut held, answered);
        held.begin(LAYER, subject(2, 100), Pended::new()).unwrap();
        let last = held.drain();
        complete(&mut held, last);
    }

    #[test]
    fn time_takes_the_filters_own_verdict() {
        let mut held = Held::<Pended, 4>::new();
        let late = held.begin(LAYER, subject(1, 200), Pended::new()).unwrap();
        let early =
            held.begin(LAYER, Subject { otherwise: Verdict::Permit, ..subject(2, 100) }, Pended::new()).unwrap();
        assert_eq!(held.next_deadline(), Some(100));
        assert!(held.expire(99).is_none());
        let expired = held.expire(100);
        assert_eq!(complete(&mut held, expired), (early, Verdict::Permit));
        assert!(held.expire(100).is_none());
        assert_eq!(held.next_deadline(), Some(200));
        let expired = held.expire(u64::MAX);
        assert_eq!(complete(&mut held, expired), (late, Verdict::Block));
        assert_eq!(held.next_deadline(), None);
    }

    #[test]
    fn leaving_takes_out_all_that_waits() {
        let mut held = Held::<Pended, 4>::new();
        for port in 1..=4 {
            held.begin(LAYER, subject(port, u64::MAX), Pended::new()).unwrap();
        }
        let being_completed = held.answer(2, Verdict::Permit);
        let mut drained = Vec::new();
        while let Some(answered) = held.drain() {
            drained.push(complete(&mut held, Some(answered)));
        }
        assert_eq!(drained, [(1, Verdict::Block), (3, Verdict::Block), (4, Verdict::Block)]);
        assert_eq!(held.counts(), Counts { pended: 4, completed: 3 }, "one is still being completed");
        complete(&mut held, being_completed);
        assert_eq!(held.counts(), Counts { pended: 4, completed: 4 });
    }

    #[test]
    fn a_further_classify_finds_the_verdict_during_the_completion_and_after_it() {
        let mut held = Held::<Pended, 4>::new();
        let id = held.begin(LAYER, subject(443, 100), Pended::new()).unwrap();
        assert_eq!(held.verdict_of(&key(443)), None);
        let answered = held.answer(id, Verdict::Permit);
        assert_eq!(held.verdict_of(&key(443)), Some(Verdict::Permit));
        complete(&mut held, answered);
        assert_eq!(held.verdict_of(&key(443)), Some(Verdict::Permit));
        assert_eq!(held.verdict_of(&key(444)), None);
        assert_eq!(held.verdict_of(&Key { transport_endpoint: 0x78, ..key(443) }), None);
        assert_eq!(held.verdict_of(&Key { layer: Layer::AleAuthRecvAcceptV4, ..key(443) }), None);
    }

    #[test]
    fn a_new_operation_makes_the_verdict_of_the_last_one_forgotten() {
        let mut held = Held::<Pended, 4>::new();
        let first = held.begin(LAYER, subject(443, 100), Pended::new()).unwrap();
        let answered = held.answer(first, Verdict::Permit);
        complete(&mut held, answered);
        let second = held.begin(LAYER, subject(443, 100), Pended::new()).unwrap();
        assert_eq!(held.verdict_of(&key(443)), None);
        let answered = held.answer(second, Verdict::Block);
        assert_eq!(held.verdict_of(&key(443)), Some(Verdict::Block));
        complete(&mut held, answered);
    }

    #[test]
    fn the_verdict_remembered_longest_is_forgotten_first() {
        let mut held = Held::<Pended, 3>::new();
        for port in [1, 2, 3] {
            held.begin(LAYER, subject(port, 100), Pended::new()).unwrap();
        }
        for id in [2, 3, 1] {
            let answered = held.answer(id, Verdict::Permit);
            complete(&mut held, answered);
        }
        held.begin(LAYER, subject(4, 100), Pended::new()).unwrap();
        held.begin(LAYER, subject(5, 100), Pended::new()).unwrap();
        assert_eq!([1, 2, 3].map(|port| held.verdict_of(&key(port))), [Some(Verdict::Permit), None, None]);
        while let Some(answered) = held.drain() {
            complete(&mut held, Some(answered));
        }
    }

    #[test]
    fn an_operation_waits_until_it_is_taken_out() {
        let mut held = Held::<Pended, 2>::new();
        held.begin(LAYER, subject(443, 100), Pended::new()).unwrap();
        assert!(held.is_waiting(&key(443)) && !held.is_waiting(&key(444)));
        let answered = held.drain();
        assert!(!held.is_waiting(&key(443)));
        complete(&mut held, answered);
        assert!(!held.is_waiting(&key(443)));
    }

    #[test]
    fn ids_are_not_used_again() {
        let mut held = Held::<Pended, 1>::new();
        for expected in 1..100 {
            assert_eq!(held.begin(LAYER, subject(1, 0), Pended::new()).unwrap(), expected);
            let answered = held.expire(0);
            complete(&mut held, answered);
        }
    }

    #[test]
    fn what_waits_is_listed_with_the_time_that_is_left() {
        let mut held = Held::<Pended, 3>::new();
        held.begin(LAYER, subject(443, 50_000), Pended::new()).unwrap();
        held.begin(LAYER, subject(80, u64::MAX), Pended::new()).unwrap();
        let gone = held.begin(LAYER, subject(81, 0), Pended::new()).unwrap();
        let answered = held.answer(gone, Verdict::Permit);
        complete(&mut held, answered);
        let list: Vec<_> = held.waiting(20_000).collect();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].operation, list[0].remaining_ms, list[0].otherwise), (1, 3, Verdict::Block as u8));
        assert_eq!((list[0].filter_id, list[0].endpoints.remote_port), (70_000, 443));
        assert_eq!((list[1].operation, list[1].remaining_ms), (2, u32::MAX));
        assert_eq!(held.waiting(60_000).next().unwrap().remaining_ms, 0);
        while let Some(answered) = held.drain() {
            complete(&mut held, Some(answered));
        }
    }
}
