//! Drivers in C for the lab's tests, built with what the project builds its own images with.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::OnceLock;

/// The image of `wdm.c`, built once a process.
#[allow(dead_code, reason = "each test program uses one of the drivers")]
pub fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| build("wdm.c"))
}

/// The image of `timed.c`, built once a process.
#[allow(dead_code, reason = "each test program uses one of the drivers")]
pub fn timed() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| build("timed.c"))
}

/// Builds a driver from its source, in the folder `tests/drivers` of the package that is tested.
pub fn build(source: &str) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(source);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders below the root");
    // Each test program builds for itself, and several may run at once.
    let name = format!("{}-{}", std::process::id(), source.file_stem().and_then(OsStr::to_str).unwrap_or_default());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let image = xwdk::c_driver::build(root, &source, &folder).expect("the driver");
    let image = std::fs::read(image).expect("the image that was just built");
    let _ = std::fs::remove_dir_all(&folder);
    image
}
