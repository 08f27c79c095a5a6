//! The words that policies have for values.

use clap::ValueEnum;
use postern_engine::objects::MatchType;
use schemars::JsonSchema;

use crate::filter::spec;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, JsonSchema)]
#[schemars(rename_all = "kebab-case", inline)]
pub enum Action {
    Permit,
    Block,
    CalloutPermit,
    CalloutBlock,
    CalloutInspect,
    CalloutHold,
    CalloutTerminating,
    CalloutInspection,
    CalloutUnknown,
}

impl Action {
    /// The action of `postern filter add`; none for those that name a callout.
    pub fn verb(self) -> Option<spec::Verb> {
        Some(match self {
            Action::Permit => spec::Verb::Permit,
            Action::Block => spec::Verb::Block,
            Action::CalloutPermit => spec::Verb::CalloutPermit,
            Action::CalloutBlock => spec::Verb::CalloutBlock,
            Action::CalloutInspect => spec::Verb::CalloutInspect,
            Action::CalloutHold => spec::Verb::CalloutHold,
            Action::CalloutTerminating | Action::CalloutInspection | Action::CalloutUnknown => return None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, JsonSchema)]
#[schemars(rename_all = "kebab-case", inline)]
pub enum Family {
    V4,
    V6,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, JsonSchema)]
#[schemars(rename_all = "kebab-case", inline)]
pub enum Otherwise {
    Permit,
    Block,
}

/// How long a filter lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, JsonSchema)]
#[schemars(rename_all = "kebab-case", inline)]
pub enum Lifetime {
    Static,
    Persistent,
    /// In force only until the base filtering engine runs.
    BootTime,
}

/// `FWP_MATCH_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, JsonSchema)]
#[schemars(rename_all = "kebab-case", inline)]
pub enum Match {
    Equal,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Range,
    FlagsAllSet,
    FlagsAnySet,
    FlagsNoneSet,
    EqualCaseInsensitive,
    NotEqual,
    /// Of a program's path: it ends in the value (FWP_MATCH_PREFIX is defined so).
    Prefix,
    NotPrefix,
}

const MATCHES: [(Match, MatchType); 13] = [
    (Match::Equal, MatchType::Equal),
    (Match::Greater, MatchType::Greater),
    (Match::Less, MatchType::Less),
    (Match::GreaterOrEqual, MatchType::GreaterOrEqual),
    (Match::LessOrEqual, MatchType::LessOrEqual),
    (Match::Range, MatchType::Range),
    (Match::FlagsAllSet, MatchType::FlagsAllSet),
    (Match::FlagsAnySet, MatchType::FlagsAnySet),
    (Match::FlagsNoneSet, MatchType::FlagsNoneSet),
    (Match::EqualCaseInsensitive, MatchType::EqualCaseInsensitive),
    (Match::NotEqual, MatchType::NotEqual),
    (Match::Prefix, MatchType::Prefix),
    (Match::NotPrefix, MatchType::NotPrefix),
];

impl Match {
    pub fn match_type(self) -> MatchType {
        MATCHES[self as usize].1
    }

    pub fn of(match_type: MatchType) -> Match {
        MATCHES[match_type as usize].0
    }
}

/// One of the words of `T`.
pub fn parse<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let words: Vec<String> = T::value_variants().iter().map(name).collect();
        format!("'{text}' is none of {}", words.join(", "))
    })
}

/// The word for a value.
pub fn name<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map_or_else(String::new, |word| word.get_name().to_owned())
}

/// Words for numbers.
#[derive(Debug)]
pub struct Numbers {
    what: &'static str,
    words: &'static [(&'static str, u32)],
}

impl Numbers {
    /// A word, or a number in decimal or, after `0x`, hexadecimal digits.
    pub fn parse(&self, text: &str) -> Result<u64, String> {
        if let Some((_, number)) = self.words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
            return Ok(u64::from(*number));
        }
        number(text).map_err(|_| {
            let words: Vec<&str> = self.words.iter().map(|(word, _)| *word).collect();
            let or = if words.is_empty() { String::new() } else { format!("{} or ", words.join(", ")) };
            format!("'{text}' is no {}: write {or}a number", self.what)
        })
    }

    pub fn name(&self, number: u64) -> Option<&'static str> {
        self.words.iter().find(|(_, of)| u64::from(*of) == number).map(|(word, _)| *word)
    }

    /// The words of a mask's bits, and a number for those without.
    pub fn mask(&self, mask: u32) -> Vec<String> {
        let mut words: Vec<String> =
            self.words.iter().filter(|(_, bit)| mask & bit != 0).map(|(word, _)| (*word).to_owned()).collect();
        let rest = self.words.iter().fold(mask, |rest, (_, bit)| rest & !bit);
        if rest != 0 || words.is_empty() {
            words.push(format!("{rest:#x}"));
        }
        words
    }
}

/// In decimal or, after `0x`, hexadecimal digits.
pub fn number(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("'{text}' is no number"))
}

pub static PLAIN: Numbers = Numbers { what: "number", words: &[] };

/// `IF_TYPE_*` (ipifcons.h).
pub static INTERFACE_TYPES: Numbers = Numbers {
    what: "type of interface",
    words: &[
        ("other", 1),
        ("ethernet", 6),
        ("token-ring", 9),
        ("ppp", 23),
        ("loopback", 24),
        ("slip", 28),
        ("wifi", 71),
        ("tunnel", 131),
        ("firewire", 144),
        ("wwan-gsm", 243),
        ("wwan-cdma", 244),
    ],
};

/// `TUNNEL_TYPE` (ifdef.h).
pub static TUNNEL_TYPES: Numbers = Numbers {
    what: "type of tunnel",
    words: &[("none", 0), ("other", 1), ("direct", 2), ("6to4", 11), ("isatap", 13), ("teredo", 14), ("ip-https", 15)],
};

/// `NL_ADDRESS_TYPE` (nldef.h).
pub static ADDRESS_TYPES: Numbers = Numbers {
    what: "type of address",
    words: &[("unspecified", 0), ("unicast", 1), ("anycast", 2), ("multicast", 3), ("broadcast", 4), ("invalid", 5)],
};

/// `FWP_DIRECTION` (fwptypes.h).
pub static DIRECTIONS: Numbers = Numbers { what: "direction", words: &[("outbound", 0), ("inbound", 1)] };

/// `FWP_CONDITION_FLAG_IS_*` (fwptypes.h).
pub static FLAGS: Numbers = Numbers {
    what: "flag",
    words: &[
        ("loopback", 0x1),
        ("ipsec-secured", 0x2),
        ("reauthorize", 0x4),
        ("wildcard-bind", 0x8),
        ("raw-endpoint", 0x10),
        ("fragment", 0x20),
        ("fragment-group", 0x40),
        ("ipsec-natt-reclassify", 0x80),
        ("requires-ale-classify", 0x100),
        ("implicit-bind", 0x200),
        ("reassembled", 0x400),
        ("name-app-specified", 0x4000),
        ("promiscuous", 0x8000),
        ("auth-fw", 0x1_0000),
        ("reclassify", 0x2_0000),
        ("outbound-pass-thru", 0x4_0000),
        ("inbound-pass-thru", 0x8_0000),
        ("connection-redirected", 0x10_0000),
        ("proxy-connection", 0x20_0000),
        ("appcontainer-loopback", 0x40_0000),
        ("non-appcontainer-loopback", 0x80_0000),
        ("honoring-policy-authorize", 0x200_0000),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_match_type_has_its_word() {
        for word in Match::value_variants() {
            assert_eq!(Match::of(word.match_type()), *word);
            // The word is the header's name.
            assert_eq!(name(word).replace('-', "").to_lowercase(), format!("{:?}", word.match_type()).to_lowercase());
        }
    }

    #[test]
    fn a_word_that_is_none_is_answered_with_those_that_are() {
        assert_eq!(parse::<Family>("v5").unwrap_err(), "'v5' is none of v4, v6, both");
        assert!(INTERFACE_TYPES.parse("lan").unwrap_err().contains("ethernet, token-ring"));
        assert_eq!(INTERFACE_TYPES.parse("0x18"), Ok(24));
        assert_eq!(PLAIN.parse("-1").unwrap_err(), "'-1' is no number: write a number");
    }
}
