//! Calls as values, for programs that reach an engine in another process.

use alloc::vec::Vec;
use uuid::Uuid;

use crate::changes::{Changes, Subject, Subscription};
use crate::net_events::{EngineOption, NetEvent, NetEvents};
use crate::objects::{Callout, Filter, Provider, ProviderContext, Session, Sublayer};
use crate::template::{CalloutTemplate, ContextTemplate, FilterTemplate, SublayerTemplate};

/// A call of the `Fwpm*` family, within a session.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Call {
    Close,
    TransactionBegin {
        read_only: bool,
    },
    TransactionCommit,
    TransactionAbort,
    Sessions,
    ProviderAdd(Provider),
    ProviderDelete(Uuid),
    Providers,
    ProviderContextAdd(ProviderContext),
    ProviderContextDelete(Uuid),
    ProviderContexts(ContextTemplate),
    SublayerAdd(Sublayer),
    SublayerDelete(Uuid),
    Sublayers(SublayerTemplate),
    CalloutAdd(Callout),
    CalloutDelete(Uuid),
    Callouts(CalloutTemplate),
    FilterAdd(Filter),
    FilterDelete(Uuid),
    FilterDeleteById(u64),
    /// No template: every filter.
    Filters(Option<FilterTemplate>),
    EngineOption(EngineOption),
    EngineSetOption {
        option: EngineOption,
        value: u32,
    },
    NetEvents,
    NetEventSubscribe,
    NetEventUnsubscribe(u64),
    /// What has come for a subscription. While there is nothing, the engine may take so long to answer.
    NetEventFetch {
        subscription: u64,
        patience_ms: u32,
    },
    ChangesSubscribe(Subscription),
    ChangesUnsubscribe(u64),
    /// What has come for a subscription.
    ChangesFetch(u64),
}

impl Call {
    /// The function that does this on Windows.
    pub fn function(&self) -> &'static str {
        match self {
            Call::Close => "FwpmEngineClose0",
            Call::TransactionBegin { .. } => "FwpmTransactionBegin0",
            Call::TransactionCommit => "FwpmTransactionCommit0",
            Call::TransactionAbort => "FwpmTransactionAbort0",
            Call::Sessions => "FwpmSessionEnum0",
            Call::ProviderAdd(_) => "FwpmProviderAdd0",
            Call::ProviderDelete(_) => "FwpmProviderDeleteByKey0",
            Call::Providers => "FwpmProviderEnum0",
            Call::ProviderContextAdd(_) => "FwpmProviderContextAdd3",
            Call::ProviderContextDelete(_) => "FwpmProviderContextDeleteByKey0",
            Call::ProviderContexts(_) => "FwpmProviderContextEnum3",
            Call::SublayerAdd(_) => "FwpmSubLayerAdd0",
            Call::SublayerDelete(_) => "FwpmSubLayerDeleteByKey0",
            Call::Sublayers(_) => "FwpmSubLayerEnum0",
            Call::CalloutAdd(_) => "FwpmCalloutAdd0",
            Call::CalloutDelete(_) => "FwpmCalloutDeleteByKey0",
            Call::Callouts(_) => "FwpmCalloutEnum0",
            Call::FilterAdd(_) => "FwpmFilterAdd0",
            Call::FilterDelete(_) => "FwpmFilterDeleteByKey0",
            Call::FilterDeleteById(_) => "FwpmFilterDeleteById0",
            Call::Filters(_) => "FwpmFilterEnum0",
            Call::EngineOption(_) => "FwpmEngineGetOption0",
            Call::EngineSetOption { .. } => "FwpmEngineSetOption0",
            Call::NetEvents => "FwpmNetEventEnum3",
            Call::NetEventSubscribe | Call::NetEventFetch { .. } => "FwpmNetEventSubscribe2",
            Call::NetEventUnsubscribe(_) => "FwpmNetEventUnsubscribe0",
            Call::ChangesSubscribe(Subscription { objects, .. }) => match objects {
                Subject::Providers => "FwpmProviderSubscribeChanges0",
                Subject::ProviderContexts(_) => "FwpmProviderContextSubscribeChanges0",
                Subject::Sublayers(_) => "FwpmSubLayerSubscribeChanges0",
                Subject::Callouts(_) => "FwpmCalloutSubscribeChanges0",
                Subject::Filters(_) => "FwpmFilterSubscribeChanges0",
            },
            Call::ChangesFetch(_) => "FWPM_FILTER_CHANGE_CALLBACK0",
            Call::ChangesUnsubscribe(_) => "FwpmFilterUnsubscribeChanges0",
        }
    }
}

/// What a [`Call`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(untagged))]
pub enum Answer {
    /// Of calls that return nothing.
    Done,
    /// Of `ProviderContextAdd`, `CalloutAdd` and `FilterAdd`: the run-time id; of `NetEventSubscribe` and `ChangesSubscribe`: the
    /// subscription.
    Id(u64),
    /// Of `EngineOption`.
    Value(u32),
    Sessions(Vec<Session>),
    Providers(Vec<Provider>),
    ProviderContexts(Vec<ProviderContext>),
    Sublayers(Vec<Sublayer>),
    Callouts(Vec<Callout>),
    Filters(Vec<Filter>),
    NetEvents(Vec<NetEvent>),
    /// Of `NetEventFetch`.
    NetEventPortion(NetEvents),
    /// Of `ChangesFetch`.
    Changes(Changes),
}
