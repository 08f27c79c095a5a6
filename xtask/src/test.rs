use std::path::Path;

use anyhow::Result;
use xwdk::Driver;

use crate::{broken, cargo, sanitize, say, setup};

/// The shell's workspace, which the root's does not contain.
const DRIVER: &str = "driver/kmdf/Cargo.toml";

pub fn test(root: &Path) -> Result<()> {
    setup::setup(root)?;

    say("formatting");
    cargo(root, &["fmt", "--all", "--check"])?;
    cargo(
        root,
        &["fmt", "--manifest-path", DRIVER, "--package", "postern-kmdf", "--package", "postern-filtering", "--check"],
    )?;

    say("lock file of the driver: a build here uses xwdk/Cargo.lock, a build on Windows this one");
    cargo(root, &["update", "--workspace", "--locked", "--manifest-path", DRIVER])?;
    say("lints of the driver");
    Driver::kmdf(root).clippy()?;
    say("lints of everything else");
    cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;

    say("tests");
    cargo(root, &["test", "--workspace"])?;

    sanitize::sanitize(root, &sanitize::Arguments::COMPILED_IN)?;

    say("a sample of broken builds, which the tests must catch: `cargo xtask broken` tries them all");
    broken::broken(root, &broken::Arguments::sample())
}
