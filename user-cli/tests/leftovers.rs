//! What is left of a provider or of the driver, and removing it.

#[allow(dead_code)]
mod common;

use common::lab::Lab;
use serde_json::Value;

fn left(lab: &Lab, arguments: &[&str]) -> Vec<String> {
    let ran = lab.run(&[&["--json", "verify-clean"], arguments].concat());
    let verified: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    let left = verified["left"].as_array().unwrap();
    assert_eq!(
        (ran.code, verified["clean"].as_bool()),
        if left.is_empty() { (0, Some(true)) } else { (5, Some(false)) }
    );
    left.iter().map(|left| format!("{}: {}", left["object"].as_str().unwrap(), left["why"].as_str().unwrap())).collect()
}

fn add(lab: &Lab, action: &str) {
    lab.ok(&["filter", "add", "--layer", "connect", "--family", "v4", "--action", action, "--name", action]);
}

#[test]
fn a_driver_is_gone_only_if_nothing_calls_it_and_nothing_names_its_callouts() {
    let lab = Lab::started();
    assert_eq!(left(&lab, &["--driver"]), [""; 0]);
    lab.ok(&["driver", "load"]);
    let there = left(&lab, &["--driver"]);
    let count = |part: &str| there.iter().filter(|line| line.contains(part)).count();
    assert_eq!((count("provider: it is still there"), count("sublayer: of the provider")), (1, 1), "{there:?}");
    // 14 monitors have an object of the driver's; the others are registered for filters to come.
    assert_eq!((count("callout: of the provider; a driver"), count("without an object")), (14, 28), "{there:?}");
    assert_eq!(lab.json(&["state"])["callouts"].as_array().unwrap().len(), 14, "the question has left nothing");

    add(&lab, "callout-block");
    assert!(!left(&lab, &["--driver"]).iter().any(|line| line.contains("no driver")));
    lab.ok(&["driver", "unload"]);
    assert_eq!(
        left(&lab, &["--driver"]),
        [
            "callout: added, and no driver has it registered",
            "filter: names callout 'Postern block at ALE_AUTH_CONNECT_V4', which no driver has registered"
        ]
    );
    lab.ok(&["filter", "remove", "--all"]);
    assert_eq!(left(&lab, &["--driver"]), [""; 0]);
}

#[test]
fn a_provider_is_cleaned_with_everything_that_depends_on_it_or_not_at_all() {
    let lab = Lab::started();
    assert_eq!(left(&lab, &["--provider", "Postern CLI"]), [""; 0]);
    add(&lab, "block");
    add(&lab, "callout-block");
    // Another provider's filter in its sublayer.
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.toml");
    let policy = policy.to_str().unwrap();
    let guest = "[policy]\nname = \"guest\"\nsublayer = \"{706f7374-6572-4e00-9000-000000000002}\"\n[[rule]]\nname = \"guest\"\n\
                 layer = \"listen\"\nfamily = \"v4\"\naction = \"block\"\n";
    std::fs::write(policy, guest).unwrap();
    lab.ok(&["apply", "--yes", policy]);

    let expected = [
        "filter: of the provider",
        "filter: of the provider; names callout 'Postern block at ALE_AUTH_CONNECT_V4', which no driver has registered",
        "filter: another's, in a sublayer of the provider",
        "callout: of the provider",
        "sublayer: of the provider",
        "provider: it is still there",
    ];
    assert_eq!(left(&lab, &["--provider", "Postern CLI"]), expected);
    let dry = lab.json(&["clean", "--provider", "Postern CLI", "--dry-run"]);
    assert_eq!((dry["removed"].as_bool(), dry["objects"].as_array().unwrap().len()), (Some(false), 6));
    let unasked = lab.run(&["clean", "--provider", "Postern CLI"]);
    assert!(unasked.code == 2 && unasked.err.contains("6 objects to remove"), "{unasked:?}");
    assert_eq!(left(&lab, &["--provider", "Postern CLI"]).len(), 6);

    let key = "{706f7374-6572-4e00-9000-000000000001}";
    lab.ok(&["clean", "--provider", key, "--yes"]);
    assert_eq!(left(&lab, &["--provider", key]), [""; 0]);
    assert_eq!(lab.json(&["state"])["filters"].as_array().unwrap().len(), 0);
    assert_eq!(left(&lab, &["--provider", "guest"]), ["provider: it is still there"]);
    let unknown = lab.run(&["clean", "--provider", "nobody", "--yes"]);
    assert!(unknown.code == 1 && unknown.err.contains("no provider 'nobody'"), "{unknown:?}");
    let built_in = lab.run(&["clean", "--provider", "FWPM_PROVIDER_MPSSVC_WF", "--yes"]);
    assert!(built_in.code == 1 && built_in.err.contains("Windows' own"), "{built_in:?}");
}

#[test]
fn what_cannot_be_removed_keeps_all_of_it() {
    let lab = Lab::started();
    lab.ok(&["driver", "load"]);
    add(&lab, "block");
    // The driver's objects are its dynamic session's.
    let before = lab.json(&["filter", "list"]);
    let ran = lab.run(&["clean", "--provider", "Postern driver", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("FWP_E_WRONG_SESSION") && ran.err.contains("nothing was removed"), "{}", ran.err);
    assert_eq!(lab.json(&["filter", "list"]), before);
}
