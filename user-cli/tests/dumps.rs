//! Files of netsh: shown, loaded into a lab, compared.

#[allow(dead_code)]
mod common;

use std::io::Read;
use std::path::{Path, PathBuf};

use common::lab::Lab;
use serde_json::Value;
use tempfile::TempDir;

/// A real file, unpacked.
fn real(folder: &TempDir, name: &str) -> PathBuf {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/wfp-state").join(name);
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(packed).unwrap()).read_to_end(&mut bytes).unwrap();
    let path = folder.path().join(name.trim_end_matches(".gz"));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Runs a command that must fail, and returns what it said.
fn fails(lab: &Lab, code: i32, arguments: &[&str]) -> String {
    let ran = lab.run(arguments);
    assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
    ran.err + &ran.out
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_file_is_shown_and_written_without_a_lab() {
    let folder = TempDir::new().unwrap();
    let file = real(&folder, "keploy.wfpstate.xml.gz");
    let lab = Lab::absent();
    let shown = lab.json(&["state", "--from", text(&file)]);
    assert_eq!(shown["filters"].as_array().unwrap().len(), 1254);
    assert_eq!(shown["time"], "2024-10-22T20:48:53.891Z");
    let copy = folder.path().join("copy.xml");
    lab.ok(&["state", "--from", text(&file), "--format", "xml", "--out", text(&copy)]);
    assert!(std::fs::read(&copy).unwrap() == std::fs::read(&file).unwrap());
}

#[test]
fn a_damaged_file_is_named_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let file = real(&folder, "le_voile-a.filters.xml.gz");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..300_000]).unwrap();
    let lab = Lab::started();
    let told = fails(&lab, 1, &["state", "load", text(&file)]);
    assert!(told.contains("le_voile-a.filters.xml: line ") && told.contains("in wfpdiag/filters/item["), "{told}");
    assert_eq!(lab.json(&["state"])["filters"].as_array().unwrap().len(), 0);
}

#[test]
fn a_machine_is_in_the_lab() {
    let folder = TempDir::new().unwrap();
    let file = real(&folder, "keploy.wfpstate.xml.gz");
    let lab = Lab::started();
    let loaded = lab.ok(&["state", "load", text(&file)]);
    assert!(
        loaded.contains("1,254 filters, 89 callouts, 45 sublayers, 16 providers, 469 provider contexts"),
        "{loaded}"
    );
    assert!(loaded.contains("85 callouts registered on the machine and not here"), "{loaded}");
    // All of it, with ids and weights: nothing is different.
    lab.ok(&["diff", text(&file), "live"]);
    let filter = |state: &Value, id: u64| {
        state["filters"].as_array().unwrap().iter().find(|filter| filter["id"] == id).cloned().unwrap()
    };
    let (there, here) = (lab.json(&["state", "--from", text(&file)]), lab.json(&["state"]));
    assert_eq!(filter(&here, 117_087), filter(&there, 117_087));

    // The machine's callouts decide nothing, so that it permits what its own filters permit.
    lab.ok(&["connect", "--protocol", "udp", "--remote", "192.0.2.7:53", "--app", r"C:\Windows\System32\svchost.exe"]);

    let told = fails(&lab, 1, &["state", "load", text(&file)]);
    assert!(told.contains("1,254 filters") && told.contains("--replace"), "{told}");
    let filters = real(&folder, "le_voile-a.filters.xml.gz");
    let replaced = lab.ok(&["state", "load", text(&filters), "--replace"]);
    assert!(replaced.contains("in place of 1,254 filters"), "{replaced}");
    assert!(replaced.contains("3 sublayers are not in the file"), "{replaced}");
    assert_eq!(lab.json(&["state"])["filters"].as_array().unwrap().len(), 286);
    // And the lab goes on.
    lab.ok(&["filter", "add", "--layer", "connect", "--action", "block", "--protocol", "udp", "--remote", "192.0.2.7"]);
    fails(&lab, 4, &["connect", "--protocol", "udp", "--remote", "192.0.2.7:53"]);
}

#[test]
fn a_driver_does_not_lose_its_objects() {
    let folder = TempDir::new().unwrap();
    let file = real(&folder, "le_voile-a.filters.xml.gz");
    let lab = Lab::started();
    lab.ok(&["driver", "load"]);
    let told = fails(&lab, 1, &["state", "load", text(&file), "--replace"]);
    assert!(told.contains("the objects of postern would be lost") && told.contains("driver unload"), "{told}");
    lab.ok(&["driver", "unload"]);
    lab.ok(&["state", "load", text(&file)]);
    // A driver can be loaded beside the machine's objects.
    lab.ok(&["driver", "load"]);
    lab.ok(&["driver", "unload"]);
}

#[test]
fn what_is_different_has_an_exit_code_of_its_own() {
    let folder = TempDir::new().unwrap();
    let file = real(&folder, "le_voile-a.filters.xml.gz");
    let changed = folder.path().join("changed.xml");
    let before = std::fs::read_to_string(&file).unwrap();
    let after = before.replacen("<uint64>18446744073709551615</uint64>", "<uint64>7</uint64>", 1);
    std::fs::write(&changed, after).unwrap();
    let lab = Lab::absent();
    lab.ok(&["diff", text(&file), text(&file)]);
    let told = fails(&lab, 7, &["diff", text(&file), text(&changed)]);
    assert!(told.contains("weight: 0xffffffffffffffff -> 0x7"), "{told}");
    assert!(told.contains("FWPM_PROVIDER_MPSSVC_WF: 1 changed"), "{told}");
    lab.ok(&["diff", text(&file), text(&changed), "--provider", "FWPM_PROVIDER_IKEEXT"]);
    fails(&lab, 1, &["diff", text(&file), text(&changed), "--provider", "nobody"]);
    fails(&lab, 2, &["diff", "live", "live"]);
    let json: Value = serde_json::from_str(&fails(&lab, 7, &["--json", "diff", text(&file), text(&changed)])).unwrap();
    assert_eq!(json["equal"], false);
    assert_eq!(json["providers"][0]["changed"][0]["kind"], "filter");
}
