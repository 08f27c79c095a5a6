//! The defects that an audit knows by name: why each matters, and which page says so.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Bad manners.
    Low,
    /// Something stays that should not, or a rule of a page is broken.
    Medium,
    /// The system or its users suffer: no network, no unload, no reload.
    High,
    /// The system stops, or code runs in memory that is somebody else's.
    Critical,
}

/// A defect.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub id: &'static str,
    pub severity: Severity,
    pub why: &'static str,
    /// Title of the documentation page.
    pub source: &'static str,
}

macro_rules! rules {
    ($($name:ident: $severity:ident, $id:literal, $why:literal, $source:literal;)*) => {
        $(pub const $name: &Rule = &Rule { id: $id, severity: Severity::$severity, why: $why, source: $source };)*
        /// Every rule, as the documentation lists them.
        pub const ALL: &[&Rule] = &[$($name),*];
    };
}
rules! {
    CALLOUT_LEFT: Critical, "callout-left",
        "the filter engine goes on calling functions of an image that has gone: a driver may not return from its unload function before \
         every callout has been unregistered", "Unloading a Callout Driver";
    UNREGISTER_STATUS: Critical, "unregister-status-ignored",
        "unregistering is refused while flows carry contexts, while a call is in progress, or while another thread is at it; a driver \
         that does not try again leaves with the callout registered", "FwpsCalloutUnregisterById0 function";
    UNREGISTER_GIVES_UP: Critical, "unregister-gives-up",
        "a refusal lasts as long as a flow lives or a call takes; after any last attempt the callout stays registered in an image that \
         goes", "Unloading a Callout Driver";
    CONTEXTS_LEFT: Critical, "flow-contexts-left",
        "a callout whose contexts flows carry cannot be unregistered: each must be removed and its flowDeleteFn waited for before",
        "Associating Context with a Data Flow";
    REMOVAL_PENDING: Critical, "removal-taken-for-done",
        "STATUS_PENDING and STATUS_UNSUCCESSFUL both mean that flowDeleteFn has not come yet, or is on its way: the context may not be \
         freed, nor the driver go, before it has returned. NT_SUCCESS(STATUS_PENDING) is true",
        "FwpsFlowRemoveContext0 function";
    DRAIN_BEFORE_GATE: Critical, "drain-before-gate",
        "contexts were removed while classifyFn still associated new ones: those that come after are missed, and the callout that they \
         belong to cannot be unregistered", "FwpsFlowRemoveContext0 function";
    PARTIAL_START: Critical, "partial-start",
        "the system calls no unload function after a DriverEntry that has failed, and takes the image away at once: all that had been \
         acquired must be released before it returns", "DRIVER_INITIALIZE callback function";
    LATE_CALL: Critical, "late-call",
        "code of the driver runs, or is called, after the driver has gone", "Unload Routine Environment";
    POOL: Critical, "pool",
        "memory is used after it was freed, beyond its end, or freed twice", "Special Pool";
    BUG_CHECK: Critical, "bug-check", "the system stops", "Bug Check Code Reference";
    THREAD_LEFT: Critical, "thread-left",
        "the thread goes on in an image that has gone", "PsTerminateSystemThread function";
    THREAD_NOT_WAITED_FOR: High, "thread-not-waited-for",
        "an event that the thread sets says that it is about to leave, not that it has: the instructions that follow are in the image. \
         Only the thread object is signaled when it has left for good", "PsTerminateSystemThread function";
    TIMER_LEFT: Critical, "timer-left",
        "the DPC of a timer that was not cancelled runs in an image that has gone", "KeCancelTimer function";
    DPC_NOT_FLUSHED: High, "dpc-not-flushed",
        "a DPC may be queued or running on another processor although its timer was cancelled; KeFlushQueuedDpcs waits for it",
        "KeFlushQueuedDpcs function";
    WORK_LEFT: Critical, "work-item-left",
        "a work item that is queued, or not freed, refers to an image that has gone", "IoQueueWorkItem function";
    WORK_FREED: High, "work-item-freed-while-queued",
        "the system still has the item on its queue, and writes to memory that was freed", "IoFreeWorkItem function";
    CALLBACK_LEFT: Critical, "callback-left",
        "the system calls a routine of an image that has gone", "Unload Routine Environment";
    FILTERS_AFTER_CALLOUTS: High, "callouts-before-filters",
        "from a callout's unregistration until its filters go, what these match is blocked, unless they have \
         FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED", "FWPM_FILTER0 structure";
    HANDLE_BEFORE_CALLOUTS: Medium, "handle-before-callouts",
        "a classify that comes meanwhile uses a handle that has gone", "FwpsInjectionHandleDestroy0 function";
    DEVICE_BEFORE_CALLOUTS: Medium, "device-before-callouts",
        "callouts are registered with the device object: what else keeps the image is gone before them", "FwpsCalloutRegister3 function";
    OBJECTS_LEFT: High, "objects-left",
        "objects of the filter engine outlive the driver: a filter whose callout is not registered blocks, and the next start meets \
         what is there already. A dynamic session takes its objects along", "Object Management";
    SESSION_LEFT: High, "session-left", "the engine keeps an open session of a driver that has gone", "FwpmEngineClose0 function";
    HANDLE_LEFT: High, "handle-left",
        "the engine keeps a handle, and what was injected with it may complete in an image that has gone",
        "FwpsInjectionHandleDestroy0 function";
    PENDED_LEFT: High, "pended-operation-left",
        "nobody else completes it: the program that waits for its connection waits for ever", "FwpsPendOperation0 function";
    SUBSCRIPTION_LEFT: Critical, "subscription-left",
        "the engine calls back into an image that has gone", "FwpmBfeStateUnsubscribeChanges0 function";
    LINK_LEFT: Medium, "symbolic-link-left",
        "the next start cannot create the link: STATUS_OBJECT_NAME_COLLISION", "IoDeleteSymbolicLink function";
    DEVICE_LEFT: High, "device-left",
        "the device object of an unloaded driver leads into an image that has gone", "IoDeleteDevice function";
    DEVICE_OPEN: High, "device-open-to-everybody",
        "any program may send the driver requests. Without a descriptor of its own a device of most types lets everybody read and write",
        "Securing Device Objects";
    UNLOAD_REPLACED: High, "unload-routine-replaced",
        "WdfDriverCreate sets DRIVER_OBJECT.DriverUnload for the framework: whoever writes it afterwards takes the framework's own \
         clean-up and EvtDriverUnload out", "EVT_WDF_DRIVER_UNLOAD callback function";
    NO_UNLOAD: Medium, "no-unload-routine",
        "the driver stays until the system is restarted", "DRIVER_UNLOAD callback function";
    HANG: High, "hang", "the start or the stop of the driver never ends", "DRIVER_UNLOAD callback function";
    IRQL: High, "irql", "a function was called at an IRQL that it does not allow, or an IRQL was not restored", "Managing Hardware Priorities";
    SPIN_LOCK: High, "spin-lock", "a spin lock is kept, taken twice, or released by who does not hold it", "Introduction to Spin Locks";
    CONTRACT: Medium, "contract", "the call breaks its function's contract", "the page of the function";
    MEMORY_LEFT: Medium, "memory-left", "memory is lost at each unload", "ExFreePoolWithTag function";
    LEFT: Medium, "left-behind", "what a driver has acquired it has to release before it goes", "DRIVER_UNLOAD callback function";
    FAILURE: High, "failure-not-handled",
        "a kernel function may fail at any time, and the driver does not cope with that", "Using NTSTATUS Values";
    START_AFTER_STOP: High, "does-not-start-again", "what an earlier stay has left is in the way of the next", "DRIVER_INITIALIZE callback function";
    UNKNOWN_IMPORTS: Low, "unknown-imports",
        "where the driver calls one, the lab stops: what comes after it was not tried. This says what the lab lacks, not what the driver does", "";
    REFUSED: High, "does-not-start", "nothing else of the driver was tried", "DRIVER_INITIALIZE callback function";
}
