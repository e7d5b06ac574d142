//! Norms in one processing element.

use std::sync::Arc;

use wafersim_program::{Operand, Pairs, Rescaled};

use super::compute::Context;
use super::group::Group;
use super::state::PeState;
use super::weights::TileName;

/// What a norm divides by the root of: the mean of `width` squares, and a little.
#[derive(Debug, Clone, Copy)]
pub(super) struct MeanSquare {
    pub width: u64,
    pub epsilon: f64,
}

impl MeanSquare {
    /// `1 / sqrt(sum / width + epsilon)`.
    pub fn scale(self, sum: f32) -> f32 {
        1.0 / (sum / self.width as f32 + self.epsilon as f32).sqrt()
    }
}

/// `sums[e / width] = sum of x[e]^2`.
pub(super) fn sum_of_squares(
    context: &Context<'_>,
    pe: &mut PeState,
    x: Operand,
    sums: Operand,
    width: u64,
) -> Result<(), String> {
    let mut result = pe.fresh(context.prepared, sums, 0.0)?;
    let rounding = context.rounding(sums.buffer);
    let source = pe.tile(x)?;
    // Several sums for a vector: the one that lies here is its.
    let (of, all) = (context.prepared.field(x)?.row_size(), context.prepared.field(sums)?.row_size());
    let several = (all * width).checked_div(of).unwrap_or(1).max(1) as u32;
    let inner = Arc::clone(&result.inner);
    for group in Group::all(&source.inner, width as u32) {
        let place = group.place(inner.iter().map(|sum| sum / several))?;
        for row in 0..source.rows.len() {
            if let Some(sum) = result.row_mut(row).get_mut(place) {
                let squares = group.of(source.row(row)).iter().map(|value| rounding.round(value * value));
                *sum = squares.fold(*sum, |sum, square| rounding.round(sum + square));
            }
        }
    }
    pe.put(sums, result);
    Ok(())
}

/// `y = x / sqrt(sum / width + epsilon) * gain`.
pub(super) fn rms_scale(
    context: &Context<'_>,
    pe: &mut PeState,
    [x, sums, y]: [Operand; 3],
    gain: &[f32],
    mean: MeanSquare,
) -> Result<(), String> {
    let rounding = context.rounding(y.buffer);
    pe.begin_with(y, x)?;
    let (result, sums) = pe.tile_beside(y, sums)?;
    let inner = Arc::clone(&result.inner);
    for group in Group::all(&inner, mean.width as u32) {
        let place = group.place(sums.inner.iter().copied())?;
        for row in 0..result.rows.len() {
            let scale = rounding.round(sums.row(row).get(place).map_or(f32::NAN, |sum| mean.scale(*sum)));
            for (value, element) in group.of_mut(result.row_mut(row)).iter_mut().zip(group.elements) {
                let gain = gain.get((element - group.first) as usize).copied().unwrap_or(f32::NAN);
                *value = rounding.round(rounding.round(*value * scale) * gain);
            }
        }
    }
    Ok(())
}

/// `y = x * gain`.
pub(super) fn gain(
    context: &Context<'_>,
    pe: &mut PeState,
    [x, y]: [Operand; 2],
    gain: &[f32],
    width: u64,
) -> Result<(), String> {
    let rounding = context.rounding(y.buffer);
    pe.begin_with(y, x)?;
    let result = pe.tile_mut(y)?;
    let inner = Arc::clone(&result.inner);
    for row in 0..result.rows.len() {
        for (value, element) in result.row_mut(row).iter_mut().zip(inner.iter()) {
            let gain = gain.get((u64::from(*element) % width.max(1)) as usize).copied().unwrap_or(f32::NAN);
            *value = rounding.round(*value * gain);
        }
    }
    Ok(())
}

/// `x = x / sqrt(sum / width + epsilon) + bias` for some operands, row by row.
pub(super) fn rescale(
    context: &Context<'_>,
    pe: &mut PeState,
    operands: &[Rescaled],
    sums: Operand,
    mean: MeanSquare,
) -> Result<(), String> {
    let sums = pe.tile(sums)?;
    let scales: Vec<f32> =
        (0..sums.rows.len()).map(|row| sums.row(row).first().map_or(f32::NAN, |sum| mean.scale(*sum))).collect();
    for Rescaled { operand, bias } in operands {
        let rounding = context.rounding(operand.buffer);
        let bias = bias.map(|role| context.tiles.vector(&TileName::plain(context.name(role, 0)), true)).transpose()?;
        let tile = pe.tile_mut(*operand)?;
        let inner = Arc::clone(&tile.inner);
        for (row, scale) in scales.iter().enumerate() {
            for (value, element) in tile.row_mut(row).iter_mut().zip(inner.iter()) {
                *value = rounding.round(*value * rounding.round(*scale));
                if let Some(bias) = bias {
                    *value = rounding.round(*value + bias.get(*element as usize).copied().unwrap_or(f32::NAN));
                }
            }
        }
    }
    Ok(())
}

/// The scale of a norm in place of its sums of squares.
pub(super) fn norm_scale(
    context: &Context<'_>,
    pe: &mut PeState,
    sums: Operand,
    mean: MeanSquare,
) -> Result<(), String> {
    let rounding = context.rounding(sums.buffer);
    let tile = pe.tile_mut(sums)?;
    tile.values.iter_mut().for_each(|sum| *sum = rounding.round(mean.scale(*sum)));
    Ok(())
}

/// `x *= factor` for some operands, row by row.
pub(super) fn times(
    context: &Context<'_>,
    pe: &mut PeState,
    operands: &[Operand],
    factors: Operand,
    pairs: Option<&Pairs>,
) -> Result<(), String> {
    for operand in operands {
        let rounding = context.rounding(operand.buffer);
        let (tile, factors) = pe.tile_beside(*operand, factors)?;
        for row in 0..tile.rows.len() {
            let of = pairs.map_or(Some(row), |pairs| pairs.get(row as u64).map(|pair| pair.token as usize));
            let factor = of.and_then(|row| factors.row(row).first().copied()).unwrap_or(f32::NAN);
            tile.row_mut(row).iter_mut().for_each(|value| *value = rounding.round(*value * factor));
        }
    }
    Ok(())
}
