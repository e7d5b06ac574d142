//! How soon a user's tokens come back to the same experts in one layer: by tokens since, and by other experts since.

use super::BATCHES;

/// One user in one layer.
#[derive(Debug, Clone)]
pub struct Reuse {
    choices: Vec<u64>,
    /// Experts chosen so far, the latest first.
    recent: Vec<u16>,
    /// For each expert the token that chose it last, from 1; 0 for none.
    last: Vec<u64>,
    tokens: u64,
    /// Choices whose expert the token before had chosen.
    neighbours: u64,
    /// For each of [`BATCHES`]: distinct experts summed over all windows of so many tokens, and the windows.
    windows: [(u64, u64); BATCHES.len()],
    /// Choices whose expert stood at this place of `recent`.
    places: Vec<u64>,
    /// Choices after the first token.
    chosen: u64,
}

impl Reuse {
    /// Before the first token.
    pub fn new(experts: usize) -> Self {
        Self {
            choices: vec![0; experts],
            recent: Vec::new(),
            last: vec![0; experts],
            tokens: 0,
            neighbours: 0,
            windows: [(0, 0); BATCHES.len()],
            places: vec![0; experts],
            chosen: 0,
        }
    }

    /// Counts a token.
    pub fn token(&mut self, chosen: &[u16]) {
        self.tokens += 1;
        for &expert in chosen {
            let expert = usize::from(expert);
            if let Some(count) = self.choices.get_mut(expert) {
                *count += 1;
            }
            if let Some(last) = self.last.get_mut(expert) {
                self.neighbours += u64::from(*last > 0 && *last + 1 == self.tokens);
                *last = self.tokens;
            }
            if self.tokens > 1 {
                self.chosen += 1;
            }
        }
        for &expert in chosen {
            if let Some(place) = self.recent.iter().position(|known| *known == expert) {
                self.places[place] += 1;
            }
        }
        for &expert in chosen {
            match self.recent.iter().position(|known| *known == expert) {
                Some(place) => self.recent[..=place].rotate_right(1),
                None => self.recent.insert(0, expert),
            }
        }
        for (&batch, window) in BATCHES.iter().zip(&mut self.windows) {
            let Some(before) = self.tokens.checked_sub(u64::from(batch)) else { continue };
            let last = |expert: &u16| self.last.get(usize::from(*expert)).copied().unwrap_or(0);
            *window = (window.0 + self.recent.partition_point(|expert| last(expert) > before) as u64, window.1 + 1);
        }
    }

    /// Tokens so far.
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Choices by expert.
    pub fn choices(&self) -> &[u64] {
        &self.choices
    }
}

/// All users of a layer together.
#[derive(Debug, Clone)]
pub struct Sum {
    chosen: u64,
    neighbours: u64,
    places: Vec<u64>,
    windows: [(u64, u64); BATCHES.len()],
}

impl Sum {
    /// Adds users up.
    pub fn of(users: &[&Reuse]) -> Self {
        let mut sum = Self { chosen: 0, neighbours: 0, places: Vec::new(), windows: [(0, 0); BATCHES.len()] };
        for user in users {
            sum.chosen += user.chosen;
            sum.neighbours += user.neighbours;
            sum.places.resize(sum.places.len().max(user.places.len()), 0);
            sum.places.iter_mut().zip(&user.places).for_each(|(sum, count)| *sum += count);
            for (sum, window) in sum.windows.iter_mut().zip(user.windows) {
                *sum = (sum.0 + window.0, sum.1 + window.1);
            }
        }
        sum
    }

    /// Part of the choices after a user's first token whose expert the token before had chosen.
    pub fn neighbour_overlap(&self) -> Option<f64> {
        (self.chosen > 0).then(|| self.neighbours as f64 / self.chosen as f64)
    }

    /// Part of the choices after a user's first token that an LRU cache with `room` experts holds.
    pub fn lru_hit_rate(&self, room: u32) -> Option<f64> {
        let hits: u64 = self.places.iter().take(room as usize).sum();
        (self.chosen > 0 && (room as usize) <= self.places.len()).then(|| hits as f64 / self.chosen as f64)
    }

    /// Mean distinct experts over all windows of so many successive tokens as [`BATCHES`] says.
    pub fn distinct_of_successive(&self) -> [Option<f64>; BATCHES.len()] {
        self.windows.map(|(distinct, windows)| (windows > 0).then(|| distinct as f64 / windows as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_five_tokens_by_hand() {
        let mut reuse = Reuse::new(8);
        for chosen in [[0u16, 1], [0, 2], [1, 2], [0, 1], [0, 1]] {
            reuse.token(&chosen);
        }
        let sum = Sum::of(&[&reuse]);
        // After the first token: 0 again, 2 new, 1 after two, 2 again, 0 after two, 1 again, 0 again, 1 again.
        assert_eq!(sum.neighbour_overlap(), Some(5.0 / 8.0));
        assert_eq!(sum.lru_hit_rate(2), Some(5.0 / 8.0));
        assert_eq!(sum.lru_hit_rate(3), Some(7.0 / 8.0));
        assert_eq!(sum.lru_hit_rate(8), Some(7.0 / 8.0));
        assert_eq!(sum.distinct_of_successive(), [None; 3]);
        for chosen in [[0u16, 1], [2, 3], [0, 1], [0, 1]] {
            reuse.token(&chosen);
        }
        // Both windows of 8 among the 9 tokens touch 0, 1, 2 and 3.
        assert_eq!(Sum::of(&[&reuse]).distinct_of_successive(), [Some(4.0), None, None]);
    }
}
