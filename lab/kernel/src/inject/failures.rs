//! What each function may answer when it does not succeed.
//!
//! The statuses of a group are those of the "Return value" sections of the pages that it names (WDK, "Windows driver API reference").
//! Nearly all of these pages add "Other status codes: An error occurred", or "might also return other NTSTATUS values"; so each
//! function with a status also returns [`UNDOCUMENTED`]. `Fwps*` and `Fwpm*` functions succeed with `STATUS_SUCCESS` alone, and
//! return [`UNDOCUMENTED_INFORMATION`] too, which `NT_SUCCESS` takes for a success.

use crate::nt::NtStatus;

/// What is true of the system when a function has failed with a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The call had no effect.
    Refused,
    /// What the call asked for is so: somebody else had done it just before.
    Done,
    /// What the call asked for comes true, but later, on another thread.
    Later,
    /// The engine has ended the session that the call was made in. Its handle must still be closed ("WFP Error Codes").
    SessionEnded,
    /// The engine has ended the transaction that the call was made in.
    TransactionEnded,
    /// The call had no effect, and the status says otherwise of the system: a driver that believes it is not to blame for what
    /// follows, and one that finds out is robust.
    Lie,
}

/// One way for a function to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `STATUS_DEVICE_BUSY`; a number if the status has no name; `NULL` and `FALSE` for functions that return no status.
    pub name: &'static str,
    pub status: NtStatus,
    pub meaning: Meaning,
}

impl Failure {
    /// Whether the function's page names the status.
    pub fn is_documented(&self) -> bool {
        self.status != UNDOCUMENTED.status && self.status != UNDOCUMENTED_INFORMATION.status
    }

    const fn meaning(self, meaning: Meaning) -> Failure {
        Failure { meaning, ..self }
    }

    const fn done(self) -> Failure {
        self.meaning(Meaning::Done)
    }

    const fn later(self) -> Failure {
        self.meaning(Meaning::Later)
    }

    const fn lie(self) -> Failure {
        self.meaning(Meaning::Lie)
    }
}

macro_rules! statuses {
    ($($name:ident = $number:literal;)*) => { $(
        const $name: Failure =
            Failure { name: stringify!($name), status: NtStatus($number as u32 as i32), meaning: Meaning::Refused };
    )* };
}
// ntstatus.h
statuses! {
    STATUS_PENDING = 0x0000_0103;
    STATUS_OBJECT_NAME_EXISTS = 0x4000_0000;
    STATUS_BUFFER_OVERFLOW = 0x8000_0005;
    STATUS_DEVICE_BUSY = 0x8000_0011;
    STATUS_NO_MORE_ENTRIES = 0x8000_001A;
    STATUS_UNSUCCESSFUL = 0xC000_0001;
    STATUS_INFO_LENGTH_MISMATCH = 0xC000_0004;
    STATUS_ACCESS_VIOLATION = 0xC000_0005;
    STATUS_INVALID_HANDLE = 0xC000_0008;
    STATUS_INVALID_PARAMETER = 0xC000_000D;
    STATUS_INVALID_DEVICE_REQUEST = 0xC000_0010;
    STATUS_NO_MEMORY = 0xC000_0017;
    STATUS_ACCESS_DENIED = 0xC000_0022;
    STATUS_BUFFER_TOO_SMALL = 0xC000_0023;
    STATUS_OBJECT_TYPE_MISMATCH = 0xC000_0024;
    STATUS_OBJECT_NAME_INVALID = 0xC000_0033;
    STATUS_OBJECT_NAME_NOT_FOUND = 0xC000_0034;
    STATUS_OBJECT_NAME_COLLISION = 0xC000_0035;
    STATUS_DELETE_PENDING = 0xC000_0056;
    STATUS_INVALID_SECURITY_DESCR = 0xC000_0079;
    STATUS_INSUFFICIENT_RESOURCES = 0xC000_009A;
    STATUS_NOT_SUPPORTED = 0xC000_00BB;
    STATUS_INTERNAL_ERROR = 0xC000_00E5;
    STATUS_INVALID_USER_BUFFER = 0xC000_00E8;
    STATUS_INVALID_PARAMETER_4 = 0xC000_00F2;
    STATUS_PROCESS_IS_TERMINATING = 0xC000_010A;
    STATUS_CANCELLED = 0xC000_0120;
    STATUS_DRIVER_INTERNAL_ERROR = 0xC000_0183;
    STATUS_INVALID_DEVICE_STATE = 0xC000_0184;
    STATUS_NOT_FOUND = 0xC000_0225;
    STATUS_POWER_STATE_INVALID = 0xC000_02D3;
    RPC_NT_SERVER_UNAVAILABLE = 0xC002_0017;
    STATUS_FLT_INSTANCE_ALTITUDE_COLLISION = 0xC01C_0011;
    STATUS_WDF_PAUSED = 0xC020_0203;
    STATUS_WDF_BUSY = 0xC020_0204;
    STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL = 0xC020_0206;
    STATUS_WDF_PARENT_NOT_SPECIFIED = 0xC020_0208;
    STATUS_WDF_NO_CALLBACK = 0xC020_0209;
    STATUS_FWP_CALLOUT_NOT_FOUND = 0xC022_0001;
    STATUS_FWP_FILTER_NOT_FOUND = 0xC022_0003;
    STATUS_FWP_LAYER_NOT_FOUND = 0xC022_0004;
    STATUS_FWP_PROVIDER_NOT_FOUND = 0xC022_0005;
    STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND = 0xC022_0006;
    STATUS_FWP_SUBLAYER_NOT_FOUND = 0xC022_0007;
    STATUS_FWP_ALREADY_EXISTS = 0xC022_0009;
    STATUS_FWP_IN_USE = 0xC022_000A;
    STATUS_FWP_NO_TXN_IN_PROGRESS = 0xC022_000D;
    STATUS_FWP_TXN_IN_PROGRESS = 0xC022_000E;
    STATUS_FWP_TXN_ABORTED = 0xC022_000F;
    STATUS_FWP_SESSION_ABORTED = 0xC022_0010;
    STATUS_FWP_TIMEOUT = 0xC022_0012;
    STATUS_FWP_LIFETIME_MISMATCH = 0xC022_0016;
    STATUS_FWP_TOO_MANY_CALLOUTS = 0xC022_0018;
    STATUS_FWP_NULL_POINTER = 0xC022_001C;
    STATUS_FWP_OUT_OF_BOUNDS = 0xC022_0028;
    STATUS_FWP_TOO_MANY_SUBLAYERS = 0xC022_0036;
    STATUS_FWP_CALLOUT_NOTIFICATION_FAILED = 0xC022_0037;
    STATUS_FWP_TCPIP_NOT_READY = 0xC022_0100;
    STATUS_FWP_INJECT_HANDLE_CLOSING = 0xC022_0101;
    STATUS_FWP_INJECT_HANDLE_STALE = 0xC022_0102;
    STATUS_FWP_CANNOT_PEND = 0xC022_0103;
}

/// A status of nobody's: the customer bit is set.
const UNDOCUMENTED: Failure =
    Failure { name: "0xE0DE0001", status: NtStatus(0xE0DE_0001_u32 as i32), meaning: Meaning::Refused };
/// Nobody's either, of informational severity.
const UNDOCUMENTED_INFORMATION: Failure =
    Failure { name: "0x60DE0001", status: NtStatus(0x60DE_0001), meaning: Meaning::Refused };

const SESSION_ABORTED: Failure = STATUS_FWP_SESSION_ABORTED.meaning(Meaning::SessionEnded);

/// A pointer, a handle: the status is what the lab is told, and nobody sees it.
const NULL: Failure = Failure { name: "NULL", ..STATUS_INSUFFICIENT_RESOURCES };
const FALSE: Failure = Failure { name: "FALSE", ..STATUS_INSUFFICIENT_RESOURCES };
/// `NDIS_STATUS_RESOURCES` and `NDIS_STATUS_FAILURE` are the same numbers.
const NDIS: &[Failure] = &[STATUS_INSUFFICIENT_RESOURCES, STATUS_UNSUCCESSFUL];

struct Group {
    functions: &'static [&'static str],
    failures: &'static [Failure],
    /// What else functions of this group return.
    others: &'static [Failure],
}

/// Functions that return an `NTSTATUS`.
const fn status(functions: &'static [&'static str], failures: &'static [Failure]) -> Group {
    Group { functions, failures, others: &[UNDOCUMENTED] }
}

/// `Fwps*` and `Fwpm*` functions.
const fn engine(functions: &'static [&'static str], failures: &'static [Failure]) -> Group {
    Group { functions, failures, others: &[UNDOCUMENTED, UNDOCUMENTED_INFORMATION] }
}

/// Functions that return something else.
const fn only(functions: &'static [&'static str], failures: &'static [Failure]) -> Group {
    Group { functions, failures, others: &[] }
}

const GROUPS: &[Group] = &[
    // "FwpmEngineOpen0 function": needs BFE, which it calls by RPC.
    engine(
        &["FwpmEngineOpen0"],
        &[RPC_NT_SERVER_UNAVAILABLE, STATUS_FWP_ALREADY_EXISTS, STATUS_INSUFFICIENT_RESOURCES],
    ),
    // "FwpmEngineClose0 function": only "other status codes".
    engine(&["FwpmEngineClose0"], &[]),
    // "FwpmTransactionBegin0 function" (fwpmu.h), "WFP Error Codes".
    engine(&["FwpmTransactionBegin0"], &[STATUS_FWP_TIMEOUT, SESSION_ABORTED, STATUS_FWP_TXN_IN_PROGRESS.lie()]),
    engine(
        &["FwpmTransactionCommit0"],
        &[
            STATUS_FWP_TXN_ABORTED.meaning(Meaning::TransactionEnded),
            SESSION_ABORTED,
            STATUS_FWP_NO_TXN_IN_PROGRESS.lie(),
        ],
    ),
    engine(&["FwpmTransactionAbort0"], &[STATUS_FWP_NO_TXN_IN_PROGRESS.meaning(Meaning::Done), SESSION_ABORTED]),
    // "FwpmProviderAdd0 function", "FwpmSubLayerAdd0 function" (fwpmu.h).
    engine(&["FwpmProviderAdd0"], &[STATUS_FWP_ALREADY_EXISTS, SESSION_ABORTED]),
    engine(
        &["FwpmSubLayerAdd0"],
        &[
            STATUS_FWP_ALREADY_EXISTS,
            STATUS_FWP_TOO_MANY_SUBLAYERS,
            STATUS_FWP_PROVIDER_NOT_FOUND.lie(),
            SESSION_ABORTED,
        ],
    ),
    // "FwpmCalloutAdd0 function" (fwpmk.h).
    engine(&["FwpmCalloutAdd0"], &[STATUS_FWP_ALREADY_EXISTS, STATUS_FWP_TOO_MANY_CALLOUTS, SESSION_ABORTED]),
    // "FwpmFilterAdd0 function" (fwpmu.h); "FWPS_CALLOUT_NOTIFY_FN0 callback function".
    engine(
        &["FwpmFilterAdd0"],
        &[
            STATUS_FWP_ALREADY_EXISTS,
            STATUS_FWP_CALLOUT_NOTIFICATION_FAILED,
            STATUS_FWP_LIFETIME_MISMATCH,
            STATUS_FWP_CALLOUT_NOT_FOUND.lie(),
            SESSION_ABORTED,
        ],
    ),
    // "FwpmFilterDeleteById0 function", "FwpmProviderDeleteByKey0 function", "FwpmSubLayerDeleteByKey0 function" (fwpmu.h).
    engine(
        &["FwpmFilterDeleteById0", "FwpmFilterDeleteByKey0"],
        &[STATUS_FWP_FILTER_NOT_FOUND.done(), SESSION_ABORTED],
    ),
    engine(&["FwpmProviderDeleteByKey0"], &[STATUS_FWP_IN_USE, STATUS_FWP_PROVIDER_NOT_FOUND.done(), SESSION_ABORTED]),
    engine(&["FwpmSubLayerDeleteByKey0"], &[STATUS_FWP_IN_USE, STATUS_FWP_SUBLAYER_NOT_FOUND.done(), SESSION_ABORTED]),
    // "FwpmCalloutDeleteById0 function", "FwpmCalloutDeleteByKey0 function" (fwpmk.h).
    engine(
        &["FwpmCalloutDeleteById0", "FwpmCalloutDeleteByKey0"],
        &[STATUS_FWP_IN_USE, STATUS_FWP_CALLOUT_NOT_FOUND.done(), SESSION_ABORTED],
    ),
    // "FwpmProviderContextAdd3 function" and its elders, "FwpmProviderContextDeleteByKey0 function" (fwpmu.h).
    engine(
        &["FwpmProviderContextAdd0", "FwpmProviderContextAdd1", "FwpmProviderContextAdd2", "FwpmProviderContextAdd3"],
        &[STATUS_FWP_ALREADY_EXISTS, STATUS_FWP_PROVIDER_NOT_FOUND.lie(), SESSION_ABORTED],
    ),
    engine(
        &["FwpmProviderContextDeleteById0", "FwpmProviderContextDeleteByKey0"],
        &[STATUS_FWP_IN_USE, STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND.done(), SESSION_ABORTED],
    ),
    // The Get functions (fwpmu.h).
    engine(
        &[
            "FwpmProviderContextGetById0",
            "FwpmProviderContextGetById1",
            "FwpmProviderContextGetById2",
            "FwpmProviderContextGetById3",
            "FwpmProviderContextGetByKey0",
            "FwpmProviderContextGetByKey1",
            "FwpmProviderContextGetByKey2",
            "FwpmProviderContextGetByKey3",
        ],
        &[STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND, SESSION_ABORTED],
    ),
    engine(&["FwpmProviderGetByKey0"], &[STATUS_FWP_PROVIDER_NOT_FOUND, SESSION_ABORTED]),
    engine(&["FwpmSubLayerGetByKey0"], &[STATUS_FWP_SUBLAYER_NOT_FOUND, SESSION_ABORTED]),
    engine(&["FwpmCalloutGetByKey0", "FwpmCalloutGetById0"], &[STATUS_FWP_CALLOUT_NOT_FOUND, SESSION_ABORTED]),
    engine(&["FwpmFilterGetById0", "FwpmFilterGetByKey0"], &[STATUS_FWP_FILTER_NOT_FOUND, SESSION_ABORTED]),
    engine(&["FwpmLayerGetById0", "FwpmLayerGetByKey0"], &[STATUS_FWP_LAYER_NOT_FOUND, SESSION_ABORTED]),
    // "FwpmFilterCreateEnumHandle0 function" and its kin (fwpmu.h).
    engine(
        &[
            "FwpmProviderCreateEnumHandle0",
            "FwpmProviderEnum0",
            "FwpmProviderContextCreateEnumHandle0",
            "FwpmProviderContextEnum0",
            "FwpmProviderContextEnum1",
            "FwpmProviderContextEnum2",
            "FwpmProviderContextEnum3",
            "FwpmSubLayerCreateEnumHandle0",
            "FwpmSubLayerEnum0",
            "FwpmCalloutCreateEnumHandle0",
            "FwpmCalloutEnum0",
            "FwpmFilterCreateEnumHandle0",
            "FwpmFilterEnum0",
            "FwpmLayerCreateEnumHandle0",
            "FwpmLayerEnum0",
            "FwpmSessionCreateEnumHandle0",
            "FwpmSessionEnum0",
        ],
        &[STATUS_INSUFFICIENT_RESOURCES, SESSION_ABORTED],
    ),
    engine(
        &[
            "FwpmProviderDestroyEnumHandle0",
            "FwpmProviderContextDestroyEnumHandle0",
            "FwpmSubLayerDestroyEnumHandle0",
            "FwpmCalloutDestroyEnumHandle0",
            "FwpmFilterDestroyEnumHandle0",
            "FwpmLayerDestroyEnumHandle0",
            "FwpmSessionDestroyEnumHandle0",
        ],
        &[SESSION_ABORTED],
    ),
    // "FwpmBfeStateSubscribeChanges0 function", "FwpmBfeStateUnsubscribeChanges0 function": only "other status codes".
    engine(&["FwpmBfeStateSubscribeChanges0"], &[STATUS_INSUFFICIENT_RESOURCES]),
    engine(&["FwpmBfeStateUnsubscribeChanges0"], &[]),
    // "FwpsCalloutRegister3 function" and its elders.
    engine(
        &["FwpsCalloutRegister0", "FwpsCalloutRegister1", "FwpsCalloutRegister2", "FwpsCalloutRegister3"],
        &[STATUS_FWP_ALREADY_EXISTS, STATUS_INSUFFICIENT_RESOURCES],
    ),
    // "FwpsCalloutUnregisterById0 function", "FwpsCalloutUnregisterByKey0 function". That a wrong IRQL is STATUS_NOT_SUPPORTED is
    // reported, not documented.
    engine(
        &["FwpsCalloutUnregisterById0", "FwpsCalloutUnregisterByKey0"],
        &[STATUS_DEVICE_BUSY, STATUS_FWP_IN_USE, STATUS_NOT_SUPPORTED, STATUS_FWP_CALLOUT_NOT_FOUND.lie()],
    ),
    // "FwpsFlowAssociateContext0 function".
    engine(
        &["FwpsFlowAssociateContext0"],
        &[STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_EXISTS.lie(), STATUS_INSUFFICIENT_RESOURCES],
    ),
    // "FwpsFlowRemoveContext0 function": STATUS_PENDING has flowDeleteFn called when the classify has ended; STATUS_UNSUCCESSFUL is
    // what one hears whose flow ends at the same time, and then flowDeleteFn is on its way.
    engine(&["FwpsFlowRemoveContext0"], &[STATUS_PENDING.later(), STATUS_UNSUCCESSFUL.later()]),
    // "FwpsFlowAbort0 function", "FwpsAcquireClassifyHandle0 function", "FwpsAcquireWritableLayerDataPointer0 function",
    // "FwpsRedirectHandleCreate0 function", "FwpsStreamContinue0 function" and others: only "other status codes".
    engine(
        &[
            "FwpsFlowAbort0",
            "FwpsAcquireClassifyHandle0",
            "FwpsAcquireWritableLayerDataPointer0",
            "FwpsRedirectHandleCreate0",
            "FwpsStreamContinue0",
            "FwpsCloneStreamData0",
            "FwpsConstructIpHeaderForTransportPacket0",
            "FwpsGetPacketListSecurityInformation0",
            "FwpsAllocateCloneNetBufferList0",
            "FwpsAllocateNetBufferAndNetBufferList0",
        ],
        &[STATUS_INSUFFICIENT_RESOURCES],
    ),
    // "FwpsPendClassify0 function".
    engine(&["FwpsPendClassify0"], &[STATUS_FWP_CANNOT_PEND]),
    // "FwpsPendOperation0 function".
    engine(&["FwpsPendOperation0"], &[STATUS_FWP_CANNOT_PEND, STATUS_FWP_NULL_POINTER, STATUS_FWP_TCPIP_NOT_READY]),
    // "FwpsInjectionHandleCreate0 function", "FwpsInjectionHandleDestroy0 function".
    engine(&["FwpsInjectionHandleCreate0"], &[STATUS_FWP_TCPIP_NOT_READY, STATUS_INSUFFICIENT_RESOURCES]),
    engine(&["FwpsInjectionHandleDestroy0"], &[]),
    // "FwpsInjectNetworkSendAsync0 function" and its kin, "FwpsStreamInjectAsync0 function".
    engine(
        &[
            "FwpsInjectNetworkSendAsync0",
            "FwpsInjectNetworkReceiveAsync0",
            "FwpsInjectMacSendAsync0",
            "FwpsInjectMacReceiveAsync0",
        ],
        &[STATUS_FWP_TCPIP_NOT_READY, STATUS_FWP_INJECT_HANDLE_CLOSING, STATUS_FWP_INJECT_HANDLE_STALE],
    ),
    engine(
        &[
            "FwpsInjectTransportSendAsync0",
            "FwpsInjectTransportSendAsync1",
            "FwpsInjectTransportReceiveAsync0",
            "FwpsInjectForwardAsync0",
            "FwpsStreamInjectAsync0",
        ],
        &[STATUS_FWP_TCPIP_NOT_READY, STATUS_FWP_INJECT_HANDLE_CLOSING],
    ),
    // "FwpsClassifyOptionSet0 function".
    engine(&["FwpsClassifyOptionSet0"], &[STATUS_FWP_OUT_OF_BOUNDS, STATUS_OBJECT_TYPE_MISMATCH, STATUS_UNSUCCESSFUL]),
    // The entry point that the WDK links in calls it, before the driver's own.
    status(&["WdfVersionBind"], &[STATUS_INSUFFICIENT_RESOURCES]),
    // "WdfDriverCreate function", "Framework Object Creation Errors".
    status(
        &["WdfDriverCreate"],
        &[STATUS_DRIVER_INTERNAL_ERROR, STATUS_INVALID_PARAMETER, STATUS_INSUFFICIENT_RESOURCES],
    ),
    only(&["WdfControlDeviceInitAllocate"], &[NULL]),
    // "WdfDeviceInitAssignName function" and others that name only STATUS_INSUFFICIENT_RESOURCES, among them those whose pages refer
    // to "Framework Object Creation Errors".
    status(
        &[
            "WdfDeviceInitAssignName",
            "WdfDeviceInitAssignSDDLString",
            "WdfDriverRetrieveVersionString",
            "WdfDeviceCreateSymbolicLink",
            "WdfObjectCreate",
            "WdfSpinLockCreate",
            "WdfWaitLockCreate",
            "WdfDeviceRetrieveDeviceName",
        ],
        &[STATUS_INVALID_PARAMETER, STATUS_INSUFFICIENT_RESOURCES],
    ),
    status(
        &["WdfDeviceInitAssignWdmIrpPreprocessCallback"],
        &[STATUS_INVALID_PARAMETER, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST],
    ),
    // "WdfDeviceCreate function".
    status(
        &["WdfDeviceCreate"],
        &[
            STATUS_INVALID_PARAMETER,
            STATUS_INVALID_DEVICE_STATE,
            STATUS_INVALID_SECURITY_DESCR,
            STATUS_INSUFFICIENT_RESOURCES,
            STATUS_OBJECT_NAME_COLLISION,
        ],
    ),
    // "WdfDeviceConfigureRequestDispatching function", "WdfDeviceEnqueueRequest function".
    status(
        &["WdfDeviceConfigureRequestDispatching"],
        &[STATUS_INVALID_PARAMETER, STATUS_INSUFFICIENT_RESOURCES, STATUS_WDF_BUSY],
    ),
    status(
        &["WdfDeviceEnqueueRequest"],
        &[STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST, STATUS_WDF_BUSY],
    ),
    // "WdfObjectAllocateContext function".
    status(
        &["WdfObjectAllocateContext"],
        &[STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_INVALID, STATUS_INSUFFICIENT_RESOURCES, STATUS_DELETE_PENDING],
    ),
    // "WdfMemoryCreate function" and others of wdfmemory.h; "WdfCollectionCreate function"; "WdfStringCreate function".
    status(
        &[
            "WdfMemoryCreate",
            "WdfMemoryCreatePreallocated",
            "WdfMemoryAssignBuffer",
            "WdfLookasideListCreate",
            "WdfMemoryCreateFromLookaside",
            "WdfCollectionCreate",
            "WdfStringCreate",
        ],
        &[STATUS_INVALID_PARAMETER, STATUS_INSUFFICIENT_RESOURCES],
    ),
    status(&["WdfCollectionAdd"], &[STATUS_UNSUCCESSFUL]),
    // "WdfIoQueueCreate function".
    status(
        &["WdfIoQueueCreate"],
        &[
            STATUS_INVALID_PARAMETER,
            STATUS_INFO_LENGTH_MISMATCH,
            STATUS_POWER_STATE_INVALID,
            STATUS_INSUFFICIENT_RESOURCES,
            STATUS_WDF_NO_CALLBACK,
            STATUS_UNSUCCESSFUL,
        ],
    ),
    // "WdfIoQueueRetrieveNextRequest function" and its kin. That there is no request is a lie where one waits; but one may come, or
    // be cancelled, at any moment, so a driver has to cope.
    status(
        &["WdfIoQueueRetrieveNextRequest", "WdfIoQueueRetrieveRequestByFileObject"],
        &[STATUS_INVALID_PARAMETER, STATUS_NO_MORE_ENTRIES.lie(), STATUS_INVALID_DEVICE_STATE, STATUS_WDF_PAUSED],
    ),
    status(
        &["WdfIoQueueFindRequest", "WdfIoQueueRetrieveFoundRequest"],
        &[STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND.lie(), STATUS_NO_MORE_ENTRIES.lie()],
    ),
    status(&["WdfIoQueueReadyNotify"], &[STATUS_INVALID_PARAMETER, STATUS_INVALID_DEVICE_REQUEST]),
    // "WdfRequestForwardToIoQueue function", "WdfRequestRequeue function".
    status(&["WdfRequestForwardToIoQueue"], &[STATUS_INVALID_DEVICE_REQUEST, STATUS_WDF_BUSY]),
    status(&["WdfRequestRequeue"], &[STATUS_INVALID_PARAMETER, STATUS_INVALID_DEVICE_REQUEST]),
    // "WdfRequestRetrieveInputBuffer function" and its kin.
    status(
        &[
            "WdfRequestRetrieveInputBuffer",
            "WdfRequestRetrieveOutputBuffer",
            "WdfRequestRetrieveInputMemory",
            "WdfRequestRetrieveOutputMemory",
            "WdfRequestRetrieveInputWdmMdl",
            "WdfRequestRetrieveOutputWdmMdl",
        ],
        &[
            STATUS_INVALID_PARAMETER,
            STATUS_BUFFER_TOO_SMALL,
            STATUS_INVALID_DEVICE_REQUEST,
            STATUS_INTERNAL_ERROR,
            STATUS_INSUFFICIENT_RESOURCES,
        ],
    ),
    status(
        &["WdfRequestRetrieveUnsafeUserInputBuffer", "WdfRequestRetrieveUnsafeUserOutputBuffer"],
        &[STATUS_INVALID_PARAMETER, STATUS_INVALID_DEVICE_REQUEST, STATUS_BUFFER_TOO_SMALL],
    ),
    status(
        &["WdfRequestProbeAndLockUserBufferForRead", "WdfRequestProbeAndLockUserBufferForWrite"],
        &[
            STATUS_INVALID_PARAMETER,
            STATUS_INVALID_USER_BUFFER,
            STATUS_INVALID_DEVICE_REQUEST,
            STATUS_ACCESS_VIOLATION,
            STATUS_INSUFFICIENT_RESOURCES,
        ],
    ),
    // "WdfRequestMarkCancelableEx function": after STATUS_CANCELLED the caller completes the request, which EvtRequestCancel does not.
    status(&["WdfRequestMarkCancelableEx"], &[STATUS_CANCELLED, STATUS_INVALID_DEVICE_REQUEST]),
    // "WdfTimerCreate function", "WdfDpcCreate function", "WdfWorkItemCreate function".
    status(
        &["WdfTimerCreate", "WdfDpcCreate", "WdfWorkItemCreate"],
        &[
            STATUS_WDF_PARENT_NOT_SPECIFIED,
            STATUS_INVALID_PARAMETER,
            STATUS_INVALID_DEVICE_REQUEST,
            STATUS_INSUFFICIENT_RESOURCES,
            STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL,
        ],
    ),
    // "WdfRegistryOpenKey function" and the other functions of wdfregistry.h.
    status(
        &[
            "WdfDriverOpenParametersRegistryKey",
            "WdfRegistryOpenKey",
            "WdfRegistryCreateKey",
            "WdfRegistryRemoveValue",
            "WdfRegistryQueryValue",
            "WdfRegistryQueryMemory",
            "WdfRegistryQueryUnicodeString",
            "WdfRegistryQueryString",
            "WdfRegistryQueryULong",
            "WdfRegistryAssignValue",
            "WdfRegistryAssignMemory",
            "WdfRegistryAssignUnicodeString",
            "WdfRegistryAssignString",
            "WdfRegistryAssignULong",
        ],
        &[STATUS_INVALID_PARAMETER, STATUS_INSUFFICIENT_RESOURCES, STATUS_ACCESS_DENIED, STATUS_OBJECT_NAME_NOT_FOUND],
    ),
    // Pool, and what else returns a pointer or a handle.
    only(
        &[
            "ExAllocatePool2",
            "ExAllocatePool3",
            "ExAllocatePool",
            "ExAllocatePoolWithTag",
            "ExAllocatePoolWithQuotaTag",
            "ExAllocatePoolWithTagPriority",
            "IoAllocateWorkItem",
            "IoAllocateIrp",
            "IoBuildDeviceIoControlRequest",
            "IoAllocateMdl",
            "MmMapLockedPagesSpecifyCache",
            "MmAllocateContiguousMemory",
            "ExAllocateTimer",
            "ExAllocateCacheAwareRundownProtection",
            "ExRegisterCallback",
            "KeRegisterProcessorChangeCallback",
            "NdisAllocateNetBufferListPool",
            "NdisAllocateNetBufferPool",
            "NdisAllocateNetBufferList",
            "NdisAllocateNetBufferAndNetBufferList",
            "NdisAllocateNetBuffer",
            "NdisAllocateCloneNetBufferList",
            "NdisAllocateMdl",
            "NdisGetDataBuffer",
            "NdisAllocateGenericObject",
        ],
        &[NULL],
    ),
    // "MmGetSystemRoutineAddress function": NULL if the name cannot be resolved, as on an older system.
    only(&["MmGetSystemRoutineAddress"], &[NULL]),
    only(&["NdisRetreatNetBufferDataStart", "NdisRetreatNetBufferListDataStart"], NDIS),
    only(&["RtlCreateUnicodeString"], &[FALSE]),
    // "RtlAnsiStringToUnicodeString function" and others that allocate the string.
    status(
        &[
            "RtlAnsiStringToUnicodeString",
            "RtlUnicodeStringToAnsiString",
            "RtlDuplicateUnicodeString",
            "RtlUpcaseUnicodeString",
            "RtlDowncaseUnicodeString",
            "RtlUnicodeStringToUTF8String",
            "RtlUTF8StringToUnicodeString",
            "RtlStringFromGUID",
            "RtlConvertSidToUnicodeString",
        ],
        &[STATUS_NO_MEMORY],
    ),
    // "IoCreateDevice function", "WdmlibIoCreateDeviceSecure function".
    status(
        &["IoCreateDevice", "IoCreateDeviceSecure", "WdmlibIoCreateDeviceSecure"],
        &[STATUS_INSUFFICIENT_RESOURCES, STATUS_OBJECT_NAME_COLLISION],
    ),
    // "IoCreateSymbolicLink function": STATUS_SUCCESS or not.
    status(
        &["IoCreateSymbolicLink", "IoCreateUnprotectedSymbolicLink"],
        &[STATUS_OBJECT_NAME_COLLISION, STATUS_INSUFFICIENT_RESOURCES],
    ),
    // "IoCsqInitialize function", "IoRegisterShutdownNotification function": "the appropriate NTSTATUS error code on failure".
    status(
        &["IoCsqInitialize", "IoCsqInitializeEx", "IoRegisterShutdownNotification"],
        &[STATUS_INSUFFICIENT_RESOURCES],
    ),
    // "ObReferenceObjectByHandle function".
    status(
        &["ObReferenceObjectByHandle", "ObReferenceObjectByHandleWithTag"],
        &[STATUS_OBJECT_TYPE_MISMATCH, STATUS_ACCESS_DENIED, STATUS_INVALID_HANDLE.lie()],
    ),
    // "ZwCreateEvent function".
    status(
        &["ZwCreateEvent"],
        &[
            STATUS_INSUFFICIENT_RESOURCES,
            STATUS_INVALID_PARAMETER,
            STATUS_INVALID_PARAMETER_4,
            STATUS_OBJECT_NAME_INVALID,
        ],
    ),
    // "PsCreateSystemThread function", "IoCreateSystemThread function".
    status(
        &["PsCreateSystemThread", "IoCreateSystemThread"],
        &[STATUS_INVALID_HANDLE, STATUS_PROCESS_IS_TERMINATING, STATUS_INSUFFICIENT_RESOURCES],
    ),
    // "ExInitializeLookasideListEx function".
    status(&["ExInitializeLookasideListEx"], &[STATUS_INVALID_PARAMETER_4, STATUS_INSUFFICIENT_RESOURCES]),
    // "ZwOpenKey function" and its kin, "RtlQueryRegistryValues function".
    status(&["ZwOpenKey", "ZwOpenKeyEx", "ZwCreateKey"], &[STATUS_ACCESS_DENIED, STATUS_OBJECT_NAME_NOT_FOUND]),
    status(
        &["ZwQueryValueKey"],
        &[STATUS_OBJECT_NAME_NOT_FOUND, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER],
    ),
    status(&["ZwSetValueKey"], &[STATUS_ACCESS_DENIED, STATUS_INVALID_HANDLE]),
    status(&["RtlQueryRegistryValues"], &[STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_NOT_FOUND]),
    // "EtwRegister function", "EtwWriteString function" and its kin.
    status(&["EtwRegister"], &[STATUS_INVALID_PARAMETER, STATUS_INSUFFICIENT_RESOURCES]),
    status(
        &["EtwWrite", "EtwWriteEx", "EtwWriteTransfer", "EtwWriteString"],
        &[STATUS_INVALID_PARAMETER, STATUS_NO_MEMORY],
    ),
    // "IoAllocateDriverObjectExtension function", "SeLocateProcessImageName function".
    status(&["IoAllocateDriverObjectExtension"], &[STATUS_INSUFFICIENT_RESOURCES, STATUS_OBJECT_NAME_COLLISION]),
    status(&["SeLocateProcessImageName"], &[STATUS_NOT_FOUND]),
    // "PsSetCreateProcessNotifyRoutineEx function" and other registrations of callbacks.
    status(
        &[
            "PsSetCreateProcessNotifyRoutine",
            "PsSetCreateProcessNotifyRoutineEx",
            "PsSetCreateProcessNotifyRoutineEx2",
            "PsSetCreateThreadNotifyRoutine",
            "PsSetLoadImageNotifyRoutine",
            "PoRegisterPowerSettingCallback",
            "IoRegisterPlugPlayNotification",
        ],
        &[STATUS_INVALID_PARAMETER, STATUS_ACCESS_DENIED, STATUS_INSUFFICIENT_RESOURCES],
    ),
    // "CmRegisterCallbackEx function", "ObRegisterCallbacks function".
    status(
        &["CmRegisterCallback", "CmRegisterCallbackEx", "ObRegisterCallbacks"],
        &[STATUS_FLT_INSTANCE_ALTITUDE_COLLISION, STATUS_INSUFFICIENT_RESOURCES],
    ),
];

/// Functions that images import and that do not fail, or not on their own, with the reason.
const CANNOT_FAIL: &[(&[&str], &str)] = &[
    (&["DbgPrint", "DbgPrintEx", "KeBugCheckEx"], "what they return, nobody can act on"),
    (&["ExFreePool", "ExFreePoolWithTag", "IoFreeWorkItem", "FwpmFreeMemory0"], "they return nothing"),
    (
        &[
            "IoQueueWorkItem",
            "KeInitializeEvent",
            "KeInitializeTimer",
            "KeInitializeTimerEx",
            "KeInitializeDpc",
            "KeInitializeSpinLock",
            "KeFlushQueuedDpcs",
            "RtlInitUnicodeString",
            "RtlCopyUnicodeString",
            "IoDeleteDevice",
            "IofCompleteRequest",
            "ObfDereferenceObject",
            "FwpsCompleteOperation0",
            "FwpsFreeCloneNetBufferList0",
            "FwpsFreeNetBufferList0",
            "IoFreeMdl",
            "MmBuildMdlForNonPagedPool",
            "NdisAdvanceNetBufferDataStart",
            "NdisCopyReceiveNetBufferListInfo",
            "NdisCopySendNetBufferListInfo",
            "NdisFreeNetBufferListPool",
            "memcpy",
            "memmove",
            "memset",
            "memcmp",
        ],
        "they return nothing that could be an error",
    ),
    (
        &[
            "KeAcquireSpinLockRaiseToDpc",
            "KeReleaseSpinLock",
            "KeGetCurrentIrql",
            "KeGetCurrentProcessorNumberEx",
            "KeQueryMaximumProcessorCountEx",
            "KeSetEvent",
            "KeResetEvent",
            "KeClearEvent",
            "KeSetTimer",
            "KeSetTimerEx",
            "KeCancelTimer",
            "KeInsertQueueDpc",
            "KeQuerySystemTimePrecise",
            "KeQueryInterruptTime",
            "FwpmBfeStateGet0",
            "FwpsQueryPacketInjectionState0",
        ],
        "what they return is a state, and no error",
    ),
    (
        &[
            "KeWaitForSingleObject",
            "KeDelayExecutionThread",
            "KeWaitForMultipleObjects",
            "KeWaitForMutexObject",
            "ZwWaitForSingleObject",
        ],
        "without a timeout and not alertable, a wait ends only when it is satisfied; with a timeout it is the lab's time that ends it",
    ),
    (
        &["ZwClose", "IoDeleteSymbolicLink", "EtwUnregister", "PsTerminateSystemThread"],
        "they fail only for what does not exist",
    ),
    (&["IoCsqInsertIrpEx", "IoCsqInsertIrp"], "their status is that of the driver's own routine"),
    (&["IoCsqRemoveNextIrp", "IoCsqRemoveIrp"], "NULL means that no IRP is there, which is so when it is"),
    (
        &["WdfVersionUnbind", "WdfVersionBindClass", "WdfVersionUnbindClass"],
        "the entry point that the WDK links in calls them",
    ),
];

/// The ways in which a function can fail; none for one that cannot, or that nobody has listed.
pub fn failures_of(function: &str) -> Vec<Failure> {
    GROUPS
        .iter()
        .find(|group| group.functions.contains(&function))
        .map(|group| group.failures.iter().chain(group.others).copied().collect())
        .unwrap_or_default()
}

/// Every function for which a failure is listed.
pub fn fallible_functions() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|group| group.functions).copied()
}

/// Why a function that images import has no failures.
pub fn cannot_fail(function: &str) -> Option<&'static str> {
    CANNOT_FAIL.iter().find(|(functions, _)| functions.contains(&function)).map(|(_, reason)| *reason)
}

/// What a status of a function says; whatever is not listed is a refusal.
pub(super) fn meaning(function: &str, status: NtStatus) -> Meaning {
    failures_of(function)
        .into_iter()
        .find(|failure| failure.status == status)
        .map_or(Meaning::Refused, |failure| failure.meaning)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::export;

    #[test]
    fn every_function_that_is_listed_exists_and_is_listed_once() {
        let mut seen = HashSet::new();
        for function in fallible_functions().chain(CANNOT_FAIL.iter().flat_map(|(functions, _)| *functions).copied()) {
            assert!(export::all().has_function(function), "the lab supplies no {function}");
            assert!(seen.insert(function), "{function} is listed twice");
        }
    }

    #[test]
    fn a_function_fails_with_each_status_once_and_never_with_success() {
        for function in fallible_functions() {
            let failures = failures_of(function);
            let statuses: HashSet<NtStatus> = failures.iter().map(|failure| failure.status).collect();
            assert_eq!(statuses.len(), failures.len(), "{function}");
            assert!(!statuses.contains(&NtStatus::SUCCESS), "{function}");
        }
    }
}
