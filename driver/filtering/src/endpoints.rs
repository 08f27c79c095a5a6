//! Who talks to whom: the ends of a flow, packet or operation, as a layer's values and metadata tell them.

use fwps::incoming::{Metadata, Values};
use fwps::sys::*;
use postern_protocol::Layer;
use postern_protocol::ioctl::Endpoints;

/// Where a layer's values are. Those of the two IP versions are at the same places.
pub struct Fields {
    local_address: u16,
    remote_address: u16,
    local_port: u16,
    remote_port: u16,
    /// The stream layers have none: what streams is TCP.
    protocol: Option<u16>,
    /// `ALE_APP_ID`.
    pub application: Option<u16>,
    /// `FWP_DIRECTION`, where the layer does not say it by itself.
    pub direction: Option<u16>,
    /// `FWP_CONDITION_FLAG_*`.
    pub flags: u16,
    ip_version: u8,
    /// What `direction` would say.
    inbound: bool,
}

const IPPROTO_TCP: u8 = 6;

impl Fields {
    pub const fn of(layer: Layer) -> Fields {
        let ip_version = if (layer as u8).is_multiple_of(2) { 4 } else { 6 };
        match layer {
            Layer::AleAuthConnectV4 | Layer::AleAuthConnectV6 => Fields {
                local_address: FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_LOCAL_ADDRESS,
                remote_address: FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_REMOTE_ADDRESS,
                local_port: FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_LOCAL_PORT,
                remote_port: FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_REMOTE_PORT,
                protocol: Some(FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_PROTOCOL),
                application: Some(FWPS_FIELD_ALE_AUTH_CONNECT_V4_ALE_APP_ID),
                direction: None,
                flags: FWPS_FIELD_ALE_AUTH_CONNECT_V4_FLAGS,
                ip_version,
                inbound: false,
            },
            Layer::AleAuthRecvAcceptV4 | Layer::AleAuthRecvAcceptV6 => Fields {
                local_address: FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_IP_LOCAL_ADDRESS,
                remote_address: FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_IP_REMOTE_ADDRESS,
                local_port: FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_IP_LOCAL_PORT,
                remote_port: FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_IP_REMOTE_PORT,
                protocol: Some(FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_IP_PROTOCOL),
                application: Some(FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_ALE_APP_ID),
                direction: None,
                flags: FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_FLAGS,
                ip_version,
                inbound: true,
            },
            Layer::InboundTransportV4 | Layer::InboundTransportV6 => Fields {
                local_address: FWPS_FIELD_INBOUND_TRANSPORT_V4_IP_LOCAL_ADDRESS,
                remote_address: FWPS_FIELD_INBOUND_TRANSPORT_V4_IP_REMOTE_ADDRESS,
                local_port: FWPS_FIELD_INBOUND_TRANSPORT_V4_IP_LOCAL_PORT,
                remote_port: FWPS_FIELD_INBOUND_TRANSPORT_V4_IP_REMOTE_PORT,
                protocol: Some(FWPS_FIELD_INBOUND_TRANSPORT_V4_IP_PROTOCOL),
                application: None,
                direction: None,
                flags: FWPS_FIELD_INBOUND_TRANSPORT_V4_FLAGS,
                ip_version,
                inbound: true,
            },
            Layer::OutboundTransportV4 | Layer::OutboundTransportV6 => Fields {
                local_address: FWPS_FIELD_OUTBOUND_TRANSPORT_V4_IP_LOCAL_ADDRESS,
                remote_address: FWPS_FIELD_OUTBOUND_TRANSPORT_V4_IP_REMOTE_ADDRESS,
                local_port: FWPS_FIELD_OUTBOUND_TRANSPORT_V4_IP_LOCAL_PORT,
                remote_port: FWPS_FIELD_OUTBOUND_TRANSPORT_V4_IP_REMOTE_PORT,
                protocol: Some(FWPS_FIELD_OUTBOUND_TRANSPORT_V4_IP_PROTOCOL),
                application: None,
                direction: None,
                flags: FWPS_FIELD_OUTBOUND_TRANSPORT_V4_FLAGS,
                ip_version,
                inbound: false,
            },
            Layer::AleFlowEstablishedV4 | Layer::AleFlowEstablishedV6 => Fields {
                local_address: FWPS_FIELD_ALE_FLOW_ESTABLISHED_V4_IP_LOCAL_ADDRESS,
                remote_address: FWPS_FIELD_ALE_FLOW_ESTABLISHED_V4_IP_REMOTE_ADDRESS,
                local_port: FWPS_FIELD_ALE_FLOW_ESTABLISHED_V4_IP_LOCAL_PORT,
                remote_port: FWPS_FIELD_ALE_FLOW_ESTABLISHED_V4_IP_REMOTE_PORT,
                protocol: Some(FWPS_FIELD_ALE_FLOW_ESTABLISHED_V4_IP_PROTOCOL),
                application: Some(FWPS_FIELD_ALE_FLOW_ESTABLISHED_V4_ALE_APP_ID),
                direction: Some(FWPS_FIELD_ALE_FLOW_ESTABLISHED_V4_DIRECTION),
                flags: FWPS_FIELD_ALE_FLOW_ESTABLISHED_V4_FLAGS,
                ip_version,
                inbound: false,
            },
            Layer::StreamV4 | Layer::StreamV6 => Fields {
                local_address: FWPS_FIELD_STREAM_V4_IP_LOCAL_ADDRESS,
                remote_address: FWPS_FIELD_STREAM_V4_IP_REMOTE_ADDRESS,
                local_port: FWPS_FIELD_STREAM_V4_IP_LOCAL_PORT,
                remote_port: FWPS_FIELD_STREAM_V4_IP_REMOTE_PORT,
                protocol: None,
                application: None,
                direction: Some(FWPS_FIELD_STREAM_V4_DIRECTION),
                flags: FWPS_FIELD_STREAM_V4_FLAGS,
                ip_version,
                inbound: false,
            },
            Layer::DatagramDataV4 | Layer::DatagramDataV6 => Fields {
                local_address: FWPS_FIELD_DATAGRAM_DATA_V4_IP_LOCAL_ADDRESS,
                remote_address: FWPS_FIELD_DATAGRAM_DATA_V4_IP_REMOTE_ADDRESS,
                local_port: FWPS_FIELD_DATAGRAM_DATA_V4_IP_LOCAL_PORT,
                remote_port: FWPS_FIELD_DATAGRAM_DATA_V4_IP_REMOTE_PORT,
                protocol: Some(FWPS_FIELD_DATAGRAM_DATA_V4_IP_PROTOCOL),
                application: None,
                direction: Some(FWPS_FIELD_DATAGRAM_DATA_V4_DIRECTION),
                flags: FWPS_FIELD_DATAGRAM_DATA_V4_FLAGS,
                ip_version,
                inbound: false,
            },
        }
    }

    /// Whether what is classified comes from the other side.
    pub fn is_inbound(&self, values: Values<'_>) -> bool {
        match self.direction.and_then(|field| values.uint32(field)) {
            Some(direction) => direction == FWP_DIRECTION_INBOUND,
            None => self.inbound,
        }
    }

    /// The ends, without the application's id. What a layer does not tell is zero.
    pub fn endpoints(&self, values: Values<'_>, metadata: Metadata<'_>) -> Endpoints {
        Endpoints {
            local_address: values.address(self.local_address).unwrap_or_default(),
            remote_address: values.address(self.remote_address).unwrap_or_default(),
            local_port: values.uint16(self.local_port).unwrap_or_default(),
            remote_port: values.uint16(self.remote_port).unwrap_or_default(),
            protocol: match self.protocol {
                Some(field) => values.uint8(field).unwrap_or_default(),
                None => IPPROTO_TCP,
            },
            ip_version: self.ip_version,
            inbound: self.is_inbound(values).into(),
            process_id: metadata.process_id().unwrap_or_default(),
            ..Endpoints::default()
        }
    }

    /// The program's path, UTF-16 with its terminator, if the layer tells it.
    pub fn application<'a>(&self, values: Values<'a>) -> Option<&'a [u8]> {
        values.blob(self.application?)
    }
}

macro_rules! same_in_both_versions {
    ($($v4:ident = $v6:ident),* $(,)?) => { $(const _: () = assert!($v4 == $v6);)* };
}
same_in_both_versions! {
    FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_REMOTE_PORT = FWPS_FIELD_ALE_AUTH_CONNECT_V6_IP_REMOTE_PORT,
    FWPS_FIELD_ALE_AUTH_CONNECT_V4_FLAGS = FWPS_FIELD_ALE_AUTH_CONNECT_V6_FLAGS,
    FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_IP_REMOTE_PORT = FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V6_IP_REMOTE_PORT,
    FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_FLAGS = FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V6_FLAGS,
    FWPS_FIELD_INBOUND_TRANSPORT_V4_FLAGS = FWPS_FIELD_INBOUND_TRANSPORT_V6_FLAGS,
    FWPS_FIELD_OUTBOUND_TRANSPORT_V4_FLAGS = FWPS_FIELD_OUTBOUND_TRANSPORT_V6_FLAGS,
    FWPS_FIELD_ALE_FLOW_ESTABLISHED_V4_FLAGS = FWPS_FIELD_ALE_FLOW_ESTABLISHED_V6_FLAGS,
    FWPS_FIELD_STREAM_V4_FLAGS = FWPS_FIELD_STREAM_V6_FLAGS,
    FWPS_FIELD_DATAGRAM_DATA_V4_FLAGS = FWPS_FIELD_DATAGRAM_DATA_V6_FLAGS,
}
