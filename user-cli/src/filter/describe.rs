//! Filters as people read them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_engine::guids;
use postern_engine::layers;
use postern_engine::objects::{Action, Condition, ConditionValue, Filter, FilterFlags, MatchType, Provider, Weight};
use postern_protocol::{CALLOUTS, Callout, FilterContext, Role};
use serde::Serialize;
use uuid::Uuid;

use super::app_id;
use super::own::{Lifetime, Owner};
use super::protocol::Protocol;
use super::sid;
use crate::output::hex;
use crate::sddl;

/// A filter as `--json` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    pub id: u64,
    pub key: Uuid,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub layer: String,
    pub action: String,
    /// How a callout-hold holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Whether a callout-block answers with a reset.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub reject: bool,
    /// The callout's key, for an action that calls one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callout: Option<Uuid>,
    pub conditions: Vec<String>,
    /// As given: `auto`, `range N` or `0x...`.
    pub weight: String,
    pub effective_weight: String,
    pub sublayer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Of a filter that says so itself, or is ours: the engine does not tell static from dynamic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Lifetime>,
    pub hard: bool,
    /// Its provider's service does not start by itself: it is kept, and not in force.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub disabled: bool,
}

/// How long an operation is held, and what happens when nobody has answered.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Hold {
    pub seconds: u16,
    pub otherwise: &'static str,
}

impl Hold {
    /// None if the filter holds nothing, or its context is not one of ours: then the driver holds nothing either.
    fn of(filter: &Filter) -> Option<Hold> {
        ours(&filter.action).filter(|callout| callout.role == Role::Hold)?;
        let context = FilterContext::from_raw(filter.raw_context)?;
        let permits = context.contains(FilterContext::OTHERWISE_PERMIT);
        Some(Hold { seconds: context.hold_seconds(), otherwise: if permits { "permit" } else { "block" } })
    }
}

impl View {
    /// The action in one text.
    pub fn action_text(&self) -> String {
        let text = action_text(&self.action, self.hold.as_ref(), self.reject);
        match (self.disabled, self.lifetime) {
            (true, _) => format!("{text} (disabled)"),
            (false, Some(Lifetime::BootTime)) => format!("{text} (boot-time)"),
            _ => text,
        }
    }

    pub fn new(filter: &Filter, providers: &[Provider]) -> View {
        View {
            id: filter.id,
            key: filter.key,
            name: filter.display.name.clone(),
            description: filter.display.description.clone(),
            layer: layer(&filter.layer),
            action: action(&filter.action),
            hold: Hold::of(filter),
            reject: rejects(filter),
            callout: filter.action.callout(),
            conditions: conditions(&filter.conditions),
            weight: weight(filter.weight),
            effective_weight: format!("{:#x}", filter.effective_weight),
            sublayer: sublayer(&filter.sublayer),
            provider: filter.provider.map(|key| {
                providers
                    .iter()
                    .find(|provider| provider.key == key)
                    .map_or_else(|| symbol(&guids::provider::NAMES, &key), |provider| provider.display.name.clone())
            }),
            lifetime: if filter.flags.contains(FilterFlags::BOOTTIME) {
                Some(Lifetime::BootTime)
            } else if filter.flags.contains(FilterFlags::PERSISTENT) {
                Some(Lifetime::Persistent)
            } else {
                Owner::of_lasting(filter).map(|owner| owner.lifetime())
            },
            disabled: filter.flags.contains(FilterFlags::DISABLED),
            hard: filter.flags.contains(FilterFlags::CLEAR_ACTION_RIGHT),
        }
    }
}

fn action_text(action: &str, hold: Option<&Hold>, reject: bool) -> String {
    match hold {
        Some(hold) => format!("{action} {} s, then {}", hold.seconds, hold.otherwise),
        None if reject => format!("{action} with a reset"),
        None => action.to_owned(),
    }
}

/// A filter's action in one text.
pub fn action_of(filter: &Filter) -> String {
    action_text(&action(&filter.action), Hold::of(filter).as_ref(), rejects(filter))
}

/// The layer's name without prefix.
pub fn layer(key: &Uuid) -> String {
    layers::by_key(key).map_or_else(|| key.braced().to_string(), |layer| layer.name.to_owned())
}

/// The sublayer's symbol, or its key.
pub fn sublayer(key: &Uuid) -> String {
    symbol(&guids::sublayer::NAMES, key)
}

/// What the filter does, with the role of a callout of ours.
pub fn action(action: &Action) -> String {
    let plain = match action {
        Action::Block => "block",
        Action::Permit => "permit",
        Action::CalloutTerminating(_) => "callout-terminating",
        Action::CalloutInspection(_) => "callout-inspection",
        Action::CalloutUnknown(_) => "callout-unknown",
    };
    match ours(action) {
        Some(callout) => format!("callout-{}", callout.role.name()),
        None => plain.to_owned(),
    }
}

/// Whether the driver answers what the filter blocks.
fn rejects(filter: &Filter) -> bool {
    ours(&filter.action).is_some_and(|callout| callout.role == Role::Block)
        && FilterContext::from_raw(filter.raw_context).is_some_and(|context| context.contains(FilterContext::REJECT))
}

/// The callout of ours that an action calls.
fn ours(action: &Action) -> Option<&'static Callout> {
    action.callout().and_then(|key| CALLOUTS.iter().find(|ours| ours.key() == key.as_u128()))
}

fn symbol(names: &guids::Names, key: &Uuid) -> String {
    names.name(key).map_or_else(|| key.braced().to_string(), str::to_owned)
}

pub fn weight(weight: Weight) -> String {
    match weight {
        Weight::Auto => "auto".to_owned(),
        Weight::Range(range) => format!("range {range}"),
        Weight::Exact(weight) => format!("{weight:#x}"),
    }
}

/// One text for each field, with its alternatives.
pub fn conditions(conditions: &[Condition]) -> Vec<String> {
    conditions
        .chunk_by(|a, b| a.field == b.field)
        .map(|alternatives| {
            let field = &alternatives[0].field;
            let name = guids::condition::NAMES.name(field);
            let name = name.map_or_else(|| field.braced().to_string(), |name| name.replace("FWPM_CONDITION_", ""));
            let mut text = name.clone();
            let mut before = None;
            for condition in alternatives {
                let relation = relation(condition.match_type);
                let or = if before.is_some() { " or" } else { "" };
                let relation = if before.replace(relation) == Some(relation) { "" } else { relation };
                let space = if relation.is_empty() { "" } else { " " };
                text += &format!("{or}{space}{relation} {}", value(&name, &condition.value));
            }
            text
        })
        .collect()
}

fn relation(match_type: MatchType) -> &'static str {
    match match_type {
        MatchType::Equal | MatchType::Range => "=",
        MatchType::Greater => ">",
        MatchType::Less => "<",
        MatchType::GreaterOrEqual => ">=",
        MatchType::LessOrEqual => "<=",
        MatchType::FlagsAllSet => "has all of",
        MatchType::FlagsAnySet => "has any of",
        MatchType::FlagsNoneSet => "has none of",
        MatchType::EqualCaseInsensitive => "=~",
        MatchType::NotEqual => "!=",
        MatchType::Prefix => "ends in",
        MatchType::NotPrefix => "does not end in",
    }
}

pub fn value(field: &str, of: &ConditionValue) -> String {
    match of {
        ConditionValue::Empty => "nothing".to_owned(),
        ConditionValue::Uint8(number) if field == "IP_PROTOCOL" => Protocol(*number).to_string(),
        ConditionValue::Uint8(number) => number.to_string(),
        ConditionValue::Uint16(number) => number.to_string(),
        ConditionValue::Uint32(number) if field.ends_with("_ADDRESS") => Ipv4Addr::from(*number).to_string(),
        ConditionValue::Uint32(number) if field.ends_with("FLAGS") => format!("{number:#x}"),
        ConditionValue::Uint32(number) => number.to_string(),
        ConditionValue::Uint64(number) => number.to_string(),
        ConditionValue::ByteArray16(bytes) => Ipv6Addr::from(*bytes).to_string(),
        ConditionValue::ByteBlob(blob) => app_id::text(blob).unwrap_or_else(|| hex(blob)),
        ConditionValue::Sid(bytes) => sid::text(bytes).unwrap_or_else(|| hex(bytes)),
        ConditionValue::SecurityDescriptor(bytes) => {
            sid::described(bytes).or_else(|| sddl::text(bytes).ok()).unwrap_or_else(|| hex(bytes))
        }
        ConditionValue::UnicodeString(text) => text.clone(),
        ConditionValue::ByteArray6(bytes) => bytes.map(|byte| format!("{byte:02x}")).join("-"),
        ConditionValue::V4AddrMask { addr, mask } => {
            let address = IpAddr::from(Ipv4Addr::from(*addr));
            match mask.leading_ones() == mask.count_ones() {
                true => format!("{address}/{}", mask.count_ones()),
                false => format!("{address} mask {}", Ipv4Addr::from(*mask)),
            }
        }
        ConditionValue::V6AddrMask { addr, prefix } => format!("{}/{prefix}", Ipv6Addr::from(*addr)),
        ConditionValue::Range(ends) => format!("{}-{}", value(field, &ends.0), value(field, &ends.1)),
    }
}
