//! What no mapping beats: a lower bound on the time of a token, for any mapping of a model on wafers.
//!
//! It knows the model's products, the mesh, the links and the clock. It knows no programs, no placement and no mapping,
//! and no crate that does. [`bound`] gives every term; [`mesh`] holds the geometry, `stages` the chain of products. The
//! theorem, its proof and what it assumes stand in docs/src/bound.md; `tests/schedules.rs` lets random schedules try to
//! beat it.
//!
//! Twice: at the peak rate of a processing element, which decides what is excluded, and at the rate that was measured
//! for the operation that products of a token run in, which is what mappings that were found are compared with.

mod boundaries;
pub mod mesh;
mod stages;

use serde::Serialize;
use wafersim_spec::wafer::{Key, RateSet};
use wafersim_spec::{Bytes, Hertz, Model, Precision, Wafer};

pub use boundaries::{Crossing, crossing};
pub use mesh::{Binds, Demand, Mesh, Shortest};
use stages::{Chains, Layers};
pub use stages::{Products, Stage};

/// What is asked of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BoundLoad {
    /// Tokens in each user's cache.
    pub context: u64,
    /// Users, each with one token in flight.
    pub users: u64,
    /// Data types.
    pub precision: Precision,
    /// Wafers at most; nothing where their number is free. Fewer than hold the model are taken as those that do.
    pub wafers: Option<u32>,
    /// Tokens that go through the model in one step of a user: 1, or a draft and the token after it.
    pub tokens: u64,
    /// Tokens that a step gives in the mean: 1, or those that are accepted and one more.
    pub accepted: f64,
    /// The clock.
    pub clock: Hertz,
}

/// The bound with its terms. Field names are those of `simctl bound --format json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Bound {
    /// Name of the model.
    pub model: String,
    /// Name of the wafer.
    pub wafer: String,
    /// The load.
    pub load: BoundLoad,
    /// Bytes that a token's way leads past: weights, and the cache of its user.
    pub held: Bytes,
    /// Wafers that hold them, at the least. All users' caches may need more.
    pub fewest_wafers: u32,
    /// At peak rate.
    pub no_mapping_beats: Limit,
    /// At the rate that was measured.
    pub no_mapping_beats_at_measured_rate: Limit,
    /// What it rests on: [`ASSUMPTIONS`].
    pub assumptions: &'static [&'static str],
}

/// The bound at one rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Limit {
    /// Output tokens per second that each user sees, at most.
    pub tokens_per_second_per_user: f64,
    /// Mean time between a user's output tokens, at least, in microseconds.
    pub time_per_output_token_us: f64,
    /// One step, at least, in microseconds: the longer of `pass_us` and `work_us`.
    pub step_us: f64,
    /// One token's way through the model, at least, in microseconds: stages, links, less what is given away at
    /// boundaries.
    pub pass_us: f64,
    /// All stages, in microseconds.
    pub stages_us: f64,
    /// All links between wafers, in microseconds.
    pub links_us: f64,
    /// What is given away where a token goes from wafer to wafer, in microseconds.
    pub given_away_us: f64,
    /// Links that a token goes over.
    pub links: u32,
    /// All products of all users' tokens of a step on all processing elements at once, in microseconds; 0 where the
    /// number of wafers is free.
    pub work_us: f64,
    /// The mesh that the stages are on.
    pub mesh: Mesh,
    /// The stages, alike ones together, in the order of first use.
    pub terms: Vec<Term>,
}

/// Stages that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Term {
    /// Which products, how many, and what they read.
    pub stage: Stage,
    /// How often the stage comes in a pass.
    pub times: u64,
    /// Processing elements that must take part in each.
    pub pes: u64,
    /// How long each takes at least.
    pub shortest: Shortest,
}

/// The bound for a model on wafers.
pub fn bound(model: &Model, wafer: &Wafer, load: &BoundLoad) -> Bound {
    let layers = Layers::new(model);
    let held = layers.held_bytes(load);
    let pes = wafer.columns().saturating_mul(wafer.rows()).max(1);
    let room = wafer.free_bytes() * pes;
    let fewest_wafers = u32::try_from(held.0.div_ceil(room.0.max(1)).max(1)).unwrap_or(u32::MAX);
    let (peak, measured) = rates(wafer, &load.precision);
    let hop = wafer.value(Key::HopLatency, RateSet::Silicon);
    let way = Token { chains: stages::chains(&layers, load), macs: layers.all_macs(load) };
    let at = |macs_per_cycle: f64| limit(&way, wafer, load, fewest_wafers, Mesh { hop, pes, macs_per_cycle });
    Bound {
        model: model.name.clone(),
        wafer: wafer.name.clone(),
        load: *load,
        held,
        fewest_wafers,
        no_mapping_beats: at(peak),
        no_mapping_beats_at_measured_rate: at(measured),
        assumptions: ASSUMPTIONS,
    }
}

/// Multiply-accumulates a cycle of one processing element: at peak, and of the operation that products with one token
/// run in (issued from a map) as measured. The peak is never less than a rate that the wafer file gives for any
/// operation.
fn rates(wafer: &Wafer, precision: &Precision) -> (f64, f64) {
    let value = |key: Key| wafer.value(key, RateSet::Silicon);
    let (mapped, others) = if precision.activations.bits() > 16 {
        (value(Key::Lanes32) / value(Key::MapWave32), vec![value(Key::Peak32), value(Key::Fma32)])
    } else {
        let word = 4.0 / value(Key::TileWord);
        (value(Key::Lanes16) / value(Key::MapWave16), vec![value(Key::Peak16), value(Key::Fma16), word])
    };
    (others.into_iter().fold(mapped, f64::max), mapped)
}

/// What is asked for one token, at any rate.
struct Token {
    chains: Chains,
    /// Multiply-accumulates.
    macs: u64,
}

fn limit(token: &Token, wafer: &Wafer, load: &BoundLoad, fewest_wafers: u32, mesh: Mesh) -> Limit {
    let room = wafer.free_bytes().0.max(1);
    let pes_of = |stage: &Stage| stage.bytes.0.div_ceil(room).clamp(1, mesh.pes);
    let microseconds = |cycles: f64| cycles / load.clock.0 * 1e6;
    let link_us = wafer.value(Key::LinkLatency, RateSet::Silicon);
    let link = link_us * 1e-6 * load.clock.0;

    let Chains { stages, chains } = &token.chains;
    let shortest: Vec<Shortest> =
        stages.iter().map(|stage| mesh.shortest(Demand { macs: stage.macs, pes: pes_of(stage) })).collect();
    // Every chain is a bound, and the largest holds.
    let ways = chains.iter().map(|chain| {
        let cycles: Vec<f64> = chain.iter().map(|stage| shortest[*stage].cycles).collect();
        Way { chain, stages: cycles.iter().sum(), crossing: crossing(&cycles, link, fewest_wafers, load.wafers) }
    });
    let longest = ways.reduce(|one, other| if other.cycles(link) > one.cycles(link) { other } else { one });
    let Way { chain, stages: in_stages, crossing } =
        longest.unwrap_or(Way { chain: &[], stages: 0.0, crossing: Crossing { links: 0, given_away: 0.0 } });
    let mut terms: Vec<Term> = Vec::new();
    for stage in chain {
        let (stage, shortest) = (stages[*stage], shortest[*stage]);
        match terms.iter_mut().find(|term| term.stage == stage) {
            Some(term) => term.times += 1,
            None => terms.push(Term { stage, times: 1, pes: pes_of(&stage), shortest }),
        }
    }
    let pass_us = microseconds((in_stages - crossing.given_away).max(0.0)) + f64::from(crossing.links) * link_us;
    let macs = token.macs as f64 * load.users as f64 * load.tokens as f64;
    let work = |wafers: u32| macs / (mesh.macs_per_cycle * mesh.pes as f64 * f64::from(wafers.max(1)));
    let work_us = load.wafers.map_or(0.0, |wafers| microseconds(work(wafers.max(fewest_wafers))));
    let step_us = pass_us.max(work_us);
    let time_per_output_token_us = step_us / load.accepted.max(1.0);
    Limit {
        tokens_per_second_per_user: 1e6 / time_per_output_token_us,
        time_per_output_token_us,
        step_us,
        pass_us,
        stages_us: microseconds(in_stages),
        links_us: f64::from(crossing.links) * link_us,
        given_away_us: microseconds(crossing.given_away),
        links: crossing.links,
        work_us,
        mesh,
        terms,
    }
}

/// One chain of stages with the links that are best for it.
#[derive(Debug, Clone, Copy)]
struct Way<'a> {
    /// Places among the stages.
    chain: &'a [usize],
    /// Cycles of all stages.
    stages: f64,
    crossing: Crossing,
}

impl Way<'_> {
    fn cycles(&self, link: f64) -> f64 {
        self.stages - self.crossing.given_away + f64::from(self.crossing.links) * link
    }
}

/// What the bound rests on, in the order of the book's page.
pub const ASSUMPTIONS: &[&str] = &[
    "products are with the given matrices, each formed once, with complete elements of its vector; those that a rewrite forms \
     away (router x output projection, gains) and those that stand aside of the chain (output projection, embedding) are \
     left out",
    "weights and cached keys and values are computed with where they lie; no layer is skipped",
    "a value moves one processing element in the time of a hop; nothing but hops, multiply-accumulates and links takes time",
    "a token goes over as many links as wafers are needed for the weights and its user's cache, and is not sent to and \
     fro; at each of them at most half of the stages before and after is given away, since coordinates begin anew",
    "the tokens of a draft follow each other through the model and hold up nobody; a draft itself costs nothing",
];
