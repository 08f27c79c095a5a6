//! Handles to the driver's device, and unloads that wait for them.

#[allow(dead_code)]
mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use common::lab::Lab;
use rustix::process::Signal;
use serde_json::{Value, json};

/// A client that holds a handle to the device.
struct Holder {
    stream: BufReader<UnixStream>,
    handle: u64,
}

impl Holder {
    fn new(lab: &Lab, command: &str) -> Holder {
        let mut stream = BufReader::new(UnixStream::connect(lab.socket()).unwrap());
        stream.read_line(&mut String::new()).unwrap();
        let mut holder = Holder { stream, handle: 0 };
        let opened = holder.ask(&json!({"device-open": {"device": r"\\.\Postern", "command": command}}));
        holder.handle = opened["done"]["handle"].as_u64().unwrap_or_else(|| panic!("{opened}"));
        holder
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.stream.get_mut(), "{request}").unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn close(&mut self) {
        let closed = self.ask(&json!({"device-close": {"handle": self.handle}}));
        assert_eq!(closed, json!({"done": null}));
    }
}

fn loaded() -> Lab {
    let lab = Lab::started();
    lab.ok(&["driver", "load"]);
    lab
}

#[test]
fn an_unload_tells_who_holds_the_driver_and_waits_for_the_last_handle() {
    let lab = loaded();
    let mut holders = [Holder::new(&lab, "some program"), Holder::new(&lab, "another one")];
    let unload = lab.spawn(&["driver", "unload"]);
    unload.told("postern unloads when its last handle is closed");
    let first = unload.told("held by");
    let this = std::process::id();
    assert!(first.starts_with(&format!("  held by some program (process {this}) since 2")), "{first}");
    assert!(first.ends_with(", 0 requests in the driver"), "{first}");
    unload.told("held by another one");
    holders[0].close();
    // The change is told.
    unload.told("postern unloads when its last handle is closed");
    unload.told("held by another one");
    holders[1].close();
    let unloaded = unload.end();
    assert_eq!(unloaded.code, 0, "{unloaded:?}");
    assert!(unloaded.out.contains("receipt: complete"), "{unloaded:?}");
    assert!(unloaded.out.contains("nothing left behind, no late call"), "{unloaded:?}");
    assert_eq!(lab.run(&["driver", "unload"]).code, 1, "it was told already");
}

#[test]
fn an_unload_that_does_not_wait_has_an_exit_code_of_its_own_and_its_receipt_is_kept() {
    let lab = loaded();
    let mut holder = Holder::new(&lab, "some program");
    let ran = lab.run(&["driver", "unload", "--no-wait"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.out.contains("held by some program"), "{ran:?}");
    let waits = lab.run(&["--json", "driver", "unload", "--no-wait"]);
    let waits: Value = serde_json::from_str(&waits.out).unwrap();
    assert_eq!(waits["holders"][0]["command"], "some program");
    holder.close();
    let unloaded = lab.json(&["driver", "unload"]);
    assert_eq!((&unloaded["service"], &unloaded["violations"]), (&json!("postern"), &json!([])));
    assert!(unloaded["receipt"].to_string().contains("receipt: complete"), "{unloaded}");
    assert_eq!(lab.run(&["driver", "unload"]).code, 1);
}

#[test]
fn a_driver_that_stops_says_so_and_lets_nobody_in() {
    let lab = loaded();
    let holder = Holder::new(&lab, "some program");
    assert_eq!(lab.json(&["driver", "status"])["state"], "running");
    assert_eq!(lab.run(&["driver", "unload", "--no-wait"]).code, 6);
    let status = lab.json(&["driver", "status"]);
    assert_eq!(
        (&status["state"], &status["holders"][0]["process_id"]),
        (&json!("stopping"), &json!(std::process::id()))
    );
    let text = lab.ok(&["driver", "status"]);
    assert!(text.contains("stopping: waits for handles\n  held by some program"), "{text}");
    for command in [&["watch"][..], &["flows"], &["ask"], &["ask", "--list"]] {
        let ran = lab.run(command);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("driver postern is stopping and lets nobody in any more"), "{ran:?}");
        assert!(ran.err.contains("`postern driver status postern` shows for whom it waits"), "{ran:?}");
    }
    drop(holder);
    let unloaded = lab.run(&["driver", "unload"]);
    assert!(unloaded.out.contains("receipt: complete"), "{unloaded:?}");
}

#[test]
fn the_handles_of_a_client_that_has_gone_are_closed() {
    let lab = loaded();
    drop(Holder::new(&lab, "some program"));
    let unload = lab.spawn(&["driver", "unload"]).end();
    assert_eq!(unload.code, 0, "{unload:?}");
}

#[test]
fn a_lab_that_ends_closes_the_handles_and_unloads_the_driver() {
    let lab = loaded();
    let _holder = Holder::new(&lab, "some program");
    let _other = Holder::new(&lab, "another one");
    assert_eq!(lab.run(&["driver", "unload", "--no-wait"]).code, 6);
    let stopped = lab.json(&["lab", "stop"]);
    assert_eq!(stopped["refused"], json!([]), "{stopped}");
    assert!(stopped["unloaded"][0]["receipt"].to_string().contains("receipt: complete"), "{stopped}");
}

#[test]
fn a_client_that_stops_waiting_does_not_stop_the_unload() {
    let lab = loaded();
    let mut holder = Holder::new(&lab, "some program");
    let unload = lab.spawn(&["driver", "unload"]);
    unload.told("held by some program");
    unload.signal(Signal::INT);
    unload.end();
    assert_eq!(lab.json(&["driver", "status"])["state"], "stopping");
    holder.close();
    assert!(lab.ok(&["driver", "unload"]).contains("receipt: complete"));
}

#[test]
fn the_driver_is_known_by_its_device_whatever_its_service_is_called() {
    let lab = Lab::started();
    lab.ok(&["driver", "load", "--name", "other"]);
    let status = lab.json(&["driver", "status", "other"]);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["callouts"].as_array().unwrap().len(), postern_protocol::callout::COUNT);
    let holder = Holder::new(&lab, "some program");
    let unload = lab.spawn(&["driver", "unload", "other"]);
    unload.told("other unloads when its last handle is closed");
    drop(holder);
    assert_eq!(unload.end().code, 0);
}

#[test]
fn handles_that_are_not_the_clients_own_are_refused() {
    let lab = loaded();
    let holder = Holder::new(&lab, "some program");
    let mut other = Holder::new(&lab, "another one");
    let control =
        json!({"device-control": {"handle": holder.handle, "code": 0x0012_6000, "input": "", "output_length": 64}});
    assert!(other.ask(&control)["refused"].to_string().contains("there is no handle"));
    assert_eq!(other.ask(&json!({"device-close": {"handle": holder.handle}})), json!({"done": null}));
    let status = lab.json(&["driver", "status"]);
    assert_eq!(status["holders"].as_array().unwrap().len(), 2, "{status}");
}

#[test]
fn without_a_driver_commands_that_need_it_say_how_to_load_it() {
    let lab = Lab::started();
    for command in [&["watch"][..], &["flows"], &["ask"], &["ask", "--list"], &["ask", "7", "--answer", "permit"]] {
        let ran = lab.run(command);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("the Postern driver is not loaded"), "{ran:?}");
        assert!(ran.err.contains("help: load it with `postern driver load`"), "{ran:?}");
    }
}
