//! Adding up a program.

use std::borrow::Cow;

use serde::Serialize;
use wafersim_program::{Action, Node, Order, Program, Step};
use wafersim_spec::Cycles;

use crate::cause::Cost;
use crate::formula;
use crate::path::longest_path;
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

/// Costs of operators, in the order of their first use.
pub(crate) struct OperatorCosts(Vec<OperatorCost>);

impl OperatorCosts {
    /// Of about so many operators.
    pub fn with_capacity(operators: usize) -> Self {
        Self(Vec::with_capacity(operators))
    }

    /// The index of an operator by name.
    pub fn index(&mut self, name: Cow<'static, str>) -> usize {
        self.0.iter().position(|known| known.name == name).unwrap_or_else(|| {
            self.0.push(OperatorCost { name, cost: Cost::ZERO });
            self.0.len() - 1
        })
    }

    /// Adds to what an operator takes.
    pub fn add(&mut self, index: usize, cost: Cost) {
        if let Some(operator) = self.0.get_mut(index) {
            operator.cost += cost;
        }
    }

    pub fn finish(self, colors: u32) -> ProgramCost {
        ProgramCost { operators: self.0, colors }
    }
}

/// Reads a program in closed form: the time from its first operation to its last on the critical path. That is the sum
/// of its steps, or its longest path where the program says that processing elements follow each their own order.
pub fn cost(program: &Program, rates: &Rates) -> ProgramCost {
    if program.order == Order::Own {
        return longest_path(program, rates);
    }
    let mut operators = OperatorCosts::with_capacity(program.body.len());
    let mut core = Core::Waited;
    for node in &program.body {
        let (name, cost) = match node {
            Node::Operator { name, body } => (name.clone(), in_order(body, program, rates, &mut core)),
            other => (Cow::Borrowed("other"), follow(other, program, rates, &mut core)),
        };
        let index = operators.index(name);
        operators.add(index, cost);
    }
    operators.finish(program.color_count())
}

/// Reads one node by itself.
///
/// Parallel branches take as long as the longest. A systolic loop takes in each round the longer of its compute and of
/// what its transfers occupy, plus what closes the round. A transfer that follows the core's own work takes its set-up
/// in addition ([`formula::set_up_after_work`]).
pub fn cost_node(node: &Node, program: &Program, rates: &Rates) -> Cost {
    follow(node, program, rates, &mut Core::Waited)
}

/// What the core did last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Core {
    /// It waited for a transfer: the completion has activated the task that sets up the next one.
    Waited,
    /// It computed, or changed routes: the next transfer has to be set up still.
    Worked,
}

fn in_order(nodes: &[Node], program: &Program, rates: &Rates, core: &mut Core) -> Cost {
    nodes.iter().map(|node| follow(node, program, rates, core)).sum()
}

/// Reads a node after what the core did before, and says what it did last.
pub(crate) fn follow(node: &Node, program: &Program, rates: &Rates, core: &mut Core) -> Cost {
    match node {
        Node::Step(step) => follow_step(step, program, rates, core),
        Node::Operator { body, .. } | Node::Sequence(body) => in_order(body, program, rates, core),
        Node::Parallel(branches) => {
            *core = Core::Waited;
            // Rings beside each other share their links.
            let ring = |node: &Node| matches!(node, Node::Step(step) if step.action.pieces().is_some());
            let beside = if branches.iter().all(ring) { branches.len() as u64 } else { 1 };
            let alone = |branch: &Node| match branch {
                Node::Step(step) if beside > 1 => formula::pieces_beside(step, beside, program, rates),
                branch => cost_node(branch, program, rates),
            };
            branches.iter().map(alone).fold(Cost::ZERO, Cost::longer)
        }
        Node::Systolic { times, compute, transfers, after } => {
            let busy = transfers
                .iter()
                .map(|transfer| formula::occupancy(transfer, program, rates))
                .fold(cost_node(compute, program, rates), Cost::longer);
            *core = Core::Waited;
            let closing: Cost = after.iter().map(|step| follow_step(step, program, rates, core)).sum();
            (busy + closing) * *times as f64
        }
        Node::Repeat { times: 0, .. } => Cost::ZERO,
        Node::Repeat { times, body } => {
            let first = follow(body, program, rates, core);
            let again = follow(body, program, rates, core);
            first + again * (*times - 1) as f64
        }
    }
}

/// The same of a step.
fn follow_step(step: &Step, program: &Program, rates: &Rates, core: &mut Core) -> Cost {
    let cost = formula::step(step, program, rates);
    if cost == Cost::ZERO {
        return cost;
    }
    let own_work = matches!(step.action, Action::Compute(_) | Action::RouteChange(_));
    let before = std::mem::replace(core, if own_work { Core::Worked } else { Core::Waited });
    let moves = !own_work && !matches!(step.action, Action::Synchronise(_));
    if moves && before == Core::Worked { cost + formula::set_up_after_work(rates) } else { cost }
}
