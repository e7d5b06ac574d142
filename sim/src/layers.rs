//! What was asked, layer on layer: defaults, the scenario file, flags, `--set`. Each lies on the one before it.

use std::path::Path;

use wafersim::spec::{Scenario, ScenarioFile, SpecError};

use crate::failure::Failure;
use crate::files;

/// The layers as they were given.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// Name of the scenario file in messages.
    pub source: String,
    /// What the file says.
    pub file: ScenarioFile,
    /// What the flags say.
    pub flags: ScenarioFile,
    /// What `--set` says.
    pub sets: ScenarioFile,
}

impl Layers {
    /// Reads the scenario file, where there is one, and the `--set path=value` texts.
    pub fn read(scenario: Option<&Path>, sets: &[String]) -> Result<Self, Failure> {
        let mut layers = Self { source: "command line".into(), ..Self::default() };
        if let Some(path) = scenario {
            layers.source = path.display().to_string();
            files::reads("SCENARIO.toml", path)?;
            layers.file = ScenarioFile::read(path)?;
        }
        for set in sets {
            let (path, value) = set.split_once('=').ok_or_else(|| Failure::Flag {
                flag: "--set".into(),
                problem: format!("'{set}' has no '='"),
                allowed: "path=value, for example --set users=8 (`simctl settings` lists the paths)".into(),
            })?;
            let (path, value) = (path.trim(), value.trim());
            layers.sets.set(path, value)?;
        }
        Ok(layers)
    }

    /// Sets a flag's value, where it was given, by the rules of its setting.
    pub fn flag(&mut self, flag: &str, path: &str, value: Option<&str>) -> Result<(), Failure> {
        let Some(value) = value else { return Ok(()) };
        set(&mut self.flags, flag, path, value)
    }

    /// Whether any of them says anything.
    pub fn is_given(&self) -> bool {
        self.merged() != ScenarioFile::default()
    }

    /// All layers as one.
    pub fn merged(&self) -> ScenarioFile {
        self.file.clone().merge(self.flags.clone()).merge(self.sets.clone())
    }

    /// The question, with the defaults under all layers.
    pub fn check(&self) -> Result<Scenario, Failure> {
        let merged = self.merged();
        let draft = merged.speculation.draft_model.as_ref();
        for (by, name) in [("model", merged.model.as_ref()), ("wafer", merged.wafer.as_ref()), ("draft_model", draft)] {
            name.map_or(Ok(()), |name| files::reads_named(by, name))?;
        }
        Ok(merged.check(&self.source)?)
    }
}

/// Sets one setting from a flag; what is wrong is said in terms of the flag.
pub fn set(file: &mut ScenarioFile, flag: &str, path: &str, value: &str) -> Result<(), Failure> {
    file.set(path, value.trim()).map_err(|error| match error {
        SpecError::Field { allowed, .. } => {
            Failure::Flag { flag: flag.into(), problem: format!("is '{value}'"), allowed }
        }
        other => other.into(),
    })
}
