//! From objects to a policy: applying it to them changes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use postern_engine::guids;
use postern_engine::layers;
use postern_engine::objects::{Filter, Provider, Sublayer};
use serde::Serialize;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};
use uuid::Uuid;

use super::compile::{self, filter_key};
use super::plan::{Live, Plan, differences};
use super::problem::Source;
use crate::failure::{Failure, Result};
use crate::filter::describe;
use crate::output::hex;

mod rule;
#[cfg(test)]
mod tests;

/// A policy, and what it does not say.
#[derive(Debug)]
pub struct Export {
    pub document: DocumentMut,
    pub filters: usize,
    pub unsaid: Vec<Unsaid>,
}

/// A filter that no rule can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unsaid {
    pub id: u64,
    pub key: Uuid,
    pub name: String,
    pub layer: String,
    pub why: String,
}

/// The filters of a provider, or all of them.
pub fn export(live: &Live, provider: Option<&Provider>, name: &str) -> Result<Export> {
    let short = Exporter { live, provider, name, explicit: false }.export();
    if let Ok(export) = &short
        && changes(export, live)?.is_none()
    {
        return short;
    }
    // The policy's own provider and sublayer are not as they would be made: they need tables.
    let export = Exporter { live, provider, name, explicit: true }.export()?;
    match changes(&export, live)? {
        None => Ok(export),
        Some(change) => Err(Failure::new(format!("the policy would change what it was made of: {change}"))),
    }
}

/// The first thing that the policy would change.
fn changes(export: &Export, live: &Live) -> Result<Option<String>> {
    let source = Source::new("the exported policy", export.document.to_string());
    let policy = super::read(&source).map_err(|problems| source.failure(&problems))?;
    Ok(match Plan::new(&policy, live, |_| 0) {
        Err(held) => Some(held.to_string()),
        Ok(plan) => {
            let first = plan.changes.first();
            first.map(|change| format!("{:?} {} '{}'", change.change, change.object, change.name))
        }
    })
}

struct Exporter<'a> {
    live: &'a Live,
    provider: Option<&'a Provider>,
    name: &'a str,
    /// Whether the policy's own provider and sublayer are described.
    explicit: bool,
}

impl Exporter<'_> {
    fn export(&self) -> Result<Export> {
        let mut head = Table::new();
        head.insert("name", value(self.name));
        let own_provider = compile::key(self.name, "provider", "");
        let own_sublayer = compile::key(self.name, "sublayer", "");
        let default_provider = self.provider.map_or(own_provider, |provider| provider.key);
        let live_provider = self.live.providers.iter().any(|provider| provider.key == own_provider);
        if default_provider != own_provider || self.explicit && live_provider {
            head.insert("provider", value(provider_text(&default_provider)));
        } else if let Some(provider) = self.provider.filter(|provider| !provider.display.description.is_empty()) {
            head.insert("description", value(&provider.display.description));
        }
        let filters: Vec<&Filter> = self
            .live
            .filters
            .iter()
            .filter(|filter| self.provider.is_none_or(|provider| filter.provider == Some(provider.key)))
            .collect();
        let default_sublayer = most_used(&filters, own_sublayer);
        let live_sublayer = self.live.sublayers.iter().any(|sublayer| sublayer.key == own_sublayer);
        if default_sublayer != own_sublayer || self.explicit && live_sublayer {
            head.insert("sublayer", value(sublayer_text(&default_sublayer)));
        }
        let lasting = filters.iter().filter(|filter| rule::lifetime(filter) == Some("persistent")).count();
        let lifetime = if lasting * 2 > filters.len() { "persistent" } else { "static" };
        head.insert("lifetime", value(lifetime));

        let defaults =
            rule::Defaults { policy: self.name, provider: default_provider, sublayer: default_sublayer, lifetime };
        let (mut said, mut unsaid, mut keep) = (Vec::new(), Vec::new(), Array::new());
        for filter in filters {
            match defaults.rule(filter, self.live) {
                Ok(rule) => said.push((filter, rule)),
                Err(why) => {
                    if filter.provider == Some(default_provider) {
                        keep.push(filter.key.braced().to_string());
                    }
                    unsaid.push(Unsaid {
                        id: filter.id,
                        key: filter.key,
                        name: filter.display.name.clone(),
                        layer: describe::layer(&filter.layer),
                        why,
                    });
                }
            }
        }
        if !keep.is_empty() {
            head.insert("keep", value(keep));
        }
        let mut document = DocumentMut::new();
        document.insert("policy", Item::Table(head));
        self.objects(&said, default_provider, own_sublayer, &mut document);
        let filters = said.len();
        let mut rules: ArrayOfTables = defaults.merged(said).into_iter().collect();
        self.name_objects(&mut rules, &document);
        document.insert("rule", Item::ArrayOfTables(rules));
        Ok(Export { document, filters, unsaid })
    }

    /// Rules name sublayers and providers as the policy's tables do, where that is clear.
    fn name_objects(&self, rules: &mut ArrayOfTables, document: &DocumentMut) {
        for what in ["sublayer", "provider"] {
            let Some(tables) = document.get(what).and_then(Item::as_array_of_tables) else { continue };
            let mut names: HashMap<String, Option<String>> = HashMap::new();
            for table in tables {
                let text = |key: &str| table.get(key).and_then(Item::as_str).map(str::to_owned);
                let (Some(name), Some(key)) = (text("name"), text("key")) else { continue };
                let once =
                    tables.iter().filter(|other| other.get("name").and_then(Item::as_str) == Some(&name)).count() == 1;
                names.insert(key, Some(name).filter(|name| once && name != "none"));
            }
            for rule in rules.iter_mut() {
                if let Some(item) = rule.get_mut(what)
                    && let Some(Some(name)) = item.as_str().and_then(|key| names.get(key))
                {
                    *item = value(name);
                }
            }
        }
    }

    /// The tables of sublayers and providers.
    fn objects(
        &self,
        said: &[(&Filter, Table)],
        default_provider: Uuid,
        own_sublayer: Uuid,
        document: &mut DocumentMut,
    ) {
        let used: HashSet<Uuid> = said.iter().map(|(filter, _)| filter.sublayer).collect();
        let mut providers: HashSet<Uuid> = said.iter().filter_map(|(filter, _)| filter.provider).collect();
        let mut tables = ArrayOfTables::new();
        for sublayer in &self.live.sublayers {
            let own = sublayer.key == own_sublayer;
            let needed = if own { self.explicit } else { used.contains(&sublayer.key) };
            if !needed || guids::sublayer::NAMES.name(&sublayer.key).is_some() || !nameable(&sublayer.display.name) {
                continue;
            }
            providers.extend(sublayer.provider);
            tables.push(self.sublayer_table(sublayer, default_provider));
        }
        let mut provider_tables = ArrayOfTables::new();
        for provider in &self.live.providers {
            let own = provider.key == compile::key(self.name, "provider", "");
            let needed = if own { self.explicit } else { providers.contains(&provider.key) };
            if !needed || guids::provider::NAMES.name(&provider.key).is_some() || !nameable(&provider.display.name) {
                continue;
            }
            provider_tables.push(self.provider_table(provider));
        }
        for (name, tables) in [("provider", provider_tables), ("sublayer", tables)] {
            if !tables.is_empty() {
                document.insert(name, Item::ArrayOfTables(tables));
            }
        }
    }

    fn sublayer_table(&self, sublayer: &Sublayer, default_provider: Uuid) -> Table {
        let mut table = Table::new();
        table.insert("name", value(&sublayer.display.name));
        if sublayer.key != compile::key(self.name, "sublayer", &sublayer.display.name) {
            table.insert("key", value(sublayer.key.braced().to_string()));
        }
        if !sublayer.display.description.is_empty() {
            table.insert("description", value(&sublayer.display.description));
        }
        table.insert("weight", value(format!("{:#x}", sublayer.weight)));
        if sublayer.provider != Some(default_provider) {
            let text = sublayer.provider.as_ref().map_or_else(|| "none".to_owned(), provider_text);
            table.insert("provider", value(text));
        }
        table.insert("persistent", value(sublayer.persistent));
        if !sublayer.data.is_empty() {
            table.insert("data", value(format!("0x{}", hex(&sublayer.data))));
        }
        table
    }

    fn provider_table(&self, provider: &Provider) -> Table {
        let mut table = Table::new();
        table.insert("name", value(&provider.display.name));
        if provider.key != compile::key(self.name, "provider", &provider.display.name) {
            table.insert("key", value(provider.key.braced().to_string()));
        }
        if !provider.display.description.is_empty() {
            table.insert("description", value(&provider.display.description));
        }
        if let Some(service) = &provider.service_name {
            table.insert("service", value(service));
        }
        table.insert("persistent", value(provider.persistent));
        if !provider.data.is_empty() {
            table.insert("data", value(format!("0x{}", hex(&provider.data))));
        }
        table
    }
}

/// Whether a policy can have a table for an object of this name.
fn nameable(name: &str) -> bool {
    !name.is_empty() && !name.contains(char::is_control)
}

fn provider_text(key: &Uuid) -> String {
    guids::provider::NAMES.name(key).map_or_else(|| key.braced().to_string(), str::to_owned)
}

fn sublayer_text(key: &Uuid) -> String {
    guids::sublayer::NAMES.name(key).map_or_else(|| key.braced().to_string(), str::to_owned)
}

/// The policy's own sublayer if a filter is in it, else the one that most filters are in.
fn most_used(filters: &[&Filter], own: Uuid) -> Uuid {
    let mut uses: BTreeMap<Uuid, usize> = BTreeMap::new();
    for filter in filters {
        *uses.entry(filter.sublayer).or_default() += 1;
    }
    match uses.contains_key(&own) {
        true => own,
        false => uses.into_iter().max_by_key(|(_, count)| *count).map_or(own, |(sublayer, _)| sublayer),
    }
}
