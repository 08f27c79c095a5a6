//! Import libraries, made from lists of names, and static libraries, made from the sources in `xwdk/lib`.
//!
//! A function that is not in the lists has no import library entry: the link fails and names it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::headers::clang_arguments;
use crate::{ApiSubset, Config, ConfigError, DriverConfig, IoError};

/// Where the lists of exports are: one file a module, named after it, one name a line, `#` for comments.
fn exports() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../exports")
}

impl Config {
    /// `#[link]` attributes for the libraries that the functions of `subset` are in.
    pub fn bindgen_library_link_raw_lines(&self, subset: ApiSubset) -> Option<String> {
        let libraries: &[&str] = match (subset, self.driver_config) {
            (ApiSubset::Wdf, _) => return None,
            (ApiSubset::Base, DriverConfig::Wdm) => &["ntoskrnl"],
            (ApiSubset::Base, _) => &["ntoskrnl", "wdfldr", "WdfDriverEntry"],
        };
        Some(
            libraries
                .iter()
                .map(|name| {
                    format!(
                        "#[cfg(not(any(test, feature = \"suppress-wdk-linking\")))]\n\
                         #[link(name = \"{name}\", kind = \"static\", modifiers = \"-bundle\")]\n\
                         unsafe extern \"C\" {{}}\n"
                    )
                })
                .collect(),
        )
    }
}

/// Makes all libraries, and returns the folder that they are in.
pub fn build(config: &Config) -> Result<PathBuf, ConfigError> {
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    let exports = exports();
    println!("cargo::rerun-if-changed={}", exports.display());
    for entry in fs::read_dir(&exports).map_err(|e| IoError::with_path(&exports, e))? {
        let list = entry.map_err(|e| IoError::with_path(&exports, e))?.path();
        import_library(&list, &folder)?;
    }

    static_library(config, &folder, "wdmsec.c", "wdmsec.lib")?;
    if let DriverConfig::Kmdf(_) = config.driver_config {
        static_library(config, &folder, "wdf_driver_entry.c", "WdfDriverEntry.lib")?;
    }
    Ok(folder)
}

/// `exports/ntoskrnl.exe.txt` becomes `ntoskrnl.lib`, whose functions are imported from `ntoskrnl.exe`.
fn import_library(list: &Path, folder: &Path) -> Result<(), ConfigError> {
    let names = fs::read_to_string(list).map_err(|e| IoError::with_path(list, e))?;
    let module = list.file_stem().unwrap_or_default().to_string_lossy();
    let library = module.split('.').next().unwrap_or_default();

    let definition = folder.join(format!("{library}.def"));
    let mut contents = format!("LIBRARY {module}\nEXPORTS\n");
    for name in names.lines().filter(|l| !l.starts_with('#')) {
        contents += name;
        contents += "\n";
    }
    fs::write(&definition, contents).map_err(|e| IoError::with_path(&definition, e))?;

    run(
        "llvm-dlltool",
        Command::new("llvm-dlltool")
            .args(["-m", "i386:x86-64", "-d"])
            .arg(&definition)
            .arg("-l")
            .arg(folder.join(format!("{library}.lib"))),
    )
}

/// `xwdk/lib/<source>` becomes `<library>`.
fn static_library(config: &Config, folder: &Path, source: &str, library: &str) -> Result<(), ConfigError> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lib").join(source);
    println!("cargo::rerun-if-changed={}", source.display());
    let object = folder.join(library).with_extension("obj");

    let mut clang = Command::new("clang");
    clang
        .args(clang_arguments()?)
        // The kernel unwinds through every function that is not a leaf.
        .arg("-fasynchronous-unwind-tables")
        .args(["-O2", "-Wall", "-Werror", "-c"]);
    for include in config.include_paths()? {
        // Headers of the system: not ours to warn about.
        clang.arg("-isystem").arg(include);
    }
    for (name, value) in config.preprocessor_definitions() {
        // clang itself defines some of them for its target.
        clang.arg(format!("-U{name}"));
        clang.arg(format!("-D{name}={}", value.unwrap_or_default()));
    }
    run("clang", clang.arg(&source).arg("-o").arg(&object))?;

    let mut out = std::ffi::OsString::from("/out:");
    out.push(folder.join(library));
    run("llvm-lib", Command::new("llvm-lib").arg(out).arg(&object))
}

fn run(tool: &'static str, command: &mut Command) -> Result<(), ConfigError> {
    let output = command.output().map_err(|source| ConfigError::ToolNotFound { tool, source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(ConfigError::ToolFailed { tool, output: String::from_utf8_lossy(&output.stderr).into_owned() })
}
