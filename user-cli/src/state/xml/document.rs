//! The text of a file, and a walk through its elements that knows where it is.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// Why a file cannot be read: nothing of it is taken then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {problem}", if element.is_empty() { String::new() } else { format!(", in {element}") })]
pub struct ReadError {
    pub line: usize,
    /// The way from the root: `wfpstate/layers/item[49]/filters/item[3]/weight`.
    pub element: String,
    pub problem: String,
}

impl ReadError {
    fn in_text(text: &[u8], at: usize, problem: impl Display) -> ReadError {
        let line = 1 + text[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count();
        ReadError { line, element: String::new(), problem: problem.to_string() }
    }
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text of a file, with its byte order mark if it has one: UTF-8 as netsh writes it, or UTF-16 as Windows PowerShell writes what it
/// redirects.
pub fn decode(bytes: Vec<u8>) -> Result<String> {
    let units = |unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(ReadError::in_text(&bytes, bytes.len(), "the file ends within a character"));
        }
        let mut text = String::with_capacity(bytes.len() / 2);
        for character in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
            let line = || 1 + text.matches('\n').count();
            text.push(character.map_err(|_| ReadError {
                line: line(),
                element: String::new(),
                problem: "bytes that are no UTF-16".to_owned(),
            })?);
        }
        Ok(text)
    };
    let text = match bytes[..] {
        [0xFF, 0xFE, ..] | [b'<', 0, ..] => units(u16::from_le_bytes)?,
        [0xFE, 0xFF, ..] | [0, b'<', ..] => units(u16::from_be_bytes)?,
        _ => {
            return String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                ReadError::in_text(error.as_bytes(), at, "bytes that are no UTF-8")
            });
        }
    };
    // What netsh wrote had a mark. On its way through a console's code page it became three other characters.
    let begin = text.find('<').filter(|begin| text[..*begin].chars().count() <= 4).unwrap_or(0);
    let mark = if begin == 0 { "" } else { "\u{feff}" };
    Ok(format!("{mark}{}", &text[begin..]))
}

/// A walk through the elements of a text, in their order.
///
/// [`Walk::roots`] and [`Walk::children`] tell the name of each child; whoever is told reads it with [`Walk::children`], [`Walk::text`] or
/// [`Walk::raw`], or leaves it.
pub struct Walk<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
    /// Where the last event began.
    at: usize,
    path: Vec<Step<'a>>,
    /// The start of the innermost element has been read and nothing of its content.
    unread: Option<Content>,
}

struct Step<'a> {
    name: &'a str,
    /// Among the children of the element around it, from 1.
    number: usize,
    begin: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    None,
    Some,
}

pub type Result<T> = std::result::Result<T, ReadError>;

impl<'a> Walk<'a> {
    pub fn new(text: &'a str) -> Walk<'a> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        Walk { text, reader: Reader::from_str(text), at: 0, path: Vec::new(), unread: None }
    }

    pub fn roots(&mut self, child: impl FnMut(&mut Self, &'a str) -> Result<()>) -> Result<()> {
        self.elements(child)
    }

    pub fn children(&mut self, child: impl FnMut(&mut Self, &'a str) -> Result<()>) -> Result<()> {
        match self.unread.take() {
            Some(Content::None) => Ok(()),
            _ => self.elements(child),
        }
    }

    fn elements(&mut self, mut child: impl FnMut(&mut Self, &'a str) -> Result<()>) -> Result<()> {
        let mut number = 0;
        loop {
            let (name, content) = match self.event()? {
                Event::Start(tag) => (tag.name().as_ref().len(), Content::Some),
                Event::Empty(tag) => (tag.name().as_ref().len(), Content::None),
                Event::End(_) => return Ok(()),
                Event::Eof if self.path.is_empty() => return Ok(()),
                Event::Eof => return Err(self.ends_early()),
                Event::Text(text) if text.trim_ascii().is_empty() => continue,
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => continue,
                _ => return Err(self.error("text where there should be elements only")),
            };
            number += 1;
            self.step(name, number);
            self.unread = Some(content);
            let name = self.path[self.path.len() - 1].name;
            child(self, name)?;
            if self.unread.is_some() {
                self.raw()?;
            }
            self.path.pop();
        }
    }

    /// The text of an element that has no other content.
    pub fn text(&mut self) -> Result<Cow<'a, str>> {
        let mut all = Cow::Borrowed("");
        if self.unread.take() == Some(Content::None) {
            return Ok(all);
        }
        loop {
            let part = match self.event()? {
                Event::End(_) => return Ok(all),
                Event::Text(text) => text.xml10_content(),
                Event::CData(text) => text.xml10_content(),
                Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                    Ok(Some(character)) => Cow::Owned(character.to_string()),
                    Ok(None) => match resolve_predefined_entity(&reference) {
                        Some(text) => Cow::Borrowed(text),
                        None => return Err(self.error(format!("&{}; stands for nothing", &*reference))),
                    },
                    Err(error) => return Err(self.error(error)),
                },
                Event::Eof => return Err(self.ends_early()),
                Event::Comment(_) | Event::PI(_) => continue,
                _ => return Err(self.error("elements where there should be text only")),
            };
            if all.is_empty() { all = part } else { all += part }
        }
    }

    /// The whole element as it stands, tags and all.
    pub fn raw(&mut self) -> Result<&'a str> {
        let depth = self.path.len();
        if self.unread.take() != Some(Content::None) {
            loop {
                match self.event()? {
                    Event::Start(tag) => self.step(tag.name().as_ref().len(), 1),
                    Event::End(_) if self.path.len() == depth => break,
                    Event::End(_) => _ = self.path.pop(),
                    Event::Eof => return Err(self.ends_early()),
                    _ => {}
                }
            }
        }
        Ok(&self.text[self.path[depth - 1].begin..self.position()])
    }

    /// Whether the element that was told has nothing in it.
    pub fn is_empty(&self) -> bool {
        self.unread == Some(Content::None)
    }

    /// The name of the innermost element.
    pub fn name(&self) -> &'a str {
        self.path.last().map_or("", |step| step.name)
    }

    /// Where the innermost element begins.
    pub fn begin(&self) -> usize {
        self.path.last().map_or(0, |step| step.begin)
    }

    /// All that was read since then.
    pub fn since(&self, begin: usize) -> &'a str {
        &self.text[begin..self.position()]
    }

    /// The value of an element with a number in it.
    pub fn number<T: FromStr + Limits>(&mut self) -> Result<T> {
        let text = self.text()?;
        text.parse().map_err(|_| self.error(format!("'{text}' is no number from 0 to {}", T::MAX)))
    }

    /// Something is wrong with the innermost element.
    pub fn error(&self, problem: impl Display) -> ReadError {
        ReadError { element: self.element(), ..ReadError::in_text(self.text.as_bytes(), self.at, problem) }
    }

    fn ends_early(&self) -> ReadError {
        self.error("the file ends here: it was cut off")
    }

    fn element(&self) -> String {
        let step = |step: &Step<'_>| match step.name {
            "item" => format!("item[{}]", step.number),
            name => name.to_owned(),
        };
        self.path.iter().map(step).collect::<Vec<_>>().join("/")
    }

    fn step(&mut self, name: usize, number: usize) {
        let name = &self.text[self.at + 1..][..name];
        self.path.push(Step { name, number, begin: self.at });
    }

    fn event(&mut self) -> Result<Event<'a>> {
        self.at = self.position();
        self.reader.read_event().map_err(|error| {
            self.at = usize::try_from(self.reader.error_position()).unwrap_or(self.at);
            self.error(error)
        })
    }

    fn position(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }
}

/// The greatest value of a type of numbers, to be told.
pub trait Limits {
    const MAX: u64;
}

impl Limits for u8 {
    const MAX: u64 = u8::MAX as u64;
}
impl Limits for u16 {
    const MAX: u64 = u16::MAX as u64;
}
impl Limits for u32 {
    const MAX: u64 = u32::MAX as u64;
}
impl Limits for u64 {
    const MAX: u64 = u64::MAX;
}
