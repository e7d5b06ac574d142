//! A layer, or a table, at its place in a region: the tiles of each tensor, the experts, the KV cache. Layers of the
//! same kind in regions of the same size share one layout, so that whatever is computed of it is computed once.

use serde::Serialize;
use wafersim_spec::model::{Layer, Role};
use wafersim_spec::{Bytes, model::FeedForward};

use crate::blueprint::{LayerBlueprint, LayerWeights, TableBlueprint, Working, in_use};
use crate::choices::LayerChoices;
use crate::experts::ExpertLayout;
use crate::item::TablePart;
use crate::kv_cache::{KvLayout, KvLayoutChoice};
use crate::ledger::{ByteCounts, TensorEntry};
use crate::matrix::PlacedMatrix;
use crate::request::Settings;
use crate::tiling::Tiling;
use crate::vector::PlacedVector;
use crate::working_memory;

/// A layer at its place in a region.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerLayout {
    /// Columns of the region.
    pub columns: u64,
    /// Rows of the region.
    pub rows: u64,
    /// Layers that have this layout.
    pub layers: u64,
    /// The first of them.
    pub first_layer: u64,
    /// Matrices and biases that are spread over the whole region.
    pub matrices: Vec<PlacedMatrix>,
    /// Gains and sinks.
    pub vectors: Vec<PlacedVector>,
    /// The routed experts.
    pub experts: Option<ExpertLayout>,
    /// Where keys and values live.
    pub kv: KvLayout,
    /// Bytes that no processing element exceeds, code and runtime aside.
    pub worst_pe: ByteCounts,
    /// What was chosen for it by other means than bytes.
    #[serde(skip)]
    pub choices: LayerChoices,
    /// What the layer computes.
    #[serde(skip)]
    pub layer: Layer,
    /// Width of the residual stream.
    #[serde(skip)]
    pub hidden: u64,
}

impl Working for LayerLayout {
    fn layer(&self) -> &Layer {
        &self.layer
    }

    fn hidden(&self) -> u64 {
        self.hidden
    }

    fn kv_choice(&self) -> KvLayoutChoice {
        self.choices.kv
    }
}

impl LayerLayout {
    pub(crate) fn new(
        blueprint: &LayerBlueprint<'_>,
        settings: &Settings,
        region: (u64, u64),
        first_layer: u64,
    ) -> Self {
        let grid = blueprint.grid(region);
        let (columns, rows) = region;
        let LayerWeights { matrices, vectors, experts, .. } = &*blueprint.weights;
        let spread = matrices.shapes.iter().filter(|shape| !shape.is_expert);
        let weights = blueprint.worst_weights(&grid);
        let (kv, worst_pe) = in_use(blueprint, weights, &grid, settings);
        Self {
            columns,
            rows,
            layers: 0,
            first_layer,
            matrices: spread.map(|shape| matrices.placed(shape, &grid)).collect(),
            vectors: vectors.iter().map(|vector| vector.placed(columns, rows)).collect(),
            experts: (*experts > 0)
                .then(|| ExpertLayout::new(blueprint.choices.experts.placement, *experts, matrices, grid)),
            kv,
            worst_pe,
            choices: blueprint.choices,
            layer: blueprint.layer.clone(),
            hidden: blueprint.hidden,
        }
    }

    /// Processing elements of the region.
    pub const fn pes(&self) -> u64 {
        self.columns * self.rows
    }

    /// Every matrix and bias, those of the experts last.
    pub fn all_matrices(&self) -> impl Iterator<Item = &PlacedMatrix> {
        self.matrices.iter().chain(self.experts.iter().flat_map(|experts| &experts.matrices))
    }

    /// The matrix with a role, not its bias.
    pub fn matrix(&self, role: Role) -> Option<&PlacedMatrix> {
        self.all_matrices().find(|matrix| matrix.role == role && !matrix.is_bias)
    }

    /// The tiles of a matrix; `copy` is the expert, 0 for others. Columns and rows count from the corner of the copy's
    /// rectangle: see [`PlacedMatrix::rectangle`].
    pub fn tiling(&self, role: Role, copy: u64) -> Option<Tiling> {
        self.matrix(role).map(|matrix| matrix.tiling(copy))
    }

    /// Bytes of weights that a processing element of the region holds: matrices and biases (exact shares), and
    /// replicated vectors. Takes time proportional to the experts.
    pub fn weights_at(&self, column: u64, row: u64) -> ByteCounts {
        ByteCounts {
            weights: self.all_matrices().map(|matrix| matrix.bytes_at(column, row)).sum(),
            replicated: self.vectors.iter().map(|vector| vector.bytes_at(column, row)).sum::<Bytes>()
                + self.all_matrices().map(|matrix| matrix.copied_scales_at(column, row)).sum::<Bytes>(),
            ..ByteCounts::default()
        }
    }

    /// KV layout and worst bytes for other users or another context; the weights stay where they are.
    pub fn in_use(&self, settings: &Settings) -> (KvLayout, ByteCounts) {
        let weights = ByteCounts {
            weights: self.worst_pe.weights,
            replicated: self.worst_pe.replicated,
            ..ByteCounts::default()
        };
        let whole = crate::cells::CellGrid::whole(self.columns, self.rows);
        let grid = self.experts.as_ref().map_or(whole, |experts| experts.grid);
        in_use(self, weights, &grid, settings)
    }

    /// Bytes of the worst processing element while a prefill works on `tokens` of a prompt at once.
    pub fn prefill_bytes(&self, settings: &Settings, tokens: u64) -> Bytes {
        let elements =
            working_memory::prefill(&self.layer, self.hidden, self.columns, self.rows, settings.context, tokens);
        settings.precision.activations.storage(elements)
    }

    /// Processing elements of the region that hold no routed expert.
    pub fn idle_pes_in_feed_forward(&self) -> u64 {
        match &self.layer.feed_forward {
            FeedForward::Dense { .. } => 0,
            FeedForward::Moe(_) => self.experts.as_ref().map_or(0, ExpertLayout::idle_pes),
        }
    }

    pub(crate) fn entries(&self, index: usize) -> Vec<TensorEntry> {
        let entry = |role| empty_entry(role, Some(index), self.layers);
        let matrices = self.all_matrices().map(|matrix| matrix_entry(entry(matrix.role), matrix, self.pes()));
        let vectors = self.vectors.iter().map(|vector| vector_entry(entry(vector.role), vector, self.pes()));
        matrices.chain(vectors).collect()
    }
}

/// The embedding or the LM head, or a part of it, at its place in a region.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TableLayout {
    /// Index of the slot in [`crate::Placement::slots`].
    pub slot: usize,
    /// Whether it makes logits (and with tied embeddings serves lookups too) or only serves lookups.
    pub is_head: bool,
    /// Which vocabulary entries it holds.
    pub part: TablePart,
    /// Columns of the region.
    pub columns: u64,
    /// Rows of the region.
    pub rows: u64,
    /// The table. With tied embeddings the LM head is a matrix with role `Embedding`, used both ways.
    pub matrix: PlacedMatrix,
    /// Gain of the last norm, of which every part of the LM head holds a copy.
    pub final_norm: Option<PlacedVector>,
    /// Bytes that no processing element exceeds, code and runtime aside.
    pub worst_pe: ByteCounts,
}

impl TableLayout {
    pub(crate) fn new(
        blueprint: &TableBlueprint,
        settings: &Settings,
        (columns, rows): (u64, u64),
        part: TablePart,
        slot: usize,
    ) -> Option<Self> {
        let matrices = blueprint.matrices(&part);
        let shape = matrices.shapes.first()?;
        Some(Self {
            slot,
            is_head: blueprint.is_head,
            part,
            columns,
            rows,
            matrix: matrices.placed(shape, &crate::cells::CellGrid::whole(columns, rows)),
            final_norm: blueprint.final_norm().map(|norm| norm.placed(columns, rows)),
            worst_pe: blueprint.load(settings, (columns, rows), &part),
        })
    }

    /// The tiles of this part.
    pub fn tiling(&self) -> Tiling {
        self.matrix.tiling(0)
    }

    /// Bytes of weights that a processing element of the region holds.
    pub fn weights_at(&self, column: u64, row: u64) -> ByteCounts {
        ByteCounts {
            weights: self.matrix.bytes_at(column, row),
            replicated: self.final_norm.map_or(Bytes::ZERO, |norm| norm.bytes_at(column, row))
                + self.matrix.copied_scales_at(column, row),
            ..ByteCounts::default()
        }
    }

    pub(crate) fn entries(&self) -> Vec<TensorEntry> {
        let pes = self.columns * self.rows;
        let entry = |role| empty_entry(role, None, 1);
        let norm = self.final_norm.map(|norm| {
            let whole = vector_entry(entry(norm.role), &norm, pes);
            // The tensor is counted with the first part; the others hold nothing but replicas.
            match self.part.part {
                0 => whole,
                _ => TensorEntry { bytes: Bytes::ZERO, replicated: norm.held_bytes(), ..whole },
            }
        });
        [Some(matrix_entry(entry(self.matrix.role), &self.matrix, pes)), norm].into_iter().flatten().collect()
    }
}

const fn empty_entry(role: Role, layout: Option<usize>, layers: u64) -> TensorEntry {
    TensorEntry {
        role,
        is_bias: false,
        layout,
        layers,
        copies: 1,
        bytes: Bytes::ZERO,
        replicated: Bytes::ZERO,
        worst_pe: Bytes::ZERO,
        mean_pe: 0.0,
    }
}

fn matrix_entry(entry: TensorEntry, matrix: &PlacedMatrix, pes: u64) -> TensorEntry {
    let scales = matrix.copied_scales();
    TensorEntry {
        is_bias: matrix.is_bias,
        copies: matrix.copies,
        bytes: matrix.bytes,
        replicated: scales,
        worst_pe: matrix.worst_bytes() + matrix.worst_copied_scales(),
        mean_pe: (matrix.bytes + scales).0 as f64 / pes.max(1) as f64,
        ..entry
    }
}

fn vector_entry(entry: TensorEntry, vector: &PlacedVector, pes: u64) -> TensorEntry {
    let (tensor, held) = (vector.bytes, vector.held_bytes());
    TensorEntry {
        copies: vector.copies,
        bytes: tensor,
        replicated: held.saturating_sub(tensor),
        worst_pe: vector.worst_bytes(),
        mean_pe: held.0 as f64 / pes.max(1) as f64,
        ..entry
    }
}
