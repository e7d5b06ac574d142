//! What may run at the same time, and what has to wait for what.

#![cfg(feature = "operator-graph")]

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeSet;

use common::MODELS;
use wafersim_graph::{OperatorGraph, OperatorId, PassLoad};
use wafersim_spec::model::FeedForward;
use wafersim_spec::{Model, Precision};

/// A graph whose operators are asked for by name.
struct Named(OperatorGraph);

impl Named {
    fn whole(model: &Model) -> Self {
        Self(
            OperatorGraph::of_model(model, PassLoad::decode(2, 100), &Precision::default())
                .expect("a load that is built"),
        )
    }

    fn layer(name: &str, layer: usize) -> Self {
        let model = Model::builtin(name).expect("a built-in model");
        Self(
            OperatorGraph::of_layer(&model, layer, PassLoad::decode(2, 100), &Precision::default())
                .expect("a load that is built"),
        )
    }

    fn id(&self, name: &str) -> OperatorId {
        self.0.find(name).unwrap_or_else(|| panic!("no operator '{name}'"))
    }

    /// Each name needs the one before it.
    fn assert_chain(&self, layer: usize, paths: &[&str]) {
        for pair in paths.windows(2) {
            let [earlier, later] = [pair[0], pair[1]].map(|path| self.id(&format!("layers.{layer}.{path}")));
            assert!(self.0.depends_on(later, earlier), "{} must wait for {}", pair[1], pair[0]);
            assert!(!self.0.depends_on(earlier, later), "{} must not wait for {}", pair[0], pair[1]);
        }
    }

    /// No name needs another one.
    fn assert_independent(&self, layer: usize, paths: &[&str]) {
        for one in paths {
            for other in paths {
                let [one_id, other_id] = [one, other].map(|path| self.id(&format!("layers.{layer}.{path}")));
                assert!(!self.0.depends_on(one_id, other_id), "{one} must not wait for {other}");
            }
        }
    }
}

#[test]
fn every_graph_is_acyclic_connected_and_in_order() {
    for model in MODELS.iter() {
        let graph = Named::whole(model).0;
        assert!(!petgraph::algo::is_cyclic_directed(graph.as_petgraph()), "{}", model.name);
        assert!(graph.flows().all(|(from, to, _)| from < to), "{}", model.name);
        for (id, operator) in graph.operators() {
            assert_eq!(graph.inputs(id).is_empty(), operator.name.path == "embedding", "{}", operator.name);
            assert_eq!(graph.outputs(id).is_empty(), operator.name.path == "sampling", "{}", operator.name);
        }
        let names: BTreeSet<String> = graph.operators().map(|(_, operator)| operator.name.to_string()).collect();
        assert_eq!(names.len(), graph.operator_count(), "{}: names are unique", model.name);
    }
}

#[test]
fn grouped_attention_overlaps() {
    let graph = Named::layer("qwen3-coder-480b-a35b", 3);
    graph.assert_independent(3, &["attention.query", "attention.key", "attention.value"]);
    graph.assert_independent(3, &["attention.query_rope", "attention.key_append", "attention.value_append"]);
    graph.assert_independent(3, &["attention.scores", "attention.value_append"]);
    graph.assert_chain(
        3,
        &[
            "input",
            "attention.norm",
            "attention.key",
            "attention.key_norm",
            "attention.key_rope",
            "attention.key_append",
            "attention.scores",
            "attention.softmax",
            "attention.values",
            "attention.output",
            "attention.residual",
            "feed_forward.norm",
        ],
    );
    graph.assert_chain(3, &["attention.query", "attention.query_norm", "attention.query_rope", "attention.scores"]);
    graph.assert_chain(3, &["attention.value", "attention.value_append", "attention.values"]);
}

#[test]
fn latent_attention_overlaps() {
    let graph = Named::layer("deepseek-v3", 10);
    graph.assert_independent(10, &["attention.query_down", "attention.kv_down"]);
    graph.assert_independent(10, &["attention.query_absorb", "attention.query_rope", "attention.latent_append"]);
    graph.assert_chain(
        10,
        &[
            "attention.norm",
            "attention.query_down",
            "attention.query_norm",
            "attention.query_up",
            "attention.query_absorb",
            "attention.scores",
            "attention.softmax",
            "attention.values",
            "attention.value_up",
            "attention.output",
        ],
    );
    graph.assert_chain(
        10,
        &["attention.kv_down", "attention.latent_norm", "attention.latent_append", "attention.scores"],
    );
    graph.assert_chain(10, &["attention.kv_down", "attention.key_rope", "attention.rope_key_append"]);
}

#[test]
fn chosen_experts_run_side_by_side() {
    for model in MODELS.iter() {
        let Some(layer) = model.layers.iter().position(|layer| matches!(layer.feed_forward, FeedForward::Moe(_)))
        else {
            continue;
        };
        let FeedForward::Moe(moe) = &model.layers[layer].feed_forward else { continue };
        let graph = Named::layer(&model.name, layer);
        let downs: Vec<String> = (0..moe.top_k).map(|slot| format!("feed_forward.experts.{slot}.down")).collect();
        let mut side_by_side: Vec<&str> = downs.iter().map(String::as_str).collect();
        if moe.shared_width > 0 {
            side_by_side.push("feed_forward.shared_expert.down");
            graph.assert_independent(layer, &["feed_forward.router", "feed_forward.shared_expert.down"]);
            graph.assert_independent(layer, &["feed_forward.dispatch", "feed_forward.shared_expert.down"]);
        }
        graph.assert_independent(layer, &side_by_side);
        for down in side_by_side {
            graph.assert_chain(layer, &["feed_forward.norm", down, "feed_forward.combine", "feed_forward.residual"]);
        }
        for slot in 0..moe.top_k {
            let [gate, up, activation, down] =
                ["gate", "up", "activation", "down"].map(|stage| format!("feed_forward.experts.{slot}.{stage}"));
            graph.assert_independent(layer, &[&gate, &up]);
            graph.assert_chain(layer, &["feed_forward.router", "feed_forward.top_k", "feed_forward.dispatch", &gate]);
            graph.assert_chain(layer, &[&gate, &activation, &down]);
            graph.assert_chain(layer, &["feed_forward.dispatch", &up, &activation]);
        }
    }
}

#[test]
fn residual_edges_skip_the_branch() {
    let graph = Named::layer("grok-1", 0);
    let sources = |name: &str| -> Vec<String> {
        let inputs = graph.0.inputs(graph.id(name));
        inputs.into_iter().map(|(id, _)| graph.0.operator(id).unwrap().name.within_layer().to_string()).collect()
    };
    assert_eq!(sources("layers.0.attention.residual"), ["input", "attention.post_norm"]);
    assert_eq!(sources("layers.0.feed_forward.residual"), ["attention.residual", "feed_forward.post_norm"]);
    let graph = Named::whole(&Model::builtin("qwen3-8b").unwrap());
    let next = graph.id("layers.1.attention.residual");
    assert_eq!(graph.0.inputs(next)[0].0, graph.id("layers.0.feed_forward.residual"));
}

#[test]
fn flows_carry_what_is_needed() {
    let graph = Named::layer("deepseek-v3", 10);
    let elements = |from: &str, to: &str| {
        let [from, to] = [from, to].map(|path| graph.id(&format!("layers.10.{path}")));
        let flow = graph.0.inputs(to).into_iter().find(|(id, _)| *id == from).map(|(_, flow)| *flow);
        let flow = flow.unwrap();
        assert_eq!(flow.bytes, Precision::default().activations.storage(flow.elements));
        flow.elements
    };
    // Two tokens, 128 heads, context 100.
    assert_eq!(elements("input", "attention.norm"), 2 * 7168);
    assert_eq!(elements("attention.query_up", "attention.query_absorb"), 2 * 128 * 128);
    assert_eq!(elements("attention.query_up", "attention.query_rope"), 2 * 128 * 64);
    assert_eq!(elements("attention.kv_down", "attention.latent_norm"), 2 * 512);
    assert_eq!(elements("attention.kv_down", "attention.key_rope"), 2 * 64);
    assert_eq!(elements("attention.query_absorb", "attention.scores"), 2 * 128 * 512);
    assert_eq!(elements("attention.scores", "attention.softmax"), 2 * 128 * 100);
    assert_eq!(elements("attention.values", "attention.value_up"), 2 * 128 * 512);
    assert_eq!(elements("attention.value_up", "attention.output"), 2 * 128 * 128);
    assert_eq!(elements("feed_forward.router", "feed_forward.top_k"), 2 * 256);
    assert_eq!(elements("feed_forward.top_k", "feed_forward.combine"), 2 * 8);
    assert_eq!(elements("feed_forward.dispatch", "feed_forward.experts.7.up"), 2 * 7168);
    assert_eq!(elements("feed_forward.experts.7.activation", "feed_forward.experts.7.down"), 2 * 2048);
}

#[test]
fn levels_and_the_critical_path_agree() {
    for model in MODELS.iter() {
        let graph = Named::whole(model).0;
        let levels = graph.parallel_sets();
        assert_eq!(levels.len(), graph.critical_path_depth(), "{}", model.name);
        assert_eq!(levels.iter().map(Vec::len).sum::<usize>(), graph.operator_count(), "{}", model.name);
        let mut level_of = vec![0; graph.operator_count()];
        for (level, set) in levels.iter().enumerate() {
            set.iter().for_each(|id| level_of[id.index()] = level);
        }
        assert!(graph.flows().all(|(from, to, _)| level_of[from.index()] < level_of[to.index()]), "{}", model.name);
        let path = graph.critical_path(|operator| operator.macs as f64);
        for pair in path.windows(2) {
            assert!(graph.outputs(pair[0]).iter().any(|(to, _)| *to == pair[1]), "{}", model.name);
        }
        let macs: u64 = path.iter().filter_map(|id| graph.operator(*id)).map(|operator| operator.macs).sum();
        assert!(macs > 0 && macs < graph.macs(), "{}", model.name);
    }
    // Norm, k, its norm, rope and append, scores, softmax, values, output, residual; norm, router, top-k, dispatch,
    // gate, activation, down, combine, residual.
    let layer = Named::layer("qwen3-coder-480b-a35b", 0).0;
    assert_eq!(layer.critical_path_depth(), 1 + 19);
    let widest = layer.parallel_sets().into_iter().max_by_key(Vec::len).unwrap();
    assert_eq!(widest.len(), 16, "gate and up of eight experts");
}
