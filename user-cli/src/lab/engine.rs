//! The filter engine of a lab, reached through its socket or in this process.

use postern_engine::objects::{Callout, Filter, Provider, ProviderContext, Session, Sublayer};
use postern_engine::template::{CalloutTemplate, ContextTemplate, FilterTemplate, SublayerTemplate};
use std::time::Duration;

use postern_engine::net_events::{EngineOption, NetEvent, NetEvents};
use postern_engine::{Call, SessionId};
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::client::{CallError, Client};
use super::host::Host;
use super::message::{Refusal, Request};
use crate::engine::{Access, EngineError, FilterEngine, NetEventSubscription};
use crate::failure::Failure;

/// A session with the filter engine of a lab.
pub struct LabEngine<L: Link>(L);

/// How calls get to the lab.
pub trait Link {
    fn call(&self, call: Call) -> Result<Value, CallError>;
}

/// Through the socket.
pub struct Remote {
    client: Client,
    session: u64,
}

/// In this process.
pub struct Local<'a> {
    host: &'a Host,
    session: SessionId,
}

const OPEN: &str = "FwpmEngineOpen0";

impl LabEngine<Remote> {
    /// `FwpmEngineOpen0`.
    pub fn connect(client: Client, session: Session) -> Result<LabEngine<Remote>, EngineError> {
        let session = client.call(&Request::EngineOpen(session)).map_err(|error| refused(OPEN, error))?;
        Ok(LabEngine(Remote { client, session }))
    }
}

impl<'a> LabEngine<Local<'a>> {
    /// `FwpmEngineOpen0`.
    pub fn open(host: &'a Host, session: Session) -> Result<LabEngine<Local<'a>>, EngineError> {
        let session = host.session_open(session).map_err(|refusal| refused(OPEN, CallError::Refused(refusal)))?;
        Ok(LabEngine(Local { host, session }))
    }
}

impl Link for Remote {
    fn call(&self, call: Call) -> Result<Value, CallError> {
        self.client.call(&Request::Engine { session: self.session, call })
    }
}

impl Link for Local<'_> {
    fn call(&self, call: Call) -> Result<Value, CallError> {
        self.host.engine(self.session, call).map_err(CallError::Refused)
    }
}

impl<L: Link> LabEngine<L> {
    fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, EngineError> {
        let function = call.function();
        let answer = self.0.call(call).map_err(|error| refused(function, error))?;
        serde_json::from_value(answer).map_err(|error| {
            EngineError::Unreachable(Failure::new(format!("{function}: the lab's answer makes no sense: {error}")))
        })
    }
}

fn refused(function: &'static str, error: CallError) -> EngineError {
    match error {
        CallError::Refused(Refusal::Engine(error)) => EngineError::Refused { function, error },
        other => EngineError::Unreachable(other.into()),
    }
}

impl<L: Link> Drop for LabEngine<L> {
    fn drop(&mut self) {
        // A lab closes the sessions of a connection that ends, if this fails.
        let _: Result<(), _> = self.call(Call::Close);
    }
}

impl<L: Link> FilterEngine for LabEngine<L> {
    fn transaction_begin(&self, access: Access) -> Result<(), EngineError> {
        self.call(Call::TransactionBegin { read_only: access == Access::ReadOnly })
    }

    fn transaction_commit(&self) -> Result<(), EngineError> {
        self.call(Call::TransactionCommit)
    }

    fn transaction_abort(&self) -> Result<(), EngineError> {
        self.call(Call::TransactionAbort)
    }

    fn sessions(&self) -> Result<Vec<Session>, EngineError> {
        self.call(Call::Sessions)
    }

    fn provider_add(&self, provider: &Provider) -> Result<(), EngineError> {
        self.call(Call::ProviderAdd(provider.clone()))
    }

    fn provider_delete(&self, key: Uuid) -> Result<(), EngineError> {
        self.call(Call::ProviderDelete(key))
    }

    fn providers(&self) -> Result<Vec<Provider>, EngineError> {
        self.call(Call::Providers)
    }

    fn provider_context_add(&self, context: &ProviderContext) -> Result<u64, EngineError> {
        self.call(Call::ProviderContextAdd(context.clone()))
    }

    fn provider_context_delete(&self, key: Uuid) -> Result<(), EngineError> {
        self.call(Call::ProviderContextDelete(key))
    }

    fn provider_contexts(&self) -> Result<Vec<ProviderContext>, EngineError> {
        self.call(Call::ProviderContexts(ContextTemplate::default()))
    }

    fn sublayer_add(&self, sublayer: &Sublayer) -> Result<(), EngineError> {
        self.call(Call::SublayerAdd(sublayer.clone()))
    }

    fn sublayer_delete(&self, key: Uuid) -> Result<(), EngineError> {
        self.call(Call::SublayerDelete(key))
    }

    fn sublayers(&self) -> Result<Vec<Sublayer>, EngineError> {
        self.call(Call::Sublayers(SublayerTemplate::default()))
    }

    fn callout_add(&self, callout: &Callout) -> Result<u32, EngineError> {
        self.call(Call::CalloutAdd(callout.clone()))
    }

    fn callout_delete(&self, key: Uuid) -> Result<(), EngineError> {
        self.call(Call::CalloutDelete(key))
    }

    fn callouts(&self) -> Result<Vec<Callout>, EngineError> {
        self.call(Call::Callouts(CalloutTemplate::default()))
    }

    fn filter_add(&self, filter: &Filter) -> Result<u64, EngineError> {
        self.call(Call::FilterAdd(filter.clone()))
    }

    fn filter_delete(&self, key: Uuid) -> Result<(), EngineError> {
        self.call(Call::FilterDelete(key))
    }

    fn filters(&self) -> Result<Vec<Filter>, EngineError> {
        self.call(Call::Filters(None))
    }

    fn filters_matching(&self, template: &FilterTemplate) -> Result<Vec<Filter>, EngineError> {
        self.call(Call::Filters(Some(template.clone())))
    }

    fn engine_option(&self, option: EngineOption) -> Result<u32, EngineError> {
        self.call(Call::EngineOption(option))
    }

    fn engine_set_option(&self, option: EngineOption, value: u32) -> Result<(), EngineError> {
        self.call(Call::EngineSetOption { option, value })
    }

    fn net_events(&self) -> Result<Vec<NetEvent>, EngineError> {
        self.call(Call::NetEvents)
    }

    fn net_event_subscribe(&self) -> Result<Box<dyn NetEventSubscription + '_>, EngineError> {
        let subscription = self.call(Call::NetEventSubscribe)?;
        Ok(Box::new(Subscription { engine: self, subscription }))
    }
}

/// A subscription to net events.
struct Subscription<'a, L: Link> {
    engine: &'a LabEngine<L>,
    subscription: u64,
}

impl<L: Link> NetEventSubscription for Subscription<'_, L> {
    fn next(&self, patience: Duration) -> Result<NetEvents, EngineError> {
        let patience_ms = patience.as_millis() as u32;
        self.engine.call(Call::NetEventFetch { subscription: self.subscription, patience_ms })
    }
}

impl<L: Link> Drop for Subscription<'_, L> {
    fn drop(&mut self) {
        // It ends with the session, if this fails.
        let _: Result<(), _> = self.engine.call(Call::NetEventUnsubscribe(self.subscription));
    }
}
