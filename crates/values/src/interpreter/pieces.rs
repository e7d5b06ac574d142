//! Reduce-scatter and all-gather: pieces of a payload along the paths that the language lists.

use std::sync::Arc;

use rayon::prelude::*;
use wafersim_program::{Action, Axis, BufferId, Element, Operand, Pieces, Purpose, Share, Step, shares};

use super::prepared::Prepared;
use super::rounding::Rounding;
use super::state::{PeState, Tile};
use super::transfer::combine;

/// The values of some elements of a buffer in a processing element; elements that it does not hold are left out.
///
/// # Errors
/// Where it holds other elements than its layout says.
pub fn held(
    prepared: &Prepared,
    pe: &PeState,
    buffer: BufferId,
    elements: impl IntoIterator<Item = Element>,
) -> Result<Vec<f32>, String> {
    let index = prepared.index(pe.column, pe.row);
    let value = |element: Element| {
        let operand = Operand::new(buffer, element.field);
        let tile = pe.tile(operand)?;
        let as_laid = prepared.held(operand, index).is_some_and(|(rows, inner)| tile.is_like(rows, inner));
        let value = tile.values.get(element.number as usize).copied().filter(|_| as_laid);
        value.ok_or_else(|| {
            let name = &prepared.program.buffer_of(buffer).name;
            format!("'{name}' at column {}, row {} is not as its layout says", pe.column, pe.row)
        })
    };
    elements.into_iter().map(value).collect()
}

/// Writes elements of a buffer in a processing element; what the layout says beside them is zero.
///
/// # Errors
/// Where the layout has no such element there.
pub fn written(
    prepared: &Prepared,
    pe: &mut PeState,
    buffer: BufferId,
    elements: impl IntoIterator<Item = (Element, f32)>,
) -> Result<(), String> {
    let index = prepared.index(pe.column, pe.row);
    let rounding = Rounding::of(prepared.program.buffer_of(buffer).data_type);
    let mut tiles: Vec<Option<Tile>> = (0..prepared.fields_of(buffer))
        .map(|field| {
            let (rows, inner) = prepared.held(Operand::new(buffer, field), index)?;
            Some(Tile::filled(Arc::clone(rows), Arc::clone(inner), 0.0))
        })
        .collect();
    for (element, value) in elements {
        let tile = tiles.get_mut(element.field as usize).and_then(Option::as_mut);
        let Some(place) = tile.and_then(|tile| tile.values.get_mut(element.number as usize)) else {
            let name = &prepared.program.buffer_of(buffer).name;
            return Err(format!("'{name}' at column {}, row {} has no place for a piece", pe.column, pe.row));
        };
        *place = rounding.round(value);
    }
    for (field, tile) in (0u32..).zip(tiles) {
        if let Some(tile) = tile {
            pe.put(Operand::new(buffer, field), tile);
        }
    }
    Ok(())
}

/// What a processing element ends with: elements of the target.
type Ended = (usize, Vec<(Element, f32)>);

/// Runs the step. Lines do not know each other: they are worked out in any order and written in one.
pub(super) fn transfer(prepared: &Prepared, pes: &mut [PeState], step: &Step) -> Result<(), String> {
    let Some((pieces, purpose)) = step.action.pieces() else { return Ok(()) };
    let known: &[PeState] = pes;
    let lines = (0..step.region.along(pieces.axis.across())).into_par_iter();
    let ended = lines.map(|line| Line { prepared, pes: known, step, pieces, line }.ended(purpose));
    for (index, elements) in ended.collect::<Result<Vec<_>, String>>()?.into_iter().flatten() {
        if let Some(pe) = pes.get_mut(index) {
            written(prepared, pe, pieces.target, elements)?;
        }
    }
    nothing_elsewhere(prepared, pes, pieces.target);
    Ok(())
}

/// Columns beside the segments hold nothing of the target, which their own steps find as it is.
fn nothing_elsewhere(prepared: &Prepared, pes: &mut [PeState], target: BufferId) {
    for pe in pes.iter_mut().filter(|pe| pe.buffer(target).is_empty()) {
        let index = prepared.index(pe.column, pe.row);
        for field in 0..prepared.fields_of(target) {
            let operand = Operand::new(target, field);
            if let Some((rows, inner)) = prepared.held(operand, index).filter(|(_, inner)| inner.is_empty()) {
                pe.put(operand, Tile::filled(Arc::clone(rows), Arc::clone(inner), 0.0));
            }
        }
    }
}

struct Line<'a> {
    prepared: &'a Prepared,
    pes: &'a [PeState],
    step: &'a Step,
    pieces: &'a Pieces,
    line: u64,
}

impl Line<'_> {
    fn ended(&self, purpose: Purpose) -> Result<Vec<Ended>, String> {
        let shares = shares(&self.prepared.program, self.step.region, self.pieces, purpose, self.line);
        let shares = shares.ok_or("a payload in pieces has no layout")??;
        match purpose {
            Purpose::Reduce => shares.iter().map(|share| self.reduced(share)).collect(),
            Purpose::Gather => self.gathered(&shares),
        }
    }

    fn index(&self, place: u64) -> usize {
        let region = self.step.region;
        match self.pieces.axis {
            Axis::X => self.prepared.index(region.x + place, region.y + self.line),
            Axis::Y => self.prepared.index(region.x + self.line, region.y + place),
        }
    }

    fn pe(&self, place: u64) -> Result<&PeState, String> {
        self.pes.get(self.index(place)).ok_or_else(|| "a piece leaves the region".into())
    }

    /// What a member holds of a piece.
    fn own(&self, share: &Share, place: u64) -> Result<Vec<f32>, String> {
        let whole = share.whole.iter().find(|(member, _)| *member == place);
        let elements = whole.ok_or("a piece passes a place that has no share in it")?.1.iter().flatten().copied();
        held(self.prepared, self.pe(place)?, self.pieces.source, elements)
    }

    /// A piece with what every member holds of it, combined in the order of its flows.
    fn reduced(&self, share: &Share) -> Result<Ended, String> {
        let Action::ReduceScatter(scatter) = &self.step.action else { return Err("no reduce-scatter".into()) };
        let rounding = Rounding::of(self.prepared.program.buffer_of(self.pieces.source).data_type);
        let mut whole = self.own(share, share.owner)?;
        // The turns of a ring carry different words of it on the same way.
        let flows = self.pieces.flows(self.step.region.along(self.pieces.axis), Purpose::Reduce, 1);
        for flow in flows.iter().filter(|flow| flow.owner == share.owner) {
            let mut partial: Option<Vec<f32>> = None;
            for place in &flow.path {
                if *place == share.owner {
                    break;
                }
                let mut own = self.own(share, *place)?;
                if let Some(partial) = &partial {
                    combine(scatter.operator, rounding, &mut own, partial);
                }
                partial = Some(own);
            }
            if let Some(partial) = partial {
                combine(scatter.operator, rounding, &mut whole, &partial);
            }
        }
        Ok((self.index(share.owner), share.piece.iter().copied().zip(whole).collect()))
    }

    /// All pieces with every member.
    fn gathered(&self, shares: &[Share]) -> Result<Vec<Ended>, String> {
        let mut ended: Vec<(u64, Vec<(Element, f32)>)> = Vec::new();
        for share in shares {
            let values = held(self.prepared, self.pe(share.owner)?, self.pieces.source, share.piece.iter().copied())?;
            for (place, wanted) in &share.whole {
                let brought = wanted.iter().zip(&values).filter_map(|(element, value)| Some(((*element)?, *value)));
                match ended.iter_mut().find(|(known, _)| known == place) {
                    Some((_, elements)) => elements.extend(brought),
                    None => ended.push((*place, brought.collect())),
                }
            }
        }
        Ok(ended.into_iter().map(|(place, elements)| (self.index(place), elements)).collect())
    }
}
