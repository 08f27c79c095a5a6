use std::path::Path;

use anyhow::Result;
use xwdk::Driver;

use crate::{cargo, say, setup};

pub fn build(root: &Path) -> Result<()> {
    setup::setup(root)?;
    say("building the driver image: the lab, the CLI and the tests contain it");
    let image = Driver::kmdf(root).build()?;
    cargo(root, &["build", "--release", "--workspace", "--exclude", "xtask"])?;

    let cli = root.join("target/release/postern").with_extension(std::env::consts::EXE_EXTENSION);
    println!("image: {}", image.display());
    println!("cli: {}", cli.display());
    Ok(())
}
