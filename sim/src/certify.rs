//! `--certify`: the mappings of an answer looked at one after the other, with progress on stderr.

use wafersim::answer::{Question, best_mappings};
use wafersim::certify::{Limits, MOST_TRIED, Step, Trials, first_that_passes};
use wafersim::mapping::{Mapping, PartName, Recipe, Resolved};

use crate::failure::Failure;
use crate::output::say;
use crate::progress::Runs;

/// Looks at mappings, best first, until one passes.
pub fn looked_at(question: &Question, candidates: &[Resolved]) -> Trials {
    let runs = Runs::start();
    let limits = Limits::of(&question.wafer);
    let outcome = first_that_passes(question, candidates, &limits, &|step| match step {
        Step::Mapping { index, of, name } => say(&format!("certificate of mapping '{name}' ({} of {of})", index + 1)),
        Step::Part(name) => say(&format!("certificate: {name}")),
        Step::Fabric(moment) => runs.at(&moment),
    });
    for tried in &outcome.tried {
        let certificate = &tried.certificate;
        let failing = certificate.failing().into_iter().map(PartName::name).collect::<Vec<_>>().join(", ");
        let why = if failing.is_empty() { String::new() } else { format!(": {failing}") };
        say(&format!("certificate of mapping '{}': {}{why}", tried.resolved.name, certificate.state));
    }
    outcome
}

/// A question whose profile `best` works by the first of its mappings that passes, or as published where none does.
pub fn certified(question: Question) -> Result<(Question, Trials), Failure> {
    let mut candidates = best_mappings(&question)?;
    candidates.truncate(MOST_TRIED);
    let outcome = looked_at(&question, &candidates);
    let mapping = match outcome.passed() {
        // What was the best all along.
        Some((0, _)) => return Ok((question, outcome)),
        Some((_, passed)) => Mapping::Resolved(Box::new(passed.resolved.clone())),
        None => Mapping::Recipe(Box::new(Recipe::published())),
    };
    Ok((question.with_mapping(Some(mapping)), outcome))
}
