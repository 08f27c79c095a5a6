//! What may catch a broken build.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::catalogue::Entry;
use super::symptom;
use crate::loom;

/// A means of proof. They are tried in this order: the cheapest first, of those that cover what was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catcher {
    /// The compiler.
    Types,
    /// Every interleaving of the models in `driver/core/tests/interleavings`.
    Loom,
    /// The tests beside the code of `driver/core`.
    Unit,
    /// The images in the lab: `tests/driver`.
    Lab,
    /// The images in the lab, with their threads held back as seeds say.
    Schedules,
    /// The images in the lab, where each call of the kernel fails once.
    Faults,
}

impl fmt::Display for Catcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Catcher::Types => "types",
            Catcher::Loom => "loom",
            Catcher::Unit => "unit tests",
            Catcher::Lab => "lab",
            Catcher::Schedules => "schedules",
            Catcher::Faults => "fault sweep",
        })
    }
}

/// What became of a run.
pub enum Outcome {
    Passed,
    /// Caught, and how it showed.
    Caught(String),
}

/// Tests of `tests/driver` whose names begin so belong to [`Catcher::Schedules`].
const SCHEDULES: &str = "schedules::";

impl Catcher {
    pub const ALL: [Catcher; 6] =
        [Catcher::Types, Catcher::Loom, Catcher::Unit, Catcher::Lab, Catcher::Schedules, Catcher::Faults];

    /// Whether being caught by it is enough. A unit test knows the very line that it tests; the others know what the driver promises.
    pub fn suffices(self) -> bool {
        self != Catcher::Unit
    }

    /// Whether it looks at what `entry` breaks.
    pub fn covers(self, entry: &Entry) -> bool {
        match self {
            Catcher::Types => true,
            // The models are made of nothing else.
            Catcher::Loom | Catcher::Unit => entry.edits.iter().any(|edit| edit.file.starts_with("driver/core/")),
            Catcher::Lab | Catcher::Schedules | Catcher::Faults => true,
        }
    }

    /// Builds what it needs at `root`; `None` if it has nothing to run there.
    pub fn build(self, root: &Path) -> Result<Result<Option<Run>, BuildFailed>> {
        match self {
            Catcher::Types => Ok(match cargo_build(root, &["build", "--package", "postern-image"], None)? {
                Ok(_) => Ok(None),
                Err(failed) => Err(failed),
            }),
            Catcher::Loom => {
                if !root.join("driver/core/tests/interleavings").is_dir() {
                    return Ok(Ok(None));
                }
                test(root, "driver/core", &[&loom::TEST[..], &["--no-run"]].concat(), Some(loom::FLAGS), &[])
            }
            Catcher::Unit => {
                test(root, "driver/core", &["test", "--package", "postern-core", "--lib", "--no-run"], None, &[])
            }
            Catcher::Lab => test(root, ".", &DRIVER_TESTS, None, &["--skip", SCHEDULES]),
            Catcher::Schedules => test(root, ".", &DRIVER_TESTS, None, &[SCHEDULES]),
            Catcher::Faults => Ok(Ok(None)),
        }
    }

    /// How long a run may take that takes `unbroken` on the unbroken sources. What takes longer hangs.
    pub fn limit(self, unbroken: Duration) -> Duration {
        // The machine may be busier than it was then.
        Duration::from_secs(60) + unbroken * 4
    }
}

const DRIVER_TESTS: [&str; 6] = ["test", "--package", "postern-image", "--test", "driver", "--no-run"];

/// Why a build failed.
pub struct BuildFailed(pub String);

/// A program to run.
pub struct Run {
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
}

/// Builds a test program.
fn test(
    root: &Path,
    folder: &str,
    arguments: &[&str],
    flags: Option<&str>,
    filter: &[&str],
) -> Result<Result<Option<Run>, BuildFailed>> {
    Ok(cargo_build(root, arguments, flags)?.map(|program| {
        program.map(|program| {
            // One after another: the first that fails is the same each time.
            let mut arguments = vec!["--nocapture".to_owned(), "--test-threads=1".to_owned()];
            arguments.extend(filter.iter().map(|&argument| argument.to_owned()));
            Run { program, arguments, folder: root.join(folder) }
        })
    }))
}

/// Runs a cargo command that builds, and returns the program that it made, if any.
fn cargo_build(root: &Path, arguments: &[&str], flags: Option<&str>) -> Result<Result<Option<PathBuf>, BuildFailed>> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .env_remove("CARGO_TARGET_DIR")
        .current_dir(root);
    if let Some(flags) = flags {
        cargo.env("RUSTFLAGS", flags).args(["--target-dir", loom::TARGET]);
    }
    let output = cargo.output().context("cannot run cargo")?;
    if !output.status.success() {
        return Ok(Err(BuildFailed(String::from_utf8_lossy(&output.stderr).into_owned())));
    }
    let stdout = String::from_utf8(output.stdout).context("cargo's messages are no UTF-8")?;
    let messages = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(Ok(messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back()))
}

impl Run {
    /// Runs it for at most `limit`, and ends it at the first test that fails.
    pub fn run(&self, limit: Duration) -> Result<Outcome> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let output = child.stdout.take().context("the program has no output")?;
        let mut errors = child.stderr.take().context("the program has no error output")?;
        let errors = thread::spawn(move || {
            let mut text = Vec::new();
            // What was read before an error is what there is.
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });

        let (status, output) = watch(&mut child, output, limit)?;
        let errors = errors.join().unwrap_or_default();
        Ok(match status {
            Some(status) if status.success() => Outcome::Passed,
            Some(_) => Outcome::Caught(symptom::of_failure(&output, &errors)),
            None => Outcome::Caught(symptom::of_hang(&output, limit)),
        })
    }
}

/// Waits for the program's end and returns its status and its output; no status if it had to be ended because it took too long.
fn watch(
    child: &mut Child,
    output: impl Read + Send + 'static,
    limit: Duration,
) -> Result<(Option<ExitStatus>, String)> {
    // By pieces, not by lines: the name of a test that hangs is an unfinished line.
    let (sender, pieces) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        while let Ok(piece) = output.fill_buf() {
            let length = piece.len();
            if length == 0 || sender.send(piece.to_vec()).is_err() {
                break;
            }
            output.consume(length);
        }
    });
    let end = Instant::now() + limit;
    let mut text = String::new();
    let mut failed = false;
    loop {
        match pieces.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(piece) => {
                text += &String::from_utf8_lossy(&piece);
                if text.lines().any(|line| line.starts_with("test ") && line.ends_with(" FAILED")) {
                    failed = true;
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return Ok((Some(child.wait()?), text)),
        }
    }
    child.kill().context("cannot end a program that hangs")?;
    let status = child.wait()?;
    Ok((failed.then_some(status), text))
}
