//! The errors of the filter engine (fwpmu.h documentation page "WFP Error Codes"; winerror.h, ntstatus.h).

macro_rules! errors {
    ($($variant:ident = $code:literal $name:literal $message:literal;)+) => {
        /// `FWP_E_*` to user-mode callers, `STATUS_FWP_*` to kernel-mode ones: the same number on another base.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[repr(u16)]
        pub enum FwpError {
            $(#[error("{name}: {message}", name = concat!("FWP_E_", $name), message = $message)] $variant = $code,)+
        }

        impl FwpError {
            const ALL: &[Self] = &[$(Self::$variant),+];

            /// The symbol: `FWP_E_FILTER_NOT_FOUND`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!("FWP_E_", $name),)+
                }
            }
        }
    };
}

impl FwpError {
    /// The number that both bases share.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// What `Fwps*` and kernel-mode `Fwpm*` functions return.
    pub fn ntstatus(self) -> u32 {
        0xC022_0000 + u32::from(self.code())
    }

    /// What user-mode `Fwpm*` functions return.
    pub fn win32(self) -> u32 {
        0x8032_0000 + u32::from(self.code())
    }

    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|error| error.code() == code)
    }
}

errors! {
    CalloutNotFound = 0x001 "CALLOUT_NOT_FOUND" "no such callout";
    ConditionNotFound = 0x002 "CONDITION_NOT_FOUND" "the layer has no such field";
    FilterNotFound = 0x003 "FILTER_NOT_FOUND" "no such filter";
    LayerNotFound = 0x004 "LAYER_NOT_FOUND" "no such layer";
    ProviderNotFound = 0x005 "PROVIDER_NOT_FOUND" "no such provider";
    ProviderContextNotFound = 0x006 "PROVIDER_CONTEXT_NOT_FOUND" "no such provider context";
    SublayerNotFound = 0x007 "SUBLAYER_NOT_FOUND" "no such sublayer";
    NotFound = 0x008 "NOT_FOUND" "no such object";
    AlreadyExists = 0x009 "ALREADY_EXISTS" "an object with this key exists already";
    InUse = 0x00A "IN_USE" "other objects refer to the object; delete them first";
    DynamicSessionInProgress = 0x00B "DYNAMIC_SESSION_IN_PROGRESS" "not allowed in a dynamic session";
    WrongSession = 0x00C "WRONG_SESSION" "the object belongs to another session";
    NoTxnInProgress = 0x00D "NO_TXN_IN_PROGRESS" "the session has no transaction in progress";
    TxnInProgress = 0x00E "TXN_IN_PROGRESS" "the session has a transaction in progress already";
    TxnAborted = 0x00F "TXN_ABORTED" "the transaction was aborted";
    SessionAborted = 0x010 "SESSION_ABORTED" "the session was aborted";
    IncompatibleTxn = 0x011 "INCOMPATIBLE_TXN" "not allowed in a read-only transaction";
    Timeout = 0x012 "TIMEOUT" "another session holds the transaction lock";
    NetEventsDisabled = 0x013 "NET_EVENTS_DISABLED" "net events are not collected";
    IncompatibleLayer = 0x014 "INCOMPATIBLE_LAYER" "the callout or operation does not apply to this layer";
    KmClientsOnly = 0x015 "KM_CLIENTS_ONLY" "only kernel-mode callers may do this";
    LifetimeMismatch = 0x016 "LIFETIME_MISMATCH" "the object would refer to one that may go before it does";
    BuiltinObject = 0x017 "BUILTIN_OBJECT" "a built-in object cannot be deleted";
    TooManyCallouts = 0x018 "TOO_MANY_CALLOUTS" "too many callouts";
    NotificationDropped = 0x019 "NOTIFICATION_DROPPED" "a notification was dropped";
    TrafficMismatch = 0x01A "TRAFFIC_MISMATCH" "the traffic parameters do not match those of the security association";
    IncompatibleSaState = 0x01B "INCOMPATIBLE_SA_STATE" "the state of the security association does not allow this";
    NullPointer = 0x01C "NULL_POINTER" "a required pointer is null";
    InvalidEnumerator = 0x01D "INVALID_ENUMERATOR" "an enumerator is out of range";
    InvalidFlags = 0x01E "INVALID_FLAGS" "the flags are not valid, or not together";
    InvalidNetMask = 0x01F "INVALID_NET_MASK" "the network mask is not valid";
    InvalidRange = 0x020 "INVALID_RANGE" "the range is not valid: its low end must not exceed its high end";
    InvalidInterval = 0x021 "INVALID_INTERVAL" "the time interval is not valid";
    ZeroLengthArray = 0x022 "ZERO_LENGTH_ARRAY" "an array that needs elements has none";
    NullDisplayName = 0x023 "NULL_DISPLAY_NAME" "the display name is required";
    InvalidActionType = 0x024 "INVALID_ACTION_TYPE" "the action type is not valid for a filter";
    InvalidWeight = 0x025 "INVALID_WEIGHT" "the weight is not valid: give none, 0 to 15, or a 64-bit value";
    MatchTypeMismatch = 0x026 "MATCH_TYPE_MISMATCH" "the match type does not work on this type of value";
    TypeMismatch = 0x027 "TYPE_MISMATCH" "the value does not have the type of the field";
    OutOfBounds = 0x028 "OUT_OF_BOUNDS" "a value is out of bounds";
    Reserved = 0x029 "RESERVED" "a reserved field is not zero";
    DuplicateCondition = 0x02A "DUPLICATE_CONDITION" "a filter has several conditions on one field that are not adjacent";
    DuplicateKeymod = 0x02B "DUPLICATE_KEYMOD" "a keying module is given twice";
    ActionIncompatibleWithLayer = 0x02C "ACTION_INCOMPATIBLE_WITH_LAYER" "the layer does not take this action";
    ActionIncompatibleWithSublayer = 0x02D "ACTION_INCOMPATIBLE_WITH_SUBLAYER" "the sublayer does not take this action";
    ContextIncompatibleWithLayer = 0x02E "CONTEXT_INCOMPATIBLE_WITH_LAYER" "the layer does not take this context";
    ContextIncompatibleWithCallout = 0x02F "CONTEXT_INCOMPATIBLE_WITH_CALLOUT" "the callout does not take this context";
    IncompatibleAuthMethod = 0x030 "INCOMPATIBLE_AUTH_METHOD" "the authentication method does not fit the policy";
    IncompatibleDhGroup = 0x031 "INCOMPATIBLE_DH_GROUP" "the Diffie-Hellman group does not fit the policy";
    EmNotSupported = 0x032 "EM_NOT_SUPPORTED" "an extended mode policy is not possible here";
    NeverMatch = 0x033 "NEVER_MATCH" "the template can never match";
    ProviderContextMismatch = 0x034 "PROVIDER_CONTEXT_MISMATCH" "the provider context is of the wrong type";
    InvalidParameter = 0x035 "INVALID_PARAMETER" "a parameter is not valid";
    TooManySublayers = 0x036 "TOO_MANY_SUBLAYERS" "too many sublayers";
    CalloutNotificationFailed = 0x037 "CALLOUT_NOTIFICATION_FAILED" "the callout's notify function refused the filter";
    InvalidAuthTransform = 0x038 "INVALID_AUTH_TRANSFORM" "the authentication transform is not valid";
    InvalidCipherTransform = 0x039 "INVALID_CIPHER_TRANSFORM" "the cipher transform is not valid";
    IncompatibleCipherTransform = 0x03A "INCOMPATIBLE_CIPHER_TRANSFORM" "the cipher transform does not fit the policy";
    InvalidTransformCombination = 0x03B "INVALID_TRANSFORM_COMBINATION" "the transforms cannot be combined";
    DuplicateAuthMethod = 0x03C "DUPLICATE_AUTH_METHOD" "an authentication method is given twice";
    InvalidTunnelEndpoint = 0x03D "INVALID_TUNNEL_ENDPOINT" "the tunnel endpoint is not valid";
    L2DriverNotReady = 0x03E "L2_DRIVER_NOT_READY" "the layer 2 driver is not ready";
    KeyDictatorAlreadyRegistered = 0x03F "KEY_DICTATOR_ALREADY_REGISTERED" "a key dictator is registered already";
    KeyDictationInvalidKeyingMaterial = 0x040 "KEY_DICTATION_INVALID_KEYING_MATERIAL" "the keying material is not valid";
    ConnectionsDisabled = 0x041 "CONNECTIONS_DISABLED" "connection tracking is disabled";
    InvalidDnsName = 0x042 "INVALID_DNS_NAME" "the DNS name is not valid";
    StillOn = 0x043 "STILL_ON" "the feature is still on";
    IkeextNotRunning = 0x044 "IKEEXT_NOT_RUNNING" "the IKEEXT service is not running";
    TcpipNotReady = 0x100 "TCPIP_NOT_READY" "the TCP/IP stack is not ready";
    InjectHandleClosing = 0x101 "INJECT_HANDLE_CLOSING" "the injection handle is being closed";
    InjectHandleStale = 0x102 "INJECT_HANDLE_STALE" "the injection handle is stale";
    CannotPend = 0x103 "CANNOT_PEND" "the classify cannot be pended";
    DropNoicmp = 0x104 "DROP_NOICMP" "the packet is to be dropped without an ICMP error";
}
