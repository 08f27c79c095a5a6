//! The state of the filter engine, as `netsh wfp show state` shows it.

pub mod xml;

use jiff::Timestamp;
use postern_engine::objects::{Callout, Filter, Provider, Session, Sublayer};
use postern_engine::{Engine, Objects, RestoreError, Restored};

use crate::engine::{Access, EngineError, FilterEngine, transaction};

/// Everything that the engine holds, at one moment.
#[derive(Debug, Clone)]
pub struct State {
    pub time: Timestamp,
    pub sessions: Vec<Session>,
    pub providers: Vec<Provider>,
    /// By ascending weight.
    pub sublayers: Vec<Sublayer>,
    /// By id.
    pub callouts: Vec<Callout>,
    /// By id.
    pub filters: Vec<Filter>,
}

impl State {
    /// Reads it in one read-only transaction.
    pub fn read(engine: &dyn FilterEngine) -> Result<State, EngineError> {
        let mut state = transaction(engine, Access::ReadOnly, || {
            Ok::<_, EngineError>(State {
                time: Timestamp::now(),
                sessions: engine.sessions()?,
                providers: engine.providers()?,
                sublayers: engine.sublayers()?,
                callouts: engine.callouts()?,
                filters: engine.filters()?,
            })
        })?;
        state.sublayers.sort_by_key(|sublayer| sublayer.weight);
        state.callouts.sort_by_key(|callout| callout.id);
        state.filters.sort_by_key(|filter| filter.id);
        Ok(state)
    }

    /// An engine in this process that holds what this one held, to ask it questions. Sessions are not among it.
    pub fn engine(&self) -> Result<Restored, RestoreError> {
        Engine::restore(Objects {
            providers: self.providers.clone(),
            sublayers: self.sublayers.clone(),
            callouts: self.callouts.clone(),
            filters: self.filters.clone(),
        })
    }
}
