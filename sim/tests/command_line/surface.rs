//! Running the program.

use std::path::PathBuf;
use std::process::Output;

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin_cmd;

/// What came out.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program with arguments that are parted by spaces.
pub fn simctl(arguments: &str) -> Said {
    said(command(arguments))
}

/// The same, not yet started.
pub fn command(arguments: &str) -> Command {
    let mut command = cargo_bin_cmd!("simctl");
    // What was found is kept for the tests alone.
    command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")).args(arguments.split_whitespace());
    command
}

/// Runs a command to its end.
pub fn said(mut command: Command) -> Said {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Said { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

impl Said {
    /// The stdout of a run that went well.
    pub fn data(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// The same as JSON.
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.data()).expect("JSON")
    }
}

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
