//! Subscriptions to changes: the engine calls back, on a thread of `fwpuclnt.dll`'s.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use bumpalo::Bump;
use postern_engine::changes::{Change, ChangeType, Changes, ObjectKind, Subject};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::*;
use windows_sys::core::GUID;

use super::engine::{WindowsEngine, check};
use crate::engine::{ChangeSubscription, EngineError};
use crate::fwpm::{compose, parse};

/// Changes that wait to be fetched; more are counted, not kept.
const WAITING: usize = 4096;

/// One subscription for each subject.
pub struct Subscriptions<'a> {
    engine: &'a WindowsEngine,
    handles: Vec<(Unsubscribe, HANDLE)>,
    changes: Receiver<Change>,
    /// What the callbacks use.
    callback: *mut Callback,
}

type Unsubscribe = unsafe extern "system" fn(HANDLE, HANDLE) -> u32;

struct Callback {
    changes: SyncSender<Change>,
    lost: AtomicU64,
}

impl<'a> Subscriptions<'a> {
    pub fn new(engine: &'a WindowsEngine, subjects: &[Subject]) -> Result<Subscriptions<'a>, EngineError> {
        let (sender, changes) = sync_channel(WAITING);
        let callback = Box::into_raw(Box::new(Callback { changes: sender, lost: AtomicU64::new(0) }));
        // From here on it is freed once.
        let mut subscriptions = Subscriptions { engine, handles: Vec::new(), changes, callback };
        for subject in subjects {
            subscriptions.subscribe(subject)?;
        }
        Ok(subscriptions)
    }

    fn subscribe(&mut self, subject: &Subject) -> Result<(), EngineError> {
        const FLAGS: u32 = FWPM_SUBSCRIPTION_FLAG_NOTIFY_ON_ADD | FWPM_SUBSCRIPTION_FLAG_NOTIFY_ON_DELETE;
        let (arena, session, context) = (Bump::new(), self.engine.handle(), self.callback.cast());
        let mut handle = null_mut();
        let (function, code, unsubscribe): (_, u32, Unsubscribe) = match subject {
            Subject::Providers => {
                let of = FWPM_PROVIDER_SUBSCRIPTION0 { flags: FLAGS, ..Default::default() };
                // SAFETY: The session is open, the subscription outlives the call, and the callback what it is given; here and below.
                let code = unsafe { FwpmProviderSubscribeChanges0(session, &of, Some(provider), context, &mut handle) };
                ("FwpmProviderSubscribeChanges0", code, FwpmProviderUnsubscribeChanges0)
            }
            Subject::ProviderContexts(template) => {
                let of = FWPM_PROVIDER_CONTEXT_SUBSCRIPTION0 {
                    enumTemplate: arena.alloc(compose::context_template(&arena, template)),
                    flags: FLAGS,
                    ..Default::default()
                };
                // SAFETY: As above.
                let code = unsafe {
                    FwpmProviderContextSubscribeChanges0(session, &of, Some(provider_context), context, &mut handle)
                };
                ("FwpmProviderContextSubscribeChanges0", code, FwpmProviderContextUnsubscribeChanges0)
            }
            Subject::Sublayers(template) => {
                let of = FWPM_SUBLAYER_SUBSCRIPTION0 {
                    enumTemplate: arena.alloc(compose::sublayer_template(&arena, template)),
                    flags: FLAGS,
                    ..Default::default()
                };
                // SAFETY: As above.
                let code = unsafe { FwpmSubLayerSubscribeChanges0(session, &of, Some(sublayer), context, &mut handle) };
                ("FwpmSubLayerSubscribeChanges0", code, FwpmSubLayerUnsubscribeChanges0)
            }
            Subject::Callouts(template) => {
                let of = FWPM_CALLOUT_SUBSCRIPTION0 {
                    enumTemplate: arena.alloc(compose::callout_template(&arena, template)),
                    flags: FLAGS,
                    ..Default::default()
                };
                // SAFETY: As above.
                let code = unsafe { FwpmCalloutSubscribeChanges0(session, &of, Some(callout), context, &mut handle) };
                ("FwpmCalloutSubscribeChanges0", code, FwpmCalloutUnsubscribeChanges0)
            }
            Subject::Filters(template) => {
                let function = "FwpmFilterSubscribeChanges0";
                let template = template.as_ref().map(|template| compose::filter_template(&arena, template));
                let template = template.transpose().map_err(|error| EngineError::Refused { function, error })?;
                let of = FWPM_FILTER_SUBSCRIPTION0 {
                    enumTemplate: template.map_or(null_mut(), |template| arena.alloc(template)),
                    flags: FLAGS,
                    ..Default::default()
                };
                // SAFETY: As above.
                let code = unsafe { FwpmFilterSubscribeChanges0(session, &of, Some(filter), context, &mut handle) };
                (function, code, FwpmFilterUnsubscribeChanges0)
            }
        };
        check(function, code)?;
        self.handles.push((unsubscribe, handle));
        Ok(())
    }
}

/// # Safety
/// The context is what was given with the callback, and stays until the subscription has ended.
unsafe fn tell(context: *mut c_void, kind: ObjectKind, change: FWPM_CHANGE_TYPE, key: &GUID, id: Option<u64>) {
    // SAFETY: As above.
    let callback = unsafe { &*context.cast::<Callback>() };
    let change = match change {
        FWPM_CHANGE_ADD => ChangeType::Add,
        FWPM_CHANGE_DELETE => ChangeType::Delete,
        // The header has no others.
        _ => return,
    };
    match callback.changes.try_send(Change { kind, change, key: parse::uuid(key), id, transaction: None }) {
        // One who does not listen any more is about to end the subscription.
        Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        Err(TrySendError::Full(_)) => {
            callback.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

macro_rules! callbacks {
    ($($name:ident($change:ty) = $kind:ident, $key:ident $(, $id:ident)?;)+) => { $(
        unsafe extern "system" fn $name(context: *mut c_void, change: *const $change) {
            // SAFETY: The engine's structure stays for the time of the call.
            let change = unsafe { &*change };
            let id = None::<u64>$(.or(Some(change.$id.into())))?;
            // SAFETY: The context is that of the subscription.
            unsafe { tell(context, ObjectKind::$kind, change.changeType, &change.$key, id) };
        }
    )+ };
}

callbacks! {
    provider(FWPM_PROVIDER_CHANGE0) = Provider, providerKey;
    provider_context(FWPM_PROVIDER_CONTEXT_CHANGE0) = ProviderContext, providerContextKey, providerContextId;
    sublayer(FWPM_SUBLAYER_CHANGE0) = Sublayer, subLayerKey;
    callout(FWPM_CALLOUT_CHANGE0) = Callout, calloutKey, calloutId;
    filter(FWPM_FILTER_CHANGE0) = Filter, filterKey, filterId;
}

impl ChangeSubscription for Subscriptions<'_> {
    fn next(&self, patience: Duration) -> Result<Changes, EngineError> {
        // The sender, which is the callbacks', stays.
        let first = self.changes.recv_timeout(patience).ok();
        let changes = first.into_iter().chain(self.changes.try_iter()).collect();
        // SAFETY: It is freed when this is dropped.
        let lost = unsafe { &*self.callback }.lost.swap(0, Ordering::Relaxed);
        Ok(Changes { changes, lost })
    }
}

impl Drop for Subscriptions<'_> {
    fn drop(&mut self) {
        let mut all_ended = true;
        for (unsubscribe, handle) in &self.handles {
            // It waits for a callback that runs ("FwpmFilterUnsubscribeChanges0").
            // SAFETY: The session is open, and the subscription belongs to it.
            all_ended &= unsafe { unsubscribe(self.engine.handle(), *handle) } == 0;
        }
        if all_ended {
            // SAFETY: It was made by `new`, and nothing calls back any more.
            drop(unsafe { Box::from_raw(self.callback) });
        }
        // Otherwise the session's end will end the subscription, and who knows when: what it is given stays.
    }
}
