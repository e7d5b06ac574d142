//! Limits as headers: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}-{minute,hour,day}` on every answer, and
//! on a refusal when to come again. Seconds are those that the client waits.

use wafersim_stream::Time;
use wafersim_stream::service::LimitState;

use crate::clock::Clock;

/// Names and values for the limits of an account.
pub fn of_limits(limits: &[LimitState], clock: &Clock) -> Vec<(String, String)> {
    let mut headers = Vec::with_capacity(limits.len() * 3);
    for LimitState { limit, remaining, reset } in limits {
        let of = format!("{}-{}", limit.counted.name(), limit.window.name());
        headers.push((format!("x-ratelimit-limit-{of}"), limit.quota.to_string()));
        headers.push((format!("x-ratelimit-remaining-{of}"), remaining.to_string()));
        headers.push((format!("x-ratelimit-reset-{of}"), format!("{:.3}", clock.seconds(*reset))));
    }
    headers
}

/// When to come again: in whole seconds, rounded up, and in milliseconds.
pub fn retry_after(wait: Time, clock: &Clock) -> [(&'static str, String); 2] {
    let seconds = clock.seconds(wait);
    // A cast saturates. A client that waits as long as it is told is let in.
    let milliseconds = (seconds * 1e3).ceil() as u64;
    [("retry-after", (seconds.ceil() as u64).to_string()), ("retry-after-ms", milliseconds.to_string())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use wafersim_stream::service::{Counted, Limit, Window};

    #[test]
    fn headers_are_in_seconds_as_the_client_waits() {
        let clock = Clock::start(20.0);
        let limit = Limit { counted: Counted::Tokens, window: Window::Minute, quota: 165_000 };
        let reset = Time::from_seconds(50.0);
        let headers = of_limits(&[LimitState { limit, remaining: 7, reset }], &clock);
        let pairs: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("x-ratelimit-limit-tokens-minute", "165000"),
                ("x-ratelimit-remaining-tokens-minute", "7"),
                ("x-ratelimit-reset-tokens-minute", "2.500")
            ]
        );
        let [seconds, milliseconds] = retry_after(reset, &clock).map(|(_, value)| value);
        assert_eq!((seconds.as_str(), milliseconds.as_str()), ("3", "2500"));
    }
}
