//! The graph as text for other programs. Nothing is written to files here.

mod dot;
mod json;
pub(crate) mod layer;

pub(crate) use dot::dot;
pub(crate) use json::json;
