//! What batches want of the experts of a layer, and what a place for experts costs when it is wanted: plain data, made
//! by whoever knows traces and time. Nothing here knows either.

/// Batches of choices: what one layer is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    experts: usize,
    batches: usize,
    /// For each expert: the batches that want it, and how often.
    wanted: Vec<Vec<(u32, u16)>>,
    /// Choices of each expert in all batches.
    choices: Vec<u64>,
    pairs: usize,
}

impl Demand {
    /// Batches of `pairs` choices each, one after the other. `None` where a choice names no expert, or nothing is
    /// chosen.
    pub fn new(experts: usize, pairs: usize, choices: &[u16]) -> Option<Self> {
        let batches = choices.len().checked_div(pairs)?;
        let known = choices.iter().all(|&expert| usize::from(expert) < experts);
        if batches == 0 || !known || pairs > usize::from(u16::MAX) {
            return None;
        }
        let mut wanted: Vec<Vec<(u32, u16)>> = vec![Vec::new(); experts];
        let mut all = vec![0; experts];
        for (index, batch) in (0u32..).zip(choices.chunks_exact(pairs)) {
            for &expert in batch {
                let list = &mut wanted[usize::from(expert)];
                match list.last_mut() {
                    Some((known, count)) if *known == index => *count += 1,
                    _ => list.push((index, 1)),
                }
                all[usize::from(expert)] += 1;
            }
        }
        Some(Self { experts, batches, wanted, choices: all, pairs })
    }

    /// Experts of the layer.
    pub const fn experts(&self) -> usize {
        self.experts
    }

    /// Batches.
    pub const fn batches(&self) -> usize {
        self.batches
    }

    /// Choices in a batch.
    pub const fn pairs(&self) -> usize {
        self.pairs
    }

    /// Choices of each expert in all batches.
    pub fn choices(&self) -> &[u64] {
        &self.choices
    }

    /// The batches that want an expert, in order, and how often.
    pub fn wanted(&self, expert: usize) -> &[(u32, u16)] {
        self.wanted.get(expert).map_or(&[], Vec::as_slice)
    }

    /// Experts by falling choices; of equals the lower number first.
    pub fn hottest_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.experts).collect();
        order.sort_by_key(|&expert| (std::cmp::Reverse(self.choices[expert]), expert));
        order
    }
}

/// What a place costs for what it gets from a batch: by pairs, and more for each further expert among them. The batch
/// costs what its costliest place does.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    by_pairs: Vec<f64>,
    by_distinct: Vec<f64>,
}

impl Price {
    /// Prices by pairs, from 0, and what is added by distinct experts, from 0. Beyond their ends the last step goes on.
    pub const fn new(by_pairs: Vec<f64>, by_distinct: Vec<f64>) -> Self {
        Self { by_pairs, by_distinct }
    }

    /// The price of a place.
    pub fn of(&self, load: PlaceLoad) -> f64 {
        at(&self.by_pairs, usize::from(load.pairs)) + at(&self.by_distinct, usize::from(load.distinct))
    }
}

fn at(table: &[f64], index: usize) -> f64 {
    if let Some(known) = table.get(index) {
        return *known;
    }
    match table {
        [] => 0.0,
        [only] => *only,
        [.., before, last] => last + (last - before) * (index + 1 - table.len()) as f64,
    }
}

/// What a place gets from a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlaceLoad {
    /// Pairs of token and expert.
    pub pairs: u16,
    /// Different experts among them.
    pub distinct: u16,
}
