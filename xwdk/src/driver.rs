//! The driver's workspace, and cargo in it.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::Parts;

pub const TARGET: &str = "x86_64-pc-windows-msvc";

/// Variables that an outer cargo sets for its build scripts and that would bend an inner one.
const OUTER_BUILD: &[&str] = &[
    "CARGO",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "DEBUG",
    "HOST",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "TARGET",
];

/// A driver that is a Cargo workspace of its own, as each is, because a driver model is chosen per workspace.
pub struct Driver {
    root: PathBuf,
    folder: PathBuf,
    /// The image's name without extension.
    name: &'static str,
    /// The lock file of builds through `xwdk/cargo.toml`: the drivers' own belong to the registry's `wdk-build`.
    lock_file: PathBuf,
}

impl Driver {
    /// `postern.sys`, in the checkout at `root`.
    pub fn kmdf(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            folder: root.join("driver/kmdf"),
            name: "postern",
            lock_file: root.join("xwdk/Cargo.lock"),
        }
    }

    /// `postern_wdm.sys`, in the checkout at `root`.
    pub fn wdm(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            folder: root.join("driver/wdm"),
            name: "postern_wdm",
            lock_file: root.join("xwdk/wdm/Cargo.lock"),
        }
    }

    /// Every driver of the checkout at `root`.
    pub fn all(root: &Path) -> [Self; 2] {
        [Self::kmdf(root), Self::wdm(root)]
    }

    /// Its workspace, which the root's does not contain.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file name of its image.
    pub fn image_name(&self) -> String {
        format!("{}.sys", self.name)
    }

    /// The symbols of the image that was built last.
    pub fn symbols(&self) -> PathBuf {
        self.folder.join(format!("target/{TARGET}/release/{}.pdb", self.name))
    }

    /// Builds the image, and returns where it is.
    ///
    /// The target folder stays inside the driver's workspace: `wdk-build` looks for the driver's manifest above it.
    pub fn build(&self) -> Result<PathBuf> {
        let mut cargo = self.cargo("build")?;
        run(cargo.arg("--release")).with_context(|| format!("{} was not built", self.image_name()))?;

        let built = self.folder.join(format!("target/{TARGET}/release/{}.dll", self.name));
        let image = built.with_extension("sys");
        // Left alone when nothing changed, so that nothing that contains the image is built again.
        let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
        if fs::read(&image).ok().as_ref() != Some(&bytes) {
            fs::write(&image, bytes).with_context(|| format!("cannot write {}", image.display()))?;
        }
        Ok(image)
    }

    /// Checks the sources as `cargo clippy` does; any warning is an error, and so is a lock file that is not up to date.
    pub fn clippy(&self) -> Result<()> {
        let mut cargo = self.cargo("clippy")?;
        run(cargo.args(["--workspace", "--release", "--locked", "--", "-D", "warnings"]))
    }

    /// Compiles the sources, and the entry point of the image, against the headers of the WDK whose content root is `wdk`. Nothing is
    /// linked: this shows that names, types and signatures are those of Microsoft's headers.
    pub fn check_against(&self, wdk: &Path) -> Result<()> {
        is_wdk(wdk)?;
        let wdk = wdk.canonicalize().with_context(|| format!("cannot find the WDK at {}", wdk.display()))?;
        let target = self.folder.join("target/wdk");
        let mut cargo = self.cargo("check")?;
        cargo.args(["--release", "--target-dir"]).arg(&target).env("WDKContentRoot", &wdk);
        // Windows has no case to mind, and the WDK's own compiler.
        if !cfg!(windows) {
            fs::create_dir_all(&target)?;
            let overlay = target.join("overlay.yaml");
            fs::write(&overlay, crate::overlay::overlay(&wdk.join("Include"))?)?;
            cargo.env("XWDK_OVERLAY", &overlay).env(
                "CFLAGS_x86_64_pc_windows_msvc",
                format!("-fms-compatibility -fms-extensions -w -ivfsoverlay {}", overlay.display()),
            );
        }
        run(&mut cargo).with_context(|| format!("{} does not compile against these headers", self.image_name()))
    }

    /// A cargo command in the driver's workspace: with the WDK on Windows, through `xwdk/cargo.toml` elsewhere.
    fn cargo(&self, command: &str) -> Result<Command> {
        let mut cargo = cargo_without_outer_build();
        cargo.current_dir(&self.folder);
        if cfg!(windows) {
            cargo.args([command, "--target", TARGET]);
            return Ok(cargo);
        }

        let parts = Parts::find(&self.root)?;
        parts.complete()?;
        self.forget_functions()?;
        cargo
            // After the command: clippy passes its own arguments on to cargo, not those of the cargo that started it.
            .arg(command)
            .arg("--config")
            .arg(self.root.join("xwdk/cargo.toml"))
            .arg("--config")
            .arg(format!("resolver.lockfile-path={:?}", self.lock_file))
            .arg("--config")
            .arg(remapped_paths(&self.root, &parts.sysroot))
            // The separate lock file and building `core` are unstable features of cargo.
            .env("RUSTC_BOOTSTRAP", "1")
            .envs(parts.environment());
        if parts.builds_core() {
            cargo.arg("-Zbuild-std=core,alloc");
        }
        Ok(cargo)
    }

    /// `wdk-macros` reads the framework's functions once and keeps them for good. When the header has more, it must read again.
    fn forget_functions(&self) -> Result<()> {
        let header = changed(&self.root.join("xwdk/include/wdf/wdf.h"));
        for target in ["target/release/build", "target/wdk/release/build"] {
            for build in fs::read_dir(self.folder.join(target)).into_iter().flatten() {
                let functions = build?.path().join("out/wdk_macros_ast_fragments/cached_function_info_map.json");
                if changed(&functions).is_some_and(|read| Some(read) < header) {
                    fs::remove_file(&functions).with_context(|| format!("cannot remove {}", functions.display()))?;
                }
            }
        }
        Ok(())
    }
}

/// The setting that leaves this machine's folders out of the image, which names the source of each panic: wherever the checkout is, the
/// same sources make the same image.
fn remapped_paths(root: &Path, sysroot: &Path) -> String {
    let home = env::home_dir().unwrap_or_default();
    let registry = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from).join("registry/src");
    let flags = [(root, "postern"), (&registry, "registry"), (sysroot, "rust")]
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    format!("target.{TARGET}.rustflags={flags:?}")
}

/// `Ok` if a folder is what `WDKContentRoot` names, else an error that says what it lacks.
fn is_wdk(folder: &Path) -> Result<()> {
    let include = folder.join("Include");
    let versions = fs::read_dir(&include).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let newest =
        versions.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("10."))).max();
    let missing = match newest {
        None => Some(include.join("10.*")),
        Some(newest) => [newest.join("km/ntifs.h"), newest.join("shared"), include.join("wdf/kmdf")]
            .into_iter()
            .find(|part| !part.exists()),
    };
    if let Some(missing) = missing {
        bail!(
            "{} is no WDK: {} is not there. WDKContentRoot is the folder that has Include, as `C:\\Program Files (x86)\\Windows Kits\\10` \
             has after the WDK is installed",
            folder.display(),
            missing.display()
        );
    }
    Ok(())
}

/// A cargo that knows nothing of the one that runs now.
pub fn cargo_without_outer_build() -> Command {
    let mut cargo = Command::new("cargo");
    for variable in OUTER_BUILD {
        cargo.env_remove(variable);
    }
    cargo
}

/// When a file was changed last, if it is there.
fn changed(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|file| file.modified()).ok()
}

/// Runs cargo, and passes on what it reports.
fn run(cargo: &mut Command) -> Result<()> {
    let mut child = cargo.stderr(Stdio::piped()).spawn().context("cannot run cargo")?;
    let stderr = child.stderr.take().context("cargo has no output")?;

    let mut in_patch_warning = false;
    for line in BufReader::new(stderr).lines() {
        let line = line.context("cannot read cargo's output")?;
        in_patch_warning = is_patch_warning(in_patch_warning, &line);
        if !in_patch_warning {
            eprintln!("{line}");
        }
    }

    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("cargo failed ({status})");
    }
    Ok(())
}

/// Whether `line` belongs to cargo's warning that the patch of `xwdk/cargo.toml` is not used: so it is in Rust's library, a workspace
/// of its own. It is a paragraph whose later lines are indented further than any progress line.
fn is_patch_warning(before: bool, line: &str) -> bool {
    line.starts_with("warning: patch `wdk-build") || before && (line.starts_with("help:") || line.starts_with("      "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_wdk_is_told_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let lacks = |part: &str| {
            let error = is_wdk(folder.path()).unwrap_err().to_string();
            assert!(error.contains("is no WDK") && error.contains(part), "{error}");
        };
        lacks("Include/10.*");
        let newest = folder.path().join("Include/10.0.26100.0");
        fs::create_dir_all(newest.join("km")).unwrap();
        lacks("km/ntifs.h");
        fs::write(newest.join("km/ntifs.h"), "").unwrap();
        fs::create_dir(newest.join("shared")).unwrap();
        lacks("wdf/kmdf");
        fs::create_dir_all(folder.path().join("Include/wdf/kmdf")).unwrap();
        is_wdk(folder.path()).unwrap();
    }

    #[test]
    fn only_the_paragraph_of_the_patch_warning_is_left_out() {
        let output = [
            "    Updating crates.io index",
            "warning: patch `wdk-build v0.6.0` was not used in the crate graph",
            "help: Check that the patched package version and available features are compatible",
            "      with the dependency requirements.",
            "   Compiling core v0.0.0",
            "warning: unused variable: `x`",
        ];
        let mut in_warning = false;
        let shown: Vec<&str> = output
            .into_iter()
            .filter(|line| {
                in_warning = is_patch_warning(in_warning, line);
                !in_warning
            })
            .collect();
        assert_eq!(shown, [output[0], output[4], output[5]]);
    }
}
