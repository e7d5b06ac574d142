//! Ways to place the model on the same wafers, among which each profile takes the one that is fastest for it.

use wafersim_place::{Arrangement, KvLayoutChoice, Machine, Placement, Request, UNLIMITED, place};
use wafersim_spec::scenario::WaferCount;

use crate::decode::{Verified, candidate_micro_batches};
use crate::draft::Drafts;
use crate::error::AnswerError;
use crate::question::Question;

/// A way of working.
#[derive(Debug, Clone)]
pub struct Way {
    /// Where the model lies.
    pub placement: Placement,
    /// Where its draft model lies, if it has one.
    pub draft: Option<Placement>,
    /// Users whose tokens go through together: what the placement was made for.
    pub micro_batch: u64,
    /// How drafts are verified; nothing without speculation.
    pub verified: Option<Verified>,
}

/// The ways worth comparing.
pub struct Candidates {
    /// The first is for micro-batches of one user, in the layout of fewest bytes. There is at least one.
    pub ways: Vec<Way>,
    /// Wafers that were asked for, or the fewest.
    pub wafers: u32,
    /// Users that these wafers hold in any arrangement.
    pub max_users: u64,
}

/// Columns of a block that may share a head's dimensions, tried beside the layout of fewest bytes: few columns mean
/// that the softmax is computed less often and scores travel less far, many mean less memory for queries.
const DIMENSION_SPLITS: [u64; 6] = [1, 2, 4, 8, 16, u64::MAX];

/// Most shapes of slots that are tried: the shortest ways first.
const MOST_SHAPES: usize = 3;

/// Most other divisions of the wafers that are tried when more wafers are given than the model needs.
const OTHER_DIVISIONS: usize = 2;

/// Places the model for one user's pass in the smallest layout on the wafers of the scenario; then for the micro-batches and
/// with the KV layouts worth trying, as far as they fit, for each way in which drafts may be verified. Where more wafers are
/// given than the fewest, divisions that leave some of them idle are tried too: regions that are larger than need be make
/// longer ways. A draft model takes slots that the model leaves, or further wafers where their number is free.
pub fn candidates(question: &Question) -> Result<Candidates, AnswerError> {
    let drafts = Drafts::new(question);
    let mut found: Option<(Vec<Way>, u32)> = None;
    let mut refused = None;
    for verified in Verified::allowed(question) {
        // The second way of verifying works on the wafers that the first has found.
        let asked = found.as_ref().map_or(question.scenario.wafers, |(_, wafers)| WaferCount::Exactly(*wafers));
        match (ways_to_verify(question, *verified, asked, &drafts), &mut found) {
            (Ok(first), None) => found = Some(first),
            (Ok((more, _)), Some((ways, _))) => ways.extend(more),
            (Err(error), _) => refused = refused.or(Some(error)),
        }
    }
    let Some((ways, wafers)) = found else {
        return Err(refused.unwrap_or(AnswerError::NotANumber { what: "the placement", value: "nothing".into() }));
    };
    let max_users = most_users(question, wafers, &ways[0], &drafts);
    Ok(Candidates { ways, wafers, max_users })
}

/// All ways with one way of verifying, and their wafers.
fn ways_to_verify(
    question: &Question,
    verified: Option<Verified>,
    asked: WaferCount,
    drafts: &Drafts<'_>,
) -> Result<(Vec<Way>, u32), AnswerError> {
    let tokens = question.tokens_per_pass(verified);
    let (first, wafers) = with_room_for_draft(question, tokens, asked, drafts)?;
    let mut bases = vec![first];
    if matches!(question.scenario.wafers, WaferCount::Exactly(_)) {
        let fewer = divisions(question, tokens, bases[0].wafers);
        let on = |wafers| place(&question.request(WaferCount::Exactly(wafers), tokens, KvLayoutChoice::Balanced));
        bases.extend(fewer.into_iter().filter_map(|fewer| on(fewer).ok()));
    }
    let placed = bases.into_iter().flat_map(|base| placements_on(question, verified, base));
    let ways = placed.filter_map(|(placement, micro_batch)| {
        let draft = drafts.beside(&placement, wafers)?;
        Some(Way { placement, draft, micro_batch, verified })
    });
    Ok((ways.collect(), wafers))
}

/// The layout of fewest bytes for passes of so many tokens, with the wafers that it and a draft model beside it take.
pub(crate) fn with_room_for_draft(
    question: &Question,
    tokens: u64,
    asked: WaferCount,
    drafts: &Drafts<'_>,
) -> Result<(Placement, u32), AnswerError> {
    let on = |wafers: WaferCount| place(&question.request(wafers, tokens, KvLayoutChoice::Balanced));
    let first = on(asked)?;
    let wafers = match asked {
        WaferCount::Auto => return drafts.fewest_wafers(&first).map(|wafers| (first, wafers)),
        WaferCount::Exactly(wafers) => wafers,
    };
    // A draft model may need some of the wafers for itself.
    let fewer = (1..wafers).rev().map_while(|fewer| on(WaferCount::Exactly(fewer)).ok());
    let mut bases = std::iter::once(first).chain(fewer);
    let base = bases.find(|base| drafts.fit(base, wafers));
    base.map(|base| (base, wafers)).ok_or_else(|| drafts.refused(wafers, on(WaferCount::Auto)))
}

/// A placement in the layout of fewest bytes, and the other ways of working on slots of the same number: in other shapes,
/// with other KV layouts, for other micro-batches.
fn placements_on(question: &Question, verified: Option<Verified>, first: Placement) -> Vec<(Placement, u64)> {
    let tokens = |micro_batch: u64| micro_batch.saturating_mul(question.tokens_per_pass(verified));
    let (wafers, slots, chosen) = (WaferCount::Exactly(first.wafers), first.slots_per_wafer, first.arrangement);
    let machine = Machine::from(&question.wafer);
    let mut shapes: Vec<Arrangement> = Arrangement::of_slots(slots, &machine).collect();
    shapes.sort_by_key(|shape| {
        let (columns, rows) = shape.slot_size(&machine);
        (*shape != chosen, columns + rows)
    });
    shapes.truncate(MOST_SHAPES);
    let (users, passes) = (question.scenario.users, question.passes_per_step(verified));
    let sizes = candidate_micro_batches(users, passes, first.slots.len() as u64);
    let mut ways = vec![(first, 1)];
    for shape in shapes {
        for &micro_batch in &sizes {
            for kv_layout in
                [KvLayoutChoice::Balanced].into_iter().chain(DIMENSION_SPLITS.map(KvLayoutChoice::DimensionSplit))
            {
                if (shape, micro_batch, kv_layout) == (chosen, 1, KvLayoutChoice::Balanced) {
                    // The first one.
                    continue;
                }
                let request = question.request(wafers, tokens(micro_batch), kv_layout);
                // What does not fit is not considered.
                if let Ok(placement) = place(&Request { arrangement: Some(shape), ..request }) {
                    // Layouts of the same split are the same way.
                    let same = |(known, size): &(Placement, u64)| {
                        (*size, known.arrangement) == (micro_batch, shape) && same_cache(known, &placement)
                    };
                    if !ways.iter().any(same) {
                        ways.push((placement, micro_batch));
                    }
                }
            }
        }
    }
    ways
}

fn same_cache(one: &Placement, other: &Placement) -> bool {
    one.layouts.len() == other.layouts.len()
        && one.layouts.iter().zip(&other.layouts).all(|(one, other)| one.kv == other.kv)
}

/// Wafer counts below `wafers` at which the slots of the fewest wafers can be dealt out with fewer slots on each: the fewest
/// itself first.
fn divisions(question: &Question, tokens: u64, wafers: u32) -> Vec<u32> {
    let request = question.request(WaferCount::Auto, tokens, KvLayoutChoice::Balanced);
    let Ok(fewest) = place(&request) else { return Vec::new() };
    let slots = fewest.slots.len() as u64;
    let mut counts: Vec<u32> = (1..=fewest.slots_per_wafer)
        .rev()
        .filter_map(|per_wafer| u32::try_from(slots.div_ceil(per_wafer)).ok())
        .filter(|count| *count < wafers)
        .collect();
    counts.dedup();
    counts.truncate(OTHER_DIVISIONS);
    counts
}

/// Most users with the context of the scenario that so many wafers hold in any arrangement. Those of the scenario are known to
/// fit, and as many as a way that is known.
pub(crate) fn most_users(question: &Question, wafers: u32, known: &Way, drafts: &Drafts<'_>) -> u64 {
    let tokens = question.tokens_per_pass(known.verified);
    let mut request = question.request(WaferCount::Exactly(wafers), tokens, KvLayoutChoice::Balanced);
    let known = match known.draft {
        Some(_) => question.scenario.users,
        None => known.placement.max_users(question.scenario.context),
    };
    let mut fits = |users: u64| {
        request.users = users;
        if drafts.is_none() { wafersim_place::fits(&request) } else { drafts.hold(users, &request, wafers) }
    };
    let (mut low, mut high) = (known.max(1), known.max(1).saturating_mul(2));
    while high < UNLIMITED && fits(high) {
        (low, high) = (high, high.saturating_mul(2));
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}
