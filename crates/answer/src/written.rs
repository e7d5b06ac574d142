//! The programs of a placement, written once for all readings of it.
//!
//! Layers of one layout share a program. Two variants are written: the published kernels, and, where a hypothetical profile
//! is asked for, the best that are known. Where a mapping is given there is one: as the mapping says.

pub mod mapped;

use wafersim_kernels::feed_forward::ExpertLoad;
use wafersim_kernels::{ExpertShape, KvShape, LayerShape, Options, decode_layer, head, prefill_layer};
use wafersim_lower::LowerError;
use wafersim_place::{ExpertLayout, LayerLayout, PREFILL_KEY_BLOCK, Placement, TableLayout};
use wafersim_program::{Program, Region};
use wafersim_spec::model::FeedForward;
use wafersim_spec::scenario::{Profile, RoutingModel};

use crate::chosen::Kernels;
use crate::error::AnswerError;
use crate::expert_load::expert_load;
use crate::question::Question;

/// What goes through the pipeline together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// A micro-batch of decoding tokens.
    Decode {
        /// Tokens in it.
        tokens: u64,
        /// Users that they belong to, with as many each.
        users: u64,
        /// Tokens in the cache that each sees.
        context: u64,
    },
    /// A chunk of a prompt.
    Prefill {
        /// Tokens in it.
        tokens: u64,
        /// Tokens of the prompt before it.
        before: u64,
    },
}

impl Flow {
    /// Tokens in it.
    pub const fn tokens(self) -> u64 {
        match self {
            Self::Decode { tokens, .. } | Self::Prefill { tokens, .. } => tokens,
        }
    }
}

/// The same program in both kinds of kernels.
#[derive(Debug, Clone)]
pub struct Variants {
    /// With the published kernels, or as a mapping says.
    pub published: Program,
    /// With the hypothetical improvements, where a profile wants them.
    pub best: Option<Program>,
}

/// The programs of a placement for what flows through it.
#[derive(Debug, Clone)]
pub struct Written {
    /// What flows.
    pub flow: Flow,
    /// By layout of the placement.
    pub layouts: Vec<Variants>,
    /// By table of the placement.
    pub tables: Vec<Variants>,
    /// Why a layer could not be written as its mapping says; then nothing here counts.
    refused: Option<LowerError>,
}

/// Whether a profile assumes kernels that nobody has published.
pub fn is_hypothetical(profile: Profile) -> bool {
    profile != Profile::Published
}

impl Written {
    /// Writes the programs of a placement.
    pub fn new(question: &Question, placement: &Placement, flow: Flow, kernels: &Kernels) -> Self {
        Self::with_experts(question, placement, flow, kernels, None)
    }

    /// The same, with a given load of the routed experts in place of the expected one.
    pub fn with_experts(
        question: &Question,
        placement: &Placement,
        flow: Flow,
        kernels: &Kernels,
        experts: Option<ExpertLoad>,
    ) -> Self {
        let both = match kernels {
            Kernels::Published => false,
            Kernels::Steps => true,
            Kernels::Mapped { layers, tables } => {
                return mapped::written(question, placement, mapped::Mappings { layers, tables }, flow, experts);
            }
        };
        let variants = |write: &dyn Fn(Options) -> Program| Variants {
            published: write(Options::PUBLISHED),
            best: both.then(|| write(Options::OPTIMISED)),
        };
        Self {
            flow,
            layouts: placement.layouts.iter().map(|layout| variants(&layer(question, layout, flow, experts))).collect(),
            tables: placement.tables.iter().map(|placed| variants(&table(question, placed, flow))).collect(),
            refused: None,
        }
    }

    /// Whether everything could be written.
    ///
    /// # Errors
    /// Where a layer could not be written as its mapping says.
    pub fn check(&self, question: &Question) -> Result<(), AnswerError> {
        let mapping = || question.mapping.as_ref().map_or_else(String::new, |mapping| mapping.name().to_owned());
        match &self.refused {
            Some(error) => Err(AnswerError::Lower { mapping: mapping(), error: error.clone() }),
            None => Ok(()),
        }
    }

    /// Whether something could not be written: such programs take for ever.
    pub(crate) const fn is_refused(&self) -> bool {
        self.refused.is_some()
    }
}

fn region(columns: u64, rows: u64) -> Region {
    Region::new(0, 0, columns, rows)
}

fn expert_shape(experts: Option<&ExpertLayout>) -> ExpertShape {
    match experts {
        Some(layout) if layout.grid.cells() > 1 => {
            let cell = layout.rectangle(0);
            ExpertShape::Clustered { columns: cell.columns, rows: cell.rows }
        }
        _ => ExpertShape::Spread,
    }
}

fn layer_load(layout: &LayerLayout, tokens: u64, routing: RoutingModel) -> ExpertLoad {
    match &layout.layer.feed_forward {
        FeedForward::Dense { .. } => ExpertLoad { pairs: tokens, distinct: 1, busiest: tokens },
        FeedForward::Moe(moe) => {
            let mut load = expert_load(moe, tokens, routing);
            // Experts that share a rectangle work one after the other.
            if let Some(experts) = layout.experts.as_ref().filter(|experts| experts.most_in_a_cell() > 1) {
                load.busiest = load.busiest.saturating_mul(experts.most_in_a_cell()).min(load.pairs);
            }
            load
        }
    }
}

/// Writes one layer in its region.
fn layer<'a>(
    question: &'a Question,
    layout: &'a LayerLayout,
    flow: Flow,
    experts: Option<ExpertLoad>,
) -> impl Fn(Options) -> Program + 'a {
    let scenario = &question.scenario;
    let (tokens, context) = match flow {
        Flow::Decode { tokens, context, .. } => (tokens, context),
        Flow::Prefill { tokens, before } => (tokens, before),
    };
    let kv = KvShape {
        heads_per_block: layout.kv.heads_per_block,
        columns_per_head: layout.kv.columns_per_head,
        dimension_split: layout.kv.dimension_split,
        sequence_split: layout.kv.sequence_split,
    };
    let expected = || layer_load(layout, tokens, scenario.routing);
    let load = experts.filter(|_| layout.experts.is_some()).unwrap_or_else(expected);
    move |options| {
        let shape = LayerShape {
            layer: &layout.layer,
            hidden: layout.hidden,
            region: region(layout.columns, layout.rows),
            kv,
            experts: expert_shape(layout.experts.as_ref()),
            precision: scenario.precision,
            tokens,
            context,
            key_block: PREFILL_KEY_BLOCK,
            load,
            options,
        };
        match flow {
            Flow::Decode { .. } => decode_layer(&shape),
            Flow::Prefill { .. } => prefill_layer(&shape),
        }
    }
}

/// Lookup, or final norm, logits and sampling. Logits are wanted for every decoding token, and for the last token of a
/// prompt only.
fn table<'a>(question: &'a Question, table: &'a TableLayout, flow: Flow) -> impl Fn(Options) -> Program + 'a {
    let (here, hidden) = (region(table.columns, table.rows), question.model.hidden);
    let precision = question.scenario.precision;
    let rows = match flow {
        Flow::Decode { tokens, .. } => tokens,
        Flow::Prefill { .. } => 1,
    };
    move |options| {
        if table.is_head {
            head::lm_head(here, hidden, table.part.entries, rows, precision, options)
        } else {
            head::embedding(here, hidden, flow.tokens(), precision, options)
        }
    }
}
