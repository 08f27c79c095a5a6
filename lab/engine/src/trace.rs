//! A classify that tells how it came to its verdict: what every filter of the layer said, or why it was not asked.

use alloc::vec::Vec;

use crate::arbitration::{Callouts, ContractViolation, Decision, Observer, Verdict};
use crate::matching::Value;
use crate::runtime::{RuntimeFilter, Snapshot};
use crate::sublayer::SublayerFilters;

/// What a classify did at each of the layer's sublayers, and its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Trace {
    pub layer: u16,
    /// By weight, highest first; only sublayers that have filters at the layer.
    pub sublayers: Vec<SublayerTrace>,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SublayerTrace {
    pub weight: u16,
    /// In the order of evaluation.
    pub filters: Vec<FilterTrace>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FilterTrace {
    pub id: u64,
    /// As many as the filter has, in its order.
    pub conditions: Vec<ConditionTrace>,
    pub outcome: Outcome,
}

/// One condition against the value of its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ConditionTrace {
    /// Index into the incoming values.
    pub field: u16,
    /// An alternative to the condition before it, which has the same field.
    pub alternative: bool,
    pub result: ConditionResult,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum ConditionResult {
    Matches,
    Differs,
    /// The value is not known for this connection or packet (`FWP_EMPTY`), and the condition asks for a known one.
    Unknown,
}

/// What became of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Outcome {
    /// A field's conditions do not match.
    DoesNotMatch,
    /// Matches, but a filter before it ended the evaluation of the sublayer.
    NotReached,
    /// Matches, and the evaluation went on after what it said.
    Asked(Said),
    /// Matches, and ended the evaluation of the sublayer.
    Ended {
        word: Word,
        effect: Effect,
        /// The filter of a lower sublayer whose word counted instead in the end.
        overridden_by: Option<u64>,
    },
}

/// What a filter said that matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Said {
    /// Permit or Block.
    Word(Word),
    /// The callout lets the next filter decide.
    Continue,
    /// An inspection callout that is not registered is passed over.
    NotRegistered,
    /// The callout is not called on flows without its context.
    NotOnThisFlow,
    /// The callout's answer was none that it may give.
    Violation(ContractViolation),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Word {
    pub action: Decision,
    /// Without `FWPS_RIGHT_ACTION_WRITE`.
    pub hard: bool,
    /// `FWPS_CLASSIFY_OUT_FLAG_ABSORB`, at a layer where it counts.
    pub absorb: bool,
    pub by: Source,
}

/// Where a Permit or Block comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Source {
    /// The filter's own action.
    Filter,
    Callout,
    /// The callout is not registered: Block, or Permit with `FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED`.
    NotRegistered,
}

/// What a Permit or Block did to what the sublayers above had decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Effect {
    /// The first decision.
    Decides,
    /// The decision was soft, and is replaced.
    Overrides,
    /// The decision was a hard permit, and a callout blocks nevertheless: final.
    Vetoes,
    /// The decision was hard, and stands.
    Overruled,
    /// The decision was hard, and stands; a callout that wrote was not allowed to.
    LacksRight,
}

impl Snapshot {
    /// Classifies as [`Snapshot::classify`] does, calls the same callouts, and tells what happened.
    pub fn trace(&self, layer: u16, values: &[Value<'_>], callouts: &mut impl Callouts) -> Trace {
        let mut tracer = Tracer { values, asked: Vec::new(), sublayers: Vec::new() };
        let verdict = self.observed(layer, values, callouts, &mut tracer);
        let mut sublayers = tracer.sublayers;
        let mut winner = None;
        for filter in sublayers.iter_mut().rev().flat_map(|sublayer| &mut sublayer.filters) {
            let Outcome::Ended { effect, overridden_by, .. } = &mut filter.outcome else { continue };
            if matches!(effect, Effect::Decides | Effect::Overrides | Effect::Vetoes) {
                *overridden_by = winner;
                winner = winner.or(Some(filter.id));
            }
        }
        Trace { layer, sublayers, verdict }
    }
}

struct Tracer<'a> {
    values: &'a [Value<'a>],
    /// In the sublayer that is being evaluated.
    asked: Vec<(u64, Outcome)>,
    sublayers: Vec<SublayerTrace>,
}

impl Observer for Tracer<'_> {
    fn asked(&mut self, filter: &RuntimeFilter, said: Said, effect: Option<Effect>) {
        let outcome = match (said, effect) {
            (Said::Word(word), Some(effect)) => Outcome::Ended { word, effect, overridden_by: None },
            _ => Outcome::Asked(said),
        };
        self.asked.push((filter.id, outcome));
    }

    fn leaves(&mut self, sublayer: &SublayerFilters) {
        let mut asked = self.asked.drain(..).peekable();
        let filters = sublayer.filters().map(|filter| {
            let conditions = filter.matcher.examine(self.values);
            let outcome = match asked.next_if(|(id, _)| *id == filter.id) {
                Some((_, outcome)) => outcome,
                None if filter.matcher.matches(self.values) => Outcome::NotReached,
                None => Outcome::DoesNotMatch,
            };
            FilterTrace { id: filter.id, conditions, outcome }
        });
        let filters = filters.collect();
        self.sublayers.push(SublayerTrace { weight: sublayer.weight, filters });
    }
}
