//! The tables of Microsoft's pages, row by row, written from the pages alone.

mod lab;

use ConditionValue as C;
use MatchType as M;
use lab::*;
use postern_engine::guids::condition::*;
use postern_engine::layers::{DataType, key as layer};
use postern_engine::objects::*;
use postern_engine::*;
use uuid::Uuid;

const MATCH_TYPES: [M; 13] = [
    M::Equal,
    M::Greater,
    M::Less,
    M::GreaterOrEqual,
    M::LessOrEqual,
    M::Range,
    M::FlagsAllSet,
    M::FlagsAnySet,
    M::FlagsNoneSet,
    M::EqualCaseInsensitive,
    M::NotEqual,
    M::Prefix,
    M::NotPrefix,
];

fn add(layer: Uuid, conditions: Vec<Condition>) -> Result<u64, FwpError> {
    let (mut engine, session) = engine();
    engine.filter_add(session, Filter { layer, conditions, ..filter(Action::Permit) }, &mut ())
}

/// A field that carries each type, and two values of it, in order.
fn typed() -> Vec<(DataType, Uuid, Uuid, C, C)> {
    let v4 = layer::ALE_AUTH_CONNECT_V4;
    let v6 = layer::ALE_AUTH_CONNECT_V6;
    let mac = layer::INBOUND_MAC_FRAME_ETHERNET;
    vec![
        (DataType::Uint8, v4, IP_PROTOCOL, C::Uint8(1), C::Uint8(2)),
        (DataType::Uint16, v4, IP_REMOTE_PORT, C::Uint16(1), C::Uint16(2)),
        (DataType::Uint32, v4, INTERFACE_TYPE, C::Uint32(1), C::Uint32(2)),
        (DataType::Uint64, v4, IP_LOCAL_INTERFACE, C::Uint64(1), C::Uint64(2)),
        (DataType::ByteArray16, v6, IP_REMOTE_ADDRESS, C::ByteArray16([1; 16]), C::ByteArray16([2; 16])),
        (DataType::ByteBlob, v4, ALE_APP_ID, C::ByteBlob(vec![1]), C::ByteBlob(vec![2])),
        (DataType::Sid, v4, ALE_PACKAGE_ID, C::Sid(sid(1)), C::Sid(sid(2))),
        (DataType::ByteArray6, mac, MAC_REMOTE_ADDRESS, C::ByteArray6([1; 6]), C::ByteArray6([2; 6])),
    ]
}

/// Page "FWP_MATCH_TYPE": which data types support each match type.
#[test]
fn match_types_work_on_the_documented_data_types() {
    use DataType::*;
    let unsigned = [Uint8, Uint16, Uint32, Uint64];
    let sortable = [Uint8, Uint16, Uint32, Uint64, ByteArray16, ByteBlob];
    for (data_type, layer, field, low, high) in typed() {
        for match_type in MATCH_TYPES {
            let supported = match match_type {
                M::Equal => true,
                M::Greater | M::Less | M::GreaterOrEqual | M::LessOrEqual | M::Range => sortable.contains(&data_type),
                M::FlagsAllSet | M::FlagsAnySet | M::FlagsNoneSet => unsigned.contains(&data_type),
                // Of strings, which no layer has.
                M::EqualCaseInsensitive => false,
                // The page names sortable types only; real filters have it on SIDs, and the lab takes it on MAC addresses.
                M::NotEqual => sortable.contains(&data_type) || matches!(data_type, Sid | ByteArray6),
                M::Prefix | M::NotPrefix => data_type == ByteBlob,
            };
            let value = match match_type {
                M::Range => C::Range(Box::new((low.clone(), high.clone()))),
                _ => low.clone(),
            };
            let added = add(layer, vec![condition(field, match_type, value)]);
            let expected = if supported { None } else { Some(FwpError::MatchTypeMismatch) };
            assert_eq!(added.err(), expected, "{match_type:?} on {data_type:?}");
        }
    }
}

/// Page "FWP_MATCH_TYPE", remarks: the types must be the same, but for address masks and security descriptors.
#[test]
fn nothing_is_converted() {
    let descriptor = || C::SecurityDescriptor(security_descriptor(&[]));
    let (v4_mask, v6_mask) = (C::V4AddrMask { addr: 0, mask: 0 }, C::V6AddrMask { addr: [0; 16], prefix: 0 });
    let mut values: Vec<_> = typed().into_iter().map(|(data_type, .., value, _)| (Some(data_type), value)).collect();
    values.extend([
        (None, descriptor()),
        (None, C::UnicodeString("a".into())),
        (None, v4_mask.clone()),
        (None, v6_mask.clone()),
    ]);
    for (field_type, layer, field, ..) in typed() {
        for (value_type, value) in &values {
            let is_v6_address = field_type == DataType::ByteArray16;
            let fits = *value_type == Some(field_type) || is_v6_address && *value == v6_mask;
            let expected = if fits { None } else { Some(FwpError::TypeMismatch) };
            assert_eq!(add(layer, vec![equal(field, value.clone())]).err(), expected, "{value:?} for {field_type:?}");
        }
    }
    let connect = layer::ALE_AUTH_CONNECT_V4;
    assert!(add(connect, vec![equal(IP_REMOTE_ADDRESS, v4_mask)]).is_ok());
    assert!(add(connect, vec![equal(ALE_USER_ID, descriptor())]).is_ok(), "FWP_TOKEN_ACCESS_INFORMATION_TYPE");
    assert_eq!(add(connect, vec![equal(ALE_USER_ID, C::Sid(sid(1)))]).err(), Some(FwpError::TypeMismatch));
    // The range is of the field's type, too.
    let mixed = C::Range(Box::new((C::Uint16(1), C::Uint32(2))));
    assert_eq!(add(connect, vec![condition(PORT, M::Range, mixed)]).err(), Some(FwpError::TypeMismatch));
}

/// Page "WFP Error Codes".
#[test]
fn conditions_that_cannot_be_are_refused() {
    let connect = layer::ALE_AUTH_CONNECT_V4;
    let ports = |low, high| condition(PORT, M::Range, C::Range(Box::new((C::Uint16(low), C::Uint16(high)))));
    assert_eq!(add(connect, vec![ports(2, 1)]).err(), Some(FwpError::InvalidRange));
    assert!(add(connect, vec![ports(1, 1)]).is_ok());
    let holes = C::V4AddrMask { addr: 0, mask: 0xFF00_FF00 };
    assert_eq!(add(connect, vec![equal(IP_REMOTE_ADDRESS, holes)]).err(), Some(FwpError::InvalidNetMask));
    let no_field = equal(MAC_REMOTE_ADDRESS, C::ByteArray6([0; 6]));
    assert_eq!(add(connect, vec![no_field]).err(), Some(FwpError::ConditionNotFound));
    let apart = vec![equal(PORT, C::Uint16(1)), equal(PROTOCOL, C::Uint8(6)), equal(PORT, C::Uint16(2))];
    assert_eq!(add(connect, apart).err(), Some(FwpError::DuplicateCondition));
    let no_range = equal(PORT, C::Range(Box::new((C::Uint16(1), C::Uint16(2)))));
    assert_eq!(add(connect, vec![no_range]).err(), Some(FwpError::MatchTypeMismatch));
}

/// What a higher sublayer said, as page "Filter Arbitration" has it: the action, and whether it may be overridden.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Said {
    action: Decision,
    soft: bool,
}

/// Page "Filter Arbitration": which callout's or filter's action overrides what was said before it, in both tables of the page.
#[test]
fn actions_are_overridden_as_the_page_says() {
    use Decision::{Block, Permit};
    // Above, whether by default of a filter (F) or of a callout (C), or made hard (!); below; what comes of it.
    let defaults = [
        ("F", Permit, Said { action: Permit, soft: true }),
        ("C", Permit, Said { action: Permit, soft: true }),
        ("F", Block, Said { action: Block, soft: false }),
        ("C", Block, Said { action: Block, soft: true }),
        ("F!", Permit, Said { action: Permit, soft: false }),
        ("C!", Permit, Said { action: Permit, soft: false }),
        ("C!", Block, Said { action: Block, soft: false }),
    ];
    for (who, action, said) in defaults {
        let verdict = classify(&[(who, action)]);
        assert_eq!(verdict, said, "{who} {action:?}");
        for (other, below, then) in defaults {
            let expected = match (said.action, said.soft, below) {
                // Soft: another sublayer may block or permit.
                (_, true, _) => then,
                // Hard permit: only a callout's veto blocks.
                (Permit, false, Block) if other.starts_with('C') => Said { action: Block, soft: false },
                (Permit, false, _) => said,
                // Hard block: stays.
                (Block, false, _) => said,
            };
            assert_eq!(classify(&[(who, action), (other, below)]), expected, "{who} {action:?}, {other} {below:?}");
        }
    }
}

/// One filter in each of as many sublayers, the highest first.
fn classify(said: &[(&str, Decision)]) -> Said {
    let (mut engine, session) = engine();
    let mut script = Script::default();
    for (number, (who, action)) in (1..).zip(said) {
        engine.sublayer_add(session, sublayer(number, 60_000 - number as u16)).unwrap();
        let id = engine.callout_add(session, callout(100 + number)).unwrap();
        let hard = who.ends_with('!');
        let answer: fn(&mut ClassifyOut) = match (action, hard) {
            (Decision::Permit, false) => |out| out.action = action::PERMIT,
            (Decision::Block, false) => |out| out.action = action::BLOCK,
            (Decision::Permit, true) => |out| (out.action, out.rights) = (action::PERMIT, 0),
            (Decision::Block, true) => |out| (out.action, out.rights) = (action::BLOCK, 0),
        };
        script.answers.insert(id, answer);
        let action = match (who.starts_with('C'), action) {
            (true, _) => Action::CalloutTerminating(key(100 + number)),
            (false, Decision::Permit) => Action::Permit,
            (false, Decision::Block) => Action::Block,
        };
        let flags = if hard { FilterFlags::CLEAR_ACTION_RIGHT } else { FilterFlags::empty() };
        let filter = Filter { sublayer: key(number), flags, ..filter(action) };
        engine.filter_add(session, filter, &mut ()).unwrap();
    }
    let verdict = engine.snapshot().classify(layers::id::ALE_AUTH_CONNECT_V4, &[], &mut script);
    Said { action: verdict.action, soft: !verdict.hard }
}

/// Pages "FWPM_FILTER0" and "FwpsCalloutUnregisterById0": the four ways of a callout between being added and being registered.
#[test]
fn callouts_count_when_they_are_added_and_registered() {
    let (mut engine, session) = engine();
    let names = |action: fn(Uuid) -> Action| filter(action(key(1)));
    // Registered, not added.
    let id = engine.callout_register(key(1), 0).unwrap();
    assert_eq!(engine.filter_add(session, names(Action::CalloutTerminating), &mut ()), Err(FwpError::CalloutNotFound));
    // Both.
    assert_eq!(engine.callout_add(session, callout(1)), Ok(id));
    engine.filter_add(session, names(Action::CalloutTerminating), &mut ()).unwrap();
    let classify = |engine: &Engine, registered: bool| {
        let mut script = Script::default();
        if registered {
            script.answers.insert(id, |out| out.action = action::PERMIT);
        }
        engine.snapshot().classify(layers::id::ALE_AUTH_CONNECT_V4, &[], &mut script).action
    };
    assert_eq!(classify(&engine, true), Decision::Permit);
    // Unregistered under its filter, and never registered: the filter blocks.
    engine.callout_unregister(id).unwrap();
    assert_eq!(classify(&engine, false), Decision::Block);
    assert_eq!(engine.callout_delete(session, key(1)), Err(FwpError::InUse));
}

/// Every field of every layer can be asked for, and only what was asked for matches: interfaces, profiles, applications, users, packages.
#[test]
fn every_field_of_every_layer_can_be_a_condition() {
    use layers::DataType::*;
    let (ours, theirs) = (sid(1), sid(2));
    let (our_token, their_token) = ([&*ours], [&*theirs]);
    let descriptor = C::SecurityDescriptor(security_descriptor(&[(0, sid(1))]));
    let mut fields = 0;
    for layer in layers::all() {
        let (mut engine, session) = engine();
        for (index, field) in layer.fields.iter().enumerate() {
            let (asked, same, other) = match field.data_type {
                Uint8 => (C::Uint8(1), Value::Uint8(1), Value::Uint8(2)),
                Uint16 => (C::Uint16(1), Value::Uint16(1), Value::Uint16(2)),
                Uint32 => (C::Uint32(1), Value::Uint32(1), Value::Uint32(2)),
                Uint64 => (C::Uint64(1), Value::Uint64(1), Value::Uint64(2)),
                ByteArray16 => (C::ByteArray16([1; 16]), Value::ByteArray16(&[1; 16]), Value::ByteArray16(&[2; 16])),
                ByteArray6 => (C::ByteArray6([1; 6]), Value::ByteArray6(&[1; 6]), Value::ByteArray6(&[2; 6])),
                ByteBlob => (C::ByteBlob(vec![1]), Value::ByteBlob(&[1]), Value::ByteBlob(&[1, 0])),
                Sid => (C::Sid(sid(1)), Value::Sid(&ours), Value::Sid(&theirs)),
                TokenInformation | TokenAccessInformation => {
                    (descriptor.clone(), Value::Token(&our_token), Value::Token(&their_token))
                }
                other => panic!("{}: {} holds {other:?}", layer.name, field.name),
            };
            let conditions = vec![equal(field.key, asked)];
            let filter = Filter { layer: layer.key, conditions, ..filter(Action::Block) };
            let id = engine.filter_add(session, filter, &mut ()).unwrap();
            for (value, blocked) in [(same, true), (other, false), (Value::Empty, false)] {
                let values = values(layer.id, &[(index, value)]);
                let verdict = engine.snapshot().classify(layer.id, &values, &mut Script::default());
                assert_eq!(verdict.action == Decision::Block, blocked, "{}: {} is {value:?}", layer.name, field.name);
            }
            engine.filter_delete(session, id, &mut ()).unwrap();
            fields += 1;
        }
    }
    assert!(fields > 1000, "{fields} fields");
}
