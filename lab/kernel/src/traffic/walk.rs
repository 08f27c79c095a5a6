//! One packet on its way through the layers.

use core::ffi::c_void;
use core::ptr::null_mut;

use fwps::sys::*;
use postern_engine::layers::id;
use postern_engine::{Decision, Value, Verdict};

use super::flow::{App, TCP, UDP};
use super::values::{self, COMPARTMENT, Facts, Octets};
use super::{Direction, Packet, Scratch, icmp};
use crate::fwp::classify::Classify;
use crate::fwp::pending::Operation;
use crate::fwp::{Table, View};
use crate::kernel::Kernel;
use crate::ndis::{self, LabList};
use crate::ptr::Ptr;
use crate::thread;

/// A stop on the way: a pair of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
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
    fn discard_layer(self, v6: bool) -> Option<u16> {
        match self {
            At::BindRedirect | At::ConnectRedirect | At::EndpointClosure | At::ResourceRelease => None,
            // Each layer below 56 that can discard is followed by its discard layer.
            _ => Some(self.layer(v6) + 1),
        }
    }
}

/// The layer and the filter that stopped a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocked {
    pub layer: u16,
    pub filter_id: Option<u64>,
}

pub(super) struct Walk<'a> {
    pub kernel: &'a Kernel,
    pub view: &'a View,
    pub callouts: &'a Table,
    pub processor: u32,
    pub scratch: &'a mut Scratch,
    pub packet: &'a Packet<'a>,
    pub facts: Facts<'a>,
    pub apps: &'a [App],
    pub app: Option<&'a App>,
    /// Handle of the flow, or 0.
    pub flow: u64,
    pub endpoint: u64,
    /// Whether ALE will look at the packet after the transport layer has.
    pub needs_ale: bool,
    /// The first layer where a filter permitted, and the filter.
    pub permitted: Option<(u16, u64)>,
    /// Whether `scratch.data` holds this packet.
    pub loaded: bool,
    /// The list that an image has injected, instead of `scratch.data`; whether it begins with the IP header.
    pub injected: Option<(Ptr<NET_BUFFER_LIST>, bool)>,
    /// The completion handle while an operation is classified that can be pended, or 0.
    pub completion: u64,
    /// The classify context while one is classified that can be finished later, or 0.
    pub classify_context: u64,
}

impl<'a> Walk<'a> {
    pub fn new(
        kernel: &'a Kernel,
        view: &'a View,
        callouts: &'a Table,
        scratch: &'a mut Scratch,
        packet: &'a Packet<'a>,
        octets: &'a Octets,
        apps: &'a [App],
    ) -> Walk<'a> {
        let direction = match packet.direction {
            Direction::Outbound => FWP_DIRECTION_OUTBOUND,
            Direction::Inbound => FWP_DIRECTION_INBOUND,
        };
        Walk {
            kernel,
            view,
            callouts,
            processor: thread::page().processor.get(),
            scratch,
            packet,
            facts: Facts::new(packet.protocol, &packet.local, &packet.remote, octets, direction),
            apps,
            app: None,
            flow: 0,
            endpoint: 0,
            needs_ale: false,
            permitted: None,
            loaded: false,
            injected: None,
            completion: 0,
            classify_context: 0,
        }
    }

    /// Passes a layer. The verdict of a permit is returned.
    #[inline]
    pub fn pass(&mut self, at: At) -> Result<Option<u64>, Blocked> {
        let layer = at.layer(self.facts.v6);
        if !self.view.snapshot.has_filters(layer) {
            return Ok(None);
        }
        let verdict = self.classify(at, layer);
        match verdict.action {
            Decision::Permit => {
                if let (None, Some(filter)) = (self.permitted, verdict.filter_id) {
                    self.permitted = Some((layer, filter));
                }
                Ok(verdict.filter_id)
            }
            Decision::Block => {
                if !verdict.absorb
                    && let Some(discard) = at.discard_layer(self.facts.v6)
                    && self.view.snapshot.has_filters(discard)
                {
                    self.classify_discarded(at, discard, verdict.filter_id);
                }
                Err(Blocked { layer, filter_id: verdict.filter_id })
            }
        }
    }

    /// What a layer says, whatever that means for the packet.
    pub fn verdict(&mut self, at: At) -> Verdict {
        self.classify(at, at.layer(self.facts.v6))
    }

    fn classify(&mut self, at: At, layer: u16) -> Verdict {
        self.fill_metadata(at);
        let verdict = self.run(at, layer);
        // The control data are the callout's for the time of the call.
        self.scratch.shown_control.fill(0xDD);
        self.tell(at, layer, &verdict);
        verdict
    }

    /// The packet is one that an image has injected.
    pub fn reenters(&mut self, (handle, context): (u64, u64)) {
        self.loaded = true;
        self.scratch.load(self.packet);
        if let Some(list) = LabList::of(Ptr::new(self.scratch.data.list(0))) {
            list.set_injection(handle, context);
        }
    }

    /// The packet goes on where an operation was left.
    pub fn take_up(&mut self, operation: &Operation) {
        self.endpoint = operation.endpoint;
    }

    /// What is discarded can be seen, not saved: the verdict counts for nothing.
    #[cold]
    fn classify_discarded(&mut self, at: At, layer: u16, filter_id: Option<u64>) {
        self.fill_metadata(at);
        self.scratch.metadata.currentMetadataValues |= FWPS_METADATA_FIELD_DISCARD_REASON;
        self.scratch.metadata.discardMetadata = FWPS_DISCARD_METADATA0 {
            discardModule: FWPS_DISCARD_MODULE_GENERAL,
            discardReason: FIREWALL_POLICY,
            filterId: filter_id.unwrap_or(0),
        };
        self.run(at, layer);
    }

    fn run(&mut self, at: At, layer: u16) -> Verdict {
        let layer_data = match (self.injected, self.offset(at)) {
            (_, None) => null_mut(),
            (None, Some(offset)) => self.layer_data(at, offset),
            (Some((list, begins_with_ip)), Some(offset)) => {
                let offset = if begins_with_ip { offset as u32 } else { 0 };
                ndis::advance_list(list, offset);
                let verdict = self.run_on(at, layer, list.as_mut_ptr().cast());
                ndis::retreat_list(list, offset);
                return verdict;
            }
        };
        self.run_on(at, layer, layer_data)
    }

    fn run_on(&mut self, at: At, layer: u16, data: *mut c_void) -> Verdict {
        match at {
            At::InboundIpPacket => self.run_with(layer, data, &values::inbound_ippacket(&self.facts)),
            At::OutboundIpPacket => self.run_with(layer, data, &values::outbound_ippacket(&self.facts)),
            At::InboundTransport => self.run_with(layer, data, &values::inbound_transport(&self.facts)),
            At::OutboundTransport => self.run_with(layer, data, &values::outbound_transport(&self.facts)),
            At::Stream => self.run_with(layer, data, &values::stream(&self.facts)),
            At::DatagramData => self.run_with(layer, data, &values::datagram_data(&self.facts)),
            At::OutboundIcmpError => self.run_with(layer, data, &values::outbound_icmp_error(&self.facts)),
            At::BindRedirect => self.run_with(layer, data, &values::ale_bind_redirect(&self.facts)),
            At::ResourceAssignment => self.run_with(layer, data, &values::ale_resource_assignment(&self.facts)),
            At::ConnectRedirect => self.run_with(layer, data, &values::ale_connect_redirect(&self.facts)),
            At::AuthConnect => self.run_with(layer, data, &values::ale_auth_connect(&self.facts)),
            At::AuthRecvAccept => self.run_with(layer, data, &values::ale_auth_recv_accept(&self.facts)),
            At::FlowEstablished => self.run_with(layer, data, &values::ale_flow_established(&self.facts)),
            At::EndpointClosure => self.run_with(layer, data, &values::ale_endpoint_closure(&self.facts)),
            At::ResourceRelease => self.run_with(layer, data, &values::ale_resource_release(&self.facts)),
            At::AuthListen => self.run_with(layer, data, &values::ale_auth_listen(&self.facts)),
            At::InboundIcmpError => {
                let (protocol, local, remote) = icmp::embedded(self.packet);
                let octets = Octets::new(&local, &remote);
                let embedded = Facts::new(protocol, &local, &remote, &octets, FWP_DIRECTION_OUTBOUND);
                self.run_with(layer, data, &values::inbound_icmp_error(&self.facts, &embedded))
            }
        }
    }

    fn run_with(&mut self, layer: u16, layer_data: *mut c_void, values: &[Value<'_>]) -> Verdict {
        Classify {
            kernel: self.kernel,
            view: self.view,
            callouts: self.callouts,
            processor: self.processor,
            layer,
            values,
            metadata: &raw const *self.scratch.metadata,
            layer_data,
            classify_context: core::ptr::without_provenance(self.classify_context as usize),
            flow: self.flow,
            raw: &mut self.scratch.raw,
        }
        .run()
    }

    /// Where the transport header begins in `packet.bytes`.
    fn ip_header(&self) -> usize {
        let start = self.packet.payload.as_ptr().addr().wrapping_sub(self.packet.bytes.as_ptr().addr());
        if start <= self.packet.bytes.len() { start } else { 0 }
    }

    fn transport_header(&self) -> usize {
        let payload = self.packet.payload;
        let length = match self.packet.protocol {
            TCP => payload.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4),
            UDP => 8,
            protocol if icmp::is_icmp(protocol) => 8,
            _ => 0,
        };
        length.min(payload.len())
    }

    /// Bytes that a TCP segment carries.
    pub fn has_stream_data(&self) -> bool {
        self.packet.payload.len() > self.transport_header()
    }

    /// Where the data begins in the packet at each layer that has any (documentation page "Data Offset Positions").
    fn offset(&self, at: At) -> Option<usize> {
        let (ip, transport) = (self.ip_header(), self.transport_header());
        let is_icmp = icmp::is_icmp(self.packet.protocol);
        let inbound = self.packet.direction == Direction::Inbound;
        let payload = ip + if is_icmp { 0 } else { transport };
        Some(match at {
            At::OutboundIpPacket => 0,
            At::InboundIpPacket | At::OutboundTransport | At::OutboundIcmpError => ip,
            At::InboundTransport | At::AuthRecvAccept => payload,
            At::DatagramData | At::FlowEstablished if inbound => payload,
            At::DatagramData | At::FlowEstablished => ip,
            At::InboundIcmpError | At::Stream => ip + transport,
            At::AuthConnect if self.packet.protocol != TCP => ip,
            At::AuthConnect
            | At::AuthListen
            | At::BindRedirect
            | At::ResourceAssignment
            | At::ConnectRedirect
            | At::EndpointClosure
            | At::ResourceRelease => return None,
        })
    }

    /// The packet, with the data beginning at `offset`.
    fn layer_data(&mut self, at: At, offset: usize) -> *mut c_void {
        if !self.loaded {
            self.loaded = true;
            self.scratch.load(self.packet);
        }
        if at == At::Stream {
            let inbound = self.packet.direction == Direction::Inbound;
            let flags = if inbound { FWPS_STREAM_FLAG_RECEIVE } else { FWPS_STREAM_FLAG_SEND };
            return self.scratch.data.stream(offset, flags).cast();
        }
        self.scratch.data.list(offset).cast()
    }

    /// Which metadata a layer has: documentation page "Metadata Fields at Each Filtering Layer".
    fn fill_metadata(&mut self, at: At) {
        const PROCESS: u32 = FWPS_METADATA_FIELD_PROCESS_PATH | FWPS_METADATA_FIELD_PROCESS_ID;
        const ENDPOINT: u32 = FWPS_METADATA_FIELD_TRANSPORT_ENDPOINT_HANDLE;
        let possible = match at {
            At::InboundIpPacket => IP | COMPARTMENT_ID | FRAGMENT,
            At::OutboundIpPacket => IP | TRANSPORT | COMPARTMENT_ID | FRAGMENT | FWPS_METADATA_FIELD_PATH_MTU,
            At::InboundTransport => {
                FLOW | IP | TRANSPORT | COMPARTMENT_ID | ENDPOINT | ICMP_ID | FWPS_METADATA_FIELD_ALE_CLASSIFY_REQUIRED
            }
            At::OutboundTransport => FLOW | TRANSPORT | COMPARTMENT_ID | ENDPOINT | CONTROL | SCOPE | ICMP_ID,
            At::Stream => FLOW,
            At::DatagramData => FLOW | IP | TRANSPORT | COMPARTMENT_ID | ENDPOINT | CONTROL | SCOPE | ICMP_ID,
            At::InboundIcmpError => IP | TRANSPORT | COMPARTMENT_ID | ENDPOINT,
            At::OutboundIcmpError => TRANSPORT | COMPARTMENT_ID | ENDPOINT | CONTROL | SCOPE,
            At::BindRedirect | At::ConnectRedirect => FWPS_METADATA_FIELD_PROCESS_ID | ENDPOINT,
            At::ResourceAssignment | At::AuthListen => PROCESS | ENDPOINT | COMPLETION,
            At::AuthConnect => {
                FLOW | PROCESS
                    | TRANSPORT
                    | COMPARTMENT_ID
                    | ENDPOINT
                    | DIRECTION
                    | CONTROL
                    | ICMP_ID
                    | SCOPE
                    | COMPLETION
            }
            At::AuthRecvAccept => {
                FLOW | IP | PROCESS | TRANSPORT | COMPARTMENT_ID | ENDPOINT | DIRECTION | ICMP_ID | COMPLETION
            }
            At::FlowEstablished => FLOW | PROCESS | ENDPOINT | ICMP_ID,
            At::EndpointClosure | At::ResourceRelease => FWPS_METADATA_FIELD_PROCESS_ID | COMPARTMENT_ID | ENDPOINT,
        };
        let inbound = self.packet.direction == Direction::Inbound;
        let is_icmp = icmp::is_icmp(self.packet.protocol);
        let known = [
            (FLOW, self.flow != 0),
            // The header is not built yet when a packet goes out.
            (IP, inbound || at == At::OutboundIpPacket),
            (FRAGMENT, self.packet.fragment.is_some()),
            (ENDPOINT, self.endpoint != 0),
            (ICMP_ID, is_icmp),
            (FWPS_METADATA_FIELD_ALE_CLASSIFY_REQUIRED, self.needs_ale),
            (DIRECTION, self.facts.reauthorize_reason != 0),
            (PROCESS, self.app.is_some()),
            (SCOPE, self.facts.v6),
            (COMPLETION, self.completion != 0),
            (CONTROL, !inbound && self.packet.protocol != TCP && !self.scratch.control.is_empty()),
        ];
        let mut present = possible;
        for (field, known) in known {
            if !known {
                present &= !field;
            }
        }
        let (ip, transport) = (self.ip_header() as u32, self.transport_header() as u32);
        let metadata = &mut *self.scratch.metadata;
        metadata.currentMetadataValues = present;
        metadata.flowHandle = self.flow;
        metadata.ipHeaderSize = ip;
        metadata.transportHeaderSize = transport;
        metadata.compartmentId = COMPARTMENT;
        metadata.transportEndpointHandle = self.endpoint;
        metadata.pathMtu = 1500;
        metadata.completionHandle = core::ptr::without_provenance_mut(self.completion as usize);
        metadata.packetDirection = if inbound { FWP_DIRECTION_INBOUND } else { FWP_DIRECTION_OUTBOUND };
        metadata.processId = PROCESS_ID;
        if let Some(app) = self.app {
            self.scratch.process_path = FWP_BYTE_BLOB { size: app.id.len() as u32, data: app.id.as_ptr().cast_mut() };
            metadata.processPath = &raw mut self.scratch.process_path;
        }
        if present & CONTROL != 0 {
            self.scratch.shown_control.clone_from(&self.scratch.control);
            metadata.controlData = self.scratch.shown_control.as_mut_ptr().cast();
            metadata.controlDataLength = self.scratch.shown_control.len() as u32;
        }
        if is_icmp {
            metadata.icmpIdAndSequence = icmp::id_and_sequence(self.packet);
        }
        if let Some(fragment) = self.packet.fragment {
            metadata.fragmentMetadata = FWPS_INBOUND_FRAGMENT_METADATA0 {
                fragmentIdentification: fragment.identification,
                fragmentOffset: fragment.offset,
                fragmentLength: self.packet.payload.len() as u32,
            };
        }
    }
}

const FLOW: u32 = FWPS_METADATA_FIELD_FLOW_HANDLE;
const IP: u32 = FWPS_METADATA_FIELD_IP_HEADER_SIZE;
const TRANSPORT: u32 = FWPS_METADATA_FIELD_TRANSPORT_HEADER_SIZE;
const COMPARTMENT_ID: u32 = FWPS_METADATA_FIELD_COMPARTMENT_ID;
const FRAGMENT: u32 = FWPS_METADATA_FIELD_FRAGMENT_DATA;
const ICMP_ID: u32 = FWPS_METADATA_FIELD_ICMP_ID_AND_SEQUENCE;
const CONTROL: u32 = FWPS_METADATA_FIELD_TRANSPORT_CONTROL_DATA;
const SCOPE: u32 = FWPS_METADATA_FIELD_REMOTE_SCOPE_ID;
const COMPLETION: u32 = FWPS_METADATA_FIELD_COMPLETION_HANDLE;
const DIRECTION: u32 = FWPS_METADATA_FIELD_PACKET_DIRECTION;

/// `FWPS_DISCARD_FIREWALL_POLICY`.
const FIREWALL_POLICY: u32 = 0;
/// The process of every program here.
const PROCESS_ID: u64 = 4242;

// SAFETY: every member of the structure may be all zero.
pub(super) const NO_METADATA: FWPS_INCOMING_METADATA_VALUES0 = unsafe { core::mem::zeroed() };
