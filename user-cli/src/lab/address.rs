//! Where a lab listens, and who may talk to it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

/// Longest path that fits into `sockaddr_un`, without the NUL.
const LONGEST_SOCKET_PATH: usize = 107;

/// The files of one lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// For people: the name, or the path.
    pub name: String,
    pub socket: PathBuf,
}

impl Address {
    /// A lab by its name, or by the path of its socket if there is a slash in it.
    pub fn new(lab: &str) -> Result<Address> {
        if lab.contains('/') {
            let path = std::path::absolute(lab).map_err(|error| Failure::usage(format!("--lab {lab}: {error}")))?;
            return Address { name: lab.to_owned(), socket: path }.checked();
        }
        let named = lab.starts_with(|first: char| first.is_ascii_alphanumeric())
            && lab.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !named {
            return Err(Failure::usage(format!("'{lab}' is no name for a lab"))
                .help("use letters, digits, '-', '_' and '.', or the path of a socket"));
        }
        Address { name: lab.to_owned(), socket: directory()?.join(format!("{lab}.sock")) }.checked()
    }

    /// Whose state is read here, for people.
    pub fn whose(&self) -> String {
        format!("lab {}", self.name)
    }

    fn checked(self) -> Result<Address> {
        if self.socket.as_os_str().len() > LONGEST_SOCKET_PATH {
            return Err(Failure::usage(format!(
                "the lab's socket would be {}, which is longer than the {LONGEST_SOCKET_PATH} bytes that a socket's path may have",
                self.socket.display()
            ))
            .help("give a shorter --lab, or a shorter XDG_RUNTIME_DIR"));
        }
        Ok(self)
    }

    /// What a user types to start it.
    pub fn start_command(&self) -> String {
        match self.name.as_str() {
            "default" => "postern lab start".to_owned(),
            name => format!("postern lab start --lab {name}"),
        }
    }

    pub fn log(&self) -> PathBuf {
        self.socket.with_extension("log")
    }

    /// Locked by the process that is the lab, for as long as it lives.
    pub fn lock(&self) -> PathBuf {
        self.socket.with_extension("lock")
    }

    /// Makes the directory that the sockets of named labs are in, for this user alone.
    pub fn create_directory(&self) -> Result<()> {
        let Some(parent) = self.socket.parent() else { return Ok(()) };
        if parent != directory()? {
            return Ok(());
        }
        let failed = |what: &str| {
            Failure::new(format!("{}: {what}", parent.display()))
                .help("remove it, or name another place with XDG_RUNTIME_DIR or --lab PATH")
        };
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(|error| failure(parent, &error))?;
        // In /tmp, somebody else may have been there before us.
        let found = fs::symlink_metadata(parent).map_err(|error| failure(parent, &error))?;
        if !found.is_dir() {
            return Err(failed("is not a directory"));
        }
        if found.uid() != user() {
            return Err(failed("belongs to another user"));
        }
        if found.mode() & 0o077 != 0 {
            return Err(failed("may be entered by other users (its mode must be 0700)"));
        }
        Ok(())
    }
}

fn failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

fn directory() -> Result<PathBuf> {
    Ok(match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(runtime) if runtime.is_absolute() => runtime.join("postern"),
        _ => PathBuf::from(format!("/tmp/postern-{}", user())),
    })
}

pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether the process at the other end is this user's.
pub fn is_trusted(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid.as_raw() == user())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_named_or_given_by_its_socket() {
        let named = Address::new("night-run").unwrap();
        assert!(named.socket.ends_with("night-run.sock"));
        assert!(named.log().ends_with("night-run.log"));
        let by_path = Address::new("/tmp/x/lab").unwrap();
        assert_eq!(by_path.socket, Path::new("/tmp/x/lab"));
    }

    #[test]
    fn names_that_would_leave_the_directory_are_refused() {
        for name in ["", "..", "-x", "a b", ".hidden"] {
            assert!(Address::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused_by_its_length() {
        let failure = Address::new(&format!("/tmp/{}", "x".repeat(120))).unwrap_err();
        assert!(failure.message.contains("107 bytes"), "{failure}");
    }
}
