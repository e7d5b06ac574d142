//! What each decision of a mapping gives: its time with that decision as published, the others as they are; and the way
//! from the mapping as published to the one that was found, decision by decision.

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
    let points: Vec<(Decision, Point)> = all_decisions(space)
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

fn all_decisions(space: &Space<'_>) -> Vec<Decision> {
    std::iter::once(Decision::Division).chain(space.decisions()).collect()
}

/// A decision that is taken on the way from published to found.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// Which.
    pub decision: Decision,
    /// The time with it and all before it; nothing where the mapping does not fit yet.
    pub time: Option<f64>,
}

/// The way from published to found.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// The time with every decision as published; nothing where that does not fit.
    pub published: Option<f64>,
    /// The decisions, in the order in which they are taken: at each step the one that gives most.
    pub taken: Vec<Taken>,
}

/// Takes one decision of a found mapping after the other. What a decision gives depends on those before it; this order
/// shows it with as few of the others as it needs.
pub fn way(space: &Space<'_>, found: &Found, judge: &dyn Judge) -> Way {
    let common = Arc::new(Common::new(space.inputs.model));
    let changes = |decision: &Decision| decision.published(&found.point.recipe) != found.point.recipe;
    let mut left: Vec<Decision> = all_decisions(space).into_iter().filter(changes).collect();
    let time = |set_back: &[Decision]| {
        let back = |recipe, decision: &Decision| decision.published(&recipe);
        let recipe = set_back.iter().fold(found.point.recipe.clone(), back);
        let mapped = Point { recipe, ..found.point.clone() }.mapped(space.inputs, &common)?;
        judge.judge(&mapped).map(|judged| judged.time)
    };
    let without = |left: &[Decision], index: usize| {
        let others = left.iter().enumerate().filter(|(other, _)| *other != index);
        others.map(|(_, decision)| *decision).collect::<Vec<_>>()
    };
    let published = time(&left);
    let mut taken = Vec::new();
    while !left.is_empty() {
        let times: Vec<f64> = (0..left.len())
            .into_par_iter()
            .map(|index| time(&without(&left, index)).unwrap_or(f64::INFINITY))
            .collect();
        // The first of the fastest.
        let next = (0..left.len()).min_by(|one, other| times[*one].total_cmp(&times[*other])).unwrap_or(0);
        taken.push(Taken { decision: left.remove(next), time: Some(times[next]).filter(|time| time.is_finite()) });
    }
    Way { published, taken }
}
