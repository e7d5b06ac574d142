//! The answer with its layers run on the fabric, wavelet by wavelet, in place of the closed form.
//!
//! The closed form places the model and chooses the programs; then one layer of every layout runs on its true region,
//! and the pipeline is put together as before with what these layers took. Embedding, LM head, ways between regions and
//! wafers, ranges and the other profiles stay in closed form. The fabric knows operators and no causes: an operator's
//! causes are the closed form's, scaled to what the operator took.

mod layer;
mod maps;

use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;
use wafersim_cost::ProgramCost;
use wafersim_fabric::circuit::{Progress, Record};
use wafersim_place::{Item, Placement};
use wafersim_spec::scenario::{PrefillPlace, Profile};
use wafersim_spec::{Region, SpecError};

pub use layer::{LayerOnFabric, LayerRun, OperatorOnFabric};
pub use maps::WaferMaps;

use crate::decode::DecodeTiming;
use crate::error::AnswerError;
use crate::invariants::{self, debug_assert_lawful};
use crate::question::Question;
use crate::read::Read;
use crate::run::{Answer, base_answer, with_ranges};
use crate::stage::{LayerReading, StageTimes};
use crate::uncertainty::Ranges;
use crate::written::Written;
use layer::Task;

/// Which layers run on the fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Those of a decoding token: the time per output token.
    Decode,
    /// Those of the prompt: the time to first token.
    Prefill,
}

/// What runs on the fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FabricRequest {
    /// Which layers.
    pub phase: Phase,
    /// Neighbouring layers, from the first of the first wafer; at least 1. Layouts that are not among them run as well.
    pub layers: u64,
    /// Whether, and how much, the first layer's run is recorded over time.
    pub record: Option<Record>,
    /// The ranges of the answer, in closed form.
    pub ranges: Ranges,
}

/// How far one of several runs is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunProgress {
    /// Which run, from 0.
    pub run: usize,
    /// Runs in all.
    pub runs: usize,
    /// How far it is.
    pub progress: Progress,
}

/// What ran, beside the answer that it led to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FabricReading {
    /// Which layers.
    pub phase: Phase,
    /// Mean time between a user's output tokens with the closed form alone, in microseconds.
    pub closed_form_time_per_output_token_us: f64,
    /// Time to first token with the closed form alone, in milliseconds.
    pub closed_form_time_to_first_token_ms: f64,
    /// Wavelets times links, over all runs.
    pub wavelet_hops: u64,
    /// Cycles simulated, over all runs.
    pub cycles: f64,
    /// Each run.
    pub layers: Vec<LayerOnFabric>,
}

/// An answer, what ran for it, and what the runs found place by place.
#[derive(Debug, Clone, PartialEq)]
pub struct FabricAnswer {
    /// The answer, with the fabric's times in the scenario's profile.
    pub answer: Answer,
    /// What ran.
    pub reading: FabricReading,
    /// The runs in the order of [`FabricReading::layers`].
    pub runs: Vec<LayerRun>,
}

/// Answers a question with the layers of the scenario's profile on the fabric. `progress` is called from any thread.
///
/// # Errors
/// As [`crate::answer`]; where the profile is `ideal`, whose ideal machine the fabric does not have; where more layers
/// are asked for than the first wafer holds; where a program cannot be run.
pub fn answer_on_fabric(
    question: &Question,
    request: &FabricRequest,
    progress: &(dyn Fn(RunProgress) + Sync),
) -> Result<FabricAnswer, AnswerError> {
    if question.scenario.profile == Profile::Ideal {
        return Err(AnswerError::NoFabricProfile { profile: Profile::Ideal.to_string() });
    }
    let mut found = None;
    let (mut answer, way) = base_answer(question, Profile::ALL, &mut |read| {
        found = Some(replace(question, request, read, progress)?);
        Ok(())
    })?;
    // The scenario's profile is one of all.
    let Some((reading, runs)) = found else {
        return Err(AnswerError::NoFabricProfile { profile: question.scenario.profile.to_string() });
    };
    answer.provenance.fidelity = "fabric";
    let answer = with_ranges(question, answer, &way, request.ranges, &|_, _| ())?;
    debug_assert_lawful!(invariants::of_answer(&answer));
    Ok(FabricAnswer { answer, reading, runs })
}

/// Runs the layers and puts their times in place of the closed form's.
fn replace(
    question: &Question,
    request: &FabricRequest,
    read: &mut Read<'_>,
    progress: &(dyn Fn(RunProgress) + Sync),
) -> Result<(FabricReading, Vec<LayerRun>), AnswerError> {
    let closed_form_time_per_output_token_us = read.timing.seconds_per_token(question) * 1e6;
    let closed_form_time_to_first_token_ms = read.first_token.total().seconds(question.clock()) * 1e3;
    let reading = read.reading;
    let runs = match request.phase {
        Phase::Decode => {
            let programs = read.programs;
            let all: Vec<&Written> = [Some(&programs.pass), programs.single.as_ref()].into_iter().flatten().collect();
            let (runs, times) = passes(question, read.placement, reading, &all, request, progress)?;
            let mut times = times.into_iter();
            if let Some(pass) = times.next() {
                read.timing = DecodeTiming::assemble(question, programs, reading, pass, times.next());
            }
            runs
        }
        Phase::Prefill => {
            let first = read.first_token_programs;
            let (question, placement) = first.prompt_on(question, read.placement);
            let Some(programs) = &first.prompt else {
                return Err(no_prompt().into());
            };
            let Some((pieces, _)) = programs.fastest(question, placement, reading) else {
                return Err(AnswerError::NotANumber { what: "the time to first token", value: "nothing".into() });
            };
            let all: Vec<&Written> = [Some(&pieces.last), pieces.first.as_ref()].into_iter().flatten().collect();
            let (runs, times) = passes(question, placement, reading, &all, request, progress)?;
            let mut times = times.into_iter();
            if let Some(last) = times.next() {
                read.first_token.prompt = pieces.assemble(&last, times.next().as_ref());
            }
            runs
        }
    };
    let reading = FabricReading {
        phase: request.phase,
        closed_form_time_per_output_token_us,
        closed_form_time_to_first_token_ms,
        wavelet_hops: runs.iter().map(|run| run.layer.wavelet_hops).sum(),
        cycles: runs.iter().map(|run| run.layer.cycles).sum(),
        layers: runs.iter().map(|run| run.layer.clone()).collect(),
    };
    Ok((reading, runs))
}

/// No program of a prompt, whose time is given.
fn no_prompt() -> SpecError {
    let problem = format!("is \"{}\": no prompt is computed on wafers", PrefillPlace::External);
    let allowed = "same or other wafers where the programs of prompts are to run, or those of decode".into();
    SpecError::Field { file: "scenario".into(), field: "prefill.where".into(), problem, allowed }
}

/// Runs the layers of several kinds of pass: those asked for in the first, one of each layout in all. Gives the runs,
/// and each pass put together.
fn passes(
    question: &Question,
    placement: &Placement,
    reading: &LayerReading,
    all: &[&Written],
    request: &FabricRequest,
    progress: &(dyn Fn(RunProgress) + Sync),
) -> Result<(Vec<LayerRun>, Vec<StageTimes>), AnswerError> {
    let neighbours = neighbours(placement, request.layers)?;
    let mut tasks = Vec::new();
    for (pass, written) in all.iter().enumerate() {
        let asked: &[Place] = if pass == 0 { &neighbours } else { &[] };
        let others = (0..placement.layouts.len()).filter(|layout| asked.iter().all(|place| place.layout != *layout));
        let others = others.filter_map(|layout| first_of(placement, layout));
        for place in asked.iter().copied().chain(others) {
            let Some(program) = written.layouts.get(place.layout) else { continue };
            let closed = reading.read(program);
            tasks.push(Task { place, flow: written.flow, program, closed, is_shown: !asked.is_empty(), pass });
        }
    }
    let (count, wafer) = (tasks.len(), &question.wafer);
    let runs: Vec<(LayerRun, ProgramCost)> = tasks
        .par_iter()
        .enumerate()
        .map(|(run, task)| {
            let record = request.record.filter(|_| run == 0);
            task.run(wafer, &reading.rates, record, &mut |moment| {
                progress(RunProgress { run, runs: count, progress: moment })
            })
        })
        .collect::<Result<_, _>>()?;
    let times = all.iter().enumerate().map(|(pass, written)| {
        let of_layout = |layout: usize| {
            let same = tasks.iter().zip(&runs).find(|(task, _)| task.pass == pass && task.place.layout == layout);
            Arc::new(same.map_or_else(ProgramCost::default, |(_, (_, cost))| cost.clone()))
        };
        let costs: Vec<Arc<ProgramCost>> = (0..placement.layouts.len()).map(of_layout).collect();
        StageTimes::assemble(question, placement, written, reading, &costs)
    });
    let times = times.collect();
    Ok((runs.into_iter().map(|(run, _)| run).collect(), times))
}

/// Runs the first layer of a layout on its region.
pub(crate) fn run_first_of(
    question: &Question,
    (placement, layout): (&Placement, usize),
    written: &Written,
    reading: &LayerReading,
    progress: &mut dyn FnMut(Progress),
) -> Result<LayerOnFabric, AnswerError> {
    let nothing = || AnswerError::Layers { asked: 1, available: 0 };
    let (Some(place), Some(program)) = (first_of(placement, layout), written.layouts.get(layout)) else {
        return Err(nothing());
    };
    let closed = reading.read(program);
    let task = Task { place, flow: written.flow, program, closed, is_shown: false, pass: 0 };
    task.run(&question.wafer, &reading.rates, None, progress).map(|(run, _)| run.layer)
}

/// A layer and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    layer: u64,
    layout: usize,
    wafer: u32,
    region: Region,
}

fn place_of(placement: &Placement, layer: u64) -> Option<Place> {
    let index = usize::try_from(layer).ok()?;
    let slot = placement.slot_of_layer(index)?;
    Some(Place { layer, layout: placement.layout_index(index)?, wafer: slot.wafer, region: slot.region })
}

fn first_of(placement: &Placement, layout: usize) -> Option<Place> {
    place_of(placement, placement.layouts.get(layout)?.first_layer)
}

/// The first `count` layers of the first wafer that holds any.
fn neighbours(placement: &Placement, count: u64) -> Result<Vec<Place>, AnswerError> {
    let items = placement.slots.iter().flat_map(|slot| &slot.items);
    let layers = items.filter_map(|item| match item {
        Item::Layer(layer) => place_of(placement, *layer),
        Item::Embedding(_) | Item::LmHead(_) => None,
    });
    let mut places: Vec<Place> = layers.collect();
    let first_wafer = places.first().map(|place| place.wafer);
    places.retain(|place| Some(place.wafer) == first_wafer);
    let available = places.len() as u64;
    if count == 0 || count > available {
        return Err(AnswerError::Layers { asked: count, available });
    }
    places.truncate(count as usize);
    Ok(places)
}
