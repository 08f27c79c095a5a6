//! Persistent and boot-time objects: what outlives a base filtering engine and its machine, and what of it is in force when
//! (documentation page "Object Management").

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::FwpError;
use crate::filters::FilterEntry;
use crate::notify::{CalloutNotify, NotifyType};
use crate::objects::{Callout, Filter, FilterFlags, Provider, ProviderContext, Session, Sublayer};
use crate::runtime::{LayerChange, RuntimeFilter};
use crate::session::SessionId;
use crate::store::{Lifetime, State, Stored, Table};

/// The objects that are kept while no base filtering engine runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Persistent {
    pub providers: Vec<Provider>,
    pub provider_contexts: Vec<ProviderContext>,
    pub sublayers: Vec<Sublayer>,
    pub callouts: Vec<Callout>,
    /// Persistent and boot-time ones, by id.
    pub filters: Vec<Filter>,
}

/// Why kept objects are not such as an engine could have kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {key} ({name}): {error}")]
pub struct BootError {
    pub kind: &'static str,
    pub key: Uuid,
    pub name: String,
    pub error: FwpError,
}

impl BootError {
    fn of(kind: &'static str, key: Uuid, name: &str) -> impl Fn(FwpError) -> BootError + use<> {
        let name = String::from(name);
        move |error| BootError { kind, key, name: name.clone(), error }
    }
}

impl Engine {
    /// An engine as it is before the base filtering engine runs: of the objects that are kept, only boot-time filters are in force. Run-time
    /// ids are given again.
    pub fn boot(objects: &Persistent) -> Result<Self, BootError> {
        let mut engine = Self::new();
        engine.before_bfe = true;
        let system = BootError::of("session", Uuid::nil(), "boot");
        let session = engine.session_open(Session::new("boot", 4, "NT AUTHORITY\\SYSTEM")).map_err(&system)?;
        engine.transaction_begin(session, false).map_err(&system)?;
        engine.add_kept(session, objects)?;
        engine.transaction_commit(session, &mut ()).map_err(&system)?;
        engine.session_close(session, &mut ()).map_err(&system)?;
        Ok(engine)
    }

    fn add_kept(&mut self, session: SessionId, objects: &Persistent) -> Result<(), BootError> {
        for of in &objects.providers {
            let provider = Provider { persistent: true, disabled: false, ..of.clone() };
            let failed = BootError::of("provider", of.key, &of.display.name);
            self.provider_add(session, provider).map_err(failed)?;
        }
        for of in &objects.provider_contexts {
            let context = ProviderContext { persistent: true, ..of.clone() };
            let failed = BootError::of("provider context", of.key, &of.display.name);
            self.provider_context_add(session, context).map_err(failed)?;
        }
        for of in &objects.sublayers {
            let sublayer = Sublayer { persistent: true, ..of.clone() };
            let failed = BootError::of("sublayer", of.key, &of.display.name);
            self.sublayer_add(session, sublayer).map_err(failed)?;
        }
        for of in &objects.callouts {
            let callout = Callout { persistent: true, ..of.clone() };
            let failed = BootError::of("callout", of.key, &of.display.name);
            self.callout_add(session, callout).map_err(failed)?;
        }
        for of in &objects.filters {
            let mut filter = of.clone();
            filter.flags.remove(FilterFlags::DISABLED | FilterFlags::INDEXED);
            filter.flags.set(FilterFlags::PERSISTENT, !of.flags.contains(FilterFlags::BOOTTIME));
            let failed = BootError::of("filter", of.key, &of.display.name);
            self.filter_add(session, filter, &mut ()).map_err(failed)?;
        }
        Ok(())
    }

    /// The base filtering engine starts: boot-time filters give way, all at once, to the persistent ones of providers that have no service
    /// or one that starts by itself. What belongs to other providers is disabled.
    pub fn start(&mut self, auto_start: &dyn Fn(&str) -> bool, notify: &mut dyn CalloutNotify) {
        let mut disabled = BTreeSet::new();
        let mut providers = Vec::new();
        for (key, stored) in self.providers.iter(State::Committed) {
            let service = stored.object.service_name.as_deref();
            let is_disabled = service.is_some_and(|service| !auto_start(service));
            if is_disabled {
                disabled.insert(*key);
            }
            if stored.object.disabled != is_disabled {
                let object = Provider { disabled: is_disabled, ..stored.object.clone() };
                providers.push((*key, Stored { object, lifetime: stored.lifetime }));
            }
        }
        providers.into_iter().for_each(|(key, stored)| self.providers.insert(key, stored));
        self.providers.commit();
        let (mut entries, mut leaves, mut comes) = (Vec::new(), Vec::new(), Vec::new());
        for (id, Stored { object: entry, lifetime }) in self.filters.iter(State::Committed) {
            let mut flags = entry.filter.flags;
            let of_disabled = entry.filter.provider.is_some_and(|provider| disabled.contains(&provider));
            flags.set(FilterFlags::DISABLED, flags.contains(FilterFlags::PERSISTENT) && of_disabled);
            let is_in_force = !flags.intersects(FilterFlags::BOOTTIME | FilterFlags::DISABLED);
            let filter = Filter { flags, ..entry.filter.clone() };
            match (self.in_force(&entry.filter), is_in_force, &entry.runtime) {
                (true, false, Some(runtime)) => leaves.push(Arc::clone(runtime)),
                (false, true, Some(runtime)) => comes.push((*id, Arc::clone(runtime))),
                _ => {}
            }
            if flags != entry.filter.flags {
                entries.push((*id, filter, entry.runtime.clone(), *lifetime));
            }
        }
        for (id, filter, runtime, lifetime) in entries {
            self.filters.insert(id, Stored { object: FilterEntry { filter, runtime }, lifetime });
        }
        let mut changes = BTreeMap::<u16, LayerChange>::new();
        for (id, runtime) in comes {
            let mut runtime = runtime;
            if self.registrations.contains_key(&runtime.action.callout_id) {
                let mut asked = (*runtime).clone();
                let callout = runtime.action.callout_id;
                // It was accepted when it was added; here nobody could be told of a refusal.
                let _ = notify.notify(NotifyType::AddFilter, callout, Some(runtime.key), &mut asked);
                let context = asked.context;
                runtime = Arc::new(RuntimeFilter { context, ..(*runtime).clone() });
                if let Some(stored) = self.filters.get(State::Pending, &id) {
                    let (filter, lifetime) = (stored.object.filter.clone(), stored.lifetime);
                    let object = FilterEntry { filter, runtime: Some(Arc::clone(&runtime)) };
                    self.filters.insert(id, Stored { object, lifetime });
                }
            }
            changes.entry(runtime.layer).or_default().added.push(runtime);
        }
        for runtime in &leaves {
            changes.entry(runtime.layer).or_default().removed.push(Arc::clone(runtime));
        }
        self.filters.commit();
        self.before_bfe = false;
        if !changes.is_empty() {
            self.snapshot = Arc::new(self.snapshot.changed(changes));
        }
        for filter in &leaves {
            self.tell(NotifyType::DeleteFilter, filter, notify);
        }
    }

    /// What is to be kept.
    pub fn persistent(&self) -> Persistent {
        Persistent {
            providers: kept(&self.providers).cloned().collect(),
            provider_contexts: kept(&self.contexts).map(|context| (**context).clone()).collect(),
            sublayers: kept(&self.sublayers).cloned().collect(),
            callouts: kept(&self.callouts).cloned().collect(),
            filters: kept(&self.filters).map(|entry| entry.filter.clone()).collect(),
        }
    }

    /// Counts the commits that have changed what is to be kept.
    pub fn persistent_version(&self) -> u64 {
        self.persistent_version
    }

    /// To be called before a commit.
    pub(crate) fn note_persistent_changes(&mut self) {
        let changes = changes_kept(&self.providers)
            || changes_kept(&self.contexts)
            || changes_kept(&self.sublayers)
            || changes_kept(&self.callouts)
            || changes_kept(&self.filters);
        self.persistent_version += u64::from(changes);
    }
}

fn is_kept<T>(stored: &Stored<T>) -> bool {
    matches!(stored.lifetime, Lifetime::Persistent { .. })
}

fn kept<K: Ord, T>(table: &Table<K, Stored<T>>) -> impl Iterator<Item = &T> {
    table.iter(State::Committed).map(|(_, stored)| stored).filter(|stored| is_kept(stored)).map(|stored| &stored.object)
}

fn changes_kept<K: Ord, T>(table: &Table<K, Stored<T>>) -> bool {
    table.changes().any(|(before, after)| before.into_iter().chain(after).any(is_kept))
}
