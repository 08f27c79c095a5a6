//! The `NTSTATUS` values that the driver tells apart.
//!
//! Statuses are compared exactly. Whether a status "is a success" is never asked: `STATUS_PENDING` is one to `NT_SUCCESS`,
//! and to a driver that leaves it is the opposite.

use core::fmt;

/// An `NTSTATUS` (ntstatus.h).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub i32);

macro_rules! statuses {
    ($($name:ident = $value:literal,)*) => {
        impl Status {
            $(pub const $name: Status = Status($value as u32 as i32);)*

            /// The name from ntstatus.h, for the statuses that the driver tells apart.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Status::$name => Some(concat!("STATUS_", stringify!($name))),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    SUCCESS = 0x0000_0000u32,
    PENDING = 0x0000_0103u32,
    OBJECT_NAME_EXISTS = 0x4000_0000u32,
    DEVICE_BUSY = 0x8000_0011u32,
    UNSUCCESSFUL = 0xC000_0001u32,
    INVALID_PARAMETER = 0xC000_000Du32,
    INVALID_DEVICE_REQUEST = 0xC000_0010u32,
    BUFFER_TOO_SMALL = 0xC000_0023u32,
    QUOTA_EXCEEDED = 0xC000_0044u32,
    DELETE_PENDING = 0xC000_0056u32,
    REVISION_MISMATCH = 0xC000_0059u32,
    INSUFFICIENT_RESOURCES = 0xC000_009Au32,
    NOT_SUPPORTED = 0xC000_00BBu32,
    NOT_FOUND = 0xC000_0225u32,
    FWP_CALLOUT_NOT_FOUND = 0xC022_0001u32,
    FWP_FILTER_NOT_FOUND = 0xC022_0003u32,
    FWP_ALREADY_EXISTS = 0xC022_0009u32,
    FWP_IN_USE = 0xC022_000Au32,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#010X}", self.0),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_status_prints_its_name_or_its_number() {
        assert_eq!(Status::DEVICE_BUSY.to_string(), "STATUS_DEVICE_BUSY");
        assert_eq!(Status(0xC0DE_0001u32 as i32).to_string(), "0xC0DE0001");
    }
}
