//! What each decision of a mapping gives: its time with that decision as published, the others as they are.

use std::sync::Arc;

use rayon::prelude::*;
use wafersim_mapping::Common;

use crate::explore::{Found, Judge};
use crate::space::{Decision, Point, Space};

/// A decision set back.
#[derive(Debug, Clone, PartialEq)]
pub struct Ablated {
    /// Which.
    pub decision: Decision,
    /// The time without it; nothing where the mapping does not fit then.
    pub time: Option<f64>,
}

/// Sets each decision back alone, those that change nothing left out; what is lost most first.
pub fn ablate(space: &Space<'_>, found: &Found, judge: &dyn Judge) -> Vec<Ablated> {
    let mut decisions = vec![Decision::Division];
    decisions.extend(space.decisions());
    let points: Vec<(Decision, Point)> = decisions
        .into_iter()
        .map(|decision| (decision, Point { recipe: decision.published(&found.point.recipe), ..found.point.clone() }))
        .filter(|(_, point)| *point != found.point)
        .collect();
    let common = Arc::new(Common::new(space.inputs.model));
    let mut all: Vec<Ablated> = points
        .into_par_iter()
        .map(|(decision, point)| {
            let mapped = point.mapped(space.inputs, &common);
            let time = mapped.and_then(|mapped| judge.judge(&mapped)).map(|judged| judged.time);
            Ablated { decision, time }
        })
        .collect();
    all.retain(|ablated| ablated.time != Some(found.judged.time));
    let lost = |ablated: &Ablated| ablated.time.unwrap_or(f64::INFINITY);
    all.sort_by(|one, other| lost(other).total_cmp(&lost(one)));
    all
}
