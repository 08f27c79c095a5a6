//! Flows: what is counted in them, and that no context of theirs outlives the driver, whatever the engine answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use postern_lab::{Connection, Direction, Fault, Lab, NtStatus, Occurrences, Packet, Traffic};
use postern_protocol::ioctl::{self, ApplicationRequest, FlowEntry, ListHeader, ListRequest};
use zerocopy::{FromBytes, IntoBytes};

use crate::support::*;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// All flows that the driver counts, read in pieces of three.
pub fn flows(lab: &Lab) -> Vec<FlowEntry> {
    let device = lab.open(postern_protocol::DEVICE_PATH).unwrap();
    let mut flows = Vec::new();
    loop {
        let first = flows.last().map_or(0, |last: &FlowEntry| last.place + 1);
        let request = ListRequest { protocol: postern_protocol::VERSION, first };
        let room = size_of::<ListHeader>() + 3 * size_of::<FlowEntry>();
        let answer = device.device_io_control(ioctl::LIST_FLOWS, request.as_bytes(), room).unwrap();
        let (header, entries) = ListHeader::read_from_prefix(&answer).unwrap();
        if header.count == 0 {
            return flows;
        }
        flows.extend(
            entries.chunks_exact(size_of::<FlowEntry>()).map(|bytes| FlowEntry::read_from_bytes(bytes).unwrap()),
        );
    }
}

/// A packet of a flow, with an IPv4 or IPv6 header and the transport header before `data` bytes.
pub fn send(traffic: &mut Traffic, protocol: u8, ends: (&str, &str), direction: Direction, tcp_flags: u8, data: usize) {
    let (local, remote) = (address(ends.0), address(ends.1));
    let ip_header = if local.is_ipv4() { 20 } else { 40 };
    let transport_header = if protocol == TCP { 20 } else { 8 };
    let mut bytes = vec![0; ip_header + transport_header + data];
    bytes[0] = if local.is_ipv4() { 0x45 } else { 0x60 };
    if protocol == TCP {
        // The header's length in words.
        bytes[ip_header + 12] = 5 << 4;
        bytes[ip_header + 13] = tcp_flags;
    }
    let payload = &bytes[ip_header..];
    traffic.packet(&Packet {
        direction,
        protocol,
        local,
        remote,
        tcp_flags,
        icmp_id: 0,
        fragment: None,
        bytes: &bytes,
        payload,
    });
}

fn end(address: [u8; 16], port: u16, ip_version: u8) -> SocketAddr {
    let ip = match ip_version {
        4 => std::net::IpAddr::from([address[0], address[1], address[2], address[3]]),
        _ => std::net::IpAddr::from(address),
    };
    SocketAddr::new(ip, port)
}

#[test]
fn packets_bytes_and_payload_are_counted_each_way() {
    const SYN: u8 = 2;
    const ACK: u8 = 0x10;
    for (local, remote) in [("192.168.0.2:50000", "192.0.2.1:443"), ("[fd00::2]:50000", "[2001:db8::1]:443")] {
        let lab = lab_with_driver();
        let mut traffic = lab.traffic();
        let mut udp = |direction, data| send(&mut traffic, UDP, (local, remote), direction, 0, data);
        udp(Direction::Outbound, 30);
        udp(Direction::Inbound, 90);
        udp(Direction::Inbound, 1);
        let counted = flows(&lab).remove(0);
        let endpoints = counted.endpoints;
        assert_eq!(end(endpoints.local_address, endpoints.local_port, endpoints.ip_version), address(local));
        assert_eq!(end(endpoints.remote_address, endpoints.remote_port, endpoints.ip_version), address(remote));
        assert_eq!((endpoints.protocol, endpoints.inbound), (UDP, 0));
        assert_eq!(counted.traffic.packets, [2, 1]);
        assert_eq!(counted.traffic.bytes, [8 + 90 + 8 + 1, 8 + 30]);
        assert_eq!(counted.traffic.payload, [91, 30]);

        let mut tcp = |direction, flags, data| send(&mut traffic, TCP, (local, remote), direction, flags, data);
        tcp(Direction::Outbound, SYN, 0);
        tcp(Direction::Inbound, SYN | ACK, 0);
        tcp(Direction::Outbound, ACK, 0);
        tcp(Direction::Outbound, ACK, 100);
        tcp(Direction::Inbound, ACK, 1000);
        let counted = flows(&lab).into_iter().find(|flow| flow.endpoints.protocol == TCP).unwrap();
        assert_eq!(counted.traffic.payload, [1000, 100]);
        assert!(counted.traffic.bytes[0] >= 1020 && counted.traffic.bytes[1] >= 120, "{counted:?}");
        assert_eq!(flows(&lab).len(), 2);
        drop(traffic);
        unload(&lab);
    }
}

#[test]
fn a_flow_is_told_with_its_program_and_its_times() {
    let lab = lab_with_driver();
    let mut traffic = lab.traffic();
    let app = r"\device\harddiskvolume1\windows\system32\curl.exe";
    let connection = Connection {
        protocol: UDP,
        local: address("192.168.0.2:50000"),
        remote: address("192.0.2.7:53"),
        app: Some(app),
    };
    traffic.connect(&connection);
    let flow = flows(&lab).remove(0);
    // 2020 to 2100, since 1601.
    let plausible = 132_223_104_000_000_000..157_469_184_000_000_000;
    assert!(plausible.contains(&flow.traffic.first) && flow.traffic.last >= flow.traffic.first, "{flow:?}");
    let device = lab.open(postern_protocol::DEVICE_PATH).unwrap();
    let request = ApplicationRequest { protocol: postern_protocol::VERSION, application: flow.endpoints.application };
    let path = device.device_io_control(ioctl::GET_APPLICATION, request.as_bytes(), 600).unwrap();
    let path: Vec<u16> = path.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    assert_eq!(String::from_utf16(&path).unwrap(), app);
    drop((device, traffic));
    unload(&lab);
}

#[test]
fn a_flow_that_has_ended_is_not_counted_any_more() {
    let lab = lab_with_driver();
    let mut traffic = lab.traffic();
    for port in 1..=2000 {
        send(&mut traffic, UDP, ("192.168.0.2:50000", &format!("192.0.2.7:{port}")), Direction::Outbound, 0, 9);
    }
    assert_eq!(flows(&lab).len(), 2000);
    traffic.end_flows();
    assert!(flows(&lab).is_empty());
    send(&mut traffic, UDP, ("192.168.0.2:50000", "192.0.2.7:53"), Direction::Outbound, 0, 9);
    let flow = flows(&lab).remove(0);
    assert!(flow.place < 2048, "the places of ended flows are used again");
    assert_eq!(flow.traffic.packets, [0, 1], "nothing is left of the flow that was there before");
    unload(&lab);
}

/// Begins 5,000 flows and keeps them.
fn begin_flows(lab: &Lab) -> Traffic {
    let mut traffic = lab.traffic();
    for port in 1..=5000 {
        send(&mut traffic, UDP, ("192.168.0.2:50000", &format!("192.0.2.7:{port}")), Direction::Outbound, 0, 9);
    }
    traffic
}

#[test]
fn flows_that_are_alive_when_the_driver_leaves_lose_their_contexts() {
    let lab = lab_with_driver();
    let traffic = begin_flows(&lab);
    assert_eq!(traffic.flows(), 5000);
    unload(&lab);
    let associated = "postern: receipt: flow contexts: 15000 associated = 15000 deleted";
    assert!(lab.debug_log().iter().any(|line| line == associated), "{}", lab.debug_log().join("\n"));
    assert_eq!(traffic.flows(), 5000, "the flows themselves go on");
    load(&lab);
    unload(&lab);
}

/// What `FwpsFlowAssociateContext0` may answer; the second is a success to `NT_SUCCESS`.
const ASSOCIATING: [u32; 5] = [0xC000_000D, 0x4000_0000, 0xC000_009A, 0x0000_0103, 0xC0DE_0001];

#[test]
fn a_flow_whose_contexts_cannot_all_be_associated_keeps_none() {
    for status in ASSOCIATING {
        for call in 1..=3 {
            let lab = lab_with_driver();
            lab.inject_fault(Fault {
                function: "FwpsFlowAssociateContext0".into(),
                status: NtStatus(status as i32),
                occurrences: Occurrences::Nth(call),
            });
            let mut traffic = lab.traffic();
            for remote in ["192.0.2.7:53", "192.0.2.8:53"] {
                send(&mut traffic, UDP, ("192.168.0.2:50000", remote), Direction::Outbound, 0, 9);
            }
            assert_eq!(flows(&lab).len(), 1, "the first is not counted, the second is: {status:#x} at call {call}");
            assert_eq!(traffic.flow_contexts(), 3, "the first keeps a context: {status:#x} at call {call}");
            unload(&lab);
            let contexts = call - 1 + 3;
            let line = format!("postern: receipt: flow contexts: {contexts} associated = {contexts} deleted");
            assert!(lab.debug_log().contains(&line), "{status:#x} at call {call}: {}", lab.debug_log().join("\n"));
        }
    }
}

#[test]
fn the_driver_leaves_whatever_removing_a_context_answers() {
    // STATUS_PENDING and STATUS_UNSUCCESSFUL are no answers that can be made up: the engine gives them when they are true.
    for status in [0xC000_009A_u32, 0xC0DE_0001, 0x4000_0000] {
        for occurrences in [Occurrences::Nth(1), Occurrences::Nth(7000), Occurrences::Next(10_000)] {
            let lab = lab_with_driver();
            let traffic = begin_flows(&lab);
            lab.inject_fault(Fault {
                function: "FwpsFlowRemoveContext0".into(),
                status: NtStatus(status as i32),
                occurrences,
            });
            unload(&lab);
            drop(traffic);
        }
    }
}

#[test]
fn flows_come_and_go_while_the_driver_does() {
    let lab = lab();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (lab, stop) = (&lab, &stop);
        for thread in 0..4 {
            scope.spawn(move || {
                let mut traffic = lab.traffic();
                let mut round = 0u16;
                while !stop.load(Ordering::Relaxed) {
                    round = round.wrapping_add(1);
                    let local = format!("192.168.0.{thread}:50000");
                    let remote = format!("192.0.2.7:{}", round % 61 + 1);
                    send(&mut traffic, UDP, (&local, &remote), Direction::Outbound, 0, 9);
                    send(&mut traffic, UDP, (&local, &remote), Direction::Inbound, 0, 90);
                    if round.is_multiple_of(97) {
                        traffic.end_flows();
                    }
                }
            });
        }
        for _ in 0..100 {
            load(lab);
            // Until some of the contexts are there.
            wait_until(|| !flows(lab).is_empty());
            unload(lab);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_clean(&lab);
}
