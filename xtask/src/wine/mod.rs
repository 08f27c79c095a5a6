//! `cargo xtask test --wine`: the driver images under Wine, whose kernel, loader, registry and service manager are somebody else's.

#[path = "../../../user-cli/src/output/distinct.rs"]
mod distinct;
mod installed;
mod opinion;
mod script;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use xwdk::{Driver, programs};

use crate::{cargo, say, setup};
use installed::Wine;

/// What is built for Windows' user mode, as Wine's kernel is too.
const PACKAGES: [&str; 4] = ["postern-wine-kernel", "postern-wine-fwpuclnt", "postern-wine-scenario", "postern-cli"];

/// Rounds of start and stop for each image.
const ROUNDS: u32 = 50;

/// The first line of the receipt that a driver leaves, as it stands in the log.
const COMPLETE: &str = "postern: receipt: complete";
/// What the driver says of a callout that it found registered on its way out.
const LATE: &str = "was still there after all were unregistered: STATUS_SUCCESS";

pub fn test(root: &Path) -> Result<()> {
    setup::setup(root)?;
    programs::install(root, &mut say)?;
    let wine = Wine::find_or_install(root)?;

    say("lints of what runs under Wine");
    programs::clippy(root, programs::TARGET, &PACKAGES)?;
    say("building the images, and what they meet under Wine");
    let images = Driver::all(root).iter().map(Driver::build).collect::<Result<Vec<_>>>()?;
    let built = programs::build(root, &PACKAGES)?;
    // Names of which `fwpkclnt.sys` has the functions.
    let forwarders = ["ndis", "wdfldr"].map(|name| {
        let (definition, image) = (root.join(format!("lab/wine/{name}.def")), built.join(format!("{name}.sys")));
        compile(&definition, &image, &["-shared", "-nostdlib", "-Wl,--entry=0"])
    });
    let forwarders = forwarders.into_iter().collect::<Result<Vec<_>>>()?;
    let marshalling = compile(
        &root.join("lab/wine/marshalling.c"),
        &built.join("marshalling.exe"),
        &["-O1", "-Wall", "-Wextra", "-Werror", "-lfwpuclnt"],
    )?;

    let prefix = || -> Result<PathBuf> {
        let prefix = wine.fresh_prefix()?;
        let (drive, system) = (prefix.join("drive_c"), prefix.join("drive_c/windows/system32"));
        copy(&built.join("fwpkclnt.dll"), &system.join("drivers/fwpkclnt.sys"))?;
        for image in forwarders.iter().chain(&images) {
            copy_into(image, &system.join("drivers"))?;
        }
        copy_into(&built.join("fwpuclnt.dll"), &system)?;
        for program in [&built.join("scenario.exe"), &built.join("postern.exe"), &marshalling] {
            copy_into(program, &drive)?;
        }
        Ok(prefix)
    };
    for image in &images {
        let name = image.file_name().context("an image has a name")?.to_string_lossy().into_owned();
        say(&format!("{name}, in a fresh prefix: start, use and stop, {ROUNDS} rounds"));
        prefix()?;
        scenario(&wine, root, &name)?;
    }

    say("postern.exe in a fresh prefix, and the same commands in the lab");
    let said_under_wine = script::under_wine(&wine, &prefix()?)?;
    cargo(root, &["build", "--package", "postern-cli"])?;
    let said_in_lab = script::in_lab(root, &root.join("target/debug/postern"))?;
    let lines = script::compare(&said_in_lab, &said_under_wine)?;
    println!("postern.exe says what postern says in the lab: {lines} lines");

    say("a second opinion on the lab's kernel, in a fresh prefix");
    opinion::compare(&wine, root, &prefix()?)?;
    Ok(())
}

/// Compiles or links `source`; options may name libraries that it needs.
fn compile(source: &Path, result: &Path, options: &[&str]) -> Result<PathBuf> {
    let status = Command::new(programs::COMPILER)
        .arg("-o")
        .arg(result)
        .arg(source)
        .args(options)
        .status()
        .with_context(|| format!("cannot run {}", programs::COMPILER))?;
    if !status.success() {
        bail!("{} was not built", result.display());
    }
    Ok(result.to_owned())
}

/// Runs the scenario, and counts the receipts that it must have left in the log.
fn scenario(wine: &Wine, root: &Path, image: &str) -> Result<()> {
    let output =
        wine.command("wine", &[r"C:\scenario.exe", image, &ROUNDS.to_string()]).output().context("cannot run wine")?;
    let (said, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{said}");
    let path = root.join(format!("target/wine/{image}.log"));
    fs::write(&path, &*log).with_context(|| format!("cannot write {}", path.display()))?;
    let log_is = format!("the log is {}", path.display());

    if !output.status.success() {
        bail!("the scenario failed ({}); {log_is}", output.status);
    }
    let stays = said.lines().find_map(|line| line.strip_prefix("stays: ")?.trim().parse::<usize>().ok());
    let stays = stays.context("the scenario does not say how many stays there were")?;
    let count = |what: &str| log.lines().filter(|line| line.trim_end().ends_with(what)).count();
    let (complete, late) = (count(COMPLETE), count(LATE));
    if complete != stays || late != 0 {
        bail!(
            "{stays} stays left {complete} complete receipts, and {late} callouts to the driver's last look; {log_is}"
        );
    }
    println!("{image}: {stays} stays, as many complete receipts");
    Ok(())
}

fn copy_into(file: &Path, folder: &Path) -> Result<()> {
    copy(file, &folder.join(file.file_name().context("a file has a name")?))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
