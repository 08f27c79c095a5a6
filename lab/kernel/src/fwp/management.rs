//! `Fwpm*`: sessions, transactions and objects, as kernel-mode clients manage them.

use core::ffi::c_void;
use std::collections::BTreeMap;
use std::sync::Mutex;

use fwps::sys::*;
use postern_engine::FwpError;
use postern_engine::layers;
use postern_engine::{Engine, SessionId, View};

use super::enumerate::Enumeration;
use super::give::Arena;
use super::{Owner, State, failure, marshal, notify::Notifier, owner};
use crate::export::{self, Export, exports};
use crate::inject::{Meaning, fault};
use crate::irql::require_irql;
use crate::kernel::{lock, next_number};
use crate::nt::PASSIVE_LEVEL;
use crate::ptr::Ptr;
use crate::report::{self, Finding, Kind};
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    FwpmEngineOpen0,
    FwpmEngineClose0,
    FwpmTransactionBegin0,
    FwpmTransactionCommit0,
    FwpmTransactionAbort0,
    FwpmFreeMemory0,
    FwpmProviderAdd0,
    FwpmProviderDeleteByKey0,
    FwpmProviderGetByKey0,
    FwpmSubLayerAdd0,
    FwpmSubLayerDeleteByKey0,
    FwpmSubLayerGetByKey0,
    FwpmCalloutAdd0,
    FwpmCalloutDeleteById0,
    FwpmCalloutDeleteByKey0,
    FwpmCalloutGetById0,
    FwpmCalloutGetByKey0,
    FwpmFilterAdd0,
    FwpmFilterDeleteById0,
    FwpmFilterDeleteByKey0,
    FwpmFilterGetById0,
    FwpmFilterGetByKey0,
    FwpmLayerGetById0,
    FwpmLayerGetByKey0,
];

/// Handles that images hold, by value.
#[derive(Default)]
pub(crate) struct Handles(pub(super) Mutex<BTreeMap<u64, Handle>>);

pub(super) struct Handle {
    pub kind: HandleKind,
    owner: Owner,
}

pub(super) enum HandleKind {
    Session(SessionId, String),
    Enumeration(Enumeration),
}

impl Handles {
    pub(super) fn add(&self, kind: HandleKind) -> u64 {
        let handle = next_number() << 4;
        lock(&self.0).insert(handle, Handle { kind, owner: owner() });
        handle
    }

    pub(super) fn session(&self, handle: u64) -> Result<SessionId, NTSTATUS> {
        match lock(&self.0).get(&handle) {
            Some(Handle { kind: HandleKind::Session(id, _), .. }) => Ok(*id),
            _ => Err(bad_handle(handle, "an engine handle", "FwpmEngineOpen0")),
        }
    }

    pub(super) fn left_behind(&self, image: u64) -> Vec<String> {
        lock(&self.0)
            .values()
            .filter(|handle| handle.owner.image == image)
            .map(|handle| match &handle.kind {
                HandleKind::Session(_, name) => {
                    format!("the engine session {name:?} was not closed with FwpmEngineClose0")
                }
                HandleKind::Enumeration(_) => "an enumeration was not ended with Fwpm*DestroyEnumHandle0".into(),
            })
            .collect()
    }
}

#[cold]
pub(super) fn bad_handle(handle: u64, what: &str, from: &str) -> NTSTATUS {
    report::violation(Finding {
        kind: Kind::Contract,
        what: format!("{} was given {handle:#x}, which is not {what}", export::current_name()),
        remedy: format!("pass what {from} returned, and not after it was closed"),
    });
    STATUS_INVALID_HANDLE
}

/// What every management function does first, and how it answers.
pub(super) fn run(engine_handle: u64, body: impl FnOnce(&State) -> Result<(), NTSTATUS>) -> NTSTATUS {
    if !require_irql(PASSIVE_LEVEL) {
        return STATUS_NOT_SUPPORTED;
    }
    let state = &thread::current().fwp;
    if let Some((status, meaning)) = fault() {
        // What comes true may be true already; either way the driver hears the status.
        let _ = match meaning {
            Meaning::Refused | Meaning::Lie | Meaning::Later => Ok(()),
            Meaning::Done => body(state),
            Meaning::SessionEnded => {
                change(state, engine_handle, |engine, session, notifier| engine.session_close(session, notifier))
            }
            Meaning::TransactionEnded => {
                change(state, engine_handle, |engine, session, notifier| engine.transaction_abort(session, notifier))
            }
        };
        return status.0;
    }
    body(state).err().unwrap_or(STATUS_SUCCESS)
}

/// A change made in a session.
pub(super) fn change<T>(
    state: &State,
    engine_handle: u64,
    mut change: impl FnMut(&mut Engine, SessionId, &mut Notifier<'_>) -> Result<T, FwpError>,
) -> Result<T, NTSTATUS> {
    let session = state.handles.session(engine_handle)?;
    state.manage(Some(session), |engine, notifier| change(engine, session, notifier)).map_err(session_failure)
}

/// A session that the engine does not know, behind a handle that is open, has ended with the base filtering engine. ("WFP Error
/// Codes": the handle must still be closed.)
fn session_failure(error: FwpError) -> NTSTATUS {
    failure(if error == FwpError::NotFound { FwpError::SessionAborted } else { error })
}

/// Reads what a session sees.
fn read<T>(
    state: &State,
    engine_handle: u64,
    read: impl FnOnce(View<'_>) -> Result<T, FwpError>,
) -> Result<T, NTSTATUS> {
    let session = state.handles.session(engine_handle)?;
    state.read(|engine| read(engine.view(Some(session)))).and_then(|result| result).map_err(session_failure)
}

extern "win64" fn FwpmEngineOpen0(
    server_name: Ptr<u16>,
    authn_service: u32,
    _auth_identity: Ptr<c_void>,
    session: Ptr<FWPM_SESSION0>,
    engine_handle: Ptr<u64>,
) -> NTSTATUS {
    run(0, |state| {
        if engine_handle.is_null() {
            return Err(failure(FwpError::NullPointer));
        }
        if !server_name.is_null() || !matches!(authn_service, RPC_C_AUTHN_WINNT | RPC_C_AUTHN_DEFAULT) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let session = marshal::session(session, SYSTEM_PROCESS).map_err(failure)?;
        if !state.bfe.is_running() {
            return Err(RPC_NT_SERVER_UNAVAILABLE);
        }
        let name = session.display.name.clone();
        let id = state.manage(None, |engine, _| engine.session_open(session.clone())).map_err(failure)?;
        engine_handle.write(state.handles.add(HandleKind::Session(id, name)));
        Ok(())
    })
}

/// Drivers run their `DriverEntry` in the System process.
const SYSTEM_PROCESS: u32 = 4;

extern "win64" fn FwpmEngineClose0(engine_handle: u64) -> NTSTATUS {
    run(engine_handle, |state| {
        match change(state, engine_handle, |engine, session, notifier| engine.session_close(session, notifier)) {
            // An aborted session, such as one of a base filtering engine that has stopped, is gone already.
            Ok(()) => {}
            Err(status) if status == failure(FwpError::SessionAborted) => {}
            Err(status) => return Err(status),
        }
        lock(&state.handles.0).remove(&engine_handle);
        Ok(())
    })
}

extern "win64" fn FwpmTransactionBegin0(engine_handle: u64, flags: u32) -> NTSTATUS {
    run(engine_handle, |state| {
        if flags & !FWPM_TXN_READ_ONLY != 0 {
            return Err(failure(FwpError::InvalidFlags));
        }
        change(state, engine_handle, |engine, session, _| {
            engine.transaction_begin(session, flags & FWPM_TXN_READ_ONLY != 0)
        })
    })
}

extern "win64" fn FwpmTransactionCommit0(engine_handle: u64) -> NTSTATUS {
    run(engine_handle, |state| {
        change(state, engine_handle, |engine, session, notifier| engine.transaction_commit(session, notifier))
    })
}

extern "win64" fn FwpmTransactionAbort0(engine_handle: u64) -> NTSTATUS {
    run(engine_handle, |state| {
        change(state, engine_handle, |engine, session, notifier| engine.transaction_abort(session, notifier))
    })
}

extern "win64" fn FwpmFreeMemory0(memory: Ptr<u64>) {
    let address = memory.read();
    if address != 0 && !thread::current().fwp.given.free(address) {
        report::violation(Finding {
            kind: Kind::Contract,
            what: format!(
                "FwpmFreeMemory0 was given {address:#x}, which no Fwpm function returned, or which was freed already"
            ),
            remedy: "free what a Get or Enum function returned, once".into(),
        });
    }
    memory.write(0);
}

extern "win64" fn FwpmProviderAdd0(engine_handle: u64, provider: Ptr<FWPM_PROVIDER0>, _sd: Ptr<c_void>) -> NTSTATUS {
    run(engine_handle, |state| {
        let provider = marshal::provider(provider).map_err(failure)?;
        change(state, engine_handle, |engine, session, _| engine.provider_add(session, provider.clone()))?;
        Ok(())
    })
}

extern "win64" fn FwpmProviderDeleteByKey0(engine_handle: u64, key: Ptr<GUID>) -> NTSTATUS {
    run(engine_handle, |state| {
        let key = marshal::required_key(key).map_err(failure)?;
        change(state, engine_handle, |engine, session, _| engine.provider_delete(session, key))
    })
}

extern "win64" fn FwpmSubLayerAdd0(engine_handle: u64, sublayer: Ptr<FWPM_SUBLAYER0>, _sd: Ptr<c_void>) -> NTSTATUS {
    run(engine_handle, |state| {
        let sublayer = marshal::sublayer(sublayer).map_err(failure)?;
        change(state, engine_handle, |engine, session, _| engine.sublayer_add(session, sublayer.clone()))?;
        Ok(())
    })
}

extern "win64" fn FwpmSubLayerDeleteByKey0(engine_handle: u64, key: Ptr<GUID>) -> NTSTATUS {
    run(engine_handle, |state| {
        let key = marshal::required_key(key).map_err(failure)?;
        change(state, engine_handle, |engine, session, _| engine.sublayer_delete(session, key))
    })
}

extern "win64" fn FwpmCalloutAdd0(
    engine_handle: u64,
    callout: Ptr<FWPM_CALLOUT0>,
    _sd: Ptr<c_void>,
    id: Ptr<u32>,
) -> NTSTATUS {
    run(engine_handle, |state| {
        let callout = marshal::callout(callout).map_err(failure)?;
        let assigned = change(state, engine_handle, |engine, session, _| engine.callout_add(session, callout.clone()))?;
        state.name_callout(&callout.key, &callout.display.name);
        id.write_optional(assigned);
        Ok(())
    })
}

extern "win64" fn FwpmCalloutDeleteById0(engine_handle: u64, id: u32) -> NTSTATUS {
    run(engine_handle, |state| {
        change(state, engine_handle, |engine, session, _| engine.callout_delete_by_id(session, id))
    })
}

extern "win64" fn FwpmCalloutDeleteByKey0(engine_handle: u64, key: Ptr<GUID>) -> NTSTATUS {
    run(engine_handle, |state| {
        let key = marshal::required_key(key).map_err(failure)?;
        change(state, engine_handle, |engine, session, _| engine.callout_delete(session, key))
    })
}

extern "win64" fn FwpmFilterAdd0(
    engine_handle: u64,
    filter: Ptr<FWPM_FILTER0>,
    _sd: Ptr<c_void>,
    id: Ptr<u64>,
) -> NTSTATUS {
    run(engine_handle, |state| {
        let filter = marshal::filter(filter).map_err(failure)?;
        let assigned = change(state, engine_handle, |engine, session, notifier| {
            engine.filter_add(session, filter.clone(), notifier)
        })?;
        id.write_optional(assigned);
        Ok(())
    })
}

extern "win64" fn FwpmFilterDeleteById0(engine_handle: u64, id: u64) -> NTSTATUS {
    run(engine_handle, |state| {
        change(state, engine_handle, |engine, session, notifier| engine.filter_delete(session, id, notifier))
    })
}

extern "win64" fn FwpmFilterDeleteByKey0(engine_handle: u64, key: Ptr<GUID>) -> NTSTATUS {
    run(engine_handle, |state| {
        let key = marshal::required_key(key).map_err(failure)?;
        change(state, engine_handle, |engine, session, notifier| engine.filter_delete_by_key(session, key, notifier))
    })
}

/// A `Get` function: finds an object and hands it out.
pub(super) fn get<T, U: Copy>(
    engine_handle: u64,
    out: Ptr<*mut U>,
    find: impl FnOnce(View<'_>) -> Result<T, FwpError>,
    make: impl FnOnce(&mut Arena, &T) -> U,
) -> NTSTATUS {
    run(engine_handle, |state| {
        if out.is_null() {
            return Err(failure(FwpError::NullPointer));
        }
        let found = read(state, engine_handle, find)?;
        out.write(state.given.give(|arena| make(arena, &found)));
        Ok(())
    })
}

extern "win64" fn FwpmProviderGetByKey0(
    engine_handle: u64,
    key: Ptr<GUID>,
    provider: Ptr<*mut FWPM_PROVIDER0>,
) -> NTSTATUS {
    let find = |view: View<'_>| {
        let key = marshal::required_key(key)?;
        view.provider(&key).cloned().ok_or(FwpError::ProviderNotFound)
    };
    get(engine_handle, provider, find, Arena::provider)
}

extern "win64" fn FwpmSubLayerGetByKey0(
    engine_handle: u64,
    key: Ptr<GUID>,
    sublayer: Ptr<*mut FWPM_SUBLAYER0>,
) -> NTSTATUS {
    let find = |view: View<'_>| {
        let key = marshal::required_key(key)?;
        view.sublayer(&key).cloned().ok_or(FwpError::SublayerNotFound)
    };
    get(engine_handle, sublayer, find, Arena::sublayer)
}

extern "win64" fn FwpmCalloutGetByKey0(
    engine_handle: u64,
    key: Ptr<GUID>,
    callout: Ptr<*mut FWPM_CALLOUT0>,
) -> NTSTATUS {
    let find = |view: View<'_>| {
        let key = marshal::required_key(key)?;
        view.callout(&key).ok_or(FwpError::CalloutNotFound)
    };
    get(engine_handle, callout, find, Arena::callout)
}

extern "win64" fn FwpmCalloutGetById0(engine_handle: u64, id: u32, callout: Ptr<*mut FWPM_CALLOUT0>) -> NTSTATUS {
    let find = |view: View<'_>| view.callouts().find(|callout| callout.id == id).ok_or(FwpError::CalloutNotFound);
    get(engine_handle, callout, find, Arena::callout)
}

extern "win64" fn FwpmFilterGetById0(engine_handle: u64, id: u64, filter: Ptr<*mut FWPM_FILTER0>) -> NTSTATUS {
    let find = |view: View<'_>| view.filter(id).cloned().ok_or(FwpError::FilterNotFound);
    get(engine_handle, filter, find, Arena::filter)
}

extern "win64" fn FwpmFilterGetByKey0(engine_handle: u64, key: Ptr<GUID>, filter: Ptr<*mut FWPM_FILTER0>) -> NTSTATUS {
    let find = |view: View<'_>| {
        let key = marshal::required_key(key)?;
        view.filter_by_key(&key).cloned().ok_or(FwpError::FilterNotFound)
    };
    get(engine_handle, filter, find, Arena::filter)
}

extern "win64" fn FwpmLayerGetById0(engine_handle: u64, id: u16, layer: Ptr<*mut FWPM_LAYER0>) -> NTSTATUS {
    let find = |_: View<'_>| layers::by_id(id).ok_or(FwpError::LayerNotFound);
    get(engine_handle, layer, find, |arena, layer| arena.layer(layer))
}

extern "win64" fn FwpmLayerGetByKey0(engine_handle: u64, key: Ptr<GUID>, layer: Ptr<*mut FWPM_LAYER0>) -> NTSTATUS {
    let find = |_: View<'_>| layers::by_key(&marshal::required_key(key)?).ok_or(FwpError::LayerNotFound);
    get(engine_handle, layer, find, |arena, layer| arena.layer(layer))
}
