//! The functions of `fwpkclnt.sys` (fwpsk.h, fwpmk.h), and those of NDIS and the kernel that make packets (ndis.h, wdm.h).

use super::*;
use core::ffi::c_void;

#[cfg_attr(target_env = "msvc", link(name = "fwpkclnt"))]
unsafe extern "system" {
    // Callouts. IRQL: PASSIVE_LEVEL.
    pub fn FwpsCalloutRegister3(
        deviceObject: *mut c_void,
        callout: *const FWPS_CALLOUT3,
        calloutId: *mut u32,
    ) -> NTSTATUS;
    pub fn FwpsCalloutUnregisterById0(calloutId: u32) -> NTSTATUS;
    pub fn FwpsCalloutUnregisterByKey0(calloutKey: *const GUID) -> NTSTATUS;

    // Flow contexts. IRQL: at most DISPATCH_LEVEL.
    pub fn FwpsFlowAssociateContext0(flowId: u64, layerId: u16, calloutId: u32, flowContext: u64) -> NTSTATUS;
    pub fn FwpsFlowRemoveContext0(flowId: u64, layerId: u16, calloutId: u32) -> NTSTATUS;
    pub fn FwpsFlowAbort0(flowId: u64) -> NTSTATUS;

    // Pending. IRQL: at most DISPATCH_LEVEL.
    pub fn FwpsPendOperation0(completionHandle: HANDLE, completionContext: *mut HANDLE) -> NTSTATUS;
    pub fn FwpsCompleteOperation0(completionContext: HANDLE, netBufferList: *mut NET_BUFFER_LIST);
    pub fn FwpsAcquireClassifyHandle0(classifyContext: *mut c_void, flags: u32, classifyHandle: *mut u64) -> NTSTATUS;
    pub fn FwpsReleaseClassifyHandle0(classifyHandle: u64);
    pub fn FwpsPendClassify0(
        classifyHandle: u64,
        filterId: u64,
        flags: u32,
        classifyOut: *mut FWPS_CLASSIFY_OUT0,
    ) -> NTSTATUS;
    pub fn FwpsCompleteClassify0(classifyHandle: u64, flags: u32, classifyOut: *const FWPS_CLASSIFY_OUT0);
    pub fn FwpsAcquireWritableLayerDataPointer0(
        classifyHandle: u64,
        filterId: u64,
        flags: u32,
        writableLayerData: *mut *mut c_void,
        classifyOut: *mut FWPS_CLASSIFY_OUT0,
    ) -> NTSTATUS;
    pub fn FwpsApplyModifiedLayerData0(classifyHandle: u64, modifiedLayerData: *mut c_void, flags: u32);

    // Injection. IRQL: create and destroy PASSIVE_LEVEL, everything else at most DISPATCH_LEVEL.
    pub fn FwpsInjectionHandleCreate0(
        addressFamily: ADDRESS_FAMILY,
        flags: u32,
        injectionHandle: *mut HANDLE,
    ) -> NTSTATUS;
    pub fn FwpsInjectionHandleDestroy0(injectionHandle: HANDLE) -> NTSTATUS;
    pub fn FwpsInjectTransportSendAsync1(
        injectionHandle: HANDLE,
        injectionContext: HANDLE,
        endpointHandle: u64,
        flags: u32,
        sendArgs: *mut FWPS_TRANSPORT_SEND_PARAMS1,
        addressFamily: ADDRESS_FAMILY,
        compartmentId: u32,
        netBufferList: *mut NET_BUFFER_LIST,
        completionFn: FWPS_INJECT_COMPLETE0,
        completionContext: HANDLE,
    ) -> NTSTATUS;
    pub fn FwpsInjectTransportReceiveAsync0(
        injectionHandle: HANDLE,
        injectionContext: HANDLE,
        reserved: *mut c_void,
        flags: u32,
        addressFamily: ADDRESS_FAMILY,
        compartmentId: u32,
        interfaceIndex: u32,
        subInterfaceIndex: u32,
        netBufferList: *mut NET_BUFFER_LIST,
        completionFn: FWPS_INJECT_COMPLETE0,
        completionContext: HANDLE,
    ) -> NTSTATUS;
    pub fn FwpsInjectNetworkSendAsync0(
        injectionHandle: HANDLE,
        injectionContext: HANDLE,
        flags: u32,
        compartmentId: u32,
        netBufferList: *mut NET_BUFFER_LIST,
        completionFn: FWPS_INJECT_COMPLETE0,
        completionContext: HANDLE,
    ) -> NTSTATUS;
    pub fn FwpsInjectNetworkReceiveAsync0(
        injectionHandle: HANDLE,
        injectionContext: HANDLE,
        flags: u32,
        compartmentId: u32,
        interfaceIndex: u32,
        subInterfaceIndex: u32,
        netBufferList: *mut NET_BUFFER_LIST,
        completionFn: FWPS_INJECT_COMPLETE0,
        completionContext: HANDLE,
    ) -> NTSTATUS;
    pub fn FwpsQueryPacketInjectionState0(
        injectionHandle: HANDLE,
        netBufferList: *const NET_BUFFER_LIST,
        injectionContext: *mut HANDLE,
    ) -> FWPS_PACKET_INJECTION_STATE;
    pub fn FwpsAllocateCloneNetBufferList0(
        originalNetBufferList: *mut NET_BUFFER_LIST,
        netBufferListPoolHandle: HANDLE,
        netBufferPoolHandle: HANDLE,
        allocateCloneFlags: u32,
        netBufferList: *mut *mut NET_BUFFER_LIST,
    ) -> NTSTATUS;
    pub fn FwpsFreeCloneNetBufferList0(netBufferList: *mut NET_BUFFER_LIST, freeCloneFlags: u32);
    pub fn FwpsAllocateNetBufferAndNetBufferList0(
        poolHandle: HANDLE,
        contextSize: u16,
        contextBackFill: u16,
        mdlChain: *mut MDL,
        dataOffset: u32,
        dataLength: usize,
        netBufferList: *mut *mut NET_BUFFER_LIST,
    ) -> NTSTATUS;
    pub fn FwpsFreeNetBufferList0(netBufferList: *mut NET_BUFFER_LIST);
    pub fn FwpsReferenceNetBufferList0(netBufferList: *mut NET_BUFFER_LIST, intendToModify: BOOLEAN);
    pub fn FwpsDereferenceNetBufferList0(netBufferList: *mut NET_BUFFER_LIST, dispatchLevel: BOOLEAN);

    // Redirection. IRQL: PASSIVE_LEVEL.
    pub fn FwpsRedirectHandleCreate0(providerGuid: *const GUID, flags: u32, redirectHandle: *mut HANDLE) -> NTSTATUS;
    pub fn FwpsRedirectHandleDestroy0(redirectHandle: HANDLE);

    // The base filtering engine. IRQL: PASSIVE_LEVEL, but FwpmBfeStateGet0 at most DISPATCH_LEVEL.
    pub fn FwpmBfeStateGet0() -> FWPM_SERVICE_STATE;
    pub fn FwpmBfeStateSubscribeChanges0(
        deviceObject: *mut c_void,
        callback: FWPM_SERVICE_STATE_CHANGE_CALLBACK0,
        context: *mut c_void,
        changeHandle: *mut HANDLE,
    ) -> NTSTATUS;
    pub fn FwpmBfeStateUnsubscribeChanges0(changeHandle: HANDLE) -> NTSTATUS;
    pub fn FwpmEngineOpen0(
        serverName: *const u16,
        authnService: u32,
        authIdentity: *mut c_void,
        session: *const FWPM_SESSION0,
        engineHandle: *mut HANDLE,
    ) -> NTSTATUS;
    pub fn FwpmEngineClose0(engineHandle: HANDLE) -> NTSTATUS;
    pub fn FwpmTransactionBegin0(engineHandle: HANDLE, flags: u32) -> NTSTATUS;
    pub fn FwpmTransactionCommit0(engineHandle: HANDLE) -> NTSTATUS;
    pub fn FwpmTransactionAbort0(engineHandle: HANDLE) -> NTSTATUS;
    pub fn FwpmFreeMemory0(p: *mut *mut c_void);

    // Management objects. IRQL: PASSIVE_LEVEL. `sd` is an optional security descriptor.
    pub fn FwpmProviderAdd0(engineHandle: HANDLE, provider: *const FWPM_PROVIDER0, sd: *mut c_void) -> NTSTATUS;
    pub fn FwpmProviderDeleteByKey0(engineHandle: HANDLE, key: *const GUID) -> NTSTATUS;
    pub fn FwpmProviderGetByKey0(
        engineHandle: HANDLE,
        key: *const GUID,
        provider: *mut *mut FWPM_PROVIDER0,
    ) -> NTSTATUS;
    pub fn FwpmSubLayerAdd0(engineHandle: HANDLE, subLayer: *const FWPM_SUBLAYER0, sd: *mut c_void) -> NTSTATUS;
    pub fn FwpmSubLayerDeleteByKey0(engineHandle: HANDLE, key: *const GUID) -> NTSTATUS;
    pub fn FwpmSubLayerGetByKey0(
        engineHandle: HANDLE,
        key: *const GUID,
        subLayer: *mut *mut FWPM_SUBLAYER0,
    ) -> NTSTATUS;
    pub fn FwpmCalloutAdd0(
        engineHandle: HANDLE,
        callout: *const FWPM_CALLOUT0,
        sd: *mut c_void,
        id: *mut u32,
    ) -> NTSTATUS;
    pub fn FwpmCalloutDeleteById0(engineHandle: HANDLE, id: u32) -> NTSTATUS;
    pub fn FwpmCalloutDeleteByKey0(engineHandle: HANDLE, key: *const GUID) -> NTSTATUS;
    pub fn FwpmCalloutGetById0(engineHandle: HANDLE, id: u32, callout: *mut *mut FWPM_CALLOUT0) -> NTSTATUS;
    pub fn FwpmCalloutGetByKey0(engineHandle: HANDLE, key: *const GUID, callout: *mut *mut FWPM_CALLOUT0) -> NTSTATUS;
    pub fn FwpmFilterAdd0(engineHandle: HANDLE, filter: *const FWPM_FILTER0, sd: *mut c_void, id: *mut u64)
    -> NTSTATUS;
    pub fn FwpmFilterDeleteById0(engineHandle: HANDLE, id: u64) -> NTSTATUS;
    pub fn FwpmFilterDeleteByKey0(engineHandle: HANDLE, key: *const GUID) -> NTSTATUS;
    pub fn FwpmFilterGetById0(engineHandle: HANDLE, id: u64, filter: *mut *mut FWPM_FILTER0) -> NTSTATUS;
    pub fn FwpmFilterGetByKey0(engineHandle: HANDLE, key: *const GUID, filter: *mut *mut FWPM_FILTER0) -> NTSTATUS;

    // Enumerations of them, as they were when the enumeration began.
    pub fn FwpmSubLayerCreateEnumHandle0(
        engineHandle: HANDLE,
        enumTemplate: *const FWPM_SUBLAYER_ENUM_TEMPLATE0,
        enumHandle: *mut HANDLE,
    ) -> NTSTATUS;
    pub fn FwpmSubLayerEnum0(
        engineHandle: HANDLE,
        enumHandle: HANDLE,
        numEntriesRequested: u32,
        entries: *mut *mut *mut FWPM_SUBLAYER0,
        numEntriesReturned: *mut u32,
    ) -> NTSTATUS;
    pub fn FwpmSubLayerDestroyEnumHandle0(engineHandle: HANDLE, enumHandle: HANDLE) -> NTSTATUS;
    pub fn FwpmCalloutCreateEnumHandle0(
        engineHandle: HANDLE,
        enumTemplate: *const FWPM_CALLOUT_ENUM_TEMPLATE0,
        enumHandle: *mut HANDLE,
    ) -> NTSTATUS;
    pub fn FwpmCalloutEnum0(
        engineHandle: HANDLE,
        enumHandle: HANDLE,
        numEntriesRequested: u32,
        entries: *mut *mut *mut FWPM_CALLOUT0,
        numEntriesReturned: *mut u32,
    ) -> NTSTATUS;
    pub fn FwpmCalloutDestroyEnumHandle0(engineHandle: HANDLE, enumHandle: HANDLE) -> NTSTATUS;
    pub fn FwpmFilterCreateEnumHandle0(
        engineHandle: HANDLE,
        enumTemplate: *const FWPM_FILTER_ENUM_TEMPLATE0,
        enumHandle: *mut HANDLE,
    ) -> NTSTATUS;
    pub fn FwpmFilterEnum0(
        engineHandle: HANDLE,
        enumHandle: HANDLE,
        numEntriesRequested: u32,
        entries: *mut *mut *mut FWPM_FILTER0,
        numEntriesReturned: *mut u32,
    ) -> NTSTATUS;
    pub fn FwpmFilterDestroyEnumHandle0(engineHandle: HANDLE, enumHandle: HANDLE) -> NTSTATUS;
}

// NDIS. IRQL: at most DISPATCH_LEVEL.
#[cfg_attr(target_env = "msvc", link(name = "ndis"))]
unsafe extern "system" {
    pub fn NdisAllocateNetBufferListPool(
        NdisHandle: HANDLE,
        Parameters: *const NET_BUFFER_LIST_POOL_PARAMETERS,
    ) -> HANDLE;
    pub fn NdisFreeNetBufferListPool(PoolHandle: HANDLE);
    pub fn NdisGetDataBuffer(
        NetBuffer: *mut NET_BUFFER,
        BytesNeeded: u32,
        Storage: *mut c_void,
        AlignMultiple: u32,
        AlignOffset: u32,
    ) -> *mut c_void;
    /// `AllocateMdlHandler` may be NULL.
    pub fn NdisRetreatNetBufferDataStart(
        NetBuffer: *mut NET_BUFFER,
        DataOffsetDelta: u32,
        DataBackFill: u32,
        AllocateMdlHandler: *mut c_void,
    ) -> i32;
    /// `FreeMdlHandler` may be NULL.
    pub fn NdisAdvanceNetBufferDataStart(
        NetBuffer: *mut NET_BUFFER,
        DataOffsetDelta: u32,
        FreeMdl: BOOLEAN,
        FreeMdlHandler: *mut c_void,
    );
    pub fn NdisCopyReceiveNetBufferListInfo(
        DestNetBufferList: *mut NET_BUFFER_LIST,
        SrcNetBufferList: *mut NET_BUFFER_LIST,
    );
    pub fn NdisCopySendNetBufferListInfo(
        DestNetBufferList: *mut NET_BUFFER_LIST,
        SrcNetBufferList: *mut NET_BUFFER_LIST,
    );
}

// Memory of packets. IRQL: at most DISPATCH_LEVEL.
#[cfg_attr(target_env = "msvc", link(name = "ntoskrnl"))]
unsafe extern "system" {
    /// The memory is zeroed.
    pub fn ExAllocatePool2(Flags: u64, NumberOfBytes: usize, Tag: u32) -> *mut c_void;
    pub fn ExFreePoolWithTag(P: *mut c_void, Tag: u32);
    pub fn IoAllocateMdl(
        VirtualAddress: *mut c_void,
        Length: u32,
        SecondaryBuffer: BOOLEAN,
        ChargeQuota: BOOLEAN,
        Irp: *mut c_void,
    ) -> *mut MDL;
    pub fn IoFreeMdl(Mdl: *mut MDL);
    pub fn MmBuildMdlForNonPagedPool(MemoryDescriptorList: *mut MDL);
}
