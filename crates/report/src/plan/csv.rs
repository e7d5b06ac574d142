//! CSV: one line per point, all figures in full, empty where there is none. What holds for the whole table stands in
//! every line, so that tables can be put together.

use csv::WriterBuilder;
use wafersim_answer::plan::{Plan, PlanRow};

use crate::error::ReportError;

type Field = (&'static str, fn(&Plan, &PlanRow) -> String);

/// Name and value of each column. Numbers print so that they read back to the same bits.
const FIELDS: &[Field] = &[
    ("model", |plan, _| plan.model.clone()),
    ("wafer", |plan, _| plan.wafer.clone()),
    ("clock_ghz", |plan, _| plan.clock_ghz.to_string()),
    ("target", |plan, _| plan.target.to_string()),
    ("wafers_asked", |_, row| row.wafers_asked.to_string()),
    ("placement", |_, row| row.placement.to_string()),
    ("weights", |_, row| row.weights.name().to_owned()),
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
    ("max_users", |_, row| optional(row.max_users)),
    ("reaches_target", |_, row| row.reaches_target.to_string()),
    ("limit", |_, row| row.limit.clone()),
];

/// The table for spreadsheets.
///
/// # Errors
/// None that a plan can cause.
pub fn csv(plan: &Plan) -> Result<String, ReportError> {
    let wrong = |reason: String| ReportError::Format { format: "CSV", reason };
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(FIELDS.iter().map(|(name, _)| *name)).map_err(|error| wrong(error.to_string()))?;
    for row in &plan.rows {
        let record = FIELDS.iter().map(|(_, value)| value(plan, row));
        writer.write_record(record).map_err(|error| wrong(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
