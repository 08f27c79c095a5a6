//! Network interfaces, as they are written on the command line, and those that a machine's filters name.

use std::collections::BTreeMap;

use postern_engine::guids::condition::{INTERFACE_QUARANTINE_EPOCH, IP_ARRIVAL_INTERFACE};
use postern_engine::layers::key;
use postern_engine::objects::{ConditionValue, Filter, MatchType};
use postern_traffic::{ETHERNET, Interface, LOOPBACK};
use uuid::Uuid;

/// By name, with the interface type (`IFTYPE`, ipifcons.h).
const KINDS: [(&str, u32); 6] =
    [("ethernet", 6), ("loopback", 24), ("ppp", 23), ("wifi", 71), ("tunnel", 131), ("wwan", 243)];

/// What is known of an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Description {
    pub kind: Option<u32>,
    pub luid: Option<u64>,
    pub index: Option<u32>,
    pub tunnel: Option<u32>,
    pub epoch: Option<u64>,
}

/// A name, `key=value` pairs, or both, separated by commas.
pub fn parse(text: &str) -> Result<Description, String> {
    let wrong = || {
        let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        format!(
            "'{text}' is no interface: write {}, or what is known: luid=0x..., index=N, type=N, tunnel=N, epoch=N",
            names.join(", ")
        )
    };
    let mut interface = Description::default();
    for (position, part) in text.split(',').enumerate() {
        match part.split_once('=') {
            None if position == 0 => {
                let (_, kind) = KINDS.iter().find(|(name, _)| *name == part).ok_or_else(wrong)?;
                interface.kind = Some(*kind);
            }
            Some(("luid", value)) => interface.luid = Some(number(value).ok_or_else(wrong)?),
            Some(("epoch", value)) => interface.epoch = Some(number(value).ok_or_else(wrong)?),
            Some(("index", value)) => interface.index = Some(narrow(value).ok_or_else(wrong)?),
            Some(("type", value)) => {
                interface.kind = Some(narrow(value).filter(|kind| *kind < 1 << 16).ok_or_else(wrong)?);
            }
            Some(("tunnel", value)) => interface.tunnel = Some(narrow(value).ok_or_else(wrong)?),
            _ => return Err(wrong()),
        }
    }
    Ok(interface)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn narrow(text: &str) -> Option<u32> {
    number(text).and_then(|number| number.try_into().ok())
}

/// The interfaces that Windows Firewall has let out of quarantine, by LUID, with their epochs (page "Quarantine behavior"): a filter for
/// each names both.
/// An interface has an epoch for each IP version.
pub fn of_filters<'a>(filters: impl Iterator<Item = &'a Filter>, v6: bool) -> BTreeMap<u64, u64> {
    let layer = if v6 { key::ALE_AUTH_RECV_ACCEPT_V6 } else { key::ALE_AUTH_RECV_ACCEPT_V4 };
    let value = |filter: &Filter, field: Uuid| {
        let condition = filter.conditions.iter().find(|condition| condition.field == field)?;
        match condition.value {
            ConditionValue::Uint64(value) if condition.match_type == MatchType::Equal => Some(value),
            _ => None,
        }
    };
    filters
        .filter(|filter| filter.layer == layer)
        .filter_map(|filter| Some((value(filter, IP_ARRIVAL_INTERFACE)?, value(filter, INTERFACE_QUARANTINE_EPOCH)?)))
        .collect()
}

impl Description {
    /// The interface, if need be one that the machine has: of the type, else Ethernet, else any.
    pub fn complete(self, loopback: bool, machine: &BTreeMap<u64, u64>) -> Interface {
        let kind_of = |luid: u64| (luid >> 48) as u32;
        let of_kind = |kind: u32| machine.keys().copied().find(|luid| kind_of(*luid) == kind);
        let found = match (self.luid, self.kind) {
            (Some(luid), _) => Some(luid),
            (None, Some(kind)) => of_kind(kind),
            (None, None) if loopback => Some(LOOPBACK.luid),
            (None, None) => {
                of_kind(ETHERNET.kind).or_else(|| machine.keys().copied().find(|luid| kind_of(*luid) != LOOPBACK.kind))
            }
        };
        let base = if loopback && self == Description::default() { LOOPBACK } else { ETHERNET };
        let kind = self.kind.or(found.map(kind_of)).unwrap_or(base.kind);
        // A LUID begins with the type.
        let luid = found.unwrap_or(u64::from(kind) << 48 | base.luid & ((1 << 48) - 1));
        Interface {
            luid,
            kind,
            index: self.index.unwrap_or(if kind == LOOPBACK.kind { LOOPBACK.index } else { base.index }),
            tunnel: self.tunnel.unwrap_or_default(),
            epoch: self.epoch.or_else(|| machine.get(&luid).copied()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_a_name_and_what_is_known() {
        let none = BTreeMap::new();
        assert_eq!(Description::default().complete(false, &none), ETHERNET);
        assert_eq!(Description::default().complete(true, &none), LOOPBACK);
        assert_eq!(parse("loopback").unwrap().complete(false, &none).index, 1);
        let wifi = parse("wifi,index=7").unwrap().complete(false, &none);
        assert_eq!((wifi.kind, wifi.index, wifi.luid >> 48), (71, 7, 71));
        let other = parse("luid=0x47000000000001,epoch=5").unwrap().complete(false, &none);
        assert_eq!((other.luid, other.kind, other.epoch), (0x47_0000_0000_0001, 71, 5));
        assert_eq!(parse("tunnel,tunnel=14").unwrap().complete(false, &none).tunnel, 14);
    }

    #[test]
    fn a_machines_interface_is_taken_if_it_has_one() {
        const WIFI: u64 = 71 << 48 | 1;
        let machine = BTreeMap::from([(LOOPBACK.luid, 0), (WIFI, 9)]);
        let any = Description::default().complete(false, &machine);
        assert_eq!((any.luid, any.kind, any.epoch), (WIFI, 71, 9));
        let ethernet = parse("ethernet").unwrap().complete(false, &machine);
        assert_eq!((ethernet.kind, ethernet.epoch), (6, 0));
        assert_eq!(Description::default().complete(true, &machine), LOOPBACK);
        assert_eq!(parse("epoch=1").unwrap().complete(false, &machine).epoch, 1);
    }

    #[test]
    fn what_is_no_interface_is_refused() {
        for text in ["", "eth0", "index=x", "wifi,ethernet", "type=65536", "index=4294967296", "name=x", "wifi,"] {
            assert!(parse(text).unwrap_err().contains("is no interface"), "{text}");
        }
    }
}
