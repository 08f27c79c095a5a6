//! The state of the filter engine, as `netsh wfp show state` shows it.

pub mod xml;

use jiff::Timestamp;
use postern_engine::objects::{Callout, Filter, Provider, ProviderContext, Session, Sublayer};
use postern_engine::{Engine, LayerFields, Objects, RestoreError, Restored};
use serde::Serialize;
use uuid::Uuid;

use crate::engine::{Access, EngineError, FilterEngine, transaction};

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
        Engine::restore(Objects {
            layers: self.layers.clone(),
            providers: self.providers.clone(),
            provider_contexts: self.provider_contexts.clone(),
            sublayers: self.sublayers.clone(),
            callouts: self.callouts.clone(),
            filters: self.filters.clone(),
        })
    }
}
