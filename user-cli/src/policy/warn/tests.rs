//! Warnings are for what surprises, and for nothing else.

use proptest::prelude::*;
use proptest::sample::select;

use super::covered::{covered, covers};
use super::*;
use crate::policy::problem::Source;

fn policy(rules: &str) -> Policy {
    let source = Source::new("", format!("[policy]\nname = \"test\"\n{rules}"));
    crate::policy::read(&source).unwrap_or_else(|problems| panic!("{}", source.failure(&problems)))
}

fn told(rules: &str) -> Vec<String> {
    warnings(&policy(rules)).into_iter().map(|problem| problem.message).collect()
}

fn rule(name: &str, rest: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\n{rest}\n")
}

const NONE: [&str; 0] = [];

#[test]
fn alternatives_that_look_like_more_are_told() {
    let rest =
        |conditions: &str| rule("x", &format!("layer = \"ALE_AUTH_CONNECT_V4\"\naction = \"permit\"\n{conditions}"));
    let not = |field: &str, value: &str| format!("{{ field = \"{field}\", match = \"not-equal\", value = {value} }}");
    let two = format!("condition = [{}, {}]", not("IP_REMOTE_PORT", "80"), not("IP_REMOTE_PORT", "443"));
    assert_eq!(
        told(&rest(&two)),
        ["the conditions on FWPM_CONDITION_IP_REMOTE_PORT are alternatives: together they match every value"]
    );
    let bounds = "condition = [{ field = \"IP_REMOTE_PORT\", match = \"greater\", value = 1000 }, \
                  { field = \"IP_REMOTE_PORT\", match = \"less\", value = 2000 }]";
    assert_eq!(told(&rest(bounds)).len(), 1);
    let apart = bounds.replace("greater", "less").replace("\"less\", value = 2000", "\"greater\", value = 2000");
    assert_eq!(told(&rest(&apart)), NONE);
    let users = format!(
        "condition = [{}, {}]",
        not("ALE_PACKAGE_ID", "\"S-1-15-2-1\""),
        not("ALE_PACKAGE_ID", "\"S-1-15-2-2\"")
    );
    assert!(told(&rest(&users))[0].contains("together they match every value"));
    let mixed = format!("remote-port = 80\ncondition = [{}]", not("IP_REMOTE_PORT", "443"));
    assert!(told(&rest(&mixed))[0].contains("one of them is enough"));
    let keys = ["flags-all = \"loopback\"\nflags = \"fragment\"", "local-port = 8\nicmp-type = 8"];
    for (keys, field) in keys.iter().zip(["FLAGS", "IP_LOCAL_PORT"]) {
        assert_eq!(
            told(&rest(keys)),
            [format!("another key of the rule is for the same field, FWPM_CONDITION_{field}")]
        );
    }
    assert_eq!(told(&rest("remote-port = [80, 443, \"8000-8999\"]\nremote = [\"10.0.0.1\", \"10.0.0.2\"]")), NONE);
    assert_eq!(told(&rest(&format!("condition = [{}]", not("IP_REMOTE_PORT", "80")))), NONE);
}

#[test]
fn a_rule_that_another_one_covers_is_told() {
    let rest = |more: &str| format!("layer = \"ALE_AUTH_CONNECT_V4\"\naction = \"permit\"\n{more}");
    let net = rule("net", &rest("remote = \"10.0.0.0/8\"\nweight = 9"));
    let covered = [
        "remote = \"10.1.0.0/16\"\nweight = 3",
        "remote = \"10.1.2.3-10.2.0.0\"\nweight = 3",
        "remote = [\"10.1.2.3\", \"10.9.9.9\"]\nprotocol = \"tcp\"\nremote-port = 80\nweight = 3",
    ];
    for more in covered {
        assert_eq!(
            told(&(net.clone() + &rule("x", &rest(more)))),
            ["rule 'x' never decides at ALE_AUTH_CONNECT_V4: 'net' has more weight and matches all that it matches"],
            "{more}"
        );
    }
    for more in [
        "remote = \"10.1.0.0/16\"\nweight = 10",
        "remote = \"10.0.0.0/7\"\nweight = 3",
        "remote = [\"10.1.2.3\", \"11.9.9.9\"]\nweight = 3",
        "weight = 3",
        "remote = \"10.1.0.0/16\"\nweight = 3\nsublayer = \"FWPM_SUBLAYER_UNIVERSAL\"",
        "remote = \"10.1.0.0/16\"\nweight = 3\nlifetime = \"boot-time\"",
        // Of one range the automatic weight decides: the narrower prefix has more.
        "remote = \"10.1.0.0/16\"\nweight = 9",
    ] {
        assert_eq!(told(&(net.clone() + &rule("x", &rest(more)))), NONE, "{more}");
    }
    // What a callout decides is not known.
    let callout = net.replace("permit", "callout-permit");
    assert_eq!(told(&(callout + &rule("x", &rest("remote = \"10.1.0.0/16\"\nweight = 3")))), NONE);
}

#[test]
fn traffic_that_is_lost_unawares_is_told() {
    let block =
        |layer: &str, more: &str| rule("b", &format!("layer = \"{layer}\"\naction = \"block\"\nweight = 1\n{more}"));
    let permit =
        |more: &str| rule("p", &format!("layer = [\"connect\", \"accept\"]\naction = \"permit\"\nweight = 9\n{more}"));
    for (more, lost) in [
        ("", &["rule 'b' blocks loopback, DHCP, DHCPv6, DNS, ICMPv6 neighbour discovery too"][..]),
        ("protocol = \"udp\"", &["rule 'b' blocks DHCP, DHCPv6, DNS too"]),
        ("protocol = \"tcp\"", &["rule 'b' blocks loopback too"]),
        ("protocol = \"icmpv6\"", &["rule 'b' blocks ICMPv6 neighbour discovery too"]),
        ("remote-port = \"1-1023\"\nflags-none = \"loopback\"\nfamily = \"v4\"", &["rule 'b' blocks DHCP, DNS too"]),
        ("remote-port = 53", &[]),
        ("remote = \"192.0.2.0/24\"", &[]),
        ("app = \"System\"", &[]),
        ("protocol = \"icmpv6\"\nicmp-type = [133, 134, 135, 136]", &[]),
        ("flags = \"loopback\"", &[]),
        ("remote = [\"127.0.0.0/8\", \"::1\"]", &[]),
    ] {
        assert_eq!(told(&block("connect", more)), *lost, "{more}");
    }
    let all = "layer = [\"connect\", \"accept\"]";
    let block_all = block("connect", "").replace("layer = \"connect\"", all);
    let permits = [
        permit("flags = \"loopback\""),
        permit("protocol = \"udp\"\nremote-port = [67, 547]").replace("'p'", "'q'").replace("\"p\"", "\"q\""),
        permit("protocol = \"icmpv6\"\nfamily = \"v6\"\nicmp-type = \"133-136\"").replace("\"p\"", "\"r\""),
        // Perhaps it is this program's.
        permit("app = 'C:\\Windows\\System32\\svchost.exe'\nremote-port = 53").replace("\"p\"", "\"s\""),
    ]
    .concat();
    assert_eq!(told(&(block_all.clone() + &permits)), NONE);
    let after = told(&(block_all + &permits.replace("weight = 9", "weight = 0")));
    let lost = "rule 'b' blocks loopback, DHCP, DHCPv6, DNS, ICMPv6 neighbour discovery too";
    assert!(after.iter().any(|told| told == lost), "{after:?}");
}

fn any_rule() -> impl Strategy<Value = String> {
    let address = (0..4u8, 0..4u8, select(vec![8, 16, 24, 32])).prop_map(|(a, b, length)| match length {
        8 => "10.0.0.0/8".to_owned(),
        16 => format!("10.{a}.0.0/16"),
        24 => format!("10.{a}.{b}.0/24"),
        _ => format!("10.{a}.{b}.1"),
    });
    let port = (1..6u16, 0..3u16).prop_map(|(low, more)| format!("{low}-{}", low + more));
    let optional = |key: &'static str, values: BoxedStrategy<String>| {
        let list = prop::collection::vec(values, 1..3).prop_map(move |all| format!("{key} = {all:?}\n"));
        prop_oneof![Just(String::new()), list]
    };
    let protocol = optional("protocol", select(vec!["tcp", "udp"]).prop_map(str::to_owned).boxed());
    let app = optional("app", select(vec![r"C:\a.exe", r"C:\b.exe"]).prop_map(str::to_owned).boxed());
    let action = select(vec!["permit", "block", "callout-block"]);
    (optional("remote", address.boxed()), optional("remote-port", port.boxed()), protocol, app, 0..4u8, action).prop_map(
        |(remote, port, protocol, app, weight, action)| {
            format!(
                "layer = \"ALE_AUTH_CONNECT_V4\"\naction = \"{action}\"\nweight = \"{:#x}\"\n{remote}{port}{protocol}{app}",
                100 + weight
            )
        },
    )
}

proptest! {
    #[test]
    fn the_index_finds_what_comparing_all_with_all_finds(rules in prop::collection::vec(any_rule(), 1..30)) {
        let text: String = rules.iter().enumerate().map(|(number, rest)| rule(&number.to_string(), rest)).collect();
        let policy = policy(&text);
        let weight = |filter: &Filter| match filter.weight {
            postern_engine::objects::Weight::Exact(weight) => weight,
            other => panic!("{other:?}"),
        };
        let decides = |filter: &Filter| filter.action.callout().is_none();
        let expected: Vec<&str> = policy
            .filters
            .iter()
            .map(|wanted| &wanted.filter)
            .filter(|one| {
                let others = policy.filters.iter().map(|wanted| &wanted.filter);
                others.into_iter().any(|other| decides(other) && weight(other) > weight(one) && covers(other, one))
            })
            .map(|filter| filter.display.name.as_str())
            .collect();
        let found: Vec<&str> = covered(&policy).iter().map(|(wanted, _)| wanted.filter.display.name.as_str()).collect();
        prop_assert_eq!(found, expected);
    }
}
