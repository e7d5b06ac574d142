//! The files of `fuzz/corpus/TARGET/`: small ones that are read, and some that once did harm.

use std::path::{Path, PathBuf};

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The folder of a target.
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

/// All files of a target, in the order of their names.
///
/// # Errors
/// Where the folder, or a file in it, cannot be read.
pub fn seeds(target: &str) -> std::io::Result<Vec<Seed>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder(target))? {
        paths.push(entry?.path());
    }
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Seed { name, bytes: std::fs::read(&path)? })
    };
    paths.into_iter().map(read).collect()
}
