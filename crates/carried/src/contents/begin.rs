//! A core begins a step: it computes by itself, and lays ready what it will send.

use std::collections::BTreeMap;

use wafersim_fabric::circuit::{Core, CoreOperation, Lines, Part, StreamId};
use wafersim_program::{Action, Broadcast, BufferId, Multicast, Operand, Relayout, Shift};
use wafersim_values::interpreter::{Context, Numbers, Rounding, Tile, compute_at, join_ring, leave_ring, outgoing};

use super::{Carrying, Here, value_at};
use crate::core_state::Shape;
use crate::words::{Partial, words_of};

/// The words of a buffer and which elements they are.
fn tiles_as_words(tiles: &[Tile], rounding: Rounding) -> (Vec<u32>, Shape) {
    let shape = tiles.iter().map(|tile| (tile.rows.clone(), tile.inner.clone())).collect();
    let values = tiles.iter().flat_map(|tile| tile.values.iter().copied());
    (words_of(rounding, values), Shape::Tiles(shape))
}

/// The streams that a core sends from its memory, and those that it sends on.
fn sent(operations: &[CoreOperation]) -> impl Iterator<Item = u32> {
    operations.iter().filter_map(|operation| match operation {
        CoreOperation::Send { stream } | CoreOperation::Forward { send: stream, .. } => Some(*stream),
        CoreOperation::Take { .. } => None,
    })
}

impl Carrying<'_> {
    pub(super) fn begin(&mut self, here: Here, part: &Part, core: Core) -> Result<(), String> {
        let told = self.steps.get(here.step as usize).ok_or("there is no such step")?;
        let (step, systolic) = (told.step, told.systolic);
        let none: &[CoreOperation] = &[];
        let (operations, lines) = match part {
            Part::Carry(lines) => (lines.operations_at(core.0, core.1), Some(lines)),
            _ => (none, None),
        };
        match &step.action {
            Action::Compute(compute) => {
                let Some(formula) = &compute.formula else {
                    return Err(format!("{:?} does not say what it computes with", compute.math));
                };
                let round = u64::from(self.lowered.rounds.get(here.at as usize).copied().unwrap_or(0));
                let context = Context { prepared: self.prepared, tiles: self.tiles, layer: self.layer, round };
                let memory = self.mesh.pes.get_mut(here.pe).ok_or("a core lies outside the program's region")?;
                compute_at(&context, memory, formula)
            }
            Action::ChainReduce(chain) => {
                let rounding = self.rounding(chain.payload);
                let (memory, state) = self.state(here.pe)?;
                let (words, shape) = tiles_as_words(&outgoing(memory, chain.payload), rounding);
                for operation in operations {
                    if let CoreOperation::Send { stream } = operation {
                        state.sends.push((StreamId { part: here.part, stream: *stream }, words.clone()));
                    }
                }
                state.partials.push((here.part, Partial::new(words, chain.operator, rounding)));
                self.publish(here, lines, sent(operations), &shape);
                Ok(())
            }
            Action::Multicast(Multicast { payload, .. }) | Action::Broadcast(Broadcast { payload, .. }) => {
                let words = self.ready(here, *payload, operations)?;
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
                    if let Some(buffer) = memory.buffers.get_mut(shift.payload.index()) {
                        buffer.clear();
                    }
                }
                Ok(())
            }
            Action::ReduceScatter(_) | Action::AllGather(_) => self.begin_pieces(here, operations),
            Action::Relayout(moved) => self.begin_relayout(here, moved, operations),
            Action::RouteChange(_) | Action::Synchronise(_) => Ok(()),
        }
    }

    /// Lays the words of a buffer ready for the streams that a core sends.
    fn ready(&mut self, here: Here, payload: BufferId, operations: &[CoreOperation]) -> Result<Shape, String> {
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
            let receivers = lines.streams.get(stream as usize).map_or(0, |stream| lines.receivers(stream));
            let id = StreamId { part: here.part, stream };
            self.shapes.insert((here.pe, here.at, id), (receivers, shape.clone()));
        }
    }

    fn begin_ring(
        &mut self,
        here: Here,
        shift: &Shift,
        systolic: bool,
        (operations, lines): (&[CoreOperation], Option<&Lines>),
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

    fn begin_relayout(&mut self, here: Here, moved: &Relayout, operations: &[CoreOperation]) -> Result<(), String> {
        let rounding = self.rounding(moved.source);
        let memory = self.mesh.pes.get(here.pe).ok_or("a core lies outside the program's region")?;
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
    // Where a layout holds nothing, nothing need have been written.
    if rows.is_empty() || inner.is_empty() {
        return Ok(Vec::new());
    }
    let missing = || "a place holds other elements than its layout says".to_owned();
    if rows != &tile.rows {
        return Err(missing());
    }
    let places: BTreeMap<u32, usize> = tile.inner.iter().copied().zip(0..).collect();
    let at = inner.iter().map(|element| places.get(element).copied().ok_or_else(missing));
    let at = at.collect::<Result<Vec<usize>, String>>()?;
    Ok((0..rows.len()).flat_map(|row| at.iter().map(move |at| tile.row(row)[*at])).collect())
}
