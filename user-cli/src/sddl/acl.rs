//! Access control lists and their entries.

use super::{Result, SddlError, condition, sid};

/// `SE_DACL_PROTECTED`, `SE_DACL_AUTO_INHERIT_REQ`, `SE_DACL_AUTO_INHERITED`; those of the SACL are one bit higher.
const CONTROL: [(u16, &str); 3] = [(0x1000, "P"), (0x100, "AR"), (0x400, "AI")];
/// A list that is there and null.
const NO_ACCESS_CONTROL: &str = "NO_ACCESS_CONTROL";
/// `ACL_REVISION`.
const REVISION: u8 = 2;

const KINDS: [(u8, &str); 6] = [(0, "A"), (1, "D"), (2, "AU"), (9, "XA"), (10, "XD"), (17, "ML")];
const MANDATORY_LABEL: u8 = 17;

/// `*_ACE` flags (winnt.h).
const FLAGS: [(u32, &str); 7] =
    [(0x1, "OI"), (0x2, "CI"), (0x4, "NP"), (0x8, "IO"), (0x10, "ID"), (0x40, "SA"), (0x80, "FA")];

const RIGHTS: [(u32, &str); 17] = [
    (0x1, "CC"),
    (0x2, "DC"),
    (0x4, "LC"),
    (0x8, "SW"),
    (0x10, "RP"),
    (0x20, "WP"),
    (0x40, "DT"),
    (0x80, "LO"),
    (0x100, "CR"),
    (0x1_0000, "SD"),
    (0x2_0000, "RC"),
    (0x4_0000, "WD"),
    (0x8_0000, "WO"),
    (0x1000_0000, "GA"),
    (0x2000_0000, "GX"),
    (0x4000_0000, "GW"),
    (0x8000_0000, "GR"),
];

/// `SYSTEM_MANDATORY_LABEL_*`.
const LABEL_RIGHTS: [(u32, &str); 3] = [(0x1, "NW"), (0x2, "NR"), (0x4, "NX")];

pub struct Acl {
    /// The bits that a DACL has.
    pub control: u16,
    /// `None`: null.
    entries: Option<Vec<Entry>>,
}

struct Entry {
    kind: u8,
    flags: u8,
    mask: u32,
    sid: Vec<u8>,
    /// Of a conditional entry, as bytes.
    condition: Option<Vec<u8>>,
}

impl Acl {
    /// The list that a text begins with, and what follows it.
    pub fn parse(text: &str) -> Result<(Acl, &str)> {
        let mut rest = text;
        let mut control = 0;
        loop {
            if let Some(after) = rest.strip_prefix(NO_ACCESS_CONTROL) {
                return Ok((Acl { control, entries: None }, after));
            }
            let Some((bit, name)) = CONTROL.iter().find(|(_, name)| rest.starts_with(name)) else { break };
            control |= bit;
            rest = &rest[name.len()..];
        }
        let mut entries = Vec::new();
        while rest.starts_with('(') {
            let end = closing(rest).ok_or_else(|| SddlError::new(format!("'{rest}' is not closed")))?;
            entries.push(Entry::parse(&rest[1..end])?);
            rest = &rest[end + 1..];
        }
        Ok((Acl { control, entries: Some(entries) }, rest))
    }

    pub fn text(&self) -> Result<String> {
        let mut text = names(&CONTROL, self.control).0;
        match &self.entries {
            None => text += NO_ACCESS_CONTROL,
            Some(entries) => {
                for entry in entries {
                    text = text + "(" + &entry.text()? + ")";
                }
            }
        }
        Ok(text)
    }

    /// `None` for a list that is null.
    pub fn to_bytes(&self) -> Result<Option<Vec<u8>>> {
        let Some(entries) = &self.entries else { return Ok(None) };
        let entry_bytes = entries.iter().map(Entry::to_bytes).collect::<Result<Vec<_>>>()?.concat();
        let mut bytes = vec![REVISION, 0];
        bytes.extend(length(8 + entry_bytes.len())?.to_le_bytes());
        bytes.extend(length(entries.len())?.to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(entry_bytes);
        Ok(Some(bytes))
    }

    /// From the control word, a DACL's bits, and what stands at the offset of the list.
    pub fn read(control: u16, bytes: Option<&[u8]>) -> Result<Acl> {
        let Some(bytes) = bytes else { return Ok(Acl { control, entries: None }) };
        let broken = || SddlError::new("a list of entries that is not whole");
        let header = bytes.first_chunk::<8>().ok_or_else(broken)?;
        let size = usize::from(u16::from_le_bytes([header[2], header[3]]));
        let mut rest = bytes.get(8..size).ok_or_else(broken)?;
        let mut entries = Vec::new();
        for _ in 0..u16::from_le_bytes([header[4], header[5]]) {
            let size = rest.first_chunk::<4>().map(|header| usize::from(u16::from_le_bytes([header[2], header[3]])));
            let (entry, after) = size.and_then(|size| rest.split_at_checked(size)).ok_or_else(broken)?;
            entries.push(Entry::read(entry).ok_or_else(broken)?);
            rest = after;
        }
        Ok(Acl { control, entries: Some(entries) })
    }
}

impl Entry {
    fn parse(text: &str) -> Result<Entry> {
        let parts: Vec<&str> = text.splitn(7, ';').collect();
        let [kind, flags, rights, "", "", trustee, condition @ ..] = &parts[..] else {
            return Err(SddlError::new(format!("'({text})' is no entry that can be read here")));
        };
        let unknown = |what: &str| SddlError::new(format!("'{what}' in '({text})'"));
        let (kind, _) = KINDS.iter().find(|(_, name)| name == kind).ok_or_else(|| unknown(kind))?;
        let mask = match rights.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => bits(rights_of(*kind), rights),
        };
        let (sid, rest) = sid::take(trustee).ok_or_else(|| unknown(trustee))?;
        if !rest.is_empty() || condition.is_empty() == is_conditional(*kind) {
            return Err(unknown(trustee));
        }
        Ok(Entry {
            kind: *kind,
            flags: bits(&FLAGS, flags).and_then(|flags| flags.try_into().ok()).ok_or_else(|| unknown(flags))?,
            mask: mask.ok_or_else(|| unknown(rights))?,
            sid,
            condition: condition.first().map(|text| condition::parse(text)).transpose()?,
        })
    }

    fn text(&self) -> Result<String> {
        let (_, kind) = KINDS
            .iter()
            .find(|(kind, _)| *kind == self.kind)
            .ok_or_else(|| SddlError::new(format!("an entry of type {}", self.kind)))?;
        let (flags, _) = names(&FLAGS, self.flags.into());
        let rights = match names(rights_of(self.kind), self.mask) {
            (rights, 0) => rights,
            _ => format!("{:#x}", self.mask),
        };
        let trustee = sid::short(&self.sid).ok_or_else(|| SddlError::new("a SID that is not whole"))?;
        let condition = match &self.condition {
            Some(bytes) => format!(";{}", condition::text(bytes)?),
            None => String::new(),
        };
        Ok(format!("{kind};{flags};{rights};;;{trustee}{condition}"))
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let condition = self.condition.as_deref().unwrap_or_default();
        let mut bytes = vec![self.kind, self.flags];
        bytes.extend(length(8 + self.sid.len() + condition.len())?.to_le_bytes());
        bytes.extend(self.mask.to_le_bytes());
        bytes.extend(&self.sid);
        bytes.extend(condition);
        Ok(bytes)
    }

    fn read(bytes: &[u8]) -> Option<Entry> {
        let (head, rest) = bytes.split_first_chunk::<8>()?;
        let sid = sid::prefix(rest)?;
        Some(Entry {
            kind: head[0],
            flags: head[1],
            mask: u32::from_le_bytes([head[4], head[5], head[6], head[7]]),
            sid: sid.to_vec(),
            condition: is_conditional(head[0]).then(|| rest[sid.len()..].to_vec()),
        })
    }
}

fn is_conditional(kind: u8) -> bool {
    matches!(kind, 9 | 10)
}

fn rights_of(kind: u8) -> &'static [(u32, &'static str)] {
    if kind == MANDATORY_LABEL { &LABEL_RIGHTS } else { &RIGHTS }
}

fn length(length: usize) -> Result<u16> {
    u16::try_from(length).map_err(|_| SddlError::new("a list of entries that is too long"))
}

/// Two letters a bit.
fn bits(names: &[(u32, &str)], text: &str) -> Option<u32> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bit = |pair: &[u8; 2]| names.iter().find(|(_, name)| name.as_bytes() == pair).map(|(bit, _)| *bit);
    rest.is_empty().then(|| pairs.iter().try_fold(0, |bits, pair| Some(bits | bit(pair)?)))?
}

/// The names of the bits, and what has none.
fn names<T>(names: &[(T, &str)], bits: T) -> (String, T)
where
    T: Copy + PartialEq + Default + std::ops::BitAnd<Output = T> + std::ops::Not<Output = T>,
{
    names.iter().fold((String::new(), bits), |(text, rest), (bit, name)| match bits & *bit == T::default() {
        true => (text, rest),
        false => (text + name, rest & !*bit),
    })
}

/// Where the parenthesis that a text begins with is closed. Parentheses in quotes do not count.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut quoted = false;
    text.bytes().position(|byte| {
        match byte {
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}
