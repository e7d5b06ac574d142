//! Tensors that checkpoints of Qwen3-Next hold together, one by one, and gains that they hold less one; matrices of
//! an indexer as its programs want them.
//!
//! `in_proj_qkvz` has, for each key head, the rows of its query, its key, and of the values and gates of the value
//! heads that share it; `in_proj_ba` likewise of strength and decay; `q_proj` for each head the rows of its query and
//! of its gate (`fix_query_key_value_ordering` and `Qwen3NextAttention.forward` of `modeling_qwen3_next.py`).

use wafersim_spec::Model;
use wafersim_spec::model::{Attention, GroupedAttention, Indexer, LatentAttention, LinearAttention, Role};

use crate::checkpoint::WeightName;
use crate::error::ValuesError;
use crate::tensors::Tensors;

/// Which parts, of so many rows each, one after the other make up the rows of a head.
type Parts<'a> = &'a [(Role, u64)];

/// The tensors of a model as its layers name them. A tensor that is there by itself stays as it is.
///
/// # Errors
/// Where tensors that are held together have not the size that the config says.
pub(crate) fn unpacked(model: &Model, mut tensors: Tensors) -> Result<Tensors, ValuesError> {
    for (index, layer) in model.layers.iter().enumerate() {
        match &layer.attention {
            Attention::Linear(linear) => of_linear(model, index, linear, &mut tensors)?,
            Attention::Grouped(grouped) if grouped.output_gate => of_gated(model, index, grouped, &mut tensors)?,
            Attention::Grouped(_) | Attention::Latent(_) => {}
        }
    }
    of_indexers(model, &mut tensors);
    if model.centred_gains {
        let layers = model.layers.iter().enumerate();
        let of_layers = layers.flat_map(|(layer, description)| {
            let is_linear = matches!(description.attention, Attention::Linear(_));
            let tensors = description.tensors(model.hidden).into_iter();
            let names = tensors.flat_map(move |tensor| {
                (0..tensor.copies).map(move |copy| WeightName { layer, role: tensor.role, copy })
            });
            // The norm behind the delta rule has its gain as it is.
            names.filter(move |name| match name.role {
                Role::AttentionNorm | Role::FeedForwardNorm => true,
                Role::AttentionInnerNorm => !is_linear,
                _ => false,
            })
        });
        let names: Vec<String> =
            of_layers.chain([WeightName::new(0, Role::FinalNorm)]).map(|name| name.tensor_of(model)).collect();
        for name in names {
            let Some(gain) = tensors.get(&name) else { continue };
            let (shape, values) = (gain.shape.to_vec(), gain.values());
            put(&mut tensors, &name, shape, values.into_iter().map(|value| value as f32 + 1.0).collect());
        }
    }
    Ok(tensors)
}

fn of_linear(model: &Model, layer: usize, linear: &LinearAttention, tensors: &mut Tensors) -> Result<(), ValuesError> {
    let path = |name: &str| format!("model.layers.{layer}.linear_attn.{name}.weight");
    let values = linear.group() * linear.value_dim;
    let parts =
        [(Role::Query, linear.key_dim), (Role::Key, linear.key_dim), (Role::Value, values), (Role::OutputGate, values)];
    split(model, layer, tensors, (&path("in_proj_qkvz"), &parts))?;
    let parts = [(Role::WriteStrength, linear.group()), (Role::Decay, linear.group())];
    split(model, layer, tensors, (&path("in_proj_ba"), &parts))?;
    // A convolution in groups of one channel has a dimension of one.
    let name = WeightName::new(layer, Role::Convolution).tensor_of(model);
    if let Some(taps) = tensors.get(&name)
        && let [channels, 1, kernel] = *taps.shape
    {
        let values = taps.values().into_iter().map(|value| value as f32).collect();
        put(tensors, &name, vec![channels, kernel], values);
    }
    Ok(())
}

/// Rows of an indexer's matrices in the order of its programs. The key's matrix is centred: what LayerNorm subtracts is the
/// mean of `W x`, which is `(mean of the rows of W) x`. Where pairs `(2 i, 2 i + 1)` are rotated, the rows of the even
/// ones come first, in both matrices and in what the norm multiplies and adds.
pub(crate) fn of_indexers(model: &Model, tensors: &mut Tensors) {
    for (index, layer) in model.layers.iter().enumerate() {
        if let Attention::Latent(LatentAttention { indexer: Some(indexer), rope_dim, .. }) = layer.attention {
            of_indexer(model, index, (indexer, rope_dim), tensors);
        }
    }
}

fn of_indexer(model: &Model, layer: usize, (indexer, rotary): (Indexer, u64), tensors: &mut Tensors) {
    let width = indexer.head_dim as usize;
    let order: Vec<usize> = match indexer.interleaved {
        true => (0..rotary as usize)
            .step_by(2)
            .chain((1..rotary as usize).step_by(2))
            .chain(rotary as usize..width)
            .collect(),
        false => (0..width).collect(),
    };
    for (role, copy) in [(Role::IndexQuery, 0), (Role::IndexKey, 0), (Role::IndexNorm, 0), (Role::IndexNorm, 1)] {
        let name = WeightName { layer, role, copy }.tensor_of(model);
        let Some(tensor) = tensors.get(&name) else { continue };
        let (shape, values) = (tensor.shape.to_vec(), tensor.values());
        // One that has another shape is refused where shapes are checked.
        let rows = shape.first().copied().unwrap_or(0);
        if rows == 0 || rows % width != 0 || values.len() % rows != 0 {
            continue;
        }
        let inputs = values.len() / rows;
        let mut means = vec![0.0; inputs];
        if role == Role::IndexKey {
            for row in values.chunks(inputs.max(1)) {
                means.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / rows as f64);
            }
        }
        let of_row = |row: usize| {
            let from = row / width * width + order.get(row % width).copied().unwrap_or(0);
            values.iter().skip(from * inputs).take(inputs).zip(&means).map(|(value, mean)| (value - mean) as f32)
        };
        let values: Vec<f32> = (0..rows).flat_map(of_row).collect();
        put(tensors, &name, shape, values);
    }
}

fn of_gated(model: &Model, layer: usize, grouped: &GroupedAttention, tensors: &mut Tensors) -> Result<(), ValuesError> {
    let name = WeightName::new(layer, Role::Query).tensor_of(model);
    let rows = 2 * grouped.heads * grouped.head_dim;
    if tensors.get(&name).is_none_or(|both| both.shape.first() != Some(&(rows as usize))) {
        return Ok(());
    }
    split(model, layer, tensors, (&name, &[(Role::Query, grouped.head_dim), (Role::OutputGate, grouped.head_dim)]))
}

/// Cuts the rows of a tensor, head by head, into the tensors of some roles.
fn split(
    model: &Model,
    layer: usize,
    tensors: &mut Tensors,
    (name, parts): (&str, Parts<'_>),
) -> Result<(), ValuesError> {
    let Some(together) = tensors.get(name) else { return Ok(()) };
    let each: u64 = parts.iter().map(|(_, rows)| rows).sum();
    let (rows, width) = match *together.shape {
        [rows, width] if each > 0 && rows.is_multiple_of(each as usize) => (rows, width),
        _ => {
            let problem = format!("has the shape {:?}; the config wants heads of {each} rows", together.shape);
            return Err(ValuesError::Tensor { name: name.into(), problem });
        }
    };
    let values = together.values();
    let mut first = 0;
    for (role, size) in parts {
        let size = *size as usize;
        let of_head =
            |head: usize| (head * each as usize + first) * width..(head * each as usize + first + size) * width;
        let part: Vec<f32> = (0..rows / each as usize)
            .flat_map(|head| values.get(of_head(head)).unwrap_or(&[]).iter().map(|value| *value as f32))
            .collect();
        let shape = vec![rows / each as usize * size, width];
        put(tensors, &WeightName::new(layer, *role).tensor_of(model), shape, part);
        first += size;
    }
    Ok(())
}

fn put(tensors: &mut Tensors, name: &str, shape: Vec<usize>, values: Vec<f32>) {
    tensors.put(name, shape, values.into_iter().flat_map(f32::to_le_bytes).collect());
}
