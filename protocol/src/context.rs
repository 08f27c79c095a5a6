//! What a filter tells a callout: the bits of `FWPM_FILTER0.rawContext`.
//!
//! A filter may outlive the driver that it was made for, so its context is plain data with a version, never a pointer.

use bitflags::bitflags;

bitflags! {
    /// The options of a filter that names one of our callouts.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct FilterContext: u64 {
        /// A block drops the packet silently (`FWPS_CLASSIFY_OUT_FLAG_ABSORB`): no discard layer, no audit event.
        const ABSORB = 1 << 0;
    }
}

impl FilterContext {
    /// Version of the meaning of the bits; it stands in the top byte.
    pub const VERSION: u64 = 1;
    const VERSION_SHIFT: u32 = 56;

    /// The value for `rawContext`.
    pub const fn to_raw(self) -> u64 {
        Self::VERSION << Self::VERSION_SHIFT | self.bits()
    }

    /// Reads a filter's context.
    ///
    /// Zero, which a filter has that sets no context, means no options. A version that we do not know, or a bit that our
    /// version does not define, means that somebody else's meaning is in there: `None`.
    pub const fn from_raw(raw: u64) -> Option<Self> {
        if raw == 0 {
            return Some(Self::empty());
        }
        if raw >> Self::VERSION_SHIFT != Self::VERSION {
            return None;
        }
        Self::from_bits(raw & !(u64::MAX << Self::VERSION_SHIFT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_survives_the_way_through_a_filter() {
        for context in [FilterContext::empty(), FilterContext::ABSORB] {
            assert_eq!(FilterContext::from_raw(context.to_raw()), Some(context));
        }
    }

    #[test]
    fn a_filter_without_a_context_has_no_options() {
        assert_eq!(FilterContext::from_raw(0), Some(FilterContext::empty()));
    }

    #[test]
    fn foreign_contexts_are_refused() {
        let next_version = (FilterContext::VERSION + 1) << 56;
        let unknown_bit = FilterContext::empty().to_raw() | 1 << 40;
        let kernel_pointer = 0xffff_8000_1234_5678;
        for raw in [next_version, unknown_bit, kernel_pointer, 1] {
            assert_eq!(FilterContext::from_raw(raw), None, "{raw:#x}");
        }
    }
}
