//! What a host without the WDK needs to build a driver, and where it is found.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::TARGET;

/// Where mingw-w64's headers are in a Debian-like system, below its root.
const MINGW_INCLUDE: &str = "usr/share/mingw-w64/include";

/// One thing that must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `core` and `alloc` for the target, or their source.
    CoreLibrary,
    Clang,
    LibClang,
    Llvm,
    MingwHeaders,
}

impl Part {
    pub const ALL: [Part; 5] = [Part::CoreLibrary, Part::Clang, Part::LibClang, Part::Llvm, Part::MingwHeaders];

    /// The Debian package that has it.
    pub fn package(self) -> &'static str {
        match self {
            Part::CoreLibrary => "rust-src",
            Part::Clang => "clang",
            Part::LibClang => "libclang1",
            Part::Llvm => "llvm",
            Part::MingwHeaders => "mingw-w64-common",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::CoreLibrary => {
                "Rust's core and alloc for x86_64-pc-windows-msvc, or their source: the image is made of them"
            }
            Part::Clang => "clang: compiles the entry point of the image",
            Part::LibClang => "libclang: wdk-sys reads the kernel's headers with it",
            Part::Llvm => "llvm-lib and llvm-dlltool: make the import libraries",
            Part::MingwHeaders => "mingw-w64's kernel headers: wdk-sys makes its bindings from them",
        })
    }
}

/// What is there, and what is not.
pub struct Parts {
    /// Rust's own folder.
    pub sysroot: PathBuf,
    /// Where packages are unpacked that could not be installed: below the checkout's `target`.
    pub private: PathBuf,
    pub missing: Vec<Part>,
}

impl Parts {
    /// Looks for every part, in the system and in the private folder of the checkout at `root`.
    pub fn find(root: &Path) -> Result<Self> {
        let sysroot = sysroot()?;
        let mut parts = Self { private: root.join("target/xwdk"), missing: Vec::new(), sysroot };
        parts.missing = Part::ALL.into_iter().filter(|part| !parts.has(*part)).collect();
        Ok(parts)
    }

    /// `Ok` if nothing is missing, else an error that says what is, and what to do.
    pub fn complete(&self) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let mut message = String::from("the driver image cannot be built, because this is missing:\n");
        for part in &self.missing {
            message += &format!("  - {part}\n");
        }
        message += "Run `cargo xtask setup`: it installs them, or says how to.";
        bail!(message)
    }

    /// Whether `core` must be compiled, because rustup has not installed it for the target.
    pub fn builds_core(&self) -> bool {
        !self.sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()
    }

    /// `library` of Rust's source, where rustup's `rust-src` puts it.
    pub fn library_source(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust/library")
    }

    /// Whether it is there.
    pub fn has_library_source(&self) -> bool {
        self.library_source().join("core/src/lib.rs").is_file()
    }

    /// The variables that let build scripts find the parts: none where all are installed in the system.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        if !self.private.join("usr").is_dir() {
            return Vec::new();
        }
        let library_path = env::join_paths(self.private_library_folders()).unwrap_or_default();
        let mut environment = vec![("PATH", self.path()), ("LD_LIBRARY_PATH", library_path)];
        if let Some(folder) = self.private_libclang() {
            environment.push(("LIBCLANG_PATH", folder.into()));
        }
        let mingw = self.private.join(MINGW_INCLUDE);
        if mingw.is_dir() {
            environment.push(("XWDK_MINGW_INCLUDE", mingw.into()));
        }
        environment
    }

    fn has(&self, part: Part) -> bool {
        match part {
            Part::CoreLibrary => !self.builds_core() || self.has_library_source(),
            Part::Clang => self.has_program("clang"),
            Part::LibClang => {
                env::var_os("LIBCLANG_PATH").is_some() || self.private_libclang().is_some() || system_libclang()
            }
            Part::Llvm => self.has_program("llvm-lib") && self.has_program("llvm-dlltool"),
            Part::MingwHeaders => [Path::new("/"), &self.private]
                .iter()
                .any(|root| root.join(MINGW_INCLUDE).join("ddk/ntifs.h").is_file()),
        }
    }

    pub(crate) fn has_program(&self, name: &str) -> bool {
        env::split_paths(&self.path()).any(|folder| folder.join(name).is_file())
    }

    fn path(&self) -> OsString {
        let system = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.private.join("usr/bin")).chain(env::split_paths(&system));
        env::join_paths(folders).unwrap_or_default()
    }

    fn private_library_folders(&self) -> Vec<PathBuf> {
        let lib = self.private.join("usr/lib");
        let mut folders = vec![lib.join("x86_64-linux-gnu")];
        folders.extend(subfolders(&lib).map(|folder| folder.join("lib")));
        folders
    }

    fn private_libclang(&self) -> Option<PathBuf> {
        self.private_library_folders().into_iter().find(|folder| holds_libclang(folder))
    }
}

fn sysroot() -> Result<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or("rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "sysroot"])
        .output()
        .with_context(|| format!("cannot run {}", rustc.display()))?;
    let sysroot = String::from_utf8(output.stdout).context("the sysroot is no UTF-8")?;
    Ok(PathBuf::from(sysroot.trim()))
}

fn subfolders(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

fn holds_libclang(folder: &Path) -> bool {
    subfolders(folder).any(|file| {
        file.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with("libclang.so") || name.starts_with("libclang-") && name.contains(".so")
        })
    })
}

fn system_libclang() -> bool {
    let fixed = ["/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/local/lib"];
    let versions = subfolders(Path::new("/usr/lib"))
        .filter(|folder| folder.file_name().is_some_and(|n| n.to_string_lossy().starts_with("llvm")))
        .map(|folder| folder.join("lib"));
    fixed.into_iter().map(PathBuf::from).chain(versions).any(|folder| holds_libclang(&folder))
}
