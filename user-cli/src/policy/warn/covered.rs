//! Rules that never decide, because one of more weight in the same sublayer matches all that they match.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use postern_engine::layers;
use postern_engine::objects::{Action, Condition, ConditionValue, Filter, FilterFlags, MatchType};
use postern_engine::values::contain;
use postern_engine::weight::{Layout, effective};
use uuid::Uuid;

use super::{data_type, fields};
use crate::filter::describe;
use crate::policy::compile::{Policy, Wanted};
use crate::policy::problem::Problem;

pub fn warnings(policy: &Policy) -> Vec<Problem> {
    let mut found: Vec<Problem> = Vec::new();
    for (wanted, other) in covered(policy) {
        let Filter { display, layer, .. } = &wanted.filter;
        let problem = Problem::warning(
            wanted.span.clone(),
            format!(
                "rule '{}' never decides at {}: '{}' has more weight and matches all that it matches",
                display.name,
                describe::layer(layer),
                other.filter.display.name
            ),
        );
        found.push(problem.and(other.span.clone(), "this rule decides").help("give it more weight, or leave it out"));
    }
    found
}

/// The filters that never decide, each with one that does instead.
pub fn covered(policy: &Policy) -> Vec<(&Wanted, &Wanted)> {
    let mut layouts: HashMap<Uuid, Layout> = HashMap::new();
    // Boot-time filters and the others are never in force together.
    let mut places: BTreeMap<(Uuid, Uuid, bool), Vec<Member>> = BTreeMap::new();
    for wanted in &policy.filters {
        let filter = &wanted.filter;
        let Some(layer) = layers::by_key(&filter.layer) else { continue };
        let layout = layouts.entry(filter.layer).or_insert_with(|| Layout::of(layer));
        let Ok(weight) = effective(layout, filter.weight, &filter.conditions) else { continue };
        let place = (filter.layer, filter.sublayer, filter.flags.contains(FilterFlags::BOOTTIME));
        places.entry(place).or_default().push(Member { wanted, weight });
    }
    let mut found = Vec::new();
    for members in places.values() {
        let index = Index::new(members);
        found.extend(members.iter().filter_map(|member| Some((member.wanted, index.cover_of(member)?.wanted))));
    }
    found
}

#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    wanted: &'a Wanted,
    weight: u64,
}

/// The filters that decide by themselves, by the fields that they have conditions on.
struct Index<'a>(Vec<Bucket<'a>>);

struct Bucket<'a> {
    fields: BTreeSet<Uuid>,
    /// The field that tells them apart best.
    pivot: Option<Uuid>,
    by_block: HashMap<Block, Vec<Member<'a>>>,
    sizes: BTreeSet<u32>,
    /// Those that have no block.
    loose: Vec<Member<'a>>,
}

impl<'a> Index<'a> {
    fn new(members: &[Member<'a>]) -> Index<'a> {
        let mut by_fields: BTreeMap<BTreeSet<Uuid>, Vec<Member<'a>>> = BTreeMap::new();
        // What a callout decides is not known here.
        let decide = |member: &&Member| matches!(member.wanted.filter.action, Action::Permit | Action::Block);
        for member in members.iter().filter(decide) {
            by_fields.entry(field_set(&member.wanted.filter)).or_default().push(*member);
        }
        Index(by_fields.into_iter().map(|(fields, members)| Bucket::new(fields, members)).collect())
    }

    fn cover_of(&self, member: &Member) -> Option<Member<'a>> {
        let own = field_set(&member.wanted.filter);
        self.0.iter().filter(|bucket| bucket.fields.is_subset(&own)).find_map(|bucket| bucket.cover_of(member))
    }
}

impl<'a> Bucket<'a> {
    fn new(fields: BTreeSet<Uuid>, members: Vec<Member<'a>>) -> Bucket<'a> {
        let distinct = |field: &Uuid| {
            let blocks: BTreeSet<Block> =
                members.iter().filter_map(|member| Block::of(&member.wanted.filter, field)).collect();
            blocks.len()
        };
        let pivot = fields.iter().max_by_key(|field| distinct(field)).copied();
        let mut bucket = Bucket { fields, pivot, by_block: HashMap::new(), sizes: BTreeSet::new(), loose: Vec::new() };
        for member in members {
            match bucket.block(&member.wanted.filter) {
                Some(block) => {
                    bucket.sizes.insert(block.size);
                    bucket.by_block.entry(block).or_default().push(member);
                }
                None => bucket.loose.push(member),
            }
        }
        bucket
    }

    fn block(&self, filter: &Filter) -> Option<Block> {
        Block::of(filter, &self.pivot?)
    }

    fn cover_of(&self, member: &Member) -> Option<Member<'a>> {
        let covers =
            |other: &&Member| other.weight > member.weight && covers(&other.wanted.filter, &member.wanted.filter);
        if let Some(other) = self.loose.iter().find(covers) {
            return Some(*other);
        }
        match self.block(&member.wanted.filter) {
            // What covers it has a block that its own lies in.
            Some(block) => self
                .sizes
                .range(block.size..)
                .filter_map(|size| self.by_block.get(&block.within(*size)))
                .find_map(|others| others.iter().find(covers).copied()),
            None => self.by_block.values().find_map(|others| others.iter().find(covers).copied()),
        }
    }
}

/// The smallest aligned block of `2^size` numbers that holds all that the conditions on a field match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Block {
    size: u32,
    start: u128,
}

impl Block {
    fn of(filter: &Filter, field: &Uuid) -> Option<Block> {
        let alternatives = fields(filter).find(|alternatives| alternatives[0].field == *field)?;
        let hulls = alternatives.iter().map(hull).collect::<Option<Vec<_>>>()?;
        // Byte strings have no order that counts here: several of them have no block.
        if alternatives.len() > 1
            && matches!(alternatives[0].value, ConditionValue::ByteBlob(_) | ConditionValue::Sid(_))
        {
            return None;
        }
        let low = hulls.iter().map(|(low, _)| *low).min()?;
        let high = hulls.iter().map(|(_, high)| *high).max()?;
        Some(Block { size: 0, start: low }.within(u128::BITS - (low ^ high).leading_zeros()))
    }

    /// The block of that size, which is not smaller, that this one lies in.
    fn within(self, size: u32) -> Block {
        Block { size, start: self.start & u128::MAX.checked_shl(size).unwrap_or(0) }
    }
}

/// The smallest and the largest number that a condition matches, or the hash of the one byte string.
fn hull(condition: &Condition) -> Option<(u128, u128)> {
    if !matches!(condition.match_type, MatchType::Equal | MatchType::Range) {
        return None;
    }
    let one = |value: &ConditionValue| {
        Some(match value {
            ConditionValue::Uint8(number) => u128::from(*number),
            ConditionValue::Uint16(number) => u128::from(*number),
            ConditionValue::Uint32(number) => u128::from(*number),
            ConditionValue::Uint64(number) => u128::from(*number),
            ConditionValue::ByteArray16(bytes) => u128::from_be_bytes(*bytes),
            _ => return None,
        })
    };
    Some(match &condition.value {
        ConditionValue::V4AddrMask { addr, mask } => (u128::from(addr & mask), u128::from(addr | !mask)),
        ConditionValue::V6AddrMask { addr, prefix } => {
            let hosts = u128::MAX.checked_shr(u32::from(*prefix)).unwrap_or(0);
            let addr = u128::from_be_bytes(*addr);
            (addr & !hosts, addr | hosts)
        }
        ConditionValue::Range(ends) => (one(&ends.0)?, one(&ends.1)?),
        ConditionValue::ByteBlob(bytes) | ConditionValue::Sid(bytes) => {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            (u128::from(hasher.finish()), u128::from(hasher.finish()))
        }
        value => (one(value)?, one(value)?),
    })
}

fn field_set(filter: &Filter) -> BTreeSet<Uuid> {
    filter.conditions.iter().map(|condition| condition.field).collect()
}

/// Whether a filter matches all that another one matches.
pub fn covers(filter: &Filter, other: &Filter) -> bool {
    fields(filter).all(|alternatives| {
        let field = alternatives[0].field;
        let data_type = data_type(&filter.layer, &field);
        let mut wanted = fields(other).filter(|wanted| wanted[0].field == field).flatten().peekable();
        wanted.peek().is_some() && wanted.all(|wanted| contain(alternatives, wanted, data_type))
    })
}
