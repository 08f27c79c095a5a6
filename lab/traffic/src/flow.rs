//! Flows: which packets belong together, and what was decided about them.

use core::hash::{BuildHasher, Hash, Hasher};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use postern_engine::Decision;

use crate::{At, Direction, Packet, icmp};
use protocol::{ICMP, ICMPV6, TCP, UDP};

/// Protocol numbers (`IPPROTO_*`).
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
}

/// What tells flows apart: for TCP and UDP the 5-tuple; for ICMP messages that are no errors the addresses, the type of the
/// request, the code and the identifier; for every other protocol the addresses (documentation page "ALE Layers").
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    local: [u8; 16],
    remote: [u8; 16],
    /// Ports, or ICMP type, code and identifier.
    detail: u64,
    protocol: u8,
    pub v6: bool,
}

impl Key {
    pub fn new(protocol: u8, local: &SocketAddr, remote: &SocketAddr, icmp_id: u16) -> Key {
        let detail = match protocol {
            TCP | UDP => u64::from(local.port()) << 16 | u64::from(remote.port()),
            ICMP | ICMPV6 => {
                let kind = icmp::request_of(protocol, local.port());
                u64::from(kind) << 32 | u64::from(remote.port()) << 16 | u64::from(icmp_id)
            }
            _ => 0,
        };
        Key { local: octets(local), remote: octets(remote), detail, protocol, v6: local.is_ipv6() }
    }
}

impl Key {
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Local and remote end of a TCP or UDP flow; of others the addresses only.
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let address = |octets: [u8; 16]| match self.v6 {
            true => IpAddr::from(octets),
            false => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
        };
        let (local, remote) = match self.protocol {
            TCP | UDP => ((self.detail >> 16) as u16, self.detail as u16),
            _ => (0, 0),
        };
        (SocketAddr::new(address(self.local), local), SocketAddr::new(address(self.remote), remote))
    }
}

fn octets(address: &SocketAddr) -> [u8; 16] {
    match address {
        SocketAddr::V4(address) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&address.ip().octets());
            octets
        }
        SocketAddr::V6(address) => address.ip().octets(),
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.local));
        state.write_u128(u128::from_ne_bytes(self.remote));
        state.write_u64(self.detail ^ u64::from(self.protocol) << 56 ^ u64::from(self.v6) << 48);
    }
}

/// Folded multiplication: quick, and good enough for keys that nobody chooses against us.
#[derive(Default, Clone, Copy)]
pub struct Fold(u64);

impl BuildHasher for Fold {
    type Hasher = Fold;
    fn build_hasher(&self) -> Fold {
        Fold(0x243f_6a88_85a3_08d3)
    }
}

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }
    #[inline]
    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
    #[inline]
    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }
}

/// How far a flow has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// TCP: the handshake goes on.
    Opening,
    Established,
    /// TCP: one side has said FIN; which is in `Flow::fin`.
    Closing,
    /// TCP: over. A SYN begins the next connection of the same addresses and ports.
    Ended,
}

pub struct Flow<P> {
    /// Of the host; 0 when there is none any more.
    pub handle: u64,
    /// Direction of the first packet: who began.
    pub begun: Direction,
    /// Its end releases what its program's bind was assigned: it began here, or is all that its server has accepted.
    pub bound: bool,
    pub stage: Stage,
    /// Sides that have sent a FIN: 1 local, 2 remote.
    pub fin: u8,
    /// What the layer said that authorises the flow.
    pub decision: Decision,
    pub layer: u16,
    pub filter_id: Option<u64>,
    /// Which state of that layer's filters decided.
    pub epoch: u64,
    pub endpoint: u64,
    /// The authorisation that a callout has put off.
    pub pended: Option<P>,
    /// Permitted after it was pended: the next packet establishes the flow.
    pub resumed: bool,
    /// Where it was pended, if there are layers after that which it has not passed.
    pub pended_at: Option<At>,
    /// The program, as the host counts them.
    pub app: Option<usize>,
}

pub type Flows<P> = HashMap<Key, Flow<P>, Fold>;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

impl Packet<'_> {
    /// A TCP segment that asks for a connection.
    pub(crate) fn is_opening(&self) -> bool {
        self.protocol == TCP && self.tcp_flags & (SYN | ACK) == SYN
    }
}

impl<P> Flow<P> {
    /// Whether a TCP segment, seen and permitted by the transport layer, ends the handshake: the SYN-ACK for who connects, the ACK
    /// after it for who accepts.
    pub fn completes_handshake(&self, packet: &Packet<'_>) -> bool {
        self.stage == Stage::Opening
            && packet.direction == Direction::Inbound
            && packet.tcp_flags & ACK != 0
            && packet.tcp_flags & RST == 0
            && (self.begun == Direction::Outbound || packet.tcp_flags & SYN == 0)
    }

    /// Follows a TCP segment; true if it ends the connection.
    pub fn follow(&mut self, packet: &Packet<'_>) -> bool {
        if packet.tcp_flags & RST != 0 {
            self.stage = Stage::Ended;
            return true;
        }
        if self.fin == 3 && packet.tcp_flags & ACK != 0 {
            self.stage = Stage::Ended;
            return true;
        }
        if packet.tcp_flags & FIN != 0 {
            self.stage = Stage::Closing;
            self.fin |= match packet.direction {
                Direction::Outbound => 1,
                Direction::Inbound => 2,
            };
        }
        false
    }
}
