//! `simctl graph`: the model's operators and what flows between them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use wafersim::answer::{Question, resolved_mapping};
use wafersim::graph::{GraphError, LayerGraph, LayerLoad, OperatorGraph, PassLoad};
use wafersim::mapping::Mapping;
use wafersim::spec::{Model, Scenario, Wafer};

use crate::asked::Asked;
use crate::choice;
use crate::failure::Failure;
use crate::files;
use crate::layers::Layers;
use crate::model_flags::ModelFlags;
use crate::output::Destination;

/// What a graph can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For Graphviz: `simctl graph --layer 0 | dot -Tsvg`.
    Dot,
    /// For programs.
    Json,
}

/// Which half of inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Phase {
    /// Each token belongs to a user of its own.
    Decode,
    /// The tokens are a chunk of one prompt.
    Prefill,
}

/// Flags of `graph`.
#[derive(Debug, Args)]
pub struct GraphFlags {
    #[command(flatten)]
    model: ModelFlags,
    /// Data type of weights.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    weights: Option<String>,
    /// Data type of the KV cache.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    kv: Option<String>,
    /// Only this layer, counted from 0; the whole model where left out.
    #[arg(long, value_name = "N")]
    layer: Option<usize>,
    /// Which half of inference.
    #[arg(long, value_enum, default_value_t = Phase::Decode)]
    phase: Phase,
    /// Tokens that go through together.
    #[arg(long, value_name = "TOKENS", default_value = "1", allow_negative_numbers = true)]
    tokens: String,
    /// Tokens in the cache.
    #[arg(long, value_name = "TOKENS", default_value = "32k", allow_negative_numbers = true)]
    context: String,
    /// Mapping whose rewrites are made: a built-in recipe (see `simctl mappings`), or path of a recipe or a resolved
    /// mapping. Shows the operators of one layer as programs are written from them.
    #[arg(long, value_name = "NAME|FILE", requires = "layer")]
    mapping: Option<String>,
    /// File for that mapping with every number: resolved for the model, the context and the default wafer.
    #[arg(long, value_name = "FILE", requires = "mapping")]
    save_mapping: Option<PathBuf>,
    /// How to write the graph [default: by the ending of --out, dot otherwise].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// File to write to instead of stdout; .dot and .json say how.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl GraphFlags {
    /// The form that is asked for; an ending that says another than the flag is refused.
    fn format(&self) -> Result<Format, Failure> {
        let ending = self.out.as_deref().and_then(Path::extension);
        let by_ending = match ending.and_then(OsStr::to_str) {
            Some("json") => Some(Format::Json),
            Some("dot" | "gv") => Some(Format::Dot),
            _ => None,
        };
        match (self.format, by_ending) {
            (Some(asked), Some(other)) if asked != other => Err(Failure::Flag {
                flag: "--format".into(),
                problem: format!("is {}, and the ending of --out says {}", asked.name(), other.name()),
                allowed: format!("a file whose name ends in .{}, or no --format", asked.name()),
            }),
            (asked, by_ending) => Ok(asked.or(by_ending).unwrap_or(Format::Dot)),
        }
    }
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Dot => "dot",
            Self::Json => "json",
        }
    }
}

/// Builds the graph and writes it.
pub fn execute(flags: &GraphFlags, asked: &Asked) -> Result<(), Failure> {
    let format = flags.format()?;
    let destination = Destination::open(flags.out.as_deref())?;
    let saved = flags.save_mapping.as_deref();
    let saved = saved.map(|path| Destination::open_for("--save-mapping", path)).transpose()?;
    let mut layers = Layers::default();
    flags.model.apply(&mut layers)?;
    layers.flag("--weights", "precision.weights", flags.weights.as_deref())?;
    layers.flag("--kv", "precision.kv_cache", flags.kv.as_deref())?;
    // Contexts and chunks have the same limits as the settings of their kind.
    layers.flag("--context", "context", Some(&flags.context))?;
    layers.flag("--tokens", "prompt", Some(&flags.tokens))?;
    let mut scenario = layers.check()?;
    let model = Model::from_name_or_path(&scenario.model)?;
    scenario.fit_default_precision(&model);
    scenario.check_against(&model)?;
    if let Some(name) = &flags.mapping {
        files::reads_named("--mapping", name)?;
        let mapping = Mapping::from_name_or_path(name)?;
        let text = rewritten((flags, format), &mapping, &model, &scenario)?;
        let head = asked.about(&scenario, &model).with_mapping(Some(mapping.name()));
        let text = if format == Format::Json { head.json(&text)? } else { text };
        if let Some(file) = saved {
            let question = question(&model, &scenario)?.with_mapping(Some(mapping));
            file.write(&resolved_mapping(&question)?.to_toml())?;
        }
        return destination.write(&text);
    }
    let load = match flags.phase {
        Phase::Decode => PassLoad::decode(scenario.prompt, scenario.context),
        Phase::Prefill => PassLoad::prefill(scenario.prompt, scenario.context),
    };
    let graph = match flags.layer {
        Some(layer) => OperatorGraph::of_layer(&model, layer, load, &scenario.precision)?,
        None => OperatorGraph::of_model(&model, load, &scenario.precision)?,
    };
    let text = match format {
        Format::Dot => graph.to_dot(),
        Format::Json => asked.about(&scenario, &model).json(&format!("{:#}\n", graph.to_json()))?,
    };
    destination.write(&text)
}

fn question(model: &Model, scenario: &Scenario) -> Result<Question, Failure> {
    Ok(Question::new(scenario.clone(), model.clone(), Wafer::from_name_or_path(&scenario.wafer)?)?)
}

/// A layer with the rewrites of a mapping.
fn rewritten(
    (flags, format): (&GraphFlags, Format),
    mapping: &Mapping,
    model: &Model,
    scenario: &Scenario,
) -> Result<String, Failure> {
    let number = flags.layer.unwrap_or(0);
    let Some(layer) = model.layers.get(number) else {
        return Err(GraphError::LayerOutOfRange {
            model: model.name.clone(),
            layer: number,
            layers: model.layers.len(),
        }
        .into());
    };
    let rewrites = match mapping {
        Mapping::Recipe(recipe) => recipe.rewrites,
        Mapping::Resolved(resolved) => resolved.rewrites_of(number as u64, question(model, scenario)?.inputs())?,
    };
    let (tokens, context) = (scenario.prompt, scenario.context);
    let context = match flags.phase {
        Phase::Decode => context.max(tokens),
        Phase::Prefill => context.saturating_add(tokens),
    };
    let graph = LayerGraph::new(layer, model.hidden, LayerLoad { tokens, context }).rewritten(rewrites);
    let title =
        format!("{} layer {number}, {tokens} tokens, context {context}, mapping {}", model.name, mapping.name());
    Ok(match format {
        Format::Dot => graph.to_dot(&title),
        Format::Json => format!("{:#}\n", graph.to_json(&title)),
    })
}
