//! The driver model, as the driver's manifest states it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::{Config, ConfigError, IoError};

#[derive(Debug, Clone, Copy)]
pub enum DriverConfig {
    Wdm,
    Kmdf(KmdfConfig),
    /// Named because build scripts match on it; no user-mode driver is built here.
    Umdf(UmdfConfig),
}

#[derive(Debug, Clone, Copy)]
pub struct KmdfConfig {
    pub kmdf_version_major: u8,
    pub target_kmdf_version_minor: u8,
    pub minimum_kmdf_version_minor: Option<u8>,
}

#[derive(Debug, Clone, Copy)]
pub struct UmdfConfig {
    pub umdf_version_major: u8,
    pub target_umdf_version_minor: u8,
    pub minimum_umdf_version_minor: Option<u8>,
}

impl Config {
    /// Reads `[package.metadata.wdk.driver-model]` from the manifest of the driver that is being built.
    pub fn from_env_auto() -> Result<Self, ConfigError> {
        let manifest = top_level_manifest();
        println!("cargo::rerun-if-changed={}", manifest.display());
        let text = fs::read_to_string(&manifest).map_err(|e| IoError::with_path(&manifest, e))?;
        match driver_model(&text) {
            Ok(driver_config) => Ok(Self { driver_config }),
            Err(problem) => Err(ConfigError::Manifest { manifest, problem }),
        }
    }
}

/// The manifest beside the lock file above the target folder: the rule that Microsoft's `wdk-build` has.
fn top_level_manifest() -> PathBuf {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    out_dir.ancestors().find(|folder| folder.join("Cargo.lock").exists()).unwrap_or(Path::new(".")).join("Cargo.toml")
}

fn driver_model(manifest: &str) -> Result<DriverConfig, String> {
    let manifest: toml::Table = manifest.parse().map_err(|e| format!("{e}"))?;
    let model = ["package", "metadata", "wdk", "driver-model"]
        .iter()
        .try_fold(None, |table: Option<&toml::Table>, key| table.unwrap_or(&manifest).get(*key)?.as_table().map(Some))
        .flatten()
        .ok_or("has no [package.metadata.wdk.driver-model]")?;

    let version = |key: &str| -> Result<u8, String> {
        model
            .get(key)
            .and_then(toml::Value::as_integer)
            .and_then(|v| u8::try_from(v).ok())
            .ok_or(format!("driver-model has no version number {key}"))
    };
    match model.get("driver-type").and_then(toml::Value::as_str) {
        Some("WDM") => Ok(DriverConfig::Wdm),
        Some("KMDF") => Ok(DriverConfig::Kmdf(KmdfConfig {
            kmdf_version_major: version("kmdf-version-major")?,
            target_kmdf_version_minor: version("target-kmdf-version-minor")?,
            minimum_kmdf_version_minor: None,
        })),
        other => Err(format!("driver-type {other:?}: only WDM and KMDF drivers can be built without the WDK")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kmdf_version_is_read_from_the_manifest() {
        let manifest = "[package.metadata.wdk.driver-model]\ndriver-type = 'KMDF'\n\
                        kmdf-version-major = 1\ntarget-kmdf-version-minor = 15";
        let Ok(DriverConfig::Kmdf(kmdf)) = driver_model(manifest) else {
            panic!("not a KMDF driver");
        };
        assert_eq!((kmdf.kmdf_version_major, kmdf.target_kmdf_version_minor), (1, 15));
    }

    #[test]
    fn a_manifest_without_a_driver_model_is_refused() {
        let error = driver_model("[package]\nname = 'x'").unwrap_err();
        assert!(error.contains("driver-model"), "{error}");
    }

    #[test]
    fn a_user_mode_driver_is_refused() {
        let manifest = "[package.metadata.wdk.driver-model]\ndriver-type = 'UMDF'";
        assert!(driver_model(manifest).unwrap_err().contains("UMDF"));
    }
}
