//! Who may open a device: security descriptor strings, and tokens against them ("Security Descriptor String Format", "ACE
//! Strings", "Controlling Device Access").

/// Who opens a device, as the token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// A service of the system.
    System,
    /// A member of the administrators, elevated.
    Administrator,
    /// Anybody else who has logged on.
    Ordinary,
}

impl User {
    /// The SIDs of the token, in the notation of descriptor strings.
    fn sids(self) -> &'static [&'static str] {
        match self {
            User::System => &["SY", "BA", "WD", "AU"],
            User::Administrator => &["BA", "BU", "WD", "AU", "IU"],
            User::Ordinary => &["BU", "WD", "AU", "IU"],
        }
    }
}

/// `FILE_GENERIC_READ`, `_WRITE` and `_EXECUTE`, `FILE_ALL_ACCESS`: what the generic rights mean for devices.
const FILE_GENERIC_READ: u32 = 0x0012_0089;
const FILE_GENERIC_WRITE: u32 = 0x0012_0116;
const FILE_GENERIC_EXECUTE: u32 = 0x0012_00A0;
const FILE_ALL_ACCESS: u32 = 0x001F_01FF;
/// What a program asks for that opens a device to read and write.
pub(crate) const READ_AND_WRITE: u32 = FILE_GENERIC_READ | FILE_GENERIC_WRITE;

/// The access control list of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Security(Option<Vec<Entry>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    allows: bool,
    rights: u32,
    sid: String,
}

impl Security {
    /// That of a device that was created without one: everybody may read and write.
    pub fn of_devices() -> Security {
        Security::parse("D:(A;;GRGWGX;;;WD)(A;;GA;;;SY)(A;;GA;;;BA)").expect("it is well-formed")
    }

    /// `None` if the text is no descriptor string.
    pub fn parse(text: &str) -> Option<Security> {
        let mut list = None;
        let mut rest = text;
        if rest.is_empty() {
            return None;
        }
        while let Some((part, after)) = rest.split_once(':') {
            // The next part's letter stands before the next colon; neither flags nor entries have colons.
            let end = after.find(':').map_or(after.len(), |colon| colon.saturating_sub(1));
            let (value, next) = after.split_at_checked(end)?;
            match part {
                "O" | "G" => is_sid(value).then_some(())?,
                "D" => list = Some(entries(value)?),
                // Auditing and integrity labels: the lab has neither.
                "S" => _ = entries(value)?,
                _ => return None,
            }
            rest = next;
        }
        rest.is_empty().then_some(Security(list))
    }

    /// Whether a user is granted all of these rights. No list at all grants everything.
    pub fn grants(&self, user: User, wanted: u32) -> bool {
        let Some(entries) = &self.0 else { return true };
        let mut missing = wanted;
        for entry in entries.iter().filter(|entry| user.sids().contains(&entry.sid.as_str())) {
            if !entry.allows && entry.rights & missing != 0 {
                return false;
            }
            missing &= !entry.rights;
            if missing == 0 {
                return true;
            }
        }
        missing == 0
    }
}

fn is_sid(text: &str) -> bool {
    let numeric = || text.strip_prefix("S-1-").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '-'));
    (text.len() == 2 && text.chars().all(|c| c.is_ascii_uppercase())) || numeric()
}

/// The entries of a list, behind its flags. Those that only children inherit say nothing of the device, and are left out like those of
/// kinds that neither allow nor deny.
fn entries(text: &str) -> Option<Vec<Entry>> {
    let begin = text.find('(').unwrap_or(text.len());
    let (flags, mut rest) = text.split_at(begin);
    if !flags.chars().all(|c| "PARI".contains(c)) {
        return None;
    }
    let mut entries = Vec::new();
    while let Some(after) = rest.strip_prefix('(') {
        let (entry, next) = after.split_once(')')?;
        let [kind, flags, rights, _, _, sid, ..] = entry.split(';').collect::<Vec<_>>()[..] else { return None };
        if !is_sid(sid) {
            return None;
        }
        match kind {
            "A" | "D" if !flags.contains("IO") => {
                entries.push(Entry { allows: kind == "A", rights: access(rights)?, sid: sid.to_string() });
            }
            "A" | "D" | "AU" | "ML" => {}
            _ => return None,
        }
        rest = next;
    }
    rest.is_empty().then_some(entries)
}

/// An access mask.
fn access(text: &str) -> Option<u32> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u32::from_str_radix(hex, 16).ok();
    }
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let mut mask = 0;
    for at in (0..text.len()).step_by(2) {
        mask |= match &text[at..at + 2] {
            "GA" | "FA" => FILE_ALL_ACCESS,
            "GR" | "FR" => FILE_GENERIC_READ,
            "GW" | "FW" => FILE_GENERIC_WRITE,
            "GX" | "FX" => FILE_GENERIC_EXECUTE,
            "RC" => 0x2_0000,
            "SD" => 0x1_0000,
            "WD" => 0x4_0000,
            "WO" => 0x8_0000,
            _ => return None,
        };
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(text: &str) -> [bool; 3] {
        let security = Security::parse(text).unwrap();
        [User::System, User::Administrator, User::Ordinary].map(|user| security.grants(user, READ_AND_WRITE))
    }

    #[test]
    fn an_entry_grants_its_rights_to_its_own() {
        assert_eq!(granted("D:P(A;;GA;;;SY)(A;;GA;;;BA)"), [true, true, false]);
        assert_eq!(granted("D:P(A;;GA;;;SY)"), [true, false, false]);
        assert_eq!(granted("D:P(A;;GA;;;SY)(A;;GR;;;WD)"), [true, false, false]);
        assert_eq!(granted("D:(A;;GR;;;WD)(A;;GW;;;AU)"), [true; 3]);
        assert_eq!(granted("D:P(A;;0x1f01ff;;;WD)"), [true; 3]);
        assert_eq!(granted("D:P"), [false; 3]);
        assert_eq!(granted("O:BAG:SY"), [true; 3], "no list");
    }

    #[test]
    fn entries_decide_in_their_order() {
        assert_eq!(granted("D:(D;;GW;;;IU)(A;;GA;;;WD)"), [true, false, false]);
        assert_eq!(granted("D:(A;;GA;;;WD)(D;;GW;;;IU)"), [true; 3]);
        assert_eq!(granted("D:(A;OICIIO;GA;;;WD)"), [false; 3], "for children only");
    }

    #[test]
    fn what_is_no_descriptor_string_is_refused() {
        for text in
            ["", "(A;;GA;;;SY)", "D:(A;;GA;;;SY", "D:(A;;GA;SY)", "D:(A;;G;;;SY)", "D:(X;;GA;;;SY)", "D:()", "Q:SY"]
        {
            assert_eq!(Security::parse(text), None, "{text}");
        }
        assert!(Security::parse("O:SYG:S-1-5-32-544D:P(A;;GA;;;SY)S:(ML;;NW;;;LW)").is_some());
    }
}
