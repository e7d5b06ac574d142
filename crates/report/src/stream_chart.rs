//! Charts of runs under load: the frontier of a sweep, and how latencies are distributed.

use wafersim_answer::plan::Swept;
use wafersim_picture::chart::{
    Bin, ChartAxis, Distribution, Form, Frontier, MOST_SERIES, Sample, Scale, Sweep, SweepPoint, distribution, frontier,
};
use wafersim_picture::{Chart, PictureError, chart_png, chart_svg};
use wafersim_stream::ServiceOutcome;
use wafersim_stream::run::{MachineSummary, Point, knee};
use wafersim_stream::statistics::Count;

use crate::error::ReportError;
use crate::number::{duration, plural, whole};

/// A chart in one form, and the name of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartFile {
    /// For example `frontier.svg`.
    pub name: String,
    /// SVG or PNG.
    pub bytes: Vec<u8>,
}

/// Speed per user against total throughput, a mark for each point of a sweep of `setting`, with the knee. Points at
/// which no answer ended are left out; nothing where none is left.
///
/// # Errors
/// None that a run can cause.
pub fn of_sweep(setting: &str, points: &[Point]) -> Result<Vec<ChartFile>, ReportError> {
    let is_drawn = |point: &Point| point.outcome.user_speed.is_some() && point.outcome.tokens_per_second.mean > 0.0;
    let Some(first) = points.iter().find(|point| is_drawn(point)) else { return Ok(Vec::new()) };
    let best = knee(points);
    // Of several settings the first is along a line, and each combination of the others has its own.
    let name = |point: &Point| match point.swept.get(1..) {
        Some(others) if !others.is_empty() => {
            let said = |one: &Swept| format!("{} {}", one.path.rsplit('.').next().unwrap_or_default(), one.value);
            others.iter().map(said).collect::<Vec<_>>().join(", ")
        }
        _ => format!("by {setting}"),
    };
    let label = |point: &Point| match point.swept.as_slice() {
        [first, _, ..] => first.value.clone(),
        _ => point.value.clone(),
    };
    let mut sweeps: Vec<Sweep> = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let Some(speed) = point.outcome.user_speed.filter(|_| is_drawn(point)) else { continue };
        let name = name(point);
        let at = sweeps.iter().position(|sweep| sweep.name == name).unwrap_or_else(|| {
            sweeps.push(Sweep { name, points: Vec::new(), knee: None });
            sweeps.len() - 1
        });
        let Some(sweep) = sweeps.get_mut(at) else { continue };
        if best == Some(index) {
            sweep.knee = Some(sweep.points.len());
        }
        sweep.points.push(SweepPoint {
            load: label(point),
            total: point.outcome.tokens_per_second.mean,
            per_user: speed.p50,
        });
    }
    let along = first.swept.first().map_or(setting, |one| one.path.as_str());
    let mut caption = vec![
        machine(&first.machine),
        format!("Labels are {along}; the speed of a user is that of the median request."),
    ];
    if sweeps.iter().any(|sweep| sweep.knee.is_some()) {
        caption.push("The ring is the knee: there speed per user times throughput is largest.".into());
    }
    if sweeps.len() > MOST_SERIES {
        caption.push(format!("The first {MOST_SERIES} of {} combinations are drawn.", whole(sweeps.len() as u64)));
        sweeps.truncate(MOST_SERIES);
    }
    let throughputs = sweeps.iter().flat_map(|sweep| &sweep.points).map(|point| point.total);
    let (least, most) = throughputs.fold((f64::INFINITY, 0.0f64), |(low, high), at| (low.min(at), high.max(at)));
    let chart = frontier(&Frontier {
        title: "Speed per user against total throughput".into(),
        caption,
        sweeps,
        target: None,
        // A sweep over load spans orders of magnitude, one over policies does not.
        throughput: if most > 10.0 * least { Scale::Logarithmic } else { Scale::Linear },
        speed: Scale::Linear,
    });
    let mut files = drawn("frontier", &chart)?;
    let named: Vec<(String, &ServiceOutcome)> =
        points.iter().map(|point| (format!("{setting} = {}", point.value), &point.outcome)).collect();
    files.extend(latencies(&first.machine, &named)?);
    Ok(files)
}

/// How the times to first token and between two steps of a run are distributed. What did not occur has no chart.
///
/// # Errors
/// None that a run can cause.
pub fn of_run(point: &Point) -> Result<Vec<ChartFile>, ReportError> {
    latencies(&point.machine, &[("all requests".into(), &point.outcome)])
}

/// Distributions of several runs side by side: of as many as there are colors, spread over the sweep.
fn latencies(of: &MachineSummary, runs: &[(String, &ServiceOutcome)]) -> Result<Vec<ChartFile>, ReportError> {
    type Counts = fn(&ServiceOutcome) -> &[Count];
    let charts: [(&str, &str, &str, Counts); 2] = [
        ("first-token", "Time to first token", "time from arrival to first token, ms", |run| &run.first_token_counts),
        ("between-steps", "Time between two steps of a user", "time between two steps, ms", |run| {
            &run.between_steps_counts
        }),
    ];
    let mut files = Vec::new();
    for (name, title, axis, counts) in charts {
        let with: Vec<&(String, &ServiceOutcome)> = runs.iter().filter(|(_, run)| !counts(run).is_empty()).collect();
        if with.is_empty() {
            continue;
        }
        let shown = with.len().min(MOST_SERIES);
        // The first and the last are always among those shown.
        let at = |index: usize| index * (with.len() - 1) / (shown - 1).max(1);
        let samples: Vec<Sample> = (0..shown)
            .map(|index| {
                let (name, run) = with[at(index)];
                // No time at all has no place on a logarithmic axis: it stands at its smallest unit.
                let bin = |count: &Count| Bin { value: (count.value * 1e3).max(1e-6), count: count.count };
                Sample { name: name.clone(), bins: rising(counts(run).iter().map(bin)) }
            })
            .collect();
        let all: u64 = samples.iter().flat_map(|sample| &sample.bins).map(|bin| bin.count).sum();
        let mut caption = vec![machine(of), format!("{} in the window.", plural(all, "time"))];
        if shown < with.len() {
            caption.push(format!("Of {} runs {} are shown.", whole(with.len() as u64), whole(shown as u64)));
        }
        let chart = distribution(&Distribution {
            title: title.into(),
            caption,
            axis: ChartAxis { name: axis.into(), scale: Scale::Logarithmic },
            unit: "ms".into(),
            form: Form::Cumulative,
            samples,
        });
        files.extend(drawn(name, &chart.map_err(|error| refused(&error))?)?);
    }
    Ok(files)
}

/// Values that are the same after rounding are put together.
fn rising(bins: impl Iterator<Item = Bin>) -> Vec<Bin> {
    let mut risen: Vec<Bin> = Vec::new();
    for bin in bins {
        match risen.last_mut() {
            Some(last) if last.value >= bin.value => last.count = last.count.saturating_add(bin.count),
            _ => risen.push(bin),
        }
    }
    risen
}

fn machine(of: &MachineSummary) -> String {
    format!(
        "{} on {} x {}, profile {}; one user alone, at {}, gets a token every {}.",
        of.model,
        of.wafers,
        of.wafer,
        of.profile,
        plural(of.longest, "token"),
        duration(of.closed_form_per_token)
    )
}

fn drawn(name: &str, chart: &Chart) -> Result<Vec<ChartFile>, ReportError> {
    let svg = chart_svg(chart).map_err(|error| refused(&error))?;
    let png = chart_png(chart).map_err(|error| refused(&error))?;
    Ok(vec![
        ChartFile { name: format!("{name}.svg"), bytes: svg.into_bytes() },
        ChartFile { name: format!("{name}.png"), bytes: png },
    ])
}

fn refused(error: &PictureError) -> ReportError {
    ReportError::Format { format: "a chart", reason: error.to_string() }
}
