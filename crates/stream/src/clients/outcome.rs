//! What clients have seen: counts, times, and where they went.

use serde::{Deserialize, Serialize};

use super::{ClientSettings, Failure};
use crate::load::{Loss, Story};
use crate::service::Used;
use crate::statistics::{Distribution, Summary};
use crate::time::Time;

/// What clients saw of what ended in the window.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClientOutcome {
    /// The plan.
    pub plan: String,
    /// The profile.
    pub profile: String,
    /// Requests that users got answers to.
    pub served: u64,
    /// Requests that users gave up.
    pub abandoned: u64,
    /// Answers that were cut at the plan's or the client's limit.
    pub cut: u64,
    /// Attempts that were sent in the window.
    pub attempts: u64,
    /// Of these, refused for a quota.
    pub refused_quota: u64,
    /// Of these, refused for want of room.
    pub refused_capacity: u64,
    /// Of these, refused because no machine was up.
    #[serde(default, skip_serializing_if = "is_none")]
    pub refused_away: u64,
    /// Attempts that were let in and lost with their machine.
    #[serde(default, skip_serializing_if = "is_none")]
    pub lost: u64,
    /// Attempts that were let in and that their client did not wait for.
    #[serde(default, skip_serializing_if = "is_none")]
    pub timed_out: u64,
    /// Attempts that waited for room longer than the plan lets them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub expired: u64,
    /// Times that a client took a refused quota for a context that is too long, stopped, and was asked again by a
    /// person.
    #[serde(default, skip_serializing_if = "is_none")]
    pub stopped: u64,
    /// Summaries of sessions that were made for that reason.
    #[serde(default, skip_serializing_if = "is_none")]
    pub summaries: u64,
    /// Tokens of their prompts and answers; they are in no other count of tokens.
    #[serde(default, skip_serializing_if = "is_none")]
    pub summary_tokens: u64,
    /// Refusals in an hour, of all clients.
    pub refused_per_hour: f64,
    /// Attempts of what ended, for each.
    pub attempts_per_request: Option<f64>,
    /// Tokens of prompts that were answered, those of the cache included.
    pub prompt_tokens: u64,
    /// Of these, tokens that the cache had.
    pub cached_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// Tokens that were reserved for attempts that were let in, prompts included.
    pub reserved_tokens: u64,
    /// Dollars at the plan's price.
    pub dollars: Option<f64>,
    /// Tokens of answers a second, of all users.
    pub goodput: f64,
    /// Tokens a second as seen from outside: the answer's, over the time from wanting it to its end.
    pub seen_speed: Option<Summary>,
    /// Tokens of all answers over the time that they took, of a user at work.
    pub seen_speed_overall: Option<f64>,
    /// Seconds from wanting an answer to its first token.
    pub first_token: Option<Summary>,
    /// Seconds from wanting an answer to its end.
    pub whole: Option<Summary>,
    /// Where that goes, in the mean, in seconds; the parts add up to the mean of `whole`.
    pub shares: Shares,
    /// Jain's index of the users' tokens of answers: 1 where all have as many, 1 / n where one has all.
    pub fairness: Option<f64>,
    /// Tokens a second as seen from outside, by user: the 95th percentile over the median, of users who had an answer.
    /// 1 where all are served alike.
    pub speed_spread: Option<f64>,
}

const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Whether a part has no time.
fn is_zero(part: &f64) -> bool {
    *part <= 0.0
}

/// Parts of the time from wanting an answer to its end, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Shares {
    /// Waiting for a quota, as long as the first refusal said.
    pub quota: f64,
    /// Waiting for it beyond that: clients that come too early or too late, and others who were faster.
    pub retries: f64,
    /// Waiting after refusals for want of room.
    pub capacity: f64,
    /// Attempts that were lost with their machine, the waits after them, and waiting for a machine to come back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub outage: f64,
    /// Attempts that the client did not wait for, and the waits after them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deadline: f64,
    /// The way to the service and back, and its host.
    pub network: f64,
    /// Waiting for room on the wafers, for blocks from the host, for the prompt's turn.
    pub queue: f64,
    /// The prompt.
    pub prompt: f64,
    /// From the first token to the last.
    pub decode: f64,
}

impl Shares {
    /// In all.
    pub fn sum(&self) -> f64 {
        self.parts().iter().map(|(_, seconds)| seconds).sum()
    }

    /// Each part with its cause in words, in the order in which a request meets them.
    pub const fn parts(&self) -> [(&'static str, f64); 9] {
        [
            ("quota, as long as the first refusal said", self.quota),
            ("quota, beyond that (retries)", self.retries),
            ("refused for want of room", self.capacity),
            ("machines that went away", self.outage),
            ("deadlines that were missed", self.deadline),
            ("network and host", self.network),
            ("queue: room, turn", self.queue),
            ("prompt", self.prompt),
            ("answer", self.decode),
        ]
    }
}

/// A request as its client saw it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) user: u32,
    pub(super) since: Time,
    pub(super) quota: Time,
    pub(super) retries: Time,
    pub(super) capacity: Time,
    pub(super) outage: Time,
    pub(super) deadline: Time,
    pub(super) attempts: u64,
    pub(super) is_cut: bool,
    pub(super) up: Time,
    pub(super) down: Time,
    /// When the chunk with the first token was sent.
    pub(super) first: Time,
    pub(super) used: Used,
}

/// Longest time that a distribution tells apart: 10^6 s, in nanoseconds.
const LONGEST: u64 = 1_000_000_000_000_000;
/// Users whose tokens are counted for fairness.
const MOST_USERS: usize = 1 << 20;

/// Counts of the window.
#[derive(Debug)]
pub(super) struct Counts {
    from: Time,
    served: u64,
    abandoned: u64,
    cut: u64,
    attempts: u64,
    attempts_of_ended: u64,
    /// Quota, full, away, lost, timed out, waited too long for room.
    failed: [u64; 6],
    prompt: u64,
    cached: u64,
    output: u64,
    reserved: u64,
    stopped: u64,
    summaries: u64,
    /// Prompts, what the cache had of them, and answers.
    summary: [u64; 3],
    speeds: Distribution,
    first: Distribution,
    whole: Distribution,
    /// Picoseconds, in the order of [`Shares::parts`].
    sums: [u128; 9],
    /// Tokens of answers, and picoseconds that they took.
    by_user: Vec<(u64, u128)>,
}

impl Counts {
    pub(super) fn new(from: Time) -> Self {
        let seconds = || Distribution::new(LONGEST, 1e-9);
        Self {
            from,
            served: 0,
            abandoned: 0,
            cut: 0,
            attempts: 0,
            attempts_of_ended: 0,
            failed: [0; 6],
            prompt: 0,
            cached: 0,
            output: 0,
            reserved: 0,
            stopped: 0,
            summaries: 0,
            summary: [0; 3],
            // Up to 10^6 tokens a second, in thousandths.
            speeds: Distribution::new(1_000_000_000, 1e-3),
            first: seconds(),
            whole: seconds(),
            sums: [0; 9],
            by_user: Vec::new(),
        }
    }

    fn counts(&self, now: Time) -> u64 {
        u64::from(now >= self.from)
    }

    pub(super) fn attempt(&mut self, now: Time) {
        self.attempts += self.counts(now);
    }

    pub(super) fn reserved(&mut self, now: Time, tokens: u64) {
        self.reserved += tokens * self.counts(now);
    }

    pub(super) fn failed(&mut self, now: Time, failure: Failure) {
        let at = match failure {
            Failure::Requests(_) | Failure::Tokens(_) => 0,
            Failure::Full => 1,
            Failure::Away => 2,
            Failure::Lost(Loss::Outage) => 3,
            Failure::Lost(Loss::Deadline) => 4,
            Failure::Lost(Loss::Queue) => 5,
        };
        let counts = self.counts(now);
        if let Some(count) = self.failed.get_mut(at) {
            *count += counts;
        }
    }

    pub(super) fn stopped(&mut self, now: Time) {
        self.stopped += self.counts(now);
    }

    pub(super) fn summary(&mut self, now: Time, used: &Used) {
        let counts = self.counts(now);
        self.summaries += counts;
        for (sum, tokens) in self.summary.iter_mut().zip([used.prompt, used.cached, used.output]) {
            *sum += u64::from(tokens) * counts;
        }
    }

    pub(super) fn abandoned(&mut self, now: Time, attempts: u64) {
        let counts = self.counts(now);
        self.abandoned += counts;
        self.attempts_of_ended += attempts * counts;
    }

    pub(super) fn served(&mut self, story: &Story<'_>, seen: &Seen) {
        if story.ended < self.from {
            return;
        }
        self.served += 1;
        self.cut += u64::from(seen.is_cut);
        self.attempts_of_ended += seen.attempts;
        self.prompt += u64::from(seen.used.prompt);
        self.cached += u64::from(seen.used.cached);
        self.output += u64::from(seen.used.output);
        let whole = story.ended + seen.down - seen.since;
        self.whole.add(whole.nanoseconds(), 1);
        self.first.add((seen.first + seen.down - seen.since).nanoseconds(), 1);
        let speed = f64::from(seen.used.output) / whole.seconds().max(1e-12);
        self.speeds.add((speed * 1e3).round() as u64, 1);
        // The waits after refusals hold the ways back and forth of the attempts before; the last one's are here.
        let parts = [
            seen.quota,
            seen.retries,
            seen.capacity,
            seen.outage,
            seen.deadline,
            seen.up + seen.down,
            story.started - story.arrived,
            story.first_token - story.started,
            story.ended - story.first_token,
        ];
        for (sum, part) in self.sums.iter_mut().zip(parts) {
            *sum += u128::from(part.0);
        }
        let user = seen.user as usize;
        if user < MOST_USERS {
            if self.by_user.len() <= user {
                self.by_user.resize(user + 1, (0, 0));
            }
            let (tokens, time) = &mut self.by_user[user];
            *tokens += u64::from(seen.used.output);
            *time += u128::from(whole.0);
        }
    }

    pub(super) fn outcome(&self, settings: &ClientSettings, end: Time) -> ClientOutcome {
        let seconds = (end - self.from).seconds().max(1e-12);
        let mean = |sum: u128| sum as f64 * 1e-12 / self.served.max(1) as f64;
        let [quota, retries, capacity, outage, deadline, network, queue, prompt, decode] = self.sums.map(mean);
        let [refused_quota, refused_capacity, refused_away, lost, timed_out, expired] = self.failed;
        let refused = refused_quota + refused_capacity + refused_away + expired;
        let ended = self.served + self.abandoned;
        let all_time = self.sums.iter().sum::<u128>() as f64 * 1e-12;
        let price = settings.plan.price;
        let dollars = price.map(|price| {
            let [prompt, cached, output] = self.summary;
            let (prompt, cached, output) = (self.prompt + prompt, self.cached + cached, self.output + output);
            let fresh = (prompt - cached) as f64 * price.input;
            let cached = cached as f64 * price.cached.unwrap_or(price.input);
            (fresh + cached + output as f64 * price.output) * 1e-6
        });
        ClientOutcome {
            plan: settings.plan.name.clone(),
            profile: settings.profile.name.clone(),
            served: self.served,
            abandoned: self.abandoned,
            cut: self.cut,
            attempts: self.attempts,
            refused_quota,
            refused_capacity,
            refused_away,
            lost,
            timed_out,
            expired,
            stopped: self.stopped,
            summaries: self.summaries,
            summary_tokens: self.summary[0] + self.summary[2],
            refused_per_hour: refused as f64 / seconds * 3600.0,
            attempts_per_request: (ended > 0).then(|| self.attempts_of_ended as f64 / ended as f64),
            prompt_tokens: self.prompt,
            cached_tokens: self.cached,
            output_tokens: self.output,
            reserved_tokens: self.reserved,
            dollars,
            goodput: self.output as f64 / seconds,
            seen_speed: self.speeds.summary(),
            seen_speed_overall: (all_time > 0.0).then(|| self.output as f64 / all_time),
            first_token: self.first.summary(),
            whole: self.whole.summary(),
            shares: Shares { quota, retries, capacity, outage, deadline, network, queue, prompt, decode },
            fairness: self.fairness(),
            speed_spread: self.speed_spread(),
        }
    }

    /// (sum x)^2 / (n sum x^2).
    fn fairness(&self) -> Option<f64> {
        let sum: f64 = self.by_user.iter().map(|(tokens, _)| *tokens as f64).sum();
        let squares: f64 = self.by_user.iter().map(|(tokens, _)| (*tokens as f64).powi(2)).sum();
        (squares > 0.0).then(|| sum * sum / (self.by_user.len() as f64 * squares))
    }

    /// By nearest rank.
    fn speed_spread(&self) -> Option<f64> {
        let at_work = self.by_user.iter().filter(|(_, time)| *time > 0);
        let mut speeds: Vec<f64> = at_work.map(|(tokens, time)| *tokens as f64 / (*time as f64 * 1e-12)).collect();
        speeds.sort_by(f64::total_cmp);
        let rank = |share: f64| speeds.get(((share * speeds.len() as f64).ceil() as usize).saturating_sub(1)).copied();
        let (median, fast) = (rank(0.5)?, rank(0.95)?);
        (median > 0.0).then(|| fast / median)
    }
}
