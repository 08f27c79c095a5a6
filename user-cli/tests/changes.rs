//! Changes of the filter engine's objects, as they come.

#[allow(dead_code)]
mod common;

use common::lab::{Background, Lab};
use serde_json::{Value, json};

fn watch(lab: &Lab, options: &[&str]) -> Background {
    let watch = lab.spawn(&[&["--json", "changes"], options].concat());
    watch.told("watching changes (Ctrl-C ends it)");
    watch
}

/// Change, kind of object, name and layer.
fn change(watch: &Background) -> (Value, [String; 4]) {
    let line: Value = serde_json::from_str(&watch.line()).unwrap();
    let text = |member: &str| line[member].as_str().unwrap_or_default().to_owned();
    let told = ["change", "object", "name", "layer"].map(text);
    (line, told)
}

const BLOCK: [&str; 10] =
    ["filter", "add", "--layer", "connect", "--family", "v4", "--action", "block", "--name", "no way"];

#[test]
fn what_a_command_adds_and_removes_is_told_in_the_order_that_it_must_have() {
    let lab = Lab::started();
    let watch = watch(&lab, &["--count", "6"]);
    let id = lab.json(&BLOCK)["filters"][0]["id"].clone();
    // The engine tells keys and ids only: what is to be told by name must still be there to be read.
    let mut changes: Vec<_> = (0..3).map(|_| change(&watch)).collect();
    lab.ok(&["filter", "remove", "--all"]);
    changes.extend((0..3).map(|_| change(&watch)));
    let (lines, told): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
    let cli = "Postern CLI";
    assert_eq!(
        told,
        [
            ["add", "provider", cli, ""],
            ["add", "sublayer", cli, ""],
            ["add", "filter", "no way", "ALE_AUTH_CONNECT_V4"],
            ["delete", "filter", "no way", "ALE_AUTH_CONNECT_V4"],
            ["delete", "sublayer", cli, ""],
            ["delete", "provider", cli, ""],
        ]
    );
    assert_eq!(lines[2]["id"], id);
    let transactions: Vec<_> = lines.iter().map(|line| line["transaction"].as_u64().unwrap()).collect();
    assert_eq!(transactions[..3], [transactions[0]; 3]);
    assert_eq!(transactions[3..], [transactions[0] + 1; 3]);
    assert_eq!(watch.end().code, 0);
}

#[test]
fn only_what_is_asked_for_is_told_and_in_words() {
    let lab = Lab::started();
    let watch = lab.spawn(&["changes", "--only", "filters", "--layer", "connect", "--count", "1"]);
    watch.told("watching changes (Ctrl-C ends it)");
    lab.ok(&["filter", "add", "--layer", "accept", "--action", "block", "--name", "elsewhere"]);
    let id = lab.json(&BLOCK)["filters"][0]["id"].clone();
    let line = watch.line();
    assert!(line.ends_with(&format!(" added filter {id} at ALE_AUTH_CONNECT_V4: no way")), "{line}");
    let ended = watch.end();
    assert_eq!((ended.code, ended.err.contains("1 change")), (0, true), "{ended:?}");
}

#[test]
fn a_watcher_ends_when_told_to_and_when_the_base_filtering_engine_stops() {
    let lab = Lab::started();
    let ran = lab.run(&["changes", "--for", "50ms"]);
    assert_eq!((ran.code, &*ran.out), (0, ""), "{ran:?}");
    let watch = watch(&lab, &[]);
    lab.ok(&["lab", "bfe", "stopped"]);
    let ended = watch.end();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("the base filtering engine is not running"), "{ended:?}");
    let ran = lab.run(&["changes", "--only", "providers", "--layer", "connect"]);
    assert_eq!((ran.code, ran.err.contains("--only filters")), (2, true), "{ran:?}");
}

#[test]
fn the_filters_of_a_program_that_dies_are_told() {
    let lab = Lab::started();
    let dynamic = lab.spawn(&[&BLOCK[..], &["--lifetime", "dynamic"]].concat());
    dynamic.line();
    let watch = watch(&lab, &["--only", "filters", "--count", "1"]);
    dynamic.signal(rustix::process::Signal::KILL);
    let (line, told) = change(&watch);
    assert_eq!(told, ["delete", "filter", "no way", "ALE_AUTH_CONNECT_V4"]);
    assert_ne!(line["key"], json!(null));
    dynamic.end();
    watch.end();
}
