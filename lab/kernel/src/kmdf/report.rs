//! How the framework says that a driver broke a rule.

use crate::export;
use crate::nt::WDF_VIOLATION;
use crate::ptr::Ptr;
use crate::report::{self, Finding, Kind};

// WDF_BUGCHECK_CODES (wdfbugcodes.h): the first parameter of WDF_VIOLATION.
pub(super) const WDF_VERIFIER_FATAL_ERROR: u64 = 0x3;
pub(super) const WDF_REQUIRED_PARAMETER_IS_NULL: u64 = 0x4;
pub(super) const WDF_INVALID_HANDLE: u64 = 0x5;
pub(super) const WDF_REQUEST_FATAL_ERROR: u64 = 0x6;
pub(super) const WDF_QUEUE_FATAL_ERROR: u64 = 0xA;
pub(super) const WDF_INVALID_LOCK_OPERATION: u64 = 0xB;

/// Records a broken rule after which the call goes on, or fails, as on Windows.
#[cold]
pub(super) fn broken(what: String, remedy: &str) {
    report::violation(Finding { kind: Kind::Contract, what, remedy: remedy.into() });
}

/// Stops the lab as the framework stops Windows.
#[cold]
pub(super) fn fatal(code: u64, object: u64, reason: &str) -> ! {
    report::bugcheck(WDF_VIOLATION, [code, object, 0, 0], reason)
}

/// A parameter that may not be null.
pub(super) fn required<T>(pointer: Ptr<T>, name: &str) -> Ptr<T> {
    if pointer.is_null() {
        let function = export::current_name();
        fatal(WDF_REQUIRED_PARAMETER_IS_NULL, 0, &format!("{function} was called with a null {name}"));
    }
    pointer
}
