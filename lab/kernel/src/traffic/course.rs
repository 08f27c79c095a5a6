//! How a packet goes on with its flow, or begins one: which layers it passes, and what their verdicts mean for the flow.

use std::net::SocketAddr;

use fwps::sys::*;

use super::flow::{self, Flow, Flows, Key, Stage};
use super::walk::{At, Blocked, Walk};
use super::{Decision, Direction, Outcome, icmp};
use crate::fwp::classify_handle;
use crate::fwp::pending::{self, Operation};

/// The outcomes of datagrams whose first fragment has been seen; the oldest is forgotten.
#[derive(Default)]
pub(super) struct Fragments {
    recent: [Option<(Key, u32, Outcome)>; 32],
    next: usize,
}

/// A fragment. Each passes the IP packet layer when it comes in; the first, which alone has ports, then goes on for the whole
/// datagram, and the others share its fate.
#[cold]
pub(super) fn fragment(
    walk: &mut Walk<'_>,
    flows: &mut Flows,
    fragments: &mut Fragments,
    app: Option<usize>,
) -> Outcome {
    let packet = walk.packet;
    let Some(fragment) = packet.fragment else { return whole(walk, flows, app) };
    let inbound = packet.direction == Direction::Inbound;
    let at = if inbound { At::InboundIpPacket } else { At::OutboundIpPacket };
    // Ports differ between the first fragment and the others; a fragment's identification stands in for them.
    let bare = |address: SocketAddr| SocketAddr::new(address.ip(), 0);
    let key = Key::new(packet.protocol, &bare(packet.local), &bare(packet.remote), 0);
    if inbound {
        walk.facts.flags |= FWP_CONDITION_FLAG_IS_FRAGMENT;
        if let Err(blocked) = walk.pass(at) {
            return blocked.outcome(false);
        }
        walk.facts.flags &= !FWP_CONDITION_FLAG_IS_FRAGMENT;
    }
    if fragment.offset != 0 {
        let layer = at.layer(walk.facts.v6);
        return fragments.get(&key, fragment.identification).map_or(
            Outcome { decision: Decision::Permit, layer, filter_id: None, new_flow: false, pended: false },
            |first| Outcome { new_flow: false, ..first },
        );
    }
    if inbound {
        walk.facts.flags |= FWP_CONDITION_FLAG_IS_REASSEMBLED;
    }
    let outcome = whole(walk, flows, app);
    fragments.put(key, fragment.identification, outcome);
    outcome
}

impl Fragments {
    fn get(&self, key: &Key, identification: u32) -> Option<Outcome> {
        let mut known = self.recent.iter().flatten();
        known.find(|(known, number, _)| known == key && *number == identification).map(|(_, _, outcome)| *outcome)
    }

    fn put(&mut self, key: Key, identification: u32, outcome: Outcome) {
        self.recent[self.next] = Some((key, identification, outcome));
        self.next = (self.next + 1) % self.recent.len();
    }
}

impl Blocked {
    pub(super) fn outcome(self, new_flow: bool) -> Outcome {
        Outcome { decision: Decision::Block, layer: self.layer, filter_id: self.filter_id, new_flow, pended: false }
    }
}

/// A packet that is whole, or goes on as if it were.
pub(super) fn whole(walk: &mut Walk<'_>, flows: &mut Flows, app: Option<usize>) -> Outcome {
    let packet = walk.packet;
    if icmp::is_error(packet.protocol, packet.local.port()) {
        return icmp_error(walk);
    }
    let key = Key::new(packet.protocol, &packet.local, &packet.remote, packet.icmp_id);
    let mut known = flows.get_mut(&key);
    if let Some(flow) = known.as_deref_mut() {
        if flow.is_over(walk) {
            walk.kernel.fwp.flows.end(flow.handle, &mut walk.scratch.stock);
            known = None;
        } else if !flow.resume(walk) {
            return flow.blocked(false);
        }
    }
    match known {
        Some(flow) => {
            walk.belongs_to(flow);
            match walk.next_packet(flow) {
                Ok(()) => flow.permit(walk, false),
                Err(blocked) => blocked.outcome(false),
            }
        }
        None => {
            let mut flow = Flow::new(walk, app);
            let outcome = match walk.first_packet(&mut flow) {
                Ok(()) => flow.permit(walk, true),
                Err(First::Blocked(blocked)) => Outcome { pended: flow.pended.is_some(), ..blocked.outcome(true) },
                // Dropped before ALE could see it: there is no flow.
                Err(First::BeforeAle(blocked)) => {
                    walk.kernel.fwp.flows.end(flow.handle, &mut walk.scratch.stock);
                    flows.remove(&key);
                    return blocked.outcome(false);
                }
            };
            flows.insert(key, flow);
            outcome
        }
    }
}

/// Errors are no flows: they pass the ICMP error layer instead of ALE.
#[cold]
fn icmp_error(walk: &mut Walk<'_>) -> Outcome {
    let way = match walk.packet.direction {
        Direction::Outbound => [At::OutboundIcmpError, At::OutboundTransport, At::OutboundIpPacket],
        Direction::Inbound => [At::InboundIpPacket, At::InboundTransport, At::InboundIcmpError],
    };
    for at in way {
        if let Err(blocked) = walk.pass(at) {
            return blocked.outcome(false);
        }
    }
    let (layer, filter_id) = match walk.permitted {
        Some((layer, filter)) => (layer, Some(filter)),
        None => (if way[0] == At::OutboundIcmpError { way[0] } else { way[2] }.layer(walk.facts.v6), None),
    };
    Outcome { decision: Decision::Permit, layer, filter_id, new_flow: false, pended: false }
}

/// Why the first packet of a flow was stopped.
enum First {
    Blocked(Blocked),
    BeforeAle(Blocked),
}

impl Flow {
    pub(super) fn new(walk: &mut Walk<'_>, app: Option<usize>) -> Flow {
        let endpoint = walk.scratch.next_endpoint;
        walk.scratch.next_endpoint += 1;
        Flow {
            handle: walk.kernel.fwp.flows.begin(&mut walk.scratch.stock).unwrap_or(0),
            begun: walk.packet.direction,
            stage: if walk.packet.is_opening() { Stage::Opening } else { Stage::Established },
            fin: 0,
            decision: Decision::Permit,
            layer: authorizing(walk.packet.direction).layer(walk.facts.v6),
            filter_id: None,
            epoch: 0,
            endpoint,
            pended: None,
            resumed: false,
            pended_at: None,
            app,
        }
    }

    fn blocked(&self, new_flow: bool) -> Outcome {
        let blocked = Blocked { layer: self.layer, filter_id: self.filter_id };
        Outcome { pended: self.pended.is_some(), ..blocked.outcome(new_flow) }
    }

    /// Whether the flow's packets may go on. A verdict on a pended flow that has come meanwhile takes effect.
    fn resume(&mut self, walk: &mut Walk<'_>) -> bool {
        if let Some(verdict) = self.pended.as_ref().and_then(|pended| pended.verdict())
            && let Some(pended) = self.pended.take()
        {
            self.filter_id = verdict.filter_id;
            match verdict.action {
                Decision::Permit => {
                    self.decision = Decision::Permit;
                    self.resumed = self.stage == Stage::Established;
                    self.pended_at = (pended.operation.at != authorizing(self.begun)).then_some(pended.operation.at);
                }
                Decision::Block => self.end(walk),
            }
        }
        self.decision == Decision::Permit
    }

    /// Whether the packet belongs to a new flow of the same addresses and ports: a new connection, or one that was blocked and may
    /// be permitted by now.
    fn is_over(&self, walk: &Walk<'_>) -> bool {
        let packet = walk.packet;
        let reconsider = self.decision == Decision::Block && self.pended.is_none() && self.epoch != walk.epoch(self);
        if packet.protocol == flow::TCP {
            packet.is_opening() && (reconsider || self.decision == Decision::Permit && self.stage != Stage::Opening)
        } else {
            reconsider
        }
    }

    fn permit(&self, walk: &Walk<'_>, new_flow: bool) -> Outcome {
        let (layer, filter_id) = match (self.filter_id, walk.permitted) {
            (None, Some((layer, filter))) => (layer, Some(filter)),
            _ => (self.layer, self.filter_id),
        };
        Outcome { decision: Decision::Permit, layer, filter_id, new_flow, pended: false }
    }

    fn block(&mut self, walk: &mut Walk<'_>, blocked: Blocked) {
        self.decision = Decision::Block;
        self.layer = blocked.layer;
        self.filter_id = blocked.filter_id;
        self.end(walk);
    }

    pub(super) fn end(&mut self, walk: &mut Walk<'_>) {
        walk.kernel.fwp.flows.end(core::mem::take(&mut self.handle), &mut walk.scratch.stock);
        walk.flow = 0;
    }
}

/// Where a flow is authorised that begins in a direction.
pub(super) fn authorizing(begun: Direction) -> At {
    match begun {
        Direction::Outbound => At::AuthConnect,
        Direction::Inbound => At::AuthRecvAccept,
    }
}

impl Walk<'_> {
    pub(super) fn belongs_to(&mut self, flow: &Flow) {
        self.flow = flow.handle;
        self.endpoint = flow.endpoint;
        self.app = flow.app.and_then(|app| self.apps.get(app));
        self.facts.set_app(self.app.map(|app| &*app.id));
    }

    /// The state of the filters that authorise a flow.
    fn epoch(&self, flow: &Flow) -> u64 {
        self.view.epochs[usize::from(flow.begun == Direction::Inbound) * 2 + usize::from(self.facts.v6)]
    }

    fn authorize(&mut self, flow: &mut Flow) -> Result<(), Blocked> {
        let at = authorizing(flow.begun);
        flow.epoch = self.epoch(flow);
        flow.layer = at.layer(self.facts.v6);
        flow.filter_id = self.pass_or_pend(flow, at)?;
        Ok(())
    }

    /// A layer whose block ends the flow, and at which a callout may put off its decision. A permit's filter is returned.
    pub(super) fn pass_or_pend(&mut self, flow: &mut Flow, at: At) -> Result<Option<u64>, Blocked> {
        let layer = at.layer(self.facts.v6);
        if !self.view.snapshot.has_filters(layer) {
            return Ok(None);
        }
        let operation = Operation {
            at,
            protocol: self.packet.protocol,
            local: self.packet.local,
            remote: self.packet.remote,
            begun: flow.begun,
            app: self.app.map(|app| app.id.clone()),
            endpoint: flow.endpoint,
            reauthorize: self.facts.reauthorize_reason != 0,
        };
        // Two ways to put off: by completion handle, and by classify handle.
        let (result, pended) = match at {
            At::BindRedirect | At::ConnectRedirect | At::EndpointClosure => {
                classify_handle::with_context(layer, operation, |context| {
                    self.classify_context = context;
                    let result = self.pass(at);
                    self.classify_context = 0;
                    result
                })
            }
            _ => pending::pendable(operation, |completion| {
                self.completion = completion;
                let result = self.pass(at);
                self.completion = 0;
                result
            }),
        };
        if pended.is_some() {
            let blocked = result.err().unwrap_or(Blocked { layer, filter_id: None });
            flow.pended = pended;
            flow.decision = Decision::Block;
            flow.layer = layer;
            flow.filter_id = blocked.filter_id;
            return Err(blocked);
        }
        result.inspect_err(|blocked| flow.block(self, *blocked))
    }

    /// Authorises again, because the filters of the authorising layer have changed.
    #[cold]
    fn reauthorize(&mut self, flow: &mut Flow) -> Result<(), Blocked> {
        self.facts.flags |= FWP_CONDITION_FLAG_IS_REAUTHORIZE;
        self.facts.reauthorize_reason = FWP_CONDITION_REAUTHORIZE_REASON_POLICY_CHANGE;
        let result = self.authorize(flow);
        self.facts.flags &= !FWP_CONDITION_FLAG_IS_REAUTHORIZE;
        self.facts.reauthorize_reason = 0;
        result
    }

    fn first_packet(&mut self, flow: &mut Flow) -> Result<(), First> {
        match flow.begun {
            Direction::Outbound => {
                self.belongs_to(flow);
                self.connect(flow, None).map_err(First::Blocked)?;
                self.outbound(flow, flow.stage == Stage::Established).map_err(First::Blocked)
            }
            Direction::Inbound => {
                self.pass(At::InboundIpPacket).map_err(First::BeforeAle)?;
                self.needs_ale = true;
                self.pass(At::InboundTransport).map_err(First::BeforeAle)?;
                self.belongs_to(flow);
                self.authorize(flow).map_err(First::Blocked)?;
                self.inbound_data(flow, flow.stage == Stage::Established).map_err(First::Blocked)
            }
        }
    }

    /// What comes before the first packet of a flow that begins here; `after` says where it was pended, and now goes on.
    fn connect(&mut self, flow: &mut Flow, after: Option<At>) -> Result<(), Blocked> {
        const STEPS: [At; 3] = [At::BindRedirect, At::ResourceAssignment, At::ConnectRedirect];
        if matches!(self.packet.protocol, flow::TCP | flow::UDP) {
            let done = after.and_then(|after| STEPS.iter().position(|at| *at == after)).map_or(0, |at| at + 1);
            for at in &STEPS[done..] {
                self.pass_or_pend(flow, *at)?;
            }
        }
        self.authorize(flow)
    }

    fn next_packet(&mut self, flow: &mut Flow) -> Result<(), Blocked> {
        let changed = flow.stage != Stage::Ended && flow.epoch != self.epoch(flow);
        if flow.handle != 0 && self.kernel.fwp.flows.is_aborted(flow.handle) {
            let blocked = Blocked { layer: flow.layer, filter_id: None };
            flow.block(self, blocked);
            return Err(blocked);
        }
        let resumed = core::mem::take(&mut flow.resumed);
        let pended_at = flow.pended_at.take();
        match self.packet.direction {
            Direction::Outbound => {
                if pended_at.is_some() {
                    self.connect(flow, pended_at)?;
                } else if changed {
                    self.reauthorize(flow)?;
                }
                self.outbound(flow, resumed)
            }
            Direction::Inbound => {
                self.pass(At::InboundIpPacket)?;
                self.needs_ale = changed;
                self.pass(At::InboundTransport)?;
                if changed {
                    self.reauthorize(flow)?;
                }
                let established = resumed || flow.completes_handshake(self.packet);
                self.inbound_data(flow, established)
            }
        }
    }

    /// A packet that an authorised flow sends.
    fn outbound(&mut self, flow: &mut Flow, established: bool) -> Result<(), Blocked> {
        if established {
            self.establish(flow)?;
        }
        self.data(flow)?;
        self.pass(At::OutboundTransport)?;
        self.pass(At::OutboundIpPacket)?;
        self.follow(flow);
        Ok(())
    }

    /// The data of a packet that an authorised flow has received.
    fn inbound_data(&mut self, flow: &mut Flow, established: bool) -> Result<(), Blocked> {
        if established {
            self.establish(flow)?;
        }
        self.data(flow)?;
        self.follow(flow);
        Ok(())
    }

    fn establish(&mut self, flow: &mut Flow) -> Result<(), Blocked> {
        // There the direction is that of the connection, and not of the packet that completes its handshake.
        let direction = match flow.begun {
            Direction::Outbound => FWP_DIRECTION_OUTBOUND,
            Direction::Inbound => FWP_DIRECTION_INBOUND,
        };
        let packet = core::mem::replace(&mut self.facts.direction, direction);
        let passed = self.pass_or_pend(flow, At::FlowEstablished);
        self.facts.direction = packet;
        passed?;
        flow.stage = Stage::Established;
        Ok(())
    }

    fn data(&mut self, flow: &Flow) -> Result<(), Blocked> {
        if self.packet.protocol != flow::TCP {
            return self.pass(At::DatagramData).map(drop);
        }
        if matches!(flow.stage, Stage::Established | Stage::Closing) && self.has_stream_data() {
            self.pass(At::Stream)?;
        }
        Ok(())
    }

    fn follow(&mut self, flow: &mut Flow) {
        if self.packet.protocol == flow::TCP && flow.stage != Stage::Ended && flow.follow(self.packet) {
            self.close(flow);
        }
    }

    /// Ends a flow. The endpoint that it had is closed, and if the flow began here, what it was assigned is released.
    pub(super) fn close(&mut self, flow: &mut Flow) {
        if flow.handle != 0 && matches!(self.packet.protocol, flow::TCP | flow::UDP) {
            // A callout cannot keep a connection from ending, whatever it says.
            let decided = (flow.decision, flow.layer, flow.filter_id);
            let _ = self.pass_or_pend(flow, At::EndpointClosure);
            (flow.decision, flow.layer, flow.filter_id) = decided;
            flow.pended = None;
            if flow.begun == Direction::Outbound {
                let _ = self.pass(At::ResourceRelease);
            }
        }
        flow.end(self);
    }
}
