//! `simctl plan`: the capacity-planning table.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use wafersim::answer::plan::plan;
use wafersim::answer::{Question, Ranges, resolved_mapping};
use wafersim::report;
use wafersim::report::plan::WithRuns;
use wafersim::spec::{Model, Wafer};
use wafersim::stream::steady::steady_each;

use crate::commands::run::STREAM_SEED;
use crate::failure::Failure;
use crate::layers::Layers;
use crate::mapping_flags::MappingFlags;
use crate::output::{Destination, say};
use crate::plan_axes::AxisFlags;
use crate::progress::Progress;
use crate::range_flags::{RangeFlags, RangesFlag};
use crate::scenario_flags::ScenarioFlags;

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

/// Answers every point of the table.
pub fn execute(flags: &PlanFlags) -> Result<(), Failure> {
    let destination = Destination::open(flags.out.as_deref())?;
    let ranges = flags.ranges.ranges(RangesFlag::None)?;
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
    let base = flags.mapping.ask_many(Question::new(scenario.clone(), model, wafer)?)?;
    say_what_is_ignored(&layers);
    let progress = Progress::start(axes.points() as u64);
    let table = plan(&base, &axes, ranges, || progress.advance()).inspect_err(|_| progress.clear())?;
    progress.finish();
    if let Some(point) = axes.scenarios(&scenario).into_iter().next() {
        saved.write(|| Ok(resolved_mapping(&base.asking(point)?)?))?;
    }
    if flags.fidelity == PlanFidelity::Stream {
        let scenarios = axes.scenarios(&scenario).into_iter().zip(&table.rows);
        let scenarios: Vec<_> = scenarios.map(|(scenario, row)| row.fits.then_some(scenario)).collect();
        let progress = Progress::start(scenarios.len() as u64);
        let runs =
            steady_each(&base, scenarios, STREAM_SEED, || progress.advance()).inspect_err(|_| progress.clear())?;
        progress.finish();
        let with = WithRuns { plan: &table, runs: &runs };
        return destination.write(&match flags.format {
            Format::Table => report::plan::text_with(with),
            Format::Markdown => report::plan::markdown_with(with),
            Format::Csv => report::plan::csv_with(with)?,
            Format::Json => report::plan::json_with(with)?,
        });
    }
    let text = match flags.format {
        Format::Table => report::plan::text(&table),
        Format::Markdown => report::plan::markdown(&table),
        Format::Csv => report::plan::csv(&table)?,
        Format::Json => report::plan::json(&table)?,
    };
    destination.write(&text)
}

fn say_what_is_ignored(layers: &Layers) {
    if layers.merged().prompt.is_some() {
        say("note: the setting 'prompt' is left aside: in a plan every prompt is as long as the context");
    }
}
