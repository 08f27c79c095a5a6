//! The image is a library, for Rust's standard library and for drivers that import from it, and a driver of its own. Its entry point
//! tells the two apart.

use std::path::PathBuf;
use std::{env, fs};

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_CFG_WINDOWS").is_some() {
        println!("cargo::rustc-cdylib-link-arg=-Wl,--entry=postern_entry");
        // The declarations that this image shares with drivers name its own import library, of which it needs nothing.
        let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
        fs::write(folder.join("libfwpkclnt.a"), "!<arch>\n")?;
        println!("cargo::rustc-link-search=native={}", folder.display());
    }
    Ok(())
}
