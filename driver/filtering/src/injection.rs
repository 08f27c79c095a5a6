//! Injecting packets that were held, and knowing them when they come by again.
//!
//! What covers the last instructions of the completion function: destroying the injection handle, which waits until every
//! injection has completed ("FwpsInjectionHandleDestroy0 function").

use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use fwps::callback;
use fwps::injection::{Arrival, Departure, InjectionHandle, InjectionState};
use fwps::packet::{Packet, PacketPool};
use fwps::sys::{AF_UNSPEC, BOOLEAN, FWPS_INJECTION_TYPE_TRANSPORT, NET_BUFFER_LIST, NTSTATUS};

use crate::log::failed;
use crate::shared::Tally;
use crate::work_item::pause;

pub static HANDLES: Tally = Tally::new();
/// Packets that were injected, and whose injection has completed.
pub static PACKETS: Tally = Tally::new();

static TRANSPORT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static POOL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// What injecting takes. [`Injection::stop`] ends it; dropping it afterwards frees the pool.
#[must_use = "an injection handle that is forgotten calls into an image that may be gone"]
pub struct Injection {
    transport: InjectionHandle,
    #[expect(dead_code, reason = "freed with the value")]
    pool: PacketPool,
}

impl Injection {
    /// IRQL: PASSIVE_LEVEL. `STATUS_FWP_TCPIP_NOT_READY` while the system starts.
    pub fn start() -> Result<Self, NTSTATUS> {
        let pool = PacketPool::new().map_err(|status| failed("allocating a pool of packets", status))?;
        let transport = InjectionHandle::new(AF_UNSPEC, FWPS_INJECTION_TYPE_TRANSPORT)
            .map_err(|status| failed("creating an injection handle", status))?;
        HANDLES.begin();
        POOL.store(pool.as_raw(), Ordering::Release);
        TRANSPORT.store(transport.as_raw(), Ordering::Release);
        Ok(Injection { transport, pool })
    }

    /// Waits until every injection has completed. Nobody may inject, or hold a packet, any more. IRQL: PASSIVE_LEVEL.
    pub fn stop(&mut self) {
        TRANSPORT.store(ptr::null_mut(), Ordering::Release);
        POOL.store(ptr::null_mut(), Ordering::Release);
        while let Err(status) = self.transport.destroy() {
            failed("destroying an injection handle", status);
            pause(100);
        }
        HANDLES.end();
    }
}

/// The pool, from [`Injection::start`] to [`Injection::stop`], which everything that calls this has ended before.
pub fn pool() -> Option<ManuallyDrop<PacketPool>> {
    // SAFETY: the number is a pool's; the order of the ledger has the pool outlive what uses it.
    unsafe { PacketPool::from_raw(POOL.load(Ordering::Acquire)) }
}

fn transport() -> Option<ManuallyDrop<InjectionHandle>> {
    // SAFETY: the number is a handle's; the order of the ledger has it outlive what uses it.
    unsafe { InjectionHandle::from_raw(TRANSPORT.load(Ordering::Acquire)) }
}

/// Whether a packet is one that we have injected: it is permitted, or it would be held for ever. IRQL: at most DISPATCH_LEVEL.
///
/// # Safety
///
/// `list` is NULL, or the layer data that the engine passed to a classifyFn, at a layer whose data is a list of net buffers, which
/// has not returned.
pub unsafe fn is_ours(list: *const NET_BUFFER_LIST) -> bool {
    let Some(transport) = transport() else { return false };
    if list.is_null() {
        return false;
    }
    // SAFETY: the caller's promise.
    matches!(unsafe { transport.state_of(list) }, InjectionState::BySelf | InjectionState::PreviouslyBySelf)
}

/// The way that a held packet goes on.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    In(Arrival),
    Out(Departure),
}

/// Lets a packet go on its way. IRQL: at most DISPATCH_LEVEL, never from a classifyFn.
pub fn inject(packet: Packet, way: Way) {
    let Some(transport) = transport() else { return };
    let result = match way {
        // SAFETY: the completion function takes a packet, and stays valid until the handle was destroyed.
        Way::In(arrival) => unsafe { transport.receive_transport(packet, arrival, completed) },
        // SAFETY: as above.
        Way::Out(departure) => unsafe { transport.send_transport(packet, departure, completed) },
    };
    match result {
        Ok(()) => PACKETS.begin(),
        // Who sent it sends it again; dropping it frees it.
        Err((_packet, status)) => {
            failed("injecting a packet", status);
        }
    }
}

callback! {
    /// Ends an injection. IRQL: at most DISPATCH_LEVEL.
    unsafe fn completed(packet: *mut c_void, _list: *mut NET_BUFFER_LIST, _dispatch_level: BOOLEAN) {
        // SAFETY: the context is the packet's that was injected with this function, which is called once for it.
        drop(unsafe { Packet::from_context(packet) });
        PACKETS.end();
    }
}
