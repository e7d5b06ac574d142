//! Simulated time and the time that a client waits: the one runs `speed` times as fast as the other.

use std::time::{Duration, Instant};

use wafersim_stream::Time;

/// A clock that starts at simulated time 0.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    speed: f64,
}

impl Clock {
    /// Starts now.
    pub fn start(speed: f64) -> Self {
        Self { start: Instant::now(), speed }
    }

    /// Simulated time now.
    pub fn now(&self) -> Time {
        Time::from_seconds(self.start.elapsed().as_secs_f64() * self.speed)
    }

    /// How long to wait until a simulated moment.
    pub fn until(&self, at: Time) -> Duration {
        let due = Duration::try_from_secs_f64(at.seconds() / self.speed).unwrap_or(Duration::MAX);
        due.saturating_sub(self.start.elapsed())
    }

    /// Seconds that a client waits for a simulated duration.
    pub fn seconds(&self, simulated: Time) -> f64 {
        simulated.seconds() / self.speed
    }

    /// Simulated seconds in a second of the wall clock.
    pub const fn speed(&self) -> f64 {
        self.speed
    }
}
