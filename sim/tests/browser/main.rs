//! Pages in a real browser: what they show, whether it is what the JSON says, whether they can be used. Without a
//! Chromium the tests say so and do nothing, unless `WAFERSIM_REQUIRE` names it. `WAFERSIM_SCREENSHOTS=DIR` keeps
//! pictures of the pages, as base64; `WAFERSIM_PAGES=all` opens those of all commands.

mod chromium;
mod explored;
mod pages;

use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin_cmd;

/// Runs `simctl` in a folder of its own.
fn simctl(folder: &Path, arguments: &str) -> Output {
    let mut command = cargo_bin_cmd!("simctl");
    command.args(arguments.split_whitespace()).current_dir(folder).env("XDG_CACHE_HOME", folder);
    let output = command.output().expect("simctl");
    assert!(output.status.success(), "simctl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A running `simctl`, which ends with the value.
struct Running(std::process::Child);

impl Running {
    fn start(folder: &Path, arguments: &str) -> Self {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("simctl"));
        command.args(arguments.split_whitespace()).current_dir(folder).env("XDG_CACHE_HOME", folder);
        Self(command.stdout(std::process::Stdio::piped()).spawn().expect("simctl"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}
