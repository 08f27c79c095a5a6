//! The text of an INF file: sections, entries and fields, as "General Syntax Rules for INF Files" describes them.

use std::collections::HashMap;
use std::iter::Peekable;

use super::finding::{Finding, rule};

/// Longest section name, and longest field before substitution without its terminator ("INF Size Limits").
const LONGEST_SECTION_NAME: usize = 255;
const LONGEST_FIELD: usize = 4095;

/// A file, its sections merged by name without regard to case.
#[derive(Debug, Default)]
pub struct Inf {
    pub sections: Vec<Section>,
}

#[derive(Debug)]
pub struct Section {
    pub name: String,
    /// Of its first header.
    pub line: usize,
    pub entries: Vec<Entry>,
}

/// A line, continuations included.
#[derive(Debug, Clone)]
pub struct Entry {
    pub line: usize,
    /// What stands before `=`.
    pub key: Option<String>,
    pub values: Vec<String>,
}

impl Inf {
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name.eq_ignore_ascii_case(name))
    }
}

impl Section {
    /// Whether its name is `base`, or `base` with extensions.
    pub fn extends(&self, base: &str) -> bool {
        extends(&self.name, base)
    }

    pub fn find(&self, key: &str) -> Option<&Entry> {
        self.all(key).next()
    }

    pub fn all(&self, key: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.is(key))
    }
}

impl Entry {
    pub fn is(&self, key: &str) -> bool {
        self.key.as_ref().is_some_and(|found| found.eq_ignore_ascii_case(key))
    }

    /// A value by its place; what is left out is empty.
    pub fn value(&self, index: usize) -> &str {
        self.values.get(index).map_or("", String::as_str)
    }

    /// Key and values.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.key.iter().chain(&self.values).map(String::as_str)
    }
}

/// Whether `name` is `base`, or `base` with extensions after a dot.
pub fn extends(name: &str, base: &str) -> bool {
    let (Some(start), rest) = (name.get(..base.len()), name.get(base.len()..).unwrap_or_default()) else {
        return false;
    };
    !base.is_empty() && start.eq_ignore_ascii_case(base) && (rest.is_empty() || rest.starts_with('.'))
}

/// Whether a text has been saved as UTF-16 without a byte order mark, or is none.
pub fn is_binary(bytes: &[u8]) -> bool {
    !matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) && bytes.contains(&0)
}

/// Reads a file's bytes: UTF-16 with a byte order mark, else UTF-8, else one character a byte, which is near enough to any ANSI code page
/// to go on.
pub fn decode(bytes: &[u8], findings: &mut Vec<Finding>) -> String {
    let units = |convert: fn([u8; 2]) -> u16| -> String {
        let units: Vec<u16> = bytes[2..].as_chunks::<2>().0.iter().map(|pair| convert(*pair)).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, ..] => return units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => {
            findings.push(rule::ENCODING.at(1, "the file is UTF-16 BE; save it as UTF-16 LE"));
            return units(u16::from_be_bytes);
        }
        [0xef, 0xbb, 0xbf, ..] => {
            findings
                .push(rule::ENCODING.at(1, "the file is UTF-8 with a byte order mark; save it as ANSI or UTF-16 LE"));
            return String::from_utf8_lossy(&bytes[3..]).into_owned();
        }
        _ => {}
    }
    if let Some(place) = bytes.iter().position(|byte| !byte.is_ascii()) {
        let line = 1 + bytes[..place].iter().filter(|byte| **byte == b'\n').count();
        findings.push(rule::ENCODING.at(
            line,
            "a character outside ASCII, which each system reads in its own code page; save the file as UTF-16 LE",
        ));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// Takes a text apart. What is wrong is reported and left out; the rest is there.
pub fn parse(text: &str, findings: &mut Vec<Finding>) -> Inf {
    let mut inf = Inf::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut current = None;
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line)).peekable();

    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            current = section_name(header, number, findings).map(|name| {
                *places
                    .entry(name.to_ascii_lowercase())
                    .and_modify(|place| {
                        let first = inf.sections[*place].line;
                        findings.push(rule::DUPLICATE_SECTION.at(
                            number,
                            format!("[{name}] is there already, in line {first}; the two are read as one"),
                        ));
                    })
                    .or_insert_with(|| {
                        inf.sections.push(Section { name: name.to_owned(), line: number, entries: Vec::new() });
                        inf.sections.len() - 1
                    })
            });
            continue;
        }
        let entry = Scanner::new(number, findings).entry(line, &mut lines);
        match current {
            Some(place) => inf.sections[place].entries.push(entry),
            // A header that cannot be read has been reported.
            None if inf.sections.is_empty() => {
                findings.push(rule::SECTION_HEADER.at(number, "an entry stands before the first [section]"));
            }
            None => {}
        }
    }
    inf
}

fn section_name<'a>(header: &'a str, line: usize, findings: &mut Vec<Finding>) -> Option<&'a str> {
    let Some((name, rest)) = header.split_once(']') else {
        findings.push(rule::SECTION_HEADER.at(line, "the section's name has no closing ]"));
        return None;
    };
    let name = name.trim();
    let rest = rest.trim_start();
    if !rest.is_empty() && !rest.starts_with(';') {
        findings.push(
            rule::SECTION_HEADER
                .at(line, format!("'{}' follows [{name}]; a section's name stands alone in its line", rest.trim_end())),
        );
    }
    if name.is_empty() {
        findings.push(rule::SECTION_HEADER.at(line, "the section has no name"));
        return None;
    }
    if name.chars().count() > LONGEST_SECTION_NAME {
        findings.push(
            rule::SECTION_HEADER
                .at(line, format!("the section's name is longer than {LONGEST_SECTION_NAME} characters")),
        );
    }
    Some(name)
}

/// A stretch of a field, in quotation marks or not.
struct Part {
    quoted: bool,
    text: String,
}

/// Reads one entry.
struct Scanner<'a> {
    line: usize,
    findings: &'a mut Vec<Finding>,
    key: Option<String>,
    values: Vec<String>,
    parts: Vec<Part>,
}

impl<'a> Scanner<'a> {
    fn new(line: usize, findings: &'a mut Vec<Finding>) -> Self {
        Self { line, findings, key: None, values: Vec::new(), parts: Vec::new() }
    }

    fn entry<'t>(mut self, first: &'t str, lines: &mut Peekable<impl Iterator<Item = (usize, &'t str)>>) -> Entry {
        let start = self.line;
        let mut continues = self.physical_line(first);
        while continues {
            let Some((number, next)) = lines.next_if(|(_, next)| !is_on_its_own(next)) else {
                self.report(
                    rule::CONTINUATION,
                    "the backslash at the end joins this line with the next, which is none of its values; put the value in \
                     quotation marks",
                );
                break;
            };
            self.line = number;
            continues = self.physical_line(next);
        }
        self.end_field();
        let mut entry = Entry { line: start, key: self.key, values: self.values };
        // `Key =` has no value, rather than an empty one.
        if entry.values == [""] {
            entry.values.clear();
        }
        entry
    }

    /// Reads a line, and tells whether the next belongs to it.
    fn physical_line(&mut self, line: &str) -> bool {
        let mut characters = line.char_indices().peekable();
        let mut quoted = false;
        while let Some((place, character)) = characters.next() {
            match character {
                '"' if quoted && characters.peek().is_some_and(|(_, next)| *next == '"') => {
                    characters.next();
                    self.push(true, '"');
                }
                '"' => {
                    quoted = !quoted;
                    if quoted {
                        self.parts.push(Part { quoted: true, text: String::new() });
                    }
                }
                _ if quoted => self.push(true, character),
                ';' => break,
                '\\' if is_end(&line[place + 1..]) => return true,
                '=' if self.key.is_none() && self.values.is_empty() => {
                    self.end_field();
                    self.key = self.values.pop();
                }
                ',' => self.end_field(),
                _ => self.push(false, character),
            }
        }
        if quoted {
            self.report(rule::QUOTATION, "a quotation mark is opened and not closed in this line");
        }
        false
    }

    fn push(&mut self, quoted: bool, character: char) {
        match self.parts.last_mut() {
            Some(part) if part.quoted == quoted => part.text.push(character),
            _ => self.parts.push(Part { quoted, text: character.to_string() }),
        }
    }

    fn end_field(&mut self) {
        let mut parts = std::mem::take(&mut self.parts);
        parts.retain(|part| part.quoted || !part.text.trim().is_empty());
        // `""text""`, which "INF Strings Section" has for a text that is itself in quotation marks.
        let doubled = matches!(
            parts.as_slice(),
            [Part { quoted: true, text: before }, Part { quoted: false, .. }, Part { quoted: true, text: after }]
                if before.is_empty() && after.is_empty()
        );
        if parts.len() > 1 && !doubled {
            self.report(
                rule::QUOTATION,
                "a quotation mark within a value: put the whole value in quotation marks, and double those within it",
            );
        }
        let text = match parts.as_slice() {
            [part] if part.quoted => part.text.clone(),
            parts => parts.iter().map(|part| part.text.as_str()).collect::<String>().trim().to_owned(),
        };
        if text.len() > 1 && text.starts_with('\'') && text.ends_with('\'') {
            self.report(rule::QUOTATION, "an apostrophe is no quotation mark: it becomes part of the value");
        }
        if text.chars().count() > LONGEST_FIELD {
            self.report(rule::SIZE, format!("a value is longer than {LONGEST_FIELD} characters"));
        }
        self.values.push(text);
    }

    fn report(&mut self, rule: super::finding::Rule, message: impl Into<String>) {
        self.findings.push(rule.at(self.line, message));
    }
}

/// Whether nothing but a comment follows.
fn is_end(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with(';')
}

/// Whether a line is a section's name, or `key = value`: it does not continue another.
fn is_on_its_own(line: &str) -> bool {
    let before_comment = line.split(';').next().unwrap_or_default();
    line.trim_start().starts_with('[')
        || before_comment.split_once('=').is_some_and(|(key, _)| !key.contains(['"', ',']))
}
