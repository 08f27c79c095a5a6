//! Traffic: connections and packets that pass the lab's layers. Which these are, and in which order, `postern_traffic` knows.
//!
//! Each thread has a [`Traffic`] of its own, with its own flows, so that no lock or shared counter is touched per packet.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use fwps::sys::*;
pub use postern_engine::Decision;
pub use postern_traffic::{At, Connection, Direction, Fragment, Outcome, Packet};
use postern_traffic::{Fragments, Header, Key, Octets, made_up};

use crate::fwp::classify::RawValues;
use crate::fwp::injection::Sent;
use crate::fwp::pending::Pended;
use crate::fwp::{FreeCells, Table, View};
use crate::kernel::Kernel;
use crate::lab::Lab;
use crate::ndis::Origin;
use crate::schedule;
use crate::thread;

use layer_data::LayerData;
use walk::walk;

pub(crate) mod injected;
mod layer_data;
mod net_event;
#[cfg(test)]
mod tests;
mod walk;

type Flow = postern_traffic::Flow<Arc<Pended>>;
type Flows = postern_traffic::Flows<Arc<Pended>>;

/// The program a flow belongs to.
#[derive(Debug, PartialEq, Eq)]
struct App {
    path: String,
    /// `ALE_APP_ID`: the NT path in lower case, or "System" as it is; UTF-16 with its terminating zero.
    id: Arc<[u8]>,
}

impl App {
    fn new(path: &str) -> App {
        let name = if path == "System" { path.to_string() } else { path.to_lowercase() };
        let id = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        App { path: path.to_string(), id }
    }
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
    /// The control data that programs send with, and the piece of memory in which a classify finds them.
    control: Vec<u8>,
    shown_control: Vec<u8>,
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
            control: Vec::new(),
            shown_control: Vec::new(),
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

    /// The control data (`WSACMSGHDR`s) that programs send datagrams with from now on.
    pub fn set_control_data(&mut self, control: &[u8]) {
        self.scratch.control = control.to_vec();
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

    /// Contexts that callouts have on these flows.
    pub fn flow_contexts(&self) -> usize {
        self.flows.values().map(|flow| self.kernel.fwp.flows.contexts(flow.handle)).sum()
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
        let refused = (begun == Direction::Inbound).then(|| self.listen(connection)).flatten();
        let outcome = refused.unwrap_or_else(|| self.send_first_packets(connection, begun));
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.bound = true;
        }
        self.app = app;
        outcome
    }

    /// Sends the packets with which a connection begins, as `connect` and `accept` do; after them it sends them once more, as a
    /// program does that had no answer. So a flow that was pended learns what has been decided meanwhile.
    pub fn send_first_packets(&mut self, connection: &Connection<'_>, begun: Direction) -> Outcome {
        let mut outcome: Option<Outcome> = None;
        for (direction, tcp_flags) in made_up::first_packets(connection.protocol, begun) {
            let bytes = made_up::Bytes::new(connection, direction, tcp_flags);
            let next = self.packet(&bytes.packet(connection, direction, tcp_flags));
            let first = *outcome.get_or_insert(next);
            if next.decision == Decision::Block {
                outcome = Some(Outcome { new_flow: first.new_flow, ..next });
                break;
            }
        }
        outcome.expect("a connection begins with a packet")
    }

    /// What a server does before a connection can arrive. Returns the outcome if it may not.
    fn listen(&mut self, connection: &Connection<'_>) -> Option<Outcome> {
        let Connection { protocol, local, remote, .. } = *connection;
        let packet = Packet { direction: Direction::Inbound, protocol, local, remote, ..Packet::NOTHING };
        thread::enter(&self.kernel, || {
            let octets = Octets::new(&local, &remote);
            let (view, callouts) = (self.view.load(), self.callouts.load());
            let scratch = &mut self.scratch;
            let mut walk = walk(&self.kernel, view, callouts, scratch, &packet, &octets, &self.apps);
            postern_traffic::serve(&mut walk, self.app, true).map(|blocked| blocked.outcome(false))
        })
    }

    /// One packet, of a flow that it continues or begins.
    pub fn packet(&mut self, packet: &Packet<'_>) -> Outcome {
        schedule::begins("a packet");
        thread::enter(&self.kernel, || {
            let octets = Octets::new(&packet.local, &packet.remote);
            let (view, callouts) = (self.view.load(), self.callouts.load());
            let scratch = &mut self.scratch;
            let mut walk = walk(&self.kernel, view, callouts, scratch, packet, &octets, &self.apps);
            if packet.fragment.is_some() {
                return postern_traffic::fragment(&mut walk, &mut self.flows, &mut self.fragments, self.app);
            }
            postern_traffic::whole(&mut walk, &mut self.flows, self.app)
        })
    }

    /// What an image has sent at the network layer comes by in the flow of the same addresses and ports: "outbound packets reenter from
    /// the top" ("Packet Injection Functions"). Returns whether it goes on; `None` if there is no such flow.
    pub fn reenter(&mut self, sent: &Sent) -> Option<Decision> {
        let header = Header::parse(&sent.bytes)?;
        let (local, remote) = (header.source, header.destination);
        let packet = Packet {
            protocol: header.protocol,
            local,
            remote,
            bytes: &sent.bytes,
            payload: sent.bytes.get(header.length..)?,
            ..Packet::NOTHING
        };
        let key = Key::new(packet.protocol, &local, &remote, 0);
        thread::enter(&self.kernel, || {
            let octets = Octets::new(&local, &remote);
            let (view, callouts) = (self.view.load(), self.callouts.load());
            let flow = self.flows.get_mut(&key)?;
            let scratch = &mut self.scratch;
            let mut walk = walk(&self.kernel, view, callouts, scratch, &packet, &octets, &self.apps);
            walk.belongs_to(flow);
            walk.host.reenters(&packet, sent.injection);
            let passes = [At::OutboundTransport, At::OutboundIpPacket].into_iter().all(|at| walk.pass(at).is_ok());
            Some(if passes { Decision::Permit } else { Decision::Block })
        })
    }

    /// Ends every flow, as the end of their connections does: contexts are deleted.
    pub fn end_flows(&mut self) {
        schedule::begins("the end of flows");
        thread::enter(&self.kernel, || {
            let (view, callouts) = (self.view.load(), self.callouts.load());
            for (key, mut flow) in self.flows.drain() {
                let (local, remote) = key.addresses();
                let octets = Octets::new(&local, &remote);
                let direction = flow.begun;
                let packet = Packet { direction, protocol: key.protocol(), local, remote, ..Packet::NOTHING };
                let scratch = &mut self.scratch;
                let mut walk = walk(&self.kernel, view, callouts, scratch, &packet, &octets, &self.apps);
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
