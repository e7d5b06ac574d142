//! Layers of retries at work.

use super::profile::{ClientProfile, HeaderRule};
use crate::time::Time;

/// How far the layers of one request are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Tries of each layer so far, less the first.
    retries: Vec<u32>,
}

impl Retry {
    /// Before the first try.
    pub fn new(profile: &ClientProfile) -> Self {
        Self { retries: vec![0; profile.layers.len()] }
    }

    /// A try failed, and the service said to come again after `hint`, or nothing of it: the wait before the next one,
    /// or nothing where all layers are at their end. The innermost layer that has a try left waits, and those in it
    /// begin again.
    /// `random` draws from 0 to 1.
    pub fn next(
        &mut self,
        profile: &ClientProfile,
        hint: Option<Time>,
        mut random: impl FnMut() -> f64,
    ) -> Option<Time> {
        for (layer, retries) in profile.layers.iter().zip(&mut self.retries) {
            let told = hint.map(Time::seconds);
            let gives_up = matches!((layer.header, told), (HeaderRule::RefuseAbove(most), Some(told)) if told > most);
            if gives_up || layer.retries.is_some_and(|most| *retries >= most) {
                *retries = 0;
                continue;
            }
            let wait = match (layer.header, told) {
                (HeaderRule::Obey | HeaderRule::RefuseAbove(_), Some(told)) => told,
                (HeaderRule::ObeyBelow(most), Some(told)) if told < most => told,
                (HeaderRule::Clamp { least, most }, Some(told)) => told.clamp(least, most),
                _ => layer.backoff.wait(*retries, random()),
            };
            *retries = retries.saturating_add(1);
            return Some(Time::from_seconds(wait));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries of a request that is always refused, and the seconds that they take, where the service says to come again
    /// after `hint` seconds.
    fn permanent(name: &str, hint: f64) -> (u32, f64) {
        let profile = ClientProfile::preset(name).expect("a preset");
        let mut retry = Retry::new(&profile);
        let (mut tries, mut waited) = (1, 0.0);
        while let Some(wait) = retry.next(&profile, Some(Time::from_seconds(hint)), || 0.5) {
            tries += 1;
            waited += wait.seconds();
            if tries >= 1000 {
                break;
            }
        }
        (tries, waited)
    }

    /// Counted against a small server that always refuses (90 in about 34 min, 3, 6), or derived from the code (308).
    #[test]
    fn one_prompt_is_as_many_requests_as_was_counted() {
        assert_eq!(permanent("code-puppy", 60.0).0, 90);
        let minutes = permanent("code-puppy", 60.0).1 / 60.0;
        assert!((minutes - 34.0).abs() < 1.0, "{minutes}");
        assert_eq!(permanent("openai-sdk", 0.5), (3, 1.0));
        assert_eq!(permanent("openai-sdk", 121.0).0, 1, "it does not retry what takes longer than 120 s");
        assert_eq!(permanent("opencode", 1.0).0, 6);
        // 297 waits as told; between them 60, 120 and 240 s, and 7 times 300.
        assert_eq!(permanent("qwen-code", 2.0), (308, 297.0 * 2.0 + 2520.0));
        assert_eq!(permanent("none", 1.0).0, 1);
        assert_eq!(permanent("roo", 1.0).0, 1000, "it has no limit on tries");
    }

    /// The usual 60 s fall on the wrong side of this library's limit: it waits 2 s and 4 s, and gives up.
    #[test]
    fn a_wait_of_a_minute_is_not_heard() {
        assert_eq!(permanent("ai-sdk", 59.0), (3, 118.0));
        assert_eq!(permanent("ai-sdk", 60.0), (3, 6.0));
    }
}
