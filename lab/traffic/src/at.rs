//! The stops on the way of a connection or packet.

use postern_engine::layers::id;

/// A stop on the way: a pair of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    InboundIpPacket,
    OutboundIpPacket,
    InboundTransport,
    OutboundTransport,
    Stream,
    DatagramData,
    InboundIcmpError,
    OutboundIcmpError,
    BindRedirect,
    ResourceAssignment,
    ConnectRedirect,
    AuthConnect,
    AuthRecvAccept,
    FlowEstablished,
    EndpointClosure,
    ResourceRelease,
    AuthListen,
}

impl At {
    #[inline]
    pub fn layer(self, v6: bool) -> u16 {
        let (v4_layer, v6_layer) = match self {
            At::InboundIpPacket => (id::INBOUND_IPPACKET_V4, id::INBOUND_IPPACKET_V6),
            At::OutboundIpPacket => (id::OUTBOUND_IPPACKET_V4, id::OUTBOUND_IPPACKET_V6),
            At::InboundTransport => (id::INBOUND_TRANSPORT_V4, id::INBOUND_TRANSPORT_V6),
            At::OutboundTransport => (id::OUTBOUND_TRANSPORT_V4, id::OUTBOUND_TRANSPORT_V6),
            At::Stream => (id::STREAM_V4, id::STREAM_V6),
            At::DatagramData => (id::DATAGRAM_DATA_V4, id::DATAGRAM_DATA_V6),
            At::InboundIcmpError => (id::INBOUND_ICMP_ERROR_V4, id::INBOUND_ICMP_ERROR_V6),
            At::OutboundIcmpError => (id::OUTBOUND_ICMP_ERROR_V4, id::OUTBOUND_ICMP_ERROR_V6),
            At::BindRedirect => (id::ALE_BIND_REDIRECT_V4, id::ALE_BIND_REDIRECT_V6),
            At::ResourceAssignment => (id::ALE_RESOURCE_ASSIGNMENT_V4, id::ALE_RESOURCE_ASSIGNMENT_V6),
            At::ConnectRedirect => (id::ALE_CONNECT_REDIRECT_V4, id::ALE_CONNECT_REDIRECT_V6),
            At::AuthConnect => (id::ALE_AUTH_CONNECT_V4, id::ALE_AUTH_CONNECT_V6),
            At::AuthRecvAccept => (id::ALE_AUTH_RECV_ACCEPT_V4, id::ALE_AUTH_RECV_ACCEPT_V6),
            At::FlowEstablished => (id::ALE_FLOW_ESTABLISHED_V4, id::ALE_FLOW_ESTABLISHED_V6),
            At::EndpointClosure => (id::ALE_ENDPOINT_CLOSURE_V4, id::ALE_ENDPOINT_CLOSURE_V6),
            At::ResourceRelease => (id::ALE_RESOURCE_RELEASE_V4, id::ALE_RESOURCE_RELEASE_V6),
            At::AuthListen => (id::ALE_AUTH_LISTEN_V4, id::ALE_AUTH_LISTEN_V6),
        };
        if v6 { v6_layer } else { v4_layer }
    }

    /// Whether programs are known there.
    pub fn is_ale(self) -> bool {
        use At::*;
        match self {
            InboundIpPacket | OutboundIpPacket | InboundTransport | OutboundTransport | Stream | DatagramData
            | InboundIcmpError | OutboundIcmpError => false,
            BindRedirect | ResourceAssignment | ConnectRedirect | AuthConnect | AuthRecvAccept | FlowEstablished
            | EndpointClosure | ResourceRelease | AuthListen => true,
        }
    }

    /// The layer where callouts see what was dropped here, if there is one.
    pub fn discard_layer(self, v6: bool) -> Option<u16> {
        match self {
            At::BindRedirect | At::ConnectRedirect | At::EndpointClosure | At::ResourceRelease => None,
            // Each layer below 56 that can discard is followed by its discard layer.
            _ => Some(self.layer(v6) + 1),
        }
    }
}
