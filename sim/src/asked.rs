//! What was asked, as outputs say it: flags that were given, settings that differ from their defaults, and the program.

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use serde::Serialize;
use serde_json::Value;
use wafersim::answer::{Provenance, Question};
use wafersim::report::head::{Head, MadeBy, Override};
use wafersim::spec::scenario::SETTINGS;
use wafersim::spec::wafer::{DECLARATIONS, RateSet};
use wafersim::spec::{Model, Scenario, Wafer};

/// The program.
pub const MADE_BY: MadeBy = MadeBy { version: env!("CARGO_PKG_VERSION"), commit: option_env!("SIMCTL_COMMIT") };

/// Version and commit, for `--version`.
pub const VERSION: &str = env!("SIMCTL_VERSION");

/// Flags that say where an output goes or how it is kept, or which output is meant, not what is in it.
const HOW_ONLY: &[&str] = &[
    "brief",
    "format",
    "leave_out",
    "no_cache",
    "out",
    "picture",
    "pictures",
    "production",
    "resume",
    "save_mapping",
    "shard",
    "store",
    "trace_limit",
    "wafer_map",
    "waterfall",
    "width",
];

/// Flags of a scenario that are not called as their setting is.
const OTHERWISE_CALLED: &[&str] = &["clock", "kv", "model_file", "scenario", "sets"];

/// A flag that was given.
#[derive(Debug, Clone)]
struct Flag {
    id: String,
    said: Override,
}

/// What was given on the command line.
#[derive(Debug, Clone)]
pub struct Asked {
    command: String,
    flags: Vec<Flag>,
}

impl Asked {
    /// What the command line says, down to the innermost subcommand.
    pub fn of(root: &Command, matches: &ArgMatches) -> Self {
        let (mut command, mut matches, mut names) = (root, matches, Vec::new());
        while let Some((name, inner)) = matches.subcommand() {
            let Some(found) = command.find_subcommand(name) else { break };
            (command, matches) = (found, inner);
            names.push(name);
        }
        let given = command.get_arguments().filter_map(|argument| {
            let id = argument.get_id().as_str();
            let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
            // Elsewhere a trace is what is read.
            let is_written = id == "trace" && matches!(names.as_slice(), ["run" | "stream"]);
            if !is_given || is_written || HOW_ONLY.contains(&id) {
                return None;
            }
            let path = argument.get_long().map_or_else(|| id.to_uppercase(), |long| format!("--{long}"));
            let values = matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy());
            let value = values.collect::<Vec<_>>().join(",");
            // A switch has no values.
            let is_switch = !argument.get_action().takes_values();
            let default = argument.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
            let said = Override {
                path,
                value: if is_switch { Value::Bool(true) } else { value.into() },
                default: if is_switch { Value::Bool(false) } else { default.into() },
            };
            (said.value != said.default).then(|| Flag { id: id.to_owned(), said })
        });
        let flags = given.collect();
        Self { command: names.join(" "), flags }
    }

    /// For an output that is about no scenario, or that says itself what its scenario file does: every flag that was
    /// given.
    pub fn head(&self) -> Head {
        let flags = self.flags.iter().filter(|flag| flag.id != "scenario");
        Head::new(self.command.clone(), MADE_BY).with(flags.map(|flag| flag.said.clone()))
    }

    /// A command without flags, whose settings come from elsewhere.
    pub fn bare(command: &str) -> Self {
        Self { command: command.to_owned(), flags: Vec::new() }
    }

    /// With flags that are lists here, of which a scenario has one value: they are said as they were given.
    pub fn with_lists(&self, ids: &[&str]) -> Self {
        let listed = |flag: &Flag| match ids.contains(&flag.id.as_str()) {
            true => Flag { id: String::new(), said: flag.said.clone() },
            false => flag.clone(),
        };
        Self { command: self.command.clone(), flags: self.flags.iter().map(listed).collect() }
    }

    /// For an output about a scenario: what of it differs from the defaults, however it was said, and the flags that
    /// are no settings.
    pub fn about(&self, scenario: &Scenario, model: &Model) -> Head {
        let default = Scenario::default();
        let default = Scenario {
            // How a checkpoint is stored is nothing that was asked.
            precision: model.checkpoint.as_ref().map_or(default.precision, |stored| stored.precision),
            // A context that nobody asked for has shrunk to what the model was made for; a prompt is as long as it.
            context: if scenario.default_context { scenario.context } else { default.context },
            prompt: if scenario.prompt == scenario.context { scenario.prompt } else { default.prompt },
            wafer_overrides: scenario.wafer_overrides.clone(),
            ..default
        };
        let is_setting = |id: &str| {
            OTHERWISE_CALLED.contains(&id)
                || SETTINGS.iter().any(|setting| setting.path.rsplit('.').next().is_some_and(|last| last == id))
        };
        let others = self.flags.iter().filter(|flag| !is_setting(&flag.id)).map(|flag| flag.said.clone());
        Head::new(self.command.clone(), MADE_BY)
            .asking(scenario, &default)
            .with(changed_parameters(scenario))
            .with(others)
    }

    /// About a file of settings, all of which it gives or leaves to their defaults.
    pub fn file(&self, file: &impl Serialize) -> Head {
        let is_file = |flag: &&Flag| !OTHERWISE_CALLED.contains(&flag.id.as_str());
        let others = self.flags.iter().filter(is_file).map(|flag| flag.said.clone());
        Head::new(self.command.clone(), MADE_BY).asking(file, &Value::Null).with(others)
    }

    /// The same about a question, with its hash and its mapping.
    pub fn question(&self, question: &Question) -> Head {
        let mapping = question.mapping.as_ref().map(|mapping| mapping.name());
        self.about(&question.scenario, &question.model).with_mapping(mapping).with_input_hash(question.input_hash())
    }
}

/// Parameters of the wafer that were changed, the last value of each.
fn changed_parameters(scenario: &Scenario) -> Vec<Override> {
    let nominal = Wafer::from_name_or_path(&scenario.wafer).ok();
    let nominal = |path: &str| {
        let declared = DECLARATIONS.iter().find(|declared| declared.path == path)?;
        Some(nominal.as_ref()?.value(declared.key, RateSet::Silicon))
    };
    let mut changed: Vec<Override> = Vec::new();
    for (path, value) in &scenario.wafer_overrides {
        let default = nominal(path);
        let path = format!("wafer.{path}");
        changed.retain(|known| known.path != path);
        if default != Some(*value) {
            changed.push(Override { path, value: (*value).into(), default: default.into() });
        }
    }
    changed
}

/// The provenance of an answer with what this program knows of itself.
pub fn signed(provenance: Provenance) -> Provenance {
    Provenance { commit: MADE_BY.commit, ..provenance }
}
