//! Which side of a captured packet is this host's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;

use super::Direction;
use crate::capture::{CaptureError, LinkDirection, Packet, Transport, decode, read};
use crate::filter::address::Addresses;

/// Packets looked at to find the host that captured.
const SAMPLE: usize = 50_000;
/// The host takes part in at least so many of a hundred packets of its IP version.
const SHARE: usize = 80;

/// How the sides of packets are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locality {
    /// The user has said what is local.
    Given(Vec<Addresses>),
    /// The addresses, one for each IP version at most, that take part in nearly all of a capture. What they take no part in is
    /// judged as if the client were this host: the side with the higher port, the sender of an echo request.
    Found(Vec<IpAddr>),
}

impl Locality {
    /// Finds the host that captured, from the beginning of the file.
    pub fn find(path: &Path) -> Result<Locality, CaptureError> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        let mut totals = [0; 2];
        let mut left = SAMPLE;
        let result = read(path, |frame| {
            if let Ok(packet) = decode(&frame)
                && !packet.destination.is_multicast()
                && !is_broadcast(packet.destination)
            {
                totals[usize::from(packet.source.is_ipv6())] += 1;
                *counts.entry(packet.source).or_default() += 1;
                if packet.destination != packet.source {
                    *counts.entry(packet.destination).or_default() += 1;
                }
            }
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match result {
            // What comes before the damage is replayed, and the damage reported then.
            Err(error) if !error.is_partial() => return Err(error),
            _ => {}
        }
        let mut hosts = Vec::new();
        for (v6, total) in [(false, totals[0]), (true, totals[1])] {
            let of_version = counts.iter().filter(|(address, _)| address.is_ipv6() == v6);
            // Of two that take part in all (a capture of one connection), the client is found packet by packet.
            let mut most: Vec<(&IpAddr, &usize)> =
                of_version.filter(|(_, count)| **count * 100 >= total * SHARE).collect();
            most.sort_by(|a, b| b.1.cmp(a.1));
            match most[..] {
                [(host, _)] => hosts.push(*host),
                [(host, count), (_, second), ..] if count > second => hosts.push(*host),
                _ => {}
            }
        }
        Ok(Locality::Found(hosts))
    }

    /// The direction of a packet as this host sees it, if it takes part.
    #[inline]
    pub fn direction(&self, packet: &Packet<'_>) -> Option<Direction> {
        match self {
            Locality::Given(local) => {
                let is_local = |address| local.iter().any(|set| set.contains(address));
                Some(match (is_local(packet.source), is_local(packet.destination)) {
                    (true, true) => client_rule(packet),
                    (true, false) => Direction::Outbound,
                    (false, true) => Direction::Inbound,
                    (false, false) => return None,
                })
            }
            Locality::Found(hosts) => Some(match packet.direction {
                Some(LinkDirection::Outbound) => Direction::Outbound,
                Some(LinkDirection::Inbound) => Direction::Inbound,
                None if hosts.contains(&packet.source) => Direction::Outbound,
                None if hosts.contains(&packet.destination) => Direction::Inbound,
                None => client_rule(packet),
            }),
        }
    }

    /// For people.
    pub fn describe(&self) -> String {
        match self {
            Locality::Given(local) => {
                format!("--local {}", local.iter().map(Addresses::to_string).collect::<Vec<_>>().join(", "))
            }
            Locality::Found(hosts) if hosts.is_empty() => {
                "the client of each flow (no address takes part in most of the capture)".to_owned()
            }
            Locality::Found(hosts) => {
                let hosts: Vec<String> = hosts.iter().map(IpAddr::to_string).collect();
                format!("{} (takes part in most of the capture)", hosts.join(", "))
            }
        }
    }
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

/// The direction as the client of the flow sees it.
fn client_rule(packet: &Packet<'_>) -> Direction {
    if is_from_client(packet) { Direction::Outbound } else { Direction::Inbound }
}

/// Whether a packet goes from the client of its flow to the server. Both directions of a flow get opposite answers.
fn is_from_client(packet: &Packet<'_>) -> bool {
    if packet.destination.is_multicast() || is_broadcast(packet.destination) {
        return true;
    }
    let (source, destination) = match packet.transport {
        Transport::Tcp { source, destination, .. } | Transport::Udp { source, destination } => (source, destination),
        // The echo messages and their replies: ICMP 8 and 0, ICMPv6 128 and 129.
        Transport::Icmp { kind: 8 | 128, .. } => (1, 0),
        Transport::Icmp { kind: 0 | 129, .. } => (0, 1),
        Transport::Icmp { .. } | Transport::None => (0, 0),
    };
    if source == destination { packet.source < packet.destination } else { source > destination }
}
