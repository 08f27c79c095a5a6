//! The tables of `docs/windows-truth.md` that say where the lab's kernel and Wine's differ.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

/// Begins the part of the page that is read here.
const HEADING: &str = "## Wine's kernel, call by call";
/// Begins the paragraph of functions that Wine lacks.
const LACKING: &str = "Wine 10 lacks";
/// What the second cell of a table's first row begins with.
const DIFFERENCES: [&str; 5] = ["call", "the lab", "Wine 10", "right", "source"];
const UNCALLED: [&str; 2] = ["not called", "why"];

/// A call of which the lab's kernel and Wine's say something different.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    pub lab: String,
    pub wine: String,
}

/// What the page says.
#[derive(Debug, Default)]
pub struct Document {
    /// By call.
    pub differences: BTreeMap<String, Difference>,
    /// Functions that Wine lacks, or that take one to be tried.
    pub lacking: BTreeSet<String>,
    /// Functions that the driver does not call.
    pub uncalled: BTreeSet<String>,
}

impl Document {
    pub fn parse(page: &str) -> Result<Document> {
        let (_, part) = page.split_once(HEADING).with_context(|| format!("the page has no heading {HEADING:?}"))?;
        let part = part.split_once("\n## ").map_or(part, |(part, _)| part);
        let mut document = Document::default();
        for paragraph in part.split("\n\n") {
            let rows: Vec<Vec<&str>> = paragraph.lines().filter(|line| line.starts_with('|')).map(cells).collect();
            if paragraph.trim_start().starts_with(LACKING) {
                document.lacking = paragraph.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            }
            let Some((header, rows)) = rows.split_first() else { continue };
            for row in rows.iter().skip(1) {
                if row.len() != header.len() || row.iter().any(|cell| cell.is_empty()) {
                    bail!("a row has an empty cell, or not as many as its table: {row:?}");
                }
                if header[..] == UNCALLED {
                    let functions = row[0].split(", ").map(|function| Ok(code(function)?.to_owned()));
                    document.uncalled.extend(functions.collect::<Result<Vec<_>>>()?);
                } else if header[..] == DIFFERENCES {
                    let call = code(row[0])?.to_owned();
                    if !["the lab", "Wine", "open"].contains(&row[3]) {
                        bail!("{call}: right is the lab, Wine, or it is open; the page says {}", row[3]);
                    }
                    let difference = Difference { lab: code(row[1])?.to_owned(), wine: code(row[2])?.to_owned() };
                    if document.differences.insert(call.clone(), difference).is_some() {
                        bail!("the page has two rows of {call}");
                    }
                } else {
                    bail!("a table that is not known here begins with {header:?}");
                }
            }
        }
        Ok(document)
    }
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// What stands between backticks.
fn code(cell: &str) -> Result<&str> {
    let inside = cell.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
    inside.with_context(|| format!("a cell is not in backticks: {cell}"))
}
