//! The generative model at work: each user's state in each layer, and the next choice.
//!
//! All state is whole numbers, and every user and layer has a random stream of its own: choices do not depend on the
//! order in which layers and users are asked, nor on threads.

use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::calibration::{LEVELS, LayerLaw};
use super::profile::layer_targets;
use super::settings::{MOST_TOP_K, SyntheticSettings};
use crate::choose::Routing;
use crate::error::RoutingError;
use crate::header::Header;

/// Random streams: which expert has which rank (by kind of work and layer), what kinds of work share (by layer), and
/// affinities and draws (by session and layer).
const RANKS: u64 = 2 << 48;
const SHARED_RANKS: u64 = 3 << 48;
const CHOICES: u64 = 4 << 48;

/// Experts whose weights are added up together.
const BLOCK: usize = 16;

/// What does not change while users generate tokens: popularity, stickiness, and which experts are hot for which work.
#[derive(Debug, Clone, PartialEq)]
pub struct RoutingLaw {
    header: Header,
    seed: u64,
    kinds: u32,
    layers: Vec<LayerLaw>,
    /// Rank of each expert: kinds x layers x experts.
    ranks: Vec<u16>,
    /// Affinities drawn anew for each token: whole ones, and the chance of one more in 2^32.
    renewals: (u32, u32),
}

impl RoutingLaw {
    /// Calibrates the layers of `settings`, in parallel.
    ///
    /// # Errors
    /// Where a setting is outside its range.
    pub fn new(settings: &SyntheticSettings) -> Result<Self, RoutingError> {
        let header = settings.header()?;
        let targets = layer_targets(&settings.parameters, header.layers, settings.mean_overlap(), settings.seed);
        let layers = targets
            .par_iter()
            .map(|target| LayerLaw::new(&settings.parameters, header.experts, header.top_k, target))
            .collect();
        let each = f64::from(header.experts) / settings.parameters.persistence.max(1.0);
        let renewals = (each.floor() as u32, (each.fract() * f64::from(u32::MAX)) as u32);
        let ranks = (0..settings.kinds_of_work)
            .flat_map(|kind| (0..header.layers).flat_map(move |layer| ranks(settings, kind, layer)))
            .collect();
        Ok(Self { header, seed: settings.seed, kinds: settings.kinds_of_work, layers, ranks, renewals })
    }

    /// The header of a trace of this law.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Probability that a token of this kind of work uses each expert of a layer.
    pub fn uses(&self, kind: u32, layer: u32) -> Vec<f64> {
        let uses = self.layers.get(layer as usize).map_or(&[][..], |law| &law.uses);
        self.ranks_of(kind, layer).iter().filter_map(|&rank| uses.get(usize::from(rank)).copied()).collect()
    }

    fn ranks_of(&self, kind: u32, layer: u32) -> &[u16] {
        let experts = self.header.experts as usize;
        let start = ((kind % self.kinds) as usize * self.header.layers as usize + layer as usize) * experts;
        self.ranks.get(start..start + experts).unwrap_or(&[])
    }
}

/// The rank of each expert for a kind of work: by a score of which `shared_taste` of the variance is common to all
/// kinds. (Scores are sums of twelve uniform numbers, normal enough for ranks.)
fn ranks(settings: &SyntheticSettings, kind: u32, layer: u32) -> Vec<u16> {
    let experts = settings.experts as usize;
    let scores = |stream: u64| -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
        random.set_stream(stream | u64::from(layer));
        (0..experts)
            .map(|_| (0..12).map(|_| f64::from(random.next_u32()) / 4_294_967_296.0).sum::<f64>() - 6.0)
            .collect()
    };
    let shared = settings.parameters.shared_taste.clamp(0.0, 1.0);
    let own = scores(RANKS | u64::from(kind) << 16);
    let mut order: Vec<(f64, u16)> = scores(SHARED_RANKS)
        .iter()
        .zip(own)
        .zip(0u16..)
        .map(|((common, own), expert)| (shared.sqrt() * common + (1.0 - shared).sqrt() * own, expert))
        .collect();
    order.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    let mut ranks = vec![0; experts];
    for (rank, (_, expert)) in (0u16..).zip(order) {
        if let Some(place) = ranks.get_mut(usize::from(expert)) {
            *place = rank;
        }
    }
    ranks
}

/// One user in one layer.
#[derive(Debug, Clone)]
pub(super) struct State {
    random: ChaCha8Rng,
    kind: u32,
    /// Weight of each expert.
    weights: Vec<u32>,
    /// Sums of [`BLOCK`] weights each, and of all.
    blocks: Vec<u32>,
    total: u32,
}

impl State {
    fn new(law: &RoutingLaw, layer: u32, session: u32, kind: u32) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(law.seed);
        random.set_stream(CHOICES | u64::from(session) << 16 | u64::from(layer));
        let experts = law.header.experts as usize;
        let mut state =
            Self { random, kind, weights: vec![0; experts], blocks: vec![0; experts.div_ceil(BLOCK)], total: 0 };
        for expert in 0..experts {
            let level = state.random.next_u32() as usize % LEVELS;
            state.set(expert, weight(law, layer, kind, expert, level));
        }
        state
    }

    fn set(&mut self, expert: usize, weight: u32) {
        let (Some(known), Some(block)) = (self.weights.get_mut(expert), self.blocks.get_mut(expert / BLOCK)) else {
            return;
        };
        let change = weight.wrapping_sub(*known);
        *known = weight;
        *block = block.wrapping_add(change);
        self.total = self.total.wrapping_add(change);
    }

    /// The next token's experts.
    pub(super) fn choose(&mut self, law: &RoutingLaw, layer: u32, chosen: &mut [u16]) {
        let (whole, more) = law.renewals;
        let renewals = whole + u32::from(more > 0 && self.random.next_u32() < more);
        for _ in 0..renewals {
            let word = self.random.next_u32();
            let expert = ((u64::from(word >> 5) * u64::from(law.header.experts)) >> 27) as usize;
            let weight = weight(law, layer, self.kind, expert, word as usize % LEVELS);
            self.set(expert, weight);
        }
        // Drawn without replacement: a drawn expert weighs nothing until all are drawn.
        let mut removed = [0u32; MOST_TOP_K];
        for (place, removed) in chosen.iter_mut().zip(&mut removed) {
            let expert = self.draw();
            *place = expert as u16;
            *removed = self.weights.get(expert).copied().unwrap_or(0);
            self.set(expert, 0);
        }
        for (&expert, &weight) in chosen.iter().zip(&removed) {
            self.set(usize::from(expert), weight);
        }
    }

    fn draw(&mut self) -> usize {
        let mut at = ((u64::from(self.random.next_u32()) * u64::from(self.total)) >> 32) as u32;
        let mut first = 0;
        for &sum in &self.blocks {
            if at < sum {
                break;
            }
            at -= sum;
            first += BLOCK;
        }
        for (expert, &weight) in self.weights.iter().enumerate().skip(first).take(BLOCK) {
            if at < weight {
                return expert;
            }
            at -= weight;
        }
        // Not reached: the sums are exact.
        self.weights.iter().position(|weight| *weight > 0).unwrap_or(0)
    }
}

fn weight(law: &RoutingLaw, layer: u32, kind: u32, expert: usize, level: usize) -> u32 {
    let rank = law.ranks_of(kind, layer).get(expert).copied().unwrap_or(0);
    let weights = law.layers.get(layer as usize).map_or(&[][..], |law| &law.weights);
    weights.get(usize::from(rank) * LEVELS + level).copied().unwrap_or(1)
}

/// The generative model for simulations: every user's next choice in any layer, without allocation.
#[derive(Debug, Clone)]
pub struct ExpertSampler {
    law: Arc<RoutingLaw>,
    users: usize,
    /// Layers x users.
    states: Vec<State>,
}

impl ExpertSampler {
    /// Users 0 to `users` - 1 in sessions of the same numbers, kinds of work dealt in turn.
    ///
    /// # Errors
    /// Where a setting is outside its range.
    pub fn new(settings: &SyntheticSettings) -> Result<Self, RoutingError> {
        Ok(Self::of_law(Arc::new(RoutingLaw::new(settings)?), settings.users))
    }

    /// The same with a law that others use too.
    pub fn of_law(law: Arc<RoutingLaw>, users: u32) -> Self {
        let pairs: Vec<(u32, u32)> =
            (0..law.header.layers).flat_map(|layer| (0..users).map(move |user| (layer, user))).collect();
        let states = pairs.par_iter().map(|&(layer, user)| State::new(&law, layer, user, user % law.kinds)).collect();
        Self { law, users: users as usize, states }
    }

    /// The law.
    pub fn law(&self) -> &RoutingLaw {
        &self.law
    }

    /// A user begins a new session, with work of a kind: other affinities, other random numbers.
    pub fn begin(&mut self, user: u32, session: u32, kind: u32) {
        for layer in 0..self.law.header.layers {
            if (user as usize) < self.users
                && let Some(state) = self.states.get_mut(layer as usize * self.users + user as usize)
            {
                *state = State::new(&self.law, layer, session, kind % self.law.kinds);
            }
        }
    }

    /// `rounds` tokens of every user in every layer, layers in parallel; `choices` is layers x rounds x users x top-k.
    pub(super) fn fill(&mut self, rounds: usize, choices: &mut [u16]) {
        let (law, top_k) = (&self.law, self.law.header.top_k as usize);
        let layer_choices = (rounds * self.users * top_k).max(1);
        choices
            .par_chunks_mut(layer_choices)
            .zip(self.states.par_chunks_mut(self.users.max(1)))
            .zip(0u32..law.header.layers)
            .for_each(|((choices, states), layer)| {
                for round in choices.chunks_mut(states.len() * top_k) {
                    for (chosen, state) in round.chunks_mut(top_k).zip(states.iter_mut()) {
                        state.choose(law, layer, chosen);
                    }
                }
            });
    }
}

impl Routing for ExpertSampler {
    fn header(&self) -> &Header {
        &self.law.header
    }

    fn choose(&mut self, layer: u32, users: &[u32], chosen: &mut [u16]) -> Result<(), RoutingError> {
        let header = &self.law.header;
        crate::choose::check(header, layer, users, chosen)?;
        for (&user, chosen) in users.iter().zip(chosen.chunks_exact_mut(header.top_k as usize)) {
            let state = match user as usize {
                index if index < self.users => self.states.get_mut(layer as usize * self.users + index),
                _ => None,
            };
            let Some(state) = state else {
                return Err(RoutingError::range("user", user, format!("below {}", self.users)));
            };
            state.choose(&self.law, layer, chosen);
        }
        Ok(())
    }
}
