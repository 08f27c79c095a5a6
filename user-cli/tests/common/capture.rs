//! Makes captures: one host's traffic, as tcpdump would have seen it.

use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType, PacketBuilder, PacketBuilderStep, VlanId};

const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const HOST_V4: [u8; 4] = [192, 168, 1, 10];
const ROUTER_V4: [u8; 4] = [192, 168, 1, 1];
const WEB_V4: [u8; 4] = [192, 0, 2, 80];
const CLIENT_V4: [u8; 4] = [203, 0, 113, 5];
const SILENT_V4: [u8; 4] = [198, 51, 100, 7];
/// 2001:db8:1::10
pub const HOST_V6: [u8; 16] = v6(1, 0x10);
const ROUTER_V6: [u8; 16] = v6(1, 1);
const WEB_V6: [u8; 16] = v6(2, 0x80);

const fn v6(net: u8, host: u8) -> [u8; 16] {
    [0x20, 1, 0x0d, 0xb8, 0, net, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]
}

type Ip = PacketBuilderStep<etherparse::IpHeaders>;

#[derive(Clone, Copy)]
enum Flag {
    Syn,
    SynAck,
    Ack,
    Push,
    Fin,
}

/// The frames of the capture, in order.
pub fn frames() -> Vec<Vec<u8>> {
    let mut frames = vec![arp()];
    tcp_exchange(&mut frames, |out| ip_v4(out, WEB_V4), 50001, 443, true);
    udp_exchange(&mut frames, |out| ip_v4(out, ROUTER_V4), 50002, 53);
    tcp_exchange(&mut frames, |out| ip_v4(out, CLIENT_V4), 22, 51000, false);
    for (out, sequence) in [(true, 1), (false, 1), (true, 2), (false, 2)] {
        let step = ip_v4(out, WEB_V4);
        let step = if out { step.icmpv4_echo_request(77, sequence) } else { step.icmpv4_echo_reply(77, sequence) };
        frames.push(bytes(|to| step.write(to, b"0123456789abcdef").unwrap()));
    }
    tcp_exchange(&mut frames, |out| ip_v6(out, WEB_V6), 50003, 443, true);
    udp_exchange(&mut frames, |out| ip_v6(out, ROUTER_V6), 50004, 53);
    for (out, sequence) in [(true, 1), (false, 1)] {
        let step = ip_v6(out, WEB_V6);
        let step = if out { step.icmpv6_echo_request(78, sequence) } else { step.icmpv6_echo_reply(78, sequence) };
        frames.push(bytes(|to| step.write(to, b"0123456789abcdef").unwrap()));
    }
    // A service nobody answers at: only the SYN, twice.
    for _ in 0..2 {
        frames.push(tcp(ip_v4(true, SILENT_V4), 50005, 23, Flag::Syn, b""));
    }
    frames.extend(fragments());
    frames.push(vlan());
    frames
}

fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Vec::new();
    write(&mut frame);
    frame
}

/// From the host to the peer, or back.
fn ip_v4(out: bool, peer: [u8; 4]) -> Ip {
    if out {
        PacketBuilder::ethernet2(HOST_MAC, GATEWAY_MAC).ipv4(HOST_V4, peer, 128)
    } else {
        PacketBuilder::ethernet2(GATEWAY_MAC, HOST_MAC).ipv4(peer, HOST_V4, 60)
    }
}

fn ip_v6(out: bool, peer: [u8; 16]) -> Ip {
    if out {
        PacketBuilder::ethernet2(HOST_MAC, GATEWAY_MAC).ipv6(HOST_V6, peer, 128)
    } else {
        PacketBuilder::ethernet2(GATEWAY_MAC, HOST_MAC).ipv6(peer, HOST_V6, 60)
    }
}

fn tcp(ip: Ip, source: u16, destination: u16, flag: Flag, payload: &[u8]) -> Vec<u8> {
    let step = ip.tcp(source, destination, 1000, 64000);
    let step = match flag {
        Flag::Syn => step.syn(),
        Flag::SynAck => step.syn().ack(1001),
        Flag::Ack => step.ack(1001),
        Flag::Push => step.psh().ack(1001),
        Flag::Fin => step.fin().ack(1001),
    };
    bytes(|to| step.write(to, payload).unwrap())
}

/// A whole connection: handshake, a request, an answer, an end. `client` tells whether the host began it.
fn tcp_exchange(frames: &mut Vec<Vec<u8>>, ip: impl Fn(bool) -> Ip, local: u16, remote: u16, client: bool) {
    let steps = [
        (true, Flag::Syn, &b""[..]),
        (false, Flag::SynAck, b""),
        (true, Flag::Ack, b""),
        (true, Flag::Push, b"request"),
        (false, Flag::Push, b"an answer that is a little longer"),
        (true, Flag::Ack, b""),
        (true, Flag::Fin, b""),
        (false, Flag::Fin, b""),
        (true, Flag::Ack, b""),
    ];
    for (from_client, flag, payload) in steps {
        let out = from_client == client;
        let (source, destination) = if out { (local, remote) } else { (remote, local) };
        frames.push(tcp(ip(out), source, destination, flag, payload));
    }
}

fn udp_exchange(frames: &mut Vec<Vec<u8>>, ip: impl Fn(bool) -> Ip, local: u16, remote: u16) {
    frames.push(bytes(|to| ip(true).udp(local, remote).write(to, b"query").unwrap()));
    frames.push(bytes(|to| ip(false).udp(remote, local).write(to, b"response").unwrap()));
}

/// A datagram to the router in two fragments.
fn fragments() -> [Vec<u8>; 2] {
    let whole = bytes(|to| ip_v4(true, ROUTER_V4).udp(50006, 69).write(to, &[b'x'; 64]).unwrap());
    let (ethernet, ip) = whole.split_at(14);
    let (header, payload) = ip.split_at(20);
    [(&payload[..40], 0x2000u16), (&payload[40..], 5)].map(|(part, offset)| {
        let mut header = header.to_vec();
        header[2..4].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
        header[4..6].copy_from_slice(&[0xbe, 0xef]);
        header[6..8].copy_from_slice(&offset.to_be_bytes());
        [ethernet, &header, part].concat()
    })
}

fn vlan() -> Vec<u8> {
    let step = PacketBuilder::ethernet2(HOST_MAC, GATEWAY_MAC)
        .single_vlan(VlanId::try_new(5).unwrap())
        .ipv4(HOST_V4, ROUTER_V4, 128)
        .udp(50007, 123);
    bytes(|to| step.write(to, &[0; 48]).unwrap())
}

fn arp() -> Vec<u8> {
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation::REQUEST,
        &HOST_MAC,
        &HOST_V4,
        &[0; 6],
        &ROUTER_V4,
    )
    .unwrap();
    bytes(|to| PacketBuilder::ethernet2(HOST_MAC, [0xff; 6]).arp(packet).write(to).unwrap())
}

/// A pcap file, little-endian, with microseconds.
pub fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend(word.to_le_bytes());
    }
    for (index, frame) in frames.iter().enumerate() {
        let length = frame.len() as u32;
        for word in [1_700_000_000, index as u32 * 1000, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

/// A pcapng file, big-endian so that this is read too, with one interface.
pub fn pcapng(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let padding = body.len().next_multiple_of(4) - body.len();
        let length = (12 + body.len() + padding) as u32;
        file.extend(kind.to_be_bytes());
        file.extend(length.to_be_bytes());
        file.extend(body);
        file.resize(file.len() + padding, 0);
        file.extend(length.to_be_bytes());
    };
    block(0x0a0d_0d0a, &[&0x1a2b_3c4du32.to_be_bytes()[..], &[0, 1, 0, 0], &[0xff; 8]].concat());
    block(1, &[0, 1, 0, 0, 0, 0, 0xff, 0xff]);
    for frame in frames {
        let length = (frame.len() as u32).to_be_bytes();
        block(6, &[&[0; 12][..], &length, &length, frame].concat());
    }
    file
}
