//! CSV: one line per point, all figures in full, empty where there is none. What holds for the whole table stands in
//! every line, so that tables can be put together.

use wafersim_answer::plan::{Plan, PlanRow};
use wafersim_answer::{Corner, PrefillElsewhere, Ranges, Sampled, Spread};
use wafersim_stream::steady::Steady;

use super::WithRuns;
use super::columns::{swept, swept_value};
use crate::error::ReportError;
use crate::records::csv_text;

type Field = (&'static str, fn(&Plan, &PlanRow) -> String);

/// Name and value of each column. Numbers print so that they read back to the same bits.
const FIELDS: &[Field] = &[
    ("model", |plan, _| plan.model.clone()),
    ("wafer", |plan, _| plan.wafer.clone()),
    ("clock_ghz", |plan, _| plan.clock_ghz.to_string()),
    ("target", |plan, _| plan.target.to_string()),
    ("wafers_asked", |_, row| row.wafers_asked.to_string()),
    ("placement", |_, row| row.placement_name().to_owned()),
    ("weights", |_, row| row.weights_in_words().to_owned()),
    ("kv_cache", |_, row| row.kv_cache.name().to_owned()),
    ("profile", |_, row| row.profile.to_string()),
    ("context", |_, row| row.context.to_string()),
    ("users", |_, row| row.users.to_string()),
    ("fits", |_, row| row.fits.to_string()),
    ("wafers", |_, row| optional(row.wafers)),
    ("tokens_per_second_per_user", |_, row| optional(row.tokens_per_second_per_user)),
    ("tokens_per_second_total", |_, row| optional(row.tokens_per_second_total)),
    ("time_per_output_token_us", |_, row| optional(row.time_per_output_token_us)),
    ("time_to_first_token_ms", |_, row| optional(row.time_to_first_token_ms)),
    ("users_at_full_speed", |_, row| optional(row.users_at_full_speed)),
    ("max_users", |_, row| optional(row.max_users)),
    ("no_mapping_beats", |_, row| optional(row.no_mapping_beats)),
    ("no_mapping_beats_at_measured_rate", |_, row| optional(row.no_mapping_beats_at_measured_rate)),
    ("reaches_target", |_, row| row.reaches_target.to_string()),
    ("limit", |_, row| row.limit.clone()),
];

/// A figure of a part.
type PartField<T> = (&'static str, fn(&T) -> String);

/// What is said of prompts that are computed elsewhere, where any are.
const PREFILL_FIELDS: &[PartField<PrefillElsewhere>] = &[
    ("prefill_where", |prefill| prefill.place.to_string()),
    ("prefill_wafers", |prefill| prefill.wafers.to_string()),
    ("prefill_prompt_time_ms", |prefill| prefill.prompt_time_ms.to_string()),
    ("prefill_transfer_time_ms", |prefill| prefill.transfer_time_ms.to_string()),
    ("prefill_decode_time_ms", |prefill| prefill.decode_time_ms.to_string()),
];

const CORNER_FIELDS: &[PartField<Corner>] = &[
    ("tokens_per_second_per_user_low", |corner| corner.tokens_per_second_per_user.low.to_string()),
    ("tokens_per_second_per_user_high", |corner| corner.tokens_per_second_per_user.high.to_string()),
    ("time_to_first_token_ms_low", |corner| corner.time_to_first_token_ms.low.to_string()),
    ("time_to_first_token_ms_high", |corner| corner.time_to_first_token_ms.high.to_string()),
    ("fewest_wafers_low", |corner| optional(corner.fewest_wafers.low)),
    ("fewest_wafers_high", |corner| optional(corner.fewest_wafers.high)),
    ("max_users_low", |corner| optional(corner.max_users.low)),
    ("max_users_high", |corner| optional(corner.max_users.high)),
];

const SAMPLED_FIELDS: &[PartField<Sampled>] = &[
    ("tokens_per_second_per_user_p5", |sampled| sampled.p5.tokens_per_second_per_user.to_string()),
    ("tokens_per_second_per_user_p50", |sampled| sampled.p50.tokens_per_second_per_user.to_string()),
    ("tokens_per_second_per_user_p95", |sampled| sampled.p95.tokens_per_second_per_user.to_string()),
    ("time_to_first_token_ms_p5", |sampled| sampled.p5.time_to_first_token_ms.to_string()),
    ("time_to_first_token_ms_p50", |sampled| sampled.p50.time_to_first_token_ms.to_string()),
    ("time_to_first_token_ms_p95", |sampled| sampled.p95.time_to_first_token_ms.to_string()),
    ("fewest_wafers_p5", |sampled| optional(sampled.p5.fewest_wafers)),
    ("fewest_wafers_p50", |sampled| optional(sampled.p50.fewest_wafers)),
    ("fewest_wafers_p95", |sampled| optional(sampled.p95.fewest_wafers)),
    ("max_users_p5", |sampled| sampled.p5.max_users.to_string()),
    ("max_users_p50", |sampled| sampled.p50.max_users.to_string()),
    ("max_users_p95", |sampled| sampled.p95.max_users.to_string()),
    ("fit_probability", |sampled| sampled.fits.to_string()),
    ("target_probability", |sampled| sampled.probability.to_string()),
    ("target_probability_standard_error", |sampled| sampled.standard_error.to_string()),
];

/// The names of the columns for ranges.
fn range_names(ranges: Ranges) -> Vec<&'static str> {
    match ranges {
        Ranges::None => Vec::new(),
        Ranges::Corner => CORNER_FIELDS.iter().map(|(name, _)| *name).collect(),
        Ranges::Sampled(_) => SAMPLED_FIELDS.iter().map(|(name, _)| *name).collect(),
    }
}

/// What stands in them: nothing where a row does not fit.
fn range_values(ranges: Ranges, row: &PlanRow) -> Vec<String> {
    match &row.ranges {
        Some(Spread::Corner(corner)) => CORNER_FIELDS.iter().map(|(_, value)| value(corner)).collect(),
        Some(Spread::Sampled(sampled)) => SAMPLED_FIELDS.iter().map(|(_, value)| value(sampled)).collect(),
        None => vec![String::new(); range_names(ranges).len()],
    }
}

type RunField = (&'static str, fn(&Steady) -> f64);

/// What was run for a row: empty where nothing was.
const RUN_FIELDS: &[RunField] = &[
    ("stream_user_speed_p5", |run| run.user_speed.p5),
    ("stream_user_speed_p50", |run| run.user_speed.p50),
    ("stream_user_speed_p95", |run| run.user_speed.p95),
    ("stream_tokens_per_second_total", |run| run.tokens_per_second_total),
    ("stream_micro_batch", |run| run.micro_batch),
    ("stream_step_service_s", |run| run.step_parts.service),
    ("stream_step_stage_s", |run| run.step_parts.stage),
    ("stream_step_links_s", |run| run.step_parts.links),
];

/// The table for spreadsheets.
///
/// # Errors
/// None that a plan can cause.
pub fn csv(plan: &Plan) -> Result<String, ReportError> {
    written(plan, None)
}

/// The same with the columns of what was run.
///
/// # Errors
/// None that a plan can cause.
pub fn csv_with(with: WithRuns<'_>) -> Result<String, ReportError> {
    written(with.plan, Some(with.runs))
}

fn written(plan: &Plan, runs: Option<&[Option<Steady>]>) -> Result<String, ReportError> {
    let run_fields = if runs.is_some() { RUN_FIELDS } else { &[] };
    let swept: Vec<&str> = swept(plan).collect();
    // What is swept has a column of its own.
    let fields: Vec<&Field> = FIELDS.iter().filter(|(name, _)| !swept.contains(&setting_of(name))).collect();
    let is_elsewhere = plan.rows.iter().any(|row| row.prefill.is_some());
    let prefill_fields = if is_elsewhere { PREFILL_FIELDS } else { &[] };
    let names = swept
        .iter()
        .copied()
        .chain(fields.iter().map(|(name, _)| *name))
        .chain(prefill_fields.iter().map(|(name, _)| *name))
        .chain(range_names(plan.ranges))
        .chain(run_fields.iter().map(|(name, _)| *name));
    let lines = plan.rows.iter().enumerate().map(|(index, row)| {
        let run = runs.and_then(|runs| runs.get(index)?.as_ref());
        let record = swept.iter().map(|path| swept_value(row, path));
        let record = record.chain(fields.iter().map(|(_, value)| value(plan, row)));
        let record = record.chain(prefill_fields.iter().map(|(_, value)| optional(row.prefill.as_ref().map(value))));
        let record = record.chain(range_values(plan.ranges, row));
        record.chain(run_fields.iter().map(|(_, value)| optional(run.map(value)))).collect()
    });
    csv_text(std::iter::once(names.map(str::to_owned).collect()).chain(lines))
}

/// The setting that a column of what was asked shows.
fn setting_of(column: &str) -> &str {
    match column {
        "wafers_asked" => "wafers",
        "weights" => "precision.weights",
        "kv_cache" => "precision.kv_cache",
        // The wafers that were taken, not those that were asked for.
        "wafers" => "",
        other => other,
    }
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
