//! Finds, installs and runs what builds the driver images: the WDK on Windows, this folder elsewhere. The root build script and
//! `cargo xtask` share it.

pub mod c_driver;
mod driver;
mod install;
mod overlay;
mod parts;
pub mod programs;

pub use driver::{Driver, TARGET};
pub use install::{install, install_library_source, install_packages, install_programs, is_root, program};
pub use parts::{Part, Parts};
