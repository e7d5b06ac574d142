//! Whether a chart can be drawn.

use super::{Chart, ChartAxis, MOST_POINTS, MOST_SERIES, Scale};
use crate::error::PictureError;

/// Values beyond have no labels that could be read, and their squares are no numbers.
const LARGEST: f64 = 1e100;

pub fn check(chart: &Chart) -> Result<(), PictureError> {
    let refuse = |what: String, value: String, allowed: String| {
        Err(PictureError::Chart { title: chart.title.clone(), what, value, allowed })
    };
    if !(1..=MOST_SERIES).contains(&chart.series.len()) {
        return refuse("the number of series".into(), chart.series.len().to_string(), format!("1 to {MOST_SERIES}"));
    }
    for series in &chart.series {
        let of = |what: &str| format!("{what} of series '{}'", series.name);
        let count = series.points.len();
        if !(1..=MOST_POINTS).contains(&count) {
            return refuse(of("the number of points"), count.to_string(), format!("1 to {MOST_POINTS}"));
        }
        if let Some(knee) = series.knee.filter(|knee| *knee >= count) {
            return refuse(of("the knee"), knee.to_string(), format!("a point's index, below {count}"));
        }
        for (index, point) in series.points.iter().enumerate() {
            for (name, value, axis) in [("x", point.x, &chart.x), ("y", point.y, &chart.y)] {
                if !has_place(value, axis) {
                    return refuse(of(&format!("{name} of point {index}")), value.to_string(), allowed(axis));
                }
            }
        }
    }
    for (value, name) in &chart.targets {
        if !has_place(*value, &chart.y) {
            return refuse(format!("the target '{name}'"), value.to_string(), allowed(&chart.y));
        }
    }
    Ok(())
}

fn has_place(value: f64, axis: &ChartAxis) -> bool {
    match axis.scale {
        Scale::Linear => value.abs() <= LARGEST,
        Scale::Logarithmic => (1.0 / LARGEST..=LARGEST).contains(&value),
    }
}

fn allowed(axis: &ChartAxis) -> String {
    match axis.scale {
        Scale::Linear => format!("numbers up to {LARGEST:e}"),
        Scale::Logarithmic => format!("numbers above 0, up to {LARGEST:e}, on a logarithmic axis"),
    }
}
