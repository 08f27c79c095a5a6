//! `cargo xtask inf`: INF files against the rules of Microsoft's pages.

mod check;
mod finding;
mod syntax;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use self::finding::Finding;

#[derive(Args)]
pub struct Arguments {
    /// INF files [default: those in inf]
    files: Vec<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// What is wrong with one file.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    findings: Vec<Finding>,
}

pub fn inf(root: &Path, arguments: &Arguments) -> Result<()> {
    let own;
    let files = if arguments.files.is_empty() {
        own = own_files(root)?;
        &own
    } else {
        &arguments.files
    };
    let reports = files.iter().map(|file| Ok(Report { file, findings: check(file)? })).collect::<Result<Vec<_>>>()?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        for report in &reports {
            for finding in &report.findings {
                println!("{}:{finding}", report.file.display());
            }
        }
    }
    match reports.iter().map(|report| report.findings.len()).sum() {
        0 => Ok(()),
        1 => bail!("1 finding"),
        count => bail!("{count} findings"),
    }
}

/// Checks a file.
pub fn check(file: &Path) -> Result<Vec<Finding>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(check::check(&bytes))
}

/// What a package has to agree with.
pub struct Summary {
    /// Of DriverVer.
    pub version: String,
    pub source_files: Vec<String>,
}

/// Reads what a file without findings says of itself.
pub fn summary(file: &Path) -> Result<Summary> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut findings = Vec::new();
    let inf = syntax::parse(&syntax::decode(&bytes, &mut findings), &mut findings);
    let version = inf.section("Version").and_then(|version| version.find("DriverVer")).map(|entry| entry.value(1));
    let files = inf.section("SourceDisksFiles").into_iter().flat_map(|section| &section.entries);
    Ok(Summary {
        version: version.unwrap_or_default().to_owned(),
        source_files: files.filter_map(|entry| entry.key.clone()).collect(),
    })
}

/// The INF files of the drivers.
pub fn own_files(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join("inf");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "inf"))
        .collect();
    files.sort();
    Ok(files)
}
