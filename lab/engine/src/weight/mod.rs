//! Weights of sublayers and filters.
//!
//! Documentation pages "Filter Weight Assignment" and "FwpmSubLayerAdd0" give the rules, all but one: how an automatic weight
//! follows from the conditions is documented nowhere. [`Layout`] does what real machines were seen to do.

mod layout;

use alloc::collections::BTreeSet;

pub use layout::Layout;

use crate::error::FwpError;
use crate::objects::{Condition, Weight};

/// The number of low bits that are computed from the conditions (`FWPM_AUTO_WEIGHT_BITS`).
const AUTO_BITS: u32 = 60;
/// `FWPM_WEIGHT_RANGE_MAX`.
const RANGE_MAX: u8 = 15;

/// The sublayer weight that BFE assigns: the free one closest to that asked for. Of two equally close ones the higher, as on real machines.
pub(crate) fn closest_free(asked: u16, taken: &BTreeSet<u16>) -> Option<u16> {
    (0..=u16::MAX).find_map(|distance| {
        let free = |weight: &u16| !taken.contains(weight);
        asked.checked_add(distance).filter(free).or_else(|| asked.checked_sub(distance).filter(free))
    })
}

/// The weight that orders a filter within its sublayer. The conditions have been checked against the layer.
pub fn effective(layout: &Layout, weight: Weight, conditions: &[Condition]) -> Result<u64, FwpError> {
    match weight {
        Weight::Exact(weight) => Ok(weight),
        Weight::Auto => Ok(layout.weight(conditions)),
        Weight::Range(range) if range <= RANGE_MAX => Ok(u64::from(range) << AUTO_BITS | layout.weight(conditions)),
        Weight::Range(_) => Err(FwpError::InvalidWeight),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sublayer_gets_the_closest_free_weight() {
        let mut taken = BTreeSet::from([32767, 32768, 40960]);
        let mut ask = |weight| {
            let given = closest_free(weight, &taken).unwrap();
            taken.insert(given);
            given
        };
        // As seen with WinDivert's, IPxlat's and the IPsec provider's sublayers.
        assert_eq!([ask(0xFFFF), ask(0xFFFF), ask(0xFFFF)], [65535, 65534, 65533]);
        assert_eq!([ask(32767), ask(32767), ask(32767)], [32766, 32769, 32765]);
        assert_eq!(ask(40960), 40961);
        assert_eq!([ask(0), ask(0), ask(0)], [0, 1, 2]);
    }

    #[test]
    fn no_weight_is_free_when_all_are_taken() {
        assert_eq!(closest_free(7, &(0..=u16::MAX).collect()), None);
    }
}
