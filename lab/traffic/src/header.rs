//! The headers of packets that come without an account of them: quoted in ICMP errors, or injected by an image.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::flow::protocol;
use crate::icmp;

/// What an IP header, and the first four bytes after it, say. IPv6 extension headers are not followed.
pub struct Header {
    pub protocol: u8,
    /// Ports are 0 where the protocol has none, or the packet is too short.
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Of the IP header.
    pub length: usize,
    /// Type and code of an ICMP message.
    pub icmp: (u16, u16),
}

impl Header {
    pub fn parse(ip: &[u8]) -> Option<Header> {
        let (protocol, source, destination, length): (u8, IpAddr, IpAddr, usize) = match ip.first()? >> 4 {
            4 => {
                let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?).into());
                (*ip.get(9)?, address(12)?, address(16)?, usize::from(ip[0] & 0xf) * 4)
            }
            6 => {
                let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?).into());
                (*ip.get(6)?, address(8)?, address(24)?, 40)
            }
            _ => return None,
        };
        let rest = ip.get(length..).unwrap_or_default();
        let word = |at: usize| rest.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        let byte = |at: usize| rest.get(at).map_or(0, |&byte| byte.into());
        let has_ports = matches!(protocol, protocol::TCP | protocol::UDP);
        let port = |at: usize| if has_ports { word(at) } else { 0 };
        Some(Header {
            protocol,
            source: SocketAddr::new(source, port(0)),
            destination: SocketAddr::new(destination, port(2)),
            length,
            icmp: if icmp::is_icmp(protocol) { (byte(0), byte(1)) } else { (0, 0) },
        })
    }
}
