//! Finding and reading a model: built-in name or file.

use std::path::{Path, PathBuf};

use super::{Model, builtin, config_json};
use crate::error::{SpecError, nearest_name};
use crate::file::read_text;

const CONFIG: &str = "config.json";
const QUANTISED: &str = "hf_quant_config.json";

/// The file of ModelOpt beside a `config.json`; beside `NAME_config.json` the one with the same beginning.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let start = name.strip_suffix(CONFIG).filter(|start| !start.ends_with("hf_quant_"))?;
    Some(path.with_file_name(format!("{start}{QUANTISED}")))
}

/// Files of other kinds, by the endings of their names.
fn foreign(path: &Path) -> Option<SpecError> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    let (what, hint) = match ending.as_str() {
        "gguf" => ("a GGUF file", "name the config.json of the model that it was made from"),
        "safetensors" | "bin" | "pt" | "pth" => ("a file of weights", "name the config.json beside it"),
        "onnx" => ("an ONNX file", "name the config.json of the model that it was made from"),
        _ => return None,
    };
    Some(SpecError::Unsupported { file: path.display().to_string(), what: what.into(), hint: hint.into() })
}

/// The model's name in `owner/name`, as Hugging Face writes it.
fn repository(text: &str) -> Option<&str> {
    let (owner, name) = text.split_once('/')?;
    let is_word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('.')
            && word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
    };
    (is_word(owner) && is_word(name) && !name.ends_with(".json")).then_some(name)
}

fn not_downloaded(text: &str, name: &str) -> SpecError {
    let near = nearest_name(&name.to_ascii_lowercase(), builtin::names());
    let near = near.map_or_else(String::new, |near| format!("; built in is '{near}'"));
    SpecError::Read {
        file: text.into(),
        reason: format!(
            "there is no such file or folder, and nothing is downloaded. As a Hugging Face id: fetch its {CONFIG} \
             (and {QUANTISED}, where there is one), for example with `hf download {text} {CONFIG}`, and name that \
             file{near}"
        ),
    }
}

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
                "allowed are the path of a config.json (ending in .json, or with a '/'), of its folder, or one of {}",
                builtin::names().collect::<Vec<_>>().join(", ")
            ),
        })?;
        let model = Self::from_config_json(text, name)?;
        // The name stands for the model, in whatever format; the files were one of its checkpoints.
        Ok(Self { checkpoint: None, ..model })
    }

    /// The model of a `config.json` file, or of the one in a folder. A `hf_quant_config.json` beside it is read too.
    ///
    /// # Errors
    /// Where the file cannot be read, or says what cannot be modelled.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let in_folder = path.join(CONFIG);
        let path = if path.is_dir() && in_folder.is_file() { in_folder.as_path() } else { path };
        if let Some(refusal) = foreign(path) {
            return Err(refusal);
        }
        let text = read_text(path, "there is no config.json in it: name the file")?;
        let beside = beside(path).filter(|other| other.is_file());
        let quantised = match &beside {
            Some(other) => Some((read_text(other, "it lies beside a config.json")?, other.display().to_string())),
            None => None,
        };
        let beside = quantised.as_ref().map(|(text, name)| (text.as_str(), name.as_str()));
        config_json::parse(&text, &path.display().to_string(), beside)
    }

    /// The model that a user named: a text that ends in `.json` or contains a path separator is a path, any other the
    /// name of a built-in.
    ///
    /// # Errors
    /// As [`Model::builtin`] and [`Model::read`].
    pub fn from_name_or_path(text: &str) -> Result<Self, SpecError> {
        let path = Path::new(text);
        if text.ends_with(".json") || text.contains(['/', '\\']) {
            return match repository(text).filter(|_| !path.exists()) {
                Some(name) => Err(not_downloaded(text, name)),
                None => Self::read(path),
            };
        }
        match foreign(path) {
            Some(refusal) => Err(refusal),
            None if builtin::config(text).is_none() && path.is_dir() => Self::read(path),
            None => Self::builtin(text),
        }
    }

    /// The model that the text of a `config.json` describes. `file` is its name in messages.
    ///
    /// # Errors
    /// Where the text is no JSON, a field is missing or not allowed, or the family is not modelled.
    pub fn from_config_json(text: &str, file: &str) -> Result<Self, SpecError> {
        config_json::parse(text, file, None)
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
            ("no/where", "no/where: cannot be read: there is no such file or folder, and nothing is downloaded"),
            ("Qwen/Qwen3-8B", "`hf download Qwen/Qwen3-8B config.json`, and name that file; built in is 'qwen3-8b'"),
            ("no/where/else", "no/where/else: cannot be read: "),
            ("model.gguf", "model.gguf: a GGUF file is not supported: name the config.json of the model"),
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
