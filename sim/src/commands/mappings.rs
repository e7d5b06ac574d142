//! `simctl mappings`: the recipes that are built in, or one mapping by name or file, shown and checked.

use clap::{Args, ValueEnum};
use wafersim::answer::Question;
use wafersim::mapping::{Certificate, CertificateState, Mapping, Rewrite, builtin, random_recipe_for, resolve};
use wafersim::report;

use crate::asked::Asked;
use crate::choice;
use crate::failure::Failure;
use crate::layers::Layers;
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
    /// Draw a random recipe that can be resolved for the model, the wafer and the load.
    #[arg(long, value_name = "SEED", conflicts_with = "mapping", allow_negative_numbers = true)]
    random: Option<u64>,
    /// Resolve it for a model, a wafer and a load, and show every number; so does any flag that names one of them.
    #[arg(long)]
    resolve: bool,
    #[command(flatten)]
    scenario: ScenarioFlags,
    /// Wafers to use: a number, or `auto` for the fewest that suffice.
    #[arg(long, value_name = "auto|N", allow_negative_numbers = true)]
    wafers: Option<String>,
    /// Users served at the same time.
    #[arg(long, value_name = "USERS", allow_negative_numbers = true)]
    users: Option<String>,
    /// Tokens in each user's KV cache (32k is 32768).
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    context: Option<String>,
    /// Data type of weights.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    weights: Option<String>,
    /// Data type of the KV cache.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    kv: Option<String>,
    /// How to write it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Lists the mappings, or shows one.
pub fn execute(flags: &MappingsFlags, asked: &Asked) -> Result<(), Failure> {
    let Some(mut mapping) = mapping(flags)? else {
        let all: Vec<Mapping> = builtin::names().map(Mapping::from_name_or_path).collect::<Result<_, _>>()?;
        let text = match flags.format {
            Format::Text => all.iter().map(|mapping| line(mapping, 18)).collect(),
            Format::Toml => all.iter().map(Mapping::to_toml).collect::<Vec<_>>().join("\n"),
            Format::Json => {
                let list = serde_json::json!({ "mappings": all.iter().map(summary).collect::<Vec<_>>() });
                asked.head().json(&format!("{list:#}\n"))?
            }
        };
        return Destination::Stdout.write(&text);
    };
    let layers = layers(flags)?;
    if flags.resolve || (flags.random.is_none() && layers.is_given()) {
        let question = Question::load(layers.check()?)?;
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
        Format::Json => asked.head().json(&format!("{:#}\n", summary(&mapping)))?,
    };
    Destination::Stdout.write(&text)
}

/// What the flags say of model, wafer and load.
fn layers(flags: &MappingsFlags) -> Result<Layers, Failure> {
    let mut layers = flags.scenario.layers()?;
    for (flag, path, value) in [
        ("--wafers", "wafers", &flags.wafers),
        ("--users", "users", &flags.users),
        ("--context", "context", &flags.context),
        ("--weights", "precision.weights", &flags.weights),
        ("--kv", "precision.kv_cache", &flags.kv),
    ] {
        layers.flag(flag, path, value.as_deref())?;
    }
    Ok(layers)
}

/// The mapping that was asked for, if one was.
fn mapping(flags: &MappingsFlags) -> Result<Option<Mapping>, Failure> {
    if let Some(name) = &flags.mapping {
        return Ok(Some(Mapping::from_name_or_path(name)?));
    }
    let Some(seed) = flags.random else { return Ok(None) };
    let question = Question::load(layers(flags)?.check()?)?;
    let drawn = random_recipe_for(seed, question.inputs());
    drawn.map(|recipe| Some(Mapping::Recipe(Box::new(recipe)))).ok_or_else(|| Failure::Flag {
        flag: "--random".into(),
        problem: format!("{seed}: no drawn recipe can be resolved"),
        allowed: "another model, wafer or load".into(),
    })
}

fn line(mapping: &Mapping, width: usize) -> String {
    format!("  {:<width$}{}\n", mapping.name(), mapping.recipe().about)
}

fn shown(mapping: &Mapping) -> String {
    let recipe = mapping.recipe();
    let mut text = line(mapping, 0).replacen(mapping.name(), &format!("{}: ", mapping.name()), 1);
    text += &format!("  source: {}\n\n  Rewrites\n", recipe.source);
    let width = Rewrite::ALL.map(|rewrite| rewrite.name().len()).into_iter().max().unwrap_or(0) + 2;
    for rewrite in Rewrite::ALL {
        let mark = if recipe.rewrites.has(rewrite) { "on " } else { "off" };
        text += &format!("    {mark} {:<width$}{}\n", rewrite.name(), rewrite.meaning());
    }
    if let Mapping::Resolved(resolved) = mapping {
        let changed = resolved.certificate.is_some() && resolved.certificate().state == CertificateState::None;
        text += "\n";
        text += &report::certificate::text(&resolved.certificate());
        text += if changed { "  The mapping was changed after it was certified.\n" } else { "" };
    }
    text + "\n" + &mapping.to_toml()
}

fn summary(mapping: &Mapping) -> serde_json::Value {
    let recipe = mapping.recipe();
    let kind = match mapping {
        Mapping::Recipe(_) => "recipe",
        Mapping::Resolved(_) => "resolved",
    };
    let certificate = match mapping {
        Mapping::Recipe(_) => Certificate::default(),
        Mapping::Resolved(resolved) => resolved.certificate(),
    };
    serde_json::json!({
        "name": mapping.name(),
        "kind": kind,
        "about": recipe.about,
        "source": recipe.source,
        "rewrites": recipe.rewrites,
        "certificate": certificate,
        "toml": mapping.to_toml(),
    })
}
