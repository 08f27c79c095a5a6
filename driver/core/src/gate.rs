//! The gate: whatever begins something in the driver enters through it, and once it is closed nothing new begins.
//!
//! It is a rundown that scales. Every processor has a [`Lane`] of its own, so that two classifies on two processors write to no
//! common cache line. A lane counts entries in one word and exits in others; what is inside is the difference. The exits are
//! told apart by what was done inside, which makes them the driver's statistics too: counting a classify costs nothing beyond
//! passing the gate.
//!
//! # Why closing works
//!
//! The lowest bit of a lane's entry word says that the lane is closed. Entering adds to that word and looks at the bit in one
//! atomic step, so in the word's modification order every entry is either before the closing, and then counted, or after it, and
//! then refused. Once all lanes are closed no count of admitted entries grows any more.
//!
//! [`Gate::inside`] reads all exits before all entries. Both only grow while a pass is out, and an entry precedes its exit;
//! so if the sums are equal, they were equal at the moment between the two readings: nothing was inside.
//!
//! # What it does not cover
//!
//! A thread that has left the gate, or was refused, still executes the instructions that return to its caller. No gate can
//! cover that stretch; the caller's contract must (`docs/architecture.md`, "The last instructions").

use crate::sync::{AtomicU64, Ordering, const_unless_loom, zeros};

/// Set in a lane's entry word while the lane is closed.
const CLOSED: u64 = 1;
/// What one entry adds to the entry word.
const ENTRY: u64 = 2;

/// Size of the lane's first part: the entry word and its padding. A multiple of the cache line size of all processors that Windows
/// runs on.
const LINE: usize = 64;

/// One processor's part of a gate with `EXITS` kinds of exit.
///
/// Lanes do not share cache lines if the first one begins at a cache line and `EXITS` is a multiple of eight.
#[repr(C)]
pub struct Lane<const EXITS: usize> {
    entered: AtomicU64,
    _padding: [u64; LINE / 8 - 1],
    exits: [AtomicU64; EXITS],
}

impl<const EXITS: usize> Lane<EXITS> {
    const_unless_loom! {
        /// A closed lane with nothing inside.
        #[allow(clippy::new_without_default, reason = "a closed lane is no natural default")]
        pub fn new() -> Self {
            const { assert!(EXITS.is_multiple_of(LINE / 8), "lanes would share cache lines") };
            Lane { entered: AtomicU64::new(CLOSED), _padding: [0; LINE / 8 - 1], exits: zeros() }
        }
    }
}

#[cfg(loom)]
impl<const EXITS: usize> crate::sync::Retire for Lane<EXITS> {
    fn retire(&mut self) {
        self.entered.retire();
        self.exits.retire();
    }
}

/// A gate over the lanes of all processors.
///
/// A gate without lanes is closed for good.
#[derive(Clone, Copy)]
pub struct Gate<'a, const EXITS: usize> {
    lanes: &'a [Lane<EXITS>],
}

impl<'a, const EXITS: usize> Gate<'a, EXITS> {
    pub const fn new(lanes: &'a [Lane<EXITS>]) -> Self {
        Gate { lanes }
    }

    /// Lets work in.
    pub fn open(&self) {
        for lane in self.lanes {
            lane.entered.fetch_and(!CLOSED, Ordering::AcqRel);
        }
    }

    /// Refuses all work from now on, then waits until what is inside has left: the only way to close a gate, because
    /// whoever looks first and closes afterwards has looked too early. `wait` lets time pass.
    ///
    /// All that was done inside is visible to whoever returns from here, and nobody enters until the gate is opened again.
    /// IRQL: as `wait` needs it.
    pub fn close_and_wait(&self, mut wait: impl FnMut()) {
        self.close();
        while self.inside() != 0 {
            wait();
        }
    }

    /// Refuses all work from now on. What is inside stays inside: see [`Gate::inside`].
    fn close(&self) {
        for lane in self.lanes {
            lane.entered.fetch_or(CLOSED, Ordering::AcqRel);
        }
    }

    /// Enters on the lane of `processor`, or `None` if the gate is closed. Callable at any IRQL.
    ///
    /// Any number is accepted: a processor beyond the lanes shares one.
    #[inline(always)]
    pub fn enter(&self, processor: u32) -> Option<Pass<'a, EXITS>> {
        let index = processor as usize;
        let lane = match self.lanes.get(index) {
            Some(lane) => lane,
            None => self.lanes.get(index.checked_rem(self.lanes.len())?)?,
        };
        // Acquire: what is inside sees what was made ready before the gate opened.
        if lane.entered.fetch_add(ENTRY, Ordering::Acquire) & CLOSED != 0 {
            lane.entered.fetch_sub(ENTRY, Ordering::Relaxed);
            return None;
        }
        Some(Pass { lane })
    }

    /// How many passes are out. Once the gate is closed, zero means zero for good.
    pub fn inside(&self) -> u64 {
        // Acquire: who sees an exit also sees all that was done before it.
        let left = (0..EXITS).map(|exit| self.exits(exit)).fold(0u64, u64::wrapping_add);
        self.entered().wrapping_sub(left)
    }

    /// How many passes were given out.
    pub fn entered(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.entered.load(Ordering::Acquire) / ENTRY).fold(0, u64::wrapping_add)
    }

    /// How many passes left by `exit`.
    pub fn exits(&self, exit: usize) -> u64 {
        self.lanes
            .iter()
            .filter_map(|lane| lane.exits.get(exit))
            .map(|count| count.load(Ordering::Acquire))
            .fold(0, u64::wrapping_add)
    }
}

/// Proof of having entered. It must be given back by [`Pass::leave`]; one that is dropped leaves by exit 0.
#[must_use]
pub struct Pass<'a, const EXITS: usize> {
    lane: &'a Lane<EXITS>,
}

/// The exit of passes that are dropped.
pub const DROPPED: usize = 0;

impl<const EXITS: usize> Pass<'_, EXITS> {
    /// Leaves by `exit`; a number beyond the exits means [`DROPPED`].
    #[inline(always)]
    pub fn leave(self, exit: usize) {
        let lane = self.lane;
        core::mem::forget(self);
        count_exit(lane, exit);
    }
}

impl<const EXITS: usize> Drop for Pass<'_, EXITS> {
    fn drop(&mut self) {
        count_exit(self.lane, DROPPED);
    }
}

#[inline(always)]
fn count_exit<const EXITS: usize>(lane: &Lane<EXITS>, exit: usize) {
    let exit = if exit < EXITS { exit } else { DROPPED };
    // Release: who sees this exit sees all that was done before it, and may free what was used inside.
    lane.exits[exit].fetch_add(1, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::vec::Vec;

    fn lanes(count: usize) -> Vec<Lane<8>> {
        (0..count).map(|_| Lane::new()).collect()
    }

    #[test]
    fn a_new_gate_is_closed() {
        let lanes = lanes(2);
        let gate = Gate::new(&lanes);
        assert!(gate.enter(0).is_none());
        assert_eq!(gate.inside(), 0);
    }

    #[test]
    fn a_gate_without_lanes_admits_nobody() {
        let gate = Gate::<8>::new(&[]);
        gate.open();
        assert!(gate.enter(3).is_none());
    }

    #[test]
    fn a_processor_beyond_the_lanes_shares_one() {
        let lanes = lanes(2);
        let gate = Gate::new(&lanes);
        gate.open();
        let pass = gate.enter(7).unwrap();
        assert_eq!(lanes[1].entered.load(Ordering::Relaxed), ENTRY);
        pass.leave(1);
    }

    #[test]
    fn closing_refuses_newcomers_and_keeps_count_of_those_inside() {
        let lanes = lanes(2);
        let gate = Gate::new(&lanes);
        gate.open();
        let early = gate.enter(0).unwrap();
        gate.close();
        assert!(gate.enter(0).is_none());
        assert!(gate.enter(1).is_none());
        assert_eq!(gate.inside(), 1);
        early.leave(3);
        assert_eq!(gate.inside(), 0);
        assert_eq!(gate.exits(3), 1);
    }

    #[test]
    fn closing_and_waiting_returns_when_the_last_one_has_left() {
        let lanes = lanes(2);
        let gate = Gate::new(&lanes);
        gate.open();
        let mut passes: Vec<_> = (0..3).filter_map(|processor| gate.enter(processor)).collect();
        let mut waits = 0;
        gate.close_and_wait(|| {
            assert!(gate.enter(0).is_none(), "it was not closed before it was looked at");
            passes.pop();
            waits += 1;
        });
        assert_eq!(waits, 3);
    }

    #[test]
    fn a_refused_entry_leaves_no_trace() {
        let lanes = lanes(1);
        let gate = Gate::new(&lanes);
        gate.open();
        gate.close();
        for _ in 0..100 {
            assert!(gate.enter(0).is_none());
        }
        assert_eq!((gate.entered(), gate.inside()), (0, 0));
        gate.open();
        gate.enter(0).unwrap().leave(1);
        assert_eq!((gate.entered(), gate.inside()), (1, 0));
    }

    #[test]
    fn a_dropped_pass_has_left() {
        let lanes = lanes(1);
        let gate = Gate::new(&lanes);
        gate.open();
        drop(gate.enter(0));
        assert_eq!(gate.inside(), 0);
        assert_eq!(gate.exits(DROPPED), 1);
    }

    #[test]
    fn a_pass_with_no_such_exit_leaves_by_that_of_dropped_ones() {
        let lanes = lanes(1);
        let gate = Gate::new(&lanes);
        gate.open();
        for exit in [8, usize::MAX] {
            gate.enter(0).unwrap().leave(exit);
        }
        assert_eq!((gate.inside(), gate.exits(DROPPED)), (0, 2));
    }

    #[test]
    fn nobody_is_inside_once_a_closed_gate_says_so() {
        for _ in 0..200 {
            let lanes = lanes(2);
            let gate = Gate::new(&lanes);
            gate.open();
            let freed = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for processor in 0..4 {
                    let freed = &freed;
                    scope.spawn(move || {
                        while let Some(pass) = gate.enter(processor) {
                            assert!(!freed.load(Ordering::Relaxed), "used inside the gate after it was freed");
                            pass.leave(1);
                        }
                    });
                }
                std::thread::yield_now();
                gate.close_and_wait(std::thread::yield_now);
                freed.store(true, Ordering::Relaxed);
            });
            assert_eq!(gate.entered(), gate.exits(1));
        }
    }
}
