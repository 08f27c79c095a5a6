//! Traffic that a machine does not work without, and that a rule blocks which does not speak of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_engine::guids::condition;
use postern_engine::layers;
use postern_engine::objects::{Action, Condition, ConditionValue, Filter, FilterFlags, MatchType};
use postern_engine::values::contain;
use postern_engine::weight::{Layout, effective};
use uuid::Uuid;

use super::{data_type, fields};
use crate::policy::compile::{Policy, Wanted};
use crate::policy::problem::Problem;

/// What is sent or received.
struct Essential {
    name: &'static str,
    layers: &'static [&'static str],
    /// What is known of it; the rest may be anything.
    values: Vec<(Uuid, ConditionValue)>,
    /// A rule that has this very value means it.
    telltale: Uuid,
}

const OUT_V4: &[&str] = &["ALE_AUTH_CONNECT_V4", "OUTBOUND_TRANSPORT_V4"];
const IN_V4: &[&str] = &["ALE_AUTH_RECV_ACCEPT_V4", "INBOUND_TRANSPORT_V4"];
const OUT_V6: &[&str] = &["ALE_AUTH_CONNECT_V6", "OUTBOUND_TRANSPORT_V6"];
const IN_V6: &[&str] = &["ALE_AUTH_RECV_ACCEPT_V6", "INBOUND_TRANSPORT_V6"];

const ICMPV6: u8 = 58;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// `FWP_CONDITION_FLAG_IS_LOOPBACK`.
const LOOPBACK: u32 = 1;

/// Sources: RFC 2131 (DHCP), RFC 8415 (DHCPv6), RFC 1035 (DNS), RFC 4861 (neighbour discovery).
fn essentials() -> Vec<Essential> {
    use condition::{FLAGS, IP_LOCAL_ADDRESS, IP_LOCAL_PORT, IP_PROTOCOL, IP_REMOTE_ADDRESS, IP_REMOTE_PORT};
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => ConditionValue::Uint32(address.into()),
        IpAddr::V6(address) => ConditionValue::ByteArray16(address.octets()),
    };
    let elsewhere = || (FLAGS, ConditionValue::Uint32(0));
    let protocol = |number| (IP_PROTOCOL, ConditionValue::Uint8(number));
    let local_port = |port| (IP_LOCAL_PORT, ConditionValue::Uint16(port));
    let remote_port = |port| (IP_REMOTE_PORT, ConditionValue::Uint16(port));
    let mut all = Vec::new();
    for (layers, own) in [
        (OUT_V4, IpAddr::V4(Ipv4Addr::LOCALHOST)),
        (IN_V4, IpAddr::V4(Ipv4Addr::LOCALHOST)),
        (OUT_V6, IpAddr::V6(Ipv6Addr::LOCALHOST)),
        (IN_V6, IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ] {
        let values = vec![
            (FLAGS, ConditionValue::Uint32(LOOPBACK)),
            (IP_LOCAL_ADDRESS, address(own)),
            (IP_REMOTE_ADDRESS, address(own)),
            protocol(TCP),
        ];
        all.push(Essential { name: "loopback", layers, values, telltale: IP_REMOTE_ADDRESS });
    }
    for (layers, to) in [(OUT_V4, Some(Ipv4Addr::BROADCAST)), (IN_V4, None)] {
        let mut values = vec![protocol(UDP), local_port(68), remote_port(67), elsewhere()];
        values.extend(to.map(|to| (IP_REMOTE_ADDRESS, address(to.into()))));
        all.push(Essential { name: "DHCP", layers, values, telltale: IP_REMOTE_PORT });
    }
    for (layers, to) in [(OUT_V6, Some(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2))), (IN_V6, None)] {
        let mut values = vec![protocol(UDP), local_port(546), remote_port(547), elsewhere()];
        values.extend(to.map(|to| (IP_REMOTE_ADDRESS, address(to.into()))));
        all.push(Essential { name: "DHCPv6", layers, values, telltale: IP_REMOTE_PORT });
    }
    for layers in [OUT_V4, OUT_V6] {
        let values = vec![protocol(UDP), remote_port(53), elsewhere()];
        all.push(Essential { name: "DNS", layers, values, telltale: IP_REMOTE_PORT });
    }
    // Router solicitation and advertisement, neighbour solicitation and advertisement; the code is 0.
    for (layers, kind) in [(OUT_V6, 133), (IN_V6, 134), (OUT_V6, 135), (IN_V6, 135), (OUT_V6, 136), (IN_V6, 136)] {
        let values = vec![protocol(ICMPV6), local_port(kind), remote_port(0), elsewhere()];
        all.push(Essential { name: "ICMPv6 neighbour discovery", layers, values, telltale: IP_LOCAL_PORT });
    }
    all
}

pub fn warnings(policy: &Policy) -> Vec<Problem> {
    let mut by_layer: BTreeMap<&str, Vec<(u16, u64, &Wanted)>> = BTreeMap::new();
    for wanted in &policy.filters {
        let filter = &wanted.filter;
        let Some(layer) = layers::by_key(&filter.layer) else { continue };
        if !essential_layer(layer.name) || filter.flags.contains(FilterFlags::BOOTTIME) {
            continue;
        }
        // The order among sublayers that the policy does not describe is not known: each stands for itself.
        let sublayer = policy.sublayers.iter().find(|sublayer| sublayer.key == filter.sublayer);
        let Ok(weight) = effective(&Layout::of(layer), filter.weight, &filter.conditions) else { continue };
        by_layer.entry(layer.name).or_default().push((sublayer.map_or(0, |sublayer| sublayer.weight), weight, wanted));
    }
    for filters in by_layer.values_mut() {
        filters.sort_by_key(|(sublayer, weight, wanted)| {
            (std::cmp::Reverse(*sublayer), wanted.filter.sublayer, std::cmp::Reverse(*weight))
        });
    }
    let mut lost: BTreeMap<usize, (&Wanted, Vec<&str>)> = BTreeMap::new();
    for essential in essentials() {
        for layer in essential.layers {
            let Some(filters) = by_layer.get(layer) else { continue };
            if let Some(wanted) = essential.blocked_by(filters) {
                let names = &mut lost.entry(wanted.span.start).or_insert((wanted, Vec::new())).1;
                if !names.contains(&essential.name) {
                    names.push(essential.name);
                }
            }
        }
    }
    let told = lost.into_values().map(|(wanted, names)| {
        let name = &wanted.filter.display.name;
        Problem::warning(wanted.span.clone(), format!("rule '{name}' blocks {} too", names.join(", "))).help(
            "if that is not meant, permit them in a rule of more weight: `flags = \"loopback\"`; `protocol = \"udp\"` with \
             `remote-port` 67, 547 or 53; `protocol = \"icmpv6\"` with `icmp-type = \"133-136\"`",
        )
    });
    told.collect()
}

fn essential_layer(name: &str) -> bool {
    [OUT_V4, IN_V4, OUT_V6, IN_V6].iter().any(|layers| layers.contains(&name))
}

/// Whether a filter matches what is not known entirely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matches {
    Yes,
    Perhaps,
    No,
}

impl Essential {
    /// The rule that surely blocks it without meaning it. The filters are those of a layer, as they are asked.
    fn blocked_by<'a>(&self, filters: &[(u16, u64, &'a Wanted)]) -> Option<&'a Wanted> {
        for sublayer in filters.chunk_by(|one, next| one.2.filter.sublayer == next.2.filter.sublayer) {
            for (_, _, wanted) in sublayer {
                let filter = &wanted.filter;
                match (filter.action, self.matches(filter)) {
                    (_, Matches::No) | (Action::Block | Action::CalloutInspection(_), Matches::Perhaps) => {}
                    (Action::CalloutInspection(_), Matches::Yes) => {}
                    (Action::Block, Matches::Yes) => return (!self.is_meant(filter)).then_some(wanted),
                    // It may be permitted here. A hard permit is not overridden by sublayers below.
                    (Action::Permit, _) if filter.flags.contains(FilterFlags::CLEAR_ACTION_RIGHT) => return None,
                    _ => break,
                }
            }
        }
        None
    }

    fn matches(&self, filter: &Filter) -> Matches {
        let mut all = Matches::Yes;
        for alternatives in fields(filter) {
            let field = alternatives[0].field;
            match self.values.iter().find(|(known, _)| *known == field) {
                None => all = Matches::Perhaps,
                Some((_, value)) => {
                    let value = Condition { field, match_type: MatchType::Equal, value: value.clone() };
                    if !contain(alternatives, &value, data_type(&filter.layer, &field)) {
                        return Matches::No;
                    }
                }
            }
        }
        all
    }

    /// Whether the rule speaks of this traffic: it names its port, type or address, or loopback.
    fn is_meant(&self, filter: &Filter) -> bool {
        filter.conditions.iter().any(|condition| {
            let loopback = condition.field == condition::FLAGS && condition.match_type != MatchType::FlagsNoneSet;
            let named = match &condition.value {
                ConditionValue::V4AddrMask { addr, mask } => addr >> 24 == 127 && *mask >= 0xff00_0000,
                value => self.values.iter().any(|(field, known)| *field == self.telltale && known == value),
            };
            loopback && self.name == "loopback"
                || condition.field == self.telltale && condition.match_type == MatchType::Equal && named
        })
    }
}
