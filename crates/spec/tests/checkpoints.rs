//! How checkpoints say that they are stored: methods of quantisation, modules that are left out, bytes.

use serde_json::{Value, json};
use wafersim_spec::model::{CheckpointFormat, Role, builtin};
use wafersim_spec::{Bytes, DataType, Model, RoleGroup};

fn read(name: &str, keys: &Value) -> Model {
    let text = builtin::config(name).expect("a built-in name");
    let mut config: Value = serde_json::from_str(text).expect("a built-in is JSON");
    for (key, value) in keys.as_object().into_iter().flatten() {
        config[key.as_str()] = value.clone();
    }
    Model::from_config_json(&config.to_string(), "config.json").expect("the family is known")
}

fn format(name: &str, keys: &Value) -> CheckpointFormat {
    read(name, keys).checkpoint.expect("the file says how it is stored")
}

/// As published: experts in MXFP4, all else in bf16 (openai/gpt-oss-120b, sum of its files' tensors).
#[test]
fn gpt_oss_takes_the_bytes_that_are_published() {
    let left = json!(["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]);
    let keys = json!({ "quantization_config": { "quant_method": "mxfp4", "modules_to_not_convert": left } });
    let found = format("gpt-oss-120b", &keys);
    assert_eq!(found.bytes, Bytes(65_248_815_744));
    assert_eq!(found.precision.weights, DataType::Fp4);
    assert_eq!(found.precision.of_group(RoleGroup::Attention), Some(DataType::Bf16));
    assert_eq!(found.precision.of_group(RoleGroup::Head), Some(DataType::Bf16));
    assert_eq!(found.precision.to_string(), "fp4 (attention bf16, embedding bf16, head bf16)");
}

#[test]
fn every_method_has_its_format_and_leaves_out_what_it_names() {
    let group = |bits: u64, kind: &str, size: i64| json!({ "num_bits": bits, "type": kind, "group_size": size });
    let tensors = |weights: Value| {
        json!({ "quant_method": "compressed-tensors", "ignore": ["lm_head", "re:.*self_attn.*"],
                "config_groups": { "group_0": { "targets": ["Linear"], "weights": weights } } })
    };
    for (config, weights, attention, head) in [
        (json!({ "quant_method": "fp8", "weight_block_size": [128, 128] }), "fp8", "fp8", "bf16"),
        (json!({ "quant_method": "mxfp4" }), "fp4", "bf16", "bf16"),
        (json!({ "quant_method": "awq", "bits": 4, "group_size": 128 }), "int4", "int4", "bf16"),
        (
            json!({ "quant_method": "gptq", "bits": 4, "group_size": 32, "lm_head": true }),
            "int4-g32",
            "int4-g32",
            "int4-g32",
        ),
        (json!({ "quant_method": "gptq", "bits": 8, "group_size": -1 }), "int8", "int8", "bf16"),
        (json!({ "quant_method": "bitsandbytes", "load_in_8bit": true }), "int8", "int8", "bf16"),
        (
            json!({ "load_in_4bit": true, "bnb_4bit_use_double_quant": true, "llm_int8_skip_modules": ["self_attn"] }),
            "int4",
            "bf16",
            "bf16",
        ),
        (tensors(group(4, "int", 32)), "int4-g32", "bf16", "bf16"),
        (tensors(group(4, "float", 16)), "nvfp4", "bf16", "bf16"),
        (tensors(group(8, "float", 0)), "fp8", "bf16", "bf16"),
        (json!({ "quant_method": "modelopt", "quant_algo": "NVFP4" }), "nvfp4", "nvfp4", "nvfp4"),
        (
            json!({ "quant_method": "quark", "exclude": ["lm_head"],
                    "global_quant_config": { "weight": { "dtype": "fp4", "group_size": 32 } } }),
            "fp4",
            "fp4",
            "bf16",
        ),
        (json!({ "quant_method": "something" }), "bf16", "bf16", "bf16"),
        (json!({ "quant_method": "FP8" }), "fp8", "fp8", "bf16"),
        (json!({ "quant_method": "mxfp8" }), "fp8", "fp8", "bf16"),
        (json!({ "quant_method": "quanto", "weights": "int8" }), "int8", "int8", "bf16"),
        (
            json!({ "quant_method": "torchao", "quant_type": { "default": { "_type": "Int4WeightOnlyConfig" } } }),
            "int4",
            "int4",
            "bf16",
        ),
        (
            json!({ "quant_method": "hqq",
                    "quant_config": { "weight_quant_params": { "nbits": 4, "group_size": 64 } } }),
            "int4-g64",
            "int4-g64",
            "bf16",
        ),
        // A scheme by its name.
        (
            json!({ "quant_method": "compressed-tensors", "config_groups": { "W4A16": ["Linear"] },
                    "ignore": ["lm_head"] }),
            "int4",
            "int4",
            "bf16",
        ),
        // Modules with bits of their own.
        (
            json!({ "quant_method": "gptq", "bits": 4, "group_size": 128,
                    "dynamic": { "+:.*self_attn.*": { "bits": 8 } } }),
            "int4",
            "int8",
            "bf16",
        ),
    ] {
        let found = format("qwen3-30b-a3b", &json!({ "quantization_config": config }));
        let of = |group| found.precision.of_group(group).unwrap().name();
        let ours = (of(RoleGroup::Experts), of(RoleGroup::Attention), of(RoleGroup::Head));
        assert_eq!(ours, (weights, attention, head), "{config}: {found:?}");
        assert_eq!(found.precision.weights.name(), weights, "{config}");
        assert_eq!(found.precision.small_weights, DataType::Bf16);
    }
    let unknown = format("qwen3-30b-a3b", &json!({ "quantization_config": { "quant_method": "something" } }));
    assert!(unknown.words().contains("'something' is not known: read as not quantised"), "{}", unknown.words());
}

#[test]
fn without_quantisation_the_type_of_the_file_holds_for_all() {
    let found = format("llama2-13b", &json!({}));
    let precision = found.precision;
    assert_eq!(
        (precision.weights, precision.kv_cache, precision.activations),
        (DataType::Fp16, DataType::Fp16, DataType::Fp16)
    );
    assert_eq!(found.source, "torch_dtype: fp16");
    assert_eq!(found.bytes, Bytes(2 * Model::builtin("llama2-13b").unwrap().parameters().total));
    assert!(precision.roles.is_empty());
    assert_eq!(read("llama2-13b", &json!({ "torch_dtype": Value::Null })).checkpoint, None);
    assert_eq!(Model::builtin("llama2-13b").unwrap().checkpoint, None);
}

/// Single layers and single projections count exactly; a role has the format of most layers.
#[test]
fn layers_may_differ() {
    let whole = json!({ "quantization_config": { "quant_method": "fp8" } });
    let left = json!(["model.layers.0", "model.layers.1.mlp.gate_proj"]);
    let some = json!({ "quantization_config": { "quant_method": "fp8", "modules_to_not_convert": left } });
    let (whole, some) = (format("qwen3-8b", &whole), format("qwen3-8b", &some));
    assert_eq!(some.precision, whole.precision);
    let model = Model::builtin("qwen3-8b").unwrap();
    let matrices: Vec<_> =
        model.layers[0].tensors(model.hidden).into_iter().filter(|tensor| tensor.inputs > 1).collect();
    let more = |elements: u64| DataType::Bf16.storage(elements).0 - DataType::Fp8.storage(elements).0;
    let layer: u64 = matrices.iter().map(|tensor| more(tensor.parameters())).sum();
    let gate = matrices.iter().find(|tensor| tensor.role == Role::Gate).unwrap();
    assert_eq!(some.bytes.0, whole.bytes.0 + layer + more(gate.parameters()));
    assert!(some.words().contains("2 of 36 layers have gate in bf16"), "{}", some.words());
}

#[test]
fn a_file_of_model_optimizer_beside_is_read_and_a_folder_is_searched() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("config.json", builtin::config("qwen3-30b-a3b").unwrap());
    let quantised = json!({ "producer": { "name": "modelopt" }, "quantization": {
        "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head", "model.layers.*.self_attn*"]
    }});
    write("hf_quant_config.json", &quantised.to_string());
    let model = Model::read(folder.path()).unwrap();
    let found = model.checkpoint.unwrap();
    let precision = found.precision;
    assert_eq!((precision.weights, precision.kv_cache), (DataType::Nvfp4, DataType::Fp8));
    assert_eq!(precision.of_group(RoleGroup::Attention), Some(DataType::Bf16));
    assert_eq!(precision.of_group(RoleGroup::Head), Some(DataType::Bf16));
    assert_eq!(found.source, "hf_quant_config.json: NVFP4, KV cache fp8; torch_dtype: bf16");
    write("hf_quant_config.json", "{");
    let message = Model::read(&folder.path().join("config.json")).unwrap_err().to_string();
    assert!(message.contains("hf_quant_config.json: not valid JSON"), "{message}");
}

/// As NVIDIA, Qwen and DeepSeek publish theirs: left out by their number, left out by a name of their own, converted
/// with all else.
#[test]
fn layers_for_multi_token_prediction_have_formats_of_their_own() {
    let modelopt = |left: Value| {
        let ignored = json!({ "quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": left });
        json!({ "quantization_config": ignored, "num_nextn_predict_layers": 1, "torch_dtype": "bfloat16" })
    };
    let fp8 = |left: Value| {
        let fp8 = json!({ "quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": left });
        json!({ "quantization_config": fp8, "mtp_num_hidden_layers": 1, "num_nextn_predict_layers": 0 })
    };
    for (name, keys, own, predictor) in [
        ("deepseek-v3", modelopt(json!(["model.layers.61*", "lm_head"])), "nvfp4", "bf16"),
        ("deepseek-v3", modelopt(json!(["model.layers.60*", "lm_head"])), "nvfp4", "nvfp4"),
        ("deepseek-v3", modelopt(json!(["model.layers.0*", "lm_head"])), "nvfp4", "nvfp4"),
        ("qwen3-next-80b-a3b", fp8(json!(["lm_head", "mtp"])), "fp8", "bf16"),
        ("qwen3-next-80b-a3b", fp8(json!(["lm_head", "re:^mtp.*"])), "fp8", "bf16"),
        ("qwen3-next-80b-a3b", fp8(json!(["lm_head", "mtp.layers.0*"])), "fp8", "bf16"),
        ("qwen3-next-80b-a3b", fp8(json!(["lm_head", "mtp.layers.1*"])), "fp8", "fp8"),
        ("qwen3-next-80b-a3b", fp8(json!(["lm_head", "model.layers.0"])), "fp8", "fp8"),
    ] {
        let model = read(name, &keys);
        let found = model.checkpoint.as_ref().unwrap();
        let draft = model.draft_model("mtp").unwrap();
        let of_draft = draft.checkpoint.unwrap();
        assert_eq!(found.precision.weights.name(), own, "{keys}");
        assert_eq!(of_draft.precision.weights.name(), predictor, "{keys}");
        assert_eq!(of_draft.precision.kv_cache, found.precision.kv_cache);
        assert_eq!(found.predictor.as_deref(), Some(&of_draft), "{keys}");
    }
    // Single modules: as most of the layer's bytes are stored, and the others said by role.
    let model = read("deepseek-v3", &modelopt(json!(["model.layers.61.self_attn*", "lm_head"])));
    let precision = model.draft_model("mtp").unwrap().checkpoint.unwrap().precision;
    assert_eq!(precision.weights, DataType::Nvfp4);
    assert_eq!(precision.of_group(RoleGroup::Attention), Some(DataType::Bf16));
    assert_eq!(model.checkpoint.unwrap().precision.of_group(RoleGroup::Attention), Some(DataType::Nvfp4));
    // A file without layers of that kind has nothing to say of them.
    let keys = json!({ "quantization_config": { "quant_method": "fp8" } });
    assert_eq!(format("qwen3-8b", &keys).predictor, None);
}
