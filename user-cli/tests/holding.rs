//! Operations that are held, and those who answer.

#[allow(dead_code)]
mod common;

use std::time::{Duration, Instant};

use common::lab::{Background, Lab};
use rustix::process::Signal;
use serde_json::{Value, json};

const CURL: &str = r"C:\Windows\System32\curl.exe";
const CURL_PATH: &str = r"\device\harddiskvolume3\windows\system32\curl.exe";

/// A lab whose connects (or accepts) are held.
fn holding(layer: &str, options: &[&str]) -> Lab {
    let lab = Lab::started();
    lab.ok(&["driver", "load"]);
    let hold = ["filter", "add", "--layer", layer, "--family", "v4", "--action", "callout-hold", "--name", "hold"];
    lab.ok(&[&hold[..], options].concat());
    lab
}

fn connect<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&["connect", "--protocol", "tcp", "--remote", "192.0.2.7:443", "--app", CURL][..], options].concat()
}

/// Begins a connect that is held. Returns the number of the operation.
fn held(lab: &Lab, arguments: &[&str]) -> (Background, String) {
    let attempt = lab.spawn(arguments);
    let told = attempt.told("held: waits for an answer (operation ");
    let number = told.chars().filter(char::is_ascii_digit).collect();
    (attempt, number)
}

fn clean_unload(lab: &Lab) {
    let unloaded = lab.run(&["driver", "unload"]);
    assert_eq!(unloaded.code, 0, "{unloaded:?}");
    assert!(unloaded.out.contains("receipt: complete"), "{unloaded:?}");
}

#[test]
fn a_held_connect_waits_for_the_answer_and_its_exit_code_tells_it() {
    let lab = holding("connect", &[]);
    for (answer, code, outcome) in [("permit", 0, "permitted"), ("block", 4, "blocked")] {
        let (attempt, operation) = held(&lab, &connect(&[]));
        let list = lab.json(&["ask", "--list"]);
        let entry = &list["held"][0];
        assert_eq!(entry["operation"].to_string(), operation);
        assert_eq!((&entry["application"], &entry["otherwise"]), (&json!(CURL_PATH), &json!("block")), "{entry}");
        assert_eq!((&entry["local"], &entry["remote"]), (&json!("192.168.0.2:50000"), &json!("192.0.2.7:443")));
        assert!(entry["remaining_seconds"].as_f64().unwrap() <= 30.0, "{entry}");
        let text = lab.ok(&["ask", "--list", &operation]);
        assert!(text.contains("tcp 192.168.0.2:50000 -> 192.0.2.7:443") && text.contains("curl.exe"), "{text}");

        let answered = lab.ok(&["ask", &operation, "--answer", answer]);
        assert_eq!(answered, format!("operation {operation}: {outcome} (tcp 192.168.0.2:50000 -> 192.0.2.7:443)\n"));
        let ended = attempt.end();
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.out.starts_with(&format!("{outcome} at ALE_AUTH_CONNECT_V4 by filter ")), "{ended:?}");
    }
    assert_eq!(lab.ok(&["ask", "--list"]), "no operation waits for an answer\n");
    clean_unload(&lab);
}

#[test]
fn a_held_accept_waits_for_the_answer_although_the_packet_of_a_blocked_one_never_comes() {
    let lab = holding("accept", &[]);
    for (answer, code) in [("permit", 0), ("block", 4)] {
        let arguments = ["accept", "--protocol", "tcp", "--remote", "203.0.113.9:50000", "--local", "192.168.1.2:3389"];
        let (attempt, operation) = held(&lab, &arguments);
        assert_eq!(lab.json(&["ask", "--list"])["held"][0]["direction"], "inbound");
        lab.ok(&["ask", &operation, "--answer", answer]);
        let ended = attempt.end();
        assert_eq!(ended.code, code, "{ended:?}");
    }
    clean_unload(&lab);
}

#[test]
fn without_an_answer_the_filters_own_verdict_is_taken() {
    for (otherwise, code) in [("permit", 0), ("block", 4)] {
        let lab = holding("connect", &["--hold-for", "1", "--otherwise", otherwise]);
        let ran = lab.run(&connect(&[]));
        assert_eq!(ran.code, code, "{ran:?}");
        clean_unload(&lab);
    }
}

#[test]
fn a_connect_that_does_not_wait_or_not_long_enough_has_an_exit_code_of_its_own() {
    let lab = holding("connect", &[]);
    let ran = lab.run(&connect(&["--no-wait"]));
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(
        ran.out.contains("held at ALE_AUTH_CONNECT_V4 by filter ")
            && ran.out.contains(": waits for an answer (operation ")
    );
    let begun = Instant::now();
    // From another port: a second packet of what waits already is no operation of its own.
    let other = ["--local", "192.168.0.2:50001", "--timeout", "300ms"];
    let ran = lab.run(&[&["--json"], &connect(&other)[..]].concat());
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(ran.code, 6, "{ran:?}");
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&told["permitted"], &told["held"]), (&json!(false), &json!(true)));
    assert!(told["operation"].is_u64(), "{told}");
    // The driver leaves: what is held then is completed.
    clean_unload(&lab);
}

#[test]
fn an_operation_that_does_not_wait_cannot_be_answered() {
    let lab = holding("connect", &[]);
    for arguments in [&["ask", "4711", "--answer", "permit"][..], &["ask", "--list", "4711"]] {
        let ran = lab.run(arguments);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("operation 4711 does not wait for an answer"), "{ran:?}");
        assert!(ran.err.contains("`postern ask --list` shows what waits"), "{ran:?}");
    }
}

#[test]
fn choices_are_read_from_a_pipe_and_may_add_a_filter() {
    let lab = holding("connect", &[]);
    let (attempt, operation) = held(&lab, &connect(&[]));
    let mut ask = lab.spawn(&["ask"]);
    ask.told(&format!("operation {operation}: {CURL_PATH}"));
    ask.told("connects to 192.0.2.7:443 with tcp, from 192.168.0.2:50000");
    ask.type_line("what?");
    ask.told("'what?' is none of p, b, P, B and s");
    ask.type_line("P");
    let added = ask.line();
    assert!(added.starts_with("added filter ") && added.contains(" at ALE_AUTH_CONNECT_V4: "), "{added}");
    assert!(ask.line().starts_with(&format!("operation {operation}: permitted")));
    assert_eq!(attempt.end().code, 0);
    // From now on the filter decides, and only for this program and this address.
    let again = lab.run(&connect(&[]));
    assert_eq!((again.code, &*again.err), (0, ""), "{again:?}");
    let (other, operation) = held(&lab, &["connect", "--protocol", "tcp", "--remote", "192.0.2.7:443"]);
    ask.told(&format!("operation {operation}: an unknown program"));
    ask.type_line("s");
    assert!(ask.line().starts_with(&format!("operation {operation}: skipped")));
    ask.end_input();
    let ended = ask.end();
    assert_eq!(ended.code, 0, "what was skipped needs no answer: {ended:?}");
    other.signal(Signal::INT);
    other.end();

    let filters = lab.json(&["filter", "list"]);
    let ours = |name: &str| {
        let all = filters["filters"].as_array().unwrap();
        all.iter().find(|filter| filter["name"].as_str().unwrap().contains(name)).unwrap().clone()
    };
    let (hold, answer) = (ours("hold"), ours("Postern: permit"));
    assert_eq!(answer["sublayer"], hold["sublayer"]);
    let weight = |filter: &Value| u64::from_str_radix(&filter["effective_weight"].as_str().unwrap()[2..], 16).unwrap();
    assert!(weight(&answer) > weight(&hold), "{answer} {hold}");
    assert_eq!(
        answer["conditions"],
        json!([
            "IP_PROTOCOL = tcp",
            "IP_REMOTE_ADDRESS = 192.0.2.7",
            "IP_REMOTE_PORT = 443",
            format!("ALE_APP_ID = {CURL_PATH}")
        ])
    );
    clean_unload(&lab);
}

#[test]
fn a_filter_for_an_unknown_program_is_not_added() {
    let lab = holding("connect", &[]);
    let (attempt, _) = held(&lab, &["connect", "--protocol", "tcp", "--remote", "192.0.2.7:443"]);
    let mut ask = lab.spawn(&["ask"]);
    ask.told("an unknown program");
    ask.type_line("B");
    let ended = ask.end();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("the filter would be for every program"), "{ended:?}");
    assert_eq!(lab.json(&["ask", "--list"])["held"].as_array().unwrap().len(), 1, "it still waits");
    drop(attempt);
}

#[test]
fn the_second_of_two_answers_learns_that_it_came_too_late() {
    let lab = holding("connect", &[]);
    let (attempt, operation) = held(&lab, &connect(&[]));
    let mut asks = [lab.spawn(&["ask", &operation]), lab.spawn(&["ask", "--once", "--timeout", "2s"])];
    for ask in &asks {
        ask.told(&format!("operation {operation}: "));
    }
    asks[0].type_line("p");
    assert!(asks[0].line().contains(": permitted"));
    assert_eq!(attempt.end().code, 0);
    asks[1].type_line("b");
    let late = asks[1].line();
    assert!(late.contains("not answered: somebody else was faster, or nobody waits for it any more"), "{late}");
    let [first, second] = asks;
    assert_eq!(first.end().code, 0);
    let second = second.end();
    assert_eq!(second.code, 1, "it has answered nothing: {second:?}");
    assert!(second.err.contains("no operation was answered"), "{second:?}");
}

#[test]
fn an_answer_after_the_time_was_up_learns_what_was_decided() {
    let lab = holding("connect", &["--hold-for", "1", "--otherwise", "permit"]);
    let (attempt, operation) = held(&lab, &connect(&[]));
    let mut ask = lab.spawn(&["ask", &operation]);
    ask.told("which will permit it in");
    assert_eq!(attempt.end().code, 0);
    std::thread::sleep(Duration::from_millis(200));
    ask.type_line("b");
    let ended = ask.end();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("its time was up, and its filter permitted it"), "{ended:?}");
}

#[test]
fn input_that_ends_before_an_operation_is_answered_is_an_error() {
    let lab = holding("connect", &[]);
    let (_attempt, operation) = held(&lab, &connect(&[]));
    let mut ask = lab.spawn(&["ask"]);
    ask.end_input();
    let ended = ask.end();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.err.contains(&format!("standard input ended before operation {operation} was answered")),
        "{ended:?}"
    );
}

#[test]
fn a_script_answers_for_one_program_as_long_as_it_is_told_to() {
    let lab = holding("connect", &[]);
    let ask = lab.spawn(&["--json", "ask", "--answer", "permit", "--app", "CURL", "--timeout", "3s"]);
    for _ in 0..3 {
        let ran = lab.run(&connect(&[]));
        assert_eq!(ran.code, 0, "{ran:?}");
        let told: Value = serde_json::from_str(&ask.line()).unwrap();
        assert_eq!((&told["outcome"], &told["application"]), (&json!("permitted"), &json!(CURL_PATH)));
    }
    let other = lab.run(&["connect", "--protocol", "tcp", "--remote", "192.0.2.9:443", "--no-wait"]);
    assert_eq!(other.code, 6, "{other:?}");
    let ended = ask.end();
    assert_eq!((ended.code, &*ended.out), (0, ""), "{ended:?}");
}

#[test]
fn one_answer_is_enough_with_once() {
    let lab = holding("connect", &[]);
    let ask = lab.spawn(&["ask", "--answer", "block", "--once"]);
    let ran = lab.run(&connect(&[]));
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(ask.end().code, 0);
}

#[test]
fn an_ask_that_is_ended_lets_the_driver_go() {
    let lab = holding("connect", &[]);
    let ask = lab.spawn(&["ask"]);
    let begun = Instant::now();
    while lab.json(&["driver", "status"])["holders"][0]["parked"] != 1 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not wait");
    }
    ask.signal(Signal::TERM);
    assert_eq!(ask.end().code, 0);
    clean_unload(&lab);
}
