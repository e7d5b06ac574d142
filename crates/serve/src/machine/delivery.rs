//! Who watches the engine and tells those who wait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;
use wafersim_stream::Time;
use wafersim_stream::line::Kind;
use wafersim_stream::observer::{Happening, Observer};
use wafersim_stream::service::{Reservation, Used};

use super::{End, Progress};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// A request in the engine.
#[derive(Debug)]
pub(super) struct Live {
    progress: Progress,
    told: watch::Sender<Progress>,
    is_told: bool,
    prompt: u32,
    /// Whose account it is on.
    pub(super) organisation: u32,
    /// What was taken from it.
    pub(super) reserved: Reservation,
}

impl Live {
    /// A request that comes now, and where its progress is seen.
    pub(super) fn new(
        now: Time,
        organisation: u32,
        prompt: u32,
        reserved: Reservation,
    ) -> (Self, watch::Receiver<Progress>) {
        let progress = Progress { came: now, last: now, ..Progress::default() };
        let (told, seen) = watch::channel(progress);
        (Self { progress, told, is_told: true, prompt, organisation, reserved }, seen)
    }

    /// What it has used.
    pub(super) const fn used(&self) -> Used {
        Used { prompt: self.prompt, cached: self.progress.cached, output: self.progress.produced }
    }
}

/// Watches, and tells.
#[derive(Debug)]
pub(super) struct Delivery {
    metrics: Arc<Metrics>,
    clock: Clock,
    live: BTreeMap<u64, Live>,
    expected: u64,
    /// Numbers with news.
    news: Vec<u64>,
    ended: Vec<(Time, Live)>,
    /// Who may wait for room too long, in order of arrival.
    waiting: VecDeque<u64>,
}

impl Delivery {
    pub(super) fn new(metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self {
            metrics,
            clock,
            live: BTreeMap::new(),
            expected: 0,
            news: Vec::new(),
            ended: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// The next request that is submitted is this one. Returns its number.
    pub(super) fn expect(&mut self, live: Live) -> u64 {
        let number = self.expected;
        self.expected += 1;
        self.metrics.prompt_tokens.inc_by(u64::from(live.prompt));
        self.live.insert(number, live);
        self.waiting.push_back(number);
        number
    }

    /// Whether a request is in the engine.
    pub(super) fn knows(&self, number: u64) -> bool {
        self.live.contains_key(&number)
    }

    /// Whether nobody is.
    pub(super) fn is_idle(&self) -> bool {
        self.live.is_empty()
    }

    /// When the first of those who wait for room has waited too long.
    pub(super) fn next_late(&mut self, deadline: Time) -> Option<Time> {
        while let Some(number) = self.waiting.front() {
            match self.live.get(number) {
                Some(live) if live.progress.admitted.is_none() => return Some(live.progress.came + deadline),
                _ => self.waiting.pop_front(),
            };
        }
        None
    }

    /// Those who have waited too long at `now`; each is named once.
    pub(super) fn late(&mut self, now: Time, deadline: Time) -> Vec<u64> {
        let mut late = Vec::new();
        while self.next_late(deadline).is_some_and(|at| at <= now) {
            if let Some(number) = self.waiting.pop_front() {
                if let Some(live) = self.live.get_mut(&number) {
                    live.progress.end = Some(End::Late);
                }
                late.push(number);
            }
        }
        late
    }

    /// Tells everybody who has news. Returns those that ended since, with when.
    pub(super) fn deliver(&mut self) -> Vec<(Time, Live)> {
        for number in self.news.drain(..) {
            if let Some(live) = self.live.get_mut(&number) {
                live.told.send_replace(live.progress);
                live.is_told = true;
            }
        }
        for (_, live) in &self.ended {
            live.told.send_replace(live.progress);
        }
        if self.waiting.len() > 2 * self.live.len() + 64 {
            let live = &self.live;
            self.waiting.retain(|number| live.contains_key(number));
        }
        std::mem::take(&mut self.ended)
    }

    /// The server stops: everybody is told.
    pub(super) fn stop(&mut self) {
        for live in self.live.values_mut() {
            live.progress.end = Some(End::Stopped);
            live.told.send_replace(live.progress);
        }
    }

    fn produced(&mut self, at: Time, number: u64, tokens: u32) {
        let (metrics, clock) = (&self.metrics, &self.clock);
        metrics.generation_tokens.inc_by(u64::from(tokens));
        let Some(live) = self.live.get_mut(&number) else { return };
        let progress = &mut live.progress;
        if progress.first.is_none() {
            progress.first = Some(at);
            metrics.first_token.observe(clock.seconds(at - progress.came));
        } else {
            let each = clock.seconds(at - progress.last) / f64::from(tokens.max(1));
            (0..tokens).for_each(|_| metrics.between_tokens.observe(each));
        }
        progress.produced += tokens;
        progress.last = at;
        if live.is_told {
            live.is_told = false;
            self.news.push(number);
        }
    }

    fn ended(&mut self, at: Time, number: u64, is_finished: bool) {
        let Some(mut live) = self.live.remove(&number) else { return };
        if is_finished {
            live.progress.end = Some(End::Finished);
            let progress = &live.progress;
            let (metrics, clock) = (&self.metrics, &self.clock);
            let started = progress.started.unwrap_or(progress.came);
            let first = progress.first.unwrap_or(at);
            metrics.whole.observe(clock.seconds(at - progress.came));
            metrics.queue.observe(clock.seconds(started - progress.came));
            metrics.prefill.observe(clock.seconds(first - started));
            metrics.decode.observe(clock.seconds(progress.last - first));
        } else if live.progress.end.is_none() {
            self.metrics.cancelled.inc();
        }
        self.ended.push((at, live));
    }
}

impl Observer for Delivery {
    fn see(&mut self, at: Time, number: u64, happening: Happening) {
        match happening {
            Happening::Admitted { cached } => {
                let Some(live) = self.live.get_mut(&number) else { return };
                // Who has given way and comes in again was counted.
                if live.progress.admitted.is_some() {
                    return;
                }
                live.progress.admitted = Some(at);
                live.progress.cached = cached;
                self.metrics.prefix_queries.inc_by(u64::from(live.prompt));
                self.metrics.prefix_hits.inc_by(u64::from(cached));
                if live.is_told {
                    live.is_told = false;
                    self.news.push(number);
                }
            }
            Happening::Entered { kind: Kind::Prefill, .. } => {
                if let Some(live) = self.live.get_mut(&number) {
                    live.progress.started.get_or_insert(at);
                }
            }
            Happening::Produced { tokens } => self.produced(at, number, tokens),
            Happening::Finished => self.ended(at, number, true),
            Happening::Cancelled | Happening::Refused => self.ended(at, number, false),
            Happening::Arrived { .. } | Happening::Entered { .. } | Happening::GaveWay => {}
        }
    }
}
