//! How a packet goes on with its flow, or begins one: which layers it passes, and what their verdicts mean for the flow.

use std::net::SocketAddr;

use postern_engine::Decision;

use crate::flow::{Flow, Flows, Key, Stage, protocol};
use crate::values::{flag, reauthorize_reason};
use crate::walk::{Blocked, Host, PutOff, Walk};
use crate::{At, Direction, Outcome, icmp};

/// The outcomes of datagrams whose first fragment has been seen; the oldest is forgotten.
#[derive(Default)]
pub struct Fragments {
    recent: [Option<(Key, u32, Outcome)>; 32],
    next: usize,
}

/// A fragment. Each passes the IP packet layer when it comes in; the first, which alone has ports, then goes on for the whole
/// datagram, and the others share its fate.
#[cold]
pub fn fragment<'a, H: Host<'a>>(
    walk: &mut Walk<'a, H>,
    flows: &mut Flows<H::Pended>,
    fragments: &mut Fragments,
    app: Option<usize>,
) -> Outcome {
    let packet = walk.passing.packet;
    let Some(fragment) = packet.fragment else { return whole(walk, flows, app) };
    let inbound = packet.direction == Direction::Inbound;
    let at = if inbound { At::InboundIpPacket } else { At::OutboundIpPacket };
    // Ports differ between the first fragment and the others; a fragment's identification stands in for them.
    let bare = |address: SocketAddr| SocketAddr::new(address.ip(), 0);
    let key = Key::new(packet.protocol, &bare(packet.local), &bare(packet.remote), 0);
    if inbound {
        walk.passing.facts.flags |= flag::IS_FRAGMENT;
        if let Err(blocked) = walk.pass(at) {
            return blocked.outcome(false);
        }
        walk.passing.facts.flags &= !flag::IS_FRAGMENT;
    }
    if fragment.offset != 0 {
        let layer = at.layer(walk.passing.facts.v6);
        return fragments.get(&key, fragment.identification).map_or(
            Outcome { decision: Decision::Permit, layer, filter_id: None, new_flow: false, pended: false },
            |first| Outcome { new_flow: false, ..first },
        );
    }
    if inbound {
        walk.passing.facts.flags |= flag::IS_REASSEMBLED;
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
    pub fn outcome(self, new_flow: bool) -> Outcome {
        Outcome { decision: Decision::Block, layer: self.layer, filter_id: self.filter_id, new_flow, pended: false }
    }
}

/// A packet that is whole, or goes on as if it were. `app` is the program of a flow that it begins.
pub fn whole<'a, H: Host<'a>>(walk: &mut Walk<'a, H>, flows: &mut Flows<H::Pended>, app: Option<usize>) -> Outcome {
    let packet = walk.passing.packet;
    if icmp::is_error(packet.protocol, packet.local.port()) {
        return icmp_error(walk);
    }
    let key = Key::new(packet.protocol, &packet.local, &packet.remote, packet.icmp_id);
    let mut known = flows.get_mut(&key);
    if let Some(flow) = known.as_deref_mut() {
        if flow.is_over(walk) {
            walk.host.end_flow(flow.handle);
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
                    walk.host.end_flow(flow.handle);
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
fn icmp_error<'a, H: Host<'a>>(walk: &mut Walk<'a, H>) -> Outcome {
    let way = match walk.passing.packet.direction {
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
        None => (if way[0] == At::OutboundIcmpError { way[0] } else { way[2] }.layer(walk.passing.facts.v6), None),
    };
    Outcome { decision: Decision::Permit, layer, filter_id, new_flow: false, pended: false }
}

/// What a server does before anything can reach it: it binds, and for TCP it listens. Returns who refused it.
pub fn serve<'a, H: Host<'a>>(walk: &mut Walk<'a, H>, app: Option<usize>, listens: bool) -> Option<Blocked> {
    let steps: &[At] = match walk.passing.packet.protocol {
        protocol::TCP if listens => &[At::BindRedirect, At::ResourceAssignment, At::AuthListen],
        protocol::TCP | protocol::UDP => &[At::BindRedirect, At::ResourceAssignment],
        _ => &[],
    };
    let local = walk.passing.packet.local;
    walk.passing.facts.set_bind(&local);
    let mut flow = Flow::new(walk, app);
    walk.belongs_to(&flow);
    let refused = steps.iter().find_map(|at| walk.pass_or_pend(&mut flow, *at).err());
    flow.end(walk);
    refused
}

/// Why the first packet of a flow was stopped.
enum First {
    Blocked(Blocked),
    BeforeAle(Blocked),
}

impl<P: PutOff> Flow<P> {
    /// A flow that the walk's packet begins.
    pub fn new<'a, H: Host<'a, Pended = P>>(walk: &mut Walk<'a, H>, app: Option<usize>) -> Flow<P> {
        let packet = walk.passing.packet;
        let (handle, endpoint) = walk.host.begin_flow();
        Flow {
            handle,
            begun: packet.direction,
            bound: packet.direction == Direction::Outbound,
            stage: if packet.is_opening() { Stage::Opening } else { Stage::Established },
            fin: 0,
            decision: Decision::Permit,
            layer: authorizing(packet.direction).layer(walk.passing.facts.v6),
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
    fn resume<'a, H: Host<'a, Pended = P>>(&mut self, walk: &mut Walk<'a, H>) -> bool {
        if let Some(verdict) = self.pended.as_ref().and_then(PutOff::verdict)
            && let Some(pended) = self.pended.take()
        {
            self.filter_id = verdict.filter_id;
            match verdict.action {
                Decision::Permit => {
                    self.decision = Decision::Permit;
                    self.resumed = self.stage == Stage::Established;
                    self.pended_at = (pended.at() != authorizing(self.begun)).then_some(pended.at());
                }
                Decision::Block => self.end(walk),
            }
        }
        self.decision == Decision::Permit
    }

    /// Whether the packet belongs to a new flow of the same addresses and ports: a new connection, or one that was blocked and may
    /// be permitted by now.
    fn is_over<'a, H: Host<'a, Pended = P>>(&self, walk: &Walk<'a, H>) -> bool {
        let packet = walk.passing.packet;
        let reconsider = self.decision == Decision::Block && self.pended.is_none() && self.epoch != walk.epoch(self);
        if packet.protocol == protocol::TCP {
            packet.is_opening() && (reconsider || self.decision == Decision::Permit && self.stage != Stage::Opening)
        } else {
            reconsider
        }
    }

    fn permit<'a, H: Host<'a, Pended = P>>(&self, walk: &Walk<'a, H>, new_flow: bool) -> Outcome {
        let (layer, filter_id) = match (self.filter_id, walk.permitted) {
            (None, Some((layer, filter))) => (layer, Some(filter)),
            _ => (self.layer, self.filter_id),
        };
        Outcome { decision: Decision::Permit, layer, filter_id, new_flow, pended: false }
    }

    pub(crate) fn block<'a, H: Host<'a, Pended = P>>(&mut self, walk: &mut Walk<'a, H>, blocked: Blocked) {
        self.decision = Decision::Block;
        self.layer = blocked.layer;
        self.filter_id = blocked.filter_id;
        self.end(walk);
    }

    fn end<'a, H: Host<'a, Pended = P>>(&mut self, walk: &mut Walk<'a, H>) {
        walk.host.end_flow(core::mem::take(&mut self.handle));
    }
}

/// Where a flow is authorised that begins in a direction.
fn authorizing(begun: Direction) -> At {
    match begun {
        Direction::Outbound => At::AuthConnect,
        Direction::Inbound => At::AuthRecvAccept,
    }
}

impl<'a, H: Host<'a>> Walk<'a, H> {
    pub fn belongs_to(&mut self, flow: &Flow<H::Pended>) {
        self.host.belongs_to(flow, &mut self.passing.facts);
    }

    /// The state of the filters that authorise a flow.
    fn epoch(&self, flow: &Flow<H::Pended>) -> u64 {
        self.host.epoch(flow.begun, self.passing.facts.v6)
    }

    fn authorize(&mut self, flow: &mut Flow<H::Pended>) -> Result<(), Blocked> {
        let at = authorizing(flow.begun);
        flow.epoch = self.epoch(flow);
        flow.layer = at.layer(self.passing.facts.v6);
        flow.filter_id = self.pass_or_pend(flow, at)?;
        Ok(())
    }

    /// Authorises again, because the filters of the authorising layer have changed.
    #[cold]
    fn reauthorize(&mut self, flow: &mut Flow<H::Pended>) -> Result<(), Blocked> {
        self.passing.facts.flags |= flag::IS_REAUTHORIZE;
        self.passing.facts.reauthorize_reason = reauthorize_reason::POLICY_CHANGE;
        let result = self.authorize(flow);
        self.passing.facts.flags &= !flag::IS_REAUTHORIZE;
        self.passing.facts.reauthorize_reason = 0;
        result
    }

    fn first_packet(&mut self, flow: &mut Flow<H::Pended>) -> Result<(), First> {
        match flow.begun {
            Direction::Outbound => {
                self.belongs_to(flow);
                self.connect(flow, None).map_err(First::Blocked)?;
                self.outbound(flow, flow.stage == Stage::Established).map_err(First::Blocked)
            }
            Direction::Inbound => {
                self.pass(At::InboundIpPacket).map_err(First::BeforeAle)?;
                self.passing.needs_ale = true;
                self.pass(At::InboundTransport).map_err(First::BeforeAle)?;
                self.belongs_to(flow);
                self.authorize(flow).map_err(First::Blocked)?;
                self.inbound_data(flow, flow.stage == Stage::Established).map_err(First::Blocked)
            }
        }
    }

    /// What comes before the first packet of a flow that begins here; `after` says where it was pended, and now goes on.
    fn connect(&mut self, flow: &mut Flow<H::Pended>, after: Option<At>) -> Result<(), Blocked> {
        const STEPS: [At; 3] = [At::BindRedirect, At::ResourceAssignment, At::ConnectRedirect];
        if matches!(self.passing.packet.protocol, protocol::TCP | protocol::UDP) {
            let done = after.and_then(|after| STEPS.iter().position(|at| *at == after)).map_or(0, |at| at + 1);
            for at in &STEPS[done..] {
                self.pass_or_pend(flow, *at)?;
            }
        }
        self.authorize(flow)
    }

    fn next_packet(&mut self, flow: &mut Flow<H::Pended>) -> Result<(), Blocked> {
        let changed = flow.stage != Stage::Ended && flow.epoch != self.epoch(flow);
        if flow.handle != 0 && self.host.is_aborted(flow.handle) {
            let blocked = Blocked { layer: flow.layer, filter_id: None };
            flow.block(self, blocked);
            return Err(blocked);
        }
        let resumed = core::mem::take(&mut flow.resumed);
        let pended_at = flow.pended_at.take();
        match self.passing.packet.direction {
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
                self.passing.needs_ale = changed;
                self.pass(At::InboundTransport)?;
                if changed {
                    self.reauthorize(flow)?;
                }
                let established = resumed || flow.completes_handshake(self.passing.packet);
                self.inbound_data(flow, established)
            }
        }
    }

    /// A packet that an authorised flow sends.
    fn outbound(&mut self, flow: &mut Flow<H::Pended>, established: bool) -> Result<(), Blocked> {
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
    fn inbound_data(&mut self, flow: &mut Flow<H::Pended>, established: bool) -> Result<(), Blocked> {
        if established {
            self.establish(flow)?;
        }
        self.data(flow)?;
        self.follow(flow);
        Ok(())
    }

    fn establish(&mut self, flow: &mut Flow<H::Pended>) -> Result<(), Blocked> {
        // There the direction is that of the connection, and not of the packet that completes its handshake.
        let packet = core::mem::replace(&mut self.passing.facts.direction, flow.begun);
        let passed = self.pass_or_pend(flow, At::FlowEstablished);
        self.passing.facts.direction = packet;
        passed?;
        flow.stage = Stage::Established;
        Ok(())
    }

    fn data(&mut self, flow: &Flow<H::Pended>) -> Result<(), Blocked> {
        let packet = self.passing.packet;
        if packet.protocol != protocol::TCP {
            return self.pass(At::DatagramData).map(drop);
        }
        if matches!(flow.stage, Stage::Established | Stage::Closing) && packet.has_stream_data() {
            self.pass(At::Stream)?;
        }
        Ok(())
    }

    fn follow(&mut self, flow: &mut Flow<H::Pended>) {
        let packet = self.passing.packet;
        if packet.protocol == protocol::TCP && flow.stage != Stage::Ended && flow.follow(packet) {
            self.close(flow);
        }
    }

    /// Ends a flow. The endpoint that it had is closed, and what it was assigned when it was bound is released.
    pub fn close(&mut self, flow: &mut Flow<H::Pended>) {
        if flow.handle != 0 && matches!(self.passing.packet.protocol, protocol::TCP | protocol::UDP) {
            // A callout cannot keep a connection from ending, whatever it says.
            let decided = (flow.decision, flow.layer, flow.filter_id);
            let _ = self.pass_or_pend(flow, At::EndpointClosure);
            (flow.decision, flow.layer, flow.filter_id) = decided;
            flow.pended = None;
            if flow.bound {
                let _ = self.pass(At::ResourceRelease);
            }
        }
        flow.end(self);
    }
}
