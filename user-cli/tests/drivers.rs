//! Loading and unloading drivers.

#[allow(dead_code)]
mod common;

use common::lab::Lab;
use serde_json::{Value, json};

#[test]
fn files_that_are_no_driver_images_are_refused_with_the_reason() {
    let lab = Lab::started();
    let image = postern_image::POSTERN_SYS;
    let cut = lab.socket().with_extension("sys");
    std::fs::write(&cut, &image[..image.len() / 2]).unwrap();
    let head = lab.socket().with_extension("head");
    std::fs::write(&head, &image[..128]).unwrap();
    let cargo = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for (file, part) in [
        (cut.to_str().unwrap(), "truncated"),
        (head.to_str().unwrap(), "ends after 0x80 bytes, inside its headers"),
        ("/dev/null", "the file is empty"),
        ("/dev/zero", "longer than any driver image"),
        (cargo, "does not begin with MZ"),
        ("/bin/sh", "does not begin with MZ"),
        ("/nowhere/x.sys", "cannot read the image /nowhere/x.sys: No such file or directory"),
    ] {
        let ran = lab.run(&["driver", "load", "--image", file]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains(part) && ran.err.contains(file), "{ran:?}");
    }
    let endured = lab.run(&["endure", "--rounds", "2", "--threads", "1", "--image", head.to_str().unwrap()]);
    assert_eq!((endured.code, &*endured.out), (1, ""), "{endured:?}");
    lab.ok(&["lab", "status"]);
}

#[test]
fn a_driver_that_is_not_loaded_cannot_be_unloaded() {
    let lab = Lab::started();
    let ran = lab.run(&["driver", "unload", "nobody"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("no driver is loaded as nobody"), "{ran:?}");
    let status = lab.run(&["driver", "status", "nobody"]);
    assert_eq!(status.code, 1);
    assert!(status.out.contains("is not loaded"), "{status:?}");
}

#[test]
fn a_driver_of_either_model_is_loaded_asked_and_unloaded_with_a_receipt() {
    for load in [&["driver", "load"][..], &["driver", "load", "--model", "wdm"]] {
        let lab = Lab::started();
        assert!(lab.ok(load).contains("loaded postern at 0x"));
        let again = lab.run(&["driver", "load"]);
        assert_eq!(again.code, 1);
        assert!(again.err.contains("a driver is loaded as postern already"), "{again:?}");

        let status = lab.json(&["driver", "status", "POSTERN"]);
        assert_eq!(status["loaded"], true);
        assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
        let callouts = status["callouts"].as_array().unwrap();
        assert_eq!(callouts.len(), postern_protocol::callout::COUNT);
        assert!(callouts.iter().all(|callout| callout["id"] != 0));

        let unloaded = lab.json(&["driver", "unload"]);
        assert_eq!(unloaded["registrations"], postern_protocol::callout::COUNT);
        assert_eq!(unloaded["violations"], json!([]));
        let receipt = unloaded["receipt"].as_array().unwrap();
        assert!(receipt.iter().any(|line| line.as_str().unwrap().contains("receipt: complete")), "{receipt:?}");
        assert_eq!(lab.run(&["driver", "unload"]).code, 1);
        let state = lab.json(&["state"]);
        for list in ["providers", "sublayers", "callouts", "filters"] {
            assert_eq!(state[list], json!([]), "{list}");
        }
    }
}

#[test]
fn the_callouts_that_saw_a_connection_are_named() {
    let lab = Lab::started();
    lab.ok(&["driver", "load"]);
    lab.ok(&[
        "filter",
        "add",
        "--layer",
        "connect",
        "--action",
        "callout-block",
        "--remote-port",
        "443",
        "--name",
        "web",
    ]);
    let ran = lab.run(&["--json", "connect", "--protocol", "tcp", "--remote", "192.0.2.7:443"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let verdict: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(verdict["filter"]["name"], "web");
    let seen = |role: &str| json!({"layer": "ALE_AUTH_CONNECT_V4", "role": role});
    assert_eq!(verdict["callouts"], json!([seen("monitor"), seen("block")]));
    // Without the driver the filter permits.
    lab.ok(&["driver", "unload"]);
    lab.ok(&["connect", "--protocol", "tcp", "--remote", "192.0.2.7:443"]);
}

#[test]
fn stopping_a_lab_unloads_its_drivers_and_shows_their_receipts() {
    let lab = Lab::started();
    lab.ok(&["driver", "load"]);
    let stopped = lab.ok(&["lab", "stop"]);
    assert!(stopped.contains("receipt: complete") && stopped.contains("nothing left behind"), "{stopped}");
}

#[test]
fn statuses_that_unregistering_returns_are_waited_out() {
    let lab = Lab::started();
    lab.ok(&["driver", "load"]);
    lab.ok(&[
        "lab",
        "inject",
        "--function",
        "FwpsCalloutUnregisterById0",
        "--status",
        "STATUS_DEVICE_BUSY",
        "--times",
        "3",
    ]);
    assert!(lab.ok(&["driver", "unload"]).contains("receipt: complete"));
    assert_eq!(lab.run(&["lab", "inject", "--function", "F", "--status", "BUSY"]).code, 2);
    let unknown = lab.run(&["lab", "inject", "--function", "NoSuchFunction", "--status", "STATUS_DEVICE_BUSY"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("supplies no function NoSuchFunction"), "{unknown:?}");
}

#[test]
fn a_driver_that_starts_before_the_base_filtering_engine_waits_for_it() {
    let lab = Lab::absent();
    lab.ok(&["lab", "start", "--bfe", "stopped"]);
    lab.ok(&["driver", "load"]);
    assert_eq!(lab.json(&["lab", "bfe", "running"]), json!({ "bfe_running": true }));
    let begun = std::time::Instant::now();
    while lab.json(&["filter", "list"])["filters"].as_array().unwrap().len() != postern_protocol::Layer::ALL.len() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "the driver adds no filters");
    }
    assert!(lab.ok(&["driver", "unload"]).contains("receipt: complete"));
}

#[test]
fn rounds_of_loading_and_unloading_under_traffic_are_clean() {
    let lab = Lab::absent();
    let summary = lab.json(&["endure", "--rounds", "20", "--threads", "2", "--inject-statuses"]);
    assert_eq!((&summary["clean"], &summary["complete_receipts"]), (&json!(20), &json!(20)), "{summary}");
    assert!(summary["connections"].as_u64().unwrap() > 0);
}
