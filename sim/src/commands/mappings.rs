//! `simctl mappings`: the recipes that are built in, or one mapping by name or file, shown and checked.

use clap::{Args, ValueEnum};
use wafersim::answer::Question;
use wafersim::mapping::{Mapping, Rewrite, builtin, resolve};

use crate::failure::Failure;
use crate::output::Destination;
use crate::scenario_flags::ScenarioFlags;

/// What a mapping can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal.
    Text,
    /// As a mapping file.
    Toml,
    /// For programs.
    Json,
}

/// Flags of `mappings`.
#[derive(Debug, Args)]
pub struct MappingsFlags {
    /// Built-in name or path of a mapping file; a list of all built-in ones where left out.
    #[arg(value_name = "NAME|FILE")]
    mapping: Option<String>,
    /// Resolve it for a model, a wafer and a load (those of the scenario flags), and show every number.
    #[arg(long)]
    resolve: bool,
    #[command(flatten)]
    scenario: ScenarioFlags,
    /// How to write it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Lists the mappings, or shows one.
pub fn execute(flags: &MappingsFlags) -> Result<(), Failure> {
    let Some(name) = &flags.mapping else {
        let all: Vec<Mapping> = builtin::names().map(Mapping::from_name_or_path).collect::<Result<_, _>>()?;
        let text = match flags.format {
            Format::Text => all.iter().map(|mapping| line(mapping, 18)).collect(),
            Format::Toml => all.iter().map(Mapping::to_toml).collect::<Vec<_>>().join("\n"),
            Format::Json => format!("{:#}\n", serde_json::json!(all.iter().map(summary).collect::<Vec<_>>())),
        };
        return Destination::Stdout.write(&text);
    };
    let mut mapping = Mapping::from_name_or_path(name)?;
    if flags.resolve {
        let question = Question::load(flags.scenario.layers()?.check()?)?;
        mapping = match mapping {
            Mapping::Recipe(recipe) => Mapping::Resolved(Box::new(resolve(&recipe, question.inputs())?)),
            // A resolved one is checked against the model, the wafer and the load.
            Mapping::Resolved(resolved) => {
                resolved.mapped(question.inputs())?;
                Mapping::Resolved(resolved)
            }
        };
    }
    let text = match flags.format {
        Format::Text => shown(&mapping),
        Format::Toml => mapping.to_toml(),
        Format::Json => format!("{:#}\n", summary(&mapping)),
    };
    Destination::Stdout.write(&text)
}

fn line(mapping: &Mapping, width: usize) -> String {
    format!("  {:<width$}{}\n", mapping.name(), mapping.recipe().about)
}

fn shown(mapping: &Mapping) -> String {
    let recipe = mapping.recipe();
    let mut text = line(mapping, 0).replacen(mapping.name(), &format!("{}: ", mapping.name()), 1);
    text += &format!("  source: {}\n\n  Rewrites\n", recipe.source);
    for rewrite in Rewrite::ALL {
        let mark = if recipe.rewrites.has(rewrite) { "on " } else { "off" };
        text += &format!("    {mark} {:<22}{}\n", rewrite.name(), rewrite.meaning());
    }
    text + "\n" + &mapping.to_toml()
}

fn summary(mapping: &Mapping) -> serde_json::Value {
    let recipe = mapping.recipe();
    let kind = match mapping {
        Mapping::Recipe(_) => "recipe",
        Mapping::Resolved(_) => "resolved",
    };
    serde_json::json!({
        "name": mapping.name(),
        "kind": kind,
        "about": recipe.about,
        "source": recipe.source,
        "rewrites": recipe.rewrites,
        "toml": mapping.to_toml(),
    })
}
