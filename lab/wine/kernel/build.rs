//! The image is a library, for Rust's standard library and for drivers that import from it, and a driver of its own. Its entry point
//! tells the two apart.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_WINDOWS").is_some() {
        println!("cargo::rustc-cdylib-link-arg=-Wl,--entry=postern_entry");
    }
}
