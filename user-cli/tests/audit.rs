//! `postern lab audit`.

#[allow(dead_code)]
mod common;
#[path = "common/windivert.rs"]
mod windivert;

use common::lab::Lab;
use serde_json::Value;

fn audit(arguments: &[&str], code: i32) -> Value {
    let ran = Lab::absent().run(&[&["--json", "lab", "audit"], arguments].concat());
    assert_eq!((ran.code, &*ran.err), (code, ""), "{arguments:?}: {ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

fn rules(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().map(|finding| finding["rule"].as_str().unwrap()).collect()
}

#[test]
fn the_own_driver_is_described_and_nothing_is_wrong_with_it() {
    let out = Lab::absent().ok(&["lab", "audit", "--model", "wdm", "--faults", "none"]);
    assert!(out.starts_with("postern: WDM, "), "{out}");
    for part in [
        "\ncallouts ",
        "\nALE_FLOW_ESTABLISHED_V4 ",
        "\ndevice \\\\.\\postern: D:P(A;;GA;;;SY)(A;;GA;;;BA)\n",
        "\n  FwpsCalloutUnregisterById0 (42 times)\n",
        "\nnothing wrong was found in ",
    ] {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }
}

#[test]
fn windivert_does_not_act_on_what_unregistering_returns() {
    let path = windivert::image().to_str().unwrap();
    let report = audit(&["--image", path, "--faults", "none"], 0);
    assert_eq!((&report["image"]["model"], &report["image"]["symbols"]), (&"KMDF 1.9".into(), &0.into()));

    // WinDivertOpen("true", WINDIVERT_LAYER_FLOW, 0, WINDIVERT_FLAG_SNIFF | WINDIVERT_FLAG_RECV_ONLY).
    let version = format!("{:0<128}", "2457646976444c4c020000000200000040");
    let initialize = format!("0x12E486:02000000307500000500000000000000:{version}");
    let startup = "0x12E489:f0010000000000000000000000000000:0000fe7fff7f000000000000000000000000000000000000";
    let case = "FwpsCalloutUnregisterByKey0:1:STATUS_DEVICE_BUSY";
    let report = audit(&["--image", path, "--request", &initialize, "--request", startup, "--case", case], 5);
    assert_eq!(rules(&report), ["unregister-status-ignored"], "{report:#}");
    let finding = &report["findings"][0];
    assert!(finding["place"].as_str().unwrap().starts_with("WinDivert64+0x"), "{finding:#}");
    assert_eq!((&finding["severity"], &finding["case"]), (&"critical".into(), &case.into()));
    let what: Vec<&str> =
        report["registered"].as_array().unwrap().iter().filter_map(|one| one["what"].as_str()).collect();
    assert!(what.contains(&"callouts") && what.contains(&"flow contexts"), "{what:?}");
}

#[test]
fn mistakes_are_told_with_what_to_write_instead() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "no image").unwrap();
    let path = file.path().to_str().unwrap();
    for (arguments, code, message) in [
        (&["--image", path][..], 1, &*format!("{path}: not a complete PE image")),
        (&["--image", "/nowhere.sys"], 1, "cannot read the image /nowhere.sys"),
        (&["--callout", "1=2"], 2, "is no key of a callout"),
        (&["--callout", "6a3ee1d0-0001-0001-0102-030405060708=NOWHERE"], 2, "there is no layer NOWHERE"),
        (&["--parameter", "Name"], 2, "write NAME=VALUE"),
        (&["--request", "open"], 2, "write it as 0x0012E486"),
        (&["--request", "0x222000:0"], 2, "write two hexadecimal digits for each"),
        (&["--case", "FwpmFilterAdd0:3"], 2, "write FUNCTION:N:STATUS"),
    ] {
        let ran = Lab::absent().run(&[&["lab", "audit"], arguments].concat());
        assert_eq!((ran.code, &*ran.out), (code, ""), "{arguments:?}: {ran:?}");
        assert!(ran.err.contains(message), "{arguments:?}: {ran:?}");
    }
}
