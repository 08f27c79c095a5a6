//! `docs/broken-builds.md`: who catches what. Written by `cargo xtask broken`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::catalogue::Entry;

pub const PATH: &str = "docs/broken-builds.md";

/// What became of an entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    pub caught_by: String,
    pub symptom: String,
}

/// Writes the document: the rows of `results`, and for entries that were not run those that it has.
pub fn write(root: &Path, catalogue: &[Entry], results: &BTreeMap<String, Row>) -> Result<()> {
    let path = root.join(PATH);
    let mut rows = rows(&fs::read_to_string(&path).unwrap_or_default());
    rows.extend(results.iter().map(|(name, row)| (name.clone(), row.clone())));
    fs::write(&path, document(catalogue, &rows)).with_context(|| format!("cannot write {PATH}"))
}

/// Checks that the document lists exactly the catalogue's entries, in its words.
pub fn check(root: &Path, catalogue: &[Entry]) -> Result<()> {
    let text = fs::read_to_string(root.join(PATH)).with_context(|| format!("cannot read {PATH}"))?;
    let rows = rows(&text);
    for entry in catalogue {
        ensure!(rows.contains_key(&entry.name), "{PATH} has no row for {}: run `cargo xtask broken {0}`", entry.name);
    }
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
            Some((name, Row { caught_by, symptom }))
        })
        .collect()
}

fn document(catalogue: &[Entry], rows: &BTreeMap<String, Row>) -> String {
    let listed: Vec<&Entry> = catalogue.iter().filter(|entry| rows.contains_key(&entry.name)).collect();
    let mut text = format!(
        "# Broken on purpose\n\n\
         A proof that cannot fail proves nothing. So the driver is broken, one step of its protocol at a time, and what is meant to \
         prove that it leaves cleanly must object. `cargo xtask broken` does that and writes this page; the catalogue of breaks is in \
         `tests/broken`. Of {} ways to break the driver, {} belong to published drivers too.\n\n\
         - *types*: it does not compile.\n\
         - *loom*: a model in `driver/core/tests/interleavings`, which runs the driver's own code in every interleaving.\n\
         - *lab*: a test in `tests/driver`, which runs the built images and looks for late calls, leaks and broken contracts.\n\
         - *schedules*: those of the tests in which a seed says which thread is held back where.\n\
         - *fault sweep*: `postern lab faults`, in which every call of the kernel fails once.\n\
         - *unit tests*: those beside the code of `driver/core`. They do not count as proof: they know the line that they test.\n\n\
         A break is tried until one of them that counts has caught it; others may, too.\n",
        listed.len(),
        listed.iter().filter(|entry| !entry.peers.is_empty()).count(),
    );
    let mut part = "";
    for entry in listed {
        if entry.part != part {
            part = &entry.part;
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "\n## {}\n\n| name | what is broken | who has it | caught by | how it showed |\n| --- | --- | --- | --- | --- |\n",
                part.replace('-', " ")
            );
        }
        let Row { caught_by, symptom } = &rows[&entry.name];
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
