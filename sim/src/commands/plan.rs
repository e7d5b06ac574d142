//! `simctl plan`: the capacity-planning table.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use wafersim::answer::plan::{Axes, PlanRow, plan};
use wafersim::answer::rows::Rows;
use wafersim::answer::{Question, Ranges, resolved_mapping};
use wafersim::mapping::hash;
use wafersim::report;
use wafersim::report::number::{plural, whole};
use wafersim::report::plan::WithRuns;
use wafersim::spec::{Model, Wafer};
use wafersim::stream::steady::{Steady, steady_each};

use crate::asked::Asked;
use crate::commands::run::STREAM_SEED;
use crate::failure::Failure;
use crate::layers::Layers;
use crate::mapping_flags::MappingFlags;
use crate::output::{Destination, say};
use crate::plan_axes::AxisFlags;
use crate::progress::Progress;
use crate::range_flags::RangeFlags;
use crate::scenario_flags::ScenarioFlags;
use crate::store_flags::{InRows, StoreFlags, row_key};

/// What a table can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal.
    Table,
    /// For documents.
    Markdown,
    /// For spreadsheets: all figures in full.
    Csv,
    /// For programs: all figures in full.
    Json,
}

/// How rows are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PlanFidelity {
    /// Formulas.
    ClosedForm,
    /// Formulas for a pass, and every user's tokens event by event: columns for a slow user and the median one.
    Stream,
}

/// Flags of `plan`.
#[derive(Debug, Args)]
pub struct PlanFlags {
    #[command(flatten)]
    scenario: ScenarioFlags,
    #[command(flatten)]
    axes: AxisFlags,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    store: StoreFlags,
    /// Computes one of several parts of the rows, for example 2/4, into a store of its own, and prints no table;
    /// `simctl results merge` puts the parts together.
    #[arg(long, value_name = "I/N", requires = "store", conflicts_with_all = ["out", "format", "save_mapping"])]
    shard: Option<String>,
    #[command(flatten)]
    ranges: RangeFlags,
    /// How the rows are made.
    #[arg(long, value_enum, default_value_t = PlanFidelity::ClosedForm)]
    fidelity: PlanFidelity,
    /// How to write the table.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// File to write to instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Flags of the axes of a table.
const AXES: &[&str] = &["users", "context", "wafers", "weights", "kv", "profile", "placement"];

/// Answers every point of the table.
pub fn execute(flags: &PlanFlags, asked: &Asked) -> Result<(), Failure> {
    let destination = Destination::open(flags.out.as_deref())?;
    let ranges = flags.ranges.ranges()?;
    if matches!(ranges, Ranges::Sampled(_)) && flags.fidelity == PlanFidelity::Stream {
        return Err(Failure::Flag {
            flag: "--ranges".into(),
            problem: "is 'sampled', and the p5 and p50 of --fidelity stream are others: of users, not of draws".into(),
            allowed: "none or corner with --fidelity stream".into(),
        });
    }
    let layers = flags.scenario.layers()?;
    let scenario = layers.check()?;
    let model = Model::from_name_or_path(&scenario.model)?;
    let wafer = Wafer::from_name_or_path(&scenario.wafer)?;
    let axes = flags.axes.axes(&layers, &scenario, &model)?;
    let saved = flags.mapping.open()?;
    if flags.mapping.is_saved() && axes.points() != 1 {
        return Err(Failure::Flag {
            flag: "--save-mapping".into(),
            problem: format!("saves the mapping of one point, and the table has {}", axes.points()),
            allowed: "a plan of one point".into(),
        });
    }
    let shard = flags.shard.as_deref().map(Shard::parse).transpose()?;
    if shard.is_some() && flags.fidelity == PlanFidelity::Stream {
        let allowed = "without --fidelity stream".into();
        return Err(Failure::Flag { flag: "--shard".into(), problem: "is of rows in closed form".into(), allowed });
    }
    let base = flags.mapping.ask_many(Question::new(scenario.clone(), model, wafer)?)?;
    say_what_is_ignored(&layers);
    // What is no question is refused before there is a row.
    axes.scenarios(&scenario).iter().try_for_each(|point| point.check_against(&base.model))?;
    let head = asked.with_lists(AXES).question(&base);
    let store = flags.store.open(|| in_rows(&base, &axes, flags.fidelity, ranges))?;
    let points = axes.points();
    let kept = store.part::<PlanRow>(0..points)?;
    let is_wanted = |place: usize| shard.is_none_or(|shard| shard.has(axes.point_at(place)));
    let missing = (0..points).filter(|place| is_wanted(*place) && !kept.is_known(*place)).count();
    let progress = Progress::start(missing as u64);
    let finished = |place: usize, row: &PlanRow| {
        kept.keep(place, row)?;
        progress.advance();
        Ok::<_, Failure>(())
    };
    let known = |place| kept.known(place);
    let table = plan(&base, &axes, ranges, &Rows::new(&known, &finished).only(&is_wanted));
    let table = table.inspect_err(|_| progress.clear())?;
    progress.finish();
    if let Some(shard) = shard {
        let rows = plural(table.rows.len() as u64, "row");
        say(&format!("shard {} of {}: {rows} of {}", shard.part, shard.parts, whole(points as u64)));
        return store.close();
    }
    if let Some(point) = axes.scenarios(&scenario).into_iter().next() {
        saved.write(|| Ok(resolved_mapping(&base.asking(point)?)?))?;
    }
    if flags.fidelity == PlanFidelity::Stream {
        let scenarios = axes.scenarios(&scenario).into_iter().zip(&table.rows);
        let scenarios: Vec<_> = scenarios.map(|(scenario, row)| row.fits.then_some(scenario)).collect();
        let kept = store.part::<Option<Steady>>(points..2 * points)?;
        let progress = Progress::start(kept.missing());
        let finished = |place: usize, run: &Option<Steady>| {
            kept.keep(place, run)?;
            progress.advance();
            Ok::<_, Failure>(())
        };
        let runs = steady_each(&base, scenarios, STREAM_SEED, &Rows::new(&|place| kept.known(place), &finished));
        let runs = runs.inspect_err(|_| progress.clear())?;
        progress.finish();
        store.close()?;
        let with = WithRuns { plan: &table, runs: &runs };
        return destination.write(&match flags.format {
            Format::Table => head.text(report::plan::text_with(with)),
            Format::Markdown => head.markdown(report::plan::markdown_with(with)),
            Format::Csv => head.csv(&report::plan::csv_with(with)?)?,
            Format::Json => head.json(&report::plan::json_with(with)?)?,
        });
    }
    store.close()?;
    let text = match flags.format {
        Format::Table => head.text(report::plan::text(&table)),
        Format::Markdown => head.markdown(report::plan::markdown(&table)),
        Format::Csv => head.csv(&report::plan::csv(&table)?)?,
        Format::Json => head.json(&report::plan::json(&table)?)?,
    };
    destination.write(&text)
}

fn say_what_is_ignored(layers: &Layers) {
    if layers.merged().prompt.is_some() {
        say("note: the setting 'prompt' is left aside: in a plan every prompt is as long as the context");
    }
}

/// One of several parts of a plan. Points are dealt to parts in turn, so that each has as many of the long ones.
#[derive(Debug, Clone, Copy)]
struct Shard {
    /// From 1.
    part: usize,
    parts: usize,
}

impl Shard {
    fn parse(text: &str) -> Result<Self, Failure> {
        let numbers = text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
        match numbers {
            Some((part, parts)) if (1..=parts).contains(&part) => Ok(Self { part, parts }),
            _ => Err(Failure::Flag {
                flag: "--shard".into(),
                problem: format!("is '{text}'"),
                allowed: "a part and the number of parts, 1/4 to 4/4 for example".into(),
            }),
        }
    }

    const fn has(self, point: usize) -> bool {
        point % self.parts == self.part - 1
    }
}

/// The rows of the table, and after them, where they are wanted, their runs event by event.
fn in_rows(base: &Question, axes: &Axes, fidelity: PlanFidelity, ranges: Ranges) -> Result<InRows, Failure> {
    let mapping = base.mapping.as_ref().map(|mapping| hash::of(&mapping.to_toml()));
    let same = hash::of(&(&base.model, &base.wafer, &base.draft, &mapping, base.search, ranges));
    let mut keys = Vec::with_capacity(axes.points());
    for scenario in axes.scenarios(&base.scenario) {
        keys.push(row_key(&(&same, &scenario), &scenario));
    }
    let mut words =
        json!({ "axes": axes, "search": base.search, "ranges": ranges, "mapping": mapping, "scenario": base.scenario });
    if let Some(scenario) = words.get_mut("scenario").and_then(Value::as_object_mut) {
        for varied in ["wafers", "users", "context", "prompt", "profile", "placement"] {
            scenario.remove(varied);
        }
        if let Some(precision) = scenario.get_mut("precision").and_then(Value::as_object_mut) {
            precision.retain(|data, _| data != "weights" && data != "kv_cache");
        }
    }
    if fidelity == PlanFidelity::Stream {
        words["fidelity"] = json!("stream");
        words["seed"] = json!(STREAM_SEED);
        let runs: Vec<String> = keys.iter().map(|key| hash::of(&(key, "stream", STREAM_SEED))).collect();
        keys.extend(runs);
    }
    Ok(InRows { command: "plan", words, keys })
}
