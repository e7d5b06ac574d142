//! What is usual of a load where nothing is said.

use wafersim_spec::Model;
use wafersim_stream::scenario::{LengthFile, LoadKind, StreamFile};

use crate::error::DecideError;

/// Coding agents, where no scenario says otherwise.
pub const AGENTS: &str = "
    [service]
    policy = 'chunked'
    budget = 64
    prefix_cache = true
    [load]
    kind = 'sessions'
";

/// By how much a session grows until it begins anew with a summary, where nothing is said: a guess (1.1 to 2).
const GROWS: f64 = 1.28;

/// Sessions or prompts of so many tokens, and a machine that holds them unless its context is said.
///
/// # Errors
/// Where the load is a trace, which says its tokens itself, or the model is none.
pub fn with_context(file: &mut StreamFile, median: u32) -> Result<(), DecideError> {
    let length =
        |known: Option<LengthFile>| Some(LengthFile { median, spread: known.map_or(0.0, |known| known.spread) });
    match file.load.kind {
        Some(LoadKind::Sessions) => file.load.prefix = length(file.load.prefix),
        Some(LoadKind::Trace) => {
            return Err(DecideError::Value {
                what: "the context".into(),
                value: "what a trace says".into(),
                allowed: "another kind of load".into(),
            });
        }
        _ => file.load.prompt = length(file.load.prompt),
    }
    if file.machine.context.is_none() {
        let model = file.machine.model.as_deref().unwrap_or("qwen3-coder-480b-a35b");
        let most = Model::from_name_or_path(model)?.max_positions;
        let longest = ((f64::from(median) * GROWS / 1024.0).ceil() as u64 * 1024).min(most).max(u64::from(median));
        file.machine.context = Some(longest);
    }
    Ok(())
}
