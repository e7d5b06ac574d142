//! Ways to place the model on the same wafers, among which each profile takes the one that is fastest for it.

use wafersim_place::{Arrangement, KvLayoutChoice, Machine, Placement, Request, UNLIMITED, place};
use wafersim_spec::scenario::WaferCount;

use crate::decode::candidate_micro_batches;
use crate::error::AnswerError;
use crate::question::Question;

/// The ways worth comparing.
pub struct Candidates {
    /// Placements with the micro-batch that each was made for. The first is for single tokens, in the layout of fewest
    /// bytes.
    pub ways: Vec<(Placement, u64)>,
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

/// Places the model for single tokens in the smallest layout on the wafers of the scenario; then for the micro-batches and
/// with the KV layouts worth trying, as far as they fit. Where more wafers are given than the fewest, divisions that leave
/// some of them idle are tried too: regions that are larger than need be make longer ways.
pub fn candidates(question: &Question) -> Result<Candidates, AnswerError> {
    let tokens = |micro_batch: u64| micro_batch.saturating_mul(question.tokens_per_step());
    let asked = question.scenario.wafers;
    let first = place(&question.request(asked, tokens(1), KvLayoutChoice::Balanced))?;
    let wafers = first.wafers;
    let mut ways = ways_on(question, first);
    if matches!(asked, WaferCount::Exactly(_)) {
        for fewer in divisions(question, wafers) {
            let request = question.request(WaferCount::Exactly(fewer), tokens(1), KvLayoutChoice::Balanced);
            if let Ok(placement) = place(&request) {
                ways.extend(ways_on(question, placement));
            }
        }
    }
    let max_users = most_users(question, wafers, ways[0].0.max_users(question.scenario.context));
    Ok(Candidates { ways, wafers, max_users })
}

/// A placement in the layout of fewest bytes, and the other ways of working on slots of the same number: in other shapes,
/// with other KV layouts, for other micro-batches.
fn ways_on(question: &Question, first: Placement) -> Vec<(Placement, u64)> {
    let tokens = |micro_batch: u64| micro_batch.saturating_mul(question.tokens_per_step());
    let (wafers, slots, chosen) = (WaferCount::Exactly(first.wafers), first.slots_per_wafer, first.arrangement);
    let machine = Machine::from(&question.wafer);
    let mut shapes: Vec<Arrangement> = Arrangement::of_slots(slots, &machine).collect();
    shapes.sort_by_key(|shape| {
        let (columns, rows) = shape.slot_size(&machine);
        (*shape != chosen, columns + rows)
    });
    shapes.truncate(MOST_SHAPES);
    let sizes = candidate_micro_batches(question.scenario.users, first.slots.len() as u64);
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
fn divisions(question: &Question, wafers: u32) -> Vec<u32> {
    let request = question.request(WaferCount::Auto, question.tokens_per_step(), KvLayoutChoice::Balanced);
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

/// Most users with the context of the scenario that so many wafers hold in any arrangement. `known` users are known to fit.
pub(crate) fn most_users(question: &Question, wafers: u32, known: u64) -> u64 {
    let mut request =
        question.request(WaferCount::Exactly(wafers), question.tokens_per_step(), KvLayoutChoice::Balanced);
    let mut fits = |users: u64| {
        request.users = users;
        wafersim_place::fits(&request)
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
