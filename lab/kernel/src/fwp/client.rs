//! The engine as user mode sees it: what `fwpuclnt.dll` is to a program, this is to the lab's users.

use core::time::Duration;
use fwps::sys::{
    FWPM_SERVICE_RUNNING, FWPM_SERVICE_START_PENDING, FWPM_SERVICE_STATE, FWPM_SERVICE_STOP_PENDING,
    FWPM_SERVICE_STOPPED,
};
use postern_engine::net_events::{self, EngineOption};
use postern_engine::objects::{Callout, Filter, Provider, ProviderContext, Session, Sublayer};
use postern_engine::{Answer, Call, Engine, FwpError, SessionId};
use uuid::Uuid;

use super::notify::Notifier;
use crate::lab::Lab;
use crate::schedule;

/// Why a management call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Fwp(#[from] FwpError),
    #[error("the base filtering engine is not running; start it first")]
    BfeNotRunning,
}

/// A client of the filter engine. Calls block while another session's transaction is in the way, for as long as the session allows.
#[derive(Clone, Copy)]
pub struct EngineClient<'a> {
    lab: &'a Lab,
}

impl<'a> EngineClient<'a> {
    pub(crate) fn new(lab: &'a Lab) -> Self {
        EngineClient { lab }
    }

    fn change<T>(
        self,
        session: Option<SessionId>,
        change: impl FnMut(&mut Engine, &mut Notifier<'_>) -> Result<T, FwpError>,
    ) -> Result<T, EngineError> {
        schedule::begins("a change of the filter engine");
        self.running()?;
        Ok(self.lab.enter(|| self.lab.kernel.fwp.manage(session, change))?)
    }

    fn running(self) -> Result<(), EngineError> {
        if self.lab.kernel.fwp.bfe.is_running() { Ok(()) } else { Err(EngineError::BfeNotRunning) }
    }

    /// Reads the engine: `engine.view(Some(session))` is what a session sees, `engine.view(None)` what is committed.
    pub fn read<T>(self, read: impl FnOnce(&Engine) -> T) -> Result<T, EngineError> {
        Ok(self.lab.enter(|| self.lab.kernel.fwp.read(read))?)
    }

    /// Does what a program in another process asks for. A session reads what it sees itself.
    pub fn call(self, session: SessionId, call: Call) -> Result<Answer, EngineError> {
        match call {
            Call::Close => self.session_close(session)?,
            Call::TransactionBegin { read_only } => self.transaction_begin(session, read_only)?,
            Call::TransactionCommit => self.transaction_commit(session)?,
            Call::TransactionAbort => self.transaction_abort(session)?,
            Call::ProviderAdd(provider) => _ = self.provider_add(session, provider)?,
            Call::ProviderDelete(key) => self.provider_delete(session, key)?,
            Call::ProviderContextAdd(context) => return Ok(Answer::Id(self.provider_context_add(session, context)?)),
            Call::ProviderContextDelete(key) => self.provider_context_delete(session, key)?,
            Call::SublayerAdd(sublayer) => _ = self.sublayer_add(session, sublayer)?,
            Call::SublayerDelete(key) => self.sublayer_delete(session, key)?,
            Call::CalloutAdd(callout) => return Ok(Answer::Id(self.callout_add(session, callout)?.into())),
            Call::CalloutDelete(key) => self.callout_delete(session, key)?,
            Call::FilterAdd(filter) => return Ok(Answer::Id(self.filter_add(session, filter)?)),
            Call::FilterDelete(key) => self.filter_delete_by_key(session, key)?,
            Call::FilterDeleteById(id) => self.filter_delete(session, id)?,
            Call::Sessions => {
                return self.read(|engine| Answer::Sessions(engine.sessions().map(|(_, one)| one.clone()).collect()));
            }
            Call::Providers => {
                return self
                    .read(|engine| Answer::Providers(engine.view(Some(session)).providers().cloned().collect()));
            }
            Call::ProviderContexts(of) => {
                return self.read(|engine| {
                    let found = engine.view(Some(session)).provider_contexts_matching(&of);
                    Answer::ProviderContexts(found.into_iter().cloned().collect())
                });
            }
            Call::Sublayers(of) => {
                return self.read(|engine| {
                    let found = engine.view(Some(session)).sublayers_matching(&of);
                    Answer::Sublayers(found.into_iter().cloned().collect())
                });
            }
            Call::Callouts(of) => {
                let found = self.read(|engine| engine.view(Some(session)).callouts_matching(&of))?;
                return Ok(Answer::Callouts(found?));
            }
            Call::Filters(None) => {
                return self.read(|engine| Answer::Filters(engine.view(Some(session)).filters().cloned().collect()));
            }
            Call::Filters(Some(of)) => {
                let found = self.read(|engine| {
                    let found = engine.view(Some(session)).filters_matching(&of)?;
                    Ok::<_, FwpError>(found.into_iter().cloned().collect())
                })?;
                return Ok(Answer::Filters(found?));
            }
            Call::EngineOption(option) => {
                self.session(session)?;
                return Ok(Answer::Value(self.lab.kernel.fwp.net_events.option(option)));
            }
            Call::EngineSetOption { option, value } => self.set_option(session, option, value)?,
            Call::NetEvents => {
                self.outside_transaction(session)?;
                return Ok(Answer::NetEvents(self.lab.kernel.fwp.net_events.recent()?));
            }
            Call::NetEventSubscribe => {
                self.outside_transaction(session)?;
                return Ok(Answer::Id(self.lab.kernel.fwp.net_events.subscribe(session)?));
            }
            Call::NetEventUnsubscribe(subscription) => {
                self.outside_transaction(session)?;
                self.lab.kernel.fwp.net_events.unsubscribe(session, subscription)?;
            }
            Call::NetEventFetch { subscription, patience_ms } => {
                self.session(session)?;
                let patience = Duration::from_millis(patience_ms.into());
                let portion = self.lab.kernel.fwp.net_events.fetch(session, subscription, patience);
                // A session's end, and the base filtering engine's, may come in the middle.
                self.session(session)?;
                return Ok(Answer::NetEventPortion(portion?));
            }
            Call::ChangesSubscribe(subscription) => {
                let subscribe = |engine: &mut Engine| engine.changes_subscribe(session, subscription.clone());
                return Ok(Answer::Id(self.change(None, |engine, _| subscribe(engine))?));
            }
            Call::ChangesUnsubscribe(handle) => {
                self.change(None, |engine, _| engine.changes_unsubscribe(session, handle))?;
            }
            Call::ChangesFetch(handle) => {
                return Ok(Answer::Changes(self.change(None, |engine, _| engine.changes_fetch(session, handle))?));
            }
        }
        Ok(Answer::Done)
    }

    /// Puts a restored engine in the place of this one, with everything that it holds. [`FwpError::InUse`] unless `may` allows it.
    pub fn replace(self, restored: Engine, may: impl Fn(&Engine) -> bool) -> Result<(), EngineError> {
        let mut restored = Some(restored);
        self.change(None, |engine, _| match restored.take_if(|_| may(engine)) {
            Some(restored) => {
                self.lab.kernel.fwp.replace(engine, restored);
                Ok(())
            }
            None => Err(FwpError::InUse),
        })
    }

    pub fn session_open(self, session: Session) -> Result<SessionId, EngineError> {
        self.change(None, |engine, _| engine.session_open(session.clone()))
    }

    pub fn session_close(self, session: SessionId) -> Result<(), EngineError> {
        self.change(Some(session), |engine, notifier| engine.session_close(session, notifier))?;
        self.lab.kernel.fwp.net_events.session_closed(session);
        Ok(())
    }

    /// That the session is open.
    fn session(self, session: SessionId) -> Result<(), EngineError> {
        self.running()?;
        self.read(|engine| engine.sessions().any(|(id, _)| id == session).then_some(()).ok_or(FwpError::NotFound))??;
        Ok(())
    }

    /// For what no transaction can hold. Tells whether the session is dynamic.
    fn outside_transaction(self, session: SessionId) -> Result<bool, EngineError> {
        self.running()?;
        Ok(self.read(|engine| engine.outside_transaction(session).map(|session| session.dynamic))??)
    }

    /// `FwpmEngineSetOption0`.
    fn set_option(self, session: SessionId, option: EngineOption, value: u32) -> Result<(), EngineError> {
        if self.outside_transaction(session)? {
            return Err(FwpError::DynamicSessionInProgress.into());
        }
        net_events::check_option(option, value)?;
        self.lab.kernel.fwp.net_events.set_option(option, value);
        Ok(())
    }

    pub fn transaction_begin(self, session: SessionId, read_only: bool) -> Result<(), EngineError> {
        self.change(Some(session), |engine, _| engine.transaction_begin(session, read_only))
    }

    pub fn transaction_commit(self, session: SessionId) -> Result<(), EngineError> {
        self.change(Some(session), |engine, notifier| engine.transaction_commit(session, notifier))
    }

    pub fn transaction_abort(self, session: SessionId) -> Result<(), EngineError> {
        self.change(Some(session), |engine, notifier| engine.transaction_abort(session, notifier))
    }

    pub fn provider_add(self, session: SessionId, provider: Provider) -> Result<Uuid, EngineError> {
        self.change(Some(session), |engine, _| engine.provider_add(session, provider.clone()))
    }

    pub fn provider_delete(self, session: SessionId, key: Uuid) -> Result<(), EngineError> {
        self.change(Some(session), |engine, _| engine.provider_delete(session, key))
    }

    pub fn provider_context_add(self, session: SessionId, context: ProviderContext) -> Result<u64, EngineError> {
        self.change(Some(session), |engine, _| engine.provider_context_add(session, context.clone()))
    }

    pub fn provider_context_delete(self, session: SessionId, key: Uuid) -> Result<(), EngineError> {
        self.change(Some(session), |engine, _| engine.provider_context_delete(session, key))
    }

    pub fn sublayer_add(self, session: SessionId, sublayer: Sublayer) -> Result<Uuid, EngineError> {
        self.change(Some(session), |engine, _| engine.sublayer_add(session, sublayer.clone()))
    }

    pub fn sublayer_delete(self, session: SessionId, key: Uuid) -> Result<(), EngineError> {
        self.change(Some(session), |engine, _| engine.sublayer_delete(session, key))
    }

    pub fn callout_add(self, session: SessionId, callout: Callout) -> Result<u32, EngineError> {
        let id = self.change(Some(session), |engine, _| engine.callout_add(session, callout.clone()))?;
        self.lab.kernel.fwp.name_callout(&callout.key, &callout.display.name);
        Ok(id)
    }

    pub fn callout_delete(self, session: SessionId, key: Uuid) -> Result<(), EngineError> {
        self.change(Some(session), |engine, _| engine.callout_delete(session, key))
    }

    pub fn filter_add(self, session: SessionId, filter: Filter) -> Result<u64, EngineError> {
        self.change(Some(session), |engine, notifier| engine.filter_add(session, filter.clone(), notifier))
    }

    pub fn filter_delete(self, session: SessionId, id: u64) -> Result<(), EngineError> {
        self.change(Some(session), |engine, notifier| engine.filter_delete(session, id, notifier))
    }

    pub fn filter_delete_by_key(self, session: SessionId, key: Uuid) -> Result<(), EngineError> {
        self.change(Some(session), |engine, notifier| engine.filter_delete_by_key(session, key, notifier))
    }
}

impl Lab {
    /// Address of the classifyFn that a driver has registered under a callout's key, for measurements. A call to it is a call into
    /// the image: inside [`Lab::enter`], with the driver loaded.
    pub fn classify_function(&self, callout: Uuid) -> Option<*const ()> {
        self.kernel.fwp.callouts.by_key(&callout).map(|callout| callout.registration.classify)
    }

    /// The filter engine, as a program in user mode reaches it.
    pub fn engine(&self) -> EngineClient<'_> {
        EngineClient::new(self)
    }

    /// Starts or stops the base filtering engine. Stopping it ends every session and, with it, what lived in it.
    pub fn set_bfe_running(&self, running: bool) {
        if self.kernel.fwp.bfe.is_running() != running {
            self.change_bfe(&Self::bfe_states(running));
        }
    }

    /// As [`Lab::set_bfe_running`]; `between` runs when drivers have heard that the base filtering engine is about to start or stop.
    pub fn set_bfe_running_slowly(&self, running: bool, between: impl FnOnce()) {
        if self.kernel.fwp.bfe.is_running() != running {
            let [pending, reached] = Self::bfe_states(running);
            self.change_bfe(&[pending]);
            between();
            self.change_bfe(&[reached]);
        }
    }

    /// The states that it passes, in order.
    fn bfe_states(running: bool) -> [FWPM_SERVICE_STATE; 2] {
        match running {
            true => [FWPM_SERVICE_START_PENDING, FWPM_SERVICE_RUNNING],
            false => [FWPM_SERVICE_STOP_PENDING, FWPM_SERVICE_STOPPED],
        }
    }

    fn change_bfe(&self, states: &[FWPM_SERVICE_STATE]) {
        let fwp = &self.kernel.fwp;
        self.enter(|| {
            fwp.bfe.change(states, |reached| match reached {
                FWPM_SERVICE_STOPPED => fwp.bfe_stopped(),
                FWPM_SERVICE_RUNNING => fwp.bfe_started(),
                _ => {}
            });
        });
    }
}
