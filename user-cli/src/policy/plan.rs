//! What a policy would change: its objects compared with those that there are.

use std::collections::{HashMap, HashSet};

use postern_engine::objects::{
    Callout, Condition, ConditionValue, Filter, FilterFlags, Provider, ProviderContext, Sublayer,
};
use postern_protocol::CALLOUTS;
use serde::Serialize;
use uuid::Uuid;

use super::compile::{self, Policy, Wanted};
use crate::engine::{EngineError, FilterEngine};
use crate::filter::{describe, own};
use crate::state::State;

/// What there is.
#[derive(Debug, Clone, Default)]
pub struct Live {
    pub providers: Vec<Provider>,
    pub sublayers: Vec<Sublayer>,
    pub callouts: Vec<Callout>,
    pub contexts: Vec<ProviderContext>,
    pub filters: Vec<Filter>,
}

impl Live {
    /// To be called in a transaction.
    pub fn read(engine: &dyn FilterEngine) -> Result<Live, EngineError> {
        Ok(Live {
            providers: engine.providers()?,
            sublayers: engine.sublayers()?,
            callouts: engine.callouts()?,
            contexts: engine.provider_contexts()?,
            filters: engine.filters()?,
        })
    }
}

impl From<State> for Live {
    fn from(state: State) -> Live {
        let State { providers, sublayers, callouts, provider_contexts: contexts, filters, .. } = state;
        Live { providers, sublayers, callouts, contexts, filters }
    }
}

/// Objects of one kind that go, and that come. What changes goes and comes again: the filter engine changes no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange<T> {
    pub delete: Vec<T>,
    pub add: Vec<T>,
}

impl<T> Default for Exchange<T> {
    fn default() -> Exchange<T> {
        Exchange { delete: Vec::new(), add: Vec::new() }
    }
}

impl<T> Exchange<T> {
    fn is_empty(&self) -> bool {
        self.delete.is_empty() && self.add.is_empty()
    }
}

/// What is to be done, and what people are told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub providers: Exchange<Provider>,
    pub sublayers: Exchange<Sublayer>,
    pub callouts: Exchange<Callout>,
    /// The filters that go.
    pub delete: Vec<Filter>,
    /// The filters that come: indices into the policy's.
    pub add: Vec<usize>,
    pub changes: Vec<Change>,
    pub unchanged: usize,
}

/// A change as people read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub change: Kind,
    /// `filter`, `sublayer`, `provider` or `callout`.
    pub object: &'static str,
    pub name: String,
    pub key: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// Of a filter that there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Where the policy's rule is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What it does and is, or was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Add,
    Change,
    Remove,
}

/// A property, as it is and as the policy wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub what: &'static str,
    pub before: String,
    pub after: String,
}

impl Plan {
    /// Compares; `line` tells where a filter's rule stands.
    pub fn new(policy: &Policy, live: &Live, line: impl Fn(&Wanted) -> usize) -> Result<Plan, Held> {
        let mut plan = Plan::default();
        let wanted: HashMap<Uuid, usize> =
            policy.filters.iter().enumerate().map(|(index, wanted)| (wanted.filter.key, index)).collect();
        plan.compare_objects(policy, live);

        let moved_sublayers: HashSet<Uuid> = plan.sublayers.delete.iter().map(|sublayer| sublayer.key).collect();
        let moved_providers: HashSet<Uuid> = plan.providers.delete.iter().map(|provider| provider.key).collect();
        let mut found = vec![false; policy.filters.len()];
        for filter in &live.filters {
            let Some(&index) = wanted.get(&filter.key) else {
                if filter.provider == Some(policy.provider) && !policy.keep.contains(&filter.key) {
                    plan.delete.push(filter.clone());
                    plan.changes.push(Change::of_filter(Kind::Remove, filter, None, Vec::new()));
                }
                continue;
            };
            found[index] = true;
            let want = &policy.filters[index];
            let differences = differences(filter, &want.filter);
            let moves = moved_sublayers.contains(&filter.sublayer)
                || filter.provider.is_some_and(|provider| moved_providers.contains(&provider));
            if differences.is_empty() {
                plan.unchanged += 1;
            } else {
                plan.changes.push(Change::of_filter(Kind::Change, filter, Some(line(want)), differences.clone()));
            }
            if moves || !differences.is_empty() {
                plan.delete.push(filter.clone());
                plan.add.push(index);
            }
        }
        for (index, want) in policy.filters.iter().enumerate().filter(|(index, _)| !found[*index]) {
            plan.add.push(index);
            plan.changes.push(Change::of_filter(Kind::Add, &want.filter, Some(line(want)), Vec::new()));
        }
        plan.add.sort_unstable();
        plan.compare_callouts(policy, live);
        plan.drop_own_objects(policy, live);
        plan.check(policy, live)?;
        Ok(plan)
    }

    pub fn is_empty(&self) -> bool {
        self.delete.is_empty()
            && self.add.is_empty()
            && self.providers.is_empty()
            && self.sublayers.is_empty()
            && self.callouts.is_empty()
    }

    /// Providers and sublayers that the policy says something of.
    fn compare_objects(&mut self, policy: &Policy, live: &Live) {
        for want in &policy.providers {
            let there = live.providers.iter().find(|provider| provider.key == want.key);
            let differences = there.map_or_else(Vec::new, |there| provider_differences(there, want));
            if there.is_none() || !differences.is_empty() {
                let properties = vec![lifetime_word(want.persistent).to_owned()];
                self.note("provider", &want.display.name, want.key, there.is_some(), properties, differences);
                self.providers.delete.extend(there.cloned());
                self.providers.add.push(want.clone());
            }
        }
        for want in &policy.sublayers {
            let there = live.sublayers.iter().find(|sublayer| sublayer.key == want.key);
            let mut differences = there.map_or_else(Vec::new, |there| sublayer_differences(there, want, live));
            let moves = there
                .is_some_and(|there| self.providers.delete.iter().any(|provider| there.provider == Some(provider.key)));
            if there.is_none() || moves || !differences.is_empty() {
                if there.is_none() || !differences.is_empty() {
                    let properties = vec![format!("weight {:#x}", want.weight), lifetime_word(want.persistent).into()];
                    let differences = std::mem::take(&mut differences);
                    self.note("sublayer", &want.display.name, want.key, there.is_some(), properties, differences);
                }
                self.sublayers.delete.extend(there.cloned());
                self.sublayers.add.push(want.clone());
            }
        }
    }

    /// The objects of the driver's callouts that the policy's filters name. One that is not the policy's is used as it is.
    fn compare_callouts(&mut self, policy: &Policy, live: &Live) {
        let mut needed: Vec<(&postern_protocol::Callout, bool)> = Vec::new();
        for Wanted { filter, callout, .. } in &policy.filters {
            let Some(callout) = callout else { continue };
            let persistent = is_lasting(filter);
            match needed.iter_mut().find(|(other, _)| other.key() == callout.key()) {
                Some((_, already)) => *already |= persistent,
                None => needed.push((callout, persistent)),
            }
        }
        for (callout, persistent) in needed {
            let want = own::callout(*callout, policy.provider, persistent);
            let there = live.callouts.iter().find(|there| there.key == want.key);
            let ours = there.is_some_and(|there| there.provider == Some(policy.provider));
            let mut differences = Vec::new();
            if let Some(there) = there.filter(|_| ours) {
                differ(&mut differences, "lifetime", lifetime_word(there.persistent), lifetime_word(persistent));
            }
            let moves = ours && self.providers.delete.iter().any(|provider| provider.key == policy.provider);
            if there.is_none() || moves || !differences.is_empty() {
                if there.is_none() || !differences.is_empty() {
                    let properties = vec![describe::layer(&want.layer)];
                    self.note("callout", &want.display.name, want.key, there.is_some(), properties, differences);
                }
                self.callouts.delete.extend(there.cloned());
                self.callouts.add.push(want);
            }
        }
        // A callout that goes takes along the filters that name it.
        for index in 0..policy.filters.len() {
            let filter = &policy.filters[index].filter;
            let moves = self.callouts.delete.iter().any(|callout| filter.action.callout() == Some(callout.key));
            if moves
                && self.add.binary_search(&index).is_err()
                && let Some(there) = live.filters.iter().find(|there| there.key == filter.key)
            {
                self.delete.push(there.clone());
                self.add.push(index);
                self.add.sort_unstable();
            }
        }
    }

    /// What this policy has added, now that nothing needs it any more. Its keys tell that it was this policy.
    fn drop_own_objects(&mut self, policy: &Policy, live: &Live) {
        let deleted: HashSet<Uuid> = self.delete.iter().map(|filter| filter.key).collect();
        let comes = self.add.iter().map(|index| &policy.filters[*index].filter);
        let filters: Vec<&Filter> =
            live.filters.iter().filter(|filter| !deleted.contains(&filter.key)).chain(comes).collect();
        let called: HashSet<Uuid> = filters.iter().filter_map(|filter| filter.action.callout()).collect();
        let sublayers: HashSet<Uuid> = filters.iter().map(|filter| filter.sublayer).collect();
        let mut providers: HashSet<Uuid> = filters.iter().filter_map(|filter| filter.provider).collect();
        drop(filters);
        let of_policy = |what: &str, key: Uuid, name: &str| {
            key == compile::key(&policy.name, what, "") || key == compile::key(&policy.name, what, name)
        };
        for callout in &live.callouts {
            let drivers = CALLOUTS.iter().any(|ours| ours.key() == callout.key.as_u128());
            let ours = drivers && callout.provider == Some(policy.provider);
            if ours && !called.contains(&callout.key) {
                self.dropped("callout", &callout.display.name, callout.key);
                self.callouts.delete.push(callout.clone());
            } else {
                providers.extend(callout.provider);
            }
        }
        providers.extend(self.callouts.add.iter().filter_map(|callout| callout.provider));
        for sublayer in &live.sublayers {
            let said = policy.sublayers.iter().any(|other| other.key == sublayer.key);
            let ours = of_policy("sublayer", sublayer.key, &sublayer.display.name);
            if ours && !said && !sublayers.contains(&sublayer.key) {
                self.dropped("sublayer", &sublayer.display.name, sublayer.key);
                self.sublayers.delete.push(sublayer.clone());
            } else {
                providers.extend(sublayer.provider);
            }
        }
        providers.extend(self.sublayers.add.iter().filter_map(|sublayer| sublayer.provider));
        for provider in &live.providers {
            let said = policy.providers.iter().any(|other| other.key == provider.key);
            let ours = of_policy("provider", provider.key, &provider.display.name);
            if ours && !said && !providers.contains(&provider.key) {
                self.dropped("provider", &provider.display.name, provider.key);
                self.providers.delete.push(provider.clone());
            }
        }
    }

    /// An object that goes must not be in use by others.
    fn check(&self, policy: &Policy, live: &Live) -> Result<(), Held> {
        let goes: HashSet<Uuid> = self.delete.iter().map(|filter| filter.key).collect();
        let held = |what: &'static str, name: &str, refers: &dyn Fn(&Filter) -> bool| {
            let by = live.filters.iter().filter(|filter| refers(filter) && !goes.contains(&filter.key)).count();
            if by == 0 {
                return Ok(());
            }
            Err(Held { what, name: name.to_owned(), by, policy: policy.name.clone() })
        };
        for provider in &self.providers.delete {
            held("provider", &provider.display.name, &|filter| filter.provider == Some(provider.key))?;
        }
        for sublayer in &self.sublayers.delete {
            held("sublayer", &sublayer.display.name, &|filter| filter.sublayer == sublayer.key)?;
        }
        for callout in &self.callouts.delete {
            held("callout", &callout.display.name, &|filter| filter.action.callout() == Some(callout.key))?;
        }
        Ok(())
    }

    fn note(
        &mut self,
        object: &'static str,
        name: &str,
        key: Uuid,
        there: bool,
        properties: Vec<String>,
        differences: Vec<Difference>,
    ) {
        let (change, properties) = if there { (Kind::Change, Vec::new()) } else { (Kind::Add, properties) };
        let name = name.to_owned();
        self.changes.push(Change {
            change,
            object,
            name,
            key,
            layer: None,
            id: None,
            line: None,
            properties,
            differences,
        });
    }

    fn dropped(&mut self, object: &'static str, name: &str, key: Uuid) {
        self.note(object, name, key, false, Vec::new(), Vec::new());
        if let Some(last) = self.changes.last_mut() {
            last.change = Kind::Remove;
        }
    }
}

/// An object cannot be changed: other filters than the policy's use it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} '{name}' would have to be deleted, and {by} filters that are not of policy '{policy}' refer to it")]
pub struct Held {
    what: &'static str,
    name: String,
    by: usize,
    policy: String,
}

impl Change {
    fn of_filter(change: Kind, filter: &Filter, line: Option<usize>, differences: Vec<Difference>) -> Change {
        let properties = match change {
            Kind::Change => Vec::new(),
            Kind::Add | Kind::Remove => {
                let mut properties = vec![describe::action_of(filter)];
                properties.extend(describe::conditions(&filter.conditions));
                properties
            }
        };
        Change {
            change,
            object: "filter",
            name: filter.display.name.clone(),
            key: filter.key,
            layer: Some(describe::layer(&filter.layer)),
            id: Some(filter.id).filter(|_| change != Kind::Add),
            line,
            properties,
            differences,
        }
    }
}

fn is_lasting(filter: &Filter) -> bool {
    filter.flags.intersects(FilterFlags::PERSISTENT | FilterFlags::BOOTTIME)
}

fn lifetime_word(persistent: bool) -> &'static str {
    if persistent { "persistent" } else { "static" }
}

fn differ(differences: &mut Vec<Difference>, what: &'static str, before: impl ToString, after: impl ToString) {
    let (before, after) = (before.to_string(), after.to_string());
    if before != after {
        differences.push(Difference { what, before, after });
    }
}

fn provider_differences(there: &Provider, want: &Provider) -> Vec<Difference> {
    let mut found = Vec::new();
    differ(&mut found, "name", &there.display.name, &want.display.name);
    differ(&mut found, "description", &there.display.description, &want.display.description);
    differ(&mut found, "lifetime", lifetime_word(there.persistent), lifetime_word(want.persistent));
    differ(&mut found, "data", crate::output::hex(&there.data), crate::output::hex(&want.data));
    let service = |provider: &Provider| provider.service_name.clone().unwrap_or_default();
    differ(&mut found, "service", service(there), service(want));
    found
}

fn sublayer_differences(there: &Sublayer, want: &Sublayer, live: &Live) -> Vec<Difference> {
    let mut found = Vec::new();
    differ(&mut found, "name", &there.display.name, &want.display.name);
    differ(&mut found, "description", &there.display.description, &want.display.description);
    differ(&mut found, "lifetime", lifetime_word(there.persistent), lifetime_word(want.persistent));
    differ(&mut found, "data", crate::output::hex(&there.data), crate::output::hex(&want.data));
    differ(&mut found, "provider", key_text(there.provider), key_text(want.provider));
    // No two sublayers have one weight: the engine assigns the closest that is free.
    let taken: HashSet<u16> =
        live.sublayers.iter().filter(|other| other.key != there.key).map(|other| other.weight).collect();
    let distance = want.weight.abs_diff(there.weight);
    let closer = (want.weight.saturating_sub(distance)..=want.weight.saturating_add(distance))
        .any(|weight| weight.abs_diff(want.weight) < distance && !taken.contains(&weight));
    if closer {
        differ(&mut found, "weight", format!("{:#x}", there.weight), format!("{:#x}", want.weight));
    }
    found
}

fn key_text(key: Option<Uuid>) -> String {
    key.map_or_else(|| "none".to_owned(), |key| key.braced().to_string())
}

/// What of a filter is not as the policy wants it. Ids, effective weights and what else the engine adds do not count.
pub fn differences(there: &Filter, want: &Filter) -> Vec<Difference> {
    let mut found = Vec::new();
    differ_by(&mut found, "name", &there.display.name, &want.display.name, String::clone);
    differ_by(&mut found, "description", &there.display.description, &want.display.description, String::clone);
    differ_by(&mut found, "layer", &there.layer, &want.layer, describe::layer);
    differ_by(&mut found, "action", &there.action, &want.action, describe::action);
    differ_by(&mut found, "context", &there.raw_context, &want.raw_context, |context| format!("{context:#x}"));
    differ_by(&mut found, "provider context", &there.provider_context, &want.provider_context, |key| key_text(*key));
    differ_by(&mut found, "sublayer", &there.sublayer, &want.sublayer, describe::sublayer);
    differ_by(&mut found, "provider", &there.provider, &want.provider, |key| key_text(*key));
    differ_by(&mut found, "weight", &there.weight, &want.weight, |weight| describe::weight(*weight));
    differ_by(&mut found, "data", &there.data, &want.data, |data| crate::output::hex(data));
    differ_by(&mut found, "flags", &settable(there), &settable(want), |flags| {
        let names: Vec<&str> = flags.iter_names().map(|(name, _)| name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    });
    if there.conditions != want.conditions && canonical(&there.conditions) != canonical(&want.conditions) {
        let text = |filter: &Filter| match describe::conditions(&filter.conditions) {
            none if none.is_empty() => "everything".to_owned(),
            some => some.join("; "),
        };
        found.push(Difference { what: "conditions", before: text(there), after: text(want) });
    }
    found
}

/// The flags that a client sets.
fn settable(filter: &Filter) -> FilterFlags {
    filter.flags & !(FilterFlags::DISABLED | FilterFlags::INDEXED)
}

fn differ_by<T: PartialEq>(
    found: &mut Vec<Difference>,
    what: &'static str,
    before: &T,
    after: &T,
    text: impl Fn(&T) -> String,
) {
    if before != after {
        found.push(Difference { what, before: text(before), after: text(after) });
    }
}

/// Conditions in an order that does not depend on how they were written: of fields, and of the alternatives for each.
fn canonical(conditions: &[Condition]) -> Vec<(Uuid, String)> {
    let mut all: Vec<(Uuid, String)> = conditions
        .iter()
        .map(|condition| {
            let value = match &condition.value {
                ConditionValue::V4AddrMask { addr, mask } => {
                    ConditionValue::V4AddrMask { addr: addr & mask, mask: *mask }
                }
                ConditionValue::V6AddrMask { addr, prefix } => {
                    let mask = !u128::MAX.checked_shr(u32::from(*prefix)).unwrap_or(0);
                    let addr = (u128::from_be_bytes(*addr) & mask).to_be_bytes();
                    ConditionValue::V6AddrMask { addr, prefix: *prefix }
                }
                value => value.clone(),
            };
            (condition.field, format!("{:?} {value:?}", condition.match_type))
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}
