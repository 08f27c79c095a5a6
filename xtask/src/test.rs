use std::path::Path;

use anyhow::Result;
use xwdk::Driver;

use crate::{cargo, say, setup};

/// Workspaces beside the root's.
const WORKSPACES: [&str; 2] = ["driver/kmdf", "driver/filtering"];

pub fn test(root: &Path) -> Result<()> {
    setup::setup(root)?;

    say("formatting");
    cargo(root, &["fmt", "--all", "--check"])?;
    for workspace in WORKSPACES {
        let manifest = format!("{workspace}/Cargo.toml");
        cargo(root, &["fmt", "--manifest-path", &manifest, "--check"])?;
    }

    say("lock file of the driver: a build here uses xwdk/Cargo.lock, a build on Windows this one");
    cargo(root, &["update", "--workspace", "--locked", "--manifest-path", "driver/kmdf/Cargo.toml"])?;
    say("lints of the driver");
    Driver::kmdf(root).clippy()?;
    say("lints of everything else");
    cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;

    say("tests");
    cargo(root, &["test", "--workspace"])
}
