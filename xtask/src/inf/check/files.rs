//! Which files are copied, from where, and where to.

use super::{Checker, architecture, number};
use crate::inf::finding::rule;
use crate::inf::syntax::{Entry, Section};

/// The driver store.
pub const DRIVER_STORE: i32 = 13;

/// COPYFLG_* of "INF CopyFiles Directive".
const COPY_FLAGS: u32 = 0x7c7f;
const NO_OVERWRITE: u32 = 0x10;
/// Pairs of which a file has at most one.
const EXCLUSIVE: &[(u32, u32)] = &[(0x1, 0x2), (0x4, 0x8), (0x4, 0x10)];

/// Whether a directory identifier is defined by the system, or may be by an installer ("Using Dirids").
pub fn is_directory(id: i32) -> bool {
    let system = [-1, 1, 10, 11, 12, 13, 17, 18, 20, 21, 23, 24, 25, 30, 50, 51, 52, 53, 54, 55];
    // From 16384 on they are those of the shell's special folders.
    system.contains(&id) || (16384..=16440).contains(&id) || id >= 32768
}

/// A file that a CopyFiles directive copies.
pub struct Copied {
    pub name: String,
    pub directory: i32,
    pub folder: String,
    architecture: Option<String>,
    line: usize,
    source: String,
}

impl<'a> Checker<'a> {
    pub fn files(&mut self) {
        self.disks();
        self.destinations();
        for copied in self.copied(true) {
            self.copied_file(&copied);
        }
        if !self.is_broken() {
            self.never_copied();
        }
        self.deleted_files();
    }

    /// The file lists of a directive: the name of each, its section, and where it was named.
    fn lists(&self, directive: &str) -> Vec<(String, &'a Section, &'a Section, &'a Entry)> {
        let named = self.referenced(directive).into_iter();
        named.filter_map(|(name, from, entry)| Some((name.clone(), self.inf.section(&name)?, from, entry))).collect()
    }

    /// Everything that is copied. What is wrong with a list is reported on request.
    pub fn copied(&mut self, report: bool) -> Vec<Copied> {
        let mut copied = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for (name, list, from, entry) in self.lists("CopyFiles") {
            let first = !seen.contains(&list.name.as_str());
            seen.push(&list.name);
            if report && first {
                self.file_list(list);
            }
            let Some((directory, folder)) = self.destination(&name, entry.line, report) else { continue };
            for file in &list.entries {
                let destination = self.value(file, 0);
                let source = Some(self.value(file, 1)).filter(|source| !source.is_empty());
                copied.push(Copied {
                    source: source.unwrap_or_else(|| destination.clone()),
                    name: destination,
                    directory,
                    folder: folder.clone(),
                    architecture: architecture(&from.name).map(str::to_owned),
                    line: file.line,
                });
            }
        }
        for section in self.inf.sections.iter().filter(|section| super::has_directives(section)) {
            for entry in section.all("CopyFiles") {
                for value in &entry.values {
                    let Some(file) = value.strip_prefix('@') else { continue };
                    let file = self.strings.expand(file);
                    let Some((directory, folder)) = self.destination("DefaultDestDir", entry.line, report) else {
                        continue;
                    };
                    copied.push(Copied {
                        source: file.clone(),
                        name: file,
                        directory,
                        folder,
                        architecture: architecture(&section.name).map(str::to_owned),
                        line: entry.line,
                    });
                }
            }
        }
        copied
    }

    fn file_list(&mut self, list: &Section) {
        for (index, file) in list.entries.iter().enumerate() {
            let name = self.value(file, 0);
            if let Some(first) =
                list.entries[..index].iter().find(|earlier| self.value(earlier, 0).eq_ignore_ascii_case(&name))
            {
                let message = format!("{name} is there already, in line {}", first.line);
                self.report(rule::DUPLICATE, file.line, message);
            }
            let flags = self.value(file, 3);
            if flags.is_empty() {
                continue;
            }
            let known = number(&flags).filter(|flags| flags & !COPY_FLAGS == 0);
            let exclusive = |flags: u32| {
                EXCLUSIVE.iter().any(|(a, b)| flags & a != 0 && flags & b != 0)
                    || flags & NO_OVERWRITE != 0 && flags != NO_OVERWRITE
            };
            if known.is_none_or(exclusive) {
                self.report(rule::COPY_FLAGS, file.line, format!("'{flags}' are no flags for copying a file"));
            }
        }
    }

    /// Where the files of a list go: the directory's identifier, and the folder in it.
    fn destination(&mut self, list: &str, line: usize, report: bool) -> Option<(i32, String)> {
        let Some(section) = self.inf.section("DestinationDirs") else {
            if report && !self.is_reported(&[rule::DESTINATION_MISSING]) {
                self.report(
                    rule::DESTINATION_MISSING,
                    line,
                    "there is no [DestinationDirs] section for what is copied here",
                );
            }
            return None;
        };
        let Some(entry) = section.find(list).or_else(|| section.find("DefaultDestDir")) else {
            if report {
                let message = format!("[DestinationDirs] has neither {list} nor DefaultDestDir");
                self.report(rule::DESTINATION_MISSING, line, message);
            }
            return None;
        };
        Some((self.value(entry, 0).parse().ok()?, self.value(entry, 1)))
    }

    fn destinations(&mut self) {
        let Some(section) = self.inf.section("DestinationDirs") else { return };
        self.keys(section);
        self.duplicate_keys(section, &[]);
        let of = |directives: &[&str]| -> Vec<String> {
            directives.iter().flat_map(|directive| self.referenced(directive)).map(|(name, ..)| name).collect()
        };
        let (copied, others) = (of(&["CopyFiles"]), of(&["DelFiles", "RenFiles"]));
        for entry in &section.entries {
            let Some(key) = &entry.key else { continue };
            let is_in = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(key));
            let default = key.eq_ignore_ascii_case("DefaultDestDir");
            let directory = self.value(entry, 0);
            match directory.parse() {
                Ok(id) if is_directory(id) => {
                    if self.primitive && id != DRIVER_STORE && (default || is_in(&copied)) {
                        let message =
                            format!("{key} = {id}: a primitive driver runs from the driver store, which is 13");
                        self.report(rule::DIRID_13, entry.line, message);
                    }
                }
                Ok(id) => self.report(rule::DIRID, entry.line, format!("{id} is no directory that the system defines")),
                Err(_) => {
                    let message = format!("'{directory}' must be the number of a directory, like 13");
                    self.report(rule::DIRID, entry.line, message);
                }
            }
            // The name may be misspelled on either side; then the reference is reported.
            if !default && !is_in(&copied) && !is_in(&others) && !self.is_broken() {
                let message = format!("no directive copies, deletes or renames the files of a section [{key}]");
                self.report(rule::DESTINATION_UNUSED, entry.line, message);
            }
        }
    }

    fn disks(&mut self) {
        let inf = self.inf;
        let of = |base: &'static str| inf.sections.iter().filter(move |section| section.extends(base));
        for section in of("SourceDisksNames") {
            self.duplicate_keys(section, &[]);
            for entry in &section.entries {
                let id = entry.key.as_deref().unwrap_or_else(|| entry.value(0));
                if entry.key.is_none() || id.parse::<u32>().is_err() {
                    let message = format!("'{id}' must be the number of a disk: 1 = %Disk%");
                    self.report(rule::DISK_ID, entry.line, message);
                } else if entry.value(0).is_empty() {
                    self.report(rule::MISSING_VALUE, entry.line, format!("the disk {id} has no description"));
                }
            }
        }
        if of("SourceDisksNames").next().is_none()
            && let Some(section) = of("SourceDisksFiles").next()
        {
            self.report(rule::DISK_ID, section.line, "there is no [SourceDisksNames] section with the disks");
        }
        for section in of("SourceDisksFiles") {
            self.duplicate_keys(section, &[]);
            for entry in &section.entries {
                self.source_file(entry);
            }
        }
    }

    fn source_file(&mut self, entry: &Entry) {
        let name = entry.key.as_deref().unwrap_or_else(|| entry.value(0)).to_owned();
        let lower = name.to_ascii_lowercase();
        if lower.ends_with(".cat") || lower.ends_with(".inf") {
            self.report(rule::SOURCE_FILE, entry.line, format!("{name}: catalogs and INF files are not listed here"));
        }
        if name.contains('%') {
            self.report(rule::SOURCE_FILE, entry.line, format!("{name}: a file's name must not be a string's token"));
        }
        let id = if entry.key.is_some() { self.value(entry, 0) } else { String::new() };
        let Ok(disk) = id.parse::<u32>() else {
            let message = format!("{name} has no number of a disk in [SourceDisksNames]: {name} = 1");
            self.report(rule::DISK_ID, entry.line, message);
            return;
        };
        let inf = self.inf;
        let mut names = inf.sections.iter().filter(|section| section.extends("SourceDisksNames")).peekable();
        if names.peek().is_some()
            && !names.any(|names| {
                names.entries.iter().any(|entry| entry.key.as_ref().and_then(|key| key.parse().ok()) == Some(disk))
            })
        {
            self.report(
                rule::DISK_ID,
                entry.line,
                format!("{name} is on disk {disk}, which is not in [SourceDisksNames]"),
            );
        }
    }

    /// The entry for a source file, in the section of its architecture or in that for all.
    fn source_of(&self, copied: &Copied) -> Option<&'a Entry> {
        self.inf
            .sections
            .iter()
            .filter(|section| section.extends("SourceDisksFiles"))
            .filter(|section| match (architecture(&section.name), &copied.architecture) {
                (Some(section), Some(wanted)) => section.eq_ignore_ascii_case(wanted),
                _ => true,
            })
            .find_map(|section| section.find(&copied.source))
    }

    fn copied_file(&mut self, copied: &Copied) {
        let Copied { name, source, .. } = copied;
        let Some(entry) = self.source_of(copied) else {
            let without = !self.inf.sections.iter().any(|section| section.extends("SourceDisksFiles"));
            if !(without && self.is_reported(&[rule::SOURCE_FILE_MISSING])) {
                let where_ =
                    if without { "there is no [SourceDisksFiles] section" } else { "it is not in [SourceDisksFiles]" };
                self.report(rule::SOURCE_FILE_MISSING, copied.line, format!("{source} is copied, but {where_}"));
            }
            return;
        };
        if copied.directory != DRIVER_STORE {
            return;
        }
        if !name.eq_ignore_ascii_case(source) {
            let message = format!("{source} must not become {name}: it runs from the driver store, where it is");
            self.report(rule::DRIVER_STORE_COPY, copied.line, message);
        }
        let folder = self.value(entry, 1);
        if !folder.trim_matches('\\').eq_ignore_ascii_case(copied.folder.trim_matches('\\')) {
            let message = format!(
                "{source} is in the folder '{folder}' of its disk, and goes to '{}'; in the driver store the two are one",
                copied.folder
            );
            self.report(rule::DRIVER_STORE_COPY, entry.line, message);
        }
    }

    /// A file must be in a CopyFiles list, too, to be part of the signed package.
    fn never_copied(&mut self) {
        // A name that is spelled in two ways has been reported.
        if self.is_reported(&[rule::SOURCE_FILE_MISSING]) {
            return;
        }
        let copied = self.copied(false);
        let sections = self.inf.sections.iter().filter(|section| section.extends("SourceDisksFiles"));
        for entry in sections.flat_map(|section| &section.entries) {
            let Some(name) = &entry.key else { continue };
            let listed = self.findings.iter().any(|finding| finding.line == entry.line);
            if !listed && !copied.iter().any(|copied| copied.source.eq_ignore_ascii_case(name)) {
                self.report(rule::SOURCE_FILE_UNUSED, entry.line, format!("no CopyFiles directive copies {name}"));
            }
        }
    }

    /// Windows removes what it has put into the driver store.
    fn deleted_files(&mut self) {
        for directive in ["DelFiles", "RenFiles"] {
            for (name, list, _, entry) in self.lists(directive) {
                let destination = self.destination(&name, entry.line, true);
                if destination.is_some_and(|(directory, _)| directory == DRIVER_STORE) {
                    let message =
                        format!("{directive} is not for the driver store (13), where the files of [{}] are", list.name);
                    self.report(rule::DRIVER_STORE_DELETE, entry.line, message);
                }
            }
        }
    }
}
