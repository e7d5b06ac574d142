//! The frontier of a sweep over load: what every user gets against what all get together.

use super::{Chart, ChartAxis, Point, Scale, Series};

/// Sweeps to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Frontier {
    /// What is shown.
    pub title: String,
    /// Sentences below.
    pub caption: Vec<String>,
    /// One for each machine, for example "16 wafers"; 1 to [`super::MOST_SERIES`].
    pub sweeps: Vec<Sweep>,
    /// Tokens per second that each user should get.
    pub target: Option<f64>,
    /// The axis of the total throughput.
    pub throughput: Scale,
    /// The axis of the speed per user.
    pub speed: Scale,
}

/// The points of a machine, by rising load.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Its name in the legend.
    pub name: String,
    /// Its points.
    pub points: Vec<SweepPoint>,
    /// The point beyond which more load is not worth it: its index.
    pub knee: Option<usize>,
}

/// A load and what it gives.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepPoint {
    /// The load as it is written beside the point: users, or requests per second.
    pub load: String,
    /// Output tokens per second of all users.
    pub total: f64,
    /// Output tokens per second of a user.
    pub per_user: f64,
}

/// The chart of a frontier.
pub fn frontier(asked: &Frontier) -> Chart {
    let series = asked.sweeps.iter().map(|sweep| Series {
        name: sweep.name.clone(),
        points: sweep
            .points
            .iter()
            .map(|point| Point { x: point.total, y: point.per_user, label: point.load.clone() })
            .collect(),
        marked: true,
        knee: sweep.knee,
    });
    Chart {
        title: asked.title.clone(),
        caption: asked.caption.clone(),
        x: ChartAxis { name: "output tokens per second of all users".into(), scale: asked.throughput },
        y: ChartAxis { name: "output tokens per second of a user".into(), scale: asked.speed },
        series: series.collect(),
        targets: asked.target.map(|target| (target, format!("target {target} tok/s"))).into_iter().collect(),
    }
}
