//! [Strings], and the tokens that stand for them.

use std::collections::{BTreeMap, BTreeSet};

use super::Checker;
use crate::inf::finding::rule;
use crate::inf::syntax::{Inf, Section};

/// The strings of the undecorated section, by their keys in lower case.
pub struct Strings(BTreeMap<String, String>);

/// A piece of a value.
enum Piece<'a> {
    Text(&'a str),
    /// `%%`
    Percent,
    /// `%name%`
    Token(&'a str),
    /// A percent character that nothing closes.
    Stray,
}

impl Strings {
    pub fn new(inf: &Inf) -> Self {
        let entries = inf.section("Strings").into_iter().flat_map(|section| &section.entries);
        Strings(
            entries
                .filter_map(|entry| Some((entry.key.as_ref()?.to_ascii_lowercase(), entry.value(0).to_owned())))
                .collect(),
        )
    }

    /// Puts the strings in. Directories (`%13%`) and what is not defined stay as they are.
    pub fn expand(&self, text: &str) -> String {
        let mut expanded = String::new();
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) => expanded.push_str(text),
                Piece::Percent | Piece::Stray => expanded.push('%'),
                Piece::Token(name) => match self.0.get(&name.to_ascii_lowercase()) {
                    Some(string) => expanded.push_str(string),
                    None => expanded.push_str(&format!("%{name}%")),
                },
            }
        }
        expanded
    }
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        pieces.push(Piece::Text(&rest[..start]));
        let after = &rest[start + 1..];
        rest = match after.find('%') {
            Some(0) => {
                pieces.push(Piece::Percent);
                &after[1..]
            }
            Some(end) => {
                pieces.push(Piece::Token(&after[..end]));
                &after[end + 1..]
            }
            None => {
                pieces.push(Piece::Stray);
                after
            }
        };
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// Whether stampinf was to replace a part of it: `$ARCH$`.
pub fn has_stamp(text: &str) -> bool {
    text.split('$').skip(1).step_by(2).any(|between| {
        !between.is_empty() && between.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    })
}

impl Checker<'_> {
    pub fn strings(&mut self) {
        for section in &self.inf.sections {
            if section.extends("Strings") {
                self.strings_section(section);
            } else {
                self.tokens(section);
            }
        }
        self.languages();
    }

    fn strings_section(&mut self, section: &Section) {
        self.duplicate_keys(section, &[]);
        for entry in &section.entries {
            let Some(key) = &entry.key else {
                self.report(rule::STRING_MISSING_VALUE, entry.line, "a string has a key and a value: key = \"value\"");
                continue;
            };
            if entry.values.is_empty() {
                self.report(rule::STRING_MISSING_VALUE, entry.line, format!("the string {key} has no value"));
            }
            if entry.values.len() > 1 {
                self.report(
                    rule::EXTRA_VALUE,
                    entry.line,
                    format!("the string {key} ends at its first comma; put it in quotation marks"),
                );
            }
        }
    }

    fn tokens(&mut self, section: &Section) {
        if has_stamp(&section.name) {
            let message = format!("[{}] has a token that stampinf is to replace", section.name);
            self.report(rule::STAMP, section.line, message);
        }
        for entry in &section.entries {
            for field in entry.fields() {
                // Not the signature: "$CHICAGO$".
                if has_stamp(field) && !entry.is("Signature") {
                    self.report(rule::STAMP, entry.line, format!("'{field}' has a token that stampinf is to replace"));
                }
                for piece in pieces(field) {
                    match piece {
                        Piece::Stray => {
                            let message = format!("'{field}' has a percent character that no other closes");
                            self.report(rule::PERCENT, entry.line, message);
                        }
                        Piece::Token(name) => self.token(name, entry.line),
                        Piece::Text(_) | Piece::Percent => {}
                    }
                }
            }
        }
    }

    fn token(&mut self, name: &str, line: usize) {
        if let Ok(directory) = name.parse::<i32>() {
            if !super::files::is_directory(directory) {
                self.report(rule::DIRID, line, format!("%{name}% is no directory that the system defines"));
            }
        } else if self.inf.section("Strings").is_none() {
            // One finding for one section that is not there.
            if !self.is_reported(&[rule::STRING_UNDEFINED]) {
                self.report(rule::STRING_UNDEFINED, line, format!("%{name}%: there is no [Strings] section"));
            }
        } else if !self.strings.0.contains_key(&name.to_ascii_lowercase()) {
            self.report(rule::STRING_UNDEFINED, line, format!("%{name}% is not defined in [Strings]"));
        }
    }

    /// Windows takes all strings from one section, so each language has them all.
    fn languages(&mut self) {
        let Some(first) = self.inf.section("Strings") else { return };
        let keys = |section: &Section| -> BTreeSet<String> {
            section.entries.iter().filter_map(|entry| Some(entry.key.as_ref()?.to_ascii_lowercase())).collect()
        };
        for section in self.inf.sections.iter().filter(|section| section.extends("Strings")) {
            let (expected, found) = (keys(first), keys(section));
            if let Some(key) = expected.symmetric_difference(&found).next() {
                let message = format!("[{}] and [Strings] do not have the same strings: {key}", section.name);
                self.report(rule::LANGUAGES, section.line, message);
            }
        }
    }
}
