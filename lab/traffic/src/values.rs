//! Incoming values: what each layer is told of a connection or packet, field by field.

use std::net::{IpAddr, SocketAddr};

use postern_engine::Value;
use postern_engine::layers::field;

use crate::{At, Direction, Passing, icmp};

/// `FWP_CONDITION_FLAG_*` (fwptypes.h), as far as they are set here.
pub mod flag {
    pub const IS_LOOPBACK: u32 = 0x1;
    pub const IS_REAUTHORIZE: u32 = 0x4;
    pub const IS_WILDCARD_BIND: u32 = 0x8;
    pub const IS_FRAGMENT: u32 = 0x20;
    pub const IS_REASSEMBLED: u32 = 0x400;
    pub const IS_APPCONTAINER_LOOPBACK: u32 = 0x40_0000;
    pub const IS_NON_APPCONTAINER_LOOPBACK: u32 = 0x80_0000;
}

/// `FWP_CONDITION_REAUTHORIZE_REASON_*` (fwptypes.h), as far as there are any here.
pub mod reauthorize_reason {
    pub const POLICY_CHANGE: u32 = 0x1;
    pub const CLASSIFY_COMPLETION: u32 = 0x10;
}

/// A network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `NET_LUID`: the type in the upper 16 bits, then a number of 24 bits.
    pub luid: u64,
    pub index: u32,
    /// `IFTYPE` (ipifcons.h).
    pub kind: u32,
    /// `TUNNEL_TYPE` (ifdef.h); 0: no tunnel.
    pub tunnel: u32,
    /// `INTERFACE_QUARANTINE_EPOCH`: Windows Firewall keeps an interface in quarantine until its filters name the interface's epoch.
    pub epoch: u64,
}

/// The two interfaces of a machine of which nothing else is known, as the lab's: an Ethernet adapter and the loopback.
pub const ETHERNET: Interface = Interface { luid: 6 << 48 | 0x8000 << 24, index: 12, kind: 6, tunnel: 0, epoch: 0 };
pub const LOOPBACK: Interface = Interface { luid: 24 << 48, index: 1, kind: 24, tunnel: 0, epoch: 0 };

/// The network compartment of everything here.
pub const COMPARTMENT: u32 = 1;
/// The network profile of everything of which no other is known.
const PROFILE: u32 = 1;

/// The SIDs of a user: S-1-5-21-1-2-3-1001, Everyone, Authenticated Users, Users.
pub const USER: &[&[u8]] = &[
    &[1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0xe9, 3, 0, 0],
    &[1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
    &[1, 1, 0, 0, 0, 0, 0, 5, 11, 0, 0, 0],
    &[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x21, 2, 0, 0],
];

/// S-1-0-0, the package of programs that belong to none: so the filters of Windows Firewall tell them apart.
const NO_PACKAGE: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The program at this end, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Program<'a> {
    /// `ALE_APP_ID`.
    pub app: Option<&'a [u8]>,
    /// The SIDs of its token: user and groups.
    pub user: Option<&'a [&'a [u8]]>,
    /// The SID of its package, if it has one.
    pub package: Option<&'a [u8]>,
}

const UNICAST: u8 = 1;
pub const MULTICAST: u8 = 3;
pub const BROADCAST: u8 = 4;

/// `NL_ADDRESS_TYPE` (nldef.h).
pub fn address_type(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) if address.is_broadcast() => BROADCAST,
        address if address.is_multicast() => MULTICAST,
        _ => UNICAST,
    }
}

/// Whether both ends are on this machine.
pub fn is_loopback(local: &SocketAddr, remote: &SocketAddr) -> bool {
    let same = local.ip() == remote.ip() && !local.ip().is_unspecified();
    local.ip().is_loopback() || remote.ip().is_loopback() || same
}

/// What is known of a connection or packet, in the form of values.
pub struct Facts<'a> {
    local: Value<'a>,
    remote: Value<'a>,
    pub v6: bool,
    local_type: u8,
    remote_type: u8,
    protocol: u8,
    /// Port, or ICMP type.
    local_port: u16,
    /// Port, or ICMP code.
    remote_port: u16,
    pub interface: Interface,
    pub profile: u32,
    /// [`flag`]s.
    pub flags: u32,
    pub direction: Direction,
    app: Value<'a>,
    user: Value<'a>,
    package: Value<'a>,
    /// [`reauthorize_reason`], or 0.
    pub reauthorize_reason: u32,
    /// Type of the ICMP message that began the flow.
    original_icmp_type: Value<'a>,
}

/// The octets of a pair of addresses, which the values of V6 layers point to.
pub struct Octets {
    local: [u8; 16],
    remote: [u8; 16],
}

impl Octets {
    pub fn new(local: &SocketAddr, remote: &SocketAddr) -> Octets {
        let octets = |address: &SocketAddr| match address {
            SocketAddr::V4(_) => [0; 16],
            SocketAddr::V6(address) => address.ip().octets(),
        };
        Octets { local: octets(local), remote: octets(remote) }
    }
}

impl<'a> Facts<'a> {
    pub fn new(
        protocol: u8,
        local: &SocketAddr,
        remote: &SocketAddr,
        octets: &'a Octets,
        direction: Direction,
    ) -> Facts<'a> {
        let address = |address: &SocketAddr, octets: &'a [u8; 16]| match address {
            SocketAddr::V4(address) => Value::Uint32(address.ip().to_bits()),
            SocketAddr::V6(_) => Value::ByteArray16(octets),
        };
        let loopback = is_loopback(local, remote);
        Facts {
            local: address(local, &octets.local),
            remote: address(remote, &octets.remote),
            v6: local.is_ipv6(),
            local_type: address_type(local.ip()),
            remote_type: address_type(remote.ip()),
            protocol,
            local_port: local.port(),
            remote_port: remote.port(),
            interface: if loopback { LOOPBACK } else { ETHERNET },
            profile: PROFILE,
            flags: if loopback { flag::IS_LOOPBACK } else { 0 },
            direction,
            app: Value::Empty,
            user: Value::Empty,
            package: Value::Sid(NO_PACKAGE),
            reauthorize_reason: 0,
            original_icmp_type: if icmp::is_icmp(protocol) { Value::Uint16(local.port()) } else { Value::Empty },
        }
    }

    /// Of a bind that leaves the address open no address is known, and the stack chooses the port if that is left open.
    pub(crate) fn set_bind(&mut self, local: &SocketAddr) {
        if local.ip().is_unspecified() {
            self.local = Value::Empty;
        }
        if local.port() == 0 {
            self.flags |= flag::IS_WILDCARD_BIND;
        }
    }

    pub fn set_program(&mut self, program: Program<'a>) {
        self.app = program.app.map_or(Value::Empty, Value::ByteBlob);
        self.user = program.user.map_or(Value::Empty, Value::Token);
        self.package = Value::Sid(program.package.unwrap_or(NO_PACKAGE));
    }

    pub fn is_loopback(&self) -> bool {
        self.flags & flag::IS_LOOPBACK != 0
    }

    /// ALE knows the program, and so which kind of loopback it is.
    fn ale_flags(&self) -> u32 {
        match (self.is_loopback(), self.package) {
            (false, _) => self.flags,
            (true, Value::Sid(NO_PACKAGE)) => self.flags | flag::IS_NON_APPCONTAINER_LOOPBACK,
            (true, _) => self.flags | flag::IS_APPCONTAINER_LOOPBACK,
        }
    }

    /// Type of the address that the packet goes to.
    fn destination_type(&self) -> u8 {
        match self.direction {
            Direction::Outbound => self.remote_type,
            Direction::Inbound => self.local_type,
        }
    }
}

/// Hands `then` what a layer is told, in the order of its fields.
pub fn with_values<T>(at: At, passing: &Passing<'_>, then: impl FnOnce(&[Value<'_>]) -> T) -> T {
    let facts = &passing.facts;
    match at {
        At::InboundIpPacket => then(&inbound_ippacket(facts)),
        At::OutboundIpPacket => then(&outbound_ippacket(facts)),
        At::InboundTransport => then(&inbound_transport(facts)),
        At::OutboundTransport => then(&outbound_transport(facts)),
        At::Stream => then(&stream(facts)),
        At::DatagramData => then(&datagram_data(facts)),
        At::OutboundIcmpError => then(&outbound_icmp_error(facts)),
        At::BindRedirect => then(&ale_bind_redirect(facts)),
        At::ResourceAssignment => then(&ale_resource_assignment(facts)),
        At::ConnectRedirect => then(&ale_connect_redirect(facts)),
        At::AuthConnect => then(&ale_auth_connect(facts)),
        At::AuthRecvAccept => then(&ale_auth_recv_accept(facts)),
        At::FlowEstablished => then(&ale_flow_established(facts)),
        At::EndpointClosure => then(&ale_endpoint_closure(facts)),
        At::ResourceRelease => then(&ale_resource_release(facts)),
        At::AuthListen => then(&ale_auth_listen(facts)),
        At::InboundIcmpError => {
            let (protocol, local, remote) = icmp::embedded(passing.packet);
            let octets = Octets::new(&local, &remote);
            let embedded = Facts::new(protocol, &local, &remote, &octets, Direction::Outbound);
            then(&inbound_icmp_error(facts, &embedded))
        }
    }
}

/// Sets fields of a layer, by their names there.
macro_rules! put {
    ($values:ident, $layer:ident: $($name:ident = $value:expr),+ $(,)?) => {
        $($values[field::$layer::$name] = $value;)+
    };
}

fn inbound_ippacket<'a>(facts: &Facts<'a>) -> [Value<'a>; field::inbound_ippacket::COMPARTMENT_ID + 1] {
    let mut values = [Value::Empty; field::inbound_ippacket::COMPARTMENT_ID + 1];
    put! { values, inbound_ippacket:
        IP_LOCAL_ADDRESS = facts.local,
        IP_REMOTE_ADDRESS = facts.remote,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        INTERFACE_INDEX = Value::Uint32(facts.interface.index),
        SUB_INTERFACE_INDEX = Value::Uint32(0),
        FLAGS = Value::Uint32(facts.flags),
        INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn outbound_ippacket<'a>(facts: &Facts<'a>) -> [Value<'a>; field::outbound_ippacket::COMPARTMENT_ID + 1] {
    let mut values = [Value::Empty; field::outbound_ippacket::COMPARTMENT_ID + 1];
    put! { values, outbound_ippacket:
        IP_LOCAL_ADDRESS = facts.local,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_REMOTE_ADDRESS = facts.remote,
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        INTERFACE_INDEX = Value::Uint32(facts.interface.index),
        SUB_INTERFACE_INDEX = Value::Uint32(0),
        FLAGS = Value::Uint32(facts.flags),
        INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn inbound_transport<'a>(facts: &Facts<'a>) -> [Value<'a>; field::inbound_transport::COMPARTMENT_ID + 1] {
    let mut values = [Value::Empty; field::inbound_transport::COMPARTMENT_ID + 1];
    put! { values, inbound_transport:
        IP_PROTOCOL = Value::Uint8(facts.protocol),
        IP_LOCAL_ADDRESS = facts.local,
        IP_REMOTE_ADDRESS = facts.remote,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_LOCAL_PORT = Value::Uint16(facts.local_port),
        IP_REMOTE_PORT = Value::Uint16(facts.remote_port),
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        INTERFACE_INDEX = Value::Uint32(facts.interface.index),
        SUB_INTERFACE_INDEX = Value::Uint32(0),
        FLAGS = Value::Uint32(facts.flags),
        INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        PROFILE_ID = Value::Uint32(facts.profile),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn outbound_transport<'a>(facts: &Facts<'a>) -> [Value<'a>; field::outbound_transport::COMPARTMENT_ID + 1] {
    let mut values = [Value::Empty; field::outbound_transport::COMPARTMENT_ID + 1];
    put! { values, outbound_transport:
        IP_PROTOCOL = Value::Uint8(facts.protocol),
        IP_LOCAL_ADDRESS = facts.local,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_REMOTE_ADDRESS = facts.remote,
        IP_LOCAL_PORT = Value::Uint16(facts.local_port),
        IP_REMOTE_PORT = Value::Uint16(facts.remote_port),
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        INTERFACE_INDEX = Value::Uint32(facts.interface.index),
        SUB_INTERFACE_INDEX = Value::Uint32(0),
        IP_DESTINATION_ADDRESS_TYPE = Value::Uint8(facts.remote_type),
        FLAGS = Value::Uint32(facts.flags),
        INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        PROFILE_ID = Value::Uint32(facts.profile),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn stream<'a>(facts: &Facts<'a>) -> [Value<'a>; field::stream::COMPARTMENT_ID + 1] {
    let mut values = [Value::Empty; field::stream::COMPARTMENT_ID + 1];
    put! { values, stream:
        IP_LOCAL_ADDRESS = facts.local,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_REMOTE_ADDRESS = facts.remote,
        IP_LOCAL_PORT = Value::Uint16(facts.local_port),
        IP_REMOTE_PORT = Value::Uint16(facts.remote_port),
        DIRECTION = Value::Uint32(facts.direction.number()),
        FLAGS = Value::Uint32(facts.flags),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn datagram_data<'a>(facts: &Facts<'a>) -> [Value<'a>; field::datagram_data::COMPARTMENT_ID + 1] {
    let mut values = [Value::Empty; field::datagram_data::COMPARTMENT_ID + 1];
    put! { values, datagram_data:
        IP_PROTOCOL = Value::Uint8(facts.protocol),
        IP_LOCAL_ADDRESS = facts.local,
        IP_REMOTE_ADDRESS = facts.remote,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_LOCAL_PORT = Value::Uint16(facts.local_port),
        IP_REMOTE_PORT = Value::Uint16(facts.remote_port),
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        INTERFACE_INDEX = Value::Uint32(facts.interface.index),
        SUB_INTERFACE_INDEX = Value::Uint32(0),
        DIRECTION = Value::Uint32(facts.direction.number()),
        FLAGS = Value::Uint32(facts.flags),
        INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

/// `embedded` is what the error is about.
fn inbound_icmp_error<'a>(
    facts: &Facts<'a>,
    embedded: &Facts<'a>,
) -> [Value<'a>; field::inbound_icmp_error::COMPARTMENT_ID + 1] {
    let mut values = [Value::Empty; field::inbound_icmp_error::COMPARTMENT_ID + 1];
    put! { values, inbound_icmp_error:
        EMBEDDED_PROTOCOL = Value::Uint8(embedded.protocol),
        IP_LOCAL_ADDRESS = facts.local,
        IP_REMOTE_ADDRESS = facts.remote,
        EMBEDDED_REMOTE_ADDRESS = embedded.remote,
        EMBEDDED_LOCAL_ADDRESS_TYPE = Value::Uint8(embedded.local_type),
        EMBEDDED_LOCAL_PORT = Value::Uint16(embedded.local_port),
        EMBEDDED_REMOTE_PORT = Value::Uint16(embedded.remote_port),
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        ICMP_TYPE = Value::Uint16(facts.local_port),
        ICMP_CODE = Value::Uint16(facts.remote_port),
        INTERFACE_INDEX = Value::Uint32(facts.interface.index),
        SUB_INTERFACE_INDEX = Value::Uint32(0),
        INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        IP_ARRIVAL_INTERFACE = Value::Uint64(facts.interface.luid),
        ARRIVAL_INTERFACE_INDEX = Value::Uint32(facts.interface.index),
        ARRIVAL_INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        ARRIVAL_TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        FLAGS = Value::Uint32(facts.flags),
        ARRIVAL_INTERFACE_PROFILE_ID = Value::Uint32(facts.profile),
        INTERFACE_QUARANTINE_EPOCH = Value::Uint64(facts.interface.epoch),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn outbound_icmp_error<'a>(facts: &Facts<'a>) -> [Value<'a>; field::outbound_icmp_error::COMPARTMENT_ID + 1] {
    let mut values = [Value::Empty; field::outbound_icmp_error::COMPARTMENT_ID + 1];
    put! { values, outbound_icmp_error:
        IP_LOCAL_ADDRESS = facts.local,
        IP_REMOTE_ADDRESS = facts.remote,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        ICMP_TYPE = Value::Uint16(facts.local_port),
        ICMP_CODE = Value::Uint16(facts.remote_port),
        INTERFACE_INDEX = Value::Uint32(facts.interface.index),
        SUB_INTERFACE_INDEX = Value::Uint32(0),
        INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        FLAGS = Value::Uint32(facts.flags),
        NEXTHOP_INTERFACE_PROFILE_ID = Value::Uint32(facts.profile),
        INTERFACE_QUARANTINE_EPOCH = Value::Uint64(facts.interface.epoch),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn ale_resource_assignment<'a>(
    facts: &Facts<'a>,
) -> [Value<'a>; field::ale_resource_assignment::PACKAGE_FAMILY_NAME + 1] {
    let mut values = [Value::Empty; field::ale_resource_assignment::PACKAGE_FAMILY_NAME + 1];
    put! { values, ale_resource_assignment:
        ALE_APP_ID = facts.app,
        ALE_USER_ID = facts.user,
        ALE_PACKAGE_ID = facts.package,
        IP_LOCAL_ADDRESS = facts.local,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_LOCAL_PORT = Value::Uint16(facts.local_port),
        IP_PROTOCOL = Value::Uint8(facts.protocol),
        ALE_PROMISCUOUS_MODE = Value::Uint32(0),
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        FLAGS = Value::Uint32(facts.ale_flags()),
        INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        LOCAL_INTERFACE_PROFILE_ID = Value::Uint32(facts.profile),
        SIO_FIREWALL_SOCKET_PROPERTY = Value::Uint32(0),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn ale_connect_redirect<'a>(facts: &Facts<'a>) -> [Value<'a>; field::ale_connect_redirect::PACKAGE_FAMILY_NAME + 1] {
    let mut values = [Value::Empty; field::ale_connect_redirect::PACKAGE_FAMILY_NAME + 1];
    put! { values, ale_connect_redirect:
        ALE_APP_ID = facts.app,
        ALE_USER_ID = facts.user,
        ALE_PACKAGE_ID = facts.package,
        IP_LOCAL_ADDRESS = facts.local,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_LOCAL_PORT = Value::Uint16(facts.local_port),
        IP_PROTOCOL = Value::Uint8(facts.protocol),
        IP_REMOTE_ADDRESS = facts.remote,
        IP_DESTINATION_ADDRESS_TYPE = Value::Uint8(facts.remote_type),
        IP_REMOTE_PORT = Value::Uint16(facts.remote_port),
        FLAGS = Value::Uint32(facts.ale_flags()),
        ALE_ORIGINAL_APP_ID = facts.app,
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn ale_bind_redirect<'a>(facts: &Facts<'a>) -> [Value<'a>; field::ale_bind_redirect::PACKAGE_FAMILY_NAME + 1] {
    let mut values = [Value::Empty; field::ale_bind_redirect::PACKAGE_FAMILY_NAME + 1];
    put! { values, ale_bind_redirect:
        ALE_APP_ID = facts.app,
        ALE_USER_ID = facts.user,
        ALE_PACKAGE_ID = facts.package,
        IP_LOCAL_ADDRESS = facts.local,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_LOCAL_PORT = Value::Uint16(facts.local_port),
        IP_PROTOCOL = Value::Uint8(facts.protocol),
        FLAGS = Value::Uint32(facts.ale_flags()),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn ale_auth_connect<'a>(facts: &Facts<'a>) -> [Value<'a>; field::ale_auth_connect::PACKAGE_FAMILY_NAME + 1] {
    let mut values = [Value::Empty; field::ale_auth_connect::PACKAGE_FAMILY_NAME + 1];
    put! { values, ale_auth_connect:
        ALE_APP_ID = facts.app,
        ALE_USER_ID = facts.user,
        ALE_PACKAGE_ID = facts.package,
        IP_LOCAL_ADDRESS = facts.local,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_LOCAL_PORT = Value::Uint16(facts.local_port),
        IP_PROTOCOL = Value::Uint8(facts.protocol),
        IP_REMOTE_ADDRESS = facts.remote,
        IP_REMOTE_PORT = Value::Uint16(facts.remote_port),
        IP_DESTINATION_ADDRESS_TYPE = Value::Uint8(facts.remote_type),
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        FLAGS = Value::Uint32(facts.ale_flags()),
        INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        INTERFACE_INDEX = Value::Uint32(facts.interface.index),
        SUB_INTERFACE_INDEX = Value::Uint32(0),
        NEXTHOP_SUB_INTERFACE_INDEX = Value::Uint32(0),
        IP_NEXTHOP_INTERFACE = Value::Uint64(facts.interface.luid),
        NEXTHOP_INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        NEXTHOP_TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        NEXTHOP_INTERFACE_INDEX = Value::Uint32(facts.interface.index),
        ORIGINAL_PROFILE_ID = Value::Uint32(facts.profile),
        CURRENT_PROFILE_ID = Value::Uint32(facts.profile),
        REAUTHORIZE_REASON = Value::Uint32(facts.reauthorize_reason),
        ORIGINAL_ICMP_TYPE = facts.original_icmp_type,
        INTERFACE_QUARANTINE_EPOCH = Value::Uint64(facts.interface.epoch),
        ALE_ORIGINAL_APP_ID = facts.app,
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn ale_auth_recv_accept<'a>(facts: &Facts<'a>) -> [Value<'a>; field::ale_auth_recv_accept::PACKAGE_FAMILY_NAME + 1] {
    let mut values = [Value::Empty; field::ale_auth_recv_accept::PACKAGE_FAMILY_NAME + 1];
    put! { values, ale_auth_recv_accept:
        ALE_APP_ID = facts.app,
        ALE_USER_ID = facts.user,
        ALE_PACKAGE_ID = facts.package,
        IP_LOCAL_ADDRESS = facts.local,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_LOCAL_PORT = Value::Uint16(facts.local_port),
        IP_PROTOCOL = Value::Uint8(facts.protocol),
        IP_REMOTE_ADDRESS = facts.remote,
        IP_REMOTE_PORT = Value::Uint16(facts.remote_port),
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        FLAGS = Value::Uint32(facts.ale_flags()),
        SIO_FIREWALL_SYSTEM_PORT = Value::Uint32(0),
        NAP_CONTEXT = Value::Uint32(0),
        INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        INTERFACE_INDEX = Value::Uint32(facts.interface.index),
        SUB_INTERFACE_INDEX = Value::Uint32(0),
        ORIGINAL_PROFILE_ID = Value::Uint32(facts.profile),
        CURRENT_PROFILE_ID = Value::Uint32(facts.profile),
        REAUTHORIZE_REASON = Value::Uint32(facts.reauthorize_reason),
        ORIGINAL_ICMP_TYPE = facts.original_icmp_type,
        INTERFACE_QUARANTINE_EPOCH = Value::Uint64(facts.interface.epoch),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    if facts.direction == Direction::Inbound {
        // Not known when an outbound packet is reauthorized here.
        put! { values, ale_auth_recv_accept:
            IP_ARRIVAL_INTERFACE = Value::Uint64(facts.interface.luid),
            ARRIVAL_INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
            ARRIVAL_TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
            ARRIVAL_INTERFACE_INDEX = Value::Uint32(facts.interface.index),
        }
    } else {
        put! { values, ale_auth_recv_accept:
            NEXTHOP_SUB_INTERFACE_INDEX = Value::Uint32(0),
            IP_NEXTHOP_INTERFACE = Value::Uint64(facts.interface.luid),
            NEXTHOP_INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
            NEXTHOP_TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
            NEXTHOP_INTERFACE_INDEX = Value::Uint32(facts.interface.index),
        }
    }
    values
}

fn ale_flow_established<'a>(facts: &Facts<'a>) -> [Value<'a>; field::ale_flow_established::PACKAGE_FAMILY_NAME + 1] {
    let mut values = [Value::Empty; field::ale_flow_established::PACKAGE_FAMILY_NAME + 1];
    put! { values, ale_flow_established:
        ALE_APP_ID = facts.app,
        ALE_USER_ID = facts.user,
        ALE_PACKAGE_ID = facts.package,
        IP_LOCAL_ADDRESS = facts.local,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_LOCAL_PORT = Value::Uint16(facts.local_port),
        IP_PROTOCOL = Value::Uint8(facts.protocol),
        IP_REMOTE_ADDRESS = facts.remote,
        IP_REMOTE_PORT = Value::Uint16(facts.remote_port),
        IP_DESTINATION_ADDRESS_TYPE = Value::Uint8(facts.destination_type()),
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        DIRECTION = Value::Uint32(facts.direction.number()),
        INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        FLAGS = Value::Uint32(facts.ale_flags()),
        ALE_ORIGINAL_APP_ID = facts.app,
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn ale_endpoint_closure<'a>(facts: &Facts<'a>) -> [Value<'a>; field::ale_endpoint_closure::PACKAGE_FAMILY_NAME + 1] {
    let mut values = [Value::Empty; field::ale_endpoint_closure::PACKAGE_FAMILY_NAME + 1];
    put! { values, ale_endpoint_closure:
        ALE_APP_ID = facts.app,
        ALE_USER_ID = facts.user,
        ALE_PACKAGE_ID = facts.package,
        IP_LOCAL_ADDRESS = facts.local,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_LOCAL_PORT = Value::Uint16(facts.local_port),
        IP_PROTOCOL = Value::Uint8(facts.protocol),
        IP_REMOTE_ADDRESS = facts.remote,
        IP_REMOTE_PORT = Value::Uint16(facts.remote_port),
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        FLAGS = Value::Uint32(facts.ale_flags()),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn ale_resource_release<'a>(facts: &Facts<'a>) -> [Value<'a>; field::ale_resource_release::PACKAGE_FAMILY_NAME + 1] {
    let mut values = [Value::Empty; field::ale_resource_release::PACKAGE_FAMILY_NAME + 1];
    put! { values, ale_resource_release:
        ALE_APP_ID = facts.app,
        ALE_USER_ID = facts.user,
        ALE_PACKAGE_ID = facts.package,
        IP_LOCAL_ADDRESS = facts.local,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_LOCAL_PORT = Value::Uint16(facts.local_port),
        IP_PROTOCOL = Value::Uint8(facts.protocol),
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        FLAGS = Value::Uint32(facts.ale_flags()),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}

fn ale_auth_listen<'a>(facts: &Facts<'a>) -> [Value<'a>; field::ale_auth_listen::PACKAGE_FAMILY_NAME + 1] {
    let mut values = [Value::Empty; field::ale_auth_listen::PACKAGE_FAMILY_NAME + 1];
    put! { values, ale_auth_listen:
        ALE_APP_ID = facts.app,
        ALE_USER_ID = facts.user,
        ALE_PACKAGE_ID = facts.package,
        IP_LOCAL_ADDRESS = facts.local,
        IP_LOCAL_ADDRESS_TYPE = Value::Uint8(facts.local_type),
        IP_LOCAL_PORT = Value::Uint16(facts.local_port),
        IP_LOCAL_INTERFACE = Value::Uint64(facts.interface.luid),
        FLAGS = Value::Uint32(facts.ale_flags()),
        INTERFACE_TYPE = Value::Uint32(facts.interface.kind),
        TUNNEL_TYPE = Value::Uint32(facts.interface.tunnel),
        LOCAL_INTERFACE_PROFILE_ID = Value::Uint32(facts.profile),
        SIO_FIREWALL_SOCKET_PROPERTY = Value::Uint32(0),
        COMPARTMENT_ID = Value::Uint32(COMPARTMENT),
    }
    values
}
