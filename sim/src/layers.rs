//! What was asked, layer on layer: defaults, the scenario file, flags, `--set`. Each lies on the one before it.

use std::path::{Path, PathBuf};

use wafersim::spec::scenario::{Popularity, RoutingModel};
use wafersim::spec::{Model, Scenario, ScenarioFile, SpecError};

use crate::commands::routing::read_counts;
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
    /// The file that says how often each expert was chosen.
    pub counted: Option<PathBuf>,
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

    /// Sets how tokens choose experts: by name, or by a file.
    pub fn routing(&mut self, value: Option<&str>) -> Result<(), Failure> {
        match value.map(Chosen::new).transpose()? {
            Some(Chosen::Named(name)) => set(&mut self.flags, ROUTING, "routing", name),
            Some(Chosen::Counted(path)) => {
                self.counted = Some(path);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether any of them says anything.
    pub fn is_given(&self) -> bool {
        self.merged() != ScenarioFile::default() || self.counted.is_some()
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
        let mut scenario = merged.check(&self.source)?;
        if let Some(file) = &self.counted {
            scenario.counted = counted(file, &scenario)?;
        }
        Ok(scenario)
    }
}

/// What `--routing` names.
#[derive(Debug)]
pub enum Chosen<'a> {
    /// A model of routing.
    Named(&'a str),
    /// A file that says how often each expert was chosen.
    Counted(PathBuf),
}

const ROUTING: &str = "--routing";

impl<'a> Chosen<'a> {
    /// By name, or by a file that is there.
    pub fn new(value: &'a str) -> Result<Self, Failure> {
        let value = value.trim();
        if value.parse::<RoutingModel>().is_ok() {
            return Ok(Self::Named(value));
        }
        let path = Path::new(value);
        if path.exists() {
            return Ok(Self::Counted(path.to_owned()));
        }
        Err(Failure::Flag {
            flag: ROUTING.into(),
            problem: format!("is '{value}', and there is no such file"),
            allowed: format!("{}, or a file with counts or tokens", RoutingModel::NAMES.join(", ")),
        })
    }
}

/// How popular the experts of a scenario's model are by a file.
pub fn counted(file: &Path, scenario: &Scenario) -> Result<Option<Popularity>, Failure> {
    let counts = read_counts(ROUTING, file, &Model::from_name_or_path(&scenario.model)?)?;
    Ok(Popularity::counted(&counts.layers, file.display().to_string()))
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
