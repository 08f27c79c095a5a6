//! An explanation as `--json` prints it, and as text and page are made of it. docs/explain.md describes it.

use serde::Serialize;
use uuid::Uuid;

/// Permit, block, or one or the other, which a callout decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    Permit,
    Block,
    Depends,
}

impl Decision {
    /// `permitted`, `blocked`, `depends`.
    pub fn past(self) -> &'static str {
        match self {
            Decision::Permit => "permitted",
            Decision::Block => "blocked",
            Decision::Depends => "depends",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Decision::Permit => "permit",
            Decision::Block => "block",
            Decision::Depends => "depends",
        }
    }
}

impl From<postern_engine::Decision> for Decision {
    fn from(decision: postern_engine::Decision) -> Decision {
        match decision {
            postern_engine::Decision::Permit => Decision::Permit,
            postern_engine::Decision::Block => Decision::Block,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub question: QuestionView,
    pub verdict: VerdictView,
    /// What happens one after the other: each packet of a connection, and what comes before and after them.
    pub stages: Vec<Stage>,
    /// Filters that were asked about by their ids.
    pub asked: Vec<AskedFilter>,
    /// What is not certain, and why.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuestionView {
    pub kind: &'static str,
    pub protocol: String,
    pub local: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The SIDs of the user's token.
    pub user: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    pub interface: InterfaceView,
    pub profile: u32,
    pub loopback: bool,
    /// Number of the packet in the capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<u64>,
    /// Whose filters: a lab, this machine, or a file.
    pub state: String,
    /// When the state was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    pub filters: usize,
    /// In one sentence.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InterfaceView {
    /// A `NET_LUID`, in hexadecimal: it may exceed 2^53.
    pub luid: String,
    pub index: u32,
    #[serde(rename = "type")]
    pub kind: u32,
    pub tunnel: u32,
    /// `INTERFACE_QUARANTINE_EPOCH`; a string, as it may exceed 2^53.
    pub epoch: String,
}

/// The outcome, in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerdictView {
    pub decision: Decision,
    /// The layer that decided: that which blocked, else that which authorises; none for `depends`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// None: no filter did, and the default is to permit.
    pub filter: Option<FilterName>,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilterName {
    pub id: u64,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stage {
    pub title: String,
    /// Whether it is part of what was asked. What comes after is shown for what it is worth.
    pub decides: bool,
    pub stops: Vec<Stop>,
}

/// One classify at one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stop {
    pub layer: String,
    pub layer_id: u16,
    /// What the layer is for.
    pub purpose: &'static str,
    /// Filters of the layer.
    pub filters: usize,
    /// What is dropped is shown to this layer; its verdict counts for nothing.
    pub discard: bool,
    /// Reached only if callouts of earlier layers permit.
    pub depends: bool,
    pub decision: Decision,
    /// The right to override is gone (`FWPS_RIGHT_ACTION_WRITE` is clear).
    pub hard: bool,
    pub filter: Option<FilterName>,
    pub why: String,
    /// What callouts may say, and what follows; empty if none is asked whose answer is unknown.
    pub outcomes: Vec<Possibility>,
    /// By weight, highest first; those without a filter that matches are only counted.
    pub sublayers: Vec<SublayerView>,
    pub changes: Vec<Change>,
    /// What the layer is told, as far as it is known.
    pub values: Vec<FieldValue>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldValue {
    pub field: &'static str,
    pub value: String,
}

/// One of the verdicts that are possible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Possibility {
    #[serde(rename = "if")]
    pub condition: Vec<Assumption>,
    pub decision: Decision,
    pub hard: bool,
    pub filter: Option<FilterName>,
}

/// What a callout is taken to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Assumption {
    pub filter: u64,
    pub callout: String,
    /// `permit`, `block`, `continue`, or `not called`.
    pub says: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SublayerView {
    pub key: Uuid,
    pub name: String,
    pub weight: u16,
    /// None: it says nothing.
    pub says: Option<Decision>,
    /// What became of that: `decides`, `overridden`, `overruled`, `vetoes`.
    pub effect: Option<Effect>,
    pub why: String,
    /// In the order of evaluation: those that match, and those that nearly do.
    pub filters: Vec<FilterView>,
    /// Filters that are not shown: they do not match.
    pub others: usize,
}

/// What a sublayer's word did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It is the layer's decision.
    Decides,
    /// It was soft, and a lower sublayer said something that counts instead.
    Overridden,
    /// A sublayer above had decided, hard.
    Overruled,
    /// A callout blocked what was permitted, hard: it decides.
    Vetoes,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilterView {
    pub id: u64,
    pub key: Uuid,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    pub action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callout: Option<CalloutView>,
    /// `FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT`.
    pub hard: bool,
    /// In hexadecimal: it may exceed 2^53.
    pub effective_weight: String,
    pub part: Part,
    /// What it said, and what became of that.
    pub says: String,
    pub conditions: Vec<ConditionView>,
}

/// The part that a filter plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Its word is the layer's decision.
    Wins,
    /// It spoke for its sublayer, and another sublayer's word counts.
    Loses,
    /// It matches, and left the decision to the next one.
    PassesOn,
    /// It matches, and a filter before it had spoken for the sublayer.
    NotReached,
    /// It does not match, for lack of something that is not known or that was not given.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CalloutView {
    pub key: Uuid,
    pub name: String,
    pub registered: bool,
    /// What is known of its answer.
    pub answer: String,
}

/// The conditions on one field: alternatives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConditionView {
    pub text: String,
    /// The value that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    pub result: Match,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    Matches,
    Differs,
    Unknown,
}

/// What would make the layer decide otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Change {
    /// Removing these filters.
    Remove { filters: Vec<FilterName>, then: Then, text: String },
    /// Adding a filter in this sublayer with a higher weight than the one there that decides now.
    AddInSublayer {
        action: Decision,
        hard: bool,
        sublayer: Uuid,
        /// In hexadecimal. None: there is no higher weight.
        above_weight: Option<String>,
        text: String,
    },
    /// Adding a filter in a sublayer of a weight above, or of any weight.
    AddInOtherSublayer { action: Decision, hard: bool, above_weight: Option<u16>, text: String },
}

impl Change {
    pub fn text(&self) -> &str {
        match self {
            Change::Remove { text, .. }
            | Change::AddInSublayer { text, .. }
            | Change::AddInOtherSublayer { text, .. } => text,
        }
    }
}

/// What is decided then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Then {
    pub decision: Decision,
    pub filter: Option<FilterName>,
}

/// A filter that was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AskedFilter {
    pub id: u64,
    pub layer: String,
    pub text: String,
}
