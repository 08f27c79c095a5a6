//! Enumerations: of the objects that there were when the enumeration began.

use fwps::sys::*;
use postern_engine::objects::{Callout, Filter, Provider, ProviderContext, Session, Sublayer};
use postern_engine::{FwpError, layers};
use postern_wine_protocol::Call;
use uuid::Uuid;

use crate::error::{Error, code};
use crate::fwp::give::Arena;
use crate::fwp::marshal;
use crate::fwp::raw::{FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0, FWPM_PROVIDER_CONTEXT_TYPE_MAX};
use crate::handles::{self, Client, Enumeration, GIVEN};
use crate::ptr::Ptr;

/// The three functions of one kind of enumeration.
macro_rules! enumeration {
    ($create:ident($template:ty, $collect:expr), $($next:ident),+ ($raw:ty, $kind:ident, $make:expr), $destroy:ident) => {
        #[unsafe(no_mangle)]
        extern "system" fn $create(engine_handle: u64, template: Ptr<$template>, enum_handle: Ptr<u64>) -> u32 {
            code((|| {
                if enum_handle.is_null() {
                    return Err(FwpError::NullPointer.into());
                }
                let collect: fn(&Client, Option<$template>) -> Result<_, Error> = $collect;
                let found: Vec<_> = collect(&*handles::client(engine_handle)?, template.non_null().map(Ptr::read))?;
                enum_handle.write(handles::add_enumeration(Enumeration::$kind(found.into_iter())));
                Ok(())
            })())
        }

        $(#[unsafe(no_mangle)]
        extern "system" fn $next(
            engine_handle: u64,
            enum_handle: u64,
            requested: u32,
            entries: Ptr<*mut *mut $raw>,
            returned: Ptr<u32>,
        ) -> u32 {
            code((|| {
                if entries.is_null() || returned.is_null() {
                    return Err(FwpError::NullPointer.into());
                }
                handles::client(engine_handle)?;
                let items = handles::take(enum_handle, |enumeration| match enumeration {
                    Enumeration::$kind(found) => Some(found.take(requested as usize).collect::<Vec<_>>()),
                    _ => None,
                })?;
                returned.write(items.len() as u32);
                entries.write(GIVEN.give_all(&items, $make));
                Ok(())
            })())
        })+

        #[unsafe(no_mangle)]
        extern "system" fn $destroy(engine_handle: u64, enum_handle: u64) -> u32 {
            code(handles::client(engine_handle).and_then(|_| handles::remove_enumeration(enum_handle)))
        }
    };
}

fn optional(key: *mut GUID) -> Option<Uuid> {
    Ptr::new(key).non_null().map(|key| marshal::key(key.read_unaligned()))
}

fn optional_layer(key: GUID) -> Option<Uuid> {
    (key != GUID::default()).then(|| marshal::key(key))
}

enumeration! {
    FwpmProviderCreateEnumHandle0(FWPM_PROVIDER_ENUM_TEMPLATE0, |client, _| {
        client.call::<Vec<Provider>>(Call::Providers)
    }),
    FwpmProviderEnum0 (FWPM_PROVIDER0, Providers, Arena::provider),
    FwpmProviderDestroyEnumHandle0
}
enumeration! {
    FwpmProviderContextCreateEnumHandle0(FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0, |client, template| {
        let mut contexts: Vec<ProviderContext> = client.call(Call::ProviderContexts)?;
        let provider = template.and_then(|template| optional(template.providerKey));
        let wanted = template.map_or(FWPM_PROVIDER_CONTEXT_TYPE_MAX, |template| template.providerContextType);
        contexts.retain(|context| {
            (provider.is_none() || context.provider == provider)
                && (wanted == FWPM_PROVIDER_CONTEXT_TYPE_MAX || context.content.context_type() as u32 == wanted)
        });
        Ok(contexts)
    }),
    FwpmProviderContextEnum0, FwpmProviderContextEnum1, FwpmProviderContextEnum2, FwpmProviderContextEnum3
        (FWPM_PROVIDER_CONTEXT3, ProviderContexts, Arena::provider_context),
    FwpmProviderContextDestroyEnumHandle0
}
enumeration! {
    FwpmSubLayerCreateEnumHandle0(FWPM_SUBLAYER_ENUM_TEMPLATE0, |client, template| {
        let mut sublayers: Vec<Sublayer> = client.call(Call::Sublayers)?;
        let provider = template.and_then(|template| optional(template.providerKey));
        sublayers.retain(|sublayer| provider.is_none() || sublayer.provider == provider);
        Ok(sublayers)
    }),
    FwpmSubLayerEnum0 (FWPM_SUBLAYER0, Sublayers, Arena::sublayer),
    FwpmSubLayerDestroyEnumHandle0
}
enumeration! {
    FwpmCalloutCreateEnumHandle0(FWPM_CALLOUT_ENUM_TEMPLATE0, |client, template| {
        let mut callouts: Vec<Callout> = client.call(Call::Callouts)?;
        let provider = template.and_then(|template| optional(template.providerKey));
        let layer = template.and_then(|template| optional_layer(template.layerKey));
        callouts.retain(|callout| {
            (provider.is_none() || callout.provider == provider) && layer.is_none_or(|layer| callout.layer == layer)
        });
        Ok(callouts)
    }),
    FwpmCalloutEnum0 (FWPM_CALLOUT0, Callouts, Arena::callout),
    FwpmCalloutDestroyEnumHandle0
}
enumeration! {
    FwpmFilterCreateEnumHandle0(FWPM_FILTER_ENUM_TEMPLATE0, |client, template| {
        let mut filters: Vec<Filter> = client.call(Call::Filters)?;
        let Some(template) = template else { return Ok(filters) };
        let (provider, layer) = (optional(template.providerKey), optional_layer(template.layerKey));
        let callout = optional(template.calloutKey);
        filters.retain(|filter| {
            (provider.is_none() || filter.provider == provider)
                && layer.is_none_or(|layer| filter.layer == layer)
                && (callout.is_none() || filter.action.callout() == callout)
                && filter.action.action_type() & template.actionMask != 0
        });
        if template.flags & FILTER_ENUM_SORTED != 0 {
            filters.sort_by_key(|filter| core::cmp::Reverse(filter.effective_weight));
        }
        Ok(filters)
    }),
    FwpmFilterEnum0 (FWPM_FILTER0, Filters, Arena::filter),
    FwpmFilterDestroyEnumHandle0
}
enumeration! {
    FwpmLayerCreateEnumHandle0(u64, |_, _| Ok(layers::all().iter().collect())),
    FwpmLayerEnum0 (FWPM_LAYER0, Layers, |arena, layer| arena.layer(layer)),
    FwpmLayerDestroyEnumHandle0
}
enumeration! {
    FwpmSessionCreateEnumHandle0(u64, |client, _| client.call::<Vec<Session>>(Call::Sessions)),
    FwpmSessionEnum0 (FWPM_SESSION0, Sessions, Arena::session),
    FwpmSessionDestroyEnumHandle0
}

/// `FWP_FILTER_ENUM_FLAG_SORTED`.
const FILTER_ENUM_SORTED: u32 = 2;
