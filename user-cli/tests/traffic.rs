//! Connections and captures, judged by filters.

#[allow(dead_code)]
mod common;

use std::path::Path;

use common::capture;
use common::lab::Lab;
use serde_json::{Value, json};

fn data(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/pcap").join(file).to_str().unwrap().to_owned()
}

fn filter(lab: &Lab, arguments: &[&str]) -> Value {
    lab.json(&[&["filter", "add"], arguments].concat())["filters"][0]["id"].clone()
}

/// A summary without what differs from run to run.
fn replay(lab: &Lab, arguments: &[&str]) -> Value {
    let mut summary = lab.json(&[&["replay"], arguments].concat());
    for varying in ["seconds", "packets_per_second", "threads"] {
        assert!(summary.as_object_mut().unwrap().remove(varying).unwrap().is_number());
    }
    summary
}

#[test]
fn a_connection_is_permitted_or_blocked_and_the_exit_code_tells() {
    let lab = Lab::started();
    let web = filter(
        &lab,
        &["--layer", "connect", "--action", "block", "--protocol", "tcp", "--remote", "192.0.2.0/24", "--name", "web"],
    );
    let ran = lab.run(&["--json", "connect", "--protocol", "tcp", "--remote", "192.0.2.7:443"]);
    assert_eq!(ran.code, 4);
    let verdict: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        verdict,
        json!({"permitted": false, "held": false, "layer": "ALE_AUTH_CONNECT_V4", "filter": {"id": web, "name": "web"}, "callouts": []})
    );
    let text = lab.run(&["connect", "--protocol", "tcp", "--remote", "192.0.2.7:443"]);
    assert_eq!(text.out, format!("blocked at ALE_AUTH_CONNECT_V4 by filter {web} (web)\n"));
    assert_eq!(
        lab.ok(&["connect", "--protocol", "udp", "--remote", "192.0.2.7:443"]),
        "permitted at ALE_AUTH_CONNECT_V4, no filter decided\n"
    );
    lab.ok(&["connect", "--protocol", "tcp", "--remote", "[2001:db8::1]:443"]);
    lab.ok(&["accept", "--protocol", "tcp", "--remote", "192.0.2.7:5000", "--local", "192.168.0.2:80"]);
    lab.ok(&["connect", "--protocol", "icmp", "--remote", "192.0.2.7"]);
}

#[test]
fn a_filter_for_a_program_is_for_that_program_alone() {
    let lab = Lab::started();
    filter(&lab, &["--layer", "connect", "--action", "block", "--app", r"C:\Program Files\x.exe"]);
    let connect =
        |app: &str| lab.run(&["connect", "--protocol", "tcp", "--remote", "192.0.2.7:443", "--app", app]).code;
    assert_eq!(connect(r"c:\PROGRAM FILES\X.EXE"), 4);
    assert_eq!(connect(r"C:\Program Files\y.exe"), 0);
}

#[test]
fn a_callout_that_no_driver_registers_permits_unless_it_shall_fail_closed() {
    let lab = Lab::started();
    let connect =
        |port: &str| lab.run(&["connect", "--protocol", "tcp", "--remote", &format!("192.0.2.7:{port}")]).code;
    filter(&lab, &["--layer", "connect", "--action", "callout-block", "--remote-port", "80"]);
    filter(&lab, &["--layer", "connect", "--action", "callout-permit", "--remote-port", "81", "--fail-closed"]);
    assert_eq!((connect("80"), connect("81"), connect("82")), (0, 4, 0));
}

#[test]
fn connections_that_make_no_sense_are_refused() {
    let lab = Lab::absent();
    for (arguments, part) in [
        (&["--protocol", "tcp", "--remote", "192.0.2.7"][..], "tcp needs a remote port"),
        (&["--protocol", "tcp", "--remote", "example.org:80"], "no endpoint"),
        (&["--protocol", "tcp", "--remote", "192.0.2.7:80", "--local", "::1"], "different IP versions"),
    ] {
        let ran = lab.run(&[&["connect"], arguments].concat());
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains(part), "{ran:?}");
    }
}

#[test]
fn a_replay_counts_each_packet_where_it_was_decided() {
    let lab = Lab::started();
    let web = filter(
        &lab,
        &["--layer", "connect", "--action", "block", "--protocol", "tcp", "--remote", "192.0.2.80", "--name", "web"],
    );
    let ssh = filter(
        &lab,
        &["--layer", "accept", "--action", "permit", "--local-port", "22", "--name", "ssh", "--family", "v4"],
    );
    let ping =
        filter(&lab, &["--layer", "inbound-transport", "--action", "block", "--protocol", "icmp", "--name", "ping"]);
    let summary = replay(&lab, &[&data("mixed.pcap")]);
    let frames = capture::frames().len();
    assert_eq!(summary["packets"], frames);
    assert_eq!(summary["flows"], 10);
    assert_eq!(summary["skipped"], json!({"not-ip": 1}));
    assert_eq!(summary["local"], "192.168.1.10, 2001:db8:1::10 (takes part in most of the capture)");
    let decisions = summary["decisions"].as_array().unwrap();
    let of = |layer: &str, filter: Value, permitted: bool, packets: u64| {
        let wanted = json!({"layer": layer, "filter": filter, "permitted": permitted, "packets": packets});
        assert!(decisions.contains(&wanted), "{wanted} is not in {decisions:#?}");
    };
    // All nine packets of the connection, in both directions.
    of("ALE_AUTH_CONNECT_V4", json!({"id": web, "name": "web"}), false, 9);
    of("ALE_AUTH_RECV_ACCEPT_V4", json!({"id": ssh, "name": "ssh"}), true, 9);
    // The two replies.
    of("INBOUND_TRANSPORT_V4", json!({"id": ping, "name": "ping"}), false, 2);
    of("ALE_AUTH_CONNECT_V6", Value::Null, true, 13);
    let total: u64 = decisions.iter().map(|decision| decision["packets"].as_u64().unwrap()).sum();
    assert_eq!(total, frames as u64 - 1);
    assert_eq!(summary["permitted"].as_u64().unwrap() + summary["blocked"].as_u64().unwrap(), total);
}

#[test]
fn neither_format_nor_threads_nor_repetition_change_a_verdict() {
    let lab = Lab::started();
    filter(&lab, &["--layer", "connect", "--action", "block", "--protocol", "udp"]);
    let once = replay(&lab, &[&data("mixed.pcap")]);
    assert_eq!(replay(&lab, &[&data("mixed.pcapng")]), once);
    assert_eq!(replay(&lab, &[&data("mixed.pcap"), "--threads", "3"]), once);
    let thrice = replay(&lab, &[&data("mixed.pcap"), "--repeat", "3", "--threads", "2"]);
    for count in ["packets", "flows", "permitted", "blocked"] {
        assert_eq!(thrice[count].as_u64().unwrap(), 3 * once[count].as_u64().unwrap(), "{count}");
    }
}

#[test]
fn what_is_local_can_be_said() {
    let lab = Lab::started();
    let directions = |local: &str| -> (usize, usize, Value) {
        let summary = replay(&lab, &[&data("mixed.pcap"), "--local", local, "--verbose"]);
        let flows = summary["flow_list"].as_array().unwrap();
        let count = |of: &str| flows.iter().filter(|flow| flow["direction"] == of).count();
        (count("outbound"), count("inbound"), summary["skipped"]["not-local"].clone())
    };
    // One IPv4 connection of the capture comes in; the IPv6 packets are nobody's.
    assert_eq!(directions("192.168.1.0/24"), (6, 1, json!(13)));
    // Seen from the web server.
    assert_eq!(directions("192.0.2.80"), (0, 2, json!(29)));
}

#[test]
fn flows_are_listed_with_their_verdicts() {
    let lab = Lab::started();
    let summary = replay(&lab, &[&data("mixed.pcap"), "--verbose"]);
    let flows = summary["flow_list"].as_array().unwrap();
    assert_eq!(flows.len(), 10);
    assert!(flows.contains(&json!({
        "protocol": 6, "local": "192.168.1.10:22", "remote": "203.0.113.5:51000", "direction": "inbound",
        "permitted": true, "layer": "ALE_AUTH_RECV_ACCEPT_V4", "filter": null,
    })));
    let text = lab.ok(&["replay", &data("mixed.pcap"), "--verbose"]);
    assert!(text.contains("203.0.113.5:51000") && text.contains("type 8"), "{text}");
    assert!(lab.ok(&["replay", &data("afs-udp-frag.pcap")]).contains("601 packets"));
}

#[test]
fn a_capture_that_is_cut_off_is_replayed_as_far_as_it_goes_and_then_an_error() {
    let lab = Lab::started();
    let whole = capture::pcap(&capture::frames());
    let path = lab.socket().with_extension("pcap");
    std::fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    let ran = lab.run(&["--json", "replay", path.to_str().unwrap()]);
    assert_eq!(ran.code, 1);
    let summary: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(summary["packets"], capture::frames().len() - 1);
    for text in [summary["damage"].as_str().unwrap(), &ran.err] {
        assert!(text.contains(&format!("packet {}, which begins at byte", capture::frames().len())), "{text}");
    }
}

#[test]
fn a_filter_for_the_system_meets_the_traffic_of_the_system() {
    let lab = Lab::started();
    lab.ok(&["filter", "add", "--layer", "connect", "--action", "block", "--app", "system"]);
    let connect = |app| lab.run(&["connect", "--protocol", "tcp", "--remote", "192.0.2.1:80", "--app", app]).code;
    assert_eq!(connect("System"), 4);
    assert_eq!(connect(r"C:\Windows\curl.exe"), 0);
}

#[test]
fn files_that_are_no_captures_are_refused() {
    let lab = Lab::started();
    let cargo = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for (file, part) in [
        (cargo, "is no capture file: it begins with 5b 70 61 63"),
        ("/nowhere/x.pcap", "cannot open /nowhere/x.pcap: No such file or directory"),
        (env!("CARGO_MANIFEST_DIR"), "is a directory"),
        ("/dev/null", "is a pipe or a device"),
    ] {
        let ran = lab.run(&["replay", file]);
        assert_eq!((ran.code, &*ran.out), (1, ""), "{ran:?}");
        assert!(ran.err.contains(part), "{ran:?}");
    }
    lab.ok(&["lab", "status"]);
}

#[test]
fn a_lab_without_the_base_filtering_engine_says_so() {
    let lab = Lab::absent();
    lab.ok(&["lab", "start", "--bfe", "stopped"]);
    let ran = lab.run(&["filter", "list"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("the base filtering engine is not running"), "{ran:?}");
    assert!(ran.err.contains("postern lab bfe running"), "{ran:?}");
    lab.ok(&["lab", "bfe", "running"]);
    lab.ok(&["filter", "list"]);
}
