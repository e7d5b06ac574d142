//! The decisions of a mapping on a small model of the same family with random weights, computed with numbers as placed,
//! against the model's equations in 64 bit.
//!
//! Everything is computed in 32 bit, where a run differs from the equations by the order of its sums alone, so that the
//! tolerance is tight; weights are stored in the question's format where that has block scales.

use wafersim_answer::{Opened, Question};
use wafersim_mapping::{
    CertificatePart, Inputs, LayerMapping, Load, Mapped, OwnRewrites, PartName, PartState, Recipe, RegionSize,
    Resolved, Verification, on_region,
};
use wafersim_spec::scenario::WaferCount;
use wafersim_spec::{DataType, Model, Precision};
use wafersim_values::checkpoint::check_prefill;
use wafersim_values::{
    Checkpoint, Comparison, Deviation, Prefill, RunInput, Setup, Tolerance, ValuesError, compare, plain, random,
    random_prompt, run, run_users_rewritten,
};

use crate::kept::{Both, Kept};
use crate::scaled::{Pair, scaled, small_region};

/// Tokens of the prompt, decode steps after it, and the seeds of weights and prompts: fixed, so that a certificate is
/// the same wherever it is made.
const PROMPT: u64 = 7;
const STEPS: u64 = 2;
const SEED: u64 = 7;
/// Users that go through together where the mapping has micro-batches.
const USERS: u64 = 3;

/// What numbers show.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Numbers {
    /// A part for each way through the programs.
    pub parts: Vec<CertificatePart>,
    /// What is the same, and what is smaller.
    pub kept: Kept,
}

/// Computes the decisions of a mapping on a small model.
pub fn numbers(question: &Question, resolved: &Resolved, opened: &Opened<'_>, tolerance: Tolerance) -> Numbers {
    if let Some(kernel) = question.extensions().kernels().first() {
        let reason = format!("own kernel '{}': the numeric reading does not compute it", kernel.id());
        return Numbers { parts: vec![not_possible("own kernels", &reason)], ..Numbers::default() };
    }
    match Small::new(question, resolved, opened.mapped(), tolerance) {
        Ok(small) => Numbers { parts: small.parts(), kept: small.kept },
        Err(reason) => Numbers { parts: vec![not_possible("a small model", &reason)], ..Numbers::default() },
    }
}

fn not_possible(subject: &str, reason: &impl ToString) -> CertificatePart {
    CertificatePart {
        name: PartName::Numbers,
        state: PartState::NotPossible,
        subject: subject.to_owned(),
        value: None,
        limit: None,
        unit: String::new(),
        says: reason.to_string(),
    }
}

struct Small {
    /// Its matrices are what they are when stored narrow, so that those that are kept wide hold the same numbers.
    checkpoint: Checkpoint,
    setup: Setup,
    mapped: How,
    kept: Kept,
    tolerance: Tolerance,
    /// Rewrites from outside.
    rewrites: OwnRewrites,
}

/// How tokens go through at full size.
struct How {
    tokens_per_step: u64,
    micro_batch: u64,
    draft: Verification,
}

impl Small {
    fn new(question: &Question, resolved: &Resolved, mapped: &Mapped, tolerance: Tolerance) -> Result<Self, String> {
        let said = |error: ValuesError| error.to_string();
        let (small, kinds) = random::small(&question.model);
        // A table that is looked up in 16 bit and multiplied in 8 would be two in the equations.
        let model = Model { tied_embeddings: false, ..small };
        let precision = Precision {
            weights: stored_in(question.scenario.precision.weights),
            small_weights: DataType::Fp32,
            kv_cache: DataType::Fp32,
            activations: DataType::Fp32,
            ..Precision::default()
        };
        let large: Vec<&LayerMapping> = kinds.iter().filter_map(|layer| mapping_of(mapped, *layer)).collect();
        let layers = || kinds.iter().filter_map(|layer| question.model.layers.get(*layer));
        // Splits of a cache are those of the first layer that has one.
        let has_cache =
            |index: &usize| !matches!(model.layers[*index].attention, wafersim_spec::model::Attention::Linear(_));
        let first = (0..model.layers.len()).find(has_cache).unwrap_or(0);
        let (Some(mapping), Some(layer), Some(small)) =
            (large.get(first), layers().nth(first), model.layers.get(first))
        else {
            return Err("the model has no layers".into());
        };
        let region = small_region(mapping.region);
        let recipe = scaled(&resolved.recipe, &Pair { layer, mapping, small }, region);
        let mut mappings = resolved_small(&recipe, question, (&model, precision), region)?;
        // What is kept wide is as wide as the arithmetic.
        let wide = mappings.iter_mut().flat_map(|mapping| mapping.stored.values_mut());
        wide.for_each(|data_type| *data_type = DataType::Fp32);
        let both: Vec<Both<'_>> = layers()
            .zip(&model.layers)
            .zip(large.iter().zip(&mappings))
            .map(|((layer, small), (mapping, scaled))| Both { layers: [layer, small], mappings: [mapping, scaled] })
            .collect();
        let mut kept = Kept::new(&both);
        kept.scaled.splice(0..0, sizes(question, &model));
        let checkpoint = Checkpoint::random(model, SEED).map_err(said)?;
        let checkpoint = checkpoint.stored_in(precision.weights).map_err(said)?;
        let setup = Setup { mappings, prefill: Prefill::Tokens, precision };
        let tokens_per_step = question.inputs().load.tokens_per_step;
        let mapped = How { tokens_per_step, micro_batch: mapped.micro_batch, draft: mapped.draft };
        let rewrites = question.extensions().rewrites().clone();
        Ok(Self { checkpoint, setup, mapped, kept, tolerance, rewrites })
    }

    fn parts(&self) -> Vec<CertificatePart> {
        let mut parts = vec![self.one_user("decode, token by token", Prefill::Tokens)];
        if self.mapped.tokens_per_step > 1 && self.mapped.draft == Verification::MicroBatch {
            let together = self.mapped.tokens_per_step.min(PROMPT);
            parts.push(self.one_user(&format!("drafts, {together} tokens in a step"), Prefill::Drafts(together)));
        }
        if self.mapped.micro_batch > 1 {
            parts.push(self.several_users());
        }
        // What reaches less far than a prompt, and states in place of caches, have no numbers for whole prompts.
        if check_prefill(&self.checkpoint.model, PROMPT).is_ok() {
            parts.push(self.one_user("a prompt as one chunk", Prefill::Chunk));
        }
        parts
    }

    fn one_user(&self, subject: &str, prefill: Prefill) -> CertificatePart {
        let compared = || {
            let prompt = random_prompt(self.checkpoint.model.vocabulary, PROMPT, SEED);
            let wanted = plain::run(&self.checkpoint, &prompt, STEPS)?;
            let setup = Setup { prefill, ..self.setup.clone() };
            let placed =
                run(&self.checkpoint, &setup, RunInput::new(&prompt, STEPS).rewritten(&self.rewrites), |_, _| ())?;
            Ok(vec![compare(&placed, &wanted, self.tolerance)])
        };
        self.judged(subject, compared())
    }

    fn several_users(&self) -> CertificatePart {
        let prompt = |user: u64| random_prompt(self.checkpoint.model.vocabulary, PROMPT, SEED + user);
        let users = USERS.min(self.mapped.micro_batch);
        let compared = || {
            let prompts: Vec<Vec<u64>> = (0..users).map(prompt).collect();
            let placed = run_users_rewritten(&self.checkpoint, &self.setup, &prompts, STEPS, &self.rewrites)?;
            let one = |(prompt, placed): (&Vec<u64>, _)| {
                let wanted = plain::run(&self.checkpoint, prompt, STEPS)?;
                Ok(compare(placed, &wanted, self.tolerance))
            };
            prompts.iter().zip(&placed).map(one).collect::<Result<Vec<_>, ValuesError>>()
        };
        self.judged(&format!("{users} users together"), compared())
    }

    /// The largest deviation of any kind of tensor, of what it may be.
    fn judged(&self, subject: &str, compared: Result<Vec<Comparison>, ValuesError>) -> CertificatePart {
        let (name, subject) = (PartName::Numbers, subject.to_owned());
        let all = match compared {
            Ok(all) => all,
            Err(error @ ValuesError::Program { .. }) => return crate::failed(name, &subject, &error),
            // The small model cannot be written or computed so: that says nothing of the large one.
            Err(error) => return not_possible(&subject, &error),
        };
        let deviations = || all.iter().flat_map(|one| &one.deviations);
        let elements: u64 = deviations().map(|kind| kind.elements).sum();
        let of_tolerance = |kind: &Deviation| match kind.tolerance {
            allowed if allowed > 0.0 => kind.largest / allowed,
            _ if kind.within => 0.0,
            _ => f64::INFINITY,
        };
        // A choice is another one where a figure was: the figure says more.
        let rank = |kind: &Deviation| (!kind.within, !kind.is_choice(), of_tolerance(kind));
        let worst = deviations().reduce(|worst, one| if rank(one) > rank(worst) { one } else { worst });
        let within = !all.is_empty() && all.iter().all(Comparison::is_within);
        let missing = all.iter().flat_map(|one| &one.missing).next();
        let region = self.setup.mappings.first().map_or(RegionSize { columns: 0, rows: 0 }, |mapping| mapping.region);
        let mut says = format!(
            "{} layers on {} x {} processing elements each, {} elements against the equations in 64 bit",
            self.checkpoint.model.layers.len(),
            region.columns,
            region.rows,
            crate::grouped(elements)
        );
        if let Some(kind) = worst {
            says += &format!("; {} is off by {:.1e}, allowed {:.1e}", kind.kind, kind.largest, kind.tolerance);
        }
        says.extend(missing.map(|name| format!("; {name} is missing")));
        CertificatePart {
            name,
            state: if within { PartState::Passed } else { PartState::Failed },
            subject,
            value: worst.map(|kind| (of_tolerance(kind).min(1e6) * 1e4).round() / 1e4),
            limit: Some(1.0),
            unit: "of the tolerance".into(),
            says,
        }
    }
}

/// The recipe on the small region; where a split does not fit there, as the recipe leaves it.
fn resolved_small(
    recipe: &Recipe,
    question: &Question,
    (model, precision): (&Model, Precision),
    region: RegionSize,
) -> Result<Vec<LayerMapping>, String> {
    let asked = question.inputs().load;
    let load = Load {
        wafers: WaferCount::Auto,
        users: USERS,
        context: PROMPT + STEPS,
        tokens_per_step: asked.tokens_per_step,
        precision,
        routing: asked.routing,
    };
    let inputs = Inputs { counted: question.scenario.counted.as_ref(), ..Inputs::new(model, &question.wafer, load) };
    let open =
        Recipe { kv: wafersim_mapping::KvRecipe { append: recipe.kv.append, ..Default::default() }, ..recipe.clone() };
    let first = on_region(recipe, inputs, region);
    first.or_else(|refused| on_region(&open, inputs, region).map_err(|_| refused.to_string()))
}

fn mapping_of(mapped: &Mapped, layer: usize) -> Option<&LayerMapping> {
    mapped.placement.layout_index(layer).and_then(|layout| mapped.layers.get(layout))
}

/// Formats with block scales are stored as they are; all others in 32 bit.
fn stored_in(weights: DataType) -> DataType {
    if weights.scale_tile().is_some() { weights } else { DataType::Fp32 }
}

/// What of the model is smaller.
fn sizes(question: &Question, small: &Model) -> Vec<String> {
    let (model, scenario) = (&question.model, &question.scenario);
    vec![
        format!("layers: {} for {}", small.layers.len(), model.layers.len()),
        format!("width of the stream: {} for {}", small.hidden, model.hidden),
        format!("context: {} tokens for {}", PROMPT + STEPS, scenario.context),
        format!("arithmetic: fp32 for {}; rotary frequencies without scaling", scenario.precision.activations),
        "weights: random; embedding and LM head: two tables".to_owned(),
    ]
}
