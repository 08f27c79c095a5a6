//! Classification: which filters match, what they say, and whose word counts (documentation page "Filter Arbitration").
//!
//! Inside a sublayer the first Permit or Block ends the evaluation. Every sublayer is evaluated, highest weight first; a decision whose
//! `FWPS_RIGHT_ACTION_WRITE` is still set is soft and may be overwritten by a lower sublayer, a hard one only by a callout's veto.

use crate::layers::id;
use crate::matching::Value;
use crate::runtime::{RuntimeFilter, Snapshot, action, filter_flag};
use crate::sublayer::SublayerFilters;
use crate::trace::{Effect, Said, Source, Word};

/// `FWPS_RIGHT_ACTION_WRITE`.
pub const RIGHT_ACTION_WRITE: u32 = 0x1;
/// `FWPS_CLASSIFY_OUT_FLAG_ABSORB`.
pub const CLASSIFY_OUT_FLAG_ABSORB: u32 = 0x1;

/// What a callout reads and writes (`FWPS_CLASSIFY_OUT0`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassifyOut {
    /// An [`action`] constant; `NONE` on entry.
    pub action: u32,
    pub rights: u32,
    pub flags: u32,
    pub filter_id: u64,
    pub out_context: u64,
}

/// The host of the callouts: calls classify functions.
pub trait Callouts {
    fn classify(&mut self, callout_id: u32, filter: &RuntimeFilter, out: &mut ClassifyOut) -> CalloutCall;

    /// A callout did what its contract forbids. The engine has gone on as [`ContractViolation`] says.
    fn contract_violation(&mut self, _filter: &RuntimeFilter, _violation: ContractViolation) {}
}

/// What became of a call to a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalloutCall {
    Called,
    NotRegistered,
    /// Registered, but not to be called here: `FWP_CALLOUT_FLAG_CONDITIONAL_ON_FLOW` on a flow without its context.
    NotOnThisFlow,
}

/// What callouts do wrong in a classify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum ContractViolation {
    /// Wrote an action without `FWPS_RIGHT_ACTION_WRITE`, and not a veto of a permit: ignored.
    WroteWithoutRight,
    /// A terminating callout left neither Permit nor Block: evaluation goes on as after Continue.
    TerminatingWithoutVerdict,
    /// An inspection callout left Permit or Block: ignored.
    InspectionWithVerdict,
    /// The action is none that a callout may return: evaluation goes on as after Continue.
    UnknownAction(u32),
    /// Permitted for a filter with `FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT` and left the right set: the permit stays soft.
    LeftActionRight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Decision {
    Permit,
    Block,
}

/// The outcome of one classify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Verdict {
    pub action: Decision,
    /// The filter that decided. None: no filter did, and the default is to permit.
    pub filter_id: Option<u64>,
    /// `FWPS_RIGHT_ACTION_WRITE` was cleared.
    pub hard: bool,
    /// Drop silently: no discard layer, no audit.
    pub absorb: bool,
}

impl Verdict {
    const DEFAULT: Self = Self { action: Decision::Permit, filter_id: None, hard: false, absorb: false };

    /// Weighs a sublayer's word against what the sublayers above it have decided.
    #[inline]
    fn weigh(&mut self, filter_id: u64, word: Word) -> Effect {
        let written = word.by == Source::Callout;
        let effect = match (self.filter_id, self.hard, self.action, word.action) {
            (None, ..) => Effect::Decides,
            (_, false, ..) => Effect::Overrides,
            (_, true, Decision::Permit, Decision::Block) if written => Effect::Vetoes,
            _ if written => return Effect::LacksRight,
            _ => return Effect::Overruled,
        };
        let hard = word.hard || self.hard;
        *self = Self { action: word.action, filter_id: Some(filter_id), hard, absorb: word.absorb };
        effect
    }
}

/// Hears how a classify comes to its verdict. `()` does not listen, and costs nothing.
pub(crate) trait Observer {
    /// A filter matched and was asked; `effect` if it said Permit or Block, which ends its sublayer.
    #[inline]
    fn asked(&mut self, _filter: &RuntimeFilter, _said: Said, _effect: Option<Effect>) {}

    /// All of a sublayer has been asked that will be.
    #[inline]
    fn leaves(&mut self, _sublayer: &SublayerFilters) {}
}

impl Observer for () {}

impl Snapshot {
    /// Classifies one connection or packet. `values` are in the order of the layer's fields.
    #[inline]
    pub fn classify(&self, layer: u16, values: &[Value<'_>], callouts: &mut impl Callouts) -> Verdict {
        self.observed(layer, values, callouts, &mut ())
    }

    #[inline]
    pub(crate) fn observed(
        &self,
        layer: u16,
        values: &[Value<'_>],
        callouts: &mut impl Callouts,
        observer: &mut impl Observer,
    ) -> Verdict {
        let mut verdict = Verdict::DEFAULT;
        for sublayer in self.sublayers(layer) {
            for filter in sublayer.matching(values) {
                let said = ask(filter, !verdict.hard, callouts);
                let Said::Word(word) = said else {
                    observer.asked(filter, said, None);
                    continue;
                };
                let effect = verdict.weigh(filter.id, word);
                if effect == Effect::LacksRight {
                    callouts.contract_violation(filter, ContractViolation::WroteWithoutRight);
                }
                observer.asked(filter, said, Some(effect));
                break;
            }
            observer.leaves(sublayer);
        }
        verdict
    }
}

/// Asks a filter that matches.
#[inline]
fn ask(filter: &RuntimeFilter, may_write: bool, callouts: &mut impl Callouts) -> Said {
    match filter.action.action_type {
        action::PERMIT => plain(filter, Decision::Permit, Source::Filter),
        action::BLOCK => plain(filter, Decision::Block, Source::Filter),
        _ => call(filter, may_write, callouts),
    }
}

/// The word of a filter without a callout, or with one that is not registered.
#[inline]
fn plain(filter: &RuntimeFilter, action: Decision, by: Source) -> Said {
    let hard = action == Decision::Block || filter.has_flag(filter_flag::CLEAR_ACTION_RIGHT);
    Said::Word(Word { action, hard, absorb: false, by })
}

fn call(filter: &RuntimeFilter, may_write: bool, callouts: &mut impl Callouts) -> Said {
    let mut out = ClassifyOut {
        action: action::NONE,
        rights: if may_write { RIGHT_ACTION_WRITE } else { 0 },
        flags: 0,
        filter_id: filter.id,
        out_context: 0,
    };
    let inspection = filter.action.action_type == action::CALLOUT_INSPECTION;
    match callouts.classify(filter.action.callout_id, filter, &mut out) {
        CalloutCall::Called => {}
        CalloutCall::NotOnThisFlow => return Said::NotOnThisFlow,
        CalloutCall::NotRegistered if inspection => return Said::NotRegistered,
        CalloutCall::NotRegistered if filter.has_flag(filter_flag::PERMIT_IF_CALLOUT_UNREGISTERED) => {
            return plain(filter, Decision::Permit, Source::NotRegistered);
        }
        CalloutCall::NotRegistered => return plain(filter, Decision::Block, Source::NotRegistered),
    }
    let violation = match out.action {
        action::PERMIT | action::BLOCK if inspection => ContractViolation::InspectionWithVerdict,
        action::PERMIT | action::BLOCK => {
            let action = if out.action == action::PERMIT { Decision::Permit } else { Decision::Block };
            let hard = out.rights & RIGHT_ACTION_WRITE == 0;
            if action == Decision::Permit && !hard && may_write && filter.has_flag(filter_flag::CLEAR_ACTION_RIGHT) {
                callouts.contract_violation(filter, ContractViolation::LeftActionRight);
            }
            let absorb =
                action == Decision::Block && out.flags & CLASSIFY_OUT_FLAG_ABSORB != 0 && can_absorb(filter.layer);
            return Said::Word(Word { action, hard, absorb, by: Source::Callout });
        }
        action::CONTINUE | action::NONE | action::NONE_NO_MATCH => {
            if !may_write || filter.action.action_type != action::CALLOUT_TERMINATING {
                return Said::Continue;
            }
            ContractViolation::TerminatingWithoutVerdict
        }
        other => ContractViolation::UnknownAction(other),
    };
    callouts.contract_violation(filter, violation);
    Said::Violation(violation)
}

/// The layers at which `FWPS_CLASSIFY_OUT_FLAG_ABSORB` counts (page "FWPS_CLASSIFY_OUT0").
fn can_absorb(layer: u16) -> bool {
    use id::*;
    matches!(
        layer,
        INBOUND_IPPACKET_V4
            | INBOUND_IPPACKET_V6
            | OUTBOUND_IPPACKET_V4
            | OUTBOUND_IPPACKET_V6
            | INBOUND_TRANSPORT_V4
            | INBOUND_TRANSPORT_V6
            | OUTBOUND_TRANSPORT_V4
            | OUTBOUND_TRANSPORT_V6
            | DATAGRAM_DATA_V4
            | DATAGRAM_DATA_V6
            | INBOUND_ICMP_ERROR_V4
            | INBOUND_ICMP_ERROR_V6
            | OUTBOUND_ICMP_ERROR_V4
            | OUTBOUND_ICMP_ERROR_V6
            | ALE_AUTH_RECV_ACCEPT_V4
            | ALE_AUTH_RECV_ACCEPT_V6
            | ALE_AUTH_CONNECT_V4
            | ALE_AUTH_CONNECT_V6
            | ALE_FLOW_ESTABLISHED_V4
            | ALE_FLOW_ESTABLISHED_V6
            | INBOUND_MAC_FRAME_ETHERNET
            | OUTBOUND_MAC_FRAME_ETHERNET
            | INBOUND_MAC_FRAME_NATIVE
            | OUTBOUND_MAC_FRAME_NATIVE
            | STREAM_PACKET_V4
            | STREAM_PACKET_V6
            | INGRESS_VSWITCH_ETHERNET
            | EGRESS_VSWITCH_ETHERNET
    )
}
