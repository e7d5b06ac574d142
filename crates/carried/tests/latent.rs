//! A small model of the family of DeepSeek-V3, its numbers carried by wavelets: decode with heads over columns, drafts
//! and a prompt in one chunk are the numeric reading, bit for bit.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{numbers, precision, with_device};
use wafersim_carried::{Agreement, carry, compare};
use wafersim_mapping::{KvMapping, LayerMapping, Rewrites};
use wafersim_spec::{DataType, Model};
use wafersim_values::checkpoint::weights_of;
use wafersim_values::{Checkpoint, Prefill, RunInput, Setup, Tensors, random_prompt, run_observed};

const CONFIG: &str = r#"{"model_type": "deepseek_v3", "hidden_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 12, "kv_lora_rank": 8, "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 4, "v_head_dim": 4, "vocab_size": 29, "max_position_embeddings": 64, "intermediate_size": 16,
    "moe_intermediate_size": 8, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 2,
    "topk_group": 1, "first_k_dense_replace": 1, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "tie_word_embeddings": false}"#;

fn checkpoint() -> Checkpoint {
    let model = Model::from_config_json(CONFIG, "config.json").unwrap();
    let mut tensors = Tensors::read(Vec::new()).unwrap();
    let mut seed = 0;
    let mut put = |name: &str, shape: &[u64]| {
        seed += 1;
        let bytes = numbers(shape.iter().product(), seed).into_iter().flat_map(f32::to_le_bytes).collect();
        tensors.put(name, shape.iter().map(|size| *size as usize).collect(), bytes);
    };
    for layer in 0..model.layers.len() {
        for (name, tensor) in weights_of(&model, layer) {
            let (inputs, outputs) = (tensor.inputs, tensor.outputs);
            let shape = if name.is_vector() { vec![outputs] } else { vec![outputs, inputs] };
            put(&name.tensor_of(&model), &shape);
            if tensor.bias {
                put(&name.bias_of(&model), &[outputs]);
            }
        }
    }
    for table in ["model.embed_tokens.weight", "lm_head.weight"] {
        put(table, &[model.vocabulary, model.hidden]);
    }
    put("model.norm.weight", &[model.hidden]);
    Checkpoint::new(CONFIG, "config.json", tensors).unwrap()
}

/// Carries all programs of a run: how many they were, and how far they agree.
fn carried(setup: &Setup) -> (u64, Agreement) {
    let checkpoint = checkpoint();
    let prompt = random_prompt(checkpoint.model.vocabulary, 3, 5);
    let (mut programs, mut all) = (0, Agreement::default());
    with_device(|device| {
        let mut observe = |executed: &wafersim_values::Executed<'_>| {
            let prepared = executed.prepared;
            let name = &prepared.program.name;
            let carried = carry(prepared, executed.before, (executed.tiles, executed.layer), device)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let agreement = compare(&prepared.program, executed.after, &carried.mesh);
            assert!(agreement.is_whole(), "{name}: {:#?}", agreement.first);
            programs += 1;
            all.add(&agreement);
        };
        run_observed(&checkpoint, setup, RunInput::new(&prompt, 1), |_, _| (), &mut observe).unwrap();
    });
    (programs, all)
}

#[test]
fn latent_attention_is_carried_bit_for_bit() {
    for (number, (columns, rows, splits)) in
        [(4, 4, [4, 1, 1]), (9, 3, [2, 2, 2]), (13, 2, [1, 3, 4]), (6, 5, [3, 1, 2])].into_iter().enumerate()
    {
        let [dimension_split, sequence_split, head_copies] = splits;
        let kv = KvMapping { dimension_split, sequence_split, head_copies, ..KvMapping::published(columns) };
        for (rewrites, prefill) in
            [(Rewrites::NONE, Prefill::Tokens), (Rewrites::ALL, Prefill::Drafts(2)), (Rewrites::NONE, Prefill::Chunk)]
        {
            let data_type = [DataType::Fp32, DataType::Fp16, DataType::Bf16][number % 3];
            let mapping = LayerMapping { kv, rewrites, ..LayerMapping::published(columns, rows) };
            let setup = Setup { mappings: vec![mapping], prefill, precision: precision(data_type) };
            let (programs, agreement) = carried(&setup);
            assert!(programs > 2 && agreement.elements > 1000, "{programs} programs, {}", agreement.elements);
        }
    }
}
