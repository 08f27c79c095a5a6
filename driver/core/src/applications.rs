//! The programs that own flows and operations: a table from paths to numbers that fit into a flow's slot.
//!
//! Nothing is ever removed, so a number means the same path as long as the driver stays. The caller locks.

/// The longest path that is kept, in bytes. Of a longer one the end is kept, which has the file's name.
pub const LONGEST_PATH: usize = 520;

/// How many places are tried for a path. It bounds the time under the caller's lock.
const PROBES: usize = 32;

/// A place in the table.
#[derive(Debug, Clone, Copy)]
pub struct Application {
    hash: u64,
    /// Bytes of `path` that are used; zero if the place is free.
    length: u16,
    path: [u8; LONGEST_PATH],
}

impl Application {
    /// A free place.
    pub const FREE: Application = Application { hash: 0, length: 0, path: [0; LONGEST_PATH] };

    fn path(&self) -> &[u8] {
        self.path.get(..self.length.into()).unwrap_or_default()
    }
}

/// The table, over places that the caller supplies: [`Application::FREE`] at the beginning.
pub struct Applications<S>(S);

impl<S: AsRef<[Application]> + AsMut<[Application]>> Applications<S> {
    pub const fn new(places: S) -> Self {
        Applications(places)
    }

    /// The number of the program at `path`, UTF-16LE with or without a terminator: from 1 up. Zero if there is no path, or no room for
    /// it. IRQL: as the caller's lock.
    pub fn id(&mut self, path: &[u8]) -> u32 {
        let path = path.strip_suffix(&[0, 0]).filter(|path| path.len() % 2 == 0).unwrap_or(path);
        let kept = match path.len().checked_sub(LONGEST_PATH) {
            Some(beyond) => &path[beyond..],
            None => path,
        };
        // Two paths that differ only where it is not kept are two programs that look the same.
        let hash = hash(path);
        let places = self.0.as_mut();
        if kept.is_empty() || places.is_empty() {
            return 0;
        }
        let first = hash as usize % places.len();
        for probe in 0..PROBES.min(places.len()) {
            let index = (first + probe) % places.len();
            let place = &mut places[index];
            if place.length == 0 {
                place.hash = hash;
                place.length = kept.len() as u16;
                place.path[..kept.len()].copy_from_slice(kept);
            }
            if place.hash == hash && place.path() == kept {
                return index as u32 + 1;
            }
        }
        0
    }

    /// The path of program `id`, or the end of it, without a terminator.
    pub fn path(&self, id: u32) -> Option<&[u8]> {
        let place = self.0.as_ref().get((id as usize).checked_sub(1)?)?;
        Some(place.path()).filter(|path| !path.is_empty())
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn table<const N: usize>() -> Applications<[Application; N]> {
        Applications::new([Application::FREE; N])
    }

    #[test]
    fn a_path_has_one_number_and_a_number_its_path() {
        let mut table = table::<8>();
        let (curl, ssh) = (utf16(r"\device\harddiskvolume3\curl.exe"), utf16(r"\device\harddiskvolume3\ssh.exe"));
        let ids = [table.id(&curl), table.id(&ssh)];
        assert!(ids[0] != ids[1] && !ids.contains(&0));
        assert_eq!([table.id(&curl), table.id(&ssh)], ids);
        assert_eq!(table.path(ids[0]), Some(curl.as_slice()));
        assert_eq!(table.path(ids[1]), Some(ssh.as_slice()));
    }

    #[test]
    fn the_terminator_is_no_part_of_a_path() {
        let mut table = table::<4>();
        let id = table.id(&utf16("System\0"));
        assert_eq!(table.path(id), Some(utf16("System").as_slice()));
        assert_eq!(table.id(&utf16("System")), id);
    }

    #[test]
    fn a_last_character_whose_code_ends_in_zero_is_kept() {
        // U+0100 is 00 01 in memory; with another character's low byte before it this looks like a terminator one byte off.
        let mut table = table::<4>();
        let odd = [b'a', 0, 0, 1, 7, 0, 0];
        let id = table.id(&odd);
        assert_eq!(table.path(id), Some(odd.as_slice()));
    }

    #[test]
    fn what_was_never_given_out_has_no_path() {
        let mut table = table::<4>();
        assert_eq!(table.id(&[]), 0);
        assert_eq!(table.id(&utf16("\0")), 0);
        for id in [0, 1, 4, 5, u32::MAX] {
            assert_eq!(table.path(id), None, "{id}");
        }
    }

    #[test]
    fn a_full_table_knows_whom_it_knows_and_nobody_new() {
        let mut table = table::<3>();
        let ids: Vec<_> = (0..3).map(|number| table.id(&[number + 1, 0])).collect();
        assert!(!ids.contains(&0));
        assert_eq!(table.id(&[9, 0]), 0);
        assert_eq!((0..3).map(|number| table.id(&[number + 1, 0])).collect::<Vec<_>>(), ids);
        assert_eq!(Applications::new([]).id(&[1, 0]), 0);
    }

    #[test]
    fn of_a_long_path_the_end_is_kept() {
        let mut table = table::<4>();
        let long: String = ('a'..='z').cycle().take(LONGEST_PATH).collect();
        let bytes = utf16(&long);
        let id = table.id(&bytes);
        assert_eq!(table.path(id), Some(&bytes[bytes.len() - LONGEST_PATH..]));
        let other = utf16(&long.replacen('a', "b", 1));
        assert_ne!(table.id(&other), id, "another program, although its end is the same");
    }
}
