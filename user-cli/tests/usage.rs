//! What the command line says of itself.

#[allow(dead_code)]
mod common;

use common::lab::Lab;

#[test]
fn every_command_has_help_with_its_options() {
    let lab = Lab::absent();
    for (command, part) in [
        (&["--help"][..], "Exit codes:"),
        (&["lab", "start", "--help"], "postern lab start --lab night-run"),
        (&["lab", "inject", "--help"], "STATUS_DEVICE_BUSY"),
        (&["driver", "load", "--help"], "Examples:"),
        (&["filter", "add", "--help"], "Examples:"),
        (&["filter", "remove", "--help"], "Examples:"),
        (&["plan", "--help"], "7: something would change"),
        (&["apply", "--help"], "in one transaction"),
        (&["export", "--help"], "changes nothing"),
        (&["import", "--help"], "left out and listed"),
        (&["verify-clean", "--help"], "5: something is"),
        (&["clean", "--help"], "in one transaction"),
        (&["replay", "--help"], "Link types:"),
        (&["connect", "--help"], "Exit code 0: permitted, 4: blocked, 6: held"),
        (&["accept", "--help"], "Examples:"),
        (&["state", "--help"], "netsh wfp show state"),
        (&["driver", "unload", "--help"], "Ctrl-C ends the waiting, not the unload"),
        (&["flows", "--help"], "Examples:"),
        (&["watch", "--help"], "Examples:"),
        (&["ask", "--help"], "P  permit, with a new filter"),
        (&["endure", "--help"], "Examples:"),
        (&["completions", "--help"], "Examples:"),
    ] {
        let help = lab.ok(command);
        assert!(help.contains(part), "{command:?}: {help}");
    }
}

#[test]
fn completions_know_every_command() {
    let lab = Lab::absent();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = lab.ok(&["completions", shell]);
        for command in
            ["lab", "driver", "filter", "replay", "connect", "accept", "state", "flows", "watch", "ask", "endure"]
        {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    assert_eq!(lab.run(&["completions", "csh"]).code, 2);
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    use std::process::Stdio;
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_postern"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
