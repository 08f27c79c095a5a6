//! What things are called that an explanation names.

use std::collections::HashMap;

use postern_engine::objects::{Callout, ConditionValue, Filter, Provider, Sublayer};
use postern_engine::{Engine, Value, guids, layers};
use uuid::Uuid;

use super::view::FilterName;
use crate::filter::{app_id, describe, sid};
use crate::output::hex;

/// The objects of an engine, by what explanations know of them.
pub struct Names<'a> {
    filters: HashMap<u64, &'a Filter>,
    /// No two sublayers have one weight.
    sublayers: HashMap<u16, &'a Sublayer>,
    callouts: HashMap<u32, Callout>,
    providers: HashMap<Uuid, &'a Provider>,
}

impl<'a> Names<'a> {
    pub fn new(engine: &'a Engine) -> Names<'a> {
        let view = engine.view(None);
        Names {
            filters: view.filters().map(|filter| (filter.id, filter)).collect(),
            sublayers: view.sublayers().map(|sublayer| (sublayer.weight, sublayer)).collect(),
            callouts: view.callouts().map(|callout| (callout.id, callout)).collect(),
            providers: view.providers().map(|provider| (provider.key, provider)).collect(),
        }
    }

    pub fn filters(&self) -> usize {
        self.filters.len()
    }

    pub fn filter(&self, id: u64) -> Option<&'a Filter> {
        self.filters.get(&id).copied()
    }

    pub fn sublayer(&self, weight: u16) -> Option<&'a Sublayer> {
        self.sublayers.get(&weight).copied()
    }

    pub fn callout(&self, id: u32) -> Option<&Callout> {
        self.callouts.get(&id)
    }

    pub fn filter_name(&self, id: u64) -> FilterName {
        FilterName { id, name: self.filter(id).map(|filter| clean(&filter.display.name)).unwrap_or_default() }
    }

    pub fn sublayer_name(&self, weight: u16) -> String {
        let Some(sublayer) = self.sublayer(weight) else { return format!("sublayer of weight {weight}") };
        sublayer_name(sublayer)
    }

    pub fn callout_name(&self, id: u32) -> String {
        let Some(callout) = self.callout(id) else { return format!("callout {id}") };
        match guids::callout::NAMES.name(&callout.key) {
            Some(symbol) => symbol.to_owned(),
            None if callout.display.name.is_empty() => callout.key.braced().to_string(),
            None => clean(&callout.display.name),
        }
    }

    pub fn provider_name(&self, key: &Uuid) -> String {
        match self.providers.get(key) {
            Some(provider) if !provider.display.name.is_empty() => clean(&provider.display.name),
            _ => guids::provider::NAMES.name(key).map_or_else(|| key.braced().to_string(), str::to_owned),
        }
    }
}

/// The symbol of one that Windows brings along, else the name that people see.
fn sublayer_name(sublayer: &Sublayer) -> String {
    match guids::sublayer::NAMES.name(&sublayer.key) {
        Some(symbol) => symbol.strip_prefix("FWPM_SUBLAYER_").unwrap_or(symbol).to_owned(),
        None if sublayer.display.name.is_empty() => sublayer.key.braced().to_string(),
        None => clean(&sublayer.display.name),
    }
}

/// Names come from a machine, and a terminal obeys control characters.
pub fn clean(name: &str) -> String {
    name.chars().map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

pub fn layer_name(id: u16) -> String {
    layers::by_id(id).map_or_else(|| id.to_string(), |layer| layer.name.to_owned())
}

/// A filter's name as people read it in a sentence.
pub fn quoted(filter: &FilterName) -> String {
    match filter.name.as_str() {
        "" => format!("filter {}", filter.id),
        name => format!("filter {} ({name})", filter.id),
    }
}

/// A value of a field. `None`: not known.
pub fn value(field: &str, value: &Value<'_>) -> Option<String> {
    let of = match *value {
        Value::Empty => return None,
        Value::Token(sids) => {
            let sids: Vec<String> = sids.iter().map(|sid| sid::text(sid).unwrap_or_else(|| hex(sid))).collect();
            return Some(sids.join(", "));
        }
        Value::Uint8(number) => ConditionValue::Uint8(number),
        Value::Uint16(number) => ConditionValue::Uint16(number),
        Value::Uint32(number) => ConditionValue::Uint32(number),
        Value::Uint64(number) => ConditionValue::Uint64(number),
        Value::ByteArray16(bytes) => ConditionValue::ByteArray16(*bytes),
        Value::ByteArray6(bytes) => ConditionValue::ByteArray6(*bytes),
        Value::Sid(sid) => ConditionValue::Sid(sid.to_vec()),
        Value::ByteBlob(blob) => return Some(app_id::text(blob).unwrap_or_else(|| hex(blob))),
    };
    Some(describe::value(field, &of))
}
