//! Addresses, prefixes and ranges as they are written on the command line, and as conditions hold them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use postern_engine::objects::{ConditionValue, MatchType};

/// IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V4,
    V6,
}

/// What an address condition matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    One(IpAddr),
    Prefix(IpAddr, u8),
    Range(IpAddr, IpAddr),
}

impl Addresses {
    pub fn version(&self) -> Version {
        match self {
            Addresses::One(IpAddr::V4(_))
            | Addresses::Prefix(IpAddr::V4(_), _)
            | Addresses::Range(IpAddr::V4(_), _) => Version::V4,
            _ => Version::V6,
        }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match *self {
            Addresses::One(one) => one == address,
            Addresses::Prefix(network, length) => {
                network.is_ipv4() == address.is_ipv4()
                    && (bits(network) ^ bits(address)) & !host_mask(network, length) == 0
            }
            Addresses::Range(low, high) => {
                low.is_ipv4() == address.is_ipv4() && (bits(low)..=bits(high)).contains(&bits(address))
            }
        }
    }

    /// The condition that matches these addresses at a layer of their version.
    pub fn condition(&self) -> (MatchType, ConditionValue) {
        match *self {
            Addresses::One(address) => (MatchType::Equal, value(address)),
            Addresses::Prefix(IpAddr::V4(network), length) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                (MatchType::Equal, ConditionValue::V4AddrMask { addr: network.into(), mask })
            }
            Addresses::Prefix(IpAddr::V6(network), prefix) => {
                (MatchType::Equal, ConditionValue::V6AddrMask { addr: network.octets(), prefix })
            }
            Addresses::Range(low, high) => {
                (MatchType::Range, ConditionValue::Range(Box::new((value(low), value(high)))))
            }
        }
    }
}

fn value(address: IpAddr) -> ConditionValue {
    match address {
        IpAddr::V4(address) => ConditionValue::Uint32(address.into()),
        IpAddr::V6(address) => ConditionValue::ByteArray16(address.octets()),
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn with_bits(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from(bits as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from(bits).into(),
    }
}

/// The bits that a prefix leaves to hosts.
fn host_mask(address: IpAddr, length: u8) -> u128 {
    let hosts = u32::from(width(address) - length);
    u128::MAX.checked_shr(128 - hosts).unwrap_or(0)
}

fn parse_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        if text.contains('%') {
            format!("'{text}' has a zone, which filters cannot match: leave the % and what follows out")
        } else {
            format!("'{text}' is no IPv4 or IPv6 address")
        }
    })
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Addresses, String> {
        if let Some((address, length)) = text.split_once('/') {
            let network = parse_address(address)?;
            let width = width(network);
            let length: u8 = match length.parse() {
                Ok(length) if length <= width => length,
                Ok(length @ 0..=u8::MAX) => {
                    let version = if width == 32 { "IPv4" } else { "IPv6" };
                    return Err(format!(
                        "prefix length {length} is more than the {width} bits of an {version} address"
                    ));
                }
                _ if length.contains('.') => {
                    return Err(format!("write the prefix length as a number of bits, not as the mask {length}"));
                }
                _ => return Err(format!("'{length}' is no prefix length: it is a number from 0 to {width}")),
            };
            let beyond = bits(network) & host_mask(network, length);
            if beyond != 0 {
                let cleared = with_bits(network, bits(network) & !beyond);
                return Err(format!(
                    "{network} has bits set beyond the first {length} ({}): write {cleared}/{length} for the network, \
                     or {network}/{width} for the one address",
                    with_bits(network, beyond)
                ));
            }
            return Ok(Addresses::Prefix(network, length));
        }
        if let Some((low, high)) = text.split_once('-') {
            let (low, high) = (parse_address(low.trim())?, parse_address(high.trim())?);
            if low.is_ipv4() != high.is_ipv4() {
                return Err(format!("{low} and {high} are of different IP versions"));
            }
            if bits(low) > bits(high) {
                return Err(format!("the range begins after its end: write {high}-{low}"));
            }
            return Ok(Addresses::Range(low, high));
        }
        parse_address(text).map(Addresses::One)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addresses::One(address) => write!(f, "{address}"),
            Addresses::Prefix(network, length) => write!(f, "{network}/{length}"),
            Addresses::Range(low, high) => write!(f, "{low}-{high}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Addresses, String> {
        text.parse()
    }

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in ["10.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "10.0.0.1-10.0.0.9", "fe80::/10", "::1", "::/0", "::1-::5"]
        {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_prefix_becomes_a_mask() {
        assert_eq!(
            parse("10.0.0.0/8").unwrap().condition(),
            (MatchType::Equal, ConditionValue::V4AddrMask { addr: 0x0a00_0000, mask: 0xff00_0000 })
        );
        assert_eq!(parse("0.0.0.0/0").unwrap().condition().1, ConditionValue::V4AddrMask { addr: 0, mask: 0 });
    }

    #[test]
    fn a_wrong_prefix_is_told_its_wrong_bits_and_the_two_right_ones() {
        let error = parse("10.1.2.3/8").unwrap_err();
        assert_eq!(
            error,
            "10.1.2.3 has bits set beyond the first 8 (0.1.2.3): write 10.0.0.0/8 for the network, or 10.1.2.3/32 for \
             the one address"
        );
        assert!(parse("fe80::1/64").unwrap_err().contains("(::1): write fe80::/64"));
    }

    #[test]
    fn other_mistakes_are_named() {
        for (text, part) in [
            ("10.0.0.0/33", "more than the 32 bits"),
            ("::/129", "more than the 128 bits"),
            ("10.0.0.0/255.0.0.0", "not as the mask"),
            ("10.0.0.0/x", "no prefix length"),
            ("10.0.0.0/300", "no prefix length"),
            ("example.org", "no IPv4 or IPv6 address"),
            ("fe80::1%eth0", "has a zone"),
            ("10.0.0.9-10.0.0.1", "begins after its end: write 10.0.0.1-10.0.0.9"),
            ("10.0.0.1-::1", "different IP versions"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn prefixes_and_ranges_contain_what_they_should() {
        let inside = |set: &str, address: &str| parse(set).unwrap().contains(address.parse().unwrap());
        assert!(inside("10.0.0.0/8", "10.255.0.1"));
        assert!(!inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("0.0.0.0/0", "1.2.3.4"));
        assert!(!inside("0.0.0.0/0", "::1"));
        assert!(inside("fe80::/10", "febf::1"));
        assert!(inside("10.0.0.1-10.0.0.9", "10.0.0.9"));
        assert!(!inside("10.0.0.1-10.0.0.9", "10.0.0.10"));
    }
}
