//! Policies: what would change, changing it, and nothing half.

#[allow(dead_code)]
mod common;

use common::lab::{Lab, Ran};
use serde_json::Value;

/// A policy file beside a lab.
struct Policy {
    directory: tempfile::TempDir,
}

impl Policy {
    fn new(rules: &str) -> Policy {
        let policy = Policy { directory: tempfile::tempdir().unwrap() };
        policy.say(rules);
        policy
    }

    fn say(&self, rules: &str) {
        std::fs::write(self.path(), format!("[policy]\nname = \"office\"\n{rules}")).unwrap();
    }

    fn path(&self) -> String {
        self.directory.path().join("policy.toml").to_str().unwrap().to_owned()
    }

    fn run(&self, lab: &Lab, arguments: &[&str]) -> Ran {
        lab.run(&[arguments, &[&self.path()]].concat())
    }

    fn apply(&self, lab: &Lab) -> Value {
        lab.json(&["apply", "--yes", &self.path()])
    }

    /// The changes that `plan` tells, as `change object name`.
    fn plan(&self, lab: &Lab) -> Vec<String> {
        let ran = self.run(lab, &["--json", "plan"]);
        let plan: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
        let changes = plan["changes"].as_array().unwrap();
        assert_eq!(ran.code, if changes.is_empty() { 0 } else { 7 }, "{ran:?}");
        changes
            .iter()
            .map(|change| format!("{} {} {}", text(change, "change"), text(change, "object"), text(change, "name")))
            .collect()
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}"))
}

fn filters(lab: &Lab) -> Vec<Value> {
    lab.json(&["filter", "list"])["filters"].as_array().unwrap().clone()
}

/// Numbers of the objects that are not built in.
fn objects(lab: &Lab) -> (usize, usize, usize, usize) {
    let state = lab.json(&["state", "--format", "json"]);
    let count = |of: &str| state[of].as_array().unwrap().len();
    (count("providers"), count("sublayers"), count("callouts"), count("filters"))
}

const TWO: &str = r#"
[[rule]]
name = "no file server"
layer = "connect"
action = "block"
protocol = ["tcp", "udp"]
remote = "192.0.2.0/24"
remote-port = [139, "445-446"]

[[rule]]
name = "no remote desktop"
layer = "accept"
action = "callout-block"
local-port = 3389
"#;

#[test]
fn a_policy_is_planned_applied_and_then_there_is_nothing_to_do() {
    let lab = Lab::started();
    let policy = Policy::new(TWO);
    let planned = policy.plan(&lab);
    assert_eq!(planned.len(), 7, "{planned:?}");
    assert_eq!(objects(&lab), (0, 0, 0, 0));
    assert_eq!(policy.apply(&lab)["changes"].as_array().unwrap().len(), 7);
    assert_eq!(objects(&lab), (1, 1, 2, 3));

    let filters = filters(&lab);
    let block = filters.iter().find(|filter| filter["name"] == "no file server").unwrap();
    assert_eq!(text(block, "layer"), "ALE_AUTH_CONNECT_V4");
    assert_eq!(
        block["conditions"],
        serde_json::json!([
            "IP_PROTOCOL = tcp or udp",
            "IP_REMOTE_ADDRESS = 192.0.2.0/24",
            "IP_REMOTE_PORT = 139 or 445-446"
        ])
    );
    let connect = |to| lab.run(&["connect", "--protocol", "tcp", "--remote", to]).code;
    assert_eq!([connect("192.0.2.7:445"), connect("192.0.2.7:80")], [4, 0]);

    assert_eq!(policy.plan(&lab), [""; 0]);
    let again = policy.apply(&lab);
    assert_eq!((again["unchanged"].as_u64(), again["changes"].as_array().unwrap().len()), (Some(3), 0));
    assert_eq!(self::filters(&lab), filters, "keys and ids are those of before");
}

#[test]
fn what_changed_in_the_file_or_in_the_engine_is_changed_and_nothing_else() {
    let lab = Lab::started();
    let policy = Policy::new(TWO);
    policy.apply(&lab);
    lab.ok(&["filter", "add", "--layer", "listen", "--action", "block", "--name", "another's"]);

    policy.say(&TWO.replace("192.0.2.0/24", "192.0.3.0/24"));
    assert_eq!(policy.plan(&lab), ["change filter no file server"]);
    policy.apply(&lab);
    let connect = |to| lab.run(&["connect", "--protocol", "tcp", "--remote", to]).code;
    assert_eq!([connect("192.0.2.7:445"), connect("192.0.3.7:445")], [0, 4]);

    // Somebody has removed one by hand.
    let there = filters(&lab);
    let id = there.iter().find(|filter| filter["name"] == "no remote desktop").unwrap()["id"].to_string();
    lab.ok(&["filter", "remove", &id]);
    assert_eq!(policy.plan(&lab), ["add filter no remote desktop"]);
    policy.apply(&lab);
    assert_eq!(policy.plan(&lab), [""; 0]);

    policy.say("");
    let planned = policy.plan(&lab);
    assert_eq!(planned.iter().filter(|change| change.starts_with("remove")).count(), 7, "{planned:?}");
    policy.apply(&lab);
    let left: Vec<Value> = filters(&lab);
    assert_eq!(left.iter().map(|filter| text(filter, "name")).collect::<Vec<_>>(), ["another's"; 2]);
    assert_eq!(objects(&lab), (1, 1, 0, 2));
}

#[test]
fn a_rule_that_the_engine_refuses_is_named_and_nothing_of_the_policy_is_there() {
    let lab = Lab::started();
    let policy = Policy::new(TWO);
    policy.apply(&lab);
    let before = filters(&lab);
    policy.say(&format!(
        "{}\n[[rule]]\nname = \"theirs\"\nlayer = \"ALE_AUTH_CONNECT_V4\"\naction = \"callout-terminating\"\n\
         callout = \"{{6f1d4c0e-52a0-4a8c-9a5e-2c5b7a4d9e10}}\"\n",
        TWO.replace("192.0.2.0/24", "192.0.3.0/24")
    ));
    let ran = policy.run(&lab, &["apply", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for part in
        ["rule 'theirs' at ALE_AUTH_CONNECT_V4", "FWP_E_CALLOUT_NOT_FOUND", "policy.toml:19:8", "nothing was changed"]
    {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    assert_eq!(filters(&lab), before);
}

#[test]
fn a_sublayer_that_changes_takes_its_filters_along_unless_others_use_it() {
    let lab = Lab::started();
    let rules = |weight: &str| {
        format!(
            "sublayer = \"first\"\n[[sublayer]]\nname = \"first\"\nkey = \"{{6f1d4c0e-52a0-4a8c-9a5e-2c5b7a4d9e10}}\"\n\
             weight = \"{weight}\"\n[[rule]]\nname = \"all\"\nlayer = \"connect\"\naction = \"block\"\n"
        )
    };
    let policy = Policy::new(&rules("0x9800"));
    policy.apply(&lab);
    policy.say(&rules("0x9801"));
    assert_eq!(policy.plan(&lab), ["change sublayer first"]);
    policy.apply(&lab);
    assert_eq!(policy.plan(&lab), [""; 0]);
    let state = lab.json(&["state"]);
    assert_eq!(state["sublayers"][0]["weight"], 0x9801);
    assert_eq!(filters(&lab).len(), 2);
    // That of a built-in sublayer is taken, and the closest to it is as good.
    policy.say(&rules("0x8000"));
    policy.apply(&lab);
    assert_ne!(lab.json(&["state"])["sublayers"][0]["weight"], 0x8000);
    assert_eq!(policy.plan(&lab), [""; 0]);

    // Another policy has a filter in it.
    let other = Policy::new("");
    std::fs::write(
        other.path(),
        "[policy]\nname = \"other\"\nsublayer = \"{6f1d4c0e-52a0-4a8c-9a5e-2c5b7a4d9e10}\"\n[[rule]]\nname = \"guest\"\n\
         layer = \"listen\"\naction = \"block\"\nfamily = \"v4\"\n",
    )
    .unwrap();
    other.apply(&lab);
    policy.say(&rules("0x9802"));
    let ran = policy.run(&lab, &["apply", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("sublayer 'first' would have to be deleted, and 1 filter"), "{}", ran.err);
}

#[test]
fn mistakes_are_all_told_with_line_and_column_and_what_is_allowed() {
    let lab = Lab::started();
    for (rule, place, part) in [
        ("layer = \"conect\"\naction = \"block\"", "5:9", "write one of bind, listen, connect"),
        ("layer = \"connect\"\naction = \"blok\"", "6:10", "'blok' is none of permit, block"),
        ("layer = \"connect\"\naction = \"block\"\nremote = [\"::1\", \"10.1.2.3/8\"]", "7:18", "write 10.0.0.0/8"),
        ("layer = \"connect\"\naction = \"block\"\nlocal-port = 99999", "7:14", "0 to 65535"),
        ("layer = \"connect\"\naction = \"block\"\nlocal-port = []", "7:14", "would match every value"),
        ("layer = \"connect\"\naction = \"permit\"\nreject = true", "7:10", "reject means nothing with action permit"),
        ("layer = \"stream\"\naction = \"permit\"\ninterface-type = 6", "7:18", "layers that have it: bind"),
        ("layer = \"stream\"\naction = \"permit\"\napp = \"System\"", "7:7", "layers that have it: bind"),
        ("layer = \"connect\"\naction = \"permit\"\ninterface-type = \"lan\"", "7:18", "ethernet, token-ring"),
        ("layer = \"connect\"\naction = \"permit\"\nuser = \"me\"", "7:8", "'me' is no SID"),
        ("layer = \"connect\"\naction = \"permit\"\nsublayer = \"top\"", "7:12", "FWPM_SUBLAYER_*"),
        ("layer = \"connect\"\naction = \"permit\"\nprotcol = \"tcp\"", "7:1", "expected one of `name`"),
        ("layer = \"connect\"\naction = \"callout-unknown\"", "6:10", "callout-unknown needs a callout"),
        (
            "layer = \"connect\"\naction = \"permit\"\nkey = \"{6f1d4c0e-52a0-4a8c-9a5e-2c5b7a4d9e10}\"",
            "7:7",
            "another one at ALE_AUTH_CONNECT_V6",
        ),
        (
            "layer = \"connect\"\naction = \"permit\"\ncondition = [{ field = \"IP_PROTOCOL\", value = 256 }]",
            "7:47",
            "the field holds 0 to 255",
        ),
        ("layer = \"connect\"\naction = \"block\"\nname = ", "7:8", ""),
    ] {
        let policy = Policy::new(&format!("[[rule]]\nname = \"x\"\n{rule}\n"));
        let ran = policy.run(&lab, &["plan"]);
        assert_eq!(ran.code, 1, "{rule}: {ran:?}");
        assert!(ran.err.contains(&format!("policy.toml:{place}")) && ran.err.contains(part), "{rule}: {}", ran.err);
    }
    let policy = Policy::new(
        "[[rule]]\nname = \"x\"\nlayer = \"y\"\naction = \"z\"\n[[rule]]\nname = \"\"\nlayer = \"q\"\naction = \"w\"",
    );
    let ran = policy.run(&lab, &["plan"]);
    assert_eq!(ran.err.matches("--> ").count(), 5, "{}", ran.err);
}

#[test]
fn without_a_terminal_nobody_is_asked_and_nothing_is_changed() {
    let lab = Lab::started();
    let policy = Policy::new(TWO);
    let ran = policy.run(&lab, &["apply"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("7 to add") && ran.err.contains("give --yes"), "{}", ran.err);
    assert_eq!(objects(&lab), (0, 0, 0, 0));
}

#[test]
fn two_rules_of_one_name_at_one_layer_are_refused() {
    let lab = Lab::started();
    let rule = "[[rule]]\nname = \"x\"\nlayer = \"listen\"\naction = \"block\"\n";
    let ran = Policy::new(&format!("{rule}{rule}")).run(&lab, &["plan"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("two rules named 'x' are at layer ALE_AUTH_LISTEN_V4"), "{}", ran.err);
    assert!(ran.err.contains("policy.toml:8:8") && ran.err.contains("policy.toml:4:8"), "{}", ran.err);
}

#[test]
fn warnings_are_told_and_can_be_refused() {
    let lab = Lab::started();
    let policy = Policy::new("[[rule]]\nname = \"b\"\nlayer = \"connect\"\naction = \"block\"\nprotocol = \"udp\"\n");
    let ran = policy.run(&lab, &["plan"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.err.contains("warning: rule 'b' blocks DHCP, DHCPv6, DNS too") && ran.err.contains("policy.toml:4:8"));
    let refused = policy.run(&lab, &["apply", "--yes", "--deny-warnings"]);
    assert!(refused.code == 1 && refused.err.contains("1 warning: nothing was changed"), "{refused:?}");
    assert_eq!(objects(&lab), (0, 0, 0, 0));
    let applied = policy.apply(&lab);
    assert_eq!((applied["warnings"][0]["line"].as_u64(), applied["applied"].as_bool()), (Some(4), Some(true)));
}

#[test]
fn the_published_schema_is_the_one_that_is_printed() {
    let lab = Lab::absent();
    let published = include_str!("../../docs/policy.schema.json");
    let printed = lab.ok(&["plan", "--schema"]);
    assert!(printed == published, "write it: `postern plan --schema > docs/policy.schema.json`");
}

#[test]
fn the_documented_example_is_a_policy_without_warnings() {
    let page = include_str!("../../docs/policy.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let lab = Lab::started();
    let policy = Policy::new("");
    std::fs::write(policy.path(), example).unwrap();
    let ran = policy.run(&lab, &["apply", "--yes"]);
    assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
    assert_eq!(policy.plan(&lab), [""; 0]);
    assert_eq!(filters(&lab).len(), 10);
}
