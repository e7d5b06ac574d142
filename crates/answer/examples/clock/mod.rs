//! Time that a thread has run, for examples that count how fast something is.

use std::time::{Duration, Instant};

/// Time for which this thread has run since the clock began, where the system tells; else time that has passed.
pub struct Clock {
    ran: Option<Duration>,
    at: Instant,
}

impl Clock {
    pub fn now() -> Self {
        Self { ran: ran(), at: Instant::now() }
    }

    pub fn elapsed(&self) -> Duration {
        let ran = self.ran.zip(ran()).and_then(|(before, after)| after.checked_sub(before));
        ran.unwrap_or_else(|| self.at.elapsed())
    }
}

/// Linux: nanoseconds on a core come first.
fn ran() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}
