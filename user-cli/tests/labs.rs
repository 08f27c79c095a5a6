//! Starting, finding and ending labs.

#[allow(dead_code)]
mod common;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use common::lab::Lab;

#[test]
fn without_a_lab_every_command_says_how_to_start_one() {
    let lab = Lab::absent();
    for arguments in [
        &["filter", "list"][..],
        &["filter", "remove", "--all"],
        &["filter", "add", "--layer", "connect", "--action", "block"],
        &["state"],
        &["driver", "status"],
        &["driver", "unload"],
        &["flows"],
        &["watch"],
        &["ask"],
        &["lab", "stop"],
        &["lab", "log"],
        &["lab", "violations"],
        &["connect", "--protocol", "tcp", "--remote", "192.0.2.1:80"],
        &["replay", "/proc/self/exe"],
    ] {
        let ran = lab.run(arguments);
        assert_eq!(ran.code, 3, "{arguments:?}: {ran:?}");
        assert!(ran.err.contains("no lab is running"), "{ran:?}");
        assert!(ran.err.contains("help: start one with `postern lab start"), "{ran:?}");
        assert_eq!(ran.out, "");
    }
    let status = lab.run(&["lab", "status"]);
    assert_eq!(status.code, 3);
    assert!(status.out.contains("does not run: start it with `postern lab start --lab "), "{status:?}");
}

#[test]
fn a_lab_starts_tells_its_log_and_ends() {
    let lab = Lab::absent();
    let started = lab.ok(&["lab", "start"]);
    assert!(started.contains(" runs as process ") && started.contains("log "), "{started}");
    let status = lab.json(&["lab", "status"]);
    assert_eq!(status["running"], true);
    assert_eq!(status["bfe_running"], true);
    let log = std::fs::read_to_string(status["log"].as_str().unwrap()).unwrap();
    assert!(log.contains("runs as process"), "{log}");
    assert!(lab.ok(&["lab", "stop"]).contains("has ended"));
    assert_eq!(lab.run(&["lab", "status"]).code, 3);
    assert!(!lab.socket().exists());
}

#[test]
fn a_second_start_says_that_the_lab_runs() {
    let lab = Lab::started();
    let ran = lab.run(&["lab", "start"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("already runs") && ran.err.contains("postern lab stop"), "{ran:?}");
    lab.ok(&["lab", "status"]);
}

#[test]
fn starts_at_the_same_time_make_one_lab() {
    let lab = Lab::absent();
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| lab.run(&["lab", "start"]).code)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    lab.ok(&["lab", "status"]);
}

#[test]
fn a_socket_that_a_dead_lab_left_is_replaced() {
    let lab = Lab::absent();
    drop(UnixListener::bind(lab.socket()).unwrap());
    assert_eq!(lab.run(&["filter", "list"]).code, 3);
    lab.ok(&["lab", "start"]);
    lab.ok(&["filter", "list"]);
}

#[test]
fn a_file_that_is_no_socket_is_kept() {
    let lab = Lab::absent();
    std::fs::write(lab.socket(), "precious").unwrap();
    let ran = lab.run(&["lab", "start"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("is no socket"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(lab.socket()).unwrap(), "precious");
}

#[test]
fn only_the_user_may_open_the_socket() {
    let lab = Lab::started();
    assert_eq!(lab.socket().metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn labs_of_different_names_know_nothing_of_each_other() {
    let runtime = tempfile::tempdir().unwrap();
    let lab = Lab::absent();
    let run = |arguments: &[&str]| lab.command(arguments).env("XDG_RUNTIME_DIR", runtime.path()).output().unwrap();
    for name in ["one", "two"] {
        assert!(run(&["lab", "start", "--lab", name]).status.success());
    }
    assert!(run(&["filter", "add", "--lab", "one", "--layer", "listen", "--action", "permit"]).status.success());
    assert!(!String::from_utf8(run(&["filter", "list", "--lab", "one"]).stdout).unwrap().contains("no filters"));
    assert!(String::from_utf8(run(&["filter", "list", "--lab", "two"]).stdout).unwrap().contains("no filters"));
    let mode = runtime.path().join("postern").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    for name in ["one", "two"] {
        assert!(run(&["lab", "stop", "--lab", name]).status.success());
    }
}

#[test]
fn a_directory_that_others_may_enter_is_refused() {
    let runtime = tempfile::tempdir().unwrap();
    let directory = runtime.path().join("postern");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    let lab = Lab::absent();
    let output = lab.command(&["lab", "start", "--lab", "x"]).env("XDG_RUNTIME_DIR", runtime.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("mode must be 0700"));
}

#[test]
fn messages_that_are_no_requests_do_not_end_the_lab() {
    use std::io::{BufRead, BufReader, Write};
    let lab = Lab::started();
    let mut stream = std::os::unix::net::UnixStream::connect(lab.socket()).unwrap();
    stream.write_all(b"hello\n{\"filter-add\":1}\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert!(lines.next().unwrap().unwrap().contains("postern_lab"));
    for _ in 0..2 {
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains("refused") && line.contains("no request"), "{line}");
    }
    lab.ok(&["lab", "status"]);
}

/// A lab that keeps its persistent objects in a file, which is gone with the test.
fn keeping(lab: &Lab, file: &std::path::Path, options: &[&str]) {
    lab.ok(&[&["lab", "start", "--store", file.to_str().unwrap()], options].concat());
}

fn connect(lab: &Lab) -> (i32, String) {
    let ran = lab.run(&["connect", "--protocol", "tcp", "--remote", "192.0.2.7:443"]);
    (ran.code, ran.out.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn persistent_and_boot_time_filters_survive_and_each_is_in_force_in_its_time() {
    let lab = Lab::absent();
    let file = lab.socket().with_file_name("store.json");
    keeping(&lab, &file, &[]);
    let add = |name: &str, action: &str, lifetime: &str| {
        let options = ["--layer", "connect", "--family", "v4", "--action", action, "--name", name];
        lab.ok(&[&["filter", "add"], &options[..], &["--lifetime", lifetime]].concat());
    };
    add("while it boots", "block", "boot-time");
    add("kept", "permit", "persistent");
    add("gone", "block", "static");
    assert_eq!(connect(&lab), (4, "blocked at ALE_AUTH_CONNECT_V4 by filter 65539 (gone)".into()));
    lab.ok(&["lab", "stop"]);

    keeping(&lab, &file, &["--bfe", "stopped"]);
    assert_eq!(connect(&lab), (4, "blocked at ALE_AUTH_CONNECT_V4 by filter 65537 (while it boots)".into()));
    lab.ok(&["lab", "bfe", "running"]);
    assert_eq!(connect(&lab), (0, "permitted at ALE_AUTH_CONNECT_V4 by filter 65538 (kept)".into()));
    let filters = lab.json(&["filter", "list"])["filters"].clone();
    let text = |of: &serde_json::Value, member: &str| of[member].as_str().unwrap().to_owned();
    let told = filters.as_array().unwrap().iter().map(|of| [text(of, "name"), text(of, "lifetime")]);
    assert_eq!(told.collect::<Vec<_>>(), [["while it boots", "boot-time"], ["kept", "persistent"]]);
    assert_eq!(lab.json(&["filter", "list", "--boot-time"])["filters"].as_array().unwrap().len(), 1);
    lab.ok(&["filter", "remove", "--all"]);
    lab.ok(&["lab", "stop"]);
    let kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    for kind in ["filters", "sublayers", "providers"] {
        assert_eq!(kept[kind], serde_json::json!([]), "{kind}");
    }
}

#[test]
fn a_store_is_one_labs_and_is_not_touched_if_it_makes_no_sense() {
    let lab = Lab::absent();
    let file = lab.socket().with_file_name("store.json");
    let start = ["lab", "start", "--store", file.to_str().unwrap()];
    for (text, expected) in [
        ("{", "line 1 column 1"),
        ("{\"postern_lab_store\": 9}", "its version is 9, not 1"),
        ("{\"postern_lab_store\": 1, \"filters\": []}", "missing field"),
    ] {
        std::fs::write(&file, text).unwrap();
        let ran = lab.run(&start);
        assert_eq!((ran.code, ran.err.contains(expected), ran.err.contains("store.json")), (1, true, true), "{ran:?}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
    std::fs::remove_file(&file).unwrap();
    keeping(&lab, &file, &[]);
    let add = ["filter", "add", "--layer", "connect", "--action", "block", "--lifetime", "persistent", "--name", "x"];
    lab.ok(&add);
    let other = Lab::absent();
    let ran = other.run(&start);
    assert_eq!((ran.code, ran.err.contains("another lab uses it")), (1, true), "{ran:?}");
    lab.ok(&["lab", "stop"]);
    let wrong = std::fs::read_to_string(&file).unwrap().replace("\"name\": \"x\"", "\"name\": \"\"");
    std::fs::write(&file, wrong).unwrap();
    let ran = lab.run(&start);
    assert_eq!((ran.code, ran.err.contains("FWP_E_NULL_DISPLAY_NAME")), (1, true), "{ran:?}");
}

#[test]
fn what_cannot_be_kept_is_told_and_written_with_the_next_change() {
    let lab = Lab::absent();
    let directory = lab.socket().with_file_name("stores");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("store.json");
    keeping(&lab, &file, &[]);
    // A directory in the place of the file that is written first.
    std::fs::create_dir(directory.join("store.json.new")).unwrap();
    let add = |name: &str| {
        let filter = ["filter", "add", "--layer", "accept", "--action", "block", "--family", "v4", "--name", name];
        lab.run(&[&filter[..], &["--lifetime", "persistent"]].concat())
    };
    let ran = add("one");
    assert_eq!((ran.code, ran.err.contains("but not kept")), (1, true), "{ran:?}");
    std::fs::remove_dir(directory.join("store.json.new")).unwrap();
    let ran = add("two");
    assert_eq!(ran.code, 0, "{ran:?}");
    lab.ok(&["lab", "stop"]);
    keeping(&lab, &file, &[]);
    assert_eq!(lab.json(&["filter", "list"])["filters"].as_array().unwrap().len(), 2);
}

#[test]
fn filters_of_a_provider_whose_service_does_not_start_by_itself_are_disabled() {
    let lab = Lab::absent();
    let file = lab.socket().with_file_name("store.json");
    keeping(&lab, &file, &[]);
    let add = ["filter", "add", "--layer", "connect", "--action", "block", "--lifetime", "persistent", "--name", "x"];
    lab.ok(&add);
    lab.ok(&["lab", "stop"]);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"service_name\": null", "\"service_name\": \"MySvc\"")).unwrap();
    for (options, code, disabled) in [(&[][..], 4, false), (&["--manual-service", "mysvc"], 0, true)] {
        keeping(&lab, &file, options);
        assert_eq!(connect(&lab).0, code);
        let filters = lab.json(&["filter", "list"])["filters"].clone();
        let told: Vec<_> = filters.as_array().unwrap().iter().map(|of| of["disabled"] == true).collect();
        assert_eq!(told, [disabled; 2]);
        let text = lab.ok(&["filter", "list"]);
        assert_eq!(text.contains("(disabled)"), disabled, "{text}");
        lab.ok(&["lab", "stop"]);
    }
}
