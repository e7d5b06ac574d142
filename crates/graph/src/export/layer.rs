//! A layer as it is described, with its rewrites: Graphviz and JSON.

use serde_json::{Value, json};

use crate::layer::{LayerGraph, LayerOperator, TensorId};

/// The layer in Graphviz's language: an edge for each tensor that one operator writes and a later one reads.
pub(crate) fn dot(graph: &LayerGraph, title: &str) -> String {
    let mut text = format!("digraph layer {{\n  label=\"{}\";\n", super::escape(title));
    text.push_str("  node [shape=box, style=filled, fontname=\"sans-serif\", fillcolor=\"#eeeeee\"];\n");
    for (index, operator) in graph.operators().iter().enumerate() {
        let label = super::escape(operator.name);
        text.push_str(&format!("  n{index} [label=\"{label}\"];\n"));
    }
    for (to, sources) in graph.dependencies().into_iter().enumerate() {
        for from in sources {
            let names: Vec<&str> = between(graph, from, to).collect();
            text.push_str(&format!("  n{from} -> n{to} [label=\"{}\"];\n", super::escape(&names.join(", "))));
        }
    }
    text.push_str("}\n");
    text
}

/// Tensors that one operator writes and another reads.
fn between(graph: &LayerGraph, from: usize, to: usize) -> impl Iterator<Item = &'static str> {
    let operators = graph.operators();
    let of = |index: usize, ids: fn(&LayerOperator) -> &[TensorId]| operators.get(index).map_or(&[][..], ids);
    let reads = of(to, |operator| &operator.reads);
    let written = of(from, |operator| &operator.writes).iter().filter(|id| reads.contains(id));
    written.filter_map(|id| graph.tensor(*id)).map(|tensor| tensor.name)
}

/// The layer for programs: operators and tensors in order; operators name tensors by their place.
pub(crate) fn json(graph: &LayerGraph, title: &str) -> Value {
    json!({ "layer": title, "graph": graph, "dependencies": graph.dependencies() })
}
