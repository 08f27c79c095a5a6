//! What is different between two states.
//!
//! Objects are the same if their keys are. Numbers that a machine gives anew at each start (the ids of filters, callouts and provider
//! contexts) do not count, nor do sessions. A filter that its owner adds at each start without a key of its own has another one every
//! time: one that went and one that came are the same if everything else about them is.

use std::collections::{BTreeMap, HashMap, HashSet};

use postern_engine::guids;
use postern_engine::objects::{Callout, Filter, Provider, ProviderContext, Sublayer};
use serde::Serialize;
use uuid::Uuid;

use super::State;
use super::fields::{Fields, Kind, Object, same_content};

/// What is different, by provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub equal: bool,
    pub providers: Vec<OfProvider>,
    /// Filters that are the same but for their keys.
    pub same_under_other_keys: usize,
}

/// What is different about a provider and the objects that name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfProvider {
    /// `None`: of objects that name no provider.
    pub key: Option<Uuid>,
    pub name: String,
    pub added: Vec<Entry>,
    pub removed: Vec<Entry>,
    pub changed: Vec<Change>,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Entry {
    pub kind: Kind,
    /// Of filters and callouts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    pub name: String,
    pub key: Uuid,
}

/// An object with the fields that are not as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    #[serde(flatten)]
    pub object: Entry,
    pub fields: Vec<FieldChange>,
}

/// A field whose values were these and are those. One that is missing has no values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    pub field: String,
    pub before: Vec<String>,
    pub after: Vec<String>,
}

/// Compares two states.
pub fn diff(before: &State, after: &State) -> Difference {
    let mut groups = Groups { before, after, of: BTreeMap::new() };
    groups.compare::<Provider>(&before.providers, &after.providers);
    groups.compare::<Sublayer>(&before.sublayers, &after.sublayers);
    groups.compare::<Callout>(&before.callouts, &after.callouts);
    groups.compare::<ProviderContext>(&before.provider_contexts, &after.provider_contexts);
    let (removed, added) = groups.changed::<Filter>(&before.filters, &after.filters);
    let (removed, added, same) = without_same(removed, added);
    groups.add(&removed, &added);
    let providers: Vec<OfProvider> = groups.of.into_values().collect();
    Difference { equal: providers.is_empty(), providers, same_under_other_keys: same }
}

struct Groups<'a> {
    before: &'a State,
    after: &'a State,
    of: BTreeMap<Option<Uuid>, OfProvider>,
}

impl<'a> Groups<'a> {
    fn compare<T: Object>(&mut self, before: &'a [T], after: &'a [T]) {
        let (removed, added) = self.changed(before, after);
        self.add(&removed, &added);
    }

    /// Notes the objects that are in both and not the same. Returns those that are in one of them only.
    fn changed<T: Object>(&mut self, before: &'a [T], after: &'a [T]) -> (Vec<&'a T>, Vec<&'a T>) {
        let old: HashMap<Uuid, &T> = before.iter().map(|object| (object.key(), object)).collect();
        let new: HashMap<Uuid, &T> = after.iter().map(|object| (object.key(), object)).collect();
        let (unknown_before, unknown_after) = (unknown(self.before, T::KIND), unknown(self.after, T::KIND));
        for (now, was) in after.iter().filter_map(|now| Some((now, *old.get(&now.key())?))) {
            let notes = [unknown_before.get(&now.key()), unknown_after.get(&now.key())];
            if notes[0] == notes[1] && was.is_same(now) {
                continue;
            }
            let [was_fields, now_fields] = [(was, notes[0]), (now, notes[1])].map(|(object, notes)| {
                let mut fields = object.fields();
                for (element, text) in notes.into_iter().flatten() {
                    fields.entry((*element).to_owned()).or_default().push((*text).to_owned());
                }
                fields
            });
            let change = Change { object: entry(now), fields: changes(was_fields, now_fields) };
            self.group(now.provider()).changed.push(change);
        }
        let removed = before.iter().filter(|object| !new.contains_key(&object.key())).collect();
        (removed, after.iter().filter(|object| !old.contains_key(&object.key())).collect())
    }

    fn add<T: Object>(&mut self, removed: &[&T], added: &[&T]) {
        for object in removed {
            let entry = entry(*object);
            self.group(object.provider()).removed.push(entry);
        }
        for object in added {
            let entry = entry(*object);
            self.group(object.provider()).added.push(entry);
        }
    }

    fn group(&mut self, key: Option<Uuid>) -> &mut OfProvider {
        let (before, after) = (self.before, self.after);
        self.of.entry(key).or_insert_with(|| OfProvider {
            key,
            name: provider_name(key, before, after),
            added: Vec::new(),
            removed: Vec::new(),
            changed: Vec::new(),
        })
    }
}

/// Built-in providers have one name, "Microsoft Corporation": their symbols tell them apart.
fn provider_name(key: Option<Uuid>, before: &State, after: &State) -> String {
    let Some(key) = key else { return "no provider".to_owned() };
    if let Some(symbol) = guids::provider::NAMES.name(&key) {
        return symbol.to_owned();
    }
    let found = after.providers.iter().chain(&before.providers).find(|provider| provider.key == key);
    found.map_or_else(|| key.braced().to_string(), |provider| provider.display.name.clone())
}

fn entry<T: Object>(object: &T) -> Entry {
    Entry { kind: T::KIND, layer: object.layer(), name: object.name().to_owned(), key: object.key() }
}

/// What a file says of each object of a kind and this program does not know.
fn unknown(state: &State, kind: Kind) -> HashMap<Uuid, Vec<(&str, &str)>> {
    let mut notes: HashMap<Uuid, Vec<(&str, &str)>> = HashMap::new();
    for note in state.unknown.iter().filter(|note| note.object == kind.name()) {
        notes.entry(note.key).or_default().push((&note.element, &note.text));
    }
    notes
}

/// The values that are only on one side.
fn changes(mut before: Fields, after: Fields) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let mut change = |field: String, before: Vec<String>, after: Vec<String>| {
        if before != after {
            let without = |all: &[String], others: &[String]| {
                let rest: Vec<String> = all.iter().filter(|value| !others.contains(value)).cloned().collect();
                // Only their order is another one.
                if rest.is_empty() && all.len() == others.len() { all.to_vec() } else { rest }
            };
            let (before, after) = (without(&before, &after), without(&after, &before));
            changes.push(FieldChange { field, before, after });
        }
    };
    for (field, after) in after {
        let before = before.remove(&field).unwrap_or_default();
        change(field, before, after);
    }
    for (field, before) in before {
        change(field, before, Vec::new());
    }
    changes
}

/// Filters without those that are the same under other keys, and how many these are.
fn without_same<'a>(removed: Vec<&'a Filter>, added: Vec<&'a Filter>) -> (Vec<&'a Filter>, Vec<&'a Filter>, usize) {
    // Candidates by what most often tells filters apart.
    let place = |filter: &'a Filter| (filter.layer, filter.effective_weight, filter.display.name.as_str());
    let mut gone: HashMap<_, Vec<&Filter>> = HashMap::new();
    for filter in &removed {
        gone.entry(place(filter)).or_default().push(filter);
    }
    let (before, mut left) = (added.len(), Vec::new());
    for filter in added {
        let twins = gone.entry(place(filter)).or_default();
        match twins.iter().position(|twin| same_content(twin, filter)) {
            Some(index) => _ = twins.swap_remove(index),
            None => left.push(filter),
        }
    }
    let unpaired: HashSet<Uuid> = gone.into_values().flatten().map(|filter| filter.key).collect();
    let same = before - left.len();
    (removed.into_iter().filter(|filter| unpaired.contains(&filter.key)).collect(), left, same)
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
