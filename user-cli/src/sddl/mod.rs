//! Security descriptors and identifiers as text, as filter conditions on users and packages hold them.
//!
//! The text form is that of documentation pages "Security Descriptor String Format", "ACE Strings" and "SID Strings", the binary one that of
//! "SECURITY_DESCRIPTOR" (self-relative), "ACL" and "SID"; conditional entries are those of [MS-DTYP] 2.4.4.17.

mod acl;
mod condition;
mod sid;

use acl::Acl;

/// Where a text stops being what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no security descriptor: {0}")]
pub struct SddlError(String);

impl SddlError {
    fn new(what: impl Into<String>) -> SddlError {
        SddlError(what.into())
    }
}

type Result<T> = std::result::Result<T, SddlError>;

/// `SE_DACL_PRESENT`, `SE_SACL_PRESENT`, `SE_SELF_RELATIVE` (winnt.h).
const DACL_PRESENT: u16 = 0x4;
const SACL_PRESENT: u16 = 0x10;
const SELF_RELATIVE: u16 = 0x8000;
const HEADER: usize = 20;

/// The binary form of a security identifier: `S-1-5-18`, or `SY`.
pub fn parse_sid(text: &str) -> Option<Vec<u8>> {
    let (sid, rest) = sid::take(text)?;
    rest.is_empty().then_some(sid)
}

/// The text of a security identifier, in numbers.
pub fn sid_text(bytes: &[u8]) -> Option<String> {
    sid::text(bytes)
}

/// The self-relative security descriptor of a text.
pub fn parse(text: &str) -> Result<Vec<u8>> {
    let mut rest = text;
    let [mut owner, mut group, mut dacl, mut sacl] = [const { None::<Vec<u8>> }; 4];
    let mut control = SELF_RELATIVE;
    while let Some((part, after)) = rest.split_once(':') {
        rest = match part {
            "O" | "G" => {
                let (sid, after) = sid::take(after).ok_or_else(|| SddlError::new(format!("'{after}' has no SID")))?;
                let slot = if part == "O" { &mut owner } else { &mut group };
                if slot.replace(sid).is_some() {
                    return Err(SddlError::new(format!("two {part}:")));
                }
                after
            }
            "D" | "S" => {
                let (acl, after) = Acl::parse(after)?;
                let (slot, present, shift) = match part {
                    "D" => (&mut dacl, DACL_PRESENT, 0),
                    _ => (&mut sacl, SACL_PRESENT, 1),
                };
                if control & present != 0 {
                    return Err(SddlError::new(format!("two {part}:")));
                }
                control |= present | acl.control << shift;
                *slot = acl.to_bytes()?;
                after
            }
            _ => return Err(SddlError::new(format!("'{part}:'"))),
        };
    }
    if !rest.is_empty() {
        return Err(SddlError::new(format!("'{rest}'")));
    }
    let mut descriptor = vec![1, 0];
    descriptor.extend(control.to_le_bytes());
    descriptor.resize(HEADER, 0);
    for (field, part) in [(12, &sacl), (16, &dacl), (4, &owner), (8, &group)] {
        if let Some(part) = part {
            let offset = u32::try_from(descriptor.len()).map_err(|_| SddlError::new("too long"))?;
            descriptor[field..field + 4].copy_from_slice(&offset.to_le_bytes());
            descriptor.extend(part);
        }
    }
    Ok(descriptor)
}

/// The text of a self-relative security descriptor.
pub fn text(descriptor: &[u8]) -> Result<String> {
    let broken = || SddlError::new("not a whole self-relative one");
    let header = descriptor.first_chunk::<HEADER>().ok_or_else(broken)?;
    let control = u16::from_le_bytes([header[2], header[3]]);
    if header[0] != 1 || control & SELF_RELATIVE == 0 {
        return Err(broken());
    }
    let part = |field: usize| {
        let offset = u32::from_le_bytes([header[field], header[field + 1], header[field + 2], header[field + 3]]);
        match usize::try_from(offset).unwrap_or(usize::MAX) {
            0 => Ok(None),
            offset => descriptor.get(offset..).map(Some).ok_or_else(broken),
        }
    };
    let mut text = String::new();
    for (name, field) in [("O:", 4), ("G:", 8)] {
        if let Some(bytes) = part(field)? {
            let sid = sid::prefix(bytes).ok_or_else(broken)?;
            text = text + name + &sid::short(sid).ok_or_else(broken)?;
        }
    }
    for (name, field, present, shift) in [("D:", 16, DACL_PRESENT, 0), ("S:", 12, SACL_PRESENT, 1)] {
        if control & present != 0 {
            text = text + name + &Acl::read(control >> shift, part(field)?)?.text()?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_real_filters_are_the_same_again() {
        for sddl in [
            "O:SYG:SYD:(A;;CCRC;;;S-1-5-80-3055155277-3816794035-3994065555-2874236192-2193176987)",
            "O:SYG:SYD:(A;;CCRC;;;SY)(A;;CCRC;;;AC)",
            "O:LSD:(A;;CC;;;S-1-15-3-1)(A;;CC;;;WD)(A;;CC;;;AN)",
            "D:(A;NP;CC;;;S-1-5-80-1)(A;NP;CC;;;S-1-15-2-3-4)S:NO_ACCESS_CONTROL",
            r#"O:SYG:SYD:(XA;;CC;;;WD;(WIN://SYSAPPID Contains "Microsoft.WindowsStore_8wekyb3d8bbwe"))(A;;CC;;;S-1-15-3-1)"#,
            "D:PAI(D;OICIIO;GA;;;BU)(A;;0x1301bf;;;S-1-5-21-1-2-3-1001)S:AI(AU;SAFA;CCDC;;;WD)(ML;;NW;;;LW)",
            "D:NO_ACCESS_CONTROL",
            "D:",
            "",
        ] {
            let bytes = parse(sddl).unwrap();
            assert_eq!(text(&bytes).unwrap(), sddl);
        }
    }

    #[test]
    fn the_binary_form_is_the_documented_one() {
        // Owner SYSTEM, one entry: allow, right 0x20001, SERVICE (S-1-5-6).
        let expected = [
            1, 0, 0x04, 0x80, 48, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, //
            2, 0, 28, 0, 1, 0, 0, 0, 0, 0, 20, 0, 1, 0, 2, 0, 1, 1, 0, 0, 0, 0, 0, 5, 6, 0, 0, 0, //
            1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0,
        ];
        assert_eq!(parse("O:SYD:(A;;CCRC;;;SU)").unwrap(), expected);
    }

    #[test]
    fn what_is_no_descriptor_is_told() {
        for (sddl, part) in [
            ("X:SY", "'X:'"),
            ("O:", "has no SID"),
            ("O:QQ", "has no SID"),
            ("O:SYO:SY", "two O:"),
            ("D:(A;;CC;;;SY)D:(A;;CC;;;SY)", "two D:"),
            ("D:(A;;CC;;;SY", "(A;;CC;;;SY"),
            ("D:(A;;QQ;;;SY)", "QQ"),
            ("D:(A;;CC;;;XY)", "XY"),
            ("D:(OA;;CC;4c164200-20c0-11d0-a768-00aa006e0529;;SY)", "OA"),
            ("D:(A;QQ;CC;;;SY)", "QQ"),
            ("D:(A;;CC;;SY)", "A;;CC;;SY"),
            ("D:(XA;;CC;;;WD;(A Contains))", "A Contains"),
        ] {
            let error = parse(sddl).unwrap_err().to_string();
            assert!(error.contains(part), "{sddl}: {error}");
        }
        let whole = parse("O:SYG:SYD:(A;;CC;;;SY)(XA;;CC;;;WD;(a == 1))").unwrap();
        for length in 0..whole.len() {
            assert!(text(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn identifiers_have_two_forms() {
        for (text, bytes) in [
            ("S-1-5-18", &[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0][..]),
            ("S-1-15-3-1", &[1, 2, 0, 0, 0, 0, 0, 15, 3, 0, 0, 0, 1, 0, 0, 0]),
            ("S-1-0xfedcba987654-7", &[1, 1, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 7, 0, 0, 0]),
        ] {
            assert_eq!(parse_sid(text).as_deref(), Some(bytes), "{text}");
            assert_eq!(sid_text(bytes).as_deref(), Some(text));
            assert_eq!(sid_text(&bytes[1..]), None);
        }
        assert_eq!(parse_sid("SY"), parse_sid("S-1-5-18"));
        for text in ["", "S-1", "S-1-", "S-2-5-18", "S-1-5-18x", "S-1-5-4294967296", "S-1-5--1", "ZZ"] {
            assert_eq!(parse_sid(text), None, "{text}");
        }
    }
}
