//! The functions that the filter engine calls.
//!
//! What covers their last instructions, after they have left the gate: the engine makes no further call once
//! `FwpsCalloutUnregisterById0` has returned `STATUS_SUCCESS`, and refuses it while a call is in progress.

use core::ffi::c_void;

use fwps::callback;
use fwps::incoming::{Metadata, Values};
use fwps::sys::*;
use postern_core::flows::{Association, Direction};
use postern_core::gate;
use postern_core::verdict::{self, Action, Answer, Question};
use postern_protocol::FilterContext;
use postern_protocol::callout::{COUNT, Callout, Layer, Role};

use crate::endpoints::Fields;
use crate::shared::{self, acted, passed_over};
use crate::{events, flows, hold, injection, reject};

callback! {
    /// `classifyFn` of the callout at `INDEX`. IRQL: at most DISPATCH_LEVEL.
    unsafe fn classify<const INDEX: usize>(
        values: *const FWPS_INCOMING_VALUES0,
        metadata: *const FWPS_INCOMING_METADATA_VALUES0,
        layer_data: *mut c_void,
        _classify_context: *const c_void,
        filter: *const FWPS_FILTER3,
        flow_context: u64,
        out: *mut FWPS_CLASSIFY_OUT0,
    ) {
        let callout = const { Callout::at(INDEX) };
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
        let Some(pass) = shared::gate().enter(shared::processor()) else {
            return write(out, verdict::out_of_service(callout.role, question));
        };
        // SAFETY: the values are the engine's for this call, which has not returned.
        let values = unsafe { Values::new(values) };
        // SAFETY: as above.
        let metadata = unsafe { Metadata::new(metadata) };
        let fields = const { &Fields::of(Callout::at(INDEX).layer) };
        let answer = match callout.role {
            // SAFETY: values, metadata and data are the engine's for this call, which has not returned.
            Role::Hold => unsafe {
                hold::classify(INDEX, fields, values, metadata, layer_data, filter.filterId, question)
            },
            role => verdict::in_service(role, question),
        };
        if callout.role == Role::Monitor {
            // SAFETY: the layer data are the engine's for this call, which has not returned.
            unsafe { count(callout.layer, fields, values, metadata, layer_data, flow_context) };
        }
        if const { rejects(Callout::at(INDEX)) } && answer.reject {
            // SAFETY: values, metadata and data are the engine's for this call, which has not returned.
            unsafe { reject::reject(values, metadata, layer_data) };
        }
        write(out, answer);
        if const { tells(Callout::at(INDEX)) } && events::is_watched() {
            events::verdict(INDEX, answer, filter.filterId, fields, values, metadata);
        }
        pass.leave(if answer.acted { acted(INDEX) } else { passed_over(INDEX) });
    }
}

/// Whether the callout's verdicts are told to those who watch. Of the monitors those that see a connection or a flow once: what
/// they do at the other layers is counting.
const fn tells(callout: Callout) -> bool {
    !matches!(callout.role, Role::Monitor) || (callout.layer as usize) < Role::Hold.layers().len()
}

/// Whether the callout answers what it blocks, if its filter says so.
const fn rejects(callout: Callout) -> bool {
    matches!(callout.role, Role::Block)
        && matches!(callout.layer, Layer::AleAuthRecvAcceptV4 | Layer::AleAuthRecvAcceptV6)
}

/// What a monitor does beside looking: it counts flows.
///
/// # Safety
///
/// `layer_data` is what the engine passed to a classifyFn at `layer`, which has not returned.
#[inline(always)]
unsafe fn count(
    layer: Layer,
    fields: &Fields,
    values: Values<'_>,
    metadata: Metadata<'_>,
    layer_data: *const c_void,
    ticket: u64,
) {
    match layer {
        Layer::AleFlowEstablishedV4 | Layer::AleFlowEstablishedV6 => flows::established(fields, values, metadata),
        // A flow that was established before the driver came has no context.
        _ if ticket == 0 => {}
        Layer::InboundTransportV4 | Layer::InboundTransportV6 => {
            // SAFETY: the caller's promise.
            unsafe { flows::packet(ticket, Direction::Inbound, metadata, layer_data) }
        }
        Layer::OutboundTransportV4 | Layer::OutboundTransportV6 => {
            let family = if matches!(layer, Layer::OutboundTransportV4) { AF_INET } else { AF_INET6 };
            // A reset is no packet of the flow that it ends.
            // SAFETY: the caller's promise.
            if unsafe { injection::was_sent(layer_data.cast(), family) } {
                return;
            }
            // SAFETY: the caller's promise.
            unsafe { flows::packet(ticket, Direction::Outbound, metadata, layer_data) }
        }
        // SAFETY: the caller's promise.
        Layer::StreamV4 | Layer::StreamV6 => unsafe { flows::stream(ticket, layer_data) },
        Layer::DatagramDataV4 | Layer::DatagramDataV6 => {
            let direction = if fields.is_inbound(values) { Direction::Inbound } else { Direction::Outbound };
            // SAFETY: the caller's promise.
            unsafe { flows::datagram(ticket, direction, metadata, layer_data) }
        }
        Layer::AleAuthConnectV4 | Layer::AleAuthConnectV6 | Layer::AleAuthRecvAcceptV4 | Layer::AleAuthRecvAcceptV6 => {
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
    let callout = Callout::at(index);
    let counts = callout.role == Role::Monitor && Association::at(callout.layer).is_some();
    // A stream or datagram concerns a monitor only if it belongs to a flow that is counted.
    let only_with_flow =
        matches!(callout.layer, Layer::StreamV4 | Layer::StreamV6 | Layer::DatagramDataV4 | Layer::DatagramDataV6);
    FWPS_CALLOUT3 {
        calloutKey: GUID::from_u128(callout.key()),
        // Our callouts do not look at the data, so the network card may go on segmenting it.
        flags: FWP_CALLOUT_FLAG_ALLOW_OFFLOAD | if only_with_flow { FWP_CALLOUT_FLAG_CONDITIONAL_ON_FLOW } else { 0 },
        classifyFn: Some(CLASSIFY[index]),
        notifyFn: Some(notify),
        flowDeleteFn: if counts { Some(flows::flow_deleted) } else { None },
    }
}
