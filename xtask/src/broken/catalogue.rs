//! The catalogue: what can be broken, and how.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// Where the catalogue is, one file a part of the driver.
pub const FOLDER: &str = "tests/broken";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    /// Tests of `tests/driver` that are tried first, by the beginning of their names.
    tests: String,
    #[serde(rename = "break")]
    entries: Vec<Entry>,
}

/// One way to break the driver.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The catalogue file's name without extension.
    #[serde(skip)]
    pub part: String,
    /// Tests of `tests/driver` that are tried first.
    #[serde(skip)]
    pub tests: String,
    pub name: String,
    /// Which step is left out or misordered, in one sentence.
    pub what: String,
    /// Published drivers that have this defect.
    #[serde(default)]
    pub peers: Vec<String>,
    /// It must not even compile.
    #[serde(default)]
    pub refused_by_types: bool,
    /// Belongs to the sample that every test run checks.
    #[serde(default)]
    pub sample: bool,
    pub edits: Vec<Edit>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    pub file: String,
    /// Text that occurs exactly once in the file.
    pub find: String,
    pub replace: String,
}

/// Reads the catalogue of the checkout at `root`, in order of part and name.
pub fn read(root: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for file in fs::read_dir(root.join(FOLDER)).with_context(|| format!("cannot read {FOLDER}"))? {
        let path = file?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let part: Part = toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))?;
        let name = path.file_stem().context("a catalogue file has no name")?.to_string_lossy().into_owned();
        let Part { tests, entries: of_part } = part;
        entries.extend(of_part.into_iter().map(|entry| Entry { part: name.clone(), tests: tests.clone(), ..entry }));
    }
    entries.sort_by(|a, b| (&a.part, &a.name).cmp(&(&b.part, &b.name)));

    let mut names = BTreeSet::new();
    for entry in &entries {
        ensure!(names.insert(&entry.name), "the catalogue has two entries with the name {}", entry.name);
        ensure!(!entry.edits.is_empty(), "{} breaks nothing", entry.name);
    }
    Ok(entries)
}

impl Entry {
    /// The files that the entry changes, each with its broken text, made from the sources at `root`.
    pub fn broken_files(&self, root: &Path) -> Result<Vec<(&str, String)>> {
        let mut files: Vec<(&str, String)> = Vec::new();
        for edit in &self.edits {
            let place = match files.iter().position(|(file, _)| *file == edit.file) {
                Some(place) => place,
                None => {
                    let text = fs::read_to_string(root.join(&edit.file))
                        .with_context(|| format!("{}: cannot read {}", self.name, edit.file))?;
                    files.push((&edit.file, text));
                    files.len() - 1
                }
            };
            let text = &mut files[place].1;
            *text = edit.apply(text).with_context(|| format!("{}: {}", self.name, edit.file))?;
        }
        Ok(files)
    }
}

impl Edit {
    fn apply(&self, text: &str) -> Result<String> {
        match text.matches(&self.find).count() {
            1 => Ok(text.replace(&self.find, &self.replace)),
            times => bail!("occurs {times} times and not once:\n{}", self.find),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(find: &str) -> Edit {
        Edit { file: "file.rs".into(), find: find.into(), replace: "new".into() }
    }

    #[test]
    fn an_edit_whose_place_is_not_the_only_one_is_refused() {
        assert_eq!(edit("old").apply("an old text").unwrap(), "an new text");
        assert!(edit("old").apply("a text").is_err());
        assert!(edit("old").apply("old, old").is_err());
    }

    #[test]
    fn every_entry_still_finds_its_place_in_the_sources() {
        let root = crate::root();
        for entry in read(&root).unwrap() {
            entry.broken_files(&root).unwrap();
        }
    }
}
