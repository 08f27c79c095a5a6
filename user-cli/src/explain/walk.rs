//! From a question to the layers that are passed.

use postern_engine::{Decision, Snapshot};
use postern_traffic::{
    Connection, Direction, Flows, Fragments, Interface, Key, Octets, Outcome, Packet, Program, USER, Walk, fragment,
    made_up, serve, whole,
};

use super::names::Names;
use super::question::{Captured, Question, Subject};
use super::tracer::{Never, Noted, Tracer};
use crate::filter::app_id;
use crate::filter::protocol::Protocol;

/// What happens at one time.
pub struct Walked {
    pub title: String,
    /// Whether it is part of what was asked.
    pub decides: bool,
    pub noted: Vec<Noted>,
}

/// Everything that happens, and what becomes of what was asked about. No outcome: a program was refused before any packet, or there is
/// none.
pub struct Walks {
    pub walked: Vec<Walked>,
    pub outcome: Option<Outcome>,
}

pub fn walk(snapshot: &Snapshot, names: &Names<'_>, question: &Question, interface: Interface) -> Walks {
    let app = question.app.as_deref().map(app_id::blob);
    let user: Vec<&[u8]> = question.user.iter().map(Vec::as_slice).collect();
    let user = match (&user[..], &app) {
        // A program whose user is not told runs as the lab's.
        ([], Some(_)) => Some(USER),
        ([], None) => None,
        (user, _) => Some(user),
    };
    let program = Program { app: app.as_deref(), user, package: question.package.as_deref() };
    let traveller = Traveller {
        question,
        interface,
        tracer: Tracer::new(snapshot, names, program),
        flows: Flows::default(),
        fragments: Fragments::default(),
        walked: Vec::new(),
        outcome: None,
    };
    traveller.travel()
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const PSH_ACK: u8 = 0x18;

struct Traveller<'a> {
    question: &'a Question,
    interface: Interface,
    tracer: Tracer<'a>,
    flows: Flows<Never>,
    fragments: Fragments,
    walked: Vec<Walked>,
    outcome: Option<Outcome>,
}

impl<'a> Traveller<'a> {
    fn travel(mut self) -> Walks {
        match &self.question.subject {
            Subject::Connect => self.connection(Direction::Outbound),
            Subject::Accept => self.connection(Direction::Inbound),
            Subject::Bind => drop(self.serve(false)),
            Subject::Listen => drop(self.serve(true)),
            Subject::Packet(packets) => self.captured(packets),
        }
        Walks { walked: self.walked, outcome: self.outcome }
    }

    /// What has been noted since the last stage happened at one time.
    fn stage(&mut self, title: &str, decides: bool) {
        let noted = std::mem::take(&mut self.tracer.noted);
        if !noted.is_empty() {
            self.walked.push(Walked { title: title.to_owned(), decides, noted });
        }
    }

    fn with_walk<T>(
        &mut self,
        packet: &Packet<'_>,
        then: impl for<'w> FnOnce(&mut Walk<'w, &'w mut Tracer<'a>>, &mut Flows<Never>, &mut Fragments) -> T,
    ) -> T {
        let octets = Octets::new(&packet.local, &packet.remote);
        let mut walk = Walk::new(&mut self.tracer, packet, &octets);
        walk.passing.facts.interface = self.interface;
        walk.passing.facts.profile = self.question.profile;
        then(&mut walk, &mut self.flows, &mut self.fragments)
    }

    fn pass(&mut self, packet: &Packet<'_>) -> Outcome {
        self.with_walk(packet, |walk, flows, fragments| match packet.fragment {
            Some(_) => fragment(walk, flows, fragments, None),
            None => whole(walk, flows, None),
        })
    }

    fn nothing(&self, direction: Direction) -> Packet<'static> {
        let Question { protocol, local, remote, .. } = *self.question;
        Packet { direction, protocol: protocol.0, local, remote, ..Packet::NOTHING }
    }

    /// What a server does. Returns whether it may.
    fn serve(&mut self, listens: bool) -> bool {
        let packet = self.nothing(Direction::Inbound);
        let refused = self.with_walk(&packet, |walk, _, _| serve(walk, None, listens));
        self.stage(if listens && self.question.protocol == Protocol::TCP { "bind and listen" } else { "bind" }, true);
        refused.is_none()
    }

    fn connection(&mut self, begun: Direction) {
        let connection = Connection {
            protocol: self.question.protocol.0,
            local: self.question.local,
            remote: self.question.remote,
            app: None,
        };
        if begun == Direction::Inbound && !self.serve(true) {
            return;
        }
        for (direction, tcp_flags) in made_up::first_packets(connection.protocol, begun) {
            let bytes = made_up::Bytes::new(&connection, direction, tcp_flags);
            let outcome = self.pass(&bytes.packet(&connection, direction, tcp_flags));
            self.stage(&title(self.question.protocol, direction, tcp_flags, true), true);
            // What authorised the connection counts, unless a later packet is blocked.
            let first = *self.outcome.get_or_insert(outcome);
            if outcome.decision == Decision::Block {
                self.outcome = Some(Outcome { new_flow: first.new_flow, ..outcome });
                return;
            }
        }
        // What comes after it is begun.
        let back = match begun {
            Direction::Outbound => Direction::Inbound,
            Direction::Inbound => Direction::Outbound,
        };
        let data: &[Direction] = match self.question.protocol {
            Protocol::TCP => &[begun, back],
            Protocol::UDP => &[back],
            _ => &[],
        };
        for direction in data {
            let bytes = made_up::Bytes::new(&connection, *direction, PSH_ACK);
            let packet = bytes.packet(&connection, *direction, PSH_ACK);
            let with_data = [packet.bytes, b"data"].concat();
            let payload = &with_data[packet.ip_header()..];
            self.pass(&Packet { bytes: &with_data, payload, ..packet });
            self.stage(&title(self.question.protocol, *direction, PSH_ACK, false), false);
        }
        let packet = self.nothing(begun);
        let key = Key::new(packet.protocol, &packet.local, &packet.remote, 0);
        if let Some(mut flow) = self.flows.remove(&key) {
            flow.bound = true;
            self.with_walk(&packet, |walk, _, _| walk.close(&mut flow));
            self.stage("the end of the connection", false);
        }
    }

    /// The last packet is asked about. Those before it make its flow, and what was decided at its beginning, or when it was
    /// blocked, holds for the last one, too.
    fn captured(&mut self, packets: &[Captured]) {
        let Some((last, before)) = packets.split_last() else { return };
        let key = |packet: &Captured| Key::new(packet.protocol, &packet.local, &packet.remote, packet.icmp_id);
        let mut decided = None;
        self.tracer.notes = false;
        for (position, packet) in before.iter().enumerate() {
            let classifies = self.tracer.classifies;
            let outcome = self.pass(&packet.packet());
            let same = key(packet) == key(last) || packet.fragment.is_some();
            let asked = self.tracer.classifies > classifies;
            if same && asked && (outcome.new_flow || outcome.decision == Decision::Block) {
                decided = Some(position);
            }
        }
        self.flows = Flows::default();
        self.fragments = Fragments::default();
        for (position, packet) in packets.iter().enumerate() {
            let is_last = position == before.len();
            self.tracer.notes = is_last || decided == Some(position);
            self.outcome = Some(self.pass(&packet.packet()));
            let title = title(Protocol(packet.protocol), packet.direction, packet.tcp_flags, false);
            match is_last {
                true => self.stage(&format!("packet {}: {title}", packet.number), true),
                false => self.stage(
                    &format!("packet {}: {title}; what is authorised here holds for the flow", packet.number),
                    true,
                ),
            }
        }
    }
}

fn title(protocol: Protocol, direction: Direction, tcp_flags: u8, first: bool) -> String {
    let what = match (protocol, tcp_flags & (SYN | ACK)) {
        (Protocol::TCP, SYN) => "SYN",
        (Protocol::TCP, 0x12) => "SYN-ACK",
        (Protocol::TCP, ACK) if first => "ACK",
        (Protocol::TCP, _) => "data",
        (Protocol::UDP, _) => "datagram",
        (Protocol::ICMP | Protocol::ICMPV6, _) => "message",
        _ => "packet",
    };
    match direction {
        Direction::Outbound => format!("{what}, outbound"),
        Direction::Inbound => format!("{what}, inbound"),
    }
}
