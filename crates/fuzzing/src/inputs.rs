//! Models, checkpoints, scenarios, wafers, mappings.

use std::sync::LazyLock;

use wafersim_mapping::{Inputs, Load, Mapping, Resolved, resolve};
use wafersim_spec::model::{Attention, FeedForward};
use wafersim_spec::scenario::{RoutingModel, WaferCount};
use wafersim_spec::{Model, Precision, ScenarioFile, Wafer};

use crate::target::Outcome;

/// The name of what is read, in messages.
pub const FILE: &str = "given-file";

/// The text that a file of these bytes has; as `spec::file` reads one.
pub fn text(bytes: &[u8]) -> Result<&str, Outcome> {
    std::str::from_utf8(bytes).map_err(|error| Outcome::Refused(error.to_string()))
}

/// Two files in one: what stands before a line of its own, `=====`, and what stands behind.
pub fn two(bytes: &[u8]) -> (&[u8], &[u8]) {
    const LINE: &[u8] = b"\n=====\n";
    let at = bytes.windows(LINE.len()).position(|part| part == LINE);
    at.map_or((bytes, b""), |at| (&bytes[..at], &bytes[at + LINE.len()..]))
}

/// A refusal must say of which file it speaks.
pub fn naming_file(outcome: Outcome) -> Outcome {
    if let Outcome::Refused(reason) = &outcome {
        assert!(reason.contains(FILE), "a refusal without the file's name: {reason}");
    }
    outcome
}

pub fn config_json(bytes: &[u8]) -> Outcome {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    naming_file(Outcome::of(Model::from_config_json(text, FILE).map(|model| {
        let counts = [model.layers.len() as u64, model.hidden, model.vocabulary];
        assert!(counts.iter().all(|count| *count > 0), "a model of nothing: {counts:?}");
    })))
}

/// A folder with a `config.json` and a `hf_quant_config.json`.
pub fn checkpoint(bytes: &[u8]) -> Outcome {
    let (config, quantised) = two(bytes);
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    for (name, bytes) in [("config.json", config), ("hf_quant_config.json", quantised)] {
        if bytes.is_empty() {
            continue;
        }
        if let Err(error) = std::fs::write(folder.path().join(name), bytes) {
            return Outcome::Refused(error.to_string());
        }
    }
    Outcome::of(Model::read(folder.path()))
}

pub fn scenario(bytes: &[u8]) -> Outcome {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    naming_file(Outcome::of(ScenarioFile::parse(text, FILE).and_then(|file| file.check(FILE))))
}

pub fn wafer(bytes: &[u8]) -> Outcome {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    naming_file(Outcome::of(Wafer::parse(text, "given", FILE)))
}

/// Read, printed, read again: the same bytes.
pub fn mapping(bytes: &[u8]) -> Outcome {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    naming_file(Outcome::of(Mapping::parse(text, FILE).map(|mapping| {
        let printed = mapping.to_toml();
        match Mapping::parse(&printed, FILE) {
            Ok(again) => assert_eq!(again.to_toml(), printed, "printed, read and printed again"),
            Err(error) => panic!("what was printed is refused: {error}\n{printed}"),
        }
    })))
}

/// A mixture of experts of three layers, as small as tests with numbers use.
static TINY: LazyLock<Option<(Model, Wafer)>> = LazyLock::new(|| {
    let mut model = Model::builtin("qwen3-30b-a3b").ok()?;
    model.layers.truncate(3);
    (model.name, model.hidden, model.vocabulary, model.max_positions) = ("tiny".into(), 32, 64, 4096);
    for layer in &mut model.layers {
        if let Attention::Grouped(grouped) = &mut layer.attention {
            (grouped.heads, grouped.kv_heads, grouped.head_dim, grouped.rotary_dim) = (8, 2, 8, 8);
        }
        if let FeedForward::Moe(moe) = &mut layer.feed_forward {
            (moe.experts, moe.top_k, moe.width) = (8, 2, 24);
        }
    }
    model.layers.first_mut()?.feed_forward = FeedForward::Dense { width: 40, bias: false };
    Some((model, Wafer::builtin("wse3").ok()?))
});

/// The inputs that mappings of this target are for.
pub fn tiny_inputs() -> Option<Inputs<'static>> {
    let (model, wafer) = TINY.as_ref()?;
    let load = Load {
        wafers: WaferCount::Auto,
        users: 1,
        context: 4096,
        tokens_per_step: 1,
        precision: Precision::default(),
        routing: RoutingModel::Skewed,
    };
    Some(Inputs::new(model, wafer, load))
}

/// A resolved mapping for the small model, as `fuzz/corpus/mapping_resolved` keeps one: with the hash of today's model.
pub fn resolved_seed() -> Option<String> {
    Some(resolve(&wafersim_mapping::Recipe::published(), tiny_inputs()?).ok()?.to_toml())
}

/// A mapping laid on a small model: a recipe is resolved, a resolved one is opened.
pub fn mapping_resolved(bytes: &[u8]) -> Outcome {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    let Some(inputs) = tiny_inputs() else { return Outcome::Refused("no tiny model".into()) };
    let opened = Mapping::parse(text, FILE).and_then(|mapping| match mapping {
        Mapping::Recipe(recipe) => resolve(&recipe, inputs),
        Mapping::Resolved(resolved) => {
            let mapped = resolved.mapped(inputs)?;
            Ok(Resolved::new(&mapped, &resolved.recipe, inputs))
        }
    });
    Outcome::of(opened)
}
