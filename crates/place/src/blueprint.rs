//! What a layer or a table needs, as a function of the region that it gets. Made once per kind of layer; asked for many
//! regions by the search, in closed form.

use std::sync::{Arc, Mutex, PoisonError};

use wafersim_spec::model::{Attention, Layer, QkNorm, Role, Tensor};
use wafersim_spec::{Bytes, DataType, Model, Precision};

use crate::arithmetic::dealt;
use crate::cells::CellGrid;
use crate::choices::{ExpertChoice, LayerChoices, Roles, stored_type};
use crate::experts::room::with_copies;
use crate::experts::{ExpertMatrices, grid};
use crate::item::TablePart;
use crate::kv_cache::{KvContents, KvLayout, KvLayoutChoice};
use crate::ledger::ByteCounts;
use crate::matrix::{Matrices, MatrixShape};
use crate::request::Settings;
use crate::split::Split;
use crate::tiling::Orientation;
use crate::vector::{VectorAxis, VectorShape};
use crate::working_memory::{self, WorkingElements};

/// One kind of layer.
#[derive(Debug)]
pub(crate) struct LayerBlueprint<'a> {
    pub layer: &'a Layer,
    pub hidden: u64,
    pub weights: Arc<LayerWeights>,
    pub choices: LayerChoices,
}

/// What a kind of layer keeps of weights, by how they are stored.
#[derive(Debug, Default)]
pub(crate) struct LayerWeights {
    pub matrices: Matrices,
    pub vectors: Vec<VectorShape>,
    /// Routed experts; 0 in a dense layer.
    pub experts: u64,
    /// Worst bytes that were asked for last, oldest first: caches are laid out again and again on the same regions.
    worst: Mutex<Vec<(CellGrid, ExpertChoice, ByteCounts)>>,
}

/// Worst bytes that are kept.
const WORST: usize = 16;

impl LayerWeights {
    /// The weights of a layer, those of the roles in `wide` in 16 bit though the checkpoint has them narrower.
    pub fn new(layer: &Layer, hidden: u64, precision: &Precision, wide: Roles) -> Self {
        let mut weights = Self::default();
        for tensor in layer.tensors(hidden) {
            let data_type = stored_type(tensor.role, precision.stored(tensor.role), wide, precision);
            match orientation(tensor.role) {
                Some(orientation) => weights.push(&tensor, orientation, (data_type, precision.small_weights)),
                None => weights.push_vector(&layer.attention, &tensor, data_type),
            }
        }
        weights
    }

    fn push(&mut self, tensor: &Tensor, orientation: Orientation, (data_type, of_biases): (DataType, DataType)) {
        let shape = MatrixShape::new(tensor.role, (tensor.inputs, tensor.outputs), orientation, data_type);
        let bias = MatrixShape::bias(tensor.role, tensor.outputs, orientation, of_biases);
        for shape in [Some(shape), tensor.bias.then_some(bias)].into_iter().flatten() {
            if matches!(tensor.role, Role::ExpertGate | Role::ExpertUp | Role::ExpertDown) {
                self.experts = tensor.copies;
                self.matrices.push(shape.of_experts(tensor.copies));
            } else {
                self.matrices.push(shape);
            }
        }
    }

    fn push_vector(&mut self, attention: &Attention, tensor: &Tensor, data_type: DataType) {
        let (role, length, copies) = (tensor.role, tensor.outputs, tensor.copies);
        let vector =
            |axis, covered, copies| VectorShape { role, length, copies, bytes: None, axis, covered, data_type };
        match (role, attention) {
            // One gain vector of a head's width serves all query heads, another all key heads.
            // A gain for each element of all heads, of queries and of keys.
            (Role::AttentionInnerNorm, Attention::Grouped(grouped)) if grouped.qk_norm == QkNorm::Whole => {
                self.vectors.push(vector(VectorAxis::AlongX, length, copies));
            }
            (Role::AttentionInnerNorm, Attention::Grouped(grouped))
                if grouped.query_rank == Some(length) && copies == 1 =>
            {
                self.vectors.push(vector(VectorAxis::AlongX, length, copies));
            }
            (Role::AttentionInnerNorm, Attention::Grouped(grouped)) => {
                self.vectors.push(vector(VectorAxis::AlongX, grouped.heads * grouped.head_dim, 1));
                self.vectors.push(vector(VectorAxis::AlongX, grouped.kv_heads * grouped.head_dim, 1));
            }
            (Role::AttentionInnerNorm | Role::IndexNorm, Attention::Latent(_)) => {
                self.vectors.push(vector(VectorAxis::AlongX, length, copies));
            }
            (Role::AttentionInnerNorm, Attention::Linear(linear)) => {
                self.vectors.push(vector(VectorAxis::AlongX, linear.value_width(), copies));
            }
            // A few numbers for each head, in every column of the head's block.
            (Role::WriteStrength | Role::Decay, attention) => {
                let heads = KvContents::new(attention).kv_heads;
                let bytes = Some(data_type.storage(tensor.inputs * length));
                let each = vector(VectorAxis::AlongYInBlocks, heads, length);
                self.vectors.push(VectorShape { length: tensor.inputs, bytes, ..each });
                if tensor.bias {
                    self.vectors.push(vector(VectorAxis::PerBlock, heads, copies));
                }
            }
            // Taps lie with their channels: of queries and keys over the columns, of values over the rows of their
            // block.
            (Role::Convolution, Attention::Linear(linear)) => {
                let (taps, keys) = (tensor.inputs, 2 * linear.key_width());
                let of_keys = data_type.storage(keys * taps);
                let rest = data_type.storage(length * taps).saturating_sub(of_keys);
                let each = vector(VectorAxis::AlongX, keys, taps);
                self.vectors.push(VectorShape { length: keys, bytes: Some(of_keys), ..each });
                let values = linear.group() * linear.value_dim;
                let each = vector(VectorAxis::AlongYInBlocks, linear.key_heads, taps * linear.key_heads);
                self.vectors.push(VectorShape { length: values, bytes: Some(rest), ..each });
            }
            (Role::SharedOutputGate, _) => {
                let each = vector(VectorAxis::AlongY, tensor.inputs, copies);
                self.vectors.push(VectorShape { length: tensor.inputs, ..each });
            }
            (Role::Sinks | Role::DecayRate, attention) => {
                self.vectors.push(vector(VectorAxis::PerBlock, KvContents::new(attention).kv_heads, copies))
            }
            _ => self.vectors.push(vector(VectorAxis::AlongY, length, copies)),
        }
    }

    /// Places for experts in each rectangle of a grid, where there are more than its share of the experts.
    fn places(&self, grid: &CellGrid, chosen: &ExpertChoice) -> Option<u64> {
        if self.experts == 0 || grid.cells() == 1 {
            return None;
        }
        let even = grid.most_copies_in_a_cell(self.experts);
        Some(chosen.fullest.unwrap_or_else(|| even.saturating_add(chosen.spare))).filter(|places| *places != even)
    }

    /// The same with other matrices.
    pub fn with_matrices(self, matrices: Matrices) -> Self {
        Self { matrices, vectors: self.vectors, experts: self.experts, worst: Mutex::default() }
    }

    /// Bytes of weights in the worst processing element.
    pub fn worst(&self, grid: &CellGrid, chosen: &ExpertChoice) -> ByteCounts {
        let mut known = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it =
            |(of_grid, of_choice, _): &&(CellGrid, ExpertChoice, ByteCounts)| of_grid == grid && of_choice == chosen;
        if let Some((.., bytes)) = known.iter().rev().find(is_it) {
            return *bytes;
        }
        let bytes = self.find_worst(grid, chosen);
        if known.len() >= WORST {
            known.remove(0);
        }
        known.push((*grid, *chosen, bytes));
        bytes
    }

    fn find_worst(&self, grid: &CellGrid, chosen: &ExpertChoice) -> ByteCounts {
        let spread = self.matrices.worst_spread_bytes(grid.columns, grid.rows);
        let copied = self.places(grid, chosen).and_then(|places| with_copies(&self.matrices, grid, places));
        let experts = copied.as_ref().unwrap_or(&self.matrices).worst_expert_bytes(grid);
        let vectors = self.vectors.iter().map(|vector| vector.placed(grid.columns, grid.rows).worst_bytes());
        let replicated = vectors.sum::<Bytes>() + self.matrices.worst_copied_scales(grid);
        ByteCounts { weights: Bytes(spread) + Bytes(experts), replicated, ..ByteCounts::default() }
    }
}

impl LayerBlueprint<'_> {
    /// Bytes of matrices and of the KV cache, over all processing elements.
    pub fn bytes(&self, settings: &Settings) -> u64 {
        self.weights
            .matrices
            .bytes()
            .saturating_add(KvContents::new(&self.layer.attention).cached_bytes(&settings.kv_load()).0)
    }

    /// The cells of the experts: one for everything in a dense layer.
    pub fn grid(&self, (columns, rows): (u64, u64)) -> CellGrid {
        match self.weights.experts {
            0 => CellGrid::whole(columns, rows),
            count => {
                let experts = ExpertMatrices::new(count, self.layer.top_k(), &self.weights.matrices);
                grid(&self.choices.experts, &experts, columns, rows)
            }
        }
    }

    /// Bytes of weights in the worst processing element.
    pub fn worst_weights(&self, grid: &CellGrid) -> ByteCounts {
        self.weights.worst(grid, &self.choices.experts)
    }

    /// Bytes in the worst processing element of a region, code and runtime aside.
    pub fn load(&self, settings: &Settings, region: (u64, u64)) -> ByteCounts {
        let grid = self.grid(region);
        in_use(self, self.worst_weights(&grid), &grid, settings).1
    }
}

/// A kind of layer as far as its KV layout and its working memory go.
pub(crate) trait Working {
    fn layer(&self) -> &Layer;
    fn hidden(&self) -> u64;
    fn kv_choice(&self) -> KvLayoutChoice;
}

impl Working for LayerBlueprint<'_> {
    fn layer(&self) -> &Layer {
        self.layer
    }

    fn hidden(&self) -> u64 {
        self.hidden
    }

    fn kv_choice(&self) -> KvLayoutChoice {
        self.choices.kv
    }
}

/// The KV layout of a layer and its bytes with it, where the bytes of its weights are known.
pub(crate) fn in_use(
    working: &impl Working,
    weights: ByteCounts,
    grid: &CellGrid,
    settings: &Settings,
) -> (KvLayout, ByteCounts) {
    let (layer, load) = (working.layer(), settings.kv_load());
    let with = |kv: &KvLayout| {
        let elements = working_memory::decode(layer, working.hidden(), kv, grid, load.context, load.micro_batch);
        ByteCounts { kv_cache: kv.cache_bytes(&load), ..weights }.with_working(elements, load.activations)
    };
    let shape = KvContents::new(&layer.attention);
    let kv = KvLayout::choose(shape, (grid.columns, grid.rows), working.kv_choice(), |kv| with(kv).sum());
    (kv, with(&kv))
}

/// The embedding table or the LM head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableBlueprint {
    pub is_head: bool,
    role: Role,
    vocabulary: u64,
    hidden: u64,
    weights: DataType,
    small_weights: DataType,
}

impl TableBlueprint {
    /// The embedding; `None` where the LM head is the same table.
    pub fn embedding(model: &Model, precision: &Precision, wide: Roles) -> Option<Self> {
        let role = Role::Embedding;
        let weights = stored_type(role, precision.stored(role), wide, precision);
        let embedding = Self { is_head: false, role, weights, ..Self::head(model, precision, wide) };
        (!model.tied_embeddings).then_some(embedding)
    }

    /// Final norm and LM head. With tied embeddings its matrix is the embedding table.
    pub fn head(model: &Model, precision: &Precision, wide: Roles) -> Self {
        let role = if model.tied_embeddings { Role::Embedding } else { Role::LmHead };
        Self {
            is_head: true,
            role,
            vocabulary: model.vocabulary,
            hidden: model.hidden,
            weights: stored_type(role, precision.stored(role), wide, precision),
            small_weights: precision.small_weights,
        }
    }

    pub fn bytes(&self) -> u64 {
        self.weights.storage(self.vocabulary * self.hidden).0
    }

    pub const fn part(&self, part: u64, parts: u64) -> TablePart {
        let split = Split::new(self.vocabulary, parts);
        TablePart { part, parts, first_entry: split.size_before(part), entries: split.size_at(part) }
    }

    pub fn matrices(&self, part: &TablePart) -> Matrices {
        let mut matrices = Matrices::default();
        let (orientation, inputs, outputs) = match self.role {
            Role::Embedding => (Orientation::InputsAlongX, part.entries, self.hidden),
            _ => (Orientation::InputsAlongY, self.hidden, part.entries),
        };
        let share = |entries| dealt(self.bytes(), entries, self.vocabulary);
        let bytes = share(part.first_entry + part.entries) - share(part.first_entry);
        matrices.push(MatrixShape::new(self.role, (inputs, outputs), orientation, self.weights).with_bytes(bytes));
        matrices
    }

    pub fn final_norm(&self) -> Option<VectorShape> {
        self.is_head.then_some(VectorShape {
            role: Role::FinalNorm,
            length: self.hidden,
            copies: 1,
            axis: VectorAxis::AlongY,
            bytes: None,
            covered: self.hidden,
            data_type: self.small_weights,
        })
    }

    /// Bytes in the worst processing element for a part.
    pub fn load(&self, settings: &Settings, (columns, rows): (u64, u64), part: &TablePart) -> ByteCounts {
        let tokens = settings.micro_batch;
        let working = match self.is_head {
            true => working_memory::lm_head(self.hidden, part.entries, columns, rows, tokens),
            false => working_memory::embedding(self.hidden, rows, tokens),
        };
        let replicated = self.final_norm().map_or(Bytes::ZERO, |norm| norm.placed(columns, rows).worst_bytes());
        let matrices = self.matrices(part);
        let replicated = replicated + matrices.worst_copied_scales(&CellGrid::whole(columns, rows));
        let weights = Bytes(matrices.worst_spread_bytes(columns, rows));
        ByteCounts { weights, replicated, ..ByteCounts::default() }
            .with_working(working, settings.precision.activations)
    }

    /// The fewest parts of which the largest fits, and its load; where no part would fit, the load of the whole table.
    pub fn cut(&self, settings: &Settings, region: (u64, u64)) -> (u64, ByteCounts) {
        let limit = settings.machine.free_memory;
        // The first part is a largest one.
        let load = |parts| self.load(settings, region, &self.part(0, parts));
        let fits = |parts| load(parts).sum() <= limit;
        let (whole, least) = (load(1), load(self.vocabulary));
        if whole.sum() <= limit || least.sum() > limit {
            return (1, whole);
        }
        // Invariant: `low` parts do not suffice, `high` do. The bytes fall as parts grow.
        let (mut low, mut high) = (1, self.vocabulary);
        let mut step = 2;
        while step < high && !fits(step) {
            low = step;
            step = step.saturating_mul(2);
        }
        high = high.min(step);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        (high, load(high))
    }
}

/// Which dimension of a matrix lies along which axis; `None` for vectors and what is held like them. `hidden` always
/// lies along y.
///
/// Products from `hidden` are reduced along y and leave their outputs along x; those back to `hidden` are reduced along
/// x (sources.md#waferllm). The LM head takes `hidden` where the last layer left it, along y.
/// MLA alternates once more: compressed query along x, queries of all heads along y, latent along x again; its heads'
/// values come out along y and have to be turned before the output projection.
const fn orientation(role: Role) -> Option<Orientation> {
    match role {
        Role::Query
        | Role::Key
        | Role::Value
        | Role::OutputGate
        | Role::QueryDown
        | Role::KvDown
        | Role::IndexKey
        | Role::IndexWeight
        | Role::Router
        | Role::Gate
        | Role::Up
        | Role::SharedGate
        | Role::SharedUp
        | Role::ExpertGate
        | Role::ExpertUp
        | Role::LmHead => Some(Orientation::InputsAlongY),
        Role::QueryUp
        | Role::KvUp
        | Role::IndexQuery
        | Role::Output
        | Role::Down
        | Role::SharedDown
        | Role::ExpertDown
        | Role::Embedding => Some(Orientation::InputsAlongX),
        Role::AttentionNorm
        | Role::AttentionInnerNorm
        | Role::WriteStrength
        | Role::Decay
        | Role::Convolution
        | Role::DecayRate
        | Role::IndexNorm
        | Role::SharedOutputGate
        | Role::Sinks
        | Role::FeedForwardNorm
        | Role::FinalNorm => None,
    }
}

impl ByteCounts {
    /// The same with what is needed while working.
    pub(crate) fn with_working(self, working: WorkingElements, activations: DataType) -> Self {
        Self {
            activations: activations.storage(working.activations),
            receive_buffers: activations.storage(working.receive),
            ..self
        }
    }
}
