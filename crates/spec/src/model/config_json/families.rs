//! The table of families, and finding the one of a file: by `model_type`, else by `architectures`.
//!
//! Defaults are those of each family's `configuration_*.py` in `transformers` 5.24, of keys that real files leave out.

use serde_json::{Map, Value};

use super::fields::shortened;
use super::{Fields, ReadLayers, deepseek, dense, grok, llama, mixture, qwen, sparse, wide};
use crate::error::{SpecError, nearest_name};

/// What a family takes where its file does not say.
#[derive(Clone, Copy)]
pub struct Defaults {
    /// KV heads; `None`, and where the number does not divide the heads: as many as heads.
    pub kv_heads: Option<u64>,
    /// Width of a head; `None`: `hidden_size / num_attention_heads`.
    pub head_dim: Option<u64>,
    pub epsilon: f64,
    pub positions: u64,
    pub theta: f64,
}

/// One `model_type`.
pub struct Family {
    pub model_type: &'static str,
    /// Other types of the same architecture, and types of parts of models for pictures or sound.
    pub aliases: &'static [&'static str],
    /// Names in `architectures`, without `ForCausalLM` and the like.
    pub architectures: &'static [&'static str],
    pub read_layers: ReadLayers,
    pub defaults: Defaults,
    /// What `tie_word_embeddings` is where the file does not say.
    pub tied_by_default: bool,
    /// Whether checkpoints hold the gains of norms less one.
    pub centred_gains: bool,
    /// What is taken otherwise than it is.
    pub notes: &'static [&'static str],
}

const fn family(model_type: &'static str, read_layers: ReadLayers) -> Family {
    Family {
        model_type,
        aliases: &[],
        architectures: &[],
        read_layers,
        defaults: Defaults { kv_heads: None, head_dim: None, epsilon: 1e-6, positions: 32_768, theta: 10_000.0 },
        tied_by_default: false,
        centred_gains: false,
        notes: &[],
    }
}

impl Family {
    const fn called(self, aliases: &'static [&'static str], architectures: &'static [&'static str]) -> Self {
        Self { aliases, architectures, ..self }
    }

    const fn heads(self, kv_heads: Option<u64>, head_dim: Option<u64>) -> Self {
        Self { defaults: Defaults { kv_heads, head_dim, ..self.defaults }, ..self }
    }

    const fn numbers(self, epsilon: f64, positions: u64, theta: f64) -> Self {
        Self { defaults: Defaults { epsilon, positions, theta, ..self.defaults }, ..self }
    }

    const fn tied(self) -> Self {
        Self { tied_by_default: true, ..self }
    }

    const fn centred(self) -> Self {
        Self { centred_gains: true, ..self }
    }

    const fn noting(self, notes: &'static [&'static str]) -> Self {
        Self { notes, ..self }
    }

    fn is_called(&self, model_type: &str) -> bool {
        self.model_type == model_type || self.aliases.contains(&model_type)
    }
}

const WHOLE_NORM: &str = "norms of all queries and of all keys are timed as norms of each head";
const NORMS_BEHIND: &str = "norms behind attention and network are timed as norms before them";
const INDEXER: &str = "keys of the indexer are cached in the format of the cache";
const PROMPTS_BY_TOKEN: &str =
    "prompts go token by token through the programs of decode: there are none for chunks with an indexer";
const GELU: &str = "GeLU is timed as SiLU";
const SHARES: &str = "a choice by corrected or grouped shares of a softmax is timed as one of sigmoids";
const NO_NORM_OF_VALUES: &str = "norms of values, which have no gain, are not timed";
const NORMS_OF_BRANCHES: &str = "beside experts the dense network is timed as a shared expert; the norms of both, and the router's, are counted and not timed";
const VALUE_FACTOR: &str = "the factor of values is part of their matrix";
const PARALLEL: &str = "attention and network, which run side by side, are timed one after the other";

/// All families, in the order of their names.
pub const FAMILIES: &[Family] = &[
    family("afmoe", sparse::afmoe).called(&[], &["Afmoe"]).heads(Some(16), Some(128)).numbers(1e-5, 16_384, 10_000.0),
    family("bailing_moe", sparse::bailing_moe)
        .called(&["bailing_moe_v2"], &["BailingMoe", "BailingMoeV2"])
        .numbers(1e-6, 32_768, 600_000.0),
    family("cohere", dense::cohere).called(&[], &["Cohere"]).numbers(1e-5, 8192, 500_000.0).tied().noting(&[PARALLEL]),
    family("cohere2", dense::cohere2)
        .called(&["cohere2_vision"], &["Cohere2"])
        .heads(None, Some(128))
        .numbers(1e-5, 8192, 10_000.0)
        .tied()
        .noting(&[PARALLEL]),
    family("cwm", dense::cwm).called(&[], &["Cwm"]).heads(Some(8), Some(128)).numbers(1e-5, 131_072, 1_000_000.0),
    family("deepseek", sparse::deepseek).called(&[], &["Deepseek"]).numbers(1e-6, 4096, 10_000.0),
    family("deepseek_v2", deepseek::deepseek_v2)
        .called(&[], &["DeepseekV2"])
        .numbers(1e-6, 2048, 10_000.0)
        .noting(&[SHARES]),
    family("deepseek_v3", deepseek::deepseek_v3)
        .called(&["kimi_k2", "kimi_k25", "kimi_vl", "kimi_k2_5"], &["DeepseekV3", "KimiK2", "KimiK25", "KimiVL"])
        .numbers(1e-6, 4096, 10_000.0),
    family("deepseek_v32", deepseek::deepseek_v32)
        .called(&["deepseek_v3_2"], &["DeepseekV32"])
        .numbers(1e-6, 163_840, 10_000.0)
        .noting(&[INDEXER, PROMPTS_BY_TOKEN]),
    family("dots1", sparse::dots1).called(&[], &["Dots1"]).numbers(1e-6, 2048, 10_000.0),
    family("ernie4_5", dense::ernie4_5)
        .called(&[], &["Ernie4_5"])
        .heads(Some(2), Some(128))
        .numbers(1e-5, 131_072, 500_000.0)
        .tied(),
    family("ernie4_5_moe", sparse::ernie4_5_moe)
        .called(&[], &["Ernie4_5_Moe", "Ernie4_5_MoE", "Ernie4_5Moe"])
        .heads(Some(4), None)
        .numbers(1e-5, 131_072, 500_000.0)
        .tied()
        .noting(&[SHARES]),
    family("exaone4", dense::exaone4)
        .called(&["exaone4_5", "exaone4_5_text"], &["Exaone4", "Exaone4_5_"])
        .numbers(1e-5, 2048, 10_000.0)
        .noting(&[NORMS_BEHIND]),
    family("exaone_moe", sparse::exaone_moe).called(&[], &["ExaoneMoe", "ExaoneMoE"]).numbers(1e-5, 2048, 10_000.0),
    family("flex_olmo", sparse::olmoe)
        .called(&[], &["FlexOlmo"])
        .numbers(1e-6, 4096, 500_000.0)
        .noting(&[WHOLE_NORM, NORMS_BEHIND]),
    family("gemma", dense::gemma)
        .called(&[], &["Gemma"])
        .heads(Some(16), Some(256))
        .numbers(1e-6, 8192, 10_000.0)
        .tied()
        .centred()
        .noting(&[GELU]),
    family("gemma2", dense::gemma2)
        .called(&[], &["Gemma2"])
        .heads(Some(4), Some(256))
        .numbers(1e-6, 8192, 10_000.0)
        .tied()
        .centred()
        .noting(&[GELU]),
    family("gemma3_text", dense::gemma3)
        .called(&["gemma3"], &["Gemma3"])
        .heads(Some(4), Some(256))
        .numbers(1e-6, 131_072, 1_000_000.0)
        .tied()
        .centred()
        .noting(&[GELU]),
    family("gemma4_text", wide::gemma4)
        .called(&["gemma4", "gemma4_unified", "gemma4_unified_text"], &["Gemma4", "Gemma4Unified"])
        .heads(Some(4), Some(256))
        .numbers(1e-6, 131_072, 1_000_000.0)
        .tied()
        .noting(&[GELU, NO_NORM_OF_VALUES, NORMS_OF_BRANCHES]),
    family("glm", dense::glm).called(&[], &["Glm"]).heads(Some(2), Some(128)).numbers(1.5625e-7, 131_072, 10_000.0),
    family("glm4", dense::glm4)
        .called(&["glm4v_text", "glm4v"], &["Glm4", "Glm4v"])
        .heads(Some(2), Some(128))
        .numbers(1.5625e-7, 131_072, 10_000.0),
    family("glm4_moe", mixture::glm4_moe)
        .called(&["glm4v_moe_text", "glm4v_moe"], &["Glm4Moe", "Glm4vMoe"])
        .heads(Some(8), None)
        .numbers(1e-5, 131_072, 10_000.0),
    family("glm4_moe_lite", deepseek::glm4_moe_lite).called(&[], &["Glm4MoeLite"]).numbers(1e-5, 202_752, 10_000.0),
    family("glm_moe_dsa", deepseek::glm_moe_dsa)
        .called(&["glm_dsa"], &["GlmMoeDsa"])
        .numbers(1e-5, 202_752, 1_000_000.0)
        .noting(&[INDEXER, PROMPTS_BY_TOKEN]),
    family("gpt_oss", mixture::gpt_oss)
        .called(&[], &["GptOss"])
        .heads(Some(8), Some(64))
        .numbers(1e-5, 131_072, 150_000.0),
    family("granite", dense::with_biases).called(&[], &["Granite"]).numbers(1e-6, 2048, 10_000.0),
    family("granitemoe", sparse::granite_moe).called(&[], &["GraniteMoe"]).numbers(1e-6, 2048, 10_000.0),
    family("granitemoehybrid", sparse::granite_hybrid).called(&[], &["GraniteMoeHybrid"]).numbers(1e-6, 2048, 10_000.0),
    family("granitemoeshared", sparse::granite_moe).called(&[], &["GraniteMoeShared"]).numbers(1e-6, 2048, 10_000.0),
    family("grok-1", grok::grok_1).tied(),
    family("grok-2", grok::grok_2).called(&[], &["Grok1"]),
    family("helium", dense::helium).called(&[], &["Helium"]).heads(Some(20), Some(128)).numbers(1e-8, 4096, 100_000.0),
    family("hunyuan_v1_dense", dense::hunyuan)
        .called(&["hunyuan_dense"], &["HunYuanDenseV1"])
        .numbers(1e-5, 2048, 10_000.0),
    family("hunyuan_v1_moe", sparse::hunyuan_moe)
        .called(&["hunyuan", "hunyuan_moe"], &["HunYuanMoEV1"])
        .numbers(1e-5, 2048, 10_000.0),
    family("hy_v3", wide::hy_v3).called(&["hunyuan_v3"], &["HYV3"]).heads(Some(8), Some(128)).numbers(
        1e-5,
        131_072,
        11_158_840.0,
    ),
    family("internlm2", dense::internlm).called(&[], &["InternLM2"]).numbers(1e-6, 2048, 10_000.0),
    family("internlm3", dense::internlm)
        .called(&[], &["InternLM3"])
        .heads(Some(2), Some(128))
        .numbers(1e-5, 32_768, 10_000.0),
    family("iquestcoder", dense::with_biases)
        .called(&[], &["IQuestCoder"])
        .heads(Some(8), Some(128))
        .numbers(1e-5, 131_072, 500_000.0),
    family("llama", llama::llama).called(&[], &["Llama"]).numbers(1e-6, 2048, 10_000.0),
    family("llama4_text", llama::llama4)
        .called(&["llama4"], &["Llama4"])
        .heads(Some(8), Some(128))
        .numbers(1e-5, 131_072, 500_000.0),
    family("mellum", sparse::mellum)
        .called(&[], &["Mellum"])
        .heads(Some(4), Some(128))
        .numbers(1e-6, 131_072, 500_000.0),
    family("mimo", qwen::mimo).called(&[], &["MiMo"]),
    family("mimo_v2_flash", wide::mimo_v2)
        .called(&["mimo_v2"], &["MiMoV2Flash", "MiMoV2"])
        .heads(Some(4), Some(192))
        .numbers(1e-5, 262_144, 5_000_000.0)
        .noting(&[VALUE_FACTOR]),
    family("minicpm", dense::with_biases).called(&[], &["MiniCPM"]).numbers(1e-6, 2048, 10_000.0),
    family("minimax_m2", sparse::minimax_m2)
        .called(&["MiniMaxM2"], &["MiniMaxM2"])
        .heads(Some(8), Some(128))
        .numbers(1e-6, 196_608, 5_000_000.0)
        .noting(&[WHOLE_NORM]),
    family("ministral", dense::mistral)
        .called(&[], &["Ministral"])
        .heads(Some(8), None)
        .numbers(1e-6, 131_072, 10_000.0),
    family("ministral3", dense::ministral3).called(&[], &["Ministral3"]).heads(Some(8), Some(128)).numbers(
        1e-5,
        262_144,
        1_000_000.0,
    ),
    family("mistral", dense::mistral)
        .called(&["mistral3"], &["Mistral", "Mistral3"])
        .heads(Some(8), None)
        .numbers(1e-6, 131_072, 10_000.0),
    family("mistral4", deepseek::mistral4)
        .called(&[], &["Mistral4"])
        .numbers(1e-6, 1_048_576, 10_000.0)
        .noting(&[SHARES]),
    family("mixtral", mixture::mixtral).called(&[], &["Mixtral"]).heads(Some(8), None).numbers(
        1e-5,
        131_072,
        1_000_000.0,
    ),
    family("olmo2", dense::olmo2)
        .called(&[], &["Olmo2"])
        .numbers(1e-5, 2048, 10_000.0)
        .noting(&[WHOLE_NORM, NORMS_BEHIND]),
    family("olmo3", dense::olmo3)
        .called(&[], &["Olmo3"])
        .numbers(1e-5, 2048, 10_000.0)
        .noting(&[WHOLE_NORM, NORMS_BEHIND]),
    family("olmoe", sparse::olmoe)
        .called(&[], &["Olmoe"])
        .heads(Some(16), None)
        .numbers(1e-5, 4096, 10_000.0)
        .noting(&[WHOLE_NORM]),
    family("phi3", dense::phi3).called(&[], &["Phi3"]).numbers(1e-5, 4096, 10_000.0),
    family("qwen2", qwen::qwen2)
        .called(&["qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"], &["Qwen2", "Qwen2VL", "Qwen2_5_VL"])
        .heads(Some(32), None),
    family("qwen2_moe", qwen::qwen2_moe).called(&[], &["Qwen2Moe"]).heads(Some(16), None),
    family("qwen3", qwen::qwen3)
        .called(&["qwen3_vl", "qwen3_vl_text"], &["Qwen3", "Qwen3VL"])
        .heads(Some(32), Some(128)),
    family("qwen3_5_moe_text", qwen::qwen3_5_moe)
        .called(&["qwen3_5_moe"], &["Qwen3_5Moe"])
        .heads(Some(2), Some(256))
        .centred(),
    family("qwen3_5_text", qwen::qwen3_5).called(&["qwen3_5"], &["Qwen3_5"]).heads(Some(4), Some(256)).centred(),
    family("qwen3_moe", qwen::qwen3_moe)
        .called(&["qwen3_vl_moe", "qwen3_vl_moe_text", "qwen3_omni_moe_text"], &["Qwen3Moe", "Qwen3VLMoe"])
        .heads(Some(4), None),
    family("qwen3_next", qwen::qwen3_next).called(&[], &["Qwen3Next"]).heads(Some(2), Some(256)).centred(),
    family("sarvam_mla", deepseek::sarvam_mla).called(&[], &["SarvamMLA"]).numbers(1e-6, 131_072, 10_000.0),
    family("sarvam_moe", sparse::sarvam_moe).called(&[], &["SarvamMoE"]).heads(Some(4), Some(64)).numbers(
        1e-6,
        131_072,
        8_000_000.0,
    ),
    family("seed_oss", dense::seed_oss)
        .called(&[], &["SeedOss"])
        .heads(Some(8), Some(128))
        .numbers(1e-6, 524_288, 10_000.0),
    family("smollm3", dense::smollm3)
        .called(&[], &["SmolLM3"])
        .heads(Some(4), None)
        .numbers(1e-6, 32_768, 2_000_000.0)
        .tied(),
    family("solar_open", sparse::solar_open).called(&[], &["SolarOpen"]).heads(Some(8), Some(128)).numbers(
        1e-5,
        131_072,
        1_000_000.0,
    ),
    family("step3_text", wide::step3)
        .called(&["step3", "step3_vl"], &["Step3Text", "Step3VL"])
        .heads(Some(1), Some(256))
        .numbers(1e-5, 65_536, 500_000.0),
    family("step3p5", sparse::step)
        .called(&["step3p7", "step3p7_text"], &["Step3p5", "Step3p7", "Step3p7Text", "Step3p7Flash"])
        .heads(Some(8), Some(128))
        .numbers(1e-5, 128_000, 10_000.0)
        .centred(),
    family("youtu", deepseek::youtu).called(&[], &["Youtu"]).numbers(1e-6, 131_072, 10_000.0).tied(),
];

/// Why hybrids with a state space are refused.
pub const STATE_SPACE: &str =
    "layers of a state space (Mamba) beside attention are not modelled: they need a scan that no kernel here has";
const LIGHTNING: &str = "layers of linear attention without the delta rule (Lightning Attention) are not modelled";
const NO_GATE: &str = "feed-forward networks of two matrices, without a gate, are not modelled";
const NOT_DECODER: &str = "it is no decoder that makes one token after the other, and only those are modelled";

/// Types that are known and not modelled, with the reason.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &[
            "nemotron_h",
            "nemotron_h_v2",
            "jamba",
            "bamba",
            "falcon_h1",
            "zamba",
            "zamba2",
            "mamba",
            "mamba2",
            "falcon_mamba",
            "plamo2",
            "hymba",
            "granite_hybrid",
            "phi4flash",
            "codestral_mamba",
        ],
        STATE_SPACE,
    ),
    (&["minimax", "minimax_text_01", "minimax_m1", "bailing_hybrid", "bailing_moe_linear"], LIGHTNING),
    (&["kimi_linear"], "Kimi Delta Attention, whose states decay by channel, is not modelled"),
    (&["lfm2", "lfm2_moe", "lfm2_vl"], "layers of short convolutions in place of attention are not modelled"),
    (&["recurrent_gemma", "rwkv", "rwkv7", "xlstm"], "recurrent layers are not modelled"),
    (
        &["gemma3n", "gemma3n_text"],
        "embeddings for each layer, and keys and values that layers share, are not modelled",
    ),
    (
        &["minimax_m3", "minimax_m3_vl", "minimax_m3_vl_text"],
        "sparse attention by blocks of tokens, chosen by an indexer of its own, is not modelled",
    ),
    (&["mllama", "mllama_text_model"], "layers that look at a picture (cross-attention) are not modelled"),
    (&["olmo_hybrid", "glm5_next", "qwen4_exp"], "its linear attention differs from that of Qwen3-Next: not modelled"),
    (&["deepseek_v4"], "compressed and hash-routed layers of DeepSeek-V4 are not modelled"),
    (&["longcat_flash"], "two attentions in a layer, and experts that do nothing, are not modelled"),
    (&["dbrx"], "its keys stand in objects of their own, and norms have biases: not modelled"),
    (&["phimoe", "stablelm"], "norms with biases are not modelled"),
    (&["olmo"], "norms without gains are not modelled (olmo2 and olmo3 have them)"),
    (
        &[
            "gpt2",
            "gpt_neo",
            "gpt_neox",
            "gptj",
            "gpt_bigcode",
            "opt",
            "bloom",
            "falcon",
            "phi",
            "starcoder2",
            "nemotron",
            "arcee",
            "apertus",
            "jais2",
            "mpt",
        ],
        NO_GATE,
    ),
    (
        &[
            "bert",
            "roberta",
            "distilbert",
            "t5",
            "mt5",
            "bart",
            "whisper",
            "clip",
            "vit",
            "siglip",
            "t5gemma",
            "modernbert",
            "electra",
            "xlm-roberta",
        ],
        NOT_DECODER,
    ),
];

/// The family of a file, and the object that holds its sizes: the whole file, or the `text_config` in it.
pub fn find<'a>(outer: &Fields<'a>) -> Result<(Fields<'a>, &'static Family), SpecError> {
    let named = outer.optional_text("model_type", &supported())?;
    let architectures = outer.texts("architectures")?.unwrap_or_default();
    // Grok-2 was released with the type "git".
    if named == Some("git") && architectures.contains(&"Grok1ForCausalLM") {
        return by_type(outer.file, "grok-2").map(|family| (*outer, family));
    }
    let fields = sizes(outer)?;
    let inner = match fields.prefix.is_empty() {
        true => None,
        false => fields.optional_text("model_type", &supported())?,
    };
    let of_type = |name: &str| FAMILIES.iter().find(|family| family.is_called(name));
    let of_architecture = || {
        let of_text = if fields.prefix.is_empty() { None } else { fields.texts("architectures").ok().flatten() };
        of_text.into_iter().flatten().chain(architectures.iter().copied()).find_map(by_architecture)
    };
    // What a text_config says of itself is more than what the whole says.
    let found = inner.and_then(of_type).or_else(|| named.and_then(of_type));
    let found = found.filter(|family| inner.is_none_or(|inner| family.is_called(inner) || refusal(inner).is_none()));
    if let Some(family) = found {
        return Ok((fields, family));
    }
    match inner.or(named) {
        Some(name) if refusal(name).is_none() => match of_architecture() {
            Some(family) => Ok((fields, family)),
            None => by_type(outer.file, name).map(|family| (fields, family)),
        },
        Some(name) => by_type(outer.file, name).map(|family| (fields, family)),
        None => match of_architecture() {
            Some(family) => Ok((fields, family)),
            None => Err(nameless(outer, architectures.first().copied())),
        },
    }
}

/// The object that holds the sizes of the language model.
fn sizes<'a>(outer: &Fields<'a>) -> Result<Fields<'a>, SpecError> {
    for (key, prefix) in
        [("text_config", "text_config."), ("llm_config", "llm_config."), ("language_config", "language_config.")]
    {
        // Voxtral repeats the width outside.
        if matches!(outer.map.get(key), Some(Value::Object(_))) && !outer.is_given("num_hidden_layers") {
            return outer.object(key, prefix);
        }
    }
    Ok(*outer)
}

/// `Qwen3MoeForCausalLM`, `LlamaModel`: what stands before the last words.
fn by_architecture(name: &str) -> Option<&'static Family> {
    let stem = ["ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "Model"]
        .into_iter()
        .find_map(|end| name.strip_suffix(end))?;
    FAMILIES.iter().find(|family| family.architectures.contains(&stem))
}

fn refusal(model_type: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(names, _)| names.contains(&model_type)).map(|(_, reason)| *reason)
}

fn by_type(file: &str, model_type: &str) -> Result<&'static Family, SpecError> {
    let known = FAMILIES.iter().find(|family| family.is_called(model_type));
    known.ok_or_else(|| {
        let what = format!("model_type '{}'", shortened(model_type));
        let names =
            FAMILIES.iter().flat_map(|family| std::iter::once(family.model_type).chain(family.aliases.iter().copied()));
        let hint = match (refusal(model_type), nearest_name(model_type, names)) {
            (Some(reason), _) => reason.into(),
            (None, Some(near)) => format!("did you mean '{near}'? Supported is {}", supported()),
            (None, None) => format!("supported is {}", supported()),
        };
        SpecError::Unsupported { file: file.into(), what, hint }
    })
}

/// A file without a type: what it is instead, where that shows.
fn nameless(outer: &Fields<'_>, architecture: Option<&str>) -> SpecError {
    if let Some(what) = other_kind(outer.map) {
        let hint = "name the model's config.json, which has model_type or architectures".into();
        return SpecError::Unsupported { file: outer.file.into(), what: what.into(), hint };
    }
    match architecture {
        Some(name) => SpecError::Unsupported {
            file: outer.file.into(),
            what: format!("architecture '{}' without model_type", shortened(name)),
            hint: format!("add model_type; supported is {}", supported()),
        },
        None => outer.wrong("model_type", outer.absence("model_type").into(), supported()),
    }
}

/// Files that lie beside a config.json, or describe models otherwise, by their keys.
fn other_kind(map: &Map<String, Value>) -> Option<&'static str> {
    [
        ("weight_map", "an index of safetensors files"),
        ("routed_experts", "a dump of chosen experts, which `simctl routing` and --routing read,"),
        ("peft_type", "the configuration of an adapter (PEFT)"),
        ("tokenizer_class", "the configuration of a tokenizer"),
        ("do_sample", "a generation_config.json"),
        ("quantization", "a hf_quant_config.json, which is read beside a config.json,"),
        ("n_layers", "a params.json of an original release"),
        ("image_processor_type", "a preprocessor_config.json"),
    ]
    .into_iter()
    .find(|(key, _)| map.contains_key(*key))
    .map(|(_, what)| what)
}

fn supported() -> String {
    let names: Vec<_> = FAMILIES.iter().map(|family| family.model_type).collect();
    format!("one of {}, or one of them as text_config", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_familys_and_in_order() {
        assert!(FAMILIES.is_sorted_by_key(|family| family.model_type));
        let mut all: Vec<&str> = FAMILIES
            .iter()
            .map(|family| (family.model_type, family.aliases))
            .flat_map(|(name, others)| std::iter::once(name).chain(others.iter().copied()))
            .collect();
        all.extend(REFUSED.iter().flat_map(|(names, _)| names.iter().copied()));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        let mut architectures: Vec<&str> = FAMILIES.iter().flat_map(|family| family.architectures).copied().collect();
        let count = architectures.len();
        architectures.sort_unstable();
        architectures.dedup();
        assert_eq!(architectures.len(), count);
    }
}
