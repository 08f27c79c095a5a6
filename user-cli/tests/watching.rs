//! Flows, and events as they happen.

#[allow(dead_code)]
mod common;

use std::time::{Duration, Instant};

use common::lab::{Background, Lab};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

const CURL: &str = r"C:\Windows\System32\curl.exe";
const CONNECT: [&str; 7] = ["connect", "--protocol", "tcp", "--remote", "192.0.2.7:443", "--app", CURL];

fn loaded() -> Lab {
    let lab = Lab::started();
    lab.ok(&["driver", "load"]);
    lab
}

fn watch(lab: &Lab, options: &[&str]) -> Background {
    let watch = lab.spawn(&[&["--json", "watch"], options].concat());
    watch.told("watching (Ctrl-C ends it)");
    watch
}

fn event(watch: &Background) -> Value {
    serde_json::from_str(&watch.line()).unwrap()
}

fn clean_unload(lab: &Lab) {
    let unloaded = lab.run(&["driver", "unload"]);
    assert_eq!(unloaded.code, 0, "{unloaded:?}");
    assert!(unloaded.out.contains("receipt: complete"), "{unloaded:?}");
}

#[test]
fn a_connection_that_is_open_is_a_flow_with_its_program_and_counts() {
    let lab = loaded();
    assert_eq!(lab.json(&["flows"]), json!({ "flows": [] }));
    let open = lab.spawn(&[&CONNECT[..], &["--keep-open", "1m"]].concat());
    assert!(open.line().starts_with("permitted at ALE_AUTH_CONNECT_V4"));
    let flows = lab.json(&["flows"]);
    let [flow] = &flows["flows"].as_array().unwrap()[..] else { panic!("one flow: {flows}") };
    assert_eq!((&flow["local"], &flow["remote"]), (&json!("192.168.0.2:50000"), &json!("192.0.2.7:443")));
    assert_eq!((&flow["protocol"], &flow["direction"]), (&json!(6), &json!("outbound")));
    assert_eq!(flow["application"], r"\device\harddiskvolume3\windows\system32\curl.exe");
    assert!(flow["packets_out"].as_u64().unwrap() >= 1, "{flow}");
    let age = flow["age_seconds"].as_f64().unwrap();
    assert!((0.0..20.0).contains(&age), "{flow}");
    let text = lab.ok(&["flows", "--app", "CURL"]);
    assert!(text.contains("192.168.0.2:50000  ->  192.0.2.7:443") && text.ends_with("1 flow\n"), "{text}");
    assert_eq!(lab.ok(&["flows", "--app", "wget"]), "0 flows\n");
    // The program ends, and the flow with it.
    open.signal(Signal::KILL);
    open.end();
    let begun = Instant::now();
    while lab.json(&["flows"]) != json!({ "flows": [] }) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the flow stays");
    }
    clean_unload(&lab);
}

#[test]
fn a_watch_shows_what_callouts_decide_and_flows_as_they_come_and_go() {
    let lab = loaded();
    let block = ["filter", "add", "--layer", "connect", "--action", "callout-block", "--remote-port", "80"];
    lab.ok(&block);
    let verdicts = watch(&lab, &["--verdicts"]);
    let flows = watch(&lab, &["--flows", "--count", "2"]);
    assert_eq!(lab.run(&["connect", "--protocol", "tcp", "--remote", "192.0.2.7:80"]).code, 4);
    lab.ok(&CONNECT);
    let decided = std::iter::repeat_with(|| event(&verdicts)).find(|event| event["role"] == "block").unwrap();
    assert_eq!((&decided["kind"], &decided["verdict"]), (&json!("verdict"), &json!("block")), "{decided}");
    assert_eq!((&decided["layer"], &decided["remote"]), (&json!("ALE_AUTH_CONNECT_V4"), &json!("192.0.2.7:80")));
    let (begun, ended) = (event(&flows), event(&flows));
    assert_eq!((&begun["kind"], &ended["kind"]), (&json!("flow-begun"), &json!("flow-ended")));
    assert_eq!(begun["flow"], ended["flow"]);
    assert_eq!(ended["remote"], "192.0.2.7:443");
    assert!(ended["packets_out"].as_u64().unwrap() >= 1, "{ended}");
    assert_eq!(flows.end().code, 0, "after two events it ends by itself");
    verdicts.signal(Signal::INT);
    assert_eq!(verdicts.end().code, 0);
    clean_unload(&lab);
}

#[test]
fn a_watch_tells_of_what_is_held_and_how_it_was_answered() {
    let lab = loaded();
    lab.ok(&["filter", "add", "--layer", "connect", "--family", "v4", "--action", "callout-hold"]);
    let watch = watch(&lab, &["--held", "--count", "2"]);
    let attempt = lab.spawn(&CONNECT);
    attempt.told("held: waits for an answer");
    let held = event(&watch);
    let operation = held["operation"].to_string();
    assert_eq!((&held["kind"], &held["role"]), (&json!("held"), &json!("hold")));
    lab.ok(&["ask", &operation, "--answer", "permit"]);
    let answered = event(&watch);
    assert_eq!((&answered["kind"], &answered["verdict"]), (&json!("answered"), &json!("permit")));
    assert_eq!(answered["operation"].to_string(), operation);
    assert_eq!((watch.end().code, attempt.end().code), (0, 0));
    clean_unload(&lab);
}

#[test]
fn a_watch_ends_after_its_time_and_says_what_it_has_seen() {
    let lab = loaded();
    let begun = Instant::now();
    let ran = lab.run(&["watch", "--for", "300ms"]);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!((ran.code, &*ran.out), (0, ""), "{ran:?}");
    assert!(ran.err.ends_with("0 events\n"), "{ran:?}");
    clean_unload(&lab);
}

#[test]
fn an_unload_names_the_watch_that_it_waits_for_and_goes_on_when_that_ends_however_it_does() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let lab = loaded();
        let watch = watch(&lab, &[]);
        let begun = Instant::now();
        while lab.json(&["driver", "status"])["holders"][0]["parked"] != 1 {
            assert!(begun.elapsed() < Duration::from_secs(10), "it does not wait in the driver");
        }
        let unload = lab.spawn(&["driver", "unload"]);
        let told = unload.told("held by");
        assert!(told.contains(&format!("held by postern watch (process {}) since ", watch.process_id())), "{told}");
        assert!(told.ends_with(", 1 request in the driver"), "{told}");
        watch.signal(signal);
        watch.end();
        let unloaded = unload.end();
        assert_eq!(unloaded.code, 0, "{unloaded:?}");
        assert!(unloaded.out.contains("receipt: complete"), "{unloaded:?}");
        assert!(unloaded.out.contains("nothing left behind, no late call"), "{unloaded:?}");
    }
}

#[test]
fn a_watch_goes_on_while_the_driver_waits_for_it() {
    let lab = loaded();
    let watch = watch(&lab, &["--flows", "--count", "1"]);
    assert_eq!(lab.run(&["driver", "unload", "--no-wait"]).code, 6);
    lab.ok(&CONNECT);
    assert_eq!(event(&watch)["kind"], "flow-begun");
    assert_eq!(watch.end().code, 0);
    let unloaded = lab.run(&["driver", "unload"]);
    assert!(unloaded.out.contains("receipt: complete"), "{unloaded:?}");
}

#[test]
fn a_watch_of_a_lab_that_stops_or_is_killed_says_so() {
    let lab = loaded();
    let stopped = watch(&lab, &[]);
    assert!(lab.ok(&["lab", "stop"]).contains("nothing left behind"));
    let stopped = stopped.end();
    assert_eq!(stopped.code, 1, "{stopped:?}");
    assert!(stopped.err.contains("STATUS_CANCELLED") || stopped.err.contains("the connection to the lab broke"));

    let lab = loaded();
    let killed = watch(&lab, &[]);
    let process = lab.json(&["lab", "status"])["process_id"].as_i64().unwrap();
    rustix::process::kill_process(Pid::from_raw(process as i32).unwrap(), Signal::KILL).unwrap();
    let killed = killed.end();
    assert_eq!(killed.code, 1, "{killed:?}");
    assert!(killed.err.contains("the connection to the lab broke"), "{killed:?}");
    assert!(killed.err.contains("`postern lab status` tells whether it still runs"), "{killed:?}");
}

#[test]
fn the_driver_parks_as_many_watches_as_it_has_room_for() {
    let lab = loaded();
    let watches: Vec<Background> = (0..64).map(|_| watch(&lab, &[])).collect();
    let begun = Instant::now();
    let parked = |status: Value| {
        let holders = status["holders"].as_array().unwrap().clone();
        holders.iter().filter(|holder| holder["parked"] == 1).count()
    };
    while parked(lab.json(&["driver", "status"])) < 64 {
        assert!(begun.elapsed() < Duration::from_secs(20), "they do not wait in the driver");
    }
    let ran = lab.run(&["watch"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("STATUS_QUOTA_EXCEEDED") && ran.err.contains("as many others watch already"), "{ran:?}");
    for watch in watches {
        watch.signal(Signal::INT);
        assert_eq!(watch.end().code, 0);
    }
    clean_unload(&lab);
}
