//! Tokens against security descriptors: how conditions on users and packages match (documentation pages "FWPM_FILTER_CONDITION0",
//! "SECURITY_DESCRIPTOR", "ACL", "ACCESS_ALLOWED_ACE").

use alloc::boxed::Box;
use alloc::vec::Vec;

/// `FWP_ACTRL_MATCH_FILTER` (fwpmu.h): the right that a descriptor grants to those it matches.
const MATCH_FILTER: u32 = 0x1;
/// `SE_DACL_PRESENT`, `SE_SELF_RELATIVE`.
const DACL_PRESENT: u16 = 0x4;
const SELF_RELATIVE: u16 = 0x8000;
const ACCESS_ALLOWED: u8 = 0;
const ACCESS_DENIED: u8 = 1;
/// `INHERIT_ONLY_ACE`: says nothing about this object.
const INHERIT_ONLY: u8 = 0x8;

/// The part of a self-relative security descriptor that decides whether a token matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccessList(Option<Box<[Entry]>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    allows: bool,
    sid: Box<[u8]>,
}

impl AccessList {
    /// `None` if the bytes are no self-relative security descriptor. Entries other than plain allow and deny ones match nobody.
    pub(crate) fn parse(descriptor: &[u8]) -> Option<Self> {
        let control = u16_at(descriptor, 2)?;
        if descriptor.first() != Some(&1) || control & SELF_RELATIVE == 0 {
            return None;
        }
        let offset = u32_at(descriptor, 16)?;
        if control & DACL_PRESENT == 0 || offset == 0 {
            return Some(Self(None));
        }
        let list = descriptor.get(usize::try_from(offset).ok()?..)?;
        let list = list.get(..usize::from(u16_at(list, 2)?))?;
        let mut rest = list.get(8..)?;
        let mut entries = Vec::new();
        for _ in 0..u16_at(list, 4)? {
            let size = usize::from(u16_at(rest, 2)?);
            let entry = rest.get(..size)?;
            let (kind, flags) = (*entry.first()?, *entry.get(1)?);
            if matches!(kind, ACCESS_ALLOWED | ACCESS_DENIED) {
                let mask = u32_at(entry, 4)?;
                let sid = entry.get(8..).filter(|sid| sid_size(sid).is_some_and(|size| size <= sid.len()))?;
                if flags & INHERIT_ONLY == 0 && mask & MATCH_FILTER != 0 {
                    let sid = sid.get(..sid_size(sid)?)?;
                    entries.push(Entry { allows: kind == ACCESS_ALLOWED, sid: sid.into() });
                }
            }
            rest = rest.get(size..)?;
        }
        Some(Self(Some(entries.into())))
    }

    /// Whether a token with these SIDs is granted the right: the first entry that names one of them decides. No list at all grants everything.
    pub(crate) fn grants(&self, sids: &[&[u8]]) -> bool {
        let Some(entries) = &self.0 else { return true };
        entries.iter().find(|entry| sids.contains(&&*entry.sid)).is_some_and(|entry| entry.allows)
    }
}

/// Whether the bytes are one whole SID.
pub(crate) fn is_sid(bytes: &[u8]) -> bool {
    sid_size(bytes) == Some(bytes.len())
}

fn sid_size(bytes: &[u8]) -> Option<usize> {
    let (revision, count) = (*bytes.first()?, *bytes.get(1)?);
    (revision == 1 && count <= 15).then(|| 8 + 4 * usize::from(count))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..offset + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset + 4)?.try_into().ok().map(u32::from_le_bytes)
}
