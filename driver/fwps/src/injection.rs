//! Injection: packets of ours into the network stack ("Packet Injection Functions").

use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ptr;

use crate::packet::Packet;
use crate::status::exactly_success;
use crate::sys::*;

/// Whose a packet is ("FWPS_PACKET_INJECTION_STATE").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectionState {
    NotInjected,
    BySelf,
    ByOther,
    /// Injected by us, and after that by somebody else.
    PreviouslyBySelf,
}

/// Where a packet came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub family: ADDRESS_FAMILY,
    pub compartment: u32,
    pub interface: u32,
    pub sub_interface: u32,
}

/// Where a packet goes out.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    pub family: ADDRESS_FAMILY,
    pub compartment: u32,
    /// `transportEndpointHandle` of the metadata. It may be gone by the time of the injection, which fails then.
    pub endpoint: u64,
}

/// An injection handle. [`InjectionHandle::destroy`] ends it; one that is dropped without is left to the engine, whose completions
/// would call into an image that may be gone.
#[must_use = "an injection handle that is forgotten calls into an image that may be gone"]
pub struct InjectionHandle {
    handle: HANDLE,
}

// SAFETY: an injection handle belongs to no thread.
unsafe impl Send for InjectionHandle {}
// SAFETY: the functions that inject may be called from any processor at once.
unsafe impl Sync for InjectionHandle {}

impl InjectionHandle {
    /// Creates a handle for packets of `family` (`AF_UNSPEC` for both, but not for the network layer), of the types
    /// `FWPS_INJECTION_TYPE_*`. IRQL: PASSIVE_LEVEL.
    pub fn new(family: ADDRESS_FAMILY, types: u32) -> Result<Self, NTSTATUS> {
        let mut handle = ptr::null_mut();
        // SAFETY: `handle` outlives the call.
        exactly_success(unsafe { FwpsInjectionHandleCreate0(family, types, &mut handle) })?;
        Ok(InjectionHandle { handle })
    }

    /// Ends the handle, and waits until every injection with it has completed ("FwpsInjectionHandleDestroy0 function"). On failure
    /// it stands, and can be ended again. IRQL: PASSIVE_LEVEL, never from a completion function, for which this waits.
    pub fn destroy(&mut self) -> Result<(), NTSTATUS> {
        // SAFETY: the handle came from FwpsInjectionHandleCreate0 and stands.
        exactly_success(unsafe { FwpsInjectionHandleDestroy0(self.handle) })
    }

    /// The handle as a number to hand on.
    pub fn as_raw(&self) -> HANDLE {
        self.handle
    }

    /// The handle of a number, borrowed; `None` for NULL.
    ///
    /// # Safety
    ///
    /// The number is NULL or came from [`InjectionHandle::as_raw`] of a handle that stands for as long as the result is used.
    pub unsafe fn from_raw(handle: HANDLE) -> Option<ManuallyDrop<Self>> {
        if handle.is_null() { None } else { Some(ManuallyDrop::new(InjectionHandle { handle })) }
    }

    /// Whose a packet is. IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Safety
    ///
    /// `list` is the layer data that the engine passed to a classifyFn, at a layer whose data is a list of net buffers, which has not
    /// returned.
    pub unsafe fn state_of(&self, list: *const NET_BUFFER_LIST) -> InjectionState {
        // SAFETY: the handle stands; the context is optional; the rest is the caller's promise.
        match unsafe { FwpsQueryPacketInjectionState0(self.handle, list, ptr::null_mut()) } {
            FWPS_PACKET_INJECTED_BY_SELF => InjectionState::BySelf,
            FWPS_PACKET_PREVIOUSLY_INJECTED_BY_SELF => InjectionState::PreviouslyBySelf,
            FWPS_PACKET_NOT_INJECTED => InjectionState::NotInjected,
            _ => InjectionState::ByOther,
        }
    }

    /// Lets a packet come in, IP header first. IRQL: at most DISPATCH_LEVEL, never from a classifyFn.
    ///
    /// # Safety
    ///
    /// As [`InjectionHandle::send_network`].
    pub unsafe fn receive_transport(
        &self,
        packet: Packet,
        arrival: Arrival,
        completed: FWPS_INJECT_COMPLETE0,
    ) -> Result<(), (Packet, NTSTATUS)> {
        inject(packet, |list, context| {
            // SAFETY: the handle stands; the list is a packet's, which its context owns; the rest is the caller's promise.
            unsafe {
                FwpsInjectTransportReceiveAsync0(
                    self.handle,
                    ptr::null_mut(),
                    ptr::null_mut(),
                    0,
                    arrival.family,
                    arrival.compartment,
                    arrival.interface,
                    arrival.sub_interface,
                    list,
                    completed,
                    context,
                )
            }
        })
    }

    /// Sends a packet, transport header first, to the address that it was copied with. IRQL: at most DISPATCH_LEVEL, never from
    /// a classifyFn.
    ///
    /// # Safety
    ///
    /// As [`InjectionHandle::send_network`].
    pub unsafe fn send_transport(
        &self,
        packet: Packet,
        departure: Departure,
        completed: FWPS_INJECT_COMPLETE0,
    ) -> Result<(), (Packet, NTSTATUS)> {
        let arguments = packet.arguments();
        inject(packet, |list, context| {
            // SAFETY: the handle stands; list and arguments are a packet's, which its context owns; the rest is the caller's promise.
            unsafe {
                FwpsInjectTransportSendAsync1(
                    self.handle,
                    ptr::null_mut(),
                    departure.endpoint,
                    0,
                    arguments,
                    departure.family,
                    departure.compartment,
                    list,
                    completed,
                    context,
                )
            }
        })
    }

    /// Sends a packet, IP header first. IRQL: at most DISPATCH_LEVEL.
    ///
    /// # Safety
    ///
    /// `completed` is called once with the packet as its context ([`Packet::from_context`]), at most at DISPATCH_LEVEL, after or before
    /// this returns; it stays valid until the handle was destroyed.
    pub unsafe fn send_network(
        &self,
        packet: Packet,
        compartment: u32,
        completed: FWPS_INJECT_COMPLETE0,
    ) -> Result<(), (Packet, NTSTATUS)> {
        inject(packet, |list, context| {
            // SAFETY: the handle stands; the list is a packet's, which its context owns; the rest is the caller's promise.
            unsafe {
                FwpsInjectNetworkSendAsync0(self.handle, ptr::null_mut(), 0, compartment, list, completed, context)
            }
        })
    }
}

/// Gives a packet to an injecting function. After any other status than success its completion function is not called, and the packet
/// is still ours ("FwpsInjectTransportReceiveAsync0 function" and its siblings).
fn inject(
    packet: Packet,
    call: impl FnOnce(*mut NET_BUFFER_LIST, *mut c_void) -> NTSTATUS,
) -> Result<(), (Packet, NTSTATUS)> {
    let list = packet.list();
    let context = packet.into_context();
    exactly_success(call(list, context)).map_err(|status| {
        // SAFETY: the context is this packet's, and the function has not taken it.
        (unsafe { Packet::from_context(context) }, status)
    })
}
