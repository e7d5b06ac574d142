//! Which modules of a checkpoint a pattern names: plain names, `*` for anything, `re:` before a regular expression.
//!
//! A plain name counts where it stands between dots, from the beginning, the middle or the end of a module's name, as
//! in the libraries that read these files (each has rules of its own; this is what they agree on).

use std::collections::BTreeMap;

use regex::RegexSet;

use super::Which;
use super::methods::{Said, Targets};
use crate::data_type::DataType;
use crate::model::{Attention, Model, Role};
use crate::precision::RoleGroup;

/// What stands before `layers.` in the names of public checkpoints.
const PREFIXES: [&str; 4] = ["model.language_model.", "language_model.model.", "model.", ""];

/// What stands before the number in the names of layers for multi-token prediction, where they are not numbered on
/// after the model's (Qwen3-Next and Qwen3.5, MiMo).
const PREDICTORS: [&str; 2] = ["mtp.layers", "mtp_layers"];
/// What a pattern of theirs has in it.
const MTP: &str = "mtp";

/// Modules, by what is said of them.
pub struct Modules<'a> {
    said: &'a Said,
    which: Which,
    excluded: Patterns,
    named: Vec<Option<Patterns>>,
}

impl<'a> Modules<'a> {
    pub fn new(said: &'a Said, which: Which) -> Self {
        let named = said.rules.iter().map(|rule| match &rule.targets {
            Targets::Named(patterns) => Some(Patterns::new(patterns)),
            Targets::Linear | Targets::Experts => None,
        });
        Self { said, which, excluded: Patterns::new(&said.excluded), named: named.collect() }
    }

    /// Patterns that are no regular expressions.
    pub fn unread(&self) -> impl Iterator<Item = &str> {
        let all = [Some(&self.excluded)].into_iter().chain(self.named.iter().map(Option::as_ref)).flatten();
        all.flat_map(|patterns| patterns.unread.iter().map(String::as_str))
    }

    /// The format of a role's matrices in a layer; `None`: not quantised.
    pub fn format(&mut self, model: &Model, layer: usize, role: Role) -> Option<DataType> {
        let is_linear = model.layers.get(layer).is_some_and(|layer| matches!(layer.attention, Attention::Linear(_)));
        let module = match self.which {
            Which::Model => Module { layer, role, is_linear, predictor: None },
            Which::Predictor { after } => Module { layer: after + layer, role, is_linear, predictor: Some(layer) },
        };
        if self.excluded.names(&module) {
            return None;
        }
        let is_expert = role.group() == Some(RoleGroup::Experts);
        for (rule, named) in self.said.rules.iter().zip(&mut self.named) {
            let is_meant = match &rule.targets {
                Targets::Linear => true,
                Targets::Experts => is_expert,
                Targets::Named(_) => named.as_mut().is_some_and(|patterns| patterns.names(&module)),
            };
            if is_meant {
                return rule.format;
            }
        }
        None
    }

    /// The format of the LM head.
    pub fn head(&self) -> Option<DataType> {
        const HEAD: &str = "lm_head";
        if self.excluded.found_in(HEAD) {
            return None;
        }
        for (rule, named) in self.said.rules.iter().zip(&self.named) {
            let is_meant = match &rule.targets {
                Targets::Linear => self.said.covers_head,
                Targets::Experts => false,
                Targets::Named(_) => named.as_ref().is_some_and(|patterns| patterns.found_in(HEAD)),
            };
            if is_meant {
                return rule.format;
            }
        }
        None
    }
}

struct Module {
    layer: usize,
    role: Role,
    is_linear: bool,
    /// Its layer's number among those for multi-token prediction, where it is one of them.
    predictor: Option<usize>,
}

/// A list of patterns.
struct Patterns {
    /// Plain names with the number of a layer: what follows it.
    of_layer: BTreeMap<usize, Vec<String>>,
    /// Plain names without one.
    plain: Vec<String>,
    /// Patterns that are searched for in `layers.N.module`.
    globs: RegexSet,
    /// Regular expressions for whole names, from their beginning.
    regexes: RegexSet,
    /// Those of both that name layers for multi-token prediction.
    predictors: RegexSet,
    /// Whether the patterns depend on the number of the layer.
    numbered: bool,
    unread: Vec<String>,
    /// What the patterns without numbers say, by role and kind of attention.
    known: BTreeMap<(bool, Role), bool>,
}

impl Patterns {
    fn new(patterns: &[String]) -> Self {
        let (mut of_layer, mut plain): (BTreeMap<usize, Vec<String>>, Vec<String>) = Default::default();
        let (mut globs, mut regexes, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        for pattern in patterns {
            if let Some(expression) = pattern.strip_prefix("re:") {
                let anchored = format!("^(?:{expression})");
                match RegexSet::new([&anchored]) {
                    Ok(_) => regexes.push(anchored),
                    Err(_) => unread.push(crate::model::config_json::shortened(pattern)),
                }
                continue;
            }
            let name = PREFIXES.iter().find_map(|prefix| pattern.strip_prefix(prefix)).unwrap_or(pattern);
            if name.contains('*') {
                globs.push(glob(name));
            } else if let Some((layer, rest)) = of_one_layer(name) {
                of_layer.entry(layer).or_default().push(rest.to_owned());
            } else {
                plain.push(name.to_owned());
            }
        }
        let has_number = |text: &String| text.bytes().any(|byte| byte.is_ascii_digit());
        let numbered = globs.iter().chain(&regexes).any(has_number);
        // Each was compiled by itself; only their size together can be too much.
        let set = |all: &[String]| RegexSet::new(all).unwrap_or_else(|_| RegexSet::empty());
        let own: Vec<String> = globs.iter().chain(&regexes).filter(|pattern| pattern.contains(MTP)).cloned().collect();
        let (globs, regexes, predictors) = (set(&globs), set(&regexes), set(&own));
        Self { of_layer, plain, globs, regexes, predictors, numbered, unread, known: BTreeMap::new() }
    }

    fn names(&mut self, module: &Module) -> bool {
        let names = names(module.role, module.is_linear);
        if let Some(rests) = self.of_layer.get(&module.layer)
            && rests.iter().any(|rest| names.iter().any(|name| rest.is_empty() || between_dots(name, rest)))
        {
            return true;
        }
        if let Some(number) = module.predictor {
            let own = |name: &str| PREDICTORS.iter().any(|before| self.own(&format!("{before}.{number}.{name}")));
            return names.iter().any(|name| self.searched(name, module.layer) || own(name));
        }
        let key = (module.is_linear, module.role);
        if !self.numbered
            && let Some(known) = self.known.get(&key)
        {
            return *known;
        }
        let is_named = names.iter().any(|name| self.searched(name, module.layer));
        self.known.insert(key, is_named);
        is_named
    }

    fn searched(&self, name: &str, layer: usize) -> bool {
        if self.plain.iter().any(|plain| between_dots(name, plain)) {
            return true;
        }
        if self.globs.is_empty() && self.regexes.is_empty() {
            return false;
        }
        self.found_in(&format!("layers.{layer}.{name}"))
    }

    /// Whether a pattern names a module of a layer for multi-token prediction by the name of its own. One of another
    /// layer of the same number does not.
    fn own(&self, whole: &str) -> bool {
        self.plain.iter().any(|plain| plain.contains(MTP) && between_dots(whole, plain))
            || PREFIXES.iter().any(|prefix| self.predictors.is_match(&format!("{prefix}{whole}")))
    }

    /// Whether a pattern without the number of a layer names a module by its whole name.
    fn found_in(&self, whole: &str) -> bool {
        self.plain.iter().any(|plain| between_dots(whole, plain))
            || self.globs.is_match(whole)
            || PREFIXES.iter().any(|prefix| self.regexes.is_match(&format!("{prefix}{whole}")))
    }
}

/// `layers.3.self_attn`: 3 and what follows.
fn of_one_layer(name: &str) -> Option<(usize, &str)> {
    let after = name.strip_prefix("layers.")?;
    let (number, rest) = after.split_once('.').unwrap_or((after, ""));
    Some((number.parse().ok()?, rest))
}

/// Whether `part` stands in `name` from dot to dot, from its beginning or to its end.
fn between_dots(name: &str, part: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_none_or(|byte| *byte == b'.');
    name.match_indices(part).any(|(start, found)| {
        let before = start.checked_sub(1).and_then(|place| name.as_bytes().get(place));
        is_end(before) && is_end(name.as_bytes().get(start + found.len()))
    })
}

fn glob(name: &str) -> String {
    let parts: Vec<String> = name.split('*').map(regex::escape).collect();
    format!(r"(?:^|\.){}(?:$|\.)", parts.join(".*"))
}

/// Names that modules of a role have in public checkpoints, after the number of the layer.
const fn names(role: Role, is_linear: bool) -> &'static [&'static str] {
    match (role, is_linear) {
        (Role::Query | Role::Key | Role::Value, true) => &["linear_attn.in_proj_qkvz", "linear_attn.in_proj_qkv"],
        (Role::OutputGate, true) => &["linear_attn.in_proj_qkvz", "linear_attn.in_proj_z"],
        (Role::Output, true) => &["linear_attn.out_proj"],
        (Role::Query, false) => &["self_attn.q_proj", "self_attn.qkv_proj", "attention.query_key_value"],
        (Role::OutputGate, false) => {
            &["self_attn.q_proj", "self_attn.qkv_proj", "attention.query_key_value", "self_attn.g_proj"]
        }
        (Role::Key, false) => &["self_attn.k_proj", "self_attn.qkv_proj", "attention.query_key_value"],
        (Role::Value, false) => &["self_attn.v_proj", "self_attn.qkv_proj", "attention.query_key_value"],
        (Role::Output, false) => &["self_attn.o_proj", "attention.dense"],
        (Role::QueryDown, _) => &["self_attn.q_a_proj", "self_attn.fused_qkv_a_proj_with_mqa"],
        (Role::QueryUp, _) => &["self_attn.q_b_proj"],
        (Role::KvDown, _) => &["self_attn.kv_a_proj_with_mqa", "self_attn.fused_qkv_a_proj_with_mqa"],
        (Role::KvUp, _) => &["self_attn.kv_b_proj"],
        (Role::IndexQuery, _) => &["self_attn.indexer.wq_b"],
        (Role::IndexKey, _) => &["self_attn.indexer.wk"],
        (Role::Gate, _) => &["mlp.gate_proj", "mlp.gate_up_proj", "feed_forward.gate_proj"],
        (Role::Up, _) => &["mlp.up_proj", "mlp.gate_up_proj", "feed_forward.up_proj"],
        (Role::Down, _) => &["mlp.down_proj", "feed_forward.down_proj"],
        (Role::SharedGate, _) => &[
            "mlp.shared_experts.gate_proj",
            "mlp.shared_expert.gate_proj",
            "feed_forward.shared_expert.gate_proj",
            "share_expert.gate_proj",
        ],
        (Role::SharedUp, _) => &[
            "mlp.shared_experts.up_proj",
            "mlp.shared_expert.up_proj",
            "feed_forward.shared_expert.up_proj",
            "share_expert.up_proj",
        ],
        (Role::SharedDown, _) => &[
            "mlp.shared_experts.down_proj",
            "mlp.shared_expert.down_proj",
            "feed_forward.shared_expert.down_proj",
            "share_expert.down_proj",
        ],
        (Role::ExpertGate, _) => &[
            "mlp.experts.0.gate_proj",
            "mlp.experts.gate_up_proj",
            "block_sparse_moe.experts.0.w1",
            "feed_forward.experts.gate_up_proj",
        ],
        (Role::ExpertUp, _) => &[
            "mlp.experts.0.up_proj",
            "mlp.experts.gate_up_proj",
            "block_sparse_moe.experts.0.w3",
            "feed_forward.experts.gate_up_proj",
        ],
        (Role::ExpertDown, _) => &[
            "mlp.experts.0.down_proj",
            "mlp.experts.down_proj",
            "block_sparse_moe.experts.0.w2",
            "feed_forward.experts.down_proj",
        ],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_what_their_libraries_say() {
        for (pattern, name, expected) in [
            ("lm_head", "mlp.gate_proj", false),
            ("model.layers.3.self_attn", "self_attn.q_proj", true),
            ("model.layers.4.self_attn", "self_attn.q_proj", false),
            ("model.layers.*.self_attn", "self_attn.q_proj", true),
            ("model.layers.3*", "mlp.gate_proj", true),
            ("model.language_model.layers.3.mlp", "mlp.gate_proj", true),
            ("gate", "mlp.gate_proj", false),
            ("mlp.experts", "mlp.experts.0.up_proj", true),
            ("re:.*self_attn.*", "self_attn.o_proj", true),
            (r"re:.*mlp\.(gate|up|gate_up|down)_proj.*", "mlp.experts.0.up_proj", false),
            (r"re:.*mlp\.(gate|up|gate_up|down)_proj.*", "mlp.down_proj", true),
            ("re:(", "mlp.down_proj", false),
        ] {
            let mut patterns = Patterns::new(&[pattern.to_owned()]);
            let role = Role::ALL.into_iter().find(|role| names(*role, false).contains(&name)).unwrap();
            let named = patterns.names(&Module { layer: 3, role, is_linear: false, predictor: None });
            assert_eq!(named, expected, "{pattern} {name}");
        }
    }
}
