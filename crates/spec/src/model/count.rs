//! What a layer is made of, tensor by tensor, and the counts that follow from that list.
//!
//! Held to `tests/data/parameter_counts.json` to the last digit for every built-in model.

use super::{
    Attention, FeedForward, GroupedAttention, HeadValues, LatentAttention, Layer, LinearAttention, Model, Moe,
    ParameterCount, QkNorm, Reach, Role, Tensor,
};
use crate::data_type::{DataType, TensorClass};
use crate::precision::Precision;
use crate::units::Bytes;

impl Tensor {
    /// A matrix that every token uses.
    fn matrix(role: Role, inputs: u64, outputs: u64) -> Self {
        Self { role, inputs, outputs, bias: false, copies: 1, active: 1, class: TensorClass::Weights }
    }

    /// A vector that every token uses.
    fn vector(role: Role, outputs: u64) -> Self {
        Self { role, inputs: 1, outputs, bias: false, copies: 1, active: 1, class: TensorClass::SmallWeights }
    }

    /// The same with a class.
    fn small(self) -> Self {
        Self { class: TensorClass::SmallWeights, ..self }
    }

    fn with_bias(self, bias: bool) -> Self {
        Self { bias, ..self }
    }

    fn with_copies(self, copies: u64, active: u64) -> Self {
        Self { copies, active, ..self }
    }
}

impl Attention {
    /// Elements that one token adds to the KV cache of this layer: keys and values of all KV heads, or the latent and
    /// the rotary key of MLA, with the key of its indexer where it has one.
    pub fn kv_width(&self) -> u64 {
        match self {
            Self::Grouped(grouped) => grouped.kv_heads * (grouped.head_dim + grouped.value_dim()),
            Self::Latent(latent) => latent.kv_rank + latent.rope_dim + latent.index_width(),
            Self::Linear(_) => 0,
        }
    }

    /// Bytes that a user keeps in this layer whatever the context: states in fp32, as the family's implementation has
    /// them, and the convolution's last inputs as activations.
    pub fn state_bytes(&self, activations: DataType) -> Bytes {
        match self {
            Self::Grouped(_) | Self::Latent(_) => Bytes::ZERO,
            Self::Linear(linear) => {
                DataType::Fp32.storage(linear.state_elements()) + activations.storage(linear.tail_elements())
            }
        }
    }

    /// How far back the layer looks.
    pub fn reach(&self) -> Reach {
        match self {
            Self::Grouped(grouped) => grouped.reach,
            Self::Latent(_) | Self::Linear(_) => Reach::Full,
        }
    }

    /// Query heads; of linear attention those with a state.
    pub fn query_heads(&self) -> u64 {
        match self {
            Self::Grouped(grouped) => grouped.heads,
            Self::Latent(latent) => latent.heads,
            Self::Linear(linear) => linear.value_heads,
        }
    }

    /// The weights of the attention, in order of use, without the layer's own norms.
    pub fn tensors(&self, hidden: u64) -> Vec<Tensor> {
        match self {
            Self::Grouped(grouped) => grouped_tensors(grouped, hidden),
            Self::Latent(latent) => latent_tensors(latent, hidden),
            Self::Linear(linear) => linear_tensors(linear, hidden),
        }
    }
}

impl LatentAttention {
    /// Width of the indexer's key of a token; 0 without an indexer.
    pub fn index_width(&self) -> u64 {
        self.indexer.map_or(0, |indexer| indexer.head_dim)
    }

    /// Most tokens that a query looks at with `context` tokens in the cache.
    pub fn seen(&self, context: u64) -> u64 {
        self.indexer.map_or(context, |indexer| context.min(indexer.top_k))
    }
}

fn grouped_tensors(attention: &GroupedAttention, hidden: u64) -> Vec<Tensor> {
    let query_width = attention.heads * attention.head_dim;
    let kv_width = attention.kv_heads * attention.head_dim;
    let bias = attention.qkv_bias;
    let mut tensors = match attention.query_rank {
        None => vec![Tensor::matrix(Role::Query, hidden, query_width).with_bias(bias)],
        Some(rank) => vec![
            Tensor::matrix(Role::QueryDown, hidden, rank).with_bias(bias),
            Tensor::vector(Role::AttentionInnerNorm, rank),
            Tensor::matrix(Role::QueryUp, rank, query_width),
        ],
    };
    tensors.push(Tensor::matrix(Role::Key, hidden, kv_width).with_bias(bias));
    let value_width = attention.heads * attention.value_dim();
    if attention.values != HeadValues::OfKeys {
        let of_values = attention.kv_heads * attention.value_dim();
        tensors.push(Tensor::matrix(Role::Value, hidden, of_values).with_bias(bias));
    }
    if attention.output_gate {
        tensors.push(Tensor::matrix(Role::OutputGate, hidden, value_width).with_bias(bias));
    }
    if attention.head_gate {
        tensors.push(Tensor::matrix(Role::OutputGate, hidden, attention.heads));
    }
    match attention.qk_norm {
        QkNorm::None => {}
        // One gain vector for all query heads and one for all key heads.
        QkNorm::Head => tensors.push(Tensor::vector(Role::AttentionInnerNorm, attention.head_dim).with_copies(2, 2)),
        QkNorm::Whole => {
            tensors.extend([query_width, kv_width].map(|width| Tensor::vector(Role::AttentionInnerNorm, width)));
        }
    }
    if attention.sinks {
        tensors.push(Tensor::vector(Role::Sinks, attention.heads));
    }
    tensors.push(Tensor::matrix(Role::Output, value_width, hidden).with_bias(attention.output_bias));
    tensors
}

fn latent_tensors(attention: &LatentAttention, hidden: u64) -> Vec<Tensor> {
    let query_width = attention.heads * (attention.nope_dim + attention.rope_dim);
    let mut tensors = Vec::new();
    match attention.query_rank {
        None => tensors.push(Tensor::matrix(Role::Query, hidden, query_width)),
        Some(rank) => tensors.extend([
            Tensor::matrix(Role::QueryDown, hidden, rank),
            Tensor::vector(Role::AttentionInnerNorm, rank),
            Tensor::matrix(Role::QueryUp, rank, query_width),
        ]),
    }
    tensors.extend([
        Tensor::matrix(Role::KvDown, hidden, attention.kv_rank + attention.rope_dim),
        Tensor::vector(Role::AttentionInnerNorm, attention.kv_rank),
        Tensor::matrix(Role::KvUp, attention.kv_rank, attention.heads * (attention.nope_dim + attention.value_dim)),
    ]);
    if let (Some(indexer), Some(rank)) = (attention.indexer, attention.query_rank) {
        tensors.extend([
            Tensor::matrix(Role::IndexQuery, rank, indexer.heads * indexer.head_dim),
            Tensor::matrix(Role::IndexKey, hidden, indexer.head_dim),
            // Gain and bias of a LayerNorm.
            Tensor::vector(Role::IndexNorm, indexer.head_dim).with_copies(2, 2),
            // A few numbers, which quantised checkpoints keep in 16 bit, like the router.
            Tensor::matrix(Role::IndexWeight, hidden, indexer.heads).small(),
        ]);
    }
    tensors.push(Tensor::matrix(Role::Output, attention.heads * attention.value_dim, hidden));
    tensors
}

fn linear_tensors(attention: &LinearAttention, hidden: u64) -> Vec<Tensor> {
    let (keys, values) = (attention.key_width(), attention.value_width());
    vec![
        Tensor::matrix(Role::Query, hidden, keys),
        Tensor::matrix(Role::Key, hidden, keys),
        Tensor::matrix(Role::Value, hidden, values),
        Tensor::matrix(Role::OutputGate, hidden, values),
        // A few numbers for each head, which quantised checkpoints keep in 16 bit, like the router.
        Tensor::matrix(Role::WriteStrength, hidden, attention.value_heads).small(),
        Tensor::matrix(Role::Decay, hidden, attention.value_heads).with_bias(true).small(),
        Tensor::matrix(Role::Convolution, attention.kernel, attention.channels()).small(),
        Tensor::vector(Role::DecayRate, attention.value_heads),
        // One gain vector for all heads.
        Tensor::vector(Role::AttentionInnerNorm, attention.value_dim),
        Tensor::matrix(Role::Output, values, hidden),
    ]
}

impl FeedForward {
    /// The weights of the feed-forward part, in order of use, without the layer's own norms.
    pub fn tensors(&self, hidden: u64) -> Vec<Tensor> {
        match self {
            Self::Dense { width, bias } => {
                gated(hidden, *width, [Role::Gate, Role::Up, Role::Down]).map(|tensor| tensor.with_bias(*bias)).to_vec()
            }
            Self::Moe(moe) => moe_tensors(moe, hidden),
        }
    }
}

fn gated(hidden: u64, width: u64, [gate, up, down]: [Role; 3]) -> [Tensor; 3] {
    [Tensor::matrix(gate, hidden, width), Tensor::matrix(up, hidden, width), Tensor::matrix(down, width, hidden)]
}

fn moe_tensors(moe: &Moe, hidden: u64) -> Vec<Tensor> {
    let router = Tensor::matrix(Role::Router, hidden, moe.experts).with_bias(moe.router_bias);
    let mut tensors = vec![router.small()];
    if moe.shared_width > 0 {
        tensors.extend(gated(hidden, moe.shared_width, [Role::SharedGate, Role::SharedUp, Role::SharedDown]));
        if moe.shared_gate {
            tensors.push(Tensor::matrix(Role::SharedOutputGate, hidden, 1).small());
        }
    }
    tensors.extend(
        gated(hidden, moe.width, [Role::ExpertGate, Role::ExpertUp, Role::ExpertDown])
            .map(|tensor| tensor.with_bias(moe.expert_bias).with_copies(moe.experts, moe.top_k)),
    );
    tensors
}

impl Layer {
    /// Every weight tensor of the layer, in order of use.
    pub fn tensors(&self, hidden: u64) -> Vec<Tensor> {
        let further_norms = self.norms.saturating_sub(1);
        let mut tensors = vec![Tensor::vector(Role::AttentionNorm, hidden)];
        tensors.extend(self.attention.tensors(hidden));
        if further_norms > 0 {
            tensors.push(Tensor::vector(Role::FeedForwardNorm, hidden).with_copies(further_norms, further_norms));
        }
        tensors.extend(self.feed_forward.tensors(hidden));
        tensors
    }
}

impl Model {
    /// The tensors outside the layers: embedding, final norm, and the LM head where it is not the embedding table.
    pub fn outer_tensors(&self) -> Vec<Tensor> {
        let mut tensors = vec![
            Tensor::matrix(Role::Embedding, self.vocabulary, self.hidden),
            Tensor::vector(Role::FinalNorm, self.hidden),
        ];
        if !self.tied_embeddings {
            tensors.push(self.lm_head());
        }
        tensors
    }

    /// The product that makes logits, whether its weights are its own or the embedding table's.
    pub fn lm_head(&self) -> Tensor {
        Tensor::matrix(Role::LmHead, self.hidden, self.vocabulary)
    }

    /// Parameters, counted from the tensors.
    pub fn parameters(&self) -> ParameterCount {
        let mut count = ParameterCount { total: 0, active: 0, active_without_input_embedding: 0 };
        let layers = self.layers.iter().flat_map(|layer| layer.tensors(self.hidden));
        for tensor in layers.chain(self.outer_tensors()) {
            count.total += tensor.parameters();
            count.active += tensor.active_parameters();
            if tensor.role != Role::Embedding || self.tied_embeddings {
                count.active_without_input_embedding += tensor.active_parameters();
            }
        }
        count
    }

    /// Bytes that a user keeps whatever the context, over all layers: the states of linear attention.
    pub fn state_bytes_per_user(&self, precision: &Precision) -> Bytes {
        self.layers.iter().map(|layer| layer.attention.state_bytes(precision.activations)).sum()
    }

    /// Bytes that the tokens of a user from `before` to `until` leave, over all layers: keys and values of those that
    /// later tokens can still see, latent where the layer keeps them so, and states, which come as a whole.
    pub fn kv_bytes_between(&self, before: u64, until: u64, precision: &Precision) -> Bytes {
        let computed = until.saturating_sub(before);
        let of_layer = |layer: &Layer| {
            let tokens = layer.attention.reach().visible(until).min(computed);
            precision.kv_cache.storage(layer.attention.kv_width()) * tokens
        };
        let states = if computed > 0 { self.state_bytes_per_user(precision) } else { Bytes::ZERO };
        self.layers.iter().map(of_layer).sum::<Bytes>() + states
    }

    /// Elements that one token adds to the KV cache, over all layers.
    pub fn kv_elements_per_token(&self) -> u64 {
        self.layers.iter().map(|layer| layer.attention.kv_width()).sum()
    }

    /// Bytes that one token adds to the KV cache, over all layers, block scales included.
    pub fn kv_bytes_per_token(&self, precision: &Precision) -> Bytes {
        self.layers.iter().map(|layer| precision.kv_cache.storage(layer.attention.kv_width())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::builtin;
    use super::*;

    fn known_models() -> impl Iterator<Item = Model> {
        builtin::names().filter_map(|name| Model::builtin(name).ok())
    }

    /// sources.md#model-files: attention 163,578,112, router 983,040, one expert 47,185,920, norms 12,288; layer
    /// 7,714,320,640; here with the q and k norms among the attention.
    #[test]
    fn a_layer_of_qwen3_coder_has_its_published_parts() {
        let model = Model::builtin("qwen3-coder-480b-a35b").unwrap();
        let tensors = model.layers[0].tensors(model.hidden);
        let sum = |roles: &[Role]| -> u64 {
            tensors.iter().filter(|tensor| roles.contains(&tensor.role)).map(Tensor::parameters).sum()
        };
        let attention = [Role::Query, Role::Key, Role::Value, Role::AttentionInnerNorm, Role::Output];
        assert_eq!(sum(&attention), 163_578_112);
        assert_eq!(sum(&[Role::Router]), 983_040);
        assert_eq!(sum(&[Role::ExpertGate, Role::ExpertUp, Role::ExpertDown]), 160 * 47_185_920);
        assert_eq!(sum(&[Role::AttentionNorm, Role::FeedForwardNorm]), 12_288);
        assert_eq!(tensors.iter().map(Tensor::parameters).sum::<u64>(), 7_714_320_640);
    }

    #[test]
    fn a_multiply_for_every_active_parameter_that_is_no_vector() {
        for model in known_models() {
            let layers = model.layers.iter().flat_map(|layer| layer.tensors(model.hidden));
            let tensors: Vec<Tensor> = layers.chain(model.outer_tensors()).collect();
            let is_vector = |tensor: &&Tensor| tensor.inputs == 1;
            let vectors: u64 = tensors.iter().filter(is_vector).map(Tensor::active_parameters).sum();
            let biases: u64 =
                tensors.iter().filter(|tensor| tensor.bias).map(|tensor| tensor.active * tensor.outputs).sum();
            let shared_head = if model.tied_embeddings { model.lm_head().macs() } else { 0 };
            let macs = tensors.iter().map(Tensor::macs).sum::<u64>() + shared_head;
            assert_eq!(macs + vectors + biases, model.parameters().active_without_input_embedding, "{}", model.name);
        }
    }

    #[test]
    fn small_weights_are_vectors_routers_and_what_makes_a_few_numbers() {
        for model in known_models() {
            for tensor in model.layers.iter().flat_map(|layer| layer.tensors(model.hidden)).chain(model.outer_tensors())
            {
                let few = [Role::Router, Role::WriteStrength, Role::Decay, Role::Convolution, Role::SharedOutputGate];
                let is_small = tensor.inputs == 1 || few.contains(&tensor.role);
                assert_eq!(tensor.class == TensorClass::SmallWeights, is_small, "{}: {tensor:?}", model.name);
            }
        }
    }

    #[test]
    fn tensors_come_in_the_order_of_their_roles() {
        for model in known_models() {
            for layer in &model.layers {
                let tensors = layer.tensors(model.hidden);
                let shared_first = |tensor: &Tensor| !matches!(tensor.role, Role::AttentionInnerNorm);
                assert!(tensors.iter().filter(|tensor| shared_first(tensor)).is_sorted_by_key(|tensor| tensor.role));
            }
        }
    }

    /// `Qwen3NextGatedDeltaNet`: in_proj_qkvz 2048 x 12,288, in_proj_ba 2048 x 64, conv1d 8192 x 4, dt_bias and A_log
    /// of 32, norm of 128, out_proj 4096 x 2048; the state 32 x 128 x 128 in fp32, three tokens of 8192 channels in 16
    /// bit.
    #[test]
    fn a_layer_of_qwen3_next_has_the_parts_of_its_implementation() {
        let model = Model::builtin("qwen3-next-80b-a3b").unwrap();
        let of = |layer: usize| -> u64 {
            model.layers[layer].attention.tensors(model.hidden).iter().map(Tensor::parameters).sum()
        };
        assert_eq!(of(0), 25_165_824 + 131_072 + 32_768 + 2 * 32 + 128 + 8_388_608);
        // Every fourth layer: q and its gate 2048 x 8192, k and v 2048 x 512, o 4096 x 2048, two gains of 256.
        assert_eq!(of(3), 16_777_216 + 2 * 1_048_576 + 8_388_608 + 512);
        let precision = Precision::default();
        assert_eq!(model.layers[0].attention.state_bytes(precision.activations), Bytes(2_097_152 + 49_152));
        assert_eq!(model.state_bytes_per_user(&precision), Bytes(36 * 2_146_304));
        // 12 layers x 2 x 2 heads x 256.
        assert_eq!(model.kv_elements_per_token(), 12_288);
    }

    /// A cache in fp8 pays one scale of 4 bytes per 16,384 elements begun, in each layer.
    #[test]
    fn the_cache_of_a_token_has_block_scales_per_layer() {
        let model = Model::builtin("qwen3-coder-480b-a35b").unwrap();
        let fp8 = Precision { kv_cache: DataType::Fp8, ..Precision::default() };
        assert_eq!(model.kv_bytes_per_token(&fp8), Bytes(62 * (2048 + 4)));
    }
}
