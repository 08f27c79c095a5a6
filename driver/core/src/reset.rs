//! The TCP reset that answers a segment which is refused, made from the segment's headers.

/// IP header without options, and TCP header.
const LONGEST: usize = IPV6_HEADER + TCP_HEADER;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;

/// How much of a packet [`Reset::answering`] may look at: both headers at their longest in IPv4, and room for extension headers of IPv6.
/// More of them are not answered.
pub const HEADERS: usize = 128;

const TCP: u8 = 6;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Time to live, or hop limit: what Windows sends with.
const HOPS: u8 = 128;

/// A packet that resets a connection, from the IP header on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Reset {
    /// The reset for a packet that begins with these bytes, IP header first; `None` for one that gets no answer: what is no whole TCP
    /// header, a reset, a fragment, and what was not sent from one host to one host (RFC 9293, 3.10.7.1; RFC 1122, 4.2.3.10).
    pub fn answering(packet: &[u8]) -> Option<Reset> {
        match packet.first()? >> 4 {
            4 => answering_v4(packet),
            6 => answering_v6(packet),
            _ => None,
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub fn is_v6(&self) -> bool {
        self.length == LONGEST
    }
}

fn answering_v4(packet: &[u8]) -> Option<Reset> {
    const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;
    const DO_NOT_FRAGMENT: [u8; 2] = [0x40, 0];
    let header_length = usize::from(packet[0] & 0xf) * 4;
    let total_length = usize::from(word(packet, 2)?);
    let (source, destination) = (array::<4>(packet, 12)?, array::<4>(packet, 16)?);
    if header_length < IPV4_HEADER
        || word(packet, 6)? & MORE_FRAGMENTS_AND_OFFSET != 0
        || packet[9] != TCP
        || !is_host_v4(source)
        || !is_host_v4(destination)
    {
        return None;
    }
    let answer = Answer::to(packet.get(header_length..)?, total_length.checked_sub(header_length)?)?;
    let mut reset = Reset { bytes: [0; LONGEST], length: IPV4_HEADER + TCP_HEADER };
    let (ip, tcp) = reset.bytes[..IPV4_HEADER + TCP_HEADER].split_at_mut(IPV4_HEADER);
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&((IPV4_HEADER + TCP_HEADER) as u16).to_be_bytes());
    ip[6..8].copy_from_slice(&DO_NOT_FRAGMENT);
    ip[8] = HOPS;
    ip[9] = TCP;
    ip[12..16].copy_from_slice(&destination);
    ip[16..20].copy_from_slice(&source);
    let checksum = checksum(&[ip]);
    ip[10..12].copy_from_slice(&checksum);
    answer.write(tcp, &[&source, &destination]);
    Some(reset)
}

fn answering_v6(packet: &[u8]) -> Option<Reset> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const DESTINATION_OPTIONS: u8 = 60;
    let total_length = IPV6_HEADER + usize::from(word(packet, 4)?);
    let (source, destination) = (array::<16>(packet, 8)?, array::<16>(packet, 24)?);
    if !is_host_v6(source) || !is_host_v6(destination) {
        return None;
    }
    let (mut next, mut at) = (packet[6], IPV6_HEADER);
    while matches!(next, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) {
        let [following, length] = array(packet, at)?;
        next = following;
        at += (usize::from(length) + 1) * 8;
    }
    if next != TCP {
        return None;
    }
    let answer = Answer::to(packet.get(at..)?, total_length.checked_sub(at)?)?;
    let mut reset = Reset { bytes: [0; LONGEST], length: IPV6_HEADER + TCP_HEADER };
    let (ip, tcp) = reset.bytes.split_at_mut(IPV6_HEADER);
    ip[0] = 0x60;
    ip[4..6].copy_from_slice(&(TCP_HEADER as u16).to_be_bytes());
    ip[6] = TCP;
    ip[7] = HOPS;
    ip[8..24].copy_from_slice(&destination);
    ip[24..40].copy_from_slice(&source);
    answer.write(tcp, &[&source, &destination]);
    Some(reset)
}

/// Whether an address is one host's. A subnet's broadcast address cannot be told from the address alone.
fn is_host_v4(address: [u8; 4]) -> bool {
    address != [0; 4] && address[0] < 224
}

fn is_host_v6(address: [u8; 16]) -> bool {
    address != [0; 16] && address[0] != 0xff
}

/// What of a TCP header answers another one.
struct Answer {
    source_port: [u8; 2],
    destination_port: [u8; 2],
    sequence: u32,
    acknowledgment: u32,
    flags: u8,
}

impl Answer {
    /// `length` is that of header and data, as the IP header says it; `segment` may hold less of the data.
    fn to(segment: &[u8], length: usize) -> Option<Answer> {
        let header: [u8; TCP_HEADER] = array(segment, 0)?;
        let header_length = usize::from(header[12] >> 4) * 4;
        if header_length < TCP_HEADER {
            return None;
        }
        let data = length.checked_sub(header_length)?;
        let flags = header[13];
        if flags & RST != 0 {
            return None;
        }
        let [a, b, c, d, e, f, g, h] = array(&header, 4)?;
        let (sequence, acknowledgment) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        let length = data as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let (sequence, acknowledgment, flags) = match flags & ACK != 0 {
            true => (acknowledgment, 0, RST),
            false => (0, sequence.wrapping_add(length), RST | ACK),
        };
        Some(Answer {
            source_port: [header[2], header[3]],
            destination_port: [header[0], header[1]],
            sequence,
            acknowledgment,
            flags,
        })
    }

    /// Writes the header into zeroed bytes.
    fn write(&self, tcp: &mut [u8], addresses: &[&[u8]; 2]) {
        tcp[0..2].copy_from_slice(&self.source_port);
        tcp[2..4].copy_from_slice(&self.destination_port);
        tcp[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.acknowledgment.to_be_bytes());
        tcp[12] = ((TCP_HEADER / 4) as u8) << 4;
        tcp[13] = self.flags;
        // The pseudo header: both IP versions' sum up to the same, however long their fields are.
        let rest = [0, TCP, 0, TCP_HEADER as u8];
        let checksum = checksum(&[addresses[0], addresses[1], &rest, tcp]);
        tcp[16..18].copy_from_slice(&checksum);
    }
}

/// The Internet checksum (RFC 1071) of pieces of even length.
fn checksum(pieces: &[&[u8]]) -> [u8; 2] {
    let words = pieces.iter().flat_map(|piece| piece.chunks_exact(2));
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Values that wait to be taken, oldest first; what finds no room is lost, and counted.
pub struct Queue<T, const N: usize> {
    places: [Option<T>; N],
    first: usize,
    length: usize,
    lost: u64,
}

impl<T: Copy, const N: usize> Queue<T, N> {
    pub const fn new() -> Self {
        Queue { places: [None; N], first: 0, length: 0, lost: 0 }
    }

    pub fn push(&mut self, value: T) {
        if self.length == N {
            self.lost += 1;
            return;
        }
        self.places[(self.first + self.length) % N] = Some(value);
        self.length += 1;
    }

    pub fn pop(&mut self) -> Option<T> {
        let value = self.places[self.first].take()?;
        self.first = (self.first + 1) % N;
        self.length -= 1;
        Some(value)
    }

    /// How many were lost since this was last asked.
    pub fn take_lost(&mut self) -> u64 {
        core::mem::take(&mut self.lost)
    }
}

impl<T: Copy, const N: usize> Default for Queue<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::{IpHeaders, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TcpHeader, TransportSlice};

    use super::*;

    const LOCAL_V4: [u8; 4] = [192, 168, 0, 2];
    const REMOTE_V4: [u8; 4] = [192, 0, 2, 7];
    const LOCAL_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    const REMOTE_V6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];

    fn builders() -> [PacketBuilderStep<IpHeaders>; 2] {
        [PacketBuilder::ipv4(REMOTE_V4, LOCAL_V4, 60), PacketBuilder::ipv6(REMOTE_V6, LOCAL_V6, 60)]
    }

    fn packet(builder: PacketBuilderStep<IpHeaders>, edit: impl FnOnce(&mut TcpHeader), data: &[u8]) -> Vec<u8> {
        let mut header = TcpHeader::new(40_000, 443, 1000, 64_000);
        edit(&mut header);
        let mut bytes = Vec::new();
        builder.tcp_header(header).write(&mut bytes, data).unwrap();
        bytes
    }

    /// The reset's TCP header, after everything else in it was judged.
    fn judged(reset: &Reset) -> TcpHeader {
        let sliced = SlicedPacket::from_ip(reset.bytes()).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { panic!("{sliced:?}") };
        let header = tcp.to_header();
        match sliced.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let ip = ip.header().to_header();
                assert_eq!((ip.source, ip.destination), (LOCAL_V4, REMOTE_V4));
                assert_eq!((ip.header_checksum, usize::from(ip.total_len)), (ip.calc_header_checksum(), 40));
                assert!(ip.time_to_live > 1 && ip.dont_fragment);
                assert_eq!(header.checksum, header.calc_checksum_ipv4(&ip, &[]).unwrap());
                assert!(!reset.is_v6());
            }
            NetSlice::Ipv6(ip) => {
                let ip = ip.header().to_header();
                assert_eq!((ip.source, ip.destination), (LOCAL_V6, REMOTE_V6));
                assert_eq!(ip.payload_length, 20);
                assert!(ip.hop_limit > 1);
                assert_eq!(header.checksum, header.calc_checksum_ipv6(&ip, &[]).unwrap());
                assert!(reset.is_v6());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((header.source_port, header.destination_port), (443, 40_000));
        assert!(header.rst && !header.syn && !header.fin && !header.psh && header.options.is_empty());
        header
    }

    #[test]
    fn a_segment_without_acknowledgment_is_acknowledged_by_its_reset() {
        // Sequence number, SYN, FIN, data, and what the reset acknowledges.
        for (sequence, syn, fin, data, acknowledged) in [
            (1000, true, false, 0, 1001),
            (1000, true, false, 10, 1011),
            (1000, false, true, 3, 1004),
            (u32::MAX, true, false, 0, 0),
        ] {
            for builder in builders() {
                let edit = |header: &mut TcpHeader| {
                    header.sequence_number = sequence;
                    header.syn = syn;
                    header.fin = fin;
                };
                let header = judged(&Reset::answering(&packet(builder, edit, &[7; 10][..data])).unwrap());
                assert_eq!((header.sequence_number, header.ack), (0, true));
                assert_eq!(header.acknowledgment_number, acknowledged);
            }
        }
    }

    #[test]
    fn the_reset_of_a_segment_with_acknowledgment_is_where_its_sender_expects_it() {
        for builder in builders() {
            let edit = |header: &mut TcpHeader| {
                header.ack = true;
                header.acknowledgment_number = 0xfedc_ba98;
            };
            let header = judged(&Reset::answering(&packet(builder, edit, b"data")).unwrap());
            assert_eq!((header.sequence_number, header.ack), (0xfedc_ba98, false));
            assert_eq!(header.acknowledgment_number, 0);
        }
    }

    #[test]
    fn a_reset_is_never_answered() {
        for builder in builders() {
            let bytes = packet(builder, |header| header.rst = true, &[]);
            assert_eq!(Reset::answering(&bytes), None);
        }
        for builder in builders() {
            let reset = Reset::answering(&packet(builder, |header| header.syn = true, &[])).unwrap();
            assert_eq!(Reset::answering(reset.bytes()), None);
        }
    }

    #[test]
    fn only_hosts_are_answered_and_only_for_themselves() {
        for other in [[224, 0, 0, 1], [239, 1, 2, 3], [255; 4], [0; 4]] {
            for (source, destination) in [(REMOTE_V4, other), (other, LOCAL_V4)] {
                let bytes = packet(PacketBuilder::ipv4(source, destination, 60), |header| header.syn = true, &[]);
                assert_eq!(Reset::answering(&bytes), None, "{source:?} {destination:?}");
            }
        }
        let mut multicast = REMOTE_V6;
        multicast[..2].copy_from_slice(&[0xff, 2]);
        for other in [multicast, [0; 16]] {
            for (source, destination) in [(REMOTE_V6, other), (other, LOCAL_V6)] {
                let bytes = packet(PacketBuilder::ipv6(source, destination, 60), |header| header.syn = true, &[]);
                assert_eq!(Reset::answering(&bytes), None, "{source:?} {destination:?}");
            }
        }
    }

    #[test]
    fn of_a_packet_only_the_headers_are_looked_at() {
        for builder in builders() {
            let bytes = packet(builder, |header| header.syn = true, &[7; 1000]);
            let headers = bytes.len() - 1000;
            let header = judged(&Reset::answering(&bytes[..headers]).unwrap());
            assert_eq!(header.acknowledgment_number, 1000 + 1 + 1000);
            for length in 0..headers {
                assert_eq!(Reset::answering(&bytes[..length]), None, "{length}");
            }
        }
    }

    #[test]
    fn options_and_extension_headers_are_passed_over() {
        let [v4, v6] = builders().map(|builder| packet(builder, |header| header.syn = true, &[]));
        let mut options = v4[..20].to_vec();
        options[0] = 0x46;
        options[3] += 4;
        options.extend([1, 1, 1, 0]);
        options.extend(&v4[20..]);
        assert_eq!(judged(&Reset::answering(&options).unwrap()).acknowledgment_number, 1001);
        for extension in [0, 43, 60] {
            let mut extended = v6[..40].to_vec();
            extended[5] += 16;
            extended[6] = extension;
            extended.extend([TCP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            extended.extend(&v6[40..]);
            assert_eq!(judged(&Reset::answering(&extended).unwrap()).acknowledgment_number, 1001);
            // One that says it is longer than the packet.
            extended[41] = 0xff;
            assert_eq!(Reset::answering(&extended), None);
        }
    }

    #[test]
    fn malformed_headers_are_not_answered() {
        let [v4, v6] = builders().map(|builder| packet(builder, |header| header.syn = true, &[]));
        let with = |bytes: &[u8], at: usize, value: u8| {
            let mut bytes = bytes.to_vec();
            bytes[at] = value;
            Reset::answering(&bytes)
        };
        assert!(with(&v4, 1, 0).is_some() && with(&v6, 1, 0).is_some());
        for (what, reset) in [
            ("version", with(&v4, 0, 0x55)),
            ("short IPv4 header", with(&v4, 0, 0x44)),
            ("IPv4 total length", with(&v4, 3, 39)),
            ("first fragment", with(&v4, 6, 0x20)),
            ("later fragment", with(&v4, 7, 1)),
            ("UDP", with(&v4, 9, 17)),
            ("short TCP header", with(&v4, 32, 0x40)),
            ("TCP header beyond the packet", with(&v4, 32, 0x60)),
            ("IPv6 payload length", with(&v6, 5, 19)),
            ("IPv6 fragment", with(&v6, 6, 44)),
            ("UDP over IPv6", with(&v6, 6, 17)),
        ] {
            assert_eq!(reset, None, "{what}");
        }
    }

    #[test]
    fn what_finds_no_room_in_a_queue_is_counted() {
        let mut queue = Queue::<u32, 3>::new();
        assert_eq!(queue.pop(), None);
        for round in 0..5 {
            for value in 0..5 {
                queue.push(round + value);
            }
            assert_eq!((queue.take_lost(), queue.take_lost()), (2, 0));
            assert_eq!([(); 4].map(|()| queue.pop()), [Some(round), Some(round + 1), Some(round + 2), None]);
        }
    }
}
