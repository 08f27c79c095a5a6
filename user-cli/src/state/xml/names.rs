//! The symbols that netsh writes for numbers, for the reader and the writer.

use std::collections::HashMap;
use std::sync::LazyLock;

use postern_engine::guids;
use postern_engine::layers::{self, DataType, Layer};
use postern_engine::objects::{FilterFlags, MatchType};
use uuid::Uuid;

/// Symbols of bits, in ascending order.
pub type Flags = [(u32, &'static str)];

pub const SESSION_FLAGS: &Flags = &[(0x1, "FWPM_SESSION_FLAG_DYNAMIC")];
pub const PROVIDER_PERSISTENT: u32 = 0x1;
pub const PROVIDER_DISABLED: u32 = 0x10;
pub const PROVIDER_FLAGS: &Flags =
    &[(PROVIDER_PERSISTENT, "FWPM_PROVIDER_FLAG_PERSISTENT"), (PROVIDER_DISABLED, "FWPM_PROVIDER_FLAG_DISABLED")];
pub const CONTEXT_PERSISTENT: u32 = 0x1;
pub const CONTEXT_FLAGS: &Flags =
    &[(CONTEXT_PERSISTENT, "FWPM_PROVIDER_CONTEXT_FLAG_PERSISTENT"), (0x2, "FWPM_PROVIDER_CONTEXT_FLAG_DOWNLEVEL")];
pub const SUBLAYER_PERSISTENT: u32 = 0x1;
pub const SUBLAYER_FLAGS: &Flags = &[(SUBLAYER_PERSISTENT, "FWPM_SUBLAYER_FLAG_PERSISTENT")];

pub const CALLOUT_PERSISTENT: u32 = 0x1_0000;
pub const CALLOUT_USES_PROVIDER_CONTEXT: u32 = 0x2_0000;
pub const CALLOUT_REGISTERED: u32 = 0x4_0000;
/// The lower half is that of the registration. netsh knows two of its names.
pub const CALLOUT_FLAGS: &Flags = &[
    (0x1, "FWP_CALLOUT_FLAG_CONDITIONAL_ON_FLOW"),
    (0x2, "FWP_CALLOUT_FLAG_ALLOW_OFFLOAD"),
    (CALLOUT_PERSISTENT, "FWPM_CALLOUT_FLAG_PERSISTENT"),
    (CALLOUT_USES_PROVIDER_CONTEXT, "FWPM_CALLOUT_FLAG_USES_PROVIDER_CONTEXT"),
    (CALLOUT_REGISTERED, "FWPM_CALLOUT_FLAG_REGISTERED"),
];

/// fwpmtypes.h. It does not have the last name, which netsh writes behind that of 0x40: a reserved bit, we take the first.
pub const FILTER_FLAGS: &Flags = &[
    (FilterFlags::PERSISTENT.bits(), "FWPM_FILTER_FLAG_PERSISTENT"),
    (FilterFlags::BOOTTIME.bits(), "FWPM_FILTER_FLAG_BOOTTIME"),
    (FilterFlags::HAS_PROVIDER_CONTEXT.bits(), "FWPM_FILTER_FLAG_HAS_PROVIDER_CONTEXT"),
    (FilterFlags::CLEAR_ACTION_RIGHT.bits(), "FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT"),
    (FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED.bits(), "FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED"),
    (FilterFlags::DISABLED.bits(), "FWPM_FILTER_FLAG_DISABLED"),
    (FilterFlags::INDEXED.bits(), "FWPM_FILTER_FLAG_INDEXED"),
    (0x80, "FWPM_FILTER_FLAG_HAS_SECURITY_REALM_PROVIDER_CONTEXT"),
    (0x100, "FWPM_FILTER_FLAG_SYSTEMOS_ONLY"),
    (0x200, "FWPM_FILTER_FLAG_GAMEOS_ONLY"),
    (0x400, "FWPM_FILTER_FLAG_SILENT_MODE"),
    (0x800, "FWPM_FILTER_FLAG_IPSEC_NO_ACQUIRE_INITIATE"),
    (0x1000, "FWPM_FILTER_FLAG_HAS_FILTER_ORIGIN"),
];

const DATA_TYPES: &[(DataType, &str)] = &[
    (DataType::Empty, "FWP_EMPTY"),
    (DataType::Uint8, "FWP_UINT8"),
    (DataType::Uint16, "FWP_UINT16"),
    (DataType::Uint32, "FWP_UINT32"),
    (DataType::Uint64, "FWP_UINT64"),
    (DataType::ByteArray16, "FWP_BYTE_ARRAY16_TYPE"),
    (DataType::ByteBlob, "FWP_BYTE_BLOB_TYPE"),
    (DataType::Sid, "FWP_SID"),
    (DataType::SecurityDescriptor, "FWP_SECURITY_DESCRIPTOR_TYPE"),
    (DataType::TokenInformation, "FWP_TOKEN_INFORMATION_TYPE"),
    (DataType::TokenAccessInformation, "FWP_TOKEN_ACCESS_INFORMATION_TYPE"),
    (DataType::UnicodeString, "FWP_UNICODE_STRING_TYPE"),
    (DataType::ByteArray6, "FWP_BYTE_ARRAY6_TYPE"),
    (DataType::V4AddrMask, "FWP_V4_ADDR_MASK"),
    (DataType::V6AddrMask, "FWP_V6_ADDR_MASK"),
    (DataType::Range, "FWP_RANGE_TYPE"),
];

const MATCH_TYPES: &[(MatchType, &str)] = &[
    (MatchType::Equal, "FWP_MATCH_EQUAL"),
    (MatchType::Greater, "FWP_MATCH_GREATER"),
    (MatchType::Less, "FWP_MATCH_LESS"),
    (MatchType::GreaterOrEqual, "FWP_MATCH_GREATER_OR_EQUAL"),
    (MatchType::LessOrEqual, "FWP_MATCH_LESS_OR_EQUAL"),
    (MatchType::Range, "FWP_MATCH_RANGE"),
    (MatchType::FlagsAllSet, "FWP_MATCH_FLAGS_ALL_SET"),
    (MatchType::FlagsAnySet, "FWP_MATCH_FLAGS_ANY_SET"),
    (MatchType::FlagsNoneSet, "FWP_MATCH_FLAGS_NONE_SET"),
    (MatchType::EqualCaseInsensitive, "FWP_MATCH_EQUAL_CASE_INSENSITIVE"),
    (MatchType::NotEqual, "FWP_MATCH_NOT_EQUAL"),
    (MatchType::Prefix, "FWP_MATCH_PREFIX"),
    (MatchType::NotPrefix, "FWP_MATCH_NOT_PREFIX"),
];

/// `FWP_CLASSIFY_OPTION_TYPE` (fwptypes.h), by number.
const CLASSIFY_OPTIONS: [&str; 8] = [
    "FWP_CLASSIFY_OPTION_MULTICAST_STATE",
    "FWP_CLASSIFY_OPTION_LOOSE_SOURCE_MAPPING",
    "FWP_CLASSIFY_OPTION_UNICAST_LIFETIME",
    "FWP_CLASSIFY_OPTION_MCAST_BCAST_LIFETIME",
    "FWP_CLASSIFY_OPTION_SECURE_SOCKET_SECURITY_FLAGS",
    "FWP_CLASSIFY_OPTION_SECURE_SOCKET_AUTHIP_MM_POLICY_KEY",
    "FWP_CLASSIFY_OPTION_SECURE_SOCKET_AUTHIP_QM_POLICY_KEY",
    "FWP_CLASSIFY_OPTION_LOCAL_ONLY_MAPPING",
];

pub const ACTION_BLOCK: &str = "FWP_ACTION_BLOCK";
pub const ACTION_PERMIT: &str = "FWP_ACTION_PERMIT";
pub const ACTION_CALLOUT_TERMINATING: &str = "FWP_ACTION_CALLOUT_TERMINATING";
pub const ACTION_CALLOUT_INSPECTION: &str = "FWP_ACTION_CALLOUT_INSPECTION";
pub const ACTION_CALLOUT_UNKNOWN: &str = "FWP_ACTION_CALLOUT_UNKNOWN";

pub fn data_type(of: DataType) -> &'static str {
    symbol(DATA_TYPES, &of)
}

pub fn data_type_of(symbol: &str) -> Option<DataType> {
    DATA_TYPES.iter().find(|(_, known)| *known == symbol).map(|(of, _)| *of)
}

pub fn match_type(of: MatchType) -> &'static str {
    symbol(MATCH_TYPES, &of)
}

pub fn match_type_of(symbol: &str) -> Option<MatchType> {
    MATCH_TYPES.iter().find(|(_, known)| *known == symbol).map(|(of, _)| *of)
}

pub fn classify_option(number: u32) -> String {
    let known = usize::try_from(number).ok().and_then(|number| CLASSIFY_OPTIONS.get(number));
    known.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// One that netsh has no name for is a number.
pub fn classify_option_of(symbol: &str) -> Option<u32> {
    let known = CLASSIFY_OPTIONS.iter().position(|known| *known == symbol);
    known.and_then(|number| number.try_into().ok()).or_else(|| symbol.parse().ok())
}

/// The tables have every variant: a test looks.
fn symbol<T: PartialEq>(names: &[(T, &'static str)], of: &T) -> &'static str {
    names.iter().find(|(known, _)| known == of).map_or("", |(_, name)| name)
}

/// The keys of layers, fields, sublayers, providers and callouts by symbol.
pub fn key_of(symbol: &str) -> Option<Uuid> {
    static KEYS: LazyLock<HashMap<String, Uuid>> = LazyLock::new(|| {
        let tables = [
            guids::condition::NAMES,
            guids::sublayer::NAMES,
            guids::provider::NAMES,
            guids::callout::NAMES,
            guids::provider_context::NAMES,
        ];
        let layers = layers::all().iter().filter_map(|layer| Some((layer.symbol()?, layer.key)));
        let named = tables.iter().flat_map(|names| names.iter().map(|(name, key)| (name.to_owned(), key)));
        layers.chain(named).collect()
    });
    KEYS.get(symbol).copied()
}

pub fn key(names: &guids::Names, key: &Uuid) -> String {
    names.name(key).map_or_else(|| key.braced().to_string(), str::to_owned)
}

pub fn layer(key: &Uuid) -> String {
    layers::by_key(key).and_then(Layer::symbol).unwrap_or_else(|| key.braced().to_string())
}
