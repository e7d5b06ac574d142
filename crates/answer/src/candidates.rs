//! Ways to place the model on the same wafers, among which each profile takes the one that is fastest for it: those
//! that its mapping leaves.

use std::sync::Arc;

use wafersim_mapping::Mapped;
use wafersim_place::UNLIMITED;
use wafersim_spec::scenario::{Profile, WaferCount};

use crate::chosen::{Chosen, Source};
use crate::decode::Verified;
use crate::draft::Drafts;
use crate::error::AnswerError;
use crate::question::Question;

/// A way of working.
#[derive(Debug, Clone)]
pub struct Way {
    /// Where its mapping comes from.
    pub source: Source,
    /// The name of that mapping.
    pub mapping: String,
    /// Where the model lies, and every decision of its layers.
    pub mapped: Mapped,
    /// Where its draft model lies, if it has one, and every decision of its layers.
    pub draft: Option<Mapped>,
    /// How drafts are verified; nothing without speculation.
    pub verified: Option<Verified>,
}

/// The ways worth comparing by one mapping.
pub struct Candidates {
    /// Where the mapping comes from.
    pub source: Source,
    /// The first is for micro-batches of one user, in the layout of fewest bytes. There is at least one.
    pub ways: Vec<Way>,
    /// Wafers that were asked for, or the fewest.
    pub wafers: u32,
    /// Users that these wafers hold in any arrangement.
    pub max_users: u64,
}

/// The ways by all mappings of a profile. Those after the first work on the wafers that the first has found, where they
/// fit there.
///
/// # Errors
/// Where the model does not fit by the first.
pub fn candidates(question: &Question, profile: Profile) -> Result<Vec<Candidates>, AnswerError> {
    let mut found: Vec<Candidates> = Vec::new();
    for source in Source::of(question, profile) {
        let known = found.first().map(|known| WaferCount::Exactly(known.wafers));
        let wafers = match (source, question.searched()) {
            // It may take fewer than there are.
            (Source::Found, Some(searched)) if question.draft.is_none() => WaferCount::Exactly(searched.wafers),
            _ => known.unwrap_or_else(|| question.wafers()),
        };
        match of_source(question, *source, wafers) {
            Ok(candidates) => found.push(candidates),
            Err(error) if found.is_empty() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(found)
}

/// Places the model for one user's pass in the smallest layout on the wafers that are asked for; then in all ways that
/// the mapping leaves, as far as they fit, for each way in which drafts may be verified. Where more wafers are given
/// than the fewest, divisions that leave some of them idle are tried too: regions that are larger than need be make
/// longer ways. A draft model takes slots that the model leaves, or further wafers where their number is free.
fn of_source(question: &Question, source: Source, wafers: WaferCount) -> Result<Candidates, AnswerError> {
    let chosen = Chosen::new(question, source)?;
    let drafts = Drafts::new(question, source);
    let mut found: Option<(Vec<Way>, u32)> = None;
    let mut refused = None;
    for verified in chosen.verified() {
        // The second way of verifying works on the wafers that the first has found.
        let asked = found.as_ref().map_or(wafers, |(_, wafers)| WaferCount::Exactly(*wafers));
        match (ways_to_verify(&chosen, *verified, asked, &drafts), &mut found) {
            (Ok(first), None) => found = Some(first),
            (Ok((more, _)), Some((ways, _))) => ways.extend(more),
            (Err(error), _) => refused = refused.or(Some(error)),
        }
    }
    let Some((ways, wafers)) = found.filter(|(ways, _)| !ways.is_empty()) else {
        return Err(refused.unwrap_or(AnswerError::NotANumber { what: "the placement", value: "nothing".into() }));
    };
    let max_users = most_users(&chosen, question, wafers, &ways[0], &drafts);
    Ok(Candidates { source, ways, wafers, max_users })
}

/// All ways with one way of verifying, and their wafers.
fn ways_to_verify(
    chosen: &Chosen<'_>,
    verified: Option<Verified>,
    asked: WaferCount,
    drafts: &Drafts<'_>,
) -> Result<(Vec<Way>, u32), AnswerError> {
    let (first, wafers) = with_room_for_draft(chosen, verified, 1, asked, drafts)?;
    let ways = chosen.ways(first).into_iter();
    Ok((ways.filter_map(|mapped| way(chosen, verified, mapped, wafers, drafts)).collect(), wafers))
}

/// A mapping with the draft model beside it, if that fits.
pub(crate) fn way(
    chosen: &Chosen<'_>,
    verified: Option<Verified>,
    mapped: Mapped,
    wafers: u32,
    drafts: &Drafts<'_>,
) -> Option<Way> {
    let draft = drafts.beside(&mapped.placement, wafers)?;
    let (source, mapping) = (chosen.source(), chosen.name().to_owned());
    Some(Way { source, mapping, mapped, draft, verified })
}

/// The layout of fewest bytes for passes of so many users, with the wafers that it and a draft model beside it take.
pub(crate) fn with_room_for_draft(
    chosen: &Chosen<'_>,
    verified: Option<Verified>,
    users: u64,
    asked: WaferCount,
    drafts: &Drafts<'_>,
) -> Result<(Mapped, u32), AnswerError> {
    let all = drafts.users();
    let on = |wafers: WaferCount| chosen.smallest(wafers, verified, users, all);
    let first = on(asked)?;
    let wafers = match asked {
        WaferCount::Auto | WaferCount::Fewest => {
            return drafts.fewest_wafers(&first.placement).map(|wafers| (first, wafers));
        }
        WaferCount::Exactly(wafers) => wafers,
    };
    // A draft model may need some of the wafers for itself.
    let fewer = (1..wafers).rev().map_while(|fewer| on(WaferCount::Exactly(fewer)).ok());
    let mut bases = std::iter::once(first).chain(fewer);
    let base = bases.find(|base| drafts.fit(&base.placement, wafers));
    base.map(|base| (base, wafers)).ok_or_else(|| {
        drafts.refused(wafers, on(WaferCount::Auto).map(|mapped| Arc::unwrap_or_clone(mapped.placement)))
    })
}

/// Most users with the context of the scenario that so many wafers hold in any arrangement. Those of the scenario are
/// known to fit, and as many as a way that is known.
pub(crate) fn most_users(
    chosen: &Chosen<'_>,
    question: &Question,
    wafers: u32,
    known: &Way,
    drafts: &Drafts<'_>,
) -> u64 {
    let verified = known.verified;
    let least = match known.draft {
        Some(_) => question.scenario.users,
        None => known.mapped.placement.max_users(question.scenario.context),
    };
    if chosen.is_resolved() {
        // There is one arrangement.
        return least;
    }
    let fits = |users: u64| {
        if drafts.is_none() {
            return chosen.holds(users, wafers, verified);
        }
        let on = |wafers: u32| chosen.smallest(WaferCount::Exactly(wafers), verified, 1, users).ok();
        drafts.hold(
            users,
            wafers,
            (1..=wafers).rev().map_while(on).map(|mapped| Arc::unwrap_or_clone(mapped.placement)),
        )
    };
    let (mut low, mut high) = (least.max(1), least.max(1).saturating_mul(2));
    while high < UNLIMITED && fits(high) {
        (low, high) = (high, high.saturating_mul(2));
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}
