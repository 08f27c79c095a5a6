//! `cargo xtask loom`: the driver's own code in every interleaving of its threads.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::say;

/// The flags that a build with loom takes.
pub const FLAGS: &str = "--cfg loom";
/// Where builds with loom go: elsewhere their flags would have everything built anew.
pub const TARGET: &str = "target/loom";
/// Builds the models. Optimized: there are many interleavings.
pub const TEST: [&str; 6] = ["test", "--release", "--package", "postern-core", "--test", "interleavings"];

pub fn loom(root: &Path) -> Result<()> {
    say("every interleaving of the models in driver/core/tests/interleavings");
    let status = Command::new("cargo")
        .args(TEST)
        .args(["--target-dir", TARGET])
        .env("RUSTFLAGS", FLAGS)
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("a model fails: `LOOM_LOG=trace` and `LOOM_CHECKPOINT_FILE` show which interleaving");
    }
    Ok(())
}
