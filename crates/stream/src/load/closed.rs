//! A closed loop: so many users, each of whom asks, waits for the whole answer, thinks, and asks again.

use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};

use super::{DayCurve, Lengths, LoadSource};
use crate::random::{Purpose, stream};
use crate::request::{Content, Request};
use crate::time::Time;

/// Settings of a closed loop.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct ClosedSettings {
    /// Users.
    pub users: u32,
    /// Mean time between an answer and the next request, in seconds; exponential.
    pub think: f64,
    /// Prompts.
    pub prompt: Lengths,
    /// Answers.
    pub output: Lengths,
    /// Requests in all; nothing is no end.
    pub requests: Option<u64>,
    /// How fast users think, hour by hour: factors on one over the time to think.
    #[serde(skip_serializing_if = "DayCurve::is_flat")]
    pub day: DayCurve,
}

/// A closed loop. Every user's first request comes after one time to think.
#[derive(Debug)]
pub struct ClosedLoop {
    settings: ClosedSettings,
    first: std::vec::IntoIter<Request>,
    random: ChaCha8Rng,
    sent: u64,
}

impl ClosedLoop {
    /// Users at time 0.
    pub fn new(settings: ClosedSettings, seed: u64) -> Self {
        let mut new = Self { settings, first: Vec::new().into_iter(), random: stream(seed, Purpose::Load), sent: 0 };
        let mut first: Vec<Request> = (0..settings.users).filter_map(|user| new.after(user, Time::ZERO)).collect();
        first.sort_by_key(|request| request.arrival);
        new.first = first.into_iter();
        new
    }
}

impl LoadSource for ClosedLoop {
    fn next(&mut self) -> Option<Request> {
        self.first.next()
    }

    fn most_inside(&self) -> Option<u64> {
        Some(u64::from(self.settings.users))
    }

    fn after(&mut self, user: u32, now: Time) -> Option<Request> {
        if self.settings.requests.is_some_and(|most| self.sent >= most) {
            return None;
        }
        self.sent += 1;
        let think: f64 = Exp1.sample(&mut self.random);
        Some(Request {
            arrival: self.settings.day.after(now, think * self.settings.think),
            user,
            prompt: self.settings.prompt.draw(&mut self.random),
            output: self.settings.output.draw(&mut self.random),
            content: Content::Unique,
        })
    }
}
