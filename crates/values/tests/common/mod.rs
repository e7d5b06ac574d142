//! Checkpoints with random weights, and a standard setup.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView, serialize};
use wafersim_kernels::Options;
use wafersim_place::KvLayoutChoice;
use wafersim_spec::model::Role;
use wafersim_spec::scenario::ExpertPlacement;
use wafersim_spec::{DataType, Model, Precision};
use wafersim_values::checkpoint::WeightName;
use wafersim_values::{Checkpoint, Prefill, Setup, Tensors};

/// The same format for everything.
pub fn precision(data_type: DataType) -> Precision {
    Precision { weights: data_type, small_weights: data_type, kv_cache: data_type, activations: data_type }
}

/// Published kernels in fp32 on a grid.
pub fn setup(columns: u64, rows: u64) -> Setup {
    Setup {
        columns,
        rows,
        experts: ExpertPlacement::Spread,
        kv: KvLayoutChoice::WholeBlock,
        prefill: Prefill::Chunk,
        precision: precision(DataType::Fp32),
        options: Options::PUBLISHED,
    }
}

/// The tensors of a config with random values: gains about 1, matrices that keep the size of what goes through them.
pub fn tensors(config: &str, seed: u64) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let model = Model::from_config_json(config, "config.json").unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut all = BTreeMap::new();
    let mut add = |name: String, shape: Vec<usize>, middle: f32, spread: f32| {
        let count = shape.iter().product();
        let values = (0..count).map(|_| middle + spread * random.random_range(-1.0f32..1.0)).collect();
        all.insert(name, (shape, values));
    };
    for (index, layer) in model.layers.iter().enumerate() {
        for tensor in layer.tensors(model.hidden) {
            for copy in 0..tensor.copies {
                let weight = WeightName { layer: index, role: tensor.role, copy };
                let name = weight.tensor(false);
                let (inputs, outputs) = (tensor.inputs as usize, tensor.outputs as usize);
                if weight.is_gain() {
                    add(format!("{name}.weight"), vec![outputs], 1.0, 0.4);
                } else {
                    let spread = if tensor.role == Role::Router { 3.0 } else { 1.7 };
                    add(format!("{name}.weight"), vec![outputs, inputs], 0.0, spread / (inputs as f32).sqrt());
                }
                if tensor.bias {
                    add(format!("{name}.bias"), vec![outputs], 0.0, 0.5);
                }
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

/// The bytes of a safetensors file.
pub fn file(tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<u8> {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            (name.clone(), shape.clone(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    serialize(views, None).unwrap()
}

/// A checkpoint with random weights.
pub fn checkpoint(config: &str, seed: u64) -> Checkpoint {
    let tensors = Tensors::read(vec![("model.safetensors".into(), file(&tensors(config, seed)))]).unwrap();
    Checkpoint::new(config, "config.json", tensors).unwrap()
}
