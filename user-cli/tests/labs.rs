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
