//! Weights of sublayers and filters.

use alloc::collections::BTreeSet;

use crate::error::FwpError;
use crate::layers::Layer;
use crate::objects::{Condition, Weight};

/// The number of low bits that are computed from the conditions (`FWPM_AUTO_WEIGHT_BITS`).
const AUTO_BITS: u32 = 60;
/// `FWPM_WEIGHT_RANGE_MAX`.
const RANGE_MAX: u8 = 15;

/// The sublayer weight that BFE assigns: the free one closest to that asked for. Of two equally close ones the lower.
pub(crate) fn closest_free(asked: u16, taken: &BTreeSet<u16>) -> Option<u16> {
    (0..=u16::MAX).find_map(|distance| {
        let free = |weight: &u16| !taken.contains(weight);
        asked.checked_sub(distance).filter(free).or_else(|| asked.checked_add(distance).filter(free))
    })
}

/// The weight that orders a filter within its sublayer.
pub(crate) fn effective(layer: &Layer, weight: Weight, conditions: &[Condition]) -> Result<u64, FwpError> {
    match weight {
        Weight::Exact(weight) => Ok(weight),
        Weight::Auto => Ok(automatic(layer, conditions)),
        Weight::Range(range) if range <= RANGE_MAX => Ok(u64::from(range) << AUTO_BITS | automatic(layer, conditions)),
        Weight::Range(_) => Err(FwpError::InvalidWeight),
    }
}

fn automatic(_layer: &Layer, conditions: &[Condition]) -> u64 {
    conditions.len() as u64
}
