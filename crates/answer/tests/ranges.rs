//! Ranges of answers: what must hold whatever the numbers are.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use rayon::ThreadPoolBuilder;
use wafersim_answer::plan::{Axes, PlanRow, plan};
use wafersim_answer::rows::Rows;
use wafersim_answer::{
    Answer, AnswerError, Drawn, Estimator, Question, Ranges, Sampled, Sampling, Spread, Uncertainty, answer_with,
};
use wafersim_spec::scenario::{Acceptance, WaferCount};
use wafersim_spec::{Model, Scenario, Wafer};

const WSE3: &str = include_str!("../../../models/wafer/wse3.toml");
const TINY: &str = include_str!("../../../sim/tests/data/tiny-qwen3-moe.json");

/// The WSE-3 with the ranges that `keep` leaves of each parameter; all others have none.
fn wafer(keep: impl Fn(&str) -> Option<[f64; 2]>) -> Wafer {
    let mut table: toml::Table = toml::from_str(WSE3).unwrap();
    for (group, parameters) in table.iter_mut().filter(|(group, _)| *group != "title") {
        for (name, figure) in parameters.as_table_mut().unwrap() {
            let figure = figure.as_table_mut().unwrap();
            let ends = keep(&format!("{group}.{name}"));
            // A guess has a range, or its file is refused.
            figure.insert("evidence".into(), "inferred".into());
            if format!("{group}.{name}") == "vector.setup" {
                // So that it does not matter when a transfer is set up, which is not known of any wafer.
                figure.insert("value".into(), 0.0.into());
            }
            let value = figure["value"].clone();
            for (at, end) in ["low", "high"].into_iter().enumerate() {
                figure.insert(end.into(), ends.map_or_else(|| value.clone(), |ends| toml::Value::Float(ends[at])));
            }
        }
    }
    Wafer::parse(&table.to_string(), "wse3", "wse3.toml").unwrap()
}

/// All ranges as they are in the file.
fn as_written() -> Wafer {
    Wafer::builtin("wse3").unwrap()
}

/// A small part of the wafer, and a tiny model on the fewest of them.
fn question(mut wafer: Wafer, model: Model, change: impl FnOnce(&mut Scenario)) -> Question {
    wafer.set_all(&[("fabric.usable_columns".into(), 24.0), ("fabric.usable_rows".into(), 24.0)]).unwrap();
    let mut scenario = Scenario { context: 256, prompt: 256, wafers: WaferCount::Fewest, ..Scenario::default() };
    change(&mut scenario);
    Question::new(scenario, model, wafer).unwrap()
}

/// Experts enough for several of these wafers.
fn experts() -> Model {
    let mut config: serde_json::Value = serde_json::from_str(TINY).unwrap();
    config["num_hidden_layers"] = 4.into();
    config["num_experts"] = 64.into();
    config["moe_intermediate_size"] = 480.into();
    Model::from_config_json(&config.to_string(), "tiny.json").unwrap()
}

/// Without experts, so that there is nothing to route.
fn dense() -> Model {
    let mut config: serde_json::Value = serde_json::from_str(TINY).unwrap();
    config["model_type"] = "qwen3".into();
    config["architectures"] = serde_json::json!(["Qwen3ForCausalLM"]);
    Model::from_config_json(&config.to_string(), "dense.json").unwrap()
}

/// On one wafer, where no port of a link is guessed.
fn on_one(wafer: Wafer) -> Question {
    question(wafer, dense(), |scenario| scenario.wafers = WaferCount::Exactly(1))
}

fn asked(question: &Question, samples: u32, seed: u64) -> Answer {
    answer_with(question, Ranges::Sampled(Sampling { samples, seed }), &|_, _| ()).unwrap()
}

fn uncertainty(question: &Question, samples: u32, seed: u64) -> Uncertainty {
    asked(question, samples, seed).uncertainty.unwrap()
}

fn sampled(question: &Question, samples: u32, seed: u64) -> Sampled {
    uncertainty(question, samples, seed).sampled.unwrap()
}

fn p50(question: &Question, samples: u32, seed: u64) -> f64 {
    sampled(question, samples, seed).p50.tokens_per_second_per_user
}

/// Questions of several kinds: experts, many users, drafts by a measured draft and by the assumed one.
fn questions() -> Vec<Question> {
    let draft = |acceptance: Option<&str>| {
        let acceptance: Option<Acceptance> = acceptance.map(|name| name.parse().unwrap());
        question(as_written(), experts(), |scenario| {
            scenario.speculation.draft_length = 4;
            match acceptance {
                Some(acceptance) => scenario.speculation.acceptance = acceptance,
                None => scenario.speculation.default_acceptance = true,
            }
        })
    };
    vec![
        question(as_written(), experts(), |_| ()),
        question(as_written(), experts(), |scenario| scenario.users = 6),
        draft(Some("eagle3-qwen3-8b-coding")),
        draft(None),
        on_one(as_written()),
    ]
}

#[test]
fn quantiles_are_in_order_and_within_the_corner() {
    for (number, question) in questions().iter().enumerate() {
        let ranges = uncertainty(question, 400, 1);
        let (speed, first) = (ranges.tokens_per_second_per_user, ranges.time_to_first_token_ms);
        let sampled = ranges.sampled.unwrap();
        let figures = [sampled.p5, sampled.p50, sampled.p95];
        for pair in figures.windows(2) {
            assert!(pair[0].tokens_per_second_per_user <= pair[1].tokens_per_second_per_user, "{number}: {figures:?}");
            assert!(pair[0].tokens_per_second_total <= pair[1].tokens_per_second_total, "{number}: {figures:?}");
            assert!(pair[0].time_to_first_token_ms <= pair[1].time_to_first_token_ms, "{number}: {figures:?}");
            assert!(pair[0].users_at_full_speed <= pair[1].users_at_full_speed, "{number}: {figures:?}");
        }
        // Inputs move the answer at all, so that what follows says something.
        assert!(sampled.p5.tokens_per_second_per_user < sampled.p95.tokens_per_second_per_user, "{number}");
        for drawn in figures {
            let within = |value: f64, range: wafersim_answer::Range| range.low <= value && value <= range.high;
            assert!(within(drawn.tokens_per_second_per_user, speed), "{number}: {drawn:?} in {speed:?}");
            assert!(within(drawn.time_to_first_token_ms, first), "{number}: {drawn:?} in {first:?}");
        }
    }
}

#[test]
fn the_answer_itself_lies_in_the_corner() {
    for question in &questions() {
        let answer = asked(question, 20, 1);
        let ranges = answer.uncertainty.unwrap();
        let (speed, first) = (ranges.tokens_per_second_per_user, ranges.time_to_first_token_ms);
        assert!(speed.low < answer.tokens_per_second_per_user && answer.tokens_per_second_per_user < speed.high);
        assert!(first.low < answer.time_to_first_token_ms && answer.time_to_first_token_ms < first.high);
    }
}

#[test]
fn without_ranges_every_draw_is_the_answer() {
    let answer = asked(&on_one(wafer(|_| None)), 50, 3);
    let ranges = answer.uncertainty.unwrap();
    let sampled = ranges.sampled.unwrap();
    let itself = Drawn {
        tokens_per_second_per_user: answer.tokens_per_second_per_user,
        tokens_per_second_total: answer.tokens_per_second_total,
        time_to_first_token_ms: answer.time_to_first_token_ms,
        users_at_full_speed: answer.users_at_full_speed,
        fewest_wafers: ranges.wafers.low,
        max_users: answer.max_users,
    };
    assert_eq!([sampled.p5, sampled.p50, sampled.p95], [itself; 3]);
    assert_eq!(sampled.shares.estimator, Estimator::Nothing);
    assert!(sampled.shares.each.is_empty());
    assert_eq!(sampled.probability, f64::from(u8::from(answer.verdict.state.is_reached())));
    assert_eq!(ranges.time_to_first_token_ms.low, ranges.time_to_first_token_ms.high);
}

#[test]
fn one_input_alone_causes_all_of_the_variance() {
    for (parameter, ends) in [("clock.frequency", [0.85, 1.1]), ("fabric.ramp_out", [5.0, 9.0])] {
        let question = on_one(wafer(|path| (path == parameter).then_some(ends)));
        // Enough for a regression, and too few: both estimators.
        for samples in [400, 20] {
            let sampled = sampled(&question, samples, 5);
            let shares = &sampled.shares.each;
            assert_eq!(shares.len(), 1, "{shares:?}");
            assert_eq!(shares[0].parameter, parameter);
            // What a parabola leaves of the curve of 1 / time.
            assert!((shares[0].first_order - 1.0).abs() < 1e-3, "{parameter}: {sampled:?}");
        }
    }
}

#[test]
fn both_estimators_see_the_same_inputs() {
    // The regression on many draws, and the exchange of inputs, where draws are fewer than coefficients need.
    let question = on_one(as_written());
    let (many, few) = (sampled(&question, 2000, 1), sampled(&question, 75, 1));
    assert!(matches!(many.shares.estimator, Estimator::Regression { adjusted_r_squared } if adjusted_r_squared > 0.95));
    assert!(matches!(few.shares.estimator, Estimator::Exchange { .. }), "{:?}", few.shares.estimator);
    let largest = &many.shares.each[0];
    let same = few.shares.each.iter().find(|share| share.parameter == largest.parameter).unwrap();
    // A share of 75 draws has a standard error of about 1 / sqrt(75); three of them.
    assert!((same.first_order - largest.first_order).abs() < 3.0 / 75_f64.sqrt(), "{same:?} {largest:?}");
    assert!((few.shares.together - 1.0).abs() < 0.05, "{}", few.shares.together);
    assert!(many.shares.together > 0.95 && many.shares.together <= 1.0, "{}", many.shares.together);
}

#[test]
fn quantiles_are_those_of_the_triangle() {
    // On one wafer the speed goes with the clock, whose distribution is a triangle.
    let question = on_one(wafer(|path| (path == "clock.frequency").then_some([0.9, 1.3])));
    let answer = asked(&question, 4000, 9);
    let sampled = answer.uncertainty.unwrap().sampled.unwrap();
    // P(clock < c) = 0.05 at 0.9 + sqrt(0.05 * 0.4 * 0.2).
    let expected = |clock: f64| answer.tokens_per_second_per_user * clock / 1.1;
    let [low, high] = [0.9 + (0.05_f64 * 0.4 * 0.2).sqrt(), 1.3 - (0.05_f64 * 0.4 * 0.2).sqrt()];
    for (found, clock) in [
        (sampled.p5.tokens_per_second_per_user, low),
        (sampled.p50.tokens_per_second_per_user, 1.1),
        (sampled.p95.tokens_per_second_per_user, high),
    ] {
        // The standard error of a quantile of 4,000 draws is below 0.0035 GHz here; three of them.
        assert!((found / expected(clock) - 1.0).abs() < 0.0105 / 1.1, "{found} {}", expected(clock));
    }
}

#[test]
fn more_draws_come_nearer_to_each_other() {
    let question = question(as_written(), experts(), |_| ());
    let spread = |samples: u32| {
        let medians: Vec<f64> = (1..=8).map(|seed| p50(&question, samples, seed)).collect();
        let mean = medians.iter().sum::<f64>() / 8.0;
        (medians.iter().map(|median| (median - mean).powi(2)).sum::<f64>() / 7.0).sqrt()
    };
    // 25 times the draws: a fifth in the mean, so that a half leaves room for eight seeds.
    let (few, many) = (spread(40), spread(1000));
    assert!(many < few / 2.0 && many > 0.0, "{few} {many}");
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    for question in &questions() {
        let on = |threads: usize| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            // Too few draws for a regression: inputs are exchanged as well.
            pool.install(|| serde_json::to_string(&[asked(question, 20, 2), asked(question, 300, 2)]).unwrap())
        };
        assert_eq!(on(1), on(8));
    }
}

#[test]
fn a_slower_end_never_raises_the_median() {
    let mut median = f64::INFINITY;
    // Each has one more input that may be slower than its nominal, and none that may be quicker.
    let slower = [("link.latency", [5.0, 20.0]), ("fabric.ramp_out", [7.0, 9.0]), ("clock.frequency", [0.85, 1.1])];
    let values = [("scalar.exponential", [27.0, 35.0]), ("map.wave_16", [2.48, 2.74])];
    let all: Vec<_> = slower.into_iter().chain(values).collect();
    let mut medians = Vec::new();
    for count in 0..=all.len() {
        let of = |path: &str| all[..count].iter().find(|(name, _)| *name == path).map(|(_, ends)| *ends);
        let next = p50(&question(wafer(of), experts(), |_| ()), 101, 4);
        assert!(next <= median, "{count}: {next} after {median}");
        medians.push(next);
        median = next;
    }
    assert!(medians.last() < medians.first(), "{medians:?}");
}

#[test]
fn acceptance_and_cost_are_inputs_unless_the_user_gave_them() {
    let parameters = |change: &dyn Fn(&mut Scenario)| -> Vec<String> {
        let question = question(as_written(), experts(), |scenario| {
            scenario.speculation.draft_length = 4;
            change(scenario);
        });
        let ranges = uncertainty(&question, 100, 1);
        ranges.sampled.unwrap().shares.each.iter().map(|share| share.parameter.to_string()).collect()
    };
    let [length, cost] = ["speculation.accepted_length", "speculation.draft_cost"].map(str::to_owned);
    let assumed = parameters(&|scenario| scenario.speculation.default_acceptance = true);
    assert!(assumed.contains(&length) && assumed.contains(&cost), "{assumed:?}");
    let given = parameters(&|scenario| scenario.speculation.draft_cost = Some(0.1));
    assert!(!given.contains(&length) && !given.contains(&cost), "{given:?}");
    let fixed = parameters(&|scenario| scenario.clock_ghz = Some(1.0));
    assert!(!fixed.contains(&"clock.frequency".to_owned()) && fixed.contains(&"link.latency".to_owned()), "{fixed:?}");
}

#[test]
fn toggles_are_said_each_by_itself() {
    let names = |question: &Question| -> Vec<&str> {
        let toggles = uncertainty(question, 20, 1).toggles;
        toggles.iter().map(|toggle| toggle.toggle.name()).collect()
    };
    assert_eq!(names(&question(as_written(), experts(), |_| ())), ["routing", "link_ports", "transfer_setup"]);
    assert_eq!(names(&on_one(as_written())), ["transfer_setup"]);
    let answer = asked(&question(as_written(), experts(), |scenario| scenario.users = 6), 20, 1);
    let ports = answer.uncertainty.as_ref().unwrap().toggles[1].clone();
    let range = ports.tokens_per_second_per_user;
    assert_eq!(range.low, answer.tokens_per_second_per_user, "no way along y is never slower");
}

#[test]
fn probability_is_the_part_of_the_draws_that_reach_the_target() {
    let base = question(as_written(), experts(), |_| ());
    let median = p50(&base, 200, 1);
    let at = |target: f64| sampled(&question(as_written(), experts(), |scenario| scenario.target = target), 200, 1);
    // The median itself is reached by the draws above it and by its own.
    let middle = at(median);
    assert_eq!(middle.probability, 101.0 / 200.0);
    assert!((middle.standard_error - (0.505_f64 * 0.495 / 200.0).sqrt()).abs() < 1e-12);
    for (target, probability) in [(median / 10.0, 1.0), (median * 10.0, 0.0)] {
        assert_eq!((at(target).probability, at(target).standard_error), (probability, 0.0));
    }
}

#[test]
fn none_is_no_work_and_a_plan_has_the_ranges_of_an_answer() {
    let question = question(as_written(), experts(), |_| ());
    let none = answer_with(&question, Ranges::None, &|_, _| ()).unwrap();
    assert_eq!((none.uncertainty.is_none(), none.provenance.seed), (true, None));
    let sampling = Sampling { samples: 30, seed: 8 };
    let asked = asked(&question, 30, 8);
    assert_eq!(asked.provenance.seed, Some(8));
    let known = asked.uncertainty.unwrap();
    let row = |ranges: Ranges| {
        let rows = Rows::none_known(&|_, _: &PlanRow| Ok::<(), AnswerError>(()));
        let table = plan(&question, &Axes::of(&question.scenario), ranges, &rows).unwrap();
        table.rows[0].ranges.clone()
    };
    assert_eq!(row(Ranges::None), None);
    assert_eq!(row(Ranges::Sampled(sampling)), known.sampled.map(|sampled| Spread::Sampled(Box::new(sampled))));
    let Some(Spread::Corner(corner)) = row(Ranges::Corner) else { panic!("no corner") };
    assert_eq!(corner.tokens_per_second_per_user, known.tokens_per_second_per_user);
    assert_eq!(corner.time_to_first_token_ms, known.time_to_first_token_ms);
}
