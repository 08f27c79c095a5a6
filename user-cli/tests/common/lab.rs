//! A lab of its own for each test.

use assert_cmd::Command;
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

impl Drop for Lab {
    fn drop(&mut self) {
        if self.socket().exists() {
            let _ = self.command(&["lab", "stop"]).output();
        }
    }
}
