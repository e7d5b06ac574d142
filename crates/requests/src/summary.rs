//! What a trace says of its load: how many, how fast, how long, which sessions, what prompts have in common.
//!
//! Memory does not grow with the number of requests, but with sessions (16 bytes each and their names) and with
//! distinct hashes of blocks, up to [`MOST_HASHES`]: beyond, what is shared is at least what is said.

use hdrhistogram::Histogram;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::error::RequestError;
use crate::reader::{LeftOut, Reader, Seen, Start, TraceRequest};

/// Distinct hashes that are remembered: about 100 MB.
pub const MOST_HASHES: usize = 4 << 20;

/// What is said of lengths or times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Exact mean.
    pub mean: f64,
    /// Exact smallest.
    pub min: f64,
    /// A quarter is at or below; within 0.1 %, as the others.
    pub p25: f64,
    /// Half.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 95 %.
    pub p95: f64,
    /// 99 %.
    pub p99: f64,
    /// Exact largest.
    pub max: f64,
}

/// Rates over the span of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rates {
    /// Requests a second that come at times of their own.
    pub requests_per_second: f64,
    /// Prompt tokens a second, of all requests.
    pub prompt_tokens_per_second: f64,
    /// Output tokens a second, of all requests.
    pub output_tokens_per_second: f64,
    /// Coefficient of variation of the times between requests: 1 is Poisson, above it they come in bursts.
    pub variation: f64,
    /// Most requests a second in a bin, never below their mean. The last bin reaches to the last request, and is up to
    /// twice as long as the others.
    pub busiest: f64,
    /// Seconds of a bin.
    pub bin_s: f64,
}

/// Sessions.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SessionSummary {
    /// How many.
    pub sessions: u64,
    /// Requests in sessions.
    pub requests: u64,
    /// Most requests of one.
    pub most: u64,
    /// Requests that wait for the answer before them.
    pub waiting: u64,
    /// Seconds between that answer and them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<Spread>,
}

/// What prompts have in common with earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Shared {
    /// Tokens at the beginning of prompts that an earlier prompt began with, or that its session has brought.
    pub tokens: u64,
    /// Of all prompt tokens.
    pub share: f64,
    /// Whether there were more distinct blocks than are remembered, so that more may be shared.
    pub at_least: bool,
}

/// A trace in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// What the file is.
    pub seen: Seen,
    /// Requests.
    pub requests: u64,
    /// Rows that gave none.
    pub left_out: LeftOut,
    /// Seconds from the first to the last that comes at a time of its own.
    pub span_s: f64,
    /// Rates; nothing where all come at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// Tokens of prompts, in all.
    pub prompt_tokens: u64,
    /// Tokens of answers, in all.
    pub output_tokens: u64,
    /// Tokens of a prompt.
    pub prompt: Spread,
    /// Tokens of an answer.
    pub output: Spread,
    /// Sessions, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionSummary>,
    /// What prompts share, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<Shared>,
}

/// A distribution of whole numbers.
struct Values {
    histogram: Option<Histogram<u64>>,
    sum: u128,
    count: u64,
    least: u64,
    most: u64,
}

impl Values {
    fn new() -> Self {
        // Up to 2^60, three digits. Three digits are always allowed.
        let histogram = Histogram::new_with_bounds(1, 1 << 60, 3).ok();
        Self { histogram, sum: 0, count: 0, least: u64::MAX, most: 0 }
    }

    fn add(&mut self, value: u64) {
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(value);
        }
        self.sum += u128::from(value);
        self.count += 1;
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    fn spread(&self, unit: f64) -> Option<Spread> {
        let histogram = self.histogram.as_ref().filter(|_| self.count > 0)?;
        let part = |part: f64| histogram.value_at_quantile(part).clamp(self.least, self.most) as f64 * unit;
        Some(Spread {
            mean: self.sum as f64 / self.count as f64 * unit,
            min: self.least as f64 * unit,
            p25: part(0.25),
            p50: part(0.5),
            p90: part(0.9),
            p95: part(0.95),
            p99: part(0.99),
            max: self.most as f64 * unit,
        })
    }
}

const BINS: usize = 256;
const SECOND: f64 = 1e-12;

/// Requests in bins of time that grow with the span.
struct Bins {
    counts: Vec<u64>,
    width: u64,
}

impl Bins {
    fn add(&mut self, at: u64) {
        while at / self.width >= BINS as u64 {
            self.counts.resize(BINS, 0);
            self.counts = self.counts.chunks_exact(2).map(|pair| pair[0] + pair[1]).collect();
            self.width = self.width.saturating_mul(2);
        }
        let bin = (at / self.width) as usize;
        if self.counts.len() <= bin {
            self.counts.resize(bin + 1, 0);
        }
        self.counts[bin] += 1;
    }

    /// Most requests a second in a bin. A last bin that is not full would have any rate, so it is one with that before
    /// it.
    fn busiest(&self, span: u64) -> f64 {
        let (full, last) = self.counts.split_at(self.counts.len().saturating_sub(2));
        let most = full.iter().copied().max().unwrap_or(0) as f64 / (self.width as f64 * SECOND);
        let left = span.saturating_sub(full.len() as u64 * self.width) as f64 * SECOND;
        most.max(last.iter().sum::<u64>() as f64 / left)
    }
}

/// Gathers a summary, request by request.
struct Gathering {
    prompts: Values,
    outputs: Values,
    waits: Values,
    timed: u64,
    first: u64,
    last: u64,
    gaps: (f64, f64),
    bins: Bins,
    sessions: FxHashMap<Box<str>, (u64, u64)>,
    in_sessions: u64,
    hashes: FxHashSet<u64>,
    shared: u64,
    knows_content: bool,
    is_cut: bool,
}

impl Gathering {
    fn new() -> Self {
        Self {
            prompts: Values::new(),
            outputs: Values::new(),
            waits: Values::new(),
            timed: 0,
            first: 0,
            last: 0,
            gaps: (0.0, 0.0),
            bins: Bins { counts: Vec::new(), width: 1_000_000_000_000 },
            sessions: FxHashMap::default(),
            in_sessions: 0,
            hashes: FxHashSet::default(),
            shared: 0,
            knows_content: false,
            is_cut: false,
        }
    }

    fn add(&mut self, request: &TraceRequest) {
        self.prompts.add(request.prompt.into());
        self.outputs.add(request.output.into());
        match request.start {
            Start::After(wait) => self.waits.add(wait),
            Start::At(at) => {
                if self.timed == 0 {
                    self.first = at;
                } else {
                    let gap = (at - self.last.min(at)) as f64 * SECOND;
                    self.gaps = (self.gaps.0 + gap, self.gaps.1 + gap * gap);
                }
                self.timed += 1;
                self.last = at;
                self.bins.add(at - self.first.min(at));
            }
        }
        self.share(request);
    }

    fn share(&mut self, request: &TraceRequest) {
        let in_session = !request.session.is_empty();
        let mut before = 0;
        if in_session {
            self.in_sessions += 1;
            let all = u64::from(request.prompt) + u64::from(request.output);
            match self.sessions.get_mut(request.session.as_str()) {
                Some((turns, tokens)) => {
                    before = std::mem::replace(tokens, all);
                    *turns += 1;
                }
                None => {
                    self.sessions.insert(request.session.as_str().into(), (1, all));
                }
            }
        }
        if request.block == 0 {
            if in_session {
                self.knows_content = true;
                let kept = request.kept.map_or(before, u64::from);
                self.shared += kept.min(request.prompt.into());
            }
            return;
        }
        self.knows_content = true;
        let known = request.hashes.iter().take_while(|hash| self.hashes.contains(hash)).count() as u64;
        self.shared += (known * u64::from(request.block)).min(request.prompt.into());
        for hash in request.hashes.iter().skip(known as usize) {
            if self.hashes.len() >= MOST_HASHES {
                self.is_cut = true;
                break;
            }
            self.hashes.insert(*hash);
        }
    }

    fn rates(&self) -> Option<Rates> {
        let span = (self.last - self.first) as f64 * SECOND;
        if span <= 0.0 {
            return None;
        }
        let gaps = (self.timed - 1).max(1) as f64;
        let mean = self.gaps.0 / gaps;
        let variance = (self.gaps.1 / gaps - mean * mean).max(0.0);
        let bin = self.bins.width as f64 * SECOND;
        Some(Rates {
            requests_per_second: self.timed as f64 / span,
            prompt_tokens_per_second: self.prompts.sum as f64 / span,
            output_tokens_per_second: self.outputs.sum as f64 / span,
            variation: if mean > 0.0 { variance.sqrt() / mean } else { 0.0 },
            busiest: self.bins.busiest(self.last - self.first),
            bin_s: bin.min(span),
        })
    }
}

/// Reads a trace to its end, and says what it says. `each` hears of every request.
///
/// # Errors
/// As [`Reader::read`].
pub fn summarise(mut reader: Reader, mut each: impl FnMut(&TraceRequest)) -> Result<Summary, RequestError> {
    let mut all = Gathering::new();
    let mut request = TraceRequest::default();
    while reader.read(&mut request)? {
        all.add(&request);
        each(&request);
    }
    let nothing = Spread { mean: 0.0, min: 0.0, p25: 0.0, p50: 0.0, p90: 0.0, p95: 0.0, p99: 0.0, max: 0.0 };
    let sessions = SessionSummary {
        sessions: all.sessions.len() as u64,
        requests: all.in_sessions,
        most: all.sessions.values().map(|(turns, _)| *turns).max().unwrap_or(0),
        waiting: all.waits.count,
        wait_s: all.waits.spread(SECOND),
    };
    let prompt_tokens = u64::try_from(all.prompts.sum).unwrap_or(u64::MAX);
    Ok(Summary {
        seen: reader.seen().clone(),
        requests: all.prompts.count,
        left_out: reader.left_out(),
        span_s: (all.last - all.first) as f64 * SECOND,
        rates: all.rates(),
        prompt_tokens,
        output_tokens: u64::try_from(all.outputs.sum).unwrap_or(u64::MAX),
        prompt: all.prompts.spread(1.0).unwrap_or(nothing),
        output: all.outputs.spread(1.0).unwrap_or(nothing),
        sessions: (sessions.sessions > 0).then_some(sessions),
        shared: all.knows_content.then_some(Shared {
            tokens: all.shared,
            share: all.shared as f64 / prompt_tokens.max(1) as f64,
            at_least: all.is_cut,
        }),
    })
}
