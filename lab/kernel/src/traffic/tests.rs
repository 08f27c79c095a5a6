//! Which layers traffic passes, in which order, and what callouts see there.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use fwps::sys::*;
use postern_engine::layers;
use postern_engine::objects::{Action, Condition, ConditionValue, MatchType};
use postern_traffic::protocol;
use uuid::Uuid;

use super::*;
use crate::fwp::stand_in::{self, Seen, filter, filter_with, on_classify, session};
use crate::ptr::Ptr;
use crate::{Config, Lab};

const CALLOUT: u128 = 0xca11_0000_0000_0000_0000_0000_0000_0000;

/// A lab whose every kernel layer has an inspection filter that calls the stand-in.
fn lab_with_callouts_everywhere() -> Lab {
    let lab = Lab::start(Config::default());
    let session = session(&lab);
    for layer in layers::all().iter().filter(|layer| layer.is_kernel() && !layer.fields.is_empty()) {
        let key = CALLOUT | u128::from(layer.id);
        stand_in::register(&lab, &stand_in::registration(key));
        let callout = stand_in::callout(&lab, session, key, layer.key);
        filter(&lab, session, layer.key, Action::CalloutInspection(callout));
    }
    lab
}

/// Notes the names of the layers that classifyFn is called at on this thread.
fn record_layers() -> Rc<RefCell<Vec<&'static str>>> {
    let layers = Rc::new(RefCell::new(Vec::new()));
    let record = layers.clone();
    on_classify(move |seen| {
        record.borrow_mut().push(layers::by_id(seen.values.layerId).unwrap().name);
        seen.out.actionType = FWP_ACTION_CONTINUE;
    });
    layers
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn connection(protocol: u8, local: &str, remote: &str) -> Connection<'static> {
    Connection { protocol, local: address(local), remote: address(remote), app: None }
}

/// A packet with made-up headers and `data` bytes of data.
fn send(
    traffic: &mut Traffic,
    connection: &Connection<'_>,
    direction: Direction,
    tcp_flags: u8,
    data: usize,
) -> Outcome {
    let bytes = made_up::Bytes::new(connection, direction, tcp_flags);
    let packet = bytes.packet(connection, direction, tcp_flags);
    let ip_header = packet.bytes.len() - packet.payload.len();
    let whole: Vec<u8> = packet.bytes.iter().copied().chain((0..data).map(|byte| byte as u8)).collect();
    traffic.packet(&Packet { bytes: &whole, payload: &whole[ip_header..], ..packet })
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const PSH_ACK: u8 = 0x18;
const FIN_ACK: u8 = 0x11;
const RST: u8 = 0x04;

#[test]
fn a_tcp_client_passes_the_layers_in_the_documented_order() {
    let lab = lab_with_callouts_everywhere();
    let seen = record_layers();
    let mut traffic = lab.traffic();
    let flow = connection(protocol::TCP, "10.0.0.1:50000", "93.184.215.14:443");

    assert!(send(&mut traffic, &flow, Direction::Outbound, SYN, 0).new_flow);
    assert_eq!(
        seen.take(),
        [
            "ALE_BIND_REDIRECT_V4",
            "ALE_RESOURCE_ASSIGNMENT_V4",
            "ALE_CONNECT_REDIRECT_V4",
            "ALE_AUTH_CONNECT_V4",
            "OUTBOUND_TRANSPORT_V4",
            "OUTBOUND_IPPACKET_V4",
        ]
    );
    assert!(!send(&mut traffic, &flow, Direction::Inbound, SYN | ACK, 0).new_flow);
    assert_eq!(seen.take(), ["INBOUND_IPPACKET_V4", "INBOUND_TRANSPORT_V4", "ALE_FLOW_ESTABLISHED_V4"]);
    send(&mut traffic, &flow, Direction::Outbound, ACK, 0);
    assert_eq!(seen.take(), ["OUTBOUND_TRANSPORT_V4", "OUTBOUND_IPPACKET_V4"]);
    send(&mut traffic, &flow, Direction::Outbound, PSH_ACK, 10);
    assert_eq!(seen.take(), ["STREAM_V4", "OUTBOUND_TRANSPORT_V4", "OUTBOUND_IPPACKET_V4"]);
    send(&mut traffic, &flow, Direction::Inbound, PSH_ACK, 10);
    assert_eq!(seen.take(), ["INBOUND_IPPACKET_V4", "INBOUND_TRANSPORT_V4", "STREAM_V4"]);
    send(&mut traffic, &flow, Direction::Inbound, FIN_ACK, 0);
    send(&mut traffic, &flow, Direction::Outbound, FIN_ACK, 0);
    seen.take();
    send(&mut traffic, &flow, Direction::Inbound, ACK, 0);
    assert_eq!(
        seen.take(),
        ["INBOUND_IPPACKET_V4", "INBOUND_TRANSPORT_V4", "ALE_ENDPOINT_CLOSURE_V4", "ALE_RESOURCE_RELEASE_V4"]
    );
}

#[test]
fn a_tcp_server_passes_the_layers_in_the_documented_order() {
    let lab = lab_with_callouts_everywhere();
    let seen = record_layers();
    let mut traffic = lab.traffic();
    let flow = connection(protocol::TCP, "[2001:db8::1]:80", "[2001:db8::2]:40000");

    assert!(send(&mut traffic, &flow, Direction::Inbound, SYN, 0).new_flow);
    assert_eq!(seen.take(), ["INBOUND_IPPACKET_V6", "INBOUND_TRANSPORT_V6", "ALE_AUTH_RECV_ACCEPT_V6"]);
    send(&mut traffic, &flow, Direction::Outbound, SYN | ACK, 0);
    assert_eq!(seen.take(), ["OUTBOUND_TRANSPORT_V6", "OUTBOUND_IPPACKET_V6"]);
    send(&mut traffic, &flow, Direction::Inbound, ACK, 0);
    assert_eq!(seen.take(), ["INBOUND_IPPACKET_V6", "INBOUND_TRANSPORT_V6", "ALE_FLOW_ESTABLISHED_V6"]);
}

#[test]
fn an_accept_is_preceded_by_listening_which_can_be_blocked() {
    let lab = lab_with_callouts_everywhere();
    let seen = record_layers();
    let mut traffic = lab.traffic();
    let server = connection(protocol::TCP, "10.0.0.1:80", "10.0.0.2:40000");
    assert_eq!(traffic.accept(&server).layer, FWPS_LAYER_ALE_AUTH_RECV_ACCEPT_V4);
    assert_eq!(
        seen.take()[..4],
        ["ALE_BIND_REDIRECT_V4", "ALE_RESOURCE_ASSIGNMENT_V4", "ALE_AUTH_LISTEN_V4", "INBOUND_IPPACKET_V4"]
    );
    traffic.end_flows();
    assert_eq!(seen.take(), ["ALE_ENDPOINT_CLOSURE_V4", "ALE_RESOURCE_RELEASE_V4"], "what the bind was assigned");
    let session = session(&lab);
    let id = filter(&lab, session, layers::key::ALE_AUTH_LISTEN_V4, Action::Block);
    let outcome = traffic.accept(&server);
    assert_eq!((outcome.layer, outcome.filter_id), (FWPS_LAYER_ALE_AUTH_LISTEN_V4, Some(id)));
}

#[test]
fn ending_flows_closes_their_endpoints() {
    let lab = lab_with_callouts_everywhere();
    let mut traffic = lab.traffic();
    traffic.connect(&connection(protocol::UDP, "10.0.0.1:5000", "10.0.0.2:53"));
    let seen = record_layers();
    traffic.end_flows();
    assert_eq!(seen.take(), ["ALE_ENDPOINT_CLOSURE_V4", "ALE_RESOURCE_RELEASE_V4"]);
    assert_eq!(traffic.flows(), 0);
}

#[test]
fn udp_is_established_with_its_first_datagram() {
    let lab = lab_with_callouts_everywhere();
    let seen = record_layers();
    let mut traffic = lab.traffic();
    let client = connection(protocol::UDP, "10.0.0.1:50000", "10.0.0.2:53");
    send(&mut traffic, &client, Direction::Outbound, 0, 30);
    assert_eq!(
        seen.take(),
        [
            "ALE_BIND_REDIRECT_V4",
            "ALE_RESOURCE_ASSIGNMENT_V4",
            "ALE_CONNECT_REDIRECT_V4",
            "ALE_AUTH_CONNECT_V4",
            "ALE_FLOW_ESTABLISHED_V4",
            "DATAGRAM_DATA_V4",
            "OUTBOUND_TRANSPORT_V4",
            "OUTBOUND_IPPACKET_V4",
        ]
    );
    send(&mut traffic, &client, Direction::Inbound, 0, 90);
    assert_eq!(seen.take(), ["INBOUND_IPPACKET_V4", "INBOUND_TRANSPORT_V4", "DATAGRAM_DATA_V4"]);

    let server = connection(protocol::UDP, "10.0.0.1:53", "10.0.0.9:5353");
    send(&mut traffic, &server, Direction::Inbound, 0, 90);
    assert_eq!(
        seen.take(),
        [
            "INBOUND_IPPACKET_V4",
            "INBOUND_TRANSPORT_V4",
            "ALE_AUTH_RECV_ACCEPT_V4",
            "ALE_FLOW_ESTABLISHED_V4",
            "DATAGRAM_DATA_V4",
        ]
    );
}

#[test]
fn an_echo_and_its_reply_are_one_flow_and_an_icmp_error_is_none() {
    let lab = lab_with_callouts_everywhere();
    let seen = record_layers();
    let mut traffic = lab.traffic();
    let request = connection(protocol::ICMP, "10.0.0.1:8", "10.0.0.2:0");
    assert!(send(&mut traffic, &request, Direction::Outbound, 0, 32).new_flow);
    let reply = connection(protocol::ICMP, "10.0.0.1:0", "10.0.0.2:0");
    assert!(!send(&mut traffic, &reply, Direction::Inbound, 0, 32).new_flow);
    assert_eq!(traffic.flows(), 1);
    seen.take();
    let unreachable = connection(protocol::ICMP, "10.0.0.1:3", "10.0.0.2:1");
    assert!(!send(&mut traffic, &unreachable, Direction::Inbound, 0, 28).new_flow);
    assert_eq!(seen.take(), ["INBOUND_IPPACKET_V4", "INBOUND_TRANSPORT_V4", "INBOUND_ICMP_ERROR_V4"]);
    assert_eq!(traffic.flows(), 1);
}

#[test]
fn callouts_see_values_metadata_and_data_as_documented() {
    let lab = lab_with_callouts_everywhere();
    let checked = Rc::new(RefCell::new(0));
    let count = checked.clone();
    let check = move |seen: &Seen<'_>| match seen.values.layerId {
        FWPS_LAYER_ALE_AUTH_CONNECT_V4 => {
            assert_eq!(seen.values.valueCount, 42);
            assert_eq!(seen.uint32(FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_REMOTE_ADDRESS), 0x5db8_d70e);
            assert_eq!(seen.uint16(FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_REMOTE_PORT), 443);
            assert_eq!(seen.uint32(FWPS_FIELD_ALE_AUTH_CONNECT_V4_FLAGS), 0);
            let app = seen.value(FWPS_FIELD_ALE_AUTH_CONNECT_V4_ALE_APP_ID);
            assert_eq!(app.r#type, FWP_BYTE_BLOB_TYPE);
            // SAFETY: the type says so.
            let app = Ptr::new(unsafe { app.Anonymous.byteBlob }).read();
            assert_eq!(app.size, 2 * 19, "18 characters and a zero");
            assert!(seen.has(FWPS_METADATA_FIELD_FLOW_HANDLE | FWPS_METADATA_FIELD_PROCESS_PATH));
            assert!(!seen.has(FWPS_METADATA_FIELD_IP_HEADER_SIZE));
            assert!(seen.layer_data.is_null(), "there is no packet yet when TCP connects");
            *count.borrow_mut() += 1;
        }
        FWPS_LAYER_OUTBOUND_TRANSPORT_V4 if seen.bytes().len() > 20 => {
            assert_eq!(seen.bytes()[..4], [195, 80, 1, 187], "begins with the transport header");
            assert_eq!(seen.metadata.transportHeaderSize, 20);
            *count.borrow_mut() += 1;
        }
        FWPS_LAYER_OUTBOUND_IPPACKET_V4 => {
            assert_eq!(seen.bytes()[0], 0x45, "begins with the IP header");
            assert_eq!(seen.metadata.ipHeaderSize, 20);
            *count.borrow_mut() += 1;
        }
        FWPS_LAYER_INBOUND_TRANSPORT_V4 => {
            assert_eq!(seen.bytes(), [], "begins with the payload");
            assert!(seen.has(FWPS_METADATA_FIELD_IP_HEADER_SIZE | FWPS_METADATA_FIELD_TRANSPORT_HEADER_SIZE));
            assert!(!seen.has(FWPS_METADATA_FIELD_ALE_CLASSIFY_REQUIRED));
            *count.borrow_mut() += 1;
        }
        FWPS_LAYER_STREAM_V4 => {
            let packet = seen.layer_data.cast::<FWPS_STREAM_CALLOUT_IO_PACKET0>();
            let data = Ptr::new(Ptr::new(packet).read().streamData).read();
            assert_eq!((data.dataLength, data.flags), (10, FWPS_STREAM_FLAG_SEND));
            *count.borrow_mut() += 1;
        }
        _ => {}
    };
    on_classify(move |seen| check(&seen));
    let mut traffic = lab.traffic();
    let flow = Connection {
        app: Some("\\device\\disk1\\a.EX"),
        ..connection(protocol::TCP, "10.0.0.1:50000", "93.184.215.14:443")
    };
    assert_eq!(traffic.connect(&flow).decision, Decision::Permit);
    send(&mut traffic, &flow, Direction::Outbound, PSH_ACK, 10);
    assert_eq!(*checked.borrow(), 1 + 1 + 3 + 1 + 1);
    assert!(lab.violations().is_empty(), "{:?}", lab.violations());
}

#[test]
fn loopback_and_fragments_are_flagged() {
    let lab = lab_with_callouts_everywhere();
    let flags = Rc::new(RefCell::new(Vec::new()));
    let record = flags.clone();
    on_classify(move |seen| {
        if seen.values.layerId == FWPS_LAYER_INBOUND_IPPACKET_V4 {
            record.borrow_mut().push(seen.uint32(FWPS_FIELD_INBOUND_IPPACKET_V4_FLAGS));
        }
    });
    let mut traffic = lab.traffic();
    let flow = connection(protocol::UDP, "127.0.0.1:53", "127.0.0.1:5353");
    let bytes = made_up::Bytes::new(&flow, Direction::Inbound, 0);
    let first = bytes.packet(&flow, Direction::Inbound, 0);
    let fragment = |offset, more| Some(Fragment { identification: 7, offset, more });
    let outcome = traffic.packet(&Packet { fragment: fragment(0, true), ..first });
    assert!(outcome.new_flow);
    let rest = connection(protocol::UDP, "127.0.0.1:0", "127.0.0.1:0");
    let rest = Packet { local: rest.local, remote: rest.remote, fragment: fragment(1480, false), ..first };
    assert_eq!(traffic.packet(&rest).decision, Decision::Permit);
    assert_eq!(traffic.flows(), 1, "the later fragment belongs to the flow of the first");
    let (loopback, fragment) = (FWP_CONDITION_FLAG_IS_LOOPBACK, FWP_CONDITION_FLAG_IS_FRAGMENT);
    let reassembled = FWP_CONDITION_FLAG_IS_REASSEMBLED;
    assert_eq!(flags.take(), [loopback | fragment, loopback | reassembled, loopback | fragment]);
}

fn remote_port(port: u16) -> Condition {
    Condition {
        field: Uuid::from_u128(FWPM_CONDITION_IP_REMOTE_PORT.to_u128()),
        match_type: MatchType::Equal,
        value: ConditionValue::Uint16(port),
    }
}

#[test]
fn a_blocked_connect_blocks_the_packets_that_follow() {
    let lab = Lab::start(Config::default());
    let session = session(&lab);
    let id = filter_with(&lab, session, layers::key::ALE_AUTH_CONNECT_V4, Action::Block, |filter| {
        filter.conditions.push(remote_port(443));
    });
    let mut traffic = lab.traffic();
    let blocked = connection(protocol::TCP, "10.0.0.1:50000", "10.0.0.2:443");
    let outcome = send(&mut traffic, &blocked, Direction::Outbound, SYN, 0);
    let by_filter = Outcome {
        decision: Decision::Block,
        layer: FWPS_LAYER_ALE_AUTH_CONNECT_V4,
        filter_id: Some(id),
        new_flow: true,
        pended: false,
    };
    assert_eq!(outcome, by_filter);
    for direction in [Direction::Inbound, Direction::Outbound] {
        assert_eq!(send(&mut traffic, &blocked, direction, ACK, 5), Outcome { new_flow: false, ..by_filter });
    }
    let other = connection(protocol::TCP, "10.0.0.1:50000", "10.0.0.2:80");
    assert_eq!(send(&mut traffic, &other, Direction::Outbound, SYN, 0).decision, Decision::Permit);

    // Once the filter is gone a new attempt succeeds.
    lab.engine().filter_delete(session, id).unwrap();
    let outcome = send(&mut traffic, &blocked, Direction::Outbound, SYN, 0);
    assert_eq!((outcome.decision, outcome.new_flow), (Decision::Permit, true));
}

#[test]
fn a_new_filter_reauthorizes_the_flows_of_its_layer_once() {
    let lab = lab_with_callouts_everywhere();
    let mut traffic = lab.traffic();
    let flow = connection(protocol::TCP, "10.0.0.1:50000", "10.0.0.2:443");
    on_classify(|_| {});
    traffic.connect(&flow);
    let session = session(&lab);
    filter_with(&lab, session, layers::key::ALE_AUTH_CONNECT_V4, Action::Block, |filter| {
        filter.conditions.push(remote_port(22));
    });

    let reauthorized = Rc::new(RefCell::new(Vec::new()));
    let record = reauthorized.clone();
    on_classify(move |seen| {
        if seen.values.layerId == FWPS_LAYER_ALE_AUTH_CONNECT_V4 {
            assert_eq!(
                seen.uint32(FWPS_FIELD_ALE_AUTH_CONNECT_V4_REAUTHORIZE_REASON),
                FWP_CONDITION_REAUTHORIZE_REASON_POLICY_CHANGE
            );
            assert!(seen.has(FWPS_METADATA_FIELD_PACKET_DIRECTION));
            record.borrow_mut().push(seen.uint32(FWPS_FIELD_ALE_AUTH_CONNECT_V4_FLAGS));
        }
    });
    assert_eq!(send(&mut traffic, &flow, Direction::Inbound, PSH_ACK, 5).decision, Decision::Permit);
    assert_eq!(send(&mut traffic, &flow, Direction::Inbound, PSH_ACK, 5).decision, Decision::Permit);
    assert_eq!(reauthorized.take(), [FWP_CONDITION_FLAG_IS_REAUTHORIZE]);

    // A filter that blocks the flow ends it with the next packet, in either direction.
    let id = filter_with(&lab, session, layers::key::ALE_AUTH_CONNECT_V4, Action::Block, |filter| {
        filter.conditions.push(remote_port(443));
    });
    assert_eq!(send(&mut traffic, &flow, Direction::Inbound, PSH_ACK, 5).filter_id, Some(id));
    assert_eq!(send(&mut traffic, &flow, Direction::Outbound, PSH_ACK, 5).filter_id, Some(id));
}

#[test]
fn what_is_blocked_without_absorbing_is_shown_to_the_discard_layer() {
    let lab = lab_with_callouts_everywhere();
    let session = session(&lab);
    filter(&lab, session, layers::key::INBOUND_TRANSPORT_V4, Action::Block);
    let seen = record_layers();
    let mut traffic = lab.traffic();
    let flow = connection(protocol::UDP, "10.0.0.1:53", "10.0.0.9:5353");
    let outcome = send(&mut traffic, &flow, Direction::Inbound, 0, 8);
    assert_eq!((outcome.decision, outcome.layer), (Decision::Block, FWPS_LAYER_INBOUND_TRANSPORT_V4));
    assert!(!outcome.new_flow, "ALE has not seen it");
    assert_eq!(seen.take(), ["INBOUND_IPPACKET_V4", "INBOUND_TRANSPORT_V4", "INBOUND_TRANSPORT_V4_DISCARD"]);
    assert_eq!(traffic.flows(), 0);
}

#[test]
fn a_reset_ends_the_flow() {
    let lab = Lab::start(Config::default());
    let mut traffic = lab.traffic();
    let flow = connection(protocol::TCP, "10.0.0.1:50000", "10.0.0.2:443");
    traffic.connect(&flow);
    send(&mut traffic, &flow, Direction::Inbound, RST, 0);
    assert!(send(&mut traffic, &flow, Direction::Outbound, SYN, 0).new_flow, "the same ports connect again");
}
