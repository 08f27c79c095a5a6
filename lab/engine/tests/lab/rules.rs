//! Sets of rules as firewalls have them, made from a seed, and packets for them.

use postern_engine::guids::condition::*;
use postern_engine::layers::field::ale_auth_connect as index;
use postern_engine::layers::{self, Layer};
use postern_engine::objects::*;
use postern_engine::*;

/// xorshift64*.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// At ALE_AUTH_CONNECT_V4. Ends of ranges belong to them; `None` asks nothing.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    pub remote: Vec<(u32, u32)>,
    pub local: Option<(u32, u32)>,
    pub remote_port: Vec<(u16, u16)>,
    pub local_port: Option<(u16, u16)>,
    pub protocol: Option<u8>,
    pub app: Option<App>,
    pub not_loopback: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum App {
    Is(u16),
    IsNot(u16),
    IsUnknown,
}

#[derive(Debug, Clone, Default)]
pub struct Packet {
    pub remote: u32,
    pub local: u32,
    pub remote_port: u16,
    pub local_port: u16,
    pub protocol: u8,
    pub app: Option<u16>,
    pub loopback: bool,
}

/// What the rules of a set are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One remote address, one port, one protocol each.
    Exact,
    /// Remote networks of all sizes, nested.
    Prefixes,
    /// As packet classification benchmarks have them: pairs of networks, ports and port ranges, protocols, with much in common.
    Mixed,
    /// As Windows' own: applications, lists of ports and addresses, flags.
    Applications,
}

pub const KINDS: [Kind; 4] = [Kind::Exact, Kind::Prefixes, Kind::Mixed, Kind::Applications];

pub fn rules(kind: Kind, count: usize, random: &mut Random) -> Vec<Rule> {
    let networks: Vec<_> = (0..(count / 20).max(4)).map(|_| network(random, 8)).collect();
    let mut rules: Vec<_> = (0..count).map(|_| rule(kind, count, &networks, random)).collect();
    // The more particular a rule, the earlier it comes, for the most part.
    let size = |rule: &Rule| rule.remote.iter().map(|(low, high)| u64::from(high - low)).max().unwrap_or(u64::MAX);
    rules.sort_by_cached_key(|rule| (size(rule).checked_ilog2(), random.below(16)));
    rules
}

fn network(random: &mut Random, shortest: u64) -> (u32, u32) {
    let length = shortest + random.below(33 - shortest);
    let host = u32::MAX.checked_shr(length as u32).unwrap_or(0);
    let address = random.next() as u32;
    (address & !host, address | host)
}

fn rule(kind: Kind, count: usize, networks: &[(u32, u32)], random: &mut Random) -> Rule {
    let one = |random: &mut Random| networks[random.below(networks.len() as u64) as usize];
    let port = |random: &mut Random| random.next() as u16;
    let tcp_or_udp = |random: &mut Random| Some(if random.percent(70) { 6 } else { 17 });
    match kind {
        Kind::Exact => {
            let (address, port) = (random.next() as u32, port(random));
            Rule {
                remote: vec![(address, address)],
                remote_port: vec![(port, port)],
                protocol: tcp_or_udp(random),
                ..Rule::default()
            }
        }
        Kind::Prefixes => Rule { remote: vec![network(random, 6)], ..Rule::default() },
        Kind::Mixed => {
            // Half of the networks lie in one that others name, too.
            let inside = |random: &mut Random| {
                let (low, high) = one(random);
                if random.percent(50) {
                    let address = low + random.below(u64::from(high - low) + 1) as u32;
                    let host = (u32::MAX.checked_shr(16 + random.below(17) as u32)).unwrap_or(0) & (high - low);
                    (address & !host, address | host)
                } else {
                    (low, high)
                }
            };
            let range = |random: &mut Random| match random.below(10) {
                0 => (1024, 65535),
                1 => {
                    let (one, other) = (port(random), port(random));
                    (one.min(other), one.max(other))
                }
                _ => {
                    let port = port(random) % 1500;
                    (port, port)
                }
            };
            Rule {
                remote: if random.percent(95) { vec![inside(random)] } else { vec![] },
                local: random.percent(80).then(|| inside(random)),
                remote_port: if random.percent(70) { vec![range(random)] } else { vec![] },
                local_port: random.percent(10).then(|| range(random)),
                protocol: if random.percent(90) { tcp_or_udp(random) } else { None },
                ..Rule::default()
            }
        }
        Kind::Applications => Rule {
            app: app(count, random),
            // A few have long lists.
            remote: (0..if random.percent(5) { random.below(40) } else { random.below(4) })
                .map(|_| one(random))
                .collect(),
            remote_port: (0..random.below(5)).map(|_| port(random) % 1000).map(|port| (port, port)).collect(),
            protocol: if random.percent(80) { tcp_or_udp(random) } else { None },
            not_loopback: random.percent(20),
            ..Rule::default()
        },
    }
}

fn app(count: usize, random: &mut Random) -> Option<App> {
    let app = random.below(count as u64 / 4 + 1) as u16;
    match random.below(1000) {
        0..10 => Some(App::IsNot(app)),
        10..20 => Some(App::IsUnknown),
        20..120 => None,
        _ => Some(App::Is(app)),
    }
}

/// A packet that one of the rules matches, or nearly.
pub fn packet(rules: &[Rule], random: &mut Random) -> Packet {
    let rule = &rules[random.below(rules.len() as u64) as usize];
    let within = |random: &mut Random, (low, high): (u64, u64)| low + random.below(high - low + 1);
    let address = |random: &mut Random, choices: &[(u32, u32)]| match choices.len() as u64 {
        0 => random.next() as u32,
        some => {
            let (low, high) = choices[random.below(some) as usize];
            within(random, (u64::from(low), u64::from(high))) as u32
        }
    };
    let port = |random: &mut Random, choices: &[(u16, u16)]| match choices.len() as u64 {
        0 => random.next() as u16,
        some => {
            let (low, high) = choices[random.below(some) as usize];
            within(random, (u64::from(low), u64::from(high))) as u16
        }
    };
    let mut packet = Packet {
        remote: address(random, &rule.remote),
        local: address(random, rule.local.as_slice()),
        remote_port: port(random, &rule.remote_port),
        local_port: port(random, rule.local_port.as_slice()),
        protocol: rule.protocol.unwrap_or(random.below(20) as u8),
        app: match rule.app {
            Some(App::Is(app)) => Some(app),
            Some(App::IsUnknown) => None,
            _ => random.percent(80).then(|| random.below(100) as u16),
        },
        loopback: random.percent(10),
    };
    if random.percent(20) {
        packet.remote_port = packet.remote_port.wrapping_add(1);
    }
    packet
}

impl Rule {
    pub fn conditions(&self) -> Vec<Condition> {
        let address = |field, (low, high): (u32, u32)| match (low ^ high).checked_add(1) {
            Some(size) if size.is_power_of_two() && low & (size - 1) == 0 => {
                condition(field, MatchType::Equal, ConditionValue::V4AddrMask { addr: low, mask: !(size - 1) })
            }
            _ => range(field, ConditionValue::Uint32(low), ConditionValue::Uint32(high)),
        };
        let port = |field, (low, high): (u16, u16)| match low == high {
            true => condition(field, MatchType::Equal, ConditionValue::Uint16(low)),
            false => range(field, ConditionValue::Uint16(low), ConditionValue::Uint16(high)),
        };
        let mut all = Vec::new();
        let app = |match_type, value| condition(ALE_APP_ID, match_type, value);
        all.extend(self.app.map(|asked| match asked {
            App::Is(one) => app(MatchType::Equal, ConditionValue::ByteBlob(app_id(one))),
            App::IsNot(one) => app(MatchType::NotEqual, ConditionValue::ByteBlob(app_id(one))),
            App::IsUnknown => app(MatchType::Equal, ConditionValue::Empty),
        }));
        all.extend(self.remote.iter().map(|ends| address(IP_REMOTE_ADDRESS, *ends)));
        all.extend(self.local.map(|ends| address(IP_LOCAL_ADDRESS, ends)));
        all.extend(self.remote_port.iter().map(|ends| port(IP_REMOTE_PORT, *ends)));
        all.extend(self.local_port.map(|ends| port(IP_LOCAL_PORT, ends)));
        all.extend(
            self.protocol.map(|protocol| condition(IP_PROTOCOL, MatchType::Equal, ConditionValue::Uint8(protocol))),
        );
        if self.not_loopback {
            all.push(condition(FLAGS, MatchType::FlagsNoneSet, ConditionValue::Uint32(1)));
        }
        all
    }

    /// The filter of the rule at a place in its set: those before it outweigh it.
    pub fn filter(&self, place: usize) -> Filter {
        let action = if place.is_multiple_of(3) { Action::Block } else { Action::Permit };
        Filter {
            conditions: self.conditions(),
            weight: Weight::Exact(u64::MAX - place as u64),
            ..Filter::new(format!("rule {place}"), layer().key, action)
        }
    }
}

fn condition(field: uuid::Uuid, match_type: MatchType, value: ConditionValue) -> Condition {
    Condition { field, match_type, value }
}

fn range(field: uuid::Uuid, low: ConditionValue, high: ConditionValue) -> Condition {
    condition(field, MatchType::Range, ConditionValue::Range(Box::new((low, high))))
}

pub fn layer() -> &'static Layer {
    layers::by_id(layers::id::ALE_AUTH_CONNECT_V4).expect("a layer")
}

/// As `FwpmGetAppIdFromFileName0` makes them.
pub fn app_id(app: u16) -> Vec<u8> {
    let path = format!(r"\device\harddiskvolume3\program files\vendor {}\application {app}.exe", app % 7);
    path.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// The incoming values; `app_id` is that of the packet's application.
pub fn values<'a>(packet: &Packet, app_id: &'a [u8]) -> Vec<Value<'a>> {
    let mut values = vec![Value::Empty; layer().fields.len()];
    put(packet, app_id, &mut values);
    values
}

/// The same, in the place of those of another packet.
pub fn put<'a>(packet: &Packet, app_id: &'a [u8], values: &mut [Value<'a>]) {
    values[index::IP_REMOTE_ADDRESS] = Value::Uint32(packet.remote);
    values[index::IP_LOCAL_ADDRESS] = Value::Uint32(packet.local);
    values[index::IP_REMOTE_PORT] = Value::Uint16(packet.remote_port);
    values[index::IP_LOCAL_PORT] = Value::Uint16(packet.local_port);
    values[index::IP_PROTOCOL] = Value::Uint8(packet.protocol);
    values[index::FLAGS] = Value::Uint32(u32::from(packet.loopback));
    values[index::ALE_APP_ID] = if packet.app.is_some() { Value::ByteBlob(app_id) } else { Value::Empty };
}

/// No callouts.
pub struct NoCallouts;

impl Callouts for NoCallouts {
    fn classify(&mut self, _: u32, _: &RuntimeFilter, _: &mut ClassifyOut) -> CalloutCall {
        CalloutCall::NotRegistered
    }
}
