//! Programs for Windows, and modules made like them: `x86_64-pc-windows-gnu`, with the whole of Rust's library. Windows itself
//! builds them for `x86_64-pc-windows-msvc`; without Microsoft's libraries they are only checked for that here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::Parts;
use crate::driver::{self, cargo_without_outer_build};
use crate::install::{install_library_source, install_programs, rustup};

/// What they are built for.
pub const TARGET: &str = "x86_64-pc-windows-gnu";
/// What they can be checked for.
pub const TARGETS: [&str; 2] = [TARGET, driver::TARGET];
/// Links them, and compiles C.
pub const COMPILER: &str = "x86_64-w64-mingw32-gcc";

/// Installs what is missing to build programs for Windows. `say` is told what is done and why.
pub fn install(root: &Path, say: &mut dyn FnMut(&str)) -> Result<()> {
    install_programs(root, &[(COMPILER, "gcc-mingw-w64-x86-64")], say)?;
    let parts = Parts::find(root)?;
    for target in TARGETS {
        if !has_library(&parts, target) && !rustup(["target", "add", target], say) {
            install_library_source(root, say)?;
        }
    }
    Ok(())
}

fn has_library(parts: &Parts, target: &str) -> bool {
    parts.sysroot.join("lib/rustlib").join(target).join("lib").is_dir()
}

/// Builds packages of the workspace at `root`, and returns the folder that holds what was built.
pub fn build(root: &Path, names: &[&str]) -> Result<PathBuf> {
    run(packages_of(cargo(root, "build", TARGET)?, names).arg("--release"))
        .with_context(|| format!("{} were not built for {TARGET}", names.join(", ")))?;
    Ok(root.join("target").join(TARGET).join("release"))
}

/// Checks packages of the workspace at `root` as `cargo clippy` does; any warning is an error.
pub fn clippy(root: &Path, target: &str, names: &[&str]) -> Result<()> {
    run(packages_of(cargo(root, "clippy", target)?, names).args(["--release", "--", "-D", "warnings"]))
        .with_context(|| format!("clippy objects to {} for {target}", names.join(", ")))
}

fn packages_of(mut cargo: Command, names: &[&str]) -> Command {
    for name in names {
        cargo.args(["--package", name]);
    }
    cargo
}

fn run(cargo: &mut Command) -> Result<()> {
    let status = cargo.status().context("cannot run cargo")?;
    if status.success() { Ok(()) } else { bail!("cargo failed ({status})") }
}

/// A cargo command in the workspace at `root`, for programs.
fn cargo(root: &Path, command: &str, target: &str) -> Result<Command> {
    let parts = Parts::find(root)?;
    let mut cargo = cargo_without_outer_build();
    cargo.envs(parts.environment());
    cargo.current_dir(root).args([command, "--target", target, "--target-dir", "target"]);
    if !has_library(&parts, target) {
        // Building the library is an unstable feature of cargo.
        cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC_BOOTSTRAP", "1");
    }
    Ok(cargo)
}
