//! Security identifiers, and the descriptors that conditions on users hold.

/// A SID's bytes, of `S-1-5-...` ([MS-DTYP] 2.4.2).
pub fn parse(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("'{text}' is no SID: write S-1-5-32-544, for example; `whoami /user` tells one's own");
    let mut parts = text.split('-');
    if !parts.next().is_some_and(|s| s.eq_ignore_ascii_case("s")) {
        return Err(wrong());
    }
    let revision: u8 = parts.next().and_then(|part| part.parse().ok()).ok_or_else(wrong)?;
    let authority =
        parts.next().and_then(|part| part.parse::<u64>().ok()).filter(|n| *n < 1 << 48).ok_or_else(wrong)?;
    let parts: Vec<u32> = parts.map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let count = u8::try_from(parts.len()).ok().filter(|count| (1..=15).contains(count) && revision == 1);
    let mut sid = vec![revision, count.ok_or_else(wrong)?];
    sid.extend(&authority.to_be_bytes()[2..]);
    sid.extend(parts.into_iter().flat_map(u32::to_le_bytes));
    Ok(sid)
}

/// The text of a SID, if it is one.
pub fn text(sid: &[u8]) -> Option<String> {
    let [1, count, authority @ ..] = sid else { return None };
    let (authority, parts) = authority.split_at_checked(6)?;
    let (parts, rest) = parts.as_chunks::<4>();
    if parts.len() != usize::from(*count) || !rest.is_empty() {
        return None;
    }
    let authority = authority.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let mut text = format!("S-1-{authority}");
    for part in parts {
        text += &format!("-{}", u32::from_le_bytes(*part));
    }
    Some(text)
}

/// A self-relative security descriptor that grants `FWP_ACTRL_MATCH_FILTER` to one SID, and nothing else: `D:(A;;CC;;;SID)`
/// ([MS-DTYP] 2.4.6, 2.4.5, 2.4.4.2).
pub fn descriptor(sid: &[u8]) -> Vec<u8> {
    const SELF_RELATIVE_WITH_DACL: u16 = 0x8004;
    const HEADER: u32 = 20;
    const MATCH_FILTER: u32 = 1;
    let entry_size = 8 + sid.len() as u16;
    let mut bytes = vec![1, 0];
    bytes.extend(SELF_RELATIVE_WITH_DACL.to_le_bytes());
    for offset in [0, 0, 0, HEADER] {
        bytes.extend(offset.to_le_bytes());
    }
    bytes.extend([2, 0]);
    bytes.extend((8 + entry_size).to_le_bytes());
    bytes.extend([1, 0, 0, 0]);
    bytes.extend([0, 0]);
    bytes.extend(entry_size.to_le_bytes());
    bytes.extend(MATCH_FILTER.to_le_bytes());
    bytes.extend(sid);
    bytes
}

/// The SID that [`descriptor`] made such a descriptor of.
pub fn described(bytes: &[u8]) -> Option<String> {
    let sid = bytes.get(36..)?;
    (descriptor(sid) == bytes).then(|| text(sid)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_has_the_bytes_that_windows_gives_it() {
        // BUILTIN\Administrators, as the page "Well-known SID structures" and every dump have it.
        let bytes = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
        assert_eq!(parse("S-1-5-32-544").unwrap(), bytes);
        assert_eq!(text(&bytes).as_deref(), Some("S-1-5-32-544"));
        for wrong in ["", "S-1", "S-2-5-1", "S-1-5", "S-1-5-x", "Administrators", "S-1-5-4294967296"] {
            assert!(parse(wrong).unwrap_err().contains("is no SID"), "{wrong}");
        }
    }

    #[test]
    fn a_users_descriptor_is_one_that_the_engine_reads() {
        let one = descriptor(&parse("S-1-5-21-1-2-3-1001").unwrap());
        assert_eq!(one.len(), 20 + 8 + 8 + 28);
        assert_eq!(described(&one).as_deref(), Some("S-1-5-21-1-2-3-1001"));
        assert_eq!(described(&one[..one.len() - 1]), None);
    }
}
