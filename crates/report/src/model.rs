//! Models as a reference table: sizes, parameters, KV cache.

use serde::Serialize;
use wafersim_spec::model::{FeedForward, ParameterCount};
use wafersim_spec::{Bytes, Model, Precision, SpecError};

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{figure, whole};
use crate::paragraph::wrapped;

const LEGEND: &str = "billions: parameters; active: those that one token uses, both embedding tables counted whole; KV \
    KiB: KV cache of one token, 16 bit.";

/// A name and the model that it stands for, or why it is refused.
pub type Named = (String, Result<Model, SpecError>);

/// The models side by side, for a terminal: parameters and active parameters in billions, KV cache of a token
/// in the default precision.
pub fn list_text(models: &[Named]) -> String {
    let mut text = list(models).text() + "\n" + &wrapped("", LEGEND);
    for (name, model) in models {
        for words in model.as_ref().map(about).unwrap_or_default() {
            text.push('\n');
            text.push_str(&wrapped("", &format!("{name}: {words}")));
        }
    }
    let refused = models.iter().filter_map(|(_, model)| model.as_ref().err());
    for (index, error) in refused.enumerate() {
        text.push_str(if index == 0 { "\nNot modelled:\n" } else { "" });
        text.push_str(&wrapped("  ", &error.to_string()));
    }
    text
}

/// What there is to say of a model beside its sizes.
fn about(model: &Model) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(format) = &model.checkpoint {
        let Precision { kv_cache, activations, .. } = format.precision;
        all.push(format!(
            "stored as {}, {} bytes, KV cache {kv_cache}, activations {activations}; {}",
            format.precision,
            whole(format.bytes.0),
            format.words()
        ));
    }
    // The list of what is built in stays short.
    if let Some(draft) = model.next_token_predictor().filter(|_| model.checkpoint.is_some()) {
        let tables = 2 * model.vocabulary * model.hidden;
        let own = draft.parameters().total.saturating_sub(tables.min(draft.parameters().total));
        let stored = |model: &Model| model.checkpoint.as_ref().map(|checkpoint| checkpoint.precision);
        let otherwise = stored(&draft).filter(|of_draft| stored(model).is_some_and(|own| own != *of_draft));
        all.push(format!(
            "brings {} of multi-token prediction, about {} B parameters beside those above{} (--draft-model mtp)",
            crate::number::plural(model.next_token_layers, "layer"),
            billions(own),
            otherwise.map_or_else(String::new, |precision| format!(", stored as {precision}"))
        ));
    }
    all.extend(model.notes.iter().cloned());
    all
}

/// The models side by side, in Markdown.
pub fn list_markdown(models: &[Named]) -> String {
    list(models).markdown()
}

/// The models, for programs: an object with `models`. What is refused has its reason in `refused`.
///
/// # Errors
/// None that a model can cause.
pub fn list_json(models: &[Named]) -> Result<String, ReportError> {
    let entry = |(name, model): &Named| match model {
        Ok(model) => Entry::of(name.clone(), model),
        Err(error) => Entry { name: name.clone(), refused: Some(error.to_string()), ..Entry::default() },
    };
    pretty(&serde_json::json!({ "models": models.iter().map(entry).collect::<Vec<_>>() }))
}

fn list(models: &[Named]) -> Grid {
    let mut grid = Grid::new([
        ("model", Side::Left),
        ("family", Side::Left),
        ("layers", Side::Right),
        ("experts", Side::Right),
        ("billions", Side::Right),
        ("active", Side::Right),
        ("KV KiB", Side::Right),
        ("positions", Side::Right),
    ]);
    for (name, model) in models {
        let Ok(model) = model else { continue };
        let parameters = model.parameters();
        grid.row([
            name.clone(),
            model.family.clone(),
            model.layers.len().to_string(),
            experts(model).map_or_else(String::new, |(experts, top_k)| format!("{top_k}/{experts}")),
            billions(parameters.total),
            billions(parameters.active),
            figure(model.kv_bytes_per_token(&Precision::default()).0 as f64 / 1024.0),
            whole(model.max_positions),
        ]);
    }
    grid
}

/// Parameters in billions.
fn billions(parameters: u64) -> String {
    figure(parameters as f64 / 1e9)
}

/// Routed experts, and how many a token uses, of the first layer that has any.
fn experts(model: &Model) -> Option<(u64, u64)> {
    model.layers.iter().find_map(|layer| match &layer.feed_forward {
        FeedForward::Moe(moe) => Some((moe.experts, moe.top_k)),
        FeedForward::Dense { .. } => None,
    })
}

#[derive(Default, Serialize)]
struct Entry {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vocabulary: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    experts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    experts_per_token: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<ParameterCount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kv_bytes_per_token: Option<Bytes>,
    /// What a user keeps whatever the context; absent where that is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_bytes_per_user: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_positions: Option<u64>,
    /// How the checkpoint's files store it; absent where they do not say, and of built-in models.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<Stored>,
    /// Layers for multi-token prediction beside those that are counted; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token_layers: Option<u64>,
    /// What is not modelled, or is taken otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Stored {
    precision: Precision,
    bytes: Bytes,
    /// KV cache of one token in that precision.
    kv_bytes_per_token: Bytes,
    source: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Entry {
    fn of(name: String, model: &Model) -> Self {
        let experts = experts(model);
        let states = model.state_bytes_per_user(&Precision::default());
        Self {
            name,
            refused: None,
            family: Some(model.family.clone()),
            layers: Some(model.layers.len()),
            hidden: Some(model.hidden),
            vocabulary: Some(model.vocabulary),
            experts: experts.map(|(all, _)| all),
            experts_per_token: experts.map(|(_, used)| used),
            parameters: Some(model.parameters()),
            kv_bytes_per_token: Some(model.kv_bytes_per_token(&Precision::default())),
            state_bytes_per_user: (states > Bytes::ZERO).then_some(states),
            max_positions: Some(model.max_positions),
            checkpoint: model.checkpoint.as_ref().map(|format| Stored {
                precision: format.precision,
                bytes: format.bytes,
                kv_bytes_per_token: model.kv_bytes_per_token(&format.precision),
                source: format.source.clone(),
                notes: format.notes.clone(),
            }),
            next_token_layers: Some(model.next_token_layers).filter(|layers| *layers > 0),
            notes: model.notes.clone(),
        }
    }
}
