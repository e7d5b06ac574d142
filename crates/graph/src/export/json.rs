//! JSON: what a script needs to draw, count or compare a graph. Keys and lists are in a fixed order.

use serde_json::{Value, json};

use crate::operator::Operator;
use crate::operator_graph::OperatorGraph;

/// The whole graph. An operator's `id` is its place in `operators`; flows name their ends by it.
pub(crate) fn json(graph: &OperatorGraph) -> Value {
    let operators: Vec<Value> = graph.operators().map(|(id, operator)| operator_json(id.index(), operator)).collect();
    let flows: Vec<Value> = graph
        .flows()
        .map(|(from, to, flow)| {
            json!({ "from": from.index(), "to": to.index(), "elements": flow.elements, "bytes": flow.bytes })
        })
        .collect();
    json!({
        "model": graph.model(),
        "load": graph.load(),
        "precision": graph.precision(),
        "totals": {
            "operators": graph.operator_count(),
            "flows": graph.flow_count(),
            "parameters": graph.parameters(),
            "active_parameters": graph.active_parameters(),
            "macs": graph.macs(),
            "elementwise": graph.elementwise(),
            "weight_bytes_read": graph.weight_bytes_read(),
            "cache_bytes_read": graph.cache_bytes_read(),
            "bytes_written": graph.bytes_written(),
            "critical_path_depth": graph.critical_path_depth(),
        },
        "operators": operators,
        "flows": flows,
    })
}

fn operator_json(id: usize, operator: &Operator) -> Value {
    json!({
        "id": id,
        "name": operator.name,
        "kind": operator.kind,
        "layer": operator.layer(),
        "input": operator.input,
        "matrix": operator.matrix,
        "output": operator.output,
        "parameters": operator.parameters,
        "active_parameters": operator.active_parameters,
        "macs": operator.macs,
        "elementwise": operator.elementwise,
        "weight_bytes_read": operator.weight_bytes_read,
        "cache_bytes_read": operator.cache_bytes_read,
        "bytes_written": operator.bytes_written,
    })
}
