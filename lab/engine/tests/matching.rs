//! Which values a filter's conditions match.

mod lab;

use ConditionValue as C;
use MatchType as M;
use Value as V;
use lab::*;
use postern_engine::guids::condition::*;
use postern_engine::layers::field::ale_auth_connect as index;
use postern_engine::objects::*;
use postern_engine::*;
use uuid::Uuid;

fn matches_at(layer: Uuid, conditions: Vec<Condition>, known: &[(usize, Value<'_>)]) -> bool {
    let (mut engine, session) = engine();
    engine.filter_add(session, Filter { layer, conditions, ..filter(Action::Block) }, &mut ()).unwrap();
    let id = layers::by_key(&layer).unwrap().id;
    engine.snapshot().classify(id, &values(id, known), &mut Script::default()).action == Decision::Block
}

fn matches(conditions: Vec<Condition>, known: &[(usize, Value<'_>)]) -> bool {
    matches_at(CONNECT, conditions, known)
}

#[test]
fn integers_are_compared_as_the_match_type_says() {
    let table = [
        (M::Equal, 80, [false, true, false]),
        (M::NotEqual, 80, [true, false, true]),
        (M::Greater, 80, [false, false, true]),
        (M::GreaterOrEqual, 80, [false, true, true]),
        (M::Less, 80, [true, false, false]),
        (M::LessOrEqual, 80, [true, true, false]),
    ];
    for (match_type, bound, expected) in table {
        for (port, expected) in [79, 80, 81].into_iter().zip(expected) {
            let matched = matches(
                vec![condition(PORT, match_type, C::Uint16(bound))],
                &[(index::IP_REMOTE_PORT, V::Uint16(port))],
            );
            assert_eq!(matched, expected, "{port} {match_type:?} {bound}");
        }
    }
}

#[test]
fn nothing_is_less_than_zero_or_greater_than_the_greatest() {
    let ask = |match_type, bound, value| {
        matches(
            vec![condition(IP_LOCAL_INTERFACE, match_type, C::Uint64(bound))],
            &[(index::IP_LOCAL_INTERFACE, V::Uint64(value))],
        )
    };
    assert!(!ask(M::Less, 0, 0));
    assert!(!ask(M::Greater, u64::MAX, u64::MAX));
}

#[test]
fn ranges_include_both_ends() {
    let range = || condition(PORT, M::Range, C::Range(Box::new((C::Uint16(10), C::Uint16(12)))));
    let found: Vec<u16> =
        (8..15).filter(|port| matches(vec![range()], &[(index::IP_REMOTE_PORT, V::Uint16(*port))])).collect();
    assert_eq!(found, [10, 11, 12]);
}

#[test]
fn flags_are_all_any_or_none_set() {
    let ask = |match_type, value| {
        matches(vec![condition(FLAGS, match_type, C::Uint32(0b110))], &[(index::FLAGS, V::Uint32(value))])
    };
    assert_eq!([0b000, 0b010, 0b111].map(|value| ask(M::FlagsAllSet, value)), [false, false, true]);
    assert_eq!([0b000, 0b010, 0b111].map(|value| ask(M::FlagsAnySet, value)), [false, true, true]);
    assert_eq!([0b001, 0b010, 0b111].map(|value| ask(M::FlagsNoneSet, value)), [true, false, false]);
}

#[test]
fn networks_match_their_addresses() {
    let ask = |addr, mask, value| {
        matches(
            vec![equal(IP_REMOTE_ADDRESS, C::V4AddrMask { addr, mask })],
            &[(index::IP_REMOTE_ADDRESS, V::Uint32(value))],
        )
    };
    assert!(ask(0x0A00_0001, 0xFF00_0000, 0x0AFF_FFFF), "bits beyond the mask do not count");
    assert!(!ask(0x0A00_0000, 0xFF00_0000, 0x0B00_0000));
    assert!(ask(0x0A00_0000, 0, 0xFFFF_FFFF));
    assert!(!ask(0x0A00_0000, u32::MAX, 0x0A00_0001));

    let connect = layers::key::ALE_AUTH_CONNECT_V6;
    let mut addr = [0; 16];
    (addr[0], addr[1], addr[15]) = (0xFE, 0x80, 1);
    let ask = |prefix, value: &[u8; 16]| {
        let network = equal(IP_REMOTE_ADDRESS, C::V6AddrMask { addr, prefix });
        matches_at(connect, vec![network], &[(index::IP_REMOTE_ADDRESS, V::ByteArray16(value))])
    };
    let mut other = addr;
    other[15] = 2;
    assert_eq!([0, 10, 126, 127, 128].map(|prefix| ask(prefix, &other)), [true, true, true, false, false]);
    assert!(ask(128, &addr));
}

#[test]
fn sixteen_byte_values_are_ordered_as_numbers_in_network_order() {
    let connect = layers::key::ALE_AUTH_CONNECT_V6;
    let at = |last: u8| {
        let mut addr = [0; 16];
        addr[15] = last;
        addr
    };
    let ask = |match_type, value: u8| {
        let bound = condition(IP_REMOTE_ADDRESS, match_type, C::ByteArray16(at(5)));
        matches_at(connect, vec![bound], &[(index::IP_REMOTE_ADDRESS, V::ByteArray16(&at(value)))])
    };
    assert_eq!([4, 5, 6].map(|value| ask(M::Greater, value)), [false, false, true]);
    assert_eq!([4, 5, 6].map(|value| ask(M::LessOrEqual, value)), [true, true, false]);
    assert_eq!([4, 5, 6].map(|value| ask(M::NotEqual, value)), [true, false, true]);
    assert!(!ask(M::Less, 9));
}

#[test]
fn blobs_are_compared_as_bytes_and_by_their_end() {
    let ask = |match_type, bound: &[u8], value: &[u8]| {
        matches(
            vec![condition(ALE_APP_ID, match_type, C::ByteBlob(bound.to_vec()))],
            &[(index::ALE_APP_ID, V::ByteBlob(value))],
        )
    };
    assert!(ask(M::Equal, b"abc", b"abc") && !ask(M::Equal, b"abc", b"abcd") && !ask(M::Equal, b"abc", b"ab"));
    assert!(ask(M::NotEqual, b"abc", b"abd") && !ask(M::NotEqual, b"abc", b"abc"));
    assert!(
        ask(M::Greater, b"abc", b"abd") && !ask(M::Greater, b"abc", b"abc") && ask(M::GreaterOrEqual, b"abc", b"abc")
    );
    assert!(ask(M::Less, b"abc", b"ab") && !ask(M::Less, b"abc", b"abc") && ask(M::LessOrEqual, b"abc", b"abc"));
    assert!(ask(M::Prefix, b"bc", b"abc") && !ask(M::Prefix, b"ab", b"abc"));
    assert!(ask(M::NotPrefix, b"ab", b"abc") && !ask(M::NotPrefix, b"bc", b"abc"));
    let range =
        condition(ALE_APP_ID, M::Range, C::Range(Box::new((C::ByteBlob(b"b".to_vec()), C::ByteBlob(b"d".to_vec())))));
    let ask = |value| matches(vec![range.clone()], &[(index::ALE_APP_ID, V::ByteBlob(value))]);
    assert!(ask(b"b") && ask(b"cz") && ask(b"d") && !ask(b"da") && !ask(b"a"));
}

#[test]
fn packages_are_told_apart_by_their_sid() {
    let ask = |match_type, value: Vec<u8>| {
        let package = condition(ALE_PACKAGE_ID, match_type, C::Sid(sid(1)));
        matches(vec![package], &[(index::ALE_PACKAGE_ID, V::Sid(&value))])
    };
    assert!(ask(M::Equal, sid(1)) && !ask(M::Equal, sid(2)));
    assert!(ask(M::NotEqual, sid(2)) && !ask(M::NotEqual, sid(1)));
}

#[test]
fn a_user_matches_when_the_descriptor_grants_it_the_right() {
    const ALLOW: u8 = 0;
    const DENY: u8 = 1;
    let ask = |entries: &[(u8, Vec<u8>)], sids: &[&[u8]]| {
        let user = equal(ALE_USER_ID, C::SecurityDescriptor(security_descriptor(entries)));
        matches(vec![user], &[(index::ALE_USER_ID, V::Token(sids))])
    };
    let (one, two) = (sid(1), sid(2));
    assert!(ask(&[(ALLOW, sid(1))], &[&two, &one]));
    assert!(!ask(&[(ALLOW, sid(1))], &[&two]));
    assert!(!ask(&[], &[&one]), "an empty list grants nobody");
    assert!(!ask(&[(DENY, sid(2)), (ALLOW, sid(1))], &[&one, &two]));
    assert!(ask(&[(ALLOW, sid(1)), (DENY, sid(2))], &[&one, &two]), "the first entry decides");
    let mut no_list = security_descriptor(&[]);
    no_list[2] &= !0x4;
    let user = equal(ALE_USER_ID, C::SecurityDescriptor(no_list));
    assert!(matches(vec![user], &[(index::ALE_USER_ID, V::Token(&[]))]), "no list grants everybody");
}

#[test]
fn damaged_security_descriptors_are_refused_wherever_they_end() {
    let (mut engine, session) = engine();
    let whole = security_descriptor(&[(0, sid(1)), (1, sid(2))]);
    for length in 0..whole.len() {
        let user = equal(ALE_USER_ID, C::SecurityDescriptor(whole[..length].to_vec()));
        let added = engine.filter_add(session, Filter { conditions: vec![user], ..filter(Action::Permit) }, &mut ());
        assert_eq!(added, Err(FwpError::InvalidParameter), "{length} bytes");
    }
}

#[test]
fn mac_addresses_are_compared_whole() {
    let layer = layers::key::INBOUND_MAC_FRAME_ETHERNET;
    let at = layers::field::inbound_mac_frame_ethernet::MAC_REMOTE_ADDRESS;
    let ask = |match_type, value: [u8; 6]| {
        let mac = condition(MAC_REMOTE_ADDRESS, match_type, C::ByteArray6([1, 2, 3, 4, 5, 6]));
        matches_at(layer, vec![mac], &[(at, V::ByteArray6(&value))])
    };
    assert!(ask(M::Equal, [1, 2, 3, 4, 5, 6]) && !ask(M::Equal, [1, 2, 3, 4, 5, 7]));
    assert!(ask(M::NotEqual, [1, 2, 3, 4, 5, 7]));
}

#[test]
fn different_fields_must_all_match_and_one_field_any_of_its_conditions() {
    let tcp_to_web = || {
        vec![
            equal(PROTOCOL, C::Uint8(6)),
            equal(PORT, C::Uint16(80)),
            equal(PORT, C::Uint16(443)),
            equal(FLAGS, C::Uint32(1)),
        ]
    };
    let ask = |protocol, port, flags| {
        let known = [
            (index::IP_PROTOCOL, V::Uint8(protocol)),
            (index::IP_REMOTE_PORT, V::Uint16(port)),
            (index::FLAGS, V::Uint32(flags)),
        ];
        matches(tcp_to_web(), &known)
    };
    assert!(ask(6, 80, 1) && ask(6, 443, 1));
    assert!(!ask(6, 8080, 1) && !ask(17, 80, 1) && !ask(6, 443, 0));
}

#[test]
fn an_unknown_value_matches_only_the_question_whether_it_is_unknown() {
    let unknown = |condition| matches(vec![condition], &[]);
    assert!(unknown(equal(PORT, C::Empty)));
    assert!(!matches(vec![equal(PORT, C::Empty)], &[(index::IP_REMOTE_PORT, V::Uint16(1))]));
    assert!(!unknown(equal(PORT, C::Uint16(0))));
    assert!(!unknown(condition(PORT, M::NotEqual, C::Uint16(1))));
    assert!(!unknown(condition(FLAGS, M::FlagsNoneSet, C::Uint32(1))));
    assert!(!unknown(equal(ALE_USER_ID, C::SecurityDescriptor(security_descriptor(&[(0, sid(1))])))));
    assert!(matches(vec![], &[]), "no conditions match everything");
}

#[test]
fn a_filter_with_alternatives_says_so_at_run_time() {
    let (mut engine, session) = engine();
    let ports = vec![equal(PORT, C::Uint16(80)), equal(PORT, C::Uint16(443))];
    engine.filter_add(session, Filter { conditions: ports, ..filter(Action::Block) }, &mut ()).unwrap();
    let snapshot = engine.snapshot();
    let found = snapshot.filters(layers::id::ALE_AUTH_CONNECT_V4).next().unwrap();
    assert_eq!(found.flags, filter_flag::OR_CONDITIONS);
    let fields: Vec<_> = found.conditions.iter().map(|condition| usize::from(condition.field)).collect();
    assert_eq!(fields, [index::IP_REMOTE_PORT, index::IP_REMOTE_PORT]);
}

#[test]
fn long_lists_match_as_their_conditions_do() {
    let range = |low, high| condition(PORT, M::Range, C::Range(Box::new((C::Uint16(low), C::Uint16(high)))));
    let one = |match_type, port| condition(PORT, match_type, C::Uint16(port));
    let overlapping = vec![range(10, 15), range(10, 40), range(20, 30), range(35, 50), one(M::Equal, 5)];
    let mut nothing_less: Vec<_> = (0..8).map(|_| one(M::Less, 0)).collect();
    nothing_less.push(one(M::Equal, 7));
    let mut all_but_one = overlapping.clone();
    all_but_one.extend([one(M::NotEqual, 3), range(60, 70), range(60, 61), range(80, 90)]);
    let mut lists = vec![(nothing_less, vec![7]), (all_but_one, (0..100).filter(|port| *port != 3).collect())];
    let mut long = overlapping;
    long.extend([range(60, 70), range(60, 61), range(80, 90), range(91, 91)]);
    lists.push((long, (0..100).filter(|port| matches!(port, 5 | 10..=50 | 60..=70 | 80..=91)).collect()));
    for (list, expected) in lists {
        let ask = |port| {
            let known = [(index::IP_REMOTE_PORT, V::Uint16(port)), (index::IP_PROTOCOL, V::Uint8(6))];
            let mut conditions = list.clone();
            conditions.push(equal(PROTOCOL, C::Uint8(6)));
            matches(conditions, &known)
        };
        assert_eq!((0..100).filter(|port| ask(*port)).collect::<Vec<_>>(), expected, "{list:?}");
        assert!(!matches(list, &[]), "an unknown port");
    }
}
