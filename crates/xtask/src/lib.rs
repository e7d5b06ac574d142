//! Chores of the repository, as functions that `cargo xtask` and the tests of this crate share.
//!
//! It owns no part of the simulator, and no other crate depends on it.
//!
//! | module | owns |
//! |---|---|
//! | [`api`] | what a crate offers to others, as lines of text, compared with its `api.txt` |
//! | [`dist`] | `simctl` as it is shipped |
//! | [`outside`] | the crate outside, built against the packages |
//! | [`packages`] | what a package must have in it |

pub mod api;
pub mod dist;
pub mod outside;
pub mod packages;

use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A library crate of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its folder below `crates/`.
    pub name: String,
    /// The whole path of that folder.
    pub folder: PathBuf,
}

impl Library {
    /// What the crate is called in paths: `wafersim_answer`.
    pub fn path(&self) -> String {
        if self.name == "wafersim" { self.name.clone() } else { format!("wafersim_{}", self.name) }
    }
}

/// The library crates, in the order of their names.
///
/// # Errors
/// Where the folder `crates` cannot be read.
pub fn libraries() -> anyhow::Result<Vec<Library>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(root().join("crates"))? {
        let folder = entry?.path();
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        let is_published = !manifest.lines().any(|line| line == "publish = false");
        if is_published && folder.join("src/lib.rs").is_file() {
            all.push(Library { name, folder });
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}
