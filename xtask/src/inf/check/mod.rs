//! The rules.

mod classes;
mod files;
mod registry;
mod services;
mod strings;
mod structure;
mod version;

use super::finding::{Finding, Rule, rule};
use super::syntax::{self, Entry, Inf, Section};
use strings::Strings;

/// What stands at the end of an install section's name.
const SUFFIXES: &[&str] = &[
    "CoInstallers",
    "COM",
    "Components",
    "Events",
    "FactDef",
    "Filters",
    "HW",
    "Interfaces",
    "LogConfigOverride",
    "Services",
    "Software",
    "WMI",
    "Wdf",
];

/// The architectures of "Creating INF Files for Multiple Platforms and Operating Systems".
const ARCHITECTURES: &[&str] = &["x86", "ia64", "amd64", "arm", "arm64"];

/// Checks the bytes of an INF file. The findings are in the order of its lines.
pub fn check(bytes: &[u8]) -> Vec<Finding> {
    if syntax::is_binary(bytes) {
        return vec![
            rule::ENCODING.at(1, "the file is no text, or UTF-16 without a byte order mark; save it as UTF-16 LE"),
        ];
    }
    let mut findings = Vec::new();
    let text = syntax::decode(bytes, &mut findings);
    let inf = syntax::parse(&text, &mut findings);

    let strings = Strings::new(&inf);
    let mut checker = Checker { inf: &inf, strings: &strings, primitive: is_primitive(&inf), findings };
    checker.strings();
    checker.version();
    checker.structure();
    checker.files();
    checker.services();
    checker.registry();

    let mut findings = checker.findings;
    findings.sort_by_key(|finding| finding.line);
    findings.dedup();
    findings
}

/// "Creating a Primitive Driver": what installs by a DefaultInstall section. With [Manufacturer] it is a device driver.
fn is_primitive(inf: &Inf) -> bool {
    inf.section("Manufacturer").is_none()
}

struct Checker<'a> {
    inf: &'a Inf,
    strings: &'a Strings,
    primitive: bool,
    findings: Vec<Finding>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, rule: Rule, line: usize, message: impl Into<String>) {
        self.findings.push(rule.at(line, message));
    }

    fn is_reported(&self, rules: &[Rule]) -> bool {
        self.findings.iter().any(|finding| rules.iter().any(|rule| rule.name == finding.rule))
    }

    /// A value with its strings put in.
    fn value(&self, entry: &Entry, index: usize) -> String {
        self.strings.expand(entry.value(index))
    }

    /// The sections that `directive` names, wherever it stands, each with the section and the entry that name it. `@file` is none.
    fn referenced(&self, directive: &str) -> Vec<(String, &'a Section, &'a Entry)> {
        let mut found = Vec::new();
        for section in self.inf.sections.iter().filter(|section| has_directives(section)) {
            for entry in section.all(directive) {
                let names = (0..entry.values.len()).map(|index| self.value(entry, index));
                found.extend(
                    names.filter(|name| !name.is_empty() && !name.starts_with('@')).map(|name| (name, section, entry)),
                );
            }
        }
        found
    }

    /// A key that is there twice, where only one counts.
    fn duplicate_keys(&mut self, section: &Section, may_repeat: &[&str]) {
        for (index, entry) in section.entries.iter().enumerate() {
            let Some(key) = &entry.key else { continue };
            let first = section.entries[..index].iter().find(|earlier| earlier.is(key));
            if let Some(first) = first.filter(|_| !contains(may_repeat, key)) {
                let message = format!("{key} is there already, in line {}; only one of them counts", first.line);
                self.report(rule::DUPLICATE, entry.line, message);
            }
        }
    }

    /// Lines without `=`, where each has a key.
    fn keys(&mut self, section: &Section) {
        for entry in section.entries.iter().filter(|entry| entry.key.is_none()) {
            let message = format!("'{}' is no entry of [{}], which are key = value", entry.value(0), section.name);
            self.report(rule::NO_KEY, entry.line, message);
        }
    }

    /// More than one value, where one is meant: a comma that wants quotation marks.
    fn single_values(&mut self, section: &Section, keys: &[&str]) {
        for entry in &section.entries {
            let key = entry.key.as_deref().unwrap_or_default();
            if contains(keys, key) && entry.values.len() > 1 {
                let message = format!(
                    "{key} has one value, and '{}' is another; a value with a comma stands in quotation marks",
                    entry.value(1)
                );
                self.report(rule::EXTRA_VALUE, entry.line, message);
            }
        }
    }
}

/// Whether a section's keys are directives, and not names of the writer's own.
fn has_directives(section: &Section) -> bool {
    !["Version", "Strings", "SourceDisksNames", "SourceDisksFiles", "DestinationDirs", "Manufacturer"]
        .iter()
        .any(|name| section.extends(name))
}

fn contains(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// A number as INF files have them: decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The architecture in a section's name: `DefaultInstall.NTamd64.Services`, `SourceDisksFiles.amd64`.
fn architecture(section: &str) -> Option<&str> {
    section.split('.').skip(1).map(|part| without_nt(part).unwrap_or(part)).find(|part| contains(ARCHITECTURES, part))
}

/// `amd64` of `NTamd64`.
fn without_nt(extension: &str) -> Option<&str> {
    extension.get(..2).filter(|start| start.eq_ignore_ascii_case("nt")).map(|_| &extension[2..])
}
