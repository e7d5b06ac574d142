//! Which columns the table has: what was asked where it varies, then what came out.

use wafersim_answer::plan::{Plan, PlanRow};
use wafersim_answer::{Range, Ranges, Spread};
use wafersim_spec::scenario::WaferCount;
use wafersim_stream::steady::Steady;

use crate::grid::Side;
use crate::number::{NOTHING, duration, figure, users, whole};

/// Columns that are left out where the table would be too wide, in this order.
pub(super) const DISPENSABLE: [&str; 6] = ["at most", "per token", "first", "holds", "at full", "limit"];

/// Longest text of what limits a point in the table; CSV and JSON have it whole.
const LONGEST_LIMIT: usize = 24;

/// What the short titles mean.
const LEGEND: &str = "context: tokens in each user's KV cache and of the prompt; tok/s: each user's; at most: what no mapping beats; in all: of \
    all users together; per token: time per output token; first: time to the first token of a prompt on an idle \
    machine; at full: users whom this arrangement serves without slowing any; holds: users whose KV cache the wafers hold \
    in any arrangement; target: whether each user's tok/s reach it; limit: what takes \
    most of the time.";

const LEGEND_OF_RUNS: &str = "; p5, p50: tok/s of a slow user and of the median one, event by event, prompts aside.";

const LEGEND_OF_CORNER: &str =
    "; low, high: each user's tok/s with all that is not known at its slow and at its fast end.";

const LEGEND_OF_SAMPLED: &str =
    "; p5, p95: each user's tok/s that 5 and 95 % of the draws of all that is not known do not exceed.";

/// What the short titles mean, with or without those of ranges and of what was run.
pub(super) fn legend(ranges: Ranges, with_runs: bool) -> String {
    let of_ranges = match ranges {
        Ranges::None => None,
        Ranges::Corner => Some(LEGEND_OF_CORNER),
        Ranges::Sampled(_) => Some(LEGEND_OF_SAMPLED),
    };
    let more = of_ranges.into_iter().chain(with_runs.then_some(LEGEND_OF_RUNS));
    more.fold(LEGEND.to_owned(), |legend, more| format!("{}{more}", legend.trim_end_matches('.')))
}

/// Titles of the columns for the ends of ranges.
const fn of_ranges(ranges: Ranges) -> Option<[&'static str; 2]> {
    match ranges {
        Ranges::None => None,
        Ranges::Corner => Some(["low", "high"]),
        Ranges::Sampled(_) => Some(["p5", "p95"]),
    }
}

/// The ends of each user's speed.
fn speeds(spread: &Spread) -> Range {
    match spread {
        Spread::Corner(corner) => corner.tokens_per_second_per_user,
        Spread::Sampled(sampled) => {
            Range { low: sampled.p5.tokens_per_second_per_user, high: sampled.p95.tokens_per_second_per_user }
        }
    }
}

/// What was asked, apart from users and context: left out of the table where it is the same everywhere.
#[derive(Debug, Clone, Copy)]
struct Asked {
    title: &'static str,
    cell: fn(&PlanRow) -> String,
}

const ASKED: [Asked; 5] = [
    Asked { title: "asked", cell: |row| row.wafers_asked.to_string() },
    Asked { title: "experts", cell: |row| row.placement_name().to_owned() },
    Asked { title: "weights", cell: |row| row.weights_in_words().to_owned() },
    Asked { title: "KV cache", cell: |row| row.kv_cache.name().to_owned() },
    Asked { title: "profile", cell: |row| row.profile.to_string() },
];

/// The columns of a plan's table.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    swept: Vec<String>,
    varying: Vec<Asked>,
    ranges: Ranges,
}

impl Columns {
    /// Those that this plan needs.
    pub fn of(plan: &Plan) -> Self {
        // Users and context always have columns.
        let swept = swept(plan).filter(|path| !matches!(*path, "users" | "context"));
        let swept: Vec<String> = swept.map(str::to_owned).collect();
        // What is swept has a column already.
        let is_shown = |asked: &Asked| varies(plan, asked) && !swept.iter().any(|path| path == path_of(asked));
        let varying = ASKED.into_iter().filter(is_shown).collect();
        Self { swept, varying, ranges: plan.ranges }
    }

    /// What is the same in all rows, in words.
    pub fn same_in_all_rows(&self, plan: &Plan) -> Vec<String> {
        let Some(row) = plan.rows.first() else { return Vec::new() };
        let same = ASKED.iter().filter(|asked| !varies(plan, asked));
        same.map(|asked| match asked.title {
            "asked" => match row.wafers_asked {
                WaferCount::Auto => "wafers auto".to_owned(),
                WaferCount::Fewest => "fewest wafers".to_owned(),
                WaferCount::Exactly(count) => format!("{count} wafers"),
            },
            title => format!("{title} {}", (asked.cell)(row)),
        })
        .collect()
    }

    /// What tells a row from the others, users and context aside: `weights fp8`.
    pub fn of_row(&self, row: &PlanRow) -> Vec<String> {
        self.varying.iter().map(|asked| format!("{} {}", asked.title, (asked.cell)(row))).collect()
    }

    /// The header.
    pub fn titles(&self, with_runs: bool) -> Vec<(&str, Side)> {
        let ends =
            of_ranges(self.ranges).map_or_else(Vec::new, |titles| titles.map(|title| (title, Side::Right)).into());
        let asked = self.varying.iter().map(|asked| (asked.title, Side::Left));
        let first = [("context", Side::Right), ("users", Side::Right), ("wafers", Side::Right), ("tok/s", Side::Right)];
        let runs: &[_] = if with_runs { &[("p5", Side::Right), ("p50", Side::Right)] } else { &[] };
        let rest = [
            ("at most", Side::Right),
            ("in all", Side::Right),
            ("per token", Side::Right),
            ("first", Side::Right),
            ("at full", Side::Right),
            ("holds", Side::Right),
            ("target", Side::Left),
            ("limit", Side::Left),
        ];
        let swept = self.swept.iter().map(|path| (path.as_str(), Side::Right));
        swept.chain(asked).chain(first).chain(ends).chain(runs.iter().copied()).chain(rest).collect()
    }

    /// One row; where runs were asked for, with its own.
    pub fn cells(&self, row: &PlanRow, run: Option<Option<&Steady>>) -> Vec<String> {
        let mut cells: Vec<String> = self.swept.iter().map(|path| swept_value(row, path)).collect();
        cells.extend(self.varying.iter().map(|asked| (asked.cell)(row)));
        let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.into());
        let seconds = |value: Option<f64>, scale: f64| or_nothing(value.map(|value| duration(value * scale)));
        cells.extend([
            whole(row.context),
            whole(row.users),
            or_nothing(row.wafers.filter(|_| row.fits).map(|wafers| whole(u64::from(wafers)))),
            or_nothing(row.tokens_per_second_per_user.map(figure)),
        ]);
        if of_ranges(self.ranges).is_some() {
            let ends = row.ranges.as_ref().map(speeds);
            cells.push(or_nothing(ends.map(|ends| figure(ends.low))));
            cells.push(or_nothing(ends.map(|ends| figure(ends.high))));
        }
        if let Some(run) = run {
            cells.push(or_nothing(run.map(|run| figure(run.user_speed.p5))));
            cells.push(or_nothing(run.map(|run| figure(run.user_speed.p50))));
        }
        cells.extend([
            or_nothing(row.no_mapping_beats.map(figure)),
            or_nothing(row.tokens_per_second_total.map(figure)),
            seconds(row.time_per_output_token_us, 1e-6),
            seconds(row.time_to_first_token_ms, 1e-3),
            or_nothing(row.users_at_full_speed.map(users)),
            or_nothing(row.max_users.map(users)),
            reached(row).into(),
            limit(row),
        ]);
        cells
    }
}

/// Paths of what was swept.
pub(super) fn swept(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.rows.first().into_iter().flat_map(|row| &row.swept).map(|swept| swept.path.as_str())
}

/// The value of what was swept, as it was written.
pub(super) fn swept_value(row: &PlanRow, path: &str) -> String {
    let value = row.swept.iter().find(|swept| swept.path == path);
    value.map_or_else(|| NOTHING.into(), |swept| swept.value.clone())
}

/// The setting that a column shows.
fn path_of(asked: &Asked) -> &'static str {
    match asked.title {
        "asked" => "wafers",
        "experts" => "placement",
        "weights" => "precision.weights",
        "KV cache" => "precision.kv_cache",
        other => other,
    }
}

fn varies(plan: &Plan, asked: &Asked) -> bool {
    let first = plan.rows.first().map(asked.cell);
    plan.rows.iter().any(|row| Some((asked.cell)(row)) != first)
}

const fn reached(row: &PlanRow) -> &'static str {
    match (row.fits, row.reaches_target) {
        (false, _) => NOTHING,
        (true, true) => "yes",
        (true, false) => "no",
    }
}

/// What binds, in a few words: up to the first bracket or stop of the sentence.
fn limit(row: &PlanRow) -> String {
    if !row.fits {
        return match row.wafers {
            Some(wafers) => format!("does not fit, {} would", whole(u64::from(wafers))),
            None => "fits no wafers".into(),
        };
    }
    let end = [" (", ":", ";", ","].iter().filter_map(|mark| row.limit.find(mark)).min().unwrap_or(row.limit.len());
    let words = &row.limit[..end];
    if words.chars().count() <= LONGEST_LIMIT {
        words.to_owned()
    } else {
        words.chars().take(LONGEST_LIMIT - 3).chain("...".chars()).collect()
    }
}
