//! What may be added, what may refer to what, and what may be deleted.

mod lab;

use lab::*;
use postern_engine::guids::condition::*;
use postern_engine::guids::sublayer as built_in;
use postern_engine::objects::*;
use postern_engine::*;
use uuid::Uuid;

fn add(filter: Filter) -> Result<u64, FwpError> {
    let (mut engine, session) = engine();
    engine.callout_add(session, callout(100)).unwrap();
    engine.filter_add(session, filter, &mut ())
}

fn add_condition(condition: Condition) -> Result<u64, FwpError> {
    add(Filter { conditions: vec![condition], ..filter(Action::Permit) })
}

#[test]
fn windows_own_objects_are_there_from_the_start() {
    let engine = Engine::new();
    assert_eq!(engine.layers().len(), 99);
    let view = engine.view(None);
    assert_eq!(view.sublayers().count(), 18);
    assert_eq!(view.sublayer(&built_in::UNIVERSAL).unwrap().weight, 0x8000);
    assert_eq!(view.providers().count(), 9);
    assert_eq!(view.filters().count(), 0);
    for layer in engine.layers() {
        assert!(!engine.snapshot().has_filters(layer.id));
        assert_eq!(layers::by_id(layer.id), Some(layer));
        assert_eq!(layers::by_key(&layer.key), Some(layer));
        assert_eq!(layers::by_name(layer.name), Some(layer));
    }
}

#[test]
fn field_indices_are_those_of_the_headers() {
    use layers::field::*;
    assert_eq!(ale_auth_connect::IP_REMOTE_PORT, 7);
    assert_eq!(ale_auth_connect::PACKAGE_FAMILY_NAME, 41);
    assert_eq!(ale_auth_recv_accept::SIO_FIREWALL_SYSTEM_PORT, 12);
    assert_eq!(outbound_transport::IP_REMOTE_ADDRESS, 3);
    assert_eq!(inbound_transport::IP_REMOTE_ADDRESS, 2);
    let count = |id: u16| layers::by_id(id).unwrap().fields.len();
    use layers::id::*;
    assert_eq!(count(ALE_AUTH_CONNECT_V4), 42);
    assert_eq!(count(ALE_AUTH_RECV_ACCEPT_V6), 40);
    assert_eq!(count(ALE_AUTH_RECV_ACCEPT_V6_DISCARD), 36);
    assert_eq!(count(INBOUND_TRANSPORT_FAST), 0);
    assert_eq!(count(RPC_UM), 18);
}

#[test]
fn symbols_name_guids_with_and_without_their_prefix() {
    assert_eq!(guids::condition::NAMES.name(&IP_PROTOCOL), Some("FWPM_CONDITION_IP_PROTOCOL"));
    assert_eq!(guids::condition::NAMES.key("FWPM_CONDITION_IP_PROTOCOL"), Some(IP_PROTOCOL));
    assert_eq!(guids::condition::NAMES.key("IP_PROTOCOL"), Some(IP_PROTOCOL));
    assert_eq!(guids::condition::NAMES.key("PROTOCOL"), None);
    assert_eq!(
        layers::by_name("FWPM_LAYER_ALE_AUTH_CONNECT_V4").unwrap().symbol().unwrap(),
        "FWPM_LAYER_ALE_AUTH_CONNECT_V4"
    );
    assert_eq!(layers::by_id(83).unwrap().symbol(), None);
}

#[test]
fn error_codes_have_both_bases() {
    assert_eq!(FwpError::FilterNotFound.code(), 3);
    assert_eq!(FwpError::FilterNotFound.ntstatus(), 0xC022_0003);
    assert_eq!(FwpError::FilterNotFound.win32(), 0x8032_0003);
    assert_eq!(FwpError::FilterNotFound.name(), "FWP_E_FILTER_NOT_FOUND");
    assert_eq!(FwpError::from_code(0x37), Some(FwpError::CalloutNotificationFailed));
    assert_eq!(FwpError::from_code(0), None);
    assert!(FwpError::InUse.to_string().starts_with("FWP_E_IN_USE: "));
}

#[test]
fn every_object_needs_a_printable_name() {
    let (mut engine, session) = engine();
    let nameless = DisplayData::default();
    let odd = display("a\u{7}b");
    let error = |display: &DisplayData| {
        if display.name.is_empty() { FwpError::NullDisplayName } else { FwpError::InvalidParameter }
    };
    for display in [nameless, odd] {
        let error = Err(error(&display));
        assert_eq!(engine.provider_add(session, Provider { display: display.clone(), ..provider(1) }).map(drop), error);
        assert_eq!(
            engine.sublayer_add(session, Sublayer { display: display.clone(), ..sublayer(1, 1) }).map(drop),
            error
        );
        assert_eq!(engine.callout_add(session, Callout { display: display.clone(), ..callout(1) }).map(drop), error);
        let filter = Filter { display, ..filter(Action::Permit) };
        assert_eq!(engine.filter_add(session, filter, &mut ()).map(drop), error);
    }
}

#[test]
fn what_a_filter_refers_to_must_exist() {
    let base = || filter(Action::Permit);
    assert_eq!(add(Filter { layer: key(9), ..base() }), Err(FwpError::LayerNotFound));
    assert_eq!(add(Filter { sublayer: key(9), ..base() }), Err(FwpError::SublayerNotFound));
    assert_eq!(add(Filter { provider: Some(key(9)), ..base() }), Err(FwpError::ProviderNotFound));
    assert_eq!(add(filter(Action::CalloutUnknown(key(9)))), Err(FwpError::CalloutNotFound));
    assert_eq!(add_condition(equal(IP_SOURCE_ADDRESS, ConditionValue::Uint32(1))), Err(FwpError::ConditionNotFound));
    let with_context = Filter { flags: FilterFlags::HAS_PROVIDER_CONTEXT, ..base() };
    assert_eq!(add(with_context.clone()), Err(FwpError::ProviderContextNotFound));
    assert_eq!(add(Filter { provider_context: Some(key(9)), ..with_context }), Err(FwpError::ProviderContextNotFound));
    assert_eq!(add(Filter { provider_context: Some(key(9)), ..base() }), Err(FwpError::InvalidFlags));
}

#[test]
fn a_callout_works_at_its_own_layer_only() {
    let elsewhere = Filter { layer: layers::key::ALE_AUTH_CONNECT_V6, ..filter(Action::CalloutUnknown(key(100))) };
    assert_eq!(add(elsewhere), Err(FwpError::IncompatibleLayer));
    let (mut engine, session) = engine();
    let user_mode = Callout { layer: layers::key::RPC_UM, ..callout(1) };
    assert_eq!(engine.callout_add(session, user_mode), Err(FwpError::IncompatibleLayer));
    assert_eq!(engine.callout_add(session, Callout { layer: key(1), ..callout(1) }), Err(FwpError::LayerNotFound));
}

#[test]
fn weights_above_the_highest_range_are_refused() {
    assert_eq!(add(Filter { weight: Weight::Range(16), ..filter(Action::Permit) }), Err(FwpError::InvalidWeight));
    assert!(add(Filter { weight: Weight::Range(15), ..filter(Action::Permit) }).is_ok());
}

#[test]
fn flags_must_be_valid_and_fit_together() {
    use FilterFlags as F;
    let with = |flags, action| add(Filter { flags, ..filter(action) }).map(drop);
    for flags in [F::DISABLED, F::INDEXED, F::BOOTTIME | F::PERSISTENT, F::from_bits_retain(0x8000_0000)] {
        assert_eq!(with(flags, Action::Permit), Err(FwpError::InvalidFlags), "{flags:?}");
    }
    let only_for_terminating = F::PERMIT_IF_CALLOUT_UNREGISTERED;
    assert_eq!(with(only_for_terminating, Action::Permit), Err(FwpError::InvalidFlags));
    assert_eq!(with(only_for_terminating, Action::CalloutInspection(key(100))), Err(FwpError::InvalidFlags));
    assert_eq!(with(only_for_terminating, Action::CalloutUnknown(key(100))), Ok(()));
}

#[test]
fn only_five_actions_may_stand_in_a_filter() {
    for (action_type, expected) in [
        (action::BLOCK, Ok(Action::Block)),
        (action::PERMIT, Ok(Action::Permit)),
        (action::CALLOUT_TERMINATING, Ok(Action::CalloutTerminating(key(1)))),
        (action::CALLOUT_INSPECTION, Ok(Action::CalloutInspection(key(1)))),
        (action::CALLOUT_UNKNOWN, Ok(Action::CalloutUnknown(key(1)))),
        (action::CONTINUE, Err(FwpError::InvalidActionType)),
        (action::NONE, Err(FwpError::InvalidActionType)),
        (0, Err(FwpError::InvalidActionType)),
    ] {
        assert_eq!(Action::new(action_type, key(1)), expected);
        if let Ok(action) = expected {
            assert_eq!(action.action_type(), action_type);
        }
    }
}

#[test]
fn conditions_are_checked_against_the_fields() {
    use ConditionValue::*;
    use MatchType as M;
    let address = |addr, mask| V4AddrMask { addr, mask };
    let range = |low, high| Range(Box::new((low, high)));
    let table: &[(Uuid, M, ConditionValue, Option<FwpError>)] = &[
        // The type of the field, with no conversion.
        (IP_PROTOCOL, M::Equal, Uint8(6), None),
        (IP_PROTOCOL, M::Equal, Uint16(6), Some(FwpError::TypeMismatch)),
        (IP_REMOTE_PORT, M::Equal, Uint32(80), Some(FwpError::TypeMismatch)),
        (ALE_APP_ID, M::Equal, UnicodeString("a".into()), Some(FwpError::TypeMismatch)),
        (IP_REMOTE_ADDRESS, M::Equal, Uint32(1), None),
        // Masks only on addresses, and of the right family.
        (IP_REMOTE_ADDRESS, M::Equal, address(1, 0xFFFF_FF00), None),
        (IP_REMOTE_ADDRESS, M::Equal, V6AddrMask { addr: [0; 16], prefix: 8 }, Some(FwpError::TypeMismatch)),
        (INTERFACE_INDEX, M::Equal, address(1, 0xFFFF_FF00), Some(FwpError::TypeMismatch)),
        (IP_REMOTE_ADDRESS, M::Greater, address(1, 0xFFFF_FF00), Some(FwpError::MatchTypeMismatch)),
        (IP_REMOTE_ADDRESS, M::Equal, address(1, 0xFF00_FF00), Some(FwpError::InvalidNetMask)),
        (IP_REMOTE_ADDRESS, M::Equal, address(1, 0), None),
        // Ranges.
        (IP_REMOTE_PORT, M::Range, range(Uint16(1), Uint16(2)), None),
        (IP_REMOTE_PORT, M::Range, range(Uint16(2), Uint16(2)), None),
        (IP_REMOTE_PORT, M::Range, range(Uint16(2), Uint16(1)), Some(FwpError::InvalidRange)),
        (IP_REMOTE_PORT, M::Range, range(Uint16(1), Uint32(2)), Some(FwpError::TypeMismatch)),
        (IP_REMOTE_PORT, M::Equal, range(Uint16(1), Uint16(2)), Some(FwpError::MatchTypeMismatch)),
        (IP_REMOTE_PORT, M::Range, Uint16(1), Some(FwpError::MatchTypeMismatch)),
        (ALE_PACKAGE_ID, M::Range, range(Sid(sid(1)), Sid(sid(2))), Some(FwpError::MatchTypeMismatch)),
        // Flags tests on integers only, order on what has one, suffixes on blobs.
        (FLAGS, M::FlagsNoneSet, Uint32(1), None),
        (ALE_APP_ID, M::FlagsAllSet, ByteBlob(vec![1]), Some(FwpError::MatchTypeMismatch)),
        (ALE_APP_ID, M::Prefix, ByteBlob(vec![1]), None),
        (IP_PROTOCOL, M::Prefix, Uint8(1), Some(FwpError::MatchTypeMismatch)),
        (IP_PROTOCOL, M::EqualCaseInsensitive, Uint8(1), Some(FwpError::MatchTypeMismatch)),
        (ALE_PACKAGE_ID, M::NotEqual, Sid(sid(1)), None),
        (ALE_PACKAGE_ID, M::Greater, Sid(sid(1)), Some(FwpError::MatchTypeMismatch)),
        (ALE_PACKAGE_ID, M::Equal, Sid(vec![1, 2, 3]), Some(FwpError::InvalidParameter)),
        // Unknown fields can be asked for.
        (IP_ARRIVAL_INTERFACE, M::Equal, Empty, None),
        (IP_ARRIVAL_INTERFACE, M::NotEqual, Empty, Some(FwpError::MatchTypeMismatch)),
        // Tokens against self-relative descriptors.
        (ALE_USER_ID, M::Equal, SecurityDescriptor(security_descriptor(&[(0, sid(18))])), None),
        (ALE_USER_ID, M::Equal, SecurityDescriptor(vec![1, 2]), Some(FwpError::InvalidParameter)),
        (ALE_USER_ID, M::Equal, Sid(sid(18)), Some(FwpError::TypeMismatch)),
        (ALE_APP_ID, M::Equal, SecurityDescriptor(vec![]), Some(FwpError::TypeMismatch)),
    ];
    for (field, match_type, value, error) in table {
        let added = add_condition(condition(*field, *match_type, value.clone()));
        assert_eq!(added.err(), *error, "{match_type:?} {value:?}");
    }
}

#[test]
fn a_prefix_beyond_128_bits_is_refused() {
    let conditions = vec![equal(IP_REMOTE_ADDRESS, ConditionValue::V6AddrMask { addr: [0; 16], prefix: 129 })];
    let filter = Filter { layer: layers::key::ALE_AUTH_CONNECT_V6, conditions, ..filter(Action::Permit) };
    assert_eq!(add(filter), Err(FwpError::InvalidNetMask));
}

#[test]
fn conditions_on_one_field_must_stand_together() {
    let port = |port| equal(PORT, ConditionValue::Uint16(port));
    let tcp = || equal(PROTOCOL, ConditionValue::Uint8(6));
    let with = |conditions| add(Filter { conditions, ..filter(Action::Permit) }).map(drop);
    assert_eq!(with(vec![port(1), port(2), tcp()]), Ok(()));
    assert_eq!(with(vec![port(1), tcp(), port(2)]), Err(FwpError::DuplicateCondition));
}

#[test]
fn keys_are_unique_within_a_kind_and_made_when_missing() {
    let (mut engine, session) = engine();
    assert_eq!(engine.provider_add(session, provider(1)), Ok(key(1)));
    assert_eq!(engine.provider_add(session, provider(1)), Err(FwpError::AlreadyExists));
    assert_eq!(engine.sublayer_add(session, sublayer(1, 1)), Ok(key(1)));
    assert_eq!(engine.sublayer_add(session, sublayer(1, 1)), Err(FwpError::AlreadyExists));
    engine.callout_add(session, callout(1)).unwrap();
    assert_eq!(engine.callout_add(session, callout(1)), Err(FwpError::AlreadyExists));
    let windows_own = Callout { key: guids::callout::IPSEC_ALE_CONNECT_V4, ..callout(1) };
    assert_eq!(engine.callout_add(session, windows_own), Err(FwpError::AlreadyExists));
    let keyed = || Filter { key: key(1), ..filter(Action::Permit) };
    let id = engine.filter_add(session, keyed(), &mut ()).unwrap();
    assert_eq!(engine.filter_add(session, keyed(), &mut ()), Err(FwpError::AlreadyExists));
    let other = engine.filter_add(session, filter(Action::Permit), &mut ()).unwrap();
    assert_ne!(id, other);
    assert!(id > 0xFFFF);
    let view = engine.view(None);
    assert!(!view.filter(other).unwrap().key.is_nil());
    assert_eq!(view.filter_by_key(&key(1)).unwrap().id, id);
    assert_eq!(view.filter(id).unwrap().sublayer, built_in::UNIVERSAL);
}

#[test]
fn nothing_can_be_deleted_while_something_refers_to_it() {
    let (mut engine, session) = engine();
    engine.provider_add(session, provider(1)).unwrap();
    engine.sublayer_add(session, Sublayer { provider: Some(key(1)), ..sublayer(2, 1) }).unwrap();
    engine.callout_add(session, callout(3)).unwrap();
    let id = engine
        .filter_add(session, Filter { sublayer: key(2), ..filter(Action::CalloutUnknown(key(3))) }, &mut ())
        .unwrap();
    assert_eq!(engine.provider_delete(session, key(1)), Err(FwpError::InUse));
    assert_eq!(engine.sublayer_delete(session, key(2)), Err(FwpError::InUse));
    assert_eq!(engine.callout_delete(session, key(3)), Err(FwpError::InUse));
    engine.filter_delete(session, id, &mut ()).unwrap();
    assert_eq!(engine.filter_delete(session, id, &mut ()), Err(FwpError::FilterNotFound));
    engine.callout_delete(session, key(3)).unwrap();
    assert_eq!(engine.provider_delete(session, key(1)), Err(FwpError::InUse), "the sublayer still names it");
    engine.sublayer_delete(session, key(2)).unwrap();
    engine.provider_delete(session, key(1)).unwrap();
    assert_eq!(engine.provider_delete(session, key(1)), Err(FwpError::ProviderNotFound));
    assert_eq!(engine.sublayer_delete(session, key(2)), Err(FwpError::SublayerNotFound));
    assert_eq!(engine.callout_delete(session, key(3)), Err(FwpError::CalloutNotFound));
    assert_eq!(engine.callout_delete_by_id(session, 300), Err(FwpError::CalloutNotFound));
    assert_eq!(engine.filter_delete_by_key(session, key(1), &mut ()), Err(FwpError::FilterNotFound));
}

#[test]
fn built_in_objects_cannot_be_deleted() {
    let (mut engine, session) = engine();
    assert_eq!(engine.sublayer_delete(session, built_in::UNIVERSAL), Err(FwpError::BuiltinObject));
    assert_eq!(engine.provider_delete(session, guids::provider::MPSSVC_WF), Err(FwpError::BuiltinObject));
}

#[test]
fn an_object_must_not_outlive_what_it_refers_to() {
    let (mut engine, fixed) = engine();
    let dynamic = engine.session_open(dynamic_session()).unwrap();
    let other = engine.session_open(dynamic_session()).unwrap();
    engine.sublayer_add(dynamic, sublayer(1, 1)).unwrap();
    engine.sublayer_add(fixed, sublayer(2, 2)).unwrap();
    engine.sublayer_add(fixed, Sublayer { persistent: true, ..sublayer(3, 3) }).unwrap();
    engine.callout_add(fixed, callout(4)).unwrap();
    let in_sublayer = |number, flags| Filter { sublayer: key(number), flags, ..filter(Action::Permit) };
    let none = FilterFlags::empty();
    let mut add = |session, filter| engine.filter_add(session, filter, &mut ()).map(drop);

    assert_eq!(add(dynamic, in_sublayer(1, none)), Ok(()), "the session's own");
    assert_eq!(add(other, in_sublayer(1, none)), Err(FwpError::LifetimeMismatch), "another session's");
    assert_eq!(add(fixed, in_sublayer(1, none)), Err(FwpError::LifetimeMismatch), "static to dynamic");
    assert_eq!(add(dynamic, in_sublayer(2, none)), Ok(()), "dynamic to static");
    assert_eq!(add(fixed, in_sublayer(2, FilterFlags::PERSISTENT)), Err(FwpError::LifetimeMismatch));
    assert_eq!(add(fixed, in_sublayer(3, FilterFlags::PERSISTENT)), Ok(()));
    let boot_time = Filter { flags: FilterFlags::BOOTTIME, ..filter(Action::CalloutUnknown(key(4))) };
    assert_eq!(add(fixed, boot_time), Err(FwpError::LifetimeMismatch), "boot-time filters need persistent callouts");
    assert_eq!(add(dynamic, in_sublayer(3, FilterFlags::PERSISTENT)), Err(FwpError::DynamicSessionInProgress));
}

#[test]
fn persistent_objects_refer_to_those_of_their_own_provider_only() {
    let (mut engine, session) = engine();
    engine.provider_add(session, Provider { persistent: true, ..provider(1) }).unwrap();
    engine.provider_add(session, Provider { persistent: true, ..provider(2) }).unwrap();
    let of = |provider| Sublayer { persistent: true, provider: Some(key(provider)), ..sublayer(3, 3) };
    engine.sublayer_add(session, of(1)).unwrap();
    let flags = FilterFlags::PERSISTENT;
    let of = |provider: Option<u128>| Filter {
        sublayer: key(3),
        flags,
        provider: provider.map(key),
        ..filter(Action::Permit)
    };
    assert_eq!(engine.filter_add(session, of(Some(2)), &mut ()), Err(FwpError::LifetimeMismatch));
    assert_eq!(engine.filter_add(session, of(None), &mut ()), Err(FwpError::LifetimeMismatch));
    assert!(engine.filter_add(session, of(Some(1)), &mut ()).is_ok());
}

#[test]
fn boot_time_filters_are_kept_but_not_in_force_while_the_engine_runs() {
    let (mut engine, session) = engine();
    let id =
        engine.filter_add(session, Filter { flags: FilterFlags::BOOTTIME, ..filter(Action::Block) }, &mut ()).unwrap();
    assert!(engine.view(None).filter(id).is_some());
    assert!(!engine.snapshot().has_filters(layers::id::ALE_AUTH_CONNECT_V4));
    engine.filter_delete(session, id, &mut ()).unwrap();
}

#[test]
fn sublayers_asking_for_one_weight_get_different_ones() {
    let (mut engine, session) = engine();
    let mut weight = |number| {
        let key = engine.sublayer_add(session, sublayer(number, 0xFFFF)).unwrap();
        engine.view(None).sublayer(&key).unwrap().weight
    };
    assert_eq!([weight(1), weight(2), weight(3)], [65535, 65534, 65533]);
}
