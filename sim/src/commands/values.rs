//! `simctl values`: a checkpoint computed as placed, against a reference.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use wafersim::carried::{self, Device, carry};
use wafersim::cost::{self, Rates, View};
use wafersim::mapping::recipe::DivisionRecipe;
use wafersim::mapping::{Inputs, KvRecipe, LayerMapping, Load, Mapping, Recipe, Resolved, Rewrite, Rewrites, resolve};
use wafersim::report;
use wafersim::report::values::{OnFabric, ValuesRun};
use wafersim::spec::scenario::{ExpertPlacement, Profile, RoutingModel, WaferCount};
use wafersim::spec::wafer::RateSet;
use wafersim::spec::{DataType, Model, Precision, Size, Wafer};
use wafersim::values::tensors::files_of_index;
use wafersim::values::{
    Checkpoint, Executed, Prefill, Record, RunInput, Setup, Tensors, Tolerance, ValuesError, compare, plain,
    random_prompt, run, run_observed,
};

use crate::asked::Asked;
use crate::choice::{arithmetic_types, placements, real_profiles};
use crate::failure::Failure;
use crate::files;
use crate::mapping_flags::MappingFlags;
use crate::out_flags::{Forms, HasPicture, OutFlags};
use crate::progress::Progress;

/// Largest side of the grid, and most processing elements: an interpreter holds them all in memory.
const LARGEST_SIDE: u64 = 1024;
const MOST_ELEMENTS: u64 = 1 << 16;
/// With numbers in wavelets: every router of every program is run.
const MOST_ON_FABRIC: u64 = 1 << 10;
/// Memory of a processing element: as much as there may be, since numbers are not asked whether they fit.
const PE_MEMORY: f64 = 1_073_741_824.0;
/// Largest config or index file.
const LARGEST_TEXT: u64 = 64 << 20;

/// Fusions of profile best.
const BEST: [Rewrite; 5] = [
    Rewrite::FusedNorms,
    Rewrite::OnlineSoftmax,
    Rewrite::SinglePassTopK,
    Rewrite::InterleavedGateUp,
    Rewrite::AccumulatorsInPlace,
];

/// Where the cache of a head lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KvLayoutName {
    /// A head's width over all columns of its block, its sequence over the rows (the published layout).
    Width,
    /// Its sequence over rows and columns.
    Sequence,
}

/// Which programs the prompt goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrefillName {
    /// Those of prefill, all tokens at once.
    Chunk,
    /// Those of decode, token by token.
    Tokens,
}

/// Flags of `values`.
#[derive(Debug, Args)]
pub struct ValuesFlags {
    /// Folder with config.json and model.safetensors, or the files of model.safetensors.index.json.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Columns x rows of the region of a layer.
    #[arg(long, value_name = "CxR", default_value = "8x8", allow_negative_numbers = true)]
    grid: String,
    /// Where experts lie [default: spread, or as the mapping says].
    #[arg(long, value_name = "PLACEMENT", value_parser = placements())]
    placement: Option<String>,
    /// What the columns of a KV head share.
    #[arg(long, value_enum, default_value_t = KvLayoutName::Width, conflicts_with = "mapping")]
    kv_layout: KvLayoutName,
    /// Whose kernels.
    #[arg(long, value_name = "PROFILE", default_value = "published", value_parser = real_profiles(), conflicts_with = "mapping")]
    profile: String,
    #[command(flatten)]
    mapping: MappingFlags,
    /// Which programs the prompt goes through.
    #[arg(long, value_enum, default_value_t = PrefillName::Chunk)]
    prefill: PrefillName,
    /// Format of weights, cache and activations.
    #[arg(long, value_name = "TYPE", default_value = "fp32", value_parser = arithmetic_types())]
    precision: String,
    /// Reference tensors (see the fixture's README); without it, the model's equations in 64 bit.
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Numbers of the prompt's tokens, without a reference [default: random ones].
    #[arg(long, value_name = "ID,ID,...", conflicts_with = "reference")]
    prompt: Option<String>,
    /// Length of a random prompt.
    #[arg(long, value_name = "TOKENS", default_value = "24", allow_negative_numbers = true)]
    prompt_tokens: String,
    /// Greedy decode steps, without a reference.
    #[arg(long, value_name = "STEPS", default_value = "8", allow_negative_numbers = true)]
    steps: String,
    /// Seed of the random prompt.
    #[arg(long, value_name = "SEED", default_value = "1", allow_negative_numbers = true)]
    seed: String,
    /// Tolerance, in fp32 of every element [default: 1e-4], in 16 bit of the relative error of each kind [default: 0.02
    /// in fp16, 0.2 in bf16, guesses both].
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    tolerance: Option<String>,
    /// Run every program a second time on the fabric of a WSE-3, its numbers carried by wavelets, and compare every
    /// buffer bit for bit.
    #[arg(long)]
    on_fabric: bool,
    #[command(flatten)]
    output: OutFlags,
}

/// Runs the model and compares.
pub fn execute(flags: &ValuesFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
    let (columns, rows) = grid(&flags.grid)?;
    if flags.on_fabric && columns * rows > MOST_ON_FABRIC {
        let allowed = format!("at most {MOST_ON_FABRIC} processing elements with --on-fabric, for example 32x32");
        return Err(wrong("--grid", &flags.grid, &allowed));
    }
    let data_type: DataType =
        flags.precision.parse().map_err(|_| wrong("--precision", &flags.precision, "fp32, fp16, bf16"))?;
    let tolerance = tolerance(flags, data_type)?;
    let (mapping, saved) = (mapping(flags)?, flags.mapping.open()?);
    let prompt_tokens = number(&flags.prompt_tokens, "--prompt-tokens", 1..=1 << 20)?;
    let steps = number(&flags.steps, "--steps", 0..=1 << 20)?;
    let seed = number(&flags.seed, "--seed", 0..=u64::MAX)?;
    let checkpoint = read_checkpoint(&flags.checkpoint)?;
    let precision = Precision {
        weights: data_type,
        small_weights: data_type,
        kv_cache: data_type,
        activations: data_type,
        ..Precision::default()
    };
    let reference = flags.reference.as_deref().map(read_reference).transpose()?;
    let (prompt, steps) = match (&reference, &flags.prompt) {
        (Some(reference), _) => (reference.prompt.clone(), reference.generated.len() as u64),
        (None, Some(text)) => (ids(text)?, steps),
        (None, None) => (random_prompt(checkpoint.model.vocabulary, prompt_tokens, seed), steps),
    };
    let on = OnGrid { columns, rows, context: prompt.len() as u64 + steps, precision };
    let (mappings, resolved) = on.mappings(&mapping, &checkpoint.model)?;
    let setup = Setup {
        mappings,
        prefill: match flags.prefill {
            PrefillName::Chunk => Prefill::Chunk,
            PrefillName::Tokens => Prefill::Tokens,
        },
        precision,
    };
    let (reference, name) = match (reference, &flags.reference) {
        (Some(reference), Some(file)) => (reference, file.display().to_string()),
        _ => (plain::run(&checkpoint, &prompt, steps)?, "the model's equations in 64 bit".to_owned()),
    };
    // Rounded runs choose differently now and then: they go on with the reference's tokens, so that the rest stays
    // comparable.
    let follow = (data_type != DataType::Fp32).then_some(reference.generated.as_slice());
    let input = RunInput { follow, ..RunInput::new(&prompt, steps) };
    let progress = Progress::start(prompt.len() as u64 + steps);
    let mut done = 0;
    let advance = |tokens: u64, _: u64| {
        (done..tokens).for_each(|_| progress.advance());
        done = done.max(tokens);
    };
    let (placed, carried) = if flags.on_fabric {
        let (placed, carried) = on_fabric(&checkpoint, &setup, input, advance);
        (placed, Some(carried))
    } else {
        (run(&checkpoint, &setup, input, advance), None)
    };
    progress.clear();
    let placed = placed?;
    let carried = carried.transpose()?;
    let comparison = compare(&placed, &reference, tolerance);
    saved.write(|| Ok(resolved))?;
    let placement = flags.placement.as_deref().unwrap_or(ExpertPlacement::Spread.name());
    let by = match (flags.mapping.is_given(), &flags.placement) {
        (false, _) => format!("experts {placement}, {}, profile {}", flags.precision, flags.profile),
        (true, None) => format!("{}, mapping {}", flags.precision, mapping.name()),
        (true, Some(placement)) => format!("experts {placement}, {}, mapping {}", flags.precision, mapping.name()),
    };
    let described = format!("{columns} x {rows} processing elements a layer, {by}");
    let mut result = ValuesRun::new(&checkpoint.model.name, (described, name), &placed, (comparison, tolerance));
    result.on_fabric = carried;
    let (text, json) = (|| Ok(report::values::text(&result)), || Ok(report::values::json(&result)?));
    let head = asked.head();
    out.write(Forms::new("values", &text, &json).asked(&head))?;
    match &result.on_fabric {
        _ if !result.within => Err(Failure::OutOfTolerance),
        Some(carried) if carried.different > 0 => Err(Failure::Different),
        _ => Ok(()),
    }
}

/// The mapping that was given, or what the other flags say as a recipe.
fn mapping(flags: &ValuesFlags) -> Result<Mapping, Failure> {
    let given = flags.mapping.mapping()?;
    let is_given = given.is_some();
    let mut mapping = given.unwrap_or_else(|| {
        let dimension_split = match flags.kv_layout {
            KvLayoutName::Width => Size::Share(10_000),
            KvLayoutName::Sequence => Size::Exactly(1),
        };
        let is_published = flags.profile == Profile::Published.name();
        Mapping::Recipe(Box::new(Recipe {
            name: flags.profile.clone(),
            rewrites: if is_published { Rewrites::NONE } else { BEST.into_iter().collect() },
            kv: KvRecipe { dimension_split, ..KvRecipe::default() },
            ..Recipe::default()
        }))
    });
    let pinned = flags.placement.as_deref().map(str::parse::<ExpertPlacement>).transpose();
    let pinned = pinned.map_err(|_| wrong("--placement", flags.placement.as_deref().unwrap_or(""), "a strategy"))?;
    match (&mut mapping, pinned) {
        (Mapping::Recipe(recipe), Some(placement)) => recipe.pin_experts(placement),
        (Mapping::Resolved(_), Some(placement)) if is_given => {
            let allowed = "no such flag beside a resolved mapping, or its recipe";
            return Err(wrong("--placement", placement.name(), allowed));
        }
        _ => {}
    }
    Ok(mapping)
}

/// A model's layers on a grid each, with room for everything.
struct OnGrid {
    columns: u64,
    rows: u64,
    context: u64,
    precision: Precision,
}

impl OnGrid {
    /// The mapping of each layer, and all of them with every number.
    fn mappings(&self, mapping: &Mapping, model: &Model) -> Result<(Vec<LayerMapping>, Resolved), Failure> {
        let mut wafer = Wafer::builtin("wse3")?;
        for (path, value) in [
            ("pe.memory", PE_MEMORY),
            ("pe.free_memory", PE_MEMORY),
            ("fabric.usable_columns", self.columns as f64),
            ("fabric.usable_rows", self.rows as f64),
        ] {
            wafer.set(path, value)?;
        }
        wafer.name = format!("wse3 of {} x {}", self.columns, self.rows);
        // A wafer for each layer and table, with one slot.
        let wafers = u32::try_from(model.layers.len()).unwrap_or(WaferCount::MOST).saturating_add(2);
        let load = Load {
            wafers: WaferCount::Exactly(wafers),
            users: 1,
            context: self.context,
            tokens_per_step: 1,
            precision: self.precision,
            routing: RoutingModel::Uniform,
        };
        let inputs = Inputs::new(model, &wafer, load);
        let resolved = match mapping {
            Mapping::Resolved(resolved) => (**resolved).clone(),
            Mapping::Recipe(recipe) => {
                let division = DivisionRecipe { slots: Size::Exactly(1), ..DivisionRecipe::default() };
                resolve(&Recipe { division, ..(**recipe).clone() }, inputs)?
            }
        };
        let mapped = resolved.mapped(inputs)?;
        let of_layer =
            |layer| mapped.placement.layout_index(layer).and_then(|layout| mapped.layers.get(layout)).cloned();
        Ok(((0..model.layers.len()).filter_map(of_layer).collect(), resolved))
    }
}

/// The run, and every program of it again with its numbers in wavelets.
fn on_fabric(
    checkpoint: &Checkpoint,
    setup: &Setup,
    input: RunInput<'_>,
    progress: impl FnMut(u64, u64),
) -> (Result<Record, ValuesError>, Result<OnFabric, Failure>) {
    let wafer = match Wafer::builtin("wse3") {
        Ok(wafer) => wafer,
        Err(error) => return (Ok(Record::default()), Err(error.into())),
    };
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let device =
        Device { wafer: &wafer, set: RateSet::Silicon, work_cycles: &|work| cost::formula::work(work, &rates) };
    let mut all = OnFabric::default();
    let mut failure = None;
    let mut observe = |executed: &Executed<'_>| {
        if failure.is_some() {
            return;
        }
        let program = &executed.prepared.program;
        match carry(executed.prepared, executed.before, (executed.tiles, executed.layer), &device) {
            Ok(carried) => {
                let agreement = carried::compare(program, executed.after, &carried.mesh);
                all.programs += 1;
                all.words += carried.outcome.tally.delivered;
                all.elements += agreement.elements;
                if all.first.is_empty() {
                    all.first = agreement.first.iter().map(|one| format!("{}: {one}", program.name)).collect();
                }
                all.different += agreement.different;
            }
            Err(error) => failure = Some(Failure::Carried { program: program.name.clone(), error }),
        }
    };
    let placed = run_observed(checkpoint, setup, input, progress, &mut observe);
    (placed, failure.map_or(Ok(all), Err))
}

fn wrong(flag: &str, written: &str, allowed: &str) -> Failure {
    Failure::Flag { flag: flag.to_owned(), problem: format!("is '{written}'"), allowed: allowed.to_owned() }
}

fn number(text: &str, flag: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, Failure> {
    let allowed = || format!("a whole number from {} to {}", range.start(), range.end());
    let parsed = text.trim().parse().ok().filter(|number| range.contains(number));
    parsed.ok_or_else(|| wrong(flag, text, &allowed()))
}

fn grid(text: &str) -> Result<(u64, u64), Failure> {
    let allowed = format!(
        "columns x rows, for example 8x8, each from 1 to {LARGEST_SIDE}, together at most {MOST_ELEMENTS} processing elements"
    );
    let side = |part: &str| part.trim().parse::<u64>().ok().filter(|side| (1..=LARGEST_SIDE).contains(side));
    let sides = text.split_once('x').and_then(|(columns, rows)| Some((side(columns)?, side(rows)?)));
    sides.filter(|(columns, rows)| columns * rows <= MOST_ELEMENTS).ok_or_else(|| wrong("--grid", text, &allowed))
}

fn tolerance(flags: &ValuesFlags, data_type: DataType) -> Result<Tolerance, Failure> {
    let standard = Tolerance::of_type(data_type);
    let Some(text) = &flags.tolerance else { return Ok(standard) };
    match text.trim().parse::<f64>() {
        Ok(given) if given.is_finite() && given >= 0.0 => Ok(standard.with(given)),
        _ => Err(wrong("--tolerance", text, "a number from 0 on")),
    }
}

fn ids(text: &str) -> Result<Vec<u64>, Failure> {
    let parsed: Result<Vec<u64>, _> = text.split(',').map(|id| id.trim().parse()).collect();
    parsed.map_err(|_| wrong("--prompt", text, "numbers of tokens with commas between them, for example 3,14,15"))
}

const CHECKPOINT: &str = "--checkpoint";

fn refuse(path: &Path, problem: impl Into<String>) -> Failure {
    Failure::Values(ValuesError::File { file: path.display().to_string(), problem: problem.into() })
}

fn read_bytes(by: &'static str, path: &Path) -> Result<Vec<u8>, Failure> {
    files::reads(by, path)?;
    if path.is_dir() {
        return Err(refuse(path, "is a directory"));
    }
    std::fs::read(path).map_err(|error| refuse(path, format!("cannot be read: {error}")))
}

/// Text beside the tensors of a checkpoint.
fn read_text(path: &Path) -> Result<String, Failure> {
    files::reads(CHECKPOINT, path)?;
    let file = File::open(path).map_err(|error| refuse(path, format!("cannot be read: {error}")))?;
    let mut bytes = Vec::new();
    file.take(LARGEST_TEXT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(path, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > LARGEST_TEXT {
        return Err(refuse(path, "is larger than 64 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| refuse(path, "is not UTF-8 text"))
}

fn read_checkpoint(folder: &Path) -> Result<Checkpoint, Failure> {
    if !folder.is_dir() {
        return Err(refuse(folder, "is no folder; --checkpoint names the folder of config.json and model.safetensors"));
    }
    let config_file = folder.join("config.json");
    let config = read_text(&config_file)?;
    let index = folder.join("model.safetensors.index.json");
    let names = if index.is_file() {
        files_of_index(&read_text(&index)?, &index.display().to_string())?
    } else {
        vec!["model.safetensors".to_owned()]
    };
    let files = names.into_iter().map(|name| {
        let path = folder.join(&name);
        Ok((path.display().to_string(), read_bytes(CHECKPOINT, &path)?))
    });
    let tensors = Tensors::read(files.collect::<Result<Vec<_>, Failure>>()?)?;
    Ok(Checkpoint::new(&config, &config_file.display().to_string(), tensors)?)
}

fn read_reference(file: &Path) -> Result<Record, Failure> {
    let name = file.display().to_string();
    let tensors = Tensors::read(vec![(name.clone(), read_bytes("--reference", file)?)])?;
    Ok(Record::of_reference(&tensors, &name)?)
}
