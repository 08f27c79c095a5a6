//! Python environments in `target`, for what others have written in Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::say;

/// Makes an environment with packages of PyPI, where there is none of these versions.
pub fn environment(root: &Path, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = root.join("target").join(name);
    let (done, wanted) = (folder.join("installed"), packages.join(" "));
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    xwdk::install_programs(root, &[("python3", "python3")], &mut say)?;
    if !Command::new("python3").args(["-c", "import ensurepip"]).stderr(Stdio::null()).status()?.success() {
        xwdk::install_packages(root, &["python3-venv"], &mut say)?;
    }
    say(&format!("installing {wanted} in {}", folder.display()));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(packages))?;
    fs::write(done, wanted)?;
    Ok(folder)
}

/// Runs a program; what it prints is part of the error.
pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let printed = [output.stdout, output.stderr].concat();
        bail!("{name} failed ({}):\n{}", output.status, String::from_utf8_lossy(&printed).trim());
    }
    Ok(())
}
