//! Weights of sublayers and filters.
//!
//! Documentation pages "Filter Weight Assignment" and "FwpmSubLayerAdd0" give the rules. How the automatic weight follows from the conditions
//! is documented nowhere: the groups of bits below were computed from filters and effective weights that real machines report
//! (`netsh wfp show state`, build 26100), and are approximations where [`MEASURED`] has no entry.

use alloc::collections::BTreeSet;
use core::cmp::Reverse;

use crate::error::FwpError;
use crate::layers::{DataType, Field, FieldType, Layer, field, id};
use crate::objects::{Condition, ConditionValue, MatchType, Weight};

/// The number of low bits that are computed from the conditions (`FWPM_AUTO_WEIGHT_BITS`).
const AUTO_BITS: u32 = 60;
/// `FWPM_WEIGHT_RANGE_MAX`.
const RANGE_MAX: u8 = 15;
/// Filters at the `*_FAST` layers, which have no fields.
const NO_FIELDS: u64 = 0x07FF_FFFF_FFFF_FFFF;

/// The sublayer weight that BFE assigns: the free one closest to that asked for. Of two equally close ones the higher, as on real machines.
pub(crate) fn closest_free(asked: u16, taken: &BTreeSet<u16>) -> Option<u16> {
    (0..=u16::MAX).find_map(|distance| {
        let free = |weight: &u16| !taken.contains(weight);
        asked.checked_add(distance).filter(free).or_else(|| asked.checked_sub(distance).filter(free))
    })
}

/// The weight that orders a filter within its sublayer. The conditions have been checked against the layer.
pub(crate) fn effective(layer: &Layer, weight: Weight, conditions: &[Condition]) -> Result<u64, FwpError> {
    match weight {
        Weight::Exact(weight) => Ok(weight),
        Weight::Auto => Ok(automatic(layer, conditions)),
        Weight::Range(range) if range <= RANGE_MAX => Ok(u64::from(range) << AUTO_BITS | automatic(layer, conditions)),
        Weight::Range(_) => Err(FwpError::InvalidWeight),
    }
}

/// Each field owns a group of bits; the conditions on one field add up to no more than the group's maximum.
fn automatic(layer: &Layer, conditions: &[Condition]) -> u64 {
    if layer.fields.is_empty() {
        return NO_FIELDS;
    }
    let same_field = conditions.chunk_by(|one, next| one.field == next.field);
    let contributions = same_field.filter_map(|alternatives| {
        let index = layer.field_index(&alternatives[0].field)?;
        let group = group(layer, index);
        let sum = alternatives.iter().map(|condition| group.part(&layer.fields[index], condition)).sum::<u64>();
        Some(sum.min(group.max) << group.shift)
    });
    contributions.sum()
}

/// The bits of the automatic weight that a field owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    shift: u32,
    /// A condition on `n` of the field's `2^bits` values counts `2^scale × (bits − log2 n) / bits`, at least 1.
    scale: u32,
    max: u64,
}

impl Group {
    const fn new(shift: u32, scale: u32, max: u64) -> Self {
        Self { shift, scale, max }
    }

    const fn bit(shift: u32) -> Self {
        Self::new(shift, 0, 1)
    }

    fn part(&self, field: &Field, condition: &Condition) -> u64 {
        let bits = bits(field.data_type);
        let Some(extent) = extent(bits, condition) else { return self.max };
        if extent == all_ones(bits) {
            return 0;
        }
        let whole = u128::from(bits) << 32;
        let part = ((whole - log2(extent + 1)) << self.scale) / whole;
        u64::try_from(part).unwrap_or(self.max).clamp(1, self.max)
    }
}

/// How many values beyond the first a condition admits; `None` where that is not what its weight depends on.
fn extent(bits: u32, condition: &Condition) -> Option<u128> {
    let difference = |low, high| number(high)?.checked_sub(number(low)?);
    match (&condition.value, condition.match_type) {
        (ConditionValue::Range(ends), _) => difference(&ends.0, &ends.1),
        (ConditionValue::V4AddrMask { mask, .. }, _) => Some(u128::from(!mask)),
        (ConditionValue::V6AddrMask { prefix, .. }, _) => Some(u128::MAX.checked_shr(u32::from(*prefix)).unwrap_or(0)),
        (value, MatchType::GreaterOrEqual) => Some(all_ones(bits) - number(value)?),
        (value, MatchType::Greater) => Some((all_ones(bits) - number(value)?).saturating_sub(1)),
        (value, MatchType::LessOrEqual) => number(value),
        (value, MatchType::Less) => Some(number(value)?.saturating_sub(1)),
        _ => None,
    }
}

fn number(value: &ConditionValue) -> Option<u128> {
    match value {
        ConditionValue::Uint8(value) => Some(u128::from(*value)),
        ConditionValue::Uint16(value) => Some(u128::from(*value)),
        ConditionValue::Uint32(value) => Some(u128::from(*value)),
        ConditionValue::Uint64(value) => Some(u128::from(*value)),
        ConditionValue::ByteArray16(value) => Some(u128::from_be_bytes(*value)),
        _ => None,
    }
}

fn bits(data_type: DataType) -> u32 {
    match data_type {
        DataType::Uint8 => 8,
        DataType::Uint16 => 16,
        DataType::Uint32 => 32,
        DataType::Uint64 => 64,
        _ => 128,
    }
}

fn all_ones(bits: u32) -> u128 {
    u128::MAX >> (128 - bits)
}

/// With 32 fractional bits; exact for powers of two.
fn log2(n: u128) -> u128 {
    let whole = n.ilog2();
    let mut mantissa = ((n << (127 - whole)) >> 64) as u64;
    let mut log = u128::from(whole);
    for _ in 0..32 {
        let square = u128::from(mantissa) * u128::from(mantissa);
        let carry = square >> 127;
        mantissa = (square >> (63 + carry)) as u64;
        log = log << 1 | carry;
    }
    log
}

fn group(layer: &Layer, index: usize) -> Group {
    match measured(layer) {
        // A field that no real filter was seen to use.
        Some(groups) => groups.iter().find(|(field, _)| *field == index).map_or(Group::bit(0), |(_, group)| *group),
        None => approximate(layer, index),
    }
}

/// A discard layer weighs as the layer before it.
fn measured(layer: &Layer) -> Option<&'static [(usize, Group)]> {
    let parent = layer.id - u16::from(layer.name.ends_with("_DISCARD"));
    MEASURED.iter().find(|(layer, _)| *layer == parent).map(|(_, groups)| *groups)
}

/// Lays the fields out from the lowest bit in the order that the measured layers have.
fn approximate(layer: &Layer, index: usize) -> Group {
    let this = &layer.fields[index];
    let below =
        layer.fields.iter().enumerate().filter(|(i, other)| (rank(other), Reverse(*i)) < (rank(this), Reverse(index)));
    let shift = below.map(|(_, field)| width(field)).sum();
    match (this.field_type, bits(this.data_type)) {
        (FieldType::IpAddress, 32) => Group::new(shift, 5, 32),
        (FieldType::IpAddress, _) => Group::new(shift, 7, 128),
        (_, 16) => Group::new(shift, 2, 3),
        (_, 8) => Group::new(shift, 1, 1),
        _ => Group::bit(shift),
    }
}

/// The bits that [`approximate`] gives a field.
fn width(field: &Field) -> u32 {
    match (field.field_type, bits(field.data_type)) {
        (FieldType::IpAddress, 32) => 6,
        (FieldType::IpAddress, _) => 8,
        (_, 16) => 2,
        _ => 1,
    }
}

/// Which field outweighs which.
fn rank(field: &Field) -> u32 {
    match field.data_type {
        _ if field.field_type == FieldType::IpAddress => 9 - u32::from(is_local(field)),
        DataType::Uint64 | DataType::ByteArray6 => 7,
        DataType::Uint8 if field.name.ends_with("PROTOCOL") => 6,
        DataType::Uint16 if is_local(field) => 5,
        DataType::Uint16 => 4,
        DataType::ByteBlob | DataType::Sid | DataType::ByteArray16 => 3,
        DataType::TokenInformation | DataType::TokenAccessInformation => 2,
        _ => u32::from(field.field_type == FieldType::Flags),
    }
}

fn is_local(field: &Field) -> bool {
    ["LOCAL", "SOURCE", "ICMP_TYPE"].iter().any(|part| field.name.contains(part))
}

/// By layer and field. Each comment is what sets the entries below it apart.
const MEASURED: &[(u16, &[(usize, Group)])] = {
    use field::{ale_auth_connect as connect, ale_auth_recv_accept as accept, ale_resource_assignment as assignment};
    const fn bit(shift: u32) -> Group {
        Group::bit(shift)
    }
    const fn group(shift: u32, scale: u32, max: u64) -> Group {
        Group::new(shift, scale, max)
    }
    &[
        (
            id::ALE_AUTH_CONNECT_V4,
            &[
                (connect::IP_REMOTE_ADDRESS, group(53, 5, 32)),
                // Not seen; the one bit left between its neighbours.
                (connect::IP_LOCAL_ADDRESS, bit(52)),
                (connect::IP_LOCAL_INTERFACE, bit(51)),
                (connect::IP_ARRIVAL_INTERFACE, bit(51)),
                (connect::IP_NEXTHOP_INTERFACE, bit(51)),
                (connect::IP_PROTOCOL, group(47, 3, 7)),
                (connect::IP_LOCAL_PORT, group(42, 4, 16)),
                (connect::ORIGINAL_ICMP_TYPE, group(42, 4, 16)),
                (connect::IP_REMOTE_PORT, group(39, 3, 7)),
                (connect::ALE_APP_ID, bit(38)),
                (connect::ALE_PACKAGE_ID, bit(38)),
                (connect::PACKAGE_FAMILY_NAME, bit(38)),
                (connect::ALE_USER_ID, bit(37)),
                (connect::FLAGS, bit(36)),
                (connect::INTERFACE_TYPE, bit(32)),
                (connect::ARRIVAL_INTERFACE_TYPE, bit(32)),
                (connect::NEXTHOP_INTERFACE_TYPE, bit(32)),
                (connect::TUNNEL_TYPE, bit(31)),
                (connect::ARRIVAL_TUNNEL_TYPE, bit(31)),
                (connect::NEXTHOP_TUNNEL_TYPE, bit(31)),
                // Only the sum of the two was seen.
                (connect::ORIGINAL_PROFILE_ID, group(7, 4, 15)),
                (connect::CURRENT_PROFILE_ID, group(4, 3, 7)),
                (connect::INTERFACE_QUARANTINE_EPOCH, bit(1)),
            ],
        ),
        (
            id::ALE_AUTH_CONNECT_V6,
            &[
                (connect::IP_REMOTE_ADDRESS, group(51, 7, 128)),
                // Not seen.
                (connect::IP_LOCAL_ADDRESS, group(49, 1, 3)),
                (connect::IP_LOCAL_INTERFACE, bit(48)),
                (connect::IP_ARRIVAL_INTERFACE, bit(48)),
                (connect::IP_NEXTHOP_INTERFACE, bit(48)),
                (connect::IP_PROTOCOL, group(45, 2, 3)),
                (connect::IP_LOCAL_PORT, group(40, 4, 16)),
                (connect::ORIGINAL_ICMP_TYPE, group(40, 4, 16)),
                (connect::IP_REMOTE_PORT, group(37, 3, 7)),
                (connect::ALE_APP_ID, bit(36)),
                (connect::ALE_PACKAGE_ID, bit(36)),
                (connect::PACKAGE_FAMILY_NAME, bit(36)),
                (connect::ALE_USER_ID, bit(35)),
                (connect::FLAGS, bit(34)),
                (connect::INTERFACE_TYPE, bit(30)),
                (connect::ARRIVAL_INTERFACE_TYPE, bit(30)),
                (connect::NEXTHOP_INTERFACE_TYPE, bit(30)),
                (connect::TUNNEL_TYPE, bit(29)),
                (connect::ARRIVAL_TUNNEL_TYPE, bit(29)),
                (connect::NEXTHOP_TUNNEL_TYPE, bit(29)),
                // Only the sum of the two was seen.
                (connect::ORIGINAL_PROFILE_ID, group(7, 4, 15)),
                (connect::CURRENT_PROFILE_ID, group(4, 3, 7)),
                (connect::INTERFACE_QUARANTINE_EPOCH, bit(1)),
            ],
        ),
        (
            id::ALE_AUTH_RECV_ACCEPT_V4,
            &[
                (accept::IP_REMOTE_ADDRESS, group(54, 5, 32)),
                // Not seen.
                (accept::IP_LOCAL_ADDRESS, bit(53)),
                (accept::IP_LOCAL_INTERFACE, bit(52)),
                (accept::IP_ARRIVAL_INTERFACE, bit(52)),
                (accept::IP_NEXTHOP_INTERFACE, bit(52)),
                (accept::IP_PROTOCOL, group(49, 2, 3)),
                (accept::IP_LOCAL_PORT, group(43, 5, 32)),
                (accept::ORIGINAL_ICMP_TYPE, group(43, 5, 32)),
                (accept::IP_REMOTE_PORT, group(40, 3, 7)),
                (accept::ALE_APP_ID, bit(39)),
                (accept::ALE_PACKAGE_ID, bit(39)),
                (accept::PACKAGE_FAMILY_NAME, bit(39)),
                (accept::ALE_USER_ID, bit(38)),
                (accept::FLAGS, bit(35)),
                (accept::SIO_FIREWALL_SYSTEM_PORT, bit(34)),
                (accept::INTERFACE_TYPE, bit(30)),
                (accept::ARRIVAL_INTERFACE_TYPE, bit(29)),
                (accept::NEXTHOP_INTERFACE_TYPE, bit(29)),
                (accept::TUNNEL_TYPE, bit(28)),
                (accept::ARRIVAL_TUNNEL_TYPE, bit(28)),
                (accept::NEXTHOP_TUNNEL_TYPE, bit(28)),
                (accept::ORIGINAL_PROFILE_ID, group(7, 3, 7)),
                (accept::CURRENT_PROFILE_ID, group(3, 4, 15)),
                (accept::INTERFACE_QUARANTINE_EPOCH, bit(1)),
            ],
        ),
        (
            id::ALE_AUTH_RECV_ACCEPT_V6,
            &[
                (accept::IP_REMOTE_ADDRESS, group(52, 7, 128)),
                // Not seen.
                (accept::IP_LOCAL_ADDRESS, bit(51)),
                (accept::IP_LOCAL_INTERFACE, bit(50)),
                (accept::IP_ARRIVAL_INTERFACE, bit(50)),
                (accept::IP_NEXTHOP_INTERFACE, bit(50)),
                (accept::IP_PROTOCOL, group(47, 2, 3)),
                (accept::IP_LOCAL_PORT, group(42, 4, 16)),
                (accept::ORIGINAL_ICMP_TYPE, group(42, 4, 16)),
                (accept::IP_REMOTE_PORT, group(39, 2, 3)),
                (accept::ALE_APP_ID, bit(38)),
                (accept::ALE_PACKAGE_ID, bit(38)),
                (accept::PACKAGE_FAMILY_NAME, bit(38)),
                (accept::ALE_USER_ID, bit(37)),
                (accept::FLAGS, bit(34)),
                (accept::SIO_FIREWALL_SYSTEM_PORT, bit(33)),
                (accept::INTERFACE_TYPE, bit(28)),
                // Seen only on build 22621, one bit higher.
                (accept::ARRIVAL_INTERFACE_TYPE, bit(27)),
                (accept::NEXTHOP_INTERFACE_TYPE, bit(27)),
                (accept::TUNNEL_TYPE, bit(26)),
                (accept::ARRIVAL_TUNNEL_TYPE, bit(26)),
                (accept::NEXTHOP_TUNNEL_TYPE, bit(26)),
                (accept::ORIGINAL_PROFILE_ID, group(6, 4, 15)),
                (accept::CURRENT_PROFILE_ID, group(3, 3, 7)),
                (accept::INTERFACE_QUARANTINE_EPOCH, bit(1)),
            ],
        ),
        (
            id::ALE_RESOURCE_ASSIGNMENT_V4,
            &[
                (assignment::IP_LOCAL_PORT, group(48, 12, 0xFFF)),
                (assignment::IP_LOCAL_INTERFACE, bit(47)),
                (assignment::IP_PROTOCOL, group(38, 8, 0xFF)),
                (assignment::ALE_APP_ID, bit(37)),
                (assignment::ALE_PACKAGE_ID, bit(37)),
                (assignment::PACKAGE_FAMILY_NAME, bit(37)),
                (assignment::ALE_USER_ID, bit(36)),
                // Not seen.
                (assignment::IP_LOCAL_ADDRESS, group(30, 5, 32)),
                (assignment::FLAGS, bit(20)),
                (assignment::SIO_FIREWALL_SOCKET_PROPERTY, bit(2)),
            ],
        ),
        (
            id::ALE_RESOURCE_ASSIGNMENT_V6,
            &[
                (assignment::IP_LOCAL_PORT, group(50, 10, 0x3FF)),
                (assignment::IP_LOCAL_INTERFACE, bit(49)),
                (assignment::IP_PROTOCOL, group(40, 8, 0xFF)),
                (assignment::ALE_APP_ID, bit(39)),
                (assignment::ALE_PACKAGE_ID, bit(39)),
                (assignment::PACKAGE_FAMILY_NAME, bit(39)),
                (assignment::ALE_USER_ID, bit(38)),
                // Not seen.
                (assignment::IP_LOCAL_ADDRESS, group(30, 7, 128)),
                (assignment::FLAGS, bit(24)),
                (assignment::SIO_FIREWALL_SOCKET_PROPERTY, bit(2)),
            ],
        ),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers;
    use alloc::vec::Vec;

    #[test]
    fn the_groups_of_a_layer_fit_into_sixty_bits_and_do_not_overlap() {
        for layer in layers::all().iter().filter(|layer| measured(layer).is_none()) {
            let groups: Vec<_> = (0..layer.fields.len()).map(|index| group(layer, index)).collect();
            let sum: u128 = groups.iter().map(|group| u128::from(group.max) << group.shift).sum();
            assert!(sum < 1 << AUTO_BITS, "{}", layer.name);
            let mut groups = groups;
            groups.sort_by_key(|group| group.shift);
            for pair in groups.windows(2) {
                assert!(pair[0].max << pair[0].shift < 1 << pair[1].shift, "{}: {pair:?}", layer.name);
            }
        }
    }

    #[test]
    fn a_sublayer_gets_the_closest_free_weight() {
        let mut taken = BTreeSet::from([32767, 32768, 40960]);
        let mut ask = |weight| {
            let given = closest_free(weight, &taken).unwrap();
            taken.insert(given);
            given
        };
        // As seen with WinDivert's, IPxlat's and the IPsec provider's sublayers.
        assert_eq!([ask(0xFFFF), ask(0xFFFF), ask(0xFFFF)], [65535, 65534, 65533]);
        assert_eq!([ask(32767), ask(32767), ask(32767)], [32766, 32769, 32765]);
        assert_eq!(ask(40960), 40961);
        assert_eq!([ask(0), ask(0), ask(0)], [0, 1, 2]);
    }

    #[test]
    fn no_weight_is_free_when_all_are_taken() {
        assert_eq!(closest_free(7, &(0..=u16::MAX).collect()), None);
    }
}
