//! Products with tiles of weights in one processing element.

use std::borrow::Cow;

use wafersim_program::{Axis, Chosen, Operand, Pair, WeightId};

use super::compute::Context;
use super::experts;
use super::group::places;
use super::state::{Numbers, PeState, Tile, same};
use super::weights::Cuts;

/// A tile whose elements are wanted in an order that need not be its own.
struct Reordered<'t> {
    source: &'t Tile,
    /// Where the wanted elements lie, where they lie in another order.
    columns: Option<Vec<usize>>,
}

impl<'t> Reordered<'t> {
    fn new(source: &'t Tile, wanted: &Numbers) -> Result<Self, String> {
        let columns = if same(&source.inner, wanted) { None } else { Some(places(&source.inner, wanted)?) };
        Ok(Self { source, columns })
    }

    fn row(&self, row: usize) -> Cow<'t, [f32]> {
        let row = self.source.row(row);
        match &self.columns {
            None => Cow::Borrowed(row),
            Some(columns) => columns.iter().map(|column| row.get(*column).copied().unwrap_or(0.0)).collect(),
        }
    }
}

/// The expert of a pair.
pub(super) fn expert_of(pe: &PeState, experts: Operand, pair: Pair) -> Result<u64, String> {
    let chosen = pe.tile(experts)?.row(pair.token as usize).get(pair.slot as usize).copied();
    chosen.map(|expert| expert as u64).ok_or_else(|| format!("token {} has no choice {}", pair.token, pair.slot))
}

/// A product of an input with the tile of a weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product<'f> {
    pub x: Operand,
    pub y: Operand,
    pub weight: WeightId,
    /// Experts whose weights it is with.
    pub chosen: Option<&'f Chosen>,
    /// The axis whose first places add the bias.
    pub bias: Option<Axis>,
}

/// `y = x W`, with the tiles in `cuts` or with those of experts.
pub(super) fn product(
    context: &Context<'_>,
    pe: &mut PeState,
    Product { x, y, weight, chosen, bias }: Product<'_>,
    cuts: Option<&Cuts<'_>>,
) -> Result<(), String> {
    let index = context.index(pe);
    // Outside the weight's region there is nothing to do.
    let Some(held) = context.prepared.weight(weight, index) else { return Ok(()) };
    let declared = context.prepared.program.weight_of(weight);
    let Some(declared) = declared else { return Err("there is no such weight".into()) };
    let mut result = pe.fresh(context.prepared, y, 0.0)?;
    if !same(&result.inner, &held.1) {
        return Err("the outputs of a weight are not those of its product".into());
    }
    let rounding = context.rounding(y.buffer);
    let is_first = |axis: Axis| match axis {
        Axis::X => pe.column == declared.region.x,
        Axis::Y => pe.row == declared.region.y,
    };
    if bias.is_some_and(is_first) {
        let name = context.tile_name(declared, declared.copy);
        experts::add_bias(context, pe, &mut result, &name, chosen, rounding)?;
    }
    let source = pe.tile(x)?;
    let input = Reordered::new(source, &held.0)?;
    match (chosen, cuts) {
        (None, Some(cuts)) => {
            let tile = cuts.at(index, held)?;
            for row in 0..source.rows.len() {
                tile.multiply(rounding, &input.row(row), result.row_mut(row));
            }
        }
        (None, None) => return Err("the tiles of a product were not looked up".into()),
        (Some(chosen), _) => {
            for pair in chosen.pairs.iter() {
                let expert = expert_of(pe, chosen.experts, pair)?;
                let cuts = context.tiles.cuts(context.tile_name(declared, expert))?;
                let tile = cuts.at(index, held)?;
                tile.multiply(rounding, &input.row(pair.from as usize), result.row_mut(pair.to as usize));
            }
        }
    }
    pe.put(y, result);
    Ok(())
}
