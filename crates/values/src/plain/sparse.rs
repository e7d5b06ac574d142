//! The indexer of sparse attention from its equations (`DeepseekV32Indexer` of `modeling_deepseek_v32.py`): LayerNorm of
//! the key, rotation of the leading dimensions of query and key in pairs `(i, i + half)`, `sum of w relu(q . k)`, the
//! tokens that score as well as the last of the best. Pairs of GLM-5, which are neighbours, have been brought to that order with the rows of their matrices.

use wafersim_spec::model::{INDEX_NORM_EPSILON, Indexer, Role};

use super::{falling, product};
use crate::checkpoint::{Checkpoint, WeightName};
use crate::error::ValuesError;

/// Which of the tokens so far, the new one last, are looked at. The new one's key joins the others.
pub(super) fn chosen(
    checkpoint: &Checkpoint,
    (layer, indexer, rotary): (usize, Indexer, usize),
    [x, compressed]: [&[f64]; 2],
    keys: &mut Vec<Vec<f64>>,
) -> Result<Vec<bool>, ValuesError> {
    let weight = |role: Role, copy: u64| checkpoint.weight(WeightName { layer, role, copy });
    let (position, half, width) = (keys.len() as f64, rotary / 2, indexer.head_dim as usize);
    let rotated = |vector: &[f64]| -> Vec<f64> {
        let turned = |at: usize| {
            if at >= rotary {
                return vector[at];
            }
            let angle = position * checkpoint.rotary.frequencies[at % half];
            let partner = if at < half { -vector[at + half] } else { vector[at - half] };
            vector[at] * angle.cos() + partner * angle.sin()
        };
        (0..vector.len()).map(turned).collect()
    };
    let key = product(weight(Role::IndexKey, 0)?, x);
    let mean = key.iter().sum::<f64>() / width as f64;
    let variance = key.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / width as f64;
    let (gain, bias) = (weight(Role::IndexNorm, 0)?, weight(Role::IndexNorm, 1)?);
    let scale = (variance + INDEX_NORM_EPSILON).sqrt();
    let normed = key.iter().enumerate().map(|(at, value)| (value - mean) / scale * gain.at(at) + bias.at(at));
    keys.push(rotated(&normed.collect::<Vec<f64>>()));
    let queries = product(weight(Role::IndexQuery, 0)?, compressed);
    let queries: Vec<Vec<f64>> = queries.chunks(width).map(rotated).collect();
    let weights = product(weight(Role::IndexWeight, 0)?, x);
    let score = |key: &Vec<f64>| -> f64 {
        let of_head = |(query, weight): (&Vec<f64>, &f64)| {
            weight * query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>().max(0.0)
        };
        queries.iter().zip(&weights).map(of_head).sum()
    };
    let scores: Vec<f64> = keys.iter().map(score).collect();
    let best = falling(&scores, 0..scores.len());
    let least = best.get(indexer.top_k.saturating_sub(1) as usize).map_or(f64::NEG_INFINITY, |last| scores[*last]);
    Ok(scores.iter().map(|score| *score >= least).collect())
}
