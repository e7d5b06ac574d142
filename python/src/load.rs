//! From what Python says to a load, and to the system that is to be sized for it.

use std::fs;

use pyo3::prelude::*;
use wafersim::answer::{Question, Stop};
use wafersim::decide::money::Economics;
use wafersim::decide::size::levels::Level;
use wafersim::decide::size::usual::{AGENTS, with_context};
use wafersim::decide::size::{Asked as Load, Growth};
use wafersim::mapping::Mapping;
use wafersim::spec::Scenario;
use wafersim::stream::scenario::{StreamFile, StreamScenario};

use crate::question::{effort, is_config, is_text, mapping, model, wafer};
use crate::{WafersimError, wrong};

/// A load as Python says it.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub struct Loaded {
    /// The text of a stream scenario; coding agents where there is none.
    scenario: Option<String>,
    /// Settings on top, by their paths.
    sets: Vec<(String, String)>,
    /// Name of a mapping, or its text.
    mapping: Option<String>,
    /// `quick`, `normal`, `thorough`, or `none`.
    pub search: Option<String>,
}

/// What is promised, and assumed, of the system for a load.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub struct System {
    /// Service levels by name, with their bounds as text.
    levels: Vec<(String, String)>,
    /// Tokens of a session when it begins, or of a prompt.
    context: Option<u32>,
    /// Users who share an account of a plan.
    organisation: u32,
    seeds: u32,
    availability: f64,
    growth: Option<f64>,
    months: u32,
    price_kwh: Option<f64>,
    occupancy: Option<f64>,
    years: Option<f64>,
}

impl Loaded {
    /// The scenario with all settings.
    ///
    /// # Errors
    /// Where it is none, or a setting does not exist.
    pub fn file(&self) -> PyResult<StreamFile> {
        let mut file = StreamFile::parse(self.scenario.as_deref().unwrap_or(AGENTS), "scenario").map_err(wrong)?;
        for (path, value) in &self.sets {
            let name = match path.as_str() {
                "machine.model" if is_config(value) => model(value)?.name,
                "machine.wafer" if is_text(value) => wafer(value)?.name,
                _ => value.clone(),
            };
            file = file.with("set", path, &name).map_err(wrong)?;
        }
        Ok(file)
    }

    /// The machine with its model and wafer: those that were made in Python, or what the scenario names.
    ///
    /// # Errors
    /// Where a model or a wafer cannot be read.
    pub fn question(&self, machine: Scenario) -> PyResult<Question> {
        let last = |path: &str| self.sets.iter().rev().find(|(set, _)| set == path).map(|(_, value)| value.as_str());
        let own_model = last("machine.model").filter(|text| is_config(text)).map(model).transpose()?;
        let own_wafer = last("machine.wafer").filter(|text| is_text(text)).map(wafer).transpose()?;
        let model = own_model.map_or_else(|| model(&machine.model), Ok)?;
        let wafer = own_wafer.map_or_else(|| wafer(&machine.wafer), Ok)?;
        Question::new(machine, model, wafer).map_err(wrong)
    }

    /// A scenario whose values have been checked.
    ///
    /// # Errors
    /// Where a value is out of its range, or the plan that it names cannot be read.
    pub fn checked(&self, mut file: StreamFile) -> PyResult<StreamScenario> {
        let is_file = |plan: &&String| plan.ends_with(".toml") || plan.contains(['/', '\\']);
        if let Some(plan) = file.service.plan.as_ref().filter(is_file) {
            let read = fs::read_to_string(plan);
            file.plan_text = Some(read.map_err(|error| WafersimError::new_err(format!("{plan}: {error}")))?);
        }
        file.check("scenario").map_err(wrong)
    }

    /// The mapping.
    ///
    /// # Errors
    /// Where there is no such mapping.
    pub fn mapping(&self) -> PyResult<Option<Mapping>> {
        mapping(self.mapping.as_deref())
    }

    /// What is asked of a system for it.
    ///
    /// # Errors
    /// Where a value is none that can be used.
    pub fn to_size(&self, system: &System) -> PyResult<Load> {
        let outside = |what: &str, value: f64, allowed: &str| {
            Err(WafersimError::new_err(format!("{what} is {value}; allowed: {allowed}")))
        };
        let System { organisation, seeds, availability, growth, months, .. } = *system;
        if !(1..=100).contains(&seeds) {
            return outside("seeds", f64::from(seeds), "1 to 100");
        }
        if !(0.0..=0.999_999_9).contains(&availability) {
            return outside("availability", availability, "a number from 0 to 0.9999999");
        }
        if let Some(growth) = growth.filter(|growth| !(-0.5..=10.0).contains(growth)) {
            return outside("growth", growth, "a number from -0.5 to 10");
        }
        if !(1..=240).contains(&months) {
            return outside("months", f64::from(months), "1 to 240");
        }
        if !(1..=1_000_000).contains(&organisation) {
            return outside("organisation", f64::from(organisation), "1 to 1000000");
        }
        let levels = system.levels.iter().map(|(name, bound)| Level::named(name, bound).map_err(wrong));
        let levels = levels.collect::<PyResult<Vec<_>>>()?;
        if levels.is_empty() {
            return Err(WafersimError::new_err(
                "service levels are missing; allowed: at least one, for example ttft_p95='1s' or speed_p5=300",
            ));
        }
        if let Some((path, _)) = self.sets.iter().find(|(path, value)| match path.as_str() {
            "machine.model" => is_config(value),
            "machine.wafer" => is_text(value),
            _ => false,
        }) {
            let allowed = "allowed here: a name or a file; answer, plan and stream take one that was made in Python";
            return Err(WafersimError::new_err(format!("{path} is text; {allowed}")));
        }
        let mut file = self.file()?;
        if let Some(context) = system.context {
            with_context(&mut file, context).map_err(wrong)?;
        }
        if let (Some(_), None, Some(users)) = (&file.service.plan, file.clients.organisations, file.load.users) {
            file.clients.organisations = Some(users.div_ceil(organisation));
        }
        let window = file.run.window;
        let mut scenario = self.checked(file)?;
        // Windows are as long as users are few, where nothing is said.
        scenario.window = window;
        let economics = Economics::with(system.price_kwh, system.occupancy, system.years).map_err(wrong)?;
        Ok(Load {
            scenario,
            // A load that is a trace is refused.
            requests: None,
            levels,
            mapping: self.mapping()?,
            search: effort(self.search.as_deref())?,
            seeds,
            availability,
            growth: growth.map(|per_month| Growth { per_month, months }),
            economics,
            stop: Stop::default(),
        })
    }
}
