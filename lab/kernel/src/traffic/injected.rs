//! Packets that an image injects, and operations that are classified again: traffic that no source of traffic sends.

use std::net::SocketAddr;

use fwps::sys::*;
use postern_engine::{Decision, Verdict};
use postern_traffic::{At, Direction, Header, Host, Octets, Packet, Walk, flag, reauthorize_reason};

use super::Scratch;
use super::walk::{self, Classifier};
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
        walk.host.injected = Some((list, begins_with_ip));
        if entry.way().iter().any(|at| walk.pass(*at).is_err()) {
            return false;
        }
        // The packet of an accept that had been pended gives that its verdict.
        if entry == Entry::TransportReceive
            && let Some(pended) = kernel.fwp.pending.accept_of(&local, &remote)
        {
            walk.host.take_up(&pended.operation);
            let verdict = verdict(walk, At::AuthRecvAccept);
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
        walk.host.take_up(operation);
        walk.passing.facts.flags |= flag::IS_REAUTHORIZE;
        walk.passing.facts.reauthorize_reason = reauthorize_reason::CLASSIFY_COMPLETION;
        verdict(walk, operation.at)
    })
}

/// What a layer says, whatever that means for the packet.
fn verdict<'a>(walk: &mut Walk<'a, Classifier<'a>>, at: At) -> Verdict {
    walk.host.classify(at, at.layer(walk.passing.facts.v6), &walk.passing)
}

fn walk<T>(
    kernel: &Kernel,
    packet: &Packet<'_>,
    app: Option<&[u8]>,
    body: impl for<'a> FnOnce(&mut Walk<'a, Classifier<'a>>) -> T,
) -> T {
    let (view, callouts) = (kernel.fwp.view.load_full(), kernel.fwp.callouts.0.load_full());
    let octets = Octets::new(&packet.local, &packet.remote);
    let mut scratch = Scratch::new();
    let mut walk = walk::walk(kernel, &view, &callouts, &mut scratch, packet, &octets, &[]);
    walk.passing.facts.set_program(walk::program(app));
    body(&mut walk)
}
