//! Connections that a block callout refuses with a reset.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etherparse::{PacketBuilder, SlicedPacket, TcpHeader, TransportSlice};
use postern_engine::objects::{Action, FilterFlags};
use postern_lab::{Connection, Decision, Direction, Fault, Lab, NtStatus, Occurrences, Packet, Sent, Traffic};
use postern_protocol::FilterContext;
use postern_protocol::callout::{Callout, Layer, Role};
use uuid::Uuid;

use crate::flows::flows;
use crate::requests::statistics;
use crate::support::*;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ACCEPT: [Layer; 2] = [Layer::AleAuthRecvAcceptV4, Layer::AleAuthRecvAcceptV6];

/// Leads everything at `layer` to its block callout.
fn block_at(lab: &Lab, layer: Layer, context: FilterContext) {
    let session = session(lab);
    let callout = add_callout_object(lab, session, Callout { role: Role::Block, layer });
    let mut block = filter("block", Action::CalloutTerminating(callout));
    block.layer = Uuid::from_u128(layer.key());
    block.raw_context = context.to_raw();
    block.flags = FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED;
    lab.engine().filter_add(session, block).unwrap();
}

fn connection(protocol: u8, layer: Layer) -> Connection<'static> {
    let (local, remote) = match layer as u8 % 2 {
        0 => ("192.168.0.2:443", "192.0.2.7:50000"),
        _ => ("[fd00::2]:443", "[2001:db8::7]:50000"),
    };
    Connection { protocol, local: address(local), remote: address(remote), app: None }
}

/// A packet of a connection, with this TCP header.
fn segment(traffic: &mut Traffic, connection: &Connection<'_>, direction: Direction, header: &TcpHeader) -> Decision {
    let (source, destination) = match direction {
        Direction::Inbound => (connection.remote, connection.local),
        Direction::Outbound => (connection.local, connection.remote),
    };
    let builder = match (source, destination) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.ip().octets(), destination.ip().octets(), 64)
        }
        (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.ip().octets(), destination.ip().octets(), 64)
        }
        ends => panic!("{ends:?}"),
    };
    let header = TcpHeader { source_port: source.port(), destination_port: destination.port(), ..header.clone() };
    let ip_header = if source.is_ipv4() { 20 } else { 40 };
    let mut bytes = Vec::new();
    builder.tcp_header(header.clone()).write(&mut bytes, &[]).unwrap();
    traffic
        .packet(&Packet {
            direction,
            protocol: TCP,
            local: connection.local,
            remote: connection.remote,
            tcp_flags: bytes[ip_header + 13],
            icmp_id: 0,
            fragment: None,
            bytes: &bytes,
            payload: &bytes[ip_header..],
        })
        .decision
}

fn settle(lab: &Lab) {
    assert!(lab.settle(Duration::from_secs(10)), "it never settles");
}

/// The one reset that was sent, as the peer of the connection sees it.
fn the_reset(lab: &Lab, connection: &Connection<'_>) -> TcpHeader {
    settle(lab);
    let [sent] = &lab.take_sent()[..] else { panic!("one packet is sent") };
    reset_in(sent, connection)
}

fn reset_in(sent: &Sent, connection: &Connection<'_>) -> TcpHeader {
    let packet = SlicedPacket::from_ip(&sent.bytes).unwrap();
    let ip = packet.net.as_ref().unwrap();
    let (source, destination) = match ip {
        etherparse::NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        etherparse::NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        other => panic!("{other:?}"),
    };
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("{packet:?}") };
    let tcp = tcp.to_header();
    assert_eq!(SocketAddr::new(source, tcp.source_port), connection.local);
    assert_eq!(SocketAddr::new(destination, tcp.destination_port), connection.remote);
    assert!(tcp.rst && !tcp.syn && !tcp.fin);
    tcp
}

#[test]
fn who_connects_to_what_is_rejected_is_sent_one_reset() {
    for layer in ACCEPT {
        let lab = lab_with_driver();
        block_at(&lab, layer, FilterContext::REJECT);
        let mut traffic = lab.traffic();
        let connection = connection(TCP, layer);
        let mut syn = TcpHeader::new(0, 0, 4711, 64_000);
        syn.syn = true;
        assert_eq!(segment(&mut traffic, &connection, Direction::Inbound, &syn), Decision::Block);
        let reset = the_reset(&lab, &connection);
        assert_eq!((reset.sequence_number, reset.acknowledgment_number, reset.ack), (0, 4712, true));
        assert_eq!(statistics(&lab, Callout { role: Role::Block, layer }), (1, 0));
        drop(traffic);
        unload(&lab);
        assert!(lab.take_sent().is_empty());
        assert_eq!(receipt(&lab, "packets"), (1, 1));
    }
}

#[test]
fn only_tcp_is_rejected_and_only_where_a_filter_says_so() {
    for (protocol, layer, context) in [
        (TCP, Layer::AleAuthRecvAcceptV4, FilterContext::empty()),
        (UDP, Layer::AleAuthRecvAcceptV4, FilterContext::REJECT),
        (UDP, Layer::AleAuthRecvAcceptV6, FilterContext::REJECT),
        (TCP, Layer::InboundTransportV4, FilterContext::REJECT),
        (TCP, Layer::OutboundTransportV6, FilterContext::REJECT),
    ] {
        let lab = lab_with_driver();
        block_at(&lab, layer, context);
        let mut traffic = lab.traffic();
        let connection = connection(protocol, layer);
        assert_eq!(traffic.accept(&connection).decision, Decision::Block, "{layer:?}");
        settle(&lab);
        assert!(lab.take_sent().is_empty(), "{protocol} at {layer:?}");
        drop(traffic);
        unload(&lab);
    }
}

#[test]
fn a_reset_is_not_answered_with_a_reset() {
    for layer in ACCEPT {
        let lab = lab_with_driver();
        block_at(&lab, layer, FilterContext::REJECT);
        let mut traffic = lab.traffic();
        let mut reset = TcpHeader::new(0, 0, 4711, 0);
        reset.rst = true;
        let connection = connection(TCP, layer);
        assert_eq!(segment(&mut traffic, &connection, Direction::Inbound, &reset), Decision::Block);
        settle(&lab);
        assert!(lab.take_sent().is_empty());
        drop(traffic);
        unload(&lab);
    }
}

#[test]
fn a_connection_that_stands_is_reset_when_its_peer_sends_something() {
    for layer in ACCEPT {
        for (direction, sent) in [(Direction::Inbound, true), (Direction::Outbound, false)] {
            let lab = lab_with_driver();
            let mut traffic = lab.traffic();
            let connection = connection(TCP, layer);
            assert_eq!(traffic.accept(&connection).decision, Decision::Permit);
            // The filter has the flow authorised again.
            block_at(&lab, layer, FilterContext::REJECT);
            let mut next = TcpHeader::new(0, 0, 4711, 64_000);
            next.ack = true;
            next.acknowledgment_number = 0x1234_5678;
            assert_eq!(segment(&mut traffic, &connection, direction, &next), Decision::Block);
            if sent {
                let reset = the_reset(&lab, &connection);
                assert_eq!((reset.sequence_number, reset.ack), (0x1234_5678, false));
            } else {
                settle(&lab);
                assert!(lab.take_sent().is_empty(), "this host is not its own peer");
            }
            drop(traffic);
            unload(&lab);
        }
    }
}

/// What a flow has carried is what its ends have sent; the reset was sent by neither, and is in the receipt, among the packets.
#[test]
fn a_reset_is_not_counted_in_the_flow_that_it_ends() {
    for layer in ACCEPT {
        let lab = lab_with_driver();
        let mut traffic = lab.traffic();
        let connection = connection(TCP, layer);
        assert_eq!(traffic.accept(&connection).decision, Decision::Permit);
        // A second source of traffic does not know of the flow, so its packet asks for a new one.
        block_at(&lab, layer, FilterContext::REJECT);
        let mut syn = TcpHeader::new(0, 0, 4711, 64_000);
        syn.syn = true;
        assert_eq!(segment(&mut lab.traffic(), &connection, Direction::Inbound, &syn), Decision::Block);
        settle(&lab);
        let [sent] = &lab.take_sent()[..] else { panic!("one packet is sent") };
        reset_in(sent, &connection);
        let [before] = flows(&lab)[..] else { panic!("one flow is counted") };
        assert_eq!(traffic.reenter(sent), Some(Decision::Permit));
        let [after] = flows(&lab)[..] else { panic!("one flow is counted") };
        assert_eq!(
            (before.traffic.packets, before.traffic.bytes),
            (after.traffic.packets, after.traffic.bytes),
            "{layer:?}"
        );
        drop(traffic);
        unload(&lab);
        assert_eq!(receipt(&lab, "packets"), (1, 1));
    }
}

#[test]
fn a_reset_that_cannot_be_sent_leaves_the_packet_blocked_and_nothing_behind() {
    // TCPIP_NOT_READY, INJECT_HANDLE_CLOSING, INJECT_HANDLE_STALE, INSUFFICIENT_RESOURCES, and one that is no failure to NT_SUCCESS.
    let refusals = [0xC022_0100_u32, 0xC022_0101, 0xC022_0102, 0xC000_009A, 0x103];
    let refused = refusals.map(|status| ("FwpsInjectNetworkSendAsync0", status));
    let missing =
        ["NdisRetreatNetBufferDataStart", "ExAllocatePool2", "IoAllocateMdl", "FwpsAllocateNetBufferAndNetBufferList0"]
            .map(|function| (function, 0xC000_009A_u32));
    for (function, status) in refused.into_iter().chain(missing) {
        let lab = lab_with_driver();
        let layer = Layer::AleAuthRecvAcceptV4;
        block_at(&lab, layer, FilterContext::REJECT);
        let fault =
            Fault { function: function.into(), status: NtStatus(status as i32), occurrences: Occurrences::Nth(1) };
        lab.inject_fault(fault);
        let mut traffic = lab.traffic();
        let mut connection = connection(TCP, layer);
        assert_eq!(traffic.accept(&connection).decision, Decision::Block, "{function}");
        settle(&lab);
        assert_eq!(lab.faults_left(), 0, "{function} was not called");
        assert!(lab.take_sent().is_empty(), "{function} {status:#x}");
        // The next one is answered.
        connection.remote.set_port(50_001);
        assert_eq!(traffic.accept(&connection).decision, Decision::Block);
        the_reset(&lab, &connection);
        drop(traffic);
        unload(&lab);
        assert_eq!(receipt(&lab, "packets"), (1, 1), "{function} {status:#x}");
    }
}

#[test]
fn an_unload_may_come_while_connections_are_rejected() {
    let lab = lab_with_driver();
    for layer in ACCEPT {
        block_at(&lab, layer, FilterContext::REJECT);
    }
    /// Ends the other threads of the test when it ends, however it does.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (lab, stop) = (&lab, &stop);
            scope.spawn(move || {
                let mut traffic = lab.traffic();
                for port in (1024..=u16::MAX).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    for layer in ACCEPT {
                        let mut connection = connection(TCP, layer);
                        connection.local.set_port(thread);
                        connection.remote.set_port(port);
                        traffic.accept(&connection);
                    }
                }
            });
        }
        let _stopping = Stop(&stop);
        for _ in 0..3 {
            let mut sent = 0;
            wait_until(|| {
                sent += lab.take_sent().len();
                sent > 100
            });
            unload(&lab);
            let (injected, completed) = receipt(&lab, "packets");
            assert_eq!(injected, completed);
            assert!(injected > 100, "{injected}");
            lab.take_sent();
            load(&lab);
        }
    });
    unload(&lab);
}
