//! Experts dealt to rectangles by the strategies of placement, where no trace says what is wanted: batches are drawn
//! from the popularity of the scenario's routing, with a fixed seed. Which experts are the popular ones is drawn too.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wafersim_place::experts::annealed::{Annealing, anneal};
use wafersim_place::experts::assignment::Assignment;
use wafersim_place::experts::demand::{Demand, Price};
use wafersim_place::experts::strategies::{STRATEGIES, Task};
use wafersim_spec::model::Moe;
use wafersim_spec::scenario::{ExpertPlacement, RoutingModel};

/// Zipf exponent of expert popularity under skewed routing (Qwen3-30B-A3B, coding prompts).
pub const ZIPF_EXPONENT: f64 = 0.67;

/// Weight of the most popular expert, in whole numbers.
const WEIGHT: f64 = 1e6;
/// Seed of the drawn batches and of the optimiser.
const SEED: u64 = 1;
/// Batches drawn.
const BATCHES: usize = 256;
/// How long the optimiser searches.
const ANNEALING: Annealing = Annealing { moves: 2000, restarts: 1, seed: SEED };

/// What batches of `tokens` tokens want of a layer's experts.
pub fn demand(moe: &Moe, tokens: u64, routing: RoutingModel) -> Option<Demand> {
    let experts = usize::try_from(moe.experts).ok()?;
    let (top_k, tokens) = (usize::try_from(moe.top_k).ok()?, usize::try_from(tokens).ok()?);
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    // Which ones are the popular ones.
    let mut ranks: Vec<usize> = (0..experts).collect();
    for last in (1..experts).rev() {
        ranks.swap(last, below(&mut random, last as u64 + 1) as usize);
    }
    // Whole numbers: the same draws on every machine.
    let weight = |rank: &usize| match routing {
        RoutingModel::Uniform => WEIGHT as u64,
        RoutingModel::Skewed => (WEIGHT * ((rank + 1) as f64).powf(-ZIPF_EXPONENT)).round() as u64,
    };
    let mut sum = 0;
    let ends: Vec<u64> = ranks
        .iter()
        .map(|rank| {
            sum += weight(rank);
            sum
        })
        .collect();
    let mut choices: Vec<u16> = Vec::with_capacity(BATCHES * tokens * top_k);
    for _ in 0..BATCHES * tokens {
        let first = choices.len();
        while choices.len() < first + top_k.min(experts) {
            let drawn = below(&mut random, sum.max(1));
            let expert = ends.partition_point(|end| *end <= drawn) as u16;
            if !choices[first..].contains(&expert) {
                choices.push(expert);
            }
        }
    }
    Demand::new(experts, tokens.checked_mul(top_k)?, &choices)
}

/// A whole number below `count`, which is below 2^32.
fn below(random: &mut ChaCha8Rng, count: u64) -> u64 {
    (u64::from(random.next_u32()) * count) >> 32
}

/// Without time, a rectangle costs what it gets.
fn price() -> Price {
    Price::new(vec![0.0, 1.0], vec![0.0])
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

/// Pairs of token and expert that the busiest rectangle gets of a batch of `tokens`, mean over drawn batches.
pub fn busiest_pairs(homes: &[Vec<u16>], cells: u64, moe: &Moe, tokens: u64, routing: RoutingModel) -> Option<f64> {
    let demand = demand(moe, tokens, routing)?;
    let assignment = Assignment { cells: usize::try_from(cells).ok()?, homes: homes.to_vec() };
    let valid = assignment.is_valid(demand.experts(), usize::MAX);
    valid.then(|| assignment.judge(&demand, &price()).busiest_pairs)
}
