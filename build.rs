//! Builds the driver images, so that tests, the lab and the CLI have it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anyhow::Context;
use xwdk::Driver;

/// What the images are made of. Not `driver` as a whole: the drivers' target folders are in it.
const SOURCES: &[&str] = &[
    "Cargo.toml",
    "driver/core/Cargo.toml",
    "driver/core/src",
    "driver/filtering/Cargo.toml",
    "driver/filtering/src",
    "driver/fwps/Cargo.toml",
    "driver/fwps/src",
    "driver/kmdf/.cargo",
    "driver/kmdf/Cargo.lock",
    "driver/kmdf/Cargo.toml",
    "driver/kmdf/build.rs",
    "driver/kmdf/src",
    "driver/wdm/.cargo",
    "driver/wdm/Cargo.lock",
    "driver/wdm/Cargo.toml",
    "driver/wdm/build.rs",
    "driver/wdm/src",
    "protocol/Cargo.toml",
    "protocol/src",
    "rust-toolchain.toml",
    "xwdk/Cargo.lock",
    "xwdk/cargo.toml",
    "xwdk/exports",
    "xwdk/include",
    "xwdk/lib",
    "xwdk/wdm/Cargo.lock",
    "xwdk/wdk-build",
];

fn main() -> ExitCode {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Builds the images and keeps copies: a driver's target folder may be emptied on its own.
fn build() -> anyhow::Result<()> {
    // Asked now, and not when this was compiled: a checkout may be copied together with its target folder.
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?);
    let out_dir = env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?;
    for (variable, driver) in [("POSTERN_SYS", Driver::kmdf(&root)), ("POSTERN_WDM_SYS", Driver::wdm(&root))] {
        let image = driver.build()?;
        let copy = Path::new(&out_dir).join(driver.image_name());
        fs::copy(&image, &copy).with_context(|| format!("cannot copy {} to {}", image.display(), copy.display()))?;
        println!("cargo::rustc-env={variable}={}", copy.display());
    }
    Ok(())
}
