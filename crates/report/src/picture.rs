//! Heat maps of what ran on the fabric, over the wafer.

use wafersim_answer::fabric::{FabricAnswer, LayerRun, WaferMaps};
use wafersim_picture::{Colors, HeatMap, Reduction, heat_map};
use wafersim_spec::Region;
use wafersim_spec::Wafer;

use crate::error::ReportError;
use crate::number::{figure, plural, whole};

/// A picture and the name of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// For example `link-use.png`.
    pub name: &'static str,
    /// PNG.
    pub bytes: Vec<u8>,
}

/// One of the maps as it is drawn.
struct Drawn<'a> {
    name: &'static str,
    title: &'static str,
    sentence: &'static str,
    unit: &'static str,
    /// Values are multiplied with this: 100 for per cent.
    scale: f64,
    highest: Option<f64>,
    values: &'a [f64],
    colors: Colors,
}

/// Link use, busy cores, stalls and depth of queues of the layers that are shown: a single layer in its region, several
/// on the whole wafer.
///
/// # Errors
/// None that an answer can cause.
pub fn of_fabric(found: &FabricAnswer, wafer: &Wafer) -> Result<Vec<Picture>, ReportError> {
    let shown: Vec<&LayerRun> = found.runs.iter().filter(|run| run.layer.is_shown).collect();
    let area = if shown.len() > 1 {
        Region { x: 0, y: 0, columns: wafer.columns(), rows: wafer.rows() }
    } else {
        WaferMaps::around(&found.runs)
    };
    let maps = WaferMaps::merge(&found.runs, area);
    let drawn = [
        Drawn {
            name: "link-use.png",
            title: "Link use",
            sentence: "Share of the cycles for which the busiest of the four links that leave a PE carries wavelets.",
            unit: "% of cycles",
            scale: 100.0,
            highest: None,
            values: &maps.link_use,
            colors: Colors::Inferno,
        },
        Drawn {
            name: "busy.png",
            title: "Busy PEs",
            sentence: "Share of the cycles for which the core runs vector work.",
            unit: "% of cycles",
            scale: 100.0,
            highest: Some(100.0),
            values: &maps.busy,
            colors: Colors::Viridis,
        },
        Drawn {
            name: "stalls.png",
            title: "Stalls",
            sentence: "Cycles for which first wavelets of streams wait in the router, added up over colors.",
            unit: "cycles",
            scale: 1.0,
            highest: None,
            values: &maps.stalled,
            colors: Colors::Inferno,
        },
        Drawn {
            name: "queue-depth.png",
            title: "Queue depth",
            sentence: "Most wavelets at any time in one input queue of the router; 1 for what passes without a wait.",
            unit: "wavelets",
            scale: 1.0,
            highest: None,
            values: &maps.queue,
            colors: Colors::Viridis,
        },
    ];
    let what = subject(found, &shown, wafer);
    drawn.iter().map(|map| draw(map, maps.area, &what)).collect()
}

/// Which layers, where, for how long.
fn subject(found: &FabricAnswer, shown: &[&LayerRun], wafer: &Wafer) -> [String; 2] {
    let layers: Vec<u64> = shown.iter().map(|run| run.layer.layer).collect();
    let longest = shown.iter().map(|run| run.layer.cycles).fold(0.0, f64::max);
    let tokens = shown.first().map_or(0, |run| run.layer.tokens);
    let name = match layers.as_slice() {
        [only] => format!("layer {only}"),
        [first, .., last] => format!("layers {first} to {last}"),
        [] => "no layer".into(),
    };
    let shortest = shown.iter().map(|run| run.layer.cycles).fold(longest, f64::min);
    let cycles = match layers.len() {
        0 | 1 => format!("in {} cycles", whole(longest.round() as u64)),
        _ if shortest < longest => {
            format!("in {} to {} cycles each", whole(shortest.round() as u64), whole(longest.round() as u64))
        }
        _ => format!("in {} cycles each", whole(longest.round() as u64)),
    };
    [
        format!("{name} of {}", found.answer.model),
        format!(
            "{} on {}, profile {}: {} {cycles}.",
            capitalised(&name),
            wafer.name,
            found.answer.profile,
            plural(tokens, "token"),
        ),
    ]
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// A whole number as it is.
fn digits(value: f64) -> String {
    if value.fract() == 0.0 && value < 1e15 { whole(value as u64) } else { figure(value) }
}

fn draw(map: &Drawn<'_>, area: Region, [subject, run]: &[String; 2]) -> Result<Picture, ReportError> {
    let values: Vec<f64> = map.values.iter().map(|value| value * map.scale).collect();
    let used: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let largest = used.iter().copied().fold(0.0, f64::max);
    let mean = used.iter().sum::<f64>() / used.len().max(1) as f64;
    let unit = map.unit.split(' ').next().unwrap_or(map.unit);
    let side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
    let picture = HeatMap {
        title: format!("{}: {subject}", map.title),
        caption: vec![
            map.sentence.into(),
            format!("Mean {} {unit}, largest {} {unit}.", figure(mean), digits(largest)),
            run.clone(),
        ],
        origin: (area.x, area.y),
        columns: side(area.columns),
        rows: side(area.rows),
        values: &values,
        unit: map.unit.into(),
        highest: map.highest,
        colors: map.colors,
        reduction: Reduction::Largest,
    };
    let bytes = heat_map(&picture).map_err(|error| ReportError::Format { format: "PNG", reason: error.to_string() })?;
    Ok(Picture { name: map.name, bytes })
}
