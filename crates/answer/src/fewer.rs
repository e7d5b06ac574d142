//! Fewer users at once, the others waiting for their turn: past a memory cliff that makes more in all.
//!
//! A mapping that holds the cache of all users may be far slower than one that holds that of some of them. Users are
//! halved for as long as that gives more; then numbers in eighths around the best half are looked at.

use serde::Serialize;
use wafersim_spec::Scenario;
use wafersim_spec::scenario::{Profile, WaferCount};

use crate::question::Question;
use crate::run::{Answer, answer_one_profile};

/// Around the best half, in eighths of it.
const EIGHTHS: [u64; 7] = [5, 6, 7, 9, 10, 12, 14];

/// What fewer users at once get of the same wafers, where that is more in all.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FewerAtOnce {
    /// Users who are served at once.
    pub users: u64,
    /// Output tokens per second of each of them while served.
    pub tokens_per_second_per_user: f64,
    /// Of all of them together.
    pub tokens_per_second_total: f64,
}

/// Whether serving fewer users at once gives more in all, for an answer under profile `best` whose mapping was looked
/// for. Mappings for fewer users are looked for in turn; `known` may bring what was found for one before.
pub fn fewer_at_once(
    question: &Question,
    answer: &Answer,
    known: &dyn Fn(Question) -> Question,
) -> Option<FewerAtOnce> {
    let is_searched = question.search.is_some() && question.mapping.is_none() && question.draft.is_none();
    if !is_searched || answer.profile != Profile::Best {
        return None;
    }
    let at = |users: u64| {
        let wafers = WaferCount::Exactly(answer.wafers);
        let asked = question.asking(Scenario { users, wafers, ..question.scenario.clone() }).ok()?;
        let answer = answer_one_profile(&known(asked)).ok()?;
        let (tokens_per_second_per_user, tokens_per_second_total) =
            (answer.tokens_per_second_per_user, answer.tokens_per_second_total);
        Some(FewerAtOnce { users, tokens_per_second_per_user, tokens_per_second_total })
    };
    let mut best: Option<FewerAtOnce> = None;
    let more = |best: &Option<FewerAtOnce>, found: FewerAtOnce| {
        let before = best.as_ref().map_or(answer.tokens_per_second_total, |best| best.tokens_per_second_total);
        (found.tokens_per_second_total > before).then_some(found)
    };
    let mut users = answer.users / 2;
    while users > 0 {
        let Some(found) = at(users).and_then(|found| more(&best, found)) else { break };
        best = Some(found);
        users /= 2;
    }
    let half = best.as_ref()?.users;
    let around = EIGHTHS.map(|eighths| half.saturating_mul(eighths) / 8);
    for users in around.into_iter().filter(|users| *users > 0 && *users < answer.users && *users != half) {
        best = at(users).and_then(|found| more(&best, found)).or(best);
    }
    best
}
