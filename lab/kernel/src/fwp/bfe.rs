//! The base filtering engine's state, and who wants to hear of its changes.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fwps::sys::*;

use super::{Owner, owner, this_thread};
use crate::call::{CallContext, call_image};
use crate::condition::{Condition, Until};
use crate::export::{Export, exports};
use crate::inject::faulted;
use crate::irql::require_irql;
use crate::kernel::{lock, next_number};
use crate::nt::{DISPATCH_LEVEL, PASSIVE_LEVEL};
use crate::ptr::Ptr;
use crate::report::{self, Finding, Kind};
use crate::thread;

pub(crate) const EXPORTS: &[Export] =
    exports![FwpmBfeStateGet0, FwpmBfeStateSubscribeChanges0, FwpmBfeStateUnsubscribeChanges0];

pub(crate) struct Bfe {
    state: AtomicU32,
    subscriptions: Mutex<BTreeMap<u64, Arc<Subscription>>>,
    /// One change is told to everyone before the next.
    changing: Mutex<()>,
}

struct Subscription {
    callback: Ptr<()>,
    context: Ptr<c_void>,
    owner: Owner,
    name: String,
    /// The thread that is in the callback now (address of its page), and a signal when it has left.
    running: Mutex<Option<u64>>,
    returned: Condition,
}

impl Bfe {
    pub fn new(running: bool) -> Bfe {
        Bfe {
            state: AtomicU32::new(if running { FWPM_SERVICE_RUNNING } else { FWPM_SERVICE_STOPPED }),
            subscriptions: Mutex::default(),
            changing: Mutex::default(),
        }
    }

    pub fn state(&self) -> FWPM_SERVICE_STATE {
        self.state.load(Ordering::SeqCst)
    }

    pub fn is_running(&self) -> bool {
        self.state() == FWPM_SERVICE_RUNNING
    }

    /// Goes to each of `states` in turn and tells the subscribers. `at` runs when a state has been reached, before they hear of it.
    pub fn change(&self, states: &[FWPM_SERVICE_STATE], mut at: impl FnMut(FWPM_SERVICE_STATE)) {
        let _order = lock(&self.changing);
        for &state in states {
            self.state.store(state, Ordering::SeqCst);
            at(state);
            let subscriptions: Vec<_> = lock(&self.subscriptions).iter().map(|(id, one)| (*id, one.clone())).collect();
            for (id, subscription) in subscriptions {
                *lock(&subscription.running) = Some(this_thread());
                // Unsubscribing takes it out of the map, then waits while it runs: a callback that starts after was still in.
                if lock(&self.subscriptions).contains_key(&id) {
                    subscription.tell(state);
                }
                *lock(&subscription.running) = None;
                subscription.returned.notify_all();
            }
        }
    }

    pub fn left_behind(&self, image: u64) -> Vec<String> {
        lock(&self.subscriptions)
            .values()
            .filter(|subscription| subscription.owner.image == image)
            .map(|subscription| format!("{} was not ended with FwpmBfeStateUnsubscribeChanges0", subscription.name))
            .collect()
    }
}

impl Subscription {
    fn tell(&self, state: FWPM_SERVICE_STATE) {
        let context = CallContext { what: "the BFE state callback", object: &self.name, at: "" };
        // SAFETY: subscribed as a `FWPM_SERVICE_STATE_CHANGE_CALLBACK0` and not unsubscribed; the documentation names no IRQL, so
        // the strictest is used. A stopped lab calls nothing, and that is all that can fail.
        let _ = unsafe { call_image(&context, DISPATCH_LEVEL, self.callback.as_mut_ptr(), (self.context, state)) };
    }
}

extern "win64" fn FwpmBfeStateGet0() -> FWPM_SERVICE_STATE {
    require_irql(DISPATCH_LEVEL);
    let state = &thread::current().fwp.bfe;
    if lock(&state.subscriptions).is_empty() {
        report::violation(Finding {
            kind: Kind::Contract,
            what: "FwpmBfeStateGet0 was called without a subscription".into(),
            remedy: "call FwpmBfeStateSubscribeChanges0 first".into(),
        });
    }
    state.state()
}

extern "win64" fn FwpmBfeStateSubscribeChanges0(
    device_object: Ptr<c_void>,
    callback: Ptr<()>,
    context: Ptr<c_void>,
    change_handle: Ptr<u64>,
) -> NTSTATUS {
    if !require_irql(PASSIVE_LEVEL) {
        return STATUS_NOT_SUPPORTED;
    }
    if let Some(status) = faulted() {
        return status.0;
    }
    if device_object.is_null() || callback.is_null() || change_handle.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    let owner = owner();
    let handle = next_number() << 4;
    change_handle.write(handle);
    let subscription = Subscription {
        callback,
        context,
        name: format!("the BFE state subscription {handle:#x} of driver {}", owner.driver),
        owner,
        running: Mutex::new(None),
        returned: Condition::default(),
    };
    lock(&thread::current().fwp.bfe.subscriptions).insert(handle, Arc::new(subscription));
    STATUS_SUCCESS
}

extern "win64" fn FwpmBfeStateUnsubscribeChanges0(change_handle: u64) -> NTSTATUS {
    let kernel = thread::current();
    let known = lock(&kernel.fwp.bfe.subscriptions).get(&change_handle).cloned();
    if known.is_some_and(|subscription| *lock(&subscription.running) == Some(this_thread())) {
        report::violation(Finding {
            kind: Kind::Contract,
            what: "FwpmBfeStateUnsubscribeChanges0 was called from the state callback, for which it waits: Windows deadlocks".into(),
            remedy: "unsubscribe from another thread".into(),
        });
        lock(&kernel.fwp.bfe.subscriptions).remove(&change_handle);
        return STATUS_SUCCESS;
    }
    if !require_irql(PASSIVE_LEVEL) {
        return STATUS_NOT_SUPPORTED;
    }
    if let Some(status) = faulted() {
        return status.0;
    }
    let Some(subscription) = lock(&kernel.fwp.bfe.subscriptions).remove(&change_handle) else {
        report::violation(Finding {
            kind: Kind::Contract,
            what: format!("FwpmBfeStateUnsubscribeChanges0 was given {change_handle:#x}, which is no subscription"),
            remedy: "pass the handle that FwpmBfeStateSubscribeChanges0 returned, once".into(),
        });
        return STATUS_INVALID_PARAMETER;
    };
    let mut running = lock(&subscription.running);
    // On return no callback runs, and none will.
    while running.is_some() {
        running =
            subscription.returned.wait(&subscription.running, running, Until::Notified, "a BFE callback to return");
    }
    STATUS_SUCCESS
}
