//! A recorded trace, request by request: at the recorded times, and turns that wait for an answer as long after it as
//! was recorded.

use std::sync::Arc;

use super::LoadSource;
use crate::request::{Request, mixed};
use crate::time::Time;
use crate::trace::Trace;

/// Requests of a trace.
#[derive(Debug)]
pub struct Replay {
    trace: Arc<Trace>,
    next: usize,
    speed: f64,
    part: Option<(f64, u64)>,
}

impl Replay {
    /// The requests of a trace, `speed` times as fast as they were recorded.
    pub const fn new(trace: Arc<Trace>, speed: f64) -> Self {
        Self { trace, next: 0, speed, part: None }
    }

    /// Of a part of its sessions, drawn by a seed: a session is in it whole or not at all, and a larger part has all of
    /// a smaller one.
    #[must_use]
    pub fn part(self, part: f64, seed: u64) -> Self {
        Self { part: (part < 1.0).then_some((part, seed)), ..self }
    }

    fn is_in(&self, number: usize) -> bool {
        let Some((part, seed)) = self.part else { return true };
        let family = self.trace.families().get(number).copied().unwrap_or_default();
        // 53 bits are a number from 0 to 1.
        ((mixed(u64::from(family), seed) >> 11) as f64) < part * 2f64.powi(53)
    }

    fn hastened(&self, time: Time) -> Time {
        if (self.speed - 1.0).abs() > f64::EPSILON { Time::from_seconds(time.seconds() / self.speed) } else { time }
    }
}

impl LoadSource for Replay {
    fn next(&mut self) -> Option<Request> {
        let mut request = self.trace.timed(self.next)?;
        while !self.is_in(self.next) {
            self.next += 1;
            request = self.trace.timed(self.next)?;
        }
        self.next += 1;
        request.arrival = self.hastened(request.arrival);
        Some(request)
    }

    fn after(&mut self, user: u32, now: Time) -> Option<Request> {
        let mut request = self.trace.after(user as usize)?;
        request.arrival = now + self.hastened(request.arrival);
        Some(request)
    }
}
