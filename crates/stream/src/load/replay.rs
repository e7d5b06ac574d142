//! A recorded trace, request by request: at the recorded times, and turns that wait for an answer as long after it as
//! was recorded.

use std::sync::Arc;

use super::LoadSource;
use crate::request::Request;
use crate::time::Time;
use crate::trace::Trace;

/// Requests of a trace.
#[derive(Debug)]
pub struct Replay {
    trace: Arc<Trace>,
    next: usize,
    speed: f64,
}

impl Replay {
    /// The requests of a trace, `speed` times as fast as they were recorded.
    pub const fn new(trace: Arc<Trace>, speed: f64) -> Self {
        Self { trace, next: 0, speed }
    }

    fn hastened(&self, time: Time) -> Time {
        if (self.speed - 1.0).abs() > f64::EPSILON { Time::from_seconds(time.seconds() / self.speed) } else { time }
    }
}

impl LoadSource for Replay {
    fn next(&mut self) -> Option<Request> {
        let mut request = self.trace.timed(self.next)?;
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
