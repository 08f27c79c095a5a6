//! The state of the filter engine, as `netsh wfp show state` shows it.

pub mod diff;
mod fields;
pub mod xml;

pub use fields::Kind;

use std::fmt;

use jiff::Timestamp;
use postern_engine::objects::{Callout, Filter, Provider, ProviderContext, Session, Sublayer};
use postern_engine::{Doubt, Engine, LayerFields, Objects, RestoreError, Restored, guids};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::engine::{Access, EngineError, FilterEngine, transaction};
use crate::output::counted;

/// Everything that the engine holds, at one moment.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Files of `netsh wfp show filters` do not tell.
    pub time: Option<Timestamp>,
    pub sessions: Vec<Session>,
    /// The fields of layers, where the machine may have others than the newest Windows. Only files of `netsh wfp show state` tell.
    pub layers: Vec<LayerFields>,
    pub providers: Vec<Provider>,
    /// By id.
    pub provider_contexts: Vec<ProviderContext>,
    /// By ascending weight.
    pub sublayers: Vec<Sublayer>,
    /// By id.
    pub callouts: Vec<Callout>,
    /// By id.
    pub filters: Vec<Filter>,
    /// What a file says beyond that, which only other versions of Windows know.
    pub unknown: Vec<Unknown>,
}

/// Something that a file says of an object and this program does not know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unknown {
    /// The kind of object: `filter`.
    pub object: &'static str,
    pub key: Uuid,
    /// The element that says it: `flags`.
    pub element: String,
    /// What stands there.
    pub text: String,
}

impl State {
    /// Reads it in one read-only transaction.
    pub fn read(engine: &dyn FilterEngine) -> Result<State, EngineError> {
        let mut state = transaction(engine, Access::ReadOnly, || {
            Ok::<_, EngineError>(State {
                time: Some(Timestamp::now()),
                sessions: engine.sessions()?,
                layers: Vec::new(),
                providers: engine.providers()?,
                provider_contexts: engine.provider_contexts()?,
                sublayers: engine.sublayers()?,
                callouts: engine.callouts()?,
                filters: engine.filters()?,
                unknown: Vec::new(),
            })
        })?;
        state.sort();
        Ok(state)
    }

    fn sort(&mut self) {
        self.sublayers.sort_by_key(|sublayer| sublayer.weight);
        self.provider_contexts.sort_by_key(|context| context.id);
        self.callouts.sort_by_key(|callout| callout.id);
        self.filters.sort_by_key(|filter| filter.id);
    }

    /// An engine in this process that holds what this one held, to ask it questions. Sessions are not among it.
    pub fn engine(&self) -> Result<Restored, RestoreError> {
        Engine::restore(self.objects())
    }

    /// What an engine can be restored from.
    pub fn objects(&self) -> Objects {
        Objects {
            layers: self.layers.clone(),
            providers: self.providers.clone(),
            provider_contexts: self.provider_contexts.clone(),
            sublayers: self.sublayers.clone(),
            callouts: self.callouts.clone(),
            filters: self.filters.clone(),
        }
    }
}

/// What has become of the objects that were put into a lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Loaded {
    /// What the lab had held beside what Windows brings along.
    pub replaced: ObjectCounts,
    /// How many callouts are registered on the machine and not in the lab.
    pub elsewhere: usize,
    pub doubts: Vec<Doubt>,
}

/// How many objects there are, of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectCounts {
    pub filters: usize,
    pub callouts: usize,
    pub sublayers: usize,
    pub providers: usize,
    pub provider_contexts: usize,
    pub sessions: usize,
}

impl ObjectCounts {
    pub fn of(state: &State) -> ObjectCounts {
        ObjectCounts {
            filters: state.filters.len(),
            callouts: state.callouts.len(),
            sublayers: state.sublayers.len(),
            providers: state.providers.len(),
            provider_contexts: state.provider_contexts.len(),
            // Those of a machine are not taken over.
            sessions: 0,
        }
    }

    /// Of an engine, without what Windows brings along.
    pub fn of_others(engine: &Engine) -> ObjectCounts {
        let view = engine.view(None);
        let other = |names: &guids::Names, key: &Uuid| names.name(key).is_none();
        ObjectCounts {
            filters: view.filters().count(),
            callouts: view.callouts().filter(|callout| other(&guids::callout::NAMES, &callout.key)).count(),
            sublayers: view.sublayers().filter(|sublayer| other(&guids::sublayer::NAMES, &sublayer.key)).count(),
            providers: view.providers().filter(|provider| other(&guids::provider::NAMES, &provider.key)).count(),
            provider_contexts: view
                .provider_contexts()
                .filter(|context| other(&guids::provider_context::NAMES, &context.key))
                .count(),
            sessions: engine.sessions().count(),
        }
    }
}

impl fmt::Display for ObjectCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.filters, "filter"),
            (self.callouts, "callout"),
            (self.sublayers, "sublayer"),
            (self.providers, "provider"),
            (self.provider_contexts, "provider context"),
            (self.sessions, "session"),
        ];
        let some = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| counted(*count as u64, kind));
        let some: Vec<String> = some.collect();
        f.write_str(&if some.is_empty() { "nothing".to_owned() } else { some.join(", ") })
    }
}
