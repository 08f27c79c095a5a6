//! Starts a lab in the background.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::address::Address;
use super::client::Client;
use super::host::Settings;
use super::server::{READY, already_runs};
use crate::failure::{Failure, Result};

/// Starts a lab and waits until clients may come. Returns its process id and its log file.
pub fn start(address: &Address, settings: &Settings) -> Result<(u32, PathBuf)> {
    if Client::try_connect(address)?.is_some() {
        return Err(already_runs(address));
    }
    address.create_directory()?;
    let log = address.log();
    let failed = |what: &str, error: &dyn std::fmt::Display| Failure::new(format!("{what}: {error}"));
    let log_file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log)
        .map_err(|error| failed(&format!("cannot open the log file {}", log.display()), &error))?;
    let begin = log_file.metadata().map_or(0, |metadata| metadata.len());
    let program = std::env::current_exe().map_err(|error| failed("cannot find this program's file", &error))?;
    let mut child = Command::new(&program)
        .args(["lab", "serve", "--background"])
        .args(settings.arguments()?)
        .arg("--lab")
        .arg(if address.name.contains('/') { address.socket.as_os_str() } else { address.name.as_ref() })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log_file)
        .spawn()
        .map_err(|error| failed(&format!("cannot start {}", program.display()), &error))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        // An error reads as an end: the lab's log tells why.
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    if line.trim_end() == READY {
        return Ok((child.id(), log));
    }
    // It is ending, or has ended, and has said why.
    let _ = child.wait();
    let mut said = String::new();
    let _ = std::fs::File::open(&log).and_then(|mut log| {
        std::io::Seek::seek(&mut log, std::io::SeekFrom::Start(begin))?;
        log.read_to_string(&mut said)
    });
    Err(Failure::new(format!("the lab ended at once: {}", said.trim_end().trim_start_matches("error: ")))
        .help(format!("its log is {}", log.display())))
}
