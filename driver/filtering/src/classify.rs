//! The functions that the filter engine calls.
//!
//! What covers their last instructions, after they have left the gate: the engine makes no further call once
//! `FwpsCalloutUnregisterById0` has returned `STATUS_SUCCESS`, and refuses it while a call is in progress.

use core::ffi::c_void;

use fwps::callback;
use fwps::sys::*;
use postern_core::gate;
use postern_core::verdict::{self, Action, Answer, Question};
use postern_protocol::FilterContext;
use postern_protocol::callout::{COUNT, Callout};

use crate::shared::{self, acted, passed_over};

callback! {
    /// `classifyFn` of the callout at `INDEX`. IRQL: at most DISPATCH_LEVEL.
    unsafe fn classify<const INDEX: usize>(
        _values: *const FWPS_INCOMING_VALUES0,
        _metadata: *const FWPS_INCOMING_METADATA_VALUES0,
        _layer_data: *mut c_void,
        _classify_context: *const c_void,
        filter: *const FWPS_FILTER3,
        _flow_context: u64,
        out: *mut FWPS_CLASSIFY_OUT0,
    ) {
        let role = const { Callout::at(INDEX).role };
        // SAFETY: the engine passes the filter that led here, for the time of the call ("FWPS_CALLOUT_CLASSIFY_FN3").
        let filter = unsafe { &*filter };
        // SAFETY: the engine passes a result that is the callout's alone for the time of the call.
        let out = unsafe { &mut *out };
        let question = Question {
            may_write: out.rights & FWPS_RIGHT_ACTION_WRITE != 0,
            clear_right: filter.flags & FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT != 0,
            permit_if_unregistered: filter.flags & FWPS_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED != 0,
            context: filter.context,
        };
        match shared::gate().enter(shared::processor()) {
            Some(pass) => {
                let answer = verdict::in_service(role, question);
                write(out, answer);
                pass.leave(if answer.acted { acted(INDEX) } else { passed_over(INDEX) });
            }
            None => write(out, verdict::out_of_service(role, question)),
        }
    }
}

#[inline(always)]
fn write(out: &mut FWPS_CLASSIFY_OUT0, answer: Answer) {
    if let Some(action) = answer.action {
        out.actionType = match action {
            Action::Continue => FWP_ACTION_CONTINUE,
            Action::Permit => FWP_ACTION_PERMIT,
            Action::Block => FWP_ACTION_BLOCK,
        };
    }
    if answer.clear_right {
        out.rights &= !FWPS_RIGHT_ACTION_WRITE;
    }
    if answer.absorb {
        out.flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB;
    }
}

callback! {
    /// `notifyFn` of all callouts: refuses a filter whose context is not one of ours, while its author still listens.
    /// IRQL: at most DISPATCH_LEVEL.
    unsafe fn notify(kind: FWPS_CALLOUT_NOTIFY_TYPE, _key: *const GUID, filter: *mut FWPS_FILTER3) -> NTSTATUS {
        if kind != FWPS_CALLOUT_NOTIFY_ADD_FILTER {
            // The status of other notifications is ignored, and unknown ones must succeed.
            return STATUS_SUCCESS;
        }
        let Some(pass) = shared::gate().enter(shared::processor()) else {
            return STATUS_DEVICE_NOT_READY;
        };
        // SAFETY: the engine passes the filter being added, for the time of the call ("FWPS_CALLOUT_NOTIFY_FN3").
        let context = unsafe { (*filter).context };
        let status = match FilterContext::from_raw(context) {
            Some(_) => STATUS_SUCCESS,
            None => {
                log!("refused a filter whose context {context:#018x} is not of version {}", FilterContext::VERSION);
                STATUS_INVALID_PARAMETER
            }
        };
        pass.leave(gate::DROPPED);
        status
    }
}

macro_rules! classify_functions {
    ($($index:literal)*) => { [$(classify::<$index>),*] };
}

#[rustfmt::skip]
static CLASSIFY: [FWPS_CALLOUT_CLASSIFY_FN3; COUNT] = classify_functions!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41
);

/// What to register the callout at `index` of [`postern_protocol::CALLOUTS`] with.
pub fn registration(index: usize) -> FWPS_CALLOUT3 {
    FWPS_CALLOUT3 {
        calloutKey: GUID::from_u128(Callout::at(index).key()),
        // Our callouts do not look at the data, so the network card may go on segmenting it.
        flags: FWP_CALLOUT_FLAG_ALLOW_OFFLOAD,
        classifyFn: Some(CLASSIFY[index]),
        notifyFn: Some(notify),
        flowDeleteFn: None,
    }
}
