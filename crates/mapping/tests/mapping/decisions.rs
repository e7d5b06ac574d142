//! Every decision changes what the kernel writer is told, or the placement, or is refused.

use wafersim_mapping::random::decisions;
use wafersim_mapping::{MappingError, Recipe, resolve};
use wafersim_spec::Model;
use wafersim_spec::scenario::WaferCount;

use crate::common::{inputs, wse3};

/// What a recipe leads to, but for the recipe itself.
fn led_to(text: &str) -> Result<String, MappingError> {
    let (model, wafer) = (Model::builtin("qwen3-30b-a3b").unwrap(), wse3());
    let mut inputs = inputs(&model, &wafer);
    (inputs.load.users, inputs.load.tokens_per_step) = (8, 3);
    inputs.load.wafers = WaferCount::Exactly(4);
    let mut resolved = resolve(&Recipe::parse(text, "changed.toml")?, inputs)?;
    resolved.recipe = Recipe::default();
    Ok(resolved.to_toml())
}

#[test]
fn each_decision_has_an_effect() {
    let changes = [
        ("routes", "routes = \"static\""),
        ("micro_batch", "micro_batch = 2"),
        ("draft", "draft = \"stream\""),
        ("overlap.conversion", "[overlap]\nconversion = true"),
        ("overlap.independent", "[overlap]\nindependent = true"),
        ("division.slots", "[division]\nslots = 6"),
        ("division.columns", "[division]\ncolumns = \"/3\""),
        ("division.rows", "[division]\nrows = 200"),
        ("division.layers_per_slot", "[division]\nlayers_per_slot = 4"),
        ("division.fill", "[division]\nfill = \"tight\""),
        ("division.order", "[division]\norder = \"turning\""),
        ("reductions.x.kind", "[reductions]\nx = { kind = \"reduce_scatter\" }"),
        ("reductions.x.groups", "[reductions]\nx = { kind = \"tree\", groups = 3 }"),
        ("reductions.x.root", "[reductions]\nx = { kind = \"tree\", root = 3 }"),
        ("reductions.y.kind", "[reductions]\ny = { kind = \"chain\" }"),
        ("reductions.y.groups", "[reductions]\ny = { kind = \"tree\", groups = [3, 4] }"),
        ("reductions.y.root", "[reductions]\ny = { kind = \"tree\", root = 3 }"),
        ("reductions.parts.kind", "[reductions]\nparts = { kind = \"reduce_scatter\" }"),
        ("reductions.parts.groups", "[reductions]\nparts = { kind = \"tree\", groups = 1 }"),
        ("reductions.parts.root", "[reductions]\nparts = { kind = \"tree\", root = 0 }"),
        ("reductions.operators", "[reductions.operators]\n\"attention.output\" = { kind = \"reduce_scatter\" }"),
        ("kv.heads_per_block", "[kv]\nheads_per_block = 2"),
        ("kv.head_copies", "[kv]\nhead_copies = 2"),
        ("kv.dimension_split", "[kv]\ndimension_split = 3"),
        ("kv.sequence_split", "[kv]\nsequence_split = 5"),
        ("kv.append", "[kv]\nappend = \"round_robin\""),
        ("experts.strategy", "[experts]\nstrategy = \"clustered\""),
        ("stored.default", "[stored]\ndefault = \"wide\""),
        ("stored.roles", "[stored.roles]\nquery = \"wide\""),
        ("rectangles", "[rectangles]\nrouter = { columns = \"50%\" }"),
    ];
    let rewrites = wafersim_mapping::Rewrite::ALL.map(|rewrite| format!("rewrites = [\"{rewrite}\"]"));
    let published = led_to("").unwrap();
    for text in changes.iter().map(|(_, text)| *text).chain(rewrites.iter().map(String::as_str)) {
        assert_ne!(led_to(text).unwrap_or_else(|error| panic!("{text}: {error}")), published, "{text}");
    }
    // Every decision of a recipe is among them.
    let tested = |name: &String| name.starts_with("rewrites.") || changes.iter().any(|(tested, _)| name == tested);
    let missing: Vec<String> = decisions(&Recipe::default()).into_keys().filter(|name| !tested(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Each strategy deals in its own way; what they have in common is no decision of theirs.
#[test]
fn each_strategy_for_experts_has_an_effect() {
    let mut known = Vec::new();
    for strategy in wafersim_spec::scenario::ExpertPlacement::NAMES {
        let led = led_to(&format!("[experts]\nstrategy = \"{strategy}\"")).unwrap();
        // But for the name of the strategy.
        let led = led.replace(&format!("strategy = \"{strategy}\""), "");
        assert!(!known.contains(&led), "{strategy}");
        known.push(led);
    }
    let shared = |text: &str| led_to(&format!("[experts]\nstrategy = \"replicated\"\n{text}")).unwrap();
    assert_ne!(shared("sharing = 4"), shared("sharing = 2"));
    assert_ne!(shared("spare = 1"), shared("spare = 2"));
}

/// Whatever a layer is made of, a mapping may name: all but the choice of experts and residual sums.
#[test]
fn operators_are_those_of_the_layers() {
    use wafersim_graph::layer::{LayerGraph, LayerLoad};
    for name in wafersim_spec::model::builtin::names() {
        let Ok(model) = Model::builtin(name) else { continue };
        for layer in &model.layers {
            let graph = LayerGraph::new(layer, model.hidden, LayerLoad { tokens: 1, context: 9 });
            let named = wafersim_mapping::areas::operators_of(layer);
            for operator in graph.operators() {
                let aside = operator.name.ends_with("residual") || operator.name == "router.choice";
                assert!(aside || named.contains(&operator.name), "{name}: {}", operator.name);
            }
        }
    }
}
