//! Adding, deleting and reading objects.

use core::ffi::c_void;

use fwps::sys::{
    FWPM_CALLOUT0, FWPM_FILTER0, FWPM_LAYER0, FWPM_PROVIDER_CONTEXT3, FWPM_PROVIDER0, FWPM_SUBLAYER0, GUID,
};
use postern_engine::objects::{Callout, Filter, Provider, ProviderContext, Sublayer};
use postern_engine::{FwpError, layers};
use postern_wine_protocol::Call;
use serde::de::DeserializeOwned;
use windows_sys::Win32::Foundation::ERROR_NOT_SUPPORTED;

use crate::error::{Error, code};
use crate::fwp::give::Arena;
use crate::fwp::marshal;
use crate::handles::{self, GIVEN};
use crate::ptr::Ptr;

fn call<T: DeserializeOwned>(engine_handle: u64, call: Result<Call, FwpError>) -> Result<T, Error> {
    handles::client(engine_handle)?.call(call?)
}

/// Finds one object among all of its kind, and hands it out.
fn get<T: DeserializeOwned, U: Copy>(
    engine_handle: u64,
    all: Call,
    out: Ptr<*mut U>,
    missing: FwpError,
    is_it: impl Fn(&T) -> bool,
    make: impl FnOnce(&mut Arena, &T) -> U,
) -> u32 {
    code((|| {
        if out.is_null() {
            return Err(FwpError::NullPointer.into());
        }
        let all: Vec<T> = handles::client(engine_handle)?.call(all)?;
        let found = all.iter().find(|object| is_it(object)).ok_or(missing)?;
        out.write(GIVEN.give(|arena| make(arena, found)));
        Ok(())
    })())
}

#[unsafe(no_mangle)]
extern "system" fn FwpmProviderAdd0(engine_handle: u64, provider: Ptr<FWPM_PROVIDER0>, _sd: Ptr<c_void>) -> u32 {
    code(call(engine_handle, marshal::provider(provider).map(Call::ProviderAdd)))
}

#[unsafe(no_mangle)]
extern "system" fn FwpmProviderDeleteByKey0(engine_handle: u64, key: Ptr<GUID>) -> u32 {
    code(call(engine_handle, marshal::required_key(key).map(Call::ProviderDelete)))
}

#[unsafe(no_mangle)]
extern "system" fn FwpmProviderGetByKey0(
    engine_handle: u64,
    key: Ptr<GUID>,
    provider: Ptr<*mut FWPM_PROVIDER0>,
) -> u32 {
    let Ok(key) = marshal::required_key(key) else { return FwpError::NullPointer.win32() };
    let is_it = |found: &Provider| found.key == key;
    get(engine_handle, Call::Providers, provider, FwpError::ProviderNotFound, is_it, Arena::provider)
}

/// The versions differ in IPsec policies only, which the lab does not know.
macro_rules! provider_contexts {
    ($($add:ident $by_id:ident $by_key:ident),+) => { $(
        #[unsafe(no_mangle)]
        extern "system" fn $add(
            engine_handle: u64,
            context: Ptr<FWPM_PROVIDER_CONTEXT3>,
            _sd: Ptr<c_void>,
            id: Ptr<u64>,
        ) -> u32 {
            code((|| {
                let context = marshal::provider_context(context)?.ok_or(Error(ERROR_NOT_SUPPORTED))?;
                id.write_optional(call(engine_handle, Ok(Call::ProviderContextAdd(context)))?);
                Ok(())
            })())
        }

        #[unsafe(no_mangle)]
        extern "system" fn $by_id(engine_handle: u64, id: u64, context: Ptr<*mut FWPM_PROVIDER_CONTEXT3>) -> u32 {
            let is_it = |found: &ProviderContext| found.id == id;
            let missing = FwpError::ProviderContextNotFound;
            get(engine_handle, Call::ProviderContexts(Default::default()), context, missing, is_it, Arena::provider_context)
        }

        #[unsafe(no_mangle)]
        extern "system" fn $by_key(
            engine_handle: u64,
            key: Ptr<GUID>,
            context: Ptr<*mut FWPM_PROVIDER_CONTEXT3>,
        ) -> u32 {
            let Ok(key) = marshal::required_key(key) else { return FwpError::NullPointer.win32() };
            let is_it = |found: &ProviderContext| found.key == key;
            let missing = FwpError::ProviderContextNotFound;
            get(engine_handle, Call::ProviderContexts(Default::default()), context, missing, is_it, Arena::provider_context)
        }
    )+ };
}

provider_contexts! {
    FwpmProviderContextAdd0 FwpmProviderContextGetById0 FwpmProviderContextGetByKey0,
    FwpmProviderContextAdd1 FwpmProviderContextGetById1 FwpmProviderContextGetByKey1,
    FwpmProviderContextAdd2 FwpmProviderContextGetById2 FwpmProviderContextGetByKey2,
    FwpmProviderContextAdd3 FwpmProviderContextGetById3 FwpmProviderContextGetByKey3
}

#[unsafe(no_mangle)]
extern "system" fn FwpmProviderContextDeleteById0(engine_handle: u64, id: u64) -> u32 {
    code((|| {
        let client = handles::client(engine_handle)?;
        let all: Vec<ProviderContext> = client.call(Call::ProviderContexts(Default::default()))?;
        let found = all.iter().find(|context| context.id == id).ok_or(FwpError::ProviderContextNotFound)?;
        client.call(Call::ProviderContextDelete(found.key))
    })())
}

#[unsafe(no_mangle)]
extern "system" fn FwpmProviderContextDeleteByKey0(engine_handle: u64, key: Ptr<GUID>) -> u32 {
    code(call(engine_handle, marshal::required_key(key).map(Call::ProviderContextDelete)))
}

#[unsafe(no_mangle)]
extern "system" fn FwpmSubLayerAdd0(engine_handle: u64, sublayer: Ptr<FWPM_SUBLAYER0>, _sd: Ptr<c_void>) -> u32 {
    code(call(engine_handle, marshal::sublayer(sublayer).map(Call::SublayerAdd)))
}

#[unsafe(no_mangle)]
extern "system" fn FwpmSubLayerDeleteByKey0(engine_handle: u64, key: Ptr<GUID>) -> u32 {
    code(call(engine_handle, marshal::required_key(key).map(Call::SublayerDelete)))
}

#[unsafe(no_mangle)]
extern "system" fn FwpmSubLayerGetByKey0(
    engine_handle: u64,
    key: Ptr<GUID>,
    sublayer: Ptr<*mut FWPM_SUBLAYER0>,
) -> u32 {
    let Ok(key) = marshal::required_key(key) else { return FwpError::NullPointer.win32() };
    let is_it = |found: &Sublayer| found.key == key;
    get(
        engine_handle,
        Call::Sublayers(Default::default()),
        sublayer,
        FwpError::SublayerNotFound,
        is_it,
        Arena::sublayer,
    )
}

#[unsafe(no_mangle)]
extern "system" fn FwpmCalloutAdd0(
    engine_handle: u64,
    callout: Ptr<FWPM_CALLOUT0>,
    _sd: Ptr<c_void>,
    id: Ptr<u32>,
) -> u32 {
    let added = call(engine_handle, marshal::callout(callout).map(Call::CalloutAdd));
    code(added.map(|assigned| id.write_optional(assigned)))
}

#[unsafe(no_mangle)]
extern "system" fn FwpmCalloutDeleteByKey0(engine_handle: u64, key: Ptr<GUID>) -> u32 {
    code(call(engine_handle, marshal::required_key(key).map(Call::CalloutDelete)))
}

#[unsafe(no_mangle)]
extern "system" fn FwpmCalloutDeleteById0(engine_handle: u64, id: u32) -> u32 {
    code((|| {
        let client = handles::client(engine_handle)?;
        let all: Vec<Callout> = client.call(Call::Callouts(Default::default()))?;
        let found = all.iter().find(|callout| callout.id == id).ok_or(FwpError::CalloutNotFound)?;
        client.call(Call::CalloutDelete(found.key))
    })())
}

#[unsafe(no_mangle)]
extern "system" fn FwpmCalloutGetByKey0(engine_handle: u64, key: Ptr<GUID>, callout: Ptr<*mut FWPM_CALLOUT0>) -> u32 {
    let Ok(key) = marshal::required_key(key) else { return FwpError::NullPointer.win32() };
    let is_it = |found: &Callout| found.key == key;
    get(engine_handle, Call::Callouts(Default::default()), callout, FwpError::CalloutNotFound, is_it, Arena::callout)
}

#[unsafe(no_mangle)]
extern "system" fn FwpmCalloutGetById0(engine_handle: u64, id: u32, callout: Ptr<*mut FWPM_CALLOUT0>) -> u32 {
    let is_it = |found: &Callout| found.id == id;
    get(engine_handle, Call::Callouts(Default::default()), callout, FwpError::CalloutNotFound, is_it, Arena::callout)
}

#[unsafe(no_mangle)]
extern "system" fn FwpmFilterAdd0(
    engine_handle: u64,
    filter: Ptr<FWPM_FILTER0>,
    _sd: Ptr<c_void>,
    id: Ptr<u64>,
) -> u32 {
    let added = call(engine_handle, marshal::filter(filter).map(Call::FilterAdd));
    code(added.map(|assigned| id.write_optional(assigned)))
}

#[unsafe(no_mangle)]
extern "system" fn FwpmFilterDeleteById0(engine_handle: u64, id: u64) -> u32 {
    code(call(engine_handle, Ok(Call::FilterDeleteById(id))))
}

#[unsafe(no_mangle)]
extern "system" fn FwpmFilterDeleteByKey0(engine_handle: u64, key: Ptr<GUID>) -> u32 {
    code(call(engine_handle, marshal::required_key(key).map(Call::FilterDelete)))
}

#[unsafe(no_mangle)]
extern "system" fn FwpmFilterGetById0(engine_handle: u64, id: u64, filter: Ptr<*mut FWPM_FILTER0>) -> u32 {
    let is_it = |found: &Filter| found.id == id;
    get(engine_handle, Call::Filters(None), filter, FwpError::FilterNotFound, is_it, Arena::filter)
}

#[unsafe(no_mangle)]
extern "system" fn FwpmFilterGetByKey0(engine_handle: u64, key: Ptr<GUID>, filter: Ptr<*mut FWPM_FILTER0>) -> u32 {
    let Ok(key) = marshal::required_key(key) else { return FwpError::NullPointer.win32() };
    let is_it = |found: &Filter| found.key == key;
    get(engine_handle, Call::Filters(None), filter, FwpError::FilterNotFound, is_it, Arena::filter)
}

/// Layers are built in, so both sides know them.
fn layer(engine_handle: u64, found: Option<&'static layers::Layer>, out: Ptr<*mut FWPM_LAYER0>) -> u32 {
    code((|| {
        handles::client(engine_handle)?;
        let found = found.ok_or(FwpError::LayerNotFound)?;
        if out.is_null() {
            return Err(FwpError::NullPointer.into());
        }
        out.write(GIVEN.give(|arena| arena.layer(found)));
        Ok(())
    })())
}

#[unsafe(no_mangle)]
extern "system" fn FwpmLayerGetById0(engine_handle: u64, id: u16, out: Ptr<*mut FWPM_LAYER0>) -> u32 {
    layer(engine_handle, layers::by_id(id), out)
}

#[unsafe(no_mangle)]
extern "system" fn FwpmLayerGetByKey0(engine_handle: u64, key: Ptr<GUID>, out: Ptr<*mut FWPM_LAYER0>) -> u32 {
    let Ok(key) = marshal::required_key(key) else { return FwpError::NullPointer.win32() };
    layer(engine_handle, layers::by_key(&key), out)
}
