//! Tables for people, JSON for programs.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::{Failure, Result};

/// How to print a command's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Human,
    Json,
}

impl Output {
    /// Prints `value` as JSON, or what `human` writes.
    pub fn print<T: Serialize>(self, value: &T, human: impl FnOnce(&T) -> String) -> Result<()> {
        match self {
            Output::Human => write(&human(value)),
            Output::Json => write(&json(value)?),
        }
    }
}

pub fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(format!("cannot write the result as JSON: {error}")))
}

/// Writes to standard output, with a newline at the end. A reader that has gone away (`postern ... | head`) is no failure.
pub fn write(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let newline = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    match write!(out, "{text}{newline}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// A table without vertical rules, as wide as the terminal at most.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [Cell; N]>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    if colours() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(header.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    } else {
        // Not a terminal: a line a row, whatever its length, without escapes.
        table.force_no_tty();
        table.set_header(header.map(Cell::new));
    }
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// The table's text, without blanks at the ends of lines.
pub fn lines(table: &Table) -> String {
    table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

pub fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A cell in green, for what may pass, or in red.
pub fn verdict(text: impl ToString, good: bool) -> Cell {
    Cell::new(text).fg(if good { Color::Green } else { Color::Red })
}

/// A count with thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One line on a terminal's standard error, written over and over while work goes on.
#[derive(Default)]
pub struct ProgressLine {
    shown: Option<Instant>,
}

impl ProgressLine {
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        let mut stderr = io::stderr();
        let due = self.shown.is_none_or(|shown| shown.elapsed() >= Duration::from_millis(100));
        if due && stderr.is_terminal() {
            // Nothing depends on it.
            let _ = write!(stderr, "\r{}\x1b[K", text());
            self.shown = Some(Instant::now());
        }
    }

    pub fn end(&self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1000), "1,000");
        assert_eq!(count(12_345_678), "12,345,678");
    }

    #[test]
    fn tables_that_go_to_a_file_have_no_escapes_and_no_trailing_blanks() {
        let table = table(["id", "verdict"], [[Cell::new(7), verdict("block", false)]]);
        assert_eq!(lines(&table), "id  verdict\n7   block\n");
    }
}
