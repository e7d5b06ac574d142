//! `simctl` as it is shipped.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::root;

/// Builds `simctl` in the profile `dist`, whose sources are named by neutral paths: `/wafersim`, `/crates`, `/rust`.
/// Cargo's own way (`trim-paths`) is not stable yet.
///
/// # Errors
/// Where cargo or rustc cannot be started, or does not succeed.
pub fn build() -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let home = match std::env::var("CARGO_HOME") {
        Ok(home) => home,
        Err(_) => std::env::var("HOME").context("neither CARGO_HOME nor HOME is set")? + "/.cargo",
    };
    let here = root().canonicalize()?.display().to_string();
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().context("rustc cannot be started")?;
    let sysroot = String::from_utf8(sysroot.stdout)?.trim().to_owned();
    let maps = [(here.as_str(), "/wafersim"), (home.as_str(), "/crates"), (sysroot.as_str(), "/rust")];
    let flags: Vec<String> = maps.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}")).collect();
    let mut command = Command::new(cargo);
    command.args(["build", "--profile", "dist", "--locked", "-p", "simctl"]);
    // Flags are set apart by a character that no path has.
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")).current_dir(root());
    let status = command.status()?;
    if !status.success() {
        bail!("simctl was not built: {status}");
    }
    Ok(())
}
