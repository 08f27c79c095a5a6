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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Catcher {
    /// Every interleaving of the models in `driver/core/tests/interleavings`.
    Loom,
    /// The tests beside the code of `driver/core`.
    Unit,
    /// The compiler.
    Types,
    /// `postern.sys` in the lab: `tests/driver`.
    Lab,
    /// `postern_wdm.sys` in the lab: the same tests.
    LabWdm,
    /// `postern.sys` in the lab, with its threads held back as seeds say.
    Schedules,
    /// `postern.sys` in the lab, where each call that can fail does so once, in each way that it can.
    Faults,
}

impl fmt::Display for Catcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Catcher::Loom => "loom",
            Catcher::Unit => "unit tests",
            Catcher::Types => "types",
            Catcher::Lab => "lab",
            Catcher::LabWdm => "lab (WDM)",
            Catcher::Schedules => "schedules",
            Catcher::Faults => "fault sweep",
        })
    }
}

/// What became of a run.
pub enum Outcome {
    /// Nothing was found; the longest time without a word.
    Passed(Duration),
    /// Caught, and how it showed.
    Caught(String),
}

/// How long a program may be silent that is silent for `unbroken` on the unbroken sources. One that is silent longer hangs.
pub fn patience(unbroken: Duration) -> Duration {
    // The machine may be busier than it was then.
    Duration::from_secs(30) + unbroken * 5
}

impl Catcher {
    pub const ALL: [Catcher; 7] = [
        Catcher::Loom,
        Catcher::Unit,
        Catcher::Types,
        Catcher::Lab,
        Catcher::LabWdm,
        Catcher::Schedules,
        Catcher::Faults,
    ];

    /// Whether being caught by it is enough. A unit test knows the very line that it tests; the others know what the driver promises.
    pub fn suffices(self) -> bool {
        self != Catcher::Unit
    }

    /// Whether it looks at what `entry` breaks.
    pub fn covers(self, entry: &Entry) -> bool {
        let breaks = |folder: &str| entry.edits.iter().any(|edit| edit.file.starts_with(folder));
        match self {
            // The models are made of nothing else.
            Catcher::Loom | Catcher::Unit => breaks("driver/core/"),
            Catcher::Types => entry.refused_by_types,
            Catcher::Lab | Catcher::Schedules | Catcher::Faults => !breaks("driver/wdm/"),
            // The tests are the same, and so is all but the shell.
            Catcher::LabWdm => breaks("driver/wdm/"),
        }
    }

    /// The tests that are tried first: those that are about what `entry` breaks.
    pub fn likely(self, entry: &Entry) -> String {
        match self {
            Catcher::Loom | Catcher::Unit => format!("{}::", entry.part),
            Catcher::Types | Catcher::Lab | Catcher::LabWdm => entry.tests.clone(),
            Catcher::Schedules => SCHEDULES.into(),
            Catcher::Faults => FAULTS.into(),
        }
    }

    /// Builds what it needs at `root`; `None` if building is all that it does.
    pub fn build(self, root: &Path) -> Result<Result<Option<Run>, BuildFailed>> {
        match self {
            Catcher::Loom => test(root, "driver/core", &loom::TEST, Some(loom::FLAGS), &[]),
            Catcher::Unit => test(root, "driver/core", &["test", "--package", "postern-core", "--lib"], None, &[]),
            Catcher::Types => Ok(cargo_build(root, &["build", "--package", "postern-image"], None)?.map(|_| None)),
            Catcher::Lab => driver_test(root, "driver", &["--skip", SCHEDULES, "--skip", FAULTS]),
            Catcher::LabWdm => driver_test(root, "driver_wdm", &["--skip", SCHEDULES, "--skip", FAULTS]),
            Catcher::Schedules => driver_test(root, "driver", &[SCHEDULES]),
            Catcher::Faults => driver_test(root, "driver", &[FAULTS]),
        }
    }
}

/// Why a build failed.
pub struct BuildFailed(pub String);

/// A program to run.
pub struct Run {
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
}

/// Tests of `tests/driver` whose names begin so belong to [`Catcher::Faults`].
const FAULTS: &str = "faults::";
/// The same for [`Catcher::Schedules`].
const SCHEDULES: &str = "schedules::";

fn driver_test(root: &Path, name: &str, filter: &[&str]) -> Result<Result<Option<Run>, BuildFailed>> {
    test(root, ".", &["test", "--package", "postern-image", "--test", name], None, filter)
}

/// Builds the test program that a cargo command runs.
fn test(
    root: &Path,
    folder: &str,
    arguments: &[&str],
    flags: Option<&str>,
    filter: &[&str],
) -> Result<Result<Option<Run>, BuildFailed>> {
    let built = cargo_build(root, &[arguments, &["--no-run"]].concat(), flags)?;
    Ok(built.map(|program| {
        // One test after another: the first that fails is the same each time.
        let arguments = ["--nocapture", "--test-threads=1"].iter().chain(filter).map(|&text| text.to_owned()).collect();
        Some(Run { program: program?, arguments, folder: root.join(folder) })
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
    /// The same program, but only its tests whose names begin so.
    pub fn only(&self, tests: &str) -> Run {
        let arguments = self.arguments.iter().cloned().chain([tests.to_owned()]).collect();
        Run { program: self.program.clone(), arguments, folder: self.folder.clone() }
    }

    /// Runs it until it says nothing for longer than `patience`, and ends it at the first test that fails.
    pub fn run(&self, patience: Duration) -> Result<Outcome> {
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

        let (end, output) = watch(&mut child, output, patience)?;
        let errors = errors.join().unwrap_or_default();
        Ok(match end {
            End::Ended(status, silence) if status.success() => Outcome::Passed(silence),
            End::Ended(..) | End::TestFailed => Outcome::Caught(symptom::of_failure(&output, &errors)),
            End::Hangs => Outcome::Caught(symptom::of_hang(&output)),
        })
    }
}

/// How a program ended.
enum End {
    /// By itself; with the longest time without a word.
    Ended(ExitStatus, Duration),
    /// It was ended, because a test has failed.
    TestFailed,
    /// It was ended, because it said nothing any more.
    Hangs,
}

/// Waits for the program's end, and returns its output.
fn watch(child: &mut Child, output: impl Read + Send + 'static, patience: Duration) -> Result<(End, String)> {
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
    let mut text = String::new();
    let mut longest = Duration::ZERO;
    let end = loop {
        let begun = Instant::now();
        match pieces.recv_timeout(patience) {
            Ok(piece) => {
                text += &String::from_utf8_lossy(&piece);
                if text.lines().any(|line| line.starts_with("test ") && line.ends_with(" FAILED")) {
                    break End::TestFailed;
                }
            }
            Err(RecvTimeoutError::Timeout) => break End::Hangs,
            Err(RecvTimeoutError::Disconnected) => return Ok((End::Ended(child.wait()?, longest), text)),
        }
        longest = longest.max(begun.elapsed());
    };
    child.kill().context("cannot end a program that hangs")?;
    child.wait()?;
    Ok((end, text))
}
