//! `fwpkclnt.sys`: the filter engine's kernel side, over the model in `postern_engine`.
//!
//! - [`marshal`] and [`give`]: structures of the management API to engine objects, and back;
//! - [`management`], [`contexts`], [`enumerate`]: `Fwpm*`; [`bfe`]: the state of the base filtering engine;
//! - [`callouts`], [`notify`], [`flows`]: what callouts are promised;
//! - [`runtime`], [`pending`], [`classify_handle`], [`injection`], [`stream`]: `Fwps*`;
//! - [`view`], [`classify`]: what traffic meets;
//! - [`net_events`]: what is told of drops and permits;
//! - [`client`]: the engine as user mode sees it.
#![allow(non_snake_case, reason = "functions and fields have the names of fwpsk.h and fwpmk.h")]

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, TryLockError};

use arc_swap::ArcSwap;
use core::sync::atomic::{AtomicU64, Ordering};
use fwps::sys::NTSTATUS;
use postern_engine::FwpError;
use postern_engine::{CalloutCall, Engine, SessionId, layers};
use uuid::Uuid;

use crate::condition::{Condition, Until};
use crate::export::Export;
use crate::image;
use crate::kernel::{Config, lock};
use crate::report::{self, Finding, Kind};
use crate::thread;

mod bfe;
mod callouts;
pub(crate) mod classify;
pub(crate) mod classify_handle;
mod client;
mod contexts;
#[cfg(test)]
mod contexts_tests;
mod enumerate;
#[cfg(test)]
mod enumerate_tests;
mod flows;
mod give;
pub(crate) mod injection;
#[cfg(test)]
mod injection_tests;
mod kept;
mod management;
mod marshal;
#[cfg(test)]
mod net_event_tests;
mod net_events;
mod notify;
pub(crate) mod pending;
mod raw;
mod runtime;
#[cfg(test)]
pub(crate) mod stand_in;
mod stream;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use callouts::Table;
pub use client::{EngineClient, EngineError};
pub(crate) use flows::FreeCells;
pub use kept::Keeper;
pub(crate) use marshal::key as callout_key;
pub(crate) use view::View;

use notify::Notifier;

pub(crate) const EXPORTS: &[&[Export]] = &[
    management::EXPORTS,
    contexts::EXPORTS,
    enumerate::EXPORTS,
    bfe::EXPORTS,
    runtime::EXPORTS,
    injection::EXPORTS,
    pending::EXPORTS,
    classify_handle::EXPORTS,
    stream::EXPORTS,
];

/// `FWPM_SESSION0.txnWaitTimeoutInMSec` of 0: the default that the documentation names.
const DEFAULT_WAIT: Duration = Duration::from_secs(15);

/// What the filter engine keeps in a kernel.
pub(crate) struct State {
    engine: Mutex<Engine>,
    /// The thread that holds `engine`, by the address of its page.
    holder: AtomicU64,
    /// Signalled when a transaction or a session ends.
    transaction_ended: Condition,
    pub view: ArcSwap<View>,
    pub callouts: callouts::Callouts,
    /// Ids of callouts that a driver of the machine has registered which the engine was restored from. Here nothing runs for them.
    elsewhere: ArcSwap<BTreeSet<u32>>,
    pub flows: flows::Flows,
    pub given: give::Given,
    pub bfe: bfe::Bfe,
    pub net_events: net_events::Collector,
    pub injection: injection::Injection,
    pub pending: pending::Pending,
    pub classify_handles: classify_handle::ClassifyHandles,
    pub ndis: crate::ndis::State,
    handles: management::Handles,
    kept: kept::Kept,
    /// As [`Config::deletion_waits`].
    pub deletion_waits: bool,
}

/// A callout that a driver has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredCallout {
    pub key: Uuid,
    /// As reports call it.
    pub name: String,
    /// Of its callout object, if one has been added.
    pub layer: Option<&'static str>,
    /// Whether it has a flowDeleteFn.
    pub has_flow_delete: bool,
}

/// Who called an import: for what it acquires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The image's number; 0 for a caller outside of any image.
    pub image: u64,
    /// Service name of the driver.
    pub driver: String,
}

/// The image that called the import now running.
pub(crate) fn owner() -> Owner {
    let caller = thread::page().caller.get();
    Owner {
        image: image::number_at(caller).unwrap_or(0),
        driver: image::place(caller).map_or_else(|| "an unknown driver".into(), |place| place.image),
    }
}

/// The kernel's status of an error: a `STATUS_FWP_*` value.
pub(crate) fn failure(error: FwpError) -> NTSTATUS {
    error.ntstatus() as NTSTATUS
}

/// A number for the calling thread: the address of its page.
fn this_thread() -> u64 {
    core::ptr::from_ref(thread::page()) as u64
}

impl State {
    pub fn new(config: &Config) -> State {
        let engine = Engine::new();
        State {
            view: ArcSwap::from_pointee(View::new(engine.snapshot())),
            engine: Mutex::new(engine),
            holder: AtomicU64::new(0),
            transaction_ended: Condition::default(),
            callouts: callouts::Callouts::default(),
            elsewhere: ArcSwap::default(),
            flows: flows::Flows::default(),
            given: give::Given::default(),
            bfe: bfe::Bfe::new(config.bfe_running),
            net_events: net_events::Collector::default(),
            injection: injection::Injection::default(),
            pending: pending::Pending::default(),
            classify_handles: classify_handle::ClassifyHandles::default(),
            ndis: crate::ndis::State::default(),
            handles: management::Handles::default(),
            kept: kept::Kept::default(),
            deletion_waits: config.deletion_waits,
        }
    }

    /// Wakes every waiting thread, to see that the lab has stopped.
    pub fn wake_all(&self) {
        self.injection.wake_all();
        self.transaction_ended.notify_all();
    }

    /// Runs `change` on the engine, again and again while another session's transaction is in the way and `session` may wait.
    /// Then traffic sees what was committed.
    pub fn manage<T>(
        &self,
        session: Option<SessionId>,
        mut change: impl FnMut(&mut Engine, &mut Notifier<'_>) -> Result<T, FwpError>,
    ) -> Result<T, FwpError> {
        if self.is_held_by_this_thread() {
            report::violation(Finding {
                kind: Kind::Contract,
                what:
                    "a function of the filter engine was called from within notifyFn, which the engine calls while it \
                       holds its lock; Windows would deadlock"
                        .into(),
                remedy: "do it later, from a work item".into(),
            });
            return Err(FwpError::InUse);
        }
        let mut engine = lock(&self.engine);
        let wait = session.map_or(DEFAULT_WAIT, |id| {
            match engine
                .sessions()
                .find(|(known, _)| *known == id)
                .map(|(_, session)| session.transaction_wait_timeout_ms)
            {
                None | Some(0) => DEFAULT_WAIT,
                Some(milliseconds) => Duration::from_millis(milliseconds.into()),
            }
        });
        let clock = &thread::current().clock;
        let deadline = clock.now() + wait;
        loop {
            self.holder.store(this_thread(), Ordering::Relaxed);
            let result = change(&mut engine, &mut Notifier(self));
            self.holder.store(0, Ordering::Relaxed);
            self.publish(&engine);
            match result {
                Err(FwpError::Timeout) if clock.now() < deadline && !thread::page().stopped() => {
                    let until = Until::Time(deadline);
                    engine = self.transaction_ended.wait(&self.engine, engine, until, "another transaction to end");
                }
                result => {
                    self.transaction_ended.notify_all();
                    return result;
                }
            }
        }
    }

    /// Lets reports call a registered callout by the name of its callout object.
    pub fn name_callout(&self, key: &Uuid, name: &str) {
        if let Some(callout) = self.callouts.by_key(key) {
            callout.set_display_name(name);
        }
    }

    /// Reads the engine.
    pub fn read<T>(&self, read: impl FnOnce(&Engine) -> T) -> Result<T, FwpError> {
        match self.engine.try_lock() {
            Ok(engine) => Ok(read(&engine)),
            Err(TryLockError::Poisoned(engine)) => Ok(read(engine.get_ref())),
            Err(TryLockError::WouldBlock) if self.is_held_by_this_thread() => Err(FwpError::InUse),
            Err(TryLockError::WouldBlock) => Ok(read(&lock(&self.engine))),
        }
    }

    /// Whether this thread is in a notifyFn, which the engine calls while it is locked.
    pub fn is_held_by_this_thread(&self) -> bool {
        self.holder.load(Ordering::Relaxed) == this_thread()
    }

    /// What a filter does whose callout no driver has registered here: one of another machine decides nothing.
    #[cold]
    pub fn without_driver(&self, callout_id: u32) -> CalloutCall {
        match self.elsewhere.load().contains(&callout_id) {
            true => CalloutCall::Called,
            false => CalloutCall::NotRegistered,
        }
    }

    /// A driver has registered the callout: from now on it is one like any other.
    pub fn is_here(&self, callout_id: u32) {
        if self.elsewhere.load().contains(&callout_id) {
            self.elsewhere.rcu(|ids| ids.iter().copied().filter(|id| *id != callout_id).collect::<BTreeSet<_>>());
        }
    }

    /// Puts a restored engine in the place of this one.
    pub fn replace(&self, engine: &mut Engine, restored: Engine) {
        self.elsewhere.store(Arc::new(restored.registered_elsewhere().collect()));
        engine.replace(restored);
        self.view.store(Arc::new(self.view.load().without_filters()));
    }

    fn publish(&self, engine: &Engine) {
        self.kept.save(engine);
        let snapshot = engine.snapshot();
        let view = self.view.load();
        if !Arc::ptr_eq(&view.snapshot, &snapshot) {
            self.view.store(Arc::new(view.next(snapshot)));
        }
    }

    /// Ends every session and what does not outlive the base filtering engine.
    pub fn bfe_stopped(&self) {
        // It fails only within notifyFn, where nothing stops the base filtering engine.
        let _ = self.manage(None, |engine, notifier| {
            engine.stop(notifier);
            Ok(())
        });
        self.net_events.bfe_stopped();
    }

    /// What is kept comes into force, before drivers hear that the base filtering engine runs.
    pub fn bfe_started(&self) {
        // As above.
        let _ = self.manage(None, |engine, notifier| {
            engine.start(&|service| self.kept.starts(service), notifier);
            Ok(())
        });
    }

    /// What the image with this number has registered, a line each.
    pub fn registrations(&self, image: u64) -> Vec<String> {
        let callouts = self.callouts.all();
        callouts
            .iter()
            .filter(|callout| callout.owner.image == image)
            .map(|callout| callout.name().to_string())
            .collect()
    }

    /// The callouts of the image with this number.
    pub fn registered(&self, image: u64) -> Vec<RegisteredCallout> {
        let callouts = self.callouts.all();
        let of_image = callouts.iter().filter(|callout| callout.owner.image == image);
        let layer = |key: &Uuid| {
            let layer = self.read(|engine| engine.view(None).callout(key).map(|object| object.layer)).ok().flatten();
            layer.and_then(|key| layers::by_key(&key)).map(|layer| layer.name)
        };
        of_image
            .map(|callout| RegisteredCallout {
                key: callout.registration.key,
                name: callout.name().to_string(),
                layer: layer(&callout.registration.key),
                has_flow_delete: !callout.registration.flow_delete.is_null(),
            })
            .collect()
    }

    /// What the image with this number still has registered or open; asked when its driver has unloaded.
    pub fn left_behind(&self, image: u64) -> Vec<String> {
        let mut left: Vec<String> = self
            .callouts
            .all()
            .iter()
            .filter(|callout| callout.owner.image == image)
            .map(|callout| match callout.contexts.load(Ordering::Relaxed) {
                0 => format!("{} is still registered", callout.name()),
                contexts => {
                    format!("{} is still registered, and {contexts} flow(s) carry its contexts", callout.name())
                }
            })
            .collect();
        left.extend(self.bfe.left_behind(image));
        left.extend(self.handles.left_behind(image));
        left.extend(self.given.left_behind(image));
        left.extend(self.injection.left_behind(image));
        left.extend(self.pending.left_behind(image));
        left.extend(self.classify_handles.left_behind(image));
        left.extend(self.ndis.left_behind(image));
        left
    }
}
