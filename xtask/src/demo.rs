//! `cargo xtask demo`: what a user sees, in one go.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{build, say};

/// A capture that somebody else made (see its README).
const CAPTURE: &str = "tests/data/pcap/afs-udp-frag.pcap";
/// One of the file servers in it.
const SERVER: &str = "131.151.1.146";

pub fn demo(root: &Path) -> Result<()> {
    let cli = build::build(root)?.cli;
    // A lab of its own, so that the demo disturbs no other.
    let folder = std::env::temp_dir().join(format!("postern-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let demo = Demo { root, cli: &cli, lab: folder.join("lab.sock") };
    let shown = demo.show();
    if shown.is_err() {
        // The lab may not even run; the reason is the error above.
        let _ = demo.postern(&["lab", "stop"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    shown
}

struct Demo<'a> {
    root: &'a Path,
    cli: &'a Path,
    lab: std::path::PathBuf,
}

impl Demo<'_> {
    fn show(&self) -> Result<()> {
        say("1. a lab, and the driver in it");
        self.run(&["lab", "start"])?;
        self.run(&["driver", "load"])?;
        say("2. a filter that blocks, and one that asks the driver's callout");
        self.run(&[
            "filter",
            "add",
            "--layer",
            "connect",
            "--action",
            "block",
            "--protocol",
            "udp",
            "--remote",
            SERVER,
            "--name",
            "no file server",
        ])?;
        self.run(&[
            "filter",
            "add",
            "--layer",
            "accept",
            "--action",
            "callout-block",
            "--protocol",
            "tcp",
            "--local-port",
            "3389",
            "--name",
            "no remote desktop",
        ])?;
        say("3. real traffic, and who judged it");
        self.run(&["replay", CAPTURE])?;
        self.run_expecting(
            4,
            &["accept", "--protocol", "tcp", "--remote", "203.0.113.9:50000", "--local", "192.168.1.2:3389"],
        )?;
        self.run(&["driver", "status"])?;
        say("4. the filter engine's state (`--format xml` is what `netsh wfp show state` writes)");
        self.run(&["state"])?;
        say("5. unloading while traffic flows");
        let mut traffic = self
            .postern(&["replay", CAPTURE, "--repeat", "20000", "--json"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the traffic")?;
        std::thread::sleep(std::time::Duration::from_millis(300));
        let flowing = traffic.try_wait()?.is_none();
        self.run(&["driver", "unload"])?;
        let status = traffic.wait()?;
        if !flowing || !status.success() {
            bail!("the traffic was to flow through the unload, and ended before it: {status}");
        }
        self.run(&["filter", "remove", "--all"])?;
        self.run(&["lab", "stop"])
    }

    fn postern(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.cli);
        command.args(arguments).current_dir(self.root).env("POSTERN_LAB", &self.lab);
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        self.run_expecting(0, arguments)
    }

    /// Shows a command and what it prints.
    fn run_expecting(&self, code: i32, arguments: &[&str]) -> Result<()> {
        let shown: Vec<String> = arguments
            .iter()
            .map(|argument| if argument.contains(' ') { format!("'{argument}'") } else { (*argument).to_owned() })
            .collect();
        println!("\n$ postern {}", shown.join(" "));
        let status = self.postern(arguments).status().with_context(|| format!("cannot run {}", self.cli.display()))?;
        if status.code() != Some(code) {
            bail!("postern {} ended with {status}; expected exit code {code}", shown.join(" "));
        }
        Ok(())
    }
}
