//! A packet as callouts get it: a net buffer list over one buffer.

use core::ptr::NonNull;

use fwps::sys::*;

use crate::ndis::{LabList, Origin};
use crate::ptr::Ptr;

/// Longest IP packet.
const LONGEST: usize = 65_536 + 40;

/// The structures of one packet, at addresses that images may keep.
#[repr(C)]
struct Parts {
    list: LabList,
    buffer: NET_BUFFER,
    mdl: MDL,
    stream: FWPS_STREAM_DATA0,
    stream_packet: FWPS_STREAM_CALLOUT_IO_PACKET0,
    length: u32,
    bytes: [u8; LONGEST],
}

/// One packet's layer data, used again for the next packet unless an image still holds it.
pub(super) struct LayerData(NonNull<Parts>);

impl LayerData {
    pub fn new() -> LayerData {
        let layout = core::alloc::Layout::new::<Parts>();
        // SAFETY: the layout has a size.
        let parts = unsafe { std::alloc::alloc_zeroed(layout) }.cast::<Parts>();
        let Some(parts) = NonNull::new(parts) else { std::alloc::handle_alloc_error(layout) };
        // A `Parts` begins with its list, and its other fields may all be zero.
        LabList::init(Ptr::new(parts.as_ptr().cast()));
        LayerData(parts)
    }

    /// Whether an image has a reference to the packet, or a clone of it.
    pub fn is_held(&self) -> bool {
        // SAFETY: the lab's own memory, which lives as long as `self`.
        unsafe { self.0.as_ref() }.list.is_held()
    }

    /// Takes over a packet's bytes; the packet before must not be held. What is longer than IP allows is cut off.
    pub fn load(&mut self, bytes: &[u8], origin: Origin) {
        // SAFETY: the lab's own memory, and no image holds it.
        let parts = unsafe { self.0.as_mut() };
        let length = bytes.len().min(LONGEST);
        parts.bytes[..length].copy_from_slice(&bytes[..length]);
        parts.length = length as u32;
        let start = parts.bytes.as_mut_ptr();
        parts.mdl = MDL {
            Next: core::ptr::null_mut(),
            Size: size_of::<MDL>() as i16,
            MdlFlags: MDL_SOURCE_IS_NONPAGED_POOL,
            Process: core::ptr::null_mut(),
            MappedSystemVa: start.cast(),
            StartVa: start.map_addr(|address| address & !0xfff).cast(),
            ByteCount: length as u32,
            ByteOffset: (start.addr() & 0xfff) as u32,
        };
        parts.buffer.Next = core::ptr::null_mut();
        parts.buffer.MdlChain = &raw mut parts.mdl;
        parts.list.list.Next = core::ptr::null_mut();
        parts.list.list.FirstNetBuffer = &raw mut parts.buffer;
        parts.list.reset(origin);
    }

    /// The net buffer list, its data beginning at `offset`.
    pub fn list(&mut self, offset: usize) -> *mut NET_BUFFER_LIST {
        // SAFETY: as in `load`.
        let parts = unsafe { self.0.as_mut() };
        let offset = (offset as u32).min(parts.length);
        parts.buffer.CurrentMdl = &raw mut parts.mdl;
        parts.buffer.CurrentMdlOffset = offset;
        parts.buffer.DataOffset = offset;
        parts.buffer.DataLength = parts.length - offset;
        &raw mut parts.list.list
    }

    /// The layer data of the stream layers.
    pub fn stream(&mut self, offset: usize, flags: u32) -> *mut FWPS_STREAM_CALLOUT_IO_PACKET0 {
        let list = self.list(offset);
        // SAFETY: as in `load`.
        let parts = unsafe { self.0.as_mut() };
        parts.stream = FWPS_STREAM_DATA0 {
            flags,
            dataOffset: FWPS_STREAM_DATA_OFFSET0 {
                netBufferList: list,
                netBuffer: &raw mut parts.buffer,
                mdl: &raw mut parts.mdl,
                mdlOffset: parts.buffer.CurrentMdlOffset,
                netBufferOffset: 0,
                streamDataOffset: 0,
            },
            dataLength: parts.buffer.DataLength as usize,
            netBufferListChain: list,
        };
        parts.stream_packet = FWPS_STREAM_CALLOUT_IO_PACKET0 {
            streamData: &raw mut parts.stream,
            missedBytes: 0,
            countBytesRequired: 0,
            countBytesEnforced: 0,
            streamAction: FWPS_STREAM_ACTION_NONE,
        };
        &raw mut parts.stream_packet
    }
}

impl Drop for LayerData {
    fn drop(&mut self) {
        if self.is_held() {
            // An image has the packet still: its memory stays.
            return;
        }
        // SAFETY: allocated in `new` with this layout, and nobody else refers to it.
        unsafe { std::alloc::dealloc(self.0.as_ptr().cast(), core::alloc::Layout::new::<Parts>()) };
    }
}
