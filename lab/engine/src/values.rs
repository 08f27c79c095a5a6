//! Conditions as sets of values of one field: whether one lies within another, or shares a value with it.

use alloc::vec;
use alloc::vec::Vec;

use crate::layers::DataType;
use crate::objects::{Condition, ConditionValue, MatchType};

/// The numbers from `low` to `high` whose bits in `mask` are `bits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    low: u128,
    high: u128,
    mask: u128,
    bits: u128,
}

impl Piece {
    fn between(low: u128, high: u128) -> Self {
        Self { low, high, mask: 0, bits: 0 }
    }

    fn and(self, other: Self) -> Option<Self> {
        if (self.bits ^ other.bits) & self.mask & other.mask != 0 {
            return None;
        }
        let both = Self {
            low: self.low.max(other.low),
            high: self.high.min(other.high),
            mask: self.mask | other.mask,
            bits: self.bits | other.bits,
        };
        both.smallest().is_some_and(|number| number <= both.high).then_some(both)
    }

    /// The smallest number from `low` on that has the bits.
    fn smallest(self) -> Option<u128> {
        let nearest = self.low & !self.mask | self.bits;
        let differs = self.low ^ nearest;
        if differs == 0 {
            return Some(nearest);
        }
        let first = differs.ilog2();
        if nearest > self.low {
            return Some(nearest & !(below(first) & !self.mask));
        }
        let free = !self.mask & !self.low & !below(first);
        if free == 0 {
            return None;
        }
        let raised = free.trailing_zeros();
        Some((nearest | 1 << raised) & !(below(raised) & !self.mask))
    }

    /// What of `self` is not in `other`.
    fn without(self, other: Self) -> Vec<Self> {
        let below = other.low.checked_sub(1).map(|high| Self::between(0, high));
        let above = other.high.checked_add(1).map(|low| Self::between(low, u128::MAX));
        let within = Self::between(other.low, other.high);
        let wrong = (0..u128::BITS).map(|bit| 1 << bit).filter(|bit| other.mask & bit != 0);
        let wrong = wrong.map(|bit| Self { mask: bit, bits: !other.bits & bit, ..within });
        below.into_iter().chain(above).chain(wrong).filter_map(|piece| self.and(piece)).collect()
    }
}

fn below(bit: u32) -> u128 {
    (1 << bit) - 1
}

/// Whether every value that `wanted` matches is matched by one of the alternatives, which are conditions on the same field. `false` where that
/// cannot be told: of tokens, and of byte strings compared otherwise than with one value.
pub fn contain(alternatives: &[Condition], wanted: &Condition, of: DataType) -> bool {
    if alternatives.contains(wanted) {
        return true;
    }
    match (numbers(wanted, of), point(wanted)) {
        (Some(mut rest), _) => {
            for piece in alternatives.iter().filter_map(|condition| numbers(condition, of)).flatten() {
                rest = rest.into_iter().flat_map(|left| left.without(piece)).collect();
            }
            rest.is_empty()
        }
        (None, Some(bytes)) => alternatives.iter().any(|condition| matches_bytes(condition, bytes) == Some(true)),
        (None, None) => false,
    }
}

/// Whether every value is matched by one of the alternatives. `false` where that cannot be told.
pub fn match_every_value(alternatives: &[Condition], of: DataType) -> bool {
    let everything = match of {
        DataType::Uint8 => ConditionValue::Uint8(0),
        DataType::Uint16 => ConditionValue::Uint16(0),
        DataType::Uint32 => ConditionValue::Uint32(0),
        DataType::Uint64 => ConditionValue::Uint64(0),
        DataType::ByteArray6 => ConditionValue::ByteArray6([0; 6]),
        DataType::ByteArray16 => ConditionValue::ByteArray16([0; 16]),
        _ => return opposites(alternatives),
    };
    let everything = Condition { match_type: MatchType::GreaterOrEqual, value: everything, ..alternatives[0].clone() };
    contain(alternatives, &everything, of)
}

/// Two byte strings that a value cannot be at once, each of which it may not be.
fn opposites(alternatives: &[Condition]) -> bool {
    let differs = |one: &Condition| one.match_type == MatchType::NotEqual;
    alternatives.iter().filter(|one| differs(one)).any(|one| {
        alternatives.iter().any(|other| {
            matches!(other.match_type, MatchType::NotEqual if other.value != one.value)
                || matches!(other.match_type, MatchType::Equal if other.value == one.value)
        })
    })
}

/// Whether some value is matched by both. `true` where that cannot be told.
pub(crate) fn overlap(one: &Condition, other: &Condition, of: DataType) -> bool {
    let is_empty = |condition: &Condition| condition.value == ConditionValue::Empty;
    if is_empty(one) || is_empty(other) {
        return is_empty(one) && is_empty(other);
    }
    if let (Some(one), Some(other)) = (numbers(one, of), numbers(other, of)) {
        return one.iter().any(|one| other.iter().any(|other| one.and(*other).is_some()));
    }
    let told = |point_of: &Condition, other: &Condition| point(point_of).and_then(|bytes| matches_bytes(other, bytes));
    told(one, other).or_else(|| told(other, one)).unwrap_or(true)
}

/// Whether the condition can match anything.
pub(crate) fn is_possible(condition: &Condition, of: DataType) -> bool {
    numbers(condition, of).is_none_or(|pieces| !pieces.is_empty())
}

/// A condition on a field that has numbers, or addresses, which are some.
fn numbers(condition: &Condition, of: DataType) -> Option<Vec<Piece>> {
    let max = match of {
        DataType::Uint8 => u128::from(u8::MAX),
        DataType::Uint16 => u128::from(u16::MAX),
        DataType::Uint32 => u128::from(u32::MAX),
        DataType::Uint64 => u128::from(u64::MAX),
        DataType::ByteArray6 => (1 << 48) - 1,
        DataType::ByteArray16 => u128::MAX,
        _ => return None,
    };
    let everything = Piece::between(0, max);
    let one = match &condition.value {
        ConditionValue::V4AddrMask { addr, mask } => {
            Piece { mask: (*mask).into(), bits: (addr & mask).into(), ..everything }
        }
        ConditionValue::V6AddrMask { addr, prefix } => {
            let host = u128::MAX.checked_shr((*prefix).into()).unwrap_or(0);
            Piece { mask: !host, bits: u128::from_be_bytes(*addr) & !host, ..everything }
        }
        ConditionValue::Range(ends) => Piece::between(number(&ends.0)?, number(&ends.1)?),
        value => {
            let value = number(value)?;
            let bits = (0..u128::BITS).map(|bit| 1 << bit).filter(|bit| value & bit != 0);
            match condition.match_type {
                MatchType::Greater => {
                    return Some(value.checked_add(1).and_then(|low| at_least(low, max)).into_iter().collect());
                }
                MatchType::Less => {
                    return Some(value.checked_sub(1).map(|high| Piece::between(0, high)).into_iter().collect());
                }
                MatchType::GreaterOrEqual => Piece::between(value, max),
                MatchType::LessOrEqual => Piece::between(0, value),
                MatchType::FlagsAllSet => Piece { mask: value, bits: value, ..everything },
                MatchType::FlagsAnySet => {
                    return Some(bits.map(|bit| Piece { mask: bit, bits: bit, ..everything }).collect());
                }
                MatchType::FlagsNoneSet => Piece { mask: value, bits: 0, ..everything },
                _ => Piece::between(value, value),
            }
        }
    };
    match condition.match_type {
        MatchType::NotEqual => Some(everything.without(one)),
        _ => Some(vec![one]),
    }
}

fn at_least(low: u128, max: u128) -> Option<Piece> {
    (low <= max).then(|| Piece::between(low, max))
}

fn number(value: &ConditionValue) -> Option<u128> {
    Some(match value {
        ConditionValue::Uint8(value) => (*value).into(),
        ConditionValue::Uint16(value) => (*value).into(),
        ConditionValue::Uint32(value) => (*value).into(),
        ConditionValue::Uint64(value) => (*value).into(),
        ConditionValue::ByteArray6(value) => value.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)),
        ConditionValue::ByteArray16(value) => u128::from_be_bytes(*value),
        _ => return None,
    })
}

/// The one byte string that the condition matches.
fn point(condition: &Condition) -> Option<&[u8]> {
    if condition.match_type == MatchType::Equal { bytes(&condition.value) } else { None }
}

fn bytes(value: &ConditionValue) -> Option<&[u8]> {
    match value {
        ConditionValue::ByteBlob(bytes) | ConditionValue::Sid(bytes) => Some(bytes),
        _ => None,
    }
}

fn matches_bytes(condition: &Condition, value: &[u8]) -> Option<bool> {
    if let ConditionValue::Range(ends) = &condition.value {
        return Some((bytes(&ends.0)?..=bytes(&ends.1)?).contains(&value));
    }
    let own = bytes(&condition.value)?;
    Some(match condition.match_type {
        MatchType::Equal => value == own,
        MatchType::NotEqual => value != own,
        MatchType::Greater => value > own,
        MatchType::GreaterOrEqual => value >= own,
        MatchType::Less => value < own,
        MatchType::LessOrEqual => value <= own,
        // Named after the prefix, defined by the suffix (page "FWP_MATCH_TYPE").
        MatchType::Prefix => value.ends_with(own),
        MatchType::NotPrefix => !value.ends_with(own),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    /// Over eight bits everything can be counted.
    fn has(pieces: &[Piece], number: u128) -> bool {
        pieces.iter().any(|piece| (piece.low..=piece.high).contains(&number) && number & piece.mask == piece.bits)
    }

    fn any_condition() -> impl Strategy<Value = Condition> {
        use MatchType::*;
        let types =
            [Equal, NotEqual, Greater, Less, GreaterOrEqual, LessOrEqual, FlagsAllSet, FlagsAnySet, FlagsNoneSet];
        let single = (proptest::sample::select(types.to_vec()), any::<u8>())
            .prop_map(|(match_type, value)| (match_type, ConditionValue::Uint8(value)));
        let range = (any::<u8>(), any::<u8>()).prop_map(|(a, b)| {
            let ends = (ConditionValue::Uint8(a.min(b)), ConditionValue::Uint8(a.max(b)));
            (Range, ConditionValue::Range(ends.into()))
        });
        prop_oneof![single, range].prop_map(|(match_type, value)| Condition { field: Uuid::nil(), match_type, value })
    }

    fn matches(condition: &Condition, number: u8) -> bool {
        let own = |value: &ConditionValue| match value {
            ConditionValue::Uint8(value) => *value,
            other => panic!("{other:?}"),
        };
        match (&condition.value, condition.match_type) {
            (ConditionValue::Range(ends), _) => (own(&ends.0)..=own(&ends.1)).contains(&number),
            (value, MatchType::Equal) => number == own(value),
            (value, MatchType::NotEqual) => number != own(value),
            (value, MatchType::Greater) => number > own(value),
            (value, MatchType::Less) => number < own(value),
            (value, MatchType::GreaterOrEqual) => number >= own(value),
            (value, MatchType::LessOrEqual) => number <= own(value),
            (value, MatchType::FlagsAllSet) => number & own(value) == own(value),
            (value, MatchType::FlagsAnySet) => number & own(value) != 0,
            (value, MatchType::FlagsNoneSet) => number & own(value) == 0,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn sets_are_those_that_counting_finds(
            wanted in any_condition(),
            alternatives in prop::collection::vec(any_condition(), 1..4),
        ) {
            let of = DataType::Uint8;
            for number in 0..=u8::MAX {
                prop_assert_eq!(has(&numbers(&wanted, of).unwrap(), number.into()), matches(&wanted, number));
            }
            let all = 0..=u8::MAX;
            let inside = |number| alternatives.iter().any(|condition| matches(condition, number));
            prop_assert_eq!(
                contain(&alternatives, &wanted, of),
                all.clone().all(|number| !matches(&wanted, number) || inside(number))
            );
            prop_assert_eq!(
                overlap(&alternatives[0], &wanted, of),
                all.clone().any(|number| matches(&wanted, number) && matches(&alternatives[0], number))
            );
            prop_assert_eq!(is_possible(&wanted, of), all.clone().any(|number| matches(&wanted, number)));
        }
    }
}
