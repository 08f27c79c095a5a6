//! Subscriptions to changes of objects (documentation pages "Change Notifications", "FwpmFilterSubscribeChanges0" and its kin).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::FwpError;
use crate::objects::{Callout, Provider, ProviderContext, Sublayer};
use crate::session::SessionId;
use crate::store::{State, Stored, Table};
use crate::template::{CalloutTemplate, ContextTemplate, FilterTemplate, SublayerTemplate};

/// What a subscriber has not fetched. More are counted, not kept: notifications are unreliable, says "Change Notifications".
const WAITING: usize = 4096;
/// So many are fetched at once.
const PORTION: usize = 512;

/// `FWPM_FILTER_SUBSCRIPTION0` and its kin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Subscription {
    pub objects: Subject,
    pub flags: SubscriptionFlags,
    /// Of the session that has it: output only.
    pub session: Uuid,
}

impl Subscription {
    /// To additions and deletions.
    pub fn to(objects: Subject) -> Subscription {
        Subscription { objects, flags: SubscriptionFlags::all(), session: Uuid::nil() }
    }
}

/// The kind of objects, and which of them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Subject {
    Providers,
    ProviderContexts(ContextTemplate),
    Sublayers(SublayerTemplate),
    Callouts(CalloutTemplate),
    /// No template: every filter.
    Filters(Option<FilterTemplate>),
}

bitflags::bitflags! {
    /// `FWPM_SUBSCRIPTION_FLAG_*` (fwpmtypes.h).
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
    pub struct SubscriptionFlags: u32 {
        const NOTIFY_ON_ADD = 0x1;
        const NOTIFY_ON_DELETE = 0x2;
    }
}

/// `FWPM_FILTER_CHANGE0` and its kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Change {
    pub kind: ObjectKind,
    pub change: ChangeType,
    pub key: Uuid,
    /// Run-time id of provider contexts, callouts and filters.
    pub id: Option<u64>,
    /// The number of the transaction that made it, counted by the engine. Windows does not tell.
    pub transaction: Option<u64>,
}

/// In the order in which they refer to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum ObjectKind {
    Provider,
    ProviderContext,
    Sublayer,
    Callout,
    Filter,
}

/// `FWPM_CHANGE_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[repr(u32)]
pub enum ChangeType {
    Add = 1,
    Delete = 2,
}

/// What one fetch brings a subscriber.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Changes {
    /// The oldest first.
    pub changes: Vec<Change>,
    /// How many went lost after these, because they were not fetched in time.
    pub lost: u64,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.lost == 0
    }
}

#[derive(Debug)]
pub(crate) struct Subscriber {
    session: SessionId,
    subscription: Subscription,
    waiting: VecDeque<Change>,
    lost: u64,
}

impl Subscriber {
    fn hear(&mut self, change: Change) {
        if self.waiting.len() < WAITING {
            self.waiting.push_back(change);
        } else {
            self.lost += 1;
        }
    }
}

impl Engine {
    /// `FwpmFilterSubscribeChanges0` and its kin: changes that other sessions commit from now on. Returns the subscription's handle.
    pub fn changes_subscribe(&mut self, session: SessionId, subscription: Subscription) -> Result<u64, FwpError> {
        let key = self.outside_transaction(session)?.key;
        if subscription.flags.is_empty() || !SubscriptionFlags::all().contains(subscription.flags) {
            return Err(FwpError::InvalidFlags);
        }
        match &subscription.objects {
            Subject::Callouts(template) => template.check()?,
            Subject::Filters(Some(template)) => _ = template.check()?,
            Subject::Filters(None) | Subject::Providers | Subject::ProviderContexts(_) | Subject::Sublayers(_) => {}
        }
        let subscription = Subscription { session: key, ..subscription };
        let handle = self.next_subscription;
        self.next_subscription += 1;
        let subscriber = Subscriber { session, subscription, waiting: VecDeque::new(), lost: 0 };
        self.subscribers.insert(handle, subscriber);
        Ok(handle)
    }

    /// `FwpmFilterUnsubscribeChanges0` and its kin.
    pub fn changes_unsubscribe(&mut self, session: SessionId, handle: u64) -> Result<(), FwpError> {
        self.outside_transaction(session)?;
        self.subscriber(session, handle)?;
        self.subscribers.remove(&handle);
        Ok(())
    }

    /// What has come for a subscription since it was asked last.
    pub fn changes_fetch(&mut self, session: SessionId, handle: u64) -> Result<Changes, FwpError> {
        let subscriber = self.subscriber(session, handle)?;
        let portion = subscriber.waiting.len().min(PORTION);
        let changes = subscriber.waiting.drain(..portion).collect();
        let lost = if subscriber.waiting.is_empty() { mem::take(&mut subscriber.lost) } else { 0 };
        Ok(Changes { changes, lost })
    }

    /// `FwpmFilterSubscriptionsGet0` and its kin.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.subscribers.values().map(|subscriber| &subscriber.subscription)
    }

    fn subscriber(&mut self, session: SessionId, handle: u64) -> Result<&mut Subscriber, FwpError> {
        self.subscribers.get_mut(&handle).filter(|found| found.session == session).ok_or(FwpError::NotFound)
    }

    pub(crate) fn end_subscriptions(&mut self, session: SessionId) {
        self.subscribers.retain(|_, subscriber| subscriber.session != session);
    }

    /// Tells the subscribers of what the write transaction in progress is about to commit: first what goes, then what comes. A session does
    /// not hear of its own changes.
    pub(crate) fn tell_changes(&mut self, by: SessionId) {
        self.transactions += 1;
        self.note_persistent_changes();
        let mut subscribers = mem::take(&mut self.subscribers);
        let strangers = subscribers.values_mut().filter(|subscriber| subscriber.session != by);
        for subscriber in strangers {
            let flags = subscriber.subscription.flags;
            let objects = subscriber.subscription.objects.clone();
            for (change, flag) in [
                (ChangeType::Delete, SubscriptionFlags::NOTIFY_ON_DELETE),
                (ChangeType::Add, SubscriptionFlags::NOTIFY_ON_ADD),
            ] {
                if flags.contains(flag) {
                    self.find_changes(&objects, change, &mut |change| subscriber.hear(change));
                }
            }
        }
        self.subscribers = subscribers;
    }

    fn find_changes(&self, objects: &Subject, change: ChangeType, hear: &mut dyn FnMut(Change)) {
        let transaction = Some(self.transactions);
        let mut tell = |kind, key, id| hear(Change { kind, change, key, id, transaction });
        match objects {
            Subject::Providers => changed(&self.providers, change)
                .for_each(|provider: &Provider| tell(ObjectKind::Provider, provider.key, None)),
            Subject::ProviderContexts(template) => changed(&self.contexts, change)
                .map(|context| &**context)
                .filter(|context: &&ProviderContext| template.matches(context))
                .for_each(|context| tell(ObjectKind::ProviderContext, context.key, Some(context.id))),
            Subject::Sublayers(template) => changed(&self.sublayers, change)
                .filter(|sublayer: &&Sublayer| template.matches(sublayer))
                .for_each(|sublayer| tell(ObjectKind::Sublayer, sublayer.key, None)),
            Subject::Callouts(template) => changed(&self.callouts, change)
                .filter(|callout: &&Callout| template.matches(callout))
                .for_each(|callout| tell(ObjectKind::Callout, callout.key, Some(callout.id.into()))),
            Subject::Filters(template) => {
                // It was checked when it was subscribed.
                let search = template.as_ref().and_then(|template| template.check().ok());
                let state = if change == ChangeType::Add { State::Pending } else { State::Committed };
                changed(&self.filters, change)
                    .map(|entry| &entry.filter)
                    .filter(|filter| {
                        search.as_ref().is_none_or(|search| {
                            let context = filter.provider_context.and_then(|key| self.contexts.get(state, &key));
                            search.matches(filter, context.map(|stored| &*stored.object))
                        })
                    })
                    .for_each(|filter| tell(ObjectKind::Filter, filter.key, Some(filter.id)));
            }
        }
    }
}

fn changed<K: Ord, T>(table: &Table<K, Stored<T>>, change: ChangeType) -> impl Iterator<Item = &T> {
    table
        .changes()
        .filter_map(move |(before, after)| if change == ChangeType::Add { after } else { before })
        .map(|stored| &stored.object)
}
