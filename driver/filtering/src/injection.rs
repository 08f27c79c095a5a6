//! Injecting packets, those that were held and resets, and knowing them when they come by again.
//!
//! What covers the last instructions of the completion function: destroying the injection handle, which waits until every
//! injection has completed ("FwpsInjectionHandleDestroy0 function").

use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use fwps::callback;
use fwps::injection::{Arrival, Departure, InjectionHandle, InjectionState};
use fwps::packet::{Packet, PacketPool};
use fwps::sys::{
    ADDRESS_FAMILY, AF_INET, AF_INET6, AF_UNSPEC, BOOLEAN, FWPS_INJECTION_TYPE_NETWORK, FWPS_INJECTION_TYPE_TRANSPORT,
    NET_BUFFER_LIST, NTSTATUS, STATUS_FWP_TCPIP_NOT_READY,
};

use crate::log::failed;
use crate::reject;
use crate::shared::Tally;
use crate::work_item::pause;

pub static HANDLES: Tally = Tally::new();
/// Packets that were injected, and whose injection has completed.
pub static PACKETS: Tally = Tally::new();

/// The handles. Those of the network layer are for one IP version each ("FwpsInjectionHandleCreate0 function").
const KINDS: [(ADDRESS_FAMILY, u32); 3] = [
    (AF_UNSPEC, FWPS_INJECTION_TYPE_TRANSPORT),
    (AF_INET, FWPS_INJECTION_TYPE_NETWORK),
    (AF_INET6, FWPS_INJECTION_TYPE_NETWORK),
];
const TRANSPORT: usize = 0;

const fn network(family: ADDRESS_FAMILY) -> usize {
    if family == AF_INET { 1 } else { 2 }
}

static OPEN: [AtomicPtr<c_void>; KINDS.len()] = [const { AtomicPtr::new(ptr::null_mut()) }; KINDS.len()];
static POOL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Whether anything was sent at the network layer: until then no packet need be asked whether it is one of those.
static HAS_SENT: AtomicBool = AtomicBool::new(false);

/// What injecting takes. [`Injection::stop`] ends it; dropping it afterwards frees the pool.
#[must_use = "an injection handle that is forgotten calls into an image that may be gone"]
pub struct Injection {
    #[expect(dead_code, reason = "freed with the value")]
    pool: PacketPool,
}

impl Injection {
    /// Handles for which the TCP/IP stack is not ready, because the system starts, are left to [`catch_up`]. IRQL: PASSIVE_LEVEL.
    pub fn start() -> Result<Self, NTSTATUS> {
        let pool = PacketPool::new().map_err(|status| failed("allocating a pool of packets", status))?;
        POOL.store(pool.as_raw(), Ordering::Release);
        let mut injection = Injection { pool };
        if let Err(status) = create_handles() {
            injection.stop();
            return Err(status);
        }
        Ok(injection)
    }

    /// Waits until every injection has completed. Nobody may inject, or hold a packet, or catch up, any more. IRQL: PASSIVE_LEVEL.
    pub fn stop(&mut self) {
        reject::forget_all();
        POOL.store(ptr::null_mut(), Ordering::Release);
        for open in OPEN.iter().rev() {
            let handle = open.swap(ptr::null_mut(), Ordering::AcqRel);
            // SAFETY: the number is a handle's, which stands until this has destroyed it.
            let Some(mut handle) = (unsafe { InjectionHandle::from_raw(handle) }) else { continue };
            while let Err(status) = handle.destroy() {
                failed("destroying an injection handle", status);
                pause(100);
            }
            HANDLES.end();
        }
    }
}

/// Creates the handles that there are not.
fn create_handles() -> Result<(), NTSTATUS> {
    for ((family, types), open) in KINDS.into_iter().zip(&OPEN) {
        if !open.load(Ordering::Acquire).is_null() {
            continue;
        }
        match InjectionHandle::new(family, types) {
            Ok(created) => {
                HANDLES.begin();
                open.store(created.as_raw(), Ordering::Release);
            }
            Err(STATUS_FWP_TCPIP_NOT_READY) => {
                log!("the TCP/IP stack is not ready: what needs an injection handle waits until BFE runs");
            }
            Err(status) => return Err(failed("creating an injection handle", status)),
        }
    }
    Ok(())
}

/// Creates the handles for which the TCP/IP stack was not ready ("FwpsInjectionHandleCreate0 function": call again later). The caller is
/// inside the gate, or starts the driver, and alone. IRQL: PASSIVE_LEVEL.
pub fn catch_up() {
    // Without them nothing is held that would have to be injected; the next call tries again.
    let _ = create_handles();
}

/// The pool, from [`Injection::start`] to [`Injection::stop`], which everything that calls this has ended before. `None` as long as
/// the TCP/IP stack is not ready: a packet that could not be injected is not copied.
pub fn pool() -> Option<ManuallyDrop<PacketPool>> {
    handle(TRANSPORT)?;
    // SAFETY: the number is a pool's; the order of the ledger has the pool outlive what uses it.
    unsafe { PacketPool::from_raw(POOL.load(Ordering::Acquire)) }
}

fn handle(kind: usize) -> Option<ManuallyDrop<InjectionHandle>> {
    // SAFETY: the number is a handle's; the order of the ledger has it outlive what uses it.
    unsafe { InjectionHandle::from_raw(OPEN[kind].load(Ordering::Acquire)) }
}

/// Whether a packet is one that we have injected: it is permitted, or it would be held for ever. IRQL: at most DISPATCH_LEVEL.
///
/// # Safety
///
/// `list` is NULL, or the layer data that the engine passed to a classifyFn, at a layer whose data is a list of net buffers, which
/// has not returned.
pub unsafe fn is_ours(list: *const NET_BUFFER_LIST, family: ADDRESS_FAMILY) -> bool {
    // SAFETY: the caller's promise.
    if unsafe { is_from(TRANSPORT, list) } {
        return true;
    }
    // SAFETY: the caller's promise.
    unsafe { was_sent(list, family) }
}

/// Whether a packet is one that [`send`] has sent. IRQL: at most DISPATCH_LEVEL.
///
/// # Safety
///
/// As [`is_ours`].
#[inline(always)]
pub unsafe fn was_sent(list: *const NET_BUFFER_LIST, family: ADDRESS_FAMILY) -> bool {
    // SAFETY: the caller's promise.
    HAS_SENT.load(Ordering::Relaxed) && unsafe { is_from(network(family), list) }
}

/// # Safety
///
/// As [`is_ours`].
unsafe fn is_from(kind: usize, list: *const NET_BUFFER_LIST) -> bool {
    let Some(handle) = handle(kind) else { return false };
    if list.is_null() {
        return false;
    }
    // SAFETY: the caller's promise.
    matches!(unsafe { handle.state_of(list) }, InjectionState::BySelf | InjectionState::PreviouslyBySelf)
}

/// The way that a held packet goes on.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    In(Arrival),
    Out(Departure),
}

/// Lets a packet go on its way. IRQL: at most DISPATCH_LEVEL, never from a classifyFn.
pub fn inject(packet: Packet, way: Way) {
    let Some(transport) = handle(TRANSPORT) else { return };
    report(match way {
        // SAFETY: the completion function takes a packet, and stays valid until the handle was destroyed.
        Way::In(arrival) => unsafe { transport.receive_transport(packet, arrival, completed) },
        // SAFETY: as above.
        Way::Out(departure) => unsafe { transport.send_transport(packet, departure, completed) },
    });
}

/// Sends a packet that begins with its IP header. IRQL: at most DISPATCH_LEVEL.
pub fn send(packet: Packet, family: ADDRESS_FAMILY, compartment: u32) {
    let Some(network) = handle(network(family)) else { return };
    HAS_SENT.store(true, Ordering::Relaxed);
    // SAFETY: the completion function takes a packet, and stays valid until the handle was destroyed.
    report(unsafe { network.send_network(packet, compartment, completed) });
}

fn report(result: Result<(), (Packet, NTSTATUS)>) {
    match result {
        Ok(()) => PACKETS.begin(),
        // Whoever it was from or for tries again; dropping it frees it.
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
