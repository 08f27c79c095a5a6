//! Subscriptions to net events: the engine calls back, on a thread of `fwpuclnt.dll`'s.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use postern_engine::net_events::{NetEvent, NetEvents};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::*;

use super::engine::{WindowsEngine, check};
use crate::engine::{EngineError, NetEventSubscription};
use crate::failure::Failure;
use crate::fwpm::parse::{self, Unknown};

/// Events that wait to be fetched; more are counted, not kept.
const WAITING: usize = 4096;

pub struct Subscription<'a> {
    engine: &'a WindowsEngine,
    handle: HANDLE,
    events: Receiver<Result<NetEvent, Unknown>>,
    /// What the callback uses.
    callback: *mut Callback,
}

struct Callback {
    events: SyncSender<Result<NetEvent, Unknown>>,
    lost: AtomicU64,
}

impl<'a> Subscription<'a> {
    /// `FwpmNetEventSubscribe2`.
    pub fn new(engine: &'a WindowsEngine) -> Result<Subscription<'a>, EngineError> {
        let (sender, events) = sync_channel(WAITING);
        let callback = Box::into_raw(Box::new(Callback { events: sender, lost: AtomicU64::new(0) }));
        // From here on it is freed once.
        let mut subscription = Subscription { engine, handle: null_mut(), events, callback };
        let everything = FWPM_NET_EVENT_SUBSCRIPTION0 { enumTemplate: null_mut(), ..Default::default() };
        // SAFETY: The session is open, the subscription outlives the call, and the callback what it is given.
        let code = unsafe {
            FwpmNetEventSubscribe2(
                engine.handle(),
                &everything,
                Some(arrived),
                callback.cast(),
                &mut subscription.handle,
            )
        };
        check("FwpmNetEventSubscribe2", code)?;
        Ok(subscription)
    }

    fn lost(&self) -> u64 {
        // SAFETY: It is freed when this is dropped.
        unsafe { &*self.callback }.lost.swap(0, Ordering::Relaxed)
    }
}

/// `FWPM_NET_EVENT_CALLBACK2`.
unsafe extern "system" fn arrived(context: *mut c_void, event: *const FWPM_NET_EVENT3) {
    // SAFETY: The context is what was given to `FwpmNetEventSubscribe2`, and stays until the subscription has ended.
    let callback = unsafe { &*context.cast::<Callback>() };
    // SAFETY: The engine's event stays for the time of the call.
    let event = unsafe { &*event };
    // SAFETY: The engine has made it.
    let event = unsafe { parse::net_event(event) };
    match callback.events.try_send(event) {
        // One who does not listen any more is about to end the subscription.
        Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        Err(TrySendError::Full(_)) => {
            callback.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl NetEventSubscription for Subscription<'_> {
    fn next(&self, patience: Duration) -> Result<NetEvents, EngineError> {
        // The sender, which is the callback's, stays.
        let first = self.events.recv_timeout(patience).ok();
        let events = first.into_iter().chain(self.events.try_iter()).collect::<Result<Vec<_>, _>>();
        let events = events.map_err(|unknown| {
            EngineError::Unreachable(Failure::new(format!("this program does not know what it was told: {unknown}")))
        })?;
        Ok(NetEvents { events, lost: self.lost() })
    }
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        // It waits for a callback that runs, and does nothing for NULL ("FwpmNetEventUnsubscribe0").
        // SAFETY: The session is open, and the subscription belongs to it.
        let code = unsafe { FwpmNetEventUnsubscribe0(self.engine.handle(), self.handle) };
        if code == 0 {
            // SAFETY: It was made by `new`, and nothing calls back any more.
            drop(unsafe { Box::from_raw(self.callback) });
        }
        // Otherwise the session's end will end the subscription, and who knows when: what it is given stays.
    }
}

/// `FwpmEngineGetOption0`.
pub fn option(engine: &WindowsEngine, option: FWPM_ENGINE_OPTION) -> Result<u32, EngineError> {
    const FUNCTION: &str = "FwpmEngineGetOption0";
    let mut value: *mut FWP_VALUE0 = null_mut();
    // SAFETY: The session is open, and `value` takes the result.
    check(FUNCTION, unsafe { FwpmEngineGetOption0(engine.handle(), option, &mut value) })?;
    // SAFETY: The engine has returned a value, which is copied before it is freed.
    let found = unsafe { value.read() };
    // SAFETY: It is the engine's, and nothing refers to it any more.
    unsafe { FwpmFreeMemory0((&raw mut value).cast()) };
    match found.r#type {
        // SAFETY: The type tells which member it is.
        FWP_UINT32 => Ok(unsafe { found.Anonymous.uint32 }),
        r#type => {
            Err(EngineError::Unreachable(Failure::new(format!("{FUNCTION}: a value of type {type}, and no number"))))
        }
    }
}

/// `FwpmEngineSetOption0`.
pub fn set_option(engine: &WindowsEngine, option: FWPM_ENGINE_OPTION, value: u32) -> Result<(), EngineError> {
    let value = FWP_VALUE0 { r#type: FWP_UINT32, Anonymous: FWP_VALUE0_0 { uint32: value } };
    // SAFETY: The session is open, and the value outlives the call.
    check("FwpmEngineSetOption0", unsafe { FwpmEngineSetOption0(engine.handle(), option, &value) })
}
