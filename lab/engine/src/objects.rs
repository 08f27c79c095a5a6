//! The management objects, as `Fwpm*` functions take and return them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use uuid::Uuid;

use crate::error::FwpError;
use crate::layers::DataType;
use crate::runtime::action;

/// The name and description that people see (`FWPM_DISPLAY_DATA0`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DisplayData {
    pub name: String,
    pub description: String,
}

impl DisplayData {
    /// A name, and nothing to say of it.
    pub fn named(name: impl Into<String>) -> DisplayData {
        DisplayData { name: name.into(), description: String::new() }
    }
}

/// `FWPM_PROVIDER0`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Provider {
    pub key: Uuid,
    pub display: DisplayData,
    pub persistent: bool,
    /// `FWPM_PROVIDER_FLAG_DISABLED`: its service does not start by itself. Output only.
    #[cfg_attr(feature = "serde", serde(default))]
    pub disabled: bool,
    pub data: Vec<u8>,
    pub service_name: Option<String>,
}

/// `FWPM_SUBLAYER0`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Sublayer {
    pub key: Uuid,
    pub display: DisplayData,
    pub persistent: bool,
    pub provider: Option<Uuid>,
    pub data: Vec<u8>,
    /// As asked for when adding; as assigned (unique) when read back.
    pub weight: u16,
}

/// `FWPM_CALLOUT0`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Callout {
    pub key: Uuid,
    pub display: DisplayData,
    pub persistent: bool,
    pub uses_provider_context: bool,
    pub provider: Option<Uuid>,
    pub data: Vec<u8>,
    pub layer: Uuid,
    /// Run-time id; assigned by the engine.
    pub id: u32,
    /// `FWPM_CALLOUT_FLAG_REGISTERED`: output only.
    pub registered: bool,
    /// `FWP_CALLOUT_FLAG_*` of the registration: output only.
    pub registration_flags: u32,
}

impl Callout {
    /// A callout to be added, with nothing but what it must have.
    pub fn new(key: Uuid, name: impl Into<String>, layer: Uuid) -> Callout {
        Callout {
            key,
            display: DisplayData::named(name),
            persistent: false,
            uses_provider_context: false,
            provider: None,
            data: Vec::new(),
            layer,
            id: 0,
            registered: false,
            registration_flags: 0,
        }
    }
}

/// `FWPM_PROVIDER_CONTEXT3`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProviderContext {
    pub key: Uuid,
    pub display: DisplayData,
    pub persistent: bool,
    pub provider: Option<Uuid>,
    pub data: Vec<u8>,
    pub content: ContextContent,
    /// Run-time id; assigned by the engine.
    pub id: u64,
}

impl ProviderContext {
    /// A general context to be added, with nothing but what it must have.
    pub fn new(key: Uuid, name: impl Into<String>, buffer: Vec<u8>) -> ProviderContext {
        ProviderContext {
            key,
            display: DisplayData::named(name),
            persistent: false,
            provider: None,
            data: Vec::new(),
            content: ContextContent::General(buffer),
            id: 0,
        }
    }
}

/// What a provider context holds: `type` and the union of `FWPM_PROVIDER_CONTEXT3`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum ContextContent {
    /// `dataBuffer`.
    General(Vec<u8>),
    /// `classifyOptions`.
    ClassifyOptions(Vec<ClassifyOption>),
    /// A policy of IPsec or of network connections. The engine enforces none; `text` is what it was read from, for whoever writes it again.
    Policy { context_type: ContextType, text: String },
}

impl ContextContent {
    pub fn context_type(&self) -> ContextType {
        match self {
            Self::General(_) => ContextType::General,
            Self::ClassifyOptions(_) => ContextType::ClassifyOptions,
            Self::Policy { context_type, .. } => *context_type,
        }
    }
}

/// `FWPM_CLASSIFY_OPTION0`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ClassifyOption {
    /// `FWP_CLASSIFY_OPTION_TYPE`.
    pub option: u32,
    pub value: ConditionValue,
}

/// `FWPM_PROVIDER_CONTEXT_TYPE` (fwpmtypes.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[repr(u32)]
pub enum ContextType {
    IpsecKeying = 0,
    IpsecIkeQmTransport = 1,
    IpsecIkeQmTunnel = 2,
    IpsecAuthipQmTransport = 3,
    IpsecAuthipQmTunnel = 4,
    IpsecIkeMm = 5,
    IpsecAuthipMm = 6,
    ClassifyOptions = 7,
    General = 8,
    IpsecIkev2QmTunnel = 9,
    IpsecIkev2Mm = 10,
    IpsecDosp = 11,
    IpsecIkev2QmTransport = 12,
    NetworkConnectionPolicy = 13,
}

impl ContextType {
    /// By number.
    const ALL: [(Self, &str); 14] = [
        (Self::IpsecKeying, "FWPM_IPSEC_KEYING_CONTEXT"),
        (Self::IpsecIkeQmTransport, "FWPM_IPSEC_IKE_QM_TRANSPORT_CONTEXT"),
        (Self::IpsecIkeQmTunnel, "FWPM_IPSEC_IKE_QM_TUNNEL_CONTEXT"),
        (Self::IpsecAuthipQmTransport, "FWPM_IPSEC_AUTHIP_QM_TRANSPORT_CONTEXT"),
        (Self::IpsecAuthipQmTunnel, "FWPM_IPSEC_AUTHIP_QM_TUNNEL_CONTEXT"),
        (Self::IpsecIkeMm, "FWPM_IPSEC_IKE_MM_CONTEXT"),
        (Self::IpsecAuthipMm, "FWPM_IPSEC_AUTHIP_MM_CONTEXT"),
        (Self::ClassifyOptions, "FWPM_CLASSIFY_OPTIONS_CONTEXT"),
        (Self::General, "FWPM_GENERAL_CONTEXT"),
        (Self::IpsecIkev2QmTunnel, "FWPM_IPSEC_IKEV2_QM_TUNNEL_CONTEXT"),
        (Self::IpsecIkev2Mm, "FWPM_IPSEC_IKEV2_MM_CONTEXT"),
        (Self::IpsecDosp, "FWPM_IPSEC_DOSP_CONTEXT"),
        (Self::IpsecIkev2QmTransport, "FWPM_IPSEC_IKEV2_QM_TRANSPORT_CONTEXT"),
        (Self::NetworkConnectionPolicy, "FWPM_NETWORK_CONNECTION_POLICY_CONTEXT"),
    ];

    /// `FWPM_GENERAL_CONTEXT`.
    pub fn symbol(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    pub fn from_symbol(symbol: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == symbol).map(|(kind, _)| *kind)
    }

    /// What is no type is `FWP_E_INVALID_ENUMERATOR`.
    pub fn from_number(number: u32) -> Result<Self, FwpError> {
        Self::ALL.get(number as usize).map(|(kind, _)| *kind).ok_or(FwpError::InvalidEnumerator)
    }
}

/// `FWPM_FILTER0`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Filter {
    pub key: Uuid,
    pub display: DisplayData,
    pub flags: FilterFlags,
    pub provider: Option<Uuid>,
    pub data: Vec<u8>,
    pub layer: Uuid,
    /// All zero on adding means the layer's default sublayer.
    pub sublayer: Uuid,
    pub weight: Weight,
    pub conditions: Vec<Condition>,
    pub action: Action,
    /// Zero beside a provider context, whose place it shares.
    pub raw_context: u64,
    /// With [`FilterFlags::HAS_PROVIDER_CONTEXT`], and only then.
    #[cfg_attr(feature = "serde", serde(default))]
    pub provider_context: Option<Uuid>,
    /// Run-time id; assigned by the engine.
    pub id: u64,
    /// Assigned by the engine.
    pub effective_weight: u64,
}

impl Filter {
    /// A filter to be added, without conditions, for all that passes a layer.
    pub fn new(name: impl Into<String>, layer: Uuid, action: Action) -> Filter {
        Filter {
            key: Uuid::nil(),
            display: DisplayData::named(name),
            flags: FilterFlags::empty(),
            provider: None,
            data: Vec::new(),
            layer,
            sublayer: Uuid::nil(),
            weight: Weight::Auto,
            conditions: Vec::new(),
            action,
            raw_context: 0,
            provider_context: None,
            id: 0,
            effective_weight: 0,
        }
    }
}

bitflags::bitflags! {
    /// `FWPM_FILTER_FLAG_*` (fwpmtypes.h).
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
    pub struct FilterFlags: u32 {
        const PERSISTENT = 0x1;
        const BOOTTIME = 0x2;
        const HAS_PROVIDER_CONTEXT = 0x4;
        const CLEAR_ACTION_RIGHT = 0x8;
        const PERMIT_IF_CALLOUT_UNREGISTERED = 0x10;
        const DISABLED = 0x20;
        const INDEXED = 0x40;
    }
}

/// `FWPM_FILTER0.weight`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Weight {
    /// `FWP_EMPTY`: computed from the conditions.
    Auto,
    /// `FWP_UINT8` 0 to 15: the top four bits; the rest is computed from the conditions.
    Range(u8),
    /// `FWP_UINT64`: as given.
    Exact(u64),
}

/// `FWPM_ACTION0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Action {
    Block,
    Permit,
    CalloutTerminating(Uuid),
    CalloutInspection(Uuid),
    CalloutUnknown(Uuid),
}

impl Action {
    /// From `FWPM_ACTION0`: only Block, Permit and the three callout actions may stand in a filter.
    pub fn new(action_type: u32, callout: Uuid) -> Result<Self, FwpError> {
        match action_type {
            action::BLOCK => Ok(Self::Block),
            action::PERMIT => Ok(Self::Permit),
            action::CALLOUT_TERMINATING => Ok(Self::CalloutTerminating(callout)),
            action::CALLOUT_INSPECTION => Ok(Self::CalloutInspection(callout)),
            action::CALLOUT_UNKNOWN => Ok(Self::CalloutUnknown(callout)),
            _ => Err(FwpError::InvalidActionType),
        }
    }

    /// `FWP_ACTION_TYPE`.
    pub fn action_type(&self) -> u32 {
        match self {
            Self::Block => action::BLOCK,
            Self::Permit => action::PERMIT,
            Self::CalloutTerminating(_) => action::CALLOUT_TERMINATING,
            Self::CalloutInspection(_) => action::CALLOUT_INSPECTION,
            Self::CalloutUnknown(_) => action::CALLOUT_UNKNOWN,
        }
    }

    /// The callout that the action names.
    pub fn callout(&self) -> Option<Uuid> {
        match self {
            Self::Block | Self::Permit => None,
            Self::CalloutTerminating(key) | Self::CalloutInspection(key) | Self::CalloutUnknown(key) => Some(*key),
        }
    }
}

/// `FWPM_FILTER_CONDITION0`. Adjacent conditions on one field are alternatives; different fields must all match.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Condition {
    pub field: Uuid,
    pub match_type: MatchType,
    pub value: ConditionValue,
}

/// `FWP_MATCH_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u32)]
pub enum MatchType {
    Equal = 0,
    Greater = 1,
    Less = 2,
    GreaterOrEqual = 3,
    LessOrEqual = 4,
    Range = 5,
    FlagsAllSet = 6,
    FlagsAnySet = 7,
    FlagsNoneSet = 8,
    EqualCaseInsensitive = 9,
    NotEqual = 10,
    Prefix = 11,
    NotPrefix = 12,
}

impl MatchType {
    pub const ALL: [Self; 13] = [
        Self::Equal,
        Self::Greater,
        Self::Less,
        Self::GreaterOrEqual,
        Self::LessOrEqual,
        Self::Range,
        Self::FlagsAllSet,
        Self::FlagsAnySet,
        Self::FlagsNoneSet,
        Self::EqualCaseInsensitive,
        Self::NotEqual,
        Self::Prefix,
        Self::NotPrefix,
    ];
}

/// `FWP_CONDITION_VALUE0`. IPv4 addresses and ports are in host order, IPv6 and MAC addresses in network order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ConditionValue {
    Empty,
    Uint8(u8),
    Uint16(u16),
    Uint32(u32),
    Uint64(u64),
    ByteArray16([u8; 16]),
    ByteBlob(Vec<u8>),
    Sid(Vec<u8>),
    SecurityDescriptor(Vec<u8>),
    UnicodeString(String),
    ByteArray6([u8; 6]),
    V4AddrMask { addr: u32, mask: u32 },
    V6AddrMask { addr: [u8; 16], prefix: u8 },
    Range(Box<(ConditionValue, ConditionValue)>),
}

impl ConditionValue {
    pub fn data_type(&self) -> DataType {
        match self {
            ConditionValue::Empty => DataType::Empty,
            ConditionValue::Uint8(_) => DataType::Uint8,
            ConditionValue::Uint16(_) => DataType::Uint16,
            ConditionValue::Uint32(_) => DataType::Uint32,
            ConditionValue::Uint64(_) => DataType::Uint64,
            ConditionValue::ByteArray16(_) => DataType::ByteArray16,
            ConditionValue::ByteBlob(_) => DataType::ByteBlob,
            ConditionValue::Sid(_) => DataType::Sid,
            ConditionValue::SecurityDescriptor(_) => DataType::SecurityDescriptor,
            ConditionValue::UnicodeString(_) => DataType::UnicodeString,
            ConditionValue::ByteArray6(_) => DataType::ByteArray6,
            ConditionValue::V4AddrMask { .. } => DataType::V4AddrMask,
            ConditionValue::V6AddrMask { .. } => DataType::V6AddrMask,
            ConditionValue::Range(_) => DataType::Range,
        }
    }
}

/// What a client says of itself in `FwpmEngineOpen0` (`FWPM_SESSION0`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Session {
    /// All zero: the engine makes one.
    pub key: Uuid,
    pub display: DisplayData,
    /// `FWPM_SESSION_FLAG_DYNAMIC`: what the session adds goes with it.
    pub dynamic: bool,
    pub transaction_wait_timeout_ms: u32,
    pub process_id: u32,
    pub user: String,
    pub kernel_mode: bool,
}

impl Session {
    /// A program's session, which is not dynamic.
    pub fn new(name: impl Into<String>, process_id: u32, user: impl Into<String>) -> Session {
        Session {
            key: Uuid::nil(),
            display: DisplayData::named(name),
            dynamic: false,
            transaction_wait_timeout_ms: 0,
            process_id,
            user: user.into(),
            kernel_mode: false,
        }
    }
}
