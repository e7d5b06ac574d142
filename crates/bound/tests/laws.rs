//! What must hold whatever the numbers are: a harder question has no lower time.

use proptest::prelude::*;
use wafersim_bound::{Bound, BoundLoad, bound};
use wafersim_spec::{DataType, Hertz, Model, Precision, Wafer};

const MODELS: &[&str] = &[
    "qwen3-coder-480b-a35b",
    "qwen3-32b",
    "llama-3.1-8b",
    "llama-3.1-405b",
    "llama-4-maverick-17b-128e",
    "gpt-oss-120b",
    "deepseek-v3",
    "glm-4.6",
    "grok-2",
    "qwen3-coder-next",
];

fn load(context: u64, users: u64, wafers: Option<u32>) -> BoundLoad {
    BoundLoad {
        context,
        users,
        precision: Precision::default(),
        wafers,
        tokens: 1,
        accepted: 1.0,
        clock: Hertz::from_gigahertz(1.1),
    }
}

/// Both figures of `harder` are at most those of `easier`, where its wafers hold it at all.
fn no_better(harder: &Bound, easier: &Bound) -> Result<(), TestCaseError> {
    if harder.load.wafers.is_some_and(|wafers| wafers < harder.fewest_wafers) {
        return Ok(());
    }
    let speeds = |bound: &Bound| {
        [&bound.no_mapping_beats, &bound.no_mapping_beats_at_measured_rate]
            .map(|limit| limit.tokens_per_second_per_user)
    };
    for (harder, easier) in speeds(harder).into_iter().zip(speeds(easier)) {
        prop_assert!(harder.is_finite() && harder > 0.0);
        prop_assert!(harder <= easier * (1.0 + 1e-12), "{harder} > {easier}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_harder_question_is_never_faster(
        model in prop::sample::select(MODELS),
        context in 1_u64..200_000,
        more_context in 0_u64..200_000,
        users in 1_u64..600,
        more_users in 0_u64..600,
        wafers in prop::option::of(1_u32..80),
        fewer in 0_u32..40,
        link in prop_oneof![Just(5.0), 0.05..3.0_f64],
        hop in 0.0..3.0_f64,
        rows in 200_u64..1170,
        free in 8_000_u64..40_000,
    ) {
        let model = Model::builtin(model).unwrap();
        let mut wafer = Wafer::builtin("wse3").unwrap();
        wafer.set("link.latency", link).unwrap();
        wafer.set("fabric.hop_latency", hop).unwrap();
        let asked = load(context, users, wafers);
        let of = |wafer: &Wafer, load: &BoundLoad| bound(&model, wafer, load);
        let base = of(&wafer, &asked);
        let ask = |load: BoundLoad| of(&wafer, &load);
        let on = |path: &str, value: f64| {
            let mut changed = wafer.clone();
            changed.set(path, value).unwrap();
            of(&changed, &asked)
        };
        no_better(&ask(BoundLoad { context: context + more_context, ..asked }), &base)?;
        no_better(&ask(BoundLoad { users: users + more_users, ..asked }), &base)?;
        no_better(&ask(BoundLoad { wafers: wafers.map(|count| count.saturating_sub(fewer).max(1)), ..asked }), &base)?;
        no_better(&base, &ask(BoundLoad { wafers: None, ..asked }))?;
        no_better(&base, &ask(BoundLoad { accepted: 2.5, ..asked }))?;
        no_better(&ask(BoundLoad { tokens: 5, ..asked }), &base)?;
        let wide = Precision { weights: DataType::Bf16, ..asked.precision };
        no_better(&ask(BoundLoad { precision: wide, ..asked }), &base)?;
        let wider = Precision { activations: DataType::Fp32, ..asked.precision };
        no_better(&ask(BoundLoad { precision: wider, ..asked }), &base)?;
        no_better(&on("fabric.usable_rows", rows as f64), &base)?;
        no_better(&on("fabric.usable_columns", (rows / 2) as f64), &base)?;
        no_better(&on("pe.free_memory", free as f64), &base)?;
        no_better(&on("fabric.hop_latency", hop + 0.5), &base)?;
        no_better(&on("link.latency", link + 1.0), &base)?;
        no_better(&on("pe.peak_16", 4.0), &base)?;
        let (peak, measured) = (&base.no_mapping_beats, &base.no_mapping_beats_at_measured_rate);
        prop_assert!(measured.tokens_per_second_per_user <= peak.tokens_per_second_per_user * (1.0 + 1e-12));
        // The terms add up to the figure.
        for limit in [peak, measured] {
            let cycles: f64 = limit.terms.iter().map(|term| term.times as f64 * term.shortest.cycles).sum();
            prop_assert!((cycles / 1100.0 - limit.stages_us).abs() <= 1e-9 * limit.stages_us);
            let pass = limit.stages_us + limit.links_us - limit.given_away_us;
            prop_assert!((pass - limit.pass_us).abs() <= 1e-9 * limit.stages_us);
        }
    }
}

#[test]
fn every_model_that_is_built_in_has_a_bound() {
    for name in wafersim_spec::model::builtin::names() {
        let Ok(model) = Model::builtin(name) else { continue };
        let bound = bound(&model, &Wafer::builtin("wse3").unwrap(), &load(1024, 1, None));
        let limit = &bound.no_mapping_beats_at_measured_rate;
        assert!((500.0..200_000.0).contains(&limit.tokens_per_second_per_user), "{name}: {limit:?}");
    }
}

/// Wafers are free and links take no time: stages may be on as many as one likes.
#[test]
fn free_links_leave_no_bound() {
    let mut wafer = Wafer::builtin("wse3").unwrap();
    wafer.set("link.latency", 0.0).unwrap();
    let model = Model::builtin("llama-3.1-8b").unwrap();
    let free = bound(&model, &wafer, &load(1024, 1, None)).no_mapping_beats;
    assert!(free.pass_us < 1e-9 && free.given_away_us > 0.0);
    let one = bound(&model, &wafer, &load(1024, 1, Some(1))).no_mapping_beats;
    assert!(one.links == 0 && one.pass_us == one.stages_us);
}
