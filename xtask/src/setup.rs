use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::say;

pub fn setup(root: &Path) -> Result<()> {
    xwdk::install(root, &mut say)?;
    pip();
    Ok(())
}

/// The tests fetch drivers that others have made from PyPI. They say themselves what they lack, so nothing fails here.
fn pip() {
    let succeeds = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if succeeds("python3", &["-m", "pip", "--version"]) {
        return;
    }
    say("missing: pip for python3: the tests fetch other people's drivers with it");
    say("apt-get install -y python3-pip");
    if !succeeds("apt-get", &["install", "-y", "--no-install-recommends", "python3-pip"]) {
        say("it could not be installed; without it, let WINDIVERT name a copy of WinDivert64.sys");
    }
}
