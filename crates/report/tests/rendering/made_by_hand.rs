//! Results made by hand, so that what is tested here depends on no formula.

use std::collections::BTreeMap;

use wafersim_answer::plan::{Plan, PlanRow};
use wafersim_answer::{
    Alternative, Answer, BreakdownRow, ClockPoint, Corner, Drawn, Ends, Estimator, Influence, KnownError, Limit,
    MemoryBytes, ProfileAnswer, Question, Range, Ranges, State, Toggle, Unbeaten, Uncertainty, Verdict, Verified,
    WorstPe, answer_without_ranges,
};
use wafersim_answer::{Sampled, Share, Shares, Spread};
use wafersim_check::validate::{Group, Prediction, Skipped, Validation};
use wafersim_cost::Cause;
use wafersim_place::ByteCounts;
use wafersim_spec::Region;
use wafersim_spec::scenario::{Acceptance, ExpertPlacement, Profile, WaferCount};
use wafersim_spec::wafer::{Evidence, RateSet};
use wafersim_spec::{Bytes, DataType, Model, Scenario, Wafer};

fn causes(compute: f64, hops: f64, link: f64) -> BTreeMap<&'static str, f64> {
    let zero = [("payload", 0.0), ("stages", 0.0), ("route changes", 0.0)];
    [("compute", compute), ("hops", hops), ("wafer links", link)].into_iter().chain(zero).collect()
}

fn profile(speed: f64) -> ProfileAnswer {
    ProfileAnswer {
        tokens_per_second_per_user: speed,
        tokens_per_second_total: speed * 8.0,
        time_per_output_token_us: 1e6 / speed,
        time_to_first_token_ms: 4500.0,
        prefill: None,
        latency_us: 1e6 / speed,
        slowest_stage_us: 35.5,
        full_pipeline_users: 52,
        full_pipeline_tokens_per_second: speed * 52.0,
        reaches_target: speed >= 2000.0,
        users_at_full_speed: 29,
        limit: Limit { cause: Cause::Compute, operator: "attention.softmax".into(), share: 0.6, full: None },
        causes: causes(600_000.0, 300_000.0, 100_000.0),
    }
}

fn unbeaten(speed: f64) -> Unbeaten {
    Unbeaten {
        tokens_per_second_per_user: speed,
        tokens_per_second_total: speed * 8.0,
        time_per_output_token_us: 1e6 / speed,
        latency_us: 1e6 / speed,
        reaches_target: speed >= 2000.0,
    }
}

fn row(operator: &str, cycles: f64) -> BreakdownRow {
    BreakdownRow {
        operator: operator.into(),
        cycles,
        share: cycles / 1e6,
        causes: causes(cycles * 0.6, cycles * 0.4, 0.0),
    }
}

/// The wafer of [`answer`].
pub fn wafer() -> Wafer {
    Wafer::builtin("wse3").expect("built in")
}

/// An answer with figures that nobody computed.
pub fn answer() -> Answer {
    let scenario = Scenario { context: 4096, prompt: 4096, profile: Profile::Published, ..Scenario::default() };
    let question =
        Question::new(scenario, Model::builtin("qwen3-30b-a3b").expect("built in"), wafer()).expect("a question");
    let mut answer = answer_without_ranges(&question).expect("fits");
    answer.users = 8;
    answer.wafers = 16;
    answer.tokens_per_second_per_user = 550.0;
    answer.tokens_per_second_total = 4400.0;
    answer.time_per_output_token_us = 1e6 / 550.0;
    answer.time_to_first_token_ms = 4500.0;
    answer.users_at_full_speed = 11;
    answer.max_users = 12;
    answer.profiles.programs = BTreeMap::from([
        (Profile::Published, profile(550.0)),
        (Profile::Best, profile(801.0)),
        (Profile::Ideal, profile(2150.0)),
    ]);
    answer.profiles.no_mapping_beats = unbeaten(6000.0);
    answer.profiles.no_mapping_beats_at_measured_rate = unbeaten(4000.0);
    answer.verdict = Verdict {
        target: 2000.0,
        state: State::NotFound,
        margin: 550.0 / 2000.0 - 1.0,
        limit: answer.profiles[&Profile::Published].limit.clone(),
        clock_ghz: 1.1,
        nominal_clock_ghz: 1.1,
        lowest_clock_ghz: 0.85,
        highest_clock_ghz: 1.1,
        depends_on_clock: false,
    };
    answer.breakdown = vec![row("embedding", 100.0), row("attention.softmax", 700_000.0), row("lm_head", 299_900.0)];
    let bytes = |each: u64| ByteCounts {
        weights: Bytes(30_000 * each),
        replicated: Bytes(100 * each),
        kv_cache: Bytes(9_000 * each),
        activations: Bytes(800 * each),
        receive_buffers: Bytes(400 * each),
        code_and_runtime: Bytes(4_176 * each),
    };
    answer.memory.per_pe_bytes = MemoryBytes {
        weights: bytes(1).weights,
        replicated: bytes(1).replicated,
        kv_cache: bytes(1).kv_cache,
        activations: bytes(1).activations,
        receive_buffers: bytes(1).receive_buffers,
        code_and_runtime: bytes(1).code_and_runtime,
        spare: Bytes(4_676),
        limit: Bytes(49_152),
    };
    answer.memory.total_bytes = bytes(14_000_000);
    let region = Region { x: 377, y: 0, columns: 342, rows: 530 };
    answer.memory.worst_pe = WorstPe { wafer: 0, slot: 1, region, holds: "layer 0 to layer 2".into() };
    answer.memory.region = region;
    answer.memory.slots_per_wafer = 4;
    answer.memory.empty_slots = 2;
    answer.memory.spare_pes_per_wafer = 1170;
    answer.load.micro_batch = 1;
    answer.load.in_flight = 8;
    answer.load.stages = 62;
    answer.load.tokens_per_step = 3.3616;
    answer.load.speculation.draft_length = 4;
    answer.load.speculation.acceptance = Acceptance::Constant(0.8);
    answer.load.verification = Some(Verified::Stream);
    answer.load.draft_time_us = Some(300.0);
    answer.load.draft_gain = Some(2.25);
    let influence = |parameter, evidence, low: f64, high: f64, slow, fast| Influence {
        parameter,
        evidence,
        low,
        high,
        tokens_per_second_per_user: Range { low: slow, high: fast },
    };
    let point = |ghz: f64| ClockPoint { ghz, tokens_per_second_per_user: ghz * 500.0, reaches_target: false };
    answer.uncertainty = Some(Uncertainty {
        tokens_per_second_per_user: Range { low: 400.0, high: 620.0 },
        time_to_first_token_ms: Range { low: 3900.0, high: 6100.0 },
        toggles: vec![Alternative {
            toggle: Toggle::Routing,
            assumed: "skewed".into(),
            other: "uniform".into(),
            evidence: Evidence::Inferred,
            tokens_per_second_per_user: Range { low: 550.0, high: 580.0 },
            time_to_first_token_ms: Range { low: 4500.0, high: 4500.0 },
        }],
        sampled: None,
        clock: vec![point(0.85), point(1.1)],
        free_memory: Ends { low: Some(Bytes(36_864)), high: Some(Bytes(44_976)) },
        wafers: Ends { low: Some(15), high: Some(20) },
        max_users: Ends { low: Some(0), high: Some(60) },
        spare: Ends { low: None, high: Some(Bytes(5000)) },
        parameters: vec![
            influence("link.latency", Evidence::Guess, 2.0, 20.0, 500.0, 560.5),
            influence("fabric.hop_latency", Evidence::Silicon, 2.0, 2.5, 540.0, 550.0),
        ],
    });
    answer.provenance.version = "1.2.3";
    answer.provenance.input_hash = "0123456789abcdef".into();
    answer.provenance.known_errors =
        vec![KnownError { kernel: "decode_layer".into(), rows: 5, mape_percent: 1.62, worst_percent: 2.88 }];
    answer
}

/// Draws with figures that nobody computed, so many of them above the target.
pub fn sampled(probability: f64) -> Sampled {
    let drawn = |speed: f64, first: f64, users: u64| Drawn {
        tokens_per_second_per_user: speed,
        tokens_per_second_total: speed * 8.0,
        time_to_first_token_ms: first,
        users_at_full_speed: users,
        fewest_wafers: Some(30 - users as u32),
        max_users: users + 20,
    };
    let share = |parameter: &'static str, first_order| Share { parameter: parameter.into(), first_order };
    Sampled {
        samples: 200,
        seed: 7,
        distribution: "a distribution".into(),
        p5: drawn(430.0, 4100.0, 10),
        p50: drawn(540.0, 4600.0, 11),
        p95: drawn(601.0, 5900.0, 12),
        fits: 1.0,
        probability,
        standard_error: (probability * (1.0 - probability) / 200.0).sqrt(),
        shares: Shares {
            estimator: Estimator::Regression { adjusted_r_squared: 0.987 },
            together: 0.97,
            each: vec![share("link.latency", 0.712), share("clock.frequency", 0.253), share("map.issue", 0.005)],
        },
        first_token: Shares {
            estimator: Estimator::Exchange { runs: 4200 },
            together: 0.99,
            each: vec![share("tile.word", 0.612), share("clock.frequency", 0.378)],
        },
        fewest_wafers: Shares { estimator: Estimator::Alone, together: 1.0, each: vec![share("pe.free_memory", 1.0)] },
        max_users: Shares { estimator: Estimator::Nothing, together: 0.0, each: vec![] },
    }
}

/// A plan of three points: one that reaches the target, one that does not, one that does not fit.
pub fn plan() -> Plan {
    let row = |users, context, speed: Option<f64>, limit: &str| PlanRow {
        swept: Vec::new(),
        users,
        context,
        wafers_asked: WaferCount::Exactly(16),
        placement: ExpertPlacement::Spread,
        extensions: Vec::new(),
        weights: DataType::Fp8,
        mixed_weights: None,
        kv_cache: DataType::Bf16,
        profile: Profile::Ideal,
        fits: speed.is_some(),
        wafers: Some(if speed.is_some() { 16 } else { 21 }),
        tokens_per_second_per_user: speed,
        tokens_per_second_total: speed.map(|speed| speed * users as f64),
        time_per_output_token_us: speed.map(|speed| 1e6 / speed),
        time_to_first_token_ms: speed.map(|_| 2777.0),
        prefill: None,
        users_at_full_speed: speed.map(|_| 29),
        max_users: speed.map(|_| 52),
        no_mapping_beats: speed.map(|_| 6000.0),
        no_mapping_beats_at_measured_rate: speed.map(|_| 4000.0),
        reaches_target: speed.is_some_and(|speed| speed >= 2000.0),
        limit: limit.into(),
        ranges: None,
    };
    Plan {
        model: "a-model".into(),
        wafer: "a-wafer".into(),
        target: 2000.0,
        clock_ghz: 1.1,
        ranges: Ranges::None,
        rows: vec![
            row(1, 8192, Some(2500.0), "hops (60 % of a token's way, most of it in router)"),
            row(32, 8192, Some(493.125), "a full pipeline: 64 micro-batches share slot 3 (layer 3); on the way: hops"),
            row(64, 131_072, None, "16 wafer(s) do not hold the model: \"layer 3\", and so on"),
        ],
    }
}

/// The same points with ranges of a kind.
pub fn plan_with(ranges: Ranges) -> Plan {
    let mut plan = plan();
    plan.ranges = ranges;
    for row in plan.rows.iter_mut().filter(|row| row.fits) {
        row.ranges = match ranges {
            Ranges::None => None,
            Ranges::Corner => Some(Spread::Corner(Corner {
                tokens_per_second_per_user: Range { low: 400.0, high: 620.5 },
                time_to_first_token_ms: Range { low: 3900.0, high: 6100.0 },
                fewest_wafers: Ends { low: Some(16), high: Some(21) },
                max_users: Ends { low: Some(19), high: Some(58) },
            })),
            Ranges::Sampled(_) => Some(Spread::Sampled(Box::new(sampled(0.125)))),
        };
    }
    plan
}

/// The same points under two profiles and two wafer counts: more columns than a page holds.
pub fn wide_plan() -> Plan {
    let mut wide = plan();
    wide.rows.iter_mut().for_each(|row| row.context = 1_048_576);
    let narrow = wide.rows.clone();
    for (index, row) in narrow.into_iter().enumerate() {
        let weights = if index == 0 { DataType::Fp4 } else { DataType::Fp8 };
        let wafers_asked = WaferCount::Auto;
        wide.rows.push(PlanRow {
            profile: Profile::Best,
            placement: ExpertPlacement::Clustered,
            wafers_asked,
            weights,
            ..row
        });
    }
    wide
}

/// A validation of two rows, and one that could not be predicted.
pub fn validation() -> Validation {
    let prediction = |id: &str, evidence, measured: f64, predicted: f64| Prediction {
        id: id.into(),
        device: "wse3".into(),
        kernel: "message".into(),
        evidence,
        measured,
        predicted,
        error_percent: (predicted / measured - 1.0) * 100.0,
        unit: "cycles".into(),
    };
    let group = |evidence, worst_percent: f64| Group {
        kernel: "message".into(),
        device: "wse3".into(),
        evidence,
        rows: 1,
        mape_percent: worst_percent,
        worst_percent,
    };
    Validation {
        mape_percent: Some(1.25),
        rows: 2,
        groups: vec![group(RateSet::Silicon, 0.0), group(RateSet::VendorSimulator, 2.5)],
        rounds: None,
        predictions: vec![
            prediction("message_1", RateSet::Silicon, 42.0, 41.999_999),
            prediction("message_long", RateSet::VendorSimulator, 6_435_537.0, 6_596_425.0),
        ],
        skipped: vec![Skipped { id: "odd".into(), why: "no wafer 'wse9' (known: wse2, wse3)".into() }],
    }
}
