use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use clap::Args;
use xwdk::Driver;

use crate::{ansible, broken, build, cargo, loom, page, sanitize, say, setup, wine};

#[derive(Args)]
pub struct Arguments {
    /// Test the Ansible role instead: installs Ansible in target, and runs the role against three labs
    #[arg(long)]
    ansible: bool,
    /// Run the driver images and postern.exe under Wine instead: sets up Wine 10 where there is none
    #[arg(long, conflicts_with = "ansible")]
    wine: bool,
    /// Look at the page of `postern explain` in a browser instead: installs Chromium where there is none
    #[arg(long, conflicts_with_all = ["ansible", "wine"])]
    page: bool,
}

pub fn test(root: &Path, arguments: &Arguments) -> Result<()> {
    if arguments.ansible {
        return ansible::test(root);
    }
    if arguments.wine {
        return wine::test(root);
    }
    if arguments.page {
        return page::test(root);
    }
    setup::setup(root)?;
    pip(root);

    say("formatting");
    cargo(root, &["fmt", "--all", "--check"])?;
    // `cargo fmt --all` of a driver's workspace would format its dependencies too, which are the root's.
    for (folder, packages) in
        [("driver/kmdf", &["postern-kmdf", "postern-filtering"][..]), ("driver/wdm", &["postern-wdm"])]
    {
        let manifest = format!("{folder}/Cargo.toml");
        let mut arguments = vec!["fmt", "--manifest-path", &manifest, "--check"];
        arguments.extend(packages.iter().flat_map(|package| ["--package", package]));
        cargo(root, &arguments)?;
    }

    say("lock files of the drivers: a build here uses those in xwdk, a build on Windows these");
    for driver in Driver::all(root) {
        cargo(driver.folder(), &["update", "--workspace", "--locked"])?;
    }
    say("lints of the drivers");
    for driver in Driver::all(root) {
        driver.clippy()?;
    }
    say("lints of everything else");
    cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;

    say("the CLI for Windows: lints, and a build");
    build::lint_windows(root)?;
    build::windows(root)?;

    say("tests");
    cargo(root, &["test", "--workspace"])?;

    loom::loom(root)?;
    sanitize::sanitize(root, &sanitize::Arguments::COMPILED_IN)?;

    say("a sample of broken builds, which the tests must catch: `cargo xtask broken` tries them all");
    broken::broken(root, &broken::Arguments::sample())
}

/// The tests fetch drivers that others have made from PyPI. They say themselves what they lack, so nothing fails here.
fn pip(root: &Path) {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if pip.status().is_ok_and(|status| status.success()) {
        return;
    }
    say("missing: pip for python3: the tests fetch other people's drivers with it");
    if let Err(error) = xwdk::install_packages(root, &["python3-pip"], &mut say) {
        say(&format!("{error:#}; without it, let WINDIVERT name a copy of WinDivert64.sys"));
    }
}
