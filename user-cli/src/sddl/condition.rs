//! The expressions of conditional entries ([MS-DTYP] 2.4.4.17, 2.5.1.1): text in infix order, bytes in postfix order.

use super::{Result, SddlError, sid};

/// What the bytes begin with.
const SIGNATURE: &[u8; 4] = b"artx";

const STRING: u8 = 0x10;
const LIST: u8 = 0x50;
const SID: u8 = 0x51;
const INTEGER: u8 = 0x04;
const AND: u8 = 0xa0;
const OR: u8 = 0xa1;
const NOT: u8 = 0xa2;

/// Where an attribute comes from, by token.
const ATTRIBUTES: [(u8, &str); 4] = [(0xf9, "@User."), (0xfa, "@Resource."), (0xfb, "@Device."), (0xf8, "")];

/// Operators between an attribute and a value.
const BINARY: [(u8, &str); 10] = [
    (0x80, "=="),
    (0x81, "!="),
    (0x83, "<="),
    (0x82, "<"),
    (0x85, ">="),
    (0x84, ">"),
    (0x86, "Contains"),
    (0x88, "Any_of"),
    (0x8e, "Not_Contains"),
    (0x8f, "Not_Any_of"),
];

/// Operators before a list of SIDs, or before an attribute. One that begins another one stands after it.
const UNARY: [(u8, &str); 10] = [
    (0x8b, "Member_of_Any"),
    (0x89, "Member_of"),
    (0x8c, "Device_Member_of_Any"),
    (0x8a, "Device_Member_of"),
    (0x92, "Not_Member_of_Any"),
    (0x90, "Not_Member_of"),
    (0x93, "Not_Device_Member_of_Any"),
    (0x91, "Not_Device_Member_of"),
    (0x87, "Exists"),
    (0x8d, "Not_Exists"),
];

/// Expressions nest no deeper, in text or bytes.
const DEEPEST: usize = 32;

pub fn parse(text: &str) -> Result<Vec<u8>> {
    let mut parser = Parser { rest: text, bytes: SIGNATURE.to_vec(), depth: 0 };
    let whole = parser.any().and_then(|()| parser.rest.is_empty().then_some(()));
    whole.ok_or_else(|| SddlError::new(format!("'{text}' is no condition that can be read here")))?;
    let padded = parser.bytes.len().next_multiple_of(4);
    parser.bytes.resize(padded, 0);
    Ok(parser.bytes)
}

struct Parser<'a> {
    rest: &'a str,
    bytes: Vec<u8>,
    depth: usize,
}

impl Parser<'_> {
    fn skip(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(token)?.trim_start();
        Some(())
    }

    fn any(&mut self) -> Option<()> {
        self.all()?;
        while self.skip("||").is_some() {
            self.all()?;
            self.bytes.push(OR);
        }
        Some(())
    }

    fn all(&mut self) -> Option<()> {
        self.one()?;
        while self.skip("&&").is_some() {
            self.one()?;
            self.bytes.push(AND);
        }
        Some(())
    }

    fn one(&mut self) -> Option<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        if self.skip("!").is_some() {
            self.one()?;
            self.bytes.push(NOT);
        } else if self.skip("(").is_some() {
            self.any()?;
            self.skip(")")?;
        } else if let Some((token, _)) = UNARY.iter().find(|(_, name)| self.word(name)) {
            self.value()?;
            self.bytes.push(*token);
        } else {
            self.attribute()?;
            let (token, _) = BINARY.iter().find(|(_, name)| self.skip(name).is_some())?;
            self.value()?;
            self.bytes.push(*token);
        }
        self.depth -= 1;
        Some(())
    }

    /// A word that another one does not only begin with.
    fn word(&mut self, word: &str) -> bool {
        let follows = self.rest.strip_prefix(word).and_then(|rest| rest.chars().next());
        follows.is_some_and(|next| matches!(next, ' ' | '{' | '@' | '(')) && self.skip(word).is_some()
    }

    fn value(&mut self) -> Option<()> {
        if let Some(rest) = self.rest.strip_prefix('"') {
            let (text, rest) = rest.split_once('"')?;
            self.string(STRING, text);
            self.rest = rest.trim_start();
        } else if self.rest.starts_with("SID(") {
            self.skip("SID(")?;
            let (sid, rest) = sid::take(self.rest)?;
            self.rest = rest;
            self.skip(")")?;
            self.bytes.push(SID);
            self.length(sid.len())?;
            self.bytes.extend(sid);
        } else if self.skip("{").is_some() {
            self.bytes.push(LIST);
            let place = self.bytes.len();
            self.length(0)?;
            loop {
                // A list holds no list.
                if self.rest.starts_with('{') {
                    return None;
                }
                self.value()?;
                if self.skip(",").is_none() {
                    break;
                }
            }
            self.skip("}")?;
            let length = u32::try_from(self.bytes.len() - place - 4).ok()?;
            self.bytes[place..place + 4].copy_from_slice(&length.to_le_bytes());
        } else if self.rest.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
            let end = self.rest.find(|next: char| !next.is_ascii_digit() && next != '-').unwrap_or(self.rest.len());
            let number: i64 = self.rest[..end].parse().ok()?;
            self.rest = self.rest[end..].trim_start();
            self.bytes.push(INTEGER);
            self.bytes.extend(number.to_le_bytes());
            // Minus or no sign; decimal.
            self.bytes.extend([if number < 0 { 2 } else { 3 }, 2]);
        } else {
            self.attribute()?;
        }
        Some(())
    }

    fn attribute(&mut self) -> Option<()> {
        let (token, prefix) = ATTRIBUTES.iter().find(|(_, prefix)| self.rest.starts_with(prefix))?;
        let name = &self.rest[prefix.len()..];
        let belongs = |next: char| next.is_alphanumeric() || matches!(next, ':' | '/' | '.' | '_' | '%');
        let end = name.find(|next| !belongs(next)).unwrap_or(name.len());
        if end == 0 {
            return None;
        }
        self.string(*token, &name[..end]);
        self.rest = name[end..].trim_start();
        Some(())
    }

    fn string(&mut self, token: u8, text: &str) {
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.bytes.push(token);
        self.bytes.extend((units.len() as u32).to_le_bytes());
        self.bytes.extend(units);
    }

    fn length(&mut self, length: usize) -> Option<()> {
        self.bytes.extend(u32::try_from(length).ok()?.to_le_bytes());
        Some(())
    }
}

pub fn text(bytes: &[u8]) -> Result<String> {
    read(bytes).ok_or_else(|| SddlError::new("a condition that cannot be read here"))
}

fn read(bytes: &[u8]) -> Option<String> {
    let mut rest = bytes.strip_prefix(SIGNATURE)?;
    let mut stack: Vec<String> = Vec::new();
    while let Some((token, _)) = rest.split_first() {
        // Padding.
        if *token == 0 && rest.iter().all(|byte| *byte == 0) {
            break;
        }
        if let Some((text, after)) = operand(rest) {
            stack.push(text);
            rest = after;
            continue;
        }
        rest = &rest[1..];
        let last = stack.pop()?;
        let text = if let Some((_, name)) = BINARY.iter().find(|(known, _)| known == token) {
            format!("({} {name} {last})", stack.pop()?)
        } else if let Some((_, name)) = UNARY.iter().find(|(known, _)| known == token) {
            format!("({name} {last})")
        } else {
            match *token {
                AND => format!("({} && {last})", stack.pop()?),
                OR => format!("({} || {last})", stack.pop()?),
                NOT => format!("(!{last})"),
                _ => return None,
            }
        };
        stack.push(text);
    }
    let text = stack.pop()?;
    (stack.is_empty() && text.starts_with('(')).then_some(text)
}

/// The operand that the bytes begin with, and what follows it.
fn operand(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (token, rest) = bytes.split_first()?;
    if let 1..=INTEGER = token {
        let (number, rest) = rest.split_first_chunk::<8>()?;
        return Some((i64::from_le_bytes(*number).to_string(), rest.get(2..)?));
    }
    let attribute = ATTRIBUTES.iter().find(|(known, _)| known == token);
    if attribute.is_none() && !matches!(*token, STRING | LIST | SID) {
        return None;
    }
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (content, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let string = || {
        let (units, []) = content.as_chunks::<2>() else { return None };
        String::from_utf16(&units.iter().map(|unit| u16::from_le_bytes(*unit)).collect::<Vec<_>>()).ok()
    };
    let text = match (attribute, *token) {
        (Some((_, prefix)), _) => format!("{prefix}{}", string()?),
        (None, STRING) => format!("\"{}\"", string()?),
        (None, SID) => format!("SID({})", sid::short(content)?),
        (None, _) => {
            let mut content = content;
            let mut items = Vec::new();
            while content.first().is_some_and(|token| *token != LIST) {
                let (item, after) = operand(content)?;
                items.push(item);
                content = after;
            }
            content.is_empty().then(|| format!("{{{}}}", items.join(", ")))?
        }
    };
    Some((text, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_the_same_again() {
        for text in [
            r#"(WIN://SYSAPPID Contains "MSTeams_8wekyb3d8bbwe")"#,
            r#"((@User.Title == "PM") && ((@User.Level >= 4) || (Member_of {SID(BA), SID(S-1-5-32-9999)})))"#,
            "(!(Exists WIN://NOALLAPPPKG))",
            "(@Resource.Project Any_of {1, -2, 30})",
            "(Not_Device_Member_of_Any {SID(WD)})",
        ] {
            assert_eq!(self::text(&parse(text).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn the_bytes_are_in_postfix_order() {
        let expected = [
            &b"artx"[..],
            &[0xf8, 2, 0, 0, 0, b'a', 0, 0x10, 4, 0, 0, 0, b'x', 0, b'y', 0, 0x86],
            &[0xf8, 2, 0, 0, 0, b'b', 0, 0x04, 7, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0x80, 0xa0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(parse(r#"((a Contains "xy") && (b == 7))"#).unwrap(), expected);
        assert_eq!(parse(r#"(a Contains "xy" && b == 7)"#).unwrap(), expected);
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        let deep = "(".repeat(100) + "a == 1" + &")".repeat(100);
        for text in
            ["", "(", "(a)", "(a ==)", "(a == 1", "(a == 1) x", "(a == \"x)", "(a == {1, {2}})", "(== 1)", &deep]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        for bytes in
            [&b""[..], b"artx", b"arty\0", b"artx\x86\0\0\0", b"artx\x10\xff\0\0\0", b"artx\x50\x05\0\0\0\x50\0\0\0\0"]
        {
            assert!(self::text(bytes).is_err(), "{bytes:?}");
        }
    }
}
