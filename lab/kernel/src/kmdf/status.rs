//! Status codes of the framework (wdfstatus.h), and those of NT that only it returns here.

use crate::nt::NtStatus;

const fn status(code: u32) -> NtStatus {
    NtStatus(code as i32)
}

pub(super) const WDF_PAUSED: NtStatus = status(0xC020_0203);
pub(super) const WDF_BUSY: NtStatus = status(0xC020_0204);
pub(super) const WDF_OBJECT_ATTRIBUTES_INVALID: NtStatus = status(0xC020_0209);
pub(super) const WDF_NO_CALLBACK: NtStatus = status(0xC020_020B);
pub(super) const WDF_INCOMPATIBLE_EXECUTION_LEVEL: NtStatus = status(0xC020_020C);
pub(super) const WDF_PARENT_ASSIGNMENT_NOT_ALLOWED: NtStatus = status(0xC020_020F);
pub(super) const WDF_SYNCHRONIZATION_SCOPE_INVALID: NtStatus = status(0xC020_0210);
pub(super) const WDF_EXECUTION_LEVEL_INVALID: NtStatus = status(0xC020_0211);
pub(super) const WDF_PARENT_NOT_SPECIFIED: NtStatus = status(0xC020_0212);

pub(super) const INVALID_PARAMETER_4: NtStatus = status(0xC000_00F2);
pub(super) const INVALID_USER_BUFFER: NtStatus = status(0xC000_00E8);
