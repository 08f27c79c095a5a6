//! Provider contexts. The functions' versions differ in IPsec policies only, which the lab does not know.

use core::ffi::c_void;

use fwps::sys::*;
use postern_engine::{FwpError, View};

use super::give::Arena;
use super::management::{change, get, run};
use super::{failure, marshal};
use crate::export::{Export, exports};
use crate::ptr::Ptr;

pub(crate) const EXPORTS: &[Export] = exports![
    FwpmProviderContextAdd0,
    FwpmProviderContextAdd1,
    FwpmProviderContextAdd2,
    FwpmProviderContextAdd3,
    FwpmProviderContextDeleteById0,
    FwpmProviderContextDeleteByKey0,
    FwpmProviderContextGetById0,
    FwpmProviderContextGetById1,
    FwpmProviderContextGetById2,
    FwpmProviderContextGetById3,
    FwpmProviderContextGetByKey0,
    FwpmProviderContextGetByKey1,
    FwpmProviderContextGetByKey2,
    FwpmProviderContextGetByKey3,
];

macro_rules! versions {
    ($($add:ident $by_id:ident $by_key:ident),+) => { $(
        extern "win64" fn $add(
            engine_handle: u64,
            context: Ptr<FWPM_PROVIDER_CONTEXT3>,
            _sd: Ptr<c_void>,
            id: Ptr<u64>,
        ) -> NTSTATUS {
            run(engine_handle, |state| {
                let context = marshal::provider_context(context).map_err(failure)?.ok_or(STATUS_NOT_SUPPORTED)?;
                let assigned = change(state, engine_handle, |engine, session, _| {
                    engine.provider_context_add(session, context.clone())
                })?;
                id.write_optional(assigned);
                Ok(())
            })
        }

        extern "win64" fn $by_id(engine_handle: u64, id: u64, context: Ptr<*mut FWPM_PROVIDER_CONTEXT3>) -> NTSTATUS {
            let find = |view: View<'_>| {
                view.provider_contexts().find(|context| context.id == id).cloned().ok_or(FwpError::ProviderContextNotFound)
            };
            get(engine_handle, context, find, Arena::provider_context)
        }

        extern "win64" fn $by_key(
            engine_handle: u64,
            key: Ptr<GUID>,
            context: Ptr<*mut FWPM_PROVIDER_CONTEXT3>,
        ) -> NTSTATUS {
            let find = |view: View<'_>| {
                let key = marshal::required_key(key)?;
                view.provider_context(&key).cloned().ok_or(FwpError::ProviderContextNotFound)
            };
            get(engine_handle, context, find, Arena::provider_context)
        }
    )+ };
}

versions! {
    FwpmProviderContextAdd0 FwpmProviderContextGetById0 FwpmProviderContextGetByKey0,
    FwpmProviderContextAdd1 FwpmProviderContextGetById1 FwpmProviderContextGetByKey1,
    FwpmProviderContextAdd2 FwpmProviderContextGetById2 FwpmProviderContextGetByKey2,
    FwpmProviderContextAdd3 FwpmProviderContextGetById3 FwpmProviderContextGetByKey3
}

extern "win64" fn FwpmProviderContextDeleteById0(engine_handle: u64, id: u64) -> NTSTATUS {
    run(engine_handle, |state| {
        change(state, engine_handle, |engine, session, _| engine.provider_context_delete_by_id(session, id))
    })
}

extern "win64" fn FwpmProviderContextDeleteByKey0(engine_handle: u64, key: Ptr<GUID>) -> NTSTATUS {
    run(engine_handle, |state| {
        let key = marshal::required_key(key).map_err(failure)?;
        change(state, engine_handle, |engine, session, _| engine.provider_context_delete(session, key))
    })
}
