//! How far a long run is, on stderr: a bar in a terminal; elsewhere a line now and then, once it takes long.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use wafersim::answer::fabric::RunProgress;
use wafersim::report::number::{duration, figure, plural, whole};

use crate::output::say;

/// After how long a run is long, and how often it says so.
const LONG: Duration = Duration::from_secs(2);

/// The progress of a simulation in cycles: a line every two seconds, with what is left at the speed so far.
#[derive(Debug)]
pub struct Cycles {
    start: Instant,
    last_line: Instant,
}

impl Cycles {
    /// Starts the clock.
    pub fn start() -> Self {
        let start = Instant::now();
        Self { start, last_line: start }
    }

    /// So many cycles are done, of so many where that is known (0 where not).
    pub fn at(&mut self, cycle: u64, expected: u64) {
        if self.last_line.elapsed() < LONG {
            return;
        }
        self.last_line = Instant::now();
        let done = whole(cycle);
        if cycle == 0 || expected <= cycle {
            say(&format!("{done} cycles"));
            return;
        }
        let left = self.start.elapsed().as_secs_f64() * (expected - cycle) as f64 / cycle as f64;
        say(&format!("{done} of {} cycles, about {} left", whole(expected), duration(left)));
    }
}

/// The progress of a search: a line every two seconds.
#[derive(Debug)]
pub struct Tries(Mutex<Instant>);

impl Tries {
    /// Starts the clock.
    pub fn start() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// So many mappings have been tried.
    pub fn at(&self, count: u64) {
        // Who finds it taken has nothing new to say.
        if let Ok(mut last) = self.0.try_lock()
            && last.elapsed() >= LONG
        {
            *last = Instant::now();
            say(&format!("{} mappings tried", whole(count)));
        }
    }
}

/// The progress of draws, or of other things of which it is known how many there are: a line every two seconds.
#[derive(Debug)]
pub struct Draws {
    seldom: Mutex<Seldom>,
    of: &'static str,
}

impl Draws {
    /// Starts the clock.
    pub fn start() -> Self {
        Self::of("draws")
    }

    /// The same of other things.
    pub fn of(what: &'static str) -> Self {
        Self { seldom: Mutex::new(Seldom::start()), of: what }
    }

    /// So many are done, of so many.
    pub fn at(&self, done: u64, all: u64) {
        // Who finds it taken has nothing new to say.
        let Ok(mut seldom) = self.seldom.try_lock() else { return };
        if let Some(seconds) = seldom.now() {
            let left = seconds * all.saturating_sub(done) as f64 / done.max(1) as f64;
            say(&format!("{} of {} {}, about {} left", whole(done), whole(all), self.of, duration(left)));
        }
    }
}

/// The progress of several runs on the fabric side by side: a line every two seconds with simulated cycles, steps, and
/// what is left at the speed so far.
#[derive(Debug)]
pub struct Runs {
    start: Instant,
    state: Mutex<(Instant, Vec<RunProgress>)>,
}

impl Runs {
    /// Starts the clock.
    pub fn start() -> Self {
        let start = Instant::now();
        Self { start, state: Mutex::new((start, Vec::new())) }
    }

    /// One run is so far.
    pub fn at(&self, moment: &RunProgress) {
        let Ok(mut state) = self.state.lock() else { return };
        let (last_line, runs) = &mut *state;
        match runs.iter_mut().find(|known| known.run == moment.run) {
            // Steps that contend are run once more, wavelet by wavelet: how far a run is does not go back.
            Some(known) if moment.progress.steps < known.progress.steps => {}
            Some(known) => *known = *moment,
            None => runs.push(*moment),
        }
        if last_line.elapsed() < LONG {
            return;
        }
        *last_line = Instant::now();
        let cycles: f64 = runs.iter().map(|run| run.progress.cycles.0).sum();
        let part = |run: &RunProgress| run.progress.steps as f64 / run.progress.all_steps.max(1) as f64;
        let done: f64 = runs.iter().map(part).sum::<f64>() / moment.runs.max(1) as f64;
        let steps: u64 = runs.iter().map(|run| run.progress.steps).sum();
        let all_steps: u64 = runs.iter().map(|run| run.progress.all_steps).sum();
        let left = if done > 0.0 {
            format!(", about {} left", duration(self.start.elapsed().as_secs_f64() * (1.0 - done) / done))
        } else {
            String::new()
        };
        say(&format!(
            "{} cycles simulated, {} of {} steps in {} of {}{left}",
            whole(cycles as u64),
            whole(steps),
            whole(all_steps),
            runs.len(),
            plural(moment.runs as u64, "run"),
        ));
    }

    /// Says how fast it went.
    pub fn finish(&self, cycles: f64, wavelet_hops: u64) {
        let seconds = self.start.elapsed().as_secs_f64();
        say(&format!(
            "{} cycles and {} wavelet-hops simulated in {}: {} wavelet-hops per second",
            whole(cycles.round() as u64),
            figure(wavelet_hops as f64),
            duration(seconds),
            figure(wavelet_hops as f64 / seconds)
        ));
    }
}

/// Says when it is time for a line about a long run.
#[derive(Debug)]
pub struct Seldom {
    start: Instant,
    last_line: Instant,
}

impl Seldom {
    /// Starts the clock.
    pub fn start() -> Self {
        let start = Instant::now();
        Self { start, last_line: start }
    }

    /// The seconds since the start, where it is time.
    pub fn now(&mut self) -> Option<f64> {
        if self.last_line.elapsed() < LONG {
            return None;
        }
        self.last_line = Instant::now();
        Some(self.start.elapsed().as_secs_f64())
    }
}

/// The progress of a trace: a line every two seconds.
#[derive(Debug)]
pub struct Tokens {
    done: u64,
    expected: u64,
    last_line: Instant,
}

impl Tokens {
    /// Starts the clock.
    pub fn start(expected: u64) -> Self {
        Self { done: 0, expected, last_line: Instant::now() }
    }

    /// One more token is asked for.
    pub fn advance(&mut self) {
        self.done += 1;
        // The clock is read now and then only: reading it takes longer than a token.
        if self.done.is_multiple_of(256) && self.last_line.elapsed() >= LONG {
            self.last_line = Instant::now();
            say(&format!("{} of {} tokens", whole(self.done), whole(self.expected)));
        }
    }
}

/// The progress of a run over many points.
#[derive(Debug)]
pub struct Progress {
    points: u64,
    done: AtomicU64,
    start: Instant,
    last_line: Mutex<Instant>,
    bar: ProgressBar,
}

impl Progress {
    /// Starts the clock. The bar hides itself where stderr is no terminal.
    pub fn start(points: u64) -> Self {
        let bar = ProgressBar::new(points);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} points, {eta} left") {
            bar.set_style(style.progress_chars("##-"));
        }
        let start = Instant::now();
        Self { points, done: AtomicU64::new(0), start, last_line: Mutex::new(start), bar }
    }

    /// One more point is done.
    pub fn advance(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.bar.is_hidden() {
            self.bar.inc(1);
            return;
        }
        // Whoever finds the lock taken leaves the line to the one who has it.
        let Ok(mut last_line) = self.last_line.try_lock() else { return };
        if last_line.elapsed() >= LONG && done < self.points {
            *last_line = Instant::now();
            say(&format!("{} of {} points", whole(done), whole(self.points)));
        }
    }

    /// Removes the bar: what follows on stderr starts on a line of its own.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Removes the bar and says how fast it went, where there was something to do.
    pub fn finish(self) {
        self.clear();
        if self.points == 0 {
            return;
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let points = plural(self.points, "point");
        say(&format!("{points} in {}: {} points per second", duration(seconds), figure(self.points as f64 / seconds)));
    }
}
