use std::path::{Path, PathBuf};

use anyhow::Result;
use xwdk::Driver;

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
    cargo(root, &["build", "--release", "--workspace", "--exclude", "xtask"])?;
    let cli = root.join("target/release/postern").with_extension(std::env::consts::EXE_EXTENSION);
    Ok(Products { images, cli })
}
