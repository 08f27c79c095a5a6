//! Security identifiers.

/// Two-letter names (sddl.h), without those that mean an account of the machine or its domain: these have a SID that only it knows.
const NAMES: &[(&str, &str)] = &[
    ("AA", "S-1-5-32-579"),
    ("AC", "S-1-15-2-1"),
    ("AN", "S-1-5-7"),
    ("AS", "S-1-18-1"),
    ("AU", "S-1-5-11"),
    ("BA", "S-1-5-32-544"),
    ("BG", "S-1-5-32-546"),
    ("BO", "S-1-5-32-551"),
    ("BU", "S-1-5-32-545"),
    ("CD", "S-1-5-32-574"),
    ("CG", "S-1-3-1"),
    ("CO", "S-1-3-0"),
    ("CY", "S-1-5-32-569"),
    ("ED", "S-1-5-9"),
    ("ER", "S-1-5-32-573"),
    ("ES", "S-1-5-32-576"),
    ("HA", "S-1-5-32-578"),
    ("HI", "S-1-16-12288"),
    ("IS", "S-1-5-32-568"),
    ("IU", "S-1-5-4"),
    ("LS", "S-1-5-19"),
    ("LU", "S-1-5-32-559"),
    ("LW", "S-1-16-4096"),
    ("ME", "S-1-16-8192"),
    ("MP", "S-1-16-8448"),
    ("MS", "S-1-5-32-577"),
    ("MU", "S-1-5-32-558"),
    ("NO", "S-1-5-32-556"),
    ("NS", "S-1-5-20"),
    ("NU", "S-1-5-2"),
    ("OW", "S-1-3-4"),
    ("PO", "S-1-5-32-550"),
    ("PS", "S-1-5-10"),
    ("PU", "S-1-5-32-547"),
    ("RA", "S-1-5-32-575"),
    ("RC", "S-1-5-12"),
    ("RD", "S-1-5-32-555"),
    ("RE", "S-1-5-32-552"),
    ("RM", "S-1-5-32-580"),
    ("RU", "S-1-5-32-554"),
    ("SI", "S-1-16-16384"),
    ("SO", "S-1-5-32-549"),
    ("SS", "S-1-18-2"),
    ("SU", "S-1-5-6"),
    ("SY", "S-1-5-18"),
    ("UD", "S-1-5-84-0-0-0-0-0"),
    ("WD", "S-1-1-0"),
    ("WR", "S-1-5-33"),
];

/// The SID that a text begins with, and what follows it.
pub fn take(text: &str) -> Option<(Vec<u8>, &str)> {
    let Some(numbers) = text.strip_prefix("S-1-") else {
        let (name, rest) = text.split_at_checked(2)?;
        let (_, sid) = NAMES.iter().find(|(known, _)| *known == name)?;
        return Some((take(sid)?.0, rest));
    };
    let hexadecimal = numbers.strip_prefix("0x");
    let (authority, rest) = match hexadecimal {
        Some(digits) => split(digits, |byte| byte.is_ascii_hexdigit()),
        None => split(numbers, |byte| byte.is_ascii_digit()),
    };
    let authority = u64::from_str_radix(authority, if hexadecimal.is_some() { 16 } else { 10 }).ok()?;
    let [0, 0, authority @ ..] = authority.to_be_bytes() else { return None };
    let mut sid = vec![1, 0];
    sid.extend(authority);
    let mut rest = rest;
    while let Some(part) = rest.strip_prefix('-') {
        let (number, after) = split(part, |byte| byte.is_ascii_digit());
        sid.extend(number.parse::<u32>().ok()?.to_le_bytes());
        sid[1] += 1;
        rest = after;
    }
    (1..=15).contains(&sid[1]).then_some((sid, rest))
}

fn split(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    text.split_at(text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len()))
}

/// The SID that bytes begin with.
pub fn prefix(bytes: &[u8]) -> Option<&[u8]> {
    let (revision, count) = (*bytes.first()?, *bytes.get(1)?);
    (revision == 1 && count <= 15).then(|| bytes.get(..8 + 4 * usize::from(count)))?
}

/// In numbers.
pub fn text(bytes: &[u8]) -> Option<String> {
    let sid = prefix(bytes).filter(|sid| sid.len() == bytes.len())?;
    let (parts, _) = sid[8..].as_chunks::<4>();
    let authority = sid[2..8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    // As `ConvertSidToStringSid` writes it.
    let authority = if authority > u64::from(u32::MAX) { format!("{authority:#x}") } else { authority.to_string() };
    Some(parts.iter().fold(format!("S-1-{authority}"), |text, part| format!("{text}-{}", u32::from_le_bytes(*part))))
}

/// By its two-letter name, if it has one.
pub fn short(bytes: &[u8]) -> Option<String> {
    let text = text(bytes)?;
    Some(NAMES.iter().find(|(_, sid)| *sid == text).map_or(text, |(name, _)| (*name).to_owned()))
}
