//! A scratch checkout: the sources as they are here, to be broken there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::catalogue::Entry;

pub struct Checkout<'a> {
    /// The checkout that it is made from.
    source: &'a Path,
    pub root: PathBuf,
}

impl<'a> Checkout<'a> {
    /// Brings the scratch checkout at `root` up to date with `source`. Files that are as they should be are not touched, so that
    /// builds in it are incremental.
    pub fn update(source: &'a Path, root: PathBuf) -> Result<Self> {
        let files = tracked_files(source)?;
        for file in &files {
            write_if_different(&root.join(file), &fs::read(source.join(file))?)?;
        }
        remove_others(&root, Path::new(""), &files)?;
        Ok(Checkout { source, root })
    }

    /// Breaks the sources as `entry` says.
    pub fn apply(&self, entry: &Entry) -> Result<()> {
        for (file, text) in entry.broken_files(self.source)? {
            write_if_different(&self.root.join(file), text.as_bytes())?;
        }
        Ok(())
    }

    /// Mends what [`Checkout::apply`] broke.
    pub fn revert(&self, entry: &Entry) -> Result<()> {
        for edit in &entry.edits {
            write_if_different(&self.root.join(&edit.file), &fs::read(self.source.join(&edit.file))?)?;
        }
        Ok(())
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
