//! Finds, among many filters, the first that can match, by looking at few of them.
//!
//! A tree over the fields' values. A node picks a field and cuts its values into segments, at the ends of the intervals that the filters'
//! conditions admit; a value leads to the filters of its segment. Filters that ask nothing of the field, or admit much of it, are the node's
//! rest, which is a tree of its own, so that a value leads along one path, and a rest at each step. What the tree finds is tested by
//! the filter's own conditions.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::matching::{Interval, Matcher, Value};

/// So few filters are tested one after the other.
const LEAF: usize = 8;
/// The segments into which a filter is put, for each alternative of its condition, before it belongs to the rest.
const COPIES: usize = 4;

/// Filters are numbered in the order of evaluation.
#[derive(Debug)]
pub(crate) struct Index {
    nodes: Vec<Node>,
    /// The filters of all leaves.
    leaves: Vec<u32>,
    /// Where the segments of all nodes begin, and what is below each.
    starts: Vec<u128>,
    below: Vec<Tree>,
    root: Tree,
}

#[derive(Debug, Clone, Copy)]
struct Tree {
    /// [`NONE`]: there is but one filter, or none.
    node: u32,
    /// The first filter in it; [`NONE`] if it is empty.
    first: u32,
}

#[derive(Debug, Clone, Copy)]
enum Node {
    Leaf { from: u32, to: u32 },
    Split { field: u16, from: u32, to: u32, rest: Tree },
}

const NONE: u32 = u32::MAX;
const EMPTY: Tree = Tree { node: NONE, first: NONE };

impl Index {
    pub(crate) fn new<'a>(matchers: impl Iterator<Item = &'a Matcher>) -> Self {
        let matchers: Vec<_> = matchers.collect();
        let index = Self { nodes: Vec::new(), leaves: Vec::new(), starts: Vec::new(), below: Vec::new(), root: EMPTY };
        let mut builder = Builder { budget: matchers.len() * 16, matchers, index };
        let all = (0..builder.matchers.len() as u32).collect();
        let root = builder.tree(all);
        Self { root, ..builder.index }
    }

    /// The first filter from `from` on that `matches`, among those that can by what the tree looks at.
    pub(crate) fn find(&self, values: &[Value<'_>], from: u32, matches: impl Fn(u32) -> bool) -> Option<u32> {
        let mut best = NONE;
        self.search(self.root, values, from, &mut best, &matches);
        (best != NONE).then_some(best)
    }

    fn search(&self, mut tree: Tree, values: &[Value<'_>], from: u32, best: &mut u32, matches: &impl Fn(u32) -> bool) {
        while tree.first < *best {
            if tree.node == NONE {
                if tree.first >= from && matches(tree.first) {
                    *best = tree.first;
                }
                return;
            }
            match self.nodes[tree.node as usize] {
                Node::Leaf { from: begin, to } => {
                    let filters = self.leaves[begin as usize..to as usize].iter().copied();
                    let found =
                        filters.take_while(|filter| filter < best).find(|filter| *filter >= from && matches(*filter));
                    *best = found.unwrap_or(*best);
                    return;
                }
                Node::Split { field, from: begin, to, rest } => {
                    let segment = self.segment(values.get(usize::from(field)), begin as usize, to as usize);
                    let (near, far) = if segment.first < rest.first { (segment, rest) } else { (rest, segment) };
                    self.search(near, values, from, best, matches);
                    tree = far;
                }
            }
        }
    }

    fn segment(&self, value: Option<&Value<'_>>, from: usize, to: usize) -> Tree {
        let Some(key) = value.and_then(Value::key) else { return EMPTY };
        match self.starts[from..to].partition_point(|start| *start <= key) {
            0 => EMPTY,
            after => self.below[from + after - 1],
        }
    }
}

struct Builder<'a> {
    matchers: Vec<&'a Matcher>,
    index: Index,
    /// How many more filters may be put into leaves before no node is split any more: an end to copying.
    budget: usize,
}

/// What some filters ask of one field.
#[derive(Default)]
struct Asked {
    intervals: Vec<(u128, u128)>,
    /// Filter, and the end of its intervals.
    filters: Vec<(u32, usize)>,
}

/// How a node would be split by a field.
struct Plan {
    starts: Vec<u128>,
    /// Of the filters of [`Asked`], which go into segments.
    narrow: Vec<bool>,
    /// How many filters a search would have to look at.
    cost: usize,
}

impl Builder<'_> {
    fn tree(&mut self, filters: Vec<u32>) -> Tree {
        let first = match filters[..] {
            [] => return EMPTY,
            [only] => return Tree { node: NONE, first: only },
            [first, ..] => first,
        };
        let node = if filters.len() <= LEAF { None } else { self.split(&filters) };
        let node = node.unwrap_or_else(|| {
            let from = self.index.leaves.len() as u32;
            self.budget = self.budget.saturating_sub(filters.len());
            self.index.leaves.extend(filters);
            Node::Leaf { from, to: self.index.leaves.len() as u32 }
        });
        self.index.nodes.push(node);
        Tree { node: self.index.nodes.len() as u32 - 1, first }
    }

    /// By the field that leaves least to look at; `None` if that is not much less than all.
    fn split(&mut self, filters: &[u32]) -> Option<Node> {
        if self.budget < filters.len() {
            return None;
        }
        let asked = self.asked(filters);
        let plans = asked.into_iter().map(|(field, asked)| (asked.plan(filters.len()), field, asked));
        let (plan, field, asked) = plans.min_by_key(|(plan, ..)| plan.cost)?;
        if plan.cost > little_less(filters.len()) {
            return None;
        }
        let (starts, segments) = asked.segments(&plan);
        let mut narrow = asked
            .filters
            .iter()
            .zip(&plan.narrow)
            .filter(|(_, narrow)| **narrow)
            .map(|((filter, _), _)| *filter)
            .peekable();
        let rest = filters.iter().copied().filter(|filter| narrow.next_if_eq(filter).is_none()).collect();
        drop(asked);
        let rest = self.tree(rest);
        let below: Vec<_> = segments.into_iter().map(|filters| self.tree(filters)).collect();
        let from = self.index.starts.len() as u32;
        self.index.starts.extend(starts);
        self.index.below.extend(below);
        Some(Node::Split { field, from, to: self.index.starts.len() as u32, rest })
    }

    /// The fields of which filters admit intervals only.
    fn asked(&self, filters: &[u32]) -> BTreeMap<u16, Asked> {
        let mut fields = BTreeMap::<u16, Asked>::new();
        for filter in filters {
            for (field, mut intervals) in self.matchers[*filter as usize].fields() {
                let asked = fields.entry(field).or_default();
                let before = asked.intervals.len();
                let known = intervals.all(|interval| match interval {
                    Interval::Keys(low, high) => {
                        asked.intervals.push((low, high));
                        true
                    }
                    Interval::Nothing => true,
                    Interval::Unknown => false,
                });
                if known {
                    asked.filters.push((*filter, asked.intervals.len()));
                } else {
                    asked.intervals.truncate(before);
                }
            }
        }
        fields
    }
}

impl Asked {
    fn plan(&self, all: usize) -> Plan {
        let starts = boundaries(self.intervals.iter());
        let covered: Vec<_> = self.intervals.iter().map(|interval| covered(&starts, interval)).collect();
        let mut load = alloc::vec![0usize; starts.len()];
        let mut narrow = Vec::with_capacity(self.filters.len());
        for range in self.ranges() {
            let segments: usize = covered[range.clone()].iter().map(ExactSizeIterator::len).sum();
            let is_narrow = segments <= COPIES * range.len();
            if is_narrow {
                covered[range].iter().flat_map(Clone::clone).for_each(|segment| load[segment] += 1);
            }
            narrow.push(is_narrow);
        }
        let copies: usize = load.iter().sum();
        let mean = load.iter().map(|load| load * load).sum::<usize>() / copies.max(1);
        let rest = all - narrow.iter().filter(|narrow| **narrow).count();
        // A segment with nearly all would be split by the same field again and again.
        let crowded = load.iter().any(|load| little_less(all) < *load);
        Plan { starts, narrow, cost: if crowded { all } else { rest + mean } }
    }

    /// Where segments start, and the filters of each, in order.
    fn segments(&self, plan: &Plan) -> (Vec<u128>, Vec<Vec<u32>>) {
        let narrow = || self.filters.iter().zip(self.ranges()).zip(&plan.narrow).filter(|(_, narrow)| **narrow);
        let intervals = || narrow().flat_map(|((_, range), _)| &self.intervals[range]);
        // Without those of wide filters there are fewer.
        let starts =
            if plan.narrow.iter().all(|narrow| *narrow) { plan.starts.clone() } else { boundaries(intervals()) };
        let mut segments = alloc::vec![Vec::new(); starts.len()];
        for (((filter, _), range), _) in narrow() {
            for segment in self.intervals[range].iter().flat_map(|interval| covered(&starts, interval)) {
                // Alternatives may overlap.
                let filters: &mut Vec<u32> = &mut segments[segment];
                if filters.last() != Some(filter) {
                    filters.push(*filter);
                }
            }
        }
        (starts, segments)
    }

    /// The intervals of each filter.
    fn ranges(&self) -> impl Iterator<Item = core::ops::Range<usize>> {
        let mut from = 0;
        self.filters.iter().map(move |(_, end)| core::mem::replace(&mut from, *end)..*end)
    }
}

/// What a part of so many filters may have at most to be worth splitting off.
fn little_less(all: usize) -> usize {
    all - all.div_ceil(8)
}

fn boundaries<'a>(intervals: impl Iterator<Item = &'a (u128, u128)>) -> Vec<u128> {
    let ends = intervals.flat_map(|(low, high)| [Some(*low), high.checked_add(1)]);
    let mut starts: Vec<_> = ends.flatten().collect();
    starts.sort_unstable();
    starts.dedup();
    starts
}

fn covered(starts: &[u128], (low, high): &(u128, u128)) -> core::ops::Range<usize> {
    let before = |key: &u128| starts.partition_point(|start| start < key);
    before(low)..high.checked_add(1).map_or(starts.len(), |end| before(&end))
}

impl Index {
    /// Bytes, about.
    pub(crate) fn size(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.leaves) + size_of_val(&*self.starts) + size_of_val(&*self.below)
    }
}
