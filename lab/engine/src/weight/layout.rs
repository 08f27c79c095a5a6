//! How BFE computes a weight from conditions.
//!
//! The 60 bits of an automatic weight are divided among the fields of the layer, once for each layer:
//!
//! - Fields of one kind (say, local and remote address) share a group of bits. Groups lie in an order of importance, which depends
//!   on the kind of layer.
//! - A group whose fields have no order (an interface, an application, a user, flags) has one bit. The others divide what is left
//!   in proportion to the sum of log2(width in bits) over their fields; the borders between them are rounded to whole bits.
//! - A field counts `(width - log2 values admitted) / width`: 1 if its condition admits one value, 0 if every one. Alternatives add
//!   up to no more than 1; a range of addresses that is one of several alternatives counts as the networks that it is made of do.
//!   A group has `(2^bits - 1)` times the mean of what its fields count, rounded, and at least 1 unless that is 0.
//!
//! So a weight depends on the fields that a version of Windows gives its layers. Sources: the filters of machines with builds 19041 to
//! 26100 (`netsh wfp show state`), all of which come out equal; two of these machines are in `tests/real_weights.rs`. Of a field that
//! none of them uses the place is a guess, but for what the sums leave.

use alloc::vec::Vec;
use uuid::Uuid;

use super::AUTO_BITS;
use crate::guids::condition::*;
use crate::layers::{DataType, Layer};
use crate::objects::{Condition, ConditionValue, MatchType};

/// Filters at the `*_FAST` layers, which have no fields.
const NO_FIELDS: u64 = 0x07FF_FFFF_FFFF_FFFF;

/// The bits of a layer's automatic weights.
#[derive(Debug, Clone)]
pub struct Layout(Vec<(Uuid, Share)>);

/// What a field has of them.
#[derive(Debug, Clone, Copy)]
struct Share {
    shift: u32,
    /// The bits of the group.
    bits: u32,
    /// How many fields share it.
    fields: u32,
    /// The field's own width in bits.
    width: u32,
}

impl Layout {
    /// The layout of a layer with the fields that it has today.
    pub fn of(layer: &Layer) -> Self {
        Self::new(layer.name, layer.fields.iter().map(|field| (field.key, field.data_type)))
    }

    /// The layout of a layer with the fields that it had until build 22631 (Windows 11 23H2).
    pub(crate) fn before_24h2(layer: &Layer) -> Self {
        const NEW: [Uuid; 5] = [RESERVED0, RESERVED1, RESERVED2, RESERVED3, ALE_PACKAGE_FAMILY_NAME];
        let fields = layer.fields.iter().filter(|field| !NEW.contains(&field.key));
        Self::new(layer.name, fields.map(|field| (field.key, field.data_type)))
    }

    /// The layout of a layer on a build after 26100. Its weights show that it has fields which no header names yet; at layers other than
    /// these two they were not seen.
    pub(crate) fn after_24h2(layer: &Layer) -> Self {
        let unnamed = match layer.name.trim_end_matches("_V4").trim_end_matches("_V6") {
            "ALE_AUTH_CONNECT" => &UNNAMED[..],
            "ALE_RESOURCE_ASSIGNMENT" => &UNNAMED[1..2],
            _ => &[],
        };
        let fields = layer.fields.iter().map(|field| (field.key, field.data_type));
        Self::new(layer.name, fields.chain(unnamed.iter().map(|key| (*key, DataType::ByteBlob))))
    }

    /// The layout of a layer with the fields that some version of Windows gives it. `layer` is its name without prefix.
    pub fn new(layer: &str, fields: impl Iterator<Item = (Uuid, DataType)>) -> Self {
        let fields: Vec<_> = fields.map(|(key, data_type)| (key, width(data_type))).collect();
        let order = order(layer);
        let importance =
            |key: &Uuid| order.iter().position(|group| group.fields().contains(key)).unwrap_or(order.len());
        let mut ordered: Vec<_> = fields.iter().map(|(key, width)| (importance(key), *key, *width)).collect();
        ordered.sort_by_key(|(importance, ..)| *importance);
        let groups: Vec<_> = ordered.chunk_by(|one, next| one.0 == next.0).collect();
        // Groups that are not in the order come last; they have no order themselves.
        let parts: Vec<u32> = groups
            .iter()
            .map(|group| match order.get(group[0].0) {
                Some(Group::Ordered(_)) => group.iter().map(|(.., width)| width.ilog2()).sum(),
                Some(Group::Plain(_)) | None => 0,
            })
            .collect();
        let mut borders = Borders::new(&parts);
        let bits: Vec<u32> = parts.iter().map(|part| borders.bits(*part)).collect();
        let mut shift = bits.iter().sum::<u32>();
        let mut shares = Vec::with_capacity(fields.len());
        for (group, bits) in groups.iter().zip(bits) {
            shift -= bits;
            let share = |width| Share { shift, bits, fields: group.len() as u32, width };
            shares.extend(group.iter().map(|(_, key, width)| (*key, share(*width))));
        }
        Self(shares)
    }

    /// The automatic weight of a filter.
    pub(crate) fn weight(&self, conditions: &[Condition]) -> u64 {
        if self.0.is_empty() {
            return NO_FIELDS;
        }
        let mut groups = Vec::<(Share, u128)>::new();
        for alternatives in conditions.chunk_by(|one, next| one.field == next.field) {
            let Some((_, share)) = self.0.iter().find(|(key, _)| *key == alternatives[0].field) else { continue };
            let sum = sum(share.width, alternatives);
            match groups.iter_mut().find(|(other, _)| other.shift == share.shift) {
                Some((_, others)) => *others += sum.min(ONE),
                None => groups.push((*share, sum.min(ONE))),
            }
        }
        groups.into_iter().map(|(share, sum)| share.weight(sum) << share.shift).sum()
    }
}

/// Hands out the bits, from the most important group down.
struct Borders {
    /// The bits that groups with an order divide among themselves, and into how many parts.
    bits: u32,
    parts: u32,
    /// The parts and bits handed out.
    parts_so_far: u32,
    border: u32,
}

impl Borders {
    fn new(parts: &[u32]) -> Self {
        let plain = parts.iter().filter(|part| **part == 0).count() as u32;
        Self { bits: AUTO_BITS.saturating_sub(plain), parts: parts.iter().sum(), parts_so_far: 0, border: 0 }
    }

    /// The bits of the next group, which has so many parts.
    fn bits(&mut self, parts: u32) -> u32 {
        if parts == 0 {
            return 1;
        }
        self.parts_so_far += parts;
        // To the nearest bit; a half is rounded down.
        let border = (2 * self.bits * self.parts_so_far).saturating_sub(self.parts).div_ceil(2 * self.parts);
        border - core::mem::replace(&mut self.border, border)
    }
}

impl Share {
    /// What a group counts whose fields' conditions add up to so many times [`ONE`].
    fn weight(self, sum: u128) -> u64 {
        if sum == 0 {
            return 0;
        }
        let all = u128::from(self.fields) * ONE;
        let rounded = (2 * ((1 << self.bits) - 1) * sum + all) / (2 * all);
        u64::try_from(rounded).unwrap_or(u64::MAX).max(1)
    }
}

/// What a condition counts that admits one value.
const ONE: u128 = 1 << 48;

/// What the conditions on one field count, times [`ONE`]; more than one is as good as one.
fn sum(width: u32, alternatives: &[Condition]) -> u128 {
    let networks = |condition: &Condition| match &condition.value {
        ConditionValue::Range(ends) if alternatives.len() > 1 && is_address(&condition.field) => {
            Some(networks(width, number(&ends.0)?, number(&ends.1)?))
        }
        _ => None,
    };
    alternatives.iter().map(|condition| networks(condition).unwrap_or_else(|| specificity(width, condition))).sum()
}

fn is_address(field: &Uuid) -> bool {
    [ADDRESS, EMBEDDED_ADDRESS].iter().any(|group| group.fields().contains(field))
}

/// What the networks count that a range of addresses is made of.
fn networks(width: u32, mut low: u128, high: u128) -> u128 {
    let mut sum = 0;
    while low <= high {
        // The largest one that begins here and ends in the range.
        let free = low.trailing_zeros().min(width).min((high - low).checked_add(1).map_or(width, u128::ilog2));
        sum += u128::from(width - free) * ONE / u128::from(width);
        match 1u128.checked_shl(free).and_then(|size| low.checked_add(size)) {
            Some(next) => low = next,
            None => break,
        }
    }
    sum
}

/// `(width - log2 values admitted) / width`, times [`ONE`].
fn specificity(width: u32, condition: &Condition) -> u128 {
    match extent(width, condition) {
        None => ONE,
        Some(extent) if extent == all_ones(width) => 0,
        Some(extent) => {
            let whole = u128::from(width) << LOG2_FRACTION;
            ((whole - log2(extent + 1)) * ONE / whole).max(1)
        }
    }
}

/// How many values beyond the first a condition admits; `None` where that is not what its weight depends on.
fn extent(width: u32, condition: &Condition) -> Option<u128> {
    let difference = |low, high| number(high)?.checked_sub(number(low)?);
    match (&condition.value, condition.match_type) {
        (ConditionValue::Range(ends), _) => difference(&ends.0, &ends.1),
        (ConditionValue::V4AddrMask { mask, .. }, _) => Some(u128::from(!mask)),
        (ConditionValue::V6AddrMask { prefix, .. }, _) => Some(u128::MAX.checked_shr(u32::from(*prefix)).unwrap_or(0)),
        (value, MatchType::GreaterOrEqual) => Some(all_ones(width) - number(value)?),
        (value, MatchType::Greater) => Some((all_ones(width) - number(value)?).saturating_sub(1)),
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

fn width(data_type: DataType) -> u32 {
    match data_type {
        DataType::Uint8 => 8,
        DataType::Uint16 => 16,
        DataType::Uint32 => 32,
        DataType::Uint64 => 64,
        _ => 128,
    }
}

fn all_ones(width: u32) -> u128 {
    u128::MAX >> (128 - width)
}

const LOG2_FRACTION: u32 = 32;

/// With [`LOG2_FRACTION`] fractional bits; exact for powers of two.
fn log2(n: u128) -> u128 {
    let whole = n.ilog2();
    let mut mantissa = ((n << (127 - whole)) >> 64) as u64;
    let mut log = u128::from(whole);
    for _ in 0..LOG2_FRACTION {
        let square = u128::from(mantissa) * u128::from(mantissa);
        let carry = square >> 127;
        mantissa = (square >> (63 + carry)) as u64;
        log = log << 1 | carry;
    }
    log
}

/// Fields of one kind.
#[derive(Debug)]
enum Group {
    /// Values that are ordered, so that a condition can admit more or fewer of them.
    Ordered(&'static [Uuid]),
    Plain(&'static [Uuid]),
}

impl Group {
    fn fields(&self) -> &'static [Uuid] {
        match self {
            Group::Ordered(fields) | Group::Plain(fields) => fields,
        }
    }
}

const ADDRESS: Group =
    Group::Ordered(&[IP_LOCAL_ADDRESS, IP_REMOTE_ADDRESS, IP_SOURCE_ADDRESS, IP_DESTINATION_ADDRESS]);
const EMBEDDED_ADDRESS: Group = Group::Ordered(&[EMBEDDED_REMOTE_ADDRESS]);
const INTERFACE: Group = Group::Plain(&[IP_LOCAL_INTERFACE, IP_ARRIVAL_INTERFACE, IP_NEXTHOP_INTERFACE]);
const LOCAL_ADDRESS_TYPE: Group = Group::Plain(&[IP_LOCAL_ADDRESS_TYPE, EMBEDDED_LOCAL_ADDRESS_TYPE]);
const PROTOCOL: Group = Group::Ordered(&[IP_PROTOCOL, EMBEDDED_PROTOCOL]);
const EMBEDDED_LOCAL: Group = Group::Ordered(&[EMBEDDED_LOCAL_PORT]);
const EMBEDDED_REMOTE: Group = Group::Ordered(&[EMBEDDED_REMOTE_PORT]);
const LOCAL_PORT: Group = Group::Ordered(&[IP_LOCAL_PORT, ORIGINAL_ICMP_TYPE]);
const REMOTE_PORT: Group = Group::Ordered(&[IP_REMOTE_PORT]);
const APPLICATION: Group = Group::Plain(&[ALE_APP_ID, ALE_PACKAGE_ID, ALE_PACKAGE_FAMILY_NAME]);
const USER: Group = Group::Plain(&[ALE_USER_ID]);
const REMOTE_USER: Group = Group::Plain(&[ALE_REMOTE_USER_ID]);
const REMOTE_MACHINE: Group = Group::Plain(&[ALE_REMOTE_MACHINE_ID]);
const FLAG: Group = Group::Plain(&[FLAGS]);
const SOCKET_PROPERTY: Group = Group::Plain(&[ALE_SIO_FIREWALL_SYSTEM_PORT]);
const NAP: Group = Group::Ordered(&[ALE_NAP_CONTEXT]);
const FLOW_DIRECTION: Group = Group::Ordered(&[DIRECTION]);
const PROMISCUOUS_MODE: Group = Group::Ordered(&[ALE_PROMISCUOUS_MODE]);
const KIND_OF_INTERFACE: Group = Group::Plain(&[INTERFACE_TYPE, ARRIVAL_INTERFACE_TYPE, NEXTHOP_INTERFACE_TYPE]);
const TUNNEL: Group = Group::Plain(&[TUNNEL_TYPE, ARRIVAL_TUNNEL_TYPE, NEXTHOP_TUNNEL_TYPE]);
const INDEX: Group = Group::Ordered(&[INTERFACE_INDEX, ARRIVAL_INTERFACE_INDEX, NEXTHOP_INTERFACE_INDEX]);
const SUB_INDEX: Group = Group::Ordered(&[SUB_INTERFACE_INDEX, NEXTHOP_SUB_INTERFACE_INDEX]);
const ORIGINAL_PROFILE: Group = Group::Ordered(&[ORIGINAL_PROFILE_ID]);
const CURRENT_PROFILE: Group = Group::Ordered(&[CURRENT_PROFILE_ID]);
const INTERFACE_PROFILE: Group =
    Group::Plain(&[LOCAL_INTERFACE_PROFILE_ID, ARRIVAL_INTERFACE_PROFILE_ID, NEXTHOP_INTERFACE_PROFILE_ID]);
const REAUTHORIZATION: Group = Group::Plain(&[REAUTHORIZE_REASON]);
const QUARANTINE: Group = Group::Plain(&[INTERFACE_QUARANTINE_EPOCH]);
const RESERVED: Group = Group::Plain(&[RESERVED0, RESERVED1, RESERVED2, RESERVED3]);
const DESTINATION_ADDRESS_TYPE: Group = Group::Plain(&[IP_DESTINATION_ADDRESS_TYPE]);
const ORIGINAL_APPLICATION: Group = Group::Plain(&[ALE_ORIGINAL_APP_ID]);
const PEER: Group = Group::Plain(&[PEER_NAME]);
const SECURITY_REALM: Group = Group::Plain(&[IPSEC_SECURITY_REALM_ID]);

/// Of fields whose keys are not known; these are placeholders.
const UNNAMED: [Uuid; 3] = [Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3)];
const UNNAMED_FIRST: Group = Group::Plain(&[UNNAMED[0]]);
const UNNAMED_SECOND: Group = Group::Plain(&[UNNAMED[1]]);
const UNNAMED_THIRD: Group = Group::Plain(&[UNNAMED[2]]);

const AUTH_CONNECT: &[Group] = &[
    UNNAMED_FIRST,
    PEER,
    ADDRESS,
    INTERFACE,
    LOCAL_ADDRESS_TYPE,
    PROTOCOL,
    LOCAL_PORT,
    REMOTE_PORT,
    APPLICATION,
    USER,
    FLAG,
    REMOTE_USER,
    REMOTE_MACHINE,
    DESTINATION_ADDRESS_TYPE,
    KIND_OF_INTERFACE,
    TUNNEL,
    INDEX,
    SUB_INDEX,
    ORIGINAL_APPLICATION,
    ORIGINAL_PROFILE,
    CURRENT_PROFILE,
    REAUTHORIZATION,
    QUARANTINE,
    RESERVED,
    UNNAMED_SECOND,
    UNNAMED_THIRD,
];
const AUTH_RECV_ACCEPT: &[Group] = &[
    ADDRESS,
    INTERFACE,
    LOCAL_ADDRESS_TYPE,
    PROTOCOL,
    LOCAL_PORT,
    REMOTE_PORT,
    APPLICATION,
    USER,
    REMOTE_USER,
    REMOTE_MACHINE,
    FLAG,
    SOCKET_PROPERTY,
    NAP,
    KIND_OF_INTERFACE,
    TUNNEL,
    INDEX,
    SUB_INDEX,
    ORIGINAL_PROFILE,
    CURRENT_PROFILE,
    REAUTHORIZATION,
    QUARANTINE,
    RESERVED,
];
const AUTH_LISTEN: &[Group] = &[
    ADDRESS,
    INTERFACE,
    LOCAL_ADDRESS_TYPE,
    LOCAL_PORT,
    APPLICATION,
    USER,
    FLAG,
    KIND_OF_INTERFACE,
    TUNNEL,
    INTERFACE_PROFILE,
    SOCKET_PROPERTY,
];
const TRANSPORT: &[Group] = &[
    ADDRESS,
    INTERFACE,
    LOCAL_ADDRESS_TYPE,
    PROTOCOL,
    LOCAL_PORT,
    REMOTE_PORT,
    FLAG,
    KIND_OF_INTERFACE,
    TUNNEL,
    INDEX,
    SUB_INDEX,
    CURRENT_PROFILE,
    SECURITY_REALM,
];
/// Layers at which the local address is rarely known.
const ENDPOINT: &[Group] = &[
    LOCAL_PORT,
    REMOTE_PORT,
    INTERFACE,
    LOCAL_ADDRESS_TYPE,
    PROTOCOL,
    APPLICATION,
    USER,
    PROMISCUOUS_MODE,
    FLAG,
    ADDRESS,
    KIND_OF_INTERFACE,
    TUNNEL,
    INTERFACE_PROFILE,
    SOCKET_PROPERTY,
    RESERVED,
    UNNAMED_SECOND,
];
const OTHER: &[Group] = &[
    ADDRESS,
    INTERFACE,
    LOCAL_ADDRESS_TYPE,
    PROTOCOL,
    EMBEDDED_LOCAL,
    EMBEDDED_REMOTE,
    LOCAL_PORT,
    REMOTE_PORT,
    EMBEDDED_ADDRESS,
    APPLICATION,
    USER,
    REMOTE_USER,
    REMOTE_MACHINE,
    FLOW_DIRECTION,
    KIND_OF_INTERFACE,
    TUNNEL,
    INDEX,
    SUB_INDEX,
    DESTINATION_ADDRESS_TYPE,
    FLAG,
    INTERFACE_PROFILE,
    QUARANTINE,
    RESERVED,
];

/// A layer's groups, the most important one first. A discard layer's are those of the layer before it.
fn order(layer: &str) -> &'static [Group] {
    let of = |prefix: &str| layer.strip_prefix(prefix).is_some_and(|rest| matches!(rest.as_bytes(), [b'_', b'V', ..]));
    if of("ALE_AUTH_CONNECT") {
        AUTH_CONNECT
    } else if of("ALE_AUTH_RECV_ACCEPT") {
        AUTH_RECV_ACCEPT
    } else if of("ALE_AUTH_LISTEN") {
        AUTH_LISTEN
    } else if of("INBOUND_TRANSPORT") || of("OUTBOUND_TRANSPORT") {
        TRANSPORT
    } else if of("ALE_RESOURCE_ASSIGNMENT") || of("ALE_RESOURCE_RELEASE") || of("ALE_ENDPOINT_CLOSURE") {
        ENDPOINT
    } else {
        OTHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers;

    #[test]
    fn the_groups_of_a_layer_fill_sixty_bits_and_do_not_overlap() {
        for layer in layers::all() {
            let mut groups: Vec<_> = Layout::of(layer).0.iter().map(|(_, share)| (share.shift, share.bits)).collect();
            groups.sort_unstable();
            groups.dedup();
            let end = groups.iter().fold(0, |end, (shift, bits)| {
                assert_eq!(*shift, end, "{}", layer.name);
                shift + bits
            });
            let divided = layer.fields.iter().any(|field| {
                order(layer.name)
                    .iter()
                    .any(|group| matches!(group, Group::Ordered(fields) if fields.contains(&field.key)))
            });
            assert_eq!(end, if divided { AUTO_BITS } else { groups.len() as u32 }, "{}", layer.name);
        }
    }

    #[test]
    fn halves_are_rounded_down() {
        // ALE_AUTH_CONNECT_V4 of build 22621: 45 bits in 60 parts, of which the addresses have 10.
        let mut borders = Borders { bits: 45, parts: 60, parts_so_far: 0, border: 0 };
        assert_eq!([10, 3, 8, 4, 15, 10, 5, 5].map(|parts| borders.bits(parts)), [7, 3, 6, 3, 11, 7, 4, 4]);
    }
}
