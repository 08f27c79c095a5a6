//! Security identifiers, and the descriptors that conditions on users hold, as people write them.

use crate::sddl;

/// A SID's bytes, of `S-1-5-...`.
pub fn parse(text: &str) -> Result<Vec<u8>, String> {
    sddl::parse_sid(text)
        .ok_or_else(|| format!("'{text}' is no SID: write S-1-5-32-544, for example; `whoami /user` tells one's own"))
}

/// The text of a SID, if it is one.
pub fn text(sid: &[u8]) -> Option<String> {
    sddl::sid_text(sid)
}

const ONE: (&str, &str) = ("D:(A;;CC;;;", ")");

/// The security descriptor of a text: for a SID one that grants `FWP_ACTRL_MATCH_FILTER` to it and to nobody else.
pub fn descriptor(text: &str) -> Result<Vec<u8>, String> {
    let parsed = match text.contains(':') {
        true => sddl::parse(text),
        false => parse(text)
            .and_then(|sid| self::text(&sid).ok_or_else(|| format!("'{text}' is no SID")))
            .map(|sid| sddl::parse(&format!("{}{sid}{}", ONE.0, ONE.1)))?,
    };
    parsed.map_err(|error| format!("'{text}': {error}"))
}

/// The text that [`descriptor`] reads these bytes from, if there is one.
pub fn described(bytes: &[u8]) -> Option<String> {
    let text = sddl::text(bytes).ok().filter(|text| descriptor(text).as_deref() == Ok(bytes))?;
    let one =
        text.strip_prefix(ONE.0).and_then(|rest| rest.strip_suffix(ONE.1)).filter(|sid| !sid.contains([';', ')']));
    let sid = one.and_then(|sid| self::text(&sddl::parse_sid(sid)?));
    Some(sid.unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_stands_for_the_descriptor_that_matches_it_alone() {
        let one = descriptor("S-1-5-21-1-2-3-1001").unwrap();
        assert_eq!(one.len(), 20 + 8 + 8 + 28);
        assert_eq!(described(&one).as_deref(), Some("S-1-5-21-1-2-3-1001"));
        assert_eq!(descriptor("D:(A;;CC;;;S-1-5-21-1-2-3-1001)").unwrap(), one);
        assert_eq!(described(&one[..one.len() - 1]), None);
        assert_eq!(described(&descriptor("SY").unwrap()).as_deref(), Some("S-1-5-18"));
    }

    #[test]
    fn other_descriptors_are_text_too() {
        let two = "O:LSD:(A;;CC;;;SY)(A;;CC;;;WD)";
        assert_eq!(described(&descriptor(two).unwrap()).as_deref(), Some(two));
        for wrong in ["", "me", "S-1-5-x", "D:(A;;CC"] {
            assert!(descriptor(wrong).is_err(), "{wrong}");
        }
    }
}
