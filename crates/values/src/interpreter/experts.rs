//! Gated networks in one processing element: activations, and biases of experts.

use std::sync::Arc;

use wafersim_program::{Chosen, Operand, Pair, Pairs};
use wafersim_spec::model::{Gating, Role};

use super::compute::Context;
use super::product::expert_of;
use super::rounding::Rounding;
use super::state::{PeState, Tile};
use super::weights::TileName;
use crate::checkpoint::WeightName;

/// Adds the bias of a weight to every row; for experts the biases of the pairs that go to a row, times their weights
/// where these are given.
pub(super) fn add_bias(
    context: &Context<'_>,
    pe: &PeState,
    result: &mut Tile,
    name: &TileName,
    chosen: Option<&Chosen>,
    rounding: Rounding,
) -> Result<(), String> {
    let (inner, rows) = (Arc::clone(&result.inner), result.rows.len());
    let mut add = |row: usize, copy: u64, factor: Option<f32>| -> Result<(), String> {
        let name = TileName { name: WeightName { copy, ..name.name }, ..name.clone() };
        let bias = context.tiles.vector(&name, true)?;
        for (value, element) in result.row_mut(row).iter_mut().zip(inner.iter()) {
            let bias = bias.get(*element as usize).copied().unwrap_or(f32::NAN);
            *value = rounding.round(*value + factor.map_or(bias, |factor| factor * bias));
        }
        Ok(())
    };
    let Some(chosen) = chosen else {
        return (0..rows).try_for_each(|row| add(row, name.name.copy, None));
    };
    for pair in chosen.pairs.iter() {
        let factor = match chosen.bias_weights {
            Some(weights) => Some(weight_of(pe, weights, pair)?),
            None => None,
        };
        add(pair.to as usize, expert_of(pe, chosen.experts, pair)?, factor)?;
    }
    Ok(())
}

/// The bias of a role, in every place.
pub(super) fn bias(
    context: &Context<'_>,
    pe: &mut PeState,
    y: Operand,
    role: Role,
    chosen: Option<&Chosen>,
) -> Result<(), String> {
    if context.prepared.held(y, context.index(pe)).is_none() {
        return Ok(());
    }
    let name = TileName::plain(context.name(role, 0));
    let mut tile = pe.copy(y, y)?;
    add_bias(context, pe, &mut tile, &name, chosen, context.rounding(y.buffer))?;
    pe.put(y, tile);
    Ok(())
}

/// The router's weight of a pair.
fn weight_of(pe: &PeState, weights: Operand, pair: Pair) -> Result<f32, String> {
    let weight = pe.tile(weights)?.row(pair.token as usize).get(pair.slot as usize).copied();
    weight.ok_or_else(|| format!("token {} has no weight {}", pair.token, pair.slot))
}

/// The router's weights of the pairs that rows belong to.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairWeights<'p> {
    pub operand: Operand,
    /// The pair of each row.
    pub pairs: &'p Pairs,
    /// Whether they multiply gate and up, and not the result.
    pub input: bool,
}

/// Gate and up to what goes through the down projection.
pub(super) fn gated(
    context: &Context<'_>,
    pe: &mut PeState,
    [gate, up]: [Operand; 2],
    gating: Gating,
    weights: Option<PairWeights<'_>>,
) -> Result<(), String> {
    // Processing elements outside an expert's rectangle hold none of it.
    if context.prepared.held(gate, context.index(pe)).is_none() {
        return Ok(());
    }
    let rounding = context.rounding(gate.buffer);
    let up_tile = pe.tile(up)?;
    let mut factors: Vec<Option<f32>> = vec![None; up_tile.rows.len()];
    if let Some(PairWeights { operand, pairs, .. }) = weights {
        // Pairs are those of all rows, in their order; a place may hold some of them only.
        let is_whole = up_tile.rows.len() as u64 == pairs.len();
        for (index, (factor, row)) in factors.iter_mut().zip(up_tile.rows.iter()).enumerate() {
            let pair = pairs.get(if is_whole { index as u64 } else { (*row).into() });
            *factor = pair.map(|pair| weight_of(pe, operand, pair)).transpose()?;
        }
    }
    let (gate, up) = pe.tile_beside(gate, up)?;
    if !gate.is_like(&up.rows, &up.inner) {
        return Err("gate and up hold different elements".into());
    }
    for (row, factor) in factors.into_iter().enumerate() {
        let (before, after) =
            if weights.is_some_and(|weights| weights.input) { (factor, None) } else { (None, factor) };
        let times = |value: f32, factor: Option<f32>| factor.map_or(value, |factor| rounding.round(value * factor));
        for (gate, up) in gate.row_mut(row).iter_mut().zip(up.row(row)) {
            let inner = activation(rounding, gating, times(*gate, before), times(*up, before));
            *gate = times(inner, after);
        }
    }
    Ok(())
}

fn activation(rounding: Rounding, gating: Gating, gate: f32, up: f32) -> f32 {
    match gating {
        Gating::Silu => rounding.round(rounding.round(gate / (1.0 + (-gate).exp())) * up),
        Gating::Clamped { alpha, limit } => {
            let limit = limit as f32;
            let (gate, up) = (gate.min(limit), up.clamp(-limit, limit));
            let inner = rounding.round(gate * alpha as f32);
            let swish = rounding.round(gate / (1.0 + (-inner).exp()));
            rounding.round(swish * rounding.round(up + 1.0))
        }
    }
}
