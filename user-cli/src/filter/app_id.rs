//! Application identifiers: what `FWPM_CONDITION_ALE_APP_ID` is compared with.

pub use crate::system::app_id::nt_path;

/// The blob that conditions and incoming values hold: UTF-16, little-endian, with the terminating NUL.
pub fn blob(nt_path: &str) -> Vec<u8> {
    nt_path.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// The text of such a blob, if it is one.
pub fn text(blob: &[u8]) -> Option<String> {
    let (units, rest) = blob.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    match units.split_last() {
        Some((0, text)) if rest.is_empty() && !text.contains(&0) => String::from_utf16(text).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blob_is_the_one_that_real_dumps_hold() {
        // `FWPM_CONDITION_ALE_APP_ID` of "System" in the output of netsh.
        let system = [0x53, 0, 0x79, 0, 0x73, 0, 0x74, 0, 0x65, 0, 0x6d, 0, 0, 0];
        assert_eq!(blob("System"), system);
        assert_eq!(text(&system).as_deref(), Some("System"));
        assert_eq!(text(&[0xff; 8]), None);
        assert_eq!(text(&[]), None);
    }
}
