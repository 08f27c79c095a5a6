//! The flow table: what is counted of each flow, from its establishment to the last `flowDeleteFn`.
//!
//! A flow has a [`Slot`], and a context of ours at three layers: where its packets come in, where they go out, and where its
//! program sends and receives. The context that the engine keeps is a [`Ticket`], never a pointer: it names a place in the table
//! and the generation of what was there, so a stale one is recognised.
//!
//! # How a flow ends
//!
//! The slot's state word has a bit for each context, and PUBLISHING while [`Flows::establish`] works on the flow. A bit is set,
//! *announced*, before `FwpsFlowAssociateContext0` is called, because `flowDeleteFn` may come before that call has returned. It is
//! cleared by `flowDeleteFn`, or by the publisher if the call failed. Whoever clears the last one owns the flow's end: it
//! reports the flow, then frees the slot. So a flow ends once, whichever of its three contexts, its publisher, an unload or
//! the network is the last to let go.
//!
//! # What is waited for
//!
//! [`Flows::outstanding`] counts announced contexts whose end has not been dealt with. It goes down last of all, after the
//! report and after the slot is free, so whoever sees zero may free the table. An empty list would prove nothing: a context
//! announced but not yet associated is in no list of the engine's, and one that was taken out of it may still be in `flowDeleteFn`.
//! What adds to the count holds a pass of the gate meanwhile; so once the gate is closed and empty, the count only falls.
//!
//! # What is where
//!
//! A packet writes to one cache line, the first half of the slot. The second half is written when the flow begins.

use core::ops::Range;

use postern_protocol::Layer;
use postern_protocol::ioctl::{Endpoints, FlowEntry, Traffic};

use crate::Status;
use crate::sync::{AtomicU64, Ordering, const_unless_loom, fence, zeros};

/// The context of ours that the engine keeps with a flow. Never zero ("FwpsFlowAssociateContext0 function": `flowContext` must
/// not be).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(pub u64);

impl Ticket {
    /// `state` is a slot's state word: the generation stands in the upper half of both.
    const fn new(state: u64, place: u32) -> Self {
        Ticket(state & GENERATION | (place as u64 + 1))
    }
    const fn place(self) -> Option<u32> {
        (self.0 as u32).checked_sub(1)
    }
    /// Whether the ticket is of the flow that has this state word.
    const fn is_of(self, state: u64) -> bool {
        (self.0 ^ state) & GENERATION == 0
    }
}

/// Where a flow has a context of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Association {
    InboundTransport = 0,
    OutboundTransport = 1,
    Stream = 2,
    Datagram = 3,
}

impl Association {
    const ALL: [Association; 4] =
        [Association::InboundTransport, Association::OutboundTransport, Association::Stream, Association::Datagram];

    /// The associations of a flow of `protocol` (`IPPROTO_*`): TCP has streams, everything else has datagrams.
    pub const fn of(protocol: u8) -> [Association; 3] {
        const IPPROTO_TCP: u8 = 6;
        let data = if protocol == IPPROTO_TCP { Association::Stream } else { Association::Datagram };
        [Association::InboundTransport, Association::OutboundTransport, data]
    }

    /// The layer at which a flow of `ip_version` (4 or 6) has this context.
    pub const fn layer(self, ip_version: u8) -> Layer {
        match (self, ip_version) {
            (Association::InboundTransport, 6) => Layer::InboundTransportV6,
            (Association::InboundTransport, _) => Layer::InboundTransportV4,
            (Association::OutboundTransport, 6) => Layer::OutboundTransportV6,
            (Association::OutboundTransport, _) => Layer::OutboundTransportV4,
            (Association::Stream, 6) => Layer::StreamV6,
            (Association::Stream, _) => Layer::StreamV4,
            (Association::Datagram, 6) => Layer::DatagramDataV6,
            (Association::Datagram, _) => Layer::DatagramDataV4,
        }
    }

    /// The association that is made at `layer`, if one is.
    pub const fn at(layer: Layer) -> Option<Association> {
        match layer {
            Layer::InboundTransportV4 | Layer::InboundTransportV6 => Some(Association::InboundTransport),
            Layer::OutboundTransportV4 | Layer::OutboundTransportV6 => Some(Association::OutboundTransport),
            Layer::StreamV4 | Layer::StreamV6 => Some(Association::Stream),
            Layer::DatagramDataV4 | Layer::DatagramDataV6 => Some(Association::Datagram),
            _ => None,
        }
    }

    /// Its bit in a slot's state word.
    const fn bit(self) -> u64 {
        1 << (8 + self as u8)
    }
}

/// Which way a packet goes; the index into the pairs of [`Traffic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    Inbound = 0,
    Outbound = 1,
}

/// What follows from a status of `FwpsFlowAssociateContext0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Associating {
    /// The context is the flow's; its `flowDeleteFn` comes once.
    Associated,
    /// The flow has a context of this callout already, which stays; ours was refused. The status is one of those that
    /// `NT_SUCCESS` takes for a success.
    Occupied,
    /// Refused: `flowDeleteFn` will not come.
    Refused,
}

impl Associating {
    /// The documented statuses ("FwpsFlowAssociateContext0 function", fwpsk.h), and an action for all others.
    pub const fn after(status: Status) -> Associating {
        match status {
            Status::SUCCESS => Associating::Associated,
            Status::OBJECT_NAME_EXISTS => Associating::Occupied,
            _ => Associating::Refused,
        }
    }
}

/// What follows from a status of `FwpsFlowRemoveContext0`. In no case is the context taken for deleted: `flowDeleteFn` alone
/// says that, and the count of those that are outstanding is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// `flowDeleteFn` has run within the call.
    Deleted,
    /// A classify of the callout is in progress; `flowDeleteFn` comes at its end.
    Later,
    /// The flow has no context of the callout: `flowDeleteFn` has come or is on its way.
    Absent,
    /// Not documented. The context may still be there: once more, some time later.
    Again,
}

impl Removal {
    /// The documented statuses ("FwpsFlowRemoveContext0 function", fwpsk.h), and an action for all others.
    pub const fn after(status: Status) -> Removal {
        match status {
            Status::SUCCESS => Removal::Deleted,
            Status::PENDING => Removal::Later,
            Status::UNSUCCESSFUL => Removal::Absent,
            _ => Removal::Again,
        }
    }
}

/// The engine's calls. Both may call `flowDeleteFn`, and so [`Flows::deleted`], before they return. IRQL: at most DISPATCH_LEVEL.
pub trait Engine {
    /// `FwpsFlowAssociateContext0` for the monitor callout at `layer`.
    fn associate(&self, flow: u64, layer: Layer, ticket: Ticket) -> Status;
    /// `FwpsFlowRemoveContext0` for the monitor callout at `layer`.
    fn remove(&self, flow: u64, layer: Layer) -> Status;
}

/// Who is told of flows. IRQL: at most DISPATCH_LEVEL.
///
/// For every flow `begun` comes first, then `ended`, each once; for one whose establishment failed neither does.
pub trait Observer {
    fn begun(&self, flow: &FlowEntry);
    /// `flow` is final.
    fn ended(&self, flow: &FlowEntry);
}

/// Where the slots are.
///
/// Places are numbered from zero. A slot stays where it is until the table goes.
pub trait Slots {
    /// The slot at `place`, or `None` if there is none (yet). IRQL: at most DISPATCH_LEVEL.
    fn slot(&self, place: u32) -> Option<&Slot>;
    /// A number that all places are below.
    fn places(&self) -> u32;
    /// Adds places with new slots, which nobody else is given, or `None` if there is no room. IRQL: at most DISPATCH_LEVEL.
    fn grow(&self) -> Option<Range<u32>>;
}

/// What leaving needs from its surroundings. IRQL: PASSIVE_LEVEL.
pub trait Leaving {
    /// Lets time pass.
    fn wait(&mut self, milliseconds: u32);
    /// Tells the log that the contexts were removed `attempts` times, that `outstanding` have still not been deleted, and what the
    /// last attempt was answered.
    fn report(&mut self, attempts: u32, outstanding: u64, removals: &Removals);
}

/// The upper half of the state word: how many flows the slot has had.
const GENERATION: u64 = !0 << 32;
const NEXT_GENERATION: u64 = 1 << 32;
/// [`Flows::establish`] works on the flow.
const PUBLISHING: u64 = 1;
/// The flow could not be established; nobody is told of it.
const ABANDONED: u64 = 2;
const ASSOCIATIONS: u64 = Association::InboundTransport.bit()
    | Association::OutboundTransport.bit()
    | Association::Stream.bit()
    | Association::Datagram.bit();
/// As long as one of these is set, the flow has not ended.
const LIVE: u64 = PUBLISHING | ASSOCIATIONS;

/// What is kept of one flow.
#[repr(C, align(128))]
pub struct Slot {
    // Written by every packet: one cache line.
    /// The generation and the flags above.
    state: AtomicU64,
    packets: [AtomicU64; 2],
    bytes: [AtomicU64; 2],
    payload: [AtomicU64; 2],
    last: AtomicU64,
    // Written once for each flow.
    /// The engine's number of the flow. While the slot is free: the next free place + 1, or zero.
    flow: AtomicU64,
    first: AtomicU64,
    addresses: [AtomicU64; 4],
    /// Ports, protocol, application and so on: see [`Description`].
    description: AtomicU64,
    process_id: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Slot>() == 128 && core::mem::offset_of!(Slot, flow) == 64);

impl Slot {
    const_unless_loom! {
        /// A free slot.
        #[allow(clippy::new_without_default, reason = "only a table has a use for one")]
        pub fn new() -> Self {
            Slot {
                state: AtomicU64::new(0),
                packets: zeros(),
                bytes: zeros(),
                payload: zeros(),
                last: AtomicU64::new(0),
                flow: AtomicU64::new(0),
                first: AtomicU64::new(0),
                addresses: zeros(),
                description: AtomicU64::new(0),
                process_id: AtomicU64::new(0),
            }
        }
    }

    /// Fills in a new flow. The slot is the caller's alone, but for those who read it in vain.
    fn describe(&self, flow: u64, endpoints: &Endpoints, now: u64) {
        // Whoever reads one of the values below, and then looks at the state again, must see that its flow has gone.
        fence(Ordering::Release);
        for counters in [&self.packets, &self.bytes, &self.payload] {
            for counter in counters {
                counter.store(0, Ordering::Relaxed);
            }
        }
        self.last.store(now, Ordering::Relaxed);
        self.first.store(now, Ordering::Relaxed);
        self.flow.store(flow, Ordering::Relaxed);
        let addresses = [&endpoints.local_address, &endpoints.remote_address].into_iter().flat_map(|address| {
            let address = u128::from_le_bytes(*address);
            [address as u64, (address >> 64) as u64]
        });
        for (word, half) in self.addresses.iter().zip(addresses) {
            word.store(half, Ordering::Relaxed);
        }
        self.description.store(Description::of(endpoints).0, Ordering::Relaxed);
        self.process_id.store(endpoints.process_id, Ordering::Relaxed);
    }

    /// What is in the slot now.
    fn entry(&self, place: u32) -> FlowEntry {
        let pair =
            |counters: &[AtomicU64; 2]| [counters[0].load(Ordering::Relaxed), counters[1].load(Ordering::Relaxed)];
        let address = |index: usize| {
            let half = |index: usize| u128::from(self.addresses[index].load(Ordering::Relaxed));
            (half(index) | half(index + 1) << 64).to_le_bytes()
        };
        let described = Description(self.description.load(Ordering::Relaxed)).endpoints();
        FlowEntry {
            flow: self.flow.load(Ordering::Relaxed),
            place,
            reserved: 0,
            endpoints: Endpoints {
                local_address: address(0),
                remote_address: address(2),
                process_id: self.process_id.load(Ordering::Relaxed),
                ..described
            },
            traffic: Traffic {
                packets: pair(&self.packets),
                bytes: pair(&self.bytes),
                payload: pair(&self.payload),
                first: self.first.load(Ordering::Relaxed),
                last: self.last.load(Ordering::Relaxed),
            },
        }
    }

    /// The state word and what `read` reads, all of one flow; or `None` if the slot is free or changes hands meanwhile.
    fn read<R>(&self, read: impl FnOnce(&Self) -> R) -> Option<(u64, R)> {
        let state = self.state.load(Ordering::Acquire);
        if state & LIVE == 0 {
            return None;
        }
        let values = read(self);
        // With the release in `describe` and `put_back`: if one of the values is a later one, so is the state.
        fence(Ordering::Acquire);
        let then = self.state.load(Ordering::Relaxed);
        (then & GENERATION == state & GENERATION && then & LIVE != 0).then_some((state, values))
    }
}

#[cfg(loom)]
impl crate::sync::Retire for Slot {
    fn retire(&mut self) {
        let Slot { state, packets, bytes, payload, last, flow, first, addresses, description, process_id } = self;
        for words in [&mut packets[..], bytes, payload, addresses] {
            words.retire();
        }
        for word in [state, last, flow, first, description, process_id] {
            word.retire();
        }
    }
}

/// The small fields of [`Endpoints`] in one word: local port (16 bits), remote port (16), protocol (8), inbound (1), version 6 (1),
/// application (22).
struct Description(u64);

impl Description {
    /// Applications beyond this are not known.
    const APPLICATIONS: u32 = 1 << 22;

    fn of(endpoints: &Endpoints) -> Self {
        let application = if endpoints.application < Self::APPLICATIONS { endpoints.application } else { 0 };
        Description(
            u64::from(endpoints.local_port)
                | u64::from(endpoints.remote_port) << 16
                | u64::from(endpoints.protocol) << 32
                | u64::from(endpoints.inbound != 0) << 40
                | u64::from(endpoints.ip_version == 6) << 41
                | u64::from(application) << 42,
        )
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            local_port: self.0 as u16,
            remote_port: (self.0 >> 16) as u16,
            protocol: (self.0 >> 32) as u8,
            inbound: (self.0 >> 40 & 1) as u8,
            ip_version: self.ip_version(),
            application: (self.0 >> 42) as u32,
            ..Endpoints::default()
        }
    }

    const fn ip_version(&self) -> u8 {
        if self.0 >> 41 & 1 == 1 { 6 } else { 4 }
    }
}

/// What a table has counted. At rest `associated` equals `deleted`, and `begun` equals `ended`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Contexts that the engine took, and that it gave back in `flowDeleteFn`.
    pub associated: u64,
    pub deleted: u64,
    /// Slots taken and freed, those of flows that could not be established included.
    pub begun: u64,
    pub ended: u64,
    /// Flows that are not counted because the table had no room.
    pub refused: u64,
    /// Calls of `flowDeleteFn` with a context that is none of ours, or not any more.
    pub stray: u64,
}

/// What the engine answered when all contexts were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removals {
    pub deleted: u64,
    pub later: u64,
    pub absent: u64,
    pub again: u64,
    /// The last of the statuses that are not documented.
    pub undocumented: Option<Status>,
}

/// A flow table over `S`.
pub struct Flows<S> {
    slots: S,
    /// The head of the list of free slots: a tag in the upper half, which changes with every change of the list, so that a head that
    /// looks the same is the same; the place + 1 in the lower one.
    free: AtomicU64,
    outstanding: AtomicU64,
    associated: AtomicU64,
    deleted: AtomicU64,
    begun: AtomicU64,
    ended: AtomicU64,
    refused: AtomicU64,
    stray: AtomicU64,
}

impl<S> Flows<S> {
    const_unless_loom! {
        /// An empty table; its first flow makes it grow.
        pub fn new(slots: S) -> Self {
            Flows {
                slots,
                free: AtomicU64::new(0),
                outstanding: AtomicU64::new(0),
                associated: AtomicU64::new(0),
                deleted: AtomicU64::new(0),
                begun: AtomicU64::new(0),
                ended: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                stray: AtomicU64::new(0),
            }
        }
    }

    /// How many contexts were announced whose end has not been dealt with. Once the gate is closed and empty, zero means zero for
    /// good, and that nobody uses the table any more.
    pub fn outstanding(&self) -> u64 {
        // Acquire: who sees zero also sees all that was done before.
        self.outstanding.load(Ordering::Acquire)
    }

    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            associated: read(&self.associated),
            deleted: read(&self.deleted),
            begun: read(&self.begun),
            ended: read(&self.ended),
            refused: read(&self.refused),
            stray: read(&self.stray),
        }
    }

    /// Where the slots are.
    pub fn slots(&self) -> &S {
        &self.slots
    }
}

impl<S: Slots> Flows<S> {
    /// Begins to count a flow: takes a slot and associates its contexts. If any of them is refused, those that were associated
    /// are removed again and the status comes back. IRQL: at most DISPATCH_LEVEL.
    ///
    /// The caller holds a pass of the gate from before the call until after it. The flow may have ended when this returns.
    pub fn establish(
        &self,
        engine: &impl Engine,
        observer: &impl Observer,
        flow: u64,
        endpoints: &Endpoints,
        now: u64,
    ) -> Result<(), Status> {
        let Some((place, slot)) = self.take() else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Status::INSUFFICIENT_RESOURCES);
        };
        self.begun.fetch_add(1, Ordering::Relaxed);
        slot.describe(flow, endpoints, now);
        let generation = slot.state.load(Ordering::Relaxed) & GENERATION;
        // Release: who sees the flow sees its description.
        slot.state.store(generation | PUBLISHING, Ordering::Release);
        let ticket = Ticket::new(generation, place);
        let associations = Association::of(endpoints.protocol);
        let mut result = Ok(());
        for (index, association) in associations.into_iter().enumerate() {
            // Announced before the call: `flowDeleteFn` may come before the call returns. Relaxed: the engine hands the ticket
            // over, and whoever waits for the count waited for our pass of the gate before.
            slot.state.fetch_or(association.bit(), Ordering::Relaxed);
            self.outstanding.fetch_add(1, Ordering::Relaxed);
            let layer = association.layer(endpoints.ip_version);
            let status = engine.associate(flow, layer, ticket);
            match Associating::after(status) {
                Associating::Associated => {
                    self.associated.fetch_add(1, Ordering::Relaxed);
                }
                Associating::Occupied | Associating::Refused => {
                    slot.state.fetch_or(ABANDONED, Ordering::Relaxed);
                    slot.state.fetch_and(!association.bit(), Ordering::AcqRel);
                    self.settle();
                    for associated in associations.into_iter().take(index) {
                        // Whatever it answers: the context is outstanding until `flowDeleteFn` has come.
                        engine.remove(flow, associated.layer(endpoints.ip_version));
                    }
                    result = Err(status);
                    break;
                }
            }
        }
        if result.is_ok() {
            observer.begun(&slot.entry(place));
        }
        let before = slot.state.fetch_and(!PUBLISHING, Ordering::AcqRel);
        if before & LIVE == PUBLISHING {
            self.end(slot, place, before, observer);
        }
        result
    }

    /// Counts packets of a flow at a transport layer. Whether it was: a ticket of a flow that has ended is ignored.
    /// IRQL: at most DISPATCH_LEVEL.
    ///
    /// The caller is a classify that was given the ticket, and holds a pass of the gate. As long as it runs, the engine does not delete
    /// the context ("FwpsFlowRemoveContext0 function": `STATUS_PENDING`), so the slot does not change hands below it.
    #[inline]
    pub fn count(&self, ticket: Ticket, direction: Direction, packets: u64, bytes: u64, now: u64) -> bool {
        let Some(slot) = self.slot_of(ticket) else { return false };
        slot.packets[direction as usize].fetch_add(packets, Ordering::Relaxed);
        slot.bytes[direction as usize].fetch_add(bytes, Ordering::Relaxed);
        slot.last.store(now, Ordering::Relaxed);
        true
    }

    /// Counts what a flow's program sent or received, at a stream or datagram layer; otherwise as [`Flows::count`].
    #[inline]
    pub fn count_payload(&self, ticket: Ticket, direction: Direction, bytes: u64) -> bool {
        let Some(slot) = self.slot_of(ticket) else { return false };
        slot.payload[direction as usize].fetch_add(bytes, Ordering::Relaxed);
        true
    }

    #[inline(always)]
    fn slot_of(&self, ticket: Ticket) -> Option<&Slot> {
        let slot = self.slots.slot(ticket.place()?)?;
        ticket.is_of(slot.state.load(Ordering::Relaxed)).then_some(slot)
    }

    /// `flowDeleteFn`: the engine has taken a context off its flow. Whether it was one of ours; if not, it is counted as stray.
    /// IRQL: at most DISPATCH_LEVEL.
    ///
    /// This is never refused, and needs no pass of the gate: leaving waits for it. When it returns the table may be gone.
    pub fn deleted(&self, ticket: Ticket, association: Association, observer: &impl Observer) -> bool {
        let cleared = ticket.place().and_then(|place| {
            let slot = self.slots.slot(place)?;
            // AcqRel: the last to let go sees what all others did before.
            let before = slot.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| {
                (ticket.is_of(state) && state & association.bit() != 0).then_some(state & !association.bit())
            });
            Some((place, slot, before.ok()?))
        });
        let Some((place, slot, before)) = cleared else {
            self.stray.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        self.deleted.fetch_add(1, Ordering::Relaxed);
        if before & LIVE == association.bit() {
            self.end(slot, place, before, observer);
        }
        self.settle();
        true
    }

    /// Counts an announced context as dealt with. The last thing that is done about it.
    fn settle(&self) {
        // Release: who sees zero also sees all that was done before, and may free it.
        self.outstanding.fetch_sub(1, Ordering::Release);
    }

    /// Ends a flow. The caller cleared the last of [`LIVE`] from `state`, so the slot is its alone.
    fn end(&self, slot: &Slot, place: u32, state: u64, observer: &impl Observer) {
        if state & ABANDONED == 0 {
            observer.ended(&slot.entry(place));
        }
        slot.state.store((state & GENERATION).wrapping_add(NEXT_GENERATION), Ordering::Relaxed);
        self.put_back(slot, place);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a free slot, or makes the table grow.
    fn take(&self) -> Option<(u32, &Slot)> {
        let mut head = self.free.load(Ordering::Acquire);
        while let Some(place) = (head as u32).checked_sub(1) {
            let slot = self.slots.slot(place)?;
            // If another takes the slot meanwhile this is no place, but then the exchange fails by its tag.
            let next = slot.flow.load(Ordering::Relaxed);
            // Acquire: sees what the slot's last owner did, and the link that it left.
            match self.free.compare_exchange_weak(head, retagged(head, next), Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some((place, slot)),
                Err(now) => head = now,
            }
        }
        let mut grown = self.slots.grow()?;
        let place = grown.next()?;
        grown.for_each(|place| {
            if let Some(slot) = self.slots.slot(place) {
                self.put_back(slot, place);
            }
        });
        Some((place, self.slots.slot(place)?))
    }

    /// Puts a slot on the list of free ones.
    fn put_back(&self, slot: &Slot, place: u32) {
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            // Release: whoever reads this in place of the flow's number, and then looks at the state again, sees that the flow has gone.
            slot.flow.store(head & !GENERATION, Ordering::Release);
            let place = u64::from(place) + 1;
            // Release: who takes the slot sees what we did with it.
            match self.free.compare_exchange_weak(head, retagged(head, place), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// The flows that are counted now, from `place` on. They come and go meanwhile; each is read without a lock, so its counters may be
    /// of different moments. IRQL: at most DISPATCH_LEVEL. The caller holds a pass of the gate.
    pub fn entries(&self, place: u32) -> impl Iterator<Item = FlowEntry> {
        (place..self.slots.places()).filter_map(|place| {
            let (state, entry) = self.slots.slot(place)?.read(|slot| slot.entry(place))?;
            (state & (PUBLISHING | ABANDONED) == 0).then_some(entry)
        })
    }

    /// Removes every context that is announced, in one pass. The gate is closed and empty. IRQL: at most DISPATCH_LEVEL.
    pub fn remove_all(&self, engine: &impl Engine) -> Removals {
        let mut removals = Removals::default();
        for slot in (0..self.slots.places()).filter_map(|place| self.slots.slot(place)) {
            let Some((state, (flow, description))) =
                slot.read(|slot| (slot.flow.load(Ordering::Relaxed), slot.description.load(Ordering::Relaxed)))
            else {
                continue;
            };
            let ip_version = Description(description).ip_version();
            for association in Association::ALL.into_iter().filter(|association| state & association.bit() != 0) {
                // If the context goes by itself meanwhile, the flow has none to remove.
                let status = engine.remove(flow, association.layer(ip_version));
                match Removal::after(status) {
                    Removal::Deleted => removals.deleted += 1,
                    Removal::Later => removals.later += 1,
                    Removal::Absent => removals.absent += 1,
                    Removal::Again => {
                        removals.again += 1;
                        removals.undocumented = Some(status);
                    }
                }
            }
        }
        removals
    }

    /// Removes every context, and returns when none is outstanding, however long it takes. The gate is closed and empty.
    /// IRQL: PASSIVE_LEVEL.
    ///
    /// What was removed is waited for in growing pauses, a quarter of a second in all. Then it is removed once more, because a removal may
    /// have failed in a way that nobody documented.
    pub fn remove_and_wait(&self, engine: &impl Engine, leaving: &mut impl Leaving) {
        let mut attempts = 0u32;
        while self.outstanding() != 0 {
            let removals = self.remove_all(engine);
            attempts = attempts.saturating_add(1);
            let mut wait_ms = 1;
            while self.outstanding() != 0 && wait_ms <= LONGEST_WAIT_MS {
                leaving.wait(wait_ms);
                wait_ms *= 2;
            }
            let outstanding = self.outstanding();
            if outstanding != 0 {
                leaving.report(attempts, outstanding, &removals);
            }
        }
    }
}

#[cfg(loom)]
impl<S: crate::sync::Retire> crate::sync::Retire for Flows<S> {
    fn retire(&mut self) {
        let Flows { slots, free, outstanding, associated, deleted, begun, ended, refused, stray } = self;
        slots.retire();
        for word in [free, outstanding, associated, deleted, begun, ended, refused, stray] {
            word.retire();
        }
    }
}

/// The longest pause between two looks at the count.
const LONGEST_WAIT_MS: u32 = 128;

/// The head of the free list that follows `head` and names `place`, a place + 1 or zero.
const fn retagged(head: u64, place: u64) -> u64 {
    (head & GENERATION).wrapping_add(NEXT_GENERATION) | place & !GENERATION
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use std::vec;
    use std::vec::Vec;

    /// Places that appear `step` at a time, until all are there.
    struct Places {
        slots: Vec<Slot>,
        grown: Cell<u32>,
        step: u32,
    }

    impl Places {
        fn new(count: u32, step: u32) -> Self {
            Places { slots: (0..count).map(|_| Slot::new()).collect(), grown: Cell::new(0), step }
        }
    }

    impl Slots for Places {
        fn slot(&self, place: u32) -> Option<&Slot> {
            if place < self.grown.get() { self.slots.get(place as usize) } else { None }
        }
        fn places(&self) -> u32 {
            self.grown.get()
        }
        fn grow(&self) -> Option<Range<u32>> {
            let start = self.grown.get();
            let end = (start + self.step).min(self.slots.len() as u32);
            self.grown.set(end);
            (start < end).then_some(start..end)
        }
    }

    /// A table, its engine and whoever is told, in one.
    struct Lab {
        flows: Flows<Places>,
        /// By flow and layer.
        contexts: RefCell<BTreeMap<(u64, u16), Ticket>>,
        /// At which layer `FwpsFlowAssociateContext0` fails.
        refuse: Cell<Option<(Layer, Status)>>,
        /// Whether somebody holds the pass of the gate that publishing needs.
        publishing: Cell<bool>,
        /// Whether a flow ends before `FwpsFlowAssociateContext0` has returned.
        end_at_once: Cell<bool>,
        remove: Cell<fn(&Lab, u64, Layer) -> Status>,
        told: RefCell<Vec<(&'static str, FlowEntry)>>,
        waits: RefCell<Vec<u32>>,
        reports: RefCell<Vec<(u32, u64, Removals)>>,
    }

    impl Engine for Lab {
        fn associate(&self, flow: u64, layer: Layer, ticket: Ticket) -> Status {
            assert_ne!(ticket.0, 0);
            if let Some((at, status)) = self.refuse.get()
                && at == layer
            {
                return status;
            }
            self.contexts.borrow_mut().insert((flow, layer.id()), ticket);
            if self.end_at_once.get() {
                self.delete(flow, layer);
            }
            Status::SUCCESS
        }
        fn remove(&self, flow: u64, layer: Layer) -> Status {
            self.remove.get()(self, flow, layer)
        }
    }

    impl Observer for Lab {
        fn begun(&self, flow: &FlowEntry) {
            self.told.borrow_mut().push(("begun", *flow));
        }
        fn ended(&self, flow: &FlowEntry) {
            assert!(self.flows.outstanding() > 0 || self.publishing.get(), "counted down before it was told");
            self.told.borrow_mut().push(("ended", *flow));
        }
    }

    impl Leaving for &Lab {
        fn wait(&mut self, milliseconds: u32) {
            self.waits.borrow_mut().push(milliseconds);
        }
        fn report(&mut self, attempts: u32, outstanding: u64, removals: &Removals) {
            self.reports.borrow_mut().push((attempts, outstanding, *removals));
        }
    }

    impl Lab {
        fn new(count: u32, step: u32) -> Self {
            Lab {
                flows: Flows::new(Places::new(count, step)),
                contexts: RefCell::default(),
                refuse: Cell::default(),
                publishing: Cell::default(),
                end_at_once: Cell::default(),
                remove: Cell::new(Lab::delete),
                told: RefCell::default(),
                waits: RefCell::default(),
                reports: RefCell::default(),
            }
        }
        /// Takes a context off its flow, if it has one.
        fn delete(&self, flow: u64, layer: Layer) -> Status {
            let Some(ticket) = self.contexts.borrow_mut().remove(&(flow, layer.id())) else {
                return Status::UNSUCCESSFUL;
            };
            assert!(self.flows.deleted(ticket, Association::at(layer).unwrap(), self));
            Status::SUCCESS
        }
        fn establish(&self, flow: u64) -> Result<(), Status> {
            self.publishing.set(true);
            let result = self.flows.establish(self, self, flow, &endpoints(flow), 100);
            self.publishing.set(false);
            result
        }
        fn ticket(&self, flow: u64, layer: Layer) -> Ticket {
            self.contexts.borrow()[&(flow, layer.id())]
        }
        fn told(&self) -> Vec<(&'static str, u64)> {
            self.told.borrow().iter().map(|(what, flow)| (*what, flow.flow)).collect()
        }
        fn listed(&self) -> Vec<u64> {
            self.flows.entries(0).map(|entry| entry.flow).collect()
        }
        fn assert_at_rest(&self) {
            let counts = self.flows.counts();
            assert_eq!((counts.associated, counts.begun), (counts.deleted, counts.ended));
            assert_eq!((self.flows.outstanding(), counts.stray), (0, 0));
            assert!(self.contexts.borrow().is_empty());
            assert_eq!(self.listed(), []);
        }
    }

    const TCP_V4: [Layer; 3] = [Layer::InboundTransportV4, Layer::OutboundTransportV4, Layer::StreamV4];

    fn endpoints(flow: u64) -> Endpoints {
        let mut local_address = [0; 16];
        local_address[..4].copy_from_slice(&[10, 0, 0, 1]);
        Endpoints {
            local_address,
            remote_address: core::array::from_fn(|index| index as u8 + 0x80),
            local_port: 0xC001,
            remote_port: 443,
            protocol: 6,
            ip_version: 4,
            inbound: 1,
            application: 77,
            process_id: 0x1_0000_0004 + flow,
            ..Endpoints::default()
        }
    }

    #[test]
    fn a_flow_is_counted_from_its_establishment_to_its_end() {
        let lab = Lab::new(4, 4);
        lab.establish(7).unwrap();
        assert_eq!((lab.flows.outstanding(), lab.told()), (3, vec![("begun", 7)]));
        let ticket = lab.ticket(7, Layer::InboundTransportV4);
        assert!(lab.flows.count(ticket, Direction::Inbound, 2, 3000, 110));
        assert!(lab.flows.count(ticket, Direction::Outbound, 1, 40, 120));
        assert!(lab.flows.count_payload(ticket, Direction::Inbound, 2960));
        assert!(lab.flows.count_payload(ticket, Direction::Outbound, 17));
        let traffic = Traffic { packets: [2, 1], bytes: [3000, 40], payload: [2960, 17], first: 100, last: 120 };
        let expected = FlowEntry { flow: 7, place: 0, reserved: 0, endpoints: endpoints(7), traffic };
        assert_eq!(lab.flows.entries(0).collect::<Vec<_>>(), [expected]);
        assert_eq!(lab.flows.entries(1).count(), 0);
        for layer in TCP_V4 {
            assert_eq!(lab.told().len(), 1, "not ended yet");
            lab.delete(7, layer);
        }
        assert_eq!(lab.told.borrow()[1], ("ended", expected));
        lab.assert_at_rest();
    }

    #[test]
    fn contexts_are_associated_where_the_protocol_has_data() {
        let lab = Lab::new(4, 4);
        lab.establish(1).unwrap();
        let udp = Endpoints { protocol: 17, ip_version: 6, ..endpoints(2) };
        lab.flows.establish(&lab, &lab, 2, &udp, 100).unwrap();
        let layers = |flow| {
            let contexts = lab.contexts.borrow();
            contexts.keys().filter(|(of, _)| *of == flow).map(|(_, layer)| *layer).collect::<Vec<_>>()
        };
        assert!(TCP_V4.iter().all(|layer| layers(1).contains(&layer.id())) && layers(1).len() == 3);
        let udp_v6 = [Layer::InboundTransportV6, Layer::OutboundTransportV6, Layer::DatagramDataV6];
        assert!(udp_v6.iter().all(|layer| layers(2).contains(&layer.id())) && layers(2).len() == 3);
        assert_eq!(lab.flows.entries(1).next().unwrap().endpoints, udp);
        lab.flows.remove_and_wait(&lab, &mut &lab);
        lab.assert_at_rest();
    }

    #[test]
    fn layers_and_associations_name_each_other() {
        for association in Association::ALL {
            for ip_version in [4, 6] {
                assert_eq!(Association::at(association.layer(ip_version)), Some(association));
            }
        }
        assert_eq!(Association::at(Layer::AleFlowEstablishedV4), None);
    }

    #[test]
    fn every_documented_status_has_its_own_action() {
        for (status, action) in [
            (Status::SUCCESS, Associating::Associated),
            (Status::OBJECT_NAME_EXISTS, Associating::Occupied),
            (Status::INVALID_PARAMETER, Associating::Refused),
            (Status::PENDING, Associating::Refused),
        ] {
            assert_eq!(Associating::after(status), action, "{status}");
        }
        for (status, action) in [
            (Status::SUCCESS, Removal::Deleted),
            (Status::PENDING, Removal::Later),
            (Status::UNSUCCESSFUL, Removal::Absent),
            (Status::INVALID_PARAMETER, Removal::Again),
        ] {
            assert_eq!(Removal::after(status), action, "{status}");
        }
    }

    #[test]
    fn a_refused_association_removes_those_before_it_and_nobody_is_told() {
        for (refusing, layer) in TCP_V4.into_iter().enumerate() {
            for status in [Status::OBJECT_NAME_EXISTS, Status::INVALID_PARAMETER, Status::PENDING, Status(-1)] {
                let lab = Lab::new(4, 4);
                lab.refuse.set(Some((layer, status)));
                assert_eq!(lab.establish(7), Err(status));
                assert_eq!(lab.flows.counts().associated, refusing as u64);
                assert_eq!(lab.told(), []);
                lab.assert_at_rest();
            }
        }
    }

    #[test]
    fn a_flow_that_ends_while_it_is_published_is_told_of_in_order() {
        let lab = Lab::new(4, 4);
        lab.end_at_once.set(true);
        lab.establish(7).unwrap();
        assert_eq!(lab.told(), [("begun", 7), ("ended", 7)]);
        lab.assert_at_rest();
    }

    #[test]
    fn a_context_that_cannot_be_removed_after_a_refusal_is_waited_for() {
        let lab = Lab::new(4, 4);
        lab.refuse.set(Some((Layer::StreamV4, Status::INVALID_PARAMETER)));
        lab.remove.set(|_, _, _| Status::PENDING);
        assert_eq!(lab.establish(7), Err(Status::INVALID_PARAMETER));
        assert_eq!(lab.flows.outstanding(), 2);
        assert_eq!(lab.listed(), [], "it is nobody's business");
        lab.remove.set(Lab::delete);
        lab.flows.remove_and_wait(&lab, &mut &lab);
        assert_eq!(lab.told(), []);
        lab.assert_at_rest();
    }

    #[test]
    fn stale_tickets_are_ignored_and_counted() {
        let lab = Lab::new(1, 1);
        lab.establish(7).unwrap();
        let old = lab.ticket(7, Layer::StreamV4);
        assert!(!lab.flows.deleted(old, Association::Datagram, &lab), "the flow has no such context");
        lab.flows.remove_all(&lab);
        lab.establish(8).unwrap();
        assert_ne!(lab.ticket(8, Layer::StreamV4), old);
        assert!(!lab.flows.count(old, Direction::Inbound, 1, 1, 1));
        assert!(!lab.flows.count_payload(old, Direction::Inbound, 1));
        for ticket in [old, Ticket(0), Ticket(1 << 32), Ticket(2), Ticket(u64::MAX)] {
            assert!(!lab.flows.deleted(ticket, Association::Stream, &lab), "{ticket:?}");
        }
        assert_eq!((lab.flows.counts().stray, lab.flows.outstanding()), (6, 3));
        assert_eq!(lab.flows.entries(0).next().unwrap().traffic.packets, [0, 0]);
        let current = lab.ticket(8, Layer::StreamV4);
        lab.delete(8, Layer::StreamV4);
        assert!(!lab.flows.deleted(current, Association::Stream, &lab), "deleted twice");
        assert_eq!(lab.flows.outstanding(), 2);
    }

    #[test]
    fn the_table_grows_as_far_as_it_may_and_uses_its_places_again() {
        let lab = Lab::new(5, 2);
        (0..5).for_each(|flow| lab.establish(flow).unwrap());
        assert_eq!(lab.establish(5), Err(Status::INSUFFICIENT_RESOURCES));
        assert_eq!((lab.flows.counts().refused, lab.flows.outstanding()), (1, 15));
        let mut places: Vec<_> = lab.flows.entries(0).map(|entry| entry.place).collect();
        places.dedup();
        assert_eq!(places, [0, 1, 2, 3, 4]);
        TCP_V4.iter().for_each(|layer| assert_eq!(lab.delete(3, *layer), Status::SUCCESS));
        lab.establish(6).unwrap();
        assert_eq!(lab.listed().len(), 5);
        lab.flows.remove_and_wait(&lab, &mut &lab);
        lab.assert_at_rest();
    }

    #[test]
    fn leaving_without_flows_calls_nobody() {
        let lab = Lab::new(4, 4);
        lab.remove.set(|_, _, _| unreachable!());
        lab.flows.remove_and_wait(&lab, &mut &lab);
        assert!(lab.waits.borrow().is_empty());
    }

    #[test]
    fn a_removal_that_is_pending_is_waited_for() {
        let lab = Lab::new(4, 4);
        lab.establish(7).unwrap();
        lab.remove.set(|_, _, _| Status::PENDING);
        struct Surroundings<'a>(&'a Lab);
        impl Leaving for Surroundings<'_> {
            fn wait(&mut self, milliseconds: u32) {
                // The classifies end, one in each pause.
                let mut lab = self.0;
                lab.wait(milliseconds);
                lab.delete(7, TCP_V4[lab.waits.borrow().len() - 1]);
            }
            fn report(&mut self, _: u32, _: u64, _: &Removals) {
                unreachable!("it did not take long");
            }
        }
        lab.flows.remove_and_wait(&lab, &mut Surroundings(&lab));
        assert_eq!(*lab.waits.borrow(), [1, 2, 4]);
        lab.assert_at_rest();
    }

    #[test]
    fn a_removal_that_fails_is_tried_again_and_reported() {
        let lab = Lab::new(4, 4);
        lab.establish(7).unwrap();
        lab.remove.set(|lab, flow, layer| match lab.reports.borrow().len() {
            0 => Status(-1),
            1 => Status::UNSUCCESSFUL,
            _ => lab.delete(flow, layer),
        });
        lab.flows.remove_and_wait(&lab, &mut &lab);
        let once = [1, 2, 4, 8, 16, 32, 64, 128];
        assert_eq!(*lab.waits.borrow(), [once, once].concat());
        let first = Removals { again: 3, undocumented: Some(Status(-1)), ..Removals::default() };
        let second = Removals { absent: 3, ..Removals::default() };
        assert_eq!(*lab.reports.borrow(), [(1, 3, first), (2, 3, second)]);
        lab.assert_at_rest();
    }

    #[test]
    fn an_application_whose_number_does_not_fit_is_not_known() {
        let lab = Lab::new(1, 1);
        let many = Endpoints { application: Description::APPLICATIONS, ..endpoints(1) };
        lab.flows.establish(&lab, &lab, 1, &many, 1).unwrap();
        assert_eq!(lab.flows.entries(0).next().unwrap().endpoints.application, 0);
    }
}
