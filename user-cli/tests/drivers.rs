//! Loading and unloading drivers.

#[allow(dead_code)]
mod common;

use common::lab::Lab;
use postern_cli::engine::FilterEngine;
use postern_cli::lab::address::Address;
use postern_cli::lab::client::Client;
use postern_cli::lab::engine::LabEngine;
use postern_engine::objects::{Action, DisplayData, Filter, Provider, Sublayer};
use serde_json::{Value, json};
use uuid::Uuid;

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
    assert!(endured.err.contains(head.to_str().unwrap()), "{endured:?}");
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
    let ran = lab.json(&["endure", "--rounds", "20", "--threads", "2", "--inject-statuses"]);
    let images: Vec<&Value> = ran["drivers"].as_array().unwrap().iter().map(|driver| &driver["image"]).collect();
    assert_eq!(images, ["postern.sys", "postern_wdm.sys"]);
    for summary in ran["drivers"].as_array().unwrap() {
        assert_eq!((&summary["clean"], &summary["complete_receipts"]), (&json!(20), &json!(20)), "{summary}");
        assert!(summary["connections"].as_u64().unwrap() > 0);
        let happened = summary["happened"].as_object().unwrap();
        assert_eq!(happened.len(), 6);
        assert!(happened.values().all(|tally| tally["times"].as_u64().unwrap() > 0), "{summary}");
    }
}

#[test]
fn rounds_are_ended_by_a_signal_with_the_numbers_so_far() {
    let lab = Lab::absent();
    let endure = lab.spawn(&["endure", "--json", "--rounds", "100000", "--threads", "1", "--model", "wdm"]);
    // The first round lasts for more than a second.
    std::thread::sleep(std::time::Duration::from_millis(500));
    endure.signal(rustix::process::Signal::INT);
    let ran = endure.end();
    assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
    let ran: Value = serde_json::from_str(&ran.out).unwrap();
    let summary = &ran["drivers"][0];
    assert_eq!((&summary["interrupted"], &summary["rounds"], &summary["clean"]), (&json!(true), &json!(1), &json!(1)));
}

/// One that this program does not carry may do none of what the rounds are for.
#[test]
fn rounds_of_another_driver_need_only_be_clean() {
    let lab = Lab::absent();
    let image = lab.socket().with_extension("sys");
    std::fs::write(&image, postern_image::POSTERN_WDM_SYS).unwrap();
    let ran = lab.json(&["endure", "--rounds", "2", "--threads", "1", "--image", image.to_str().unwrap()]);
    let summary = &ran["drivers"][0];
    assert_eq!((&summary["image"], &summary["clean"]), (&json!(image), &json!(2)), "{ran}");
}

/// Objects with the keys of the driver's own, of a session that is not dynamic, and a stranger's filter in its sublayer.
fn leave_stale_objects(lab: &Lab) -> u64 {
    let client = Client::connect(&Address::new(lab.socket().to_str().unwrap()).unwrap()).unwrap();
    let engine = LabEngine::connect(client, postern_cli::cli::session(false)).unwrap();
    let provider = Uuid::from_u128(postern_protocol::DRIVER_PROVIDER);
    let sublayer = Uuid::from_u128(postern_protocol::DRIVER_SUBLAYER);
    let display = |name: &str| DisplayData { name: name.into(), description: String::new() };
    let named = Provider {
        key: provider,
        display: display("stale"),
        persistent: false,
        disabled: false,
        data: vec![],
        service_name: None,
    };
    engine.provider_add(&named).unwrap();
    let named = Sublayer {
        key: sublayer,
        display: display("stale"),
        persistent: false,
        provider: Some(provider),
        data: vec![],
        weight: 7,
    };
    engine.sublayer_add(&named).unwrap();
    let layer = Uuid::from_u128(postern_protocol::Layer::AleAuthConnectV4.key());
    let filter = Filter { key: Uuid::new_v4(), sublayer, ..Filter::new("a stranger's", layer, Action::Permit) };
    engine.filter_add(&filter).unwrap()
}

#[test]
fn a_start_that_stale_objects_refuse_lists_them_with_the_command_that_helps() {
    let lab = Lab::started();
    let id = leave_stale_objects(&lab);
    let ran = lab.run(&["driver", "load"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let key = Uuid::from_u128(postern_protocol::DRIVER_SUBLAYER);
    let listed = format!("stale sublayer {{{key}}} cannot be deleted: STATUS_FWP_IN_USE");
    assert!(ran.err.contains(&listed), "{listed} is not in {}", ran.err);
    let command = format!("postern filter remove {id}");
    assert!(ran.err.contains(&format!("`{command}`")), "{ran:?}");
    lab.ok(&command.split(' ').skip(1).collect::<Vec<_>>());
    lab.ok(&["driver", "load"]);
    assert!(lab.ok(&["driver", "unload"]).contains("receipt: complete"));
}
