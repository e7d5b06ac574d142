//! From what Python says to a question.

use pyo3::prelude::*;
use wafersim::answer::plan::Axes;
use wafersim::answer::{Question, Ranges, Sampling};
use wafersim::mapping::Mapping;
use wafersim::search::Effort;
use wafersim::spec::{Model, Scenario, ScenarioFile, Wafer};

use crate::{WafersimError, wrong};

/// A question as Python says it.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub struct Asked {
    /// Paths of settings with their values as text.
    settings: Vec<(String, String)>,
    /// Name of a built-in mapping, or the text of a mapping file.
    mapping: Option<String>,
    /// `quick`, `normal`, `thorough`, or `none`.
    search: Option<String>,
    /// `none`, `corner` or `sampled`.
    ranges: String,
    /// Draws of sampled ranges.
    samples: u32,
    /// Their seed.
    seed: u64,
}

impl Asked {
    /// The question.
    ///
    /// # Errors
    /// Where a setting does not exist or is out of its range, or a file cannot be read.
    pub fn question(&self) -> PyResult<Question> {
        let mut file = ScenarioFile::default();
        let (mut own_model, mut own_wafer) = (None, None);
        for (path, value) in &self.settings {
            let value = match path.as_str() {
                "model" if is_config(value) => &own_model.insert(model(value)?).name,
                "wafer" if is_text(value) => &own_wafer.insert(wafer(value)?).name,
                _ => value,
            };
            file.set(path, value).map_err(wrong)?;
        }
        let scenario = file.check("settings").map_err(wrong)?;
        let model = own_model.map_or_else(|| model(&scenario.model), Ok)?;
        let wafer = own_wafer.map_or_else(|| wafer(&scenario.wafer), Ok)?;
        let question = Question::new(scenario, model, wafer).map_err(wrong)?;
        let search = effort(self.search.as_deref())?;
        Ok(question.with_mapping(mapping(self.mapping.as_deref())?).searching(search))
    }

    /// The ranges.
    ///
    /// # Errors
    /// Where there are no such ranges.
    pub fn ranges(&self) -> PyResult<Ranges> {
        match self.ranges.as_str() {
            "none" => Ok(Ranges::None),
            "corner" => Ok(Ranges::Corner),
            "sampled" if Sampling::ALLOWED.contains(&self.samples) => {
                Ok(Ranges::Sampled(Sampling { samples: self.samples, seed: self.seed }))
            }
            "sampled" => {
                let (few, most) = (Sampling::ALLOWED.start(), Sampling::ALLOWED.end());
                Err(WafersimError::new_err(format!("samples is {}; allowed: from {few} to {most}", self.samples)))
            }
            other => Err(WafersimError::new_err(format!("ranges is '{other}'; allowed: none, corner, sampled"))),
        }
    }
}

/// What is the text of a config.json, and no name of one.
pub fn is_config(model: &str) -> bool {
    model.trim_start().starts_with('{')
}

/// What is text of several lines, and no name.
pub fn is_text(given: &str) -> bool {
    given.contains('\n')
}

/// A model by its name, its file, or the text of its config.json.
///
/// # Errors
/// Where there is no such model.
pub fn model(given: &str) -> PyResult<Model> {
    if !is_config(given) {
        return Model::from_name_or_path(given).map_err(wrong);
    }
    let named: Option<String> = serde_json::from_str(given)
        .ok()
        .and_then(|config: serde_json::Value| config.get("_name_or_path")?.as_str().map(str::to_owned));
    let name = named.filter(|name| !name.is_empty()).unwrap_or_else(|| "model".into());
    let mut model = Model::from_config_json(given, &name).map_err(wrong)?;
    model.name = name;
    Ok(model)
}

/// A wafer by its name, its file, or the text of one.
///
/// # Errors
/// Where there is no such wafer.
pub fn wafer(given: &str) -> PyResult<Wafer> {
    let wafer = if is_text(given) { Wafer::parse(given, "wafer", "wafer") } else { Wafer::from_name_or_path(given) };
    wafer.map_err(wrong)
}

/// A mapping by its name, its file, or the text of one.
///
/// # Errors
/// Where there is no such mapping.
pub fn mapping(given: Option<&str>) -> PyResult<Option<Mapping>> {
    Ok(match given {
        Some(text) if is_text(text) => Some(Mapping::parse(text, "mapping").map_err(wrong)?),
        Some(name) => Some(Mapping::from_name_or_path(name).map_err(wrong)?),
        None => None,
    })
}

/// How much is tried to find a mapping.
///
/// # Errors
/// Where the word is none of the four.
pub fn effort(word: Option<&str>) -> PyResult<Option<Effort>> {
    match word {
        None | Some("none") => Ok(None),
        Some("quick") => Ok(Some(Effort::Quick)),
        Some("normal") => Ok(Some(Effort::Normal)),
        Some("thorough") => Ok(Some(Effort::Thorough)),
        Some(other) => {
            Err(WafersimError::new_err(format!("search is '{other}'; allowed: none, quick, normal, thorough")))
        }
    }
}

/// Lists of a table, each value as text; an empty one is the scenario's own value.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub struct Lists {
    users: Vec<String>,
    context: Vec<String>,
    wafers: Vec<String>,
    weights: Vec<String>,
    kv_cache: Vec<String>,
    profile: Vec<String>,
    placement: Vec<String>,
}

impl Lists {
    /// The axes.
    ///
    /// # Errors
    /// Where a value is none of its setting.
    pub fn axes(&self, scenario: &Scenario) -> PyResult<Axes> {
        let own = Axes::of(scenario);
        Ok(Axes {
            users: values(&self.users, "users", |file| file.users, own.users)?,
            contexts: values(&self.context, "context", |file| file.context, own.contexts)?,
            wafers: values(&self.wafers, "wafers", |file| file.wafers, own.wafers)?,
            weights: values(&self.weights, "precision.weights", |file| file.precision.weights, own.weights)?,
            kv_caches: values(&self.kv_cache, "precision.kv_cache", |file| file.precision.kv_cache, own.kv_caches)?,
            profiles: values(&self.profile, "profile", |file| file.profile, own.profiles)?,
            placements: values(&self.placement, "placement", |file| file.placement, own.placements)?,
            prompt: None,
        })
    }
}

fn values<T>(
    texts: &[String],
    path: &str,
    value: impl Fn(&ScenarioFile) -> Option<T>,
    own: Vec<T>,
) -> PyResult<Vec<T>> {
    if texts.is_empty() {
        return Ok(own);
    }
    let mut values = Vec::with_capacity(texts.len());
    for text in texts {
        let mut file = ScenarioFile::default();
        file.set(path, text).map_err(wrong)?;
        values.extend(value(&file));
    }
    Ok(values)
}
