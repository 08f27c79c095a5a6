//! An engine made of the objects that another one held, such as a real machine's as `netsh wfp show state` tells it.
//!
//! Nothing is added by way of a session: keys, ids, weights and what is registered are those given, built-in objects too. What the
//! objects leave open, and what this engine cannot do with them, is told.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use uuid::Uuid;

use crate::engine::{Engine, FIRST_CALLOUT_ID, Registration};
use crate::error::FwpError;
use crate::filters::FilterEntry;
use crate::guids;
use crate::layers::{self, DataType};
use crate::matching::Matcher;
use crate::objects::{Callout, DisplayData, Filter, FilterFlags, Provider, ProviderContext, Sublayer};
use crate::runtime::RuntimeFilter;
use crate::store::{Lifetime, State, Stored, Table};
use crate::weight::{self, Layout};

/// What an engine held.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Objects {
    /// The fields of the layers there, on which automatic weights depend. Layers that are missing have those of this engine; where all are,
    /// the weights of the filters decide between these and those of older builds.
    pub layers: Vec<LayerFields>,
    pub providers: Vec<Provider>,
    pub provider_contexts: Vec<ProviderContext>,
    pub sublayers: Vec<Sublayer>,
    pub callouts: Vec<Callout>,
    pub filters: Vec<Filter>,
}

/// Which fields a layer has in some version of Windows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LayerFields {
    pub layer: Uuid,
    pub fields: Vec<(Uuid, DataType)>,
}

/// The engine, and what is not certain about it.
#[derive(Debug)]
pub struct Restored {
    pub engine: Engine,
    pub doubts: Vec<Doubt>,
}

/// Something about a restored engine that may be otherwise on the machine that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "kebab-case")
)]
pub enum Doubt {
    /// A filter names a sublayer that is not among the objects. It was added with the weight that sublayers have by default.
    UnknownSublayer { key: Uuid, weight: u16 },
    /// A filter names a callout that is not among the objects. It is taken for registered.
    UnknownCallout { key: Uuid },
    /// The filter is kept, but this engine cannot evaluate it: its layer, one of its fields, or a value is not known here.
    NotEvaluated { filter: u64, error: FwpError },
    /// The effective weight is not the one that this engine computes from weight and conditions. The one given counts.
    Weight { filter: u64, given: u64, computed: u64 },
}

/// Why the objects are no engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    #[error("two {0} have the key {1}")]
    SameKey(&'static str, Uuid),
    #[error("two callouts have the id {0}")]
    SameCalloutId(u32),
    #[error("two filters have the id {0}")]
    SameFilterId(u64),
}

/// For a sublayer of which only the key is known: that of the universal one, which programs without a sublayer of their own use.
const UNKNOWN_SUBLAYER_WEIGHT: u16 = 0x8000;

impl Engine {
    /// An engine that holds these objects.
    ///
    /// Without any sublayers, as `netsh wfp show filters` has none, those that Windows brings along are there; providers likewise.
    pub fn restore(objects: Objects) -> Result<Restored, RestoreError> {
        let mut engine = Self::new();
        for LayerFields { layer, fields } in objects.layers {
            if let Some(layer) = layers::by_key(&layer) {
                engine.layouts.insert(layer.id, Layout::new(layer.name, fields.into_iter()));
            }
        }
        if engine.layouts.is_empty() {
            engine.guess_layouts(&objects.filters);
        }
        if !objects.providers.is_empty() {
            engine.providers = Table::default();
        }
        if !objects.sublayers.is_empty() {
            engine.sublayers = Table::default();
        }
        for provider in objects.providers {
            let lifetime = lifetime(guids::provider::NAMES.name(&provider.key).is_some(), provider.persistent, None);
            engine.key_is_taken(provider.key);
            restore(&mut engine.providers, "providers", provider.key, provider, lifetime)?;
        }
        for sublayer in objects.sublayers {
            let built_in = guids::sublayer::NAMES.name(&sublayer.key).is_some();
            let lifetime = lifetime(built_in, sublayer.persistent, sublayer.provider);
            engine.key_is_taken(sublayer.key);
            restore(&mut engine.sublayers, "sublayers", sublayer.key, sublayer, lifetime)?;
        }
        for context in objects.provider_contexts {
            let built_in = guids::provider_context::NAMES.name(&context.key).is_some();
            let lifetime = lifetime(built_in, context.persistent, context.provider);
            engine.next_context = engine.next_context.max(context.id.saturating_add(1));
            engine.key_is_taken(context.key);
            restore(&mut engine.contexts, "provider contexts", context.key, Arc::new(context), lifetime)?;
        }
        let mut ids = BTreeSet::new();
        for callout in objects.callouts {
            if !ids.insert(callout.id) {
                return Err(RestoreError::SameCalloutId(callout.id));
            }
            engine.restore_callout(callout)?;
        }
        let mut doubts = Vec::new();
        for filter in objects.filters {
            engine.restore_filter(filter, &mut doubts)?;
        }
        engine.commit(&mut ());
        Ok(Restored { engine, doubts })
    }

    /// Puts a restored engine in the place of this one, whose sessions end. Their handles are not given again.
    pub fn replace(&mut self, restored: Engine) {
        let next_session = self.next_session;
        *self = restored;
        self.next_session = next_session;
    }

    /// Callouts that are registered on the machine which the engine comes from, and not here.
    pub fn registered_elsewhere(&self) -> impl Iterator<Item = u32> {
        self.registrations.iter().filter(|(_, registration)| registration.elsewhere).map(|(id, _)| *id)
    }

    /// Keys that are made here must not be those that another engine of this kind has made.
    fn key_is_taken(&mut self, key: Uuid) {
        let number = u64::from(key.as_u128() as u32);
        if key == Self::made_key(number) {
            self.next_key = self.next_key.max(number + 1);
        }
    }

    /// For filters of a machine that does not tell the fields of its layers: those of the Windows that explains more of their weights.
    fn guess_layouts(&mut self, filters: &[Filter]) {
        let explained = |layouts: &BTreeMap<u16, Layout>| {
            let is = |filter: &&Filter| {
                let layout = layers::by_key(&filter.layer).and_then(|layer| layouts.get(&layer.id));
                layout.is_some_and(|layout| {
                    weight::effective(layout, filter.weight, &filter.conditions) == Ok(filter.effective_weight)
                })
            };
            filters.iter().filter(is).count()
        };
        let mut most = None;
        for of in [Layout::of, Layout::before_24h2, Layout::after_24h2] {
            let layouts = layers::all().iter().map(|layer| (layer.id, of(layer))).collect();
            let count = explained(&layouts);
            if most.is_none_or(|most| most < count) {
                (most, self.layouts) = (Some(count), layouts);
            }
            if count == filters.len() {
                return;
            }
        }
    }

    fn restore_callout(&mut self, callout: Callout) -> Result<(), RestoreError> {
        let (key, id) = (callout.key, callout.id);
        let lifetime = lifetime(id < FIRST_CALLOUT_ID, callout.persistent, callout.provider);
        if callout.registered {
            self.registrations.insert(id, Registration { key, flags: callout.registration_flags, elsewhere: true });
        }
        self.key_is_taken(key);
        self.callout_ids.insert(key, id);
        self.next_callout = self.next_callout.max(id.saturating_add(1));
        restore(&mut self.callouts, "callouts", key, callout, lifetime)
    }

    fn restore_filter(&mut self, filter: Filter, doubts: &mut Vec<Doubt>) -> Result<(), RestoreError> {
        let (id, key) = (filter.id, filter.key);
        let sublayer_weight = self.sublayer_weight(filter.sublayer, doubts);
        let callout_id = match filter.action.callout() {
            None => 0,
            Some(callout) => match self.callout_ids.get(&callout) {
                Some(id) => *id,
                None => self.restore_unknown_callout(callout, filter.layer, doubts)?,
            },
        };
        let runtime = match self.restore_runtime(&filter, sublayer_weight, callout_id, doubts) {
            Ok(runtime) => Some(Arc::new(runtime)),
            Err(error) => {
                doubts.push(Doubt::NotEvaluated { filter: id, error });
                None
            }
        };
        if self.filter_ids.get(State::Pending, &key).is_some() {
            return Err(RestoreError::SameKey("filters", key));
        }
        if self.filters.get(State::Pending, &id).is_some() {
            return Err(RestoreError::SameFilterId(id));
        }
        let persistent = filter.flags.intersects(FilterFlags::PERSISTENT | FilterFlags::BOOTTIME);
        let lifetime = lifetime(false, persistent, filter.provider);
        self.next_filter = self.next_filter.max(id.saturating_add(1));
        self.key_is_taken(key);
        self.filter_ids.insert(key, id);
        self.filters.insert(id, Stored { object: FilterEntry { filter, runtime }, lifetime });
        Ok(())
    }

    fn restore_runtime(
        &mut self,
        filter: &Filter,
        sublayer_weight: u16,
        callout_id: u32,
        doubts: &mut Vec<Doubt>,
    ) -> Result<RuntimeFilter, FwpError> {
        let layer = layers::by_key(&filter.layer).ok_or(FwpError::LayerNotFound)?;
        let compiled = Matcher::new(layer, &filter.conditions)?;
        let computed = self.effective_weight(layer, filter)?;
        if computed != filter.effective_weight {
            doubts.push(Doubt::Weight { filter: filter.id, given: filter.effective_weight, computed });
        }
        let mut runtime = self.runtime(filter, layer, sublayer_weight, callout_id, compiled);
        let context = filter.provider_context.and_then(|key| self.contexts.get(State::Pending, &key));
        if let Some(Stored { object: context, .. }) = context {
            let uses = filter.action.callout().and_then(|key| self.callouts.get(State::Pending, &key));
            runtime.context = context.id;
            runtime.provider_context =
                uses.filter(|callout| callout.object.uses_provider_context).map(|_| Arc::clone(context));
        }
        Ok(runtime)
    }

    fn sublayer_weight(&mut self, key: Uuid, doubts: &mut Vec<Doubt>) -> u16 {
        if let Some(stored) = self.sublayers.get(State::Pending, &key) {
            return stored.object.weight;
        }
        let taken = self.sublayers.iter(State::Pending).map(|(_, stored)| stored.object.weight).collect();
        let weight = weight::closest_free(UNKNOWN_SUBLAYER_WEIGHT, &taken).unwrap_or(UNKNOWN_SUBLAYER_WEIGHT);
        let display = DisplayData::named(key.braced().to_string());
        let sublayer = Sublayer { key, display, persistent: false, provider: None, data: Vec::new(), weight };
        self.sublayers.insert(key, Stored { object: sublayer, lifetime: Lifetime::Static });
        doubts.push(Doubt::UnknownSublayer { key, weight });
        weight
    }

    fn restore_unknown_callout(
        &mut self,
        key: Uuid,
        layer: Uuid,
        doubts: &mut Vec<Doubt>,
    ) -> Result<u32, RestoreError> {
        let id = self.next_callout;
        let callout = Callout { id, registered: true, ..Callout::new(key, key.braced().to_string(), layer) };
        self.restore_callout(callout)?;
        doubts.push(Doubt::UnknownCallout { key });
        Ok(id)
    }
}

fn restore<T>(
    table: &mut Table<Uuid, Stored<T>>,
    of: &'static str,
    key: Uuid,
    object: T,
    lifetime: Lifetime,
) -> Result<(), RestoreError> {
    if table.get(State::Pending, &key).is_some() {
        return Err(RestoreError::SameKey(of, key));
    }
    table.insert(key, Stored { object, lifetime });
    Ok(())
}

/// What an object does not tell of itself: which session it belongs to. It stays until it is deleted.
fn lifetime(built_in: bool, persistent: bool, provider: Option<Uuid>) -> Lifetime {
    match (built_in, persistent) {
        (true, _) => Lifetime::BuiltIn,
        (false, true) => Lifetime::Persistent { provider },
        (false, false) => Lifetime::Static,
    }
}
