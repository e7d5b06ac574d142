//! The programs of a placement as its mapping says, written once for all readings of it. Layers of one layout share a
//! program.

use std::sync::Arc;

use wafersim_graph::LayerGraphs;
use wafersim_lower::{EndRequest, ExpertLoad, LayerRequest, LowerError, PlaceLoad, Routed, Scope};
use wafersim_mapping::{ExpertMapping, LayerMapping, Mapped, dealing};
use wafersim_place::{LayerLayout, PREFILL_KEY_BLOCK, TableLayout};
use wafersim_program::Program;
use wafersim_spec::model::FeedForward;
use wafersim_spec::wafer::Key;

use crate::error::AnswerError;
use crate::expert_load::expert_load;
use crate::known::{Asked, Known, LoadOf, Lowered, Work};
use crate::question::{Question, Shared};

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
    /// Neighbouring tokens of a prompt that go through the programs of decode together, or one by itself.
    Batch {
        /// Tokens in it.
        tokens: u64,
        /// Tokens of the prompt before it.
        before: u64,
    },
    /// A chunk of a prompt, by the programs of prefill.
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
            Self::Decode { tokens, .. } | Self::Batch { tokens, .. } | Self::Prefill { tokens, .. } => tokens,
        }
    }

    /// Tokens in it, the users that they belong to, and how many tokens the last of each sees.
    fn seen(self) -> (u64, u64, u64) {
        match self {
            Self::Decode { tokens, users, context } => (tokens, users, context.max(tokens / users.max(1))),
            Self::Batch { tokens, before } | Self::Prefill { tokens, before } => {
                (tokens, 1, before.saturating_add(tokens))
            }
        }
    }
}

/// What all mappings of one question have in common, found once for who writes many of them.
#[derive(Debug, Default)]
pub struct Kept {
    graphs: LayerGraphs,
    /// Loads of experts.
    loads: Vec<KeptLoad>,
    /// The tables that were written last, oldest first: few decisions concern them.
    tables: Vec<KeptTable>,
    /// What other questions have found.
    shared: Option<Arc<Shared>>,
}

/// Loads, and tables, that are kept.
const LOADS: usize = 16;
const TABLES: usize = 8;

/// A table and what it was written for.
#[derive(Debug)]
struct KeptTable {
    table: TableLayout,
    mapping: LayerMapping,
    flow: Flow,
    program: Arc<Lowered>,
}

/// The load of experts for so many tokens.
#[derive(Debug)]
struct KeptLoad {
    experts: u64,
    top_k: u64,
    tokens: u64,
    /// Where they live, unless they are spread.
    places: Option<ExpertMapping>,
    load: ExpertLoad,
}

impl Kept {
    /// With what questions have in common that were asked like this one. Code from outside keeps to itself.
    pub fn sharing(question: &Question) -> Self {
        let shared = question.own_code().is_empty().then(|| Arc::clone(&question.shared));
        Self { shared, ..Self::default() }
    }

    /// As [`expected_load`].
    fn expected_load(
        &mut self,
        question: &Question,
        layout: &LayerLayout,
        mapping: &LayerMapping,
        tokens: u64,
    ) -> ExpertLoad {
        let FeedForward::Moe(moe) = &layout.layer.feed_forward else { return ExpertLoad::spread(tokens, 1) };
        // Experts that are spread are alike, wherever.
        let places = mapping.experts.as_ref().filter(|experts| !experts.is_spread());
        let is_it = |kept: &&KeptLoad| {
            (kept.experts, kept.top_k, kept.tokens) == (moe.experts, moe.top_k, tokens)
                && kept.places.as_ref() == places
        };
        if let Some(known) = self.loads.iter().rev().find(is_it) {
            return known.load;
        }
        if self.loads.len() >= LOADS {
            self.loads.remove(0);
        }
        let find = || expected_load(question, layout, mapping, tokens);
        let (experts, top_k) = (moe.experts, moe.top_k);
        // What was counted is the question's own.
        let load = match (&self.shared, &question.scenario.counted) {
            (Some(shared), None) => {
                let routing = question.scenario.routing;
                shared.programs.load(LoadOf { experts, top_k, tokens, routing, places: places.cloned() }, find)
            }
            _ => find(),
        };
        self.loads.push(KeptLoad { experts, top_k, tokens, places: places.cloned(), load });
        load
    }

    /// The program of a layer.
    fn layer(
        &mut self,
        question: &Question,
        layout: &LayerLayout,
        mapping: &LayerMapping,
        flow: Flow,
        load: ExpertLoad,
    ) -> Known {
        let Self { graphs, shared, .. } = self;
        let mut write =
            || layer(question, layout, mapping, flow, load, graphs).map(|program| Arc::new(Lowered::from(program)));
        // A chunk's program names every pair of a token and an expert: megabytes that are not kept.
        let is_chunk = matches!(flow, Flow::Prefill { .. });
        let Some(shared) = shared.as_ref().filter(|_| !is_chunk) else { return write() };
        let (tokens, users, context) = flow.seen();
        let work = Work::Layer { tokens, users, context, load, queue: input_queue(question) };
        shared.programs.program(&asked(question, work, Some(layout), mapping), write)
    }

    /// The program of a table.
    fn table(&mut self, question: &Question, table: &TableLayout, mapping: &LayerMapping, flow: Flow) -> Known {
        let is_it = |kept: &&KeptTable| {
            kept.flow == flow && kept.table == *table && wafersim_lower::is_same_for_ends(&kept.mapping, mapping)
        };
        if let Some(known) = self.tables.iter().rev().find(is_it) {
            return Ok(Arc::clone(&known.program));
        }
        if self.tables.len() >= TABLES {
            self.tables.remove(0);
        }
        let write = || written_table(question, table, mapping, flow).map(|program| Arc::new(Lowered::from(program)));
        let program = match &self.shared {
            Some(shared) => {
                let (is_head, entries, data_type) = (table.is_head, table.part.entries, table.matrix.data_type);
                let (tokens, is_prefill) = (tokens_of_table(is_head, flow), matches!(flow, Flow::Prefill { .. }));
                let is_prefill = is_prefill && !is_head;
                let work = Work::Table { is_head, entries, data_type, tokens, is_prefill };
                shared.programs.program(&asked(question, work, None, mapping), write)?
            }
            None => write()?,
        };
        let (mapping, kept) = (mapping.clone(), Arc::clone(&program));
        self.tables.push(KeptTable { table: *table, mapping, flow, program: kept });
        Ok(program)
    }
}

/// The programs of a placement for what flows through it.
#[derive(Debug, Clone)]
pub struct Written {
    /// What flows.
    pub flow: Flow,
    /// By layout of the placement.
    pub layouts: Vec<Arc<Lowered>>,
    /// By table of the placement.
    pub tables: Vec<Arc<Lowered>>,
    /// Why a layer or a table could not be written as its mapping says; then nothing here counts.
    refused: Option<LowerError>,
}

impl Written {
    /// Writes the programs of a placement.
    pub fn new(question: &Question, mapped: &Mapped, flow: Flow) -> Self {
        Self::with_experts(question, mapped, flow, None)
    }

    /// The same, with a given load of the routed experts in place of the expected one.
    pub fn with_experts(question: &Question, mapped: &Mapped, flow: Flow, experts: Option<ExpertLoad>) -> Self {
        Self::with_kept(question, mapped, flow, experts, &mut Kept::default())
    }

    /// The same where mappings of one question are written again and again.
    pub fn with_kept(
        question: &Question,
        mapped: &Mapped,
        flow: Flow,
        experts: Option<ExpertLoad>,
        kept: &mut Kept,
    ) -> Self {
        let placement = &mapped.placement;
        let mut refused = None;
        let mut instead = |error: LowerError, mapping: &LayerMapping| {
            refused.get_or_insert(error);
            Arc::new(Lowered::from(Program::new("refused", mapping.whole())))
        };
        let layers = placement.layouts.iter().zip(&mapped.layers).map(|(layout, mapping)| {
            let expected = kept.expected_load(question, layout, mapping, flow.tokens());
            let given = experts.filter(|_| layout.experts.is_some());
            let load = given.map_or(expected, |given| beside(given, expected.column));
            kept.layer(question, layout, mapping, flow, load).unwrap_or_else(|error| instead(error, mapping))
        });
        let layouts = layers.collect();
        let tables = placement.tables.iter().zip(&mapped.tables);
        let tables = tables.map(|(placed, mapping)| {
            kept.table(question, placed, mapping, flow).unwrap_or_else(|error| instead(error, mapping))
        });
        let tables = tables.collect();
        Self { flow, layouts, tables, refused }
    }

    /// Whether everything could be written.
    ///
    /// # Errors
    /// Where a layer or a table could not be written as its mapping says; `mapping` is its name.
    pub fn check(&self, mapping: &str) -> Result<(), AnswerError> {
        match &self.refused {
            Some(error) => Err(AnswerError::Lower { mapping: mapping.to_owned(), error: error.clone() }),
            None => Ok(()),
        }
    }

    /// Whether something could not be written: such programs take for ever.
    pub(crate) const fn is_refused(&self) -> bool {
        self.refused.is_some()
    }
}

/// All that a program for a question depends on.
fn asked<'a>(question: &Question, work: Work, layout: Option<&'a LayerLayout>, mapping: &'a LayerMapping) -> Asked<'a> {
    let (precision, norm_epsilon) = (question.scenario.precision, question.model.norm_epsilon);
    let hidden = layout.map_or(question.model.hidden, |layout| layout.hidden);
    Asked { work, layer: layout.map(|layout| &layout.layer), mapping, hidden, norm_epsilon, precision }
}

/// Words of an input queue.
fn input_queue(question: &Question) -> u64 {
    question.wafer.figure(Key::InputQueue).value as u64
}

/// A layer under a load of its experts.
pub fn layer(
    question: &Question,
    layout: &LayerLayout,
    mapping: &LayerMapping,
    flow: Flow,
    load: ExpertLoad,
    graphs: &mut LayerGraphs,
) -> Result<Program, LowerError> {
    let (tokens, users, context) = flow.seen();
    let request = LayerRequest {
        layer: &layout.layer,
        hidden: layout.hidden,
        norm_epsilon: question.model.norm_epsilon,
        mapping,
        precision: question.scenario.precision,
        tokens,
        users,
        context,
        routed: Routed::Expected(load),
        scope: Scope::Model,
        queue: input_queue(question),
    };
    let is_prefill = matches!(flow, Flow::Prefill { .. });
    let program = if is_prefill {
        wafersim_lower::prefill_layer_with(&request, PREFILL_KEY_BLOCK, question.extensions.rewrites())
    } else {
        graphs.rewrite_by(question.extensions.rewrites());
        wafersim_lower::decode_layer_with(&request, graphs)
    }?;
    wafersim_lower::with_kernels(program, &request, is_prefill, question.extensions.kernels())
}

/// A load whose busiest column of rectangles has what is expected of one, and at least what is given.
pub fn beside(load: ExpertLoad, expected: PlaceLoad) -> ExpertLoad {
    let column = PlaceLoad {
        pairs: load.column.pairs.max(expected.pairs),
        distinct: load.column.distinct.max(expected.distinct),
        tokens: load.column.tokens.max(expected.tokens),
    };
    ExpertLoad { column, ..load }
}

/// The expected load of the experts; of experts in rectangles that of batches that are drawn from the routing of the
/// scenario.
pub fn expected_load(question: &Question, layout: &LayerLayout, mapping: &LayerMapping, tokens: u64) -> ExpertLoad {
    let FeedForward::Moe(moe) = &layout.layer.feed_forward else { return ExpertLoad::spread(tokens, 1) };
    let routing = question.expert_use();
    let expected = expert_load(moe, tokens, routing);
    let Some(experts) = mapping.experts.as_ref().filter(|experts| !experts.is_spread()) else { return expected };
    let drawn = dealing::draw(moe, tokens, routing);
    let mut sums = [0_u64; 6];
    for chosen in &drawn {
        let counted = ExpertLoad::counted(chosen, experts);
        let (busiest, column) = (counted.busiest, counted.column);
        let parts = [busiest.pairs, busiest.distinct, busiest.tokens, column.pairs, column.distinct, column.tokens];
        sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
    }
    let [pairs, distinct, tokens, of_column @ ..] = sums.map(|sum| sum.div_ceil(drawn.len().max(1) as u64).max(1));
    let [column_pairs, column_distinct, column_tokens] = of_column;
    ExpertLoad {
        busiest: PlaceLoad { pairs, distinct, tokens },
        column: PlaceLoad { pairs: column_pairs, distinct: column_distinct, tokens: column_tokens },
        ..expected
    }
}

/// Lookup, or final norm, logits and sampling. Logits are wanted for every decoding token, and for the last token of a
/// prompt only.
fn written_table(
    question: &Question,
    table: &TableLayout,
    mapping: &LayerMapping,
    flow: Flow,
) -> Result<Program, LowerError> {
    let precision = question.scenario.precision.with_weights(table.matrix.data_type);
    let request = EndRequest {
        hidden: question.model.hidden,
        vocabulary: table.part.entries,
        norm_epsilon: question.model.norm_epsilon,
        mapping,
        precision,
    };
    let tokens = tokens_of_table(table.is_head, flow);
    let any = || vec![0; usize::try_from(tokens).unwrap_or(usize::MAX)];
    match (table.is_head, flow) {
        (true, _) => wafersim_lower::lm_head(&request, tokens),
        (false, Flow::Decode { .. } | Flow::Batch { .. }) => wafersim_lower::embedding(&request, &any()),
        (false, Flow::Prefill { .. }) => wafersim_lower::prefill_embedding(&request, &any()),
    }
}

/// Tokens that are looked up, or for which logits are wanted.
fn tokens_of_table(is_head: bool, flow: Flow) -> u64 {
    match flow {
        Flow::Batch { .. } | Flow::Prefill { .. } if is_head => 1,
        _ => flow.tokens().max(1),
    }
}
