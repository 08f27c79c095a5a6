//! What is asked.

use std::net::SocketAddr;

use postern_traffic::{Direction, Fragment, is_loopback};

use crate::filter::interface::Description;
use crate::filter::protocol::Protocol;

/// A question to the filter engine.
#[derive(Debug, Clone)]
pub struct Question {
    pub subject: Subject,
    pub protocol: Protocol,
    pub local: SocketAddr,
    /// Unspecified for a bind.
    pub remote: SocketAddr,
    /// NT path of the program.
    pub app: Option<String>,
    /// The SIDs of the program's token, the user's first. Empty: not known.
    pub user: Vec<Vec<u8>>,
    /// The SID of the program's package.
    pub package: Option<Vec<u8>>,
    pub interface: Description,
    pub profile: u32,
    /// Filters to be told of, whether they match or not.
    pub filters: Vec<u64>,
    /// Whose filters.
    pub state: String,
    /// When they were read, if that is known.
    pub time: Option<jiff::Timestamp>,
}

/// What happens.
#[derive(Debug, Clone)]
pub enum Subject {
    Connect,
    Accept,
    Bind,
    Listen,
    /// The packets of a capture that belong together, up to the one that is asked about.
    Packet(Vec<Captured>),
}

/// The kinds of questions, by their commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Connect,
    Accept,
    Bind,
    Listen,
    Packet,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Connect => "connect",
            Kind::Accept => "accept",
            Kind::Bind => "bind",
            Kind::Listen => "listen",
            Kind::Packet => "packet",
        }
    }
}

/// A packet of a capture, its sides told apart.
#[derive(Debug, Clone)]
pub struct Captured {
    pub number: u64,
    pub direction: Direction,
    pub protocol: u8,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub tcp_flags: u8,
    pub icmp_id: u16,
    pub fragment: Option<Fragment>,
    /// From the IP header on.
    pub bytes: Vec<u8>,
    /// Length of the IP headers.
    pub header: usize,
}

/// Bytes of a packet that are kept: headers, and whether there are data.
const KEPT: usize = 512;

impl Captured {
    pub fn new(number: u64, packet: &postern_traffic::Packet<'_>) -> Captured {
        Captured {
            number,
            direction: packet.direction,
            protocol: packet.protocol,
            local: packet.local,
            remote: packet.remote,
            tcp_flags: packet.tcp_flags,
            icmp_id: packet.icmp_id,
            fragment: packet.fragment,
            bytes: packet.bytes[..packet.bytes.len().min(KEPT)].to_vec(),
            header: packet.ip_header(),
        }
    }

    pub fn packet(&self) -> postern_traffic::Packet<'_> {
        postern_traffic::Packet {
            direction: self.direction,
            protocol: self.protocol,
            local: self.local,
            remote: self.remote,
            tcp_flags: self.tcp_flags,
            icmp_id: self.icmp_id,
            fragment: self.fragment,
            bytes: &self.bytes,
            payload: self.bytes.get(self.header..).unwrap_or_default(),
        }
    }
}

impl Question {
    pub fn kind(&self) -> Kind {
        match self.subject {
            Subject::Connect => Kind::Connect,
            Subject::Accept => Kind::Accept,
            Subject::Bind => Kind::Bind,
            Subject::Listen => Kind::Listen,
            Subject::Packet(_) => Kind::Packet,
        }
    }

    pub fn loopback(&self) -> bool {
        is_loopback(&self.local, &self.remote)
    }

    /// In one sentence.
    pub fn text(&self) -> String {
        let (protocol, local, remote) =
            (self.protocol, self.protocol.local(self.local), self.protocol.remote(self.remote));
        match &self.subject {
            Subject::Connect => format!("{protocol} connection from {local} to {remote}"),
            Subject::Accept => format!("{protocol} connection from {remote}, which reaches {local}"),
            Subject::Bind => format!("{protocol} bind to {local}"),
            Subject::Listen => format!("{protocol} listen at {local}"),
            Subject::Packet(packets) => {
                let last = packets.last();
                let number = last.map_or(0, |packet| packet.number);
                match last.map(|packet| packet.direction) {
                    Some(Direction::Inbound) => format!("{protocol} packet {number}, inbound from {remote} to {local}"),
                    _ => format!("{protocol} packet {number}, outbound from {local} to {remote}"),
                }
            }
        }
    }
}
