//! What the reader of `config.json` makes of the families' special keys, what it refuses and in which words, and that
//! no text whatever makes it panic.

use proptest::prelude::*;
use serde_json::{Value, json};
use wafersim_spec::model::{
    Attention, FeedForward, Gating, GroupedAttention, Layer, Moe, Reach, Scoring, Selection, builtin,
};
use wafersim_spec::{Model, SpecError};

fn config(name: &str) -> Value {
    serde_json::from_str(builtin::config(name).expect("a built-in name")).expect("a built-in is JSON")
}

/// The built-in model with some keys replaced.
fn changed(name: &str, changes: &[(&str, Value)]) -> Result<Model, SpecError> {
    let mut config = config(name);
    for (key, value) in changes {
        config[*key] = value.clone();
    }
    Model::from_config_json(&config.to_string(), "config.json")
}

fn grouped(layer: &Layer) -> &GroupedAttention {
    match &layer.attention {
        Attention::Grouped(grouped) => grouped,
        Attention::Latent(_) | Attention::Linear(_) => panic!("not grouped"),
    }
}

fn moe(layer: &Layer) -> Option<&Moe> {
    match &layer.feed_forward {
        FeedForward::Moe(moe) => Some(moe),
        FeedForward::Dense { .. } => None,
    }
}

/// Numbers of the layers that look back without a limit.
fn full_layers(model: &Model) -> Vec<usize> {
    let is_full = |index: &usize| model.layers[*index].attention.reach() == Reach::Full;
    (0..model.layers.len()).filter(is_full).collect()
}

#[test]
fn qwen_looks_through_a_window_only_when_told() {
    let window = [("sliding_window", json!(4096)), ("max_window_layers", json!(28))];
    assert_eq!(full_layers(&changed("qwen3-8b", &window).unwrap()).len(), 36);
    let used = [window[0].clone(), window[1].clone(), ("use_sliding_window", json!(true))];
    let model = changed("qwen3-8b", &used).unwrap();
    assert_eq!(full_layers(&model), (0..28).collect::<Vec<_>>());
    assert_eq!(model.layers[28].attention.reach(), Reach::Window(4096));
}

#[test]
fn qwen3_moe_has_dense_layers_where_the_file_says() {
    let changes = [("decoder_sparse_step", json!(2)), ("mlp_only_layers", json!([1, 47]))];
    let model = changed("qwen3-30b-a3b", &changes).unwrap();
    let sparse: Vec<usize> = (0..48).filter(|index| moe(&model.layers[*index]).is_some()).collect();
    assert_eq!(sparse, (3..47).step_by(2).collect::<Vec<_>>());
    assert_eq!(model.layers[0].feed_forward, FeedForward::Dense { width: 6144, bias: false });
}

#[test]
fn llama4_alternates_reach_rotation_and_experts() {
    let model = Model::builtin("llama-4-maverick-17b-128e").unwrap();
    assert_eq!(full_layers(&model), (3..48).step_by(4).collect::<Vec<_>>());
    assert_eq!(model.layers[0].attention.reach(), Reach::Chunk(8192));
    assert_eq!((grouped(&model.layers[2]).rotary_dim, grouped(&model.layers[3]).rotary_dim), (128, 0));
    assert_eq!(model.layers[0].feed_forward, FeedForward::Dense { width: 16_384, bias: false });
    let experts = moe(&model.layers[1]).unwrap();
    assert_eq!((experts.experts, experts.top_k, experts.width, experts.shared_width), (128, 1, 8192, 8192));
}

#[test]
fn llama4_is_read_from_inside_a_multimodal_config() {
    let inner = config("llama-4-scout-17b-16e");
    let nested = json!({ "model_type": "llama4", "vision_config": {}, "text_config": inner });
    let model = Model::from_config_json(&nested.to_string(), "llama-4-scout-17b-16e").unwrap();
    let builtin = Model::builtin("llama-4-scout-17b-16e").unwrap();
    assert_eq!((&model.layers, model.parameters()), (&builtin.layers, builtin.parameters()));
    assert!(model.notes[0].contains("the language model alone"), "{:?}", model.notes);
    let broken = json!({ "model_type": "llama4", "text_config": { "hidden_size": -3 } });
    let message = Model::from_config_json(&broken.to_string(), "f").unwrap_err().to_string();
    assert_eq!(message, "f: field 'text_config.hidden_size': is -3; allowed: a whole number from 1 to 1048576");
}

#[test]
fn gpt_oss_has_windows_sinks_and_biases() {
    let model = Model::builtin("gpt-oss-120b").unwrap();
    assert_eq!(full_layers(&model), (1..36).step_by(2).collect::<Vec<_>>());
    assert_eq!(model.layers[0].attention.reach(), Reach::Window(128));
    let attention = grouped(&model.layers[0]);
    assert!(attention.sinks && attention.qkv_bias && attention.output_bias);
    let experts = moe(&model.layers[0]).unwrap();
    assert!(experts.expert_bias && experts.router_bias);
    let without_list = changed("gpt-oss-120b", &[("layer_types", Value::Null)]).unwrap();
    assert_eq!(without_list.layers, model.layers);
}

#[test]
fn experts_are_selected_as_the_file_says() {
    let of = |model: &Model| moe(model.layers.last().unwrap()).unwrap().selection;
    let builtin = |name: &str| of(&Model::builtin(name).unwrap());
    let sigmoid = Selection { scoring: Scoring::Sigmoid, corrected: true, scale: 2.5, ..Selection::softmax(true) };
    assert_eq!(builtin("deepseek-v3"), Selection { groups: 8, kept_groups: 4, ..sigmoid });
    assert_eq!(builtin("glm-4.6"), sigmoid);
    assert_eq!(builtin("gpt-oss-120b"), Selection::softmax(true));
    assert_eq!(builtin("grok-1"), Selection::softmax(false));
    let llama = builtin("llama-4-scout-17b-16e");
    assert!(llama.weighs_input && llama.follows_logits() && llama.weighs_chosen_alone() && !llama.corrected);
    assert!(!builtin("deepseek-v3").follows_logits() && !builtin("grok-1").weighs_chosen_alone());
    let without = [("n_group", Value::Null), ("topk_group", Value::Null), ("routed_scaling_factor", Value::Null)];
    assert_eq!(of(&changed("deepseek-v3", &without).unwrap()), builtin("deepseek-v3"));
    assert_eq!(of(&changed("glm-4.6", &without).unwrap()), Selection { scale: 1.0, ..sigmoid });
    let text = changed("glm-4.6", &[("scoring_func", json!("tanh"))]).unwrap_err().to_string();
    assert!(text.ends_with("'scoring_func': is 'tanh'; allowed: sigmoid or softmax"), "{text}");
    let text = changed("deepseek-v3", &[("n_group", json!(7))]).unwrap_err().to_string();
    assert!(text.contains("'n_group': is 7; allowed: a divisor of n_routed_experts = 256"), "{text}");
    let gating = |name: &str| moe(&Model::builtin(name).unwrap().layers[0]).unwrap().gating;
    assert_eq!(gating("gpt-oss-120b"), Gating::Clamped { alpha: 1.702, limit: 7.0 });
    assert_eq!(gating("mixtral-8x7b"), Gating::Silu);
}

#[test]
fn grok_2_is_read_under_the_type_it_was_released_with() {
    let released = changed("grok-2", &[("model_type", json!("git"))]).unwrap();
    assert_eq!(released.layers, Model::builtin("grok-2").unwrap().layers);
    assert_eq!(released.family, "grok-2");
    let other = changed("grok-2", &[("model_type", json!("git")), ("architectures", json!(["GitModel"]))]);
    assert!(matches!(other, Err(SpecError::Unsupported { .. })));
}

#[test]
fn glm_rotates_half_of_a_head() {
    let model = Model::builtin("glm-4.6").unwrap();
    let attention = grouped(&model.layers[3]);
    assert_eq!((attention.rotary_dim, attention.qkv_bias, attention.output_bias), (64, true, false));
}

#[test]
fn deepseek_without_compressed_queries() {
    let model = changed("deepseek-v3", &[("q_lora_rank", Value::Null)]).unwrap();
    let Attention::Latent(latent) = &model.layers[0].attention else { panic!("not latent") };
    assert_eq!(latent.query_rank, None);
    assert_eq!(model.layers[0].attention.kv_width(), 576);
}

#[test]
fn the_rotary_base_is_found_in_its_three_places() {
    assert_eq!(Model::builtin("qwen3-coder-30b-a3b").unwrap().rope_theta.to_string(), "10000000");
    let nested = [("rope_theta", Value::Null), ("rope_parameters", json!({ "rope_theta": 250000 }))];
    assert_eq!(changed("llama2-13b", &nested).unwrap().rope_theta.to_string(), "250000");
    assert_eq!(changed("llama2-13b", &nested[..1]).unwrap().rope_theta.to_string(), "10000");
}

#[test]
fn wrong_fields_are_named_with_what_is_there_and_what_is_allowed() {
    let qwen = "qwen3-30b-a3b";
    for (name, key, value, expected) in [
        (qwen, "hidden_size", json!(-3), "'hidden_size': is -3; allowed: a whole number from 1 to 1048576"),
        (qwen, "hidden_size", json!(0), "'hidden_size': is 0; "),
        (qwen, "hidden_size", json!(2048.0), "'hidden_size': is 2048.0; "),
        (qwen, "hidden_size", json!("2048"), "'hidden_size': is \"2048\"; "),
        (qwen, "hidden_size", json!(u64::MAX), "'hidden_size': is 18446744073709551615; "),
        (qwen, "hidden_size", Value::Null, "'hidden_size': is null; "),
        (qwen, "num_hidden_layers", json!(10_001), "'num_hidden_layers': is 10001; "),
        (qwen, "num_key_value_heads", json!(3), "is 3; allowed: a divisor of num_attention_heads = 32"),
        (qwen, "num_experts_per_tok", json!(129), "is 129; allowed: a whole number from 1 to 128"),
        (qwen, "rope_theta", json!("NaN"), "'rope_theta': is \"NaN\"; allowed: a number from 1 to "),
        (qwen, "rms_norm_eps", json!([1]), "'rms_norm_eps': is [1]; allowed: a number from 0 to 1"),
        (qwen, "tie_word_embeddings", json!("yes"), "'tie_word_embeddings': is \"yes\"; allowed: true or false"),
        (qwen, "mlp_only_layers", json!([48]), "'mlp_only_layers': is [48]; allowed: a list with, in each place, "),
        (qwen, "shared_expert_intermediate_size", json!(512), "is 512; allowed: a whole number from 0 to 0"),
        ("llama-3-8b", "num_attention_heads", json!(24), "'head_dim': missing, and hidden_size = 4096 makes no heads"),
        ("gpt-oss-120b", "layer_types", json!(["full_attention"]), "'layer_types': has 1 entries; allowed: 36 names"),
        ("gpt-oss-120b", "sliding_window", Value::Null, "'sliding_window': is null; "),
        ("llama-4-scout-17b-16e", "no_rope_layers", json!([1, 0]), "'no_rope_layers': has 2 entries; "),
        ("deepseek-v3", "attention_bias", json!(true), "'attention_bias': is true; allowed: false"),
        ("deepseek-v3", "first_k_dense_replace", json!(62), "is 62; allowed: a whole number from 0 to 61"),
        (qwen, "model_type", json!(7), "'model_type': is 7; allowed: one of afmoe, "),
        (qwen, "model_type", json!("jamba"), "model_type 'jamba' is not supported: layers of a state space (Mamba) "),
    ] {
        let message = changed(name, &[(key, value)]).unwrap_err().to_string();
        assert!(message.starts_with("config.json: ") && message.contains(expected), "{message}");
    }
}

#[test]
fn types_that_are_not_known_are_read_by_architecture_or_refused_with_the_nearest() {
    let misspelt = ("model_type", json!("qwen3_mo"));
    assert_eq!(changed("qwen3-30b-a3b", std::slice::from_ref(&misspelt)).unwrap().family, "qwen3_moe");
    let alone = [misspelt, ("architectures", Value::Null)];
    let message = changed("qwen3-30b-a3b", &alone).unwrap_err().to_string();
    assert!(message.contains("model_type 'qwen3_mo' is not supported: did you mean 'qwen3_moe'?"), "{message}");
    for (text, expected) in [
        (r#"{"weight_map": {}}"#, "an index of safetensors files is not supported: name the model's config.json"),
        (
            r#"{"architectures": ["FooForCausalLM"]}"#,
            "architecture 'FooForCausalLM' without model_type is not supported",
        ),
    ] {
        let message = Model::from_config_json(text, "f").unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn what_is_missing_or_null_has_the_familys_default() {
    let without = |name: &str, keys: &[&str]| {
        let mut config = config(name);
        keys.iter().for_each(|key| drop(config.as_object_mut().unwrap().shift_remove(*key)));
        Model::from_config_json(&config.to_string(), "f").unwrap()
    };
    let model =
        without("llama-3-8b", &["num_key_value_heads", "rms_norm_eps", "max_position_embeddings", "rope_theta"]);
    assert_eq!((grouped(&model.layers[0]).kv_heads, model.max_positions), (32, 2048));
    assert_eq!((model.norm_epsilon.to_string(), model.rope_theta.to_string()), ("0.000001".into(), "10000".into()));
    assert_eq!(grouped(&without("mixtral-8x7b", &["num_key_value_heads"]).layers[0]).kv_heads, 8);
    let null = changed("mixtral-8x7b", &[("num_key_value_heads", Value::Null)]).unwrap();
    assert_eq!(grouped(&null.layers[0]).kv_heads, 32);
    assert_eq!(grouped(&without("qwen3-8b", &["head_dim"]).layers[0]).head_dim, 128);
}

#[test]
fn a_needed_field_that_is_missing_is_named() {
    let mut config = config("qwen3-30b-a3b");
    config.as_object_mut().unwrap().shift_remove("vocab_size");
    let message = Model::from_config_json(&config.to_string(), "f").unwrap_err().to_string();
    assert_eq!(message, "f: field 'vocab_size': missing; allowed: a whole number from 1 to 16777216");
}

#[test]
fn models_beyond_all_counting_are_refused() {
    let sizes = [
        ("hidden_size", json!(1 << 20)),
        ("moe_intermediate_size", json!(1 << 20)),
        ("num_experts", json!(1 << 16)),
        ("num_hidden_layers", json!(10_000)),
        ("num_attention_heads", json!(1 << 16)),
        ("num_key_value_heads", json!(1 << 16)),
        ("head_dim", json!(1 << 16)),
        ("vocab_size", json!(1 << 24)),
    ];
    let message = changed("qwen3-30b-a3b", &sizes).unwrap_err().to_string();
    let layer = 4_u128 * (1 << 52) + 3 * (1 << 56) + (1 << 36) + 2 * (1 << 16) + 2 * (1 << 20);
    let total = 10_000 * layer + 2 * (1 << 44) + (1 << 20);
    let expected = format!("all sizes together make {total} parameters; allowed: at most 1000000000000000 parameters");
    assert!(message.ends_with(&expected), "{message}");
}

#[test]
fn broken_json_is_placed_by_line_and_column() {
    for (text, expected) in [
        ("", "f: not valid JSON: EOF while parsing a value at line 1 column 0"),
        ("{\n  \"hidden_size\": ", "f: not valid JSON: EOF while parsing a value at line 2 column 17"),
        ("{\"a\": NoN}", "f: not valid JSON: expected value at line 1 column 7"),
        ("[1]", "f: the text must be a JSON object"),
    ] {
        let error = Model::from_config_json(text, "f").unwrap_err();
        assert!(matches!(error, SpecError::Syntax { .. }), "{error:?}");
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    let counts = Model::from_config_json("[[[3, 4]]]", "f").unwrap_err().to_string();
    assert!(counts.contains("as EPLB counts loads of experts (simctl routing)"), "{counts}");
    let nested = "[".repeat(100_000);
    assert!(Model::from_config_json(&nested, "f").unwrap_err().to_string().contains("recursion limit"));
}

/// Everything that a model offers can be asked for without an overflow.
fn use_model(model: &Model) {
    let count = model.parameters();
    assert!(count.active <= count.total && count.active_without_input_embedding <= count.active);
    assert!(model.kv_elements_per_token() > 0);
    let precision = wafersim_spec::Precision::default();
    assert!(model.kv_bytes_per_token(&precision).0 > 0);
    for layer in model.layers.iter().take(3) {
        for tensor in layer.tensors(model.hidden) {
            assert!(tensor.macs() <= tensor.active_parameters() && tensor.bytes(&precision).0 > 0);
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        Just(json!(-1)),
        Just(json!(0)),
        Just(json!(1)),
        Just(json!(10_000)),
        Just(json!(1 << 16)),
        Just(json!(1 << 20)),
        Just(json!(1 << 24)),
        Just(json!(u64::MAX)),
        Just(json!(i64::MIN)),
        Just(json!(1e308)),
        any::<i64>().prop_map(|number| json!(number)),
        (0_u64..300).prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
    ];
    let leaf = prop_oneof![
        6 => number,
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => prop_oneof![Just("NaN".to_owned()), Just("llama".to_owned()), any::<String>()].prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_model() -> impl Strategy<Value = &'static str> {
    prop::sample::select(builtin::names().collect::<Vec<_>>())
}

fn quick() -> ProptestConfig {
    ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(quick())]

    #[test]
    fn changed_keys_never_panic(
        name in any_model(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::option::weighted(0.8, any_value())), 1..4),
    ) {
        let mut config = config(name);
        let map = config.as_object_mut().expect("an object");
        for (index, value) in changes {
            let key = index.get(&map.keys().cloned().collect::<Vec<_>>()).clone();
            match value {
                Some(value) => { map.insert(key, value); }
                None => { map.shift_remove(&key); }
            }
        }
        if let Ok(model) = Model::from_config_json(&config.to_string(), "config.json") {
            use_model(&model);
        }
    }

    #[test]
    fn damaged_bytes_never_panic(
        name in any_model(),
        length in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = builtin::config(name).expect("a built-in name").as_bytes().to_vec();
        for (index, byte) in flips {
            let place = index.index(bytes.len());
            bytes[place] = byte;
        }
        if truncate {
            bytes.truncate(length.index(bytes.len()));
        }
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), &bytes).expect("writes");
        match Model::read(file.path()) {
            Ok(model) => use_model(&model),
            Err(error) => prop_assert!(error.to_string().starts_with(&file.path().display().to_string())),
        }
    }
}

/// Some files around a text model repeat its width (Voxtral).
#[test]
fn sizes_are_those_of_the_text_model_where_the_whole_repeats_one() {
    let config = r#"{"model_type": "voxtral", "hidden_size": 96, "vocab_size": 320, "text_config": {
        "model_type": "llama", "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 6,
        "intermediate_size": 160, "vocab_size": 320}}"#;
    let model = Model::from_config_json(config, "config.json").unwrap();
    assert_eq!((model.family.as_str(), model.layers.len()), ("llama", 3));
}
