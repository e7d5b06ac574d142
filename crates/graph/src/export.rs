//! The graph as text for other programs. Nothing is written to files here.

#[cfg(feature = "operator-graph")]
mod dot;
#[cfg(feature = "operator-graph")]
mod json;
pub(crate) mod layer;

#[cfg(feature = "operator-graph")]
pub(crate) use dot::dot;
#[cfg(feature = "operator-graph")]
pub(crate) use json::json;

/// Text within the quotation marks of Graphviz.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}
