//! `simctl plan`: the capacity-planning table.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use wafersim::answer::plan::{Axes, Base, Plan, PlanRow, plan, sweep};
use wafersim::answer::rows::Rows;
use wafersim::answer::{Question, Ranges, resolved_mapping};
use wafersim::decide::money::Economics;
use wafersim::decide::several::{OneMachine, Several};
use wafersim::mapping::hash;
use wafersim::report;
use wafersim::report::head::Head;
use wafersim::report::number::whole;
use wafersim::report::plan::WithRuns;
use wafersim::spec::{Model, Scenario, Wafer};
use wafersim::stream::steady::{Steady, steady_each};

use crate::asked::Asked;
use crate::commands::run::STREAM_SEED;
use crate::failure::Failure;
use crate::layers::Layers;
use crate::mapping_flags::MappingFlags;
use crate::out_flags::{Forms, HasPicture, Out, OutFlags};
use crate::output::say;
use crate::pages;
use crate::plan_axes::{AxisFlags, MOST_POINTS};
use crate::progress::Progress;
use crate::range_flags::RangeFlags;
use crate::scenario_flags::ScenarioFlags;
use crate::store_flags::{InRows, ShardFlags, StoreFlags, row_key};
use crate::sweep_flags::SweepFlags;

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
    sweep: SweepFlags,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    shard: ShardFlags,
    #[command(flatten)]
    ranges: RangeFlags,
    /// How the rows are made.
    #[arg(long, value_enum, default_value_t = PlanFidelity::ClosedForm)]
    fidelity: PlanFidelity,
    /// So many machines of each row that fits: users, tokens, power and money of all, in text and JSON.
    #[arg(long, value_name = "MACHINES", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    machines: Option<u32>,
    #[command(flatten)]
    output: OutFlags,
}

/// Flags of the axes of a table.
const AXES: &[&str] = &["users", "context", "wafers", "weights", "kv", "profile", "placement"];

/// Answers every point of the table.
pub fn execute(flags: &PlanFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::Yes)?;
    let ranges = flags.ranges.ranges()?;
    if matches!(ranges, Ranges::Sampled(_)) && flags.fidelity == PlanFidelity::Stream {
        return Err(Failure::Flag {
            flag: "--ranges".into(),
            problem: "is 'sampled', and the p5 and p50 of --fidelity stream are others: of users, not of draws".into(),
            allowed: "none or corner with --fidelity stream".into(),
        });
    }
    let layers = flags.scenario.layers()?;
    let mut scenario = layers.check()?;
    let model = Model::from_name_or_path(&scenario.model)?;
    scenario.fit_default_precision(&model);
    if flags.axes.says_weights() {
        // A list of formats is of all matrices.
        scenario.precision = scenario.precision.with_weights(scenario.precision.weights);
    }
    let wafer = Wafer::from_name_or_path(&scenario.wafer)?;
    flags.sweep.check_beside(flags.axes.listed())?;
    if flags.sweep.sweeps("prompt") {
        return Err(Failure::Flag {
            flag: "--sweep".into(),
            problem: "sweeps 'prompt', and in a plan every prompt is as long as the context".into(),
            allowed: "simctl run --sweep prompt=...".into(),
        });
    }
    let bases = match flags.sweep.is_given() {
        true => flags.sweep.bases(&layers, |layers, scenario| flags.axes.axes(layers, scenario, None))?,
        false => {
            let axes = flags.axes.axes(&layers, &scenario, Some(&model))?;
            vec![Base { swept: Vec::new(), scenario: scenario.clone(), mapping: None, axes }]
        }
    };
    let Some(first) = bases.first() else { return Ok(()) };
    let points = bases.len().saturating_mul(first.axes.points());
    if points > MOST_POINTS {
        let problem = format!("and the lists make {} points", whole(points as u64));
        let allowed = format!("at most {} points", whole(MOST_POINTS as u64));
        return Err(Failure::Flag { flag: "--sweep".into(), problem, allowed });
    }
    if flags.sweep.is_given() && flags.fidelity == PlanFidelity::Stream {
        let allowed = "without --fidelity stream".into();
        return Err(Failure::Flag { flag: "--sweep".into(), problem: "is of rows in closed form".into(), allowed });
    }
    let several = flags.machines.map(u64::from);
    if several.is_some() && (flags.fidelity == PlanFidelity::Stream || flags.sweep.sweeps("wafer")) {
        let problem = "counts machines of one wafer's rows in closed form".into();
        let allowed = "without --fidelity stream and --sweep wafer=...".into();
        return Err(Failure::Flag { flag: "--machines".into(), problem, allowed });
    }
    let saved = flags.mapping.open()?;
    if flags.mapping.is_saved() && points != 1 {
        return Err(Failure::Flag {
            flag: "--save-mapping".into(),
            problem: format!("saves the mapping of one point, and the table has {points}"),
            allowed: "a plan of one point".into(),
        });
    }
    let shard = flags.shard.shard()?;
    let alone =
        [("--fidelity stream", flags.fidelity == PlanFidelity::Stream), ("--save-mapping", flags.mapping.is_saved())];
    if let Some((other, _)) = alone.into_iter().find(|(_, is_given)| shard.is_some() && *is_given) {
        let (problem, allowed) = ("is of rows in closed form".into(), format!("without {other}"));
        return Err(Failure::Flag { flag: "--shard".into(), problem, allowed });
    }
    let base = flags.mapping.ask_many(Question::new(scenario.clone(), model, wafer)?)?;
    say_what_is_ignored(&layers);
    // What is no question is refused before there is a row.
    for Base { scenario, axes, .. } in bases.iter().filter(|one| one.scenario.model == scenario.model) {
        axes.scenarios(scenario).iter().try_for_each(|point| point.check_against(&base.model))?;
    }
    let head = asked.with_lists(AXES).question(&base);
    let store = flags.store.open(|| in_rows(flags, &base, &bases, ranges))?;
    let kept = store.part::<PlanRow>(0..points)?;
    let is_wanted = |place: usize| {
        let (grid, place) = (place / first.axes.points().max(1), place % first.axes.points().max(1));
        // Rows of a point are one part's business; each grid has as many points at most as rows.
        shard.is_none_or(|shard| shard.has(grid * first.axes.points() + first.axes.point_at(place)))
    };
    let progress = Progress::start(kept.missing_of(is_wanted));
    let finished = |place: usize, row: &PlanRow| {
        kept.keep(place, row)?;
        progress.advance();
        Ok::<_, Failure>(())
    };
    let known = |place| kept.known(place);
    let rows = Rows::new(&known, &finished).only(&is_wanted);
    let table = match flags.sweep.is_given() {
        true => sweep(&base, &bases, ranges, &rows),
        false => plan(&base, &first.axes, ranges, &rows),
    };
    let table = table.inspect_err(|_| progress.clear())?;
    progress.finish();
    if let Some(shard) = shard {
        return shard.done(store, table.rows.len(), points);
    }
    if let Some(point) = first.axes.scenarios(&first.scenario).into_iter().next() {
        saved.write(|| Ok(resolved_mapping(&base.asking(point)?)?))?;
    }
    if flags.fidelity == PlanFidelity::Stream {
        let scenarios = first.axes.scenarios(&scenario).into_iter().zip(&table.rows);
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
        let (text, json) = (|| Ok(report::plan::text_with(with)), || Ok(report::plan::json_with(with)?));
        let forms = Forms::new("plan", &text, &json).asked(&head);
        let (markdown, csv) = (|| Ok(report::plan::markdown_with(with)), || Ok(report::plan::csv_with(with)?));
        let page = |data| Ok(pages::plan(&table, Some(&base.wafer), data, head.text(report::plan::text_with(with))));
        let drawn = |kind| pages::plan_picture(&table, kind);
        return out.write(forms.markdown(&markdown).csv(&csv).document(&page).picture(&drawn));
    }
    store.close()?;
    let several = several.map(|machines| of_rows(&table, &base.wafer, machines)).unwrap_or_default();
    let wafer = Some(&base.wafer).filter(|_| flags.sweep.keeps_prices());
    written(&table, wafer, &several, &head, out)
}

/// So many machines of each row that fits.
fn of_rows(table: &Plan, wafer: &Wafer, machines: u64) -> Vec<Several> {
    let of_row = |row: &PlanRow| {
        let (wafers, tokens_per_second) = row.wafers_in_all().map(u64::from).zip(row.tokens_per_second_total)?;
        let each = OneMachine { wafers, users: row.users, tokens_per_second };
        Some(Several::of(wafer, &Economics::default(), each, machines))
    };
    table.rows.iter().filter_map(of_row).collect()
}

/// Writes a table in closed form, and below it what several machines of its rows come to; `wafer`: that of all rows.
pub fn written(table: &Plan, wafer: Option<&Wafer>, several: &[Several], head: &Head, out: Out) -> Result<(), Failure> {
    let all = || report::plan::text(table) + &report::several::machines(several);
    let text = || Ok(all());
    let json = || match several {
        [] => Ok(report::plan::json(table)?),
        several => Ok(report::several::with_key(&report::plan::json(table)?, "machines", &several)?),
    };
    let (markdown, csv) = (|| Ok(report::plan::markdown(table)), || Ok(report::plan::csv(table)?));
    let page = |data| Ok(pages::plan(table, wafer, data, head.text(all())));
    let drawn = |kind| pages::plan_picture(table, kind);
    let forms = Forms::new("plan", &text, &json).asked(head);
    out.write(forms.markdown(&markdown).csv(&csv).document(&page).picture(&drawn))
}

fn say_what_is_ignored(layers: &Layers) {
    if layers.merged().prompt.is_some() {
        say("note: the setting 'prompt' is left aside: in a plan every prompt is as long as the context");
    }
}

/// The rows of the table, and after them, where they are wanted, their runs event by event.
fn in_rows(flags: &PlanFlags, base: &Question, bases: &[Base], ranges: Ranges) -> Result<InRows, Failure> {
    let axes: Vec<&Axes> = bases.iter().map(|base| &base.axes).collect();
    let mapping = base.mapping.as_ref().map(|mapping| hash::of(&mapping.to_toml()));
    let same = hash::of(&(&base.model, &base.wafer, &base.draft, &mapping, base.search, ranges));
    let mut keys = Vec::with_capacity(axes.iter().map(|axes| axes.points()).sum());
    for Base { swept, scenario, mapping, axes } in bases {
        let mapping = mapping.as_ref().map(|mapping| hash::of(&mapping.to_toml()));
        for scenario in axes.scenarios(scenario) {
            let inputs = (&same, &scenario);
            let named = |scenario: &Scenario| (scenario.model.clone(), scenario.wafer.clone());
            let read = match named(&scenario) == named(&base.scenario) {
                true => None,
                // What is read by another name than the base's.
                false => Some(Question::load(scenario.clone())?.input_hash()),
            };
            keys.push(match swept.is_empty() {
                true => row_key(&inputs, &scenario),
                false => row_key(&(inputs, &mapping, read), &scenario),
            });
        }
    }
    let axes = axes.first();
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
    if flags.sweep.is_given() {
        words["sweep"] = json!(flags.sweep.texts());
    }
    if flags.fidelity == PlanFidelity::Stream {
        words["fidelity"] = json!("stream");
        words["seed"] = json!(STREAM_SEED);
        let runs: Vec<String> = keys.iter().map(|key| hash::of(&(key, "stream", STREAM_SEED))).collect();
        keys.extend(runs);
    }
    Ok(InRows { command: "plan", words, keys })
}
