//! What is left of a provider or of the driver.

use std::collections::HashSet;

use postern_engine::guids;
use postern_engine::objects::{Callout, Filter, Provider, ProviderContext, Sublayer};
use postern_protocol::{CALLOUTS, DRIVER_PROVIDER};
use serde::Serialize;
use uuid::Uuid;

use super::plan::Live;
use crate::engine::{EngineError, FilterEngine};
use crate::filter::describe;

/// An object that is left, and why it is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    pub object: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    pub key: Uuid,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    pub why: String,
}

/// The objects of a provider, and what refers to them, whoever has added it.
#[derive(Debug, Default)]
pub struct Belongings<'a> {
    pub filters: Vec<&'a Filter>,
    pub callouts: Vec<&'a Callout>,
    pub contexts: Vec<&'a ProviderContext>,
    pub sublayers: Vec<&'a Sublayer>,
    pub provider: Option<&'a Provider>,
}

impl<'a> Belongings<'a> {
    pub fn of(key: Uuid, live: &'a Live) -> Belongings<'a> {
        let callouts: Vec<_> = live.callouts.iter().filter(|callout| callout.provider == Some(key)).collect();
        let contexts: Vec<_> = live.contexts.iter().filter(|context| context.provider == Some(key)).collect();
        let sublayers: Vec<_> = live.sublayers.iter().filter(|sublayer| sublayer.provider == Some(key)).collect();
        let called: HashSet<Uuid> = callouts.iter().map(|callout| callout.key).collect();
        let given: HashSet<Uuid> = contexts.iter().map(|context| context.key).collect();
        let within: HashSet<Uuid> = sublayers.iter().map(|sublayer| sublayer.key).collect();
        let filters = live.filters.iter().filter(|filter| {
            filter.provider == Some(key)
                || within.contains(&filter.sublayer)
                || filter.action.callout().is_some_and(|callout| called.contains(&callout))
                || filter.provider_context.is_some_and(|context| given.contains(&context))
        });
        let provider = live.providers.iter().find(|provider| provider.key == key);
        Belongings { filters: filters.collect(), callouts, contexts, sublayers, provider }
    }

    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
            && self.callouts.is_empty()
            && self.contexts.is_empty()
            && self.sublayers.is_empty()
            && self.provider.is_none()
    }

    /// Each of them, in the order of deletion.
    pub fn leftovers(&self, key: Uuid, live: &Live) -> Vec<Leftover> {
        let gone = if self.provider.is_some() { "" } else { ", which is gone" };
        let of_provider = || format!("of the provider{gone}");
        let mut left: Vec<Leftover> = self
            .filters
            .iter()
            .map(|filter| {
                let why = if filter.provider == Some(key) {
                    match callout_state(filter, live) {
                        Some(state) => format!("{}; {state}", of_provider()),
                        None => of_provider(),
                    }
                } else if self.sublayers.iter().any(|sublayer| sublayer.key == filter.sublayer) {
                    "another's, in a sublayer of the provider".to_owned()
                } else if self.contexts.iter().any(|context| filter.provider_context == Some(context.key)) {
                    "another's, with a provider context of the provider".to_owned()
                } else {
                    "another's, and names a callout of the provider".to_owned()
                };
                of_filter(filter, why)
            })
            .collect();
        left.extend(self.callouts.iter().map(|callout| {
            let registered = if callout.registered { "; a driver has it registered" } else { "" };
            of_callout(callout, format!("{}{registered}", of_provider()))
        }));
        left.extend(self.contexts.iter().map(|context| Leftover {
            object: "provider context",
            id: Some(context.id),
            key: context.key,
            name: context.display.name.clone(),
            layer: None,
            why: of_provider(),
        }));
        left.extend(self.sublayers.iter().map(|sublayer| {
            let used = live.filters.iter().any(|filter| filter.sublayer == sublayer.key);
            let orphaned = if used { "" } else { "; no filter is in it" };
            of_sublayer(sublayer, format!("{}{orphaned}", of_provider()))
        }));
        left.extend(self.provider.map(|provider| Leftover {
            object: "provider",
            id: None,
            key: provider.key,
            name: provider.display.name.clone(),
            layer: None,
            why: "it is still there".to_owned(),
        }));
        left
    }

    /// Deletes all of it, dependents first. To be called in a transaction.
    pub fn delete(&self, engine: &dyn FilterEngine) -> Result<(), (String, EngineError)> {
        let named = |what: &str, name: &str| {
            let what = format!("{what} '{name}'");
            move |error| (what, error)
        };
        for filter in &self.filters {
            let what = format!("filter {}", filter.id);
            engine.filter_delete(filter.key).map_err(named(&what, &filter.display.name))?;
        }
        for callout in &self.callouts {
            engine.callout_delete(callout.key).map_err(named("callout", &callout.display.name))?;
        }
        for context in &self.contexts {
            engine.provider_context_delete(context.key).map_err(named("provider context", &context.display.name))?;
        }
        for sublayer in &self.sublayers {
            engine.sublayer_delete(sublayer.key).map_err(named("sublayer", &sublayer.display.name))?;
        }
        if let Some(provider) = self.provider {
            engine.provider_delete(provider.key).map_err(named("provider", &provider.display.name))?;
        }
        Ok(())
    }
}

/// What is left of the driver although it should have gone. To be called in a transaction that is aborted afterwards: whether a
/// callout is registered is told of callout objects only, so those that are not there are added for the question.
pub fn of_driver(engine: &dyn FilterEngine) -> Result<Vec<Leftover>, EngineError> {
    let live = Live::read(engine)?;
    let provider = Uuid::from_u128(DRIVER_PROVIDER);
    let mut left = Belongings::of(provider, &live).leftovers(provider, &live);
    let added: HashSet<Uuid> = live.callouts.iter().map(|callout| callout.key).collect();
    for callout in CALLOUTS {
        let key = Uuid::from_u128(callout.key());
        if !added.contains(&key) {
            let name = format!("Postern {} at {}", callout.role.name(), callout.layer.name());
            engine.callout_add(&Callout::new(key, name, Uuid::from_u128(callout.layer.key())))?;
        }
    }
    let ours = |key: Uuid| CALLOUTS.iter().any(|callout| callout.key() == key.as_u128());
    let told: HashSet<Uuid> = left.iter().map(|left| left.key).collect();
    for callout in engine.callouts()?.iter().filter(|callout| ours(callout.key)) {
        if told.contains(&callout.key) {
            continue;
        }
        if callout.registered {
            let without = if added.contains(&callout.key) { "" } else { ", without an object" };
            left.push(of_callout(callout, format!("the driver has it registered{without}")));
        } else if added.contains(&callout.key) {
            left.push(of_callout(callout, "added, and no driver has it registered".to_owned()));
        }
    }
    for filter in live.filters.iter().filter(|filter| !told.contains(&filter.key)) {
        if filter.action.callout().is_some_and(ours)
            && let Some(state) = callout_state(filter, &live)
        {
            left.push(of_filter(filter, state));
        }
    }
    Ok(left)
}

/// What is wrong with the callout that a filter names.
fn callout_state(filter: &Filter, live: &Live) -> Option<String> {
    let key = filter.action.callout().filter(|key| guids::callout::NAMES.name(key).is_none())?;
    match live.callouts.iter().find(|callout| callout.key == key) {
        None => Some(format!("names callout {}, which is gone", key.braced())),
        Some(callout) if !callout.registered => {
            Some(format!("names callout '{}', which no driver has registered", callout.display.name))
        }
        Some(_) => None,
    }
}

fn of_filter(filter: &Filter, why: String) -> Leftover {
    Leftover {
        object: "filter",
        id: Some(filter.id),
        key: filter.key,
        name: filter.display.name.clone(),
        layer: Some(describe::layer(&filter.layer)),
        why,
    }
}

fn of_callout(callout: &Callout, why: String) -> Leftover {
    Leftover {
        object: "callout",
        id: Some(u64::from(callout.id)),
        key: callout.key,
        name: callout.display.name.clone(),
        layer: Some(describe::layer(&callout.layer)),
        why,
    }
}

fn of_sublayer(sublayer: &Sublayer, why: String) -> Leftover {
    Leftover { object: "sublayer", id: None, key: sublayer.key, name: sublayer.display.name.clone(), layer: None, why }
}
