//! Contexts of flows: a number that the engine keeps with a flow for a callout at a layer, and passes to the callout's functions.
//! IRQL: at most DISPATCH_LEVEL.
//!
//! A callout cannot be unregistered while a flow carries a context of it ("FwpsCalloutUnregisterById0 function"). The statuses
//! are handed on as they are: two of them that `NT_SUCCESS` accepts are no success.

use core::num::NonZeroU64;

use crate::sys::*;

/// Associates `context` with a flow ("FwpsFlowAssociateContext0 function"): `STATUS_SUCCESS`; `STATUS_OBJECT_NAME_EXISTS`, a success
/// code, if the flow carries a context for this layer and callout already; `STATUS_INVALID_PARAMETER` if the callout has no
/// `flowDeleteFn`; others.
///
/// After `STATUS_SUCCESS`, and on another processor before this returns, the engine calls the callout's `flowDeleteFn` once: when
/// the flow ends or the context is removed.
pub fn associate(flow: u64, layer: u16, callout: u32, context: NonZeroU64) -> NTSTATUS {
    // SAFETY: any numbers may be passed, and to the engine the context is a number.
    unsafe { FwpsFlowAssociateContext0(flow, layer, callout, context.get()) }
}

/// Removes the context from a flow ("FwpsFlowRemoveContext0 function"): `STATUS_SUCCESS` if `flowDeleteFn` has been called;
/// `STATUS_PENDING`, a success code, if a classify of the callout is in progress, after which it will be; `STATUS_UNSUCCESSFUL` if
/// there is no context; others.
pub fn remove(flow: u64, layer: u16, callout: u32) -> NTSTATUS {
    // SAFETY: any numbers may be passed.
    unsafe { FwpsFlowRemoveContext0(flow, layer, callout) }
}
