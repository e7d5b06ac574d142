//! The `config.json` files that are built in: every file of `models/llm`, under its name without `.json`.
//!
//! The files are the public ones of the models' Hugging Face repositories (Grok: of its release), without the keys
//! that say nothing of shapes.

/// Name and text of each built-in `config.json`, in the order of the names.
pub(super) const CONFIGS: &[(&str, &str)] = &[
    ("codellama-34b", include_str!("../../models/llm/codellama-34b.json")),
    ("deepseek-v3", include_str!("../../models/llm/deepseek-v3.json")),
    ("glm-4.5", include_str!("../../models/llm/glm-4.5.json")),
    ("glm-4.6", include_str!("../../models/llm/glm-4.6.json")),
    ("gpt-oss-120b", include_str!("../../models/llm/gpt-oss-120b.json")),
    ("grok-1", include_str!("../../models/llm/grok-1.json")),
    ("grok-2", include_str!("../../models/llm/grok-2.json")),
    ("llama-3-8b", include_str!("../../models/llm/llama-3-8b.json")),
    ("llama-3.1-405b", include_str!("../../models/llm/llama-3.1-405b.json")),
    ("llama-3.1-8b", include_str!("../../models/llm/llama-3.1-8b.json")),
    ("llama-3.3-70b", include_str!("../../models/llm/llama-3.3-70b.json")),
    ("llama-4-maverick-17b-128e", include_str!("../../models/llm/llama-4-maverick-17b-128e.json")),
    ("llama-4-scout-17b-16e", include_str!("../../models/llm/llama-4-scout-17b-16e.json")),
    ("llama2-13b", include_str!("../../models/llm/llama2-13b.json")),
    ("mixtral-8x22b", include_str!("../../models/llm/mixtral-8x22b.json")),
    ("mixtral-8x7b", include_str!("../../models/llm/mixtral-8x7b.json")),
    ("qwen2-72b", include_str!("../../models/llm/qwen2-72b.json")),
    ("qwen3-235b-a22b", include_str!("../../models/llm/qwen3-235b-a22b.json")),
    ("qwen3-235b-a22b-2507", include_str!("../../models/llm/qwen3-235b-a22b-2507.json")),
    ("qwen3-30b-a3b", include_str!("../../models/llm/qwen3-30b-a3b.json")),
    ("qwen3-30b-a3b-2507", include_str!("../../models/llm/qwen3-30b-a3b-2507.json")),
    ("qwen3-32b", include_str!("../../models/llm/qwen3-32b.json")),
    ("qwen3-8b", include_str!("../../models/llm/qwen3-8b.json")),
    ("qwen3-coder-30b-a3b", include_str!("../../models/llm/qwen3-coder-30b-a3b.json")),
    ("qwen3-coder-480b-a35b", include_str!("../../models/llm/qwen3-coder-480b-a35b.json")),
    ("qwen3-coder-next", include_str!("../../models/llm/qwen3-coder-next.json")),
    ("qwen3-next-80b-a3b", include_str!("../../models/llm/qwen3-next-80b-a3b.json")),
];

/// The names of the built-in models.
pub fn names() -> impl Iterator<Item = &'static str> {
    CONFIGS.iter().map(|(name, _)| *name)
}

/// The `config.json` of a built-in model.
pub fn config(name: &str) -> Option<&'static str> {
    CONFIGS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
