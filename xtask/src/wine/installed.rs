//! Wine itself: the system's if it is new enough, else one in a Debian of its own below `target`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::say;

/// Older releases lack `ExAllocatePool2` and `bcryptprimitives.dll`.
const OLDEST: u32 = 10;
/// The Debian release that has a Wine new enough.
const SUITE: &str = "trixie";
const MIRROR: &str = "http://deb.debian.org/debian";
/// Our `ndis.sys` and `fwpuclnt.dll`, in the place of Wine's stubs.
const OVERRIDES: &str = "ndis.sys,fwpuclnt=n";
/// What drivers print, and Wine's own errors.
const DEBUG: &str = "-all,+debugstr,err+all";

pub struct Wine {
    /// The Debian that it is in, unless it is the system's.
    debian: Option<PathBuf>,
    /// The folder that a prefix is made in, as Wine sees it.
    folder: PathBuf,
}

impl Wine {
    pub fn find_or_install(root: &Path) -> Result<Wine> {
        let target = root.join("target/wine");
        fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
        let system = Wine { debian: None, folder: target.clone() };
        if system.release().is_some_and(|release| release >= OLDEST) {
            return Ok(system);
        }
        let debian = target.join("debian");
        let wine = Wine { debian: Some(debian.clone()), folder: PathBuf::from("/postern") };
        if wine.release().is_none_or(|release| release < OLDEST) {
            install(root, &debian)?;
        }
        if wine.release().is_none() {
            bail!("Wine does not run in {}", debian.display());
        }
        let folder = debian.join("postern");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(wine)
    }

    /// The first number of its version.
    fn release(&self) -> Option<u32> {
        let output = self.command("wine", &["--version"]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        text.trim().strip_prefix("wine-")?.split(['.', ' ']).next()?.parse().ok()
    }

    /// A command of Wine's.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = match &self.debian {
            None => Command::new(program),
            Some(debian) => inside(debian, program),
        };
        command
            .args(arguments)
            .env("WINEPREFIX", self.folder.join("prefix"))
            .env("WINEDEBUG", DEBUG)
            .env("WINEDLLOVERRIDES", OVERRIDES);
        command
    }

    /// An empty prefix, and where it is for us. Nothing of Wine runs in it.
    pub fn fresh_prefix(&self) -> Result<PathBuf> {
        let prefix = match &self.debian {
            None => self.folder.join("prefix"),
            Some(debian) => debian.join("postern/prefix"),
        };
        if prefix.exists() {
            self.run("wineserver", &["-k"]).ok();
            fs::remove_dir_all(&prefix).with_context(|| format!("cannot remove {}", prefix.display()))?;
        }
        self.run("wineboot", &["--init"])?;
        // The service manager that set the prefix up goes with the last process; one that meets it on its way out is lost.
        self.run("wineserver", &["--wait"])?;
        Ok(prefix)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let output = self.command(program, arguments).output().with_context(|| format!("cannot run {program}"))?;
        if !output.status.success() {
            bail!("{program} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// A command inside of the Debian, with its own view of mounts: what is mounted for it is gone when it ends.
fn inside(debian: &Path, program: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", r#"mount --bind /proc "$0/proc" && exec chroot "$0" "$@""#])
        .arg(debian)
        .args([program])
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root");
    command
}

fn install(root: &Path, debian: &Path) -> Result<()> {
    if !xwdk::is_root() {
        bail!(
            "there is no Wine {OLDEST} or newer here, and only root can set one up. Install it, so that `wine --version` says so, or run \
             this as root"
        );
    }
    if Command::new("debootstrap").arg("--version").output().is_err() {
        xwdk::install_packages(root, &["debootstrap"], &mut say)?;
    }
    say(&format!("there is no Wine {OLDEST} or newer here: making a Debian {SUITE} with one in {}", debian.display()));
    // Half of one is of no use.
    if debian.exists() {
        fs::remove_dir_all(debian).with_context(|| format!("cannot remove {}", debian.display()))?;
    }
    quietly(Command::new("debootstrap").args(["--variant=minbase", SUITE]).arg(debian).arg(MIRROR))?;
    say("installing wine64 in it");
    quietly(
        inside(debian, "apt-get")
            .args(["-q", "-y", "--no-install-recommends", "install", "wine64", "wine"])
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// Runs a command whose output is of interest only if it fails.
fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let text = [&output.stdout[..], &output.stderr].concat();
        bail!("{name} failed ({}):\n{}", output.status, String::from_utf8_lossy(&text));
    }
    Ok(())
}
