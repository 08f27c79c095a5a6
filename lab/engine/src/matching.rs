//! Conditions against incoming values: what a filter's condition may say of a field, compiled once, tested at every classify.
//!
//! Documentation pages: "FWPM_FILTER_CONDITION0", "FWP_MATCH_TYPE".

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use crate::error::FwpError;
use crate::layers::{DataType, Field, FieldType, Layer};
use crate::objects::{Condition, ConditionValue, MatchType};
use crate::security::{AccessList, is_sid};
use crate::trace::{ConditionResult, ConditionTrace};

/// A classified value (`FWPS_INCOMING_VALUE0`). IPv4 addresses and ports are in host order, IPv6 and MAC addresses in network order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// `FWP_EMPTY`: not known for this connection or packet.
    Empty,
    Uint8(u8),
    Uint16(u16),
    Uint32(u32),
    Uint64(u64),
    ByteArray16(&'a [u8; 16]),
    ByteBlob(&'a [u8]),
    Sid(&'a [u8]),
    ByteArray6(&'a [u8; 6]),
    /// `FWP_TOKEN_INFORMATION_TYPE` and `FWP_TOKEN_ACCESS_INFORMATION_TYPE`: the SIDs of a token, user and enabled groups.
    Token(&'a [&'a [u8]]),
}

/// A condition as the kernel's filter carries it (`FWPS_FILTER_CONDITION0`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeCondition {
    /// Index into the incoming values.
    pub field: u16,
    pub match_type: MatchType,
    pub value: ConditionValue,
}

/// The conditions of one filter, ready to be tested.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matcher(Arc<[Step]>);

#[derive(Debug, Clone)]
struct Step {
    field: u16,
    /// The next step is an alternative to this one: it has the same field.
    or: bool,
    negated: bool,
    test: Test,
    /// On the first of many alternatives.
    many: Option<Box<Many>>,
}

/// Many alternatives that are all intervals of numbers, together.
#[derive(Debug, Clone)]
struct Many {
    count: usize,
    /// In order, and apart from each other.
    intervals: Box<[(u128, u128)]>,
}

/// From so many alternatives on they are searched, not tested one after the other.
const MANY: usize = 8;

#[derive(Debug, Clone)]
enum Test {
    Empty,
    /// Inclusive. Integers, MAC addresses, IPv4 networks.
    Between(u64, u64),
    AllSet(u64),
    AnySet(u64),
    NoneSet(u64),
    /// Inclusive. IPv6 addresses and networks, other 16-byte arrays.
    Between16(Box<(u128, u128)>),
    /// Inclusive; `None` is unbounded. Ordered as bytes.
    BytesBetween(Box<(Bound, Bound)>),
    EndsWith(Box<[u8]>),
    Sid(Box<[u8]>),
    Token(AccessList),
    /// Nothing the incoming values carry can match.
    Never,
}

#[derive(Debug, Clone)]
enum Bound {
    Open,
    Including(Box<[u8]>),
    Excluding(Box<[u8]>),
}

impl Matcher {
    /// Compiles a filter's conditions, refusing what the layer's fields cannot be asked.
    pub(crate) fn new(layer: &Layer, conditions: &[Condition]) -> Result<(Self, Box<[RuntimeCondition]>), FwpError> {
        let mut steps = Vec::<Step>::with_capacity(conditions.len());
        let mut runtime = Vec::with_capacity(conditions.len());
        for condition in conditions {
            let index = layer.field_index(&condition.field).ok_or(FwpError::ConditionNotFound)?;
            let field = u16::try_from(index).map_err(|_| FwpError::OutOfBounds)?;
            if let Some(earlier) = steps.iter().rposition(|step| step.field == field) {
                if earlier + 1 != steps.len() {
                    return Err(FwpError::DuplicateCondition);
                }
                steps[earlier].or = true;
            }
            let (negated, test) = compile(&layer.fields[index], condition)?;
            steps.push(Step { field, or: false, negated, test, many: None });
            runtime.push(RuntimeCondition { field, match_type: condition.match_type, value: condition.value.clone() });
        }
        for alternatives in steps.chunk_by_mut(|one, next| one.field == next.field) {
            alternatives[0].many = Many::new(alternatives).map(Box::new);
        }
        Ok((Self(steps.into()), runtime.into()))
    }

    #[inline]
    pub(crate) fn matches(&self, values: &[Value<'_>]) -> bool {
        let mut steps = &*self.0;
        while let Some((step, mut rest)) = steps.split_first() {
            if let Some(many) = &step.many {
                if !step.value(values).is_some_and(|value| many.admit(value)) {
                    return false;
                }
                steps = &steps[many.count..];
                continue;
            }
            let mut step = step;
            while !step.matches(values) {
                let Some((alternative, others)) = rest.split_first().filter(|_| step.or) else { return false };
                (step, rest) = (alternative, others);
            }
            while step.or {
                let Some((alternative, others)) = rest.split_first() else { break };
                (step, rest) = (alternative, others);
            }
            steps = rest;
        }
        true
    }

    /// Each field that is asked about, and what its alternatives admit.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (u16, impl Iterator<Item = Interval>)> {
        let alternatives = self.0.chunk_by(|one, next| one.field == next.field);
        alternatives.map(|steps| (steps[0].field, steps.iter().map(Step::interval)))
    }

    /// Each condition for itself.
    pub(crate) fn examine(&self, values: &[Value<'_>]) -> Vec<ConditionTrace> {
        let mut alternative = false;
        let examine = |step: &Step| {
            let result = match step.value(values) {
                _ if step.matches(values) => ConditionResult::Matches,
                Some(_) => ConditionResult::Differs,
                None => ConditionResult::Unknown,
            };
            ConditionTrace { field: step.field, alternative: mem::replace(&mut alternative, step.or), result }
        };
        self.0.iter().map(examine).collect()
    }
}

impl Many {
    fn new(alternatives: &[Step]) -> Option<Self> {
        if alternatives.len() < MANY {
            return None;
        }
        let mut intervals = Vec::with_capacity(alternatives.len());
        for step in alternatives {
            match &step.test {
                _ if step.negated => return None,
                Test::Between(low, high) => intervals.push((u128::from(*low), u128::from(*high))),
                Test::Between16(bounds) => intervals.push(**bounds),
                Test::Never => {}
                _ => return None,
            }
        }
        intervals.sort_unstable();
        // What begins within an interval makes it longer.
        intervals.dedup_by(|next, interval| {
            let overlaps = next.0 <= interval.1;
            interval.1 = if overlaps { interval.1.max(next.1) } else { interval.1 };
            overlaps
        });
        Some(Self { count: alternatives.len(), intervals: intervals.into() })
    }

    fn admit(&self, value: &Value<'_>) -> bool {
        let Some(number) = value.number() else { return false };
        let after = self.intervals.partition_point(|(low, _)| *low <= number);
        self.intervals[..after].last().is_some_and(|(_, high)| number <= *high)
    }
}

impl Step {
    #[inline]
    fn matches(&self, values: &[Value<'_>]) -> bool {
        match self.value(values) {
            None => matches!(self.test, Test::Empty),
            Some(value) => self.test.matches(value) != self.negated,
        }
    }

    fn interval(&self) -> Interval {
        match &self.test {
            Test::Never if !self.negated => Interval::Nothing,
            _ if self.negated => Interval::Unknown,
            Test::Between(low, high) => Interval::Keys(u128::from(*low), u128::from(*high)),
            Test::Between16(bounds) => Interval::Keys(bounds.0, bounds.1),
            Test::BytesBetween(bounds) => match &**bounds {
                (Bound::Including(low), Bound::Including(high)) if low == high => Interval::one(hash(low)),
                _ => Interval::Unknown,
            },
            Test::Sid(sid) => Interval::one(hash(sid)),
            _ => Interval::Unknown,
        }
    }

    /// `None`: not known.
    #[inline]
    fn value<'a, 'v>(&self, values: &'a [Value<'v>]) -> Option<&'a Value<'v>> {
        values.get(usize::from(self.field)).filter(|value| **value != Value::Empty)
    }
}

impl Test {
    #[inline]
    fn matches(&self, value: &Value<'_>) -> bool {
        match self {
            Self::Empty | Self::Never => false,
            Self::Between(low, high) => integer(value).is_some_and(|value| (*low..=*high).contains(&value)),
            Self::AllSet(mask) => integer(value).is_some_and(|value| value & mask == *mask),
            Self::AnySet(mask) => integer(value).is_some_and(|value| value & mask != 0),
            Self::NoneSet(mask) => integer(value).is_some_and(|value| value & mask == 0),
            Self::Between16(bounds) => match value {
                Value::ByteArray16(bytes) => (bounds.0..=bounds.1).contains(&u128::from_be_bytes(**bytes)),
                _ => false,
            },
            Self::BytesBetween(bounds) => {
                bytes(value).is_some_and(|value| bounds.0.is_below(value) && bounds.1.is_above(value))
            }
            Self::EndsWith(suffix) => bytes(value).is_some_and(|value| value.ends_with(suffix)),
            Self::Sid(sid) => matches!(value, Value::Sid(value) if **value == **sid),
            Self::Token(list) => matches!(value, Value::Token(sids) if list.grants(sids)),
        }
    }
}

/// The keys of all values that a condition admits.
pub(crate) enum Interval {
    /// Inclusive. Others with such keys may not be admitted.
    Keys(u128, u128),
    Nothing,
    /// No interval, or none that is known.
    Unknown,
}

impl Interval {
    fn one(key: u128) -> Self {
        Self::Keys(key, key)
    }
}

impl Value<'_> {
    /// A number to look conditions up by. `None`: conditions that are met by this value are no intervals.
    #[inline]
    pub(crate) fn key(&self) -> Option<u128> {
        match self {
            Value::ByteBlob(bytes) | Value::Sid(bytes) => Some(hash(bytes)),
            other => other.number(),
        }
    }

    #[inline]
    fn number(&self) -> Option<u128> {
        match self {
            Value::ByteArray16(bytes) => Some(u128::from_be_bytes(**bytes)),
            other => integer(other).map(u128::from),
        }
    }
}

/// Of what has no order that conditions ask for.
fn hash(bytes: &[u8]) -> u128 {
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(bytes.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    u128::from(rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte))))
}

impl Bound {
    fn is_below(&self, value: &[u8]) -> bool {
        match self {
            Self::Open => true,
            Self::Including(bound) => **bound <= *value,
            Self::Excluding(bound) => **bound < *value,
        }
    }

    fn is_above(&self, value: &[u8]) -> bool {
        match self {
            Self::Open => true,
            Self::Including(bound) => *value <= **bound,
            Self::Excluding(bound) => *value < **bound,
        }
    }
}

#[inline]
fn integer(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Uint8(value) => Some(u64::from(*value)),
        Value::Uint16(value) => Some(u64::from(*value)),
        Value::Uint32(value) => Some(u64::from(*value)),
        Value::Uint64(value) => Some(*value),
        Value::ByteArray6(value) => Some(mac(value)),
        _ => None,
    }
}

fn bytes<'a>(value: &Value<'a>) -> Option<&'a [u8]> {
    match value {
        Value::ByteBlob(value) => Some(value),
        _ => None,
    }
}

fn mac(bytes: &[u8; 6]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The test, and whether its answer is to be turned round.
fn compile(field: &Field, condition: &Condition) -> Result<(bool, Test), FwpError> {
    let match_type = condition.match_type;
    let negated = matches!(match_type, MatchType::NotEqual | MatchType::NotPrefix);
    let test = match &condition.value {
        ConditionValue::Empty => match match_type {
            MatchType::Equal => Test::Empty,
            _ => return Err(FwpError::MatchTypeMismatch),
        },
        ConditionValue::Range(ends) => {
            let (low, high) = &**ends;
            if low.data_type() != field.data_type || high.data_type() != field.data_type {
                return Err(FwpError::TypeMismatch);
            }
            if match_type != MatchType::Range {
                return Err(FwpError::MatchTypeMismatch);
            }
            range(low, high)?
        }
        ConditionValue::V4AddrMask { addr, mask } => {
            address_field(field, DataType::Uint32)?;
            equality_only(match_type)?;
            if mask.leading_ones() + mask.trailing_zeros() != u32::BITS {
                return Err(FwpError::InvalidNetMask);
            }
            Test::Between(u64::from(addr & mask), u64::from(addr | !mask))
        }
        ConditionValue::V6AddrMask { addr, prefix } => {
            address_field(field, DataType::ByteArray16)?;
            equality_only(match_type)?;
            if *prefix > 128 {
                return Err(FwpError::InvalidNetMask);
            }
            let host = u128::MAX.checked_shr(u32::from(*prefix)).unwrap_or(0);
            let addr = u128::from_be_bytes(*addr);
            Test::Between16(Box::new((addr & !host, addr | host)))
        }
        ConditionValue::SecurityDescriptor(descriptor) => {
            if !matches!(field.data_type, DataType::TokenInformation | DataType::TokenAccessInformation) {
                return Err(FwpError::TypeMismatch);
            }
            equality_only(match_type)?;
            // Windows reports ERROR_INVALID_SECURITY_DESCR, which is none of the engine's own errors.
            Test::Token(AccessList::parse(descriptor).ok_or(FwpError::InvalidParameter)?)
        }
        value => {
            if value.data_type() != field.data_type {
                return Err(FwpError::TypeMismatch);
            }
            single(match_type, value)?
        }
    };
    Ok((negated, test))
}

fn single(match_type: MatchType, value: &ConditionValue) -> Result<Test, FwpError> {
    use MatchType::*;
    let equality = matches!(match_type, Equal | NotEqual);
    match value {
        ConditionValue::Uint8(_)
        | ConditionValue::Uint16(_)
        | ConditionValue::Uint32(_)
        | ConditionValue::Uint64(_) => {
            let value = number(value);
            Ok(match match_type {
                Equal | NotEqual => Test::Between(value, value),
                Greater => value.checked_add(1).map_or(Test::Never, |low| Test::Between(low, u64::MAX)),
                Less => value.checked_sub(1).map_or(Test::Never, |high| Test::Between(0, high)),
                GreaterOrEqual => Test::Between(value, u64::MAX),
                LessOrEqual => Test::Between(0, value),
                FlagsAllSet => Test::AllSet(value),
                FlagsAnySet => Test::AnySet(value),
                FlagsNoneSet => Test::NoneSet(value),
                Range | EqualCaseInsensitive | Prefix | NotPrefix => return Err(FwpError::MatchTypeMismatch),
            })
        }
        ConditionValue::ByteArray6(value) if equality => Ok(Test::Between(mac(value), mac(value))),
        ConditionValue::ByteArray16(value) => {
            let value = u128::from_be_bytes(*value);
            let between = |low, high| Test::Between16(Box::new((low, high)));
            Ok(match match_type {
                Equal | NotEqual => between(value, value),
                Greater => value.checked_add(1).map_or(Test::Never, |low| between(low, u128::MAX)),
                Less => value.checked_sub(1).map_or(Test::Never, |high| between(0, high)),
                GreaterOrEqual => between(value, u128::MAX),
                LessOrEqual => between(0, value),
                _ => return Err(FwpError::MatchTypeMismatch),
            })
        }
        ConditionValue::ByteBlob(value) => {
            let including = || Bound::Including(value.as_slice().into());
            let excluding = || Bound::Excluding(value.as_slice().into());
            let between = |low, high| Test::BytesBetween(Box::new((low, high)));
            Ok(match match_type {
                Equal | NotEqual => between(including(), including()),
                Greater => between(excluding(), Bound::Open),
                Less => between(Bound::Open, excluding()),
                GreaterOrEqual => between(including(), Bound::Open),
                LessOrEqual => between(Bound::Open, including()),
                // Named after the prefix, defined by the suffix (page "FWP_MATCH_TYPE").
                Prefix | NotPrefix => Test::EndsWith(value.as_slice().into()),
                _ => return Err(FwpError::MatchTypeMismatch),
            })
        }
        ConditionValue::Sid(value) if !is_sid(value) => Err(FwpError::InvalidParameter),
        ConditionValue::Sid(value) if equality => Ok(Test::Sid(value.as_slice().into())),
        _ => Err(FwpError::MatchTypeMismatch),
    }
}

fn range(low: &ConditionValue, high: &ConditionValue) -> Result<Test, FwpError> {
    let (test, ordered) = match (low, high) {
        (ConditionValue::ByteArray16(low), ConditionValue::ByteArray16(high)) => {
            (Test::Between16(Box::new((u128::from_be_bytes(*low), u128::from_be_bytes(*high)))), low <= high)
        }
        (ConditionValue::ByteBlob(low), ConditionValue::ByteBlob(high)) => {
            let bounds = (Bound::Including(low.as_slice().into()), Bound::Including(high.as_slice().into()));
            (Test::BytesBetween(Box::new(bounds)), low <= high)
        }
        (
            ConditionValue::Uint8(_)
            | ConditionValue::Uint16(_)
            | ConditionValue::Uint32(_)
            | ConditionValue::Uint64(_),
            ConditionValue::Uint8(_)
            | ConditionValue::Uint16(_)
            | ConditionValue::Uint32(_)
            | ConditionValue::Uint64(_),
        ) => (Test::Between(number(low), number(high)), number(low) <= number(high)),
        _ => return Err(FwpError::MatchTypeMismatch),
    };
    if ordered { Ok(test) } else { Err(FwpError::InvalidRange) }
}

fn address_field(field: &Field, data_type: DataType) -> Result<(), FwpError> {
    if field.field_type == FieldType::IpAddress && field.data_type == data_type {
        Ok(())
    } else {
        Err(FwpError::TypeMismatch)
    }
}

fn equality_only(match_type: MatchType) -> Result<(), FwpError> {
    if matches!(match_type, MatchType::Equal | MatchType::NotEqual) { Ok(()) } else { Err(FwpError::MatchTypeMismatch) }
}

fn number(value: &ConditionValue) -> u64 {
    match value {
        ConditionValue::Uint8(value) => u64::from(*value),
        ConditionValue::Uint16(value) => u64::from(*value),
        ConditionValue::Uint32(value) => u64::from(*value),
        ConditionValue::Uint64(value) => *value,
        _ => 0,
    }
}
