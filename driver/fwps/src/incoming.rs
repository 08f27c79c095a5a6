//! What a classify brings along: the layer's values, metadata and data. IRQL of all functions: any.
//!
//! Which values a layer has depends on the Windows version, and which metadata are there on the packet; so everything is
//! optional here, and nothing is read that the engine has not vouched for.

use core::ffi::c_void;
use core::slice;

use crate::sys::*;

/// The values of a layer's fields ("FWPS_INCOMING_VALUES0").
#[derive(Clone, Copy)]
pub struct Values<'a>(&'a [FWPS_INCOMING_VALUE0]);

impl<'a> Values<'a> {
    /// # Safety
    ///
    /// `values` is what the engine passed to a classifyFn that does not return within `'a`.
    #[inline(always)]
    pub unsafe fn new(values: *const FWPS_INCOMING_VALUES0) -> Self {
        // SAFETY: the caller's promise; the engine passes valid values for the time of the call.
        let values = unsafe { &*values };
        if values.incomingValue.is_null() {
            return Values(&[]);
        }
        // SAFETY: the engine vouches for `valueCount` values.
        Values(unsafe { slice::from_raw_parts(values.incomingValue, values.valueCount as usize) })
    }

    #[inline(always)]
    fn of_type(self, field: u16, data_type: FWP_DATA_TYPE) -> Option<&'a FWP_VALUE0_0> {
        let value = &self.0.get(usize::from(field))?.value;
        if value.r#type == data_type { Some(&value.Anonymous) } else { None }
    }

    pub fn uint8(self, field: u16) -> Option<u8> {
        // SAFETY: the type says which member of the union is valid.
        self.of_type(field, FWP_UINT8).map(|value| unsafe { value.uint8 })
    }

    pub fn uint16(self, field: u16) -> Option<u16> {
        // SAFETY: the type says which member of the union is valid.
        self.of_type(field, FWP_UINT16).map(|value| unsafe { value.uint16 })
    }

    pub fn uint32(self, field: u16) -> Option<u32> {
        // SAFETY: the type says which member of the union is valid.
        self.of_type(field, FWP_UINT32).map(|value| unsafe { value.uint32 })
    }

    /// An IPv4 or IPv6 address in network order; IPv4 in the first four bytes.
    pub fn address(self, field: u16) -> Option<[u8; 16]> {
        if let Some(v4) = self.uint32(field) {
            let mut address = [0; 16];
            address[..4].copy_from_slice(&v4.to_be_bytes());
            return Some(address);
        }
        let value = self.of_type(field, FWP_BYTE_ARRAY16_TYPE)?;
        // SAFETY: the type says which member of the union is valid.
        let address = unsafe { value.byteArray16 };
        // SAFETY: the engine passes a valid array, for the time of the call, or NULL.
        unsafe { address.as_ref() }.map(|address| address.byteArray16)
    }

    /// A byte blob, such as the path of a program (`ALE_APP_ID`).
    pub fn blob(self, field: u16) -> Option<&'a [u8]> {
        let value = self.of_type(field, FWP_BYTE_BLOB_TYPE)?;
        // SAFETY: the type says which member of the union is valid.
        let blob = unsafe { value.byteBlob };
        // SAFETY: the engine passes a valid blob, for the time of the call, or NULL.
        let blob = unsafe { blob.as_ref() }?;
        if blob.data.is_null() {
            return None;
        }
        // SAFETY: the blob says how many bytes it has.
        Some(unsafe { slice::from_raw_parts(blob.data, blob.size as usize) })
    }
}

/// The metadata of a packet or operation ("FWPS_INCOMING_METADATA_VALUES0").
#[derive(Clone, Copy)]
pub struct Metadata<'a>(&'a FWPS_INCOMING_METADATA_VALUES0);

macro_rules! metadata {
    ($($(#[$meta:meta])* $name:ident: $type:ty = $flag:ident, $field:ident;)*) => {
        $($(#[$meta])*
        #[inline(always)]
        pub fn $name(self) -> Option<$type> {
            // "FWPS_IS_METADATA_FIELD_PRESENT": a member is valid if its flag is set.
            if self.0.currentMetadataValues & $flag != 0 { Some(self.0.$field) } else { None }
        })*
    };
}

impl<'a> Metadata<'a> {
    /// # Safety
    ///
    /// `metadata` is what the engine passed to a classifyFn that does not return within `'a`.
    #[inline(always)]
    pub unsafe fn new(metadata: *const FWPS_INCOMING_METADATA_VALUES0) -> Self {
        // SAFETY: the caller's promise; the engine passes valid metadata for the time of the call.
        Metadata(unsafe { &*metadata })
    }

    /// The structure itself.
    pub fn raw(self) -> &'a FWPS_INCOMING_METADATA_VALUES0 {
        self.0
    }

    metadata! {
        flow: u64 = FWPS_METADATA_FIELD_FLOW_HANDLE, flowHandle;
        process_id: u64 = FWPS_METADATA_FIELD_PROCESS_ID, processId;
        ip_header_size: u32 = FWPS_METADATA_FIELD_IP_HEADER_SIZE, ipHeaderSize;
        transport_header_size: u32 = FWPS_METADATA_FIELD_TRANSPORT_HEADER_SIZE, transportHeaderSize;
        completion_handle: HANDLE = FWPS_METADATA_FIELD_COMPLETION_HANDLE, completionHandle;
        transport_endpoint: u64 = FWPS_METADATA_FIELD_TRANSPORT_ENDPOINT_HANDLE, transportEndpointHandle;
        compartment: u32 = FWPS_METADATA_FIELD_COMPARTMENT_ID, compartmentId;
        packet_direction: FWP_DIRECTION = FWPS_METADATA_FIELD_PACKET_DIRECTION, packetDirection;
        remote_scope: SCOPE_ID = FWPS_METADATA_FIELD_REMOTE_SCOPE_ID, remoteScopeId;
    }

    /// Whether the packet's transport header was made by a program, with a raw socket.
    pub fn has_included_header(self) -> bool {
        self.0.currentMetadataValues & FWPS_METADATA_FIELD_TRANSPORT_HEADER_INCLUDE_HEADER != 0
    }

    /// What the program has set for the packet with `WSASendMsg` (`WSACMSGHDR`s).
    pub fn control_data(self) -> &'a [u8] {
        let is_there = self.0.currentMetadataValues & FWPS_METADATA_FIELD_TRANSPORT_CONTROL_DATA != 0;
        if !is_there || self.0.controlData.is_null() {
            return &[];
        }
        // SAFETY: the engine vouches for this many bytes, for the time of the call.
        unsafe { slice::from_raw_parts(self.0.controlData.cast(), self.0.controlDataLength as usize) }
    }
}

/// Packets in a `NET_BUFFER_LIST` (its `NET_BUFFER`s), and bytes from where their data begins: which header that is depends on
/// the layer ("Data Offset Positions").
///
/// # Safety
///
/// `list` is NULL, or the layer data that the engine passed to a classifyFn, at a layer whose data is a list of net buffers, which
/// has not returned.
#[inline(always)]
pub unsafe fn packets(list: *const c_void) -> (u64, u64) {
    let (mut packets, mut bytes) = (0, 0);
    // SAFETY: the caller's promise.
    let Some(list) = (unsafe { list.cast::<NET_BUFFER_LIST>().as_ref() }) else { return (0, 0) };
    // SAFETY: a list's buffers are valid for as long as it is.
    let mut next = unsafe { list.FirstNetBuffer.as_ref() };
    while let Some(buffer) = next {
        packets += 1;
        bytes += u64::from(buffer.DataLength);
        // SAFETY: as above.
        next = unsafe { buffer.Next.as_ref() };
    }
    (packets, bytes)
}

/// Bytes of a stream layer's data, and whether they are sent rather than received ("FWPS_STREAM_DATA0").
///
/// # Safety
///
/// `data` is NULL, or the layer data that the engine passed to a classifyFn at a stream layer, which has not returned.
pub unsafe fn stream(data: *const c_void) -> Option<(u64, bool)> {
    // SAFETY: the caller's promise.
    let packet = unsafe { data.cast::<FWPS_STREAM_CALLOUT_IO_PACKET0>().as_ref() }?;
    // SAFETY: the engine passes valid data, for the time of the call, or NULL.
    let stream = unsafe { packet.streamData.as_ref() }?;
    Some((stream.dataLength as u64, stream.flags & FWPS_STREAM_FLAG_SEND != 0))
}
