//! What enumerations with templates return.

mod lab;

use lab::*;
use postern_engine::objects::*;
use postern_engine::template::*;
use postern_engine::*;

fn conditions(conditions: Vec<Condition>) -> Filter {
    Filter { conditions, ..filter(Action::Block) }
}

fn port(port: u16) -> Condition {
    equal(PORT, ConditionValue::Uint16(port))
}

fn ports(low: u16, high: u16) -> Condition {
    let ends = (ConditionValue::Uint16(low), ConditionValue::Uint16(high));
    condition(PORT, MatchType::Range, ConditionValue::Range(ends.into()))
}

fn tcp() -> Condition {
    equal(PROTOCOL, ConditionValue::Uint8(6))
}

fn network(addr: u32, bits: u32) -> Condition {
    let mask = u32::MAX << (32 - bits);
    equal(guids::condition::IP_REMOTE_ADDRESS, ConditionValue::V4AddrMask { addr, mask })
}

/// An engine with these filters, whose indices the search returns.
fn search(filters: &[Filter], template: &FilterTemplate) -> Result<Vec<usize>, FwpError> {
    let (mut engine, session) = engine();
    engine.callout_add(session, callout(100)).unwrap();
    engine.callout_add(session, callout(101)).unwrap();
    engine.provider_add(session, provider(5)).unwrap();
    engine.provider_context_add(session, ProviderContext::new(key(7), "context", vec![])).unwrap();
    let ids: Vec<u64> =
        filters.iter().map(|filter| engine.filter_add(session, filter.clone(), &mut ()).unwrap()).collect();
    let found = engine.view(None).filters_matching(template)?;
    Ok(found.iter().map(|filter| ids.iter().position(|id| *id == filter.id).unwrap()).collect())
}

fn at_connect() -> FilterTemplate {
    FilterTemplate::at(CONNECT)
}

#[test]
fn conditions_overlap_or_contain() {
    let of = |enum_type, conditions: &[Condition]| FilterTemplate {
        enum_type,
        conditions: conditions.to_vec(),
        ..at_connect()
    };
    let filters = [
        conditions(vec![]),
        conditions(vec![port(80)]),
        conditions(vec![ports(1, 100)]),
        conditions(vec![ports(1, 50), ports(51, 100)]),
        conditions(vec![port(81), port(82)]),
        conditions(vec![port(80), tcp()]),
        conditions(vec![network(0x0A00_0000, 8)]),
        conditions(vec![network(0x0A01_0000, 16), port(80)]),
    ];
    use EnumType::*;
    for (name, enum_type, template, expected) in [
        ("no conditions: all", FullyContained, vec![], vec![0, 1, 2, 3, 4, 5, 6, 7]),
        ("one port", Overlapping, vec![port(80)], vec![0, 1, 2, 3, 5, 6, 7]),
        ("one port", FullyContained, vec![port(80)], vec![0, 1, 2, 3]),
        ("alternatives together", FullyContained, vec![ports(40, 60)], vec![0, 2, 3]),
        ("reaching beyond", FullyContained, vec![ports(90, 110)], vec![0]),
        ("reaching beyond", Overlapping, vec![ports(90, 110)], vec![0, 2, 3, 6]),
        ("two fields", FullyContained, vec![port(80), tcp()], vec![0, 1, 2, 3, 5]),
        ("a host", FullyContained, vec![network(0x0A01_0203, 32), port(80)], vec![0, 1, 2, 3, 6, 7]),
        ("a wider network", FullyContained, vec![network(0x0A00_0000, 7)], vec![0]),
        ("a wider network", Overlapping, vec![network(0x0A00_0000, 7), port(81)], vec![0, 2, 3, 4, 6]),
    ] {
        assert_eq!(search(&filters, &of(enum_type, &template)), Ok(expected), "{name}, {enum_type:?}");
    }
}

#[test]
fn byte_strings_and_tokens_are_compared_as_far_as_they_can_be() {
    use guids::condition::{ALE_APP_ID, ALE_USER_ID};
    let app = |match_type, bytes: &[u8]| condition(ALE_APP_ID, match_type, ConditionValue::ByteBlob(bytes.to_vec()));
    let user = |number| {
        let descriptor = security_descriptor(&[(0, sid(number))]);
        equal(ALE_USER_ID, ConditionValue::SecurityDescriptor(descriptor))
    };
    let filters = [
        conditions(vec![app(MatchType::Equal, b"curl")]),
        conditions(vec![app(MatchType::Prefix, b"rl")]),
        conditions(vec![app(MatchType::NotEqual, b"curl")]),
        conditions(vec![user(18)]),
    ];
    let found = |enum_type, condition| {
        search(&filters, &FilterTemplate { enum_type, conditions: vec![condition], ..at_connect() }).unwrap()
    };
    assert_eq!(found(EnumType::FullyContained, app(MatchType::Equal, b"curl")), [0, 1]);
    assert_eq!(found(EnumType::Overlapping, app(MatchType::Equal, b"curl")), [0, 1, 3]);
    assert_eq!(found(EnumType::Overlapping, app(MatchType::Prefix, b"x")), [1, 2, 3], "told of one value only");
    assert_eq!(found(EnumType::FullyContained, user(18)), [3]);
    assert_eq!(found(EnumType::Overlapping, user(19)), [0, 1, 2, 3], "who a descriptor grants cannot be told");
}

#[test]
fn every_member_narrows_the_search() {
    let naming_context =
        Filter { flags: FilterFlags::HAS_PROVIDER_CONTEXT, provider_context: Some(key(7)), ..filter(Action::Permit) };
    let filters = [
        filter(Action::Permit),
        Filter { provider: Some(key(5)), ..filter(Action::Block) },
        filter(Action::CalloutTerminating(key(100))),
        filter(Action::CalloutInspection(key(101))),
        naming_context,
        Filter { flags: FilterFlags::BOOTTIME, ..filter(Action::Block) },
        Filter { layer: layers::key::ALE_AUTH_CONNECT_V6, ..filter(Action::Block) },
    ];
    let found = |template| search(&filters, &template);
    assert_eq!(found(at_connect()), Ok(vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(found(FilterTemplate { provider: Some(key(5)), ..at_connect() }), Ok(vec![1]));
    assert_eq!(found(FilterTemplate { callout: Some(key(100)), ..at_connect() }), Ok(vec![2]));
    assert_eq!(found(FilterTemplate { action_mask: 0x4000, callout: Some(key(101)), ..at_connect() }), Ok(vec![3]));
    assert_eq!(found(FilterTemplate { action_mask: 0x2000, ..at_connect() }), Ok(vec![3]), "non-terminating ones");
    for (context_type, expected) in
        [(None, vec![4]), (Some(ContextType::General), vec![4]), (Some(ContextType::ClassifyOptions), vec![])]
    {
        let of = ContextTemplate { provider: None, context_type };
        assert_eq!(found(FilterTemplate { provider_context: Some(of), ..at_connect() }), Ok(expected));
    }
    let with = |flags| found(FilterTemplate { flags, ..at_connect() });
    assert_eq!(with(EnumFlags::empty()), Ok(vec![0, 1, 2, 3, 4]), "boot-time filters are asked for");
    assert_eq!(with(EnumFlags::BOOTTIME_ONLY), Ok(vec![5]));
}

#[test]
fn filters_come_by_weight_if_asked_for() {
    let weighing = |weight, action| Filter { weight: Weight::Exact(weight), ..filter(action) };
    let filters = [
        weighing(5, Action::Permit),
        weighing(9, Action::Block),
        weighing(7, Action::Block),
        weighing(11, Action::CalloutInspection(key(100))),
        weighing(9, Action::Permit),
    ];
    let with = |flags| search(&filters, &FilterTemplate { flags, ..at_connect() });
    assert_eq!(with(EnumFlags::empty()), Ok(vec![0, 1, 2, 3, 4]));
    assert_eq!(with(EnumFlags::SORTED), Ok(vec![3, 1, 4, 2, 0]));
    assert_eq!(with(EnumFlags::BEST_TERMINATING_MATCH), Ok(vec![1]));
}

#[test]
fn a_template_that_makes_no_sense_is_refused() {
    let refused = |template| search(&[], &template).unwrap_err();
    assert_eq!(refused(FilterTemplate::at(key(9))), FwpError::LayerNotFound);
    assert_eq!(refused(FilterTemplate::at(uuid::Uuid::nil())), FwpError::LayerNotFound);
    let flags = EnumFlags::from_bits_retain(0x20);
    assert_eq!(refused(FilterTemplate { flags, ..at_connect() }), FwpError::InvalidFlags);
    assert_eq!(EnumType::from_number(2), Err(FwpError::InvalidEnumerator));
    let of = |conditions| FilterTemplate { conditions, ..at_connect() };
    assert_eq!(refused(of(vec![port(1), port(2)])), FwpError::DuplicateCondition);
    assert_eq!(refused(of(vec![equal(PORT, ConditionValue::Uint8(1))])), FwpError::TypeMismatch);
    let source = guids::condition::IP_SOURCE_ADDRESS;
    assert_eq!(refused(of(vec![equal(source, ConditionValue::Uint32(1))])), FwpError::ConditionNotFound);
    for impossible in [
        FilterTemplate { action_mask: 0, ..at_connect() },
        FilterTemplate { action_mask: 0x8000, ..at_connect() },
        of(vec![condition(PORT, MatchType::Greater, ConditionValue::Uint16(u16::MAX))]),
    ] {
        assert_eq!(refused(impossible), FwpError::NeverMatch);
    }
    assert_eq!(refused(FilterTemplate { action_mask: 0x4000, ..at_connect() }), FwpError::NullPointer);
}

#[test]
fn the_other_kinds_are_found_by_provider_layer_and_type() {
    let (mut engine, session) = engine();
    engine.provider_add(session, provider(5)).unwrap();
    engine.sublayer_add(session, Sublayer { provider: Some(key(5)), ..sublayer(2, 1) }).unwrap();
    engine.callout_add(session, Callout { provider: Some(key(5)), ..callout(3) }).unwrap();
    engine.callout_add(session, Callout { layer: layers::key::ALE_AUTH_CONNECT_V6, ..callout(4) }).unwrap();
    engine.provider_context_add(session, ProviderContext::new(key(6), "context", vec![])).unwrap();
    let view = engine.view(None);
    let sublayers = view.sublayers_matching(&SublayerTemplate { provider: Some(key(5)) });
    assert_eq!(sublayers.iter().map(|sublayer| sublayer.key).collect::<Vec<_>>(), [key(2)]);
    assert_eq!(view.sublayers_matching(&SublayerTemplate::default()).len(), 19);
    let callouts = |provider, layer| {
        let found = view.callouts_matching(&CalloutTemplate { provider, layer });
        found.map(|found| found.iter().map(|callout| callout.key).collect::<Vec<_>>())
    };
    assert_eq!(callouts(Some(key(5)), None), Ok(vec![key(3)]));
    assert_eq!(callouts(None, Some(layers::key::ALE_AUTH_CONNECT_V6)), Ok(vec![key(4)]));
    assert_eq!(callouts(Some(key(5)), Some(layers::key::ALE_AUTH_CONNECT_V6)), Ok(vec![]));
    assert_eq!(callouts(None, Some(key(9))), Err(FwpError::LayerNotFound));
    let contexts =
        |provider, context_type| view.provider_contexts_matching(&ContextTemplate { provider, context_type }).len();
    assert_eq!(contexts(None, None), 1);
    assert_eq!(contexts(Some(key(5)), None), 0);
    assert_eq!(contexts(None, Some(ContextType::General)), 1);
    assert_eq!(contexts(None, Some(ContextType::IpsecIkeMm)), 0);
}
