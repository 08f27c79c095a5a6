//! The driver, and what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use object::read::pe::PeFile64;
use object::{NameOrOrdinal, Object};
use postern_lab::{Config, Lab};

/// Stands before each line of the driver, whatever the kernel that prints it puts before that.
const MARK: &str = "opinion: ";
/// The driver's last line.
const END: &str = "all said";
/// Between a call and its result.
const ARROW: &str = " -> ";

/// How it went with one function.
#[derive(Debug, Default)]
pub struct Tried {
    /// The calls, in the driver's words, and what came of each.
    pub calls: Vec<(String, String)>,
    /// The exception that ended it, if one did.
    pub raised: Option<String>,
    /// Whether the kernel does not have it, or another function that it takes to try it.
    pub lacks: bool,
}

impl Tried {
    pub fn result_of(&self, call: &str) -> Option<&str> {
        self.calls.iter().find(|(made, _)| made == call).map(|(_, result)| result.as_str())
    }
}

/// What a kernel said, by function.
#[derive(Debug)]
pub struct Answers(pub BTreeMap<String, Tried>);

impl Answers {
    /// Finds the driver's lines in a log.
    pub fn parse(log: &str) -> Result<Answers> {
        let mut functions = BTreeMap::<String, Tried>::new();
        let (mut last, mut ended) = ("nothing", false);
        for line in log.lines().filter_map(|line| line.split_once(MARK)).map(|(_, line)| line.trim_end()) {
            if line == END {
                ended = true;
                continue;
            }
            last = line;
            let (name, rest) = line.split_at(line.find(['(', ' ']).unwrap_or(line.len()));
            let tried = functions.entry(name.to_owned()).or_default();
            if rest == " lacks it" {
                tried.lacks = true;
            } else if let Some(exception) = rest.strip_prefix(" raised ") {
                tried.raised = Some(exception.to_owned());
            } else if let Some((call, result)) = line.split_once(ARROW) {
                if tried.result_of(call).is_some() {
                    bail!("the driver makes the call twice: {call}");
                }
                tried.calls.push((call.to_owned(), result.to_owned()));
            } else {
                bail!("a line of the driver is none that it says: {line}");
            }
        }
        if !ended {
            bail!("the driver did not come to its end; it said last: {last}");
        }
        Ok(Answers(functions))
    }
}

/// Builds the driver in `folder`.
pub fn driver(root: &Path, folder: &Path) -> Result<PathBuf> {
    xwdk::c_driver::build(root, &root.join("lab/opinion/driver/driver.c"), folder)
}

/// Names that an image imports from `ntoskrnl.exe`.
pub fn imports(image: &[u8]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for import in PeFile64::parse(image)?.imports()? {
        let import = import?;
        if let (b"ntoskrnl.exe", NameOrOrdinal::Name(name)) = (import.library(), import.name()) {
            names.insert(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(names)
}

/// Runs the driver in a lab. It must leave nothing behind, and do nothing that the lab objects to.
pub fn in_lab(image: &[u8]) -> Result<Answers> {
    let lab = Lab::start(Config::default());
    let loaded = lab.load("opinion", image);
    let log = lab.debug_log().join("\n");
    let objections: Vec<String> = lab.violations().iter().map(ToString::to_string).collect();
    if !objections.is_empty() {
        let last = log.lines().last().unwrap_or("nothing");
        bail!("the lab objects to the driver, which said last: {last}\n{}", objections.join("\n"));
    }
    loaded?;
    let report = lab.unload("opinion")?;
    if !report.is_clean() {
        bail!("the driver left something behind: {report:#?}");
    }
    Answers::parse(&log)
}
