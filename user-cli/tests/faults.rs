//! `postern lab faults`.

#[allow(dead_code)]
mod common;

use common::lab::Lab;
use serde_json::Value;

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn one_functions_calls_all_fail_and_the_driver_leaves_each_time() {
    let out = Lab::absent().ok(&["lab", "faults", "--function", "WdfDeviceCreate"]);
    let row: Vec<&str> =
        out.lines().find(|line| line.starts_with("WdfDeviceCreate")).unwrap().split_whitespace().collect();
    assert_eq!(row, ["WdfDeviceCreate", "1", "6", "6", "0"]);
    assert_eq!(out.lines().last(), Some("1 call, 6 cases: 0 failed"));
}

#[test]
fn the_wdm_driver_is_swept_too() {
    let out = Lab::absent().ok(&["lab", "faults", "--model", "wdm", "--function", "IoCreateSymbolicLink"]);
    assert!(out.ends_with("0 failed\n"), "{out}");
}

#[test]
fn json_ends_with_the_totals() {
    let out = Lab::absent().ok(&["--json", "lab", "faults", "--function", "IoAllocateWorkItem"]);
    let lines = json_lines(&out);
    let [totals] = &lines[..] else { panic!("{out}") };
    assert_eq!(*totals, serde_json::json!({ "calls": 2, "cases": 2, "failed": 0 }));
}

#[test]
fn a_case_is_run_alone_and_shows_the_drivers_log() {
    let case = "FwpsCalloutUnregisterById0:3:STATUS_FWP_IN_USE";
    let out = Lab::absent().ok(&["lab", "faults", "--case", case]);
    assert!(out.starts_with(&format!("{case} at postern+0x")), "{out}");
    assert!(out.contains("unregistering callout"), "{out}");
    assert!(out.contains("receipt: complete"), "{out}");
    assert!(out.ends_with("passed\n"), "{out}");

    let out = Lab::absent().ok(&["--json", "lab", "faults", "--case", case]);
    let [line, totals] = &json_lines(&out)[..] else { panic!("{out}") };
    assert_eq!((&line["case"], &line["step"]), (&case.into(), &"unload".into()));
    assert_eq!(line["problems"], serde_json::json!([]));
    assert!(
        line["log"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains("unregistering callout"))
    );
    assert_eq!(*totals, serde_json::json!({ "calls": 1, "cases": 1, "failed": 0 }));
}

#[test]
fn mistakes_are_told_with_what_to_write_instead() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "no image").unwrap();
    let path = file.path().to_str().unwrap();
    for (arguments, code, message) in [
        (&["--function", "FwpmFilterad0"][..], 2, "the lab supplies no function FwpmFilterad0"),
        (&["--function", "KeWaitForSingleObject"], 1, "not alertable"),
        (&["--case", "FwpmFilterAdd0:3"], 2, "write FUNCTION:N:STATUS"),
        (&["--case", "FwpmFilterAdd0:0:STATUS_FWP_ALREADY_EXISTS"], 2, "the first is 1"),
        (&["--case", "FwpmFilterAdd0:1:STATUS_TIMEOUT"], 2, "it does with STATUS_FWP_ALREADY_EXISTS"),
        (&["--case", "KeSetEvent:1:STATUS_TIMEOUT"], 2, "no failures of a function KeSetEvent are listed"),
        (&["--case", "WdfDeviceCreate:9:STATUS_INVALID_PARAMETER"], 1, "makes 1 call of WdfDeviceCreate"),
        (&["--image", path], 1, &*format!("{path}: the driver does not load: not a complete PE image")),
        (&["--image", "/nowhere.sys"], 1, "cannot read the image /nowhere.sys"),
    ] {
        let ran = Lab::absent().run(&[&["lab", "faults"], arguments].concat());
        assert_eq!((ran.code, &*ran.out), (code, ""), "{arguments:?}: {ran:?}");
        assert!(ran.err.contains(message), "{arguments:?}: {ran:?}");
    }
}
