//! Checks of a second kind: what must hold whatever the numbers are.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use proptest::prelude::*;
use wafersim_answer::{Question, answer_without_ranges, resolved_mapping};
use wafersim_spec::scenario::{Acceptance, ExpertPlacement, Profile, RoutingModel, Verification};
use wafersim_spec::wafer::{RateSet, TIMED};
use wafersim_spec::{DataType, Model, Precision, Scenario, Wafer};

const MODELS: [&str; 9] = [
    "qwen3-coder-480b-a35b",
    "qwen3-30b-a3b",
    "llama-3.1-8b",
    "mixtral-8x7b",
    "gpt-oss-120b",
    "deepseek-v3",
    "llama-4-scout-17b-16e",
    "glm-4.5",
    "grok-2",
];

#[derive(Debug, Clone)]
struct Case {
    model: &'static str,
    columns: u64,
    rows: u64,
    users: u64,
    context: u64,
    placement: ExpertPlacement,
    routing: RoutingModel,
    weights: DataType,
    draft: u32,
}

fn case() -> impl Strategy<Value = Case> {
    let grid = (200u64..=1200, 200u64..=1200);
    let load = (prop_oneof![Just(1u64), 1u64..100], 1u64..40_000);
    let choices = (prop::sample::select(&MODELS[..]), any::<bool>(), any::<bool>(), 0usize..6, 0u32..6);
    (grid, load, choices).prop_map(
        |((columns, rows), (users, context), (model, clustered, uniform, weights, draft))| Case {
            model,
            columns,
            rows,
            users,
            context,
            placement: if clustered { ExpertPlacement::Clustered } else { ExpertPlacement::Spread },
            routing: if uniform { RoutingModel::Uniform } else { RoutingModel::Skewed },
            weights: DataType::ALL[weights],
            draft,
        },
    )
}

fn question(case: &Case, profile: Profile) -> Option<Question> {
    let model = Model::builtin(case.model).unwrap();
    let mut wafer = Wafer::builtin("wse3").unwrap();
    let grid = [
        ("fabric.columns".to_owned(), 1200.0),
        ("fabric.rows".to_owned(), 1200.0),
        ("fabric.usable_columns".to_owned(), case.columns as f64),
        ("fabric.usable_rows".to_owned(), case.rows as f64),
    ];
    wafer.set_all(&grid).unwrap();
    let mut scenario = Scenario {
        users: case.users,
        context: case.context.min(model.max_positions),
        prompt: case.context.min(model.max_positions),
        placement: case.placement,
        routing: case.routing,
        profile,
        precision: Precision { weights: case.weights, ..Precision::default() },
        ..Scenario::default()
    };
    scenario.speculation.draft_length = case.draft;
    Question::new(scenario, model, wafer).ok()
}

/// Few by default: an answer takes a second in a build for tests. `.ci/full` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(8)
}

/// Whether two answers place and decide the same. The mapping is the fastest for a token: another one may be slower
/// with the prompt, whose keys and values have to lie where it wants them.
fn by_one_mapping(one: &Question, other: &Question) -> bool {
    let of = |question: &Question| {
        let resolved = resolved_mapping(question).unwrap();
        (resolved.kinds, resolved.slots, resolved.division)
    };
    of(one) == of(other)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// `ideal` is never slower than `best`, nor that than `published`; on one mapping, nor later with the first token;
    /// and the figures fit together.
    #[test]
    fn profiles_keep_their_order(case in case()) {
        let Some(question) = question(&case, Profile::Published) else { return Ok(()) };
        let Ok(answer) = answer_without_ranges(&question) else { return Ok(()) };
        let said = |profile: Profile| &answer.profiles[&profile];
        for (fast, slow) in [(Profile::Ideal, Profile::Best), (Profile::Best, Profile::Published)] {
            prop_assert!(said(fast).time_per_output_token_us <= said(slow).time_per_output_token_us * (1.0 + 1e-12));
            let [one, other] = [fast, slow].map(|profile| {
                let scenario = Scenario { profile, ..question.scenario.clone() };
                question.asking(scenario).unwrap()
            });
            if by_one_mapping(&one, &other) {
                let [fast, slow] = [fast, slow].map(|profile| said(profile).time_to_first_token_ms);
                prop_assert!(fast <= slow * (1.0 + 1e-12));
            }
        }
        let total: f64 = answer.breakdown.iter().map(|row| row.share).sum();
        prop_assert!((total - 1.0).abs() < 1e-9);
        for row in &answer.breakdown {
            let causes: f64 = row.causes.values().sum();
            prop_assert!((causes - row.cycles).abs() <= 1e-6 * row.cycles.max(1.0));
        }
        let bytes = answer.memory.per_pe_bytes;
        let sum = bytes.weights + bytes.replicated + bytes.kv_cache + bytes.activations + bytes.receive_buffers
            + bytes.code_and_runtime + bytes.spare;
        prop_assert_eq!(sum, bytes.limit);
        prop_assert!(answer.max_users >= answer.users);
        let product = answer.tokens_per_second_per_user * answer.users as f64;
        prop_assert!((answer.tokens_per_second_total / product - 1.0).abs() < 1e-9);
    }

    /// A machine on which something takes less time (or more goes through in a cycle) never answers later; on one
    /// mapping, nor with the first token.
    #[test]
    fn nothing_gets_slower_when_a_part_gets_faster(case in case(), which in 0usize..64, factor in 0.0f64..1.0, profile in 0usize..3) {
        let rates: Vec<_> = TIMED
            .iter()
            .filter(|declared| !declared.whole && declared.path != "map.column" && declared.path != "clock.frequency")
            .collect();
        let declared = rates[which % rates.len()];
        let Some(question) = question(&case, Profile::ALL[profile]) else { return Ok(()) };
        let Ok(before) = answer_without_ranges(&question) else { return Ok(()) };
        let value = question.wafer.value(declared.key, RateSet::Silicon);
        let changed = if declared.is_faster_when_larger() { value / factor.max(0.01) } else { value * factor };
        let changed = changed.clamp(declared.smallest, declared.largest);
        let mut quicker = question.clone();
        quicker.wafer.set(declared.path, changed).unwrap();
        let after = answer_without_ranges(&quicker).unwrap();
        prop_assert!(
            after.time_per_output_token_us <= before.time_per_output_token_us * (1.0 + 1e-12),
            "{} from {} to {}: {} -> {} us",
            declared.path, value, changed, before.time_per_output_token_us, after.time_per_output_token_us
        );
        let [then, now] = [&before, &after].map(|answer| answer.time_to_first_token_ms);
        prop_assert!(now <= then * (1.0 + 1e-12) || !by_one_mapping(&question, &quicker), "{}", declared.path);
    }
}

#[test]
fn every_built_in_model_has_an_answer_on_wse3() {
    for name in wafersim_spec::model::builtin::names() {
        let model = Model::builtin(name).unwrap();
        let context = model.max_positions.min(4096);
        let scenario = Scenario { context, prompt: context, ..Scenario::default() };
        let question = Question::new(scenario, model, Wafer::builtin("wse3").unwrap()).unwrap();
        let answer = answer_without_ranges(&question).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(answer.tokens_per_second_per_user > 10.0 && answer.tokens_per_second_per_user < 20_000.0, "{name}");
    }
}

/// A second way to the largest term: the multiply-accumulates of a token over all processing elements at the SIMD peak
/// are a time that no profile can beat.
#[test]
fn no_profile_beats_the_peak_of_all_processing_elements() {
    for name in ["qwen3-coder-480b-a35b", "llama-3.1-8b", "deepseek-v3"] {
        let model = Model::builtin(name).unwrap();
        let macs = (model.parameters().active_without_input_embedding) as f64;
        let scenario = Scenario { context: 2048, prompt: 2048, profile: Profile::Ideal, ..Scenario::default() };
        let question = Question::new(scenario, model, Wafer::builtin("wse3").unwrap()).unwrap();
        let answer = answer_without_ranges(&question).unwrap();
        let elements = 755.0 * 1170.0 * f64::from(answer.wafers);
        let seconds = macs / (elements * 8.0) / 1.1e9;
        assert!(answer.time_per_output_token_us > seconds * 1e6, "{name}");
    }
}

#[test]
fn speculation_with_certain_acceptance_yields_the_whole_draft() {
    let mut scenario = Scenario { context: 4096, prompt: 4096, ..Scenario::default() };
    scenario.speculation.draft_length = 3;
    scenario.speculation.acceptance = Acceptance::Constant(1.0);
    scenario.speculation.draft_cost = Some(0.0);
    scenario.speculation.verification = Verification::MicroBatch;
    let model = Model::builtin("qwen3-30b-a3b").unwrap();
    let wafer = Wafer::builtin("wse3").unwrap();
    let answer = answer_without_ranges(&Question::new(scenario, model, wafer).unwrap()).unwrap();
    assert_eq!(answer.load.tokens_per_step, 4.0);
    let profile = &answer.profiles[&Profile::Published];
    assert!((profile.latency_us / 4.0 - profile.time_per_output_token_us).abs() < 1e-6);
}
