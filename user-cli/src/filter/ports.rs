//! Ports and ranges of ports.

use std::fmt;
use std::str::FromStr;

use postern_engine::objects::{ConditionValue, MatchType};

/// One port, or the ports from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    pub fn condition(&self) -> (MatchType, ConditionValue) {
        let (first, last) = (ConditionValue::Uint16(self.first), ConditionValue::Uint16(self.last));
        if self.first == self.last {
            (MatchType::Equal, first)
        } else {
            (MatchType::Range, ConditionValue::Range(Box::new((first, last))))
        }
    }
}

impl From<u16> for Ports {
    fn from(port: u16) -> Ports {
        Ports { first: port, last: port }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Ports, String> {
        let port = |text: &str| {
            text.trim().parse::<u16>().map_err(|_| format!("'{text}' is no port: it is a number from 0 to 65535"))
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if first > last {
            return Err(format!("the range begins after its end: write {last}-{first}"));
        }
        Ok(Ports { first, last })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_one_port_is_a_port() {
        assert_eq!("80-80".parse::<Ports>().unwrap().condition(), (MatchType::Equal, ConditionValue::Uint16(80)));
        assert_eq!("80-81".parse::<Ports>().unwrap().condition().0, MatchType::Range);
    }

    #[test]
    fn mistakes_are_named() {
        assert!("65536".parse::<Ports>().unwrap_err().contains("0 to 65535"));
        assert!("90-80".parse::<Ports>().unwrap_err().contains("write 80-90"));
        assert!("http".parse::<Ports>().unwrap_err().contains("no port"));
    }
}
