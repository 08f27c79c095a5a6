//! Stands in for the registry's `wdk-build`, which builds on Windows only, so that the unmodified `wdk-sys`, `wdk`, `wdk-alloc`
//! and `wdk-panic` build a driver image elsewhere. It has the part of that crate's interface that their build scripts and the
//! driver's use, and the same meaning: a driver that builds with this builds with the WDK.
//!
//! Headers come from `xwdk/include` in front of mingw-w64's, or from a real WDK when `WDKContentRoot` names one. Libraries are made
//! here, from the names in `xwdk/exports`.

mod bindings;
mod headers;
mod libraries;
mod model;

pub use bindings::BuilderExt;
pub use model::{DriverConfig, KmdfConfig, UmdfConfig};

use std::path::PathBuf;

/// What a build script needs to know of the driver that is being built.
#[derive(Debug, Clone)]
pub struct Config {
    /// From `[package.metadata.wdk.driver-model]` of the driver's manifest.
    pub driver_config: DriverConfig,
}

/// A group of headers that is bound together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiSubset {
    /// The kernel: `ntifs.h`, `ntddk.h`.
    Base,
    /// The driver framework: `wdf.h`.
    Wdf,
}

#[derive(thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error("{manifest}: {problem}")]
    Manifest { manifest: PathBuf, problem: String },
    #[error("the folder {0} does not exist; `cargo xtask setup` installs what is missing")]
    FolderNotFound(PathBuf),
    #[error(
        "kernel images link no C runtime: the driver must be built with `-C target-feature=+crt-static` \
         (see .cargo/config.toml in the folder of a driver here)"
    )]
    StaticCrtNotEnabled,
    #[error("cannot run {tool}: {source}; `cargo xtask setup` installs what is missing")]
    ToolNotFound { tool: &'static str, source: std::io::Error },
    #[error("{tool} failed:\n{output}")]
    ToolFailed { tool: &'static str, output: String },
}

/// Build scripts return their error from `main`, which prints it with `Debug`.
impl std::fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct IoError {
    path: PathBuf,
    source: std::io::Error,
}

impl IoError {
    pub fn with_path(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self { path: path.into(), source }
    }
}

/// Configures the build of a library that depends on the WDK: sets the `driver_model__driver_type` cfg.
pub fn configure_wdk_library_build() -> Result<(), ConfigError> {
    configure_wdk_library_build_and_then(|_| Ok(()))
}

/// As [`configure_wdk_library_build`], then calls `and_then` with the configuration.
pub fn configure_wdk_library_build_and_then<F, E>(mut and_then: F) -> Result<(), E>
where
    F: FnMut(Config) -> Result<(), E>,
    E: From<ConfigError>,
{
    let config = Config::from_env_auto()?;
    config.emit_cfg();
    and_then(config)
}

/// Configures the build of the driver image itself: cfg, libraries and linker settings.
pub fn configure_wdk_binary_build() -> Result<(), ConfigError> {
    let config = Config::from_env_auto()?;
    config.emit_cfg();

    let target_features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if !target_features.split(',').any(|f| f == "crt-static") {
        return Err(ConfigError::StaticCrtNotEnabled);
    }

    let folder = libraries::build(&config)?;
    println!("cargo::rustc-link-search={}", folder.display());

    // As the WDK's build settings have them, less /KERNEL and /MAPINFO:EXPORTS: LLVM's linker takes an
    // option that it does not know for a file name. /RELEASE: it writes the header checksum, which the kernel compares, only when asked.
    // /Brepro: a hash in place of the time, so that the same sources make the same image.
    let entry = match config.driver_config {
        DriverConfig::Wdm => "/ENTRY:DriverEntry",
        DriverConfig::Kmdf(_) | DriverConfig::Umdf(_) => "/ENTRY:FxDriverEntry",
    };
    for option in [
        "/DRIVER",
        "/RELEASE",
        "/Brepro",
        "/NODEFAULTLIB",
        "/SUBSYSTEM:NATIVE",
        entry,
        "/NXCOMPAT",
        "/DYNAMICBASE",
        "/OPT:REF,ICF",
        "/INTEGRITYCHECK",
        "/MANIFEST:NO",
    ] {
        println!("cargo::rustc-cdylib-link-arg={option}");
    }
    Ok(())
}

impl Config {
    fn emit_cfg(&self) {
        println!(r#"cargo::rustc-check-cfg=cfg(driver_model__driver_type, values("WDM","KMDF","UMDF"))"#);
        let driver_type = match self.driver_config {
            DriverConfig::Wdm => "WDM",
            DriverConfig::Kmdf(_) => "KMDF",
            DriverConfig::Umdf(_) => "UMDF",
        };
        println!(r#"cargo::rustc-cfg=driver_model__driver_type="{driver_type}""#);
    }
}
