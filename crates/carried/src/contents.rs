//! What cores do with words: for each word of the language, what lies ready when a core begins a step, what a word does that
//! arrives, and what is put in its place when the last one has come.

use std::collections::BTreeMap;

use wafersim_fabric::circuit::{Contents, Core, Lines, Lowered, Operation, Part, StreamId};
use wafersim_program::{
    Action, Axis, BufferId, ChainReduce, Element, Movement, Node, Operand, Relayout, Shift, Step, movement,
};
use wafersim_values::machine::{
    Arrival, Context, Machine, Numbers, PeState, Piece, Prepared, Rounding, Tile, Tiles, compute_at, incoming,
    join_ring, leave_ring, outgoing,
};

use crate::CarriedError;
use crate::core_state::{CoreState, Shape};
use crate::words::{Partial, format, values_in, words_of};

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
    machine: Machine,
    cores: Vec<CoreState>,
    shapes: Shapes,
    /// Movements by step and line.
    movements: BTreeMap<(u32, u64), Movement>,
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
    /// The contents of a lowered program, from what its processing elements hold before (matrices that it moves included).
    pub fn new(
        prepared: &'a Prepared,
        lowered: &'a Lowered,
        (tiles, layer): (&'a Tiles<'a>, usize),
        machine: Machine,
    ) -> Self {
        let mut steps = Vec::new();
        told(&prepared.program.body, false, &mut steps);
        let cores = machine.pes.iter().map(|_| CoreState::default()).collect();
        Self {
            prepared,
            lowered,
            tiles,
            layer,
            steps,
            machine,
            cores,
            shapes: BTreeMap::new(),
            movements: BTreeMap::new(),
            problem: None,
        }
    }

    /// What the processing elements hold now.
    ///
    /// # Errors
    /// The first step that did not find what it needs.
    pub fn finish(self) -> Result<Machine, CarriedError> {
        match self.problem {
            Some(problem) => Err(problem),
            None => Ok(self.machine),
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
        match (self.machine.pes.get_mut(pe), self.cores.get_mut(pe)) {
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

/// The words of a buffer and which elements they are.
fn tiles_as_words(tiles: &[Tile], rounding: Rounding) -> (Vec<u32>, Shape) {
    let shape = tiles.iter().map(|tile| (tile.rows.clone(), tile.inner.clone())).collect();
    let values = tiles.iter().flat_map(|tile| tile.values.iter().copied());
    (words_of(rounding, values), Shape::Tiles(shape))
}

/// The tiles that some words are.
fn tiles_of(shape: &[(Numbers, Numbers)], words: &[u32], rounding: Rounding) -> Vec<Tile> {
    let counts: Vec<usize> = shape.iter().map(|(rows, inner)| rows.len() * inner.len()).collect();
    let mut values = values_in(rounding, words, counts.iter().sum()).into_iter();
    let tiles = shape.iter().zip(counts).map(|((rows, inner), count)| Tile {
        rows: rows.clone(),
        inner: inner.clone(),
        values: values.by_ref().take(count).collect(),
    });
    tiles.collect()
}

/// The streams that a core sends from its memory, and those that it sends on.
fn sent(operations: &[Operation]) -> impl Iterator<Item = u32> {
    operations.iter().filter_map(|operation| match operation {
        Operation::Send { stream } | Operation::Forward { send: stream, .. } => Some(*stream),
        Operation::Take { .. } => None,
    })
}

/// A core begins a step.
impl Carrying<'_> {
    fn begin(&mut self, here: Here, part: &Part, core: Core) -> Result<(), String> {
        let told = self.steps.get(here.step as usize).ok_or("there is no such step")?;
        let (step, systolic) = (told.step, told.systolic);
        let none: &[Operation] = &[];
        let (operations, lines) = match part {
            Part::Carry(lines) => (lines.operations(lines.position(core.0, core.1) as usize), Some(lines)),
            _ => (none, None),
        };
        match &step.action {
            Action::Compute(compute) => {
                let Some(formula) = &compute.formula else {
                    return Err(format!("{:?} does not say what it computes with", compute.math));
                };
                let round = u64::from(self.lowered.rounds.get(here.at as usize).copied().unwrap_or(0));
                let context = Context { prepared: self.prepared, tiles: self.tiles, layer: self.layer, round };
                let memory = self.machine.pes.get_mut(here.pe).ok_or("a core lies outside the program's region")?;
                compute_at(&context, memory, formula)
            }
            Action::ChainReduce(chain) => {
                let rounding = self.rounding(chain.payload);
                let (memory, state) = self.state(here.pe)?;
                let (words, shape) = tiles_as_words(&outgoing(memory, chain.payload), rounding);
                for operation in operations {
                    if let Operation::Send { stream } = operation {
                        state.sends.push((StreamId { part: here.part, stream: *stream }, words.clone()));
                    }
                }
                state.partials.push((here.part, Partial::new(words, chain.operator, rounding)));
                self.publish(here, lines, sent(operations), &shape);
                Ok(())
            }
            Action::Multicast(cast) => {
                let words = self.ready(here, cast.payload, operations)?;
                self.publish(here, lines, sent(operations), &words);
                Ok(())
            }
            Action::Shift(shift) if shift.ring => self.begin_ring(here, shift, systolic, (operations, lines)),
            Action::Shift(shift) => {
                let shape = self.ready(here, shift.payload, operations)?;
                self.publish(here, lines, sent(operations), &shape);
                // All send at the same time; who receives nothing is left with nothing.
                if lines.is_some() {
                    let (memory, _) = self.state(here.pe)?;
                    if let Some(buffer) = memory.buffers.get_mut(shift.payload.0 as usize) {
                        buffer.clear();
                    }
                }
                Ok(())
            }
            Action::Relayout(moved) => self.begin_relayout(here, moved, operations),
            Action::RouteChange(_) | Action::Synchronise(_) => Ok(()),
        }
    }

    /// Lays the words of a buffer ready for the streams that a core sends.
    fn ready(&mut self, here: Here, payload: BufferId, operations: &[Operation]) -> Result<Shape, String> {
        let rounding = self.rounding(payload);
        let (memory, state) = self.state(here.pe)?;
        let (words, shape) = tiles_as_words(&outgoing(memory, payload), rounding);
        for stream in sent(operations) {
            state.sends.push((StreamId { part: here.part, stream }, words.clone()));
        }
        Ok(shape)
    }

    /// Tells the receivers of streams which elements they will get.
    fn publish(&mut self, here: Here, lines: Option<&Lines>, streams: impl Iterator<Item = u32>, shape: &Shape) {
        let Some(lines) = lines else { return };
        for stream in streams {
            let receivers = lines.streams.get(stream as usize).map_or(0, |stream| stream.receivers());
            let id = StreamId { part: here.part, stream };
            self.shapes.insert((here.pe, here.at, id), (receivers, shape.clone()));
        }
    }

    fn begin_ring(
        &mut self,
        here: Here,
        shift: &Shift,
        systolic: bool,
        (operations, lines): (&[Operation], Option<&Lines>),
    ) -> Result<(), String> {
        let (prepared, rounding) = (self.prepared, self.rounding(shift.payload));
        let (memory, state) = self.state(here.pe)?;
        let Some(piece) = leave_ring(prepared, memory, shift, !systolic)? else {
            return if sent(operations).next().is_none() { Ok(()) } else { Err("a place that rests sends".into()) };
        };
        if sent(operations).next().is_none() {
            // A ring of one place.
            return join_ring(prepared, memory, shift, piece);
        }
        let words = words_of(rounding, piece.tile.values.iter().copied());
        for stream in sent(operations) {
            state.sends.push((StreamId { part: here.part, stream }, words.clone()));
        }
        let shape = Shape::Piece(piece.number, piece.way, piece.tile.rows, piece.tile.inner);
        self.publish(here, lines, sent(operations), &shape);
        Ok(())
    }

    fn begin_relayout(&mut self, here: Here, moved: &Relayout, operations: &[Operation]) -> Result<(), String> {
        let rounding = self.rounding(moved.source);
        let memory = self.machine.pes.get(here.pe).ok_or("a core lies outside the program's region")?;
        let tiles = (0u32..).zip(memory.buffer(moved.source));
        let source =
            tiles.map(|(field, tile)| in_order(tile, self.prepared.held(Operand::new(moved.source, field), here.pe)));
        let source: Vec<Vec<f32>> = source.collect::<Result<_, String>>()?;
        let place = (memory.column, memory.row);
        let (known, _) = self.movement(here.step, moved, place)?;
        let mut ready = Vec::new();
        for stream in sent(operations) {
            let piece = known.pieces.get(stream as usize).ok_or("a relayout sends what it does not list")?;
            let values = piece.elements.iter().map(|element| value_at(&source, *element));
            let values = values.collect::<Result<Vec<f32>, String>>()?;
            ready.push((StreamId { part: here.part, stream }, words_of(rounding, values.into_iter())));
        }
        let (_, state) = self.state(here.pe)?;
        state.sends.extend(ready);
        state.sources.push((here.part, source));
        Ok(())
    }
}

/// The values of a tile in the order of its layout, which is that of movements.
fn in_order(tile: &Tile, held: Option<&(Numbers, Numbers)>) -> Result<Vec<f32>, String> {
    let Some((rows, inner)) = held.filter(|(rows, inner)| !tile.is_like(rows, inner)) else {
        return Ok(tile.values.clone());
    };
    let missing = || "a place holds other elements than its layout says".to_owned();
    if rows != &tile.rows {
        return Err(missing());
    }
    let places: BTreeMap<u32, usize> = tile.inner.iter().copied().zip(0..).collect();
    let at = inner.iter().map(|element| places.get(element).copied().ok_or_else(missing));
    let at = at.collect::<Result<Vec<usize>, String>>()?;
    Ok((0..rows.len()).flat_map(|row| at.iter().map(move |at| tile.row(row)[*at])).collect())
}

fn value_at(fields: &[Vec<f32>], element: Element) -> Result<f32, String> {
    let value = fields.get(element.field as usize).and_then(|field| field.get(element.number as usize));
    value
        .copied()
        .ok_or_else(|| format!("element {} of field {} is not there to be sent", element.number, element.field))
}

/// Words arrive.
impl Carrying<'_> {
    /// The shape that the sender of a stream has published.
    fn shape(&mut self, (x, y): Core, at: u32, id: StreamId, lines: &Lines) -> Result<Shape, String> {
        let source = lines.streams.get(id.stream as usize).ok_or("there is no such stream")?.source;
        let sender = match lines.axis {
            Axis::X => (lines.area.x + source, y),
            Axis::Y => (x, lines.area.y + source),
        };
        let key = (self.index(sender), at, id);
        let (left, shape) = self.shapes.get_mut(&key).ok_or("a word arrives that nobody has sent")?;
        *left = left.saturating_sub(1);
        if *left > 0 {
            return Ok(shape.clone());
        }
        self.shapes.remove(&key).map(|(_, shape)| shape).ok_or_else(|| "a shape is gone".into())
    }

    fn arrive(&mut self, core: Core, at: u32, id: StreamId, index: u32, word: u32) -> Result<(), String> {
        let (lines, step) = self.lines(at, id.part)?;
        let count = lines.streams.get(id.stream as usize).map_or(0, |stream| stream.wavelets);
        let is_last = u64::from(index) + 1 == count;
        let pe = self.index(core);
        if let Action::ChainReduce(chain) = &step.action {
            let partial = self.state(pe)?.1.partial(id.part).ok_or("a chain arrives where none ends")?;
            partial.meet(index as usize, word);
            return if is_last { self.close_chain(core, at, id, (chain, lines)) } else { Ok(()) };
        }
        let Some(words) = self.state(pe)?.1.keep(id, word, is_last) else { return Ok(()) };
        let prepared = self.prepared;
        match &step.action {
            Action::Multicast(cast) => self.store(core, at, id, (cast.payload, Arrival::Store), (&words, lines)),
            Action::Shift(shift) if shift.ring => {
                let Shape::Piece(number, way, rows, inner) = self.shape(core, at, id, lines)? else {
                    return Err("a ring brings something else than a piece".into());
                };
                let values = values_in(self.rounding(shift.payload), &words, rows.len() * inner.len());
                let piece = Piece { number, way, tile: Tile { rows, inner, values } };
                join_ring(prepared, self.state(pe)?.0, shift, piece)
            }
            Action::Shift(shift) => self.store(core, at, id, (shift.payload, Arrival::Pass), (&words, lines)),
            Action::Relayout(moved) => {
                let rounding = self.rounding(moved.source);
                let place = self.machine.pes.get(pe).map_or((0, 0), |memory| (memory.column, memory.row));
                let number = self.steps_of(at, id.part)?;
                let (known, _) = self.movement(number, moved, place)?;
                let piece = known.pieces.get(id.stream as usize).ok_or("a piece arrives that is not listed")?;
                let values = values_in(rounding, &words, piece.elements.len());
                let from = piece.from;
                self.state(pe)?.1.arrived.push((id.part, from, id.stream as usize, values));
                Ok(())
            }
            _ => Err("words arrive in a step that moves none".into()),
        }
    }

    fn steps_of(&self, at: u32, part: u32) -> Result<u32, String> {
        let stage = self.lowered.stage(at as usize);
        let step = stage.and_then(|stage| stage.steps.get(part as usize)).copied();
        step.ok_or_else(|| "a part belongs to no step".into())
    }

    fn store(
        &mut self,
        core: Core,
        at: u32,
        id: StreamId,
        (payload, arrival): (BufferId, Arrival),
        (words, lines): (&[u32], &Lines),
    ) -> Result<(), String> {
        let Shape::Tiles(shape) = self.shape(core, at, id, lines)? else {
            return Err("something else than a buffer arrives".into());
        };
        let tiles = tiles_of(&shape, words, self.rounding(payload));
        let (prepared, pe) = (self.prepared, self.index(core));
        incoming(prepared, self.state(pe)?.0, payload, &tiles, arrival)
    }

    /// A chain's last word has come: the partial result goes back to memory.
    fn close_chain(
        &mut self,
        core: Core,
        at: u32,
        id: StreamId,
        (chain, lines): (&ChainReduce, &Lines),
    ) -> Result<(), String> {
        let shape = self.shape(core, at, id, lines)?;
        let (rounding, pe) = (self.rounding(chain.payload), self.index(core));
        let (memory, state) = self.state(pe)?;
        let partial = state.partial(id.part).ok_or("a chain ends where none was")?;
        let Some(own) = memory.buffers.get_mut(chain.payload.0 as usize) else {
            return Err("there is no payload".into());
        };
        let alike = match &shape {
            Shape::Tiles(theirs) => {
                theirs.len() == own.len()
                    && own.iter().zip(theirs).all(|(tile, (rows, inner))| tile.is_like(rows, inner))
            }
            _ => false,
        };
        if !alike {
            return Err("partial results of different elements meet".into());
        }
        let counts: Vec<usize> = own.iter().map(|tile| tile.values.len()).collect();
        let mut values = values_in(rounding, &partial.words, counts.iter().sum()).into_iter();
        for (tile, count) in own.iter_mut().zip(counts) {
            tile.values = values.by_ref().take(count).collect();
        }
        Ok(())
    }

    fn pass(
        &mut self,
        core: Core,
        at: u32,
        (taken, sent): (StreamId, StreamId),
        index: u32,
        word: u32,
    ) -> Result<u32, String> {
        let (lines, step) = self.lines(at, taken.part)?;
        let Action::ChainReduce(chain) = &step.action else { return Err("only chains pass words on".into()) };
        let (pe, count) =
            (self.index(core), lines.streams.get(sent.stream as usize).map_or(0, |stream| stream.wavelets));
        let partial = self.state(pe)?.1.partial(taken.part).ok_or("a chain passes where none is")?;
        let result = partial.meet(index as usize, word);
        if u64::from(index) + 1 == count {
            self.close_chain(core, at, taken, (chain, lines))?;
        }
        Ok(result)
    }

    /// All that a relayout brings has come: the target is put together.
    fn close_relayout(&mut self, here: Here, moved: &Relayout) -> Result<(), String> {
        let prepared = self.prepared;
        let rounding = Rounding::of(prepared.program.buffer_of(moved.target).data_type);
        let (memory, state) = self.state(here.pe)?;
        let place = (memory.column, memory.row);
        let source = state.sources.iter().position(|(part, _)| *part == here.part);
        let source = source.map(|at| state.sources.swap_remove(at).1).ok_or("a relayout ends that has not begun")?;
        let (arrived, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.arrived).into_iter().partition(|(part, ..)| *part == here.part);
        state.arrived = others;
        let (known, index) = self.movement(here.step, moved, place)?;
        let Some(wanted) = known.wanted.get(index as usize) else { return Err("a relayout leaves its line".into()) };
        let find = |from: u64, element: Element| -> Result<f32, String> {
            if from == index {
                return value_at(&source, element);
            }
            let upwards = index > from;
            let found = arrived.iter().filter(|(_, known, ..)| *known == from).find_map(|(_, _, number, values)| {
                let piece = known.pieces.get(*number)?;
                let at = piece.elements.binary_search(&element).ok()?;
                if (piece.to > piece.from) == upwards { values.get(at).copied() } else { None }
            });
            found.ok_or_else(|| format!("element {} of the owner {from} along the line has not come", element.number))
        };
        let brought: Vec<(Element, Vec<f32>)> = wanted
            .iter()
            .map(|wanted| {
                let values = wanted.from.iter().map(|(from, element)| find(*from, *element));
                Ok((wanted.element, values.collect::<Result<Vec<f32>, String>>()?))
            })
            .collect::<Result<_, String>>()?;
        let (memory, _) = self.state(here.pe)?;
        for field in 0..prepared.fields_of(moved.target) {
            let target = Operand::new(moved.target, field);
            let Some((rows, inner)) = prepared.held(target, here.pe) else { continue };
            let mut tile = Tile::filled(rows.clone(), inner.clone(), 0.0);
            if moved.accumulate
                && let Ok(known) = memory.tile(target)
                && known.is_like(rows, inner)
            {
                tile.values.copy_from_slice(&known.values);
            }
            for (element, values) in brought.iter().filter(|(element, _)| element.field == field) {
                let Some(place) = tile.values.get_mut(element.number as usize) else {
                    return Err("a relayout brings more than its target holds".into());
                };
                match (moved.accumulate, values.as_slice()) {
                    (true, all) => all.iter().for_each(|value| *place = rounding.round(*place + value)),
                    (false, [one]) => *place = *one,
                    (false, _) => return Err("an element comes from several owners".into()),
                }
            }
            memory.put(target, tile);
        }
        Ok(())
    }
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
            if let Some(Step { action: Action::Relayout(moved), .. }) = step {
                let result = self.close_relayout(here, moved);
                self.note(core, at, result);
            }
        }
        let pe = self.index(core);
        if let Some(state) = self.cores.get_mut(pe) {
            state.clear();
        }
    }
}
