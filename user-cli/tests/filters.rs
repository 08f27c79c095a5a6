//! Adding, listing and removing filters.

#[allow(dead_code)]
mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::lab::Lab;
use postern_protocol::FilterContext;
use serde_json::{Value, json};

fn add(lab: &Lab, arguments: &[&str]) -> Vec<Value> {
    let added = lab.json(&[&["filter", "add"], arguments].concat());
    added["filters"].as_array().unwrap().clone()
}

fn listed(lab: &Lab) -> Vec<Value> {
    lab.json(&["filter", "list"])["filters"].as_array().unwrap().clone()
}

/// Numbers of the objects that are not built in.
fn objects(lab: &Lab) -> (usize, usize, usize, usize) {
    let state = lab.json(&["state", "--format", "json"]);
    let count = |of: &str| state[of].as_array().unwrap().len();
    (count("providers"), count("sublayers"), count("callouts"), count("filters"))
}

#[test]
fn a_name_that_the_engine_refuses_is_a_usage_error_that_names_the_option() {
    let lab = Lab::started();
    for (option, text) in [("--name", ""), ("--name", "two\nlines"), ("--description", "a\ttab")] {
        let ran = lab.run(&["filter", "add", "--layer", "connect", "--action", "block", option, text]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains(option), "{ran:?}");
    }
    assert_eq!(objects(&lab), (0, 0, 0, 0));
}

#[test]
fn static_filters_go_with_the_base_filtering_engine_and_persistent_ones_stay() {
    let lab = Lab::started();
    for lifetime in ["static", "persistent"] {
        add(&lab, &["--layer", "listen", "--action", "block", "--family", "v4", "--lifetime", lifetime]);
    }
    lab.ok(&["lab", "bfe", "stopped"]);
    lab.ok(&["lab", "bfe", "running"]);
    assert_eq!(objects(&lab), (1, 1, 0, 1));
    assert_eq!(listed(&lab)[0]["lifetime"], "persistent");
}

#[test]
fn a_filter_is_added_listed_and_removed() {
    let lab = Lab::started();
    let added = add(
        &lab,
        &[
            "--layer",
            "connect",
            "--action",
            "block",
            "--protocol",
            "tcp",
            "--remote",
            "192.0.2.0/24",
            "--remote-port",
            "80",
            "--remote-port",
            "443-445",
            "--app",
            r"C:\Windows\curl.exe",
            "--weight",
            "12",
            "--name",
            "web",
            "--hard",
        ],
    );
    assert_eq!(added.len(), 1);
    let filter = &added[0];
    assert_eq!(filter["layer"], "ALE_AUTH_CONNECT_V4");
    assert_eq!(filter["action"], "block");
    assert_eq!(filter["weight"], "range 12");
    assert!(filter["effective_weight"].as_str().unwrap().starts_with("0xc"), "{filter}");
    assert_eq!(filter["hard"], true);
    assert_eq!(filter["lifetime"], "static");
    assert_eq!(
        filter["conditions"],
        json!([
            "IP_PROTOCOL = tcp",
            "IP_REMOTE_ADDRESS = 192.0.2.0/24",
            "IP_REMOTE_PORT = 80 or 443-445",
            r"ALE_APP_ID = \device\harddiskvolume3\windows\curl.exe",
        ])
    );
    assert_eq!(listed(&lab), added);
    let id = filter["id"].to_string();
    assert!(lab.ok(&["filter", "list"]).contains("192.0.2.0/24"));
    assert!(lab.ok(&["filter", "remove", &id]).contains("web"));
    assert!(listed(&lab).is_empty());
}

#[test]
fn without_addresses_there_is_a_filter_for_each_ip_version() {
    let lab = Lab::started();
    let layers = |arguments: &[&str]| -> Vec<String> {
        let arguments = [&["--layer", "accept", "--action", "permit"], arguments].concat();
        add(&lab, &arguments).iter().map(|filter| filter["layer"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(layers(&[]), ["ALE_AUTH_RECV_ACCEPT_V4", "ALE_AUTH_RECV_ACCEPT_V6"]);
    assert_eq!(layers(&["--family", "v6"]), ["ALE_AUTH_RECV_ACCEPT_V6"]);
    assert_eq!(layers(&["--remote", "2001:db8::/32"]), ["ALE_AUTH_RECV_ACCEPT_V6"]);
    assert_eq!(layers(&["--protocol", "icmp"]), ["ALE_AUTH_RECV_ACCEPT_V4"]);
    assert_eq!(layers(&["--remote", "::1", "--remote", "127.0.0.1"]).len(), 2);
}

#[test]
fn our_provider_sublayer_and_callouts_come_with_the_first_filter_and_go_with_the_last() {
    let lab = Lab::started();
    let nothing = objects(&lab);
    add(&lab, &["--layer", "connect", "--action", "callout-block", "--family", "v4", "--name", "a"]);
    add(&lab, &["--layer", "connect", "--action", "callout-block", "--family", "v4", "--name", "b"]);
    assert_eq!(objects(&lab), (1, 1, 1, 2));
    lab.ok(&["filter", "remove", "--name", "a"]);
    assert_eq!(objects(&lab), (1, 1, 1, 1));
    lab.ok(&["filter", "remove", "--all"]);
    assert_eq!(objects(&lab), nothing);
}

#[test]
fn each_lifetime_has_objects_of_its_own() {
    let lab = Lab::started();
    add(&lab, &["--layer", "connect", "--action", "block", "--family", "v4"]);
    let persistent =
        add(&lab, &["--layer", "connect", "--action", "block", "--family", "v4", "--lifetime", "persistent"]);
    assert_eq!(persistent[0]["lifetime"], "persistent");
    assert_eq!(objects(&lab), (2, 2, 0, 2));
    lab.ok(&["filter", "remove", "--all"]);
    assert_eq!(objects(&lab), (0, 0, 0, 0));
}

#[test]
fn a_callout_object_has_one_lifetime_and_the_error_says_so() {
    let lab = Lab::started();
    let callout = ["filter", "add", "--layer", "connect", "--action", "callout-block", "--family", "v4", "--lifetime"];
    lab.ok(&[&callout[..], &["static"]].concat());
    let before = objects(&lab);
    let ran = lab.run(&[&callout[..], &["persistent"]].concat());
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("FWP_E_LIFETIME_MISMATCH (0x80320016)") && ran.err.contains("help: "), "{ran:?}");
    assert_eq!(objects(&lab), before, "the transaction was aborted whole");
}

#[test]
fn a_dynamic_filter_goes_with_the_command_however_that_ends() {
    let lab = Lab::started();
    let arguments = ["filter", "add", "--layer", "connect", "--action", "callout-inspect", "--lifetime", "dynamic"];
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::KILL] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_postern"))
            .env("POSTERN_LAB", lab.socket())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(objects(&lab), (1, 1, 2, 2));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        child.wait().unwrap();
        let begun = Instant::now();
        while objects(&lab) != (0, 0, 0, 0) {
            assert!(begun.elapsed() < Duration::from_secs(5), "the filters stay");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_filter_that_was_removed_cannot_be_removed_again() {
    let lab = Lab::started();
    let added = add(&lab, &["--layer", "listen", "--action", "permit", "--family", "v4"]);
    let (id, key) = (added[0]["id"].to_string(), added[0]["key"].as_str().unwrap());
    lab.ok(&["filter", "remove", key]);
    for which in [&id, key, "12345", "6f1d4c0e-52a0-4a8c-9a5e-2c5b7a4d9e10"] {
        let ran = lab.run(&["filter", "remove", which]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("FWP_E_FILTER_NOT_FOUND") && ran.err.contains("postern filter list"), "{ran:?}");
    }
    assert_eq!(lab.run(&["filter", "remove", "--name", "nobody"]).code, 1);
    assert_eq!(lab.ok(&["filter", "remove", "--all"]), "there was none\n");
}

#[test]
fn one_wrong_id_among_several_removes_none() {
    let lab = Lab::started();
    let added = add(&lab, &["--layer", "listen", "--action", "permit", "--family", "v4"]);
    assert_eq!(lab.run(&["filter", "remove", &added[0]["id"].to_string(), "99999"]).code, 1);
    assert_eq!(listed(&lab).len(), 1);
}

#[test]
fn mistakes_on_the_command_line_are_explained_before_a_lab_is_asked() {
    let lab = Lab::absent();
    for (arguments, part) in [
        (&["--layer", "conect", "--action", "block"][..], "there is no layer 'conect'"),
        (&["--layer", "connect", "--action", "drop"], "possible values: permit, block"),
        (&["--layer", "connect", "--action", "block", "--remote", "10.0.0.1/8"], "write 10.0.0.0/8 for the network"),
        (&["--layer", "connect", "--action", "block", "--remote", "10.0.0.0/40"], "more than the 32 bits"),
        (&["--layer", "connect", "--action", "block", "--weight", "77"], "a weight range is 0 to 15"),
        (&["--layer", "connect", "--action", "block", "--remote-port", "99999"], "0 to 65535"),
        (&["--layer", "connect", "--action", "block", "--protocol", "tpc"], "'tpc' is no protocol"),
        (&["--layer", "connect", "--action", "block", "--app", "curl.exe"], "no full path of a program"),
        (
            &["--layer", "connect", "--action", "block", "--protocol", "icmp", "--remote-port", "8"],
            "protocol icmp has no ports",
        ),
        (
            &["--layer", "listen", "--action", "block", "--remote", "10.0.0.1"],
            "ALE_AUTH_LISTEN_V4 has no field FWPM_CONDITION_IP_REMOTE_ADDRESS, which --remote needs",
        ),
        (
            &["--layer", "connect", "--action", "block", "--remote", "10.0.0.1", "--family", "both"],
            "the IPv6 filter would match every address",
        ),
        (&["--layer", "connect", "--action", "block", "--remote", "10.0.0.1", "--family", "v6"], "no IPv6 address"),
        (
            &["--layer", "FWPM_LAYER_ALE_AUTH_CONNECT_V6", "--action", "block", "--remote", "10.0.0.1"],
            "--remote has no IPv6 address",
        ),
        (&["--layer", "connect", "--action", "callout-inspect", "--fail-closed"], "--fail-closed means nothing"),
        (&["--layer", "connect", "--action", "block", "--silent"], "--silent means nothing"),
        (&["--layer", "accept", "--action", "block", "--reject"], "--reject means nothing with --action block"),
        (&["--layer", "accept", "--action", "callout-hold", "--reject"], "--reject means nothing"),
        (
            &["--layer", "connect", "--action", "callout-block", "--reject"],
            "--reject means nothing at layer ALE_AUTH_CONNECT_V4",
        ),
        (&["--layer", "accept", "--action", "callout-block", "--reject", "--silent"], "contradict each other"),
        (&["--layer", "stream", "--action", "callout-block"], "the driver has no block callout at layer STREAM_V4"),
        (
            &["--layer", "inbound-transport", "--action", "callout-hold"],
            "an operation can be held where it is authorised: at connect and accept",
        ),
        (&["--layer", "connect", "--action", "callout-block", "--hold-for", "9"], "--hold-for means nothing"),
        (&["--layer", "connect", "--action", "block", "--otherwise", "permit"], "--otherwise means nothing"),
        (&["--layer", "connect", "--action", "callout-hold", "--silent"], "--silent means nothing"),
        (&["--layer", "connect", "--action", "callout-hold", "--hold-for", "0"], "0 is not in 1..=65535"),
        (&["--layer", "FWPM_LAYER_ALE_AUTH_CONNECT_V6", "--family", "v4", "--action", "block"], "not one of IPv4"),
    ] {
        let ran = lab.run(&[&["filter", "add"], arguments].concat());
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
        assert!(ran.err.contains(part), "{arguments:?}: {ran:?}");
    }
    assert_eq!(lab.run(&["filter", "remove"]).code, 2);
    assert_eq!(lab.run(&["filter", "remove", "web"]).code, 2);
}

#[test]
fn errors_are_json_too_when_asked_for() {
    let lab = Lab::absent();
    let ran = lab.run(&["--json", "filter", "list"]);
    let error: Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["error"]["kind"], "no-lab");
    assert!(error["error"]["help"].as_str().unwrap().contains("postern lab start"));
}

#[test]
fn clients_wait_for_each_others_transactions() {
    let lab = Lab::started();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    add(&lab, &["--layer", "connect", "--action", "block", "--family", "v4"]);
                }
            });
        }
    });
    assert_eq!(objects(&lab), (1, 1, 0, 20));
}

/// The tags and texts of the one filter that there is, as netsh shows them.
fn filter_xml(lab: &Lab) -> String {
    let state = lab.run(&["state", "--format", "xml"]);
    let from = state.out.find("<filters ").expect("filters");
    state.out[from..].to_owned()
}

fn context(lab: &Lab) -> Option<FilterContext> {
    let xml = filter_xml(lab);
    let from = xml.find("<rawContext>").expect("a filter") + "<rawContext>".len();
    let digits: String = xml[from..].chars().take_while(char::is_ascii_digit).collect();
    FilterContext::from_raw(digits.parse().unwrap())
}

#[test]
fn a_silent_block_says_so_in_the_filters_context() {
    let lab = Lab::started();
    let block = ["--layer", "connect", "--family", "v4", "--action", "callout-block"];
    add(&lab, &block);
    assert_eq!(context(&lab), Some(FilterContext::empty()));
    lab.run(&["filter", "remove", "--all"]);
    add(&lab, &[&block[..], &["--silent"]].concat());
    assert_eq!(context(&lab), Some(FilterContext::ABSORB));
}

#[test]
fn a_block_that_rejects_says_so() {
    let lab = Lab::started();
    let block = ["--layer", "accept", "--family", "v4", "--action", "callout-block"];
    assert_eq!(add(&lab, &block)[0].get("reject"), None);
    assert!(!lab.ok(&["filter", "list"]).contains("reset"));
    lab.ok(&["filter", "remove", "--all"]);
    assert_eq!(add(&lab, &[&block[..], &["--reject"]].concat())[0]["reject"], json!(true));
    assert_eq!(context(&lab), Some(FilterContext::REJECT));
    let list = lab.ok(&["filter", "list"]);
    assert!(list.contains("callout-block with a reset"), "{list}");
    assert!(lab.ok(&["state"]).contains("callout-block with a reset"));
}

#[test]
fn a_filter_that_holds_says_for_how_long_and_what_then() {
    let lab = Lab::started();
    let hold = ["--layer", "accept", "--family", "v6", "--action", "callout-hold"];
    let by_default = add(&lab, &hold);
    assert_eq!(by_default[0]["hold"], json!({"seconds": 30, "otherwise": "block"}));
    assert_eq!(context(&lab), Some(FilterContext::empty()));
    lab.run(&["filter", "remove", "--all"]);
    let chosen = add(&lab, &[&hold[..], &["--hold-for", "90", "--otherwise", "permit"]].concat());
    assert_eq!(chosen[0]["hold"], json!({"seconds": 90, "otherwise": "permit"}));
    assert_eq!(context(&lab), Some(FilterContext::OTHERWISE_PERMIT.with_hold_seconds(90)));
    assert!(lab.ok(&["filter", "list"]).contains("callout-hold 90 s, then permit"));
    assert!(lab.ok(&["state"]).contains("callout-hold 90 s, then permit"));
}

#[test]
fn a_filter_whose_callout_decides_permits_without_it_unless_it_is_to_fail_closed() {
    const FLAG: &str = "<item>FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED</item>";
    let lab = Lab::started();
    for action in ["callout-permit", "callout-block", "callout-hold"] {
        let arguments = ["--layer", "connect", "--family", "v4", "--action", action];
        add(&lab, &arguments);
        assert!(filter_xml(&lab).contains(FLAG), "{action}");
        lab.ok(&["connect", "--protocol", "tcp", "--remote", "192.0.2.7:443"]);
        lab.ok(&["filter", "remove", "--all"]);
        add(&lab, &[&arguments[..], &["--fail-closed"]].concat());
        assert!(!filter_xml(&lab).contains(FLAG), "{action}");
        assert_eq!(lab.run(&["connect", "--protocol", "tcp", "--remote", "192.0.2.7:443"]).code, 4, "{action}");
        lab.ok(&["filter", "remove", "--all"]);
    }
}

#[test]
fn a_list_is_narrowed_to_what_is_asked_for() {
    let lab = Lab::started();
    let action = ["--action", "block"];
    for (name, options) in [
        ("web", &["--layer", "connect", "--family", "v4", "--protocol", "tcp", "--remote-port", "443"][..]),
        ("net", &["--layer", "connect", "--remote", "192.0.2.0/24"]),
        ("host", &["--layer", "connect", "--remote", "192.0.2.7", "--remote-port", "1-1024"]),
        ("six", &["--layer", "connect", "--remote", "2001:db8::/32"]),
        ("desktop", &["--layer", "accept", "--family", "v4", "--local-port", "3389", "--lifetime", "persistent"]),
    ] {
        add(&lab, &[options, &action, &["--name", name]].concat());
    }
    let seen = ["--layer", "outbound-transport", "--family", "v4", "--action", "callout-inspect", "--name", "seen"];
    add(&lab, &seen);
    let names = |options: &[&str]| {
        let found = lab.json(&[&["filter", "list"], options].concat());
        let found = found["filters"].as_array().unwrap();
        let mut names: Vec<_> = found.iter().map(|filter| filter["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let ours = "Postern CLI";
    assert_eq!(names(&["--layer", "connect"]), ["host", "net", "six", "web"]);
    assert_eq!(names(&["--layer", "ALE_AUTH_CONNECT_V6"]), ["six"]);
    assert_eq!(names(&["--provider", "Postern CLI (persistent)"]), ["desktop"]);
    assert_eq!(names(&["--provider", "{706f7374-6572-4e00-9000-000000000011}"]), ["desktop"]);
    assert_eq!(names(&["--provider", ours, "--callout", "Postern inspect at OUTBOUND_TRANSPORT_V4"]), ["seen"]);
    let https = ["--remote", "192.0.2.7", "--protocol", "tcp", "--remote-port", "443", "--provider", ours];
    assert_eq!(names(&https), ["host", "net", "seen", "web"], "what may have a say");
    assert_eq!(names(&[&https[..], &["--contains"]].concat()), ["host", "net", "seen", "web"]);
    let network = ["--remote", "192.0.2.0/24", "--layer", "connect"];
    assert_eq!(names(&network), ["host", "net", "web"]);
    assert_eq!(names(&[&network[..], &["--contains"]].concat()), ["net"]);
    assert_eq!(names(&["--local-port", "3000-4000", "--layer", "accept"]), ["desktop"]);
    assert_eq!(names(&["--boot-time"]), [""; 0]);
}

#[test]
fn a_search_that_cannot_be_meant_is_answered_with_what_there_is() {
    let lab = Lab::started();
    for (options, code, expected) in [
        (&["--provider", "nobody"][..], 1, "there is no provider named 'nobody'"),
        (&["--callout", "nothing"], 1, "there is no callout named 'nothing'"),
        (&["--layer", "ippacket"], 2, "there is no layer 'ippacket'"),
        (&["--layer", "inbound-ippacket", "--remote-port", "5"], 2, "has no field"),
        (&["--local", "::1", "--remote", "127.0.0.1"], 2, "different IP versions"),
        (&["--layer", "ALE_AUTH_CONNECT_V4", "--remote", "::1"], 2, "sees no IPv6 address"),
    ] {
        let ran = lab.run(&[&["filter", "list"], options].concat());
        assert_eq!((ran.code, ran.err.contains(expected)), (code, true), "{ran:?}");
    }
}
