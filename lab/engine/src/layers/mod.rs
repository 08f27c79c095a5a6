//! The layers of Windows 11 (build 26100): run-time ids, GUIDs, names, flags, fields.
//!
//! Ids 0 to 86 are the kernel's (fwpsk.h `FWPS_BUILTIN_LAYERS`); user-mode layers follow. Ids, GUIDs, display names and flags are those that
//! `netsh wfp show state` reports.

mod fields;

use uuid::{Uuid, uuid};

/// Indices of the incoming values, by layer pair and field name.
pub mod field {
    pub use super::fields::*;
}

/// A layer (`FWPM_LAYER0`).
#[derive(Debug, PartialEq, Eq)]
pub struct Layer {
    /// `FWPS_LAYER_*`.
    pub id: u16,
    pub key: Uuid,
    /// Without prefix: `ALE_AUTH_CONNECT_V4`.
    pub name: &'static str,
    pub display_name: &'static str,
    pub flags: LayerFlags,
    pub fields: &'static [Field],
}

/// A field of a layer (`FWPM_FIELD0`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The condition's GUID.
    pub key: Uuid,
    /// `FWPS_FIELD_<layer>_<name>`; two layers may name one key differently (ports and ICMP type and code).
    pub name: &'static str,
    pub field_type: FieldType,
    pub data_type: DataType,
}

/// `FWPM_FIELD_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    RawData,
    IpAddress,
    Flags,
}

/// `FWP_DATA_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u32)]
pub enum DataType {
    Empty = 0,
    Uint8 = 1,
    Uint16 = 2,
    Uint32 = 3,
    Uint64 = 4,
    ByteArray16 = 11,
    ByteBlob = 12,
    Sid = 13,
    SecurityDescriptor = 14,
    TokenInformation = 15,
    TokenAccessInformation = 16,
    UnicodeString = 17,
    ByteArray6 = 18,
    V4AddrMask = 0x100,
    V6AddrMask = 0x101,
    Range = 0x102,
}

bitflags::bitflags! {
    /// `FWPM_LAYER_FLAG_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct LayerFlags: u32 {
        const KERNEL = 0x1;
        const BUILTIN = 0x2;
        const CLASSIFY_MOSTLY = 0x4;
        const BUFFERED = 0x8;
    }
}

impl Layer {
    pub fn is_kernel(&self) -> bool {
        self.flags.contains(LayerFlags::KERNEL)
    }

    /// The index of a field by its condition key.
    pub fn field_index(&self, key: &Uuid) -> Option<usize> {
        self.fields.iter().position(|field| field.key == *key)
    }

    /// The symbol that headers and netsh use; the two reserved layers have none.
    pub fn symbol(&self) -> Option<alloc::string::String> {
        (!self.name.starts_with("RESERVED_LAYER")).then(|| alloc::format!("FWPM_LAYER_{}", self.name))
    }
}

/// All layers; the position is the id.
pub const fn all() -> &'static [Layer] {
    ALL
}

pub fn by_id(id: u16) -> Option<&'static Layer> {
    ALL.get(usize::from(id))
}

pub fn by_key(key: &Uuid) -> Option<&'static Layer> {
    ALL.iter().find(|layer| layer.key == *key)
}

/// By name, with or without `FWPM_LAYER_` or `FWPS_LAYER_`.
pub fn by_name(name: &str) -> Option<&'static Layer> {
    let name = name.strip_prefix("FWPM_LAYER_").or_else(|| name.strip_prefix("FWPS_LAYER_")).unwrap_or(name);
    ALL.iter().find(|layer| layer.name == name)
}

const KERNEL: LayerFlags = LayerFlags::KERNEL.union(USER_CLASSIFY_MOSTLY);
const KERNEL_BUFFERED: LayerFlags = KERNEL.union(LayerFlags::BUFFERED);
const USER: LayerFlags = LayerFlags::BUILTIN;
const USER_CLASSIFY_MOSTLY: LayerFlags = LayerFlags::BUILTIN.union(LayerFlags::CLASSIFY_MOSTLY);

macro_rules! layers {
    ($($id:literal $name:ident $key:literal $display:literal $flags:ident $fields:expr;)+) => {
        /// Run-time ids (`FWPS_LAYER_*`).
        pub mod id {
            $(pub const $name: u16 = $id;)+
        }

        /// GUIDs (`FWPM_LAYER_*`).
        pub mod key {
            use super::{Uuid, uuid};
            $(pub const $name: Uuid = uuid!($key);)+
        }

        static ALL: &[Layer] = {
            #[allow(clippy::wildcard_imports)]
            use fields::*;
            &[$(Layer {
                id: $id, key: key::$name, name: stringify!($name), display_name: $display, flags: $flags, fields: $fields,
            }),+]
        };
    };
}

layers! {
    0 INBOUND_IPPACKET_V4 "c86fd1bf-21cd-497e-a0bb-17425c885c58" "Inbound IP Packet v4 Layer" KERNEL inbound_ippacket::V4;
    1 INBOUND_IPPACKET_V4_DISCARD "b5a230d0-a8c0-44f2-916e-991b53ded1f7" "Inbound IP Packet v4 Discard Layer" KERNEL inbound_ippacket::V4;
    2 INBOUND_IPPACKET_V6 "f52032cb-991c-46e7-971d-2601459a91ca" "Inbound IP Packet v6 Layer" KERNEL inbound_ippacket::V6;
    3 INBOUND_IPPACKET_V6_DISCARD "bb24c279-93b4-47a2-83ad-ae1698b50885" "Inbound IP Packet v6 Discard Layer" KERNEL inbound_ippacket::V6;
    4 OUTBOUND_IPPACKET_V4 "1e5c9fae-8a84-4135-a331-950b54229ecd" "Outbound IP Packet v4 Layer" KERNEL outbound_ippacket::V4;
    5 OUTBOUND_IPPACKET_V4_DISCARD "08e4bcb5-b647-48f3-953c-e5ddbd03937e" "Outbound IP Packet v4 Discard Layer" KERNEL outbound_ippacket::V4;
    6 OUTBOUND_IPPACKET_V6 "a3b3ab6b-3564-488c-9117-f34e82142763" "Outbound IP Packet v6 Layer" KERNEL outbound_ippacket::V6;
    7 OUTBOUND_IPPACKET_V6_DISCARD "9513d7c4-a934-49dc-91a7-6ccb80cc02e3" "Outbound IP Packet v6 Discard Layer" KERNEL outbound_ippacket::V6;
    8 IPFORWARD_V4 "a82acc24-4ee1-4ee1-b465-fd1d25cb10a4" "IP Forward v4 Layer" KERNEL ipforward::V4;
    9 IPFORWARD_V4_DISCARD "9e9ea773-2fae-4210-8f17-34129ef369eb" "IP Forward v4 Discard Layer" KERNEL ipforward::V4;
    10 IPFORWARD_V6 "7b964818-19c7-493a-b71f-832c3684d28c" "IP Forward v6 Layer" KERNEL ipforward::V6;
    11 IPFORWARD_V6_DISCARD "31524a5d-1dfe-472f-bb93-518ee945d8a2" "IP Forward v6 Discard Layer" KERNEL ipforward::V6;
    12 INBOUND_TRANSPORT_V4 "5926dfc8-e3cf-4426-a283-dc393f5d0f9d" "Inbound Transport v4 Layer" KERNEL inbound_transport::V4;
    13 INBOUND_TRANSPORT_V4_DISCARD "ac4a9833-f69d-4648-b261-6dc84835ef39" "Inbound Transport v4 Discard Layer" KERNEL inbound_transport::V4;
    14 INBOUND_TRANSPORT_V6 "634a869f-fc23-4b90-b0c1-bf620a36ae6f" "Inbound Transport v6 Layer" KERNEL inbound_transport::V6;
    15 INBOUND_TRANSPORT_V6_DISCARD "2a6ff955-3b2b-49d2-9848-ad9d72dcaab7" "Inbound Transport v6 Discard Layer" KERNEL inbound_transport::V6;
    16 OUTBOUND_TRANSPORT_V4 "09e61aea-d214-46e2-9b21-b26b0b2f28c8" "Outbound Transport v4 Layer" KERNEL outbound_transport::V4;
    17 OUTBOUND_TRANSPORT_V4_DISCARD "c5f10551-bdb0-43d7-a313-50e211f4d68a" "Outbound Transport v4 Discard Layer" KERNEL outbound_transport::V4;
    18 OUTBOUND_TRANSPORT_V6 "e1735bde-013f-4655-b351-a49e15762df0" "Outbound Transport v6 Layer" KERNEL outbound_transport::V6;
    19 OUTBOUND_TRANSPORT_V6_DISCARD "f433df69-ccbd-482e-b9b2-57165658c3b3" "Outbound Transport v6 Discard Layer" KERNEL outbound_transport::V6;
    20 STREAM_V4 "3b89653c-c170-49e4-b1cd-e0eeeee19a3e" "Stream v4 Layer" KERNEL_BUFFERED stream::V4;
    21 STREAM_V4_DISCARD "25c4c2c2-25ff-4352-82f9-c54a4a4726dc" "Stream v4 Discard Layer" KERNEL_BUFFERED stream::V4;
    22 STREAM_V6 "47c9137a-7ec4-46b3-b6e4-48e926b1eda4" "Stream v6 Layer" KERNEL_BUFFERED stream::V6;
    23 STREAM_V6_DISCARD "10a59fc7-b628-4c41-9eb8-cf37d55103cf" "Stream v6 Discard Layer" KERNEL_BUFFERED stream::V6;
    24 DATAGRAM_DATA_V4 "3d08bf4e-45f6-4930-a922-417098e20027" "Datagram Data v4 Layer" KERNEL datagram_data::V4;
    25 DATAGRAM_DATA_V4_DISCARD "18e330c6-7248-4e52-aaab-472ed67704fd" "Datagram Data v4 Discard Layer" KERNEL datagram_data::V4;
    26 DATAGRAM_DATA_V6 "fa45fe2f-3cba-4427-87fc-57b9a4b10d00" "Datagram Data v6 Layer" KERNEL datagram_data::V6;
    27 DATAGRAM_DATA_V6_DISCARD "09d1dfe1-9b86-4a42-be9d-8c315b92a5d0" "Datagram Data v6 Discard Layer" KERNEL datagram_data::V6;
    28 INBOUND_ICMP_ERROR_V4 "61499990-3cb6-4e84-b950-53b94b6964f3" "Inbound ICMP Error v4 Layer" KERNEL inbound_icmp_error::V4;
    29 INBOUND_ICMP_ERROR_V4_DISCARD "a6b17075-ebaf-4053-a4e7-213c8121ede5" "Inbound ICMP Error v4 Discard Layer" KERNEL inbound_icmp_error::V4;
    30 INBOUND_ICMP_ERROR_V6 "65f9bdff-3b2d-4e5d-b8c6-c720651fe898" "Inbound ICMP Error v6 Layer" KERNEL inbound_icmp_error::V6;
    31 INBOUND_ICMP_ERROR_V6_DISCARD "a6e7ccc0-08fb-468d-a472-9771d5595e09" "Inbound ICMP Error v6 Discard Layer" KERNEL inbound_icmp_error::V6;
    32 OUTBOUND_ICMP_ERROR_V4 "41390100-564c-4b32-bc1d-718048354d7c" "Outbound ICMP Error v4 Layer" KERNEL outbound_icmp_error::V4;
    33 OUTBOUND_ICMP_ERROR_V4_DISCARD "b3598d36-0561-4588-a6bf-e955e3f6264b" "Outbound ICMP Error v4 Discard Layer" KERNEL outbound_icmp_error::V4;
    34 OUTBOUND_ICMP_ERROR_V6 "7fb03b60-7b8d-4dfa-badd-980176fc4e12" "Outbound ICMP Error v6 Layer" KERNEL outbound_icmp_error::V6;
    35 OUTBOUND_ICMP_ERROR_V6_DISCARD "65f2e647-8d0c-4f47-b19b-33a4d3f1357c" "Outbound ICMP Error v6 Discard Layer" KERNEL outbound_icmp_error::V6;
    36 ALE_RESOURCE_ASSIGNMENT_V4 "1247d66d-0b60-4a15-8d44-7155d0f53a0c" "ALE Resource Assignment v4 Layer" KERNEL ale_resource_assignment::V4;
    37 ALE_RESOURCE_ASSIGNMENT_V4_DISCARD "0b5812a2-c3ff-4eca-b88d-c79e20ac6322" "ALE Resource Assignment v4 Discard Layer" KERNEL ale_resource_assignment::V4;
    38 ALE_RESOURCE_ASSIGNMENT_V6 "55a650e1-5f0a-4eca-a653-88f53b26aa8c" "ALE Resource Assignment v6 Layer" KERNEL ale_resource_assignment::V6;
    39 ALE_RESOURCE_ASSIGNMENT_V6_DISCARD "cbc998bb-c51f-4c1a-bb4f-9775fcacab2f" "ALE Resource Assignment v6 Discard Layer" KERNEL ale_resource_assignment::V6;
    40 ALE_AUTH_LISTEN_V4 "88bb5dad-76d7-4227-9c71-df0a3ed7be7e" "ALE Listen v4 Layer" KERNEL ale_auth_listen::V4;
    41 ALE_AUTH_LISTEN_V4_DISCARD "371dfada-9f26-45fd-b4eb-c29eb212893f" "ALE Listen v4 Discard Layer" KERNEL ale_auth_listen::V4;
    42 ALE_AUTH_LISTEN_V6 "7ac9de24-17dd-4814-b4bd-a9fbc95a321b" "ALE Listen v6 Layer" KERNEL ale_auth_listen::V6;
    43 ALE_AUTH_LISTEN_V6_DISCARD "60703b07-63c8-48e9-ada3-12b1af40a617" "ALE Listen v6 Discard Layer" KERNEL ale_auth_listen::V6;
    44 ALE_AUTH_RECV_ACCEPT_V4 "e1cd9fe7-f4b5-4273-96c0-592e487b8650" "ALE Receive/Accept v4 Layer" KERNEL ale_auth_recv_accept::V4;
    45 ALE_AUTH_RECV_ACCEPT_V4_DISCARD "9eeaa99b-bd22-4227-919f-0073c63357b1" "ALE Receive/Accept v4 Discard Layer" KERNEL ale_auth_recv_accept::V4;
    46 ALE_AUTH_RECV_ACCEPT_V6 "a3b42c97-9f04-4672-b87e-cee9c483257f" "ALE Receive/Accept v6 Layer" KERNEL ale_auth_recv_accept::V6;
    47 ALE_AUTH_RECV_ACCEPT_V6_DISCARD "89455b97-dbe1-453f-a224-13da895af396" "ALE Receive/Accept v6 Discard Layer" KERNEL ale_auth_recv_accept::V6.split_at(36).0;
    48 ALE_AUTH_CONNECT_V4 "c38d57d1-05a7-4c33-904f-7fbceee60e82" "ALE Connect v4 Layer" KERNEL ale_auth_connect::V4;
    49 ALE_AUTH_CONNECT_V4_DISCARD "d632a801-f5ba-4ad6-96e3-607017d9836a" "ALE Connect v4 Discard Layer" KERNEL ale_auth_connect::V4;
    50 ALE_AUTH_CONNECT_V6 "4a72393b-319f-44bc-84c3-ba54dcb3b6b4" "ALE Connect v6 Layer" KERNEL ale_auth_connect::V6;
    51 ALE_AUTH_CONNECT_V6_DISCARD "c97bc3b8-c9a3-4e33-8695-8e17aad4de09" "ALE Connect v6 Discard Layer" KERNEL ale_auth_connect::V6;
    52 ALE_FLOW_ESTABLISHED_V4 "af80470a-5596-4c13-9992-539e6fe57967" "ALE Flow Established v4 Layer" KERNEL ale_flow_established::V4;
    53 ALE_FLOW_ESTABLISHED_V4_DISCARD "146ae4a9-a1d2-4d43-a31a-4c42682b8e4f" "ALE Flow Established v4 Discard Layer" KERNEL ale_flow_established::V4;
    54 ALE_FLOW_ESTABLISHED_V6 "7021d2b3-dfa4-406e-afeb-6afaf7e70efd" "ALE Flow Established v6 Layer" KERNEL ale_flow_established::V6;
    55 ALE_FLOW_ESTABLISHED_V6_DISCARD "46928636-bbca-4b76-941d-0fa7f5d7d372" "ALE Flow Established v6 Discard Layer" KERNEL ale_flow_established::V6;
    56 INBOUND_MAC_FRAME_ETHERNET "effb7edb-0055-4f9a-a231-4ff8131ad191" "Inbound Ethernet Layer" KERNEL inbound_mac_frame_ethernet::V4;
    57 OUTBOUND_MAC_FRAME_ETHERNET "694673bc-d6db-4870-adee-0acdbdb7f4b2" "Outbound Ethernet Layer" KERNEL outbound_mac_frame_ethernet::V4;
    58 INBOUND_MAC_FRAME_NATIVE "d4220bd3-62ce-4f08-ae88-b56e8526df50" "Inbound Native MAC Layer" KERNEL inbound_mac_frame_native::V4;
    59 OUTBOUND_MAC_FRAME_NATIVE "94c44912-9d6f-4ebf-b995-05ab8a088d1b" "Outbound Native MAC Layer" KERNEL outbound_mac_frame_native::V4;
    60 NAME_RESOLUTION_CACHE_V4 "0c2aa681-905b-4ccd-a467-4dd811d07b7b" "Name Resolution Cache v4 Layer" KERNEL name_resolution_cache::V4;
    61 NAME_RESOLUTION_CACHE_V6 "92d592fa-6b01-434a-9dea-d1e96ea97da9" "Name Resolution Cache v6 Layer" KERNEL name_resolution_cache::V6;
    62 ALE_RESOURCE_RELEASE_V4 "74365cce-ccb0-401a-bfc1-b89934ad7e15" "ALE Resource Release v4 Layer" KERNEL ale_resource_release::V4;
    63 ALE_RESOURCE_RELEASE_V6 "f4e5ce80-edcc-4e13-8a2f-b91454bb057b" "ALE Resource Release v6 Layer" KERNEL ale_resource_release::V6;
    64 ALE_ENDPOINT_CLOSURE_V4 "b4766427-e2a2-467a-bd7e-dbcd1bd85a09" "ALE Endpoint Closure v4 Layer" KERNEL ale_endpoint_closure::V4;
    65 ALE_ENDPOINT_CLOSURE_V6 "bb536ccd-4755-4ba9-9ff7-f9edf8699c7b" "ALE Endpoint Closure v6 Layer" KERNEL ale_endpoint_closure::V6;
    66 ALE_CONNECT_REDIRECT_V4 "c6e63c8c-b784-4562-aa7d-0a67cfcaf9a3" "ALE Connect Redirect v4 Layer" KERNEL ale_connect_redirect::V4;
    67 ALE_CONNECT_REDIRECT_V6 "587e54a7-8046-42ba-a0aa-b716250fc7fd" "ALE Connect Redirect v6 Layer" KERNEL ale_connect_redirect::V6;
    68 ALE_BIND_REDIRECT_V4 "66978cad-c704-42ac-86ac-7c1a231bd253" "ALE Bind Redirect v4 Layer" KERNEL ale_bind_redirect::V4;
    69 ALE_BIND_REDIRECT_V6 "bef02c9c-606b-4536-8c26-1c2fc7b631d4" "ALE Bind Redirect v6 Layer" KERNEL ale_bind_redirect::V6;
    70 STREAM_PACKET_V4 "af52d8ec-cb2d-44e5-ad92-f8dc38d2eb29" "Stream Packet v4 Layer" KERNEL stream_packet::V4;
    71 STREAM_PACKET_V6 "779a8ca3-f099-468f-b5d4-83535c461c02" "Stream Packet v6 Layer" KERNEL stream_packet::V6;
    72 INGRESS_VSWITCH_ETHERNET "7d98577a-9a87-41ec-9718-7cf589c9f32d" "Ingress vSwitch Ethernet layer" KERNEL ingress_vswitch_ethernet::V4;
    73 EGRESS_VSWITCH_ETHERNET "86c872b0-76fa-4b79-93a4-0750530ae292" "Egress vSwitch Ethernet layer" KERNEL egress_vswitch_ethernet::V4;
    74 INGRESS_VSWITCH_TRANSPORT_V4 "b2696ff6-774f-4554-9f7d-3da3945f8e85" "Ingress vSwitch Transport v4 layer" KERNEL ingress_vswitch_transport::V4;
    75 INGRESS_VSWITCH_TRANSPORT_V6 "5ee314fc-7d8a-47f4-b7e3-291a36da4e12" "Ingress vSwitch Transport v6 layer" KERNEL ingress_vswitch_transport::V6;
    76 EGRESS_VSWITCH_TRANSPORT_V4 "b92350b6-91f0-46b6-bdc4-871dfd4a7c98" "Egress vSwitch Transport v4 layer" KERNEL egress_vswitch_transport::V4;
    77 EGRESS_VSWITCH_TRANSPORT_V6 "1b2def23-1881-40bd-82f4-4254e63141cb" "Egress vSwitch Transport v6 layer" KERNEL egress_vswitch_transport::V6;
    78 INBOUND_TRANSPORT_FAST "e41d2719-05c7-40f0-8983-ea8d17bbc2f6" "Inbound Transport v4 Layer fast" KERNEL &[];
    79 OUTBOUND_TRANSPORT_FAST "13ed4388-a070-4815-9935-7a9be6408b78" "Outbound Transport v4 Layer fast" KERNEL &[];
    80 INBOUND_MAC_FRAME_NATIVE_FAST "853aaa8e-2b78-4d24-a804-36db08b29711" "Inbound Native MAC Layer fast" KERNEL &[];
    81 OUTBOUND_MAC_FRAME_NATIVE_FAST "470df946-c962-486f-9446-8293cbc75eb8" "Outbound Native MAC Layer fast " KERNEL &[];
    82 INBOUND_RESERVED2 "f4fb8d55-c076-46d8-a2c7-6a4c722ca4ed" "Inbound HTTP Reserved Layer" KERNEL inbound_reserved2::V4;
    83 RESERVED_LAYER_9 "29243af8-ecaf-4436-a44e-f9fb7070aa04" "ALE Accept Redirect v4 Layer" KERNEL ale_accept_redirect::V4;
    84 RESERVED_LAYER_10 "c9809347-218f-4b7f-a742-b281a3f631b4" "ALE Accept Redirect v6 Layer" KERNEL ale_accept_redirect::V6;
    85 OUTBOUND_NETWORK_CONNECTION_POLICY_V4 "037f317a-d696-494a-bba5-bffc265e6052" "Outbound Network Connection Policy V4 Layer" KERNEL outbound_network_connection_policy::V4;
    86 OUTBOUND_NETWORK_CONNECTION_POLICY_V6 "22a4fdb1-6d7e-48ae-ae77-3742525c3119" "Outbound Network Connection Policy V6 Layer" KERNEL outbound_network_connection_policy::V6;
    87 IPSEC_KM_DEMUX_V4 "f02b1526-a459-4a51-b9e3-759de52b9d2c" "IPsec KM Demux v4 Layer" USER ipsec_km_demux::V4;
    88 IPSEC_KM_DEMUX_V6 "2f755cf6-2fd4-4e88-b3e4-a91bca495235" "IPsec KM Demux v6 Layer" USER ipsec_km_demux::V6;
    89 IPSEC_V4 "eda65c74-610d-4bc5-948f-3c4f89556867" "IPsec v4 Layer" USER ipsec::V4;
    90 IPSEC_V6 "13c48442-8d87-4261-9a29-59d2abc348b4" "IPsec v6 Layer" USER ipsec::V6;
    91 IKEEXT_V4 "b14b7bdb-dbbd-473e-bed4-8b4708d4f270" "IKE v4 Layer" USER_CLASSIFY_MOSTLY ikeext::V4;
    92 IKEEXT_V6 "b64786b3-f687-4eb9-89d2-8ef32acdabe2" "IKE v6 Layer" USER_CLASSIFY_MOSTLY ikeext::V6;
    93 RPC_UM "75a89dda-95e4-40f3-adc7-7688a9c847e1" "RPC UM Layer" USER_CLASSIFY_MOSTLY rpc_um::V4;
    94 RPC_EPMAP "9247bc61-eb07-47ee-872c-bfd78bfd1616" "RPC EPMAP Layer" USER_CLASSIFY_MOSTLY rpc_epmap::V4;
    95 RPC_EP_ADD "618dffc7-c450-4943-95db-99b4c16a55d4" "RPC EP ADD Layer" USER rpc_ep_add::V4;
    96 RPC_PROXY_CONN "94a4b50b-ba5c-4f27-907a-229fac0c2a7a" "RPC Proxy Connect Layer" USER_CLASSIFY_MOSTLY rpc_proxy_conn::V4;
    97 RPC_PROXY_IF "f8a38615-e12c-41ac-98df-121ad981aade" "RPC Proxy Interface Layer" USER_CLASSIFY_MOSTLY rpc_proxy_if::V4;
    98 KM_AUTHORIZATION "4aa226e9-9020-45fb-956a-c0249d841195" "Keying Module Authorization Layer" USER_CLASSIFY_MOSTLY km_authorization::V4;
}
