//! The way from the published mapping to the one that was found, as a waterfall.

use wafersim_answer::map::WayToFound;
use wafersim_picture::{Waterfall, WaterfallRow};

/// Steps that change less than this part of what was found are drawn together.
const SMALL: f64 = 0.005;

/// Microseconds of what was wanted: published, what each decision takes away, found, on ideal hardware, what no mapping
/// beats. Decisions that fit only together with the next, and neighbours that change hardly anything, are one step.
pub fn of_way(way: &WayToFound, title: String, caption: Vec<String>) -> Waterfall {
    let total = |name: &str, value: f64| WaterfallRow { name: name.into(), value, is_total: true };
    let mut rows = Vec::new();
    let mut before = match way.published {
        Some(published) => {
            rows.push(total("published", published));
            published
        }
        None => f64::INFINITY,
    };
    let mut names: Vec<&str> = Vec::new();
    for (index, step) in way.taken.iter().enumerate() {
        names.push(&step.decision);
        let is_last = index + 1 == way.taken.len();
        let Some(time) = step.microseconds else { continue };
        let is_small = (before - time).abs() < SMALL * way.found;
        let is_next_small = way
            .taken
            .get(index + 1)
            .is_some_and(|next| next.microseconds.is_none_or(|next| (time - next).abs() < SMALL * way.found));
        if is_small && is_next_small && !is_last {
            continue;
        }
        let name = match names.as_slice() {
            [one] => (*one).to_owned(),
            [one, other] => format!("{one}, {other}"),
            all => format!("{} decisions", all.len()),
        };
        let is_total = !before.is_finite();
        rows.push(WaterfallRow { name, value: time, is_total });
        before = time;
        names.clear();
    }
    rows.push(total("best found", way.found));
    rows.push(total("on ideal hardware", way.ideal));
    rows.extend(way.unbeaten_at_measured_rate.map(|time| total("no mapping beats, measured rate", time)));
    rows.extend(way.unbeaten.map(|time| total("no mapping beats", time)));
    Waterfall { title, caption, axis: way.objective.time_unit().into(), is_more_better: false, rows }
}

#[cfg(test)]
mod tests {
    use wafersim_answer::map::{Objective, WayStep};

    use super::*;

    #[test]
    fn steps_end_at_what_was_found() {
        let step = |decision: &str, microseconds| WayStep { decision: decision.into(), microseconds };
        let mut way = WayToFound {
            objective: Objective::Speed,
            own_objective: None,
            published: Some(1000.0),
            taken: vec![
                step("routes", Some(700.0)),
                step("kv", None),
                step("division", Some(500.0)),
                step("a", Some(499.9)),
                step("b", Some(499.8)),
                step("c", Some(500.5)),
            ],
            found: 500.5,
            ideal: 300.0,
            unbeaten_at_measured_rate: Some(200.0),
            unbeaten: Some(100.0),
        };
        let rows = |way: &WayToFound| {
            let drawn = of_way(way, String::new(), Vec::new()).rows.into_iter();
            drawn.map(|row| (row.name, row.value, row.is_total)).collect::<Vec<_>>()
        };
        let drawn = rows(&way);
        let names: Vec<&str> = drawn.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names[..5], ["published", "routes", "kv, division", "3 decisions", "best found"]);
        assert_eq!(drawn[3].1, drawn[4].1);
        way.published = None;
        assert!(rows(&way)[0].2, "where published does not fit, what first does is the first total");
    }
}
