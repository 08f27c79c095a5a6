//! Registered callouts, and the promise that none is called after it was unregistered.
//!
//! # Unregistering races with classifying
//!
//! Every call into a callout (classifyFn, notifyFn, flowDeleteFn) is made between [`Callout::enter`] and the drop of what it
//! returned. `enter` counts the call, on a line of its own for each processor, and only then looks at the state;
//! [`Callout::unregister`] first changes the state and only then looks at the counts. All four accesses are sequentially
//! consistent, so in their single order either the count comes before unregister's look at it, and unregister answers
//! `STATUS_DEVICE_BUSY`; or it comes after, thus after the change of state too, and `enter` sees that and does not call. A call
//! that was counted is uncounted only when it has returned to the lab. So when `unregister` answers `STATUS_SUCCESS`, no call is
//! in progress and none will begin.
//!
//! While unregister looks at the counts the state is `PROBING`. A call that meets it steps back and waits until the state is
//! decided, which takes no longer than that look; so an attempt that ends in `STATUS_DEVICE_BUSY` is invisible to traffic.
//!
//! Flow contexts are counted in the same way: `FwpsFlowAssociateContext0` counts one while it is inside `enter`, and the count goes
//! down when the context's flowDeleteFn has returned.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use fwps::sys::*;
use postern_engine::layers;
use uuid::Uuid;

use super::Owner;
use crate::call::{CallContext, Stopped, call_image};
use crate::nt::DISPATCH_LEVEL;
use crate::thread;

const REGISTERED: u8 = 0;
const PROBING: u8 = 1;
const UNREGISTERED: u8 = 2;

/// A counter on cache lines of its own. Two lines: processors fetch them in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Counter(AtomicU32);

/// What an image passed to `FwpsCalloutRegister*`.
#[derive(Clone, Copy)]
pub(crate) struct Registration {
    pub key: Uuid,
    /// `FWP_CALLOUT_FLAG_*`.
    pub flags: u32,
    /// Registered by `FwpsCalloutRegister0`: its classifyFn takes no classify context.
    pub without_classify_context: bool,
    pub classify: *const (),
    pub notify: *const (),
    /// May be null.
    pub flow_delete: *const (),
}

// SAFETY: addresses in an image, which any processor may call.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

/// A callout between its registration and its unregistration.
pub(crate) struct Callout {
    pub id: u32,
    pub registration: Registration,
    pub owner: Owner,
    /// How reports call it: by its key, and once a callout object has been added, by that one's name too.
    bare_name: String,
    full_name: OnceLock<String>,
    state: AtomicU8,
    /// Flows that carry a context of it, and contexts whose flowDeleteFn has not returned.
    pub contexts: AtomicU64,
    /// Calls in progress, by processor.
    calls: Box<[Counter]>,
    /// Whether a classify without the write right, or another misuse, was reported already.
    pub reported: AtomicBool,
}

/// A call into a callout in progress.
pub(crate) struct InCall<'a> {
    counter: &'a AtomicU32,
}

impl Drop for InCall<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Release);
    }
}

/// Why a callout was not unregistered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A call is in progress, or flows carry contexts.
    Busy,
    /// Another thread is unregistering it.
    InUse,
    /// It is not registered any more.
    NotFound,
}

impl Callout {
    pub fn new(id: u32, registration: Registration, owner: Owner, processors: u32) -> Callout {
        Callout {
            id,
            bare_name: format!("callout {{{}}} (id {id}) of driver {}", registration.key, owner.driver),
            full_name: OnceLock::new(),
            registration,
            owner,
            state: AtomicU8::new(REGISTERED),
            contexts: AtomicU64::new(0),
            calls: (0..processors.max(1)).map(|_| Counter::default()).collect(),
            reported: AtomicBool::new(false),
        }
    }

    pub fn name(&self) -> &str {
        self.full_name.get().unwrap_or(&self.bare_name)
    }

    /// Takes over the name of the callout object with the same key; the first that was added counts.
    pub fn set_display_name(&self, name: &str) {
        self.full_name.get_or_init(|| format!("callout \"{name}\" {}", &self.bare_name["callout ".len()..]));
    }

    /// Begins a call on `processor`, unless the callout is not registered any more.
    #[inline]
    pub fn enter(&self, processor: u32) -> Option<InCall<'_>> {
        let counter = &self.calls[processor as usize].0;
        loop {
            counter.fetch_add(1, Ordering::SeqCst);
            let state = self.state.load(Ordering::SeqCst);
            if state == REGISTERED {
                return Some(InCall { counter });
            }
            counter.fetch_sub(1, Ordering::Release);
            if state == UNREGISTERED {
                return None;
            }
            while self.state.load(Ordering::Relaxed) == PROBING {
                core::hint::spin_loop();
            }
        }
    }

    /// Unregisters, or says why not. Never waits.
    fn unregister(&self) -> Result<(), Refusal> {
        match self.state.compare_exchange(REGISTERED, PROBING, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => {}
            Err(PROBING) => return Err(Refusal::InUse),
            Err(_) => return Err(Refusal::NotFound),
        }
        let busy = self.contexts.load(Ordering::SeqCst) != 0
            || self.calls.iter().any(|counter| counter.0.load(Ordering::SeqCst) != 0);
        self.state.store(if busy { REGISTERED } else { UNREGISTERED }, Ordering::SeqCst);
        if busy { Err(Refusal::Busy) } else { Ok(()) }
    }

    /// Waits until every call has ended that began before. Calls that begin meanwhile are not waited for.
    pub fn quiesce(&self) {
        for counter in &self.calls {
            while counter.0.load(Ordering::SeqCst) != 0 && !thread::page().stopped() {
                thread::let_others_run();
            }
        }
    }

    /// Calls flowDeleteFn for a context that has been detached from its flow, then uncounts the context.
    pub fn flow_deleted(&self, layer: u16, context: u64) -> Result<(), Stopped> {
        let call = CallContext { what: "flowDeleteFn", object: self.name(), at: layer_name(layer) };
        // SAFETY: registered as a `FWPS_CALLOUT_FLOW_DELETE_NOTIFY_FN0`; the counted context keeps it registered.
        let result =
            unsafe { call_image(&call, DISPATCH_LEVEL, self.registration.flow_delete, (layer, self.id, context)) };
        self.contexts.fetch_sub(1, Ordering::SeqCst);
        result.map(drop)
    }
}

pub(crate) fn layer_name(layer: u16) -> &'static str {
    layers::by_id(layer).map_or("an unknown layer", |layer| layer.name)
}

/// All registered callouts, by ascending id. Ids are not given twice, so a table of positions would grow with every load.
#[derive(Default)]
pub(crate) struct Table(Vec<(u32, Arc<Callout>)>);

impl Table {
    fn position(&self, id: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&id, |(id, _)| *id)
    }

    #[inline]
    pub fn get(&self, id: u32) -> Option<&Arc<Callout>> {
        self.position(id).ok().map(|position| &self.0[position].1)
    }

    pub fn by_key(&self, key: &Uuid) -> Option<&Arc<Callout>> {
        self.iter().find(|callout| callout.registration.key == *key)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Callout>> {
        self.0.iter().map(|(_, callout)| callout)
    }
}

/// The table, replaced as a whole whenever a callout comes or goes.
#[derive(Default)]
pub(crate) struct Callouts(pub ArcSwap<Table>);

impl Callouts {
    pub fn get(&self, id: u32) -> Option<Arc<Callout>> {
        self.0.load().get(id).cloned()
    }

    pub fn by_key(&self, key: &Uuid) -> Option<Arc<Callout>> {
        self.0.load().by_key(key).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Callout>> {
        self.0.load().iter().cloned().collect()
    }

    pub fn insert(&self, callout: Arc<Callout>) {
        self.replace(callout.id, Some(callout));
    }

    /// Unregisters a callout of this table and takes it out.
    pub fn unregister(&self, callout: &Callout) -> Result<(), Refusal> {
        callout.unregister()?;
        self.replace(callout.id, None);
        Ok(())
    }

    fn replace(&self, id: u32, callout: Option<Arc<Callout>>) {
        self.0.rcu(|table| {
            let mut callouts = table.0.clone();
            let position = table.position(id);
            if let Ok(position) = position {
                callouts.remove(position);
            }
            if let Some(callout) = &callout {
                callouts.insert(position.unwrap_or_else(|position| position), (id, callout.clone()));
            }
            Table(callouts)
        });
    }
}

/// What `FwpsCalloutUnregister*` answers.
pub(crate) fn status(result: Result<(), Refusal>) -> NTSTATUS {
    match result {
        Ok(()) => STATUS_SUCCESS,
        Err(Refusal::Busy) => STATUS_DEVICE_BUSY,
        Err(Refusal::InUse) => STATUS_FWP_IN_USE,
        Err(Refusal::NotFound) => STATUS_FWP_CALLOUT_NOT_FOUND,
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn nobody_is_inside_after_unregistering_has_succeeded() {
        const ROUNDS: usize = 20_000;
        let registration = Registration {
            key: Uuid::nil(),
            flags: 0,
            without_classify_context: false,
            classify: core::ptr::null(),
            notify: core::ptr::null(),
            flow_delete: core::ptr::null(),
        };
        let owner = Owner { image: 0, driver: String::new() };
        let callouts: Vec<_> =
            (0..ROUNDS).map(|_| (Callout::new(1, registration, owner.clone(), 1), AtomicBool::new(false))).collect();
        let (round, entered, late) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while let Some((callout, gone)) = callouts.get(round.load(Ordering::Relaxed)) {
                    if let Some(_call) = callout.enter(0) {
                        entered.fetch_add(1, Ordering::Relaxed);
                        for _ in 0..3 {
                            late.fetch_add(usize::from(gone.load(Ordering::SeqCst)), Ordering::Relaxed);
                        }
                    }
                }
            });
            for (index, (callout, gone)) in callouts.iter().enumerate() {
                // Not before the other thread is at it, and not always at the same moment.
                let before = entered.load(Ordering::Relaxed);
                while entered.load(Ordering::Relaxed) == before {
                    core::hint::spin_loop();
                }
                for _ in 0..index % 50 {
                    core::hint::spin_loop();
                }
                while callout.unregister() != Ok(()) {
                    core::hint::spin_loop();
                }
                gone.store(true, Ordering::SeqCst);
                round.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(late.load(Ordering::Relaxed), 0);
    }
}
