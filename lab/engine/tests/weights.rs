//! The weights that the engine assigns are those that real machines report.

mod lab;

use ConditionValue::*;
use lab::*;
use postern_engine::guids::condition::*;
use postern_engine::layers::key as layer;
use postern_engine::objects::*;
use postern_engine::*;
use uuid::Uuid;

fn effective(layer: Uuid, weight: Weight, conditions: Vec<Condition>) -> u64 {
    let (mut engine, session) = engine();
    let filter = Filter { layer, weight, conditions, ..filter(Action::Permit) };
    let id = engine.filter_add(session, filter, &mut ()).unwrap();
    let weight = engine.view(None).filter(id).unwrap().effective_weight;
    assert_eq!(engine.snapshot().filters(layers::by_key(&layer).unwrap().id).next().unwrap().weight, weight);
    weight
}

fn ports(low: u16, high: u16) -> ConditionValue {
    Range(Box::new((Uint16(low), Uint16(high))))
}

fn range(field: Uuid, value: ConditionValue) -> Condition {
    condition(field, MatchType::Range, value)
}

fn v4(addr: [u8; 4], prefix: u32) -> Condition {
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    equal(IP_REMOTE_ADDRESS, V4AddrMask { addr: u32::from_be_bytes(addr), mask })
}

fn v6(first: u16, prefix: u8) -> Condition {
    let mut addr = [0; 16];
    addr[..2].copy_from_slice(&first.to_be_bytes());
    equal(IP_REMOTE_ADDRESS, V6AddrMask { addr, prefix })
}

fn app() -> Condition {
    equal(ALE_APP_ID, ByteBlob(b"app".to_vec()))
}

fn user() -> Condition {
    equal(ALE_USER_ID, SecurityDescriptor(security_descriptor(&[])))
}

fn tcp() -> Condition {
    equal(IP_PROTOCOL, Uint8(6))
}

fn local(port: u16) -> Condition {
    equal(IP_LOCAL_PORT, Uint16(port))
}

fn remote(port: u16) -> Condition {
    equal(IP_REMOTE_PORT, Uint16(port))
}

fn loopback() -> Condition {
    condition(FLAGS, MatchType::FlagsAllSet, Uint32(1))
}

#[test]
fn a_range_gives_the_top_four_bits_and_a_whole_weight_is_taken_as_it_is() {
    assert_eq!(effective(CONNECT, Weight::Auto, vec![]), 0);
    assert_eq!(effective(CONNECT, Weight::Range(15), vec![]), 0xF000_0000_0000_0000);
    assert_eq!(effective(CONNECT, Weight::Exact(7), vec![tcp()]), 7);
    assert_eq!(effective(CONNECT, Weight::Exact(u64::MAX), vec![]), u64::MAX);
}

#[test]
fn automatic_weights_are_those_of_real_filters() {
    let accept = layer::ALE_AUTH_RECV_ACCEPT_V4;
    assert_eq!(effective(accept, Weight::Range(9), vec![app(), user(), local(5), tcp()]), 0x9007_00C0_0000_0000);
    let five = vec![app(), user(), local(5), tcp(), remote(6)];
    assert_eq!(effective(accept, Weight::Range(9), five), 0x9007_07C0_0000_0000);
    assert_eq!(effective(CONNECT, Weight::Range(15), vec![v4([10, 0, 0, 1], 32)]), 0xF400_0000_0000_0000);

    // Build 26100, automatic part.
    let tunnel = || equal(ARRIVAL_TUNNEL_TYPE, Uint32(1));
    let next_hop = || equal(NEXTHOP_TUNNEL_TYPE, Uint32(1));
    let profiles = || vec![equal(ORIGINAL_PROFILE_ID, Uint32(1)), equal(CURRENT_PROFILE_ID, Uint32(1))];
    let family_name = || equal(ALE_PACKAGE_FAMILY_NAME, SecurityDescriptor(security_descriptor(&[])));
    let four = || vec![v4([172, 17, 192, 0], 20), v4([192, 168, 1, 0], 24), v4([224, 0, 0, 0], 4)];
    let six = || vec![v6(0x2a01, 64), v6(0xfe80, 64), v6(0xff00, 8)];
    let with = |mut list: Vec<Condition>, more: Vec<Condition>| {
        list.extend(more);
        list
    };
    let table = [
        (layer::ALE_AUTH_CONNECT_V4, vec![app(), user(), local(1), tcp()], 0x3C06000000000),
        (layer::ALE_AUTH_CONNECT_V4, vec![app(), user(), local(1), tcp(), remote(2)], 0x3C3E000000000),
        (
            layer::ALE_AUTH_CONNECT_V4,
            vec![app(), user(), tcp(), range(IP_REMOTE_PORT, ports(1, 65535))],
            0x380E000000000,
        ),
        (
            layer::ALE_AUTH_CONNECT_V4,
            with(four(), vec![app(), user(), local(1), tunnel(), tcp(), loopback()]),
            0x403C07080000000,
        ),
        (
            layer::ALE_AUTH_CONNECT_V4,
            with(four(), vec![app(), user(), next_hop(), tcp(), remote(1)]),
            0x40383E080000000,
        ),
        (layer::ALE_AUTH_CONNECT_V4, profiles(), 0x7F0),
        (layer::ALE_AUTH_CONNECT_V6, vec![app(), user(), local(1), tcp(), remote(2)], 0x70F800000000),
        (
            layer::ALE_AUTH_CONNECT_V6,
            vec![app(), user(), tcp(), range(IP_REMOTE_PORT, ports(1, 65535))],
            0x603800000000,
        ),
        (
            layer::ALE_AUTH_CONNECT_V6,
            with(six(), vec![app(), user(), local(1), tunnel(), tcp(), loopback()]),
            0x400701C20000000,
        ),
        (layer::ALE_AUTH_CONNECT_V6, profiles(), 0x7F0),
        (layer::ALE_RESOURCE_ASSIGNMENT_V4, vec![app(), user(), local(1), tcp()], 0xFFF3FF000000000),
        (
            layer::ALE_RESOURCE_ASSIGNMENT_V4,
            vec![app(), user(), range(IP_LOCAL_PORT, ports(5000, 5020)), tcp()],
            0xB9B3FF000000000,
        ),
        (layer::ALE_RESOURCE_ASSIGNMENT_V4, vec![user(), family_name(), tcp()], 0x3FF000000000),
        (
            layer::ALE_RESOURCE_ASSIGNMENT_V4,
            vec![local(1), equal(IP_LOCAL_INTERFACE, Uint64(1)), tcp()],
            0xFFFBFC000000000,
        ),
        (
            layer::ALE_RESOURCE_ASSIGNMENT_V6,
            vec![app(), user(), range(IP_LOCAL_PORT, ports(5000, 5020)), tcp()],
            0xB98FFC000000000,
        ),
        (layer::ALE_RESOURCE_ASSIGNMENT_V6, vec![tcp(), loopback()], 0xFF0001000000),
        // Build 22621, whose schema gives these fields the same bits.
        (layer::ALE_AUTH_RECV_ACCEPT_V4, vec![range(IP_LOCAL_PORT, ports(8554, 8558))], 0xD80000000000),
        (layer::ALE_AUTH_RECV_ACCEPT_V4, vec![range(IP_LOCAL_PORT, ports(5000, 5020))], 0xB80000000000),
        (layer::INBOUND_TRANSPORT_FAST, vec![], 0x07FF_FFFF_FFFF_FFFF),
    ];
    for (layer, conditions, expected) in table {
        let weight = effective(layer, Weight::Auto, conditions.clone());
        assert_eq!(weight, expected, "{:#x}, not {expected:#x}, for {conditions:?}", weight);
    }
}

#[test]
fn a_longer_prefix_weighs_more_and_everything_weighs_nothing() {
    let weight = |condition| effective(CONNECT, Weight::Auto, vec![condition]);
    assert_eq!(weight(v4([10, 0, 0, 0], 8)), 8 << 53);
    assert_eq!(weight(v4([0, 0, 0, 0], 0)), 0);
    let everything = Range(Box::new((Uint32(0), Uint32(u32::MAX))));
    assert_eq!(weight(range(IP_REMOTE_ADDRESS, everything)), 0);
    let prefix = Range(Box::new((Uint32(0x0A00_0000), Uint32(0x0AFF_FFFF))));
    assert_eq!(weight(range(IP_REMOTE_ADDRESS, prefix)), 8 << 53, "a range that is a prefix weighs as the prefix");
}

#[test]
fn a_range_among_alternatives_weighs_as_its_networks() {
    // Build 26100: everything but the networks 192.168.1.0/24 and 224.0.0.0/4. A single such range weighs by its size.
    let address = |low: [u8; 4], high: [u8; 4]| {
        let [low, high] = [low, high].map(|address| Uint32(u32::from_be_bytes(address)));
        range(IP_REMOTE_ADDRESS, Range(Box::new((low, high))))
    };
    let three = vec![
        address([0, 0, 0, 0], [192, 168, 1, 0]),
        address([192, 168, 1, 255], [224, 0, 0, 0]),
        address([239, 255, 255, 255], [255, 255, 255, 255]),
    ];
    assert_eq!(effective(layer::ALE_AUTH_RECV_ACCEPT_V4, Weight::Auto, three.clone()), 64 << 53);
    assert_eq!(effective(CONNECT, Weight::Auto, three[1..2].to_vec()), 6 << 52);
}

#[test]
fn embedded_packets_have_groups_of_their_own() {
    // Build 26100.
    let conditions = vec![
        equal(IP_LOCAL_PORT, Uint16(133)),
        equal(IP_ARRIVAL_INTERFACE, Uint64(1)),
        equal(ARRIVAL_INTERFACE_PROFILE_ID, Uint32(2)),
    ];
    assert_eq!(effective(layer::INBOUND_ICMP_ERROR_V6, Weight::Auto, conditions), 0x4003_8000_0004);
}

#[test]
fn alternatives_on_one_field_add_up_to_no_more_than_one_full_condition() {
    assert_eq!(effective(CONNECT, Weight::Auto, vec![tcp(), equal(IP_PROTOCOL, Uint8(17))]), 0x3800000000000);
    assert_eq!(effective(CONNECT, Weight::Auto, vec![v4([10, 0, 0, 0], 8), v4([11, 0, 0, 0], 8)]), 16 << 53);
    assert_eq!(effective(CONNECT, Weight::Auto, vec![v4([10, 0, 0, 0], 24), v4([11, 0, 0, 0], 24)]), 32 << 53);
}

#[test]
fn fields_that_share_a_group_do_not_overflow_it() {
    let ours = equal(IP_LOCAL_ADDRESS, Uint32(1));
    let theirs = || v4([10, 0, 0, 1], 32);
    assert_eq!(effective(CONNECT, Weight::Auto, vec![theirs()]), 64 << 52);
    assert_eq!(effective(CONNECT, Weight::Auto, vec![ours, theirs()]), 127 << 52, "all seven bits of the addresses");
    let package = || equal(ALE_PACKAGE_ID, Sid(sid(1)));
    assert_eq!(effective(CONNECT, Weight::Auto, vec![package()]), 1 << 38);
    assert_eq!(effective(CONNECT, Weight::Auto, vec![app(), package()]), 1 << 38);
}

#[test]
fn weights_of_a_build_after_26100_are_recognised() {
    let address = |text: [u8; 4]| Uint32(u32::from_be_bytes(text));
    let network = Range(Box::new((address([192, 168, 4, 0]), address([192, 168, 7, 255]))));
    let connect = vec![
        range(IP_REMOTE_ADDRESS, network),
        equal(ORIGINAL_PROFILE_ID, Uint32(2)),
        equal(CURRENT_PROFILE_ID, Uint32(2)),
        app(),
        user(),
    ];
    let assignment = vec![tcp(), condition(FLAGS, MatchType::FlagsNoneSet, Uint32(9))];
    let seen =
        [(CONNECT, connect, 0x160006000001FC0), (layer::ALE_RESOURCE_ASSIGNMENT_V4, assignment, 0x0007FC000200000)];
    let filters = seen.into_iter().zip(1..).map(|((layer, conditions, effective_weight), id)| Filter {
        key: Uuid::from_u128(id),
        id: id as u64,
        conditions,
        effective_weight,
        ..Filter::new("seen", layer, Action::Permit)
    });
    let restored = Engine::restore(Objects { filters: filters.collect(), ..Objects::default() }).unwrap();
    assert!(!restored.doubts.iter().any(|doubt| matches!(doubt, Doubt::Weight { .. })), "{:?}", restored.doubts);
}
