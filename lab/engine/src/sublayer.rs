//! The filters of one sublayer at one layer.
//!
//! Most of them are in one large run. Those that came since are in a small one beside it, and those that went are marked, so that a change
//! costs what it changes, and not what is there; when they have become many, everything becomes one run again.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::{iter, mem};

use crate::index::Index;
use crate::matching::{Matcher, Value};
use crate::runtime::RuntimeFilter;

/// So many filters are tested faster than looked up.
const WITHOUT_INDEX: usize = 16;
/// Fewer changes than this never make a run anew.
const FEW: usize = 64;
/// The part of a run that may change before it is made anew.
const PART: usize = 64;

#[derive(Debug, Clone)]
pub(crate) struct SublayerFilters {
    pub(crate) weight: u16,
    settled: Arc<Run>,
    gone: Gone,
    recent: Option<Arc<Run>>,
}

/// Filters in the order of evaluation.
#[derive(Debug)]
struct Run {
    entries: Box<[Entry]>,
    /// `None`: there are few.
    index: Option<Index>,
}

/// The matcher beside the filter, so that a search does not touch filters that do not match.
#[derive(Debug)]
struct Entry {
    matcher: Matcher,
    filter: Arc<RuntimeFilter>,
}

/// Marks on a run's filters.
#[derive(Debug, Clone, Default)]
struct Gone {
    count: usize,
    /// One bit each; empty if there is no mark.
    marks: Arc<[u64]>,
}

impl SublayerFilters {
    pub(crate) fn new(weight: u16) -> Self {
        Self { weight, settled: Arc::new(Run::new(Vec::new())), gone: Gone::default(), recent: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.settled.entries.len() == self.gone.count && self.recent.is_none()
    }

    /// After a commit.
    pub(crate) fn changed(&self, mut added: Vec<Arc<RuntimeFilter>>, removed: &[Arc<RuntimeFilter>]) -> Self {
        let (settled, mut old): (Vec<_>, Vec<_>) =
            removed.iter().map(|filter| (self.settled.position(filter), filter)).partition(|(at, _)| at.is_some());
        let gone = self.gone.with(self.settled.entries.len(), settled.iter().filter_map(|(position, _)| *position));
        old.sort_unstable_by_key(|(_, filter)| filter.id);
        let stays = |filter: &&Arc<RuntimeFilter>| old.binary_search_by_key(&filter.id, |(_, old)| old.id).is_err();
        added.extend(self.recent.iter().flat_map(|run| run.filters()).filter(stays).cloned());
        let changes = added.len() + gone.count;
        if changes > FEW.max(self.settled.entries.len() / PART) || self.settled.entries.len() <= FEW {
            let kept = self.settled.entries.iter().enumerate().filter(|(position, _)| !gone.has(*position));
            added.extend(kept.map(|(_, entry)| Arc::clone(&entry.filter)));
            return Self {
                weight: self.weight,
                settled: Arc::new(Run::new(added)),
                gone: Gone::default(),
                recent: None,
            };
        }
        let recent = (!added.is_empty()).then(|| Arc::new(Run::new(added)));
        Self { weight: self.weight, settled: Arc::clone(&self.settled), gone, recent }
    }

    /// In the order of evaluation.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &Arc<RuntimeFilter>> {
        let settled = self.settled.filters().enumerate().filter(|(position, _)| !self.gone.has(*position));
        let mut settled = settled.map(|(_, filter)| filter).peekable();
        let mut recent = self.recent.iter().flat_map(|run| run.filters()).peekable();
        iter::from_fn(move || match (settled.peek(), recent.peek()) {
            (Some(one), Some(other)) if order(other) < order(one) => recent.next(),
            (None, _) => recent.next(),
            _ => settled.next(),
        })
    }

    /// The filters that match, in the order of evaluation.
    #[inline]
    pub(crate) fn matching<'a>(&'a self, values: &'a [Value<'_>]) -> impl Iterator<Item = &'a RuntimeFilter> {
        let (mut next, mut next_recent) = (0, 0);
        iter::from_fn(move || {
            let found = self.settled.find(values, next, &self.gone);
            let Some(recent) = &self.recent else {
                let (position, filter) = found?;
                next = position + 1;
                return Some(filter);
            };
            match (found, recent.find(values, next_recent, &Gone::default())) {
                (Some((position, one)), other) if other.is_none_or(|(_, other)| order(one) < order(other)) => {
                    next = position + 1;
                    Some(one)
                }
                (_, other) => {
                    let (position, other) = other?;
                    next_recent = position + 1;
                    Some(other)
                }
            }
        })
    }

    /// Bytes that finding filters takes beyond the filters themselves, about.
    pub(crate) fn index_size(&self) -> usize {
        let runs = iter::once(&self.settled).chain(&self.recent);
        runs.map(|run| size_of_val(&*run.entries) + run.index.as_ref().map_or(0, Index::size)).sum()
    }
}

/// Windows leaves the order of equal weights open; here the older filter comes first.
fn order(filter: &RuntimeFilter) -> (Reverse<u64>, u64) {
    (Reverse(filter.weight), filter.id)
}

impl Run {
    fn new(mut filters: Vec<Arc<RuntimeFilter>>) -> Self {
        filters.sort_by_cached_key(|filter| order(filter));
        let entries: Box<[_]> =
            filters.into_iter().map(|filter| Entry { matcher: filter.matcher.clone(), filter }).collect();
        let index = (entries.len() > WITHOUT_INDEX).then(|| Index::new(entries.iter().map(|entry| &entry.matcher)));
        Self { entries, index }
    }

    fn filters(&self) -> impl Iterator<Item = &Arc<RuntimeFilter>> {
        self.entries.iter().map(|entry| &entry.filter)
    }

    fn position(&self, filter: &RuntimeFilter) -> Option<usize> {
        self.entries.binary_search_by_key(&order(filter), |entry| order(&entry.filter)).ok()
    }

    /// The first from a position on that matches and is not gone.
    #[inline]
    fn find(&self, values: &[Value<'_>], from: usize, gone: &Gone) -> Option<(usize, &RuntimeFilter)> {
        let matches = |position: usize, entry: &Entry| entry.matcher.matches(values) && !gone.has(position);
        let position = match &self.index {
            None => {
                let mut rest = self.entries.get(from..)?.iter().zip(from..);
                rest.find(|(entry, position)| matches(*position, entry))?.1
            }
            Some(index) => {
                let matches = |position| matches(position as usize, &self.entries[position as usize]);
                index.find(values, from as u32, matches)? as usize
            }
        };
        Some((position, &self.entries[position].filter))
    }
}

impl Gone {
    #[inline]
    fn has(&self, position: usize) -> bool {
        self.count != 0 && self.marks.get(position / 64).is_some_and(|marks| marks >> (position % 64) & 1 != 0)
    }

    fn with(&self, length: usize, positions: impl Iterator<Item = usize>) -> Self {
        let mut positions = positions.peekable();
        if positions.peek().is_none() {
            return self.clone();
        }
        let mut marks = self.marks.to_vec();
        marks.resize(length.div_ceil(64), 0);
        let mut count = self.count;
        for position in positions {
            let marks = &mut marks[position / 64];
            let before = mem::replace(marks, *marks | 1 << (position % 64));
            count += usize::from(before != *marks);
        }
        Self { count, marks: marks.into() }
    }
}
