//! Sizes and offsets on x64, measured over the WDK's headers with clang (`-target x86_64-pc-windows-msvc`, NTDDI_VERSION
//! 0x0A00000C, NDIS 6.30; microsoft/wdkmetadata@a4041452, generation/WDK/IdlHeaders).

use super::*;
use core::mem::{align_of, offset_of, size_of};

macro_rules! layout {
    ($($type:ident: $size:literal, $align:literal { $($field:tt: $offset:literal),* $(,)? })*) => {
        $(const _: () = {
            assert!(size_of::<$type>() == $size);
            assert!(align_of::<$type>() == $align);
            $(assert!(offset_of!($type, $field) == $offset);)*
        };)*
    };
}

#[cfg(target_pointer_width = "64")]
layout! {
    FWPM_DISPLAY_DATA0: 16, 8 { name: 0, description: 8 }
    FWPM_SESSION0: 72, 8 {
        sessionKey: 0,
        displayData: 16,
        flags: 32,
        txnWaitTimeoutInMSec: 36,
        processId: 40,
        sid: 48,
        username: 56,
        kernelMode: 64,
    }
    FWPM_PROVIDER0: 64, 8 { providerKey: 0, displayData: 16, flags: 32, providerData: 40, serviceName: 56 }
    FWPM_SUBLAYER0: 72, 8 { subLayerKey: 0, displayData: 16, flags: 32, providerKey: 40, providerData: 48, weight: 64 }
    FWPM_CALLOUT0: 88, 8 {
        calloutKey: 0,
        displayData: 16,
        flags: 32,
        providerKey: 40,
        providerData: 48,
        applicableLayer: 64,
        calloutId: 80,
    }
    FWPM_ACTION0: 20, 4 { r#type: 0, Anonymous: 4 }
    FWPM_FILTER_CONDITION0: 40, 8 { fieldKey: 0, matchType: 16, conditionValue: 24 }
    FWPM_FILTER0: 200, 8 {
        filterKey: 0,
        displayData: 16,
        flags: 32,
        providerKey: 40,
        providerData: 48,
        layerKey: 64,
        subLayerKey: 80,
        weight: 96,
        numFilterConditions: 112,
        filterCondition: 120,
        action: 128,
        Anonymous: 152,
        reserved: 168,
        filterId: 176,
        effectiveWeight: 184,
    }
    FWPM_FIELD0: 16, 8 { fieldKey: 0, r#type: 8, dataType: 12 }
    FWPM_LAYER0: 72, 8 {
        layerKey: 0,
        displayData: 16,
        flags: 32,
        numFields: 36,
        field: 40,
        defaultSubLayerKey: 48,
        layerId: 64,
    }
    FWPM_PROVIDER_CONTEXT3: 88, 8 {
        providerContextKey: 0,
        displayData: 16,
        flags: 32,
        providerKey: 40,
        providerData: 48,
        r#type: 64,
        dataBuffer: 72,
        providerContextId: 80,
    }
    FWPM_FILTER_ENUM_TEMPLATE0: 72, 8 {
        providerKey: 0,
        layerKey: 8,
        enumType: 24,
        flags: 28,
        providerContextTemplate: 32,
        numFilterConditions: 40,
        filterCondition: 48,
        actionMask: 56,
        calloutKey: 64,
    }
    FWPM_CALLOUT_ENUM_TEMPLATE0: 24, 8 { providerKey: 0, layerKey: 8 }
    MDL: 48, 8 {
        Next: 0,
        Size: 8,
        MdlFlags: 10,
        Process: 16,
        MappedSystemVa: 24,
        StartVa: 32,
        ByteCount: 40,
        ByteOffset: 44,
    }
    NET_BUFFER: 176, 16 {
        Next: 0,
        CurrentMdl: 8,
        CurrentMdlOffset: 16,
        DataLength: 24,
        MdlChain: 32,
        DataOffset: 40,
        ChecksumBias: 48,
        Reserved: 50,
        NdisPoolHandle: 56,
        NdisReserved: 64,
        ProtocolReserved: 80,
        MiniportReserved: 128,
        DataPhysicalAddress: 160,
        SharedMemoryInfo: 168,
    }
    NET_BUFFER_LIST_CONTEXT: 16, 16 { Next: 0, Size: 8, Offset: 10, ContextData: 16 }
    NET_BUFFER_LIST: 336, 16 {
        Next: 0,
        FirstNetBuffer: 8,
        Context: 16,
        ParentNetBufferList: 24,
        NdisPoolHandle: 32,
        NdisReserved: 48,
        ProtocolReserved: 64,
        MiniportReserved: 96,
        Scratch: 112,
        SourceHandle: 120,
        NblFlags: 128,
        ChildRefCount: 132,
        Flags: 136,
        Status: 140,
        NetBufferListInfo: 144,
    }
    NDIS_OBJECT_HEADER: 4, 2 { Type: 0, Revision: 1, Size: 2 }
    NET_BUFFER_LIST_POOL_PARAMETERS: 16, 4 {
        Header: 0,
        ProtocolId: 4,
        fAllocateNetBuffer: 5,
        ContextSize: 6,
        PoolTag: 8,
        DataSize: 12,
    }
    NET_BUFFER_POOL_PARAMETERS: 12, 4 { Header: 0, PoolTag: 4, DataSize: 8 }
    FWPS_ACTION0: 8, 4 { r#type: 0, calloutId: 4 }
    FWPS_FILTER_CONDITION0: 24, 8 { fieldId: 0, reserved: 2, matchType: 4, conditionValue: 8 }
    FWPS_FILTER3: 64, 8 {
        filterId: 0,
        weight: 8,
        subLayerWeight: 24,
        flags: 26,
        numFilterConditions: 28,
        filterCondition: 32,
        action: 40,
        context: 48,
        providerContext: 56,
    }
    FWPS_INCOMING_VALUE0: 16, 8 { value: 0 }
    FWPS_INCOMING_VALUES0: 16, 8 { layerId: 0, valueCount: 4, incomingValue: 8 }
    FWPS_CLASSIFY_OUT0: 40, 8 { actionType: 0, outContext: 8, filterId: 16, rights: 24, flags: 28, reserved: 32 }
    FWPS_DISCARD_METADATA0: 16, 8 { discardModule: 0, discardReason: 4, filterId: 8 }
    FWPS_INBOUND_FRAGMENT_METADATA0: 12, 4 { fragmentIdentification: 0, fragmentOffset: 4, fragmentLength: 8 }
    FWPS_INCOMING_METADATA_VALUES0: 280, 8 {
        currentMetadataValues: 0,
        flags: 4,
        reserved: 8,
        discardMetadata: 16,
        flowHandle: 32,
        ipHeaderSize: 40,
        transportHeaderSize: 44,
        processPath: 48,
        token: 56,
        processId: 64,
        sourceInterfaceIndex: 72,
        destinationInterfaceIndex: 76,
        compartmentId: 80,
        fragmentMetadata: 84,
        pathMtu: 96,
        completionHandle: 104,
        transportEndpointHandle: 112,
        remoteScopeId: 120,
        controlData: 128,
        controlDataLength: 136,
        packetDirection: 140,
        headerIncludeHeader: 144,
        headerIncludeHeaderLength: 152,
        destinationPrefix: 156,
        frameLength: 188,
        parentEndpointHandle: 192,
        icmpIdAndSequence: 200,
        localRedirectTargetPID: 204,
        originalDestination: 208,
        redirectRecords: 216,
        currentL2MetadataValues: 224,
        l2Flags: 228,
        ethernetMacHeaderSize: 232,
        wiFiOperationMode: 236,
        vSwitchSourcePortId: 240,
        vSwitchSourceNicIndex: 244,
        vSwitchDestinationPortId: 248,
        vSwitchPacketContext: 256,
        subProcessTag: 264,
        reserved1: 272,
    }
    FWPS_STREAM_DATA_OFFSET0: 40, 8 {
        netBufferList: 0,
        netBuffer: 8,
        mdl: 16,
        mdlOffset: 24,
        netBufferOffset: 28,
        streamDataOffset: 32,
    }
    FWPS_STREAM_DATA0: 64, 8 { flags: 0, dataOffset: 8, dataLength: 48, netBufferListChain: 56 }
    FWPS_STREAM_CALLOUT_IO_PACKET0: 40, 8 {
        streamData: 0,
        missedBytes: 8,
        countBytesRequired: 16,
        countBytesEnforced: 24,
        streamAction: 32,
    }
    FWPS_TRANSPORT_SEND_PARAMS1: 48, 8 {
        remoteAddress: 0,
        remoteScopeId: 8,
        controlData: 16,
        controlDataLength: 24,
        headerIncludeHeader: 32,
        headerIncludeHeaderLength: 40,
    }
    FWPS_CONNECT_REQUEST0: 312, 8 {
        localAddressAndPort: 0,
        remoteAddressAndPort: 128,
        portReservationToken: 256,
        localRedirectTargetPID: 264,
        previousVersion: 272,
        modifierFilterId: 280,
        localRedirectHandle: 288,
        localRedirectContext: 296,
        localRedirectContextSize: 304,
    }
    FWPS_BIND_REQUEST0: 152, 8 {
        localAddressAndPort: 0,
        portReservationToken: 128,
        previousVersion: 136,
        modifierFilterId: 144,
    }
    FWPS_CALLOUT0: 48, 8 { calloutKey: 0, flags: 16, classifyFn: 24, notifyFn: 32, flowDeleteFn: 40 }
    FWPS_CALLOUT3: 48, 8 { calloutKey: 0, flags: 16, classifyFn: 24, notifyFn: 32, flowDeleteFn: 40 }
    FWP_BYTE_BLOB: 16, 8 { size: 0, data: 8 }
    FWP_BYTE_ARRAY6: 6, 1 { byteArray6: 0 }
    FWP_BYTE_ARRAY16: 16, 1 { byteArray16: 0 }
    FWP_TOKEN_INFORMATION: 32, 8 { sidCount: 0, sids: 8, restrictedSidCount: 16, restrictedSids: 24 }
    FWP_VALUE0: 16, 8 { r#type: 0, Anonymous: 8 }
    FWP_CONDITION_VALUE0: 16, 8 { r#type: 0, Anonymous: 8 }
    FWP_V4_ADDR_AND_MASK: 8, 4 { addr: 0, mask: 4 }
    FWP_V6_ADDR_AND_MASK: 17, 1 { addr: 0, prefixLength: 16 }
    FWP_RANGE0: 32, 8 { valueLow: 0, valueHigh: 16 }
}
