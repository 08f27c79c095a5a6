//! Traffic: connections and packets, and the layers that they pass.
//!
//! Which layers these are, and in which order, is that of the documentation pages "TCP Packet Flows", "UDP Packet Flows" and
//! "ALE Layers": a flow is authorised once, at ALE_AUTH_CONNECT or ALE_AUTH_RECV_ACCEPT, and again when the filters of that layer
//! change; each packet passes the transport and IP packet layers, and data the stream or datagram layer.
//!
//! Each thread has a [`Traffic`] of its own, with its own flows, so that no lock or shared counter is touched per packet.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use fwps::sys::*;
pub use postern_engine::Decision;

use crate::fwp::classify::RawValues;
use crate::fwp::classify_handle;
use crate::fwp::pending::{self, Operation};
use crate::fwp::{FreeCells, Table, View};
use crate::kernel::Kernel;
use crate::lab::Lab;
use crate::ndis::Origin;
use crate::thread;

use flow::{App, Flow, Flows, Key, Stage};
use layer_data::LayerData;
use values::Octets;
pub(crate) use walk::At;
use walk::{Blocked, Walk};

mod flow;
mod header;
mod icmp;
pub(crate) mod injected;
mod layer_data;
mod made_up;
#[cfg(test)]
mod tests;
mod values;
mod walk;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Outbound,
    Inbound,
}

/// A connection that a program asks for, or that reaches it.
#[derive(Clone, Debug)]
pub struct Connection<'a> {
    /// 6 for TCP, 17 for UDP, 1 and 58 for ICMP.
    pub protocol: u8,
    /// For ICMP, the port is the message's type.
    pub local: SocketAddr,
    /// For ICMP, the port is the message's code.
    pub remote: SocketAddr,
    /// NT path of the program: `\device\harddiskvolume1\windows\system32\curl.exe`.
    pub app: Option<&'a str>,
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub direction: Direction,
    /// What follows the IP headers: 6 for TCP, 17 for UDP, 1 and 58 for ICMP.
    pub protocol: u8,
    /// For ICMP, the port is the message's type.
    pub local: SocketAddr,
    /// For ICMP, the port is the message's code.
    pub remote: SocketAddr,
    /// The flags of the TCP header's 14th byte.
    pub tcp_flags: u8,
    /// The identifier of an ICMP echo.
    pub icmp_id: u16,
    pub fragment: Option<Fragment>,
    /// From the IP header on, as far as known.
    pub bytes: &'a [u8],
    /// The part of `bytes` that follows the IP headers.
    pub payload: &'a [u8],
}

impl Packet<'static> {
    /// No packet: for what happens to a flow without one.
    const NOTHING: Packet<'static> = Packet {
        direction: Direction::Outbound,
        protocol: 0,
        local: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
        remote: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
        tcp_flags: 0,
        icmp_id: 0,
        fragment: None,
        bytes: &[],
        payload: &[],
    };
}

/// A part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub identification: u32,
    /// In bytes; 0 for the first fragment, which alone has ports.
    pub offset: u16,
    pub more: bool,
}

/// What became of a connection or packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub decision: Decision,
    /// The layer that decided: that which blocked; else that which authorised the flow, unless only a later one had a filter that
    /// permitted.
    pub layer: u16,
    /// The filter that decided; none: no filter did, and the default is to permit.
    pub filter_id: Option<u64>,
    /// Whether it began a flow.
    pub new_flow: bool,
    /// Whether the flow waits for a callout that has put off its decision; until then its packets are blocked.
    pub pended: bool,
}

/// A source of traffic: one for each thread.
pub struct Traffic {
    kernel: Arc<Kernel>,
    view: Cache<ViewOf, Arc<View>>,
    callouts: Cache<CalloutsOf, Arc<Table>>,
    flows: Flows,
    fragments: Fragments,
    scratch: Scratch,
    /// Every program that a flow here has belonged to.
    apps: Vec<App>,
    /// The one (by position) that packets belong to whose flow was not begun by `connect` or `accept`.
    app: Option<usize>,
}

/// Memory that is used for each packet again.
struct Scratch {
    raw: Box<RawValues>,
    data: LayerData,
    /// Packets that images held when the next one came.
    held: Vec<LayerData>,
    metadata: Box<FWPS_INCOMING_METADATA_VALUES0>,
    process_path: FWP_BYTE_BLOB,
    stock: FreeCells,
    next_endpoint: u64,
}

impl Scratch {
    fn new() -> Scratch {
        Scratch {
            raw: RawValues::new(),
            data: LayerData::new(),
            held: Vec::new(),
            metadata: Box::new(walk::NO_METADATA),
            process_path: FWP_BYTE_BLOB { size: 0, data: core::ptr::null_mut() },
            stock: FreeCells::default(),
            next_endpoint: 1,
        }
    }

    /// Puts a packet into `data`. A packet there that an image holds is put aside until it is let go.
    fn load(&mut self, packet: &Packet<'_>) {
        if self.data.is_held() {
            let free = self.held.iter().position(|data| !data.is_held()).map(|free| self.held.swap_remove(free));
            let held = core::mem::replace(&mut self.data, free.unwrap_or_else(LayerData::new));
            self.held.push(held);
        }
        let origin = Origin { protocol: packet.protocol, local: packet.local, remote: packet.remote };
        self.data.load(packet.bytes, origin);
    }
}

struct ViewOf(Arc<Kernel>);
impl Deref for ViewOf {
    type Target = ArcSwap<View>;
    fn deref(&self) -> &ArcSwap<View> {
        &self.0.fwp.view
    }
}

struct CalloutsOf(Arc<Kernel>);
impl Deref for CalloutsOf {
    type Target = ArcSwap<Table>;
    fn deref(&self) -> &ArcSwap<Table> {
        &self.0.fwp.callouts.0
    }
}

/// The outcomes of datagrams whose first fragment has been seen; the oldest is forgotten.
#[derive(Default)]
struct Fragments {
    recent: [Option<(Key, u32, Outcome)>; 32],
    next: usize,
}

impl Lab {
    /// A source of traffic for the calling thread.
    pub fn traffic(&self) -> Traffic {
        Traffic::new(self.kernel.clone())
    }
}

impl Traffic {
    pub(crate) fn new(kernel: Arc<Kernel>) -> Traffic {
        Traffic {
            view: Cache::new(ViewOf(kernel.clone())),
            callouts: Cache::new(CalloutsOf(kernel.clone())),
            flows: Flows::default(),
            fragments: Fragments::default(),
            scratch: Scratch::new(),
            apps: Vec::new(),
            app: None,
            kernel,
        }
    }

    /// The program (NT path) that packets belong to from now on, where no `connect` or `accept` has said another.
    pub fn set_app(&mut self, path: Option<&str>) {
        self.app = path.map(|path| self.app_of(path));
    }

    fn app_of(&mut self, path: &str) -> usize {
        self.apps.iter().position(|app| app.path == path).unwrap_or_else(|| {
            self.apps.push(App::new(path));
            self.apps.len() - 1
        })
    }

    /// Flows that have begun and not been ended.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// A program connects: what leads up to the first packet, that packet, and for TCP the rest of the handshake. The flow goes on
    /// with packets of the same addresses and ports.
    pub fn connect(&mut self, connection: &Connection<'_>) -> Outcome {
        self.begin(connection, Direction::Outbound)
    }

    /// A connection arrives at a program, in the same way.
    pub fn accept(&mut self, connection: &Connection<'_>) -> Outcome {
        self.begin(connection, Direction::Inbound)
    }

    fn begin(&mut self, connection: &Connection<'_>, begun: Direction) -> Outcome {
        let key = Key::new(connection.protocol, &connection.local, &connection.remote, 0);
        let app = connection.app.map(|path| self.app_of(path)).or(self.app);
        let app = core::mem::replace(&mut self.app, app);
        thread::enter(&self.kernel, || {
            if let Some(flow) = self.flows.remove(&key) {
                self.kernel.fwp.flows.end(flow.handle, &mut self.scratch.stock);
            }
        });
        let mut outcome = (begun == Direction::Inbound).then(|| self.listen(connection)).flatten();
        if let Some(refused) = outcome {
            self.app = app;
            return refused;
        }
        for (direction, tcp_flags) in made_up::first_packets(connection.protocol, begun) {
            let bytes = made_up::Bytes::new(connection, direction, tcp_flags);
            let next = self.packet(&bytes.packet(connection, direction, tcp_flags));
            let first = *outcome.get_or_insert(next);
            if next.decision == Decision::Block {
                outcome = Some(Outcome { new_flow: first.new_flow, ..next });
                break;
            }
        }
        self.app = app;
        outcome.expect("a connection begins with a packet")
    }

    /// What a server does before a connection can arrive. Returns the outcome if it may not.
    fn listen(&mut self, connection: &Connection<'_>) -> Option<Outcome> {
        let (protocol, local, remote) = (connection.protocol, connection.local, connection.remote);
        let packet = Packet { direction: Direction::Inbound, protocol, local, remote, ..Packet::NOTHING };
        let steps: &[At] = match protocol {
            flow::TCP => &[At::ResourceAssignment, At::AuthListen],
            flow::UDP => &[At::ResourceAssignment],
            _ => &[],
        };
        thread::enter(&self.kernel, || {
            let octets = Octets::new(&local, &remote);
            let (view, callouts) = (self.view.load(), self.callouts.load());
            let scratch = &mut self.scratch;
            let mut walk = Walk::new(&self.kernel, view, callouts, scratch, &packet, &octets, &self.apps);
            let mut flow = Flow::new(&mut walk, self.app);
            walk.belongs_to(&flow);
            let refused = steps.iter().find_map(|at| walk.pass_or_pend(&mut flow, *at).err());
            flow.end(&mut walk);
            refused.map(|blocked| blocked.outcome(false))
        })
    }

    /// One packet, of a flow that it continues or begins.
    pub fn packet(&mut self, packet: &Packet<'_>) -> Outcome {
        thread::enter(&self.kernel, || {
            let octets = Octets::new(&packet.local, &packet.remote);
            let (view, callouts) = (self.view.load(), self.callouts.load());
            let scratch = &mut self.scratch;
            let mut walk = Walk::new(&self.kernel, view, callouts, scratch, packet, &octets, &self.apps);
            if packet.fragment.is_some() {
                return fragment(&mut walk, &mut self.flows, &mut self.fragments, self.app);
            }
            whole(&mut walk, &mut self.flows, self.app)
        })
    }

    /// Ends every flow, as the end of their connections does: contexts are deleted.
    pub fn end_flows(&mut self) {
        thread::enter(&self.kernel, || {
            let (view, callouts) = (self.view.load(), self.callouts.load());
            for (key, mut flow) in self.flows.drain() {
                let (local, remote) = key.addresses();
                let octets = Octets::new(&local, &remote);
                let direction = flow.begun;
                let packet = Packet { direction, protocol: key.protocol(), local, remote, ..Packet::NOTHING };
                let scratch = &mut self.scratch;
                let mut walk = Walk::new(&self.kernel, view, callouts, scratch, &packet, &octets, &self.apps);
                walk.belongs_to(&flow);
                walk.close(&mut flow);
            }
        });
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.end_flows();
        self.kernel.fwp.flows.give_back(&mut self.scratch.stock);
    }
}

/// A fragment. Each passes the IP packet layer when it comes in; the first, which alone has ports, then goes on for the whole
/// datagram, and the others share its fate.
#[cold]
fn fragment(walk: &mut Walk<'_>, flows: &mut Flows, fragments: &mut Fragments, app: Option<usize>) -> Outcome {
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
    fn outcome(self, new_flow: bool) -> Outcome {
        Outcome { decision: Decision::Block, layer: self.layer, filter_id: self.filter_id, new_flow, pended: false }
    }
}

/// A packet that is whole, or goes on as if it were.
fn whole(walk: &mut Walk<'_>, flows: &mut Flows, app: Option<usize>) -> Outcome {
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
    fn new(walk: &mut Walk<'_>, app: Option<usize>) -> Flow {
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

    fn end(&mut self, walk: &mut Walk<'_>) {
        walk.kernel.fwp.flows.end(core::mem::take(&mut self.handle), &mut walk.scratch.stock);
        walk.flow = 0;
    }
}

/// Where a flow is authorised that begins in a direction.
fn authorizing(begun: Direction) -> At {
    match begun {
        Direction::Outbound => At::AuthConnect,
        Direction::Inbound => At::AuthRecvAccept,
    }
}

impl Walk<'_> {
    fn belongs_to(&mut self, flow: &Flow) {
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
    fn pass_or_pend(&mut self, flow: &mut Flow, at: At) -> Result<Option<u64>, Blocked> {
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
        self.pass_or_pend(flow, At::FlowEstablished)?;
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
    fn close(&mut self, flow: &mut Flow) {
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
