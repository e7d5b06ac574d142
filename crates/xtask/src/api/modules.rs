//! The modules of a crate as they stand in its files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use syn::{Attribute, Item, Visibility};

use super::tokens::compact;

/// A module with its items.
pub(crate) struct Module {
    /// Its items but modules, in the order of the file.
    pub(crate) items: Vec<Item>,
    /// Modules in it, by name.
    pub(crate) modules: BTreeMap<String, Module>,
    /// Whether it is `pub`.
    pub(crate) is_public: bool,
    /// What it is compiled under: `#[cfg(feature = "fabric")] ` or nothing.
    pub(crate) condition: String,
}

impl Module {
    /// The modules of a crate, from its `lib.rs`.
    ///
    /// # Errors
    /// Where a file cannot be read or is no Rust.
    pub(crate) fn read(lib: &Path) -> Result<Self> {
        let folder = lib.parent().unwrap_or(Path::new(""));
        Self::of_file(lib, folder, true, String::new())
    }

    fn of_file(file: &Path, folder: &Path, is_public: bool, condition: String) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let parsed = syn::parse_file(&text).with_context(|| file.display().to_string())?;
        Self::of_items(parsed.items, folder, is_public, condition)
    }

    /// `folder` is where the files of the modules in it are.
    fn of_items(items: Vec<Item>, folder: &Path, is_public: bool, condition: String) -> Result<Self> {
        let mut module = Self { items: Vec::new(), modules: BTreeMap::new(), is_public, condition };
        for item in items {
            let Item::Mod(inner) = item else {
                module.items.push(item);
                continue;
            };
            if is_left_out(&inner.attrs) {
                continue;
            }
            let name = inner.ident.to_string();
            let is_public = matches!(inner.vis, Visibility::Public(_));
            let (below, condition) = (folder.join(&name), condition_of(&inner.attrs));
            let read = match inner.content {
                Some((_, items)) => Self::of_items(items, &below, is_public, condition)?,
                None => Self::of_file(&file_of(folder, &name)?, &below, is_public, condition)?,
            };
            module.modules.insert(name, read);
        }
        Ok(module)
    }
}

fn file_of(folder: &Path, name: &str) -> Result<PathBuf> {
    let choices = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
    let Some(found) = choices.iter().find(|path| path.is_file()) else {
        bail!("module '{name}' has no file in {}", folder.display());
    };
    Ok(found.clone())
}

/// Tests, and what documentation hides.
pub(crate) fn is_left_out(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .map(compact)
        .any(|text| matches!(text.as_str(), "#[cfg(test)]" | "#[cfg(doctest)]" | "#[doc(hidden)]" | "#[test]"))
}

/// The conditions of an item, each followed by a space.
pub(crate) fn condition_of(attributes: &[Attribute]) -> String {
    let conditions = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    conditions.map(|condition| compact(condition) + " ").collect()
}
