//! What is given from outside, each a few lines.

use wafersim::answer::map::{MappingTimes, OwnObjective};
use wafersim::graph::layer::LayerOperation;
use wafersim::graph::{LayerGraph, OwnRewrite};
use wafersim::lower::{BuiltIn, Kernel};
use wafersim::mapping::{Collective, Inputs, Lines, Mapped, Reduction, RoutingWeights};
use wafersim::place::experts::assignment::Assignment;
use wafersim::place::experts::strategies::{Strategy, Task};
use wafersim::prelude::{DataType, Math, Node, Operation, Program, Work};
use wafersim::program::collective::{self, Along};
use wafersim::search::trees::trees;
use wafersim::search::{Move, Point};
use wafersim::stream::policy::{Choice, Policy, Waiting};

/// Experts dealt like cards, the most wanted first, there and back.
pub struct Cards;

impl Strategy for Cards {
    fn name(&self) -> &str {
        "cards"
    }

    fn assign(&self, task: &Task<'_>) -> Assignment {
        let mut homes = vec![0; task.demand.experts()];
        for (turn, expert) in task.demand.hottest_first().into_iter().enumerate() {
            let (round, place) = (turn / task.cells, turn % task.cells);
            homes[expert] = if round % 2 == 0 { place } else { task.cells - 1 - place };
        }
        Assignment::single(task.cells, |expert| homes[expert], homes.len())
    }
}

/// So many experts that are used ten times as often as the others.
pub struct Flat {
    pub popular: u64,
}

impl RoutingWeights for Flat {
    fn id(&self) -> String {
        format!("{} popular experts", self.popular)
    }

    fn weights(&self, experts: u64, _top_k: u64) -> Vec<f64> {
        (0..experts).map(|rank| if rank < self.popular { 10.0 } else { 1.0 }).collect()
    }
}

/// Chains over groups of so many, then one over all their middles.
pub struct Fan {
    pub width: u64,
}

impl Collective for Fan {
    fn id(&self) -> String {
        format!("fan of {}", self.width)
    }

    fn all_reduce(&self, program: &mut Program, lines: Lines, along: Along) -> Result<Vec<Node>, String> {
        let width = self.width.min(lines.members);
        let sizes: Vec<u64> = [width, lines.members.div_ceil(width)].into_iter().filter(|size| *size > 1).collect();
        let tree = collective::Tree::of_sizes(lines.members, &sizes).map_err(|error| error.to_string())?;
        Ok(collective::segment_tree_all_reduce(program, &tree, lines.stride, along))
    }
}

/// The output projection of attention, and a copy of 64 values that somebody might want.
pub struct Copied;

impl Kernel for Copied {
    fn id(&self) -> String {
        "output with a copy of 64".into()
    }

    fn write(&self, program: &mut Program, built_in: BuiltIn<'_>) -> Result<Option<Vec<Node>>, String> {
        if built_in.operator != "attention.output" {
            return Ok(None);
        }
        let copy = program.buffer("copy", 64, DataType::Fp16);
        let work = vec![Work::new(Operation::Copy, DataType::Fp16, 64, 1)];
        let mut body = built_in.body.to_vec();
        body.push(program.compute(Math::Copy, &[copy], copy, work));
        Ok(Some(body))
    }
}

/// The norm before the network does not ride with its products: it is done before they begin.
pub struct NormBefore;

impl OwnRewrite for NormBefore {
    fn id(&self) -> String {
        "feed_forward.norm before its products".into()
    }

    fn rewrite(&self, layer: &mut LayerGraph) -> Result<(), String> {
        let norms = layer.operators_mut().iter_mut().filter(|operator| operator.name == "feed_forward.norm");
        norms.for_each(|norm| norm.operation = LayerOperation::Norm { riding: false });
        Ok(())
    }
}

/// Seconds from a prompt to the last of so many tokens.
pub struct WholeAnswer {
    pub tokens: f64,
}

impl OwnObjective for WholeAnswer {
    fn id(&self) -> String {
        format!("whole answer of {} tokens", self.tokens)
    }

    fn value(&self, times: &MappingTimes<'_>) -> Option<f64> {
        Some(times.seconds_to_first_token()? + self.tokens * times.seconds_per_token())
    }
}

/// The trees along rows and along columns at once, so many for each.
pub struct BothAxes {
    pub each: usize,
}

impl Move for BothAxes {
    fn id(&self) -> String {
        format!("{} trees along both axes", self.each)
    }

    fn neighbours(&self, _: &Inputs<'_>, point: &Point, at: &Mapped) -> Vec<Point> {
        let Some(region) = at.layers.first().map(|layer| layer.region) else { return Vec::new() };
        let of = |length: u64| trees(length).into_iter().take(self.each);
        let both = of(region.columns).flat_map(|x| of(region.rows).map(move |y| (x.clone(), y)));
        let changed = |(x, y): (Reduction, Reduction)| {
            let mut other = point.clone();
            (other.recipe.reductions.x, other.recipe.reductions.y) = (x, y);
            other
        };
        both.map(changed).collect()
    }
}

/// Decisions that a search leaves as the recipe has them, so that it is quick.
pub const PINNED: &str = "
draft = ''
micro_batch = 1
division = { slots = 1, order = '' }
overlap = { conversion = true, independent = true }
reductions = { x = 0, y = 0, parts = 0, operators = 0 }
";

/// Eight passes of tokens between two chunks of prompts.
#[derive(Debug)]
pub struct Patient {
    pub tokens: u32,
}

impl Policy for Patient {
    fn choose(&mut self, waiting: &Waiting) -> Choice {
        if waiting.decode > 0 && (waiting.prefill == 0 || self.tokens < 8) {
            self.tokens += 1;
            return Choice::Decode;
        }
        self.tokens = 0;
        Choice::Prefill { most: 64 }
    }
}

/// Six users who ask again as soon as they have their answer. The machine is the question's.
pub const SCENARIO: &str = "
[machine]
model = 'llama-3.1-8b'
context = 2048
users = 6
[load]
users = 6
prompt = { median = 300 }
output = { median = 30 }
[run]
warm_up = 0.02
window = 0.2
";
