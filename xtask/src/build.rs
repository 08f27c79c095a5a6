use std::path::{Path, PathBuf};

use anyhow::Result;
use xwdk::Driver;

use crate::{cargo, say, setup};

/// What a build makes.
pub struct Products {
    pub image: PathBuf,
    pub cli: PathBuf,
}

impl Products {
    /// One line a product, for people and scripts.
    pub fn print(&self) {
        println!("image: {}", self.image.display());
        println!("cli: {}", self.cli.display());
    }
}

pub fn build(root: &Path) -> Result<Products> {
    setup::setup(root)?;
    say("building the driver image: the lab, the CLI and the tests contain it");
    let image = Driver::kmdf(root).build()?;
    cargo(root, &["build", "--release", "--workspace", "--exclude", "xtask"])?;
    let cli = root.join("target/release/postern").with_extension(std::env::consts::EXE_EXTENSION);
    Ok(Products { image, cli })
}
