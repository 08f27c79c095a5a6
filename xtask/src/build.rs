use std::path::{Path, PathBuf};

use anyhow::Result;
use xwdk::{Driver, programs};

use crate::{cargo, say, setup};

/// What a build makes.
pub struct Products {
    pub images: Vec<PathBuf>,
    pub cli: PathBuf,
}

impl Products {
    /// One line a product, for people and scripts.
    pub fn print(&self) {
        for image in &self.images {
            println!("image: {}", image.display());
        }
        println!("cli: {}", self.cli.display());
    }
}

pub fn build(root: &Path) -> Result<Products> {
    setup::setup(root)?;
    say("building the driver images: the lab, the CLI and the tests contain them");
    let images = Driver::all(root).iter().map(Driver::build).collect::<Result<_>>()?;
    // The lab runs drivers on Linux.
    let packages: &[&str] =
        if cfg!(windows) { &["--package", "postern-cli"] } else { &["--workspace", "--exclude", "xtask"] };
    cargo(root, &[&["build", "--release"], packages].concat())?;
    let cli = root.join("target/release/postern").with_extension(std::env::consts::EXE_EXTENSION);
    Ok(Products { images, cli })
}

/// `postern.exe`, on any system.
pub fn windows(root: &Path) -> Result<PathBuf> {
    setup::setup(root)?;
    programs::install(root, &mut say)?;
    say("building the CLI for Windows");
    Ok(programs::build(root, &["postern-cli"])?.join("postern.exe"))
}

/// Checks its sources for Windows as `cargo clippy` does; any warning is an error.
pub fn lint_windows(root: &Path) -> Result<()> {
    programs::install(root, &mut say)?;
    programs::TARGETS.iter().try_for_each(|target| programs::clippy(root, target, &["postern-cli"]))
}
