//! Payloads in pieces: reduce-scatter and all-gather.

use std::sync::Arc;

use wafersim_fabric::circuit::{Core, CoreOperation, StreamId};
use wafersim_program::{Action, Axis, Flow, Pieces, Purpose, ReduceOperator, Share, Step, shares};
use wafersim_values::interpreter::{held, written};

use super::{Carrying, Here};
use crate::core_state::OwnedWords;
use crate::words::{Partial, values_in, words_of};

/// The flows of a step along a line, each with the number of its first stream.
pub(super) type Flows = Arc<Vec<(usize, Flow)>>;

/// The flow that a stream belongs to.
fn flow_of(flows: &[(usize, Flow)], stream: u32) -> Result<&Flow, String> {
    let after = flows.partition_point(|(first, _)| *first <= stream as usize);
    let flow = after.checked_sub(1).and_then(|index| flows.get(index));
    flow.map(|(_, flow)| flow).ok_or_else(|| "a stream belongs to no piece".into())
}

/// A step whose payload goes in pieces.
struct InPieces<'a> {
    step: &'a Step,
    pieces: &'a Pieces,
    purpose: Purpose,
}

impl<'a> Carrying<'a> {
    /// The step of a part, its pieces and their purpose.
    fn in_pieces(&self, number: u32) -> Result<InPieces<'a>, String> {
        let step = self.steps.get(number as usize).ok_or("there is no such step")?.step;
        let (pieces, purpose) = step.action.pieces().ok_or("a step without pieces")?;
        Ok(InPieces { step, pieces, purpose })
    }

    fn flows(&mut self, number: u32) -> Result<Flows, String> {
        if let Some(known) = self.flows.get(&number) {
            return Ok(Arc::clone(known));
        }
        let InPieces { step, pieces, purpose } = self.in_pieces(number)?;
        let piece = match purpose {
            Purpose::Reduce => pieces.target,
            Purpose::Gather => pieces.source,
        };
        let words = self.prepared.program.buffer_of(piece).wavelets().max(1);
        let flows = pieces.flows(step.region.along(pieces.axis), purpose, words).into_iter();
        let numbered = flows.scan(0, |first, flow| {
            let here = *first;
            *first += flow.streams();
            Some((here, flow))
        });
        let flows: Flows = Arc::new(numbered.collect());
        self.flows.insert(number, Arc::clone(&flows));
        Ok(flows)
    }

    /// The shares of a line, and the place of a processing element along it.
    fn shares(&mut self, number: u32, pe: usize) -> Result<(Arc<Vec<Share>>, u64), String> {
        let InPieces { step, pieces, purpose } = self.in_pieces(number)?;
        let memory = self.mesh.pes.get(pe).ok_or("a core lies outside the program's region")?;
        let (column, row) = (memory.column - step.region.x, memory.row - step.region.y);
        let (place, line) = match pieces.axis {
            Axis::X => (column, row),
            Axis::Y => (row, column),
        };
        if let Some(known) = self.line_shares.get(&(number, line)) {
            return Ok((Arc::clone(known), place));
        }
        let shares = shares(&self.prepared.program, step.region, pieces, purpose, line);
        let shares = Arc::new(shares.ok_or("a payload in pieces has no layout")??);
        self.line_shares.insert((number, line), Arc::clone(&shares));
        Ok((shares, place))
    }

    /// Lays ready what a core has of each piece.
    pub(super) fn begin_pieces(&mut self, here: Here, operations: &[CoreOperation]) -> Result<(), String> {
        let InPieces { step, pieces, .. } = self.in_pieces(here.step)?;
        let (shares, place) = self.shares(here.step, here.pe)?;
        let flows = self.flows(here.step)?;
        let (prepared, rounding) = (self.prepared, self.rounding(pieces.source));
        let (memory, state) = self.state(here.pe)?;
        for share in shares.iter() {
            let elements: Vec<_> = match &step.action {
                Action::ReduceScatter(_) => {
                    let whole = share.whole.iter().filter(|(member, _)| *member == place);
                    whole.flat_map(|(_, elements)| elements.iter().flatten().copied()).collect()
                }
                _ if share.owner == place => share.piece.clone(),
                _ => continue,
            };
            let words = words_of(rounding, held(prepared, memory, pieces.source, elements)?.into_iter());
            let operator = match &step.action {
                Action::ReduceScatter(scatter) => scatter.operator,
                _ => ReduceOperator::Add,
            };
            let words = Partial::new(words, operator, rounding);
            state.pieces.push(OwnedWords { part: here.part, owner: share.owner, words });
        }
        for operation in operations {
            let CoreOperation::Send { stream } = operation else { continue };
            let flow = flow_of(&flows, *stream)?;
            let own = state.pieces.iter().find(|own| own.is_of(here.part, flow.owner));
            let own = &own.ok_or("a core sends a piece that it has no share in")?.words;
            // Shorter pieces than the longest are filled up.
            let range = flow.first as usize..(flow.first + flow.words) as usize;
            let words = range.map(|index| own.words.get(index).copied().unwrap_or(0)).collect();
            state.sends.push((StreamId { part: here.part, stream: *stream }, words));
        }
        Ok(())
    }

    /// A word of a piece has come to a core: what it is when it leaves.
    pub(super) fn meet_piece(
        &mut self,
        core: Core,
        at: u32,
        id: StreamId,
        index: u32,
        word: u32,
    ) -> Result<u32, String> {
        let number = self.steps_of(at, id.part)?;
        let InPieces { step, pieces, .. } = self.in_pieces(number)?;
        let flows = self.flows(number)?;
        let flow = flow_of(&flows, id.stream)?;
        let (pe, rounding, at) =
            (self.index(core), self.rounding(pieces.source), (flow.first + u64::from(index)) as usize);
        let (_, state) = self.state(pe)?;
        let own = state.pieces.iter_mut().find(|own| own.is_of(id.part, flow.owner));
        match &step.action {
            Action::ReduceScatter(_) => {
                Ok(own.ok_or("a piece comes to a core that has no share in it")?.words.meet(at, word))
            }
            _ => {
                let words = match own {
                    Some(own) => &mut own.words.words,
                    None => {
                        let kept = Partial::new(Vec::new(), ReduceOperator::Add, rounding);
                        state.pieces.push(OwnedWords { part: id.part, owner: flow.owner, words: kept });
                        &mut state.pieces.last_mut().ok_or("nothing was kept")?.words.words
                    }
                };
                if words.len() <= at {
                    words.resize(at + 1, 0);
                }
                words[at] = word;
                Ok(word)
            }
        }
    }

    /// A core is through: what it ends with goes to its memory.
    pub(super) fn close_pieces(&mut self, here: Here) -> Result<(), String> {
        let InPieces { pieces, purpose, .. } = self.in_pieces(here.step)?;
        let (shares, place) = self.shares(here.step, here.pe)?;
        let (prepared, rounding) = (self.prepared, self.rounding(pieces.source));
        let (memory, state) = self.state(here.pe)?;
        let mut ended = Vec::new();
        let mut writes = false;
        for share in shares.iter() {
            let words = state.pieces.iter().find(|own| own.is_of(here.part, share.owner));
            let mut end = |elements: Vec<_>| -> Result<(), String> {
                let own = &words.ok_or("a piece has not come")?.words;
                let values = values_in(rounding, &own.words, share.piece.len());
                ended.extend(elements.into_iter().zip(values).filter_map(|(element, value)| Some((element?, value))));
                Ok(())
            };
            match purpose {
                Purpose::Reduce if share.owner == place => {
                    writes = true;
                    end(share.piece.iter().copied().map(Some).collect())?;
                }
                Purpose::Reduce => {}
                Purpose::Gather => {
                    for (_, elements) in share.whole.iter().filter(|(member, _)| *member == place) {
                        writes = true;
                        end(elements.clone())?;
                    }
                }
            }
        }
        if writes { written(prepared, memory, pieces.target, ended) } else { Ok(()) }
    }

    /// Whether a part moves pieces.
    pub(super) fn is_in_pieces(&self, at: u32, part: u32) -> bool {
        let step = self.steps_of(at, part).ok().and_then(|number| self.steps.get(number as usize));
        step.is_some_and(|told| told.step.action.pieces().is_some())
    }
}
