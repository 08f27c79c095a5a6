//! Where headers are, which ones are bound, and what the compiler is told about them.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::{ApiSubset, Config, ConfigError, DriverConfig, IoError};

/// mingw-w64's headers (Debian's `mingw-w64-common`), or where a copy of them was unpacked.
const MINGW_INCLUDE: &str = "/usr/share/mingw-w64/include";

/// A real WDK, if `WDKContentRoot` names one: its `Include` folder and the folder of the newest version in it.
fn wdk() -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    println!("cargo::rerun-if-env-changed=WDKContentRoot");
    let Some(root) = env::var_os("WDKContentRoot") else {
        return Ok(None);
    };
    let include = Path::new(&root).join("Include");
    let newest = fs::read_dir(&include)
        .map_err(|e| IoError::with_path(&include, e))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("10.")))
        .max();
    match newest {
        Some(newest) => Ok(Some((include, newest))),
        None => Err(ConfigError::FolderNotFound(include.join("10.*"))),
    }
}

/// Arguments for clang that every C source and binding is compiled with.
pub fn clang_arguments() -> Result<Vec<String>, ConfigError> {
    let mut arguments: Vec<String> = Vec::new();
    if wdk()?.is_some() {
        arguments.extend(
            ["--target=x86_64-pc-windows-msvc", "-fms-compatibility", "-fms-extensions", "-fdelayed-template-parsing"]
                .map(str::to_owned),
        );
        // Finds headers that are included under a name in another case.
        println!("cargo::rerun-if-env-changed=XWDK_OVERLAY");
        if let Ok(overlay) = env::var("XWDK_OVERLAY") {
            arguments.extend(["-ivfsoverlay".to_owned(), overlay]);
        }
    } else {
        // mingw's headers are written for GNU C.
        arguments.extend(["--target=x86_64-w64-windows-gnu", "-fms-extensions", "-ffreestanding"].map(str::to_owned));
    }
    Ok(arguments)
}

impl Config {
    /// The folders that headers are searched in, first to last.
    pub fn include_paths(&self) -> Result<impl Iterator<Item = PathBuf>, ConfigError> {
        let folders = match wdk()? {
            Some((include, newest)) => {
                let mut folders = vec![newest.join("km/crt"), newest.join("km"), newest.join("shared")];
                if let DriverConfig::Kmdf(kmdf) = self.driver_config {
                    folders.push(
                        include
                            .join(format!("wdf/kmdf/{}.{}", kmdf.kmdf_version_major, kmdf.target_kmdf_version_minor)),
                    );
                }
                folders
            }
            None => {
                println!("cargo::rerun-if-env-changed=XWDK_MINGW_INCLUDE");
                let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include");
                println!("cargo::rerun-if-changed={}", own.display());
                let mingw =
                    env::var_os("XWDK_MINGW_INCLUDE").map_or_else(|| PathBuf::from(MINGW_INCLUDE), PathBuf::from);
                vec![own.join("km"), own.join("wdf"), mingw.join("ddk"), mingw]
            }
        };
        match folders.iter().find(|folder| !folder.is_dir()) {
            Some(missing) => Err(ConfigError::FolderNotFound(missing.clone())),
            None => Ok(folders.into_iter()),
        }
    }

    /// The macros that the WDK's build defines for a kernel-mode driver.
    pub fn preprocessor_definitions(&self) -> impl Iterator<Item = (String, Option<String>)> {
        let mut definitions = vec![("_WIN64", None), ("_AMD64_", None), ("AMD64", None), ("_KERNEL_MODE", None)];
        if let DriverConfig::Kmdf(kmdf) = self.driver_config {
            definitions.push(("KMDF_VERSION_MAJOR", Some(kmdf.kmdf_version_major)));
            definitions.push(("KMDF_VERSION_MINOR", Some(kmdf.target_kmdf_version_minor)));
        }
        definitions.into_iter().map(|(name, value)| (name.to_owned(), value.map(|v| v.to_string())))
    }

    /// The headers of an [`ApiSubset`].
    pub fn headers(&self, subset: ApiSubset) -> Result<impl Iterator<Item = String>, ConfigError> {
        let headers: &[&str] = match (subset, self.driver_config) {
            (ApiSubset::Base, _) => &["ntifs.h", "ntddk.h", "ntstrsafe.h"],
            (ApiSubset::Wdf, DriverConfig::Wdm) => &[],
            (ApiSubset::Wdf, _) => &["wdf.h"],
        };
        Ok(headers.iter().map(|h| (*h).to_owned()))
    }

    /// A C source that includes the headers of all `subsets`.
    pub fn bindgen_header_contents(&self, subsets: impl IntoIterator<Item = ApiSubset>) -> Result<String, ConfigError> {
        let mut contents = String::new();
        for subset in subsets {
            for header in self.headers(subset)? {
                contents += &format!("#include \"{header}\"\n");
            }
        }
        Ok(contents)
    }

    /// `WdfFunctions` carries the framework's version in its linker name.
    pub fn compute_wdffunctions_symbol_name(&self) -> Option<String> {
        match self.driver_config {
            DriverConfig::Kmdf(kmdf) => {
                Some(format!("WdfFunctions_{:02}0{:02}", kmdf.kmdf_version_major, kmdf.target_kmdf_version_minor))
            }
            DriverConfig::Wdm | DriverConfig::Umdf(_) => None,
        }
    }
}
