//! Which expert lives in which rectangles, and what that makes of a demand.

use serde::{Deserialize, Serialize};

use super::demand::{Demand, PlaceLoad, Price};

/// Which rectangles hold each expert. Of the pairs of an expert in a batch, the i-th goes to its home i mod homes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Rectangles.
    pub cells: usize,
    /// For each expert the rectangles that hold it: one or more, none twice.
    pub homes: Vec<Vec<u16>>,
}

/// What a demand makes of an assignment: means over batches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Judgement {
    /// Price of the costliest rectangle.
    pub price: f64,
    /// Pairs of the busiest rectangle.
    pub busiest_pairs: f64,
    /// Pairs of the busiest rectangle over the mean of all rectangles.
    pub imbalance: f64,
}

impl Assignment {
    /// One home for each expert. What is beyond 65,534 is a rectangle that no task has, and not valid.
    pub fn single(cells: usize, home_of: impl Fn(usize) -> usize, experts: usize) -> Self {
        let home = |expert| u16::try_from(home_of(expert)).unwrap_or(u16::MAX);
        Self { cells, homes: (0..experts).map(|expert| vec![home(expert)]).collect() }
    }

    /// Copies in each rectangle.
    pub fn copies_in_cells(&self) -> Vec<usize> {
        let mut copies = vec![0; self.cells];
        for &home in self.homes.iter().flatten() {
            if let Some(count) = copies.get_mut(usize::from(home)) {
                *count += 1;
            }
        }
        copies
    }

    /// Copies in all.
    pub fn copies(&self) -> usize {
        self.homes.iter().map(Vec::len).sum()
    }

    /// Whether every expert has a home, none twice, and no rectangle holds more than `room`.
    pub fn is_valid(&self, experts: usize, room: usize) -> bool {
        let has_homes = |homes: &Vec<u16>| {
            let mut sorted = homes.clone();
            sorted.sort_unstable();
            sorted.dedup();
            !homes.is_empty() && sorted.len() == homes.len() && homes.iter().all(|&home| usize::from(home) < self.cells)
        };
        self.homes.len() == experts
            && self.homes.iter().all(has_homes)
            && self.copies_in_cells().iter().all(|&copies| copies <= room)
    }

    /// Loads of all rectangles for all batches: batches x rectangles.
    pub(super) fn loads(&self, demand: &Demand) -> Vec<PlaceLoad> {
        let mut loads = vec![PlaceLoad::default(); demand.batches() * self.cells];
        for (expert, homes) in self.homes.iter().enumerate() {
            for &(batch, count) in demand.wanted(expert) {
                for (index, &home) in homes.iter().enumerate() {
                    let share = share(count, index, homes.len());
                    // Homes of an assignment that is not valid get nothing.
                    let home = Some(usize::from(home)).filter(|home| *home < self.cells);
                    let place = home.map(|home| batch as usize * self.cells + home);
                    let Some(load) = place.and_then(|place| loads.get_mut(place)) else { continue };
                    load.pairs = load.pairs.saturating_add(share);
                    load.distinct += u16::from(share > 0);
                }
            }
        }
        loads
    }

    /// Pairs that each rectangle gets from a batch, mean over batches.
    pub fn mean_pairs(&self, demand: &Demand) -> Vec<f64> {
        let mut sums = vec![0u64; self.cells];
        for batch in self.loads(demand).chunks_exact(self.cells.max(1)) {
            for (sum, load) in sums.iter_mut().zip(batch) {
                *sum += u64::from(load.pairs);
            }
        }
        sums.into_iter().map(|sum| sum as f64 / demand.batches().max(1) as f64).collect()
    }

    /// What a demand makes of it.
    pub fn judge(&self, demand: &Demand, price: &Price) -> Judgement {
        let loads = self.loads(demand);
        let mut sum = (0.0, 0.0);
        for batch in loads.chunks_exact(self.cells.max(1)) {
            let costliest = batch.iter().map(|&load| price.of(load)).fold(0.0, f64::max);
            let busiest = batch.iter().map(|load| load.pairs).max().unwrap_or(0);
            sum = (sum.0 + costliest, sum.1 + f64::from(busiest));
        }
        let batches = demand.batches().max(1) as f64;
        let busiest_pairs = sum.1 / batches;
        Judgement {
            price: sum.0 / batches,
            busiest_pairs,
            imbalance: busiest_pairs * self.cells as f64 / demand.pairs().max(1) as f64,
        }
    }
}

/// Of `count` pairs those that go to home `index` of `homes`.
pub(super) fn share(count: u16, index: usize, homes: usize) -> u16 {
    let (count, homes) = (usize::from(count), homes.max(1));
    // No more than the count.
    (count / homes + usize::from(index < count % homes)) as u16
}
