//! A program: a tree of steps, the buffers they touch and the colors they use.

use std::borrow::Cow;

use serde::Serialize;
use wafersim_spec::DataType;
use wafersim_spec::model::Role;

use crate::brand::Brand;
use crate::buffer::{Buffer, BufferId, Color};
use crate::formula::{Part, Weight, WeightId};
use crate::layout::Layout;
use crate::region::{Axis, Region};
use crate::step::{Action, Compute, RouteChange, Step, Synchronise};
use crate::work::{Math, Work};

/// How steps follow one another.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "nearly all nodes are steps, the largest ones")]
pub enum Node {
    /// A single step.
    Step(Step),
    /// One after the other, under the name of an operator of the model.
    Operator {
        /// Name, for example `attention.query_key_value`.
        name: Cow<'static, str>,
        /// Its parts in order.
        body: Vec<Self>,
    },
    /// One after the other.
    Sequence(Vec<Self>),
    /// At the same time on different processing elements (or, where the hardware overlaps them, on the same).
    Parallel(Vec<Self>),
    /// A systolic loop: in each of `times` rounds the transfers for the next round run beside the compute of this one
    /// (double buffering), then `after` follows.
    Systolic {
        /// Rounds.
        times: u64,
        /// Local work of a round.
        compute: Box<Self>,
        /// Transfers of a round.
        transfers: Vec<Step>,
        /// What closes a round, not overlapped.
        after: Vec<Step>,
    },
    /// The body, `times` times.
    Repeat {
        /// Rounds.
        times: u64,
        /// What is repeated.
        body: Box<Self>,
    },
}

/// In which order the steps of a program run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// One after the other, wherever they run.
    #[default]
    Given,
    /// Every processing element follows its own order: steps on rectangles that do not meet run at the same time.
    Own,
}

/// What a set of colors is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColorPurpose {
    /// Chains of a level of trees along an axis.
    Level(Axis, u32),
    /// Owners along an axis that send their pieces by multicast, one color each.
    Owners(Axis),
    /// Broadcasts.
    Broadcast,
}

/// A matrix, or a part of one, in a buffer that a program moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Resident {
    /// The buffer.
    pub buffer: BufferId,
    /// Whose matrix.
    pub role: Role,
    /// Which part of it.
    pub part: Part,
}

/// A program over a region.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Program {
    /// What it computes.
    pub name: String,
    /// The processing elements it runs on.
    pub region: Region,
    /// Buffers, by [`BufferId`].
    pub buffers: Vec<Buffer>,
    /// Weights, by [`WeightId`]; none in programs that are written for their cost alone.
    pub weights: Vec<Weight>,
    /// Buffers that hold a matrix when the program starts, since it will be moved: the first field is the weight of a
    /// role.
    pub residents: Vec<Resident>,
    /// In which order its steps run.
    pub order: Order,
    /// What its ids carry.
    #[serde(skip)]
    brand: Brand,
    /// Number of colors used so far.
    colors: u32,
    /// Colors by purpose: see [`Self::colors_for`].
    #[serde(skip)]
    purposes: Vec<(ColorPurpose, Vec<Color>)>,
    /// The operators in order.
    pub body: Vec<Node>,
}

impl Program {
    /// An empty program.
    pub fn new(name: impl Into<String>, region: Region) -> Self {
        Self {
            name: name.into(),
            region,
            buffers: Vec::new(),
            weights: Vec::new(),
            residents: Vec::new(),
            order: Order::Given,
            brand: Brand::fresh(),
            colors: 0,
            purposes: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Declares a buffer: `elements` in the fullest processing element.
    pub fn buffer(&mut self, name: impl Into<Cow<'static, str>>, elements: u64, data_type: DataType) -> BufferId {
        let id = BufferId::new(self.buffers.len(), self.brand);
        self.buffers.push(Buffer { name: name.into(), elements, data_type, layout: None });
        id
    }

    /// Declares a buffer by its layout; its elements are those of the fullest processing element.
    pub fn laid_buffer(&mut self, name: impl Into<Cow<'static, str>>, data_type: DataType, layout: Layout) -> BufferId {
        let id = BufferId::new(self.buffers.len(), self.brand);
        let elements = layout.largest();
        self.buffers.push(Buffer { name: name.into(), elements, data_type, layout: Some(layout) });
        id
    }

    /// Declares a weight.
    pub fn weight(&mut self, weight: Weight) -> WeightId {
        let id = WeightId::new(self.weights.len(), self.brand);
        self.weights.push(weight);
        id
    }

    /// The first buffer of that name.
    pub fn find(&self, name: &str) -> Option<BufferId> {
        self.buffers.iter().position(|buffer| buffer.name == name).map(|index| BufferId::new(index, self.brand))
    }

    /// Gives a buffer a part of its elements, where what it holds comes in so many strips.
    ///
    /// # Panics
    /// Where another program has made the id.
    pub fn shrink(&mut self, id: BufferId, strips: u64) {
        assert!(id.is_of(self.brand), "{id:?} is no buffer of the program '{}'", self.name);
        if let Some(buffer) = self.buffers.get_mut(id.index()) {
            buffer.elements = buffer.elements.div_ceil(strips.max(1));
        }
    }

    /// The buffers in order.
    pub fn buffer_ids(&self) -> impl Iterator<Item = BufferId> + use<> {
        let brand = self.brand;
        (0..self.buffers.len()).map(move |index| BufferId::new(index, brand))
    }

    /// The buffer of an id. A clone that has not declared it itself has an empty one.
    ///
    /// # Panics
    /// Where another program has made the id.
    pub fn buffer_of(&self, id: BufferId) -> &Buffer {
        static EMPTY: Buffer = Buffer { name: Cow::Borrowed(""), elements: 0, data_type: DataType::Fp32, layout: None };
        assert!(id.is_of(self.brand), "{id:?} is no buffer of the program '{}'", self.name);
        self.buffers.get(id.index()).unwrap_or(&EMPTY)
    }

    /// The weight of an id. A clone may not have declared it.
    ///
    /// # Panics
    /// Where another program has made the id.
    pub fn weight_of(&self, id: WeightId) -> Option<&Weight> {
        assert!(id.is_of(self.brand), "{id:?} is no weight of the program '{}'", self.name);
        self.weights.get(id.index())
    }

    /// `count` colors. The sets of one axis and purpose are shared by all steps of a program that never run at the same
    /// time, so a program asks for each purpose once ([`crate::collective`] does).
    pub fn new_colors(&mut self, count: u32) -> Vec<Color> {
        let first = self.colors;
        self.name_colors(count);
        (first..self.colors).map(Color).collect()
    }

    /// The same without a list of them.
    pub(crate) const fn name_colors(&mut self, count: u32) {
        self.colors += count;
    }

    /// `count` colors of a purpose: the same ones whenever a step asks for them.
    pub fn colors_for(&mut self, purpose: ColorPurpose, count: u32) -> Vec<Color> {
        let known = self.purposes.iter().position(|(known, _)| *known == purpose);
        let mut colors = known.map_or_else(Vec::new, |at| self.purposes.swap_remove(at).1);
        let missing = count.saturating_sub(colors.len() as u32);
        colors.extend(self.new_colors(missing));
        self.purposes.push((purpose, colors.clone()));
        colors.truncate(count as usize);
        colors
    }

    /// Colors that the program uses.
    pub fn color_count(&self) -> u32 {
        self.colors
    }

    /// Appends an operator.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, body: Vec<Node>) {
        self.body.push(Node::Operator { name: name.into(), body });
    }

    /// A compute step over the program's region.
    pub fn compute(&self, math: Math, reads: &[BufferId], writes: BufferId, work: Vec<Work>) -> Node {
        self.step(Action::Compute(Compute { math, reads: reads.to_vec(), writes, work, formula: None }))
    }

    /// A step over the program's region.
    pub fn step(&self, action: Action) -> Node {
        Node::Step(Step { region: self.region, action })
    }

    /// A route change over the program's region.
    pub fn route_change(&self, changes: u64) -> Node {
        self.step(Action::RouteChange(RouteChange { changes }))
    }

    /// A synchronisation step over the program's region.
    pub fn synchronise(&self, hops: u64, completions: u64) -> Step {
        Step { region: self.region, action: Action::Synchronise(Synchronise { hops, completions }) }
    }

    /// Every step in the text of the program, loops once.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let mut found = Vec::new();
        for node in &self.body {
            node.visit(1, &mut |step, _| found.push(step));
        }
        found.into_iter()
    }

    /// Multiply-accumulates of the fullest processing element, loops counted; not those that rotate pairs.
    pub fn macs_per_element(&self) -> u64 {
        let mut macs = 0u64;
        for node in &self.body {
            node.visit(1, &mut |step, times| {
                if let Action::Compute(compute) = &step.action
                    && compute.math != Math::Rope
                {
                    let once: u64 = compute.work.iter().map(Work::macs).sum();
                    macs = macs.saturating_add(once.saturating_mul(times));
                }
            });
        }
        macs
    }
}

impl Node {
    /// The rectangle around all of its steps; nothing where it has none.
    pub fn region(&self) -> Option<Region> {
        let mut around: Option<Region> = None;
        self.visit(1, &mut |step, _| {
            around = Some(around.map_or(step.region, |known| known.around(&step.region)));
        });
        around
    }

    /// Calls `each` for every step with the number of times that it runs.
    pub fn visit<'a>(&'a self, times: u64, each: &mut impl FnMut(&'a Step, u64)) {
        match self {
            Self::Step(step) => each(step, times),
            Self::Operator { body, .. } | Self::Sequence(body) | Self::Parallel(body) => {
                body.iter().for_each(|node| node.visit(times, each));
            }
            Self::Systolic { times: rounds, compute, transfers, after } => {
                let times = times.saturating_mul(*rounds);
                compute.visit(times, each);
                transfers.iter().chain(after).for_each(|step| each(step, times));
            }
            Self::Repeat { times: rounds, body } => body.visit(times.saturating_mul(*rounds), each),
        }
    }
}
