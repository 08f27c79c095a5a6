//! The file in which a lab keeps persistent and boot-time objects, as Windows does in its registry.
//!
//! It is written anew at each commit that changes them: beside the old one, which it then replaces, so that there is always a whole one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use postern_engine::Persistent;
use postern_lab::Lab;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

/// Version of the file's format.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Contents<T> {
    postern_lab_store: u32,
    #[serde(flatten)]
    objects: T,
}

/// One lab's file, which no other may use meanwhile.
pub struct Store {
    path: PathBuf,
    _lock: File,
    /// Why the latest change could not be written, until somebody has been told.
    failed: Mutex<Option<String>>,
}

impl Store {
    /// Starts the lab's filter engine with what the file holds. No file is an empty one.
    pub fn boot(path: &Path, lab: &Lab) -> Result<Arc<Store>> {
        let lock = locked(path)?;
        let objects = read(path)?;
        let store = Arc::new(Store { path: path.to_owned(), _lock: lock, failed: Mutex::default() });
        let keeper = Arc::clone(&store);
        lab.boot(&objects, Box::new(move |objects| keeper.keep(objects))).map_err(|error| {
            Failure::new(format!("{}: what it holds cannot be there: {error}", path.display()))
                .help("mend it, or start the lab with another --store")
        })?;
        Ok(store)
    }

    /// Why what was changed is not in the file, if that is so. Told once.
    pub fn failure(&self) -> Option<Failure> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.map(|reason| {
            Failure::new(format!("it is done, but not kept: {}: {reason}", self.path.display())).help(
                "make room or allow the lab to write there; the next change of a persistent object writes all of them",
            )
        })
    }

    fn keep(&self, objects: &Persistent) {
        let failed = write(&self.path, objects).err().map(|error| error.to_string());
        if let Some(reason) = &failed {
            eprintln!("persistent objects could not be written to {}: {reason}", self.path.display());
        }
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }
}

/// A file beside it is locked, because it is itself replaced again and again.
fn locked(path: &Path) -> Result<File> {
    let beside = beside(path, "lock");
    let failed = |error: std::io::Error| {
        Failure::new(format!("{}: {error}", beside.display())).help("give --store a file in a directory that is there")
    };
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&beside).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(format!("{}: another lab uses it", path.display()))
            .help("end that one with `postern lab stop`, or give this one another --store")),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn read(path: &Path) -> Result<Persistent> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Persistent::default()),
        Err(error) => return Err(Failure::new(format!("{}: {error}", path.display()))),
    };
    let damaged = |reason: &dyn std::fmt::Display| {
        Failure::new(format!("{}: it holds no objects of a lab: {reason}", path.display()))
            .help("mend it, or start the lab with another --store; it was left as it is")
    };
    let version: Contents<serde::de::IgnoredAny> = serde_json::from_str(&text).map_err(|error| damaged(&error))?;
    if version.postern_lab_store != VERSION {
        return Err(damaged(&format!("its version is {}, not {VERSION}", version.postern_lab_store)));
    }
    let contents: Contents<Persistent> = serde_json::from_str(&text).map_err(|error| damaged(&error))?;
    Ok(contents.objects)
}

fn write(path: &Path, objects: &Persistent) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(&Contents { postern_lab_store: VERSION, objects })?;
    let next = beside(path, "new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&next, path)
}

/// `FILE.json` and its `FILE.json.lock`.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}
