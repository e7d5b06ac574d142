//! What must be true for a target: for each parameter alone the value that reaches it, or that none does; the cheapest
//! pairs; and which parameters matter most.
//!
//! Every change is priced with the mappings that were found for the question as it is, unchanged. Where such a lever
//! stays short of the target, though no bound excludes it, a mapping is looked for anew at its end: each lever says so.
//! A mapping that was made for the changed machine may need less than is said, never more.
//!
//! Where the target is reached, the other side is asked: how far each parameter may go until it is not.

mod levers;
mod pairs;
mod pricing;
mod seek;

use rayon::prelude::*;
use serde::Serialize;
use wafersim_answer::{Provenance, Question};
use wafersim_spec::Scenario;
use wafersim_spec::wafer::Evidence;

use crate::error::DecideError;
pub use levers::{Side, paths};
pub use pairs::{Pair, Part};
use pricing::Pricing;

/// What is asked of a goal beside its question, whose scenario has the target.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Levers that are tried: paths, or their beginnings (`wafer.link`); all where there are none.
    pub vary: Vec<String>,
    /// Levers that are left as they are.
    pub fix: Vec<String>,
}

/// What must be true for a target.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Goal {
    /// Tokens per second that each user should get.
    pub target: f64,
    /// Tokens per second that each user gets.
    pub current: f64,
    /// Whether that reaches the target.
    pub reached: bool,
    /// Whether levers are moved to reach the target, or to where it is lost.
    pub side: Side,
    /// Wafers of the answer: they stay, whatever is varied, but for the lever `wafers`.
    pub wafers: u32,
    /// One parameter at a time: those that reach the target first, the one that has to move least before all others;
    /// then those that do not, the one that comes nearest first.
    pub levers: Vec<Lever>,
    /// Two at a time, the cheapest first.
    pub pairs: Vec<Pair>,
    /// How often a mapping was looked for anew.
    pub searches: u64,
    /// What was asked.
    pub scenario: Scenario,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// A value of a parameter: a number, or a word.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// A number.
    Real(f64),
    /// One of several words.
    Word(String),
}

impl Value {
    /// Its number, where it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Whole(number) => Some(*number as f64),
            Self::Real(number) => Some(*number),
            Self::Word(_) => None,
        }
    }
}

/// What is known of a target with one parameter moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// The value reaches it.
    Reached,
    /// No value does with the mappings that were tried. Whether another mapping would is not known.
    NotFound,
    /// No value does, by any mapping: it is more than no mapping beats.
    Excluded,
}

/// One parameter by itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Lever {
    /// Its path, as in `--set path=value`.
    pub path: String,
    /// Its unit, where it has one.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub unit: &'static str,
    /// As it is.
    pub current: Value,
    /// The value that reaches the target with the least change; or, where the target is reached, the farthest that
    /// keeps it.
    pub value: Option<Value>,
    /// Whether there is such a value. On the side where the target is lost: whether it is lost at all.
    pub reached: bool,
    /// What is known.
    pub state: Known,
    /// The farthest value that was tried.
    pub limit: Value,
    /// Tokens per second of each user there.
    pub speed_at_limit: f64,
    /// How far it has to move, in octaves: 1 is twice or half. Nothing for words, and for what has to become 0.
    pub octaves: Option<f64>,
    /// Whether the value lies in the range that is published; nothing where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_published_range: Option<bool>,
    /// The published range with speeds at both ends; nothing where there is none, or it is a point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
    /// Other settings that go with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<Part>,
    /// Whether a mapping was looked for anew.
    pub searched: bool,
}

/// What is known of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Published {
    /// The low end.
    pub low: f64,
    /// The high end.
    pub high: f64,
    /// How well it is known.
    pub evidence: Evidence,
    /// Tokens per second of each user at the low end.
    pub speed_at_low: f64,
    /// At the high end.
    pub speed_at_high: f64,
}

/// What must be true for the target of a question. `progress` hears of each lever that is through, and of how many.
///
/// # Errors
/// Where the question has no answer, or something is to be varied that is no parameter.
pub fn goal(question: &Question, asked: &Asked, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Goal, DecideError> {
    let pricing = Pricing::new(question)?;
    let target = question.scenario.target;
    let side = if pricing.current >= target { Side::Lose } else { Side::Reach };
    let all = levers::chosen(&pricing, side, asked)?;
    let count = all.len() as u64;
    let done = std::sync::atomic::AtomicU64::new(0);
    let mut found: Vec<seek::Sought> = all
        .par_iter()
        .map(|lever| {
            let sought = seek::alone(&pricing, lever, side, target);
            progress(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, count);
            sought
        })
        .collect();
    let searches = match side {
        Side::Reach => seek::anew(&pricing, &mut found, target),
        Side::Lose => 0,
    };
    let pairs = match side {
        Side::Reach => pairs::cheapest(&pricing, &found, target),
        Side::Lose => Vec::new(),
    };
    let mut levers: Vec<Lever> = found.into_iter().map(|sought| sought.lever).collect();
    levers.sort_by(|one, other| order(one).total_cmp(&order(other)));
    Ok(Goal {
        target,
        current: pricing.current,
        reached: side == Side::Lose,
        side,
        wafers: pricing.wafers,
        levers,
        pairs,
        searches,
        scenario: question.scenario.clone(),
        provenance: Provenance::new(question),
    })
}

/// Reached ones by how far they move, then those without a measure, then the others by how near they come.
fn order(lever: &Lever) -> f64 {
    match (lever.reached, lever.octaves) {
        (true, Some(octaves)) => octaves.min(1e6),
        (true, None) => 1e7,
        (false, _) => 1e8 - lever.speed_at_limit.min(1e7),
    }
}
