//! Prompts that are computed elsewhere, in words: where, and what their first tokens are made of.

use wafersim_answer::PrefillElsewhere;
use wafersim_answer::plan::Plan;
use wafersim_spec::scenario::PrefillPlace;

use crate::number::{duration, figure, plural, whole};

/// Where: `on 21 other wafers`.
pub(crate) fn place(prefill: &PrefillElsewhere) -> String {
    match (prefill.place, prefill.tokens_per_second) {
        (PrefillPlace::External, Some(rate)) => format!("outside at {} tok/s", figure(rate)),
        _ => format!("on {}", plural(u64::from(prefill.wafers), "other wafer")),
    }
}

/// Where, and what takes how long.
pub(crate) fn parts(prefill: &PrefillElsewhere) -> String {
    format!(
        "computed {}: {} there, {} for {} of keys and values at {} GB/s, {} for a step of decode; {} in all where \
         they cross layer by layer meanwhile",
        place(prefill),
        duration(prefill.prompt_time_ms * 1e-3),
        duration(prefill.transfer_time_ms * 1e-3),
        prefill.kv_bytes,
        figure(prefill.bandwidth_bytes_per_second * 1e-9),
        duration(prefill.decode_time_ms * 1e-3),
        duration(prefill.overlapped_time_to_first_token_ms * 1e-3),
    )
}

/// The same of a machine with so many wafers in all.
pub(crate) fn of_machine(prefill: &PrefillElsewhere, wafers_in_all: u32) -> String {
    format!("{}{}", parts(prefill), in_all(prefill, wafers_in_all))
}

/// Where alone, of a machine with so many wafers in all.
pub(crate) fn place_of_machine(prefill: &PrefillElsewhere, wafers_in_all: u32) -> String {
    format!("computed {}{}", place(prefill), in_all(prefill, wafers_in_all))
}

fn in_all(prefill: &PrefillElsewhere, wafers: u32) -> String {
    match prefill.wafers {
        0 => String::new(),
        _ => format!("; {} in all", plural(u64::from(wafers), "wafer")),
    }
}

/// A sentence behind a table, where prompts of any of its rows are computed elsewhere.
pub(crate) fn of_plan(plan: &Plan) -> String {
    let elsewhere = || plan.rows.iter().filter_map(|row| row.prefill.as_ref());
    let Some(first) = elsewhere().next() else { return String::new() };
    let is_same_in_all = plan.rows.iter().filter(|row| row.fits).all(|row| {
        row.prefill.as_ref().is_some_and(|prefill| (prefill.place, prefill.wafers) == (first.place, first.wafers))
    });
    let place = if is_same_in_all { place(first) } else { "elsewhere in some rows (JSON and CSV say where)".into() };
    let wafers = match (is_same_in_all, first.wafers) {
        (true, 1..) => format!(", {} beside those of the table", whole(u64::from(first.wafers))),
        _ => String::new(),
    };
    format!(" Prompts are computed {place}{wafers}; their keys and values cross before the first token is decoded.")
}
