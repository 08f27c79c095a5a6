//! ClassBench's rules as filters, its packets classified: the answers must be those of others.
//!
//! The files are not ours to copy: `POSTERN_CLASSBENCH=DIR cargo test -p postern-engine --test classbench -- --ignored` reads every `NAME`,
//! `NAME_trace` and `NAME.expected` there, plain or with `.gz`. A rule is `@source destination ports : ports protocol/mask flags/mask`;
//! a packet `source destination port port protocol ...`; an answer the number of the first rule that matches, from 0, or -1.

use std::fs;
use std::io::Read;
use std::net::Ipv6Addr;
use std::path::Path;

use flate2::read::GzDecoder;
use postern_engine::guids::condition::*;
use postern_engine::layers::field::ale_auth_connect as index;
use postern_engine::layers::{self, Layer};
use postern_engine::objects::*;
use postern_engine::*;
use uuid::Uuid;

fn read(path: &Path) -> Option<String> {
    if let Ok(text) = fs::read_to_string(path) {
        return Some(text);
    }
    let file = fs::File::open(path.with_file_name(format!("{}.gz", path.file_name()?.to_str()?))).ok()?;
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).expect("a compressed text");
    Some(text)
}

/// The source is taken as the remote side.
fn conditions(rule: &str) -> Vec<Condition> {
    let words: Vec<_> = rule.trim_start_matches('@').split_whitespace().collect();
    let [source, destination, from, ":", to, other_from, ":", other_to, protocol, ..] = words[..] else {
        panic!("{rule}");
    };
    let (protocol, mask) = protocol.split_once('/').expect("protocol/mask");
    let hex = |text: &str| u8::from_str_radix(text.trim_start_matches("0x"), 16).expect("two digits");
    let mut all = vec![
        equal(IP_REMOTE_ADDRESS, network(source)),
        equal(IP_LOCAL_ADDRESS, network(destination)),
        ports(IP_REMOTE_PORT, from, to),
        ports(IP_LOCAL_PORT, other_from, other_to),
    ];
    match hex(mask) {
        0 => {}
        0xFF => all.push(equal(IP_PROTOCOL, ConditionValue::Uint8(hex(protocol)))),
        mask => panic!("a protocol under the mask {mask:#x}"),
    }
    all
}

fn equal(field: Uuid, value: ConditionValue) -> Condition {
    Condition { field, match_type: MatchType::Equal, value }
}

fn network(text: &str) -> ConditionValue {
    let (address, length) = text.split_once('/').expect("address/length");
    let prefix: u8 = length.parse().expect("a length");
    match address.parse::<Ipv6Addr>() {
        Ok(address) => ConditionValue::V6AddrMask { addr: address.octets(), prefix },
        Err(_) => {
            let address: std::net::Ipv4Addr = address.parse().expect("an address");
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            ConditionValue::V4AddrMask { addr: address.into(), mask }
        }
    }
}

fn ports(field: Uuid, from: &str, to: &str) -> Condition {
    let port = |text: &str| ConditionValue::Uint16(text.parse().expect("a port"));
    let value = ConditionValue::Range(Box::new((port(from), port(to))));
    Condition { field, match_type: MatchType::Range, value }
}

fn engine(layer: &Layer, rules: &str) -> (Engine, Vec<u64>) {
    let mut engine = Engine::new();
    let session = engine.session_open(Session::new("", 4, "SYSTEM")).unwrap();
    engine.transaction_begin(session, false).unwrap();
    let ids = rules.lines().filter(|line| line.starts_with('@')).enumerate().map(|(place, rule)| {
        let filter = Filter {
            weight: Weight::Exact(u64::MAX - place as u64),
            conditions: conditions(rule),
            ..Filter::new("rule", layer.key, Action::Permit)
        };
        engine.filter_add(session, filter, &mut ()).unwrap()
    });
    let ids = ids.collect();
    engine.transaction_commit(session, &mut ()).unwrap();
    (engine, ids)
}

struct NoCallouts;

impl Callouts for NoCallouts {
    fn classify(&mut self, _: u32, _: &RuntimeFilter, _: &mut ClassifyOut) -> CalloutCall {
        CalloutCall::NotRegistered
    }
}

#[test]
#[ignore = "needs the rules in POSTERN_CLASSBENCH, which are not ours to copy"]
fn every_packet_is_answered_as_expected() {
    let folder = std::env::var("POSTERN_CLASSBENCH").expect("POSTERN_CLASSBENCH: the folder of the rules");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.contains("_trace") && !name.contains(".expected"))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no rules in {folder}");
    for name in names {
        let part = |suffix: &str| read(&Path::new(&folder).join(format!("{name}{suffix}")));
        let (Some(rules), Some(trace), Some(expected)) = (part(""), part("_trace"), part(".expected")) else {
            panic!("{name}: rules, trace or answers are missing");
        };
        let v6 = rules.contains("::");
        let id = if v6 { layers::id::ALE_AUTH_CONNECT_V6 } else { layers::id::ALE_AUTH_CONNECT_V4 };
        let layer = layers::by_id(id).unwrap();
        let (engine, ids) = engine(layer, &rules);
        let snapshot = engine.snapshot();
        let mut packets = 0;
        for (line, (packet, expected)) in trace.lines().zip(expected.lines()).enumerate() {
            let words: Vec<_> = packet.split_whitespace().collect();
            let mut values = vec![Value::Empty; layer.fields.len()];
            let addresses: Vec<[u8; 16]> = words[..2]
                .iter()
                .filter_map(|word| word.parse().ok())
                .map(|address: Ipv6Addr| address.octets())
                .collect();
            for (place, field) in [index::IP_REMOTE_ADDRESS, index::IP_LOCAL_ADDRESS].into_iter().enumerate() {
                values[field] = match addresses.get(place) {
                    Some(address) => Value::ByteArray16(address),
                    None => Value::Uint32(words[place].parse().unwrap()),
                };
            }
            values[index::IP_REMOTE_PORT] = Value::Uint16(words[2].parse().unwrap());
            values[index::IP_LOCAL_PORT] = Value::Uint16(words[3].parse().unwrap());
            values[index::IP_PROTOCOL] = Value::Uint8(words[4].parse().unwrap());
            let found = snapshot.classify(id, &values, &mut NoCallouts).filter_id;
            let found = found.map_or(-1, |id| ids.iter().position(|other| *other == id).unwrap() as i64);
            assert_eq!(found, expected.trim().parse::<i64>().unwrap(), "{name}, line {}: {packet}", line + 1);
            packets += 1;
        }
        assert_eq!(packets, expected.lines().count(), "{name}");
        println!("{name}: {} rules, {packets} packets", ids.len());
    }
}
