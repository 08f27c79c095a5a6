//! The filter engine as a client of the base filtering engine sees it.

use std::time::Duration;

use postern_engine::FwpError;
use postern_engine::net_events::{EngineOption, NetEvent, NetEvents};
use postern_engine::objects::{Callout, Filter, Provider, ProviderContext, Session, Sublayer};
use postern_engine::template::FilterTemplate;
use uuid::Uuid;

use crate::failure::Failure;

/// An open session: what `FwpmEngineOpen0` returns a handle of. Dropping it closes the session (`FwpmEngineClose0`), which
/// aborts its transaction and, for a dynamic session, deletes what it added.
///
/// Objects are named by their GUID keys; filters and callouts have a run-time id beside it. Calls outside a transaction run
/// in one of their own.
pub trait FilterEngine {
    fn transaction_begin(&self, access: Access) -> Result<(), EngineError>;
    fn transaction_commit(&self) -> Result<(), EngineError>;
    fn transaction_abort(&self) -> Result<(), EngineError>;

    fn sessions(&self) -> Result<Vec<Session>, EngineError>;

    fn provider_add(&self, provider: &Provider) -> Result<(), EngineError>;
    fn provider_delete(&self, key: Uuid) -> Result<(), EngineError>;
    fn providers(&self) -> Result<Vec<Provider>, EngineError>;

    /// Returns the run-time id.
    fn provider_context_add(&self, context: &ProviderContext) -> Result<u64, EngineError>;
    fn provider_context_delete(&self, key: Uuid) -> Result<(), EngineError>;
    fn provider_contexts(&self) -> Result<Vec<ProviderContext>, EngineError>;

    fn sublayer_add(&self, sublayer: &Sublayer) -> Result<(), EngineError>;
    fn sublayer_delete(&self, key: Uuid) -> Result<(), EngineError>;
    fn sublayers(&self) -> Result<Vec<Sublayer>, EngineError>;

    /// Returns the run-time id.
    fn callout_add(&self, callout: &Callout) -> Result<u32, EngineError>;
    fn callout_delete(&self, key: Uuid) -> Result<(), EngineError>;
    fn callouts(&self) -> Result<Vec<Callout>, EngineError>;

    /// Returns the run-time id.
    fn filter_add(&self, filter: &Filter) -> Result<u64, EngineError>;
    fn filter_delete(&self, key: Uuid) -> Result<(), EngineError>;
    fn filters(&self) -> Result<Vec<Filter>, EngineError>;
    fn filters_matching(&self, template: &FilterTemplate) -> Result<Vec<Filter>, EngineError>;

    fn engine_option(&self, option: EngineOption) -> Result<u32, EngineError>;
    /// For every program, and across restarts of the engine. Not within a transaction, and not in a dynamic session.
    fn engine_set_option(&self, option: EngineOption, value: u32) -> Result<(), EngineError>;

    /// The events that the engine has kept, the oldest first.
    fn net_events(&self) -> Result<Vec<NetEvent>, EngineError>;
    /// The events from now on.
    fn net_event_subscribe(&self) -> Result<Box<dyn NetEventSubscription + '_>, EngineError>;
}

/// What `FwpmNetEventSubscribe` returns a handle of. Dropping it ends the subscription.
pub trait NetEventSubscription {
    /// What has come since it was asked last; waits for `patience` while there is nothing.
    fn next(&self, patience: Duration) -> Result<NetEvents, EngineError>;
}

/// `FWPM_TXN_READ_ONLY`, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// Why a call to the engine failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineError {
    /// The engine refused it.
    Refused { function: &'static str, error: FwpError },
    /// The engine could not be asked.
    Unreachable(Failure),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        match error {
            EngineError::Refused { function, error } => {
                Failure::new(format!("{function}: {} ({:#010x})", error.name(), error.win32()))
            }
            EngineError::Unreachable(failure) => failure,
        }
    }
}

/// Runs `work` in one transaction: all of it happens, or nothing.
pub fn transaction<T, E: From<EngineError>>(
    engine: &dyn FilterEngine,
    access: Access,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    engine.transaction_begin(access)?;
    match work() {
        Ok(value) => {
            engine.transaction_commit()?;
            Ok(value)
        }
        Err(error) => {
            // The reason is the error; closing the session would abort the transaction all the same.
            let _ = engine.transaction_abort();
            Err(error)
        }
    }
}
