//! Enumerations: of the objects that there were when the enumeration began.

use fwps::sys::*;
use postern_engine::layers::{self, Layer};
use postern_engine::objects::{Callout, Filter, Provider, ProviderContext, Session, Sublayer};
use postern_engine::template::{CalloutTemplate, ContextTemplate, FilterTemplate, SublayerTemplate};
use postern_engine::{Engine, FwpError, SessionId};

use super::give::Arena;
use super::management::{Handle, HandleKind, bad_handle, run};
use super::raw::FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0;
use super::{failure, marshal};
use crate::export::{Export, exports};
use crate::kernel::lock;
use crate::ptr::Ptr;

pub(crate) const EXPORTS: &[Export] = exports![
    FwpmProviderCreateEnumHandle0,
    FwpmProviderEnum0,
    FwpmProviderDestroyEnumHandle0,
    FwpmSubLayerCreateEnumHandle0,
    FwpmSubLayerEnum0,
    FwpmSubLayerDestroyEnumHandle0,
    FwpmCalloutCreateEnumHandle0,
    FwpmCalloutEnum0,
    FwpmCalloutDestroyEnumHandle0,
    FwpmFilterCreateEnumHandle0,
    FwpmFilterEnum0,
    FwpmFilterDestroyEnumHandle0,
    FwpmLayerCreateEnumHandle0,
    FwpmLayerEnum0,
    FwpmLayerDestroyEnumHandle0,
    FwpmSessionCreateEnumHandle0,
    FwpmSessionEnum0,
    FwpmSessionDestroyEnumHandle0,
    FwpmProviderContextCreateEnumHandle0,
    FwpmProviderContextEnum0,
    FwpmProviderContextEnum1,
    FwpmProviderContextEnum2,
    FwpmProviderContextEnum3,
    FwpmProviderContextDestroyEnumHandle0,
];

/// What an enumeration goes through: the objects as they were when it began.
pub(super) enum Enumeration {
    Providers(std::vec::IntoIter<Provider>),
    ProviderContexts(std::vec::IntoIter<ProviderContext>),
    Sublayers(std::vec::IntoIter<Sublayer>),
    Callouts(std::vec::IntoIter<Callout>),
    Filters(std::vec::IntoIter<Filter>),
    Layers(std::vec::IntoIter<&'static Layer>),
    Sessions(std::vec::IntoIter<Session>),
}

/// A `CreateEnumHandle` function.
fn begin<T>(
    engine_handle: u64,
    enum_handle: Ptr<u64>,
    template: impl FnOnce() -> Result<T, FwpError>,
    collect: impl FnOnce(&Engine, SessionId, T) -> Result<Enumeration, FwpError>,
) -> NTSTATUS {
    run(engine_handle, |state| {
        if enum_handle.is_null() {
            return Err(failure(FwpError::NullPointer));
        }
        let session = state.handles.session(engine_handle)?;
        let template = template().map_err(failure)?;
        let found =
            state.read(|engine| collect(engine, session, template)).and_then(|result| result).map_err(failure)?;
        enum_handle.write(state.handles.add(HandleKind::Enumeration(found)));
        Ok(())
    })
}

/// An `Enum` function: `take` picks its kind of enumeration.
fn next<T, U: Copy>(
    engine_handle: u64,
    enum_handle: u64,
    requested: u32,
    entries: Ptr<*mut *mut U>,
    returned: Ptr<u32>,
    take: impl FnOnce(&mut Enumeration) -> Option<&mut std::vec::IntoIter<T>>,
    make: impl Fn(&mut Arena, &T) -> U,
) -> NTSTATUS {
    run(engine_handle, |state| {
        if entries.is_null() || returned.is_null() {
            return Err(failure(FwpError::NullPointer));
        }
        state.handles.session(engine_handle)?;
        let items: Option<Vec<T>> = match lock(&state.handles.0).get_mut(&enum_handle).map(|handle| &mut handle.kind) {
            Some(HandleKind::Enumeration(found)) => take(found).map(|found| found.take(requested as usize).collect()),
            _ => None,
        };
        let items = items.ok_or_else(|| bad_handle(enum_handle, "an enumeration of this kind", "CreateEnumHandle0"))?;
        returned.write(items.len() as u32);
        entries.write(state.given.give_all(&items, make));
        Ok(())
    })
}

/// A `DestroyEnumHandle` function.
fn end(engine_handle: u64, enum_handle: u64) -> NTSTATUS {
    run(engine_handle, |state| {
        state.handles.session(engine_handle)?;
        let mut handles = lock(&state.handles.0);
        match handles.get(&enum_handle) {
            Some(Handle { kind: HandleKind::Enumeration(_), .. }) => {
                handles.remove(&enum_handle);
                Ok(())
            }
            _ => {
                drop(handles);
                Err(bad_handle(enum_handle, "an enumeration", "CreateEnumHandle0"))
            }
        }
    })
}

/// The three functions of one kind of enumeration.
macro_rules! enumeration {
    ($create:ident($raw_template:ty as $template:ty, $read:expr, $collect:expr), $($next:ident),+ ($raw:ty, $kind:ident of $item:ty, $make:expr), $destroy:ident) => {
        extern "win64" fn $create(engine_handle: u64, template: Ptr<$raw_template>, enum_handle: Ptr<u64>) -> NTSTATUS {
            begin(engine_handle, enum_handle, || $read(template), |engine, session, wanted| {
                let collect: fn(&Engine, SessionId, $template) -> Result<Vec<_>, FwpError> = $collect;
                Ok(Enumeration::$kind(collect(engine, session, wanted)?.into_iter()))
            })
        }

        $(extern "win64" fn $next(
            engine_handle: u64,
            enum_handle: u64,
            requested: u32,
            entries: Ptr<*mut *mut $raw>,
            returned: Ptr<u32>,
        ) -> NTSTATUS {
            fn take(found: &mut Enumeration) -> Option<&mut std::vec::IntoIter<$item>> {
                match found {
                    Enumeration::$kind(found) => Some(found),
                    _ => None,
                }
            }
            next(engine_handle, enum_handle, requested, entries, returned, take, $make)
        })+

        extern "win64" fn $destroy(engine_handle: u64, enum_handle: u64) -> NTSTATUS {
            end(engine_handle, enum_handle)
        }
    };
}

/// `FWPM_PROVIDER_ENUM_TEMPLATE0`, `FWPM_LAYER_ENUM_TEMPLATE0` and `FWPM_SESSION_ENUM_TEMPLATE0` narrow nothing.
fn nothing<T>(_: Ptr<T>) -> Result<(), FwpError> {
    Ok(())
}

enumeration! {
    FwpmProviderCreateEnumHandle0(FWPM_PROVIDER_ENUM_TEMPLATE0 as (), nothing, |engine, session, ()| {
        Ok(engine.view(Some(session)).providers().cloned().collect())
    }),
    FwpmProviderEnum0 (FWPM_PROVIDER0, Providers of Provider, Arena::provider),
    FwpmProviderDestroyEnumHandle0
}
enumeration! {
    FwpmProviderContextCreateEnumHandle0(
        FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0 as ContextTemplate,
        marshal::context_template,
        |engine, session, wanted| {
            Ok(engine.view(Some(session)).provider_contexts_matching(&wanted).into_iter().cloned().collect())
        }
    ),
    FwpmProviderContextEnum0, FwpmProviderContextEnum1, FwpmProviderContextEnum2, FwpmProviderContextEnum3
        (FWPM_PROVIDER_CONTEXT3, ProviderContexts of ProviderContext, Arena::provider_context),
    FwpmProviderContextDestroyEnumHandle0
}
enumeration! {
    FwpmSubLayerCreateEnumHandle0(
        FWPM_SUBLAYER_ENUM_TEMPLATE0 as SublayerTemplate,
        marshal::sublayer_template,
        |engine, session, wanted| {
            Ok(engine.view(Some(session)).sublayers_matching(&wanted).into_iter().cloned().collect())
        }
    ),
    FwpmSubLayerEnum0 (FWPM_SUBLAYER0, Sublayers of Sublayer, Arena::sublayer),
    FwpmSubLayerDestroyEnumHandle0
}
enumeration! {
    FwpmCalloutCreateEnumHandle0(
        FWPM_CALLOUT_ENUM_TEMPLATE0 as CalloutTemplate,
        marshal::callout_template,
        |engine, session, wanted| engine.view(Some(session)).callouts_matching(&wanted)
    ),
    FwpmCalloutEnum0 (FWPM_CALLOUT0, Callouts of Callout, Arena::callout),
    FwpmCalloutDestroyEnumHandle0
}
enumeration! {
    FwpmFilterCreateEnumHandle0(
        FWPM_FILTER_ENUM_TEMPLATE0 as Option<FilterTemplate>,
        marshal::filter_template,
        |engine, session, wanted| {
            let view = engine.view(Some(session));
            match wanted {
                None => Ok(view.filters().cloned().collect()),
                Some(wanted) => Ok(view.filters_matching(&wanted)?.into_iter().cloned().collect()),
            }
        }
    ),
    FwpmFilterEnum0 (FWPM_FILTER0, Filters of Filter, Arena::filter),
    FwpmFilterDestroyEnumHandle0
}
enumeration! {
    FwpmLayerCreateEnumHandle0(u64 as (), nothing, |_, _, ()| Ok(layers::all().iter().collect())),
    FwpmLayerEnum0 (FWPM_LAYER0, Layers of &'static Layer, |arena, layer| arena.layer(layer)),
    FwpmLayerDestroyEnumHandle0
}
enumeration! {
    FwpmSessionCreateEnumHandle0(u64 as (), nothing, |engine, _, ()| Ok(engine.sessions().map(|(_, session)| session.clone()).collect())),
    FwpmSessionEnum0 (FWPM_SESSION0, Sessions of Session, Arena::session),
    FwpmSessionDestroyEnumHandle0
}
