//! A mapping with every number, opened for who checks it: what its programs keep, the colors that they need, and its
//! layers on the fabric beside the closed form. It judges nothing.

use rayon::prelude::*;
use wafersim_fabric::circuit::{self, CircuitError, ColorUse, Lowered, Progress};
use wafersim_mapping::{Mapped, Resolved};
use wafersim_program::Program;
use wafersim_spec::Bytes;
use wafersim_spec::scenario::{Profile, WaferCount};
use wafersim_spec::wafer::RateSet;

use crate::decode::{DecodePrograms, Verified};
use crate::error::AnswerError;
use crate::fabric::{LayerOnFabric, RunProgress, run_first_of};
use crate::memory::{Fullest, fullest, peak, programs_of};
use crate::question::Question;
use crate::stage::LayerReading;
use crate::written::Kept;

/// A mapping with the programs of one pass. A draft model is left out: it works by a mapping of its own.
pub struct Opened<'a> {
    question: &'a Question,
    mapped: Mapped,
    programs: DecodePrograms,
    reading: LayerReading,
}

/// What the routers of a slot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotColors {
    /// The first slot that holds these programs, in the order of the pipeline.
    pub slot: usize,
    /// How many slots hold the same.
    pub slots: usize,
    /// The programs, in words.
    pub programs: Vec<String>,
    /// The colors of all of them together.
    pub used: ColorUse,
}

impl<'a> Opened<'a> {
    /// Places a mapping for the question that it was resolved for, and writes its programs.
    ///
    /// # Errors
    /// Where it is of another question, does not fit, or a layer cannot be written so.
    pub fn new(question: &'a Question, resolved: &Resolved) -> Result<Self, AnswerError> {
        let mut inputs = question.inputs();
        // Fewer than were asked for, where more would only make ways longer.
        inputs.load.wafers = WaferCount::Exactly(resolved.division.wafers);
        let mapped = resolved.mapped(inputs)?;
        let verified = Verified::of(question, &mapped);
        let programs = DecodePrograms::alone(question, &mapped, verified, &mut Kept::default());
        programs.check(&resolved.name)?;
        Ok(Self { question, mapped, programs, reading: LayerReading::new(question, Profile::Best) })
    }

    /// Every decision, and where every byte lies.
    pub const fn mapped(&self) -> &Mapped {
        &self.mapped
    }

    /// The fullest processing element of all slots, the first of equals.
    pub fn fullest(&self) -> Option<Fullest> {
        let pass = &self.programs.pass;
        let all = fullest(&self.mapped, &pass.layouts, &pass.tables).into_iter();
        all.reduce(|most, one| if one.sum() > most.sum() { one } else { most })
    }

    /// The program that keeps most in a slot, and the operator at its fullest moment.
    pub fn at_fullest(&self, slot: usize) -> Option<(String, String)> {
        let of = |(what, program): (String, &Program)| {
            let peak = peak(program);
            (peak.bytes, (what, peak.operator.into_owned()))
        };
        let all = self.programs_in(slot).into_iter().map(of);
        all.reduce(|most, one| if one.0 > most.0 { one } else { most }).map(|(_, words)| words)
    }

    /// Memory of a processing element.
    pub fn memory_limit(&self) -> Bytes {
        self.mapped.placement.ledger.limit
    }

    /// The programs that a slot holds, with what they are.
    fn programs_in(&self, slot: usize) -> Vec<(String, &Program)> {
        let (layouts, tables) = programs_of(&self.mapped.placement, slot);
        let pass = &self.programs.pass;
        let of_layers = layouts.iter().filter_map(|at| Some((self.kind(*at), &***pass.layouts.get(*at)?)));
        let of_tables = tables.iter().filter_map(|at| {
            let table = self.mapped.placement.tables.get(*at)?;
            let name = if table.is_head { "LM head" } else { "embedding" };
            Some((name.to_owned(), &***pass.tables.get(*at)?))
        });
        of_layers.chain(of_tables).collect()
    }

    /// A kind of layer in words.
    pub fn kind(&self, layout: usize) -> String {
        let Some(layout) = self.mapped.placement.layouts.get(layout) else { return String::new() };
        match layout.layers {
            1 => format!("layer {}", layout.first_layer),
            layers => format!("{layers} layers as layer {}", layout.first_layer),
        }
    }

    /// Colors of every different set of programs that share a slot: in its routers the routes of all of them are set at
    /// once.
    ///
    /// # Errors
    /// Where a program has no static routes at all.
    pub fn colors(&self) -> Result<Vec<SlotColors>, AnswerError> {
        type Held = (Vec<usize>, Vec<(bool, u64, u64)>);
        let placement = &self.mapped.placement;
        let mut seen: Vec<(Held, SlotColors)> = Vec::new();
        for slot in 0..placement.slots.len() {
            let (layouts, tables) = programs_of(placement, slot);
            // Parts of a table in regions of one size are alike.
            let of_tables = tables.iter().filter_map(|at| placement.tables.get(*at));
            let held = (layouts, of_tables.map(|table| (table.is_head, table.columns, table.rows)).collect());
            if let Some((_, known)) = seen.iter_mut().find(|(known, _)| *known == held) {
                known.slots += 1;
                continue;
            }
            let programs = self.programs_in(slot);
            if programs.is_empty() {
                continue;
            }
            let used = self.colors_of(&programs)?;
            let programs = programs.into_iter().map(|(what, _)| what).collect();
            seen.push((held, SlotColors { slot, slots: 1, programs, used }));
        }
        Ok(seen.into_iter().map(|(_, colors)| colors).collect())
    }

    fn colors_of(&self, programs: &[(String, &Program)]) -> Result<ColorUse, AnswerError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |reason: CircuitError| AnswerError::Fabric { what, reason }
        };
        let wafer = &self.question.wafer;
        let lower = |(what, program): &(String, &Program)| {
            circuit::lower_names(program, wafer, RateSet::Silicon, &|_| 0.0).map_err(failed(what))
        };
        let lowered: Vec<Lowered> = programs.iter().map(lower).collect::<Result<_, _>>()?;
        let all = Lowered::one_after_the_other(&lowered).map_err(failed("the programs of a slot"))?;
        let nothing = || AnswerError::NotANumber { what: "the colors of a slot", value: "nothing".into() };
        all.map(|all| circuit::colors::count(&all)).ok_or_else(nothing)
    }

    /// A layer of each kind on its true region, wavelet by wavelet, with the closed form beside it; in the order of the
    /// kinds. `progress` is called from any thread.
    pub fn on_fabric(
        &self,
        progress: &(dyn Fn(RunProgress) + Sync),
    ) -> Vec<(usize, Result<LayerOnFabric, AnswerError>)> {
        let kinds = 0..self.programs.pass.layouts.len();
        let runs = kinds.len();
        kinds
            .into_par_iter()
            .map(|layout| {
                let mut told = |now: Progress| progress(RunProgress { run: layout, runs, progress: now });
                let place = (&*self.mapped.placement, layout);
                (layout, run_first_of(self.question, place, &self.programs.pass, &self.reading, &mut told))
            })
            .collect()
    }
}
