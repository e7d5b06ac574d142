//! How samples are distributed, as a chart: the share of samples up to a value, or a histogram.

use super::scale::Ruler;
use super::{Chart, ChartAxis, Point, Scale, Series};
use crate::error::PictureError;

/// Bars of a histogram.
const BARS: usize = 60;
/// What the legend says of every sample.
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];

/// Samples to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// What is shown.
    pub title: String,
    /// Sentences below.
    pub caption: Vec<String>,
    /// What was measured, with its unit.
    pub axis: ChartAxis,
    /// Unit of the values, for the legend: "ms".
    pub unit: String,
    /// How it is drawn.
    pub form: Form,
    /// The samples; 1 to [`super::MOST_SERIES`].
    pub samples: Vec<Sample>,
}

/// How a distribution is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Per cent of samples up to a value.
    Cumulative,
    /// Per cent of samples in each of 60 bars of equal width on the axis.
    Histogram,
}

/// Counted values.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its name in the legend.
    pub name: String,
    /// Values in rising order, each with how often it occurs: what an HDR histogram gives.
    pub bins: Vec<Bin>,
}

/// A value and how often it occurs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// The value.
    pub value: f64,
    /// How often.
    pub count: u64,
}

/// The chart of a distribution; its legend has the quantiles 0.5, 0.95 and 0.99 of every sample.
///
/// # Errors
/// Where there is no sample, or values do not rise or have no place on the axis.
pub fn distribution(asked: &Distribution) -> Result<Chart, PictureError> {
    let samples: Vec<&Sample> = asked.samples.iter().collect();
    for sample in &samples {
        check(asked, sample)?;
    }
    let values = || samples.iter().flat_map(|sample| &sample.bins).filter(|bin| bin.count > 0).map(|bin| bin.value);
    let ruler = Ruler::new(asked.axis.scale, values(), 8);
    let series = samples
        .iter()
        .map(|sample| Series {
            name: legend(asked, sample),
            points: match asked.form {
                Form::Cumulative => cumulative(sample),
                Form::Histogram => histogram(sample, &ruler),
            },
            marked: false,
            knee: None,
        })
        .collect();
    let name = match asked.form {
        Form::Cumulative => "% of samples up to this value",
        Form::Histogram => "% of samples in a bar",
    };
    Ok(Chart {
        title: asked.title.clone(),
        caption: asked.caption.clone(),
        x: asked.axis.clone(),
        y: ChartAxis { name: name.into(), scale: Scale::Linear },
        series,
        targets: Vec::new(),
    })
}

fn check(asked: &Distribution, sample: &Sample) -> Result<(), PictureError> {
    let refuse = |what: &str, value: String, allowed: &str| {
        let what = format!("{what} of sample '{}'", sample.name);
        Err(PictureError::Chart { title: asked.title.clone(), what, value, allowed: allowed.into() })
    };
    if total(sample) == 0 {
        return refuse("the number of values", "0".into(), "1 or more");
    }
    let is_sound = |value: f64| value.is_finite() && (asked.axis.scale == Scale::Linear || value > 0.0);
    if let Some(bin) = sample.bins.iter().find(|bin| !is_sound(bin.value)) {
        return refuse("a value", bin.value.to_string(), "numbers, above 0 on a logarithmic axis");
    }
    match sample.bins.windows(2).find(|pair| pair[0].value >= pair[1].value) {
        Some(pair) => {
            refuse("the value after another", format!("{} after {}", pair[1].value, pair[0].value), "rising values")
        }
        None => Ok(()),
    }
}

/// Values in all; counts that together are beyond 64 bits stay at the largest.
fn total(sample: &Sample) -> u64 {
    sample.bins.iter().fold(0, |sum, bin| sum.saturating_add(bin.count))
}

/// The value up to which a part of a sample lies, by nearest rank.
fn quantile(sample: &Sample, part: f64) -> f64 {
    let rank = (total(sample) as f64 * part).ceil().max(1.0);
    let mut seen = 0u64;
    let mut last = 0.0;
    for bin in sample.bins.iter().filter(|bin| bin.count > 0) {
        (seen, last) = (seen.saturating_add(bin.count), bin.value);
        if seen as f64 >= rank {
            break;
        }
    }
    last
}

fn legend(asked: &Distribution, sample: &Sample) -> String {
    let figures = QUANTILES.map(|part| {
        let value = quantile(sample, part);
        let digits = if value.abs() >= 100.0 { 0 } else { 2 };
        format!("p{:.0} {value:.digits$}", 100.0 * part)
    });
    format!("{} ({} {})", sample.name, figures.join(", "), asked.unit)
}

/// A staircase from 0 to 100 %.
fn cumulative(sample: &Sample) -> Vec<Point> {
    let all = total(sample) as f64;
    let point = |x: f64, y: f64| Point { x, y: y.min(100.0), label: String::new() };
    let mut points = Vec::new();
    let (mut seen, mut height) = (0u64, 0.0);
    for bin in sample.bins.iter().filter(|bin| bin.count > 0) {
        seen = seen.saturating_add(bin.count);
        points.push(point(bin.value, height));
        height = 100.0 * seen as f64 / all;
        points.push(point(bin.value, height));
    }
    points
}

/// The outline of bars between the ends of the axis.
fn histogram(sample: &Sample, ruler: &Ruler) -> Vec<Point> {
    let mut bars = [0u64; BARS];
    for bin in &sample.bins {
        let bar = ((ruler.part(bin.value) * BARS as f64) as usize).min(BARS - 1);
        bars[bar] = bars[bar].saturating_add(bin.count);
    }
    let all = total(sample) as f64;
    let point = |edge: usize, y: f64| Point { x: ruler.value(edge as f64 / BARS as f64), y, label: String::new() };
    let outline = bars.iter().enumerate().flat_map(|(index, count)| {
        let height = 100.0 * *count as f64 / all;
        [point(index, height), point(index + 1, height)]
    });
    std::iter::once(point(0, 0.0)).chain(outline).chain([point(BARS, 0.0)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(bins: &[(f64, u64)]) -> Sample {
        Sample { name: "s".into(), bins: bins.iter().map(|&(value, count)| Bin { value, count }).collect() }
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        let sample = sample(&[(1.0, 50), (2.0, 45), (9.0, 5)]);
        assert_eq!([0.5, 0.51, 0.95, 0.96].map(|part| quantile(&sample, part)), [1.0, 2.0, 2.0, 9.0]);
    }

    #[test]
    fn a_histogram_has_all_samples_and_a_staircase_ends_at_all() {
        let sample = sample(&[(1.0, 3), (4.0, 2), (10.0, 5)]);
        let ruler = Ruler::new(Scale::Linear, [1.0, 10.0].into_iter(), 8);
        let bars = histogram(&sample, &ruler);
        let sum: f64 = bars[1..=2 * BARS].iter().step_by(2).map(|point| point.y).sum();
        assert!((sum - 100.0).abs() < 1e-9, "{sum}");
        assert!((cumulative(&sample).last().unwrap().y - 100.0).abs() < 1e-9);
    }
}
