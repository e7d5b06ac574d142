//! An organisation's account: a bucket for each limit of its plan, what is reserved when a request is let in, and what
//! comes back when its answer ends.

use std::sync::Arc;

use super::bucket::Bucket;
use super::plan::{Counted, Limit, ServicePlan};
use crate::time::Time;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Tokens of its prompt.
    pub prompt: u32,
    /// Of these, tokens that the cache has.
    pub cached: u32,
    /// Tokens of its answer at most, where it names them.
    pub most: Option<u32>,
}

/// What was taken for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use = "what was reserved comes back through Account::settle"]
pub struct Reservation {
    tokens: u64,
    uncached: u64,
}

impl Reservation {
    /// Tokens that were taken, those of the prompt included.
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }
}

/// What a request has used in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Tokens of its prompt.
    pub prompt: u32,
    /// Of these, tokens that the cache had.
    pub cached: u32,
    /// Tokens of its answer.
    pub output: u32,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A quota is used up.
    Quota {
        /// Which; of several the one with the longest wait.
        limit: Limit,
        /// Until the same request would be let in, where nobody else asks; nothing where it never would.
        wait: Option<Time>,
    },
    /// Too many wait for room already.
    Capacity,
}

/// How a limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitState {
    /// The limit.
    pub limit: Limit,
    /// What is left of it.
    pub remaining: u64,
    /// Until it is whole again, where nobody asks.
    pub reset: Time,
}

/// An account.
#[derive(Debug, Clone)]
pub struct Account {
    plan: Arc<ServicePlan>,
    buckets: Vec<(Limit, Bucket)>,
}

impl Account {
    /// An account that has used nothing yet.
    pub fn new(plan: Arc<ServicePlan>) -> Self {
        let buckets = plan.limits.iter().map(|limit| (*limit, Bucket::full(limit.quota, limit.window.time())));
        Self { buckets: buckets.collect(), plan }
    }

    /// Its plan.
    pub fn plan(&self) -> &ServicePlan {
        &self.plan
    }

    fn counted(&self, prompt: u32, cached: u32, answer: u32) -> Reservation {
        let all = u64::from(prompt) + u64::from(answer);
        let uncached = all.saturating_sub(u64::from(cached));
        Reservation { tokens: if self.plan.counts_cached { all } else { uncached }, uncached }
    }

    /// Lets a request in and takes what it may need from every bucket, or takes nothing.
    ///
    /// # Errors
    /// Where a bucket does not hold it.
    pub fn admit(&mut self, now: Time, ask: &Ask) -> Result<Reservation, Refusal> {
        let reserved = self.counted(ask.prompt, ask.cached, self.plan.reserve(ask.most));
        let mut worst: Option<(Limit, Option<Time>)> = None;
        for (limit, bucket) in &self.buckets {
            let wanted = wanted(limit.counted, &reserved);
            if bucket.holds(now, wanted) {
                continue;
            }
            let wait = bucket.wait(now, wanted);
            let longer = |other: Option<Time>| wait.unwrap_or(Time::NEVER) > other.unwrap_or(Time::NEVER);
            if worst.is_none_or(|(_, other)| longer(other)) {
                worst = Some((*limit, wait));
            }
        }
        if let Some((limit, wait)) = worst {
            return Err(Refusal::Quota { limit, wait });
        }
        for (limit, bucket) in &mut self.buckets {
            bucket.take(now, wanted(limit.counted, &reserved));
        }
        Ok(reserved)
    }

    /// The answer has ended, or was taken back: what was reserved and not used comes back, where the plan says so, and
    /// what was used beyond is taken.
    pub fn settle(&mut self, now: Time, reserved: Reservation, used: &Used) {
        let used = self.counted(used.prompt, used.cached, used.output);
        for (limit, bucket) in &mut self.buckets {
            if limit.counted == Counted::Requests {
                continue;
            }
            let (before, after) = (wanted(limit.counted, &reserved), wanted(limit.counted, &used));
            if after > before {
                bucket.take(now, after - before);
            } else if self.plan.refund {
                bucket.give_back(now, before - after);
            }
        }
    }

    /// A request that was let in here was refused elsewhere: everything comes back.
    pub fn undo(&mut self, now: Time, reserved: Reservation) {
        for (limit, bucket) in &mut self.buckets {
            bucket.give_back(now, wanted(limit.counted, &reserved));
        }
    }

    /// How its limits stand.
    pub fn limits(&self, now: Time) -> Vec<LimitState> {
        let state = |(limit, bucket): &(Limit, Bucket)| LimitState {
            limit: *limit,
            remaining: bucket.remaining(now),
            reset: bucket.until_full(now),
        };
        self.buckets.iter().map(state).collect()
    }
}

const fn wanted(counted: Counted, of: &Reservation) -> u64 {
    match counted {
        Counted::Requests => 1,
        Counted::Tokens => of.tokens,
        Counted::UncachedTokens => of.uncached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn account(text: &str) -> Account {
        Account::new(Arc::new(ServicePlan::parse(text, "test").expect("a plan")))
    }

    const SECOND: u64 = 1_000_000_000_000;

    /// The figures of the coding plan: prompts of 96k tokens are 1.7 a minute, however short the answers.
    #[test]
    fn quota_binds_before_speed() {
        let mut account = Account::new(Arc::new(ServicePlan::built_in("coding").expect("built in")));
        let (mut now, mut served) = (Time::ZERO, 0);
        let ask = Ask { prompt: 96_300, cached: 90_000, most: Some(213) };
        while now < Time(600 * SECOND) {
            match account.admit(now, &ask) {
                Ok(reserved) => {
                    served += 1;
                    account.settle(now, reserved, &Used { prompt: 96_300, cached: 90_000, output: 213 });
                }
                Err(Refusal::Quota { limit, wait }) => {
                    assert_eq!(limit.counted, Counted::Tokens);
                    now += wait.expect("it fits an empty bucket");
                }
                Err(Refusal::Capacity) => panic!("an account knows no queue"),
            }
        }
        // A full bucket at first, then 165,000 a minute, of 96,513 each.
        assert_eq!(served, (165_000.0 * 11.0 / 96_513.0_f64) as u32);
    }

    #[test]
    fn what_is_more_than_a_bucket_never_comes_and_takes_nothing() {
        let mut account = account("tokens = { minute = 1000 }\nrequests = { minute = 2 }");
        let ask = Ask { prompt: 900, cached: 0, most: Some(200) };
        let Err(Refusal::Quota { limit, wait }) = account.admit(Time::ZERO, &ask) else { panic!("let in") };
        assert_eq!((limit.counted, wait), (Counted::Tokens, None));
        assert_eq!(account.limits(Time::ZERO).iter().map(|state| state.remaining).collect::<Vec<_>>(), [2, 1000]);
    }

    proptest! {
        /// Whatever is reserved, what is gone in the end is what was used; without refunds, the larger of the two.
        #[test]
        fn reservations_come_back(
            requests in prop::collection::vec((1u32..5000, 0u32..5000, 0u32..20_000, 0u32..9000), 1..30),
            refund: bool,
        ) {
            let mut account = account(&format!(
                "tokens = {{ day = 100000000 }}\nuncached_tokens = {{ day = 100000000 }}\nrefund = {refund}"
            ));
            let (mut all, mut uncached) = (0u64, 0u64);
            for (prompt, cached, most, output) in requests {
                let cached = cached.min(prompt);
                let reserved = account.admit(Time::ZERO, &Ask { prompt, cached, most: Some(most) });
                let reserved = reserved.expect("the bucket is large");
                account.settle(Time::ZERO, reserved, &Used { prompt, cached, output });
                let reserve = most.min(16_384);
                let answer = u64::from(if refund { output } else { output.max(reserve) });
                all += u64::from(prompt) + answer;
                uncached += u64::from(prompt - cached) + answer;
            }
            let gone: Vec<u64> =
                account.limits(Time::ZERO).iter().map(|state| 100_000_000 - state.remaining).collect();
            prop_assert_eq!(gone, [all, uncached]);
        }
    }
}
