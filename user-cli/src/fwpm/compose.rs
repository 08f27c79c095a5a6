//! From our objects to the engine's structures. What a structure points to lives in the arena.

use std::ptr::{null_mut, without_provenance_mut};

use bumpalo::Bump;
use postern_engine::FwpError;
use postern_engine::objects::{
    Callout, Condition, ConditionValue, ContextContent, DisplayData, Filter, Provider, ProviderContext, Session,
    Sublayer, Weight,
};
use postern_engine::template::{CalloutTemplate, ContextTemplate, FilterTemplate, SublayerTemplate};
use uuid::Uuid;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::*;
use windows_sys::core::{GUID, PWSTR};

pub fn guid(key: Uuid) -> GUID {
    GUID::from_u128(key.as_u128())
}

/// What is filled in on output is left empty.
pub fn session(arena: &Bump, session: &Session) -> FWPM_SESSION0 {
    FWPM_SESSION0 {
        sessionKey: guid(session.key),
        displayData: display(arena, &session.display),
        flags: if session.dynamic { FWPM_SESSION_FLAG_DYNAMIC } else { 0 },
        txnWaitTimeoutInMSec: session.transaction_wait_timeout_ms,
        processId: 0,
        sid: null_mut(),
        username: null_mut(),
        kernelMode: 0,
    }
}

pub fn provider(arena: &Bump, provider: &Provider) -> FWPM_PROVIDER0 {
    FWPM_PROVIDER0 {
        providerKey: guid(provider.key),
        displayData: display(arena, &provider.display),
        flags: if provider.persistent { FWPM_PROVIDER_FLAG_PERSISTENT } else { 0 },
        providerData: blob(arena, &provider.data),
        serviceName: text(arena, provider.service_name.as_deref().unwrap_or_default()),
    }
}

/// Fails with the name of its type if it is a policy, which is not kept in a form that could be composed.
pub fn provider_context(arena: &Bump, context: &ProviderContext) -> Result<FWPM_PROVIDER_CONTEXT3, &'static str> {
    let context_type = context.content.context_type();
    let mut content = FWPM_PROVIDER_CONTEXT3_0 { dataBuffer: null_mut() };
    match &context.content {
        ContextContent::General(buffer) => content.dataBuffer = arena.alloc(blob(arena, buffer)),
        ContextContent::ClassifyOptions(options) => {
            let options = options.iter().map(|of| {
                Ok::<_, &'static str>(FWPM_CLASSIFY_OPTION0 {
                    r#type: of.option as FWP_CLASSIFY_OPTION_TYPE,
                    value: single(arena, &of.value).map_err(|_| context_type.symbol())?,
                })
            });
            let options = arena.alloc_slice_copy(&options.collect::<Result<Vec<_>, &'static str>>()?);
            content.classifyOptions =
                arena.alloc(FWPM_CLASSIFY_OPTIONS0 { numOptions: options.len() as u32, options: options.as_mut_ptr() });
        }
        ContextContent::Policy { .. } => return Err(context_type.symbol()),
    }
    Ok(FWPM_PROVIDER_CONTEXT3 {
        providerContextKey: guid(context.key),
        displayData: display(arena, &context.display),
        flags: if context.persistent { FWPM_PROVIDER_CONTEXT_FLAG_PERSISTENT } else { 0 },
        providerKey: optional_guid(arena, context.provider),
        providerData: blob(arena, &context.data),
        r#type: context_type as FWPM_PROVIDER_CONTEXT_TYPE,
        Anonymous: content,
        providerContextId: 0,
    })
}

pub fn sublayer(arena: &Bump, sublayer: &Sublayer) -> FWPM_SUBLAYER0 {
    FWPM_SUBLAYER0 {
        subLayerKey: guid(sublayer.key),
        displayData: display(arena, &sublayer.display),
        flags: if sublayer.persistent { FWPM_SUBLAYER_FLAG_PERSISTENT } else { 0 },
        providerKey: optional_guid(arena, sublayer.provider),
        providerData: blob(arena, &sublayer.data),
        weight: sublayer.weight,
    }
}

pub fn callout(arena: &Bump, callout: &Callout) -> FWPM_CALLOUT0 {
    let mut flags = 0;
    if callout.persistent {
        flags |= FWPM_CALLOUT_FLAG_PERSISTENT;
    }
    if callout.uses_provider_context {
        flags |= FWPM_CALLOUT_FLAG_USES_PROVIDER_CONTEXT;
    }
    FWPM_CALLOUT0 {
        calloutKey: guid(callout.key),
        displayData: display(arena, &callout.display),
        flags,
        providerKey: optional_guid(arena, callout.provider),
        providerData: blob(arena, &callout.data),
        applicableLayer: guid(callout.layer),
        calloutId: 0,
    }
}

/// Fails as the engine does if a range has ends that are no single values.
pub fn filter(arena: &Bump, filter: &Filter) -> Result<FWPM_FILTER0, FwpError> {
    let conditions = filter.conditions.iter().map(|of| condition(arena, of)).collect::<Result<Vec<_>, _>>()?;
    let conditions = arena.alloc_slice_copy(&conditions);
    Ok(FWPM_FILTER0 {
        filterKey: guid(filter.key),
        displayData: display(arena, &filter.display),
        flags: filter.flags.bits(),
        providerKey: optional_guid(arena, filter.provider),
        providerData: blob(arena, &filter.data),
        layerKey: guid(filter.layer),
        subLayerKey: guid(filter.sublayer),
        weight: weight(arena, filter.weight),
        numFilterConditions: conditions.len() as u32,
        filterCondition: if conditions.is_empty() { null_mut() } else { conditions.as_mut_ptr() },
        action: FWPM_ACTION0 {
            r#type: filter.action.action_type(),
            Anonymous: FWPM_ACTION0_0 { calloutKey: guid(filter.action.callout().unwrap_or_default()) },
        },
        Anonymous: context(filter),
        reserved: null_mut(),
        filterId: 0,
        effectiveWeight: empty(),
    })
}

/// Fails as [`filter`] does.
pub fn filter_template(arena: &Bump, template: &FilterTemplate) -> Result<FWPM_FILTER_ENUM_TEMPLATE0, FwpError> {
    let conditions = template.conditions.iter().map(|of| condition(arena, of)).collect::<Result<Vec<_>, _>>()?;
    let conditions = arena.alloc_slice_copy(&conditions);
    Ok(FWPM_FILTER_ENUM_TEMPLATE0 {
        providerKey: optional_guid(arena, template.provider),
        layerKey: guid(template.layer),
        enumType: template.enum_type as FWP_FILTER_ENUM_TYPE,
        flags: template.flags.bits(),
        providerContextTemplate: template
            .provider_context
            .map_or(null_mut(), |of| arena.alloc(context_template(arena, &of))),
        numFilterConditions: conditions.len() as u32,
        filterCondition: if conditions.is_empty() { null_mut() } else { conditions.as_mut_ptr() },
        actionMask: template.action_mask,
        calloutKey: optional_guid(arena, template.callout),
    })
}

pub fn context_template(arena: &Bump, template: &ContextTemplate) -> FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0 {
    FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0 {
        providerKey: optional_guid(arena, template.provider),
        providerContextType: template
            .context_type
            .map_or(FWPM_PROVIDER_CONTEXT_TYPE_MAX, |of| of as FWPM_PROVIDER_CONTEXT_TYPE),
    }
}

pub fn sublayer_template(arena: &Bump, template: &SublayerTemplate) -> FWPM_SUBLAYER_ENUM_TEMPLATE0 {
    FWPM_SUBLAYER_ENUM_TEMPLATE0 { providerKey: optional_guid(arena, template.provider) }
}

pub fn callout_template(arena: &Bump, template: &CalloutTemplate) -> FWPM_CALLOUT_ENUM_TEMPLATE0 {
    FWPM_CALLOUT_ENUM_TEMPLATE0 {
        providerKey: optional_guid(arena, template.provider),
        layerKey: guid(template.layer.unwrap_or_default()),
    }
}

/// The key is the larger member of the union.
fn context(filter: &Filter) -> FWPM_FILTER0_0 {
    let mut context = FWPM_FILTER0_0 { providerContextKey: guid(filter.provider_context.unwrap_or_default()) };
    if filter.provider_context.is_none() {
        context.rawContext = filter.raw_context;
    }
    context
}

fn weight(arena: &Bump, weight: Weight) -> FWP_VALUE0 {
    match weight {
        Weight::Auto => empty(),
        Weight::Range(range) => number(FWP_UINT8, range.into()),
        Weight::Exact(weight) => pointer(FWP_UINT64, arena.alloc(weight)),
    }
}

fn condition(arena: &Bump, condition: &Condition) -> Result<FWPM_FILTER_CONDITION0, FwpError> {
    Ok(FWPM_FILTER_CONDITION0 {
        fieldKey: guid(condition.field),
        matchType: condition.match_type as FWP_MATCH_TYPE,
        conditionValue: condition_value(arena, &condition.value)?,
    })
}

fn condition_value(arena: &Bump, value: &ConditionValue) -> Result<FWP_CONDITION_VALUE0, FwpError> {
    let FWP_VALUE0 { r#type, Anonymous: of } = match value {
        ConditionValue::V4AddrMask { addr, mask } => {
            pointer(FWP_V4_ADDR_MASK, arena.alloc(FWP_V4_ADDR_AND_MASK { addr: *addr, mask: *mask }))
        }
        ConditionValue::V6AddrMask { addr, prefix } => {
            pointer(FWP_V6_ADDR_MASK, arena.alloc(FWP_V6_ADDR_AND_MASK { addr: *addr, prefixLength: *prefix }))
        }
        ConditionValue::Range(ends) => {
            let range = FWP_RANGE0 { valueLow: single(arena, &ends.0)?, valueHigh: single(arena, &ends.1)? };
            pointer(FWP_RANGE_TYPE, arena.alloc(range))
        }
        of => single(arena, of)?,
    };
    // SAFETY: `number` and `pointer` have set the whole word, whichever member it is meant to be.
    Ok(FWP_CONDITION_VALUE0 { r#type, Anonymous: FWP_CONDITION_VALUE0_0 { uint64: unsafe { of.uint64 } } })
}

/// A value that may be the end of a range.
fn single(arena: &Bump, value: &ConditionValue) -> Result<FWP_VALUE0, FwpError> {
    Ok(match value {
        ConditionValue::Empty => empty(),
        ConditionValue::Uint8(of) => number(FWP_UINT8, (*of).into()),
        ConditionValue::Uint16(of) => number(FWP_UINT16, (*of).into()),
        ConditionValue::Uint32(of) => number(FWP_UINT32, *of),
        ConditionValue::Uint64(of) => pointer(FWP_UINT64, arena.alloc(*of)),
        ConditionValue::ByteArray16(of) => pointer(FWP_BYTE_ARRAY16_TYPE, arena.alloc(*of)),
        ConditionValue::ByteArray6(of) => pointer(FWP_BYTE_ARRAY6_TYPE, arena.alloc(*of)),
        ConditionValue::ByteBlob(of) => pointer(FWP_BYTE_BLOB_TYPE, arena.alloc(blob(arena, of))),
        ConditionValue::SecurityDescriptor(of) => pointer(FWP_SECURITY_DESCRIPTOR_TYPE, arena.alloc(blob(arena, of))),
        ConditionValue::Sid(of) => pointer(FWP_SID, words(arena, of)),
        ConditionValue::UnicodeString(of) => pointer(FWP_UNICODE_STRING_TYPE, terminated(arena, of)),
        ConditionValue::V4AddrMask { .. } | ConditionValue::V6AddrMask { .. } | ConditionValue::Range(_) => {
            return Err(FwpError::TypeMismatch);
        }
    })
}

fn empty() -> FWP_VALUE0 {
    number(FWP_EMPTY, 0)
}

/// The numbers that stand in the value itself. x86 and x64 are little-endian: the shorter members are its first bytes.
fn number(r#type: FWP_DATA_TYPE, number: u32) -> FWP_VALUE0 {
    FWP_VALUE0 { r#type, Anonymous: FWP_VALUE0_0 { uint64: without_provenance_mut(number as usize) } }
}

fn pointer<T>(r#type: FWP_DATA_TYPE, to: *mut T) -> FWP_VALUE0 {
    FWP_VALUE0 { r#type, Anonymous: FWP_VALUE0_0 { uint64: to.cast() } }
}

fn display(arena: &Bump, display: &DisplayData) -> FWPM_DISPLAY_DATA0 {
    FWPM_DISPLAY_DATA0 { name: text(arena, &display.name), description: text(arena, &display.description) }
}

/// None for an empty text.
fn text(arena: &Bump, text: &str) -> PWSTR {
    if text.is_empty() { null_mut() } else { terminated(arena, text) }
}

fn terminated(arena: &Bump, text: &str) -> PWSTR {
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    arena.alloc_slice_copy(&units).as_mut_ptr()
}

fn optional_guid(arena: &Bump, key: Option<Uuid>) -> *mut GUID {
    key.map_or(null_mut(), |key| arena.alloc(guid(key)))
}

fn blob(arena: &Bump, bytes: &[u8]) -> FWP_BYTE_BLOB {
    let data = if bytes.is_empty() { null_mut() } else { words(arena, bytes) };
    FWP_BYTE_BLOB { size: bytes.len() as u32, data }
}

/// Bytes that may be a structure: aligned for any.
fn words(arena: &Bump, bytes: &[u8]) -> *mut u8 {
    let words = arena.alloc_slice_fill_copy(bytes.len().div_ceil(8), 0u64);
    for (word, bytes) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(whole);
    }
    words.as_mut_ptr().cast()
}
