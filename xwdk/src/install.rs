//! Installs what is missing: from rustup and the system's packages where possible, without changing the system where not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{Part, Parts, TARGET};

/// Where Debian keeps the source of several Rust releases side by side; a stable Debian has one, an old one.
const RUST_SRC_SUITES: [&str; 2] = ["trixie-backports", "sid"];
const DEBIAN: &str = "http://deb.debian.org/debian";
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A closed network lets rustup's server name resolve and then answers nothing.
const RUSTUP_TIMEOUT: Duration = Duration::from_secs(120);

/// Installs every missing part for the checkout at `root`. `say` is told what is done and why.
pub fn install(root: &Path, say: &mut dyn FnMut(&str)) -> Result<()> {
    let parts = Parts::find(root)?;
    if cfg!(windows) || parts.missing.is_empty() {
        return Ok(());
    }
    for part in &parts.missing {
        say(&format!("missing: {part}"));
    }

    if parts.missing.contains(&Part::CoreLibrary) {
        core_library(&parts, say)?;
    }
    let packages: Vec<&str> =
        parts.missing.iter().filter(|part| **part != Part::CoreLibrary).map(|part| part.package()).collect();
    if !packages.is_empty() {
        system_packages(&packages, &parts.private, say)?;
    }

    Parts::find(root)?.complete()
}

fn core_library(parts: &Parts, say: &mut dyn FnMut(&str)) -> Result<()> {
    if rustup(["target", "add", TARGET], say) { Ok(()) } else { library_source(parts, say) }
}

/// Installs the source of Rust's library, if it is missing: for builds that compile it with flags of their own.
pub fn install_library_source(root: &Path, say: &mut dyn FnMut(&str)) -> Result<()> {
    let parts = Parts::find(root)?;
    if parts.has_library_source() { Ok(()) } else { library_source(&parts, say) }
}

/// Installs programs that no image is built with, but that a command needs: each with the Debian package that has it.
pub fn install_programs(root: &Path, programs: &[(&str, &str)], say: &mut dyn FnMut(&str)) -> Result<()> {
    let parts = Parts::find(root)?;
    let missing: Vec<_> = programs.iter().filter(|(program, _)| !parts.has_program(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (program, _) in &missing {
        say(&format!("missing: {program}"));
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    system_packages(&packages, &parts.private, say)
}

/// Installs Debian packages that no program tells of.
pub fn install_packages(root: &Path, packages: &[&str], say: &mut dyn FnMut(&str)) -> Result<()> {
    system_packages(packages, &Parts::find(root)?.private, say)
}

/// A program that [`install_programs`] has installed, wherever that was.
pub fn program(root: &Path, name: &str) -> Result<Command> {
    let mut command = Command::new(name);
    command.envs(Parts::find(root)?.environment());
    Ok(command)
}

pub(crate) fn rustup(arguments: [&str; 3], say: &mut dyn FnMut(&str)) -> bool {
    say(&format!("rustup {}", arguments.join(" ")));
    succeeds_in_time(Command::new("rustup").args(arguments), RUSTUP_TIMEOUT)
}

fn library_source(parts: &Parts, say: &mut dyn FnMut(&str)) -> Result<()> {
    if rustup(["component", "add", "rust-src"], say) {
        return Ok(());
    }
    let release = rust_release()?;
    say(&format!(
        "rustup's server did not give it; taking Rust {release}'s library source from Debian's package rust-src"
    ));
    library_from_debian(&release, parts).with_context(|| {
        format!(
            "The source of Rust's library cannot be installed. With access to rustup's server: `rustup component add rust-src`. \
             Otherwise unpack the library source of Rust {release} at {}",
            parts.library_source().display()
        )
    })
}

fn rust_release() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("release: ").map(str::to_owned))
        .context("rustc does not tell its release")
}

/// Downloads the package through an apt configuration of its own, checks it with Debian's keys, and takes `library` out of it. The
/// package is not installed: it belongs to another Debian release.
fn library_from_debian(release: &str, parts: &Parts) -> Result<()> {
    let folder = parts.private.join("apt");
    fs::create_dir_all(folder.join("lists/partial"))?;
    fs::create_dir_all(folder.join("archives/partial"))?;
    let mut sources = String::new();
    for suite in RUST_SRC_SUITES {
        sources += &format!("deb [signed-by={DEBIAN_KEYS}] {DEBIAN} {suite} main\n");
    }
    fs::write(folder.join("sources.list"), sources)?;

    let apt = |program: &str| {
        let mut command = Command::new(program);
        for (option, value) in [
            ("Dir::Etc::SourceList", folder.join("sources.list")),
            ("Dir::Etc::SourceParts", PathBuf::from("/dev/null")),
            ("Dir::State::Lists", folder.join("lists")),
            ("Dir::Cache", folder.clone()),
            ("APT::Sandbox::User", PathBuf::from("root")),
            // A mirror may be a snapshot of some day; Debian's keys vouch for it all the same.
            ("Acquire::Check-Valid-Until", PathBuf::from("false")),
        ] {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        }
        command.current_dir(&folder);
        command
    };

    run(apt("apt-get").args(["-q", "update"]))?;
    let listed = apt("apt-cache").args(["madison", "rust-src"]).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout);
    let version = listed
        .lines()
        .filter_map(|line| line.split('|').nth(1).map(str::trim))
        .find(|version| version.starts_with(&format!("{release}+")))
        .with_context(|| format!("Debian has no rust-src of release {release}"))?;
    run(apt("apt-get").args(["-q", "download", &format!("rust-src={version}")]))?;

    let package = fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .context("apt-get downloaded no package")?;
    let unpacked = folder.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    let mut contents = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(&package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run dpkg-deb")?;
    let contents_out = contents.stdout.take().context("dpkg-deb has no output")?;
    run(Command::new("tar")
        .args(["-x", "--strip-components=4", "--wildcards", "./usr/src/rustc-*/library"])
        .current_dir(&unpacked)
        .stdin(contents_out))?;
    contents.wait()?;

    let destination = parts.library_source();
    let place = destination.parent().context("the library has no folder")?;
    fs::create_dir_all(place).with_context(|| format!("cannot write to {}", place.display()))?;
    run(Command::new("cp").arg("-r").arg(unpacked.join("library")).arg(place))?;
    fs::remove_dir_all(&folder)?;
    Ok(())
}

fn apt_install(packages: &[&str], say: &mut dyn FnMut(&str)) -> Result<()> {
    say(&format!("apt-get install {}", packages.join(" ")));
    let install = || {
        let mut apt = Command::new("apt-get");
        apt.args(["-q", "-y", "-o", "DPkg::Lock::Timeout=600", "--no-install-recommends", "install"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    if run(&mut install()).is_ok() {
        return Ok(());
    }
    say("apt-get update: the package lists are old or empty");
    run(Command::new("apt-get").args(["-q", "-o", "DPkg::Lock::Timeout=600", "update"]))?;
    run(&mut install())
}

/// Installs Debian packages: into the system as root, into `private` otherwise.
fn system_packages(packages: &[&str], private: &Path, say: &mut dyn FnMut(&str)) -> Result<()> {
    let names = packages.join(" ");
    if !succeeds(Command::new("apt-get").arg("--version")) {
        bail!(
            "this system has no apt-get. Install by its own means what Debian has in the packages {names}; \
             the programs must be on the PATH, mingw's headers in /usr/share/mingw-w64/include"
        );
    }

    if is_root() {
        return apt_install(packages, say);
    }

    say(&format!("not root: unpacking the packages {names} in {}; the system stays as it is", private.display()));
    unpack_packages(packages, private).with_context(|| {
        format!("the packages cannot be unpacked here. Install them as root: `apt-get install {names}`")
    })
}

/// Downloads the packages and what they depend on and is not installed, and unpacks them in `private`.
fn unpack_packages(packages: &[&str], private: &Path) -> Result<()> {
    let simulated =
        Command::new("apt-get").args(["-s", "--no-install-recommends", "install"]).args(packages).output()?;
    let simulated = String::from_utf8_lossy(&simulated.stdout);
    let needed: Vec<&str> =
        simulated.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next()).collect();
    if needed.is_empty() {
        bail!("apt-get does not know them (are its package lists empty?)");
    }

    let downloads = private.join("packages");
    fs::create_dir_all(&downloads)?;
    run(Command::new("apt-get").args(["-q", "download"]).args(&needed).current_dir(&downloads))?;
    for entry in fs::read_dir(&downloads)? {
        run(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(private))?;
    }
    fs::remove_dir_all(&downloads)?;
    Ok(())
}

/// Whether this process may do anything.
pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn succeeds_in_time(command: &mut Command, limit: Duration) -> bool {
    let Ok(mut child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    let end = Instant::now() + limit;
    while Instant::now() < end {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => thread::sleep(Duration::from_millis(100)),
            Err(_) => return false,
        }
    }
    // Nothing more can be done about a process that cannot be ended.
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// Runs a command silently; its output is part of the error.
fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
