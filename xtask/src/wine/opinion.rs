//! The driver of `lab/opinion` under Wine, and what it says held against what it says in the lab.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::installed::Wine;
use crate::cargo;

/// Starts the driver, which says all in its `DriverEntry`.
const BATCH: &str = "@echo off\r\n\
    sc create opinion type= kernel start= demand binPath= C:\\windows\\system32\\drivers\\opinion.sys >nul\r\n\
    ping -n 3 127.0.0.1 >nul\r\n\
    net start opinion >nul\r\n\
    net stop opinion >nul\r\n";

pub fn compare(wine: &Wine, root: &Path, prefix: &Path) -> Result<()> {
    cargo(root, &["build", "--package", "postern-opinion"])?;
    let opinion = |arguments: &[&Path]| -> Result<()> {
        let program = root.join("target/debug/postern-opinion");
        let status = Command::new(&program).args(arguments).status();
        let status = status.with_context(|| format!("cannot run {}", program.display()))?;
        if status.success() { Ok(()) } else { bail!("{} failed", program.display()) }
    };
    let folder = root.join("target/wine/opinion");
    opinion(&["build".as_ref(), &folder])?;
    let (image, log) = (folder.join("driver.sys"), folder.join("wine.log"));
    super::copy(&image, &prefix.join("drive_c/windows/system32/drivers/opinion.sys"))?;
    let batch = prefix.join("drive_c/opinion.bat");
    fs::write(&batch, BATCH).with_context(|| format!("cannot write {}", batch.display()))?;
    let output = wine.command("wine", &["cmd", "/c", r"C:\opinion.bat"]).output().context("cannot run wine")?;
    fs::write(&log, output.stderr).with_context(|| format!("cannot write {}", log.display()))?;
    opinion(&["compare".as_ref(), &image, &log]).with_context(|| format!("what Wine has said is in {}", log.display()))
}
