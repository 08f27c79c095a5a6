//! Stream data, and the smaller functions that callouts call on packets.

use core::ffi::c_void;

use fwps::sys::*;
use postern_engine::FwpError;

use super::failure;
use super::injection::inject;
use crate::export::{Export, exports};
use crate::inject::faulted;
use crate::irql::require_irql;
use crate::ndis;
use crate::nt::DISPATCH_LEVEL;
use crate::ptr::{Ptr, field};
use crate::thread;
use crate::traffic::injected::Entry;

pub(crate) const EXPORTS: &[Export] = exports![
    FwpsCopyStreamDataToBuffer0,
    FwpsCloneStreamData0,
    FwpsDiscardClonedStreamData0,
    FwpsStreamInjectAsync0,
    FwpsStreamContinue0,
    FwpsConstructIpHeaderForTransportPacket0,
    FwpsGetPacketListSecurityInformation0,
    FwpsClassifyOptionSet0,
];

extern "win64" fn FwpsCopyStreamDataToBuffer0(
    stream_data: Ptr<FWPS_STREAM_DATA0>,
    buffer: Ptr<u8>,
    bytes_to_copy: usize,
    bytes_copied: Ptr<usize>,
) {
    require_irql(DISPATCH_LEVEL);
    let data = stream_data.read();
    let most = bytes_to_copy.min(data.dataLength) as u32;
    let bytes = ndis::bytes_of(Ptr::new(data.netBufferListChain), most);
    buffer.copy_from(&bytes);
    bytes_copied.write_optional(bytes.len());
}

extern "win64" fn FwpsCloneStreamData0(
    stream_data: Ptr<FWPS_STREAM_DATA0>,
    list_pool: u64,
    _buffer_pool: u64,
    flags: u32,
    chain: Ptr<Ptr<NET_BUFFER_LIST>>,
) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    if chain.is_null() {
        return failure(FwpError::NullPointer);
    }
    let original = Ptr::new(field!(stream_data, netBufferListChain).read());
    match thread::current().fwp.ndis.clone_list(original, list_pool, flags) {
        Some(clone) => {
            chain.write(clone);
            STATUS_SUCCESS
        }
        None => STATUS_INVALID_PARAMETER,
    }
}

extern "win64" fn FwpsDiscardClonedStreamData0(chain: Ptr<NET_BUFFER_LIST>, _flags: u32, _dispatch_level: u8) {
    require_irql(DISPATCH_LEVEL);
    let mut next = chain;
    while let Some(list) = next.non_null() {
        next = Ptr::new(field!(list, Next).read());
        thread::current().fwp.ndis.free_clone(list);
    }
}

/// Injected stream data goes on its way unseen: it is not shown again to the callout that injects it.
extern "win64" fn FwpsStreamInjectAsync0(
    injection_handle: u64,
    injection_context: Ptr<c_void>,
    flags: u32,
    _flow: u64,
    _callout: u32,
    _layer: u16,
    _stream_flags: u32,
    list: Ptr<NET_BUFFER_LIST>,
    _data_length: usize,
    completion: Ptr<()>,
    context: Ptr<c_void>,
) -> NTSTATUS {
    inject(injection_handle, injection_context, Entry::Stream, flags, list, completion, context)
}

extern "win64" fn FwpsStreamContinue0(flow: u64, _callout: u32, _layer: u16, _stream_flags: u32) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    if thread::current().fwp.flows.is_aborted(flow) { STATUS_INVALID_PARAMETER } else { STATUS_SUCCESS }
}

/// Puts an IP header in front of a packet that begins with its transport header. The lab computes no checksums.
extern "win64" fn FwpsConstructIpHeaderForTransportPacket0(
    list: Ptr<NET_BUFFER_LIST>,
    header_include: u32,
    family: u16,
    source: Ptr<u8>,
    remote: Ptr<u8>,
    next_protocol: u32,
    _endpoint: u64,
    _control_data: Ptr<c_void>,
    _control_data_length: u32,
    _flags: u32,
    _reserved: u64,
    _interface: u32,
    _sub_interface: u32,
) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    if source.is_null() || remote.is_null() {
        return failure(FwpError::NullPointer);
    }
    let address_length = match family {
        AF_INET => 4,
        AF_INET6 => 16,
        _ => return STATUS_INVALID_PARAMETER,
    };
    if header_include != 0 {
        // The caller's own header stands there already.
        return STATUS_SUCCESS;
    }
    let (source, remote) = (source.to_vec(address_length), remote.to_vec(address_length));
    let length = ndis::length_of(list);
    let mut header = Vec::with_capacity(40);
    if family == AF_INET {
        header.extend([0x45, 0]);
        header.extend(((length + 20) as u16).to_be_bytes());
        header.extend([0, 0, 0, 0, 128, next_protocol as u8, 0, 0]);
    } else {
        header.extend([0x60, 0, 0, 0]);
        header.extend((length as u16).to_be_bytes());
        header.extend([next_protocol as u8, 128]);
    }
    header.extend(source);
    header.extend(remote);
    ndis::prepend(list, &header);
    STATUS_SUCCESS
}

/// Nothing in the lab is secured by IPsec.
extern "win64" fn FwpsGetPacketListSecurityInformation0(
    _list: Ptr<NET_BUFFER_LIST>,
    _query: u32,
    information: Ptr<u64>,
) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    information.write(0);
    STATUS_SUCCESS
}

extern "win64" fn FwpsClassifyOptionSet0(
    metadata: Ptr<FWPS_INCOMING_METADATA_VALUES0>,
    option: u32,
    _value: u64,
) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    if metadata.is_null() || option >= OPTIONS { STATUS_INVALID_PARAMETER } else { STATUS_SUCCESS }
}

/// `FWP_CLASSIFY_OPTION_MAX`.
const OPTIONS: u32 = 8;
