//! Lengths of prompts and answers.

use rand::Rng;
use rand_distr::{Distribution, LogNormal};

/// A length in tokens: always the same, or lognormal around a median.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Lengths {
    /// The median.
    pub median: u32,
    /// Standard deviation of the logarithm; 0 is always the median. Lengths of prompts and answers in public traces are
    /// roughly lognormal with about 1.
    pub spread: f64,
    /// The longest; what is drawn beyond is cut to it.
    pub longest: u32,
}

impl Lengths {
    /// Always the same.
    pub const fn fixed(tokens: u32) -> Self {
        Self { median: tokens, spread: 0.0, longest: tokens }
    }

    /// Draws a length, at least 1.
    pub fn draw(&self, random: &mut impl Rng) -> u32 {
        if self.spread <= 0.0 {
            return self.median.clamp(1, self.longest.max(1));
        }
        let factor = LogNormal::new(0.0, self.spread).map_or(1.0, |law| law.sample(random));
        // A cast saturates.
        ((f64::from(self.median) * factor).round() as u32).clamp(1, self.longest.max(1))
    }
}
