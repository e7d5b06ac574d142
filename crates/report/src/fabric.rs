//! What ran on the fabric, beside the closed form.

use serde::Serialize;
use wafersim_answer::Answer;
use wafersim_answer::fabric::{FabricReading, LayerOnFabric, Phase};
use wafersim_check::crosscheck::LIMIT_PERCENT;
use wafersim_spec::Wafer;

use crate::answer;
use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{NOTHING, duration, figure, plural, share, whole};
use crate::paragraph::{heading, labelled, wrapped};

/// An answer with what ran for it.
#[derive(Serialize)]
struct WithFabric<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    fabric: &'a FabricReading,
}

/// The answer for people, with the layers that ran.
pub fn text(answer: &Answer, reading: &FabricReading, wafer: &Wafer) -> String {
    answer::text_with(answer, wafer, &section(answer, reading))
}

/// The answer for programs: the fields of [`Answer`], and `fabric`.
///
/// # Errors
/// None that an answer can cause.
pub fn json(answer: &Answer, reading: &FabricReading) -> Result<String, ReportError> {
    pretty(&WithFabric { answer, fabric: reading })
}

/// Per cent with a sign; what rounds to nothing has none.
pub(crate) fn deviation(percent: f64) -> String {
    if percent.abs() < 0.005 { "0.00".into() } else { format!("{percent:+.2}") }
}

/// The mark of a deviation beyond the limit.
pub(crate) const fn mark(percent: f64) -> &'static str {
    if percent.abs() > LIMIT_PERCENT { " !" } else { "" }
}

fn section(answer: &Answer, reading: &FabricReading) -> String {
    let mut text = heading("Layers on the fabric");
    let (what, closed, now) = match reading.phase {
        Phase::Decode => (
            "per output token",
            reading.closed_form_time_per_output_token_us * 1e-6,
            answer.time_per_output_token_us * 1e-6,
        ),
        Phase::Prefill => {
            ("first token", reading.closed_form_time_to_first_token_ms * 1e-3, answer.time_to_first_token_ms * 1e-3)
        }
    };
    let by = deviation((now / closed - 1.0) * 100.0);
    text.push_str(&labelled(
        what,
        &format!("{} with the layers on the fabric, {} in closed form: {by} %", duration(now), duration(closed)),
    ));
    text.push_str(&labelled(
        "simulated",
        &format!(
            "{}, {} cycles, {} wavelet-hops",
            plural(reading.layers.len() as u64, "layer"),
            whole(reading.cycles.round() as u64),
            figure(reading.wavelet_hops as f64)
        ),
    ));
    let mut seen: Vec<&LayerOnFabric> = Vec::new();
    for layer in &reading.layers {
        // Layers of one layout in regions of one size run alike.
        let same = |known: &&LayerOnFabric| {
            (known.region.columns, known.region.rows, known.tokens, known.context)
                == (layer.region.columns, layer.region.rows, layer.tokens, layer.context)
                && known.operators == layer.operators
        };
        if !seen.iter().any(same) {
            let alike = reading.layers.iter().filter(|other| same(other)).map(|other| other.layer.to_string());
            text.push_str(&of_layer(layer, &alike.collect::<Vec<_>>()));
            seen.push(layer);
        }
    }
    text.push('\n');
    text.push_str(&wrapped(
        "  ",
        "An operator's cycles on the fabric are by how much it moved the moment at which the last processing element was done: \
         where some run ahead, operators overlap, and single ones differ by more than the layer. Tables, ways between \
         regions and wafers, ranges and the other profiles are in closed form.",
    ));
    text
}

fn of_layer(layer: &LayerOnFabric, alike: &[String]) -> String {
    let mut text = String::from("\n");
    let word = if alike.len() == 1 { "layer" } else { "layers" };
    text.push_str(&labelled(
        &format!("{word} {}", alike.join(", ")),
        &format!(
            "{} on {} of wafer {}, {} in the cache",
            plural(layer.tokens, "token"),
            layer.region,
            layer.wafer,
            whole(layer.context)
        ),
    ));
    text.push_str(&labelled(
        "links",
        &format!(
            "the busiest carries wavelets for {} of the time, the mean {}; cores run vector work for {}",
            share(layer.busiest_link),
            share(layer.mean_link),
            share(layer.mean_busy)
        ),
    ));
    text.push_str(&labelled(
        "engine",
        &format!(
            "{}; {} colors, {} wavelet-hops, {}",
            layer.engine,
            layer.colors,
            figure(layer.wavelet_hops as f64),
            plural(layer.stalls, "blocked stream")
        ),
    ));
    let mut grid = Grid::new([
        ("operator", Side::Left),
        ("closed form", Side::Right),
        ("fabric", Side::Right),
        ("deviation %", Side::Right),
    ]);
    for operator in &layer.operators {
        grid.row([
            operator.operator.clone(),
            whole(operator.closed_form_cycles.round() as u64),
            whole(operator.cycles.round() as u64),
            operator.deviation_percent.map_or_else(|| NOTHING.into(), deviation),
        ]);
    }
    grid.row([
        "the layer".to_owned(),
        whole(layer.closed_form_cycles.round() as u64),
        whole(layer.cycles.round() as u64),
        deviation(layer.deviation_percent) + mark(layer.deviation_percent),
    ]);
    text.push('\n');
    text.push_str(&grid.text());
    text
}
