//! A mapping as somebody names it: a recipe, built in or in a file, or a resolved mapping in a file.

use std::path::Path;

use crate::builtin;
use crate::error::MappingError;
use crate::recipe::Recipe;
use crate::resolved::{HEADER, Resolved};
use crate::text;

/// Either type of mapping.
#[derive(Debug, Clone, PartialEq)]
pub enum Mapping {
    /// A recipe.
    Recipe(Box<Recipe>),
    /// A resolved mapping.
    Resolved(Box<Resolved>),
}

impl Mapping {
    /// A built-in recipe, or a file with a mapping of either type: what ends in `.toml` or holds a path separator is a
    /// file.
    ///
    /// # Errors
    /// Where no built-in has the name, or the file cannot be read or is no mapping.
    pub fn from_name_or_path(text: &str) -> Result<Self, MappingError> {
        if text.ends_with(".toml") || text.contains(['/', '\\']) {
            Self::read(Path::new(text))
        } else {
            builtin::recipe(text).map(|recipe| Self::Recipe(Box::new(recipe)))
        }
    }

    /// A mapping of either type from a file.
    ///
    /// # Errors
    /// Where the file cannot be read or is no mapping.
    pub fn read(path: &Path) -> Result<Self, MappingError> {
        let text = wafersim_spec::file::read_text(path, "name the .toml file itself")?;
        let mut mapping = Self::parse(&text, &path.display().to_string())?;
        match &mut mapping {
            Self::Recipe(recipe) => recipe.load(path)?,
            Self::Resolved(resolved) => resolved.file = Some(path.display().to_string()),
        }
        Ok(mapping)
    }

    /// A mapping of either type from TOML text: with a table `resolved_for` it is a resolved one. `file` is named in
    /// errors.
    ///
    /// # Errors
    /// Where the text is no TOML, a field is unknown, or a value is not allowed.
    pub fn parse(text: &str, file: &str) -> Result<Self, MappingError> {
        let table: toml::Table = text::read(text, file)?;
        if table.contains_key("resolved_for") {
            Resolved::parse(text, file).map(|resolved| Self::Resolved(Box::new(resolved)))
        } else if text.starts_with(HEADER) {
            let line = text.lines().count();
            let problem = "a resolved mapping that ends too soon (cut off?); allowed: the whole file".into();
            Err(MappingError::Text { file: file.into(), line, field: None, problem })
        } else {
            Recipe::parse(text, file).map(|recipe| Self::Recipe(Box::new(recipe)))
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Recipe(recipe) => &recipe.name,
            Self::Resolved(resolved) => &resolved.name,
        }
    }

    /// It, or the recipe that it came from.
    pub const fn recipe(&self) -> &Recipe {
        match self {
            Self::Recipe(recipe) => recipe,
            Self::Resolved(resolved) => &resolved.recipe,
        }
    }

    /// It as TOML.
    pub fn to_toml(&self) -> String {
        match self {
            Self::Recipe(recipe) => recipe.to_toml(),
            Self::Resolved(resolved) => resolved.to_toml(),
        }
    }
}
