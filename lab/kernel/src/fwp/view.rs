//! What classifying needs of the committed filters: the engine's snapshot, and each callout filter in the form that its callout
//! is given.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use fwps::sys::*;
use postern_engine::layers::id;
use postern_engine::{RuntimeFilter, Snapshot};

use super::give::Arena;

/// Layers whose decision holds for a whole flow, until one of their filters changes.
pub(crate) const AUTHORIZING: [u16; 4] =
    [id::ALE_AUTH_CONNECT_V4, id::ALE_AUTH_CONNECT_V6, id::ALE_AUTH_RECV_ACCEPT_V4, id::ALE_AUTH_RECV_ACCEPT_V6];

/// A filter as its callout sees it.
pub(crate) struct CalloutFilter {
    raw: FWPS_FILTER3,
    _memory: Arena,
    /// Set before the callout hears that the filter is deleted; from then on it is not called for it.
    deleted: AtomicBool,
}

// SAFETY: the structure and what it points to are not written after `new`.
unsafe impl Send for CalloutFilter {}
// SAFETY: as above.
unsafe impl Sync for CalloutFilter {}

impl CalloutFilter {
    pub fn new(filter: &RuntimeFilter) -> CalloutFilter {
        let mut memory = Arena::default();
        let conditions: Vec<_> = filter
            .conditions
            .iter()
            .map(|condition| FWPS_FILTER_CONDITION0 {
                fieldId: condition.field,
                reserved: 0,
                matchType: condition.match_type as u32,
                conditionValue: memory.condition_value(&condition.value),
            })
            .collect();
        let provider_context = filter.provider_context.as_ref().map(|context| memory.provider_context(context));
        let raw = FWPS_FILTER3 {
            filterId: filter.id,
            weight: memory.uint64(filter.weight),
            subLayerWeight: filter.sublayer_weight,
            flags: filter.flags,
            numFilterConditions: conditions.len() as u32,
            filterCondition: if conditions.is_empty() { core::ptr::null_mut() } else { memory.put_all(&conditions) },
            action: FWPS_ACTION0 { r#type: filter.action.action_type, calloutId: filter.action.callout_id },
            context: filter.context,
            providerContext: provider_context.map_or(core::ptr::null_mut(), |context| memory.put(context)),
        };
        CalloutFilter { raw, _memory: memory, deleted: AtomicBool::new(false) }
    }

    #[inline]
    pub fn as_ptr(&self) -> *const FWPS_FILTER3 {
        &raw const self.raw
    }

    /// For notifyFn, which may write the context.
    pub fn as_mut_ptr(&mut self) -> *mut FWPS_FILTER3 {
        &raw mut self.raw
    }

    pub fn context(&self) -> u64 {
        self.raw.context
    }

    #[inline]
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::SeqCst)
    }

    pub fn delete(&self) {
        self.deleted.store(true, Ordering::SeqCst);
    }
}

/// One state of the filters, as traffic sees it.
pub(crate) struct View {
    pub snapshot: Arc<Snapshot>,
    /// By [`RuntimeFilter::index`]; only filters whose action names a callout.
    filters: Vec<Option<Arc<CalloutFilter>>>,
    /// For each of [`AUTHORIZING`]: changes when a filter was added or removed there.
    pub epochs: [u64; 4],
}

impl View {
    pub fn new(snapshot: Arc<Snapshot>) -> View {
        View { snapshot, filters: Vec::new(), epochs: [0; 4] }
    }

    /// One that keeps nothing for the next, whose filters have nothing to do with those here.
    pub fn without_filters(&self) -> View {
        View { snapshot: Arc::clone(&self.snapshot), filters: Vec::new(), epochs: self.epochs.map(|epoch| epoch + 1) }
    }

    /// The view that follows this one.
    pub fn next(&self, snapshot: Arc<Snapshot>) -> View {
        let mut filters: Vec<Option<Arc<CalloutFilter>>> = Vec::new();
        for layer in 0..=FWPS_LAYER_OUTBOUND_NETWORK_CONNECTION_POLICY_V6 {
            for filter in snapshot.filters(layer).filter(|filter| filter.action.callout_id != 0) {
                if filters.len() <= filter.index {
                    filters.resize(filter.index + 1, None);
                }
                let kept = self.filter(filter).filter(|kept| kept.context() == filter.context && !kept.is_deleted());
                filters[filter.index] = Some(kept.cloned().unwrap_or_else(|| Arc::new(CalloutFilter::new(filter))));
            }
        }
        let mut epochs = self.epochs;
        for (epoch, layer) in epochs.iter_mut().zip(AUTHORIZING) {
            let ids = |snapshot: &Snapshot| snapshot.filters(layer).map(|filter| filter.id).collect::<Vec<_>>();
            *epoch += u64::from(ids(&self.snapshot) != ids(&snapshot));
        }
        View { snapshot, filters, epochs }
    }

    /// The form of `filter` that its callout sees.
    #[inline]
    pub fn filter(&self, filter: &RuntimeFilter) -> Option<&Arc<CalloutFilter>> {
        let kept = self.filters.get(filter.index)?.as_ref()?;
        (kept.raw.filterId == filter.id).then_some(kept)
    }
}
