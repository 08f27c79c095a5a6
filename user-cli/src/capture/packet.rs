//! Decodes a captured frame as far as the filter engine looks at it: addresses, protocol, ports, fragmentation.

use std::net::IpAddr;

use etherparse::{Ipv6ExtensionSlice, LaxIpSlice};
use serde::{Deserialize, Serialize};

use super::reader::{Frame, LinkDirection};

/// An IP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Protocol of the payload, after any IPv6 extension headers.
    pub protocol: u8,
    pub transport: Transport,
    pub fragment: Option<Fragment>,
    pub direction: Option<LinkDirection>,
    /// From the IP header on, as far as captured.
    pub bytes: &'a [u8],
    /// What follows the IP headers, as far as captured.
    pub payload: &'a [u8],
}

/// The start of the transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp {
        source: u16,
        destination: u16,
        flags: u8,
    },
    Udp {
        source: u16,
        destination: u16,
    },
    Icmp {
        kind: u8,
        code: u8,
        id: u16,
    },
    /// Another protocol, or a fragment that is not the first.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    pub identification: u32,
    /// In bytes; zero for the first fragment.
    pub offset: u16,
    pub more: bool,
}

/// Why a frame is no traffic for the filter engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skipped {
    /// ARP, LLDP, spanning tree and the like.
    NotIp,
    /// A link type that this program cannot take apart.
    UnknownLinkType,
    /// The capture's snapshot length cut it off inside a header.
    CutOff,
    /// The headers contradict themselves.
    Malformed,
    /// `--local` names no prefix that one of its addresses is in.
    NotLocal,
}

impl Skipped {
    pub const ALL: [Skipped; 5] =
        [Skipped::NotIp, Skipped::UnknownLinkType, Skipped::CutOff, Skipped::Malformed, Skipped::NotLocal];

    /// For people.
    pub fn reason(self) -> &'static str {
        match self {
            Skipped::NotIp => "not IP",
            Skipped::UnknownLinkType => "unknown link type",
            Skipped::CutOff => "cut off inside a header",
            Skipped::Malformed => "malformed",
            Skipped::NotLocal => "neither address is local",
        }
    }
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Takes a frame apart.
pub fn decode<'a>(frame: &Frame<'a>) -> Result<Packet<'a>, Skipped> {
    let (bytes, direction) = link_payload(frame.link_type, frame.data)?;
    let direction = frame.direction.or(direction);

    let (ip, _) = LaxIpSlice::from_slice(bytes).map_err(|error| match error {
        etherparse::err::ip::LaxHeaderSliceError::Len(_) => Skipped::CutOff,
        etherparse::err::ip::LaxHeaderSliceError::Content(_) => Skipped::Malformed,
    })?;
    let fragment = match &ip {
        LaxIpSlice::Ipv4(v4) => {
            let header = v4.header();
            header.is_fragmenting_payload().then(|| Fragment {
                identification: header.identification().into(),
                offset: header.fragments_offset().byte_offset(),
                more: header.more_fragments(),
            })
        }
        LaxIpSlice::Ipv6(v6) => v6.extensions().clone().into_iter().find_map(|extension| match extension {
            Ipv6ExtensionSlice::Fragment(header) if header.is_fragmenting_payload() => Some(Fragment {
                identification: header.identification(),
                offset: header.fragment_offset().byte_offset(),
                more: header.more_fragments(),
            }),
            _ => None,
        }),
    };
    let protocol = ip.payload_ip_number().0;
    let payload = ip.payload().payload;
    let transport = match fragment {
        Some(Fragment { offset: 1.., .. }) => Transport::None,
        _ => transport(protocol, payload)?,
    };
    Ok(Packet {
        source: ip.source_addr(),
        destination: ip.destination_addr(),
        protocol,
        transport,
        fragment,
        direction,
        bytes,
        payload,
    })
}

fn transport(protocol: u8, payload: &[u8]) -> Result<Transport, Skipped> {
    let word = |at: usize| match payload.get(at..at + 2) {
        Some(bytes) => Ok(u16::from_be_bytes([bytes[0], bytes[1]])),
        None => Err(Skipped::CutOff),
    };
    Ok(match protocol {
        TCP => {
            Transport::Tcp { source: word(0)?, destination: word(2)?, flags: *payload.get(13).ok_or(Skipped::CutOff)? }
        }
        UDP => Transport::Udp { source: word(0)?, destination: word(2)? },
        ICMP | ICMPV6 => {
            let [kind, code] = word(0)?.to_be_bytes();
            // Only messages of the echo kind carry an identifier, which tells their flows apart.
            let has_id = match protocol {
                ICMP => matches!(kind, 0 | 8 | 13 | 14),
                _ => matches!(kind, 128 | 129),
            };
            Transport::Icmp { kind, code, id: if has_id { word(4)? } else { 0 } }
        }
        _ => Transport::None,
    })
}

/// What a link-layer header carries (`LINKTYPE_*` pages, tcpdump.org).
fn link_payload(link_type: i32, data: &[u8]) -> Result<(&[u8], Option<LinkDirection>), Skipped> {
    let past = |header: usize| data.get(header..).ok_or(Skipped::CutOff);
    let byte = |at: usize| data.get(at).copied().ok_or(Skipped::CutOff);
    let word = |at: usize| Ok(u16::from_be_bytes([byte(at)?, byte(at + 1)?]));
    match link_type {
        // LINKTYPE_ETHERNET
        1 => Ok((ether_payload(word(12)?, past(14)?)?, None)),
        // LINKTYPE_NULL and LINKTYPE_LOOP: an address family, whose value and byte order are the capturing system's; the
        // packet itself tells its version.
        0 | 108 => Ok((past(4)?, None)),
        // LINKTYPE_RAW, as it was numbered on various systems, LINKTYPE_IPV4, LINKTYPE_IPV6
        12 | 14 | 101 | 228 | 229 => Ok((data, None)),
        // LINKTYPE_LINUX_SLL
        113 => Ok((ether_payload(word(14)?, past(16)?)?, sll_direction(word(0)?))),
        // LINKTYPE_LINUX_SLL2
        276 => Ok((ether_payload(word(0)?, past(20)?)?, sll_direction(byte(10)?.into()))),
        _ => Err(Skipped::UnknownLinkType),
    }
}

fn sll_direction(packet_type: u16) -> Option<LinkDirection> {
    match packet_type {
        0..=2 => Some(LinkDirection::Inbound),
        4 => Some(LinkDirection::Outbound),
        _ => None,
    }
}

/// What follows an Ethernet type, past any VLAN tags.
fn ether_payload(mut ether_type: u16, mut data: &[u8]) -> Result<&[u8], Skipped> {
    loop {
        match ether_type {
            0x0800 | 0x86dd => return Ok(data),
            0x8100 | 0x88a8 | 0x9100 => {
                let [_, _, high, low, rest @ ..] = data else { return Err(Skipped::CutOff) };
                ether_type = u16::from_be_bytes([*high, *low]);
                data = rest;
            }
            // PPPoE session: version and type, code, session, length; then a PPP protocol number.
            0x8864 => {
                let [_, _, _, _, _, _, high, low, rest @ ..] = data else { return Err(Skipped::CutOff) };
                return match u16::from_be_bytes([*high, *low]) {
                    0x0021 | 0x0057 => Ok(rest),
                    _ => Err(Skipped::NotIp),
                };
            }
            _ => return Err(Skipped::NotIp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 UDP datagram from 10.0.0.1:1000 to 10.0.0.2:53.
    fn datagram() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 32, 0, 7, 0, 0, 64, UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0x03, 0xe8, 0, 53, 0, 12, 0, 0, b'p', b'i', b'n', b'g']);
        packet
    }

    fn decode_as(link_type: i32, header: &[u8], packet: &[u8]) -> Result<(IpAddr, Transport), Skipped> {
        let data = [header, packet].concat();
        let frame = Frame { number: 1, link_type, direction: None, data: &data };
        decode(&frame).map(|packet| (packet.source, packet.transport))
    }

    #[test]
    fn every_link_type_leads_to_the_same_packet() {
        let expected = Ok(("10.0.0.1".parse().unwrap(), Transport::Udp { source: 1000, destination: 53 }));
        let macs = [0; 12];
        let ethernet = [&macs[..], &[8, 0]].concat();
        let vlan = [&macs[..], &[0x81, 0, 0, 5, 8, 0]].concat();
        let double_vlan = [&macs[..], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0]].concat();
        let pppoe = [&macs[..], &[0x88, 0x64, 0x11, 0, 0, 1, 0, 34, 0, 0x21]].concat();
        let sll = [&[0, 4, 0, 1, 0, 6][..], &[0; 8], &[8, 0]].concat();
        let sll2 = [&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 4, 6][..], &[0; 8]].concat();
        for (link_type, header) in [
            (1, &ethernet[..]),
            (1, &vlan),
            (1, &double_vlan),
            (1, &pppoe),
            (0, &[2, 0, 0, 0]),
            (108, &[0, 0, 0, 2]),
            (101, &[]),
            (228, &[]),
            (113, &sll),
            (276, &sll2),
        ] {
            assert_eq!(decode_as(link_type, header, &datagram()), expected, "link type {link_type}");
        }
    }

    #[test]
    fn linux_cooked_captures_tell_the_direction() {
        let data = [&[0, 4, 0, 1, 0, 6][..], &[0; 8], &[8, 0], &datagram()].concat();
        let frame = Frame { number: 1, link_type: 113, direction: None, data: &data };
        assert_eq!(decode(&frame).unwrap().direction, Some(LinkDirection::Outbound));
    }

    #[test]
    fn frames_that_are_no_traffic_say_why() {
        let arp = [&[0; 12][..], &[8, 6]].concat();
        assert_eq!(decode_as(1, &arp, &[0; 28]), Err(Skipped::NotIp));
        assert_eq!(decode_as(147, &[], &datagram()), Err(Skipped::UnknownLinkType));
        assert_eq!(decode_as(101, &[], &datagram()[..22]), Err(Skipped::CutOff));
        assert_eq!(decode_as(101, &[], &datagram()[..10]), Err(Skipped::CutOff));
        assert_eq!(decode_as(1, &[0; 9], &[]), Err(Skipped::CutOff));
        assert_eq!(decode_as(101, &[], &[0x95; 40]), Err(Skipped::Malformed));
    }

    #[test]
    fn a_snapshot_that_cuts_only_the_payload_is_enough() {
        let cut = &datagram()[..24];
        assert_eq!(decode_as(101, &[], cut).unwrap().1, Transport::Udp { source: 1000, destination: 53 });
    }

    #[test]
    fn later_fragments_have_no_ports() {
        let mut fragment = datagram();
        fragment[6..8].copy_from_slice(&[0x20, 0x02]);
        let frame = Frame { number: 1, link_type: 101, direction: None, data: &fragment };
        let packet = decode(&frame).unwrap();
        assert_eq!(packet.transport, Transport::None);
        assert_eq!(packet.fragment, Some(Fragment { identification: 7, offset: 16, more: true }));
    }

    #[test]
    fn ipv6_fragment_headers_are_looked_through() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 16, 44, 64];
        packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend([UDP, 0, 0, 1, 0, 0, 0, 9]);
        packet.extend([0, 1, 0, 2, 0, 8, 0, 0]);
        let frame = Frame { number: 1, link_type: 229, direction: None, data: &packet };
        let packet = decode(&frame).unwrap();
        assert_eq!(packet.protocol, UDP);
        assert_eq!(packet.transport, Transport::Udp { source: 1, destination: 2 });
        assert_eq!(packet.fragment, Some(Fragment { identification: 9, offset: 0, more: true }));
    }
}
