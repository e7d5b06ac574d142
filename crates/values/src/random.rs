//! Models with random weights, and small models that are built as large ones are: for whoever wants to see that a
//! program computes what it should without a checkpoint.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wafersim_spec::Model;
use wafersim_spec::model::{
    Attention, FeedForward, GroupedAttention, HeadValues, Indexer, LatentAttention, Layer, LinearAttention, Moe, Reach,
    Role, Selection,
};

use crate::checkpoint::{Checkpoint, most_rotated, weights_of};
use crate::error::ValuesError;
use crate::rotary::Rotary;
use crate::tensors::Tensors;

/// Tensors by name: shape, and values row by row.
pub type Named = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Widths of a small model. Small, and no multiples of each other, so that grids divide few of them.
const HIDDEN: u64 = 48;
const VOCABULARY: u64 = 61;
const NETWORK: u64 = 40;
const EXPERT: u64 = 12;
const SHARED: u64 = 14;
const HEAD: u64 = 8;
const MOST_EXPERTS: u64 = 16;
const MOST_CHOSEN: u64 = 4;
const MOST_GROUPS: u64 = 4;
/// Tokens that an indexer chooses.
const CHOSEN: u64 = 4;
/// Kinds of layers that are kept.
const MOST_KINDS: usize = 6;
/// Tokens that a window or a chunk reaches over.
const REACH: u64 = 6;

/// Random values for the tensors of a model: gains about 1, matrices that keep the size of what goes through them.
pub fn tensors(model: &Model, seed: u64) -> Named {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut all = Named::new();
    let mut add = |name: String, shape: Vec<usize>, middle: f32, spread: f32| {
        let count = shape.iter().product();
        let values = (0..count).map(|_| middle + spread * random.random_range(-1.0f32..1.0)).collect();
        all.insert(name, (shape, values));
    };
    for layer in 0..model.layers.len() {
        for (weight, tensor) in weights_of(model, layer) {
            let name = weight.tensor_of(model);
            let (inputs, outputs) = (tensor.inputs as usize, tensor.outputs as usize);
            if weight.is_vector() {
                add(name, vec![outputs], 1.0, 0.4);
            } else {
                let spread = if tensor.role == Role::Router { 3.0 } else { 1.7 };
                add(name, vec![outputs, inputs], 0.0, spread / (inputs as f32).sqrt());
            }
            if tensor.bias {
                add(weight.bias_of(model), vec![outputs], 0.0, 0.5);
            }
        }
    }
    let table = vec![model.vocabulary as usize, model.hidden as usize];
    add("model.embed_tokens.weight".into(), table.clone(), 0.0, 1.0);
    add("model.norm.weight".into(), vec![model.hidden as usize], 1.0, 0.4);
    if !model.tied_embeddings {
        add("lm_head.weight".into(), table, 0.0, 3.0 / (model.hidden as f32).sqrt());
    }
    all
}

impl Checkpoint {
    /// A model with random weights. Its rotary embedding is not scaled.
    ///
    /// # Errors
    /// Where a part of the model is not computed.
    pub fn random(model: Model, seed: u64) -> Result<Self, ValuesError> {
        let rotary = Rotary::new("{}", &model.name, model.rope_theta, most_rotated(&model))?;
        let mut held = Tensors::default();
        for (name, (shape, values)) in tensors(&model, seed) {
            held.put(&name, shape, values.into_iter().flat_map(f32::to_le_bytes).collect());
        }
        crate::unpacked::of_indexers(&model, &mut held);
        Self::of(model, rotary, held)
    }
}

/// A small model that is built as a large one: a layer of each kind, two where there is one kind, with everything that
/// makes the kinds different. Widths and counts are small; what is 0, 1 or all of something stays so. With it the
/// layers of the large model whose kinds they are.
pub fn small(model: &Model) -> (Model, Vec<usize>) {
    let mut kinds: Vec<usize> = Vec::new();
    for (index, layer) in model.layers.iter().enumerate() {
        if kinds.len() < MOST_KINDS && kinds.iter().all(|known| model.layers[*known] != *layer) {
            kinds.push(index);
        }
    }
    if let ([only], true) = (kinds.as_slice(), model.layers.len() > 1) {
        let next = (*only + 1).min(model.layers.len() - 1);
        kinds.push(next);
    }
    let small = Model {
        name: format!("small {}", model.name),
        hidden: HIDDEN.min(model.hidden),
        vocabulary: VOCABULARY.min(model.vocabulary),
        layers: kinds.iter().filter_map(|index| model.layers.get(*index)).map(small_layer).collect(),
        next_token_layers: 0,
        ..model.clone()
    };
    (small, kinds)
}

fn small_layer(layer: &Layer) -> Layer {
    Layer {
        attention: match &layer.attention {
            Attention::Grouped(grouped) => Attention::Grouped(small_heads(grouped)),
            Attention::Latent(latent) => Attention::Latent(LatentAttention {
                heads: latent.heads.min(4),
                query_rank: latent.query_rank.map(|rank| rank.min(20)),
                kv_rank: latent.kv_rank.min(16),
                nope_dim: latent.nope_dim.min(6),
                rope_dim: latent.rope_dim.min(4),
                value_dim: latent.value_dim.min(5),
                indexer: latent.indexer.map(|indexer| Indexer {
                    heads: indexer.heads.min(5),
                    head_dim: indexer.head_dim.min(8),
                    top_k: indexer.top_k.min(CHOSEN),
                    ..indexer
                }),
            }),
            Attention::Linear(linear) => {
                let key_heads = linear.key_heads.min(2);
                Attention::Linear(LinearAttention {
                    key_heads,
                    value_heads: key_heads * linear.group().clamp(1, 2),
                    key_dim: linear.key_dim.min(HEAD),
                    value_dim: linear.value_dim.min(6),
                    kernel: linear.kernel.min(4),
                })
            }
        },
        feed_forward: match &layer.feed_forward {
            FeedForward::Dense { width, bias } => FeedForward::Dense { width: (*width).min(NETWORK), bias: *bias },
            FeedForward::Moe(moe) => FeedForward::Moe(small_experts(moe)),
        },
        norms: layer.norms,
    }
}

fn small_heads(grouped: &GroupedAttention) -> GroupedAttention {
    let kv_heads = grouped.kv_heads.min(2);
    let head_dim = grouped.head_dim.min(HEAD);
    GroupedAttention {
        heads: kv_heads * (grouped.heads / grouped.kv_heads.max(1)).clamp(1, 4),
        kv_heads,
        head_dim,
        rotary_dim: match grouped.rotary_dim {
            0 => 0,
            all if all == grouped.head_dim => head_dim,
            _ => head_dim / 4 * 2,
        },
        query_rank: grouped.query_rank.map(|rank| rank.min(20)),
        values: match grouped.values {
            HeadValues::Width(width) => HeadValues::Width(width.min(HEAD - 2)),
            other => other,
        },
        reach: match grouped.reach {
            Reach::Full => Reach::Full,
            Reach::Window(limit) => Reach::Window(limit.min(REACH)),
            Reach::Chunk(limit) => Reach::Chunk(limit.min(REACH)),
        },
        ..grouped.clone()
    }
}

fn small_experts(moe: &Moe) -> Moe {
    let experts = moe.experts.min(MOST_EXPERTS);
    let groups = moe.selection.groups.clamp(1, MOST_GROUPS.min(experts));
    let groups = if experts.is_multiple_of(groups) { groups } else { 1 };
    let kept_groups = match moe.selection.kept_groups {
        kept if kept >= moe.selection.groups => groups,
        kept => kept.clamp(1, groups.div_ceil(2)),
    };
    Moe {
        experts,
        top_k: moe.top_k.min(MOST_CHOSEN).min(experts / groups.max(1) * kept_groups).max(1),
        width: moe.width.min(EXPERT),
        shared_width: moe.shared_width.min(SHARED),
        selection: Selection { groups, kept_groups, ..moe.selection },
        ..moe.clone()
    }
}
