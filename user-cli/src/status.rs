//! `NTSTATUS` values by name (ntstatus.h), as far as a user of this program meets them.

const NAMES: [(&str, u32); 26] = [
    ("STATUS_SUCCESS", 0x0000_0000),
    ("STATUS_TIMEOUT", 0x0000_0102),
    ("STATUS_PENDING", 0x0000_0103),
    ("STATUS_OBJECT_NAME_EXISTS", 0x4000_0000),
    ("STATUS_DEVICE_BUSY", 0x8000_0011),
    ("STATUS_UNSUCCESSFUL", 0xC000_0001),
    ("STATUS_NOT_IMPLEMENTED", 0xC000_0002),
    ("STATUS_INFO_LENGTH_MISMATCH", 0xC000_0004),
    ("STATUS_INVALID_PARAMETER", 0xC000_000D),
    ("STATUS_NO_SUCH_DEVICE", 0xC000_000E),
    ("STATUS_INVALID_DEVICE_REQUEST", 0xC000_0010),
    ("STATUS_ACCESS_DENIED", 0xC000_0022),
    ("STATUS_BUFFER_TOO_SMALL", 0xC000_0023),
    ("STATUS_OBJECT_NAME_NOT_FOUND", 0xC000_0034),
    ("STATUS_OBJECT_NAME_COLLISION", 0xC000_0035),
    ("STATUS_QUOTA_EXCEEDED", 0xC000_0044),
    ("STATUS_INSUFFICIENT_RESOURCES", 0xC000_009A),
    ("STATUS_NOT_SUPPORTED", 0xC000_00BB),
    ("STATUS_CANCELLED", 0xC000_0120),
    ("STATUS_INVALID_DEVICE_STATE", 0xC000_0184),
    ("STATUS_INTERNAL_ERROR", 0xC000_00E5),
    ("STATUS_NOT_FOUND", 0xC000_0225),
    ("STATUS_FWP_CALLOUT_NOT_FOUND", 0xC022_0001),
    ("STATUS_FWP_ALREADY_EXISTS", 0xC022_0009),
    ("STATUS_FWP_IN_USE", 0xC022_000A),
    ("STATUS_FWP_TCPIP_NOT_READY", 0xC022_0100),
];

/// `STATUS_CANCELLED`.
pub const CANCELLED: u32 = 0xC000_0120;
/// `STATUS_NOT_FOUND`.
pub const NOT_FOUND: u32 = 0xC000_0225;
/// `STATUS_NO_SUCH_DEVICE`: a device that is being set up or taken down.
pub const NO_SUCH_DEVICE: u32 = 0xC000_000E;
/// `STATUS_OBJECT_NAME_NOT_FOUND`: no device of that name.
pub const OBJECT_NAME_NOT_FOUND: u32 = 0xC000_0034;
/// `STATUS_QUOTA_EXCEEDED`.
pub const QUOTA_EXCEEDED: u32 = 0xC000_0044;

/// The name and the number.
pub fn describe(status: u32) -> String {
    match NAMES.iter().find(|(_, number)| *number == status) {
        Some((name, _)) => format!("{name} ({status:#010x})"),
        None => format!("status {status:#010x}"),
    }
}

/// A status by its name, or in hexadecimal.
pub fn parse(text: &str) -> Result<u32, String> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(digits, 16).map_err(|_| format!("'{text}' is no 32-bit hexadecimal number"));
    }
    NAMES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, number)| *number)
        .ok_or_else(|| format!("'{text}' is no status that this program knows by name: write its number, 0xC0000001"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_known_by_name_and_by_number() {
        assert_eq!(parse("STATUS_DEVICE_BUSY"), Ok(0x8000_0011));
        assert_eq!(parse("0xC0000001"), Ok(0xC000_0001));
        assert_eq!(describe(0x8000_0011), "STATUS_DEVICE_BUSY (0x80000011)");
        assert!(parse("STATUS_WHATEVER").is_err());
    }
}
