//! Subscriptions to changes of a lab's objects.

use std::time::{Duration, Instant};

use postern_engine::Call;
use postern_engine::changes::{Change, ChangeType, Changes, Subject, Subscription};

use super::engine::{LabEngine, Link};
use crate::engine::{ChangeSubscription, EngineError};

/// One for each kind of objects.
pub struct Subscriptions<'a, L: Link> {
    engine: &'a LabEngine<L>,
    handles: Vec<u64>,
}

/// How often the lab is asked for changes.
const AGAIN: Duration = Duration::from_millis(20);

impl<'a, L: Link> Subscriptions<'a, L> {
    pub fn new(engine: &'a LabEngine<L>, objects: &[Subject]) -> Result<Subscriptions<'a, L>, EngineError> {
        let mut subscriptions = Subscriptions { engine, handles: Vec::new() };
        for objects in objects {
            subscriptions.handles.push(engine.call(Call::ChangesSubscribe(Subscription::to(objects.clone())))?);
        }
        Ok(subscriptions)
    }

    fn fetch(&self) -> Result<Changes, EngineError> {
        let mut fetched = Changes::default();
        for handle in &self.handles {
            let Changes { changes, lost } = self.engine.call(Call::ChangesFetch(*handle))?;
            fetched.changes.extend(changes);
            fetched.lost += lost;
        }
        // As one who does it must: what refers to others goes before them, and comes after them.
        let order = |change: &Change| match change.change {
            ChangeType::Delete => (change.transaction, 0, -(change.kind as i32)),
            ChangeType::Add => (change.transaction, 1, change.kind as i32),
        };
        fetched.changes.sort_by_key(order);
        Ok(fetched)
    }
}

impl<L: Link> ChangeSubscription for Subscriptions<'_, L> {
    fn next(&self, patience: Duration) -> Result<Changes, EngineError> {
        let end = Instant::now() + patience;
        loop {
            let fetched = self.fetch()?;
            let left = end.saturating_duration_since(Instant::now());
            if !fetched.is_empty() || left.is_zero() {
                return Ok(fetched);
            }
            std::thread::sleep(AGAIN.min(left));
        }
    }
}

impl<L: Link> Drop for Subscriptions<'_, L> {
    fn drop(&mut self) {
        for handle in &self.handles {
            // It ends with the session, if this fails.
            let _: Result<(), _> = self.engine.call(Call::ChangesUnsubscribe(*handle));
        }
    }
}
