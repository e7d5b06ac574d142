//! A model with its weights: a Hugging Face `config.json` and the tensors that it wants, checked once.

use ndarray::Array2;
use wafersim_program::Part;
use wafersim_spec::data_type::TensorClass;
use wafersim_spec::model::{Attention, FeedForward, GroupedAttention, Reach, Role};
use wafersim_spec::{DataType, Model};

use crate::error::ValuesError;
use crate::interpreter::{Blocks, Rounding};
use crate::rotary::Rotary;
use crate::tensors::{Tensor, Tensors};
use crate::unpacked::unpacked;

/// Families whose equations are written here.
const FAMILIES: [&str; 11] = [
    "deepseek_v3",
    "deepseek_v32",
    "glm4_moe",
    "glm_moe_dsa",
    "llama",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "qwen3_next",
];

/// A model, its weights and its rotary frequencies. Every tensor that the layers want is there with its shape.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The model.
    pub model: Model,
    /// Frequencies of the rotary embedding.
    pub rotary: Rotary,
    tensors: Tensors,
}

/// Which weight: its layer (not read for tables), its role, and which of several (an expert; 1 for the gain of k).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WeightName {
    /// Number of the layer.
    pub layer: usize,
    /// Its role.
    pub role: Role,
    /// Which of several.
    pub copy: u64,
}

impl WeightName {
    /// A weight that a layer has once.
    pub const fn new(layer: usize, role: Role) -> Self {
        Self { layer, role, copy: 0 }
    }

    /// Whether it is a vector: a gain of a norm, or sink logits.
    pub const fn is_vector(self) -> bool {
        matches!(
            self.role,
            Role::AttentionNorm
                | Role::AttentionInnerNorm
                | Role::DecayRate
                | Role::IndexNorm
                | Role::FeedForwardNorm
                | Role::FinalNorm
                | Role::Sinks
        )
    }

    /// The name of its tensor in Hugging Face checkpoints of a model.
    pub fn tensor_of(self, model: &Model) -> String {
        let path = match model.layers.get(self.layer).map(|layer| &layer.attention) {
            Some(Attention::Latent(latent)) if self.role == Role::AttentionInnerNorm => {
                let of_query = self.copy == 0 && latent.query_rank.is_some();
                let name = if of_query { "q_a_layernorm" } else { "kv_a_layernorm" };
                format!("model.layers.{}.self_attn.{name}", self.layer)
            }
            _ => self.path(model, model.tied_embeddings),
        };
        // The bias of a LayerNorm has a name of its own.
        if self.role == Role::IndexNorm && self.copy > 0 {
            return format!("{path}.bias");
        }
        // Parameters of the attention itself (gpt-oss, Qwen3-Next).
        if matches!(self.role, Role::Sinks | Role::DecayRate) { path } else { format!("{path}.weight") }
    }

    /// The name of its bias.
    pub fn bias_of(self, model: &Model) -> String {
        let path = self.path(model, false);
        match (self.role, model.family.as_str()) {
            (Role::Decay, _) => format!("model.layers.{}.linear_attn.dt_bias", self.layer),
            (Role::Router, "glm4_moe" | "deepseek_v3" | "deepseek_v32" | "glm_moe_dsa") => {
                format!("{path}.e_score_correction_bias")
            }
            _ => format!("{path}.bias"),
        }
    }

    fn path(self, model: &Model, tied: bool) -> String {
        let Self { layer, role, copy } = self;
        let attention = model.layers.get(layer).map(|layer| &layer.attention);
        if let (Some(Attention::Linear(_)), Some(name)) = (attention, linear_name(role)) {
            return format!("model.layers.{layer}.linear_attn.{name}");
        }
        let family = model.family.as_str();
        let has_one_shared_expert = matches!(family, "qwen2_moe" | "qwen3_next");
        match (family, role) {
            (_, Role::SharedGate) if has_one_shared_expert => {
                format!("model.layers.{layer}.mlp.shared_expert.gate_proj")
            }
            (_, Role::SharedUp) if has_one_shared_expert => format!("model.layers.{layer}.mlp.shared_expert.up_proj"),
            (_, Role::SharedDown) if has_one_shared_expert => {
                format!("model.layers.{layer}.mlp.shared_expert.down_proj")
            }
            ("mixtral", Role::Router) => format!("model.layers.{layer}.block_sparse_moe.gate"),
            ("mixtral", Role::ExpertGate) => format!("model.layers.{layer}.block_sparse_moe.experts.{copy}.w1"),
            ("mixtral", Role::ExpertUp) => format!("model.layers.{layer}.block_sparse_moe.experts.{copy}.w3"),
            ("mixtral", Role::ExpertDown) => format!("model.layers.{layer}.block_sparse_moe.experts.{copy}.w2"),
            _ => self.tensor(tied),
        }
    }

    /// The name of its tensor in most families, without `.weight` or `.bias`.
    pub fn tensor(self, tied: bool) -> String {
        let Self { layer, role, copy } = self;
        let in_layer = |name: &str| format!("model.layers.{layer}.{name}");
        match role {
            Role::Embedding => "model.embed_tokens".into(),
            Role::LmHead if tied => "model.embed_tokens".into(),
            Role::LmHead => "lm_head".into(),
            Role::FinalNorm => "model.norm".into(),
            Role::AttentionNorm => in_layer("input_layernorm"),
            Role::Query => in_layer("self_attn.q_proj"),
            Role::Key => in_layer("self_attn.k_proj"),
            Role::Value => in_layer("self_attn.v_proj"),
            Role::OutputGate => in_layer("self_attn.gate_proj"),
            Role::AttentionInnerNorm if copy == 0 => in_layer("self_attn.q_norm"),
            Role::AttentionInnerNorm => in_layer("self_attn.k_norm"),
            Role::WriteStrength | Role::Decay | Role::Convolution | Role::DecayRate => {
                in_layer(&format!("linear_attn.{}", linear_name(role).unwrap_or_default()))
            }
            Role::QueryDown => in_layer("self_attn.q_a_proj"),
            Role::QueryUp => in_layer("self_attn.q_b_proj"),
            Role::KvDown => in_layer("self_attn.kv_a_proj_with_mqa"),
            Role::KvUp => in_layer("self_attn.kv_b_proj"),
            Role::IndexQuery => in_layer("self_attn.indexer.wq_b"),
            Role::IndexKey => in_layer("self_attn.indexer.wk"),
            Role::IndexNorm => in_layer("self_attn.indexer.k_norm"),
            Role::IndexWeight => in_layer("self_attn.indexer.weights_proj"),
            Role::Output => in_layer("self_attn.o_proj"),
            Role::FeedForwardNorm if copy == 0 => in_layer("post_attention_layernorm"),
            Role::FeedForwardNorm if copy == 1 => in_layer("post_attn_norm"),
            Role::FeedForwardNorm => in_layer("post_moe_norm"),
            Role::Sinks => in_layer("self_attn.sinks"),
            Role::Router => in_layer("mlp.gate"),
            Role::Gate => in_layer("mlp.gate_proj"),
            Role::Up => in_layer("mlp.up_proj"),
            Role::Down => in_layer("mlp.down_proj"),
            Role::ExpertGate => in_layer(&format!("mlp.experts.{copy}.gate_proj")),
            Role::ExpertUp => in_layer(&format!("mlp.experts.{copy}.up_proj")),
            Role::ExpertDown => in_layer(&format!("mlp.experts.{copy}.down_proj")),
            Role::SharedOutputGate => in_layer("mlp.shared_expert_gate"),
            Role::SharedGate => in_layer("mlp.shared_experts.gate_proj"),
            Role::SharedUp => in_layer("mlp.shared_experts.up_proj"),
            Role::SharedDown => in_layer("mlp.shared_experts.down_proj"),
        }
    }
}

/// The name of a tensor of linear attention in its module, as it is called once it has been taken apart
/// ([`crate::unpacked`]).
const fn linear_name(role: Role) -> Option<&'static str> {
    match role {
        Role::Query => Some("in_proj_q"),
        Role::Key => Some("in_proj_k"),
        Role::Value => Some("in_proj_v"),
        Role::OutputGate => Some("in_proj_z"),
        Role::WriteStrength => Some("in_proj_b"),
        Role::Decay => Some("in_proj_a"),
        Role::Convolution => Some("conv1d"),
        Role::DecayRate => Some("A_log"),
        Role::AttentionInnerNorm => Some("norm"),
        Role::Output => Some("out_proj"),
        _ => None,
    }
}

impl Checkpoint {
    /// The model of a config's text with its tensors. `file` is the config's name in messages.
    ///
    /// # Errors
    /// Where the config is wrong, the family or a part of the model is not computed, or a tensor is missing or has
    /// another shape.
    pub fn new(config: &str, file: &str, tensors: Tensors) -> Result<Self, ValuesError> {
        let model = Model::from_config_json(config, file)?;
        if !FAMILIES.contains(&model.family.as_str()) {
            return Err(ValuesError::Unsupported {
                what: format!("{file}: the family '{}'", model.family),
                hint: format!("allowed are {}", FAMILIES.join(", ")),
            });
        }
        let rotary = Rotary::new(config, file, model.rope_theta, most_rotated(&model))?;
        let tensors = unpacked(&model, tensors)?;
        Self::of(model, rotary, tensors)
    }

    /// A model with its tensors.
    ///
    /// # Errors
    /// Where a part of the model is not computed, or a tensor is missing or has another shape.
    pub fn of(model: Model, rotary: Rotary, tensors: Tensors) -> Result<Self, ValuesError> {
        let checkpoint = Self { model, rotary, tensors };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// The same model with the matrices of its layers and the LM head as they are when stored in a format with block
    /// scales. Routers stay as they are; rows of the embedding table are looked up in 16 bit.
    ///
    /// # Errors
    /// Where a matrix is missing.
    pub fn stored_in(&self, data_type: DataType) -> Result<Self, ValuesError> {
        let mut stored = self.clone();
        let mut names = vec![WeightName::new(0, Role::LmHead)];
        for layer in 0..self.model.layers.len() {
            let tensors = weights_of(&self.model, layer).into_iter();
            names.extend(tensors.filter(|(_, tensor)| tensor.class == TensorClass::Weights).map(|(name, _)| name));
        }
        let put = |stored: &mut Self, name: WeightName, shape: &[usize], values: Vec<f32>| {
            let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
            stored.tensors.put(&name.tensor_of(&self.model), shape.to_vec(), bytes);
        };
        let embedding = WeightName::new(0, Role::Embedding);
        let table = self.weight(embedding)?;
        let rows = table.values().into_iter().map(|value| Rounding::Fp16.round(value as f32)).collect();
        put(&mut stored, embedding, table.shape, rows);
        for name in names {
            let matrix = self.weight(name)?;
            let Some(blocks) = Blocks::of(matrix, data_type) else { return Ok(self.clone()) };
            let width = matrix.shape.get(1).copied().unwrap_or(1).max(1);
            let of = |(at, value): (usize, f64)| {
                let (input, output) = (at % width, at / width);
                blocks.element(input, output, value as f32) * blocks.scale(input, output)
            };
            let values = matrix.values().into_iter().enumerate().map(of).collect();
            put(&mut stored, name, matrix.shape, values);
        }
        Ok(stored)
    }

    fn check(&self) -> Result<(), ValuesError> {
        let model = &self.model;
        for (index, layer) in model.layers.iter().enumerate() {
            let (rotated, width) = match &layer.attention {
                Attention::Grouped(grouped) => (grouped.rotary_dim, grouped.head_dim),
                Attention::Latent(latent) => {
                    (latent.rope_dim, latent.indexer.map_or(latent.rope_dim, |indexer| indexer.head_dim))
                }
                Attention::Linear(_) => (0, 0),
            };
            if !width.is_multiple_of(2) || !rotated.is_multiple_of(2) {
                return Err(ValuesError::Unsupported {
                    what: format!("a head of {width} dimensions, {rotated} of them rotated"),
                    hint: "rotary embeddings need an even number".into(),
                });
            }
            for (name, tensor) in weights_of(model, index) {
                self.check_shape(name, tensor.inputs, tensor.outputs, tensor.bias)?;
            }
        }
        for tensor in model.outer_tensors() {
            // Tables are stored as rows of `hidden`, whichever way they are read.
            let (inputs, outputs) = match tensor.role {
                Role::Embedding | Role::LmHead => (model.hidden, model.vocabulary),
                _ => (tensor.inputs, tensor.outputs),
            };
            self.check_shape(WeightName::new(0, tensor.role), inputs, outputs, false)?;
        }
        Ok(())
    }

    fn check_shape(&self, name: WeightName, inputs: u64, outputs: u64, bias: bool) -> Result<(), ValuesError> {
        // A matrix may have a single input; a gain is a vector by its role.
        let is_vector = name.is_vector();
        let shape = if is_vector { vec![outputs as usize] } else { vec![outputs as usize, inputs as usize] };
        self.expect(&name.tensor_of(&self.model), &shape)?;
        if bias {
            self.expect(&name.bias_of(&self.model), &[outputs as usize])?;
        }
        Ok(())
    }

    fn expect(&self, name: &str, shape: &[usize]) -> Result<Tensor<'_>, ValuesError> {
        let refuse = |problem: String| ValuesError::Tensor { name: name.into(), problem };
        let tensor = self.tensors.get(name).ok_or_else(|| refuse("is missing".into()))?;
        if tensor.shape != shape {
            return Err(refuse(format!("has the shape {:?}; the config wants {shape:?}", tensor.shape)));
        }
        if !tensor.is_weight() {
            return Err(refuse("is no tensor of F32, F16 or BF16".into()));
        }
        Ok(tensor)
    }

    /// The tensor of a weight, stored `[outputs, inputs]`, or `[outputs]` for a gain.
    ///
    /// # Errors
    /// Where there is none.
    pub fn weight(&self, name: WeightName) -> Result<Tensor<'_>, ValuesError> {
        self.named(name.tensor_of(&self.model))
    }

    /// The bias of a weight.
    ///
    /// # Errors
    /// Where there is none.
    pub fn bias(&self, name: WeightName) -> Result<Tensor<'_>, ValuesError> {
        self.named(name.bias_of(&self.model))
    }

    fn named(&self, name: String) -> Result<Tensor<'_>, ValuesError> {
        let missing = || ValuesError::Tensor { name: name.clone(), problem: "is missing".into() };
        self.tensors.get(&name).ok_or_else(missing)
    }

    /// A tile of a part of a weight: `[inputs, outputs]`.
    ///
    /// # Errors
    /// Where there is no such weight.
    pub fn tile(
        &self,
        name: WeightName,
        part: Part,
        (inputs, outputs): (&[u32], &[u32]),
    ) -> Result<Array2<f32>, ValuesError> {
        let tensor = self.weight(name)?;
        let width = tensor.shape.get(1).copied().unwrap_or(1);
        let at = |(input, output): (u64, u64)| tensor.at(output as usize * width + input as usize) as f32;
        Ok(Array2::from_shape_fn((inputs.len(), outputs.len()), |(row, column)| {
            part.at(u64::from(inputs[row]), u64::from(outputs[column])).map_or(0.0, at)
        }))
    }
}

/// The weights of a layer by their names, several of one role numbered.
pub fn weights_of(model: &Model, layer: usize) -> Vec<(WeightName, wafersim_spec::model::Tensor)> {
    let tensors = model.layers.get(layer).map_or_else(Vec::new, |layer| layer.tensors(model.hidden));
    let mut all: Vec<(WeightName, wafersim_spec::model::Tensor)> = Vec::new();
    for tensor in tensors {
        let before = all.iter().filter(|(name, _)| name.role == tensor.role).count() as u64;
        let names = (0..tensor.copies).map(|copy| WeightName { layer, role: tensor.role, copy: before + copy });
        all.extend(names.map(|name| (name, tensor)));
    }
    all
}

/// Dimensions of a head that are rotated. Layers without rotation have none to differ in.
pub(crate) fn most_rotated(model: &Model) -> u64 {
    model.layers.iter().map(|layer| rotated(&layer.attention)).max().unwrap_or(0)
}

/// Dimensions that are rotated.
const fn rotated(attention: &Attention) -> u64 {
    match attention {
        Attention::Grouped(grouped) => grouped.rotary_dim,
        Attention::Latent(latent) => latent.rope_dim,
        Attention::Linear(_) => 0,
    }
}

/// A part of what the cache of a layer holds of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedPart {
    /// Name in records.
    pub name: &'static str,
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub width: usize,
}

/// What the cache of a layer holds of a token.
pub fn cached(attention: &Attention) -> [CachedPart; 2] {
    let part = |name: &'static str, heads: u64, width: u64| {
        let (heads, width) = (heads as usize, width as usize);
        CachedPart { name, heads, width }
    };
    match attention {
        Attention::Grouped(grouped) => [("k_cache", grouped.head_dim), ("v_cache", grouped.value_dim())]
            .map(|(name, width)| part(name, grouped.kv_heads, width)),
        Attention::Latent(latent) => {
            [part("latent_cache", 1, latent.kv_rank), part("rotary_cache", 1, latent.rope_dim)]
        }
        Attention::Linear(_) => ["k_cache", "v_cache"].map(|name| part(name, 0, 0)),
    }
}

/// The attention of a layer, which must be grouped.
///
/// # Errors
/// Where it is another one.
pub fn grouped(model: &Model, layer: usize) -> Result<&GroupedAttention, ValuesError> {
    let refuse = |what: &str| ValuesError::Unsupported {
        what: format!("layer {layer}: {what}"),
        hint: "allowed is grouped attention".into(),
    };
    match model.layers.get(layer).map(|layer| &layer.attention) {
        Some(Attention::Grouped(grouped)) => Ok(grouped),
        Some(_) => Err(refuse("its attention")),
        None => Err(refuse("there is none; it")),
    }
}

/// Whether the programs of prefill compute a layer: they have no sinks, no gate, no state and no indexer, rotate whole heads and
/// norm no branches.
///
/// # Errors
/// Where one has such a part.
pub fn check_prefill(model: &Model, tokens: u64) -> Result<(), ValuesError> {
    for (index, layer) in model.layers.iter().enumerate() {
        let beyond = match &layer.attention {
            Attention::Grouped(grouped) => {
                grouped.sinks || grouped.output_gate || grouped.head_gate || grouped.rotary_dim != grouped.head_dim
            }
            Attention::Latent(latent) => latent.indexer.is_some(),
            Attention::Linear(_) => true,
        };
        if beyond || layer.norms > 2 {
            return Err(ValuesError::Unsupported {
                what: format!("layer {index} in the programs of prefill"),
                hint: "allowed is whole rotary embedding, no sinks, no indexer and two norms; decode programs have no such limit"
                    .into(),
            });
        }
    }
    check_reach(model, tokens)
}

/// Whether all of `tokens` tokens are seen by the last one in every layer.
///
/// # Errors
/// Where a window is shorter.
fn check_reach(model: &Model, tokens: u64) -> Result<(), ValuesError> {
    for (index, layer) in model.layers.iter().enumerate() {
        let reach = layer.attention.reach();
        if let (Reach::Window(limit) | Reach::Chunk(limit), true) = (reach, reach.visible(tokens) < tokens) {
            return Err(ValuesError::Unsupported {
                what: format!("layer {index} with a window of {limit} tokens and {tokens} tokens"),
                hint: "take fewer tokens in the programs of prefill".into(),
            });
        }
    }
    Ok(())
}

/// The network of a layer.
pub fn feed_forward(model: &Model, layer: usize) -> Option<&FeedForward> {
    model.layers.get(layer).map(|layer| &layer.feed_forward)
}
