//! Packets of our own: what is injected.
//!
//! A packet that waits for a person's answer must be a copy and no clone: a clone holds the original, whose owner waits for it
//! ("FwpsAllocateCloneNetBufferList0 function", guidelines for managing cloned packets). IRQL: at most DISPATCH_LEVEL
//! throughout, if nothing else is said.

use core::ffi::c_void;
use core::mem;
use core::ptr::{self, NonNull};
use core::slice;

use crate::status::exactly_success;
use crate::sys::*;

/// A pool of net buffer lists.
pub struct PacketPool {
    handle: NonNull<c_void>,
}

// SAFETY: a pool belongs to no thread.
unsafe impl Send for PacketPool {}
// SAFETY: the functions that allocate from a pool and free into it may be called from any processor at once.
unsafe impl Sync for PacketPool {}

/// Tag of the packets' memory: `PstP` in memory.
const TAG: u32 = u32::from_le_bytes(*b"PstP");

impl PacketPool {
    /// IRQL: at most DISPATCH_LEVEL.
    pub fn new() -> Result<Self, NTSTATUS> {
        let parameters = NET_BUFFER_LIST_POOL_PARAMETERS {
            Header: NDIS_OBJECT_HEADER {
                Type: NDIS_OBJECT_TYPE_DEFAULT,
                Revision: NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1,
                Size: size_of::<NET_BUFFER_LIST_POOL_PARAMETERS>() as u16,
            },
            ProtocolId: NDIS_PROTOCOL_ID_DEFAULT,
            // "FwpsAllocateNetBufferAndNetBufferList0 function" takes lists with a net buffer.
            fAllocateNetBuffer: 1,
            ContextSize: 0,
            PoolTag: TAG,
            DataSize: 0,
        };
        // A driver that is no miniport, protocol or filter has no handle to pass.
        // SAFETY: the parameters outlive the call.
        let handle = unsafe { NdisAllocateNetBufferListPool(ptr::null_mut(), &parameters) };
        Ok(PacketPool { handle: NonNull::new(handle).ok_or(STATUS_INSUFFICIENT_RESOURCES)? })
    }

    /// The pool as a number to hand on.
    pub fn as_raw(&self) -> *mut c_void {
        self.handle.as_ptr()
    }

    /// The pool of a number, borrowed; `None` for NULL.
    ///
    /// # Safety
    ///
    /// The number is NULL or came from [`PacketPool::as_raw`] of a pool that lives for as long as the result is used.
    pub unsafe fn from_raw(handle: *mut c_void) -> Option<mem::ManuallyDrop<Self>> {
        NonNull::new(handle).map(|handle| mem::ManuallyDrop::new(PacketPool { handle }))
    }
}

impl Drop for PacketPool {
    /// Every packet of the pool is gone: destroying the injection handles has waited for those that were injected.
    fn drop(&mut self) {
        // SAFETY: the handle came from NdisAllocateNetBufferListPool and is given back once.
        unsafe { NdisFreeNetBufferListPool(self.handle.as_ptr()) };
    }
}

/// What stands before a packet's control data and bytes, in one block of memory that is not paged.
#[repr(C, align(16))]
struct Block {
    list: *mut NET_BUFFER_LIST,
    mdl: *mut MDL,
    length: u32,
    /// For sending; what it points to must last until the injection has completed ("FWPS_TRANSPORT_SEND_PARAMS1").
    arguments: FWPS_TRANSPORT_SEND_PARAMS1,
    remote_address: [u8; 16],
}

/// Longest packet that is copied: the longest that IP has, and its options.
const LONGEST: u32 = 65_535 + 60;

/// A net buffer list with one net buffer, over bytes that are the packet's own. Dropping it frees it.
#[must_use = "dropping the packet frees it"]
pub struct Packet {
    block: NonNull<Block>,
}

// SAFETY: a packet belongs to no thread.
unsafe impl Send for Packet {}

/// What a packet is sent with, besides its bytes.
#[derive(Clone, Copy, Default)]
pub struct SendArguments<'a> {
    /// In network order; IPv4 in the first four bytes.
    pub remote_address: [u8; 16],
    pub remote_scope: SCOPE_ID,
    /// The socket's control data (`WSACMSGHDR`s).
    pub control: &'a [u8],
}

impl Packet {
    /// Allocates a packet whose `length` bytes `fill` writes; zero for a packet that is not to be.
    fn with(
        pool: &PacketPool,
        length: u32,
        arguments: SendArguments<'_>,
        fill: impl FnOnce(&mut [u8]) -> bool,
    ) -> Result<Self, NTSTATUS> {
        if length == 0 || length > LONGEST {
            return Err(STATUS_INVALID_BUFFER_SIZE);
        }
        let control_length = u32::try_from(arguments.control.len()).map_err(|_| STATUS_INVALID_BUFFER_SIZE)?;
        // Behind the block begin the control data, aligned as WSACMSGHDR wants, and behind them the bytes.
        let control_space = arguments.control.len().next_multiple_of(align_of::<Block>());
        let size = size_of::<Block>() + control_space + length as usize;
        // SAFETY: any size may be asked for.
        let memory = unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, size, TAG) };
        let block = NonNull::new(memory.cast::<Block>()).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        // From here on dropping the packet frees what was allocated: the memory is zeroed ("ExAllocatePool2 function").
        let packet = Packet { block };
        // SAFETY: the block has room for this and more behind it.
        let control = unsafe { memory.cast::<u8>().add(size_of::<Block>()) };
        // SAFETY: the block was allocated with this much behind it.
        let bytes = unsafe { control.add(control_space) };
        // SAFETY: both are the lengths that were allocated for, of two pieces of memory.
        unsafe { ptr::copy_nonoverlapping(arguments.control.as_ptr(), control, arguments.control.len()) };
        // SAFETY: the bytes are zeroed, this long, and the packet's alone.
        if !fill(unsafe { slice::from_raw_parts_mut(bytes, length as usize) }) {
            return Err(STATUS_INVALID_BUFFER_SIZE);
        }
        // SAFETY: the memory is not paged, is this long, and is freed after the MDL; it belongs to no IRP.
        let mdl = unsafe { IoAllocateMdl(bytes.cast(), length, 0, 0, ptr::null_mut()) };
        if mdl.is_null() {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        let place = block.as_ptr();
        // SAFETY: the block is the packet's alone.
        unsafe { (*place).mdl = mdl };
        // SAFETY: the MDL describes memory of the non-paged pool.
        unsafe { MmBuildMdlForNonPagedPool(mdl) };
        let mut list = ptr::null_mut();
        // SAFETY: the pool's lists have a net buffer; the MDL describes `length` bytes; `list` outlives the call.
        exactly_success(unsafe {
            FwpsAllocateNetBufferAndNetBufferList0(pool.handle.as_ptr(), 0, 0, mdl, 0, length as usize, &mut list)
        })?;
        // SAFETY: the block is the packet's alone; its parts lie where they will lie until it is freed.
        let block = unsafe { &mut *place };
        block.list = list;
        block.length = length;
        block.remote_address = arguments.remote_address;
        block.arguments = FWPS_TRANSPORT_SEND_PARAMS1 {
            remoteAddress: block.remote_address.as_mut_ptr(),
            remoteScopeId: arguments.remote_scope,
            controlData: if control_length == 0 { ptr::null_mut() } else { control.cast() },
            controlDataLength: control_length,
            headerIncludeHeader: ptr::null_mut(),
            headerIncludeHeaderLength: 0,
        };
        Ok(packet)
    }

    /// A packet of these bytes.
    pub fn new(pool: &PacketPool, bytes: &[u8]) -> Result<Self, NTSTATUS> {
        let length = u32::try_from(bytes.len()).map_err(|_| STATUS_INVALID_BUFFER_SIZE)?;
        Packet::with(pool, length, SendArguments::default(), |own| {
            own.copy_from_slice(bytes);
            true
        })
    }

    /// Copies a packet that comes in, with its headers: at the receive/accept layers data begin behind `headers` bytes of them
    /// ("Data Offset Positions"), and an injected packet begins with the IP header.
    ///
    /// # Safety
    ///
    /// `list` is the layer data of a classifyFn that has not returned, at a layer whose data are inbound packets, and `headers` is the
    /// sum of the metadata's IP and transport header sizes.
    pub unsafe fn copy_inbound(pool: &PacketPool, list: *mut NET_BUFFER_LIST, headers: u32) -> Result<Self, NTSTATUS> {
        // SAFETY: the caller's promise.
        let buffer = unsafe { only_buffer(list) }?;
        // No room is needed that is not there: the headers lie before the data.
        // SAFETY: the caller's promise.
        exactly_success(unsafe { NdisRetreatNetBufferDataStart(buffer, headers, 0, ptr::null_mut()) })?;
        // SAFETY: the buffer is valid.
        let packet = unsafe { Packet::copy(pool, buffer, SendArguments::default()) };
        // SAFETY: undoes the retreat, for which nothing was allocated.
        unsafe { NdisAdvanceNetBufferDataStart(buffer, headers, 0, ptr::null_mut()) };
        let packet = packet?;
        // What the network card has found out of the checksums goes along.
        // SAFETY: both lists are valid.
        unsafe { NdisCopyReceiveNetBufferListInfo(packet.list(), list) };
        Ok(packet)
    }

    /// Copies a packet that goes out. It begins with the transport header.
    ///
    /// # Safety
    ///
    /// `list` is the layer data of a classifyFn that has not returned, at a layer whose data are outbound packets.
    pub unsafe fn copy_outbound(
        pool: &PacketPool,
        list: *mut NET_BUFFER_LIST,
        arguments: SendArguments<'_>,
    ) -> Result<Self, NTSTATUS> {
        // SAFETY: the caller's promise.
        let buffer = unsafe { only_buffer(list) }?;
        // SAFETY: the buffer is valid.
        let packet = unsafe { Packet::copy(pool, buffer, arguments) }?;
        // SAFETY: both lists are valid.
        unsafe { NdisCopySendNetBufferListInfo(packet.list(), list) };
        Ok(packet)
    }

    /// # Safety
    ///
    /// `buffer` is valid.
    unsafe fn copy(pool: &PacketPool, buffer: *mut NET_BUFFER, arguments: SendArguments<'_>) -> Result<Self, NTSTATUS> {
        // SAFETY: the caller's promise.
        let length = unsafe { (*buffer).DataLength };
        Packet::with(pool, length, arguments, |own| {
            // SAFETY: the caller's promise.
            unsafe { copy_data(buffer, own) }
        })
    }

    /// The net buffer list.
    pub fn list(&self) -> *mut NET_BUFFER_LIST {
        // SAFETY: the block lives as long as the packet.
        unsafe { self.block.as_ref() }.list
    }

    /// For `FwpsInjectTransportSendAsync1`.
    pub(crate) fn arguments(&self) -> *mut FWPS_TRANSPORT_SEND_PARAMS1 {
        let block = self.block.as_ptr();
        // SAFETY: the block lives as long as the packet.
        unsafe { &raw mut (*block).arguments }
    }

    /// The packet as a completion function's context, which owns it from now on.
    pub fn into_context(self) -> *mut c_void {
        let context = self.block.as_ptr().cast();
        mem::forget(self);
        context
    }

    /// The packet of a completion function's context.
    ///
    /// # Safety
    ///
    /// `context` came from [`Packet::into_context`], and is taken back once.
    pub unsafe fn from_context(context: *mut c_void) -> Self {
        // SAFETY: the caller's promise; a packet's address is not null.
        Packet { block: unsafe { NonNull::new_unchecked(context.cast()) } }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: the block lives until the end of this function.
        let Block { list, mdl, .. } = *unsafe { self.block.as_ref() };
        if !list.is_null() {
            // SAFETY: the list came from FwpsAllocateNetBufferAndNetBufferList0, and whoever injected it has given it back.
            unsafe { FwpsFreeNetBufferList0(list) };
        }
        if !mdl.is_null() {
            // SAFETY: the MDL came from IoAllocateMdl, and nothing uses it after the list.
            unsafe { IoFreeMdl(mdl) };
        }
        // SAFETY: the block came from ExAllocatePool2 with this tag, and nothing uses it after the MDL.
        unsafe { ExFreePoolWithTag(self.block.as_ptr().cast(), TAG) };
    }
}

/// Copies the first bytes of a packet that comes in, as many as it has and as there is room for: `headers` is as in
/// [`Packet::copy_inbound`].
///
/// # Safety
///
/// As [`Packet::copy_inbound`].
pub unsafe fn first_bytes(list: *mut NET_BUFFER_LIST, headers: u32, storage: &mut [u8]) -> Result<&[u8], NTSTATUS> {
    // SAFETY: the caller's promise.
    let buffer = unsafe { only_buffer(list) }?;
    // No room is needed that is not there: the headers lie before the data.
    // SAFETY: the caller's promise.
    exactly_success(unsafe { NdisRetreatNetBufferDataStart(buffer, headers, 0, ptr::null_mut()) })?;
    // SAFETY: the buffer is valid.
    let length = storage.len().min(unsafe { (*buffer).DataLength } as usize);
    let storage = &mut storage[..length];
    // SAFETY: the buffer is valid.
    let copied = unsafe { copy_data(buffer, storage) };
    // SAFETY: undoes the retreat, for which nothing was allocated.
    unsafe { NdisAdvanceNetBufferDataStart(buffer, headers, 0, ptr::null_mut()) };
    if copied { Ok(storage) } else { Err(STATUS_INVALID_BUFFER_SIZE) }
}

/// Fills `own` with a packet's first bytes; false if it has not as many.
///
/// # Safety
///
/// `buffer` is valid.
unsafe fn copy_data(buffer: *mut NET_BUFFER, own: &mut [u8]) -> bool {
    // SAFETY: the storage is as long as what is asked for.
    let data = unsafe { NdisGetDataBuffer(buffer, own.len() as u32, own.as_mut_ptr().cast(), 1, 0) };
    if !data.is_null() && data.cast() != own.as_mut_ptr() {
        // SAFETY: the data are in one piece, this long, and the buffer's own.
        unsafe { ptr::copy_nonoverlapping(data.cast::<u8>(), own.as_mut_ptr(), own.len()) };
    }
    !data.is_null()
}

/// The net buffer of a list that is one packet. Several are not copied: an inbound list of several may not be injected at all ("Bug
/// Check 0x1D3: WFP_INVALID_OPERATION").
///
/// # Safety
///
/// `list` is NULL or valid.
unsafe fn only_buffer(list: *mut NET_BUFFER_LIST) -> Result<*mut NET_BUFFER, NTSTATUS> {
    // SAFETY: the caller's promise.
    let list = unsafe { list.as_ref() }.ok_or(STATUS_FWP_NULL_POINTER)?;
    // SAFETY: a list's buffers are valid for as long as it is.
    match unsafe { list.FirstNetBuffer.as_ref() } {
        Some(buffer) if buffer.Next.is_null() && list.Next.is_null() => Ok(list.FirstNetBuffer),
        _ => Err(STATUS_NOT_SUPPORTED),
    }
}
