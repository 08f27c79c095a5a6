//! Tables for people, JSON for programs.

#[cfg(debug_assertions)]
mod distinct;

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
    as_json(serde_json::to_string_pretty(value))
}

/// Writes to standard output, with a newline at the end. A reader that has gone away (`postern ... | head`) is no failure.
pub fn write(text: &str) -> Result<()> {
    write_if_read(text).map(drop)
}

/// As [`write`]; tells whether there still is a reader.
pub fn write_if_read(text: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    let newline = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    match write!(out, "{text}{newline}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(format!("cannot write to standard output: {error}"))),
    }
}

/// `value` as JSON in one line, for a command that prints as things happen.
pub fn json_line(value: &impl Serialize) -> Result<String> {
    as_json(serde_json::to_string(value))
}

fn as_json(text: serde_json::Result<String>) -> Result<String> {
    let text = text.map_err(|error| Failure::new(format!("cannot write the result as JSON: {error}")))?;
    // So every test of a command is one of this.
    #[cfg(debug_assertions)]
    serde_json::from_str::<distinct::Distinct>(&text).expect("what is printed is JSON with distinct keys");
    Ok(text)
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

/// Text in a style, on a terminal.
pub fn paint(text: &str, style: anstyle::Style) -> String {
    if colours() { format!("{style}{text}{style:#}") } else { text.to_owned() }
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

/// A number of things: `1 filter`, `2 filters`.
pub fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
}

/// A number of bytes: `512 B`, `1.5 KiB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    // Rounding must not make 1024.0 KiB of a byte less than a MiB.
    let (mut size, mut unit) = (number as f64 / 1024.0, 0);
    while size >= 1023.95 {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// The bytes of hexadecimal digits in either case.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect())?
}

/// A time that has passed or is left: `3.2 s`, `4 min 5 s`, `2 h 10 min`.
pub fn time(seconds: f64) -> String {
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// How long something may take, as it is written on the command line.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    parsed
        .and_then(|time| time.try_into().ok())
        .ok_or_else(|| format!("'{text}' is no time: write 500ms, 10s, 5m or 1h30m"))
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
    #[should_panic(expected = "stands twice")]
    fn json_with_a_key_twice_is_a_mistake_of_ours() {
        #[derive(Serialize)]
        struct Inner {
            service: u32,
        }
        #[derive(Serialize)]
        struct Outer {
            service: u32,
            #[serde(flatten)]
            inner: Inner,
        }
        let _ = json_line(&[Outer { service: 1, inner: Inner { service: 2 } }]);
    }

    #[test]
    fn any_other_json_is_as_it_should_be() {
        let value = serde_json::json!({ "a": [null, true, -1, 1.5, "text", { "a": {} }], "b": u64::MAX });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json(&value).unwrap()).unwrap(), value);
    }

    #[test]
    fn bytes_have_two_digits_each() {
        assert_eq!(hex(&[0, 0x7f, 0xff]), "007fff");
        assert_eq!(from_hex("007FfF"), Some(vec![0, 0x7f, 0xff]));
        assert_eq!(from_hex(""), Some(vec![]));
        assert_eq!([from_hex("0"), from_hex("0g"), from_hex("+1")], [None, None, None]);
    }

    #[test]
    fn one_thing_is_singular() {
        assert_eq!(counted(0, "filter"), "0 filters");
        assert_eq!(counted(1, "filter"), "1 filter");
        assert_eq!(counted(1200, "filter"), "1,200 filters");
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!([0, 1023, 1024, 1536, (1 << 20) - 1].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB"]);
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(
            [0.0, 59.94, 60.0, 245.4, 7800.0].map(time),
            ["0.0 s", "59.9 s", "1 min 0 s", "4 min 5 s", "2 h 10 min"]
        );
    }

    #[test]
    fn a_time_is_a_number_of_seconds_or_has_units() {
        assert_eq!(parse_time("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("1m30s"), Ok(Duration::from_secs(90)));
        for text in ["", "soon", "-5s", "10 parsecs"] {
            assert!(parse_time(text).unwrap_err().contains("is no time"), "{text}");
        }
    }

    #[test]
    fn tables_that_go_to_a_file_have_no_escapes_and_no_trailing_blanks() {
        let table = table(["id", "verdict"], [[Cell::new(7), verdict("block", false)]]);
        assert_eq!(lines(&table), "id  verdict\n7   block\n");
    }
}
