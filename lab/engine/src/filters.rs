//! Filters: adding, deleting, and what a commit or an abort does to those in force.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use uuid::Uuid;

use crate::engine::{Engine, check_display};
use crate::error::FwpError;
use crate::guids;
use crate::layers::{self, Layer};
use crate::matching::{Matcher, RuntimeCondition};
use crate::notify::{CalloutNotify, NotifyType};
use crate::objects::{Action, Filter, FilterFlags};
use crate::runtime::{LayerChange, RuntimeAction, RuntimeFilter, filter_flag};
use crate::session::SessionId;
use crate::store::{State, Stored};
use crate::weight::{self, Layout};

/// Run-time ids of filters are above 0xFFFF on real machines.
pub(crate) const FIRST_ID: u64 = 0x1_0001;
/// `FWP_CALLOUT_FLAG_ENABLE_COMMIT_ADD_NOTIFY`.
const ENABLE_COMMIT_ADD_NOTIFY: u32 = 0x4;

#[derive(Debug)]
pub(crate) struct FilterEntry {
    pub(crate) filter: Filter,
    /// `None`: such that this engine cannot evaluate it, which only a restored filter can be.
    pub(crate) runtime: Option<Arc<RuntimeFilter>>,
}

/// Hands out [`RuntimeFilter::index`]; takes one back when no snapshot holds its filter any more.
#[derive(Debug, Default)]
pub(crate) struct Indices {
    next: usize,
    retired: VecDeque<Arc<RuntimeFilter>>,
}

impl Indices {
    fn take(&mut self) -> usize {
        if self.retired.front_mut().is_some_and(|filter| Arc::get_mut(filter).is_some())
            && let Some(filter) = self.retired.pop_front()
        {
            return filter.index;
        }
        self.next += 1;
        self.next - 1
    }
}

impl Engine {
    /// `FwpmFilterAdd0`. Asks the callout at once, if one is named and registered; the filter is in force after the commit.
    pub fn filter_add(
        &mut self,
        session: SessionId,
        mut filter: Filter,
        notify: &mut dyn CalloutNotify,
    ) -> Result<u64, FwpError> {
        self.write(session, notify, |engine, notify| {
            check_display(&filter.display)?;
            check_flags(&filter)?;
            filter.key =
                engine.key_for(filter.key, |engine, key| engine.filter_ids.get(State::Pending, key).is_some())?;
            let layer = layers::by_key(&filter.layer).ok_or(FwpError::LayerNotFound)?;
            let persistent = filter.flags.intersects(FilterFlags::PERSISTENT | FilterFlags::BOOTTIME);
            let lifetime = engine.lifetime(session, persistent, filter.provider)?;
            engine.check_provider(filter.provider, lifetime)?;
            if filter.sublayer.is_nil() {
                filter.sublayer = guids::sublayer::UNIVERSAL;
            }
            let sublayer = engine.sublayers.get(State::Pending, &filter.sublayer).ok_or(FwpError::SublayerNotFound)?;
            lifetime.may_refer_to(sublayer.lifetime)?;
            let sublayer_weight = sublayer.object.weight;
            let context = engine.context_of(&filter, lifetime)?;
            let (mut callout_id, mut uses_context) = (0, false);
            if let Some(key) = filter.action.callout() {
                let callout = engine.callouts.get(State::Pending, &key).ok_or(FwpError::CalloutNotFound)?;
                if callout.object.layer != filter.layer {
                    return Err(FwpError::IncompatibleLayer);
                }
                lifetime.may_refer_to(callout.lifetime)?;
                (callout_id, uses_context) = (callout.object.id, callout.object.uses_provider_context);
            }
            let compiled = Matcher::new(layer, &filter.conditions)?;
            filter.effective_weight = engine.effective_weight(layer, &filter)?;
            filter.id = engine.next_filter;
            let mut runtime = engine.runtime(&filter, layer, sublayer_weight, callout_id, compiled);
            if let Some(context) = context {
                runtime.context = context.id;
                runtime.provider_context = uses_context.then_some(context);
            }
            if filter.in_force() && engine.registrations.contains_key(&callout_id) {
                let asked = runtime.clone();
                let agreed = notify.notify(NotifyType::AddFilter, callout_id, Some(filter.key), &mut runtime);
                runtime = RuntimeFilter { context: runtime.context, ..asked };
                if agreed.is_err() {
                    engine.indices.retired.push_back(Arc::new(runtime));
                    return Err(FwpError::CalloutNotificationFailed);
                }
            }
            engine.next_filter += 1;
            let id = filter.id;
            engine.filter_ids.insert(filter.key, id);
            let entry = FilterEntry { filter, runtime: Some(Arc::new(runtime)) };
            engine.filters.insert(id, Stored { object: entry, lifetime });
            Ok(id)
        })
    }

    /// The weight that the filter gets.
    pub(crate) fn effective_weight(&mut self, layer: &Layer, filter: &Filter) -> Result<u64, FwpError> {
        let layout = self.layouts.entry(layer.id).or_insert_with(|| Layout::of(layer));
        weight::effective(layout, filter.weight, &filter.conditions)
    }

    /// The filter as the kernel holds it.
    pub(crate) fn runtime(
        &mut self,
        filter: &Filter,
        layer: &Layer,
        sublayer_weight: u16,
        callout_id: u32,
        (matcher, conditions): (Matcher, Box<[RuntimeCondition]>),
    ) -> RuntimeFilter {
        RuntimeFilter {
            index: self.indices.take(),
            id: filter.id,
            key: filter.key,
            layer: layer.id,
            weight: filter.effective_weight,
            sublayer_weight,
            flags: runtime_flags(filter),
            action: RuntimeAction { action_type: filter.action.action_type(), callout_id },
            context: filter.raw_context,
            provider_context: None,
            conditions,
            matcher,
        }
    }

    /// `FwpmFilterDeleteById0`.
    pub fn filter_delete(
        &mut self,
        session: SessionId,
        id: u64,
        notify: &mut dyn CalloutNotify,
    ) -> Result<(), FwpError> {
        self.write(session, notify, |engine, _| {
            let stored = engine.filters.get(State::Pending, &id).ok_or(FwpError::FilterNotFound)?;
            stored.lifetime.may_be_deleted_by(session, engine.session(session)?.session.dynamic)?;
            let key = stored.object.filter.key;
            if engine.filters.get(State::Committed, &id).is_none() {
                engine.discarded.extend(stored.object.runtime.clone());
            }
            engine.filters.remove(id);
            engine.filter_ids.remove(key);
            Ok(())
        })
    }

    /// `FwpmFilterDeleteByKey0`.
    pub fn filter_delete_by_key(
        &mut self,
        session: SessionId,
        key: Uuid,
        notify: &mut dyn CalloutNotify,
    ) -> Result<(), FwpError> {
        let id = self.filter_ids.get(self.state_for(Some(session)), &key).copied();
        self.filter_delete(session, id.ok_or(FwpError::FilterNotFound)?, notify)
    }

    /// Puts the write transaction's changes in force, then tells callouts.
    pub(crate) fn commit(&mut self, notify: &mut dyn CalloutNotify) {
        let mut changes = BTreeMap::<u16, LayerChange>::new();
        let mut added = Vec::new();
        let mut removed = mem::take(&mut self.discarded);
        for (before, after) in self.filters.changes() {
            for FilterEntry { filter, runtime } in before.into_iter().chain(after).map(|stored| &stored.object) {
                let Some(runtime) = runtime.as_ref().filter(|_| filter.in_force()) else { continue };
                let change = changes.entry(runtime.layer).or_default();
                if after.is_some() {
                    change.added.push(Arc::clone(runtime));
                    added.push(Arc::clone(runtime));
                } else {
                    change.removed.push(Arc::clone(runtime));
                    removed.push(Arc::clone(runtime));
                }
            }
        }
        if !changes.is_empty() {
            self.snapshot = Arc::new(self.snapshot.changed(changes));
        }
        let dropped: Vec<_> = self
            .callouts
            .changes()
            .filter_map(|(before, after)| before.filter(|_| after.is_none()))
            .map(|stored| stored.object.key)
            .collect();
        self.providers.commit();
        self.contexts.commit();
        self.sublayers.commit();
        self.callouts.commit();
        self.filters.commit();
        self.filter_ids.commit();
        for key in dropped {
            self.forget_callout_id(key);
        }
        for filter in added {
            self.tell(NotifyType::AddFilterPostCommit, &filter, notify);
        }
        self.retire(removed, notify);
    }

    /// Drops the write transaction's changes.
    pub(crate) fn abort(&mut self, notify: &mut dyn CalloutNotify) {
        let mut removed = mem::take(&mut self.discarded);
        removed.extend(
            self.filters.changes().filter_map(|(_, after)| after).filter_map(|stored| stored.object.runtime.clone()),
        );
        let dropped: Vec<_> =
            self.callouts.changes().filter_map(|(_, after)| after).map(|stored| stored.object.key).collect();
        self.providers.abort();
        self.contexts.abort();
        self.sublayers.abort();
        self.callouts.abort();
        self.filters.abort();
        self.filter_ids.abort();
        for key in dropped {
            self.forget_callout_id(key);
        }
        self.retire(removed, notify);
    }

    fn retire(&mut self, removed: Vec<Arc<RuntimeFilter>>, notify: &mut dyn CalloutNotify) {
        for filter in removed {
            self.tell(NotifyType::DeleteFilter, &filter, notify);
            self.indices.retired.push_back(filter);
        }
    }

    fn tell(&self, kind: NotifyType, filter: &RuntimeFilter, notify: &mut dyn CalloutNotify) {
        let Some(registration) = self.registrations.get(&filter.action.callout_id) else { return };
        let key = match kind {
            NotifyType::DeleteFilter => None,
            NotifyType::AddFilterPostCommit if registration.flags & ENABLE_COMMIT_ADD_NOTIFY == 0 => return,
            NotifyType::AddFilter | NotifyType::AddFilterPostCommit => Some(filter.key),
        };
        // Only an addition may be refused or given a context.
        let _ = notify.notify(kind, filter.action.callout_id, key, &mut filter.clone());
    }
}

impl Filter {
    /// Boot-time filters are in force only until BFE runs, and in the lab it does. Those of a provider whose service is disabled are not.
    fn in_force(&self) -> bool {
        !self.flags.intersects(FilterFlags::BOOTTIME | FilterFlags::DISABLED)
    }
}

fn check_flags(filter: &Filter) -> Result<(), FwpError> {
    let flags = filter.flags;
    let output_only = FilterFlags::DISABLED | FilterFlags::INDEXED;
    let unregistered_counts = matches!(filter.action, Action::CalloutTerminating(_) | Action::CalloutUnknown(_));
    if flags.intersects(output_only)
        || !FilterFlags::all().contains(flags)
        || flags.contains(FilterFlags::BOOTTIME | FilterFlags::PERSISTENT)
        || flags.contains(FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED) && !unregistered_counts
    {
        return Err(FwpError::InvalidFlags);
    }
    Ok(())
}

fn runtime_flags(filter: &Filter) -> u16 {
    let mut flags = 0;
    if filter.flags.contains(FilterFlags::CLEAR_ACTION_RIGHT) {
        flags |= filter_flag::CLEAR_ACTION_RIGHT;
    }
    if filter.flags.contains(FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED) {
        flags |= filter_flag::PERMIT_IF_CALLOUT_UNREGISTERED;
    }
    if filter.conditions.windows(2).any(|pair| pair[0].field == pair[1].field) {
        flags |= filter_flag::OR_CONDITIONS;
    }
    flags
}
