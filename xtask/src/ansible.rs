//! `cargo xtask test --ansible`: the Ansible role, checked by ansible-lint, and run against labs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::python::run;
use crate::{cargo, python, say, setup};

/// From PyPI. ansible-core 2.18 is the newest for the Python of Debian 12.
const PACKAGES: &[&str] = &["ansible-core==2.18.6", "ansible-lint==26.10.1"];
/// What the role is tested with: the hosts of its inventory, in order.
const HOSTS: &[&str] = &["lab-one", "lab-three", "lab-two"];

pub fn test(root: &Path) -> Result<()> {
    setup::setup(root)?;
    let environment = python::environment(root, "ansible", PACKAGES)?;
    lint(root, &environment)?;

    cargo(root, &["build", "--package", "postern-cli"])?;
    let mut hosts = Hosts::new(root, environment)?;
    let tested = hosts.test();
    hosts.stop();
    tested?;
    say("the role has passed");
    Ok(())
}

fn lint(root: &Path, environment: &Path) -> Result<()> {
    say("ansible-lint");
    run(ansible(root, environment, "ansible-lint")?.args(["--offline", "--strict", "-q", "--nocolor"]))?;
    say("a playbook with a mistake, which ansible-lint must find");
    let folder = TempDir::new()?;
    let broken = folder.path().join("broken.yml");
    let playbook = fs::read_to_string(root.join("inf/ansible/deploy.yml"))?;
    fs::write(&broken, playbook.replace("ansible.builtin.include_role", "ansible.builtin.include_rule"))?;
    let found = ansible(root, environment, "ansible-lint")?.args(["--offline", "--nocolor"]).arg(&broken).output()?;
    ensure!(!found.status.success(), "ansible-lint found nothing in a playbook with a module that does not exist");
    Ok(())
}

/// A program of the environment, in the role's folder.
fn ansible(root: &Path, environment: &Path, program: &str) -> Result<Command> {
    let programs = environment.join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs.clone()).chain(std::env::split_paths(&path)))?;
    let mut command = Command::new(programs.join(program));
    command
        .current_dir(root.join("inf/ansible"))
        .env("PATH", path)
        // Ansible refuses other encodings.
        .env("LC_ALL", "C.UTF-8")
        .env("ANSIBLE_NOCOLOR", "1")
        .env("ANSIBLE_LOCALHOST_WARNING", "False")
        .env("ANSIBLE_HOME", environment.join("home"));
    Ok(command)
}

/// Labs that nobody else sees.
struct Hosts {
    root: PathBuf,
    environment: PathBuf,
    cli: PathBuf,
    folder: TempDir,
    holder: Option<Child>,
}

/// What a playbook did to each host.
struct Outcome {
    succeeded: bool,
    printed: String,
    changed: BTreeMap<String, u32>,
}

impl Hosts {
    fn new(root: &Path, environment: PathBuf) -> Result<Self> {
        let folder = TempDir::new().context("cannot create a folder for the labs")?;
        Ok(Self { root: root.to_owned(), environment, cli: root.join("target/debug/postern"), folder, holder: None })
    }

    fn test(&mut self) -> Result<()> {
        say("deploying to three labs");
        let first = self.succeed("deploy", "@filters.example.yml")?;
        ensure!(first.changed.values().all(|changed| *changed > 0), "a host was not changed:\n{}", first.printed);
        let reports = self.reports()?;
        for (host, report) in &reports {
            ensure!(report["driver"] == "running", "{host}: {report}");
            ensure!(report["filters"].as_array().is_some_and(|filters| filters.len() == 3), "{host}: {report}");
        }

        say("again: nothing changes");
        self.unchanged("deploy", "@filters.example.yml")?;
        ensure!(self.reports()? == reports, "the reports are not the same as those of the first run");

        say("a host whose filters somebody has changed is brought back, and what is somebody else's is left alone");
        self.postern("lab-two", &["filter", "remove", "--name", "no file server"])?;
        self.postern("lab-two", &["filter", "add", "--layer", "connect", "--action", "block", "--name", "by hand"])?;
        let repaired = self.succeed("deploy", "@filters.example.yml")?;
        let changed: Vec<&str> =
            repaired.changed.iter().filter(|(_, count)| **count > 0).map(|(host, _)| host.as_str()).collect();
        ensure!(changed == ["lab-two"], "changed: {changed:?}");
        ensure!(self.filters("lab-two")?.contains("by hand"), "the filter that was added by hand is gone");

        say("a filter that is refused is named, and the hosts keep what they had");
        let before = self.all_filters()?;
        let bad = r#"{"postern_filters": [
            {"name": "no web", "layer": "connect", "action": "block", "protocol": "tcp", "remote_port": 80},
            {"name": "too far", "layer": "connect", "action": "block", "protocol": "tcp", "remote_port": 99999}]}"#;
        let refused = self.play("deploy", bad)?;
        ensure!(!refused.succeeded, "a filter for port 99999 was accepted");
        ensure!(
            refused.printed.contains("Refused:  'too far'") && refused.printed.contains("'99999' is no port"),
            "the filter is not named:\n{}",
            refused.printed
        );
        ensure!(self.all_filters()? == before, "a filter that was refused has changed the filters of a host");

        say("a host where something is left is told of");
        self.hold("lab-three")?;
        let left = self.play("withdraw", "{}")?;
        ensure!(
            !left.succeeded && left.printed.contains("still in the filter engine: Postern"),
            "nothing was said of a filter that was left:\n{}",
            left.printed
        );
        self.release()?;

        say("a driver that somebody holds is not waited for for ever");
        self.succeed("deploy", "@filters.example.yml")?;
        self.watch("lab-one")?;
        let held = self.play("withdraw", r#"{"postern_unload_seconds": 2}"#)?;
        ensure!(
            !held.succeeded && held.printed.contains("has not stopped in 2 seconds: it is held by"),
            "nothing was said of a driver that is held:\n{}",
            held.printed
        );
        self.release()?;

        say("withdrawing");
        self.succeed("withdraw", "{}")?;
        for (host, report) in self.reports()? {
            ensure!(report["driver"] == "absent" && report["left"] == serde_json::json!([]), "{host}: {report}");
        }
        say("again: nothing changes");
        self.unchanged("withdraw", "{}")
    }

    /// Runs a playbook that has to succeed.
    fn succeed(&self, playbook: &str, variables: &str) -> Result<Outcome> {
        let outcome = self.play(playbook, variables)?;
        ensure!(outcome.succeeded, "{playbook}.yml failed:\n{}", outcome.printed);
        Ok(outcome)
    }

    /// Runs a playbook that has to find everything as it should be.
    fn unchanged(&self, playbook: &str, variables: &str) -> Result<()> {
        let outcome = self.succeed(playbook, variables)?;
        ensure!(outcome.changed.values().all(|changed| *changed == 0), "a host was changed:\n{}", outcome.printed);
        Ok(())
    }

    fn play(&self, playbook: &str, variables: &str) -> Result<Outcome> {
        let output = ansible(&self.root, &self.environment, "ansible-playbook")?
            .args(["-i", "inventory/labs.yml"])
            .arg(format!("{playbook}.yml"))
            .args(["-e", variables])
            .args(["-e", &format!("postern_program={}", self.cli.display())])
            .args(["-e", &format!("postern_report_folder={}", self.reports_folder().display())])
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .output()
            .context("cannot run ansible-playbook")?;
        let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let changed = recap(&printed);
        ensure!(
            changed.keys().map(String::as_str).eq(HOSTS.iter().copied()),
            "the recap does not name each host once:\n{printed}"
        );
        Ok(Outcome { succeeded: output.status.success(), printed, changed })
    }

    fn reports_folder(&self) -> PathBuf {
        self.folder.path().join("reports")
    }

    fn reports(&self) -> Result<BTreeMap<&'static str, Value>> {
        HOSTS
            .iter()
            .map(|host| {
                let file = self.reports_folder().join(format!("{host}.json"));
                let text = fs::read_to_string(&file).with_context(|| format!("{host} has no report"))?;
                Ok((*host, serde_json::from_str(&text)?))
            })
            .collect()
    }

    fn command(&self, host: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.cli);
        command.args(["--lab", host, "--json"]).args(arguments).env("XDG_RUNTIME_DIR", self.folder.path());
        command
    }

    fn postern(&self, host: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(host, arguments).output().context("cannot run postern")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{host}: postern {}: {said}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn filters(&self, host: &str) -> Result<String> {
        self.postern(host, &["filter", "list"])
    }

    fn all_filters(&self) -> Result<Vec<String>> {
        HOSTS.iter().map(|host| self.filters(host)).collect()
    }

    /// Adds a filter that only the end of the process removes.
    fn hold(&mut self, host: &str) -> Result<()> {
        let arguments =
            ["filter", "add", "--layer", "connect", "--action", "block", "--lifetime", "dynamic", "--name", "held"];
        let child = self.command(host, &arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        self.holder = Some(child);
        self.until(host, &["filter", "list"], |filters| filters.contains("\"held\""))
    }

    /// Opens the driver's device for as long as the process lives.
    fn watch(&mut self, host: &str) -> Result<()> {
        let child = self.command(host, &["watch"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        self.holder = Some(child);
        self.until(host, &["driver", "status"], |status| !status.contains("\"holders\": []"))
    }

    /// Waits until a command of the CLI prints what is wanted.
    fn until(&self, host: &str, arguments: &[&str], wanted: impl Fn(&str) -> bool) -> Result<()> {
        for _ in 0..100 {
            if wanted(&self.postern(host, arguments)?) {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        bail!("{host}: postern {} does not print what is waited for", arguments.join(" "));
    }

    fn release(&mut self) -> Result<()> {
        if let Some(mut holder) = self.holder.take() {
            holder.kill()?;
            holder.wait()?;
        }
        Ok(())
    }

    /// Ends what runs; the labs may not even have been started.
    fn stop(&mut self) {
        let _ = self.release();
        for host in HOSTS {
            let _ = self.command(host, &["lab", "stop"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// What `PLAY RECAP` says of each host: how many tasks have changed something.
fn recap(printed: &str) -> BTreeMap<String, u32> {
    let lines = printed.lines().skip_while(|line| !line.starts_with("PLAY RECAP"));
    lines
        .filter_map(|line| {
            let (host, counts) = line.split_once(" : ")?;
            let changed = counts.split_whitespace().find_map(|count| count.strip_prefix("changed="))?;
            Some((host.trim().to_owned(), changed.parse().ok()?))
        })
        .collect()
}
