//! A recorded trace, request by request.

use super::LoadSource;
use crate::request::Request;
use crate::time::Time;

/// Requests in order of arrival.
#[derive(Debug)]
pub struct Replay {
    requests: std::vec::IntoIter<Request>,
    speed: f64,
}

impl Replay {
    /// The requests of a trace, `speed` times as fast as they were recorded.
    pub fn new(requests: Vec<Request>, speed: f64) -> Self {
        Self { requests: requests.into_iter(), speed }
    }
}

impl LoadSource for Replay {
    fn next(&mut self) -> Option<Request> {
        let mut request = self.requests.next()?;
        if (self.speed - 1.0).abs() > f64::EPSILON {
            request.arrival = Time::from_seconds(request.arrival.seconds() / self.speed);
        }
        Some(request)
    }

    fn after(&mut self, _user: u32, _now: Time) -> Option<Request> {
        None
    }
}
