//! Adding up a program.

use std::borrow::Cow;

use serde::Serialize;
use wafersim_program::{Node, Program};
use wafersim_spec::Cycles;

use crate::cause::Cost;
use crate::formula;
use crate::rates::Rates;

/// What one operator of a program takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperatorCost {
    /// Name of the operator.
    pub name: Cow<'static, str>,
    /// Its time on the critical path, by cause.
    pub cost: Cost,
}

/// What a program takes.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ProgramCost {
    /// Operators in order; what stands outside any operator is named `other`.
    pub operators: Vec<OperatorCost>,
    /// Colors that the program uses.
    pub colors: u32,
}

impl ProgramCost {
    /// The whole program, by cause.
    pub fn cost(&self) -> Cost {
        self.operators.iter().map(|operator| operator.cost).sum()
    }

    /// The whole program.
    pub fn total(&self) -> Cycles {
        self.cost().total()
    }
}

/// Reads a program in closed form: the time from its first operation to its last on the critical path.
pub fn cost(program: &Program, rates: &Rates) -> ProgramCost {
    let mut operators: Vec<OperatorCost> = Vec::new();
    for node in &program.body {
        let (name, cost) = match node {
            Node::Operator { name, body } => {
                (name.clone(), body.iter().map(|part| cost_node(part, program, rates)).sum())
            }
            other => (Cow::Borrowed("other"), cost_node(other, program, rates)),
        };
        match operators.iter_mut().find(|known| known.name == name) {
            Some(known) => known.cost += cost,
            None => operators.push(OperatorCost { name, cost }),
        }
    }
    ProgramCost { operators, colors: program.color_count() }
}

/// Reads one node.
///
/// Parallel branches take as long as the longest. A systolic loop takes in each round the longer of its compute and of
/// what its transfers occupy, plus what closes the round.
pub fn cost_node(node: &Node, program: &Program, rates: &Rates) -> Cost {
    match node {
        Node::Step(step) => formula::step(step, program, rates),
        Node::Operator { body, .. } | Node::Sequence(body) => {
            body.iter().map(|part| cost_node(part, program, rates)).sum()
        }
        Node::Parallel(branches) => {
            branches.iter().map(|branch| cost_node(branch, program, rates)).fold(Cost::ZERO, Cost::longer)
        }
        Node::Systolic { times, compute, transfers, after } => {
            let busy = transfers
                .iter()
                .map(|transfer| formula::occupancy(transfer, program, rates))
                .fold(cost_node(compute, program, rates), Cost::longer);
            let closing: Cost = after.iter().map(|step| formula::step(step, program, rates)).sum();
            (busy + closing) * *times as f64
        }
        Node::Repeat { times, body } => cost_node(body, program, rates) * *times as f64,
    }
}
