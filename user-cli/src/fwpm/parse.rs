//! From the engine's structures to our objects.
//!
//! Every function here is for a structure as the engine returns it: its pointers are null or point to what the header says, and
//! its tags tell the members of its unions.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use postern_engine::net_events::{NetEvent, NetEventClassify, NetEventType};
use postern_engine::objects::{
    Action, Callout, ClassifyOption, Condition, ConditionValue, ContextContent, ContextType, DisplayData, Filter,
    FilterFlags, MatchType, Provider, ProviderContext, Session, Sublayer, Weight,
};
use uuid::Uuid;
use widestring::U16CStr;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::*;
use windows_sys::Win32::Security::SID;
use windows_sys::core::{GUID, PWSTR};

/// Something in a structure that this program does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown(String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub fn uuid(guid: &GUID) -> Uuid {
    Uuid::from_fields(guid.data1, guid.data2, guid.data3, &guid.data4)
}

/// # Safety
/// As the module says.
pub unsafe fn session(session: &FWPM_SESSION0) -> Result<Session, Unknown> {
    Ok(Session {
        key: uuid(&session.sessionKey),
        // SAFETY: As the module says.
        display: unsafe { display(&session.displayData) },
        dynamic: session.flags & FWPM_SESSION_FLAG_DYNAMIC != 0,
        transaction_wait_timeout_ms: session.txnWaitTimeoutInMSec,
        process_id: session.processId,
        // SAFETY: As the module says.
        user: unsafe { text(session.username) }.unwrap_or_default(),
        kernel_mode: session.kernelMode != 0,
    })
}

/// # Safety
/// As the module says.
pub unsafe fn provider(provider: &FWPM_PROVIDER0) -> Result<Provider, Unknown> {
    Ok(Provider {
        key: uuid(&provider.providerKey),
        // SAFETY: As the module says.
        display: unsafe { display(&provider.displayData) },
        persistent: provider.flags & FWPM_PROVIDER_FLAG_PERSISTENT != 0,
        disabled: provider.flags & FWPM_PROVIDER_FLAG_DISABLED != 0,
        // SAFETY: As the module says.
        data: unsafe { blob(&provider.providerData) },
        // SAFETY: As the module says.
        service_name: unsafe { text(provider.serviceName) }.filter(|name| !name.is_empty()),
    })
}

/// # Safety
/// As the module says.
pub unsafe fn provider_context(context: &FWPM_PROVIDER_CONTEXT3) -> Result<ProviderContext, Unknown> {
    let context_type = ContextType::from_number(context.r#type as u32)
        .map_err(|_| Unknown(format!("a provider context of type {}", context.r#type)))?;
    let content = match context_type {
        ContextType::General => {
            // SAFETY: The type tells which member it is.
            let buffer = unsafe { context.Anonymous.dataBuffer };
            // SAFETY: As the module says.
            let buffer = unsafe { buffer.as_ref() };
            // SAFETY: As the module says.
            ContextContent::General(buffer.map(|buffer| unsafe { blob(buffer) }).unwrap_or_default())
        }
        ContextType::ClassifyOptions => {
            // SAFETY: The type tells which member it is.
            let options = unsafe { context.Anonymous.classifyOptions };
            // SAFETY: As the module says.
            let options = match unsafe { options.as_ref() } {
                // SAFETY: As the module says.
                Some(of) if of.numOptions != 0 => unsafe {
                    std::slice::from_raw_parts(of.options, of.numOptions as usize)
                },
                _ => &[],
            };
            let options = options.iter().map(|of| {
                // SAFETY: As the module says.
                let value = unsafe { single(of.value.r#type, &of.value.Anonymous) }?;
                Ok(ClassifyOption { option: of.r#type as u32, value })
            });
            ContextContent::ClassifyOptions(options.collect::<Result<_, Unknown>>()?)
        }
        _ => ContextContent::Policy { context_type, text: String::new() },
    };
    Ok(ProviderContext {
        key: uuid(&context.providerContextKey),
        // SAFETY: As the module says.
        display: unsafe { display(&context.displayData) },
        persistent: context.flags & FWPM_PROVIDER_CONTEXT_FLAG_PERSISTENT != 0,
        // SAFETY: As the module says.
        provider: unsafe { optional_uuid(context.providerKey) },
        // SAFETY: As the module says.
        data: unsafe { blob(&context.providerData) },
        content,
        id: context.providerContextId,
    })
}

/// # Safety
/// As the module says.
pub unsafe fn sublayer(sublayer: &FWPM_SUBLAYER0) -> Result<Sublayer, Unknown> {
    Ok(Sublayer {
        key: uuid(&sublayer.subLayerKey),
        // SAFETY: As the module says.
        display: unsafe { display(&sublayer.displayData) },
        persistent: sublayer.flags & FWPM_SUBLAYER_FLAG_PERSISTENT != 0,
        // SAFETY: As the module says.
        provider: unsafe { optional_uuid(sublayer.providerKey) },
        // SAFETY: As the module says.
        data: unsafe { blob(&sublayer.providerData) },
        weight: sublayer.weight,
    })
}

/// # Safety
/// As the module says.
pub unsafe fn callout(callout: &FWPM_CALLOUT0) -> Result<Callout, Unknown> {
    Ok(Callout {
        key: uuid(&callout.calloutKey),
        // SAFETY: As the module says.
        display: unsafe { display(&callout.displayData) },
        persistent: callout.flags & FWPM_CALLOUT_FLAG_PERSISTENT != 0,
        uses_provider_context: callout.flags & FWPM_CALLOUT_FLAG_USES_PROVIDER_CONTEXT != 0,
        // SAFETY: As the module says.
        provider: unsafe { optional_uuid(callout.providerKey) },
        // SAFETY: As the module says.
        data: unsafe { blob(&callout.providerData) },
        layer: uuid(&callout.applicableLayer),
        id: callout.calloutId,
        registered: callout.flags & FWPM_CALLOUT_FLAG_REGISTERED != 0,
        // The flags of its registration stand among those of the object, as dumps of `netsh wfp show state` show.
        registration_flags: callout.flags
            & !(FWPM_CALLOUT_FLAG_PERSISTENT | FWPM_CALLOUT_FLAG_USES_PROVIDER_CONTEXT | FWPM_CALLOUT_FLAG_REGISTERED),
    })
}

/// # Safety
/// As the module says.
pub unsafe fn filter(filter: &FWPM_FILTER0) -> Result<Filter, Unknown> {
    let in_filter = |Unknown(what)| Unknown(format!("filter {}: {what}", filter.filterId));
    let flags = FilterFlags::from_bits_retain(filter.flags);
    // SAFETY: As the module says. Every action's key may be read: all of the union is set.
    let callout = unsafe { filter.action.Anonymous.calloutKey };
    let action = Action::new(filter.action.r#type, uuid(&callout));
    let action = action.map_err(|_| in_filter(Unknown(format!("action {:#x}", filter.action.r#type))))?;
    let conditions = match filter.numFilterConditions {
        0 => &[],
        // SAFETY: As the module says.
        count => unsafe { std::slice::from_raw_parts(filter.filterCondition, count as usize) },
    };
    // SAFETY: As the module says.
    let conditions =
        conditions.iter().map(|of| unsafe { condition(of) }).collect::<Result<_, _>>().map_err(in_filter)?;
    let (raw_context, provider_context) = match flags.contains(FilterFlags::HAS_PROVIDER_CONTEXT) {
        // SAFETY: The flag tells which member it is.
        true => (0, Some(uuid(unsafe { &filter.Anonymous.providerContextKey }))),
        // SAFETY: As above.
        false => (unsafe { filter.Anonymous.rawContext }, None),
    };
    Ok(Filter {
        key: uuid(&filter.filterKey),
        // SAFETY: As the module says.
        display: unsafe { display(&filter.displayData) },
        flags,
        // SAFETY: As the module says.
        provider: unsafe { optional_uuid(filter.providerKey) },
        // SAFETY: As the module says.
        data: unsafe { blob(&filter.providerData) },
        layer: uuid(&filter.layerKey),
        sublayer: uuid(&filter.subLayerKey),
        // SAFETY: As the module says.
        weight: unsafe { weight(&filter.weight) }.map_err(in_filter)?,
        conditions,
        action,
        raw_context,
        provider_context,
        id: filter.filterId,
        // SAFETY: As the module says.
        effective_weight: match unsafe { weight(&filter.effectiveWeight) }.map_err(in_filter)? {
            Weight::Exact(weight) => weight,
            Weight::Auto | Weight::Range(_) => 0,
        },
    })
}

/// # Safety
/// As the module says.
pub unsafe fn net_event(event: &FWPM_NET_EVENT3) -> Result<NetEvent, Unknown> {
    let header = &event.header;
    let is_set = |flag| header.flags & flag != 0;
    let version = match header.ipVersion {
        _ if !is_set(FWPM_NET_EVENT_FLAG_IP_VERSION_SET) => None,
        FWP_IP_VERSION_NONE => None,
        FWP_IP_VERSION_V4 | FWP_IP_VERSION_V6 => Some(header.ipVersion),
        version => return Err(Unknown(format!("a net event of IP version {version}"))),
    };
    let address = |flag, bytes: [u8; 16]| {
        let version = version.filter(|_| is_set(flag))?;
        // One of version 4 is a number in the first four.
        let number = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        Some(if version == FWP_IP_VERSION_V4 { Ipv4Addr::from(number).into() } else { IpAddr::from(bytes) })
    };
    // SAFETY: All of the union is set.
    let local = unsafe { header.Anonymous1.localAddrV6 }.byteArray16;
    // SAFETY: As above.
    let remote = unsafe { header.Anonymous2.remoteAddrV6 }.byteArray16;
    let kind = NetEventType(event.r#type as u32);
    let classify = match kind {
        NetEventType::CLASSIFY_DROP | NetEventType::CLASSIFY_ALLOW => {
            // SAFETY: The union holds a pointer, whichever member it is. That of a drop has the members of a permit, and more behind.
            let classify = unsafe { event.Anonymous.classifyAllow };
            // SAFETY: As the module says.
            unsafe { classify.as_ref() }.map(|classify| NetEventClassify {
                filter_id: classify.filterId,
                layer: classify.layerId,
                reauthorize_reason: classify.reauthReason,
                original_profile: classify.originalProfile,
                current_profile: classify.currentProfile,
                direction: classify.msFwpDirection,
                loopback: classify.isLoopback != 0,
            })
        }
        _ => None,
    };
    Ok(NetEvent {
        kind,
        time: u64::from(header.timeStamp.dwHighDateTime) << 32 | u64::from(header.timeStamp.dwLowDateTime),
        protocol: is_set(FWPM_NET_EVENT_FLAG_IP_PROTOCOL_SET).then_some(header.ipProtocol),
        local_address: address(FWPM_NET_EVENT_FLAG_LOCAL_ADDR_SET, local),
        remote_address: address(FWPM_NET_EVENT_FLAG_REMOTE_ADDR_SET, remote),
        local_port: is_set(FWPM_NET_EVENT_FLAG_LOCAL_PORT_SET).then_some(header.localPort),
        remote_port: is_set(FWPM_NET_EVENT_FLAG_REMOTE_PORT_SET).then_some(header.remotePort),
        scope_id: is_set(FWPM_NET_EVENT_FLAG_SCOPE_ID_SET).then_some(header.scopeId),
        // SAFETY: As the module says.
        app_id: is_set(FWPM_NET_EVENT_FLAG_APP_ID_SET).then(|| unsafe { blob(&header.appId) }),
        // SAFETY: As the module says.
        user: unsafe { optional_sid(is_set(FWPM_NET_EVENT_FLAG_USER_ID_SET), header.userId) },
        // SAFETY: As the module says.
        package: unsafe { optional_sid(is_set(FWPM_NET_EVENT_FLAG_PACKAGE_ID_SET), header.packageSid) },
        reauthorized: is_set(FWPM_NET_EVENT_FLAG_REAUTH_REASON_SET),
        classify,
    })
}

unsafe fn optional_sid(is_set: bool, of: *const SID) -> Option<Vec<u8>> {
    // SAFETY: As the module says.
    (is_set && !of.is_null()).then(|| unsafe { sid(of) })
}

unsafe fn weight(value: &FWP_VALUE0) -> Result<Weight, Unknown> {
    // SAFETY: As the module says.
    Ok(match unsafe { single(value.r#type, &value.Anonymous) }? {
        ConditionValue::Empty => Weight::Auto,
        ConditionValue::Uint8(range) => Weight::Range(range),
        ConditionValue::Uint64(weight) => Weight::Exact(weight),
        _ => return Err(Unknown(format!("a weight of type {}", value.r#type))),
    })
}

unsafe fn condition(condition: &FWPM_FILTER_CONDITION0) -> Result<Condition, Unknown> {
    Ok(Condition {
        field: uuid(&condition.fieldKey),
        match_type: match_type(condition.matchType)?,
        // SAFETY: As the module says.
        value: unsafe { condition_value(&condition.conditionValue) }?,
    })
}

fn match_type(number: FWP_MATCH_TYPE) -> Result<MatchType, Unknown> {
    let found = MatchType::ALL.into_iter().find(|known| *known as FWP_MATCH_TYPE == number);
    found.ok_or_else(|| Unknown(format!("a condition of match type {number}")))
}

unsafe fn condition_value(value: &FWP_CONDITION_VALUE0) -> Result<ConditionValue, Unknown> {
    let of = &value.Anonymous;
    match value.r#type {
        FWP_V4_ADDR_MASK => {
            // SAFETY: As the module says.
            let of = unsafe { of.v4AddrMask.read() };
            Ok(ConditionValue::V4AddrMask { addr: of.addr, mask: of.mask })
        }
        FWP_V6_ADDR_MASK => {
            // SAFETY: As the module says.
            let of = unsafe { of.v6AddrMask.read() };
            Ok(ConditionValue::V6AddrMask { addr: of.addr, prefix: of.prefixLength })
        }
        FWP_RANGE_TYPE => {
            // SAFETY: As the module says.
            let range = unsafe { of.rangeValue.read() };
            // SAFETY: As the module says.
            let low = unsafe { single(range.valueLow.r#type, &range.valueLow.Anonymous) }?;
            // SAFETY: As the module says.
            let high = unsafe { single(range.valueHigh.r#type, &range.valueHigh.Anonymous) }?;
            Ok(ConditionValue::Range(Box::new((low, high))))
        }
        r#type => {
            // SAFETY: The members are those of `FWP_VALUE0`, and a few more, at the same place (fwptypes.h).
            let of = unsafe { &*(&raw const *of).cast::<FWP_VALUE0_0>() };
            // SAFETY: As the module says.
            unsafe { single(r#type, of) }
        }
    }
}

unsafe fn single(r#type: FWP_DATA_TYPE, of: &FWP_VALUE0_0) -> Result<ConditionValue, Unknown> {
    Ok(match r#type {
        FWP_EMPTY => ConditionValue::Empty,
        // SAFETY: As the module says, here and below.
        FWP_UINT8 => ConditionValue::Uint8(unsafe { of.uint8 }),
        // SAFETY: As above.
        FWP_UINT16 => ConditionValue::Uint16(unsafe { of.uint16 }),
        // SAFETY: As above.
        FWP_UINT32 => ConditionValue::Uint32(unsafe { of.uint32 }),
        // SAFETY: As above.
        FWP_UINT64 => ConditionValue::Uint64(unsafe { of.uint64.read() }),
        // SAFETY: As above.
        FWP_BYTE_ARRAY16_TYPE => ConditionValue::ByteArray16(unsafe { of.byteArray16.read() }.byteArray16),
        // SAFETY: As above.
        FWP_BYTE_ARRAY6_TYPE => ConditionValue::ByteArray6(unsafe { of.byteArray6.read() }.byteArray6),
        FWP_BYTE_BLOB_TYPE => {
            // SAFETY: As above.
            let value = unsafe { of.byteBlob.read() };
            // SAFETY: As above.
            ConditionValue::ByteBlob(unsafe { blob(&value) })
        }
        FWP_SECURITY_DESCRIPTOR_TYPE => {
            // SAFETY: As above.
            let value = unsafe { of.sd.read() };
            // SAFETY: As above.
            ConditionValue::SecurityDescriptor(unsafe { blob(&value) })
        }
        // SAFETY: As above.
        FWP_SID => ConditionValue::Sid(unsafe { sid(of.sid) }),
        // SAFETY: As above.
        FWP_UNICODE_STRING_TYPE => ConditionValue::UnicodeString(unsafe { text(of.unicodeString) }.unwrap_or_default()),
        r#type => return Err(Unknown(format!("a value of type {type}"))),
    })
}

unsafe fn display(display: &FWPM_DISPLAY_DATA0) -> DisplayData {
    // SAFETY: As the module says.
    let name = unsafe { text(display.name) };
    // SAFETY: As the module says.
    let description = unsafe { text(display.description) };
    DisplayData { name: name.unwrap_or_default(), description: description.unwrap_or_default() }
}

unsafe fn text(text: PWSTR) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: As the module says, it ends with a NUL.
    Some(unsafe { U16CStr::from_ptr_str(text) }.to_string_lossy())
}

unsafe fn optional_uuid(guid: *const GUID) -> Option<Uuid> {
    // SAFETY: As the module says.
    unsafe { guid.as_ref() }.map(uuid)
}

unsafe fn blob(blob: &FWP_BYTE_BLOB) -> Vec<u8> {
    match blob.size {
        0 => Vec::new(),
        // SAFETY: As the module says.
        size => unsafe { std::slice::from_raw_parts(blob.data, size as usize) }.to_vec(),
    }
}

/// Its length is in it: a head of eight bytes, and so many numbers of four.
unsafe fn sid(sid: *const SID) -> Vec<u8> {
    // SAFETY: As the module says.
    let head = unsafe { std::slice::from_raw_parts(sid.cast::<u8>(), 8) };
    let count = head[1];
    // SAFETY: As the module says.
    unsafe { std::slice::from_raw_parts(sid.cast(), 8 + 4 * usize::from(count)) }.to_vec()
}
