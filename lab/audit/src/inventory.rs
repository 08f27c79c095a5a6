//! What a driver registers and calls, from the record of its calls.

use std::collections::{BTreeMap, BTreeSet};

use postern_faults::scenario::Outcome;
use postern_lab::{Circumstance, Place, TracedCall, failures_of};
use serde::Serialize;

use crate::trials::{Situation, Tried};

/// A callout that the driver registers.
#[derive(Debug, Serialize)]
pub struct Callout {
    pub key: uuid::Uuid,
    pub name: String,
    /// Of its callout object; none was added if it is missing.
    pub layer: Option<&'static str>,
    pub flow_delete_fn: bool,
}

/// A named device that the driver creates.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Device {
    /// How programs open it, if there is a symbolic link.
    pub path: Option<String>,
    /// The descriptor that it is given; none: the system's default one.
    pub security: Option<String>,
    /// Where it is created.
    pub place: Option<String>,
}

/// What the driver has to give back.
#[derive(Debug, Serialize)]
pub struct Registered {
    pub what: &'static str,
    /// How many times the driver asked for one and got it.
    pub times: usize,
    /// Where.
    pub places: Vec<String>,
}

/// How a function was called.
#[derive(Debug, Serialize)]
pub struct CallRow {
    pub function: &'static str,
    pub calls: usize,
    /// IRQLs that it was called at.
    pub irqls: BTreeSet<u8>,
    /// What the image was called for meanwhile.
    pub within: BTreeSet<&'static str>,
    /// Statuses other than success that it returned of its own accord.
    pub failed: BTreeSet<String>,
    /// Statuses with which it was made to fail.
    pub tried: BTreeSet<&'static str>,
    /// Those of them after which the driver went on as if the call had succeeded, while it started or left.
    pub ignored: BTreeSet<&'static str>,
}

/// Calls of one function in a row, in the unload.
#[derive(Debug, Serialize)]
pub struct Step {
    pub function: &'static str,
    pub times: usize,
    pub place: Option<String>,
}

const KINDS: &[(&str, &[&str])] = &[
    ("callouts", &["FwpsCalloutRegister0", "FwpsCalloutRegister1", "FwpsCalloutRegister2", "FwpsCalloutRegister3"]),
    ("engine sessions", &["FwpmEngineOpen0"]),
    ("providers", &["FwpmProviderAdd0"]),
    ("sublayers", &["FwpmSubLayerAdd0"]),
    ("callout objects", &["FwpmCalloutAdd0"]),
    ("filters", &["FwpmFilterAdd0"]),
    ("flow contexts", &["FwpsFlowAssociateContext0"]),
    ("injection handles", &["FwpsInjectionHandleCreate0"]),
    ("redirect handles", &["FwpsRedirectHandleCreate0"]),
    ("subscriptions to BFE's state", &["FwpmBfeStateSubscribeChanges0"]),
    ("pended operations", &["FwpsPendOperation0", "FwpsPendClassify0"]),
    ("devices", &["IoCreateDevice", "IoCreateDeviceSecure", "WdmlibIoCreateDeviceSecure", "WdfDeviceCreate"]),
    ("symbolic links", &["IoCreateSymbolicLink", "IoCreateUnprotectedSymbolicLink", "WdfDeviceCreateSymbolicLink"]),
    ("threads", &["PsCreateSystemThread", "IoCreateSystemThread"]),
    ("timers", &["KeInitializeTimer", "KeInitializeTimerEx", "ExAllocateTimer", "WdfTimerCreate"]),
    ("DPCs", &["KeInitializeDpc", "KeInitializeThreadedDpc", "WdfDpcCreate"]),
    ("work items", &["IoAllocateWorkItem", "IoInitializeWorkItem", "WdfWorkItemCreate"]),
    ("ETW providers", &["EtwRegister"]),
    ("registry callbacks", &["CmRegisterCallback", "CmRegisterCallbackEx"]),
    (
        "process, thread and image notify routines",
        &[
            "PsSetCreateProcessNotifyRoutine",
            "PsSetCreateProcessNotifyRoutineEx",
            "PsSetCreateProcessNotifyRoutineEx2",
            "PsSetCreateThreadNotifyRoutine",
            "PsSetLoadImageNotifyRoutine",
        ],
    ),
    ("other callbacks", &["ExRegisterCallback", "PoRegisterPowerSettingCallback", "IoRegisterShutdownNotification"]),
    ("net buffer list pools", &["NdisAllocateNetBufferListPool", "NdisAllocateNetBufferPool"]),
];

/// Whether a function returns a status.
pub fn returns_status(function: &str) -> bool {
    let failures = failures_of(function);
    failures.first().is_some_and(|failure| !matches!(failure.name, "NULL" | "FALSE"))
}

/// A call's place in words.
pub fn place(call: &TracedCall) -> Option<String> {
    call.place.as_ref().map(ToString::to_string)
}

/// Whether a call returned what its caller asked for.
fn got(call: &TracedCall) -> bool {
    call.returned.is_some() && (!returns_status(call.function) || call.succeeded())
}

pub fn callouts(base: &Outcome) -> Vec<Callout> {
    let callouts = base.registered.iter();
    callouts
        .map(|one| Callout {
            key: one.key,
            name: one.name.clone(),
            layer: one.layer,
            flow_delete_fn: one.has_flow_delete,
        })
        .collect()
}

pub fn registered(base: &Outcome) -> Vec<Registered> {
    let of = |functions: &[&str]| -> Vec<&TracedCall> {
        base.trace.iter().filter(|call| functions.contains(&call.function) && got(call)).collect()
    };
    KINDS
        .iter()
        .map(|(what, functions)| {
            let calls = of(functions);
            let places: BTreeSet<String> = calls.iter().filter_map(|call| place(call)).collect();
            Registered { what, times: calls.len(), places: places.into_iter().collect() }
        })
        .filter(|one| one.times != 0)
        .collect()
}

/// Named devices: those of WDM with a name, and control devices of KMDF.
pub fn devices(base: &Outcome) -> Vec<Device> {
    let mut devices = Vec::new();
    // A device whose descriptor is set after it was created is not open for long.
    let set_later = base.trace.iter().any(|call| call.function == "ZwSetSecurityObject");
    for call in &base.trace {
        let security = match &call.circumstance {
            Some(Circumstance::SecurityDescriptor(text)) => Some(text.clone()),
            _ => None,
        };
        let is_named = call.arguments[2] != 0;
        match call.function {
            "IoCreateDevice" if is_named && set_later => {
                devices.push(Device {
                    path: None,
                    security: Some("set by ZwSetSecurityObject".into()),
                    place: place(call),
                });
            }
            "IoCreateDevice" if is_named && got(call) => {
                devices.push(Device { path: None, security, place: place(call) })
            }
            "IoCreateDeviceSecure" | "WdmlibIoCreateDeviceSecure" if got(call) => {
                devices.push(Device { path: None, security, place: place(call) });
            }
            "WdfControlDeviceInitAllocate" if call.returned != Some(0) => {
                devices.push(Device { path: None, security, place: place(call) });
            }
            "WdfDeviceInitAssignSDDLString" if call.succeeded() => {
                // It replaces what the control device was allocated with.
                if let Some(last) = devices.last_mut().filter(|_| security.is_some()) {
                    last.security = security;
                }
            }
            _ => {}
        }
    }
    for (device, path) in devices.iter_mut().zip(&base.devices) {
        device.path = Some(path.clone());
    }
    devices
}

/// What a driver prints is no action.
fn is_silent(function: &str) -> bool {
    function.starts_with("Etw")
        || matches!(function, "DbgPrint" | "DbgPrintEx" | "vDbgPrintEx" | "vDbgPrintExWithPrefix" | "RtlAssert")
}

pub fn unload(base: &Outcome) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for call in base.trace.iter().filter(|call| call.outermost == "DriverUnload" && !is_silent(call.function)) {
        match steps.last_mut().filter(|last| last.function == call.function) {
            Some(last) => last.times += 1,
            None => steps.push(Step { function: call.function, times: 1, place: place(call) }),
        }
    }
    steps
}

pub fn calls(base: &Outcome, tried: &[Tried]) -> Vec<CallRow> {
    let mut rows: BTreeMap<&str, CallRow> = BTreeMap::new();
    for call in &base.trace {
        let row = rows.entry(call.function).or_insert_with(|| CallRow {
            function: call.function,
            calls: 0,
            irqls: BTreeSet::new(),
            within: BTreeSet::new(),
            failed: BTreeSet::new(),
            tried: BTreeSet::new(),
            ignored: BTreeSet::new(),
        });
        row.calls += 1;
        row.irqls.insert(call.irql);
        row.within.insert(call.within);
        if returns_status(call.function) && !call.succeeded() {
            row.failed.extend(call.returned.map(|value| status_name(call.function, value as u32)));
        }
    }
    for one in tried {
        if let Situation::Fault(case) = &one.situation
            && let Some(row) = rows.get_mut(&*case.function)
        {
            row.tried.insert(case.failure.name);
            if is_ignored(base, one) {
                row.ignored.insert(case.failure.name);
            }
        }
    }
    rows.into_values().collect()
}

fn status_name(function: &str, value: u32) -> String {
    let failures = failures_of(function);
    let known = failures.iter().find(|failure| failure.status.0 as u32 == value);
    known.map_or_else(|| format!("{value:#010x}"), |failure| failure.name.into())
}

/// Whether the driver, when a call failed while it started or left, went on to make the same calls as if it had not.
pub fn is_ignored(base: &Outcome, tried: &Tried) -> bool {
    let Situation::Fault(case) = &tried.situation else { return false };
    let call_in = |trace: &[TracedCall]| {
        let calls = trace.iter().enumerate().filter(|(_, call)| call.function == case.function);
        calls.map(|(at, _)| at).nth(case.number as usize - 1)
    };
    let (with, without) = (&tried.outcome.trace, &base.trace);
    let (Some(failed), Some(succeeded)) = (call_in(with), call_in(without)) else { return false };
    let doing = without[succeeded].outermost;
    matches!(doing, "DriverEntry" | "DriverUnload") && after(with, failed, doing).eq(after(without, succeeded, doing))
}

/// The calls that follow one, with their places, while the image is called for the same.
fn after<'a>(
    trace: &'a [TracedCall],
    at: usize,
    doing: &'a str,
) -> impl Iterator<Item = (&'static str, Option<&'a Place>)> {
    let same = trace[at + 1..].iter().filter(move |call| call.outermost == doing && !is_silent(call.function));
    same.map(|call| (call.function, call.place.as_ref()))
}
