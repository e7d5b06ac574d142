//! Kernels from outside: steps in place of those that are built in, for operators of a layer.

use std::sync::Arc;

use wafersim_program::{Node, Program};

use crate::request::{LayerRequest, LowerError};

/// An operator of a layer as it is built in.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn<'a> {
    /// Its name, as reports have it: `feed_forward.gate_up`, `attention.scores`, ...
    pub operator: &'a str,
    /// Its steps.
    pub body: &'a [Node],
    /// The layer and its load.
    pub request: &'a LayerRequest<'a>,
    /// Whether the program is one for a chunk of a prompt.
    pub is_prefill: bool,
}

/// A kernel from outside: a word composed of existing ones, for one or more operators of a layer.
pub trait Kernel: Send + Sync {
    /// What tells it from all others: its name with every number that it works by. Goes into hashes.
    fn id(&self) -> String;

    /// The steps in place of an operator's, or nothing where that stays. What the built-in steps leave in the program's
    /// buffers must be left there; buffers of its own are declared in the program, and count for its memory.
    ///
    /// The closed form and the fabric read what it writes. Numbers are not computed: a certificate of a mapping with
    /// own kernels says so.
    ///
    /// # Errors
    /// In words, where it cannot be written; the layer is refused then.
    fn write(&self, program: &mut Program, built_in: BuiltIn<'_>) -> Result<Option<Vec<Node>>, String>;
}

/// A program of a layer with the operators of own kernels in place of the built-in ones. Of several kernels for an
/// operator each sees what the one before it has written.
///
/// # Errors
/// Where a kernel refuses, or leaves the region.
pub fn with_kernels(
    mut program: Program,
    request: &LayerRequest<'_>,
    is_prefill: bool,
    kernels: &[Arc<dyn Kernel>],
) -> Result<Program, LowerError> {
    for kernel in kernels {
        let body = std::mem::take(&mut program.body);
        let mut own = Own { kernel: &**kernel, program: &mut program, request, is_prefill };
        let written = body.into_iter().map(|node| own.replaced(node)).collect::<Result<Vec<Node>, LowerError>>()?;
        program.body = written;
    }
    Ok(program)
}

struct Own<'a> {
    kernel: &'a dyn Kernel,
    program: &'a mut Program,
    request: &'a LayerRequest<'a>,
    is_prefill: bool,
}

impl Own<'_> {
    fn replaced(&mut self, node: Node) -> Result<Node, LowerError> {
        let mut all = |nodes: Vec<Node>| nodes.into_iter().map(|node| self.replaced(node)).collect::<Result<_, _>>();
        Ok(match node {
            Node::Sequence(nodes) => Node::Sequence(all(nodes)?),
            Node::Parallel(nodes) => Node::Parallel(all(nodes)?),
            Node::Operator { name, body } => {
                let body = all(body)?;
                let region = self.program.region;
                let (request, is_prefill) = (self.request, self.is_prefill);
                let refuse =
                    |problem| LowerError::Kernel { kernel: self.kernel.id(), operator: name.to_string(), problem };
                let built_in = BuiltIn { operator: &name, body: &body, request, is_prefill };
                let written = self.kernel.write(self.program, built_in);
                self.program.region = region;
                let Some(own) = written.map_err(refuse)? else { return Ok(Node::Operator { name, body }) };
                match own.iter().filter_map(Node::region).find(|used| region.around(used) != region) {
                    None => Node::Operator { name, body: own },
                    Some(used) => return Err(refuse(format!("has steps on {used:?}; allowed: inside {region:?}"))),
                }
            }
            other @ (Node::Step(_) | Node::Systolic { .. } | Node::Repeat { .. }) => other,
        })
    }
}
