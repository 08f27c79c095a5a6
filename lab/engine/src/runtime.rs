//! What the kernel holds of the committed filters: for each layer, filters in the order of evaluation.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use uuid::Uuid;

use crate::layers;
use crate::matching::{Matcher, RuntimeCondition};
use crate::objects::ProviderContext;
use crate::sublayer::SublayerFilters;

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

/// What a commit does to one layer.
#[derive(Debug, Default)]
pub(crate) struct LayerChange {
    pub(crate) added: Vec<Arc<RuntimeFilter>>,
    pub(crate) removed: Vec<Arc<RuntimeFilter>>,
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
                *slot = changed(slot.as_deref().unwrap_or_default(), change);
            }
        }
        Self { layers }
    }

    pub fn has_filters(&self, layer: u16) -> bool {
        !self.sublayers(layer).is_empty()
    }

    /// The filters of a layer in the order of evaluation.
    pub fn filters(&self, layer: u16) -> impl Iterator<Item = &Arc<RuntimeFilter>> {
        self.sublayers(layer).iter().flat_map(|sublayer| sublayer.filters())
    }

    /// Bytes, about, that finding the filters of a layer takes beyond the filters themselves.
    pub fn index_size(&self, layer: u16) -> usize {
        self.sublayers(layer).iter().map(|sublayer| sublayer.index_size()).sum()
    }

    #[inline]
    pub(crate) fn sublayers(&self, layer: u16) -> &[SublayerFilters] {
        self.layers.get(usize::from(layer)).and_then(Option::as_deref).unwrap_or_default()
    }
}

/// A layer after a commit.
fn changed(before: &[SublayerFilters], change: LayerChange) -> Option<Arc<[SublayerFilters]>> {
    let mut changes = BTreeMap::<Reverse<u16>, LayerChange>::new();
    for filter in change.added {
        changes.entry(Reverse(filter.sublayer_weight)).or_default().added.push(filter);
    }
    for filter in change.removed {
        changes.entry(Reverse(filter.sublayer_weight)).or_default().removed.push(filter);
    }
    let mut sublayers: BTreeMap<_, _> =
        before.iter().map(|sublayer| (Reverse(sublayer.weight), sublayer.clone())).collect();
    for (weight, LayerChange { added, removed }) in changes {
        let sublayer = sublayers.entry(weight).or_insert_with(|| SublayerFilters::new(weight.0));
        *sublayer = sublayer.changed(added, &removed);
    }
    let sublayers: Arc<[_]> = sublayers.into_values().filter(|sublayer| !sublayer.is_empty()).collect();
    (!sublayers.is_empty()).then_some(sublayers)
}
