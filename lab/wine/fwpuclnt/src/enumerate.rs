//! Enumerations: of the objects that there were when the enumeration began.

use fwps::sys::*;
use postern_engine::objects::{Callout, Filter, Provider, ProviderContext, Session, Sublayer};
use postern_engine::{FwpError, layers};
use postern_wine_protocol::Call;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWPM_NET_EVENT_ENUM_TEMPLATE0, FWPM_NET_EVENT1, FWPM_NET_EVENT3,
};

use crate::error::{Error, code};
use crate::fwp::give::Arena;
use crate::fwp::marshal;
use crate::fwp::raw::FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0;
use crate::handles::{self, Enumeration, GIVEN};
use crate::net_events;
use crate::ptr::Ptr;

/// The next of an enumeration, in one version of the structures.
macro_rules! next {
    ($next:ident($raw:ty, $kind:ident, $make:expr)) => {
        #[unsafe(no_mangle)]
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
        }
    };
}

/// The three functions of one kind of enumeration.
macro_rules! enumeration {
    ($create:ident($template:ty, $read:expr, |$client:ident, $wanted:pat_param| $collect:expr), $($next:ident),+ ($raw:ty, $kind:ident, $make:expr), $destroy:ident) => {
        #[unsafe(no_mangle)]
        extern "system" fn $create(engine_handle: u64, template: Ptr<$template>, enum_handle: Ptr<u64>) -> u32 {
            code((|| {
                if enum_handle.is_null() {
                    return Err(FwpError::NullPointer.into());
                }
                let $client = handles::client(engine_handle)?;
                let $wanted = $read(template)?;
                let found: Result<Vec<_>, Error> = $collect;
                let found = found?;
                enum_handle.write(handles::add_enumeration(Enumeration::$kind(found.into_iter())));
                Ok(())
            })())
        }

        $(next!($next($raw, $kind, $make));)+

        #[unsafe(no_mangle)]
        extern "system" fn $destroy(engine_handle: u64, enum_handle: u64) -> u32 {
            code(handles::client(engine_handle).and_then(|_| handles::remove_enumeration(enum_handle)))
        }
    };
}

/// `FWPM_PROVIDER_ENUM_TEMPLATE0`, `FWPM_LAYER_ENUM_TEMPLATE0` and `FWPM_SESSION_ENUM_TEMPLATE0` narrow nothing.
fn nothing<T>(_: Ptr<T>) -> Result<(), FwpError> {
    Ok(())
}

enumeration! {
    FwpmProviderCreateEnumHandle0(FWPM_PROVIDER_ENUM_TEMPLATE0, nothing, |client, ()| {
        client.call::<Vec<Provider>>(Call::Providers)
    }),
    FwpmProviderEnum0 (FWPM_PROVIDER0, Providers, Arena::provider),
    FwpmProviderDestroyEnumHandle0
}
enumeration! {
    FwpmProviderContextCreateEnumHandle0(
        FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0,
        marshal::context_template,
        |client, wanted| client.call::<Vec<ProviderContext>>(Call::ProviderContexts(wanted))
    ),
    FwpmProviderContextEnum0, FwpmProviderContextEnum1, FwpmProviderContextEnum2, FwpmProviderContextEnum3
        (FWPM_PROVIDER_CONTEXT3, ProviderContexts, Arena::provider_context),
    FwpmProviderContextDestroyEnumHandle0
}
enumeration! {
    FwpmSubLayerCreateEnumHandle0(FWPM_SUBLAYER_ENUM_TEMPLATE0, marshal::sublayer_template, |client, wanted| {
        client.call::<Vec<Sublayer>>(Call::Sublayers(wanted))
    }),
    FwpmSubLayerEnum0 (FWPM_SUBLAYER0, Sublayers, Arena::sublayer),
    FwpmSubLayerDestroyEnumHandle0
}
enumeration! {
    FwpmCalloutCreateEnumHandle0(FWPM_CALLOUT_ENUM_TEMPLATE0, marshal::callout_template, |client, wanted| {
        client.call::<Vec<Callout>>(Call::Callouts(wanted))
    }),
    FwpmCalloutEnum0 (FWPM_CALLOUT0, Callouts, Arena::callout),
    FwpmCalloutDestroyEnumHandle0
}
enumeration! {
    FwpmFilterCreateEnumHandle0(FWPM_FILTER_ENUM_TEMPLATE0, marshal::filter_template, |client, wanted| {
        client.call::<Vec<Filter>>(Call::Filters(wanted))
    }),
    FwpmFilterEnum0 (FWPM_FILTER0, Filters, Arena::filter),
    FwpmFilterDestroyEnumHandle0
}
enumeration! {
    FwpmLayerCreateEnumHandle0(u64, nothing, |_client, ()| Ok(layers::all().iter().collect())),
    FwpmLayerEnum0 (FWPM_LAYER0, Layers, |arena, layer| arena.layer(layer)),
    FwpmLayerDestroyEnumHandle0
}
enumeration! {
    FwpmSessionCreateEnumHandle0(u64, nothing, |client, ()| client.call::<Vec<Session>>(Call::Sessions)),
    FwpmSessionEnum0 (FWPM_SESSION0, Sessions, Arena::session),
    FwpmSessionDestroyEnumHandle0
}
enumeration! {
    FwpmNetEventCreateEnumHandle0(FWPM_NET_EVENT_ENUM_TEMPLATE0, net_events::template, |client, wanted| {
        net_events::recent(&client, wanted)
    }),
    FwpmNetEventEnum3 (FWPM_NET_EVENT3, NetEvents, net_events::event3),
    FwpmNetEventDestroyEnumHandle0
}
next!(FwpmNetEventEnum1(FWPM_NET_EVENT1, NetEvents, net_events::event1));
