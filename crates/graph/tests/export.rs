//! DOT and JSON say what the graph says, and say it the same way every time.

#![cfg(feature = "operator-graph")]

#[path = "common/mod.rs"]
mod common;

use common::MODELS;
use serde_json::Value;
use wafersim_graph::{OperatorGraph, PassLoad};
use wafersim_spec::{Model, Precision};

fn graph(model: &Model) -> OperatorGraph {
    OperatorGraph::of_model(model, PassLoad::prefill(16, 48), &Precision::default()).expect("a load that is built")
}

#[test]
fn dot_has_every_operator_flow_and_layer() {
    for model in MODELS.iter() {
        let graph = graph(model);
        let dot = graph.to_dot();
        let count = |letter: char| dot.matches(letter).count();
        assert_eq!(count('{'), count('}'), "{}", model.name);
        assert_eq!(dot.matches('"').count() % 2, 0, "{}", model.name);
        assert_eq!(dot.matches("fillcolor=").count(), graph.operator_count(), "{}", model.name);
        let edges = dot.lines().filter(|line| line.trim_start().starts_with('n') && line.contains(" -> n")).count();
        assert_eq!(edges, graph.flow_count(), "{}", model.name);
        assert_eq!(dot.matches("subgraph cluster_layer_").count(), model.layers.len(), "{}", model.name);
        assert_eq!(dot, self::graph(model).to_dot());
    }
}

#[test]
fn dot_labels_are_readable() {
    let model = Model::builtin("qwen3-coder-480b-a35b").unwrap();
    let layer = OperatorGraph::of_layer(&model, 3, PassLoad::decode(1, 1000), &Precision::default()).unwrap();
    let dot = layer.to_dot();
    assert!(dot.contains("attention.query\\n1 x 6144 -> 1 x 12288\\n75.5 M parameters\\n75.5 M MACs"), "{dot}");
    assert!(dot.contains("label=\"layer 3\""), "{dot}");
}

#[test]
fn json_round_trips_and_lists_everything() {
    for model in MODELS.iter() {
        let graph = graph(model);
        let value = graph.to_json();
        let text = value.to_string();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value, "{}", model.name);
        assert_eq!(text, self::graph(model).to_json().to_string(), "{}", model.name);

        let operators = value["operators"].as_array().unwrap();
        assert_eq!(operators.len(), graph.operator_count());
        assert_eq!(value["flows"].as_array().unwrap().len(), graph.flow_count());
        let sum = |key: &str| operators.iter().map(|operator| operator[key].as_u64().unwrap()).sum::<u64>();
        assert_eq!(sum("parameters"), model.parameters().total, "{}", model.name);
        for key in ["active_parameters", "macs", "elementwise", "weight_bytes_read", "cache_bytes_read"] {
            assert_eq!(Some(sum(key)), value["totals"][key].as_u64(), "{} {key}", model.name);
        }
    }
}

#[test]
fn json_operators_show_name_kind_and_shapes() {
    let model = Model::builtin("qwen3-8b").unwrap();
    let layer = OperatorGraph::of_layer(&model, 2, PassLoad::decode(1, 10), &Precision::default()).unwrap();
    let value = layer.to_json();
    let operators = value["operators"].as_array().unwrap();
    let query = operators.iter().find(|operator| operator["name"] == "layers.2.attention.query").unwrap();
    assert_eq!(query["kind"], serde_json::json!({ "projection": "query" }));
    assert_eq!(query["layer"], 2);
    assert_eq!(query["matrix"], serde_json::json!({ "rows": 4096, "columns": 4096 }));
    assert_eq!(value["load"], serde_json::json!({ "phase": "decode", "tokens": 1, "context": 10 }));
}
