//! One packet on its way through the layers.

use std::sync::Arc;

use postern_engine::{Decision, Verdict};

use crate::flow::Flow;
use crate::values::{Facts, Octets};
use crate::{At, Direction, Packet};

/// Who classifies, and keeps what belongs to flows.
pub trait Host<'a> {
    /// A decision that a callout has put off.
    type Pended: PutOff;

    fn has_filters(&self, layer: u16) -> bool;

    /// Classifies at a layer.
    fn classify(&mut self, at: At, layer: u16, passing: &Passing<'a>) -> Verdict;

    /// The same, where a callout may put off the decision.
    fn classify_or_pend(
        &mut self,
        at: At,
        layer: u16,
        passing: &Passing<'a>,
        flow: &Flow<Self::Pended>,
    ) -> (Verdict, Option<Self::Pended>);

    /// A packet is blocked, and goes to `discard`, the layer that sees what is dropped, if there is one.
    fn blocked(&mut self, at: At, discard: Option<u16>, passing: &Passing<'a>, verdict: &Verdict);

    /// The handle of a new flow, or 0, and that of its endpoint.
    fn begin_flow(&mut self) -> (u64, u64);
    fn end_flow(&mut self, handle: u64);
    fn is_aborted(&self, handle: u64) -> bool;
    /// What passes from now on is the flow's: its program's facts are filled in.
    fn belongs_to(&mut self, flow: &Flow<Self::Pended>, facts: &mut Facts<'a>);
    /// The state of the filters that authorise a flow: another number, another state.
    fn epoch(&self, begun: Direction, v6: bool) -> u64;
}

/// A decision that a callout has put off.
pub trait PutOff {
    /// Where it was put off.
    fn at(&self) -> At;
    /// None: not decided yet.
    fn verdict(&self) -> Option<Verdict>;
}

impl<P: PutOff> PutOff for Arc<P> {
    fn at(&self) -> At {
        P::at(self)
    }

    fn verdict(&self) -> Option<Verdict> {
        P::verdict(self)
    }
}

/// A packet at a layer.
pub struct Passing<'a> {
    pub packet: &'a Packet<'a>,
    pub facts: Facts<'a>,
    /// Whether ALE will look at the packet after the transport layer has.
    pub needs_ale: bool,
}

/// The layer and the filter that stopped a packet.
#[derive(Clone, Copy, Debug)]
pub struct Blocked {
    pub layer: u16,
    pub filter_id: Option<u64>,
}

pub struct Walk<'a, H> {
    pub host: H,
    pub passing: Passing<'a>,
    /// The first layer where a filter permitted, and the filter.
    pub permitted: Option<(u16, u64)>,
}

impl<'a, H: Host<'a>> Walk<'a, H> {
    pub fn new(host: H, packet: &'a Packet<'a>, octets: &'a Octets) -> Walk<'a, H> {
        let facts = Facts::new(packet.protocol, &packet.local, &packet.remote, octets, packet.direction);
        Walk { host, passing: Passing { packet, facts, needs_ale: false }, permitted: None }
    }

    /// Passes a layer. The filter of a permit is returned.
    #[inline]
    pub fn pass(&mut self, at: At) -> Result<Option<u64>, Blocked> {
        let layer = at.layer(self.passing.facts.v6);
        if !self.host.has_filters(layer) {
            return Ok(None);
        }
        let verdict = self.host.classify(at, layer, &self.passing);
        self.settle(at, layer, &verdict)
    }

    /// A layer whose block ends the flow, and at which a callout may put off its decision. The filter of a permit is returned.
    pub fn pass_or_pend(&mut self, flow: &mut Flow<H::Pended>, at: At) -> Result<Option<u64>, Blocked> {
        let layer = at.layer(self.passing.facts.v6);
        if !self.host.has_filters(layer) {
            return Ok(None);
        }
        let (verdict, pended) = self.host.classify_or_pend(at, layer, &self.passing, flow);
        let result = self.settle(at, layer, &verdict);
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

    #[inline]
    fn settle(&mut self, at: At, layer: u16, verdict: &Verdict) -> Result<Option<u64>, Blocked> {
        match verdict.action {
            Decision::Permit => {
                if let (None, Some(filter)) = (self.permitted, verdict.filter_id) {
                    self.permitted = Some((layer, filter));
                }
                Ok(verdict.filter_id)
            }
            Decision::Block => {
                self.drop(at, verdict);
                Err(Blocked { layer, filter_id: verdict.filter_id })
            }
        }
    }

    #[cold]
    fn drop(&mut self, at: At, verdict: &Verdict) {
        let v6 = self.passing.facts.v6;
        let discard = at.discard_layer(v6).filter(|layer| !verdict.absorb && self.host.has_filters(*layer));
        self.host.blocked(at, discard, &self.passing, verdict);
    }
}
