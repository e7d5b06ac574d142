//! What is counted while a run goes on, and what is said of it at the end.

use crate::costs::Costs;
use crate::costs::StationKind;
use crate::line::Waits;
use crate::load::LoadSource;
use crate::observer::{Levels, Observer};
use crate::result::{
    Ended, FirstTokenParts, KvUse, Little, PrefillUse, Queues, ReplicaUse, ServiceOutcome, State, StationUse,
    Steadiness, StepParts, WorkDone,
};
use crate::statistics::{BatchMeans, Course, Distribution, RateMeans, TimeAverage};
use crate::time::Time;

use super::Engine;
use super::replica::Replica;

/// Histograms reach 10^5 s, in nanoseconds.
const LONGEST_NANOSECONDS: u64 = 100_000_000_000_000;
/// Speeds up to 10^9 tokens a second, in millionths.
const FASTEST_MICROTOKENS: u64 = 1_000_000_000_000_000;

/// What a step of a user went through before it began.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepBefore {
    /// Its draft.
    pub(super) draft: Time,
    /// Waiting for the first stage, in picoseconds.
    pub(super) entry_stage: u64,
    /// Waiting for a prompt, in picoseconds.
    pub(super) entry_prefill: u64,
}

/// Counts of the window.
#[derive(Debug)]
pub(super) struct Tally {
    start: Time,
    inside: TimeAverage,
    /// The same number over time.
    course: Course,
    /// Requests that came in the window.
    came: u64,
    pub(super) in_service: TimeAverage,
    pub(super) room: TimeAverage,
    pub(super) prefill: TimeAverage,
    pub(super) entry: TimeAverage,
    pub(super) passes: TimeAverage,
    pub(super) crossing: TimeAverage,
    pub(super) kv: TimeAverage,
    pub(super) tokens: RateMeans,
    pub(super) prompt_tokens: RateMeans,
    finished: RateMeans,
    pub(super) micro_batches: u64,
    pub(super) micro_batch_users: u64,
    speeds: Distribution,
    speed_means: BatchMeans,
    first_tokens: Distribution,
    first_token_means: BatchMeans,
    per_token: Distribution,
    per_token_means: BatchMeans,
    steps: Distribution,
    whole: Distribution,
    /// Sums in picoseconds: service, draft, stage, expert, prefill, links, room.
    step_sums: [u128; 7],
    step_time: u128,
    step_count: u64,
    first_sums: [u128; 6],
    first_count: u64,
    pass_time: u128,
    request_time: u128,
    busy_before: Vec<u64>,
    there_before: [u64; 2],
}

impl Tally {
    pub(super) fn new(stations: usize) -> Self {
        let seconds = || Distribution::new(LONGEST_NANOSECONDS, 1e-9);
        Self {
            start: Time::ZERO,
            inside: TimeAverage::default(),
            course: Course::new(Time::ZERO, 0),
            came: 0,
            in_service: TimeAverage::default(),
            room: TimeAverage::default(),
            prefill: TimeAverage::default(),
            entry: TimeAverage::default(),
            passes: TimeAverage::default(),
            crossing: TimeAverage::default(),
            kv: TimeAverage::default(),
            tokens: RateMeans::new(Time::ZERO),
            prompt_tokens: RateMeans::new(Time::ZERO),
            finished: RateMeans::new(Time::ZERO),
            micro_batches: 0,
            micro_batch_users: 0,
            speeds: Distribution::new(FASTEST_MICROTOKENS, 1e-6),
            speed_means: BatchMeans::default(),
            first_tokens: seconds(),
            first_token_means: BatchMeans::default(),
            per_token: seconds(),
            per_token_means: BatchMeans::default(),
            steps: seconds(),
            whole: seconds(),
            step_sums: [0; 7],
            step_time: 0,
            step_count: 0,
            first_sums: [0; 6],
            first_count: 0,
            pass_time: 0,
            request_time: 0,
            busy_before: vec![0; stations],
            there_before: [0; 2],
        }
    }

    /// The window begins: what was counted before is forgotten, what is there stays.
    pub(super) fn begin(&mut self, now: Time, busy: Vec<u64>, there: [u64; 2]) {
        let levels =
            [self.inside, self.in_service, self.room, self.prefill, self.entry, self.passes, self.crossing, self.kv];
        let mut levels = levels.map(|mut level| {
            level.reset(now);
            level
        });
        *self = Self { start: now, busy_before: busy, there_before: there, ..Self::new(0) };
        [self.inside, self.in_service, self.room, self.prefill, self.entry, self.passes, self.crossing, self.kv] =
            std::mem::take(&mut levels);
        self.course = Course::new(now, self.inside.value());
        self.tokens = RateMeans::new(now);
        self.prompt_tokens = RateMeans::new(now);
        self.finished = RateMeans::new(now);
    }

    /// A request is in the system.
    pub(super) fn comes(&mut self, now: Time) {
        self.came += 1;
        self.inside.up(now);
        self.course.set(now, self.inside.value());
    }

    /// One has left it.
    pub(super) fn goes(&mut self, now: Time) {
        self.inside.down(now);
        self.course.set(now, self.inside.value());
    }

    /// One that came at `arrived` was taken back.
    pub(super) fn cancelled(&mut self, now: Time, arrived: Time) {
        self.request_time += self.in_window(now, arrived);
        self.goes(now);
    }

    /// How many are where.
    pub(super) fn levels(&self) -> Levels {
        Levels {
            in_service: self.in_service.value(),
            room: self.room.value(),
            prefill: self.prefill.value(),
            entry: self.entry.value(),
            passes: self.passes.value(),
            kv_tokens: self.kv.value(),
        }
    }

    /// A pass is through the line that it entered at `entered`.
    pub(super) fn pass_through(&mut self, now: Time, entered: Time) {
        self.passes.down(now);
        self.pass_time += self.in_window(now, entered);
    }

    /// Time since `from` that lies in the window, in picoseconds.
    fn in_window(&self, now: Time, from: Time) -> u128 {
        u128::from((now - from.max(self.start)).0)
    }

    pub(super) fn first_token(&mut self, took: Time, parts: [Time; 6]) {
        self.first_tokens.add(took.nanoseconds(), 1);
        self.first_token_means.add(took.seconds());
        for (sum, part) in self.first_sums.iter_mut().zip(parts) {
            *sum += u128::from(part.0);
        }
        self.first_count += 1;
    }

    /// Time between two steps of a user.
    pub(super) fn step(&mut self, gap: Time, _tokens: u32) {
        self.steps.add(gap.nanoseconds(), 1);
        self.step_time += u128::from(gap.0);
        self.step_count += 1;
    }

    pub(super) fn step_parts(
        &mut self,
        gap: Time,
        service: u64,
        StepBefore { draft, entry_stage, entry_prefill }: StepBefore,
        waits: &Waits,
        expert: Time,
    ) {
        let expert = expert.0.min(service);
        let parts =
            [service - expert, draft.0, entry_stage + waits.stage, expert, entry_prefill + waits.prefill, waits.link];
        for (sum, part) in self.step_sums.iter_mut().zip(parts) {
            *sum += u128::from(part);
        }
        self.lost_for_room(gap - Time(parts.iter().sum()));
    }

    pub(super) fn lost_for_room(&mut self, gap: Time) {
        self.step_sums[6] += u128::from(gap.0);
    }

    /// An answer is complete of a request from `arrived`, `answering` from its first token to its last, `after_first`
    /// tokens.
    pub(super) fn finished(&mut self, now: Time, arrived: Time, answering: Time, after_first: u32) {
        self.finished.add(now, 1);
        self.whole.add((now - arrived).nanoseconds(), 1);
        self.request_time += self.in_window(now, arrived);
        if after_first > 0 && answering > Time::ZERO {
            let per_token = answering.seconds() / f64::from(after_first);
            self.per_token.add((per_token * 1e9).round() as u64, 1);
            self.per_token_means.add(per_token);
            self.speeds.add((1e6 / per_token).round() as u64, 1);
            self.speed_means.add(1.0 / per_token);
        }
    }
}

fn mean(sum: u128, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum as f64 * 1e-12 / count as f64 }
}

/// Fewest requests of a window that tell whether a queue grows.
const FEWEST: u64 = 40;
/// So many standard deviations of independent arrivals and ends are no chance.
const NO_CHANCE: f64 = 3.0;
/// Growth that counts, as a part of those who come.
const GROWTH: f64 = 0.02;

impl Tally {
    /// Whether the number of requests inside grows. It does where it is larger after each quarter of the window than
    /// before it, and has grown in the second half by more than chance explains: for independent arrivals and ends, the
    /// difference of as many of both has the variance of their sum. `most` is where it must end.
    fn steadiness(&self, now: Time, ended: Ended, most: Option<u64>) -> Steadiness {
        let say = |state, reason| Steadiness { state, reason };
        let seconds = (now - self.start).seconds();
        if let Some(most) = most {
            return say(State::Steady, format!("at most {most} requests at once: users wait for their answers"));
        }
        if ended == Ended::Served {
            return say(State::Served, "everybody was served, and nobody comes any more".into());
        }
        if self.came < FEWEST {
            return say(State::Short, format!("{} requests came in the window: too few to tell", self.came));
        }
        let quarter = |part: u64| Time(self.start.0 + (now - self.start).0 / 4 * part);
        let inside = [0, 1, 2, 3].map(|part| self.course.at(quarter(part)));
        let end = self.inside.value();
        let rises = inside.windows(2).all(|pair| pair[1] > pair[0]) && end > inside[3];
        let grown = end.saturating_sub(inside[2]) as f64;
        let half = self.came as f64 / 2.0;
        if rises && grown > NO_CHANCE * (2.0 * half).sqrt() && grown > GROWTH * half {
            let rate = |count: u64| count as f64 / seconds;
            let reason = format!(
                "the queue grows without end: {} requests/s come, {} are served; {end} are inside at the end, {} were at \
                 half time",
                short(rate(self.came)),
                short(rate(self.finished.total())),
                inside[2]
            );
            return say(State::Growing, reason);
        }
        say(State::Steady, format!("{} requests inside at half time, {end} at the end", inside[2]))
    }
}

impl<C: Costs, L: LoadSource + ?Sized, O: Observer> Engine<'_, C, L, O> {
    pub(super) fn outcome(mut self, ended: Ended) -> ServiceOutcome {
        let now = self.now;
        // A run that ends in its warm-up has an empty window: what it has counted is of no window.
        let has_window = now > self.length.warm_up;
        if !has_window {
            let (busy, there) = (self.busy(), self.busy_there());
            self.tally.begin(now, busy, there);
        }
        let tally = &self.tally;
        let steady = if has_window {
            tally.steadiness(now, ended, self.load.most_inside())
        } else {
            let (end, start) = (short(now.seconds()), self.length.warm_up.seconds());
            let reason = if start > 0.0 {
                format!(
                    "the run ended after {end} s, before its window began at {start} s (make run.warm_up shorter, or \
                     the run longer)"
                )
            } else {
                "the run ended at once: no request was served".to_owned()
            };
            Steadiness { state: State::NoWindow, reason }
        };
        let start = tally.start;
        let window = (now - start).0.max(1);
        let level = |average: TimeAverage| average.average(start, now);
        let busy: Vec<f64> = self
            .busy()
            .iter()
            .zip(&tally.busy_before)
            .map(|(after, before)| (after.saturating_sub(*before) as f64 / window as f64).min(1.0))
            .collect();
        let kinds = self.costs.stations();
        let by_replica: Vec<Vec<StationUse>> = busy
            .chunks(kinds.len().max(1))
            .map(|busy| {
                kinds.iter().zip(busy).map(|(station, busy)| StationUse { station: *station, busy: *busy }).collect()
            })
            .collect();
        let stations = mean_of(&by_replica);
        let replicas = self.replica_use(&by_replica, now);
        let [service, draft, stage, expert, prefill, links, room] =
            tally.step_sums.map(|sum| mean(sum, tally.step_count));
        let first = tally.first_sums.map(|sum| mean(sum, tally.first_count));
        self.totals.inside = tally.room.value() + tally.in_service.value();
        self.totals.owed = self.totals.asked - self.totals.produced;
        // The law, from two sides: the area under the number, and the sum of times. Who is still inside counts with the
        // time so far.
        let in_line = self.passes.iter().filter(|pass| !pass.members.is_empty() && !pass.is_elsewhere);
        let in_line: u128 = in_line.map(|pass| tally.in_window(now, pass.entered)).sum();
        let inside = self.requests.iter().filter(|active| active.is_inside);
        let inside: u128 = inside.map(|active| tally.in_window(now, active.arrived)).sum();
        let law = |number: f64, sum: u128| {
            let other = sum as f64 / window as f64;
            if other > 0.0 { number / other - 1.0 } else { 0.0 }
        };
        let little = Little {
            passes: law(level(tally.passes).mean, tally.pass_time + in_line),
            requests: law(level(tally.inside).mean, tally.request_time + inside),
        };
        let idle = self.idle_tokens();
        let outcome = ServiceOutcome {
            window_start: start,
            window_end: now,
            ended,
            steady,
            totals: self.totals,
            tokens_per_second: tally.tokens.estimate(now),
            prompt_tokens_per_second: tally.prompt_tokens.estimate(now),
            requests_per_second: tally.finished.estimate(now),
            user_speed: tally.speeds.summary(),
            user_speed_mean: tally.speed_means.estimate(),
            first_token: tally.first_tokens.summary(),
            first_token_mean: tally.first_token_means.estimate(),
            per_output_token: tally.per_token.summary(),
            per_output_token_mean: tally.per_token_means.estimate(),
            between_steps: tally.steps.summary(),
            whole_request: tally.whole.summary(),
            first_token_counts: tally.first_tokens.counts(),
            between_steps_counts: tally.steps.counts(),
            queues: Queues {
                inside: level(tally.inside),
                in_service: level(tally.in_service),
                room: level(tally.room),
                prefill: level(tally.prefill),
                entry: level(tally.entry),
                passes: level(tally.passes),
                micro_batch: tally.micro_batch_users as f64 / tally.micro_batches.max(1) as f64,
            },
            step_parts: StepParts { service, draft, stage, expert, prefill, links, room },
            first_token_parts: FirstTokenParts {
                room: first[0],
                host: first[1],
                turn: first[2],
                work: first[3],
                transfer: first[4],
                decode: first[5],
            },
            wafers: wafers(&stations),
            stations,
            kv: KvUse {
                capacity: self.room.capacity().saturating_mul(self.replicas.len() as u64),
                taken: level(tally.kv),
                idle_at_end: idle,
                taken_at_end: tally.kv.value(),
            },
            little,
            work: WorkDone {
                events: self.events.pushed(),
                visits: self.replicas.iter().map(|replica| replica.line.passes()).sum::<u64>()
                    * self.costs.stations().len() as u64,
            },
            replicas,
            prefill: self.is_elsewhere().then(|| {
                let all = window as f64 * self.replicas.len() as f64;
                let now = self.busy_there();
                let busy = |at: usize| (now[at].saturating_sub(tally.there_before[at]) as f64 / all).min(1.0);
                PrefillUse { busy: busy(0), transfer_busy: busy(1), crossing: level(tally.crossing) }
            }),
            clients: None,
            tasks: self.load.tasks(now),
        };
        crate::invariants::debug_check(&outcome);
        outcome
    }

    /// What each machine did; nothing where there is one that is always there.
    fn replica_use(&self, stations: &[Vec<StationUse>], now: Time) -> Vec<ReplicaUse> {
        if self.replicas.len() == 1 && self.service.replicas.outages.is_empty() {
            return Vec::new();
        }
        let of = |(replica, stations): (&Replica, &Vec<StationUse>)| {
            let slots = wafers(stations);
            ReplicaUse {
                finished: replica.window.finished,
                tokens: replica.window.tokens,
                aborted: replica.window.aborted,
                busy: slots.iter().sum::<f64>() / slots.len().max(1) as f64,
                away: replica.away(now),
            }
        };
        self.replicas.iter().zip(stations).map(of).collect()
    }
}

/// The mean of several machines, station by station.
fn mean_of(replicas: &[Vec<StationUse>]) -> Vec<StationUse> {
    let Some(first) = replicas.first() else { return Vec::new() };
    let busy = |at: usize| replicas.iter().filter_map(|stations| stations.get(at)).map(|here| here.busy).sum::<f64>();
    let mean = |(at, here): (usize, &StationUse)| StationUse { busy: busy(at) / replicas.len() as f64, ..*here };
    first.iter().enumerate().map(mean).collect()
}

/// Three or more digits that count.
fn short(value: f64) -> String {
    let places = if value >= 100.0 { 0 } else { (2.0 - value.max(1e-6).log10().floor()).max(0.0) as usize };
    format!("{value:.places$}")
}

fn wafers(stations: &[StationUse]) -> Vec<f64> {
    let mut wafers: Vec<(f64, u32)> = Vec::new();
    for station in stations {
        let StationKind::Slot { wafer, .. } = station.station else { continue };
        let wafer = wafer as usize;
        if wafers.len() <= wafer {
            wafers.resize(wafer + 1, (0.0, 0));
        }
        wafers[wafer] = (wafers[wafer].0 + station.busy, wafers[wafer].1 + 1);
    }
    wafers.into_iter().map(|(busy, slots)| busy / f64::from(slots.max(1))).collect()
}
