//! A model with its weights: a Hugging Face `config.json` and the tensors that it wants, checked once.

use ndarray::Array2;
use wafersim_spec::data_type::TensorClass;
use wafersim_spec::model::{Attention, FeedForward, GroupedAttention, Reach, Role};
use wafersim_spec::{DataType, Model};

use crate::error::ValuesError;
use crate::machine::Blocks;
use crate::rotary::Rotary;
use crate::tensors::{Tensor, Tensors};

/// Families whose equations are written here.
const FAMILIES: [&str; 6] = ["glm4_moe", "llama", "mixtral", "qwen2", "qwen3", "qwen3_moe"];

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
        match self.role {
            Role::AttentionNorm | Role::AttentionInnerNorm | Role::FeedForwardNorm | Role::FinalNorm | Role::Sinks => {
                true
            }
            _ => false,
        }
    }

    /// The name of its tensor in Hugging Face checkpoints of a model.
    pub fn tensor_of(self, model: &Model) -> String {
        let path = self.path(&model.family, model.tied_embeddings);
        // A parameter of the attention itself (gpt-oss).
        if self.role == Role::Sinks { path } else { format!("{path}.weight") }
    }

    /// The name of its bias.
    pub fn bias_of(self, model: &Model) -> String {
        let path = self.path(&model.family, false);
        match (self.role, model.family.as_str()) {
            (Role::Router, "glm4_moe" | "deepseek_v3") => format!("{path}.e_score_correction_bias"),
            _ => format!("{path}.bias"),
        }
    }

    fn path(self, family: &str, tied: bool) -> String {
        let Self { layer, role, copy } = self;
        match (family, role) {
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
            Role::AttentionInnerNorm if copy == 0 => in_layer("self_attn.q_norm"),
            Role::AttentionInnerNorm => in_layer("self_attn.k_norm"),
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
            Role::SharedGate => in_layer("mlp.shared_experts.gate_proj"),
            Role::SharedUp => in_layer("mlp.shared_experts.up_proj"),
            Role::SharedDown => in_layer("mlp.shared_experts.down_proj"),
            other => in_layer(&format!("{other:?}")),
        }
    }
}

impl Checkpoint {
    /// The model of a config's text with its tensors. `file` is the config's name in messages.
    ///
    /// # Errors
    /// Where the config is wrong, the family or a part of the model is not computed, or a tensor is missing or has another
    /// shape.
    pub fn new(config: &str, file: &str, tensors: Tensors) -> Result<Self, ValuesError> {
        let model = Model::from_config_json(config, file)?;
        if !FAMILIES.contains(&model.family.as_str()) {
            return Err(ValuesError::Unsupported {
                what: format!("{file}: the family '{}'", model.family),
                hint: format!("allowed are {}", FAMILIES.join(", ")),
            });
        }
        // Layers without rotation have none to differ in.
        let rotated = (0..model.layers.len()).map(|layer| grouped(&model, layer).map(|grouped| grouped.rotary_dim));
        let rotated = rotated.collect::<Result<Vec<u64>, _>>()?.into_iter().max().unwrap_or(0);
        let rotary = Rotary::new(config, file, model.rope_theta, rotated)?;
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

    /// The same model with the matrices of its layers as they are when stored in a format with block scales; routers stay as
    /// they are, and so does everything in formats without.
    ///
    /// # Errors
    /// Where a matrix is missing.
    pub fn stored_in(&self, data_type: DataType) -> Result<Self, ValuesError> {
        let mut stored = self.clone();
        for (index, layer) in self.model.layers.iter().enumerate() {
            let tensors = layer.tensors(self.model.hidden);
            for tensor in tensors.iter().filter(|tensor| tensor.class == TensorClass::Weights) {
                for copy in 0..tensor.copies {
                    let name = WeightName { layer: index, role: tensor.role, copy };
                    let matrix = self.weight(name)?;
                    let Some(blocks) = Blocks::of(matrix, data_type) else { continue };
                    let width = matrix.shape.get(1).copied().unwrap_or(1).max(1);
                    let bytes = matrix.values().into_iter().enumerate().flat_map(|(at, value)| {
                        let (input, output) = (at % width, at / width);
                        let value = blocks.element(input, output, value as f32) * blocks.scale(input, output);
                        value.to_le_bytes()
                    });
                    stored.tensors.put(&name.tensor_of(&self.model), matrix.shape.to_vec(), bytes.collect());
                }
            }
        }
        Ok(stored)
    }

    fn check(&self) -> Result<(), ValuesError> {
        let model = &self.model;
        for (index, layer) in model.layers.iter().enumerate() {
            let attention = grouped(model, index)?;
            if !attention.head_dim.is_multiple_of(2) || !attention.rotary_dim.is_multiple_of(2) {
                return Err(ValuesError::Unsupported {
                    what: format!(
                        "a head of {} dimensions, {} of them rotated",
                        attention.head_dim, attention.rotary_dim
                    ),
                    hint: "rotary embeddings need an even number".into(),
                });
            }
            for tensor in layer.tensors(model.hidden) {
                for copy in 0..tensor.copies {
                    let name = WeightName { layer: index, role: tensor.role, copy };
                    self.check_shape(name, tensor.inputs, tensor.outputs, tensor.bias)?;
                }
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

    /// A tile of a weight: `[inputs, outputs]`.
    ///
    /// # Errors
    /// Where there is no such weight.
    pub fn tile(&self, name: WeightName, inputs: &[u32], outputs: &[u32]) -> Result<Array2<f32>, ValuesError> {
        let tensor = self.weight(name)?;
        let width = tensor.shape.get(1).copied().unwrap_or(1);
        let at = |(input, output): (usize, usize)| tensor.at(output * width + input) as f32;
        Ok(Array2::from_shape_fn((inputs.len(), outputs.len()), |(row, column)| {
            at((inputs[row] as usize, outputs[column] as usize))
        }))
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

/// Whether the programs of prefill compute a layer: they have no sinks, rotate whole heads and norm no branches.
///
/// # Errors
/// Where one has such a part.
pub fn check_prefill(model: &Model, tokens: u64) -> Result<(), ValuesError> {
    for (index, layer) in model.layers.iter().enumerate() {
        let grouped = grouped(model, index)?;
        if grouped.sinks || grouped.rotary_dim != grouped.head_dim || layer.norms > 2 {
            return Err(ValuesError::Unsupported {
                what: format!("layer {index} in the programs of prefill"),
                hint: "allowed is whole rotary embedding, no sinks and two norms; decode programs have no such limit"
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
