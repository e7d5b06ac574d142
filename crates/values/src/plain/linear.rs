//! Gated linear attention from its equations: Gated Delta Networks (arXiv 2412.06464, equation 10) as
//! `Qwen3NextGatedDeltaNet` of the `transformers` library has them, a token after the other.

use wafersim_spec::model::{LinearAttention, Role};

use super::{product, projection, rms};
use crate::checkpoint::{Checkpoint, WeightName};
use crate::error::ValuesError;

/// What a layer keeps of a user.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    /// States: value head, value, key.
    pub state: Vec<f64>,
    /// The last inputs of the convolution, the oldest first: queries, keys and values of a token.
    tail: Vec<Vec<f64>>,
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// To length 1.
fn unit(x: &[f64]) -> Vec<f64> {
    let length = (x.iter().map(|x| x * x).sum::<f64>() + 1e-6).sqrt();
    x.iter().map(|x| x / length).collect()
}

/// Queries, keys and values after the convolution.
fn convolved(
    checkpoint: &Checkpoint,
    layer: usize,
    kernel: usize,
    (tail, inputs): (&mut Vec<Vec<f64>>, Vec<f64>),
) -> Result<Vec<f64>, ValuesError> {
    let taps = checkpoint.weight(WeightName::new(layer, Role::Convolution))?;
    let channels = inputs.len();
    tail.push(inputs);
    // Tokens before the first are zeros.
    let missing = kernel.saturating_sub(tail.len());
    let of = |channel: usize| {
        let sum: f64 =
            tail.iter().enumerate().map(|(at, row)| taps.at(channel * kernel + missing + at) * row[channel]).sum();
        silu(sum)
    };
    let convolved = (0..channels).map(of).collect();
    if tail.len() == kernel {
        tail.remove(0);
    }
    Ok(convolved)
}

/// What attention adds for the next token of a user.
pub(super) fn attend(
    checkpoint: &Checkpoint,
    layer: usize,
    linear: &LinearAttention,
    (x, memory): (&[f64], &mut Memory),
) -> Result<Vec<f64>, ValuesError> {
    let name = |role: Role| WeightName::new(layer, role);
    let plain = |role: Role| projection(checkpoint, name(role), role == Role::Decay, x);
    let [keys, values] = [linear.key_dim as usize, linear.value_dim as usize];
    let (heads, group) = (linear.value_heads as usize, linear.group() as usize);
    memory.state.resize(heads * values * keys, 0.0);

    let inputs = [plain(Role::Query)?, plain(Role::Key)?, plain(Role::Value)?].concat();
    let mixed = convolved(checkpoint, layer, linear.kernel as usize, (&mut memory.tail, inputs))?;
    let width = linear.key_width() as usize;
    let (strengths, steps) = (plain(Role::WriteStrength)?, plain(Role::Decay)?);
    let rates = checkpoint.weight(name(Role::DecayRate))?;
    let gate = plain(Role::OutputGate)?;

    let mut result = Vec::with_capacity(heads * values);
    for head in 0..heads {
        let at = head / group * keys;
        let query: Vec<f64> = unit(&mixed[at..at + keys]).iter().map(|q| q / (keys as f64).sqrt()).collect();
        let key = unit(&mixed[width + at..width + at + keys]);
        let value = &mixed[2 * width + head * values..2 * width + (head + 1) * values];
        let stays = (-rates.at(head).exp() * steps[head].exp().ln_1p()).exp();
        let strength = 1.0 / (1.0 + (-strengths[head]).exp());
        let state = &mut memory.state[head * values * keys..(head + 1) * values * keys];
        state.iter_mut().for_each(|element| *element *= stays);
        let mut read = Vec::with_capacity(values);
        for (row, value) in state.chunks_mut(keys).zip(value) {
            let known: f64 = row.iter().zip(&key).map(|(s, k)| s * k).sum();
            let written = strength * (value - known);
            row.iter_mut().zip(&key).for_each(|(s, k)| *s += written * k);
            read.push(row.iter().zip(&query).map(|(s, q)| s * q).sum::<f64>());
        }
        let normed = rms(checkpoint, &read, name(Role::AttentionInnerNorm))?;
        result.extend(normed.iter().zip(&gate[head * values..]).map(|(x, gate)| x * silu(*gate)));
    }
    Ok(product(checkpoint.weight(name(Role::Output))?, &result))
}
