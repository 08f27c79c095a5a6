//! `cargo xtask sanitize`: the tests of the portable crates under ThreadSanitizer, AddressSanitizer and Miri.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{say, setup};

/// The crates that need nothing of Windows: those that the driver is made of, and the model of the filter engine.
const CRATES: [&str; 3] = ["postern-core", "postern-protocol", "postern-engine"];
/// Miri is too slow for the engine's property tests, and the engine has neither threads nor `unsafe`.
const MIRI_CRATES: [&str; 2] = ["postern-core", "postern-protocol"];
const TARGET: &str = "x86_64-unknown-linux-gnu";

#[derive(Args)]
pub struct Arguments {
    /// Only ThreadSanitizer, and what else is named
    #[arg(long)]
    thread: bool,
    /// Only AddressSanitizer, and what else is named
    #[arg(long)]
    address: bool,
    /// Only Miri, and what else is named; an error where no toolchain has it
    #[arg(long)]
    miri: bool,
}

impl Arguments {
    /// What `cargo xtask test` runs: not Miri, which not every machine has.
    pub const COMPILED_IN: Arguments = Arguments { thread: true, address: true, miri: false };
}

pub fn sanitize(root: &Path, arguments: &Arguments) -> Result<()> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        bail!("the sanitizers are set up for {TARGET} alone");
    }
    setup::setup(root)?;
    let everything = !(arguments.thread || arguments.address || arguments.miri);
    if everything || arguments.thread {
        sanitizer(root, "thread")?;
    }
    if everything || arguments.address {
        sanitizer(root, "address")?;
    }
    if everything || arguments.miri {
        if has_miri() {
            miri(root)?;
        } else if arguments.miri {
            bail!("no toolchain here has Miri: `rustup component add --toolchain nightly miri rust-src`");
        } else {
            say("no toolchain here has Miri: left out");
        }
    }
    Ok(())
}

fn sanitizer(root: &Path, name: &str) -> Result<()> {
    // What is not compiled with a sanitizer is invisible to it, so the standard library is compiled, too.
    xwdk::install_library_source(root, &mut say)?;
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--quiet", "-Zbuild-std", "--target", TARGET, "--lib", "--tests"])
        .args(["--target-dir", &format!("target/sanitize/{name}")])
        // Both are unstable features.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", format!("-Zsanitizer={name}"));
    run(root, cargo, &CRATES, &format!("{name} sanitizer"))
}

/// Whether the nightly toolchain is installed, with Miri and the library's source.
fn has_miri() -> bool {
    let Ok(components) = Command::new("rustup")
        .args(["component", "list", "--installed", "--toolchain", "nightly"])
        .stderr(Stdio::null())
        .output()
    else {
        return false;
    };
    let components = String::from_utf8_lossy(&components.stdout);
    ["miri", "rust-src"].iter().all(|wanted| components.lines().any(|component| component.starts_with(wanted)))
}

fn miri(root: &Path) -> Result<()> {
    let mut cargo = Command::new("rustup");
    cargo
        .args(["run", "nightly", "cargo", "miri", "test", "--quiet", "--lib", "--target-dir", "target/sanitize/miri"])
        // The outer cargo's toolchain.
        .env_remove("RUSTUP_TOOLCHAIN");
    run(root, cargo, &MIRI_CRATES, "Miri")
}

fn run(root: &Path, mut cargo: Command, crates: &[&str], name: &str) -> Result<()> {
    say(&format!("{name}: the tests of {}", crates.join(", ")));
    for package in crates {
        cargo.args(["--package", package]);
    }
    let status = cargo.current_dir(root).status().with_context(|| format!("cannot run {cargo:?}"))?;
    if !status.success() {
        bail!("{name} objects");
    }
    Ok(())
}
