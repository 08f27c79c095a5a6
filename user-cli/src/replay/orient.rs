//! Which side of each packet is this host's, fragment for fragment.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::{Direction, Locality};
use crate::capture::{Packet, Transport};

/// How many fragmented datagrams are remembered: their fragments follow each other closely.
const DATAGRAMS: usize = 1024;

/// A packet with its sides told apart.
#[derive(Debug)]
pub struct Oriented<'a> {
    pub direction: Direction,
    /// For ICMP, the port is the message's type.
    pub local: SocketAddr,
    /// For ICMP, the port is the message's code.
    pub remote: SocketAddr,
    pub packet: &'a Packet<'a>,
}

impl<'a> Oriented<'a> {
    /// As traffic.
    pub fn traffic(&self) -> postern_traffic::Packet<'a> {
        let packet = self.packet;
        let (tcp_flags, icmp_id) = match packet.transport {
            Transport::Tcp { flags, .. } => (flags, 0),
            Transport::Icmp { id, .. } => (0, id),
            Transport::Udp { .. } | Transport::None => (0, 0),
        };
        postern_traffic::Packet {
            direction: self.direction.into(),
            protocol: packet.protocol,
            local: self.local,
            remote: self.remote,
            tcp_flags,
            icmp_id,
            fragment: packet.fragment.map(|fragment| postern_traffic::Fragment {
                identification: fragment.identification,
                offset: fragment.offset,
                more: fragment.more,
            }),
            bytes: packet.bytes,
            payload: packet.payload,
        }
    }
}

/// Tells the sides of one packet after the other.
pub struct Orientation<'a> {
    locality: &'a Locality,
    /// The directions of fragmented datagrams, by addresses, protocol and identification.
    datagrams: HashMap<(IpAddr, IpAddr, u8, u32), Direction>,
}

impl<'a> Orientation<'a> {
    pub fn new(locality: &'a Locality) -> Orientation<'a> {
        Orientation { locality, datagrams: HashMap::new() }
    }

    /// None: this host has no part in it.
    pub fn orient<'p>(&mut self, packet: &'p Packet<'p>) -> Option<Oriented<'p>> {
        let direction = self.direction(packet)?;
        let (source_port, destination_port) = match packet.transport {
            Transport::Tcp { source, destination, .. } | Transport::Udp { source, destination } => {
                (source, destination)
            }
            Transport::Icmp { .. } | Transport::None => (0, 0),
        };
        let source = SocketAddr::new(packet.source, source_port);
        let destination = SocketAddr::new(packet.destination, destination_port);
        let (mut local, mut remote) = match direction {
            Direction::Outbound => (source, destination),
            Direction::Inbound => (destination, source),
        };
        if let Transport::Icmp { kind, code, .. } = packet.transport {
            local.set_port(kind.into());
            remote.set_port(code.into());
        }
        Some(Oriented { direction, local, remote, packet })
    }

    /// A fragment goes the way of its datagram's first, which alone has ports to tell by.
    fn direction(&mut self, packet: &Packet<'_>) -> Option<Direction> {
        let Some(fragment) = packet.fragment else { return self.locality.direction(packet) };
        let datagram = (packet.source, packet.destination, packet.protocol, fragment.identification);
        if fragment.offset == 0 {
            let direction = self.locality.direction(packet)?;
            if self.datagrams.len() == DATAGRAMS {
                self.datagrams.clear();
            }
            self.datagrams.insert(datagram, direction);
            return Some(direction);
        }
        self.datagrams.get(&datagram).copied().or_else(|| self.locality.direction(packet))
    }
}
