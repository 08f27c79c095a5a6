//! What the kernel holds of the committed filters: for each layer, filters in the order of evaluation.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use uuid::Uuid;

use crate::layers;
use crate::matching::{Matcher, RuntimeCondition, Value};
use crate::objects::ProviderContext;

/// `FWP_ACTION_*` (fwptypes.h).
pub mod action {
    pub const BLOCK: u32 = 0x1001;
    pub const PERMIT: u32 = 0x1002;
    pub const CALLOUT_TERMINATING: u32 = 0x5003;
    pub const CALLOUT_INSPECTION: u32 = 0x6004;
    pub const CALLOUT_UNKNOWN: u32 = 0x4005;
    pub const CONTINUE: u32 = 0x2006;
    pub const NONE: u32 = 0x0007;
    pub const NONE_NO_MATCH: u32 = 0x0008;
}

/// `FWPS_FILTER_FLAG_*` (fwpstypes.h).
pub mod filter_flag {
    pub const CLEAR_ACTION_RIGHT: u16 = 0x1;
    pub const PERMIT_IF_CALLOUT_UNREGISTERED: u16 = 0x2;
    pub const OR_CONDITIONS: u16 = 0x4;
}

/// A filter at run time (`FWPS_FILTER0` to `3`).
#[derive(Debug, Clone)]
pub struct RuntimeFilter {
    /// Small and dense, for side tables. Not given to another filter while a snapshot still holds this one.
    pub index: usize,
    pub id: u64,
    pub key: Uuid,
    pub layer: u16,
    /// The effective weight.
    pub weight: u64,
    pub sublayer_weight: u16,
    /// [`filter_flag`]s.
    pub flags: u16,
    pub action: RuntimeAction,
    /// The filter's raw context or its provider context's id, unless the callout's notify function wrote another one.
    pub context: u64,
    /// Only where the callout uses provider contexts.
    pub provider_context: Option<Arc<ProviderContext>>,
    pub conditions: Box<[RuntimeCondition]>,
    pub(crate) matcher: Matcher,
}

/// `FWPS_ACTION0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeAction {
    /// An [`action`] constant.
    pub action_type: u32,
    /// Zero where the action names no callout.
    pub callout_id: u32,
}

impl RuntimeFilter {
    pub fn has_flag(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// The committed filters of all layers, as one moment of the engine. A clone of the `Arc` keeps classifying by it, whatever is committed later.
#[derive(Debug)]
pub struct Snapshot {
    /// By layer id: sublayers by weight, highest first. `None`: no filters.
    layers: Box<[Option<Arc<[SublayerFilters]>>]>,
}

/// The filters of one sublayer at one layer, in the order of evaluation. Whatever finds the matching ones hides in here.
#[derive(Debug)]
pub(crate) struct SublayerFilters(Box<[Entry]>);

/// The matcher beside the filter, so that a search does not touch filters that do not match.
#[derive(Debug)]
struct Entry {
    matcher: Matcher,
    filter: Arc<RuntimeFilter>,
}

/// What a commit does to one layer.
#[derive(Debug, Default)]
pub(crate) struct LayerChange {
    pub(crate) added: Vec<Arc<RuntimeFilter>>,
    pub(crate) removed: BTreeSet<u64>,
}

impl Snapshot {
    pub(crate) fn empty() -> Self {
        Self { layers: layers::all().iter().map(|_| None).collect() }
    }

    /// The next snapshot; layers that did not change are shared.
    pub(crate) fn changed(&self, changes: BTreeMap<u16, LayerChange>) -> Self {
        let mut layers = self.layers.clone();
        for (layer, change) in changes {
            if let Some(slot) = layers.get_mut(usize::from(layer)) {
                *slot = rebuilt(slot.as_deref().unwrap_or_default(), change);
            }
        }
        Self { layers }
    }

    pub fn has_filters(&self, layer: u16) -> bool {
        !self.sublayers(layer).is_empty()
    }

    /// The filters of a layer in the order of evaluation.
    pub fn filters(&self, layer: u16) -> impl Iterator<Item = &Arc<RuntimeFilter>> {
        self.sublayers(layer).iter().flat_map(SublayerFilters::filters)
    }

    #[inline]
    pub(crate) fn sublayers(&self, layer: u16) -> &[SublayerFilters] {
        self.layers.get(usize::from(layer)).and_then(Option::as_deref).unwrap_or_default()
    }
}

/// A layer after a commit.
fn rebuilt(before: &[SublayerFilters], change: LayerChange) -> Option<Arc<[SublayerFilters]>> {
    let kept = before.iter().flat_map(SublayerFilters::filters).filter(|filter| !change.removed.contains(&filter.id));
    let mut filters: Vec<_> = kept.cloned().chain(change.added).collect();
    // Windows leaves the order of equal weights open; here the older filter comes first.
    filters.sort_by_key(|filter| (Reverse(filter.sublayer_weight), Reverse(filter.weight), filter.id));
    let sublayers = filters.chunk_by(|one, next| one.sublayer_weight == next.sublayer_weight);
    let sublayers: Arc<[_]> = sublayers.map(SublayerFilters::new).collect();
    (!sublayers.is_empty()).then_some(sublayers)
}

impl SublayerFilters {
    fn new(filters: &[Arc<RuntimeFilter>]) -> Self {
        let entry = |filter: &Arc<RuntimeFilter>| Entry { matcher: filter.matcher.clone(), filter: Arc::clone(filter) };
        Self(filters.iter().map(entry).collect())
    }

    pub(crate) fn filters(&self) -> impl Iterator<Item = &Arc<RuntimeFilter>> {
        self.0.iter().map(|entry| &entry.filter)
    }

    /// The filters that match, by weight, highest first.
    #[inline]
    pub(crate) fn matching<'a>(&'a self, values: &'a [Value<'_>]) -> impl Iterator<Item = &'a RuntimeFilter> {
        self.0.iter().filter(|entry| entry.matcher.matches(values)).map(|entry| &*entry.filter)
    }
}
