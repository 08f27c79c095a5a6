//! Net events: what the filter engine tells of drops and permits.

#[allow(dead_code)]
mod common;

use common::lab::{Background, Lab};
use rustix::process::Signal;
use serde_json::{Value, json};

const CURL: &str = r"C:\Windows\System32\curl.exe";
const CONNECT: [&str; 7] = ["connect", "--protocol", "tcp", "--remote", "192.0.2.7:443", "--app", CURL];
const ACCEPT: [&str; 7] =
    ["accept", "--protocol", "tcp", "--remote", "203.0.113.9:50000", "--local", "192.168.0.2:3389"];

fn block(lab: &Lab, layer: &str) -> String {
    let added = lab.json(&["filter", "add", "--layer", layer, "--action", "block", "--family", "v4", "--name", "shut"]);
    added["filters"][0]["id"].to_string()
}

fn watch(lab: &Lab, options: &[&str]) -> Background {
    let watch = lab.spawn(&[&["events"], options].concat());
    watch.told("watching net events (Ctrl-C ends it)");
    watch
}

fn event(watch: &Background) -> Value {
    serde_json::from_str(&watch.line()).unwrap()
}

/// A line without its time, which is checked to be one.
fn without_time(line: &str) -> &str {
    let (time, rest) = line.split_once("  ").unwrap();
    assert_eq!(time.replace(|of: char| of.is_ascii_digit(), "0"), "00:00:00.000Z");
    rest
}

#[test]
fn a_drop_is_told_as_it_happens_with_the_filter_that_decided() {
    let lab = Lab::started();
    let id = block(&lab, "connect");
    let (text, json) = (watch(&lab, &[]), watch(&lab, &["--json", "--count", "1"]));
    assert_eq!(lab.run(&CONNECT).code, 4);
    assert_eq!(
        without_time(&text.line()),
        format!(
            "classify-drop   ALE_AUTH_CONNECT_V4      tcp 192.168.0.2:50000 -> 192.0.2.7:443  curl.exe  filter {id} shut"
        )
    );
    let mut event = event(&json);
    let time = event.as_object_mut().unwrap().remove("time").unwrap();
    assert!(time.as_str().unwrap().ends_with('Z'));
    assert_eq!(
        event,
        json!({
            "type": "classify-drop",
            "layer": "ALE_AUTH_CONNECT_V4",
            "filter_id": id.parse::<u64>().unwrap(),
            "direction": "outbound",
            "loopback": false,
            "protocol": 6,
            "local_address": "192.168.0.2",
            "local_port": 50000,
            "remote_address": "192.0.2.7",
            "remote_port": 443,
            "application": r"\device\harddiskvolume3\windows\system32\curl.exe",
            "user": "S-1-5-21-1-2-3-1001",
        })
    );
    let ended = json.end();
    assert_eq!((ended.code, &*ended.out, &*ended.err), (0, "", ""), "it ends after one event");
    text.signal(Signal::INT);
    let ended = text.end();
    assert_eq!((ended.code, &*ended.out, &*ended.err), (0, "", "1 net event\n"));
}

#[test]
fn layers_and_types_can_be_chosen() {
    let lab = Lab::started();
    block(&lab, "accept");
    let all = watch(&lab, &["--json"]);
    let allows = lab.spawn(&["events", "--json", "--type", "classify-allow"]);
    allows.told("permits are not collected: turn them on with `postern events options --keywords classify-allow`");
    allows.told("watching net events");
    let chosen = [
        watch(&lab, &["--json", "--layer", "connect"]),
        watch(&lab, &["--json", "--layer", "ALE_AUTH_RECV_ACCEPT_V4", "--layer", "connect"]),
        watch(&lab, &["--json", "--drops"]),
        allows,
    ];
    assert_eq!(
        lab.json(&["events", "options", "--keywords", "classify-allow,inbound-mcast"]),
        json!({ "collect": true, "keywords": ["inbound-mcast", "classify-allow"] })
    );
    // At a layer without filters nothing is classified.
    lab.ok(&["filter", "add", "--layer", "connect", "--action", "permit", "--family", "v4"]);
    lab.ok(&CONNECT);
    assert_eq!(lab.run(&ACCEPT).code, 4);
    let (allow, drop) = (event(&all), event(&all));
    assert_eq!((&allow["type"], &allow["direction"]), (&json!("classify-allow"), &json!("outbound")));
    assert_eq!((&drop["type"], &drop["layer"]), (&json!("classify-drop"), &json!("ALE_AUTH_RECV_ACCEPT_V4")));
    let expected: [&[&Value]; 4] = [&[&allow], &[&allow, &drop], &[&drop], &[&allow]];
    for (watch, expected) in chosen.into_iter().zip(expected) {
        for one in expected {
            assert_eq!(event(&watch), **one);
        }
        watch.signal(Signal::TERM);
        let ended = watch.end();
        assert_eq!((ended.code, &*ended.out), (0, ""));
    }
    all.signal(Signal::INT);
    assert_eq!(all.end().code, 0);
}

#[test]
fn recent_events_are_kept_and_a_watch_ends_in_time() {
    let lab = Lab::started();
    assert_eq!(lab.run(&["events", "--recent"]).err, "0 net events\n");
    let id = block(&lab, "accept");
    for _ in 0..2 {
        assert_eq!(lab.run(&ACCEPT).code, 4);
    }
    let recent = lab.run(&["events", "--recent", "--layer", "accept"]);
    assert_eq!((recent.code, &*recent.err), (0, "2 net events\n"));
    let lines: Vec<_> = recent.out.lines().map(without_time).collect();
    let expected =
        format!("classify-drop   ALE_AUTH_RECV_ACCEPT_V4  tcp 192.168.0.2:3389 <- 203.0.113.9:50000  filter {id} shut");
    assert_eq!(lines, [&*expected, &*expected]);
    let timed = watch(&lab, &["--for", "50ms"]).end();
    assert_eq!((timed.code, &*timed.out, &*timed.err), (0, "", "0 net events\n"), "what was before is not told again");
}

#[test]
fn while_events_are_not_collected_the_command_says_what_to_do() {
    let lab = Lab::started();
    let watch = watch(&lab, &["--json"]);
    assert_eq!(lab.ok(&["events", "options", "--collect", "off"]), "net events are not collected, keywords: none\n");
    for options in [&["events"][..], &["events", "--recent"]] {
        let refused = lab.run(options);
        assert_eq!((refused.code, &*refused.out), (1, ""));
        assert!(refused.err.contains("FWP_E_NET_EVENTS_DISABLED"), "{refused:?}");
        assert!(refused.err.contains("`postern events options --collect on`"), "{refused:?}");
    }
    block(&lab, "connect");
    lab.run(&CONNECT);
    lab.ok(&["events", "options", "--collect", "on", "--keywords", "none"]);
    lab.run(&ACCEPT);
    lab.run(&["connect", "--protocol", "tcp", "--remote", "192.0.2.8:443"]);
    assert_eq!(
        event(&watch)["remote_address"],
        "192.0.2.8",
        "one that began before goes on, without what was not collected"
    );
    watch.signal(Signal::INT);
    assert_eq!(watch.end().code, 0);
    let wrong = lab.run(&["events", "options", "--keywords", "everything"]);
    assert!(wrong.code == 2 && wrong.err.contains("classify-allow"), "{wrong:?}");
}

#[test]
fn a_watch_ends_with_the_base_filtering_engine() {
    let lab = Lab::started();
    let watch = watch(&lab, &[]);
    lab.ok(&["lab", "bfe", "stopped"]);
    let ended = watch.end();
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("the base filtering engine is not running"), "{ended:?}");
}
