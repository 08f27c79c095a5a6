//! Net events: which are collected, and how they get from traffic to those who want to know.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use postern_engine::net_events::{EngineOption, NetEvent, NetEventKeywords, NetEventLog, NetEvents};
use postern_engine::{FwpError, SessionId};

use crate::kernel::lock;

/// One engine's.
pub(crate) struct Collector {
    /// The options, which outlive the base filtering engine ("FwpmEngineSetOption0").
    collects: AtomicBool,
    keywords: AtomicU32,
    log: Mutex<NetEventLog>,
    arrived: Condvar,
}

impl Default for Collector {
    fn default() -> Collector {
        Collector {
            collects: AtomicBool::new(true),
            keywords: AtomicU32::new(0),
            log: Mutex::default(),
            arrived: Condvar::new(),
        }
    }
}

impl Collector {
    /// Whether an event is collected that needs all of these keywords.
    #[inline]
    pub fn wants(&self, keywords: NetEventKeywords) -> bool {
        let set = NetEventKeywords::from_bits_retain(self.keywords.load(Ordering::Relaxed));
        set.contains(keywords) && self.collects.load(Ordering::Relaxed)
    }

    pub fn record(&self, event: NetEvent) {
        lock(&self.log).record(event);
        self.arrived.notify_all();
    }

    pub fn option(&self, option: EngineOption) -> u32 {
        match option {
            EngineOption::CollectNetEvents => self.collects.load(Ordering::Relaxed).into(),
            EngineOption::NetEventMatchAnyKeywords => self.keywords.load(Ordering::Relaxed),
        }
    }

    /// With a value that is valid.
    pub fn set_option(&self, option: EngineOption, value: u32) {
        match option {
            EngineOption::CollectNetEvents => {
                let was = self.collects.swap(value != 0, Ordering::Relaxed);
                // "The event log is not cleaned up until an application re-enables WFP logging" ("Logging").
                if !was && value != 0 {
                    lock(&self.log).forget();
                }
            }
            EngineOption::NetEventMatchAnyKeywords => self.keywords.store(value, Ordering::Relaxed),
        }
    }

    pub fn recent(&self) -> Result<Vec<NetEvent>, FwpError> {
        self.enabled()?;
        Ok(lock(&self.log).recent().cloned().collect())
    }

    pub fn subscribe(&self, session: SessionId) -> Result<u64, FwpError> {
        self.enabled()?;
        Ok(lock(&self.log).subscribe(session))
    }

    pub fn unsubscribe(&self, session: SessionId, subscription: u64) -> Result<(), FwpError> {
        lock(&self.log).unsubscribe(session, subscription)
    }

    /// Waits for `patience` while there is nothing.
    pub fn fetch(&self, session: SessionId, subscription: u64, patience: Duration) -> Result<NetEvents, FwpError> {
        let end = Instant::now() + patience;
        let mut log = lock(&self.log);
        loop {
            let portion = log.fetch(session, subscription)?;
            let left = end.saturating_duration_since(Instant::now());
            if !portion.is_empty() || left.is_zero() {
                return Ok(portion);
            }
            log = self.arrived.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub fn session_closed(&self, session: SessionId) {
        lock(&self.log).session_closed(session);
        self.arrived.notify_all();
    }

    pub fn bfe_stopped(&self) {
        lock(&self.log).clear();
        self.arrived.notify_all();
    }

    fn enabled(&self) -> Result<(), FwpError> {
        if self.collects.load(Ordering::Relaxed) { Ok(()) } else { Err(FwpError::NetEventsDisabled) }
    }
}
