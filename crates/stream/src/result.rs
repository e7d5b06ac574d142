//! What came out of a run. Every figure says what it is of, over which window.
//!
//! The *window* begins when the warm-up ends. A request counts in the distributions if its answer ended in the
//! window; a token, if it came out in it.

use serde::{Deserialize, Serialize};

use crate::clients::ClientOutcome;
use crate::costs::StationKind;
use crate::load::TaskOutcome;
use crate::statistics::{Average, Count, Estimate, Summary};
use crate::time::Time;

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceOutcome {
    /// Start of the window, in seconds from the start of the run.
    pub window_start: Time,
    /// End of the window and of the run.
    pub window_end: Time,
    /// Why it ended there.
    pub ended: Ended,
    /// Whether its figures are those of a machine that can go on like this.
    pub steady: Steadiness,
    /// Over the whole run, warm-up included.
    pub totals: Totals,
    /// Output tokens a second, of all users.
    pub tokens_per_second: Estimate,
    /// Prompt tokens a second that were computed (without those from the prefix cache).
    pub prompt_tokens_per_second: Estimate,
    /// Requests a second whose answers ended.
    pub requests_per_second: Estimate,
    /// Output tokens a second of one request: tokens after the first, over the time from the first to the last.
    pub user_speed: Option<Summary>,
    /// Mean of the same with its interval.
    pub user_speed_mean: Option<Estimate>,
    /// Seconds from arrival to first token.
    pub first_token: Option<Summary>,
    /// Mean of the same with its interval.
    pub first_token_mean: Option<Estimate>,
    /// Seconds per output token of one request, after the first.
    pub per_output_token: Option<Summary>,
    /// Mean of the same with its interval.
    pub per_output_token_mean: Option<Estimate>,
    /// Seconds between a user's steps that gave tokens; with speculation a step gives several.
    pub between_steps: Option<Summary>,
    /// Seconds from arrival to the end of the answer.
    pub whole_request: Option<Summary>,
    /// Seconds from arrival to first token, with how often each occurs; for pictures, and left out of JSON.
    #[serde(skip)]
    pub first_token_counts: Vec<Count>,
    /// The same of the seconds between a user's steps.
    #[serde(skip)]
    pub between_steps_counts: Vec<Count>,
    /// How many are where, over time.
    pub queues: Queues,
    /// Where the time between two steps goes, in the mean, in seconds; the parts add up to the mean of `between_steps`.
    pub step_parts: StepParts,
    /// Where the time to first token goes, in the mean, in seconds; the parts add up to the mean of `first_token`.
    pub first_token_parts: FirstTokenParts,
    /// Busy share of each station, 0 to 1; the mean of all machines where there are several.
    pub stations: Vec<StationUse>,
    /// Mean busy share of the slots of each wafer.
    pub wafers: Vec<f64>,
    /// Room for keys and values.
    pub kv: KvUse,
    /// Little's law, checked on this run.
    pub little: Little,
    /// Events of the queue, and visits of passes to stations, over the whole run.
    pub work: WorkDone,
    /// Each machine, where there are several behind a balancer, or one is away for a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaUse>,
    /// The place where prompts are computed, where that is not the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<PrefillUse>,
    /// What clients saw, where a service stands between the load and the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientOutcome>,
    /// What became of tasks, where the load has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<TaskOutcome>,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The time that was asked for is over.
    Time,
    /// As many requests as asked for are finished.
    Requests,
    /// Nobody comes any more, and everybody has been served.
    Served,
}

/// Whether what is said of the window would be said of a longer one too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steadiness {
    /// What was found.
    pub state: State,
    /// In words.
    pub reason: String,
}

/// What a window shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The number of requests inside does not grow; or it has an end, as users wait for their answers.
    Steady,
    /// More come than are served: the queue grows as long as the run goes on, and times with it.
    Growing,
    /// Too few requests came in the window to tell.
    Short,
    /// The run ended before its window began.
    NoWindow,
    /// Everybody was served, and nobody comes any more.
    Served,
}

/// Counts over the whole run. `arrived = refused + finished + cancelled + aborted + inside`, `asked = produced + owed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Requests that came.
    pub arrived: u64,
    /// Requests that could not be served: longer than the model's or the machine's context, or no machine was up.
    pub refused: u64,
    /// Requests whose answers ended.
    pub finished: u64,
    /// Requests that were taken back by whoever sent them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub cancelled: u64,
    /// Requests whose machine went away while they waited or were served.
    #[serde(default, skip_serializing_if = "is_none")]
    pub aborted: u64,
    /// Requests that wait or are served at the end.
    pub inside: u64,
    /// Output tokens that were asked for by requests that were not refused.
    pub asked: u64,
    /// Output tokens that came out.
    pub produced: u64,
    /// Output tokens that are still to come at the end.
    pub owed: u64,
    /// Prompt tokens of requests that were let in, each time they were.
    pub prompt_tokens: u64,
    /// Of those, tokens that the prefix cache had on the wafers.
    pub cached_tokens: u64,
    /// Of those, tokens that came from the host.
    pub loaded_tokens: u64,
    /// Times that a request gave its room back.
    pub gave_way: u64,
}

const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// How many are where.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Queues {
    /// Requests in the system.
    pub inside: Average,
    /// Requests that have room: users in service.
    pub in_service: Average,
    /// Requests that wait for room.
    pub room: Average,
    /// Requests whose prompts are not all in the line.
    pub prefill: Average,
    /// Users with a token that waits to enter the line.
    pub entry: Average,
    /// Passes in the line.
    pub passes: Average,
    /// Users in a decoding pass.
    pub micro_batch: f64,
}

/// Parts of the time between two steps of a user.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct StepParts {
    /// Stations and links at work for the pass.
    pub service: f64,
    /// The draft.
    pub draft: f64,
    /// Waiting for an entry or a slot that is busy with other users' tokens.
    pub stage: f64,
    /// Of the work, what tokens wait for experts that others of the micro-batch want too.
    pub expert: f64,
    /// Waiting for an entry or a station that is busy with prompts.
    pub prefill: f64,
    /// Waiting for a link that is busy with other users' tokens.
    pub links: f64,
    /// Waiting for room to grow, and computing again what was given back.
    pub room: f64,
}

/// Parts of the time to first token.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct FirstTokenParts {
    /// Waiting for room for keys and values.
    pub room: f64,
    /// Waiting for blocks from the host.
    pub host: f64,
    /// Waiting until the first chunk enters the line.
    pub turn: f64,
    /// From there to the first token, or to the end of the prompt where that is computed elsewhere.
    pub work: f64,
    /// From there until its keys and values are over, where they come from elsewhere.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub transfer: f64,
    /// From there to the first token.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub decode: f64,
}

const fn is_zero(time: &f64) -> bool {
    *time == 0.0
}

/// Use of where prompts are computed elsewhere; the mean of all machines where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PrefillUse {
    /// Busy share of what computes prompts; of wafers the mean of their slots.
    pub busy: f64,
    /// Busy share of the way to the machine.
    pub transfer_busy: f64,
    /// Requests whose keys and values wait for the way, or are on it.
    pub crossing: Average,
}

/// Use of a station.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StationUse {
    /// Which one.
    #[serde(flatten)]
    pub station: StationKind,
    /// Busy time over the window.
    pub busy: f64,
}

/// What one of several machines did in the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReplicaUse {
    /// Requests whose answers ended.
    pub finished: u64,
    /// Output tokens.
    pub tokens: u64,
    /// Requests that were lost when it went away.
    pub aborted: u64,
    /// Mean busy share of its slots, of the whole window.
    pub busy: f64,
    /// Seconds that it was away.
    pub away: f64,
}

/// Room for keys and values, in tokens that see everything.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KvUse {
    /// Tokens that fit.
    pub capacity: u64,
    /// Tokens for which room was taken, blocks of the prefix cache included.
    pub taken: Average,
    /// Tokens of blocks that nobody used at the end.
    pub idle_at_end: u64,
    /// Tokens for which room is taken at the end.
    pub taken_at_end: u64,
}

/// Little's law in its operational form, which holds for every window (Buzen 1976): the mean number, as the area under
/// the count of who is inside, is the sum of everybody's time in the window over its length. Both sides are measured
/// for themselves; a difference is a mistake of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Little {
    /// Mean number of passes in the line, over their time in the line per time, less 1.
    pub passes: f64,
    /// The same for requests in the system.
    pub requests: f64,
}

/// What the engine did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorkDone {
    /// Events that went through the queue.
    pub events: u64,
    /// Visits of a pass to a station.
    pub visits: u64,
}
