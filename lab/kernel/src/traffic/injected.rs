//! Packets that an image injects, and operations that are classified again: traffic that no source of traffic sends.

use std::net::SocketAddr;

use fwps::sys::*;
use postern_engine::{Decision, Verdict};

use super::header::Header;
use super::values::Octets;
use super::walk::{At, Walk};
use super::{Direction, Packet, Scratch};
use crate::fwp::pending::Operation;
use crate::kernel::Kernel;
use crate::ndis::{self, LabList};
use crate::ptr::Ptr;

/// Where an injected packet enters the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    NetworkSend,
    NetworkReceive,
    TransportSend,
    TransportReceive,
    Forward,
    Stream,
    Mac,
}

impl Entry {
    /// `FWPS_INJECTION_TYPE_*` that a handle needs for it.
    pub fn injection_type(self) -> u32 {
        match self {
            Entry::NetworkSend | Entry::NetworkReceive => FWPS_INJECTION_TYPE_NETWORK,
            Entry::TransportSend | Entry::TransportReceive => FWPS_INJECTION_TYPE_TRANSPORT,
            Entry::Forward => FWPS_INJECTION_TYPE_FORWARD,
            Entry::Stream => FWPS_INJECTION_TYPE_STREAM,
            Entry::Mac => FWPS_INJECTION_TYPE_L2,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Entry::NetworkSend => "FwpsInjectNetworkSendAsync0",
            Entry::NetworkReceive => "FwpsInjectNetworkReceiveAsync0",
            Entry::TransportSend => "FwpsInjectTransportSendAsync",
            Entry::TransportReceive => "FwpsInjectTransportReceiveAsync0",
            Entry::Forward => "FwpsInjectForwardAsync0",
            Entry::Stream => "FwpsStreamInjectAsync0",
            Entry::Mac => "FwpsInjectMacSendAsync0 or FwpsInjectMacReceiveAsync0",
        }
    }

    /// The layers that an injected packet passes. Flows are neither begun nor looked for: that is for the packet's own source.
    fn way(self) -> &'static [At] {
        match self {
            Entry::NetworkSend => &[At::OutboundIpPacket],
            Entry::TransportSend => &[At::OutboundTransport, At::OutboundIpPacket],
            Entry::NetworkReceive => &[At::InboundIpPacket, At::InboundTransport],
            Entry::TransportReceive => &[At::InboundTransport],
            Entry::Forward | Entry::Stream | Entry::Mac => &[],
        }
    }

    fn direction(self) -> Direction {
        match self {
            Entry::NetworkReceive | Entry::TransportReceive => Direction::Inbound,
            _ => Direction::Outbound,
        }
    }
}

/// Longest part of an injected packet that is looked at for its headers.
const HEADERS: u32 = 256;

/// Classifies an injected packet; true if nothing blocks it.
pub(crate) fn classify(kernel: &Kernel, entry: Entry, list: Ptr<NET_BUFFER_LIST>) -> bool {
    if entry.way().is_empty() {
        return true;
    }
    let bytes = ndis::bytes_of(list, HEADERS);
    // A list injected into the transport's send path begins with the transport header: who sent what it is a clone of is known.
    let origin = LabList::of(list).and_then(|list| list.origin());
    let begins_with_ip = entry != Entry::TransportSend;
    let header = if begins_with_ip { Header::parse(&bytes) } else { None };
    let (protocol, local, remote, ip_header) = match (&header, origin) {
        (Some(header), _) => {
            let (source, destination) = match header.icmp {
                (0, 0) => (header.source, header.destination),
                (kind, code) => {
                    (SocketAddr::new(header.source.ip(), kind), SocketAddr::new(header.destination.ip(), code))
                }
            };
            let (local, remote) = match entry.direction() {
                Direction::Outbound => (source, destination),
                Direction::Inbound => (destination, source),
            };
            (header.protocol, local, remote, header.length)
        }
        (None, Some(origin)) => (origin.protocol, origin.local, origin.remote, 0),
        // Nothing is known of it, so no condition could be tested.
        (None, None) => return true,
    };
    let packet = Packet {
        direction: entry.direction(),
        protocol,
        local,
        remote,
        tcp_flags: 0,
        icmp_id: 0,
        fragment: None,
        bytes: &bytes,
        payload: bytes.get(ip_header..).unwrap_or_default(),
    };
    walk(kernel, &packet, None, |walk| {
        walk.injected = Some((list, begins_with_ip));
        if entry.way().iter().any(|at| walk.pass(*at).is_err()) {
            return false;
        }
        // The packet of an accept that had been pended gives that its verdict.
        if entry == Entry::TransportReceive
            && let Some(pended) = kernel.fwp.pending.accept_of(&local, &remote)
        {
            walk.take_up(&pended.operation);
            let verdict = walk.verdict(At::AuthRecvAccept);
            pended.decide(verdict);
            return verdict.action == Decision::Permit;
        }
        true
    })
}

/// Classifies a completed operation again.
pub(crate) fn reauthorize(kernel: &Kernel, operation: &Operation) -> Verdict {
    let packet = Packet {
        direction: operation.begun,
        protocol: operation.protocol,
        local: operation.local,
        remote: operation.remote,
        tcp_flags: 0,
        icmp_id: 0,
        fragment: None,
        bytes: &[],
        payload: &[],
    };
    walk(kernel, &packet, operation.app.as_deref(), |walk| {
        walk.take_up(operation);
        walk.facts.flags |= FWP_CONDITION_FLAG_IS_REAUTHORIZE;
        walk.facts.reauthorize_reason = FWP_CONDITION_REAUTHORIZE_REASON_CLASSIFY_COMPLETION;
        walk.verdict(operation.at)
    })
}

fn walk<T>(kernel: &Kernel, packet: &Packet<'_>, app: Option<&[u8]>, body: impl FnOnce(&mut Walk<'_>) -> T) -> T {
    let (view, callouts) = (kernel.fwp.view.load_full(), kernel.fwp.callouts.0.load_full());
    let octets = Octets::new(&packet.local, &packet.remote);
    let mut scratch = Scratch::new();
    let mut walk = Walk::new(kernel, &view, &callouts, &mut scratch, packet, &octets, &[]);
    walk.facts.set_app(app);
    body(&mut walk)
}
