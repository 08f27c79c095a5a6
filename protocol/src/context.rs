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
        /// An operation that is held is permitted when nobody has answered in time; without this it is blocked.
        const OTHERWISE_PERMIT = 1 << 1;
        /// A TCP packet that is blocked where a connection would be accepted is answered with a reset.
        const REJECT = 1 << 2;
        /// For how many seconds an operation is held: [`FilterContext::hold_seconds`].
        const HOLD_SECONDS = 0xFFFF << 16;
    }
}

impl FilterContext {
    /// Version of the meaning of the bits; it stands in the top byte.
    pub const VERSION: u64 = 1;
    const VERSION_SHIFT: u32 = 56;

    /// How long an operation is held if the filter does not say.
    pub const DEFAULT_HOLD_SECONDS: u16 = 30;
    const HOLD_SHIFT: u32 = 16;

    /// For how many seconds an operation is held.
    pub const fn hold_seconds(self) -> u16 {
        match (self.bits() >> Self::HOLD_SHIFT) as u16 {
            0 => Self::DEFAULT_HOLD_SECONDS,
            seconds => seconds,
        }
    }

    /// The same options, with an operation held for `seconds`; zero means [`FilterContext::DEFAULT_HOLD_SECONDS`].
    pub const fn with_hold_seconds(self, seconds: u16) -> Self {
        let others = self.difference(Self::HOLD_SECONDS);
        Self::from_bits_retain(others.bits() | (seconds as u64) << Self::HOLD_SHIFT)
    }

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
        let hold = FilterContext::OTHERWISE_PERMIT.with_hold_seconds(90);
        assert_eq!(hold.hold_seconds(), 90);
        assert_eq!(FilterContext::empty().hold_seconds(), FilterContext::DEFAULT_HOLD_SECONDS);
        for context in [FilterContext::empty(), FilterContext::ABSORB, FilterContext::REJECT, hold] {
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
        let unversioned = FilterContext::REJECT.bits();
        for raw in [next_version, unknown_bit, kernel_pointer, 1, unversioned] {
            assert_eq!(FilterContext::from_raw(raw), None, "{raw:#x}");
        }
    }
}
