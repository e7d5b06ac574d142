//! One token's way through the machine: by operator in the order of the pipeline, and by cause.

use std::collections::BTreeMap;

use wafersim_answer::{Answer, BreakdownRow};
use wafersim_cost::Cause;

use crate::grid::{Grid, Side};
use crate::number::share;
use crate::paragraph::heading;

/// Operators below this share are added up in one row.
const SMALL: f64 = 0.001;

pub(super) fn text(answer: &Answer) -> String {
    let (small, large): (Vec<&BreakdownRow>, Vec<&BreakdownRow>) =
        answer.breakdown.iter().partition(|row| row.share < SMALL);
    let used: Vec<Cause> = Cause::ALL.into_iter().filter(|cause| sum(&answer.breakdown, *cause) > 0.0).collect();
    let titles = [("operator", Side::Left), ("us", Side::Right), ("share", Side::Right)];
    let causes = used.iter().map(|cause| (title(*cause), Side::Right));
    let mut grid = Grid::new(titles.into_iter().chain(causes));
    let mut row = |name: String, rows: &[&BreakdownRow]| {
        let cycles: f64 = rows.iter().map(|row| row.cycles).sum();
        let part: f64 = rows.iter().map(|row| row.share).sum();
        let mut cells = vec![name, microseconds(answer, cycles), share(part)];
        cells.extend(used.iter().map(|cause| microseconds(answer, sum(rows.iter().copied(), *cause))));
        grid.row(cells);
    };
    for operator in &large {
        row(operator.operator.clone(), &[operator]);
    }
    if !small.is_empty() {
        row(format!("{} more, each below 0.1 %", small.len()), &small);
    }
    row("one pass".into(), &answer.breakdown.iter().collect::<Vec<_>>());
    heading(&format!("One token's time, in microseconds (profile {})", answer.profile)) + &grid.text()
}

const fn title(cause: Cause) -> &'static str {
    match cause {
        Cause::RouteChange => "routes",
        Cause::Link => "links",
        other => other.name(),
    }
}

fn sum<'a>(rows: impl IntoIterator<Item = &'a BreakdownRow>, cause: Cause) -> f64 {
    let of = |causes: &BTreeMap<&'static str, f64>| causes.get(cause.key()).copied().unwrap_or(0.0);
    rows.into_iter().map(|row| of(&row.causes)).sum()
}

/// One digit after the point; nothing is a dot, so that what is there stands out.
fn microseconds(answer: &Answer, cycles: f64) -> String {
    let time = super::seconds(answer, cycles) * 1e6;
    if cycles == 0.0 {
        ".".into()
    } else if time >= 1e6 {
        crate::number::figure(time)
    } else {
        format!("{time:.1}")
    }
}
