//! The bound of models that are built in against figures worked out apart from it, and against speeds that are public.

use wafersim_bound::{Bound, BoundLoad, Products, bound};
use wafersim_spec::error::SpecError;
use wafersim_spec::{DataType, Hertz, Model, Precision, Wafer};

fn load(context: u64) -> BoundLoad {
    BoundLoad {
        context,
        users: 1,
        precision: Precision::default(),
        wafers: None,
        tokens: 1,
        accepted: 1.0,
        clock: Hertz::from_gigahertz(1.1),
    }
}

fn of(model: &str, load: &BoundLoad) -> Result<Bound, SpecError> {
    Ok(bound(&Model::builtin(model)?, &Wafer::builtin("wse3")?, load))
}

/// The default question by hand. 62 layers of width 6144, 96 heads of 128, 8 of 160 experts of width 2560; scores and
/// values of 32,768 tokens. At 32k: first attention with q, k, v; then 61 times network with down and scores with
/// values; gate and up of the last; the LM head. A stage of W products takes the cube root of 24 W / f, less two cycles
/// (and less than a tenth of a cycle beside).
#[test]
fn the_default_question_by_hand() {
    let found = of("qwen3-coder-480b-a35b", &load(32_768)).unwrap();
    let (hidden, heads, kv, width) = (6144.0, 96.0 * 128.0, 8.0 * 128.0, 8.0 * 2560.0);
    let values = 32_768.0 * heads * 2.0;
    let projections = hidden * (heads + 2.0 * kv);
    // 480 GB of weights and 8 GB of cache on wafers of 755 x 1170 x 41,984 bytes.
    assert_eq!(found.fewest_wafers, 14);
    for (limit, rate) in [(&found.no_mapping_beats, 8.0), (&found.no_mapping_beats_at_measured_rate, 8.0 / 2.48)] {
        let stage = |macs: f64| (24.0 * macs / rate).cbrt() - 2.0;
        let cycles = stage(projections + values)
            + 61.0 * (stage(3.0 * hidden * width) + stage(values))
            + stage(2.0 * hidden * width)
            + stage(151_936.0 * hidden);
        // The longest neighbours: first attention and network, head and first attention (in a circle), then 12 of the
        // rest.
        let (first, head) = (stage(projections + values), stage(151_936.0 * hidden));
        let network = stage(3.0 * hidden * width);
        let given_away = (first + network) / 2.0 + (head + first) / 2.0 + 12.0 * (network + stage(values)) / 2.0;
        let pass = (cycles - given_away) / 1100.0 + 14.0 * 5.0;
        assert!((limit.pass_us / pass - 1.0).abs() < 2e-4, "{} {pass}", limit.pass_us);
        assert_eq!(limit.links, 14);
    }
    let terms = &found.no_mapping_beats.terms;
    let counts: Vec<(Products, u64)> = terms.iter().map(|term| (term.stage.products, term.times)).collect();
    let expected = [
        (Products::Attention, 1),
        (Products::Network, 61),
        (Products::Heads, 61),
        (Products::GateUp, 1),
        (Products::Head, 1),
    ];
    assert_eq!(counts, expected);
}

/// A speed that somebody measured from outside.
struct Public {
    model: &'static str,
    weights: DataType,
    context: u64,
    tokens_per_second: f64,
}

/// Records of services on this machine (sources.md#production-systems), those among them that may have used drafts held
/// to the bound without drafts. A bound below one of them would be wrong.
#[test]
fn public_speeds_lie_below() {
    let rows = [
        Public { model: "llama-3.1-8b", weights: DataType::Bf16, context: 22, tokens_per_second: 1850.0 },
        Public { model: "llama-3.3-70b", weights: DataType::Bf16, context: 64, tokens_per_second: 450.0 },
        Public { model: "llama-3.3-70b", weights: DataType::Bf16, context: 64, tokens_per_second: 2600.0 },
        Public { model: "qwen3-32b", weights: DataType::Bf16, context: 2043, tokens_per_second: 2600.0 },
        Public { model: "gpt-oss-120b", weights: DataType::Bf16, context: 167, tokens_per_second: 3000.0 },
        Public { model: "glm-4.6", weights: DataType::Bf16, context: 1024, tokens_per_second: 2000.0 },
        Public {
            model: "llama-4-maverick-17b-128e",
            weights: DataType::Bf16,
            context: 1024,
            tokens_per_second: 2522.0,
        },
        Public { model: "qwen3-coder-480b-a35b", weights: DataType::Fp8, context: 1024, tokens_per_second: 2000.0 },
    ];
    for Public { model, weights, context, tokens_per_second } in rows {
        let precision = Precision { weights, ..Precision::default() };
        let found = of(model, &BoundLoad { precision, ..load(context) }).unwrap();
        let limit = found.no_mapping_beats_at_measured_rate.tokens_per_second_per_user;
        assert!(limit > tokens_per_second, "{model}: {limit} < {tokens_per_second}");
    }
}
