//! The packets of a connection that is not taken from a capture.

use std::net::SocketAddr;

use crate::flow::protocol::{ICMP, ICMPV6, TCP, UDP};
use crate::{Connection, Direction, Packet};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Directions and TCP flags of the packets with which a connection begins.
pub fn first_packets(protocol: u8, begun: Direction) -> impl Iterator<Item = (Direction, u8)> {
    let answering = match begun {
        Direction::Outbound => Direction::Inbound,
        Direction::Inbound => Direction::Outbound,
    };
    let handshake = [(begun, SYN), (answering, SYN | ACK), (begun, ACK)];
    handshake.into_iter().take(if protocol == TCP { 3 } else { 1 })
}

/// A packet without data: an IP header, and a transport header where the lab knows one.
pub struct Bytes {
    bytes: [u8; 60],
    ip_header: usize,
    length: usize,
}

impl Bytes {
    pub fn new(connection: &Connection<'_>, direction: Direction, tcp_flags: u8) -> Bytes {
        let (source, destination) = match direction {
            Direction::Outbound => (connection.local, connection.remote),
            Direction::Inbound => (connection.remote, connection.local),
        };
        let transport = match connection.protocol {
            TCP => 20,
            UDP | ICMP | ICMPV6 => 8,
            _ => 0,
        };
        let mut bytes = [0; 60];
        let ip_header = match (source, destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                bytes[0] = 0x45;
                bytes[2..4].copy_from_slice(&(20 + transport as u16).to_be_bytes());
                bytes[8] = 128;
                bytes[9] = connection.protocol;
                bytes[12..16].copy_from_slice(&source.ip().octets());
                bytes[16..20].copy_from_slice(&destination.ip().octets());
                20
            }
            (source, destination) => {
                bytes[0] = 0x60;
                bytes[4..6].copy_from_slice(&(transport as u16).to_be_bytes());
                bytes[6] = connection.protocol;
                bytes[7] = 128;
                for (at, address) in [(8, source), (24, destination)] {
                    if let SocketAddr::V6(address) = address {
                        bytes[at..at + 16].copy_from_slice(&address.ip().octets());
                    }
                }
                40
            }
        };
        let header = &mut bytes[ip_header..ip_header + transport];
        match connection.protocol {
            TCP | UDP => {
                header[0..2].copy_from_slice(&source.port().to_be_bytes());
                header[2..4].copy_from_slice(&destination.port().to_be_bytes());
                if connection.protocol == TCP {
                    header[12] = 0x50;
                    header[13] = tcp_flags;
                } else {
                    header[5] = 8;
                }
            }
            ICMP | ICMPV6 => {
                header[0] = connection.local.port() as u8;
                header[1] = connection.remote.port() as u8;
            }
            _ => {}
        }
        Bytes { bytes, ip_header, length: ip_header + transport }
    }

    pub fn packet<'a>(&'a self, connection: &Connection<'_>, direction: Direction, tcp_flags: u8) -> Packet<'a> {
        Packet {
            direction,
            protocol: connection.protocol,
            local: connection.local,
            remote: connection.remote,
            tcp_flags,
            icmp_id: 0,
            fragment: None,
            bytes: &self.bytes[..self.length],
            payload: &self.bytes[self.ip_header..self.length],
        }
    }
}
