//! How soon a user's tokens come back to the same experts in one layer: by tokens since, and by other experts since.

/// Gaps in tokens that are told apart; longer ones count together with first uses.
const LONGEST_GAP: usize = 128;

/// One user in one layer.
#[derive(Debug, Clone)]
pub struct Reuse {
    choices: Vec<u64>,
    /// Experts chosen so far, the latest first.
    recent: Vec<u16>,
    /// For each expert the token that chose it last, from 1; 0 for none.
    last: Vec<u64>,
    tokens: u64,
    /// Choices whose expert was last chosen so many tokens before; index 0 is not used.
    gaps: Vec<u64>,
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
            gaps: vec![0; LONGEST_GAP + 1],
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
                let gap = (self.tokens - *last) as usize;
                if *last > 0 && gap <= LONGEST_GAP {
                    self.gaps[gap] += 1;
                }
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
    gaps: Vec<u64>,
    places: Vec<u64>,
    most_tokens: u64,
}

impl Sum {
    /// Adds users up.
    pub fn of(users: &[&Reuse]) -> Self {
        let add = |of: fn(&Reuse) -> &Vec<u64>| {
            let mut sum: Vec<u64> = Vec::new();
            for user in users {
                let counts = of(user);
                sum.resize(sum.len().max(counts.len()), 0);
                sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
            sum
        };
        Self {
            chosen: users.iter().map(|user| user.chosen).sum(),
            gaps: add(|user| &user.gaps),
            places: add(|user| &user.places),
            most_tokens: users.iter().map(|user| user.tokens).max().unwrap_or(0),
        }
    }

    /// Part of the choices after a user's first token whose expert the token before had chosen.
    pub fn neighbour_overlap(&self) -> Option<f64> {
        (self.chosen > 0).then(|| self.gaps.get(1).copied().unwrap_or(0) as f64 / self.chosen as f64)
    }

    /// Part of the choices after a user's first token that an LRU cache with `room` experts holds.
    pub fn lru_hit_rate(&self, room: u32) -> Option<f64> {
        let hits: u64 = self.places.iter().take(room as usize).sum();
        (self.chosen > 0 && (room as usize) <= self.places.len()).then(|| hits as f64 / self.chosen as f64)
    }

    /// Expected distinct experts of `batch` successive tokens. By Denning's identity (The working set model, CACM 1968;
    /// Denning and Schwartz 1972) one more token adds those experts whose gap is longer than the window:
    /// D(B) = k sum over w < B of P(gap > w).
    pub fn distinct_of_successive(&self, batch: u32, top_k: f64) -> Option<f64> {
        if self.chosen == 0 || u64::from(batch) > self.most_tokens {
            return None;
        }
        let mut later = self.chosen as f64;
        let mut distinct = 0.0;
        for window in 0..batch as usize {
            later -= if window == 0 { 0.0 } else { self.gaps.get(window).copied().unwrap_or(0) as f64 };
            distinct += top_k * later / self.chosen as f64;
        }
        Some(distinct)
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
        assert_eq!(sum.distinct_of_successive(1, 2.0), Some(2.0));
        assert_eq!(sum.distinct_of_successive(2, 2.0), Some(2.0 + 2.0 * 3.0 / 8.0));
        assert_eq!(sum.distinct_of_successive(6, 2.0), None);
    }
}
