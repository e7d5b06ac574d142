//! Graphviz: one cluster per layer, one line of text per fact, no positions. Draw with `dot -Tsvg`.

use std::fmt::Write;

use super::escape;
use crate::operator::{Operator, OperatorKind};
use crate::operator_graph::{OperatorGraph, OperatorId};

/// The whole graph in Graphviz's language.
pub(crate) fn dot(graph: &OperatorGraph) -> String {
    let load = graph.load();
    let title = format!("{}: {:?}, {} tokens, context {}", graph.model(), load.phase, load.tokens, load.context);
    let mut text = format!("digraph operators {{\n  label=\"{}\";\n", escape(&title));
    text.push_str("  node [shape=box, style=filled, fontname=\"sans-serif\"];\n");

    let mut open: Option<usize> = None;
    for (id, operator) in graph.operators() {
        if operator.layer() != open {
            if open.is_some() {
                text.push_str("  }\n");
            }
            open = operator.layer();
            if let Some(layer) = open {
                line(&mut text, format_args!("  subgraph cluster_layer_{layer} {{\n    label=\"layer {layer}\";"));
            }
        }
        node(&mut text, id, operator);
    }
    if open.is_some() {
        text.push_str("  }\n");
    }
    for (from, to, flow) in graph.flows() {
        line(&mut text, format_args!("  n{} -> n{} [label=\"{}\"];", from.index(), to.index(), flow.elements));
    }
    text.push_str("}\n");
    text
}

fn node(text: &mut String, id: OperatorId, operator: &Operator) {
    let indent = if operator.layer().is_some() { "    " } else { "  " };
    let name = escape(&operator.name.within_layer().to_string());
    let mut label = format!("{name}\\n{} -> {}", operator.input, operator.output);
    for (count, unit) in [(operator.parameters, "parameters"), (operator.macs, "MACs")] {
        if count > 0 {
            label.push_str(&format!("\\n{} {unit}", with_prefix(count)));
        }
    }
    let color = color(operator.kind);
    line(text, format_args!("{indent}n{} [label=\"{label}\", fillcolor=\"{color}\"];", id.index()));
}

/// Appends a line. Writing to a `String` cannot fail.
fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
    text.push('\n');
}

/// Colors tell groups apart for the eye only: the names say the same.
const fn color(kind: OperatorKind) -> &'static str {
    match kind {
        OperatorKind::Projection(_) | OperatorKind::LmHead | OperatorKind::Embedding => "#cfe2f3",
        OperatorKind::Expert(_) => "#fce5cd",
        OperatorKind::SharedExpert(_) => "#fff2cc",
        OperatorKind::Router | OperatorKind::TopK | OperatorKind::ExpertDispatch | OperatorKind::ExpertCombine => {
            "#f4cccc"
        }
        OperatorKind::KvAppend
        | OperatorKind::AttentionScores
        | OperatorKind::Softmax
        | OperatorKind::AttentionValues
        | OperatorKind::DeltaRule
        | OperatorKind::IndexScores
        | OperatorKind::IndexSelect => "#d9ead3",
        _ => "#eeeeee",
    }
}

/// Three or four digits and a decimal prefix: `75.5 M`.
fn with_prefix(count: u64) -> String {
    for (size, prefix) in [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")] {
        if count >= size {
            let unit = if prefix == "k" { 1_000 } else { size };
            return format!("{:.1} {prefix}", count as f64 / unit as f64);
        }
    }
    count.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_short() {
        for (count, text) in
            [(0, "0"), (9_999, "9999"), (12_288, "12.3 k"), (75_497_472, "75.5 M"), (3_000_000_000, "3.0 G")]
        {
            assert_eq!(with_prefix(count), text);
        }
    }

    #[test]
    fn file_names_are_escaped() {
        assert_eq!(escape("a\\b\"c\nd"), "a\\\\b\\\"c d");
    }
}
