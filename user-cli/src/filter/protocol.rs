//! IP protocol numbers and their names.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// An IP protocol (`IPPROTO_*`, ws2def.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol(pub u8);

const NAMES: [(&str, u8); 4] = [("tcp", 6), ("udp", 17), ("icmp", 1), ("icmpv6", 58)];

impl Protocol {
    pub const ICMP: Protocol = Protocol(1);
    pub const TCP: Protocol = Protocol(6);
    pub const UDP: Protocol = Protocol(17);
    pub const ICMPV6: Protocol = Protocol(58);

    pub fn has_ports(self) -> bool {
        matches!(self, Protocol::TCP | Protocol::UDP)
    }

    /// The local end of a flow: with the port, where the protocol has ports; for ICMP with the type.
    pub fn local(self, end: SocketAddr) -> String {
        self.end(end, "type")
    }

    /// The remote end of a flow, for ICMP with the code.
    pub fn remote(self, end: SocketAddr) -> String {
        self.end(end, "code")
    }

    fn end(self, end: SocketAddr, icmp: &str) -> String {
        match self {
            Protocol::ICMP | Protocol::ICMPV6 => format!("{} {icmp} {}", end.ip(), end.port()),
            protocol if protocol.has_ports() => end.to_string(),
            _ => end.ip().to_string(),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Protocol, String> {
        NAMES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map(|(_, number)| Protocol(*number))
            .or_else(|| text.parse().ok().map(Protocol))
            .ok_or_else(|| format!("'{text}' is no protocol: write tcp, udp, icmp, icmpv6 or a number from 0 to 255"))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}
