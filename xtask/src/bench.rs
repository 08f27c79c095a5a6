//! `cargo xtask bench`: the benchmarks, on the image and the CLI as they are built now.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{build, say};

pub fn bench(root: &Path) -> Result<()> {
    let products = build::build(root)?;
    say("measuring; leave the machine alone for a minute");
    for (package, bench) in [("postern-image", "postern"), ("postern-cli", "state")] {
        let status = Command::new("cargo")
            .args(["bench", "--quiet", "--package", package, "--bench", bench])
            .env("POSTERN_CLI", &products.cli)
            .current_dir(root)
            .status()
            .context("cannot run cargo")?;
        if !status.success() {
            bail!("the benchmarks failed");
        }
    }
    Ok(())
}
