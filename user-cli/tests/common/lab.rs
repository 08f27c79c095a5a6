//! A lab of its own for each test.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use rustix::process::{Pid, Signal};
use serde_json::Value;

/// A directory with a lab's socket in it. The lab ends with it.
pub struct Lab {
    directory: tempfile::TempDir,
}

/// What a command printed, and its exit code.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Lab {
    /// A place for a lab that does not run yet.
    pub fn absent() -> Lab {
        Lab { directory: tempfile::tempdir().unwrap() }
    }

    pub fn started() -> Lab {
        let lab = Lab::absent();
        let ran = lab.run(&["lab", "start"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        lab
    }

    pub fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("lab")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.env("POSTERN_LAB", self.socket()).env_remove("RUST_BACKTRACE").args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!((ran.code, &*ran.err), (0, ""), "{arguments:?}: {ran:?}");
        ran.out
    }

    /// Runs a command with `--json` that must succeed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[&["--json"], arguments].concat())).unwrap()
    }
}

/// A command that goes on while others run.
pub struct Background {
    child: Child,
    input: Option<ChildStdin>,
    out: Receiver<String>,
    err: Receiver<String>,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Lab {
    pub fn spawn(&self, arguments: &[&str]) -> Background {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_postern"))
            .env("POSTERN_LAB", self.socket())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, err) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Background { input: child.stdin.take(), child, out, err }
    }
}

fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Background {
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of standard output.
    pub fn line(&self) -> String {
        self.out
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("no line: {:?}", self.err.try_iter().collect::<Vec<_>>()))
    }

    /// Waits for a line of standard error that contains `part`.
    pub fn told(&self, part: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.err.recv_timeout(PATIENCE) {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("no '{part}' in {seen:?}")
    }

    pub fn type_line(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("standard input is open"), "{line}").unwrap();
    }

    pub fn end_input(&mut self) {
        self.input = None;
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; what was printed and not read yet.
    pub fn end(mut self) -> Ran {
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if begun.elapsed() > PATIENCE => panic!("the command does not end"),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let rest = |lines: &Receiver<String>| lines.iter().map(|line| line + "\n").collect();
        Ran { code: status.code().unwrap_or(-1), out: rest(&self.out), err: rest(&self.err) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Only of a test that has failed does it still run.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.socket().exists() {
            let _ = self.command(&["lab", "stop"]).output();
        }
    }
}
