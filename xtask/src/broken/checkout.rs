//! A scratch checkout: the sources as they are here, to be broken there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::catalogue::Entry;

pub struct Checkout {
    pub root: PathBuf,
}

impl Checkout {
    /// Brings the scratch checkout at `root` up to date with `source`. Files that are as they should be are not touched, so that
    /// builds in it are incremental.
    pub fn update(source: &Path, root: PathBuf) -> Result<Self> {
        let files = tracked_files(source)?;
        for file in &files {
            write_if_different(&root.join(file), &fs::read(source.join(file))?)?;
        }
        remove_others(&root, Path::new(""), &files)?;
        Ok(Checkout { root })
    }

    /// Does `work` while the sources are broken as `entry` says.
    pub fn broken<T>(&self, entry: &Entry, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut mended = Vec::new();
        for (file, text) in entry.broken_files(&self.root)? {
            let path = self.root.join(file);
            mended.push((path.clone(), fs::read(&path)?));
            write_if_different(&path, text.as_bytes())?;
        }
        let result = work();
        for (path, text) in mended {
            write_if_different(&path, &text)?;
        }
        result
    }
}

/// The files of the checkout at `root` that belong to the project, new ones among them.
fn tracked_files(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let names = String::from_utf8(output.stdout).context("a file name is no UTF-8")?;
    // Deleted and not committed yet is deleted.
    Ok(names.split_terminator('\0').map(PathBuf::from).filter(|file| root.join(file).is_file()).collect())
}

fn write_if_different(path: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == contents) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, contents).with_context(|| format!("cannot write {}", path.display()))
}

/// Removes what is in `folder` of the checkout at `root` and is neither one of `files` nor built.
fn remove_others(root: &Path, folder: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                remove_others(root, &path, files)?;
            }
        } else if !files.contains(&path) {
            fs::remove_file(root.join(path))?;
        }
    }
    Ok(())
}
