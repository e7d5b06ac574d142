//! What services on wafers were seen to do beside what this model says: each record of a table as a question.
//!
//! The question of a record follows by rule from what the record says (`wafersim_check::production`); nothing is
//! fitted to any. Records whose configurations are the same are asked about once. The 1 to 6 ms that a service takes
//! outside queue, prompt and completion are its own overhead, and in no figure here.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;
use wafersim_check::production::{
    Compared, Drafts, Figures, Lies, Metric, Production, ProductionTable, Realised, Record, WithDraft,
    builtin_realised, realised,
};
use wafersim_check::validate::Skipped;
use wafersim_search::Effort;
use wafersim_spec::model::builtin;
use wafersim_spec::scenario::{Acceptance, AcceptancePreset, Profile, Speculation, WaferCount};
use wafersim_spec::{DataType, Model, Precision, Scenario, Wafer};

use crate::bound::Profiles;
use crate::error::AnswerError;
use crate::map::fewest;
use crate::question::Question;
use crate::run::{ProfileAnswer, answer_without_ranges};

/// The machine of all records.
const WAFER: &str = "wse3";

/// Tokens of a draft, where a service is known to make some: nobody has said how many.
const DRAFT_LENGTH: u32 = 3;

/// Names of models whose shape is that of a built-in one.
const SAME_SHAPE: [(&str, &str); 8] = [
    ("llama-3.1-70b", "llama-3.3-70b"),
    ("llama-3.2-70b", "llama-3.3-70b"),
    ("llama-3-70b", "llama-3.3-70b"),
    ("deepseek-r1-distill-llama-70b", "llama-3.3-70b"),
    ("deepseek-r1", "deepseek-v3"),
    ("deepseek-v3.1", "deepseek-v3"),
    ("glm-4.7", "glm-4.6"),
    ("qwen3-coder-480b", "qwen3-coder-480b-a35b"),
];

/// The built-in model that a record is about: of that name, of the same shape, or the only one whose name goes on so.
/// Remarks in parentheses do not count.
fn built_in(name: &str) -> Option<&'static str> {
    let name = name.split('(').next().unwrap_or_default().trim().to_ascii_lowercase().replace(['_', ' '], "-");
    let same_shape = SAME_SHAPE.iter().find(|(known, _)| *known == name).map(|(_, shape)| *shape);
    let known = builtin::names().find(|known| *known == name).or(same_shape);
    known.or_else(|| {
        let mut longer = builtin::names()
            .filter(|known| known.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('-')));
        longer.next().filter(|_| !name.is_empty() && longer.next().is_none())
    })
}

/// What is asked about, once for all records that have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    model: &'static str,
    context: u64,
    prompt: u64,
    weights: &'static str,
    /// Whether the service is known to draft: then it is asked about with a draft too.
    drafts: bool,
}

/// What was found for a configuration.
#[derive(Debug, Clone)]
struct Found {
    wafers: u32,
    plain: Profiles,
    with_draft: Option<Profiles>,
}

impl Configuration {
    fn of(record: &Record, model: &'static str) -> Self {
        let context = record.context();
        Self {
            model,
            context,
            prompt: record.prompt.unwrap_or(context),
            weights: record.weights.unwrap_or(DataType::Fp16).name(),
            drafts: record.drafts == Drafts::Yes && record.metric == Metric::Speed,
        }
    }

    fn ask(&self, effort: Option<Effort>) -> Result<Found, AnswerError> {
        let weights = self.weights.parse().unwrap_or(DataType::Fp16);
        let scenario = Scenario {
            model: self.model.into(),
            context: self.context,
            prompt: self.prompt,
            precision: Precision { weights, ..Precision::default() },
            ..Scenario::default()
        };
        let open = Question::new(scenario, Model::builtin(self.model)?, Wafer::builtin(WAFER)?)?;
        let wafers = fewest(&open)?;
        let scenario = Scenario { wafers: WaferCount::Exactly(wafers), ..open.scenario.clone() };
        let profiles = |scenario: Scenario| -> Result<Profiles, AnswerError> {
            Ok(answer_without_ranges(&open.asking(scenario)?.searching(effort))?.profiles)
        };
        let with_draft = self.drafts.then(|| Scenario { speculation: draft(self.model), ..scenario.clone() });
        Ok(Found { wafers, plain: profiles(scenario)?, with_draft: with_draft.map(profiles).transpose()? })
    }
}

/// Name of the acceptance that a draft for a model is taken to have: one that was measured on a relative of it.
fn acceptance(model: &str) -> &'static str {
    match model {
        model if model.starts_with("llama-4") => "eagle3-llama-4-maverick-coding",
        model if model.starts_with("deepseek") => "mtp-deepseek-v3",
        _ => "eagle3-qwen3-8b-coding",
    }
}

fn draft(model: &str) -> Speculation {
    let Some(preset) = AcceptancePreset::named(acceptance(model)) else { return Speculation::default() };
    let draft_length = DRAFT_LENGTH.min(preset.lengths.len() as u32);
    Speculation { draft_length, acceptance: Acceptance::Preset(preset), ..Speculation::default() }
}

/// What services have made of the best that was found, as shipped, and what that would be here.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Services {
    /// Measured speed over the best that was found, of services that draft as the question does.
    pub of_best: Realised,
    /// Output tokens a second for each user at the least of these parts of this question's best.
    pub low_tokens_per_second_per_user: f64,
    /// At the middle one.
    pub median_tokens_per_second_per_user: f64,
    /// At the largest.
    pub high_tokens_per_second_per_user: f64,
}

impl Services {
    /// Nothing where `best` was not asked for, or where too few services of the kind are known.
    pub(crate) fn of(question: &Question, profiles: &Profiles) -> Option<Self> {
        let drafts = if question.scenario.speculation.draft_length > 0 { Drafts::Yes } else { Drafts::No };
        let best = profiles.get(&Profile::Best)?.tokens_per_second_per_user;
        let of_best = *builtin_realised().iter().find(|class| class.drafts == drafts)?;
        Some(Self {
            of_best,
            low_tokens_per_second_per_user: best * of_best.low,
            median_tokens_per_second_per_user: best * of_best.median,
            high_tokens_per_second_per_user: best * of_best.high,
        })
    }
}

/// How many questions a table comes to.
pub fn questions(table: &ProductionTable) -> usize {
    configurations(table).len()
}

fn configurations(table: &ProductionTable) -> Vec<Configuration> {
    let asked = table.records.iter().filter_map(|record| Some(Configuration::of(record, built_in(&record.model)?)));
    let mut all: Vec<Configuration> = asked.collect();
    all.sort();
    all.dedup();
    all
}

/// Compares each record with what programs give and what no mapping beats, with a search for mappings where an effort
/// is given; `done` is called once a question, from any thread.
pub fn compare(table: &ProductionTable, effort: Option<Effort>, done: impl Fn() + Sync) -> Production {
    let asked = |configuration: Configuration| {
        let found = configuration.ask(effort);
        done();
        (configuration, found)
    };
    let found: BTreeMap<Configuration, Result<Found, AnswerError>> =
        configurations(table).into_par_iter().with_max_len(1).map(asked).collect();
    let mut skipped = table.skipped.clone();
    let mut records = Vec::new();
    for record in &table.records {
        let Some(model) = built_in(&record.model) else {
            let why = format!("no built-in model '{}'", record.model);
            skipped.push(Skipped { id: record.id.clone(), why });
            continue;
        };
        let configuration = Configuration::of(record, model);
        match found.get(&configuration) {
            Some(Ok(found)) => records.push(compared(record, &configuration, found)),
            Some(Err(error)) => skipped.push(Skipped { id: record.id.clone(), why: error.to_string() }),
            None => {}
        }
    }
    let realised = realised(&records);
    Production { records, skipped, others: table.others, realised }
}

fn compared(record: &Record, asked: &Configuration, found: &Found) -> Compared {
    let figures = figures(record, &found.plain);
    let with_draft = found.with_draft.as_ref().map(|profiles| {
        let figures = self::figures(record, profiles);
        WithDraft {
            draft_length: draft(asked.model).draft_length,
            acceptance: acceptance(asked.model).into(),
            figures,
            lies: Lies::of(record.metric, record.value, &figures),
        }
    });
    Compared {
        id: record.id.clone(),
        metric: record.metric,
        measured: record.value,
        figures,
        lies: Lies::of(record.metric, record.value, &figures),
        with_draft,
        model: asked.model.into(),
        wafers: found.wafers,
        context: asked.context,
        prompt: asked.prompt,
        weights: record.weights.unwrap_or(DataType::Fp16),
        drafts: record.drafts,
        seen: record.seen,
        evidence: record.evidence.clone(),
        source: record.source.clone(),
    }
}

/// What the model says of the metric of a record. The last token of a prompt takes at least the pass that no mapping
/// beats.
fn figures(record: &Record, profiles: &Profiles) -> Figures {
    let of = |profile: Profile| {
        let value = |answer: &ProfileAnswer| match record.metric {
            Metric::Speed => answer.tokens_per_second_per_user,
            Metric::Prompt => answer.time_to_first_token_ms,
        };
        profiles.get(&profile).map_or(0.0, value)
    };
    let unbeaten = &profiles.no_mapping_beats;
    let best = of(Profile::Best);
    Figures {
        published: of(Profile::Published),
        best,
        ideal: of(Profile::Ideal),
        no_mapping_beats: match record.metric {
            Metric::Speed => unbeaten.tokens_per_second_per_user,
            Metric::Prompt => unbeaten.latency_us / 1e3,
        },
        ratio_to_best: record.value / best,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_find_their_models() {
        for (name, model) in [
            ("Llama-3.1-8B", Some("llama-3.1-8b")),
            ("Llama-3.1-70B", Some("llama-3.3-70b")),
            ("Llama-3.2-70B (3.1-70B shape)", Some("llama-3.3-70b")),
            ("Llama-4-Maverick", Some("llama-4-maverick-17b-128e")),
            ("Llama-3.1-405B", Some("llama-3.1-405b")),
            ("Qwen3-235B-A22B-2507", Some("qwen3-235b-a22b-2507")),
            ("GLM-4.7", Some("glm-4.6")),
            ("Qwen3-Coder-480B-A35B", Some("qwen3-coder-480b-a35b")),
            ("Llama-3.1-8B and 70B", None),
            ("GPT-5.3-Codex-Spark", None),
            ("35B-active MoE (fit)", None),
            ("Llama", None),
            ("", None),
        ] {
            assert_eq!(built_in(name), model, "{name}");
        }
    }
}
