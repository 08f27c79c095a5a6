//! `Fwps*`: callouts and flow contexts.

use core::ffi::c_void;
use std::sync::Arc;

use fwps::sys::*;
use postern_engine::FwpError;
use uuid::Uuid;

use super::callouts::{self, Callout, Registration};
use super::{State, failure, marshal, owner};
use crate::export::{Export, exports};
use crate::inject::{self, Meaning, faulted};
use crate::irql::require_irql;
use crate::nt::{DISPATCH_LEVEL, PASSIVE_LEVEL};
use crate::ptr::Ptr;
use crate::report::{self, Finding, Kind};
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    FwpsCalloutRegister0,
    FwpsCalloutRegister1,
    FwpsCalloutRegister2,
    FwpsCalloutRegister3,
    FwpsCalloutUnregisterById0,
    FwpsCalloutUnregisterByKey0,
    FwpsFlowAssociateContext0,
    FwpsFlowRemoveContext0,
    FwpsFlowAbort0,
];

/// Every `FWP_CALLOUT_FLAG_*`.
const CALLOUT_FLAGS: u32 = 0x7ff;

// `FWPS_CALLOUT0` to `3` are laid out alike; only what the functions take differs.
fn register(device_object: Ptr<c_void>, callout: Ptr<FWPS_CALLOUT3>, callout_id: Ptr<u32>, version: u32) -> NTSTATUS {
    if !require_irql(PASSIVE_LEVEL) {
        return STATUS_NOT_SUPPORTED;
    }
    if let Some(status) = faulted() {
        return status.0;
    }
    if device_object.is_null() || callout.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    let callout = callout.read();
    let (Some(classify), Some(notify)) = (callout.classifyFn, callout.notifyFn) else {
        return STATUS_INVALID_PARAMETER;
    };
    if callout.flags & !CALLOUT_FLAGS != 0 {
        return failure(FwpError::InvalidFlags);
    }
    let registration = Registration {
        key: marshal::key(callout.calloutKey),
        flags: callout.flags,
        without_classify_context: version == 0,
        classify: classify as *const (),
        notify: notify as *const (),
        flow_delete: callout.flowDeleteFn.map_or(core::ptr::null(), |function| function as *const ()),
    };
    let kernel = thread::current();
    let (owner, processors) = (owner(), kernel.processors.count());
    let registered = kernel.fwp.manage(None, |engine, _| {
        let id = engine.callout_register(registration.key, registration.flags)?;
        let callout = Arc::new(Callout::new(id, registration, owner.clone(), processors));
        if let Some(object) = engine.view(None).callout(&registration.key) {
            callout.set_display_name(&object.display.name);
        }
        kernel.fwp.callouts.insert(callout);
        kernel.fwp.is_here(id);
        Ok(id)
    });
    match registered {
        Ok(id) => {
            callout_id.write_optional(id);
            STATUS_SUCCESS
        }
        Err(error) => failure(error),
    }
}

extern "win64" fn FwpsCalloutRegister0(device: Ptr<c_void>, callout: Ptr<FWPS_CALLOUT3>, id: Ptr<u32>) -> NTSTATUS {
    register(device, callout, id, 0)
}

extern "win64" fn FwpsCalloutRegister1(device: Ptr<c_void>, callout: Ptr<FWPS_CALLOUT3>, id: Ptr<u32>) -> NTSTATUS {
    register(device, callout, id, 1)
}

extern "win64" fn FwpsCalloutRegister2(device: Ptr<c_void>, callout: Ptr<FWPS_CALLOUT3>, id: Ptr<u32>) -> NTSTATUS {
    register(device, callout, id, 2)
}

extern "win64" fn FwpsCalloutRegister3(device: Ptr<c_void>, callout: Ptr<FWPS_CALLOUT3>, id: Ptr<u32>) -> NTSTATUS {
    register(device, callout, id, 3)
}

/// The answers of both `FwpsCalloutUnregister` functions. Above PASSIVE_LEVEL it is `STATUS_NOT_SUPPORTED`, as real systems say.
fn unregister(find: impl FnOnce(&State) -> Option<Arc<Callout>>) -> NTSTATUS {
    if !require_irql(PASSIVE_LEVEL) {
        return STATUS_NOT_SUPPORTED;
    }
    if let Some(status) = faulted() {
        return status.0;
    }
    let kernel = thread::current();
    if kernel.fwp.is_held_by_this_thread() {
        return STATUS_FWP_IN_USE;
    }
    let Some(callout) = find(&kernel.fwp) else { return STATUS_FWP_CALLOUT_NOT_FOUND };
    let caller = owner();
    if caller != callout.owner {
        report::violation(Finding {
            kind: Kind::Contract,
            what: format!("{} was to be unregistered by {}, whose it is not", callout.name(), caller.driver),
            remedy: "unregister what this image has registered, by the id that registering returned".into(),
        });
    }
    let result = kernel.fwp.callouts.unregister(&callout);
    if result.is_ok() {
        // Only one thread gets here for one registration, so the engine still knows it.
        let _ = kernel.fwp.manage(None, |engine, _| engine.callout_unregister(callout.id));
    }
    callouts::status(result)
}

extern "win64" fn FwpsCalloutUnregisterById0(callout_id: u32) -> NTSTATUS {
    unregister(|state| state.callouts.get(callout_id))
}

extern "win64" fn FwpsCalloutUnregisterByKey0(callout_key: Ptr<GUID>) -> NTSTATUS {
    unregister(|state| {
        let key: Uuid = marshal::required_key(callout_key).ok()?;
        state.callouts.by_key(&key)
    })
}

/// Layers whose metadata can hold a flow handle (documentation page "Metadata Fields at Each Filtering Layer").
pub(crate) fn has_flows(layer: u16) -> bool {
    matches!(
        layer,
        FWPS_LAYER_INBOUND_TRANSPORT_V4..=FWPS_LAYER_DATAGRAM_DATA_V6_DISCARD
            | FWPS_LAYER_ALE_AUTH_RECV_ACCEPT_V4..=FWPS_LAYER_ALE_FLOW_ESTABLISHED_V6_DISCARD
            | FWPS_LAYER_STREAM_PACKET_V4
            | FWPS_LAYER_STREAM_PACKET_V6
    )
}

extern "win64" fn FwpsFlowAssociateContext0(
    flow_id: u64,
    layer_id: u16,
    callout_id: u32,
    flow_context: u64,
) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    let kernel = thread::current();
    let Some(callout) = kernel.fwp.callouts.get(callout_id) else { return STATUS_INVALID_PARAMETER };
    if flow_context == 0 || callout.registration.flow_delete.is_null() || !has_flows(layer_id) {
        return STATUS_INVALID_PARAMETER;
    }
    let Some(_call) = callout.enter(thread::page().processor.get()) else { return STATUS_INVALID_PARAMETER };
    kernel.fwp.flows.associate(flow_id, layer_id, &callout, flow_context)
}

extern "win64" fn FwpsFlowRemoveContext0(flow_id: u64, layer_id: u16, callout_id: u32) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    let kernel = thread::current();
    match inject::fault() {
        Some((status, Meaning::Later)) if kernel.fwp.flows.remove_later(flow_id, layer_id, callout_id) => status.0,
        // Without a context there is nothing that could happen later.
        Some((_, Meaning::Later)) => STATUS_UNSUCCESSFUL,
        Some((status, _)) => status.0,
        None => kernel.fwp.flows.remove(flow_id, layer_id, callout_id),
    }
}

extern "win64" fn FwpsFlowAbort0(flow_id: u64) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    if thread::current().fwp.flows.abort(flow_id) { STATUS_SUCCESS } else { STATUS_INVALID_PARAMETER }
}
