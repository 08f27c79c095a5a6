//! The engine: BFE's objects and what of them is in force.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use uuid::Uuid;

use crate::builtin;
use crate::changes::Subscriber;
use crate::contexts;
use crate::error::FwpError;
use crate::filters::{self, FilterEntry, Indices};
use crate::guids;
use crate::layers::{self, Layer};
use crate::objects::{Callout, DisplayData, Filter, Provider, ProviderContext, Sublayer};
use crate::runtime::{RuntimeFilter, Snapshot};
use crate::session::{OpenSession, SessionId};
use crate::store::{Lifetime, State, Stored, Table};
use crate::weight::{self, Layout};

/// Third-party callouts have ids above those of Windows' own: the first one seen on real machines.
pub(crate) const FIRST_CALLOUT_ID: u32 = 258;
/// Page "WFP Error Codes", `FWP_E_TOO_MANY_CALLOUTS`.
const MAX_CALLOUTS: usize = 100_000;

/// The filter engine: management objects, sessions, and the callouts registered at run time.
#[derive(Debug)]
pub struct Engine {
    pub(crate) providers: Table<Uuid, Stored<Provider>>,
    pub(crate) contexts: Table<Uuid, Stored<Arc<ProviderContext>>>,
    pub(crate) sublayers: Table<Uuid, Stored<Sublayer>>,
    pub(crate) callouts: Table<Uuid, Stored<Callout>>,
    pub(crate) filters: Table<u64, Stored<FilterEntry>>,
    pub(crate) filter_ids: Table<Uuid, u64>,
    pub(crate) sessions: BTreeMap<SessionId, OpenSession>,
    /// Filters added and deleted again by the transaction in progress.
    pub(crate) discarded: Vec<Arc<RuntimeFilter>>,
    /// Of callouts added, registered, or both.
    pub(crate) callout_ids: BTreeMap<Uuid, u32>,
    pub(crate) registrations: BTreeMap<u32, Registration>,
    /// The machine is starting, and BFE has not run yet.
    pub(crate) before_bfe: bool,
    pub(crate) persistent_version: u64,
    pub(crate) subscribers: BTreeMap<u64, Subscriber>,
    pub(crate) next_subscription: u64,
    /// Committed so far.
    pub(crate) transactions: u64,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) indices: Indices,
    /// By layer id, once a filter was added there.
    pub(crate) layouts: BTreeMap<u16, Layout>,
    pub(crate) next_session: u64,
    pub(crate) next_context: u64,
    pub(crate) next_callout: u32,
    pub(crate) next_filter: u64,
    pub(crate) next_key: u64,
}

/// A callout registered with `FwpsCalloutRegister`.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) key: Uuid,
    pub(crate) flags: u32,
    /// On the machine that the engine was restored from; whoever registers it here takes its place.
    pub(crate) elsewhere: bool,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// An engine as Windows boots it: built-in layers, sublayers and providers, no filters.
    pub fn new() -> Self {
        let mut engine = Self {
            providers: Table::default(),
            contexts: Table::default(),
            sublayers: Table::default(),
            callouts: Table::default(),
            filters: Table::default(),
            filter_ids: Table::default(),
            sessions: BTreeMap::new(),
            discarded: Vec::new(),
            callout_ids: BTreeMap::new(),
            registrations: BTreeMap::new(),
            before_bfe: false,
            persistent_version: 0,
            subscribers: BTreeMap::new(),
            next_subscription: 1,
            transactions: 0,
            snapshot: Arc::new(Snapshot::empty()),
            indices: Indices::default(),
            layouts: BTreeMap::new(),
            next_session: 1,
            next_context: contexts::FIRST_ID,
            next_callout: FIRST_CALLOUT_ID,
            next_filter: filters::FIRST_ID,
            next_key: 1,
        };
        for provider in builtin::providers() {
            engine.providers.insert(provider.key, Stored { object: provider, lifetime: Lifetime::BuiltIn });
        }
        for sublayer in builtin::sublayers() {
            engine.sublayers.insert(sublayer.key, Stored { object: sublayer, lifetime: Lifetime::BuiltIn });
        }
        engine.providers.commit();
        engine.sublayers.commit();
        engine
    }

    pub fn layers(&self) -> &'static [Layer] {
        layers::all()
    }

    /// The filters in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// `FwpmProviderAdd0`.
    pub fn provider_add(&mut self, session: SessionId, mut provider: Provider) -> Result<Uuid, FwpError> {
        self.write(session, &mut (), |engine, _| {
            check_display(&provider.display)?;
            provider.key =
                engine.key_for(provider.key, |engine, key| engine.providers.get(State::Pending, key).is_some())?;
            let lifetime = engine.lifetime(session, provider.persistent, Some(provider.key))?;
            let key = provider.key;
            engine.providers.insert(key, Stored { object: provider, lifetime });
            Ok(key)
        })
    }

    /// `FwpmProviderDeleteByKey0`.
    pub fn provider_delete(&mut self, session: SessionId, key: Uuid) -> Result<(), FwpError> {
        self.write(session, &mut (), |engine, _| {
            let stored = engine.providers.get(State::Pending, &key).ok_or(FwpError::ProviderNotFound)?;
            stored.lifetime.may_be_deleted_by(session, engine.session(session)?.session.dynamic)?;
            let names = |provider: Option<Uuid>| provider == Some(key);
            if engine.contexts.iter(State::Pending).any(|(_, stored)| names(stored.object.provider))
                || engine.sublayers.iter(State::Pending).any(|(_, stored)| names(stored.object.provider))
                || engine.callouts.iter(State::Pending).any(|(_, stored)| names(stored.object.provider))
                || engine.filters.iter(State::Pending).any(|(_, stored)| names(stored.object.filter.provider))
            {
                return Err(FwpError::InUse);
            }
            engine.providers.remove(key);
            Ok(())
        })
    }

    /// `FwpmSubLayerAdd0`. No two sublayers have one weight: the free one closest to that asked for is assigned.
    pub fn sublayer_add(&mut self, session: SessionId, mut sublayer: Sublayer) -> Result<Uuid, FwpError> {
        self.write(session, &mut (), |engine, _| {
            check_display(&sublayer.display)?;
            sublayer.key =
                engine.key_for(sublayer.key, |engine, key| engine.sublayers.get(State::Pending, key).is_some())?;
            let lifetime = engine.lifetime(session, sublayer.persistent, sublayer.provider)?;
            engine.check_provider(sublayer.provider, lifetime)?;
            let taken = engine.sublayers.iter(State::Pending).map(|(_, stored)| stored.object.weight).collect();
            sublayer.weight = weight::closest_free(sublayer.weight, &taken).ok_or(FwpError::TooManySublayers)?;
            let key = sublayer.key;
            engine.sublayers.insert(key, Stored { object: sublayer, lifetime });
            Ok(key)
        })
    }

    /// `FwpmSubLayerDeleteByKey0`.
    pub fn sublayer_delete(&mut self, session: SessionId, key: Uuid) -> Result<(), FwpError> {
        self.write(session, &mut (), |engine, _| {
            let stored = engine.sublayers.get(State::Pending, &key).ok_or(FwpError::SublayerNotFound)?;
            stored.lifetime.may_be_deleted_by(session, engine.session(session)?.session.dynamic)?;
            if engine.filters.iter(State::Pending).any(|(_, stored)| stored.object.filter.sublayer == key) {
                return Err(FwpError::InUse);
            }
            engine.sublayers.remove(key);
            Ok(())
        })
    }

    /// `FwpmCalloutAdd0`. The id is that of the callout registered with the same key, now or later.
    pub fn callout_add(&mut self, session: SessionId, mut callout: Callout) -> Result<u32, FwpError> {
        self.write(session, &mut (), |engine, _| {
            check_display(&callout.display)?;
            if guids::callout::NAMES.name(&callout.key).is_some() {
                return Err(FwpError::AlreadyExists);
            }
            callout.key =
                engine.key_for(callout.key, |engine, key| engine.callouts.get(State::Pending, key).is_some())?;
            let layer = layers::by_key(&callout.layer).ok_or(FwpError::LayerNotFound)?;
            if !layer.is_kernel() {
                return Err(FwpError::IncompatibleLayer);
            }
            let lifetime = engine.lifetime(session, callout.persistent, callout.provider)?;
            engine.check_provider(callout.provider, lifetime)?;
            if engine.callouts.iter(State::Pending).count() >= MAX_CALLOUTS {
                return Err(FwpError::TooManyCallouts);
            }
            callout.id = engine.callout_id(callout.key);
            callout.registered = false;
            callout.registration_flags = 0;
            let id = callout.id;
            engine.callouts.insert(callout.key, Stored { object: callout, lifetime });
            Ok(id)
        })
    }

    /// `FwpmCalloutDeleteByKey0`.
    pub fn callout_delete(&mut self, session: SessionId, key: Uuid) -> Result<(), FwpError> {
        self.write(session, &mut (), |engine, _| {
            let stored = engine.callouts.get(State::Pending, &key).ok_or(FwpError::CalloutNotFound)?;
            stored.lifetime.may_be_deleted_by(session, engine.session(session)?.session.dynamic)?;
            if engine.filters.iter(State::Pending).any(|(_, stored)| stored.object.filter.action.callout() == Some(key))
            {
                return Err(FwpError::InUse);
            }
            engine.callouts.remove(key);
            Ok(())
        })
    }

    /// `FwpmCalloutDeleteById0`.
    pub fn callout_delete_by_id(&mut self, session: SessionId, id: u32) -> Result<(), FwpError> {
        let state = self.state_for(Some(session));
        let key = self.callouts.iter(state).find(|(_, stored)| stored.object.id == id).map(|(key, _)| *key);
        self.callout_delete(session, key.ok_or(FwpError::CalloutNotFound)?)
    }

    /// `FwpsCalloutRegister`: from now on filters that name the callout call it.
    pub fn callout_register(&mut self, key: Uuid, flags: u32) -> Result<u32, FwpError> {
        let id = match self.callout_ids.get(&key) {
            Some(id) if self.registrations.get(id).is_some_and(|registration| !registration.elsewhere) => {
                return Err(FwpError::AlreadyExists);
            }
            _ if guids::callout::NAMES.name(&key).is_some() => return Err(FwpError::AlreadyExists),
            _ => self.callout_id(key),
        };
        self.registrations.insert(id, Registration { key, flags, elsewhere: false });
        Ok(id)
    }

    /// `FwpsCalloutUnregisterById0`, as far as the engine is concerned: filters may still name the callout.
    pub fn callout_unregister(&mut self, id: u32) -> Result<(), FwpError> {
        let Registration { key, .. } = self.registrations.remove(&id).ok_or(FwpError::CalloutNotFound)?;
        self.forget_callout_id(key);
        Ok(())
    }

    /// What a session sees, or (without one) what is committed.
    pub fn view(&self, session: Option<SessionId>) -> View<'_> {
        View { engine: self, state: self.state_for(session) }
    }
}

/// The objects as one reader sees them.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    engine: &'a Engine,
    state: State,
}

impl<'a> View<'a> {
    pub fn providers(self) -> impl Iterator<Item = &'a Provider> {
        self.engine.providers.iter(self.state).map(|(_, stored)| &stored.object)
    }

    pub fn provider(self, key: &Uuid) -> Option<&'a Provider> {
        Some(&self.engine.providers.get(self.state, key)?.object)
    }

    /// By id, that is, in the order of adding.
    pub fn provider_contexts(self) -> impl Iterator<Item = &'a ProviderContext> {
        let mut contexts: Vec<&ProviderContext> =
            self.engine.contexts.iter(self.state).map(|(_, stored)| &*stored.object).collect();
        contexts.sort_by_key(|context| context.id);
        contexts.into_iter()
    }

    pub fn provider_context(self, key: &Uuid) -> Option<&'a ProviderContext> {
        Some(&self.engine.contexts.get(self.state, key)?.object)
    }

    pub fn sublayers(self) -> impl Iterator<Item = &'a Sublayer> {
        self.engine.sublayers.iter(self.state).map(|(_, stored)| &stored.object)
    }

    pub fn sublayer(self, key: &Uuid) -> Option<&'a Sublayer> {
        Some(&self.engine.sublayers.get(self.state, key)?.object)
    }

    pub fn callouts(self) -> impl Iterator<Item = Callout> + use<'a> {
        self.engine.callouts.iter(self.state).map(move |(_, stored)| self.engine.with_registration(&stored.object))
    }

    pub fn callout(self, key: &Uuid) -> Option<Callout> {
        Some(self.engine.with_registration(&self.engine.callouts.get(self.state, key)?.object))
    }

    /// Callouts registered at run time, whether added or not: id, key, `FWP_CALLOUT_FLAG_*`.
    pub fn registrations(self) -> impl Iterator<Item = (u32, Uuid, u32)> + use<'a> {
        self.engine.registrations.iter().map(|(id, registration)| (*id, registration.key, registration.flags))
    }

    /// By id, that is, in the order of adding.
    pub fn filters(self) -> impl Iterator<Item = &'a Filter> {
        self.engine.filters.iter(self.state).map(|(_, stored)| &stored.object.filter)
    }

    pub fn filter(self, id: u64) -> Option<&'a Filter> {
        Some(&self.engine.filters.get(self.state, &id)?.object.filter)
    }

    pub fn filter_by_key(self, key: &Uuid) -> Option<&'a Filter> {
        self.filter(*self.engine.filter_ids.get(self.state, key)?)
    }
}

impl Engine {
    /// A key made here: distinct, and the same in every run.
    pub(crate) fn new_key(&mut self) -> Uuid {
        self.next_key += 1;
        Self::made_key(self.next_key - 1)
    }

    pub(crate) fn made_key(number: u64) -> Uuid {
        let key = u128::from_be_bytes(*b"Postern\0lab\0\0\0\0\0") | u128::from(number);
        uuid::Builder::from_custom_bytes(key.to_be_bytes()).into_uuid()
    }

    pub(crate) fn key_for(&mut self, asked: Uuid, exists: impl Fn(&Self, &Uuid) -> bool) -> Result<Uuid, FwpError> {
        if asked.is_nil() {
            Ok(self.new_key())
        } else if exists(self, &asked) {
            Err(FwpError::AlreadyExists)
        } else {
            Ok(asked)
        }
    }

    pub(crate) fn lifetime(
        &self,
        session: SessionId,
        persistent: bool,
        provider: Option<Uuid>,
    ) -> Result<Lifetime, FwpError> {
        match (self.session(session)?.session.dynamic, persistent) {
            (true, true) => Err(FwpError::DynamicSessionInProgress),
            (true, false) => Ok(Lifetime::Dynamic(session)),
            (false, true) => Ok(Lifetime::Persistent { provider }),
            (false, false) => Ok(Lifetime::Static),
        }
    }

    pub(crate) fn check_provider(&self, provider: Option<Uuid>, lifetime: Lifetime) -> Result<(), FwpError> {
        let Some(key) = provider else { return Ok(()) };
        let stored = self.providers.get(State::Pending, &key).ok_or(FwpError::ProviderNotFound)?;
        lifetime.may_refer_to(stored.lifetime)
    }

    fn callout_id(&mut self, key: Uuid) -> u32 {
        *self.callout_ids.entry(key).or_insert_with(|| {
            self.next_callout += 1;
            self.next_callout - 1
        })
    }

    pub(crate) fn forget_callout_id(&mut self, key: Uuid) {
        let registered = self.callout_ids.get(&key).is_some_and(|id| self.registrations.contains_key(id));
        let added = [State::Committed, State::Pending].iter().any(|state| self.callouts.get(*state, &key).is_some());
        if !registered && !added {
            self.callout_ids.remove(&key);
        }
    }

    fn with_registration(&self, callout: &Callout) -> Callout {
        let registration = self.registrations.get(&callout.id);
        Callout {
            registered: registration.is_some(),
            registration_flags: registration.map_or(0, |registration| registration.flags),
            ..callout.clone()
        }
    }
}

/// Page "WFP Error Codes": a display name is required, and strings must be printable.
pub(crate) fn check_display(display: &DisplayData) -> Result<(), FwpError> {
    if display.name.is_empty() {
        return Err(FwpError::NullDisplayName);
    }
    if display.name.chars().chain(display.description.chars()).any(char::is_control) {
        return Err(FwpError::InvalidParameter);
    }
    Ok(())
}
