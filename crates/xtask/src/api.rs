//! What a crate offers to others, read from its sources: a line for each public item, with its whole path and its
//! signature, in the order of the alphabet. It needs no nightly compiler, which rustdoc's JSON would.
//!
//! An item in a private module is listed under the name by which it is exported. What a macro writes is not seen: its
//! invocation stands in place of it. Bodies, values of constants and documentation are left out.

mod exports;
mod lines;
mod modules;
mod tokens;

use std::fs;

use anyhow::{Context, Result};
use similar::TextDiff;

use crate::Library;
use modules::Module;

/// How a crate's interface is said to be brought up to date.
pub const UPDATE: &str = "cargo xtask api";

/// The public interface of a crate as text.
///
/// # Errors
/// Where a source file cannot be read or is no Rust.
pub fn of(library: &Library) -> Result<String> {
    let crate_root = Module::read(&library.folder.join("src/lib.rs"))?;
    let mut lines = exports::lines(&crate_root, &library.path());
    // By what a line is about, whatever stands before that.
    let inner = format!("{}::", library.path());
    lines.sort_by_cached_key(|line| (line.find(&inner).and_then(|at| line.get(at..)).map(str::to_owned), line.clone()));
    lines.dedup();
    let head = format!("# What {} offers. Written by `{UPDATE}`.\n", library.path());
    Ok(lines.into_iter().fold(head, |text, line| text + &line + "\n"))
}

/// The difference between the interface that is written down and the one that there is; nothing where there is none.
///
/// # Errors
/// As [`of`].
pub fn difference(library: &Library) -> Result<Option<String>> {
    let now = of(library)?;
    let written = fs::read_to_string(library.folder.join("api.txt")).unwrap_or_default();
    if written == now {
        return Ok(None);
    }
    let difference = TextDiff::from_lines(&written, &now).unified_diff().context_radius(0).to_string();
    Ok(Some(format!("crates/{}/api.txt:\n{difference}", library.name)))
}

/// Writes the interface down; whether that changed anything.
///
/// # Errors
/// As [`of`], and where it cannot be written.
pub fn update(library: &Library) -> Result<bool> {
    let path = library.folder.join("api.txt");
    let now = of(library)?;
    let changes = fs::read_to_string(&path).ok().as_ref() != Some(&now);
    if changes {
        fs::write(&path, now).with_context(|| path.display().to_string())?;
    }
    Ok(changes)
}
