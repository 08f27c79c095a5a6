//! `FWPM_*` structures to engine objects: what an image passes to the management functions.
//!
//! Everything is read before the engine is touched, so that a bad pointer faults with no lock of the lab held.

use fwps::sys::*;
use postern_engine::FwpError;
use postern_engine::objects::{
    Action, Callout, ClassifyOption, Condition, ConditionValue, ContextContent, ContextType, DisplayData, Filter,
    FilterFlags, MatchType, Provider, ProviderContext, Session, Sublayer, Weight,
};
use postern_engine::template::{
    CalloutTemplate, ContextTemplate, EnumFlags, EnumType, FilterTemplate, SublayerTemplate,
};
use uuid::Uuid;

use super::raw::{
    FWPM_CLASSIFY_OPTIONS0, FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0, FWPM_PROVIDER_CONTEXT_FLAG_PERSISTENT,
    FWPM_PROVIDER_CONTEXT_TYPE_MAX,
};
use crate::ptr::Ptr;

/// Longest string that is followed without finding its end.
const LONGEST_STRING: usize = 1 << 16;

pub(crate) fn key(guid: GUID) -> Uuid {
    Uuid::from_u128(guid.to_u128())
}

pub(crate) fn guid(key: Uuid) -> GUID {
    GUID::from_u128(key.as_u128())
}

/// A key behind a pointer that the function requires.
pub(crate) fn required_key(guid: Ptr<GUID>) -> Result<Uuid, FwpError> {
    guid.non_null().map(|guid| key(guid.read_unaligned())).ok_or(FwpError::NullPointer)
}

fn optional_key(guid: *mut GUID) -> Option<Uuid> {
    Ptr::new(guid).non_null().map(|guid| key(guid.read_unaligned()))
}

/// A string, or `None` for NULL. What is not Unicode is an invalid parameter, as `FWP_E_INVALID_PARAMETER` documents.
fn string(text: PWSTR) -> Result<Option<String>, FwpError> {
    let Some(text) = Ptr::new(text).non_null() else { return Ok(None) };
    let units: Vec<u16> =
        (0..LONGEST_STRING).map(|index| text.at(index).read_unaligned()).take_while(|&unit| unit != 0).collect();
    String::from_utf16(&units).map(Some).map_err(|_| FwpError::InvalidParameter)
}

/// The display data of an object that is added: its name is mandatory.
fn display(data: FWPM_DISPLAY_DATA0) -> Result<DisplayData, FwpError> {
    Ok(DisplayData {
        name: string(data.name)?.ok_or(FwpError::NullDisplayName)?,
        description: string(data.description)?.unwrap_or_default(),
    })
}

fn blob(blob: FWP_BYTE_BLOB) -> Result<Vec<u8>, FwpError> {
    match (blob.size as usize, Ptr::new(blob.data)) {
        (0, _) => Ok(Vec::new()),
        (_, data) if data.is_null() => Err(FwpError::NullPointer),
        (size, data) => Ok(data.to_vec(size)),
    }
}

fn only(flags: u32, known: u32) -> Result<u32, FwpError> {
    if flags & !known == 0 { Ok(flags) } else { Err(FwpError::InvalidFlags) }
}

/// `session` is optional: NULL opens a session with every default.
pub(crate) fn session(session: Ptr<FWPM_SESSION0>, process_id: u32) -> Result<Session, FwpError> {
    let mut result = Session {
        key: Uuid::nil(),
        display: DisplayData::default(),
        dynamic: false,
        transaction_wait_timeout_ms: 0,
        process_id,
        user: "NT AUTHORITY\\SYSTEM".into(),
        kernel_mode: true,
    };
    if let Some(session) = session.non_null() {
        let session = session.read();
        result.key = key(session.sessionKey);
        result.display = DisplayData {
            name: string(session.displayData.name)?.unwrap_or_default(),
            description: string(session.displayData.description)?.unwrap_or_default(),
        };
        result.dynamic = only(session.flags, FWPM_SESSION_FLAG_DYNAMIC)? != 0;
        result.transaction_wait_timeout_ms = session.txnWaitTimeoutInMSec;
    }
    Ok(result)
}

pub(crate) fn provider(provider: Ptr<FWPM_PROVIDER0>) -> Result<Provider, FwpError> {
    let provider = provider.non_null().ok_or(FwpError::NullPointer)?.read();
    Ok(Provider {
        key: key(provider.providerKey),
        display: display(provider.displayData)?,
        persistent: only(provider.flags, FWPM_PROVIDER_FLAG_PERSISTENT)? != 0,
        disabled: false,
        data: blob(provider.providerData)?,
        service_name: string(provider.serviceName)?,
    })
}

/// `None` is a policy of IPsec or of network connections, whose structures the lab does not know.
pub(crate) fn provider_context(context: Ptr<FWPM_PROVIDER_CONTEXT3>) -> Result<Option<ProviderContext>, FwpError> {
    let context = context.non_null().ok_or(FwpError::NullPointer)?.read();
    let of = Ptr::new(context.dataBuffer).non_null();
    let content = match ContextType::from_number(context.r#type)? {
        ContextType::General => ContextContent::General(blob(of.ok_or(FwpError::NullPointer)?.read())?),
        ContextType::ClassifyOptions => {
            let options = of.ok_or(FwpError::NullPointer)?.cast::<FWPM_CLASSIFY_OPTIONS0>().read();
            let options = (0..options.numOptions as usize).map(|index| {
                let option = Ptr::new(options.options).non_null().ok_or(FwpError::NullPointer)?.at(index).read();
                Ok(ClassifyOption { option: option.r#type, value: single_value(option.value)? })
            });
            ContextContent::ClassifyOptions(options.collect::<Result<_, FwpError>>()?)
        }
        _ => return Ok(None),
    };
    Ok(Some(ProviderContext {
        key: key(context.providerContextKey),
        display: display(context.displayData)?,
        persistent: only(context.flags, FWPM_PROVIDER_CONTEXT_FLAG_PERSISTENT)? != 0,
        provider: optional_key(context.providerKey),
        data: blob(context.providerData)?,
        content,
        id: 0,
    }))
}

pub(crate) fn sublayer(sublayer: Ptr<FWPM_SUBLAYER0>) -> Result<Sublayer, FwpError> {
    let sublayer = sublayer.non_null().ok_or(FwpError::NullPointer)?.read();
    Ok(Sublayer {
        key: key(sublayer.subLayerKey),
        display: display(sublayer.displayData)?,
        persistent: only(sublayer.flags, FWPM_SUBLAYER_FLAG_PERSISTENT)? != 0,
        provider: optional_key(sublayer.providerKey),
        data: blob(sublayer.providerData)?,
        weight: sublayer.weight,
    })
}

pub(crate) fn callout(callout: Ptr<FWPM_CALLOUT0>) -> Result<Callout, FwpError> {
    let callout = callout.non_null().ok_or(FwpError::NullPointer)?.read();
    let flags = only(callout.flags, FWPM_CALLOUT_FLAG_PERSISTENT | FWPM_CALLOUT_FLAG_USES_PROVIDER_CONTEXT)?;
    Ok(Callout {
        key: key(callout.calloutKey),
        display: display(callout.displayData)?,
        persistent: flags & FWPM_CALLOUT_FLAG_PERSISTENT != 0,
        uses_provider_context: flags & FWPM_CALLOUT_FLAG_USES_PROVIDER_CONTEXT != 0,
        provider: optional_key(callout.providerKey),
        data: blob(callout.providerData)?,
        layer: key(callout.applicableLayer),
        id: 0,
        registered: false,
        registration_flags: 0,
    })
}

pub(crate) fn filter(filter: Ptr<FWPM_FILTER0>) -> Result<Filter, FwpError> {
    let filter = filter.non_null().ok_or(FwpError::NullPointer)?.read();
    if !filter.reserved.is_null() {
        return Err(FwpError::Reserved);
    }
    // DISABLED and INDEXED are output only.
    let flags = FilterFlags::from_bits(filter.flags).ok_or(FwpError::InvalidFlags)?;
    if flags.intersects(FilterFlags::DISABLED | FilterFlags::INDEXED) {
        return Err(FwpError::InvalidFlags);
    }
    let (raw_context, provider_context) = match flags.contains(FilterFlags::HAS_PROVIDER_CONTEXT) {
        // SAFETY: the flag says which member is there.
        true => (0, Some(key(unsafe { filter.Anonymous.providerContextKey }))),
        // SAFETY: as above.
        false => (unsafe { filter.Anonymous.rawContext }, None),
    };
    let conditions = conditions(filter.filterCondition, filter.numFilterConditions)?;
    Ok(Filter {
        key: key(filter.filterKey),
        display: display(filter.displayData)?,
        flags,
        provider: optional_key(filter.providerKey),
        data: blob(filter.providerData)?,
        layer: key(filter.layerKey),
        sublayer: key(filter.subLayerKey),
        weight: weight(filter.weight)?,
        conditions,
        action: action(filter.action)?,
        raw_context,
        provider_context,
        id: 0,
        effective_weight: 0,
    })
}

fn weight(weight: FWP_VALUE0) -> Result<Weight, FwpError> {
    match weight.r#type {
        FWP_EMPTY => Ok(Weight::Auto),
        FWP_UINT8 => {
            // SAFETY: the type says which member is there.
            let range = unsafe { weight.Anonymous.uint8 };
            if range > FWPM_WEIGHT_RANGE_MAX { Err(FwpError::InvalidWeight) } else { Ok(Weight::Range(range)) }
        }
        FWP_UINT64 => {
            // SAFETY: as above.
            let exact = Ptr::new(unsafe { weight.Anonymous.uint64 }).non_null().ok_or(FwpError::NullPointer)?;
            Ok(Weight::Exact(exact.read_unaligned()))
        }
        _ => Err(FwpError::InvalidWeight),
    }
}

fn action(action: FWPM_ACTION0) -> Result<Action, FwpError> {
    // SAFETY: every member of the union is plain data within a GUID's bytes.
    let callout = key(unsafe { action.Anonymous.calloutKey });
    match action.r#type {
        FWP_ACTION_BLOCK => Ok(Action::Block),
        FWP_ACTION_PERMIT => Ok(Action::Permit),
        FWP_ACTION_CALLOUT_TERMINATING => Ok(Action::CalloutTerminating(callout)),
        FWP_ACTION_CALLOUT_INSPECTION => Ok(Action::CalloutInspection(callout)),
        FWP_ACTION_CALLOUT_UNKNOWN => Ok(Action::CalloutUnknown(callout)),
        _ => Err(FwpError::InvalidActionType),
    }
}

fn conditions(array: *mut FWPM_FILTER_CONDITION0, count: u32) -> Result<Vec<Condition>, FwpError> {
    let at = |index| Ptr::new(array).non_null().map(|array| array.at(index).read()).ok_or(FwpError::NullPointer);
    (0..count as usize).map(|index| condition(at(index)?)).collect()
}

fn condition(condition: FWPM_FILTER_CONDITION0) -> Result<Condition, FwpError> {
    Ok(Condition {
        field: key(condition.fieldKey),
        match_type: match_type(condition.matchType)?,
        value: condition_value(condition.conditionValue)?,
    })
}

fn match_type(value: FWP_MATCH_TYPE) -> Result<MatchType, FwpError> {
    Ok(match value {
        FWP_MATCH_EQUAL => MatchType::Equal,
        FWP_MATCH_GREATER => MatchType::Greater,
        FWP_MATCH_LESS => MatchType::Less,
        FWP_MATCH_GREATER_OR_EQUAL => MatchType::GreaterOrEqual,
        FWP_MATCH_LESS_OR_EQUAL => MatchType::LessOrEqual,
        FWP_MATCH_RANGE => MatchType::Range,
        FWP_MATCH_FLAGS_ALL_SET => MatchType::FlagsAllSet,
        FWP_MATCH_FLAGS_ANY_SET => MatchType::FlagsAnySet,
        FWP_MATCH_FLAGS_NONE_SET => MatchType::FlagsNoneSet,
        FWP_MATCH_EQUAL_CASE_INSENSITIVE => MatchType::EqualCaseInsensitive,
        FWP_MATCH_NOT_EQUAL => MatchType::NotEqual,
        FWP_MATCH_PREFIX => MatchType::Prefix,
        FWP_MATCH_NOT_PREFIX => MatchType::NotPrefix,
        _ => return Err(FwpError::MatchTypeMismatch),
    })
}

fn condition_value(value: FWP_CONDITION_VALUE0) -> Result<ConditionValue, FwpError> {
    fn behind<T: Copy>(pointer: *mut T) -> Result<T, FwpError> {
        Ptr::new(pointer).non_null().map(Ptr::read_unaligned).ok_or(FwpError::NullPointer)
    }
    let member = value.Anonymous;
    match value.r#type {
        FWP_V4_ADDR_MASK => {
            // SAFETY: the type says which member is there.
            let FWP_V4_ADDR_AND_MASK { addr, mask } = behind(unsafe { member.v4AddrMask })?;
            Ok(ConditionValue::V4AddrMask { addr, mask })
        }
        FWP_V6_ADDR_MASK => {
            // SAFETY: as above.
            let FWP_V6_ADDR_AND_MASK { addr, prefixLength } = behind(unsafe { member.v6AddrMask })?;
            Ok(ConditionValue::V6AddrMask { addr, prefix: prefixLength })
        }
        FWP_RANGE_TYPE => {
            // SAFETY: as above.
            let range = behind(unsafe { member.rangeValue })?;
            Ok(ConditionValue::Range(Box::new((single_value(range.valueLow)?, single_value(range.valueHigh)?))))
        }
        r#type => {
            // SAFETY: `FWP_VALUE0`'s members are the first members of this union, and all are plain data.
            let uint64 = unsafe { member.uint64 };
            single_value(FWP_VALUE0 { r#type, Anonymous: FWP_VALUE0_0 { uint64 } })
        }
    }
}

fn single_value(value: FWP_VALUE0) -> Result<ConditionValue, FwpError> {
    fn behind<T: Copy>(pointer: *mut T) -> Result<T, FwpError> {
        Ptr::new(pointer).non_null().map(Ptr::read_unaligned).ok_or(FwpError::NullPointer)
    }
    let member = value.Anonymous;
    Ok(match value.r#type {
        FWP_EMPTY => ConditionValue::Empty,
        // SAFETY: here and below: the type says which member is there.
        FWP_UINT8 => ConditionValue::Uint8(unsafe { member.uint8 }),
        // SAFETY: as above.
        FWP_UINT16 => ConditionValue::Uint16(unsafe { member.uint16 }),
        // SAFETY: as above.
        FWP_UINT32 => ConditionValue::Uint32(unsafe { member.uint32 }),
        // SAFETY: as above.
        FWP_UINT64 => ConditionValue::Uint64(behind(unsafe { member.uint64 })?),
        // SAFETY: as above.
        FWP_BYTE_ARRAY16_TYPE => ConditionValue::ByteArray16(behind(unsafe { member.byteArray16 })?.byteArray16),
        // SAFETY: as above.
        FWP_BYTE_ARRAY6_TYPE => ConditionValue::ByteArray6(behind(unsafe { member.byteArray6 })?.byteArray6),
        // SAFETY: as above.
        FWP_BYTE_BLOB_TYPE => ConditionValue::ByteBlob(blob(behind(unsafe { member.byteBlob })?)?),
        // SAFETY: as above.
        FWP_SECURITY_DESCRIPTOR_TYPE => ConditionValue::SecurityDescriptor(blob(behind(unsafe { member.sd })?)?),
        // SAFETY: as above.
        FWP_SID => ConditionValue::Sid(sid(Ptr::new(unsafe { member.sid }).cast())?),
        FWP_UNICODE_STRING_TYPE => {
            // SAFETY: as above.
            let text = string(unsafe { member.unicodeString })?;
            ConditionValue::UnicodeString(text.ok_or(FwpError::NullPointer)?)
        }
        _ => return Err(FwpError::TypeMismatch),
    })
}

/// A `SID`: revision, number of sub-authorities, authority (6 bytes), sub-authorities (4 bytes each).
fn sid(sid: Ptr<u8>) -> Result<Vec<u8>, FwpError> {
    let sid = sid.non_null().ok_or(FwpError::NullPointer)?;
    Ok(sid.to_vec(8 + 4 * usize::from(sid.at(1).read())))
}

/// NULL is no template: every filter.
pub(crate) fn filter_template(template: Ptr<FWPM_FILTER_ENUM_TEMPLATE0>) -> Result<Option<FilterTemplate>, FwpError> {
    let Some(template) = template.non_null().map(Ptr::read) else { return Ok(None) };
    let context = Ptr::new(template.providerContextTemplate).cast::<FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0>();
    Ok(Some(FilterTemplate {
        provider: optional_key(template.providerKey),
        layer: key(template.layerKey),
        enum_type: EnumType::from_number(template.enumType)?,
        flags: EnumFlags::from_bits_retain(template.flags),
        provider_context: context.non_null().map(context_of_template).transpose()?,
        conditions: conditions(template.filterCondition, template.numFilterConditions)?,
        action_mask: template.actionMask,
        callout: optional_key(template.calloutKey),
    }))
}

pub(crate) fn callout_template(template: Ptr<FWPM_CALLOUT_ENUM_TEMPLATE0>) -> Result<CalloutTemplate, FwpError> {
    let template = template.non_null().map(Ptr::read);
    Ok(template.map_or_else(CalloutTemplate::default, |template| CalloutTemplate {
        provider: optional_key(template.providerKey),
        layer: (template.layerKey != GUID::default()).then(|| key(template.layerKey)),
    }))
}

pub(crate) fn context_template(
    template: Ptr<FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0>,
) -> Result<ContextTemplate, FwpError> {
    template.non_null().map_or_else(|| Ok(ContextTemplate::default()), context_of_template)
}

fn context_of_template(template: Ptr<FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0>) -> Result<ContextTemplate, FwpError> {
    let template = template.read();
    Ok(ContextTemplate {
        provider: optional_key(template.providerKey),
        context_type: match template.providerContextType {
            FWPM_PROVIDER_CONTEXT_TYPE_MAX => None,
            number => Some(ContextType::from_number(number)?),
        },
    })
}

pub(crate) fn sublayer_template(template: Ptr<FWPM_SUBLAYER_ENUM_TEMPLATE0>) -> Result<SublayerTemplate, FwpError> {
    let template = template.non_null().map(Ptr::read);
    Ok(SublayerTemplate { provider: template.and_then(|template| optional_key(template.providerKey)) })
}
