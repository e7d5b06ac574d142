//! Experts dealt to rectangles by the strategies of placement, where no trace says what is wanted: batches are drawn
//! from the popularity of the scenario's routing, or from one that was counted, with a fixed seed. Which experts are the popular ones is drawn too.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wafersim_place::experts::annealed::{Annealing, anneal};
use wafersim_place::experts::assignment::Assignment;
use wafersim_place::experts::demand::{Demand, Price};
use wafersim_place::experts::strategies::{STRATEGIES, Strategy, Task};
use wafersim_spec::model::Moe;
use wafersim_spec::scenario::ExpertPlacement;

use crate::error::MappingError;
use crate::own::Own;
use crate::routing::ExpertUse;

/// Zipf exponent of expert popularity under skewed routing (Qwen3-30B-A3B, coding prompts).
pub const ZIPF_EXPONENT: f64 = 0.67;

/// Weight of the most popular expert, in whole numbers.
const WEIGHT: f64 = 1e6;
/// Seed of the drawn batches and of the optimiser.
const SEED: u64 = 1;
/// Batches drawn, at most.
const BATCHES: usize = 256;
/// Tokens drawn in all, at most, where a batch alone has not more.
const MOST_TOKENS: u64 = 4096;
/// How long the optimiser searches.
const ANNEALING: Annealing = Annealing { moves: 2000, restarts: 1, seed: SEED };

/// Choices of experts of drawn batches of `tokens` tokens: by batch, by token. Fewer batches of more tokens.
pub fn draw<'a>(moe: &Moe, tokens: u64, routing: impl Into<ExpertUse<'a>>) -> Vec<Vec<Vec<u64>>> {
    let batches = (MOST_TOKENS / tokens.max(1)).clamp(1, BATCHES as u64);
    let drawn = choices(moe, batches.saturating_mul(tokens.max(1)), routing.into());
    let top_k = usize::try_from(moe.top_k.min(moe.experts)).unwrap_or(usize::MAX).max(1);
    let of_token = drawn.chunks(top_k).map(|chosen| chosen.iter().copied().map(u64::from).collect::<Vec<u64>>());
    let all: Vec<Vec<u64>> = of_token.collect();
    all.chunks(usize::try_from(tokens.max(1)).unwrap_or(usize::MAX)).map(<[Vec<u64>]>::to_vec).collect()
}

/// What batches of `tokens` tokens want of a layer's experts.
pub fn demand<'a>(moe: &Moe, tokens: u64, routing: impl Into<ExpertUse<'a>>) -> Option<Demand> {
    let (experts, pairs) = (usize::try_from(moe.experts).ok()?, tokens.checked_mul(moe.top_k)?);
    let drawn = choices(moe, tokens.saturating_mul(BATCHES as u64), routing.into());
    Demand::new(experts, usize::try_from(pairs).ok()?, &drawn)
}

/// Choices of so many tokens, one after the other. The popular experts are drawn too.
fn choices(moe: &Moe, tokens: u64, routing: ExpertUse<'_>) -> Vec<u16> {
    let experts = usize::try_from(moe.experts).unwrap_or(usize::MAX).min(usize::from(u16::MAX));
    let top_k = usize::try_from(moe.top_k).unwrap_or(usize::MAX).min(experts);
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut ranks: Vec<usize> = (0..experts).collect();
    for last in (1..experts).rev() {
        ranks.swap(last, below(&mut random, last as u64 + 1) as usize);
    }
    // Whole numbers: the same draws on every machine.
    let weights = routing.weights(moe.experts, moe.top_k);
    // An expert that was never chosen may be, once all others are.
    let weight = |rank: &usize| (WEIGHT * weights.get(*rank).copied().unwrap_or(0.0)).round().max(1.0) as u64;
    let mut sum = 0;
    let ends: Vec<u64> = ranks
        .iter()
        .map(|rank| {
            sum += weight(rank);
            sum
        })
        .collect();
    let mut choices: Vec<u16> = Vec::new();
    for _ in 0..tokens {
        let first = choices.len();
        while choices.len() < first + top_k {
            let drawn = below(&mut random, sum.max(1));
            let expert = ends.partition_point(|end| *end <= drawn) as u16;
            if !choices[first..].contains(&expert) {
                choices.push(expert);
            }
        }
    }
    choices
}

/// A whole number below `count`, which is below 2^32.
fn below(random: &mut ChaCha8Rng, count: u64) -> u64 {
    (u64::from(random.next_u32()) * count) >> 32
}

/// Without time, a rectangle costs what it gets.
fn price() -> Price {
    Price::new(vec![0.0, 1.0], vec![0.0])
}

/// Has an own strategy deal the experts of a layer to `cells` rectangles with room for `room` each.
///
/// # Errors
/// Where its code is not there, or what it deals is not valid for the task.
pub fn deal_own(
    own: &Own<dyn Strategy>,
    demand: &Demand,
    cells: usize,
    room: usize,
) -> Result<Assignment, MappingError> {
    let refuse = |problem: String, allowed: String| {
        Err(MappingError::Own { kind: "experts", id: own.id().to_owned(), problem, allowed })
    };
    let Some(strategy) = own.code() else {
        return refuse("its code is not there".into(), "a mapping with the strategy handed over".into());
    };
    let experts = demand.experts();
    if cells.saturating_mul(room) < experts || cells > usize::from(u16::MAX) {
        let problem = format!("{cells} rectangles with room for {room} each");
        return refuse(problem, format!("room for {experts} experts in at most {} rectangles", u16::MAX));
    }
    let price = price();
    let assignment = strategy.assign(&Task { demand, cells, room, price: &price });
    if assignment.cells == cells && assignment.is_valid(experts, room) {
        return Ok(assignment);
    }
    let most = assignment.copies_in_cells().into_iter().max().unwrap_or(0);
    refuse(
        format!("dealt {} experts to {} rectangles, at most {most} to one", assignment.homes.len(), assignment.cells),
        format!("each of {experts} experts in one or more different of {cells} rectangles, at most {room} in each"),
    )
}

/// Deals the experts of a layer to `cells` rectangles with room for `room` each. `None` where the strategy deals none,
/// or there is no room.
pub fn deal(strategy: ExpertPlacement, demand: &Demand, cells: usize, room: usize) -> Option<Assignment> {
    if cells.saturating_mul(room) < demand.experts() || cells <= 1 || cells > usize::from(u16::MAX) {
        return None;
    }
    let price = price();
    let task = Task { demand, cells, room, price: &price };
    let named = |name: &str| STRATEGIES.iter().find(|known| known.name() == name).map(|known| known.assign(&task));
    match strategy {
        ExpertPlacement::Spread | ExpertPlacement::Clustered => None,
        ExpertPlacement::Annealed => {
            let starts = STRATEGIES.iter().map(|known| known.assign(&task));
            let priced = starts.map(|start| (start.judge(demand, &price).price, start));
            let best = priced.reduce(|best, other| if other.0 < best.0 { other } else { best });
            best.map(|(_, start)| anneal(&task, &start, ANNEALING))
        }
        other => named(other.name()),
    }
}
