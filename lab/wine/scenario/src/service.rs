//! The service manager, by the commands that people use.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Wine runs the drivers of one load order group in one process, where they can call each other.
const GROUP: &str = "NDIS";

pub struct Service(pub String);

impl Service {
    /// Creates the service, and waits until the service manager knows it.
    pub fn create(name: &str, image: &str) -> Result<Service> {
        run("sc", &["create", name, "type=", "kernel", "start=", "demand", "group=", GROUP, "binPath=", image])?;
        let service = Service(name.into());
        let end = Instant::now() + Duration::from_secs(10);
        while service.state().is_err() {
            if Instant::now() > end {
                bail!("{name} was created, and the service manager does not know it");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(service)
    }

    pub fn start(&self) -> Result<()> {
        run("net", &["start", &self.0])?;
        self.expect("RUNNING")
    }

    pub fn stop(&self) -> Result<()> {
        run("net", &["stop", &self.0])?;
        self.expect("STOPPED")
    }

    pub fn delete(&self) -> Result<()> {
        run("sc", &["delete", &self.0]).map(drop)
    }

    pub fn expect(&self, expected: &str) -> Result<()> {
        let state = self.state()?;
        if state == expected { Ok(()) } else { bail!("{} is {state}, not {expected}", self.0) }
    }

    /// `RUNNING`, `STOPPED`, …
    pub fn state(&self) -> Result<String> {
        let output = run("sc", &["query", &self.0])?;
        let line = output.lines().find(|line| line.trim_start().starts_with("STATE"));
        let word = line.and_then(|line| line.split_whitespace().nth(3));
        word.map(str::to_owned).with_context(|| format!("sc query {} says: {output}", self.0))
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{program} {} failed ({}): {}", arguments.join(" "), output.status, text.trim());
    }
    Ok(text)
}
