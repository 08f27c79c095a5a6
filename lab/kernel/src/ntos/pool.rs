//! Pool.

use crate::report::Finding;

/// Explains a fault at an address that pool once covered or guards.
pub(crate) fn explain(_address: u64, _access: &str) -> Option<Finding> {
    None
}
