//! The structures read with the driver's declarations of them, whose layouts are asserted against the WDK's headers; and both ways.

use bumpalo::Bump;
use fwps::sys;
use postern_engine::FwpError;
use postern_engine::net_events::{NetEvent, NetEventClassify, NetEventType, direction};
use postern_engine::objects::{
    Action, Callout, ClassifyOption, Condition, ConditionValue, ContextContent, ContextType, DisplayData, Filter,
    FilterFlags, MatchType, Provider, ProviderContext, Session, Sublayer, Weight,
};
use postern_engine::template::{
    CalloutTemplate, ContextTemplate, EnumFlags, EnumType, FilterTemplate, SublayerTemplate,
};
use uuid::{Uuid, uuid};
use widestring::U16CStr;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::*;

use super::{compose, parse};

const KEY: Uuid = uuid!("00112233-4455-6677-8899-aabbccddeeff");
const OTHER: Uuid = uuid!("0f0e0d0c-0b0a-0908-0706-050403020100");

fn display() -> DisplayData {
    DisplayData { name: "Schloß".into(), description: "a gate".into() }
}

/// As the WDK's headers lay it out.
fn as_wdk<T, Wdk: Copy>(structure: &T) -> Wdk {
    assert_eq!((size_of::<T>(), align_of::<T>()), (size_of::<Wdk>(), align_of::<Wdk>()));
    // SAFETY: Both are plain C structures of this size; the tests read what was set.
    unsafe { (&raw const *structure).cast::<Wdk>().read() }
}

fn key(guid: sys::GUID) -> Uuid {
    Uuid::from_u128(guid.to_u128())
}

fn text(text: *const u16) -> String {
    // SAFETY: What is composed ends with a NUL.
    unsafe { U16CStr::from_ptr_str(text) }.to_string().unwrap()
}

/// What a union's pointer points to.
fn at<T: Copy>(pointer: *const T) -> T {
    // SAFETY: Only for what was composed just now.
    unsafe { pointer.read() }
}

fn values() -> Vec<(FWP_DATA_TYPE, ConditionValue)> {
    let range = |low, high| ConditionValue::Range(Box::new((low, high)));
    vec![
        (FWP_EMPTY, ConditionValue::Empty),
        (FWP_UINT8, ConditionValue::Uint8(6)),
        (FWP_UINT16, ConditionValue::Uint16(443)),
        (FWP_UINT32, ConditionValue::Uint32(0xC000_0201)),
        (FWP_UINT64, ConditionValue::Uint64(0x1234_5678_9ABC_DEF0)),
        (FWP_BYTE_ARRAY16_TYPE, ConditionValue::ByteArray16([7; 16])),
        (FWP_BYTE_ARRAY6_TYPE, ConditionValue::ByteArray6([1, 2, 3, 4, 5, 6])),
        (FWP_BYTE_BLOB_TYPE, ConditionValue::ByteBlob(vec![1, 2, 3])),
        (FWP_BYTE_BLOB_TYPE, ConditionValue::ByteBlob(Vec::new())),
        // S-1-5-32-544: two sub-authorities.
        (FWP_SID, ConditionValue::Sid(vec![1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0])),
        (FWP_SECURITY_DESCRIPTOR_TYPE, ConditionValue::SecurityDescriptor(vec![9; 21])),
        (FWP_UNICODE_STRING_TYPE, ConditionValue::UnicodeString("Schloß".into())),
        (FWP_V4_ADDR_MASK, ConditionValue::V4AddrMask { addr: 0xC000_0200, mask: 0xFFFF_FF00 }),
        (FWP_V6_ADDR_MASK, ConditionValue::V6AddrMask { addr: [3; 16], prefix: 64 }),
        (FWP_RANGE_TYPE, range(ConditionValue::Uint16(1), ConditionValue::Uint16(1024))),
        (FWP_RANGE_TYPE, range(ConditionValue::ByteArray16([0; 16]), ConditionValue::ByteArray16([9; 16]))),
    ]
}

fn filter() -> Filter {
    Filter {
        key: KEY,
        display: display(),
        flags: FilterFlags::PERSISTENT | FilterFlags::CLEAR_ACTION_RIGHT,
        provider: Some(OTHER),
        data: vec![4, 5, 6],
        layer: uuid!("c38d57d1-05a7-4c33-904f-7fbceee60e82"),
        sublayer: OTHER,
        weight: Weight::Exact(0x0102_0304_0506_0708),
        conditions: values()
            .into_iter()
            .map(|(_, value)| Condition { field: OTHER, match_type: MatchType::NotEqual, value })
            .collect(),
        action: Action::CalloutTerminating(KEY),
        raw_context: 0x8877_6655_4433_2211,
        provider_context: None,
        id: 0,
        effective_weight: 0,
    }
}

#[test]
fn sizes_and_numbers_are_those_of_the_headers() {
    assert_eq!(size_of::<FWPM_SESSION0>(), size_of::<sys::FWPM_SESSION0>());
    assert_eq!(size_of::<FWPM_PROVIDER0>(), size_of::<sys::FWPM_PROVIDER0>());
    assert_eq!(size_of::<FWPM_PROVIDER_CONTEXT3>(), size_of::<sys::FWPM_PROVIDER_CONTEXT3>());
    assert_eq!(size_of::<FWPM_SUBLAYER0>(), size_of::<sys::FWPM_SUBLAYER0>());
    assert_eq!(size_of::<FWPM_CALLOUT0>(), size_of::<sys::FWPM_CALLOUT0>());
    assert_eq!(size_of::<FWPM_FILTER_CONDITION0>(), size_of::<sys::FWPM_FILTER_CONDITION0>());
    assert_eq!(size_of::<FWP_CONDITION_VALUE0_0>(), size_of::<FWP_VALUE0_0>());
    for (action, number) in [
        (Action::Block, FWP_ACTION_BLOCK),
        (Action::Permit, FWP_ACTION_PERMIT),
        (Action::CalloutTerminating(KEY), FWP_ACTION_CALLOUT_TERMINATING),
        (Action::CalloutInspection(KEY), FWP_ACTION_CALLOUT_INSPECTION),
        (Action::CalloutUnknown(KEY), FWP_ACTION_CALLOUT_UNKNOWN),
    ] {
        assert_eq!(action.action_type(), number);
    }
}

#[test]
fn a_filter_is_laid_out_as_the_wdk_reads_it() {
    let arena = Bump::new();
    let filter = filter();
    let composed: sys::FWPM_FILTER0 = as_wdk(&compose::filter(&arena, &filter).unwrap());
    assert_eq!(key(composed.filterKey), KEY);
    assert_eq!(text(composed.displayData.name), "Schloß");
    assert_eq!(text(composed.displayData.description), "a gate");
    assert_eq!(composed.flags, 0x9);
    assert_eq!(key(at(composed.providerKey)), OTHER);
    assert_eq!(composed.providerData.size, 3);
    assert_eq!(key(composed.layerKey), filter.layer);
    assert_eq!(key(composed.subLayerKey), OTHER);
    // SAFETY: The type tells the member.
    let weight = at(unsafe { composed.weight.Anonymous.uint64 });
    assert_eq!((composed.weight.r#type, weight), (4, 0x0102_0304_0506_0708));
    // SAFETY: The type tells the member.
    assert_eq!((composed.action.r#type, key(unsafe { composed.action.Anonymous.calloutKey })), (0x5003, KEY));
    // SAFETY: Without its flag there is no provider context.
    assert_eq!(unsafe { composed.Anonymous.rawContext }, 0x8877_6655_4433_2211);
    assert_eq!(composed.numFilterConditions as usize, values().len());
    // SAFETY: The array is as long as told.
    let conditions = unsafe { std::slice::from_raw_parts(composed.filterCondition, values().len()) };
    for (condition, (r#type, _)) in conditions.iter().zip(values()) {
        assert_eq!((key(condition.fieldKey), condition.matchType as i32), (OTHER, 10));
        assert_eq!(condition.conditionValue.r#type as i32, r#type);
    }
    // SAFETY: The types tell the members, here and below.
    assert_eq!(unsafe { conditions[2].conditionValue.Anonymous.uint16 }, 443);
    // SAFETY: As above.
    let mask = at(unsafe { conditions[12].conditionValue.Anonymous.v4AddrMask });
    assert_eq!((mask.addr, mask.mask), (0xC000_0200, 0xFFFF_FF00));
    // SAFETY: As above.
    let range = at(unsafe { conditions[14].conditionValue.Anonymous.rangeValue });
    // SAFETY: As above.
    assert_eq!((range.valueHigh.r#type as i32, unsafe { range.valueHigh.Anonymous.uint16 }), (FWP_UINT16, 1024));
}

#[test]
fn a_template_is_laid_out_as_the_wdk_reads_it() {
    let arena = Bump::new();
    let mut template = FilterTemplate {
        provider: Some(OTHER),
        layer: KEY,
        enum_type: EnumType::Overlapping,
        flags: EnumFlags::SORTED | EnumFlags::INCLUDE_DISABLED,
        provider_context: Some(ContextTemplate { provider: Some(KEY), context_type: None }),
        conditions: filter().conditions,
        action_mask: 0x4000,
        callout: Some(KEY),
    };
    let composed: sys::FWPM_FILTER_ENUM_TEMPLATE0 = as_wdk(&compose::filter_template(&arena, &template).unwrap());
    assert_eq!((key(at(composed.providerKey)), key(composed.layerKey)), (OTHER, KEY));
    assert_eq!((composed.enumType, composed.flags, composed.actionMask), (1, 0x12, 0x4000));
    assert_eq!(key(at(composed.calloutKey)), KEY);
    assert_eq!(composed.numFilterConditions as usize, values().len());
    assert_eq!(key(at(composed.filterCondition).fieldKey), OTHER);
    let of: FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0 = at(composed.providerContextTemplate.cast());
    assert_eq!((parse::uuid(&at(of.providerKey)), of.providerContextType), (KEY, FWPM_PROVIDER_CONTEXT_TYPE_MAX));
    let callouts = CalloutTemplate { provider: Some(KEY), layer: Some(OTHER) };
    let composed: sys::FWPM_CALLOUT_ENUM_TEMPLATE0 = as_wdk(&compose::callout_template(&arena, &callouts));
    assert_eq!((key(at(composed.providerKey)), key(composed.layerKey)), (KEY, OTHER));
    let sublayers = SublayerTemplate { provider: Some(KEY) };
    let composed: sys::FWPM_SUBLAYER_ENUM_TEMPLATE0 = as_wdk(&compose::sublayer_template(&arena, &sublayers));
    assert_eq!(key(at(composed.providerKey)), KEY);
    (template.provider, template.provider_context, template.callout) = (None, None, None);
    template.conditions.clear();
    let composed = compose::filter_template(&arena, &template).unwrap();
    assert!(composed.providerKey.is_null() && composed.calloutKey.is_null());
    assert!(composed.providerContextTemplate.is_null() && composed.filterCondition.is_null());
}

#[test]
fn objects_survive_the_way_there_and_back() {
    let arena = Bump::new();
    let of = filter();
    // SAFETY: It was composed just now, as the engine composes it.
    assert_eq!(unsafe { parse::filter(&compose::filter(&arena, &of).unwrap()) }, Ok(of));
    for weight in [Weight::Auto, Weight::Range(15)] {
        let of = Filter { weight, conditions: Vec::new(), provider: None, action: Action::Permit, ..filter() };
        // SAFETY: As above.
        assert_eq!(unsafe { parse::filter(&compose::filter(&arena, &of).unwrap()) }, Ok(of));
    }
    let of =
        Filter { flags: FilterFlags::HAS_PROVIDER_CONTEXT, raw_context: 0, provider_context: Some(OTHER), ..filter() };
    // SAFETY: As above.
    assert_eq!(unsafe { parse::filter(&compose::filter(&arena, &of).unwrap()) }, Ok(of));
    let options = vec![
        ClassifyOption { option: 1, value: ConditionValue::Uint32(1) },
        ClassifyOption { option: 5, value: ConditionValue::ByteArray16([5; 16]) },
    ];
    for content in [
        ContextContent::General(vec![1, 2, 3]),
        ContextContent::General(Vec::new()),
        ContextContent::ClassifyOptions(options),
    ] {
        let of = ProviderContext {
            key: KEY,
            display: display(),
            persistent: true,
            provider: Some(OTHER),
            data: vec![9],
            content,
            id: 0,
        };
        // SAFETY: As above.
        assert_eq!(unsafe { parse::provider_context(&compose::provider_context(&arena, &of).unwrap()) }, Ok(of));
    }
    let policy = ContextContent::Policy { context_type: ContextType::IpsecIkeMm, text: String::new() };
    let of = ProviderContext { content: policy, ..ProviderContext::new(KEY, "policy", Vec::new()) };
    assert_eq!(compose::provider_context(&arena, &of).err(), Some("FWPM_IPSEC_IKE_MM_CONTEXT"));
    let of = Callout {
        key: KEY,
        display: DisplayData { name: "x".into(), description: String::new() },
        persistent: true,
        uses_provider_context: true,
        provider: Some(OTHER),
        data: vec![1],
        layer: OTHER,
        id: 0,
        registered: false,
        registration_flags: 0,
    };
    // SAFETY: As above.
    assert_eq!(unsafe { parse::callout(&compose::callout(&arena, &of)) }, Ok(of));
    let of =
        Sublayer { key: KEY, display: display(), persistent: true, provider: None, data: Vec::new(), weight: 0x8400 };
    // SAFETY: As above.
    assert_eq!(unsafe { parse::sublayer(&compose::sublayer(&arena, &of)) }, Ok(of));
    let of = Provider {
        key: KEY,
        display: display(),
        persistent: false,
        disabled: false,
        data: Vec::new(),
        service_name: Some("postern".into()),
    };
    // SAFETY: As above.
    assert_eq!(unsafe { parse::provider(&compose::provider(&arena, &of)) }, Ok(of));
    let of = Session {
        key: KEY,
        display: display(),
        dynamic: true,
        transaction_wait_timeout_ms: 5,
        process_id: 0,
        user: String::new(),
        kernel_mode: false,
    };
    // SAFETY: As above.
    assert_eq!(unsafe { parse::session(&compose::session(&arena, &of)) }, Ok(of));
}

#[test]
fn what_the_engine_alone_knows_is_read() {
    let arena = Bump::new();
    let mut effective = 77;
    let mut composed = compose::filter(&arena, &filter()).unwrap();
    composed.filterId = 65_545;
    composed.effectiveWeight =
        FWP_VALUE0 { r#type: FWP_UINT64, Anonymous: FWP_VALUE0_0 { uint64: &raw mut effective } };
    // SAFETY: It was composed just now, as the engine composes it.
    let read = unsafe { parse::filter(&composed) }.unwrap();
    assert_eq!((read.id, read.effective_weight), (65_545, 77));
}

#[test]
fn what_is_not_known_is_named() {
    let arena = Bump::new();
    let composed = compose::filter(&arena, &filter()).unwrap();
    let odd = FWPM_FILTER0 { filterId: 7, action: FWPM_ACTION0 { r#type: 7, ..composed.action }, ..composed };
    // SAFETY: It was composed just now, as the engine composes it.
    assert_eq!(unsafe { parse::filter(&odd) }.unwrap_err().to_string(), "filter 7: action 0x7");
    let odd = FWPM_FILTER0 { weight: FWP_VALUE0 { r#type: FWP_FLOAT, ..composed.weight }, ..composed };
    // SAFETY: As above; the value is not touched.
    assert_eq!(unsafe { parse::filter(&odd) }.unwrap_err().to_string(), "filter 0: a value of type 9");
}

#[test]
fn a_range_of_ranges_is_refused_as_the_engine_refuses_it() {
    let arena = Bump::new();
    let mask = ConditionValue::V4AddrMask { addr: 0, mask: 0 };
    let value = ConditionValue::Range(Box::new((mask.clone(), mask)));
    let conditions = vec![Condition { field: KEY, match_type: MatchType::Range, value }];
    let refused = compose::filter(&arena, &Filter { conditions, ..filter() });
    assert!(matches!(refused, Err(FwpError::TypeMismatch)));
}

/// As measured over the WDK's headers (fwpmtypes.h); the driver has no declarations of these.
#[test]
fn net_events_are_laid_out_as_in_the_wdk() {
    use std::mem::offset_of;
    assert_eq!((size_of::<FWPM_NET_EVENT_HEADER3>(), size_of::<FWPM_NET_EVENT3>()), (136, 152));
    for (offset, expected) in [
        (offset_of!(FWPM_NET_EVENT_HEADER3, flags), 8),
        (offset_of!(FWPM_NET_EVENT_HEADER3, ipVersion), 12),
        (offset_of!(FWPM_NET_EVENT_HEADER3, ipProtocol), 16),
        (offset_of!(FWPM_NET_EVENT_HEADER3, Anonymous1), 20),
        (offset_of!(FWPM_NET_EVENT_HEADER3, Anonymous2), 36),
        (offset_of!(FWPM_NET_EVENT_HEADER3, localPort), 52),
        (offset_of!(FWPM_NET_EVENT_HEADER3, remotePort), 54),
        (offset_of!(FWPM_NET_EVENT_HEADER3, scopeId), 56),
        (offset_of!(FWPM_NET_EVENT_HEADER3, appId), 64),
        (offset_of!(FWPM_NET_EVENT_HEADER3, userId), 80),
        (offset_of!(FWPM_NET_EVENT_HEADER3, packageSid), 96),
    ] {
        assert_eq!(offset, expected);
    }
    assert_eq!(size_of::<FWPM_NET_EVENT_CLASSIFY_ALLOW0>(), 32);
    assert_eq!(size_of::<FWPM_NET_EVENT_CLASSIFY_DROP2>(), 56);
    macro_rules! same_place {
        ($($member:ident = $offset:literal),+) => {
            $(
                assert_eq!(offset_of!(FWPM_NET_EVENT_CLASSIFY_ALLOW0, $member), $offset);
                assert_eq!(offset_of!(FWPM_NET_EVENT_CLASSIFY_DROP2, $member), $offset);
            )+
        };
    }
    same_place!(
        filterId = 0,
        layerId = 8,
        reauthReason = 12,
        originalProfile = 16,
        currentProfile = 20,
        msFwpDirection = 24,
        isLoopback = 28
    );
}

#[test]
fn a_net_event_is_read_as_far_as_its_flags_say() {
    let mut app: Vec<u8> = vec![0x53, 0, 0, 0];
    let mut sid: Vec<u8> = vec![1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
    let mut drop = FWPM_NET_EVENT_CLASSIFY_DROP2 {
        filterId: 65545,
        layerId: 48,
        reauthReason: 1,
        originalProfile: 2,
        currentProfile: 3,
        msFwpDirection: 0x3901,
        isLoopback: 1,
        ..Default::default()
    };
    let mut event = FWPM_NET_EVENT3 { r#type: FWPM_NET_EVENT_TYPE_CLASSIFY_DROP, ..Default::default() };
    event.Anonymous.classifyDrop = &mut drop;
    event.header.timeStamp.dwHighDateTime = 2;
    event.header.timeStamp.dwLowDateTime = 1;
    event.header.flags = 0x77f;
    event.header.ipVersion = FWP_IP_VERSION_V4;
    event.header.ipProtocol = 17;
    event.header.Anonymous1.localAddrV4 = 0xC0A8_0002;
    event.header.Anonymous2.remoteAddrV4 = 0xC000_0207;
    event.header.localPort = 50000;
    event.header.remotePort = 53;
    event.header.scopeId = 9;
    event.header.appId = FWP_BYTE_BLOB { size: 4, data: app.as_mut_ptr() };
    event.header.userId = sid.as_mut_ptr().cast();
    event.header.packageSid = sid.as_mut_ptr().cast();
    // SAFETY: It is as the engine would make it.
    let read = |event: &FWPM_NET_EVENT3| unsafe { parse::net_event(event) };
    let whole = NetEvent {
        kind: NetEventType::CLASSIFY_DROP,
        time: 0x2_0000_0001,
        protocol: Some(17),
        local_address: Some("192.168.0.2".parse().unwrap()),
        remote_address: Some("192.0.2.7".parse().unwrap()),
        local_port: Some(50000),
        remote_port: Some(53),
        scope_id: None,
        app_id: Some(app.clone()),
        user: Some(sid.clone()),
        package: Some(sid.clone()),
        reauthorized: true,
        classify: Some(NetEventClassify {
            filter_id: 65545,
            layer: 48,
            reauthorize_reason: 1,
            original_profile: 2,
            current_profile: 3,
            direction: direction::OUT,
            loopback: true,
        }),
    };
    assert_eq!(read(&event).unwrap(), whole);

    event.header.flags =
        FWPM_NET_EVENT_FLAG_IP_VERSION_SET | FWPM_NET_EVENT_FLAG_REMOTE_ADDR_SET | FWPM_NET_EVENT_FLAG_SCOPE_ID_SET;
    event.header.ipVersion = FWP_IP_VERSION_V6;
    event.header.Anonymous2.remoteAddrV6.byteArray16 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    event.r#type = FWPM_NET_EVENT_TYPE_LPM_PACKET_ARRIVAL;
    let bare = NetEvent {
        kind: NetEventType(10),
        time: whole.time,
        protocol: None,
        local_address: None,
        remote_address: Some("2001:db8::1".parse().unwrap()),
        local_port: None,
        remote_port: None,
        scope_id: Some(9),
        app_id: None,
        user: None,
        package: None,
        reauthorized: false,
        classify: None,
    };
    assert_eq!(read(&event).unwrap(), bare);
    event.header.ipVersion = 77;
    assert!(read(&event).unwrap_err().to_string().contains("77"));
}
