//! What the driver adds to BFE: a provider, a sublayer, the callout objects of its monitors and a filter for each of them.
//!
//! All of it belongs to one dynamic session, so it goes with the session, however that ends. BFE may start after the driver and
//! stop before it; the policy follows.

use core::ffi::c_void;
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};

use fwps::bfe;
use fwps::callback;
use fwps::session::{CalloutObject, Display, EngineSession, InspectionFilter, Sublayer, Transaction};
use fwps::sys::{
    FWPM_SERVICE_RUNNING, FWPM_SERVICE_STATE, GUID, NTSTATUS, STATUS_FWP_ALREADY_EXISTS, STATUS_FWP_FILTER_NOT_FOUND,
};
use postern_core::{Status, gate};
use postern_protocol::callout::{Callout, Layer, Role};
use postern_protocol::{DRIVER_PROVIDER, DRIVER_SUBLAYER, FilterContext};
use wdk_sys::DEVICE_OBJECT;
use widestring::{U16CStr, u16cstr};

use crate::injection;
use crate::lock::PassiveLock;
use crate::log::failed;
use crate::shared::{self, FILTERS, SESSIONS};
use crate::work_item::{self, WorkItem};

static POLICY: PassiveLock<State> = PassiveLock::new(State::Withdrawn);

#[expect(clippy::large_enum_variant, reason = "there is one, in a static")]
enum State {
    /// Nothing may be added: the driver is not there yet, or leaves.
    Withdrawn,
    /// To be added as soon as BFE runs.
    Waiting,
    Added(Added),
}

struct Added {
    session: EngineSession,
    /// Run-time ids of the filters; empty once they are deleted.
    filters: [Option<u64>; FILTER_COUNT],
}

const FILTER_COUNT: usize = Layer::ALL.len();

/// Lets the policy be added from now on.
///
/// # Safety
///
/// Nothing that uses the policy has been started yet.
pub unsafe fn prepare() {
    // SAFETY: the caller's promise.
    unsafe { POLICY.initialize() };
    *POLICY.lock() = State::Waiting;
}

/// BFE has stopped since the session was opened: the session is none any more, even if BFE runs again.
static HAS_STOPPED: AtomicBool = AtomicBool::new(false);

/// Adds the policy if BFE runs, and drops it if BFE does not. IRQL: PASSIVE_LEVEL.
pub fn follow_bfe() -> Result<(), NTSTATUS> {
    let mut state = POLICY.lock();
    let running = bfe::is_running();
    if running {
        // Before there are filters that need it.
        injection::catch_up();
    } else {
        HAS_STOPPED.store(true, Ordering::Release);
    }
    if HAS_STOPPED.load(Ordering::Acquire) {
        match mem::replace(&mut *state, State::Waiting) {
            State::Added(added) => {
                log!("BFE has stopped: the driver's objects went with it");
                added.close();
            }
            State::Waiting => {}
            State::Withdrawn => *state = State::Withdrawn,
        }
    }
    match (&*state, running) {
        (State::Waiting, true) => {
            // Before the session is opened: if BFE stops from here on, the session is lost.
            HAS_STOPPED.store(false, Ordering::Release);
            match Added::add() {
                Ok(added) => {
                    *state = State::Added(added);
                    log!("BFE runs: added provider, sublayer, {FILTER_COUNT} callouts and {FILTER_COUNT} filters");
                }
                // No failure of ours; its next change of state is the next chance.
                Err(_) if HAS_STOPPED.load(Ordering::Acquire) || !bfe::is_running() => {
                    log!("BFE has stopped meanwhile: filters will be added when it runs again");
                }
                Err(status) => return Err(status),
            }
        }
        (State::Waiting, false) => log!("BFE does not run: filters will be added when it does"),
        (State::Added(_) | State::Withdrawn, _) => {}
    }
    Ok(())
}

/// Deletes the driver's filters, so that no traffic is led to its callouts any more. IRQL: PASSIVE_LEVEL.
pub fn delete_filters() {
    let mut state = POLICY.lock();
    match mem::replace(&mut *state, State::Withdrawn) {
        State::Added(mut added) => match added.delete_filters() {
            Ok(()) => *state = State::Added(added),
            Err(status) => {
                // What a transaction cannot delete, the end of its dynamic session does.
                log!("deleting the filters failed with {}: closing their session", Status(status));
                added.close();
            }
        },
        State::Waiting | State::Withdrawn => {}
    }
}

/// Closes the session; what is left of the policy goes with it. IRQL: PASSIVE_LEVEL.
pub fn close_session() {
    if let State::Added(added) = mem::replace(&mut *POLICY.lock(), State::Withdrawn) {
        added.close();
    }
}

impl Added {
    fn add() -> Result<Self, NTSTATUS> {
        let display = Display {
            name: u16cstr!("Postern driver"),
            description: u16cstr!("What the Postern driver adds while it is loaded"),
        };
        purge(display)?;
        let mut session =
            EngineSession::open_dynamic(display).map_err(|status| failed("opening a session with BFE", status))?;
        SESSIONS.begin();
        match session.transaction(add_objects) {
            Ok(filters) => {
                // Not before: what a transaction adds that is not committed was never there.
                FILTERS.begun.fetch_add(FILTER_COUNT as u64, Ordering::Relaxed);
                Ok(Added { session, filters })
            }
            Err(status) => {
                log!("adding to BFE failed with {}; nothing was added", Status(status));
                if status == STATUS_FWP_ALREADY_EXISTS {
                    log!("an object with a key of ours exists: is another Postern driver loaded?");
                }
                close(session);
                Err(status)
            }
        }
    }

    fn delete_filters(&mut self) -> Result<(), NTSTATUS> {
        let filters = &self.filters;
        self.session.transaction(|transaction| {
            for id in filters.iter().flatten() {
                match transaction.delete_filter(*id) {
                    // An administrator may have been faster.
                    Ok(()) | Err(STATUS_FWP_FILTER_NOT_FOUND) => {}
                    Err(status) => return Err(status),
                }
            }
            Ok(())
        })?;
        count_deleted(mem::take(&mut self.filters));
        Ok(())
    }

    fn close(self) {
        let filters = self.filters;
        if close(self.session) {
            count_deleted(filters);
        }
    }
}

fn count_deleted(filters: [Option<u64>; FILTER_COUNT]) {
    for _ in filters.iter().flatten() {
        FILTERS.end();
    }
}

/// How often closing a session is tried. What is left of one that cannot be closed are BFE's objects, not ours: it does not hold
/// the unload up for ever, as a callout would. The receipt tells.
const CLOSE_ATTEMPTS: u32 = 100;

/// Returns whether the session is gone, and all that it had added with it.
fn close(mut session: EngineSession) -> bool {
    for _ in 0..CLOSE_ATTEMPTS {
        match session.close() {
            Ok(()) => {
                SESSIONS.end();
                return true;
            }
            Err((still_open, status)) => {
                log!("closing the session with BFE failed with {}", Status(status));
                session = still_open;
            }
        }
        if HAS_STOPPED.load(Ordering::Acquire) {
            // Sessions end with BFE, and their objects with them. What the dropped handle still answers is of no interest.
            SESSIONS.end();
            return true;
        }
        work_item::pause(10);
    }
    false
}

fn add_objects(transaction: &Transaction<'_>) -> Result<[Option<u64>; FILTER_COUNT], NTSTATUS> {
    let provider = GUID::from_u128(DRIVER_PROVIDER);
    let sublayer = GUID::from_u128(DRIVER_SUBLAYER);
    let display = Display {
        name: u16cstr!("Postern driver"),
        description: u16cstr!("Callouts and filters of postern.sys; they go when the driver is unloaded"),
    };
    transaction.add_provider(provider, display)?;
    transaction.add_sublayer(&Sublayer { key: sublayer, display, provider: &provider, weight: SUBLAYER_WEIGHT })?;
    let mut filters = [None; FILTER_COUNT];
    for (layer, filter) in Layer::ALL.into_iter().zip(&mut filters) {
        let display = Display { name: monitor_name(layer), description: u16cstr!("Counts, and lets others decide") };
        let callout = GUID::from_u128(Callout { role: Role::Monitor, layer }.key());
        let layer = GUID::from_u128(layer.key());
        transaction.add_callout(&CalloutObject { key: callout, display, provider: &provider, layer })?;
        let context = FilterContext::empty().to_raw();
        let id = transaction.add_filter(&InspectionFilter {
            display,
            provider: &provider,
            layer,
            sublayer,
            callout,
            context,
        })?;
        *filter = Some(id);
    }
    Ok(filters)
}

/// Deletes what carries our provider's key although no session of ours is open: an earlier driver, or somebody in its name, has
/// left it behind. A stale filter would send traffic to our callouts with a context of somebody else's meaning. What cannot be
/// deleted is listed in the log, and refuses the start.
fn purge(display: Display) -> Result<(), NTSTATUS> {
    // Not the dynamic session: that may delete only what it has added itself.
    let mut session = EngineSession::open(display).map_err(|status| failed("opening a session with BFE", status))?;
    SESSIONS.begin();
    let deleted = session.transaction(delete_stale_objects);
    close(session);
    deleted.map_err(|status| failed("deleting stale objects of our provider", status))
}

fn delete_stale_objects(transaction: &Transaction<'_>) -> Result<(), NTSTATUS> {
    let mut refused = None;
    let deleted = transaction.delete_all_of(&GUID::from_u128(DRIVER_PROVIDER), |left| {
        // As netsh writes a key.
        let GUID { data1, data2, data3, data4: [a, b, rest @ ..] } = left.key;
        let rest = u64::from_be_bytes([0, 0, rest[0], rest[1], rest[2], rest[3], rest[4], rest[5]]);
        log!(
            "stale {} {{{data1:08x}-{data2:04x}-{data3:04x}-{a:02x}{b:02x}-{rest:012x}}} cannot be deleted: {}",
            left.kind.name(),
            Status(left.status)
        );
        refused = Some(left.status);
    })?;
    if deleted != 0 {
        log!("deleted {deleted} stale objects of our provider");
    }
    match refused {
        None => Ok(()),
        Some(status) => {
            log!("the start is refused: remove what refers to these objects, then the objects");
            Err(status)
        }
    }
}

/// Our monitors only look, so they may look first: above every built-in sublayer.
const SUBLAYER_WEIGHT: u16 = 0xF000;

const fn monitor_name(layer: Layer) -> &'static U16CStr {
    match layer {
        Layer::AleAuthConnectV4 => u16cstr!("Postern monitor ALE_AUTH_CONNECT_V4"),
        Layer::AleAuthConnectV6 => u16cstr!("Postern monitor ALE_AUTH_CONNECT_V6"),
        Layer::AleAuthRecvAcceptV4 => u16cstr!("Postern monitor ALE_AUTH_RECV_ACCEPT_V4"),
        Layer::AleAuthRecvAcceptV6 => u16cstr!("Postern monitor ALE_AUTH_RECV_ACCEPT_V6"),
        Layer::InboundTransportV4 => u16cstr!("Postern monitor INBOUND_TRANSPORT_V4"),
        Layer::InboundTransportV6 => u16cstr!("Postern monitor INBOUND_TRANSPORT_V6"),
        Layer::OutboundTransportV4 => u16cstr!("Postern monitor OUTBOUND_TRANSPORT_V4"),
        Layer::OutboundTransportV6 => u16cstr!("Postern monitor OUTBOUND_TRANSPORT_V6"),
        Layer::AleFlowEstablishedV4 => u16cstr!("Postern monitor ALE_FLOW_ESTABLISHED_V4"),
        Layer::AleFlowEstablishedV6 => u16cstr!("Postern monitor ALE_FLOW_ESTABLISHED_V6"),
        Layer::StreamV4 => u16cstr!("Postern monitor STREAM_V4"),
        Layer::StreamV6 => u16cstr!("Postern monitor STREAM_V6"),
        Layer::DatagramDataV4 => u16cstr!("Postern monitor DATAGRAM_DATA_V4"),
        Layer::DatagramDataV6 => u16cstr!("Postern monitor DATAGRAM_DATA_V6"),
    }
}

/// The work item that follows BFE is queued, and its routine has not begun.
static QUEUED: AtomicBool = AtomicBool::new(false);

callback! {
    /// Called when BFE's state changes; `context` is a work item's. The IRQL is not documented, so all that needs
    /// PASSIVE_LEVEL is left to the work item.
    ///
    /// What covers the last instructions: ending the subscription, which waits for this function.
    pub unsafe fn bfe_changed(context: *mut c_void, state: FWPM_SERVICE_STATE) {
        if state != FWPM_SERVICE_RUNNING {
            HAS_STOPPED.store(true, Ordering::Release);
        }
        let Some(pass) = shared::gate().enter(shared::processor()) else { return };
        if !QUEUED.swap(true, Ordering::AcqRel) {
            // SAFETY: the context is the item that the subscription was made with. The item lives until the subscription has
            // ended and the work is done.
            let item = unsafe { WorkItem::from_context(context) };
            // SAFETY: `QUEUED` was not set, so the item is not queued; the routine expects no context.
            unsafe { item.queue(run_follow_bfe, core::ptr::null_mut()) };
        }
        pass.leave(gate::DROPPED);
    }
}

/// IRQL: PASSIVE_LEVEL. What covers the last instructions: see `work_item`.
unsafe extern "C" fn run_follow_bfe(_device: *mut DEVICE_OBJECT, _context: *mut c_void) {
    // From here on a change queues the item again: a state read below may be outdated by then.
    QUEUED.store(false, Ordering::Release);
    if let Some(pass) = shared::gate().enter(shared::processor()) {
        // The log has the reason of a failure; the next change of state is the next chance.
        let _ = follow_bfe();
        pass.leave(gate::DROPPED);
    }
    work_item::done();
}
