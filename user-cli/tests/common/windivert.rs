//! `WinDivert64.sys` 2.2 (reqrypt.org, LGPL or GPL) as its authors built it, from the Python package `pydivert`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The release of `pydivert` that carries WinDivert 2.2.
const PACKAGE: &str = "pydivert==4.0.1";
const WHEEL: &str = "pydivert-4.0.1-py3-none-win_amd64.whl";
const IMAGE: &str = "pydivert/windivert_dll/WinDivert64.sys";

/// Where the image is. It is downloaded once, below `target`, and never part of the project.
pub fn image() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("WINDIVERT") {
        Some(path) => path.into(),
        None => fetch(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("pydivert")),
    })
}

fn fetch(folder: &Path) -> PathBuf {
    let image = folder.join(IMAGE);
    if image.is_file() {
        return image;
    }
    // Several test programs may be at it: each has a folder of its own until the image is complete.
    let own = folder.with_extension(std::process::id().to_string());
    std::fs::create_dir_all(&own).expect("a folder to download to");
    python(
        &own,
        &[
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--only-binary=:all:",
            "--platform=win_amd64",
            "--python-version=3.12",
            PACKAGE,
        ],
    );
    python(&own, &["-m", "zipfile", "-e", WHEEL, "."]);
    if std::fs::rename(&own, folder).is_err() {
        assert!(image.is_file(), "{}: it cannot be replaced; remove it", folder.display());
        let _ = std::fs::remove_dir_all(&own);
    }
    image
}

fn python(folder: &Path, arguments: &[&str]) {
    let told = |what: &str| {
        format!(
            "WinDivert64.sys cannot be fetched: `python3 {}` {what}\nWithout access to PyPI, let WINDIVERT name a copy of it, from \
             another machine's `pip download {PACKAGE}`; python3 without pip: `cargo xtask setup`.",
            arguments.join(" ")
        )
    };
    let output = Command::new("python3").args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{}", told(&format!("does not run: {error}"))));
    assert!(output.status.success(), "{}", told(&format!("failed: {}", String::from_utf8_lossy(&output.stderr))));
}
