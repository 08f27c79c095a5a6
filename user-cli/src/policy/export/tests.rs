//! Whatever filters the engine has: a policy that was made of them changes nothing.

use postern_engine::layers::DataType;
use postern_engine::objects::{
    Action, Callout, Condition, ConditionValue, DisplayData, FilterFlags, MatchType, ProviderContext, Session, Weight,
};
use postern_engine::{Engine, SessionId};
use postern_protocol::CALLOUTS;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

const THEIRS: u128 = 0x6f1d4c0e_52a0_4a8c_9a5e_2c5b7a4d9e10;

/// Two providers, one of them a policy's own; two sublayers likewise, and callouts of the driver and of others.
fn engine() -> (Engine, SessionId) {
    let mut engine = Engine::new();
    let session = engine.session_open(Session::new("test", 1, "")).unwrap();
    let display = |name: &str| DisplayData { name: name.into(), description: "of a test".into() };
    for key in providers().into_iter().flatten().filter(|key| guids::provider::NAMES.name(key).is_none()) {
        let name = if key == compile::key("mine", "provider", "") { "mine" } else { "theirs" };
        let provider = Provider {
            key,
            display: display(name),
            persistent: true,
            disabled: false,
            data: vec![1, 2],
            service_name: Some("svc".into()),
        };
        engine.provider_add(session, provider).unwrap();
    }
    for key in sublayers().into_iter().filter(|key| guids::sublayer::NAMES.name(key).is_none()) {
        let name = if key == compile::key("mine", "sublayer", "") { "mine" } else { "theirs" };
        let provider = Some(Uuid::from_u128(THEIRS));
        let sublayer =
            Sublayer { key, display: display(name), persistent: true, provider, data: vec![3], weight: 0x8400 };
        engine.sublayer_add(session, sublayer).unwrap();
    }
    for callout in CALLOUTS {
        let key = Uuid::from_u128(callout.key());
        let layer = Uuid::from_u128(callout.layer.key());
        engine.callout_add(session, Callout { persistent: true, ..Callout::new(key, "ours", layer) }).unwrap();
    }
    for layer in layers::all().iter().filter(|layer| layer.is_kernel()) {
        let callout = Callout::new(theirs(layer.id), "theirs", layer.key);
        engine.callout_add(session, Callout { persistent: true, ..callout }).unwrap();
    }
    engine.provider_context_add(session, ProviderContext::new(Uuid::from_u128(THEIRS), "theirs", vec![4])).unwrap();
    (engine, session)
}

fn theirs(layer: u16) -> Uuid {
    Uuid::from_u128(THEIRS + 0x100 + u128::from(layer))
}

fn providers() -> [Option<Uuid>; 4] {
    let mine = compile::key("mine", "provider", "");
    [None, Some(mine), Some(Uuid::from_u128(THEIRS)), Some(guids::provider::MPSSVC_WF)]
}

fn sublayers() -> [Uuid; 3] {
    [compile::key("mine", "sublayer", ""), Uuid::from_u128(THEIRS), guids::sublayer::UNIVERSAL]
}

fn blob() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..9),
        Just(crate::filter::app_id::blob(r"\device\harddiskvolume3\x.exe")),
        Just(crate::filter::app_id::blob(r"\device\HarddiskVolume3\X.exe")),
    ]
}

fn single(data_type: DataType) -> BoxedStrategy<ConditionValue> {
    use ConditionValue::*;
    let text = select(vec!["S-1-5-18", "S-1-5-21-1-2-3-1001", "S-1-15-2-1"]);
    let sid = text.clone().prop_map(|text| crate::filter::sid::parse(text).unwrap());
    match data_type {
        DataType::Uint8 => any::<u8>().prop_map(Uint8).boxed(),
        DataType::Uint16 => any::<u16>().prop_map(Uint16).boxed(),
        DataType::Uint32 => prop_oneof![any::<u32>(), 0..25u32].prop_map(Uint32).boxed(),
        DataType::Uint64 => any::<u64>().prop_map(Uint64).boxed(),
        DataType::ByteArray16 => any::<[u8; 16]>().prop_map(ByteArray16).boxed(),
        DataType::ByteArray6 => any::<[u8; 6]>().prop_map(ByteArray6).boxed(),
        DataType::ByteBlob => blob().prop_map(ByteBlob).boxed(),
        DataType::Sid => sid.prop_map(Sid).boxed(),
        DataType::TokenInformation | DataType::TokenAccessInformation => {
            let plain = text.prop_map(|text| crate::filter::sid::descriptor(text).unwrap());
            let sddl = select(vec!["O:LSD:(A;;CC;;;SY)(A;;CC;;;WD)", "D:(D;;CC;;;BA)", "D:P"]);
            let sddl = sddl.prop_map(|text| crate::filter::sid::descriptor(text).unwrap());
            // With an owner, as netsh shows those of Windows.
            let owned = Just([&[1, 0, 4, 128][..], &[0; 16]].concat());
            prop_oneof![plain, sddl, owned].prop_map(SecurityDescriptor).boxed()
        }
        _ => Just(Empty).boxed(),
    }
}

fn value_of(data_type: DataType) -> BoxedStrategy<ConditionValue> {
    use ConditionValue::*;
    let one = single(data_type);
    let range = (one.clone(), one.clone()).prop_map(|ends| Range(Box::new(ends)));
    let v4 = (any::<u32>(), 0..=32u32)
        .prop_map(|(addr, length)| V4AddrMask { addr, mask: u32::MAX.checked_shl(32 - length).unwrap_or(0) });
    let v6 = (any::<[u8; 16]>(), 0..=128u8).prop_map(|(addr, prefix)| V6AddrMask { addr, prefix });
    prop_oneof![4 => one, 2 => range, 1 => v4, 1 => v6, 1 => Just(Empty)].boxed()
}

fn match_type() -> impl Strategy<Value = MatchType> {
    use MatchType::*;
    let all = vec![
        Greater,
        Less,
        GreaterOrEqual,
        LessOrEqual,
        FlagsAllSet,
        FlagsAnySet,
        FlagsNoneSet,
        EqualCaseInsensitive,
        NotEqual,
        Prefix,
        NotPrefix,
    ];
    prop_oneof![3 => Just(Equal), 2 => Just(Range), 2 => select(all)]
}

fn conditions(layer: u16) -> BoxedStrategy<Vec<Condition>> {
    let fields = layers::by_id(layer).unwrap().fields;
    if fields.is_empty() {
        return Just(Vec::new()).boxed();
    }
    // Those that rules have words for come often.
    let usual: Vec<usize> = (0..fields.len())
        .filter(|index| {
            use guids::condition::*;
            [
                IP_PROTOCOL,
                IP_LOCAL_ADDRESS,
                IP_REMOTE_ADDRESS,
                IP_LOCAL_PORT,
                IP_REMOTE_PORT,
                FLAGS,
                ALE_APP_ID,
                ALE_USER_ID,
            ]
            .contains(&fields[*index].key)
        })
        .collect();
    let any_field = 0..fields.len();
    let field = if usual.is_empty() { any_field.boxed() } else { prop_oneof![any_field, select(usual)].boxed() };
    let one = field.prop_flat_map(move |field| {
        let alternatives = prop::collection::vec((match_type(), value_of(fields[field].data_type)), 1..3);
        alternatives.prop_map(move |all| (field, all))
    });
    prop::collection::vec(one, 0..4)
        .prop_map(move |chosen| {
            let chosen: BTreeMap<usize, _> = chosen.into_iter().collect();
            let condition =
                |field: usize, (match_type, value)| Condition { field: fields[field].key, match_type, value };
            chosen.into_iter().flat_map(|(field, all)| all.into_iter().map(move |one| condition(field, one))).collect()
        })
        .boxed()
}

fn filter() -> impl Strategy<Value = Filter> {
    let usual = vec![12u16, 14, 16, 18, 36, 40, 44, 46, 48, 50, 52];
    let layer = prop_oneof![1 => 0..layers::all().len() as u16, 3 => select(usual)];
    let flags = select(vec![0u32, 1, 2, 4, 8, 9, 0x10, 0x18]).prop_map(FilterFlags::from_bits_retain);
    let weight =
        prop_oneof![Just(Weight::Auto), (0..16u8).prop_map(Weight::Range), any::<u64>().prop_map(Weight::Exact)];
    let context = prop_oneof![Just(0), any::<u64>(), (0..1u64 << 30).prop_map(|bits| bits | 1 << 60)];
    let text = prop_oneof!["[a-z' ]{1,6}", "[ -~äß\u{202e}]{1,8}"];
    let what = (select(providers().to_vec()), select(sublayers().to_vec()), weight, context, any::<bool>(), blob());
    (layer, text, "[ -~]{0,5}", flags, what, any::<(u8, Index)>()).prop_flat_map(
        |(id, name, description, flags, (provider, sublayer, weight, raw_context, derived, data), (kind, index))| {
            let layer = layers::by_id(id).unwrap();
            let ours: Vec<_> = CALLOUTS.iter().filter(|callout| callout.layer.id() == id).collect();
            let callout = match ours.is_empty() || kind > 200 {
                true => theirs(id),
                false => Uuid::from_u128(index.get(&ours).key()),
            };
            let action = match kind % 5 {
                0 => Action::Permit,
                1 => Action::Block,
                2 => Action::CalloutTerminating(callout),
                3 => Action::CalloutInspection(callout),
                _ => Action::CalloutUnknown(callout),
            };
            let key = if derived {
                filter_key("mine", &name, &layer.key)
            } else {
                Uuid::from_u128(THEIRS + index.index(1 << 40) as u128 + 0x1000)
            };
            conditions(id).prop_map(move |conditions| Filter {
                key,
                display: DisplayData { name: name.clone(), description: description.clone() },
                flags,
                provider,
                sublayer,
                weight,
                conditions,
                raw_context: if flags.contains(FilterFlags::HAS_PROVIDER_CONTEXT) { 0 } else { raw_context },
                provider_context: flags.contains(FilterFlags::HAS_PROVIDER_CONTEXT).then(|| Uuid::from_u128(THEIRS)),
                data: data.clone(),
                ..Filter::new("", layer.key, action)
            })
        },
    )
}

/// The engine's objects, with those of the filters that it takes.
fn live(filters: Vec<Filter>) -> Live {
    let (mut engine, session) = engine();
    for filter in filters {
        // Many are wrong in ways that it knows: these are not there, then.
        let _ = engine.filter_add(session, filter, &mut ());
    }
    let view = engine.view(None);
    Live {
        providers: view.providers().cloned().collect(),
        sublayers: view.sublayers().cloned().collect(),
        callouts: view.callouts().collect(),
        contexts: view.provider_contexts().cloned().collect(),
        filters: view.filters().cloned().collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_policy_made_of_filters_changes_none_of_them(filters in prop::collection::vec(filter(), 1..8)) {
        let live = live(filters);
        for provider in providers() {
            let provider = provider.and_then(|key| live.providers.iter().find(|provider| provider.key == key));
            let export = export(&live, provider, "mine").unwrap();
            prop_assert_eq!(&export.unsaid, &[]);
            let all = live.filters.iter().filter(|filter| provider.is_none_or(|one| filter.provider == Some(one.key)));
            prop_assert_eq!(export.filters, all.count());
            let source = Source::new("", export.document.to_string());
            let policy = crate::policy::read(&source).map_err(|problems| source.failure(&problems)).unwrap();
            prop_assert_eq!(policy.filters.len(), export.filters, "{}", source.text);
            let plan = Plan::new(&policy, &live, |_| 0).unwrap();
            prop_assert!(plan.is_empty(), "{:#?}\n{}", plan.changes, source.text);
        }
    }
}

#[test]
fn what_cannot_be_said_is_listed_and_kept() {
    let (mut engine, session) = engine();
    let provider = Some(Uuid::from_u128(THEIRS));
    let filter = Filter { provider, ..Filter::new("a", layers::key::ALE_AUTH_CONNECT_V4, Action::Block) };
    engine.filter_add(session, filter, &mut ()).unwrap();
    let mut live = live(Vec::new());
    live.filters = engine.view(None).filters().cloned().collect();
    live.filters[0].flags |= FilterFlags::PERSISTENT | FilterFlags::BOOTTIME;
    let provider = live.providers.iter().find(|one| Some(one.key) == provider);
    let export = export(&live, provider, "theirs").unwrap();
    assert_eq!((export.filters, export.unsaid.len()), (0, 1));
    assert_eq!(export.unsaid[0].why, "it is persistent and boot-time at once");
    assert!(export.document.to_string().contains(&format!("keep = [\"{}\"]", live.filters[0].key.braced())));
}
