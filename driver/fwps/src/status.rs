//! Statuses as results.

use crate::sys::{NTSTATUS, STATUS_SUCCESS};

/// `Ok` for `STATUS_SUCCESS` and for nothing else: several statuses that `NT_SUCCESS` accepts are refusals here.
pub const fn exactly_success(status: NTSTATUS) -> Result<(), NTSTATUS> {
    match status {
        STATUS_SUCCESS => Ok(()),
        other => Err(other),
    }
}
