//! What cores do with words: for each word of the language, what lies ready when a core begins a step, what a word does
//! that arrives, and what is put in its place when the last one has come.

mod arrive;
mod begin;
mod pieces;

use std::collections::BTreeMap;
use std::sync::Arc;

use wafersim_fabric::circuit::{Contents, Core, Lines, Lowered, Part, StreamId};
use wafersim_program::{Action, Axis, BufferId, Element, Movement, Node, Relayout, Share, Step, movement};
use wafersim_values::interpreter::{MeshState, PeState, Prepared, Rounding, Tiles};

use crate::CarriedError;
use crate::core_state::{CoreState, Shape};
use crate::words::format;

/// A step of the program in the order of its text.
struct Told<'a> {
    step: &'a Step,
    /// Whether the innermost loop around it is systolic.
    systolic: bool,
}

/// Shapes by sender, place in the schedule and stream, with how many receivers have yet to ask.
type Shapes = BTreeMap<(usize, u32, StreamId), (u64, Shape)>;

/// The contents of a program's wavelets.
pub struct Carrying<'a> {
    prepared: &'a Prepared,
    lowered: &'a Lowered,
    tiles: &'a Tiles<'a>,
    layer: usize,
    steps: Vec<Told<'a>>,
    mesh: MeshState,
    cores: Vec<CoreState>,
    shapes: Shapes,
    /// Movements by step and line.
    movements: BTreeMap<(u32, u64), Movement>,
    /// Flows of pieces by step, and who has which of their elements by step and line.
    flows: BTreeMap<u32, pieces::Flows>,
    line_shares: BTreeMap<(u32, u64), Arc<Vec<Share>>>,
    problem: Option<CarriedError>,
}

fn told<'a>(nodes: impl IntoIterator<Item = &'a Node>, systolic: bool, steps: &mut Vec<Told<'a>>) {
    for node in nodes {
        match node {
            Node::Step(step) => steps.push(Told { step, systolic }),
            Node::Operator { body, .. } | Node::Sequence(body) | Node::Parallel(body) => told(body, systolic, steps),
            Node::Systolic { compute, transfers, after, .. } => {
                told([compute.as_ref()], true, steps);
                steps.extend(transfers.iter().chain(after).map(|step| Told { step, systolic: true }));
            }
            Node::Repeat { body, .. } => told([body.as_ref()], false, steps),
        }
    }
}

/// What a core is asked about: its index, its place in the schedule, the part of the stage and the step.
#[derive(Clone, Copy)]
struct Here {
    pe: usize,
    at: u32,
    part: u32,
    step: u32,
}

impl<'a> Carrying<'a> {
    /// The contents of a lowered program, from what its processing elements hold before (matrices that it moves
    /// included).
    pub fn new(
        prepared: &'a Prepared,
        lowered: &'a Lowered,
        (tiles, layer): (&'a Tiles<'a>, usize),
        mesh: MeshState,
    ) -> Self {
        let mut steps = Vec::new();
        told(&prepared.program.body, false, &mut steps);
        let cores = mesh.pes.iter().map(|_| CoreState::default()).collect();
        Self {
            prepared,
            lowered,
            tiles,
            layer,
            steps,
            mesh,
            cores,
            shapes: BTreeMap::new(),
            movements: BTreeMap::new(),
            flows: BTreeMap::new(),
            line_shares: BTreeMap::new(),
            problem: None,
        }
    }

    /// What the processing elements hold now.
    ///
    /// # Errors
    /// The first step that did not find what it needs.
    pub fn finish(self) -> Result<MeshState, CarriedError> {
        match self.problem {
            Some(problem) => Err(problem),
            None => Ok(self.mesh),
        }
    }

    fn index(&self, (x, y): Core) -> usize {
        let (column, row) = self.lowered.origin;
        self.prepared.index(column + u64::from(x), row + u64::from(y))
    }

    /// Notes the first thing that went wrong. What follows is wrong as well, and ends all the same.
    fn note<T>(&mut self, (x, y): Core, at: u32, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problem) => {
                let stage = self.lowered.stage(at as usize);
                let operator = stage.and_then(|stage| self.lowered.operators.get(stage.operator as usize));
                self.problem.get_or_insert(CarriedError::Step {
                    column: self.lowered.origin.0 + u64::from(x),
                    row: self.lowered.origin.1 + u64::from(y),
                    step: u64::from(at),
                    operator: operator.map_or_else(String::new, |name| name.clone().into_owned()),
                    problem,
                });
                None
            }
        }
    }

    /// The parts of a stage that a core has a share in.
    fn parts_of(&self, (x, y): Core, at: u32) -> Vec<(Here, &'a Part)> {
        let pe = self.index((x, y));
        let lowered: &'a Lowered = self.lowered;
        let Some(stage) = lowered.stage(at as usize) else { return Vec::new() };
        let parts = (0u32..).zip(stage.parts.iter().zip(&stage.steps));
        parts
            .filter(|(_, (part, _))| part.area().contains(x, y))
            .map(|(number, (part, step))| (Here { pe, at, part: number, step: *step }, part))
            .collect()
    }

    fn lines(&self, at: u32, part: u32) -> Result<(&'a Lines, &'a Step), String> {
        let lowered: &'a Lowered = self.lowered;
        let stage = lowered.stage(at as usize).ok_or("there is no such stage")?;
        let step = stage.steps.get(part as usize).and_then(|step| self.steps.get(*step as usize));
        match (stage.parts.get(part as usize), step) {
            (Some(Part::Carry(lines)), Some(told)) => Ok((lines, told.step)),
            _ => Err("a wavelet belongs to no transfer".into()),
        }
    }

    fn state(&mut self, pe: usize) -> Result<(&mut PeState, &mut CoreState), String> {
        match (self.mesh.pes.get_mut(pe), self.cores.get_mut(pe)) {
            (Some(memory), Some(core)) => Ok((memory, core)),
            _ => Err("a core lies outside the program's region".into()),
        }
    }

    fn rounding(&self, buffer: BufferId) -> Rounding {
        format(self.prepared.program.buffer_of(buffer).data_type)
    }

    fn movement(&mut self, step: u32, moved: &Relayout, place: (u64, u64)) -> Result<(&Movement, u64), String> {
        let region = self.steps.get(step as usize).ok_or("there is no such step")?.step.region;
        let (index, line) = match moved.axis {
            Axis::X => (place.0 - region.x, place.1 - region.y),
            Axis::Y => (place.1 - region.y, place.0 - region.x),
        };
        if !self.movements.contains_key(&(step, line)) {
            let known = movement(&self.prepared.program, region, moved, line).ok_or("a relayout without layouts")??;
            self.movements.insert((step, line), known);
        }
        let known = self.movements.get(&(step, line)).ok_or("a relayout without a movement")?;
        Ok((known, index))
    }
}

fn value_at(fields: &[Vec<f32>], element: Element) -> Result<f32, String> {
    let value = fields.get(element.field as usize).and_then(|field| field.get(element.number as usize));
    value
        .copied()
        .ok_or_else(|| format!("element {} of field {} is not there to be sent", element.number, element.field))
}

impl Contents for Carrying<'_> {
    type Word = u32;

    fn enter(&mut self, core: Core, at: u32) {
        for (here, part) in self.parts_of(core, at) {
            let result = self.begin(here, part, core);
            self.note(core, at, result);
        }
    }

    fn send(&mut self, core: Core, at: u32, stream: StreamId, index: u32) -> u32 {
        let word = self.cores.get(self.index(core)).and_then(|state| state.send_word(stream, index as usize));
        self.note(core, at, word.ok_or_else(|| "a core sends what does not lie ready".into())).unwrap_or(0)
    }

    fn forward(&mut self, core: Core, at: u32, streams: (StreamId, StreamId), index: u32, word: u32) -> u32 {
        let result = self.pass(core, at, streams, index, word);
        self.note(core, at, result).unwrap_or(0)
    }

    fn take(&mut self, core: Core, at: u32, stream: StreamId, index: u32, word: u32) {
        let result = self.arrive(core, at, stream, index, word);
        self.note(core, at, result);
    }

    fn leave(&mut self, core: Core, at: u32) {
        for (here, _) in self.parts_of(core, at) {
            let step = self.steps.get(here.step as usize).map(|told| told.step);
            let result = match step.map(|step| &step.action) {
                Some(Action::Relayout(moved)) => self.close_relayout(here, moved),
                Some(Action::ReduceScatter(_) | Action::AllGather(_)) => self.close_pieces(here),
                _ => Ok(()),
            };
            self.note(core, at, result);
        }
        let pe = self.index(core);
        if let Some(state) = self.cores.get_mut(pe) {
            state.clear();
        }
    }
}
