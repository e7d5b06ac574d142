//! The answer with its layers on the fabric: what must hold whatever the numbers are.

#![cfg(feature = "fabric")]
#![allow(clippy::unwrap_used, reason = "tests")]

use wafersim_answer::fabric::{FabricAnswer, FabricRequest, Phase, WaferMaps, answer_on_fabric};
use wafersim_answer::{AnswerError, Question, Ranges, answer};
use wafersim_spec::Region;
use wafersim_spec::scenario::{Profile, Verification};
use wafersim_spec::{Model, Scenario, Wafer};

const TINY: &str = include_str!("../../../sim/tests/data/tiny-qwen3-moe.json");

/// A tiny model on a small part of a wafer: four slots of 12 x 12.
fn question(change: impl FnOnce(&mut Scenario)) -> Question {
    let mut scenario = Scenario { context: 64, prompt: 64, ..Scenario::default() };
    for key in ["fabric.usable_columns", "fabric.usable_rows"] {
        scenario.wafer_overrides.push((key.into(), 24.0));
    }
    change(&mut scenario);
    let model = Model::from_config_json(TINY, "tiny.json").unwrap();
    Question::new(scenario, model, Wafer::builtin("wse3").unwrap()).unwrap()
}

const DECODE: FabricRequest = FabricRequest { phase: Phase::Decode, layers: 1, record: None, ranges: Ranges::Corner };

fn run(question: &Question, request: FabricRequest) -> FabricAnswer {
    answer_on_fabric(question, &request, &|_| ()).unwrap()
}

#[test]
fn the_pass_differs_by_what_the_layers_differ() {
    let question = question(|_| ());
    let (closed, found) = (answer(&question).unwrap(), run(&question, DECODE));
    let layer = &found.reading.layers[0];
    let more = 2.0 * (layer.cycles - layer.closed_form_cycles) / question.clock().gigahertz() * 1e-3;
    let passed = found.answer.time_per_output_token_us - closed.time_per_output_token_us;
    assert!((passed - more).abs() < 1e-9, "{passed} {more}");
    assert_eq!(found.reading.closed_form_time_per_output_token_us, closed.time_per_output_token_us);
    assert_eq!(found.answer.time_to_first_token_ms, closed.time_to_first_token_ms, "the prompt is in closed form");
    assert_eq!(found.answer.profiles[&Profile::Ideal], closed.profiles[&Profile::Ideal]);
    let operators: f64 = layer.operators.iter().map(|operator| operator.cycles).sum();
    assert!((operators - layer.cycles).abs() < 1e-6, "operators add up to the layer");
    assert_eq!((found.answer.provenance.fidelity, closed.provenance.fidelity), ("fabric", "cost"));
}

#[test]
fn neighbouring_layers_run_alike_each_at_its_place() {
    let question = question(|_| ());
    let found = run(&question, FabricRequest { layers: 2, ..DECODE });
    let [first, second] = found.reading.layers.as_slice() else { panic!("two layers") };
    assert_eq!((first.layer, second.layer), (0, 1));
    assert_ne!(first.region, second.region);
    assert_eq!((first.cycles, &first.operators), (second.cycles, &second.operators));

    let whole = Region { x: 0, y: 0, columns: 24, rows: 24 };
    let maps = WaferMaps::merge(&found.runs, whole);
    let used = maps.busy.iter().filter(|value| !value.is_nan()).count() as u64;
    assert_eq!(used, first.region.elements() + second.region.elements(), "only their places are used");
    let mean = maps.busy.iter().filter(|value| !value.is_nan()).sum::<f64>() / used as f64;
    assert!((mean - first.mean_busy).abs() < 1e-9);
    let busiest = maps.link_use.iter().copied().filter(|value| !value.is_nan()).fold(0.0, f64::max);
    assert!((busiest - first.busiest_link).abs() < 1e-9);
    let at = |x: u64, y: u64| maps.busy[(y * 24 + x) as usize];
    for run in &found.runs {
        let Region { x, y, columns, rows } = run.layer.region;
        assert!(!at(x, y).is_nan() && !at(x + columns - 1, y + rows - 1).is_nan());
        assert_eq!(run.outcome.origin, (x, y));
    }
}

#[test]
fn the_prompt_can_run_instead() {
    let question = question(|_| ());
    let (closed, found) =
        (answer(&question).unwrap(), run(&question, FabricRequest { phase: Phase::Prefill, ..DECODE }));
    assert_eq!(found.answer.time_per_output_token_us, closed.time_per_output_token_us);
    assert_ne!(found.answer.time_to_first_token_ms, closed.time_to_first_token_ms);
    let deviation = found.answer.time_to_first_token_ms / closed.time_to_first_token_ms - 1.0;
    // On regions as small as these the closed form of a prompt under the best mapping is above the fabric (15 % was
    // seen); why is not known yet.
    assert!(deviation < 0.03 && deviation > -0.2, "{deviation}");
}

#[test]
fn speculation_runs_the_draft_and_the_single_token() {
    let asked = |verification| {
        question(|scenario| {
            scenario.speculation.draft_length = 3;
            scenario.speculation.draft_cost = Some(0.5);
            scenario.speculation.verification = verification;
        })
    };
    let streamed = run(&asked(Verification::Stream), DECODE);
    assert_eq!(streamed.reading.layers.iter().map(|layer| layer.tokens).collect::<Vec<_>>(), [1]);
    let found = run(&asked(Verification::MicroBatch), DECODE);
    assert_eq!(found.reading.layers.iter().map(|layer| layer.tokens).collect::<Vec<_>>(), [4, 1]);
    let shown: Vec<bool> = found.reading.layers.iter().map(|layer| layer.is_shown).collect();
    assert_eq!(shown, [true, false], "pictures show the step");
}

#[test]
fn what_the_fabric_cannot_do_is_said() {
    let ideal = question(|scenario| scenario.profile = Profile::Ideal);
    let refused = answer_on_fabric(&ideal, &DECODE, &|_| ()).unwrap_err();
    assert!(matches!(refused, AnswerError::NoFabricProfile { .. }), "{refused}");
    for layers in [0, 3, u64::MAX] {
        let refused = answer_on_fabric(&question(|_| ()), &FabricRequest { layers, ..DECODE }, &|_| ()).unwrap_err();
        assert_eq!(refused, AnswerError::Layers { asked: layers, available: 2 });
    }
}
