//! `docs/broken-builds.md`: who catches what. Written by `cargo xtask broken`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::catalogue::Entry;

pub const PATH: &str = "docs/broken-builds.md";
/// What the document says of an entry that was added since it was written.
const NOT_RUN: &str = "not run yet";

/// What became of an entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    pub caught_by: String,
    pub symptom: String,
}

impl Row {
    /// The test that has caught it.
    pub fn test(&self) -> Option<&str> {
        self.symptom.split_once(": ").map(|(test, _)| test)
    }
}

/// The document's rows, by name.
pub fn read(root: &Path) -> BTreeMap<String, Row> {
    rows(&fs::read_to_string(root.join(PATH)).unwrap_or_default())
}

/// Writes the document, with what became of the entry `name`. The other rows stay as they are.
pub fn write(root: &Path, catalogue: &[Entry], name: &str, row: &Row) -> Result<()> {
    let mut rows = read(root);
    rows.insert(name.to_owned(), row.clone());
    fs::write(root.join(PATH), document(catalogue, &rows)).with_context(|| format!("cannot write {PATH}"))
}

/// Checks that the document lists exactly the catalogue's entries, in its words.
pub fn check(root: &Path, catalogue: &[Entry]) -> Result<()> {
    let text = fs::read_to_string(root.join(PATH)).with_context(|| format!("cannot read {PATH}"))?;
    let rows = rows(&text);
    ensure!(text == document(catalogue, &rows), "{PATH} is not what `cargo xtask broken` writes: run it");
    Ok(())
}

/// The rows of a document by name.
fn rows(text: &str) -> BTreeMap<String, Row> {
    text.lines()
        .filter_map(|line| {
            let line = line.strip_prefix("| `")?.strip_suffix(" |")?;
            let mut cells = line.split(" | ");
            let name = cells.next()?.strip_suffix('`')?.to_owned();
            let (caught_by, symptom) = (cells.nth(2)?.to_owned(), cells.next()?.to_owned());
            (caught_by != NOT_RUN).then_some((name, Row { caught_by, symptom }))
        })
        .collect()
}

fn document(catalogue: &[Entry], rows: &BTreeMap<String, Row>) -> String {
    let mut text = format!(
        "# Broken on purpose\n\n\
         A proof that cannot fail proves nothing. So the driver is broken, one step of its protocol at a time, and what is meant to \
         prove that it leaves cleanly must object. `cargo xtask broken` does that and writes this page; the catalogue of breaks is in \
         `tests/broken`. Of {} ways to break the driver, {} belong to published drivers too.\n\n\
         - *types*: it does not compile.\n\
         - *loom*: a model in `driver/core/tests/interleavings`, which runs the driver's own code in every interleaving.\n\
         - *lab*: a test in `tests/driver`, which runs the built `postern.sys` under traffic and chosen faults, and looks for late \
         calls, leaks and broken contracts.\n\
         - *lab (WDM)*: the same of `postern_wdm.sys`.\n\
         - *schedules*: those of the tests in which a seed says which thread is held back where.\n\
         - *fault sweep*: those of the tests in which each call of the kernel that can fail does so once, in each way that it can.\n\
         - *unit tests*: those beside the code of `driver/core`. They do not count as proof: they know the line that they test.\n\n\
         A break is tried until one of them that counts has caught it; others may, too.\n",
        catalogue.len(),
        catalogue.iter().filter(|entry| !entry.peers.is_empty()).count(),
    );
    let mut part = "";
    let not_run = Row { caught_by: NOT_RUN.into(), symptom: String::new() };
    for entry in catalogue {
        if entry.part != part {
            part = &entry.part;
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "\n## {}\n\n| name | what is broken | who has it | caught by | how it showed |\n| --- | --- | --- | --- | --- |\n",
                part.replace('-', " ")
            );
        }
        let Row { caught_by, symptom } = rows.get(&entry.name).unwrap_or(&not_run);
        let peers = entry.peers.join(", ");
        let _ = writeln!(text, "| `{}` | {} | {peers} | {caught_by} | {symptom} |", entry.name, entry.what);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_exactly_the_catalogue() {
        let root = crate::root();
        check(&root, &super::super::catalogue::read(&root).unwrap()).unwrap();
    }
}
