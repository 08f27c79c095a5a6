//! What ICMP messages are to the filter engine.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::flow::protocol::{ICMP, ICMPV6};
use crate::{Header, Packet};

pub fn is_icmp(protocol: u8) -> bool {
    matches!(protocol, ICMP | ICMPV6)
}

/// `icmpIdAndSequence`: the identifier in the upper half.
pub fn id_and_sequence(packet: &Packet<'_>) -> u32 {
    let sequence = packet.payload.get(6..8).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    u32::from(packet.icmp_id) << 16 | u32::from(sequence)
}

/// What an inbound error is about: protocol, local and remote end of the packet that it quotes, which was sent from here. Zero where
/// the quotation is too short.
pub fn embedded(packet: &Packet<'_>) -> (u8, SocketAddr, SocketAddr) {
    let quoted = packet.payload.get(8..).unwrap_or_default();
    match Header::parse(quoted) {
        Some(header) => (header.protocol, header.source, header.destination),
        None => {
            let unknown = |address: SocketAddr| match address {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            (0, unknown(packet.local), unknown(packet.remote))
        }
    }
}

/// Messages that report an error: they belong to no flow of their own.
pub fn is_error(protocol: u8, kind: u16) -> bool {
    match protocol {
        ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        ICMPV6 => (1..=4).contains(&kind),
        _ => false,
    }
}

/// The type of the request that a reply answers, or the type itself: both are one flow.
pub fn request_of(protocol: u8, kind: u16) -> u16 {
    match (protocol, kind) {
        (ICMP, 0) => 8,
        (ICMP, 14 | 16 | 18) => kind - 1,
        (ICMPV6, 129) => 128,
        (ICMPV6, 140) => 139,
        _ => kind,
    }
}
