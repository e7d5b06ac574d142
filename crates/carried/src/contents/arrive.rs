//! Words arrive: they are combined and passed on, or kept until the last one of a stream has come.

use wafersim_fabric::circuit::{Core, Lines, StreamId};
use wafersim_program::{Action, Axis, Broadcast, BufferId, ChainReduce, Element, Multicast, Operand, Region, Relayout};
use wafersim_values::interpreter::{Arrival, Numbers, Piece, Rounding, Tile, incoming, join_ring};

use super::{Carrying, Here, value_at};
use crate::core_state::{ArrivedPiece, Shape};
use crate::words::values_in;

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

impl Carrying<'_> {
    /// The shape that the sender of a stream has published.
    fn shape(&mut self, (x, y): Core, at: u32, id: StreamId, lines: &Lines) -> Result<Shape, String> {
        let stream = lines.streams.get(id.stream as usize).ok_or("there is no such stream")?;
        let key = (self.index(lines.sender(stream, (x, y))), at, id);
        let (left, shape) = self.shapes.get_mut(&key).ok_or("a word arrives that nobody has sent")?;
        *left = left.saturating_sub(1);
        if *left > 0 {
            return Ok(shape.clone());
        }
        self.shapes.remove(&key).map(|(_, shape)| shape).ok_or_else(|| "a shape is gone".into())
    }

    pub(super) fn arrive(&mut self, core: Core, at: u32, id: StreamId, index: u32, word: u32) -> Result<(), String> {
        if self.is_in_pieces(at, id.part) {
            return self.meet_piece(core, at, id, index, word).map(|_| ());
        }
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
            Action::Multicast(cast) if !self.is_reached(pe, cast, step.region) => Ok(()),
            Action::Multicast(Multicast { payload, .. }) | Action::Broadcast(Broadcast { payload, .. }) => {
                self.store(core, at, id, (*payload, Arrival::Store), (&words, lines))
            }
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
                let place = self.mesh.pes.get(pe).map_or((0, 0), |memory| (memory.column, memory.row));
                let number = self.steps_of(at, id.part)?;
                let (known, _) = self.movement(number, moved, place)?;
                let piece = known.pieces.get(id.stream as usize).ok_or("a piece arrives that is not listed")?;
                let values = values_in(rounding, &words, piece.elements.len());
                let from = piece.from;
                self.state(pe)?.1.arrived.push(ArrivedPiece {
                    part: id.part,
                    from,
                    number: id.stream as usize,
                    values,
                });
                Ok(())
            }
            _ => Err("words arrive in a step that moves none".into()),
        }
    }

    /// Whether a multicast is for a processing element, and does not only pass it by.
    fn is_reached(&self, pe: usize, cast: &Multicast, region: Region) -> bool {
        let place = self.mesh.pes.get(pe);
        place.is_some_and(|pe| match cast.axis {
            Axis::X => cast.reaches(pe.column.saturating_sub(region.x)),
            Axis::Y => cast.reaches(pe.row.saturating_sub(region.y)),
        })
    }

    pub(super) fn steps_of(&self, at: u32, part: u32) -> Result<u32, String> {
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
        let Some(own) = memory.buffers.get_mut(chain.payload.index()) else {
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

    pub(super) fn pass(
        &mut self,
        core: Core,
        at: u32,
        (taken, sent): (StreamId, StreamId),
        index: u32,
        word: u32,
    ) -> Result<u32, String> {
        if self.is_in_pieces(at, taken.part) {
            return self.meet_piece(core, at, taken, index, word);
        }
        let (lines, step) = self.lines(at, taken.part)?;
        let Action::ChainReduce(chain) = &step.action else {
            return Err("only chains and pieces are passed on".into());
        };
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
    pub(super) fn close_relayout(&mut self, here: Here, moved: &Relayout) -> Result<(), String> {
        let prepared = self.prepared;
        let rounding = Rounding::of(prepared.program.buffer_of(moved.target).data_type);
        let (memory, state) = self.state(here.pe)?;
        let place = (memory.column, memory.row);
        let source = state.sources.iter().position(|(part, _)| *part == here.part);
        let source = source.map(|at| state.sources.swap_remove(at).1).ok_or("a relayout ends that has not begun")?;
        let (arrived, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.arrived).into_iter().partition(|arrived| arrived.part == here.part);
        state.arrived = others;
        let (known, index) = self.movement(here.step, moved, place)?;
        let Some(wanted) = known.wanted.get(index as usize) else { return Err("a relayout leaves its line".into()) };
        let find = |from: u64, element: Element| -> Result<f32, String> {
            if from == index {
                return value_at(&source, element);
            }
            let upwards = index > from;
            let found = arrived.iter().filter(|arrived| arrived.from == from).find_map(
                |ArrivedPiece { number, values, .. }| {
                    let piece = known.pieces.get(*number)?;
                    let at = piece.elements.binary_search(&element).ok()?;
                    if (piece.to > piece.from) == upwards { values.get(at).copied() } else { None }
                },
            );
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
