//! `cargo xtask package`: what a test host needs, as a folder and as a zip.

#[cfg(test)]
mod script;
pub mod sign;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use xwdk::Driver;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::{inf, say, setup};

/// The certificate that a test host must trust, in the package.
const CERTIFICATE: &str = "postern-test.cer";
/// What is taken from the sources as it is.
const SOURCES: &[&str] = &["inf/Invoke-Postern.ps1", "inf/README.md", "LICENSE-APACHE", "LICENSE-MIT"];
/// Where a build of the CLI for Windows leaves it: on Windows, and elsewhere.
const CLI: &[&str] = &["target/release/postern.exe", "target/x86_64-pc-windows-gnu/release/postern.exe"];

#[derive(Args)]
pub struct Arguments {
    /// Leave the images unsigned: then the same sources make the same zip, byte by byte
    #[arg(long)]
    unsigned: bool,
    /// Where folder and zip are put [default: target/package]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub struct VerifyArguments {
    /// The folder of a signed package [default: that of the last `cargo xtask package`]
    folder: Option<PathBuf>,
}

/// A package that was made.
struct Package {
    folder: PathBuf,
    zip: PathBuf,
}

pub fn package(root: &Path, arguments: &Arguments) -> Result<()> {
    setup::setup(root)?;
    let out = arguments.out.clone().unwrap_or_else(|| root.join("target/package"));
    let package = make(root, &out, !arguments.unsigned)?;
    println!("folder: {}", package.folder.display());
    println!("zip: {}", package.zip.display());
    Ok(())
}

/// Checks the signature and the checksum of each image in a package.
pub fn verify(root: &Path, arguments: &VerifyArguments) -> Result<()> {
    sign::install(root)?;
    let folder = arguments.folder.clone().unwrap_or_else(|| root.join("target/package").join(name()));
    let certificate = folder.join(CERTIFICATE);
    ensure!(certificate.is_file(), "{} is not there: is this the folder of a signed package?", certificate.display());
    let images = images_in(&folder)?;
    ensure!(!images.is_empty(), "{} has no image", folder.display());
    for image in images {
        sign::verify(root, &image, &certificate)?;
        println!("{}: signature and checksum are right", image.display());
    }
    Ok(())
}

fn make(root: &Path, out: &Path, signed: bool) -> Result<Package> {
    let mut files = contents(root)?;
    for path in inf::own_files(root)? {
        check_inf(&path, &files)?;
        add(&mut files, path)?;
    }

    let folder = out.join(name());
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, source) in &files {
        fs::copy(source, folder.join(name)).with_context(|| format!("cannot copy {}", source.display()))?;
    }
    if signed {
        sign_images(root, &folder)?;
    } else {
        say("the images are not signed: Windows x64 does not load them");
    }
    let zip = out.join(format!("{}.zip", name()));
    write_zip(&folder, &zip).with_context(|| format!("cannot write {}", zip.display()))?;
    Ok(Package { folder, zip })
}

/// The folder's name, and the zip's.
fn name() -> String {
    format!("postern-{}-x64", env!("CARGO_PKG_VERSION"))
}

/// What goes into the package but for the INF files: each file's name there, and where it is from.
fn contents(root: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for driver in Driver::all(root) {
        add(&mut files, driver.build()?)?;
        // Public symbols, which give a stack trace the functions' names; sources and lines are stripped.
        add(&mut files, driver.symbols())?;
    }
    for source in SOURCES {
        add(&mut files, root.join(source))?;
    }
    match CLI.iter().map(|cli| root.join(cli)).find(|cli| cli.is_file()) {
        Some(cli) => add(&mut files, cli)?,
        None => say("postern.exe is left out: it has not been built for Windows"),
    }
    Ok(files)
}

fn add(files: &mut BTreeMap<String, PathBuf>, source: PathBuf) -> Result<()> {
    ensure!(source.is_file(), "{} is not there", source.display());
    let name = source.file_name().context("a file has a name")?.to_string_lossy().into_owned();
    files.insert(name, source);
    Ok(())
}

/// An INF that breaks a rule, is of another version, or names a file that is not in the package makes no package.
fn check_inf(path: &Path, files: &BTreeMap<String, PathBuf>) -> Result<()> {
    let findings = inf::check(path)?;
    if !findings.is_empty() {
        let list: Vec<String> = findings.iter().map(|finding| format!("{}:{finding}", path.display())).collect();
        bail!("the driver package breaks rules:\n{}", list.join("\n"));
    }
    let summary = inf::summary(path)?;
    let version = format!("{}.0", env!("CARGO_PKG_VERSION"));
    ensure!(
        summary.version == version,
        "{}: DriverVer is {}, and the version of the workspace makes it {version}",
        path.display(),
        summary.version
    );
    for file in summary.source_files {
        ensure!(files.contains_key(&file), "{}: {file} is not in the package", path.display());
    }
    Ok(())
}

fn sign_images(root: &Path, folder: &Path) -> Result<()> {
    sign::install(root)?;
    say("signing the images with a test certificate that is made for this package; its key is not kept");
    let certificate = folder.join(CERTIFICATE);
    let images = images_in(folder)?;
    sign::sign(root, &images, &certificate)?;
    for image in images {
        sign::verify(root, &image, &certificate)?;
    }
    say("there is no catalog: only Windows has a program that makes one. Invoke-Postern.ps1 says what to do without");
    Ok(())
}

fn images_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut images: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "sys"))
        .collect();
    images.sort();
    Ok(images)
}

/// Names in order, one time and one mode for all: nothing in it but the files' contents may differ.
fn write_zip(folder: &Path, zip: &Path) -> Result<()> {
    let mut names: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    let mut writer = ZipWriter::new(File::create(zip)?);
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    for name in names {
        let mut contents = Vec::new();
        File::open(folder.join(&name))?.read_to_end(&mut contents)?;
        writer.start_file(format!("{}/{}", self::name(), name.to_string_lossy()), options)?;
        writer.write_all(&contents)?;
    }
    writer.finish()?;
    Ok(())
}
