//! The lab's kernel as a host of traffic: what callouts are given of a packet at a layer, and what becomes of its flow.

use core::ffi::c_void;
use core::ptr::null_mut;
use std::sync::Arc;

use fwps::sys::*;
use postern_engine::{Value, Verdict};
use postern_traffic::protocol::TCP;
use postern_traffic::{
    At, COMPARTMENT, Direction, Facts, Host, Octets, Packet, Passing, Program, PutOff, USER, Walk, flag, icmp,
    reauthorize_reason, with_values,
};

use super::{App, Flow, Scratch};
use crate::fwp::classify::Classify;
use crate::fwp::pending::{self, Operation, Pended};
use crate::fwp::{Table, View, classify_handle};
use crate::kernel::Kernel;
use crate::ndis::{self, LabList};
use crate::ptr::Ptr;
use crate::thread;

const _: () = assert!(flag::IS_LOOPBACK == FWP_CONDITION_FLAG_IS_LOOPBACK);
const _: () = assert!(flag::IS_REAUTHORIZE == FWP_CONDITION_FLAG_IS_REAUTHORIZE);
const _: () = assert!(flag::IS_WILDCARD_BIND == FWP_CONDITION_FLAG_IS_WILDCARD_BIND);
const _: () = assert!(flag::IS_FRAGMENT == FWP_CONDITION_FLAG_IS_FRAGMENT);
const _: () = assert!(flag::IS_REASSEMBLED == FWP_CONDITION_FLAG_IS_REASSEMBLED);
const _: () = assert!(flag::IS_APPCONTAINER_LOOPBACK == FWP_CONDITION_FLAG_IS_APPCONTAINER_LOOPBACK);
const _: () = assert!(flag::IS_NON_APPCONTAINER_LOOPBACK == FWP_CONDITION_FLAG_IS_NON_APPCONTAINER_LOOPBACK);
const _: () = assert!(reauthorize_reason::POLICY_CHANGE == FWP_CONDITION_REAUTHORIZE_REASON_POLICY_CHANGE);
const _: () = assert!(reauthorize_reason::CLASSIFY_COMPLETION == FWP_CONDITION_REAUTHORIZE_REASON_CLASSIFY_COMPLETION);

pub(super) struct Classifier<'a> {
    pub kernel: &'a Kernel,
    pub view: &'a View,
    pub callouts: &'a Table,
    pub processor: u32,
    pub scratch: &'a mut Scratch,
    pub apps: &'a [App],
    pub app: Option<&'a App>,
    /// Handle of the flow, or 0.
    pub flow: u64,
    pub endpoint: u64,
    /// Whether `scratch.data` holds this packet.
    pub loaded: bool,
    /// The list that an image has injected, instead of `scratch.data`; whether it begins with the IP header.
    pub injected: Option<(Ptr<NET_BUFFER_LIST>, bool)>,
    /// The completion handle while an operation is classified that can be pended, or 0.
    completion: u64,
    /// The classify context while one is classified that can be finished later, or 0.
    classify_context: u64,
}

/// A packet's walk through the lab's layers.
pub(super) fn walk<'a>(
    kernel: &'a Kernel,
    view: &'a View,
    callouts: &'a Table,
    scratch: &'a mut Scratch,
    packet: &'a Packet<'a>,
    octets: &'a Octets,
    apps: &'a [App],
) -> Walk<'a, Classifier<'a>> {
    let host = Classifier {
        kernel,
        view,
        callouts,
        processor: thread::page().processor.get(),
        scratch,
        apps,
        app: None,
        flow: 0,
        endpoint: 0,
        loaded: false,
        injected: None,
        completion: 0,
        classify_context: 0,
    };
    Walk::new(host, packet, octets)
}

impl PutOff for Pended {
    fn at(&self) -> At {
        self.operation.at
    }

    fn verdict(&self) -> Option<Verdict> {
        Pended::verdict(self)
    }
}

impl<'a> Host<'a> for Classifier<'a> {
    type Pended = Arc<Pended>;

    #[inline]
    fn has_filters(&self, layer: u16) -> bool {
        self.view.snapshot.has_filters(layer)
    }

    fn classify(&mut self, at: At, layer: u16, passing: &Passing<'a>) -> Verdict {
        self.fill_metadata(at, passing);
        let verdict = self.run(at, layer, passing);
        // The control data are the callout's for the time of the call.
        self.scratch.shown_control.fill(0xDD);
        self.tell(at, layer, passing, &verdict);
        verdict
    }

    fn classify_or_pend(
        &mut self,
        at: At,
        layer: u16,
        passing: &Passing<'a>,
        flow: &Flow,
    ) -> (Verdict, Option<Arc<Pended>>) {
        let packet = passing.packet;
        let operation = Operation {
            at,
            protocol: packet.protocol,
            local: packet.local,
            remote: packet.remote,
            begun: flow.begun,
            app: self.app.map(|app| app.id.clone()),
            endpoint: flow.endpoint,
            reauthorize: passing.facts.reauthorize_reason != 0,
        };
        // Two ways to put off: by completion handle, and by classify handle.
        match at {
            At::BindRedirect | At::ConnectRedirect | At::EndpointClosure => {
                classify_handle::with_context(layer, operation, |context| {
                    self.classify_context = context;
                    let verdict = self.classify(at, layer, passing);
                    self.classify_context = 0;
                    verdict
                })
            }
            _ => pending::pendable(operation, |completion| {
                self.completion = completion;
                let verdict = self.classify(at, layer, passing);
                self.completion = 0;
                verdict
            }),
        }
    }

    /// What is discarded can be seen, not saved: the verdict counts for nothing.
    fn blocked(&mut self, at: At, discard: Option<u16>, passing: &Passing<'a>, verdict: &Verdict) {
        let Some(layer) = discard else { return };
        self.fill_metadata(at, passing);
        self.scratch.metadata.currentMetadataValues |= FWPS_METADATA_FIELD_DISCARD_REASON;
        self.scratch.metadata.discardMetadata = FWPS_DISCARD_METADATA0 {
            discardModule: FWPS_DISCARD_MODULE_GENERAL,
            discardReason: FIREWALL_POLICY,
            filterId: verdict.filter_id.unwrap_or(0),
        };
        self.run(at, layer, passing);
    }

    fn begin_flow(&mut self) -> (u64, u64) {
        let endpoint = self.scratch.next_endpoint;
        self.scratch.next_endpoint += 1;
        (self.kernel.fwp.flows.begin(&mut self.scratch.stock).unwrap_or(0), endpoint)
    }

    fn end_flow(&mut self, handle: u64) {
        self.kernel.fwp.flows.end(handle, &mut self.scratch.stock);
        self.flow = 0;
    }

    fn is_aborted(&self, handle: u64) -> bool {
        self.kernel.fwp.flows.is_aborted(handle)
    }

    fn belongs_to(&mut self, flow: &Flow, facts: &mut Facts<'a>) {
        self.flow = flow.handle;
        self.endpoint = flow.endpoint;
        self.app = flow.app.and_then(|app| self.apps.get(app));
        facts.set_program(program(self.app.map(|app| &*app.id)));
    }

    fn epoch(&self, begun: Direction, v6: bool) -> u64 {
        self.view.epochs[usize::from(begun == Direction::Inbound) * 2 + usize::from(v6)]
    }
}

/// Every program here runs as the same user.
pub(super) fn program(app: Option<&[u8]>) -> Program<'_> {
    Program { app, user: app.map(|_| USER), package: None }
}

impl Classifier<'_> {
    /// The packet is one that an image has injected.
    pub fn reenters(&mut self, packet: &Packet<'_>, (handle, context): (u64, u64)) {
        self.loaded = true;
        self.scratch.load(packet);
        if let Some(list) = LabList::of(Ptr::new(self.scratch.data.list(0))) {
            list.set_injection(handle, context);
        }
    }

    /// The packet goes on where an operation was left.
    pub fn take_up(&mut self, operation: &Operation) {
        self.endpoint = operation.endpoint;
    }

    fn run(&mut self, at: At, layer: u16, passing: &Passing<'_>) -> Verdict {
        let layer_data = match (self.injected, offset(at, passing.packet)) {
            (_, None) => null_mut(),
            (None, Some(offset)) => self.layer_data(at, passing.packet, offset),
            (Some((list, begins_with_ip)), Some(offset)) => {
                let offset = if begins_with_ip { offset as u32 } else { 0 };
                ndis::advance_list(list, offset);
                let data = list.as_mut_ptr().cast();
                let verdict = with_values(at, passing, |values| self.run_with(layer, data, values));
                ndis::retreat_list(list, offset);
                return verdict;
            }
        };
        with_values(at, passing, |values| self.run_with(layer, layer_data, values))
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

    /// The packet, with the data beginning at `offset`.
    fn layer_data(&mut self, at: At, packet: &Packet<'_>, offset: usize) -> *mut c_void {
        if !self.loaded {
            self.loaded = true;
            self.scratch.load(packet);
        }
        if at == At::Stream {
            let inbound = packet.direction == Direction::Inbound;
            let flags = if inbound { FWPS_STREAM_FLAG_RECEIVE } else { FWPS_STREAM_FLAG_SEND };
            return self.scratch.data.stream(offset, flags).cast();
        }
        self.scratch.data.list(offset).cast()
    }

    /// Which metadata a layer has: documentation page "Metadata Fields at Each Filtering Layer".
    fn fill_metadata(&mut self, at: At, passing: &Passing<'_>) {
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
        let packet = passing.packet;
        let inbound = packet.direction == Direction::Inbound;
        let is_icmp = icmp::is_icmp(packet.protocol);
        let known = [
            (FLOW, self.flow != 0),
            // The header is not built yet when a packet goes out.
            (IP, inbound || at == At::OutboundIpPacket),
            (FRAGMENT, packet.fragment.is_some()),
            (ENDPOINT, self.endpoint != 0),
            (ICMP_ID, is_icmp),
            (FWPS_METADATA_FIELD_ALE_CLASSIFY_REQUIRED, passing.needs_ale),
            (DIRECTION, passing.facts.reauthorize_reason != 0),
            (PROCESS, self.app.is_some()),
            (SCOPE, passing.facts.v6),
            (COMPLETION, self.completion != 0),
            (CONTROL, !inbound && packet.protocol != TCP && !self.scratch.control.is_empty()),
        ];
        let mut present = possible;
        for (field, known) in known {
            if !known {
                present &= !field;
            }
        }
        let (ip, transport) = (packet.ip_header() as u32, packet.transport_header() as u32);
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
            metadata.icmpIdAndSequence = icmp::id_and_sequence(packet);
        }
        if let Some(fragment) = packet.fragment {
            metadata.fragmentMetadata = FWPS_INBOUND_FRAGMENT_METADATA0 {
                fragmentIdentification: fragment.identification,
                fragmentOffset: fragment.offset,
                fragmentLength: packet.payload.len() as u32,
            };
        }
    }
}

/// Where the data begins in the packet at each layer that has any (documentation page "Data Offset Positions").
fn offset(at: At, packet: &Packet<'_>) -> Option<usize> {
    let (ip, transport) = (packet.ip_header(), packet.transport_header());
    let is_icmp = icmp::is_icmp(packet.protocol);
    let inbound = packet.direction == Direction::Inbound;
    let payload = ip + if is_icmp { 0 } else { transport };
    Some(match at {
        At::OutboundIpPacket => 0,
        At::InboundIpPacket | At::OutboundTransport | At::OutboundIcmpError => ip,
        At::InboundTransport | At::AuthRecvAccept => payload,
        At::DatagramData | At::FlowEstablished if inbound => payload,
        At::DatagramData | At::FlowEstablished => ip,
        At::InboundIcmpError | At::Stream => ip + transport,
        At::AuthConnect if packet.protocol != TCP => ip,
        At::AuthConnect
        | At::AuthListen
        | At::BindRedirect
        | At::ResourceAssignment
        | At::ConnectRedirect
        | At::EndpointClosure
        | At::ResourceRelease => return None,
    })
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
