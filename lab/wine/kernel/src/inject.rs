//! Functions that have been told to fail.

use std::sync::Mutex;

use crate::export;
use crate::kernel::lock;
use crate::nt::NtStatus;

#[path = "../../../kernel/src/inject/failures.rs"]
mod failures;

pub use failures::Meaning;

struct Failing {
    function: String,
    status: NtStatus,
    times: u32,
}

static FAILING: Mutex<Vec<Failing>> = Mutex::new(Vec::new());

/// Makes a function fail the next so many times.
pub fn fail(function: String, status: NtStatus, times: u32) {
    lock(&FAILING).push(Failing { function, status, times });
}

/// The status with which the import now running has been told to fail, if it has.
pub fn faulted() -> Option<NtStatus> {
    let mut failing = lock(&FAILING);
    let position = failing.iter().position(|one| one.function == export::current_name())?;
    let status = failing[position].status;
    failing[position].times -= 1;
    if failing[position].times == 0 {
        failing.remove(position);
    }
    Some(status)
}

/// As [`faulted`], with what the status says about the system.
pub fn fault() -> Option<(NtStatus, Meaning)> {
    faulted().map(|status| (status, failures::meaning(export::current_name(), status)))
}
