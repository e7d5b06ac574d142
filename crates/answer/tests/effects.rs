//! Every decision of a mapping changes the answer, or is refused; nothing is taken and ignored.

use wafersim_answer::{Question, answer_without_ranges};
use wafersim_mapping::{Mapping, Recipe};
use wafersim_spec::Scenario;
use wafersim_spec::scenario::{Profile, WaferCount};

/// A model, how many use it, and changes to a base recipe that each must change its answer.
struct Case {
    model: &'static str,
    users: u64,
    wafers: u32,
    base: &'static str,
    changes: &'static [&'static str],
}

fn question(case: &Case) -> Question {
    let scenario = Scenario {
        model: case.model.into(),
        context: 4096,
        prompt: 512,
        users: case.users,
        wafers: WaferCount::Exactly(case.wafers),
        profile: Profile::Best,
        default_placement: true,
        ..Scenario::default()
    };
    Question::load(scenario).expect("a question")
}

/// What is answered, without names and hashes; or why nothing is.
fn said(question: &Question, toml: &str) -> Result<String, String> {
    let recipe = Recipe::parse(&format!("name = \"case\"\n{toml}"), "case.toml").expect("a recipe");
    let asked = question.clone().with_mapping(Some(Mapping::Recipe(Box::new(recipe))));
    let mut answer = answer_without_ranges(&asked).map_err(|error| error.to_string())?;
    answer.provenance.mapping = None;
    answer.provenance.input_hash.clear();
    Ok(format!("{answer:?}"))
}

#[test]
fn each_decision_has_an_effect_or_is_refused() {
    let mut ignored = Vec::new();
    for case in CASES {
        let question = question(case);
        let base = said(&question, case.base).unwrap();
        let same = |change: &&&str| said(&question, &format!("{}\n{change}", case.base)).is_ok_and(|said| said == base);
        ignored.extend(case.changes.iter().filter(same).map(|change| format!("{}: {change}", case.model)));
    }
    assert!(ignored.is_empty(), "{ignored:#?}");
}

const CASES: &[Case] = &[
    Case {
        model: "qwen3-30b-a3b",
        users: 4,
        wafers: 2,
        base: "",
        changes: &[
            "rewrites = [\"fused_norms\"]",
            "rewrites = [\"riding_head_norm\"]",
            "rewrites = [\"online_softmax\"]",
            "rewrites = [\"early_router\"]",
            "rewrites = [\"single_choice\"]",
            "rewrites = [\"single_pass_top_k\"]",
            "rewrites = [\"interleaved_gate_up\"]",
            "rewrites = [\"concatenated_experts\"]",
            "rewrites = [\"accumulators_in_place\"]",
            "rewrites = [\"interleaved_query_key_value\"]",
            "rewrites = [\"divided_activation\"]",
            "division = { order = \"turning\" }",
            "routes = \"static\"",
            "micro_batch = 2",
            "division = { slots = 20 }",
            "division = { columns = 100 }",
            "division = { rows = 100 }",
            "division = { layers_per_slot = 2 }",
            "division = { fill = \"tight\" }",
            "reductions = { x = { kind = \"chain\" } }",
            "reductions = { y = { kind = \"chain\" } }",
            "reductions = { x = { kind = \"tree\", groups = 4 } }",
            "reductions = { y = { kind = \"tree\", groups = [4, 5] } }",
            "reductions = { x = { kind = \"tree\", root = 0 } }",
            "reductions = { y = { kind = \"tree\", root = 0 } }",
            "reductions = { x = { kind = \"reduce_scatter\" } }",
            "reductions = { y = { kind = \"reduce_scatter\" } }",
            "reductions = { x = { kind = \"split_roots\", roots = 2 } }",
            "reductions = { operators.\"attention.norm\" = { kind = \"chain\" } }",
            "reductions = { operators.\"attention.softmax\" = { kind = \"chain\" } }",
            "reductions = { operators.\"attention.values\" = { kind = \"chain\" } }",
            "reductions = { operators.\"attention.query_key_value\" = { kind = \"chain\" } }",
            "reductions = { operators.\"attention.output\" = { kind = \"chain\" } }",
            "reductions = { operators.\"feed_forward.norm\" = { kind = \"chain\" } }",
            "reductions = { operators.router = { kind = \"chain\" } }",
            "reductions = { operators.\"experts.gate_up\" = { kind = \"chain\" } }",
            "reductions = { operators.\"experts.down\" = { kind = \"chain\" } }",
            "kv = { heads_per_block = 2 }",
            "kv = { head_copies = 2 }",
            "kv = { dimension_split = 2 }",
            "kv = { sequence_split = 2 }",
            "kv = { append = \"round_robin\" }",
            "experts = { strategy = \"clustered\" }",
            "experts = { strategy = \"linear\" }",
            "experts = { strategy = \"round-robin\" }",
            "experts = { strategy = \"hybrid\" }",
            "experts = { strategy = \"apart\" }",
            "experts = { strategy = \"replicated\" }",
            "experts = { strategy = \"annealed\" }",
            "rectangles = { router = { columns = \"50%\" } }",
            "rectangles = { \"attention.norm\" = { columns = \"50%\" } }",
            "rectangles = { \"feed_forward.norm\" = { rows = \"50%\" } }",
            "rectangles = { \"attention.query_key_value\" = { columns = \"80%\" } }",
            "rectangles = { \"attention.key_value\" = { columns = \"50%\" } }",
            "rectangles = { experts = { columns = \"90%\" } }",
        ],
    },
    Case {
        model: "qwen3-30b-a3b",
        users: 4,
        wafers: 2,
        base: "experts = { strategy = \"hybrid\" }",
        changes: &[
            "rewrites = [\"single_choice\"]",
            "rewrites = [\"concatenated_experts\"]",
            "rewrites = [\"interleaved_gate_up\"]",
            "reductions = { operators.\"experts.gate_up\" = { kind = \"chain\" } }",
            "reductions = { operators.\"experts.down\" = { kind = \"chain\" } }",
            "reductions = { operators.\"experts.combine\" = { kind = \"chain\" } }",
            "reductions = { operators.\"experts.gate_up\" = { kind = \"tree\", root = 0 } }",
            "reductions = { parts = { kind = \"tree\", groups = 4 } }",
        ],
    },
    Case {
        model: "qwen3-30b-a3b",
        users: 4,
        wafers: 2,
        base: "experts.strategy = \"replicated\"",
        changes: &["experts.spare = 2", "experts.spare = 4", "experts.sharing = 16"],
    },
    // The shared expert does not wait for the router where both have processing elements of their own.
    Case {
        model: "glm-4.5",
        users: 1,
        wafers: 14,
        base: "rectangles = { router = { columns = \"50%\" }, shared_expert = { x = \"50%\", columns = \"50%\" } }",
        changes: &["overlap = { independent = true }", "overlap = { conversion = true }"],
    },
    Case {
        model: "llama-3.1-8b",
        users: 4,
        wafers: 1,
        base: "kv.dimension_split = 8",
        changes: &[
            "rewrites = [\"divided_softmax\", \"online_softmax\"]",
            "rewrites = [\"divided_softmax\"]",
            "kv.sequence_split = 2",
        ],
    },
];
