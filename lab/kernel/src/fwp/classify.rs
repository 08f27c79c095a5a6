//! One classify at one layer: how callouts are called.

use core::ffi::c_void;
use core::sync::atomic::Ordering;

use fwps::sys::*;
use postern_engine::layers::{self, DataType, Field};
use postern_engine::{CalloutCall, Callouts, ClassifyOut, ContractViolation, RuntimeFilter, Value, Verdict};

use super::callouts::{Callout, Table, layer_name};
use super::{View, give};
use crate::call::{CallContext, call_image};
use crate::kernel::Kernel;
use crate::nt::DISPATCH_LEVEL;
use crate::ptr::{Ptr, field};
use crate::report::{self, Finding, Kind};

/// Fields of the layer that has most (ALE_AUTH_CONNECT).
pub(crate) const FIELDS: usize = 42;

/// Incoming values in the form that callouts read; memory that a thread uses again and again.
pub(crate) struct RawValues {
    header: FWPS_INCOMING_VALUES0,
    values: [FWPS_INCOMING_VALUE0; FIELDS],
    wide: [u64; FIELDS],
    blobs: [FWP_BYTE_BLOB; FIELDS],
}

impl RawValues {
    pub fn new() -> Box<RawValues> {
        Box::new(RawValues {
            header: FWPS_INCOMING_VALUES0 { layerId: 0, valueCount: 0, incomingValue: core::ptr::null_mut() },
            values: [FWPS_INCOMING_VALUE0 { value: give::EMPTY }; FIELDS],
            wide: [0; FIELDS],
            blobs: [FWP_BYTE_BLOB { size: 0, data: core::ptr::null_mut() }; FIELDS],
        })
    }

    /// Fills in the values of a layer. What they borrow must outlive the calls they are used for.
    fn fill(&mut self, layer: u16, values: &[Value<'_>]) -> *const FWPS_INCOMING_VALUES0 {
        let fields: &[Field] = layers::by_id(layer).map_or(&[], |layer| layer.fields);
        for (index, (value, field)) in values.iter().zip(fields).enumerate().take(FIELDS) {
            // Each value is written whole, so that no byte of the one before shows behind a narrow one.
            let (r#type, Anonymous) = match *value {
                // A token is a kernel object that the lab has none of; the engine knows its SIDs, a callout sees no value.
                Value::Empty | Value::Token(_) => (FWP_EMPTY, FWP_VALUE0_0 { uint64: core::ptr::null_mut() }),
                Value::Uint8(value) => (FWP_UINT8, inline(value.into())),
                Value::Uint16(value) => (FWP_UINT16, inline(value.into())),
                Value::Uint32(value) => (FWP_UINT32, inline(value)),
                Value::Uint64(value) => {
                    self.wide[index] = value;
                    (FWP_UINT64, FWP_VALUE0_0 { uint64: &raw mut self.wide[index] })
                }
                Value::ByteArray16(bytes) => {
                    (FWP_BYTE_ARRAY16_TYPE, FWP_VALUE0_0 { byteArray16: core::ptr::from_ref(bytes).cast_mut().cast() })
                }
                Value::ByteArray6(bytes) => {
                    (FWP_BYTE_ARRAY6_TYPE, FWP_VALUE0_0 { byteArray6: core::ptr::from_ref(bytes).cast_mut().cast() })
                }
                Value::Sid(sid) if field.data_type == DataType::Sid => {
                    (FWP_SID, FWP_VALUE0_0 { sid: sid.as_ptr().cast_mut().cast() })
                }
                Value::ByteBlob(bytes) | Value::Sid(bytes) => {
                    self.blobs[index] = FWP_BYTE_BLOB { size: bytes.len() as u32, data: bytes.as_ptr().cast_mut() };
                    (field.data_type as u32, FWP_VALUE0_0 { byteBlob: &raw mut self.blobs[index] })
                }
            };
            self.values[index].value = FWP_VALUE0 { r#type, Anonymous };
        }
        self.header = FWPS_INCOMING_VALUES0 {
            layerId: layer,
            valueCount: values.len() as u32,
            incomingValue: self.values.as_mut_ptr(),
        };
        &raw const self.header
    }
}

fn inline(value: u32) -> FWP_VALUE0_0 {
    FWP_VALUE0_0 { uint64: core::ptr::without_provenance_mut(value as usize) }
}

/// A connection or packet at one layer, about to be classified.
pub(crate) struct Classify<'a> {
    pub kernel: &'a Kernel,
    pub view: &'a View,
    pub callouts: &'a Table,
    pub processor: u32,
    pub layer: u16,
    pub values: &'a [Value<'a>],
    pub metadata: *const FWPS_INCOMING_METADATA_VALUES0,
    pub layer_data: *mut c_void,
    pub classify_context: *const c_void,
    /// Handle of the flow, or 0.
    pub flow: u64,
    pub raw: &'a mut RawValues,
}

impl Classify<'_> {
    #[inline]
    pub fn run(&mut self) -> Verdict {
        let mut host = Host { classify: self, raw: core::ptr::null() };
        let (view, layer, values) = (host.classify.view, host.classify.layer, host.classify.values);
        view.snapshot.classify(layer, values, &mut host)
    }
}

impl Classify<'_> {
    /// Reports what a callout's classifyFn did, once for each callout.
    #[cold]
    fn report(&self, callout: &Callout, what: &str, remedy: &str) {
        if callout.reported.swap(true, Ordering::Relaxed) {
            return;
        }
        report::violation_of(
            &callout.owner.driver,
            Finding {
                kind: Kind::Contract,
                what: format!("classifyFn of {}, called at {}, {what}", callout.name(), layer_name(self.layer)),
                remedy: remedy.into(),
            },
        );
    }
}

struct Host<'a, 'b> {
    classify: &'a mut Classify<'b>,
    /// The values, once a callout has been called.
    raw: *const FWPS_INCOMING_VALUES0,
}

impl Callouts for Host<'_, '_> {
    fn classify(&mut self, callout_id: u32, filter: &RuntimeFilter, out: &mut ClassifyOut) -> CalloutCall {
        let this = &mut *self.classify;
        let Some(callout) = this.callouts.get(callout_id) else {
            return this.kernel.fwp.without_driver(callout_id);
        };
        let Some(_call) = callout.enter(this.processor) else { return CalloutCall::NotRegistered };
        let Some(raw_filter) = this.view.filter(filter) else { return CalloutCall::NotOnThisFlow };
        // The callout has been told that the filter is gone, and has freed what belonged to it.
        if raw_filter.is_deleted() {
            return CalloutCall::NotOnThisFlow;
        }
        let flows = &this.kernel.fwp.flows;
        let flow_context = flows.enter(this.flow, this.layer, callout_id);
        if callout.registration.flags & FWP_CALLOUT_FLAG_CONDITIONAL_ON_FLOW != 0 && flow_context == 0 {
            return CalloutCall::NotOnThisFlow;
        }
        if self.raw.is_null() {
            self.raw = this.raw.fill(this.layer, this.values);
        }
        let mut raw_out = FWPS_CLASSIFY_OUT0 {
            actionType: out.action,
            outContext: out.out_context,
            filterId: out.filter_id,
            rights: out.rights,
            flags: out.flags,
            reserved: 0,
        };
        let context = CallContext { what: "classifyFn", object: callout.name(), at: layer_name(this.layer) };
        let function = callout.registration.classify;
        let filter = raw_filter.as_ptr();
        let raw_out_pointer = &raw mut raw_out;
        let data_start = data_start(this.layer, this.layer_data);
        let result = if callout.registration.without_classify_context {
            let arguments = (self.raw, this.metadata, this.layer_data, filter, flow_context, raw_out_pointer);
            // SAFETY: registered as a `FWPS_CALLOUT_CLASSIFY_FN0`, and entered; all structures outlive the call.
            unsafe { call_image(&context, DISPATCH_LEVEL, function, arguments) }
        } else {
            let arguments = (
                self.raw,
                this.metadata,
                this.layer_data,
                this.classify_context,
                filter,
                flow_context,
                raw_out_pointer,
            );
            // SAFETY: registered as a `FWPS_CALLOUT_CLASSIFY_FN3`, and entered; all structures outlive the call.
            unsafe { call_image(&context, DISPATCH_LEVEL, function, arguments) }
        };
        flows.leave(this.flow);
        if result.is_err() {
            // The lab has stopped; what the function left half done is no answer.
            return CalloutCall::NotOnThisFlow;
        }
        if data_start != self::data_start(this.layer, this.layer_data) {
            this.report(
                callout,
                "left the packet's data beginning elsewhere",
                "undo NdisRetreatNetBufferDataStart with NdisAdvanceNetBufferDataStart, and the other way round",
            );
        }
        *out = ClassifyOut {
            action: raw_out.actionType,
            rights: raw_out.rights,
            flags: raw_out.flags,
            filter_id: raw_out.filterId,
            out_context: raw_out.outContext,
        };
        CalloutCall::Called
    }

    #[cold]
    fn contract_violation(&mut self, filter: &RuntimeFilter, violation: ContractViolation) {
        let Some(callout) = self.classify.callouts.get(filter.action.callout_id) else { return };
        let (what, remedy) = explain(violation);
        self.classify.report(callout, &what, remedy);
    }
}

/// Where the data of a classify's packet begin, and how long they are, as the callouts that come after it rely on.
fn data_start(layer: u16, layer_data: *mut c_void) -> Option<(u32, u32)> {
    let is_stream = matches!(layer, FWPS_LAYER_STREAM_V4 | FWPS_LAYER_STREAM_V6);
    let list = Ptr::new(layer_data.cast::<NET_BUFFER_LIST>()).non_null().filter(|_| !is_stream)?;
    let buffer = Ptr::new(field!(list, FirstNetBuffer).read()).non_null()?;
    Some((field!(buffer, DataOffset).read(), field!(buffer, DataLength).read()))
}

fn explain(violation: ContractViolation) -> (String, &'static str) {
    match violation {
        ContractViolation::WroteWithoutRight => (
            "wrote an action although FWPS_RIGHT_ACTION_WRITE was clear, and not to veto a permit".into(),
            "look at classifyOut->rights before writing actionType",
        ),
        ContractViolation::TerminatingWithoutVerdict => (
            "left neither FWP_ACTION_PERMIT nor FWP_ACTION_BLOCK for a filter whose action is FWP_ACTION_CALLOUT_TERMINATING".into(),
            "decide, or give the filter the action FWP_ACTION_CALLOUT_UNKNOWN or _INSPECTION",
        ),
        ContractViolation::InspectionWithVerdict => (
            "permitted or blocked for a filter whose action is FWP_ACTION_CALLOUT_INSPECTION".into(),
            "return FWP_ACTION_CONTINUE, or give the filter the action FWP_ACTION_CALLOUT_TERMINATING or _UNKNOWN",
        ),
        ContractViolation::UnknownAction(action) => (
            format!("left {action:#x}, which is no action that a callout may return"),
            "return FWP_ACTION_PERMIT, _BLOCK, _CONTINUE, _NONE or _NONE_NO_MATCH",
        ),
        ContractViolation::LeftActionRight => (
            "permitted for a filter with FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT and left FWPS_RIGHT_ACTION_WRITE set".into(),
            "clear FWPS_RIGHT_ACTION_WRITE in classifyOut->rights",
        ),
    }
}
