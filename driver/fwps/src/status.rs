//! Statuses as results.

use crate::sys::{NTSTATUS, STATUS_SUCCESS};

/// `Ok` for `STATUS_SUCCESS` and for nothing else: several statuses that `NT_SUCCESS` accepts are refusals here.
pub const fn exactly_success(status: NTSTATUS) -> Result<(), NTSTATUS> {
    match status {
        STATUS_SUCCESS => Ok(()),
        other => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{STATUS_OBJECT_NAME_EXISTS, STATUS_PENDING};

    #[test]
    fn success_class_statuses_other_than_success_are_no_success() {
        assert_eq!(exactly_success(STATUS_SUCCESS), Ok(()));
        assert_eq!(exactly_success(STATUS_PENDING), Err(STATUS_PENDING));
        assert_eq!(exactly_success(STATUS_OBJECT_NAME_EXISTS), Err(STATUS_OBJECT_NAME_EXISTS));
    }
}
