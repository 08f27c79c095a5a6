//! Calls as values, for programs that reach an engine in another process.

use alloc::vec::Vec;
use uuid::Uuid;

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
    /// Of `ProviderContextAdd`, `CalloutAdd` and `FilterAdd`: the run-time id.
    Id(u64),
    Sessions(Vec<Session>),
    Providers(Vec<Provider>),
    ProviderContexts(Vec<ProviderContext>),
    Sublayers(Vec<Sublayer>),
    Callouts(Vec<Callout>),
    Filters(Vec<Filter>),
}
