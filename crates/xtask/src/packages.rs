//! What a package of a crate must have in it: everything that its sources embed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::Library;

/// A file that a source embeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedded {
    /// The source.
    pub source: PathBuf,
    /// What it says, from its own folder; of a path put together, how it begins.
    pub written: String,
}

impl Embedded {
    /// Whether the path stays in the crate's folder, going up and down by its names, links not followed.
    pub fn is_inside(&self, library: &Library) -> bool {
        let Ok(below) = self.source.strip_prefix(&library.folder) else { return false };
        let mut depth = below.components().count().saturating_sub(1);
        Path::new(&self.written).components().all(|part| match part {
            std::path::Component::ParentDir => {
                let is_below = depth > 0;
                depth = depth.saturating_sub(1);
                is_below
            }
            std::path::Component::Normal(_) => {
                depth += 1;
                true
            }
            std::path::Component::CurDir => true,
            std::path::Component::RootDir | std::path::Component::Prefix(_) => false,
        })
    }

    /// The file itself.
    pub fn path(&self) -> PathBuf {
        self.source.parent().unwrap_or(Path::new("")).join(&self.written)
    }
}

/// What the sources of a crate embed by `include_str!` and `include_bytes!`.
///
/// # Errors
/// Where a source cannot be read.
pub fn embedded(library: &Library) -> Result<Vec<Embedded>> {
    let mut found = Vec::new();
    for source in sources(&library.folder.join("src"))? {
        let text = fs::read_to_string(&source).with_context(|| source.display().to_string())?;
        for call in ["include_str!(\"", "include_bytes!(\"", "include_str!(concat!(\""] {
            let after = text.split(call).skip(1);
            let written = after.filter_map(|rest| rest.split_once('"')).map(|(path, _)| path.to_owned());
            found.extend(written.map(|written| Embedded { source: source.clone(), written }));
        }
    }
    Ok(found)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
