//! Finding and reading a model: built-in name or file.

use std::path::Path;

use super::{Model, builtin, config_json};
use crate::error::{SpecError, nearest_name};
use crate::file::read_text;

impl Model {
    /// The built-in model of that name.
    ///
    /// # Errors
    /// Where no built-in has the name, or its family is not modelled.
    pub fn builtin(name: &str) -> Result<Self, SpecError> {
        let text = builtin::config(name).ok_or_else(|| SpecError::UnknownName {
            kind: "model",
            name: name.into(),
            nearest: nearest_name(name, builtin::names()),
            allowed: format!(
                "allowed are the path of a config.json (ending in .json, or with a '/'), or one of {}",
                builtin::names().collect::<Vec<_>>().join(", ")
            ),
        })?;
        let model = Self::from_config_json(text, name)?;
        Ok(model)
    }

    /// The model of a `config.json` file.
    ///
    /// # Errors
    /// Where the file cannot be read, or says what cannot be modelled.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let text = read_text(path, "name the config.json file in it")?;
        Self::from_config_json(&text, &path.display().to_string())
    }

    /// The model that a user named: a text that ends in `.json` or contains a path separator is a path, any other the
    /// name of a built-in.
    ///
    /// # Errors
    /// As [`Model::builtin`] and [`Model::read`].
    pub fn from_name_or_path(text: &str) -> Result<Self, SpecError> {
        if text.ends_with(".json") || text.contains(['/', '\\']) {
            Self::read(Path::new(text))
        } else {
            Self::builtin(text)
        }
    }

    /// The model that the text of a `config.json` describes. `file` is its name in messages.
    ///
    /// # Errors
    /// Where the text is no JSON, a field is missing or not allowed, or the family is not modelled.
    pub fn from_config_json(text: &str, file: &str) -> Result<Self, SpecError> {
        config_json::parse(text, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_told_apart() {
        for (text, expected) in [
            ("qwen3-coder-480b-a35", "did you mean 'qwen3-coder-480b-a35b'?"),
            ("no-such-model", "one of codellama-34b, "),
            ("nowhere.json", "nowhere.json: cannot be read: "),
            ("no/where", "no/where: cannot be read: "),
            ("", "unknown model ''"),
        ] {
            let message = Model::from_name_or_path(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
        assert_eq!(Model::from_name_or_path("qwen3-8b").unwrap().name, "qwen3-8b");
    }

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/llm");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort();
        assert_eq!(files, builtin::names().collect::<Vec<_>>());
    }
}
