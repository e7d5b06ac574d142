//! An open loop: requests come at a rate, whatever happens to those before. Times between them are exponential
//! (Poisson), or gamma with a given coefficient of variation: above 1 they come in bursts.

use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, Gamma};

use super::{DayCurve, Lengths, LoadSource};
use crate::random::{Purpose, stream};
use crate::request::{Content, Request};
use crate::time::Time;

/// Settings of an open loop.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct OpenSettings {
    /// Requests a second.
    pub rate: f64,
    /// Coefficient of variation of the times between requests; 1 is Poisson, 0 a steady beat.
    pub variation: f64,
    /// Prompts.
    pub prompt: Lengths,
    /// Answers.
    pub output: Lengths,
    /// Requests in all; nothing is no end.
    pub requests: Option<u64>,
    /// Factors on the rate, hour by hour.
    #[serde(skip_serializing_if = "DayCurve::is_flat")]
    pub day: DayCurve,
}

/// An open loop.
#[derive(Debug)]
pub struct OpenLoop {
    settings: OpenSettings,
    gaps: Option<Gamma<f64>>,
    arrivals: ChaCha8Rng,
    lengths: ChaCha8Rng,
    at: Time,
    sent: u64,
}

impl OpenLoop {
    /// From time 0 on.
    pub fn new(settings: OpenSettings, seed: u64) -> Self {
        // A gamma law of shape k has the coefficient of variation 1 / sqrt(k).
        let shape = settings.variation.powi(-2);
        let is_gamma = (settings.variation - 1.0).abs() > 1e-9 && settings.variation > 0.0;
        Self {
            settings,
            gaps: if is_gamma { Gamma::new(shape, 1.0 / shape).ok() } else { None },
            arrivals: stream(seed, Purpose::Arrivals),
            lengths: stream(seed, Purpose::Load),
            at: Time::ZERO,
            sent: 0,
        }
    }

    fn gap(&mut self) -> f64 {
        match &self.gaps {
            Some(law) => law.sample(&mut self.arrivals),
            None if self.settings.variation > 0.0 => Exp1.sample(&mut self.arrivals),
            None => 1.0,
        }
    }
}

impl LoadSource for OpenLoop {
    fn next(&mut self) -> Option<Request> {
        if self.settings.requests.is_some_and(|most| self.sent >= most) {
            return None;
        }
        let user = u32::try_from(self.sent % (1 << 31)).unwrap_or(0);
        self.sent += 1;
        let gap = self.gap();
        self.at = self.settings.day.after(self.at, gap / self.settings.rate);
        Some(Request {
            arrival: self.at,
            user,
            prompt: self.settings.prompt.draw(&mut self.lengths),
            output: self.settings.output.draw(&mut self.lengths),
            content: Content::Unique,
        })
    }

    fn after(&mut self, _user: u32, _now: Time) -> Option<Request> {
        None
    }
}
