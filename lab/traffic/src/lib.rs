//! Which layers of the filter engine connections and packets pass, in which order, and what each layer is told of them, field by
//! field.
//!
//! The order is that of the documentation pages "TCP Packet Flows", "UDP Packet Flows" and "ALE Layers": a flow is authorised once,
//! at ALE_AUTH_CONNECT or ALE_AUTH_RECV_ACCEPT, and again when the filters of that layer change; each packet passes the transport
//! and IP packet layers, and data the stream or datagram layer.
//!
//! The lab's kernel goes this way with real callouts, and `postern explain` with notes of what was decided and why: whoever
//! classifies is a [`Host`].
#![forbid(unsafe_code)]

mod at;
mod course;
mod flow;
mod header;
pub mod icmp;
pub mod made_up;
mod values;
mod walk;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use postern_engine::Decision;

pub use at::At;
pub use course::{Fragments, fragment, serve, whole};
pub use flow::{Flow, Flows, Key, Stage, protocol};
pub use header::Header;
pub use values::{
    BROADCAST, COMPARTMENT, ETHERNET, Facts, Interface, LOOPBACK, MULTICAST, Octets, Program, USER, address_type, flag,
    is_loopback, reauthorize_reason, with_values,
};
pub use walk::{Blocked, Host, Passing, PutOff, Walk};

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Outbound,
    Inbound,
}

impl Direction {
    /// `FWP_DIRECTION`.
    pub fn number(self) -> u32 {
        match self {
            Direction::Outbound => 0,
            Direction::Inbound => 1,
        }
    }
}

/// A connection that a program asks for, or that reaches it.
#[derive(Clone, Debug)]
pub struct Connection<'a> {
    /// 6 for TCP, 17 for UDP, 1 and 58 for ICMP.
    pub protocol: u8,
    /// For ICMP, the port is the message's type.
    pub local: SocketAddr,
    /// For ICMP, the port is the message's code.
    pub remote: SocketAddr,
    /// NT path of the program: `\device\harddiskvolume1\windows\system32\curl.exe`.
    pub app: Option<&'a str>,
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub direction: Direction,
    /// What follows the IP headers: 6 for TCP, 17 for UDP, 1 and 58 for ICMP.
    pub protocol: u8,
    /// For ICMP, the port is the message's type.
    pub local: SocketAddr,
    /// For ICMP, the port is the message's code.
    pub remote: SocketAddr,
    /// The flags of the TCP header's 14th byte.
    pub tcp_flags: u8,
    /// The identifier of an ICMP echo.
    pub icmp_id: u16,
    pub fragment: Option<Fragment>,
    /// From the IP header on, as far as known.
    pub bytes: &'a [u8],
    /// The part of `bytes` that follows the IP headers.
    pub payload: &'a [u8],
}

impl Packet<'static> {
    /// No packet: for what happens to a flow without one.
    pub const NOTHING: Packet<'static> = Packet {
        direction: Direction::Outbound,
        protocol: 0,
        local: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
        remote: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
        tcp_flags: 0,
        icmp_id: 0,
        fragment: None,
        bytes: &[],
        payload: &[],
    };
}

impl Packet<'_> {
    /// Length of the IP headers: where the transport header begins in `bytes`.
    pub fn ip_header(&self) -> usize {
        let start = self.payload.as_ptr().addr().wrapping_sub(self.bytes.as_ptr().addr());
        if start <= self.bytes.len() { start } else { 0 }
    }

    /// Length of the transport header, as far as there is one.
    pub fn transport_header(&self) -> usize {
        let length = match self.protocol {
            protocol::TCP => self.payload.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4),
            protocol::UDP => 8,
            protocol if icmp::is_icmp(protocol) => 8,
            _ => 0,
        };
        length.min(self.payload.len())
    }

    /// Whether a TCP segment carries bytes.
    pub fn has_stream_data(&self) -> bool {
        self.payload.len() > self.transport_header()
    }
}

/// A part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub identification: u32,
    /// In bytes; 0 for the first fragment, which alone has ports.
    pub offset: u16,
    pub more: bool,
}

/// What became of a connection or packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub decision: Decision,
    /// The layer that decided: that which blocked; else that which authorised the flow, unless only a later one had a filter that
    /// permitted.
    pub layer: u16,
    /// The filter that decided; none: no filter did, and the default is to permit.
    pub filter_id: Option<u64>,
    /// Whether it began a flow.
    pub new_flow: bool,
    /// Whether the flow waits for a callout that has put off its decision; until then its packets are blocked.
    pub pended: bool,
}
