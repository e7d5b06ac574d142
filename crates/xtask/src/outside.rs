//! The crate outside, built against the packages as somebody has them who takes them from a registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::{Library, libraries, root};

/// Where it stands in the repository, without its sources.
const CRATE: &str = "crates/wafersim/examples/outside";
/// What it says of the facade there.
const BY_PATH: &str = "wafersim = { path = \"../..\" }";

/// Builds and runs `crates/wafersim/examples/outside` against what `cargo xtask package` has made: packages and
/// everything that they need lie in one directory source, and cargo sees no other. The program fails where an own
/// placement, or any other piece from outside, does not change the answer.
///
/// # Errors
/// Where a package is missing, or a program cannot be started or does not succeed.
pub fn run() -> Result<()> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let place = std::path::absolute(target.join("outside"))?;
    let vendor = place.join("vendor");
    for old in ["vendor", "crate"] {
        if place.join(old).exists() {
            fs::remove_dir_all(place.join(old)).with_context(|| format!("{}/{old}", place.display()))?;
        }
    }
    // What cargo would say of its configuration is written below.
    let mut vendoring = cargo();
    vendoring.args(["vendor", "--quiet", "--locked", "--versioned-dirs"]).arg(&vendor).current_dir(root());
    succeed(vendoring.stdout(Stdio::null()), "cargo vendor")?;
    for library in libraries()? {
        unpack(&library, &target.join("package"), &vendor)?;
    }
    let copy = place.join("crate");
    let manifest = fs::read_to_string(root().join(CRATE).join("Cargo.toml")).with_context(|| CRATE)?;
    ensure!(manifest.contains(BY_PATH), "{CRATE}/Cargo.toml does not say '{BY_PATH}'");
    let version = env!("CARGO_PKG_VERSION");
    write(&copy.join("Cargo.toml"), &manifest.replace(BY_PATH, &format!("wafersim = \"={version}\"")))?;
    let config = format!(
        "[source.crates-io]\nreplace-with = \"packaged\"\n\n[source.packaged]\ndirectory = {:?}\n",
        vendor.display().to_string()
    );
    write(&copy.join(".cargo/config.toml"), &config)?;
    let sources = root().join(CRATE).join("src");
    for entry in fs::read_dir(&sources).with_context(|| sources.display().to_string())? {
        let from = entry?.path();
        let name = from.file_name().context("a source has a name")?;
        write(&copy.join("src").join(name), &fs::read_to_string(&from)?)?;
    }
    let mut running = cargo();
    running.args(["run", "--offline", "--quiet"]).current_dir(&copy).env("CARGO_TARGET_DIR", place.join("target"));
    succeed(&mut running, "the crate outside")
}

/// A package as a directory source has it: unpacked, with no files to compare.
fn unpack(library: &Library, packages: &Path, vendor: &Path) -> Result<()> {
    let name = format!("{}-{}", library.path().replace('_', "-"), env!("CARGO_PKG_VERSION"));
    let package = packages.join(format!("{name}.crate"));
    ensure!(package.exists(), "{} is missing; cargo xtask package makes it", package.display());
    let mut unpacking = Command::new("tar");
    unpacking.arg("-xzf").arg(&package).arg("-C").arg(vendor);
    succeed(&mut unpacking, "tar")?;
    write(&vendor.join(name).join(".cargo-checksum.json"), "{\"files\":{}}")
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// The cargo that runs this program.
fn cargo() -> Command {
    Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
}

fn succeed(command: &mut Command, what: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("{what} cannot be started"))?;
    if !status.success() {
        bail!("{what}: {status}");
    }
    Ok(())
}
