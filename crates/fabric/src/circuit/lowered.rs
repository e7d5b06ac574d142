//! A program as the engines run it: stages, each a few parts that run side by side, in the order that every processing
//! element follows on its own.
//!
//! There are no barriers. A processing element enters its next stage when its part of the last one is done; what it
//! then needs from others makes it wait. In a stage its core works off vector operations one after the other; beside
//! them run its sends, in order, and its receives, in order (microthreads).

use std::borrow::Cow;

use super::error::CircuitError;
use super::route::{Area, Lines};
use super::timing::{Tick, Timing};

/// About 2^50 cycles: twelve days at 1.1 GHz, and far from the end of 64 bits.
const LONGEST_RUN: Tick = 1 << 56;

/// What one stage does on an area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The cores are busy.
    Busy {
        /// Where.
        area: Area,
        /// How long.
        time: Tick,
    },
    /// Wavelets move.
    Carry(Lines),
    /// Each processing element waits for those `hops` away along both axes. The control wavelets of this are not moved
    /// over links: they are one per neighbour, and only their time counts.
    Meet {
        /// Where.
        area: Area,
        /// Distance.
        hops: u32,
        /// What each does before it tells its neighbours.
        before: Tick,
        /// From its telling to their hearing.
        way: Tick,
        /// What each does after it has heard them.
        after: Tick,
    },
}

impl Part {
    /// Where it happens.
    pub const fn area(&self) -> Area {
        match self {
            Self::Busy { area, .. } | Self::Meet { area, .. } => *area,
            Self::Carry(lines) => lines.area,
        }
    }
}

/// Parts that run side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Index of the operator of the program.
    pub operator: u32,
    /// The parts; a [`Part::Meet`] stands alone.
    pub parts: Vec<Part>,
    /// For each part, which step of the program it comes from: its place in [`wafersim_program::Program::steps`].
    pub steps: Vec<u32>,
}

/// A lowered program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lowered {
    /// Columns of the simulated mesh.
    pub columns: u32,
    /// Rows of the simulated mesh.
    pub rows: u32,
    /// Column and row of the wafer at which the simulated mesh begins.
    pub origin: (u64, u64),
    /// Times.
    pub timing: Timing,
    /// Stages in the text of the program.
    pub stages: Vec<Stage>,
    /// Indices of stages in the order in which they run, loops unrolled.
    pub schedule: Vec<u32>,
    /// For each place of the schedule, the round of the innermost loop around it; 0 outside of loops.
    pub rounds: Vec<u32>,
    /// Names of operators, by index.
    pub operators: Vec<Cow<'static, str>>,
    /// Physical colors that are used.
    pub colors: u32,
}

impl Lowered {
    /// Processing elements of the simulated mesh.
    pub const fn elements(&self) -> usize {
        self.columns as usize * self.rows as usize
    }

    /// The same with its first column and row elsewhere on the wafer.
    #[must_use]
    pub fn placed_at(self, column: u64, row: u64) -> Self {
        Self { origin: (column, row), ..self }
    }

    /// The stage at a place of the schedule.
    pub fn stage(&self, at: usize) -> Option<&Stage> {
        self.schedule.get(at).and_then(|&index| self.stages.get(index as usize))
    }
}

impl Lowered {
    /// Programs that follow each other on the same part of a wafer, as one. Their colors stay names of their own, each
    /// program's after those before it; times are those of the first. Nothing without programs.
    ///
    /// # Errors
    /// Where the rectangle around them is too large.
    pub fn one_after_the_other(programs: &[Self]) -> Result<Option<Self>, CircuitError> {
        let Some(first) = programs.first() else { return Ok(None) };
        let left = programs.iter().map(|one| one.origin.0).min().unwrap_or(0);
        let top = programs.iter().map(|one| one.origin.1).min().unwrap_or(0);
        let mut all = Self {
            columns: 0,
            rows: 0,
            origin: (left, top),
            stages: Vec::new(),
            schedule: Vec::new(),
            ..first.clone()
        };
        (all.rounds, all.operators, all.colors) = (Vec::new(), Vec::new(), 0);
        for one in programs {
            let by = |from: u64, to: u64| {
                u32::try_from(to - from).ok().filter(|by| *by <= 1 << 16).ok_or(CircuitError::TooLarge {
                    what: "the distance of programs",
                    value: to - from,
                    largest: 1 << 16,
                })
            };
            let (right, down) = (by(left, one.origin.0)?, by(top, one.origin.1)?);
            (all.columns, all.rows) = (all.columns.max(right + one.columns), all.rows.max(down + one.rows));
            let (stages, operators) = (all.stages.len() as u32, all.operators.len() as u32);
            let moved = |area: &mut Area| (area.x, area.y) = (area.x + right, area.y + down);
            for mut stage in one.stages.iter().cloned() {
                stage.operator += operators;
                for part in &mut stage.parts {
                    match part {
                        Part::Busy { area, .. } | Part::Meet { area, .. } => moved(area),
                        Part::Carry(lines) => {
                            moved(&mut lines.area);
                            lines.streams.iter_mut().for_each(|stream| stream.color += all.colors as u16);
                        }
                    }
                }
                all.stages.push(stage);
            }
            all.schedule.extend(one.schedule.iter().map(|stage| stage + stages));
            all.rounds.extend(&one.rounds);
            all.operators.extend(one.operators.iter().cloned());
            all.colors += one.colors;
        }
        Ok(Some(all))
    }

    /// Whether every part lies on the mesh and every operation names streams of its own place: what the engines rely
    /// on.
    pub(super) fn check(&self) -> Result<(), CircuitError> {
        let wrong = |what: &str| Err(CircuitError::Malformed { what: what.into() });
        if self.colors > 1024 || self.timing.hop == 0 || self.timing.credit == 0 || self.timing.wavelet == 0 {
            return wrong("more than 1024 colors, or a hop, credit or wavelet that takes no time");
        }
        if self.schedule.iter().any(|&stage| stage as usize >= self.stages.len()) {
            return wrong("the schedule names a stage that does not exist");
        }
        for stage in &self.stages {
            let meets = stage.parts.iter().any(|part| matches!(part, Part::Meet { .. }));
            if meets && stage.parts.len() > 1 {
                return wrong("a meeting does not stand alone in its stage");
            }
            for part in &stage.parts {
                let area = part.area();
                let inside =
                    |from: u32, size: u32, all: u32| size > 0 && from.checked_add(size).is_some_and(|end| end <= all);
                if !inside(area.x, area.columns, self.columns) || !inside(area.y, area.rows, self.rows) {
                    return wrong("a part lies outside the mesh");
                }
                if let Part::Carry(lines) = part {
                    lines.check(self.colors).or_else(wrong)?;
                }
            }
        }
        // Nobody waits longer than all parts take one after the other.
        let longest: Vec<u128> = self.stages.iter().map(|stage| self.longest(stage)).collect();
        let time: u128 = self.schedule.iter().map(|&stage| longest[stage as usize]).sum();
        if time > u128::from(LONGEST_RUN) {
            let value = u64::try_from(time).unwrap_or(u64::MAX);
            return Err(CircuitError::TooLarge {
                what: "the time in ticks of 1/64 cycle",
                value,
                largest: LONGEST_RUN,
            });
        }
        Ok(())
    }

    /// Ticks that the parts of a stage take at most, all streams one after the other.
    fn longest(&self, stage: &Stage) -> u128 {
        let wide = |ticks: Tick| u128::from(ticks);
        let timing = &self.timing;
        let core = wide(timing.ramp_in) + wide(timing.ramp_out) + wide(timing.completion);
        let part = |part: &Part| match part {
            Part::Busy { time, .. } => wide(*time),
            Part::Meet { before, way, after, .. } => wide(*before) + wide(*way) + wide(*after),
            Part::Carry(lines) => {
                let stream = |stream: &super::route::Stream| {
                    let per_hop = wide(timing.hop) + wide(timing.credit) + wide(timing.wavelet);
                    let hops = stream.hops() + lines.spread.map_or(0, |_| u64::from(lines.area.rows));
                    let way = core + wide(lines.combine) + u128::from(hops) * per_hop;
                    wide(stream.lead) + u128::from(stream.wavelets) * wide(stream.period.max(timing.wavelet)) + way
                };
                wide(lines.launch) + lines.longest_gap() + lines.streams.iter().map(stream).sum::<u128>()
            }
        };
        stage.parts.iter().map(part).sum()
    }
}
