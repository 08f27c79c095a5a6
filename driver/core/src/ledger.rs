//! The teardown ledger: the one list of what the driver has acquired.
//!
//! Every acquisition is entered before the next one is tried, and leaving is walking the list backwards. A start that
//! fails at some step and an ordinary unload are the same walk from different places.

/// A list of at most `N` acquired things.
pub struct Ledger<R, const N: usize> {
    entries: [Option<R>; N],
    length: usize,
    counts: Counts,
}

/// How many things a ledger has taken in and given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub acquired: u64,
    pub released: u64,
}

/// The ledger has no room for what was acquired; the thing comes back, still acquired.
#[derive(Debug)]
pub struct Full<R>(pub R);

impl<R, const N: usize> Ledger<R, N> {
    pub const fn new() -> Self {
        Ledger { entries: [const { None }; N], length: 0, counts: Counts { acquired: 0, released: 0 } }
    }

    /// Enters what was just acquired.
    pub fn push(&mut self, acquired: R) -> Result<(), Full<R>> {
        match self.entries.get_mut(self.length) {
            Some(entry) => {
                *entry = Some(acquired);
                self.length += 1;
                self.counts.acquired += 1;
                Ok(())
            }
            None => Err(Full(acquired)),
        }
    }

    /// Walks the ledger backwards until it is empty. An entry is struck off only after `release` has returned, so whoever looks at
    /// a ledger that hangs sees what it hangs at.
    pub fn unwind(&mut self, mut release: impl FnMut(&mut R)) {
        while let Some(last) = self.length.checked_sub(1) {
            if let Some(entry) = &mut self.entries[last] {
                release(entry);
                self.counts.released += 1;
            }
            self.entries[last] = None;
            self.length = last;
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl<R, const N: usize> Default for Ledger<R, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn leaving_is_the_way_in_walked_backwards() {
        let mut ledger = Ledger::<_, 4>::new();
        for thing in ["device", "callout", "filter"] {
            ledger.push(thing).unwrap();
        }
        let mut released = Vec::new();
        ledger.unwind(|thing| released.push(*thing));
        assert_eq!(released, vec!["filter", "callout", "device"]);
        assert_eq!(ledger.counts(), Counts { acquired: 3, released: 3 });
    }

    #[test]
    fn a_full_ledger_gives_the_thing_back() {
        let mut ledger = Ledger::<_, 1>::new();
        ledger.push("first").unwrap();
        let Full(thing) = ledger.push("second").unwrap_err();
        assert_eq!(thing, "second");
        assert_eq!(ledger.counts().acquired, 1);
        ledger.unwind(|thing| assert_eq!(*thing, "first"));
    }

    #[test]
    fn a_second_walk_releases_nothing() {
        let mut ledger = Ledger::<_, 2>::new();
        ledger.push(1).unwrap();
        ledger.unwind(|_| ());
        ledger.unwind(|_| panic!("released twice"));
    }
}
