//! Resets: TCP connections that a filter has refused, and not just left to time out.
//!
//! A reset is made in the classifyFn, and sent by the worker. What a transport layer classifies, or ALE for it, comes with the TCP
//! stack's locks held, so "a callout at the transport layers" must not inject a new TCP packet there ("Callout Driver Programming
//! Considerations", inline injection); the page does not say that a packet which enters at the network layer is exempt, which on its way
//! to a host of the same machine would come back to TCP.

use core::ffi::c_void;

use fwps::incoming::{Metadata, Values};
use fwps::packet::{self, Packet};
use fwps::sys::*;
use postern_core::reset::{self, Queue, Reset};

use crate::injection;
use crate::log::failed;
use crate::spin_lock::SpinLock;
use crate::work;

/// How many resets can wait for the worker: 5 KiB of memory.
const CAPACITY: usize = 64;

static QUEUE: SpinLock<Queue<Waiting, CAPACITY>> = SpinLock::new(Queue::new());

/// A reset that waits to be sent: plain data, of which nothing is left when it is forgotten.
#[derive(Clone, Copy)]
struct Waiting {
    reset: Reset,
    compartment: u32,
}

/// Answers a packet that is blocked, if it is one that is answered. The caller is inside the gate. IRQL: at most DISPATCH_LEVEL.
///
/// # Safety
///
/// `values`, `metadata` and `layer_data` are what the engine passed to a classifyFn at ALE_AUTH_RECV_ACCEPT, which has not returned.
#[cold]
pub unsafe fn reject(values: Values<'_>, metadata: Metadata<'_>, layer_data: *mut c_void) {
    // Both IP versions have it at the same place.
    const LOCAL_ADDRESS_TYPE: u16 = FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_IP_LOCAL_ADDRESS_TYPE;
    /// `NL_ADDRESS_TYPE` (nldef.h).
    const NLAT_BROADCAST: u8 = 4;
    // A connection may be authorised again when a packet goes out ("ALE Reauthorization"); who sent that is not told of it.
    if metadata.packet_direction() == Some(FWP_DIRECTION_OUTBOUND) {
        return;
    }
    // A subnet's broadcast address cannot be told from the address.
    if values.uint8(LOCAL_ADDRESS_TYPE) == Some(NLAT_BROADCAST) {
        return;
    }
    let Some(ip_header) = metadata.ip_header_size() else { return };
    let headers = ip_header.saturating_add(metadata.transport_header_size().unwrap_or_default());
    let mut bytes = [0; reset::HEADERS];
    // SAFETY: the caller's promise; at this layer the data begin behind both headers.
    let bytes = match unsafe { packet::first_bytes(layer_data.cast(), headers, &mut bytes) } {
        Ok(bytes) => bytes,
        Err(status) => {
            failed("reading a rejected packet's headers", status);
            return;
        }
    };
    let Some(reset) = Reset::answering(bytes) else { return };
    QUEUE.lock().push(Waiting { reset, compartment: metadata.compartment().unwrap_or(0) });
    work::wake();
}

/// Sends what waits. The caller, the worker, is inside the gate, so nobody waits for injections to complete yet. IRQL: PASSIVE_LEVEL.
pub fn send() {
    let lost = QUEUE.lock().take_lost();
    if lost != 0 {
        log!("{lost} resets were not sent: {CAPACITY} were waiting");
    }
    // What comes meanwhile wakes the worker again.
    for _ in 0..CAPACITY {
        let Some(Waiting { reset, compartment }) = QUEUE.lock().pop() else { return };
        let Some(pool) = injection::pool() else { return };
        let family = if reset.is_v6() { AF_INET6 } else { AF_INET };
        match Packet::new(&pool, reset.bytes()) {
            Ok(packet) => injection::send(packet, family, compartment),
            // The packet that it would have answered stays blocked.
            Err(status) => {
                failed("allocating a reset", status);
            }
        }
    }
}

/// Forgets what waits, behind the closed gate: nothing is sent any more. IRQL: at most DISPATCH_LEVEL.
pub fn forget_all() {
    while QUEUE.lock().pop().is_some() {}
}

const _: () = assert!(
    FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_IP_LOCAL_ADDRESS_TYPE
        == FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V6_IP_LOCAL_ADDRESS_TYPE
);
